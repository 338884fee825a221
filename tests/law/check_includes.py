#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Includes go in one direction. The build gives a folder only the include directories it may use; this finds what
goes around that: relative paths, includes of another folder's private header, folders without a row, rows that the
build files do not agree with."""
import os
import re

from folders import MAY_INCLUDE, ONLY, PUBLIC
import law

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)
problems, checked = [], 0

for folder in sorted(os.listdir(os.path.join(law.ROOT, "src"))):
    if os.path.isdir(os.path.join(law.ROOT, "src", folder)) and folder not in MAY_INCLUDE:
        problems.append(f"src/{folder}: has no row in tests/law/folders.py")

for path in law.sources(".c", ".h"):
    folder = path.split("/")[1]
    checked += 1
    for quote, name in INCLUDE.findall(law.read(path)):
        first, _, rest = name.partition("/")
        if quote == "<" and first in MAY_INCLUDE and os.path.exists(os.path.join(law.ROOT, "src", name)):
            problems.append(f'{path}: <{name}>: our own headers are included as "{name}"')
        if quote == "<":
            continue
        if ".." in name.split("/") or name.startswith("/"):
            problems.append(f'{path}: "{name}": no relative and no absolute path')
        elif not rest and (name.endswith("_private.h") or name.startswith("test_")):
            if not os.path.exists(os.path.join(law.ROOT, os.path.dirname(path), name)):
                problems.append(f'{path}: "{name}" is not beside it')
        elif not rest and f"'{name}'" in law.read(f"src/{folder}/meson.build"):
            continue  # made by the build
        elif first not in MAY_INCLUDE or not rest:
            problems.append(f'{path}: "{name}": write "FOLDER/{os.path.basename(name)}"')
        elif first != folder and first not in MAY_INCLUDE.get(folder, []) and folder not in PUBLIC.get(name, []):
            allowed = ", ".join(MAY_INCLUDE.get(folder, [])) or "nothing"
            problems.append(f'{path}: "{name}": {folder} may include {allowed}')
        elif name not in ONLY.get((folder, first), [name]):
            problems.append(f'{path}: "{name}": of {first}, {folder} may include {", ".join(ONLY[folder, first])}')
        elif first != folder and name.endswith("_private.h"):
            problems.append(f'{path}: "{name}" is private to src/{first}')

for path in law.sources("meson.build"):
    folder = path.split("/")[1]
    allowed = set(MAY_INCLUDE.get(folder, [])) | {folder}
    allowed |= {name.split("/")[0] for name, users in PUBLIC.items() if folder in users}
    for used in re.findall(r"inc_args\['(\w+)'\]|\bdep_(\w+)", law.read(path)):
        name = used[0] or used[1]
        if name in MAY_INCLUDE and name not in allowed:
            problems.append(f"{path}: uses {name}, which {folder} may not include")

law.verdict(problems, checked, "include direction")
