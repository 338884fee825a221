#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench relay: one spliced connection against a direct one, what the relay adds to a first answer, its memory."""
import os
import statistics
import subprocess
import sys

import lib

BUILD = os.environ.get("NIWA_BUILD", "build")
FOLDER = os.path.join(BUILD, "src", "relay")
ROUNDS = os.environ.get("ROUNDS", "5")


def figures():
    """{(case, metric): ([values], unit)} as relay_figures prints them."""
    said = subprocess.run([os.path.join(FOLDER, "relay_figures"), os.path.join(FOLDER, "niwa-relay"), ROUNDS],
                          text=True, stdout=subprocess.PIPE, check=True).stdout
    found = {}
    for line in said.splitlines():
        case, metric, value, unit = line.split("\t")
        found.setdefault((case, metric), ([], unit))[0].append(float(value))
    return found


def main():
    report = lib.Report("relay")
    found = figures()
    for (case, metric), (values, unit) in found.items():
        if metric == "sample":
            report.samples(case, values, unit)
        else:
            # Rounds are paired: the middle one of the ratios, not the ratio of two middles.
            target = {"least": 40} if metric == "percent" else {}
            report.value(case, metric, statistics.median(values), unit, **target)
    direct, _ = found[("first answer direct", "sample")]
    relayed, _ = found[("first answer through the relay", "sample")]
    report.samples("added by accept, ask, connect, splice", [b - a for a, b in zip(direct, relayed)], "ms")
    return report.done()


sys.exit(main())
