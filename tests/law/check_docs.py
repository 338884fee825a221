#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Manual pages are clean mdoc (mandoc's warnings), and links between documents lead somewhere."""
import glob
import os
import re
import shutil
import subprocess
import sys

import law

if not shutil.which("mandoc"):
    print("mandoc is not installed")
    sys.exit(law.SKIP)

PAGES = ["niwa.1", "niwa-sim.1", "niwad.8", "niwa-keep.8", "niwa-relay.8", "niwa-api.8", "niwa.yaml.5", "niwad.conf.5", "niwa-nginx.7"]

problems = [f"docs/man/{page} is missing" for page in PAGES if not os.path.exists(f"{law.ROOT}/docs/man/{page}")]
pages = [os.path.relpath(p, law.ROOT) for p in sorted(glob.glob(f"{law.ROOT}/docs/man/*.[1578]"))]
if pages:
    # Style remarks (-Wstyle) do not count; unknown cross references are pages of our own or of other systems.
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", *pages], text=True, capture_output=True, check=False,
                          cwd=law.ROOT)
    problems += [line.removeprefix("mandoc: ") for line in (done.stdout + done.stderr).splitlines()]

texts = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
texts = [t for t in texts if os.path.exists(f"{law.ROOT}/{t}")] + law.sources(".md", folders=("docs",))
for path in texts:
    for number, line in enumerate(law.read(path).splitlines(), 1):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", line):
            if "://" in target or target.startswith("mailto:"):
                continue
            if not os.path.exists(os.path.join(law.ROOT, os.path.dirname(path), target)):
                problems.append(f"{path}:{number}: there is no {target}")

law.verdict(problems, len(pages) + len(texts), "documents")
