#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench saved-cost: what a saved app costs the host: bytes of niwad's own memory, kernel objects. 10,000 apps share one
image (snapshot: shared); all but the first were never awake. What those add that were is told as well."""
import json
import subprocess
import sys

import bench_restores as restores
import lib
import restore
from host import wait_for

APPS, WOKEN = 10000, 200


def elements():
    """Of all sets and maps of the packet filter."""
    table = subprocess.run(["nft", "-j", "list", "table", "inet", "niwa"], capture_output=True, text=True, check=True)
    count = 0
    for item in json.loads(table.stdout)["nftables"]:
        count += sum(len(item[kind].get("elem", [])) for kind in ("set", "map") if kind in item)
    return count


def objects(host):
    """Everything else that an instance has while it exists."""
    links = len(subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout.splitlines())
    found = host.kernel_objects()
    return links + len(found["groups"]) + len(found["layers"]) + sum(v for v in found.values() if isinstance(v, int))


def tell(report, case, apps, memory, kernel, most):
    report.value(f"{case}: of niwad, for each", "bytes", memory / apps, "bytes", most=most)
    report.value(f"{case}: kernel objects, for each port", "ratio", kernel / apps, "", most=1)


def wake(host, ask, names):
    """Each once."""
    for name in names:
        ask(host.address(name))
        host.stop_app(name)
    wait_for("they are saved again", lambda: len(restores.saved(host)) == APPS, timeout=60, pause=0.2)


def main():
    report = lib.Report("saved-cost")
    names = [f"app{n}" for n in range(APPS)]
    with restore.running() as host, restore.client(host) as ask:
        memory, kernel = host.rss_anon(), elements() + objects(host)
        if not restores.prepare(host, ask, names):
            return 1
        wait_for("nothing is left of the first", host.nothing_left)
        tell(report, f"{APPS} apps, saved", APPS, host.rss_anon() - memory, elements() + objects(host) - kernel, 1024)
        wake(host, ask, names[:WOKEN])  # whatever is only needed once
        memory = host.rss_anon()
        wake(host, ask, names[WOKEN:2 * WOKEN])
        report.value(f"{WOKEN} of them woken once: added, for each of these", "bytes",
                     (host.rss_anon() - memory) / WOKEN, "bytes")
    return report.done()


sys.exit(main())
