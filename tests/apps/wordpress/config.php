<?php
/* What Debian's wp-config.php reads for every host name. The keys are no secrets: this site is for tests. */
define('DB_NAME', 'wordpress');
define('DB_USER', 'wordpress');
define('DB_PASSWORD', 'niwa');
define('DB_HOST', getenv('WORDPRESS_DB') ?: 'wordpress-db');
define('DB_CHARSET', 'utf8mb4');
define('WP_CONTENT_DIR', '/srv/wordpress/content');
foreach (array('AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE') as $name) {
	define($name . '_KEY', "only for tests, key of $name");
	define($name . '_SALT', "only for tests, salt of $name");
}
/* Whatever name or published port it is asked by. */
define('WP_HOME', 'http://' . ($_SERVER['HTTP_HOST'] ?? 'wordpress'));
define('WP_SITEURL', WP_HOME);
define('WP_CONTENT_URL', WP_HOME . '/wp-content');
/* Nothing asks the internet, nothing asks itself. */
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
/* Debian 12 has both; the older one needs half the time. */
foreach (array('twentytwentyone', 'twentytwentythree') as $theme)
	if (!defined('WP_DEFAULT_THEME') && is_dir("/usr/share/wordpress/wp-content/themes/$theme"))
		define('WP_DEFAULT_THEME', $theme);
