#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Shell scripts pass shellcheck, Python files compile."""
import os
import shutil
import subprocess
import sys

import law

FOLDERS = ("scripts", "dist", "tests", "bench", ".ci", "docs")

if not shutil.which("shellcheck"):
    print("shellcheck is not installed")
    sys.exit(law.SKIP)

shell, python = [], []
for path in law.sources("", folders=FOLDERS):
    try:
        with open(os.path.join(law.ROOT, path), "rb") as file:
            first = file.readline(80).decode("utf-8", "replace")
    except OSError:
        continue
    if first.startswith("#!") and first.rstrip().endswith(("/bash", "/sh", "env bash")):
        shell.append(path)
    elif path.endswith(".py") or (first.startswith("#!") and "python" in first):
        python.append(path)

problems = []
if shell:
    done = subprocess.run(["shellcheck", "-x", "-f", "gcc", *shell], text=True, capture_output=True, check=False, cwd=law.ROOT)
    problems += done.stdout.splitlines()
for path in python:
    try:
        compile(law.read(path), path, "exec")
    except SyntaxError as error:
        problems.append(f"{path}:{error.lineno}: {error.msg}")
    if law.read(path).startswith("#!/usr/bin/env python"):
        problems.append(f"{path}:1: write #!/usr/bin/python3: other interpreters lack the distribution's modules")

law.verdict(problems, len(shell) + len(python), "scripts")
