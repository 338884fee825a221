#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Every header compiles alone, with nothing but the include directories its folder may use."""
import concurrent.futures
import os
import shlex
import subprocess
import tempfile

from folders import MAY_INCLUDE, PUBLIC
import law

PACKAGES = ["libsystemd", "jansson", "sqlite3", "libmnl", "libnftnl", "libseccomp", "libcap"]


def compile_alone(inc, path, flags):
    """None, or what the compiler said."""
    folder = path.split("/")[1]
    allowed = [folder] + MAY_INCLUDE.get(folder, [])
    allowed += [name.split("/")[0] for name, users in PUBLIC.items() if folder in users]
    dirs = [f"-I{inc}/{name}" for name in allowed]
    command = ["cc", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wstrict-prototypes", "-Werror",
               "-Wno-unused-function", "-fsyntax-only", *dirs, *flags, "-x", "c", "-"]
    # Twice: its guard is tested too.
    name = path[len("src/"):]
    done = subprocess.run(command, input=f'#include "{name}"\n#include "{name}"\n', text=True, capture_output=True,
                          check=False)
    return None if done.returncode == 0 else f"{path} does not compile alone:\n{done.stderr}"


def main():
    headers = law.sources(".h")
    flags = shlex.split(subprocess.run(["pkg-config", "--cflags", *PACKAGES], text=True, capture_output=True,
                                       check=True).stdout)
    with tempfile.TemporaryDirectory() as inc:
        for folder in MAY_INCLUDE:
            os.mkdir(f"{inc}/{folder}")
            os.symlink(f"{law.ROOT}/src/{folder}", f"{inc}/{folder}/{folder}")
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            problems = [p for p in pool.map(lambda h: compile_alone(inc, h, flags), headers) if p]
    law.verdict(problems, len(headers), "headers")


main()
