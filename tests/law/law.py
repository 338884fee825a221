# SPDX-License-Identifier: MIT
"""What the checks of the house rules share: finding sources, reporting, exceptions that are written down."""
import os
import sys

# NIWA_LAW_ROOT: another tree, for the test of the checks themselves
ROOT = os.environ.get("NIWA_LAW_ROOT") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SKIP = 77  # meson: skipped


def sources(*suffixes, folders=("src",)):
    """Paths below the folders, relative to the checkout, sorted."""
    found = []
    for folder in folders:
        for where, dirs, names in os.walk(os.path.join(ROOT, folder)):
            dirs[:] = [d for d in dirs if d != "__pycache__" and not d.startswith(".")]
            found += [os.path.relpath(os.path.join(where, n), ROOT) for n in names if n.endswith(suffixes)]
    return sorted(found)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def exceptions(name):
    """{subject: reason} of tests/law/NAME: one `subject: reason` a line."""
    found = {}
    for line in read(f"tests/law/{name}").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        subject, _, reason = line.partition(": ")
        if not reason.strip():
            sys.exit(f"tests/law/{name}: '{line}' has no reason; write SUBJECT: REASON")
        found[subject.strip()] = reason.strip()
    return found


def verdict(problems, checked, what):
    """Prints the problems, sorted, and exits."""
    for problem in sorted(problems):
        print(problem)
    if not checked:
        problems = ["nothing was checked"]
        print(problems[0])
    print(f"{what}: {checked} checked, {len(problems)} problems")
    sys.exit(1 if problems else 0)
