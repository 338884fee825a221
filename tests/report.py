#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Sums up a test run: the closing lines of `make test`.

Reads what meson and pytest wrote. A skipped test fails the run unless tests/SKIPS names it with a reason: tests
that are skipped quietly test nothing.
"""
import argparse
import fnmatch
import json
import os
import sys
import xml.etree.ElementTree as ET

HERE = os.path.dirname(os.path.abspath(__file__))


def allowed_skips():
    """[(pattern, reason)] of tests/SKIPS."""
    skips = []
    with open(os.path.join(HERE, "SKIPS"), encoding="utf-8") as file:
        for line in file:
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            pattern, _, reason = line.partition(": ")
            if not reason:
                sys.exit(f"tests/SKIPS: '{line}': write PATTERN: reason")
            skips.append((pattern, reason))
    return skips


def unit_results(build):
    """[(name, passed|failed|skipped)] of the last meson run."""
    results = []
    with open(os.path.join(build, "meson-logs", "testlog.json"), encoding="utf-8") as file:
        for line in file:
            test = json.loads(line)
            outcome = {"OK": "passed", "EXPECTEDFAIL": "passed", "SKIP": "skipped"}.get(test["result"], "failed")
            results.append((test["name"], outcome))
    return results


def e2e_results(build):
    """[(name, outcome)] of the last pytest run."""
    path = os.path.join(build, "e2e.xml")
    results = []
    for case in ET.parse(path).iter("testcase"):
        outcome = "passed"
        if case.find("failure") is not None or case.find("error") is not None:
            outcome = "failed"
        elif case.find("skipped") is not None:
            outcome = "skipped"
        results.append((f"{case.get('classname')}.{case.get('name')}", outcome))
    return results


def sum_up(title, results, skips):
    """Prints one line, names what went wrong; True when all is well."""
    by = {"passed": [], "failed": [], "skipped": []}
    for name, outcome in results:
        by[outcome].append(name)
    unlisted = [n for n in by["skipped"] if not any(fnmatch.fnmatch(n, p) for p, _ in skips)]
    for name in by["failed"]:
        print(f"{title}: FAILED {name}")
    for name in unlisted:
        print(f"{title}: SKIPPED, and tests/SKIPS does not say why: {name}")
    print(f"{title}: {len(by['passed'])} passed, {len(by['failed'])} failed, {len(by['skipped'])} skipped")
    return bool(results) and not by["failed"] and not unlisted


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default="build")
    parser.add_argument("--end-to-end", choices=["ran", "none"], required=True)
    args = parser.parse_args()
    skips = allowed_skips()
    print("---")
    good = sum_up("unit tests and house rules", unit_results(args.build), skips)
    if args.end_to_end == "ran":
        good = sum_up("end to end", e2e_results(args.build), skips) and good
    elif os.path.isdir(os.path.join(HERE, "e2e")) and os.listdir(os.path.join(HERE, "e2e")):
        print("end to end: tests/e2e holds no test")
        good = False
    print("all tests passed" if good else "there are failures")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
