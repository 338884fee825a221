#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A small Rails project for puma: all frameworks loaded as `rails new` has them, a router, a model in SQLite, a view in
# a layout. Production mode, everything loaded before it listens. It writes nothing.
set -euo pipefail
dir=${1:?usage: prepare.sh DIR}/rails
here=$(cd "$(dirname "$0")" && pwd)
ruby -e 'require "rails"; require "puma"; require "sqlite3"' ||
	{ echo "prepare.sh: install ruby-rails, ruby-sqlite3 and puma" >&2; exit 1; }

mkdir -p "$dir"
cp -RT "$here/site" "$dir"
mkdir -p "$dir/public" "$dir/db"
if [ ! -s "$dir/db/garden.sqlite3" ]; then
	ruby -rsqlite3 - "$dir/db/garden.new" <<'END'
db = SQLite3::Database.new(ARGV[0])
db.execute("create table posts (id integer primary key, title text not null, body text not null)")
db.execute("insert into posts (title, body) values ('The pond', 'A frog jumps in: the sound of water.')")
db.execute("insert into posts (title, body) values ('The gate', 'Moss on the stones, nobody came today.')")
db.close
END
	mv "$dir/db/garden.new" "$dir/db/garden.sqlite3"
fi
chmod -R u=rwX,go=rX "$dir"
