#!/bin/bash
# SPDX-License-Identifier: MIT
#
# nginx serving a folder. Runs as an ordinary user in the container; everything it writes is below /tmp.
set -euo pipefail
dir=${1:?usage: prepare.sh DIR}/static
mkdir -p "$dir/htdocs"

cat >"$dir/nginx.conf" <<'END'
daemon off;
worker_processes 1;
pid /tmp/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
	access_log off;
	client_body_temp_path /tmp/body;
	proxy_temp_path /tmp/proxy;
	fastcgi_temp_path /tmp/fastcgi;
	uwsgi_temp_path /tmp/uwsgi;
	scgi_temp_path /tmp/scgi;
	default_type application/octet-stream;
	types { text/html html; text/plain txt; }
	sendfile on;
	keepalive_timeout 75s;
	server {
		listen 80 backlog=4096;
		root /srv/static/htdocs;
		location = /who { default_type text/plain; return 200 "$hostname $pid $remote_addr\n"; }
	}
}
END
printf '<!doctype html><title>niwa</title><p>A static page.\n' >"$dir/htdocs/index.html"
printf 'small\n' >"$dir/htdocs/small.txt"
[ -s "$dir/htdocs/large.bin" ] || head -c 8388608 /dev/zero >"$dir/htdocs/large.bin"
chmod -R u=rwX,go=rX "$dir"
