#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench wakes: different stopped apps woken per second, sustained, by clients that wait for each answer."""
import sys
import time

import lib
import world

APPS = 1000
PARALLEL = 16


def main():
    report = lib.Report("wakes")
    with world.running() as host:
        addresses = list(host.declare([f"app{n}" for n in range(APPS)]).values())
        time.sleep(1)
        began = time.monotonic_ns() // 1000
        answers = host.ask_many(addresses, PARALLEL)
        first = min(at for _, at, _ in answers)
        last = max(at + ms * 1000 for ms, at, _ in answers)
        assert first >= began and len(answers) == APPS
        report.value(f"{APPS} apps, {PARALLEL} clients", "rate", APPS / (last - first) * 1e6, "/s", least=250)
        report.samples("connect to first byte meanwhile", [ms for ms, _, _ in answers], "ms")
    return report.done()


sys.exit(main())
