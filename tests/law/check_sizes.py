#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""A file has at most 800 lines, a function at most 80. Pure tables and switches may be longer when
tests/law/long-ones names them with a reason."""
import shutil
import subprocess
import sys

import law

FILE_LINES, FUNCTION_LINES = 800, 80

if not shutil.which("ctags"):
    print("universal-ctags is not installed")
    sys.exit(law.SKIP)

excepted = law.exceptions("long-ones")
problems, used = [], set()
paths = law.sources(".c", ".h", folders=("src", "tests", "bench"))
scripts = law.sources(".py", folders=("tests", "bench"))

for path in paths + scripts:
    lines = law.read(path).count("\n")
    if lines > FILE_LINES:
        if path in excepted:
            used.add(path)
        else:
            problems.append(f"{path}: {lines} lines, {FILE_LINES} are the limit")

tags = subprocess.run(
    ["ctags", "-x", "--_xformat=%N\t%n\t%e\t%F", "--kinds-C=f", "--languages=C", "--fields=+ne", "-L", "-"],
    input="\n".join(paths), text=True, capture_output=True, check=True, cwd=law.ROOT).stdout
for tag in tags.splitlines():
    name, first, last, path = tag.split("\t")
    lines = int(last) - int(first) + 1
    if lines > FUNCTION_LINES:
        if f"{path} {name}" in excepted:
            used.add(f"{path} {name}")
        else:
            problems.append(f"{path}:{first}: {name}() has {lines} lines, {FUNCTION_LINES} are the limit")

problems += [f"tests/law/long-ones: '{subject}' is not too long (any more)" for subject in excepted if subject not in used]
law.verdict(problems, len(paths) + len(scripts), "sizes")
