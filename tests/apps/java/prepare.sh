#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A Java HTTP server (com.sun.net.httpserver). A build that is newer than its source is kept.
set -euo pipefail
dir=${1:?usage: prepare.sh DIR}/java
here=$(cd "$(dirname "$0")" && pwd)
command -v javac >/dev/null || { echo "prepare.sh: no javac: install default-jdk-headless" >&2; exit 1; }

mkdir -p "$dir"
if [ ! "$dir/Garden.class" -nt "$here/Garden.java" ]; then
	javac -Xlint:all -Werror -d "$dir" "$here/Garden.java"
fi
chmod -R u=rwX,go=rX "$dir"
