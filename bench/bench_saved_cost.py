#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench saved-cost: what a saved app costs the host: bytes of niwad's own memory, kernel objects. 10,000 apps share one
image; where images are not shared, a few have their own, what that adds is counted to what 10,000 stopped apps take,
and the target counts as missed."""
import json
import subprocess
import sys

import bench_restores as restores
import lib
import restore

APPS, OWN_APPS = 10000, 40


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


def main():
    report = lib.Report("saved-cost")
    names = [f"app{n}" for n in range(APPS)]
    with restore.running() as host, restore.client(host) as ask:
        memory, kernel = host.rss_anon(), elements() + objects(host)
        shared = restores.prepare(host, ask, names, "shared")
        tell(report, f"{APPS} apps, {'saved' if shared else 'stopped'}", APPS, host.rss_anon() - memory,
             elements() + objects(host) - kernel, 1024)
        if not shared:
            report.missed += 1
            own = [f"own{n}" for n in range(OWN_APPS)]
            memory, kernel = host.rss_anon(), elements() + objects(host)
            if restores.prepare(host, ask, own, "ready"):
                tell(report, f"{OWN_APPS} more, saved, an image each", OWN_APPS, host.rss_anon() - memory,
                     elements() + objects(host) - kernel, None)
    return report.done()


sys.exit(main())
