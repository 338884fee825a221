#!/bin/bash
# SPDX-License-Identifier: MIT
#
# Builds the echo program (static, so that it can be all there is in an image) into an image of its own, `root`.
# A build that is newer than the sources is kept.
set -euo pipefail
dir=${1:?usage: prepare.sh DIR}/echo
here=$(cd "$(dirname "$0")" && pwd)
root=$dir/root
mkdir -p "$root"/{etc,tmp,proc,dev,run,usr}

newest=$(find "$here" -name '*.[ch]' -newer "$root/echo" 2>/dev/null | head -n 1) || newest=all
if [ ! -x "$root/echo" ] || [ -n "$newest" ]; then
	"${CC:-cc}" -std=gnu17 -D_GNU_SOURCE -O2 -Wall -Wextra -Wno-unused-parameter -static -pthread -o "$root/echo.new" "$here"/*.c
	mv "$root/echo.new" "$root/echo"
fi
printf 'root:x:0:0::/:/echo\nnobody:x:65534:65534::/:/echo\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
chmod 1777 "$root/tmp"
