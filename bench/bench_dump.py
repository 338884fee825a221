#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench dump: how long WordPress stands still while its image is taken: what niwad says, and what a client sees that asks
all the time (the longest answer around the dump)."""
import sys
import threading
import time

import lib
import restore
from clients import AWAKE, apply, http, records
from host import wait_for

DUMPS = 20


class Visitor:
    """Asks for a page that wants no database, with a short pause between."""

    def __init__(self, address):
        self.address, self.longest, self.failed = address, 0.0, []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over.is_set():
            began = time.perf_counter()
            try:
                http(self.address, "/who?db=0")
            except Exception as e:  # told by the benchmark
                self.failed.append(e)
            self.longest = max(self.longest, (time.perf_counter() - began) * 1000)
            self.over.wait(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


def taken(host):
    return restore.image_of(host, "wordpress").get("usable")


def main():
    report = lib.Report("dump")
    still, seen, failed = [], [], []
    with restore.running() as host, restore.client(host) as ask, host.talk() as rpc:
        site, database = records("wordpress", sleep=AWAKE)
        apply(host, database, {**site, "snapshot": "ready"})
        address = host.address("wordpress")
        try:
            restore.take(host, "wordpress", ask)
        except restore.NoSnapshot as why:
            print(f"dump: no snapshot is taken: {why}", file=sys.stderr)
            return 1
        for _ in range(DUMPS):
            rpc.call("snapshot.remove", name="wordpress")
            host.niwa("stop", "wordpress")
            http(address, "/")  # started, and a dump follows by itself
            with Visitor(address) as visitor:
                wait_for("an image", lambda: taken(host), 30)
            still.append(restore.image_of(host, "wordpress")["still_us"] / 1000)
            seen.append(visitor.longest)
            failed += visitor.failed
    report.value("stood still, says niwad", "p50", lib.percentile(still, 50), "ms", most=150)
    report.value("stood still, says niwad", "p99", lib.percentile(still, 99), "ms")
    report.value("longest answer to a client around it", "p50", lib.percentile(seen, 50), "ms")
    report.value("longest answer to a client around it", "p99", lib.percentile(seen, 99), "ms")
    report.value("requests that failed meanwhile", "count", len(failed), "", most=0)
    return report.done()


sys.exit(main())
