#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench sleeping-50k: what 50,000 sleeping apps cost niwad, a line in a table each: bytes of its own memory. And what they
cost others: how long a connection to one of them that nobody has visited takes to wake it, against ten apps on a host that
has no other. Hosts of ten and of all take turns, by apply and `niwa rm --label`."""
import os
import random
import statistics
import sys

import lib
import world

APPS = int(os.environ.get("BENCH_APPS", "50000"))
FEW = 10
TENANTS = 500
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
WAKES = 100  # a round

APP = ("- {{name: site{n:05}, tenant: t{tenant:03}, image: {image}, command: [/server, \"80\"], ports: [{{port: 80, protocol: http}}], "
       "routes: [{{domain: www.site{n:05}.example}}], limits: {{memory: 64M, processes: 64}}, snapshot: off, egress: none, "
       "sleep: {{freeze: never, page: never, save: never}}, stop: {{grace: 1s}}{more}}}\n")


def apply(host, numbers, more=""):
    path = host.dir / "apps.yaml"
    path.write_text("apps:\n" + "".join(APP.format(n=n, tenant=n % TENANTS, image=host.image, more=more) for n in numbers))
    host.niwa("apply", "-q", path, timeout=600)


def wake(host, ask, numbers):
    """ms of each, the app stopped before and after."""
    took = []
    for n in numbers:
        name = f"site{n:05}"
        took.append(ask(host.address(name))[0])
        host.stop_app(name)
    return took


def few_of(count):
    return [n % FEW for n in range(count)]


def ratio(a, b):
    return lib.percentile(a, 50) / lib.percentile(b, 50)


def main():
    report = lib.Report("sleeping-50k")
    fresh = random.Random(50).sample(range(FEW, APPS), (ROUNDS + 1) * WAKES)
    few, many, ratios, first = [], [], [], []
    with world.running() as host, host.client() as ask:
        apply(host, range(FEW))
        wake(host, ask, range(FEW))  # whatever is only needed once
        for turn in range(ROUNDS):
            few.append(wake(host, ask, few_of(WAKES)))
            before = host.rss_anon()
            apply(host, range(FEW, APPS), ", labels: {rest: 'yes'}")
            if turn == 0:
                report.value(f"{APPS} apps: memory of niwad, for each", "bytes", (host.rss_anon() - before) / (APPS - FEW), "bytes",
                             most=1024)
            took = wake(host, ask, [n for pair in zip([fresh.pop() for _ in range(WAKES)], few_of(WAKES)) for n in pair])
            many.append(took[::2])
            ratios.append(ratio(took[::2], few[-1]))
            first.append(ratio(took[::2], took[1::2]))
            if turn == 0:
                before = host.rss_anon()
                wake(host, ask, [fresh.pop() for _ in range(WAKES)])
                report.value("what it adds to one that was awake once", "bytes", (host.rss_anon() - before) / WAKES, "bytes")
            with lib.Stopwatch() as s:
                host.niwa("rm", "-q", "--yes", "--label", "rest=yes", timeout=600)
            if turn == 0:
                report.value(f"niwa rm of {APPS - FEW} apps by a label", "p50", s.ms / 1000, "s")
    report.samples(f"a wake, one of {FEW}", sum(few, []), "ms")
    report.samples(f"a wake, one of {APPS} that was never awake", sum(many, []), "ms")
    report.value(f"one of {APPS} against one of {FEW}", "ratio", statistics.median(ratios), "", most=1.2)
    report.value("never awake against awake before, among all, in turns", "ratio", statistics.median(first), "")
    return report.done()


sys.exit(main())
