#!/bin/bash
# SPDX-License-Identifier: MIT
#
# A Node.js HTTP server of a few modules. It writes nothing.
set -euo pipefail
dir=${1:?usage: prepare.sh DIR}/node
here=$(cd "$(dirname "$0")" && pwd)
command -v node >/dev/null || { echo "prepare.sh: no node: install nodejs" >&2; exit 1; }

mkdir -p "$dir"
cp -R "$here/server.js" "$here/lib" "$dir"
chmod -R u=rwX,go=rX "$dir"
