#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A PostgreSQL cluster owned by the host's user postgres (OWNER= another). initdb sees it at /mnt of a mount
# namespace of its own, so DIR may lie where that user cannot go.
set -euo pipefail
dir=${1:?usage: prepare.sh DIR}/postgres
owner=${OWNER:-postgres}
data=$dir/data

bin=
for try in /usr/lib/postgresql/*/bin; do
	[ -x "$try/initdb" ] && bin=$try # the newest, where there are several
done
[ -n "$bin" ] || { echo "prepare.sh: no /usr/lib/postgresql/*/bin/initdb: install postgresql-15" >&2; exit 1; }
id -u "$owner" >/dev/null || { echo "prepare.sh: no user '$owner'" >&2; exit 1; }

# Runs a command as the owner, with the app's folder at /mnt.
as_owner() {
	# shellcheck disable=SC2016 # the inner shell expands them
	unshare --mount --propagation private -- sh -c '
		mount --bind "$1" /mnt && cd /mnt || exit
		owner=$2; shift 2
		exec runuser -u "$owner" -- env -i PATH=/usr/bin:/bin LC_ALL=C "$@"' sh "$dir" "$owner" "$@" 2>&1
}

mkdir -p "$dir"
if [ ! -e "$data/initialised" ]; then
	rm -rf "$data"
	install -d -m 700 -o "$owner" -g "$(id -gn "$owner")" "$data"
	log=$(as_owner "$bin/initdb" -D /mnt/data -U postgres -E UTF8 --locale=C.UTF-8 --auth=reject --no-sync --no-instructions) ||
		{ printf '%s\n' "$log" >&2; exit 1; }
	log=$(as_owner "$bin/postgres" --single -D /mnt/data postgres <<'END'
CREATE ROLE niwa LOGIN PASSWORD 'niwa'
CREATE ROLE guest LOGIN
CREATE DATABASE niwa OWNER niwa
END
	) || { printf '%s\n' "$log" >&2; exit 1; }
	sync -f "$data"
	as_owner touch /mnt/data/initialised
fi

as_owner sh -c 'cat >/mnt/data/pg_hba.conf && chmod 600 /mnt/data/pg_hba.conf' <<'END'
# type database user address method
host all guest all trust
host all all all scram-sha-256
END
as_owner sh -c 'cat >/mnt/data/postgresql.auto.conf && chmod 600 /mnt/data/postgresql.auto.conf' <<'END'
listen_addresses = '*'
port = 5432
unix_socket_directories = ''
max_connections = 230
shared_buffers = '32MB'
max_wal_size = '256MB'
log_destination = 'stderr'
logging_collector = off
END
