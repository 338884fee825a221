#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench storm: a thousand different stopped apps visited at once, and in the middle of that visitors of other tenants'
apps, one after the other. Once the thousand apps are one tenant's, once each has a tenant of its own."""
import subprocess
import sys
import time

import lib
import world

APPS = 1000
VISITORS = 10
BEFORE_S = 0.5  # all of the storm is there when the first visitor comes
PAUSE_S = 0.1


def storm(host, addresses):
    """The visits under way; their answers come when they are waited for."""
    child = subprocess.Popen([host.dir / "client", str(len(addresses))], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True)
    child.stdin.write("".join(f"{address} {world.PORT}\n" for address in addresses))
    child.stdin.close()
    return child


def answers(child):
    """[(ms, moment of the connect in us)], number of errors"""
    good, errors = [], 0
    for line in child.stdout.read().splitlines():
        words = line.split()
        if len(words) == 5:
            good.append((int(words[1]) / 1000, int(words[2])))
        else:
            errors += 1
    child.wait()
    return good, errors


def measure(report, host, case, apps, visitors):
    with host.client() as ask:
        under_way = storm(host, apps)
        time.sleep(BEFORE_S)
        waited = []
        for address in visitors:
            waited.append(ask(address)[0])
            time.sleep(PAUSE_S)
        in_storm = under_way.poll() is None
    good, errors = answers(under_way)
    first = min(at for _, at in good)
    last = max(at + ms * 1000 for ms, at in good)
    report.value(f"{case}: errors", "count", errors + APPS - errors - len(good), "", most=0)
    report.value(f"{case}: connections made within", "p99", (max(at for _, at in good) - first) / 1e6, "s")
    report.value(f"{case}: the last one is answered after", "p99", (last - first) / 1e6, "s")
    report.value(f"{case}: one of them waits", "p50", lib.percentile([ms for ms, _ in good], 50), "ms")
    report.value(f"{case}: the slowest of {VISITORS} visitors of others", "p99", max(waited) / 1000, "s",
                 most=1)
    if not in_storm:
        print(f"storm: {case}: it was over before the last visitor had come", file=sys.stderr)


def main():
    report = lib.Report("storm")
    with world.running() as host:
        one = [f"app{n}" for n in range(APPS)]
        many = [f"site{n}" for n in range(APPS)]
        others = [f"visited{n}" for n in range(2 * VISITORS)]
        addresses = host.declare(one)
        addresses.update(host.declare(many + others, **{"    tenant: bench\n": ""}))
        time.sleep(1)
        measure(report, host, "one tenant", [addresses[n] for n in one], [addresses[n] for n in others[:VISITORS]])
        for name in one:
            host.stop_app(name)
        time.sleep(2)
        measure(report, host, "a thousand tenants", [addresses[n] for n in many],
                [addresses[n] for n in others[VISITORS:]])
    return report.done()


sys.exit(main())
