#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench wake-stopped: connect -> first byte of a trivial static server that is stopped, and where the time goes."""
import statistics
import sys
import time

import lib
import world

RUNS = 300
STAGES = ("decided", "cloned", "executed", "ready", "connected")


def main():
    report = lib.Report("wake-stopped")
    times, stages = [], []
    with world.running() as host, host.client() as ask, host.talk() as rpc:
        address = host.declare(["app"])["app"]
        for _ in range(RUNS):
            times.append(ask(address)[0])
            stages.append(rpc.call("app.show", name="app")["stages"])
            rpc.call("app.stop", name="app")
            time.sleep(0.02)  # the next visitor comes to a host that has tidied up
    report.samples("connect to first byte", times, "ms", p50=6, p99=20)
    before = 0
    for stage in STAGES:  # from the one before
        at = [s[stage] / 1000 for s in stages if stage in s]
        if at:
            now = statistics.median(at)
            report.value(f"accepted to {stage}", "p50", now, "ms")
            before = now
    report.value("connected to first byte, and accept", "p50", statistics.median(times) - before, "ms")
    return report.done()


sys.exit(main())
