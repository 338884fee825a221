#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Apache (prefork) with mod_php, as an ordinary user. What it writes is below /tmp. Its log is read by
# `cat`, because a process may not open a pipe that another user made (/dev/stderr) a second time.
set -euo pipefail
dir=${1:?usage: prepare.sh DIR}/php
mkdir -p "$dir/htdocs"

modules=/usr/lib/apache2/modules
php=
for file in "$modules"/libphp*.so; do
	[ -e "$file" ] && php=$file # the newest, where there are several
done
[ -n "$php" ] || { echo "prepare.sh: no $modules/libphp*.so: install libapache2-mod-php" >&2; exit 1; }

cat >"$dir/apache.conf" <<END
ServerRoot /srv/php
ServerName php.invalid
Listen 80
ListenBacklog 4096
PidFile /tmp/apache.pid
DefaultRuntimeDir /tmp
ErrorLog "|\$exec /usr/bin/cat 1>&2"
LogLevel warn
LoadModule mpm_prefork_module $modules/mod_mpm_prefork.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule dir_module $modules/mod_dir.so
LoadModule mime_module $modules/mod_mime.so
LoadModule php_module $php
TypesConfig /srv/php/mime.types
PHPIniDir /srv/php
StartServers 2
MinSpareServers 1
MaxSpareServers 4
MaxRequestWorkers 24
DocumentRoot /srv/php/htdocs
DirectoryIndex index.php
KeepAlive On
<Directory /srv/php/htdocs>
	Require all granted
</Directory>
<FilesMatch "\.php\$">
	SetHandler application/x-httpd-php
</FilesMatch>
END
printf 'text/html html\ntext/plain txt\n' >"$dir/mime.types"
printf 'session.save_path = /tmp\nupload_tmp_dir = /tmp\nlog_errors = On\ndisplay_errors = Off\n' >"$dir/php.ini"
cat >"$dir/htdocs/index.php" <<'END'
<?php
/* Who answered whom: the tests and the demo read these lines. ?sleep=MS answers late. */
header('Content-Type: text/plain');
if (isset($_GET['sleep']))
	usleep(min(60000, (int)$_GET['sleep']) * 1000);
printf("request: %s %s\n", $_SERVER['REQUEST_METHOD'], $_SERVER['REQUEST_URI']);
printf("client: %s:%s\n", $_SERVER['REMOTE_ADDR'], $_SERVER['REMOTE_PORT']);
printf("server: %s:%s\n", $_SERVER['SERVER_ADDR'], $_SERVER['SERVER_PORT']);
printf("host: %s\n", gethostname());
printf("pid: %d\n", getmypid());
printf("php: %s\n", PHP_VERSION);
END
chmod -R u=rwX,go=rX "$dir"
