#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench governor: niwa-sim on four kinds of visits: memory held by the governor, at the worth of waiting that gives the
same p99 waiting time, against a fixed keep-alive of 10 minutes. Without and with swap; and at niwad's default worth."""
import json
import subprocess
import sys

import lib
from world import BUILD

KINDS = ("poisson", "bursty", "daily", "cron")


def sim(kind, *options):
    """(the fixed time's figures, the governor's)"""
    command = [BUILD / "src/sim/niwa-sim", "--make", kind, "--apps", "200", "--visits", "8000", "--length", "3d", "--json", *options]
    policies = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout)["policies"]
    return policies[0], policies[2]


def main():
    report = lib.Report("governor")
    for kind in KINDS:
        for case, options in (("no swap", ()), ("swap", ("--swap",))):
            fixed, learnt = sim(kind, "--match", "p99", *options)
            report.value(f"{kind}, {case}: GiB hours at equal p99 ({fixed['p99_us'] / 1000:.0f} ms)", "percent",
                         100 * learnt["gib_hours"] / fixed["gib_hours"], "%", most=50)
            report.value(f"{kind}, {case}: mean waiting then", "ratio", learnt["mean_us"] / fixed["mean_us"], "")
            fixed, learnt = sim(kind, *options)
            report.value(f"{kind}, {case}: GiB hours by default", "percent", 100 * learnt["gib_hours"] / fixed["gib_hours"], "%")
            report.value(f"{kind}, {case}: p99 waiting then", "ratio", learnt["p99_us"] / max(1, fixed["p99_us"]), "")
            report.value(f"{kind}, {case}: mean waiting by default", "ratio", learnt["mean_us"] / fixed["mean_us"], "")
    return report.done()


sys.exit(main())
