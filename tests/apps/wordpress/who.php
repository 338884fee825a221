<?php
/* Who answered whom, and which database the site talks to: the tests and the demo read these lines. ?sleep=MS answers
 * late; ?db=0 leaves the database asleep. */
header('Content-Type: text/plain');
if (isset($_GET['sleep']))
	usleep(min(60000, (int)$_GET['sleep']) * 1000);
printf("request: %s %s\n", $_SERVER['REQUEST_METHOD'], $_SERVER['REQUEST_URI']);
printf("client: %s:%s\n", $_SERVER['REMOTE_ADDR'], $_SERVER['REMOTE_PORT']);
printf("server: %s:%s\n", $_SERVER['SERVER_ADDR'], $_SERVER['SERVER_PORT']);
printf("host: %s\n", gethostname());
printf("pid: %d\n", getmypid());
printf("php: %s\n", PHP_VERSION);
if (($_GET['db'] ?? '1') === '0')
	exit;
require '/etc/wordpress/config-default.php';
mysqli_report(MYSQLI_REPORT_OFF);
$db = @mysqli_connect(DB_HOST, DB_USER, DB_PASSWORD, DB_NAME);
if (!$db) {
	printf("db_error: %s\n", mysqli_connect_error());
	exit;
}
$row = mysqli_fetch_row(mysqli_query($db, 'select @@hostname, connection_id(), version(), (select count(*) from wp_posts)'));
printf("db: %s\ndb_connection: %d\ndb_version: %s\nposts: %d\n", ...$row);
