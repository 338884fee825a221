#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench sleeping-50k: what 50,000 sleeping apps cost niwad, a line in a table each: bytes of its own memory. And what they
cost others: how long a connection to one of them takes to wake it, against one of ten apps on a host that has no other.

On both hosts each app is visited twice: for the first time ever, which makes what an app or its tenant has from then on (its
log, the names that its tenant's apps see), and once more. First visits are compared with first ones, later ones with later
ones, and the first among all with the later ones among ten as well. Hosts of ten and of all take turns, by apply and
`niwa rm --label`, as often as there is time for."""
import os
import random
import statistics
import sys
import time

import lib
import world

APPS = int(os.environ.get("BENCH_APPS", "50000"))
FEW = 10
TENANTS = 500
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "3"))
ENOUGH = 80  # seconds after which no round begins: one takes a minute, more on a busy machine
WAKES = 100  # a round, of each kind
SETTLE = 0.3  # seconds, in which a commit and what was removed reach the disk: nobody is measured meanwhile

APP = ("- {{name: site{n:05}, tenant: t{tenant:03}, image: {image}, command: [/server, \"80\"], ports: [{{port: 80, protocol: http}}], "
       "routes: [{{domain: www.site{n:05}.example}}], limits: {{memory: 64M, processes: 64}}, snapshot: off, egress: none, "
       "sleep: {{freeze: never, page: never, save: never}}, stop: {{grace: 1s}}, labels: {{bench: 'yes'}}}}\n")


def apply(host, numbers):
    path = host.dir / "apps.yaml"
    path.write_text("apps:\n" + "".join(APP.format(n=n, tenant=n % TENANTS, image=host.image) for n in numbers))
    host.niwa("apply", "-q", path, timeout=600)


def remove(host):
    host.niwa("rm", "-q", "--yes", "--label", "bench=yes", timeout=600)


def wake(host, ask, numbers):
    """ms of each, the app stopped before and after."""
    took = []
    for n in numbers:
        name = f"site{n:05}"
        took.append(ask(host.address(name))[0])
        host.stop_app(name)
        time.sleep(0.02)  # the next visitor comes to a host that has tidied up
    return took


class Wakes:
    """ms: of first visits, of later ones."""

    def __init__(self):
        self.first, self.later = [], []

    def visit(self, host, ask, numbers):
        self.first += wake(host, ask, numbers)
        self.later += wake(host, ask, numbers)

    def __iadd__(self, other):
        self.first += other.first
        self.later += other.later
        return self


def few_wakes(host, ask, draw):
    """Ten apps after ten others, none of which was there before; the last ten are visited again and again."""
    wakes = Wakes()
    for turn in range(WAKES // FEW):
        if turn:
            remove(host)
        numbers = draw(FEW)
        apply(host, numbers)
        time.sleep(SETTLE)
        wakes.first += wake(host, ask, numbers)
    wakes.later = wake(host, ask, numbers * (WAKES // FEW))
    remove(host)
    return wakes


def many_wakes(host, ask, draw):
    wakes = Wakes()
    for _ in range(WAKES // FEW):
        wakes.visit(host, ask, draw(FEW))
    return wakes


def memory(report, host, before, ask, draw):
    """What niwad takes, before anybody was awake and after; before: without the apps."""
    report.value(f"{APPS} apps: memory of niwad, for each", "bytes", (host.rss_anon() - before) / APPS, "bytes", most=1024)
    before = host.rss_anon()
    wake(host, ask, draw(100))
    report.value("what it adds to one that was awake once", "bytes", (host.rss_anon() - before) / 100, "bytes")


def one_round(report, host, ask, draw, turn):
    few = few_wakes(host, ask, draw)
    before = host.rss_anon()
    apply(host, range(APPS))
    time.sleep(SETTLE)
    if turn == 0:
        memory(report, host, before, ask, draw)
    many = many_wakes(host, ask, draw)
    with lib.Stopwatch() as s:
        remove(host)
    if turn == 0:
        report.value(f"niwa rm of {APPS} apps by a label", "p50", s.ms / 1000, "s")
    return few, many


def tell(report, rounds):
    def against(mine, theirs):
        ratios = [lib.percentile(mine(many), 50) / lib.percentile(theirs(few), 50) for few, many in rounds]
        return statistics.median(ratios)

    few, many = Wakes(), Wakes()
    for f, m in rounds:
        few += f
        many += m
    report.samples(f"the first wake of one of {FEW}", few.first, "ms")
    report.samples(f"the first wake of one of {APPS}", many.first, "ms")
    report.samples(f"a later wake of one of {FEW}", few.later, "ms")
    report.samples(f"a later wake of one of {APPS}", many.later, "ms")
    for case, mine, theirs in (("a first wake against a first one", "first", "first"),
                               ("a later wake against a later one", "later", "later"),
                               ("a first wake against a later one", "first", "later")):
        report.value(f"{APPS} apps against {FEW}: {case}", "ratio",
                     against(lambda w, m=mine: getattr(w, m), lambda w, t=theirs: getattr(w, t)), "", most=1.2)


def main():
    report = lib.Report("sleeping-50k")
    fresh = random.Random(50).sample(range(APPS), 2 * ROUNDS * WAKES + 100 + FEW)
    rounds, began = [], time.monotonic()

    def draw(count):
        return [fresh.pop() for _ in range(count)]

    with world.running() as host, host.client() as ask:
        numbers = draw(FEW)  # whatever is only needed once
        apply(host, numbers)
        wake(host, ask, numbers * 3)
        remove(host)
        while len(rounds) < ROUNDS and (not rounds or time.monotonic() - began < ENOUGH):
            rounds.append(one_round(report, host, ask, draw, len(rounds)))
        report.value("rounds", "count", len(rounds), "")
        tell(report, rounds)
    return report.done()


sys.exit(main())
