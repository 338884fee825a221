<?php
/* Run once by prepare.sh: waits for MariaDB, makes the database and its user, runs WordPress' installer, writes a post. */
function fail($why)
{
	fwrite(STDERR, "$why\n");
	exit(1);
}
mysqli_report(MYSQLI_REPORT_OFF);
for ($tries = 0; !($db = @mysqli_connect('localhost', 'root', '', '', 0, '/mnt/db/s')); $tries++) {
	if ($tries > 3000)
		fail('MariaDB does not answer: ' . mysqli_connect_error());
	usleep(10000);
}
foreach (array('CREATE DATABASE wordpress CHARACTER SET utf8mb4',
	       "CREATE USER wordpress@'%' IDENTIFIED BY 'niwa'",
	       "GRANT ALL ON wordpress.* TO wordpress@'%'",
	       "DELETE FROM mysql.global_priv WHERE User = ''", 'FLUSH PRIVILEGES') as $sql)
	if (!mysqli_query($db, $sql))
		fail("$sql: " . mysqli_error($db));

putenv('WORDPRESS_DB=localhost:/mnt/db/s');
$_SERVER['HTTP_HOST'] = 'wordpress';
$_SERVER['REQUEST_URI'] = '/';
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
define('WP_INSTALLING', true);
function wp_new_blog_notification() {} /* it would send a mail */
require '/usr/share/wordpress/wp-load.php';
require ABSPATH . 'wp-admin/includes/upgrade.php';
wp_install('A garden', 'ada', 'ada@example.com', true, '', 'niwa');
$post = wp_insert_post(array('post_title' => 'The pond', 'post_status' => 'publish', 'post_author' => 1,
			     'post_name' => 'the-pond',
			     'post_content' => 'A frog jumps in: the sound of water.'), true);
if (is_wp_error($post))
	fail($post->get_error_message());
update_option('permalink_structure', '/%postname%/');
flush_rewrite_rules(false);
