#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The sources are as clang-format 14 writes them (.clang-format). Other versions differ in details: with them the
check is skipped, which CI accepts only for the reason in tests/SKIPS."""
import re
import shutil
import subprocess
import sys

import law

VERSION = "14"

tool = shutil.which(f"clang-format-{VERSION}") or shutil.which("clang-format")
if not tool:
    print("clang-format is not installed")
    sys.exit(law.SKIP)
said = subprocess.run([tool, "--version"], text=True, capture_output=True, check=True).stdout
if not re.search(rf"version {VERSION}\.", said):
    print(f"this is {said.strip()}; the rules are checked with version {VERSION}")
    sys.exit(law.SKIP)

excepted = law.exceptions("unformatted")
paths = [path for path in law.sources(".c", ".h") if path not in excepted]
done = subprocess.run([tool, "--dry-run", "-Werror", "--style=file", *paths], text=True, capture_output=True,
                      check=False, cwd=law.ROOT)
changed = {}
for place in re.findall(r"^(\S+):(\d+):\d+: error:", done.stderr, re.M):
    changed.setdefault(place[0], []).append(place[1])
problems = [f"{path}: clang-format would change {len(lines)} places, the first in line {lines[0]}"
            for path, lines in changed.items()]
if done.returncode and not problems:
    problems = [done.stderr]
law.verdict(problems, len(paths), "format")
