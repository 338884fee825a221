#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What can be told from the text alone: the SPDX tag, comments that wait for nobody, typedefs, forbidden names,
blanks at the ends of lines."""
import os
import re

import law

FORBIDDEN = {"util", "utils", "common", "misc", "helper", "helpers", "stuff"}
WAITING = re.compile(r"\b(TODO|FIXME)\b(?!\([a-z][\w.-]*\): \S)")
TYPEDEF = re.compile(r"\btypedef\b[^;{]*(?:\{[^}]*\}[^;]*)?;", re.S)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.S)
TAG = "SPDX-License-Identifier: MIT"
problems = []

code = law.sources(".c", ".h")
scripts = law.sources(".py", "meson.build", folders=("src", "tests", "bench", "scripts"))
for path in code + scripts:
    text = law.read(path)
    lines = text.splitlines()
    parts = re.split(r"[/._-]", path)
    if FORBIDDEN & set(parts):
        problems.append(f"{path}: a file or folder called {sorted(FORBIDDEN & set(parts))[0]} has no purpose; name it")
    tagged = lines[:2] if lines and lines[0].startswith("#!") else lines[:1]
    if (path in code or path.endswith(".py")) and not any(TAG in line for line in tagged):
        problems.append(f"{path}:1: the first line carries no '{TAG}'")
    if path.startswith("tests/law/"):
        continue
    for number, line in enumerate(lines, 1):
        if WAITING.search(line):
            problems.append(f"{path}:{number}: TODO(owner): reason, or do it")
        if line != line.rstrip():
            problems.append(f"{path}:{number}: blanks at the end of the line")
    if path in code:
        bare = COMMENT.sub(lambda m: "\n" * m.group().count("\n"), text)
        for match in TYPEDEF.finditer(bare):
            number = bare.count("\n", 0, match.start()) + 1
            words = " ".join(match.group().split())
            if re.search(r"\(\s*\*|\*\s*\w+\s*;$", words):
                problems.append(f"{path}:{number}: a typedef of a pointer: {words}")
            elif "(" not in words:
                problems.append(f"{path}:{number}: only function types are typedef'd: {words}")

for folder in ("src", "tests", "bench", "scripts"):
    for where, dirs, _ in os.walk(os.path.join(law.ROOT, folder)):
        problems += [f"{os.path.relpath(os.path.join(where, d), law.ROOT)}: forbidden folder name"
                     for d in dirs if d in FORBIDDEN]

law.verdict(problems, len(code) + len(scripts), "text rules")
