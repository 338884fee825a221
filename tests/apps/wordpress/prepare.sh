#!/bin/bash
# SPDX-License-Identifier: MIT
#
# WordPress on Apache (prefork) with mod_php, as Debian ships them, and the MariaDB that holds its posts, owned by the
# host's user mysql (OWNER= another). The site is set up by WordPress' own installer, which PHP runs here once against
# a MariaDB without network; nothing is fetched. What the site writes is in the database and below /tmp.
set -euo pipefail
dir=${1:?usage: prepare.sh DIR}/wordpress
here=$(cd "$(dirname "$0")" && pwd)
owner=${OWNER:-mysql}
core=/usr/share/wordpress
die() { echo "prepare.sh: $*" >&2; exit 1; }

modules=/usr/lib/apache2/modules
php=
for file in "$modules"/libphp*.so; do
	[ -e "$file" ] && php=$file # the newest, where there are several
done
[ -n "$php" ] || die "no $modules/libphp*.so: install libapache2-mod-php"
[ -f $core/wp-load.php ] || die "no $core: install wordpress"
command -v mariadbd >/dev/null || die "no mariadbd: install mariadb-server"
id -u "$owner" >/dev/null || die "no user '$owner'"

mkdir -p "$dir"/site/etc "$dir"/site/content/{plugins,uploads,mu-plugins} "$dir/db-etc"

cat >"$dir/site/apache.conf" <<END
ServerRoot /srv/wordpress
ServerName wordpress.invalid
Listen 80
ListenBacklog 4096
PidFile /tmp/apache.pid
DefaultRuntimeDir /tmp
ErrorLog "|\$exec /usr/bin/cat 1>&2"
LogLevel warn
LoadModule mpm_prefork_module $modules/mod_mpm_prefork.so
LoadModule authz_core_module $modules/mod_authz_core.so
LoadModule alias_module $modules/mod_alias.so
LoadModule dir_module $modules/mod_dir.so
LoadModule mime_module $modules/mod_mime.so
LoadModule php_module $php
TypesConfig /etc/mime.types
PHPIniDir /srv/wordpress
StartServers 1
MinSpareServers 1
MaxSpareServers 2
MaxRequestWorkers 24
DocumentRoot $core
DirectoryIndex index.php
Alias /wp-content /srv/wordpress/content
Alias /who /srv/wordpress/who.php
<Directory $core>
	Require all granted
	FallbackResource /index.php
</Directory>
<Directory /srv/wordpress/content>
	Require all granted
</Directory>
<Directory /srv/wordpress>
	<Files who.php>
		Require all granted
	</Files>
</Directory>
<FilesMatch "\.php\$">
	SetHandler application/x-httpd-php
</FilesMatch>
END
cat >"$dir/site/php.ini" <<'END'
session.save_path = /tmp
upload_tmp_dir = /tmp
log_errors = On
display_errors = Off
memory_limit = 128M
opcache.memory_consumption = 48
END
install -m 644 "$here/config.php" "$dir/site/etc/config-default.php"
install -m 644 "$here/who.php" "$dir/site/who.php"
cp -a $core/wp-content/themes "$dir/site/content/"
cat >"$dir/db-etc/server.cnf" <<'END'
[mariadbd]
datadir = /var/lib/mysql
socket = /tmp/mariadb.sock
pid_file = /tmp/mariadb.pid
tmpdir = /tmp
bind_address = 0.0.0.0
port = 3306
skip_name_resolve
innodb_buffer_pool_size = 32M
# Else it reserves 8 TiB of address space, of which CRIU needs a table where Linux lacks PAGEMAP_SCAN (before 6.7).
loose_innodb_buffer_pool_size_max = 64M
innodb_log_file_size = 16M
innodb_use_native_aio = OFF
performance_schema = OFF
END
chmod -R u=rwX,go=rX "$dir/site" "$dir/db-etc"

[ ! -e "$dir/db/installed" ] || exit 0
rm -rf "$dir/db"
install -d -m 700 -o "$owner" -g "$(id -gn "$owner")" "$dir/db"

# Runs a command as the owner where the app's folder is at /mnt and the site's configuration in its place, so that DIR
# may lie where that user cannot go.
as_owner() {
	# shellcheck disable=SC2016 # the inner shell expands them
	unshare --mount --net --propagation private -- sh -c '
		mount --bind "$1" /mnt && mount --bind "$1/site/etc" /etc/wordpress && cd /mnt || exit
		owner=$2; shift 2
		exec runuser -u "$owner" -- env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"' sh "$dir" "$owner" "$@"
}

log=$(as_owner mariadb-install-db --no-defaults --datadir=/mnt/db --auth-root-authentication-method=normal \
	--skip-test-db --skip-name-resolve --innodb-log-file-size=16M 2>&1) || die "mariadb-install-db: $log"
install -m 644 "$here/install.php" "$dir/install.php"
log=$(as_owner sh -s 2>&1 <<'END'
	mariadbd --no-defaults --datadir=/mnt/db --skip-networking --socket=/mnt/db/s --pid-file=/mnt/db/pid \
		--innodb-log-file-size=16M --innodb-flush-log-at-trx-commit=0 >/mnt/db/install.log 2>&1 &
	php /mnt/install.php
	status=$?
	kill $!
	wait $! || status=$?
	[ $status = 0 ] || cat /mnt/db/install.log
	exit $status
END
) || die "installing WordPress: $log"
rm "$dir/install.php"
sync -f "$dir/db"
as_owner touch /mnt/db/installed
