#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench apply-50k: `niwa apply` of a file of 50,000 apps of 500 tenants, of the same again, of the file with one app
changed, and of one app alone; niwad's start with all of them until it answers; how long a question to niwad waits meanwhile;
listing and removing."""
import os
import statistics
import sys
import time

import lib
import world
from turns import Turns

APPS = int(os.environ.get("BENCH_APPS", "50000"))
TENANTS = 500
ROUNDS = 25
STARTS = 5

APP = ("- {{name: site{n:05}.example, tenant: t{tenant:03}, image: host, command: [/usr/sbin/apache2, -DFOREGROUND, -f, "
       "/srv/www/apache.conf], ports: [{{port: 80, protocol: http}}], routes: [{{domain: www.site{n:05}.example}}], "
       "volumes: [{{from: /srv/www/site{n:05}, to: /srv/www}}], "
       "limits: {{memory: {memory}M, cpu: 50%, processes: 64}}, lifetime: 1h, sleep: {{freeze: 2s, page: 30s, save: 5m}}}}\n")


def app(n, memory=256):
    return APP.format(n=n, tenant=n % TENANTS, memory=memory)


def applied(host, path, says):
    with lib.Stopwatch() as s:
        said = host.niwa("apply", "-q", path, timeout=600).stdout
    assert says in said, said
    return s.ms


def commit_one(host, rpc, n):
    """What niwad does for one changed app, without the start of the command line."""
    record = host.show(f"site{n:05}.example")["record"]
    record["limits"]["memory"] = (300 << 20) + (time.monotonic_ns() & 0xfffff) * 4096 % (64 << 20)
    with lib.Stopwatch() as s:
        txn = rpc.call("apply.begin")["txn"]
        rpc.call("apply.put", txn=txn, apps=[record])
        done = rpc.call("apply.commit", txn=txn)
    assert done["changed"] == 1, done
    return s.ms


def apply_all(report, host, turns):
    path = host.dir / "all.yaml"
    path.write_text("apps:\n" + "".join(app(n) for n in range(APPS)))
    report.value(f"apply {APPS} apps", "p50", applied(host, path, f"added {APPS}") / 1000, "s", most=20)
    turns.take(report, "apply")
    report.value("apply the same again", "p50", applied(host, path, f"unchanged {APPS}") / 1000, "s")
    turns.take(report, "apply the same again")


def change_one(report, host, turns):
    one = host.dir / "one.yaml"
    took = []
    for n in range(ROUNDS):
        one.write_text("apps:\n" + app(n * 37 % APPS, 300 + n))
        took.append(applied(host, one, "changed 1"))
    report.value("niwa apply of one changed app", "p50", statistics.median(took), "ms")
    with host.talk() as rpc:
        took = [commit_one(host, rpc, n * 41 % APPS) for n in range(lib.RUNS)]
    report.samples("change one app", took, "ms", p50=5)
    turns.take(report, "change one app")


def starts(report, host, turns):
    took = []
    for _ in range(STARTS):
        host.kill_niwad()
        with lib.Stopwatch() as s:
            host.start_niwad(turns.env)
            host.rpc("ping")
        took.append(s.ms / 1000)
        turns.forget()  # before it answers nobody waits
    report.value("start of niwad, until it answers", "p50", statistics.median(took), "s", most=3)
    time.sleep(3)  # what it does afterwards
    turns.take(report, "after a start")


def listing(report, host, turns):
    for case, count, words in (("of all", APPS, ()), ("of a tenant", APPS // TENANTS, ("--tenant", "t007"))):
        with lib.Stopwatch() as s:
            found = len(host.niwa("ls", "-q", *words).stdout.split())
        assert found == count, (found, count)
        report.value(f"niwa ls {case}", "p50", s.ms, "ms")
    turns.take(report, "ls")


def main():
    report = lib.Report("apply-50k")
    world.leave_the_machine_alone()
    host = world.World()
    turns = Turns(host)
    try:
        host.start(None, turns.env)
        for part in (apply_all, change_one, starts, listing):
            part(report, host, turns)
        report.value("memory of niwad, an app", "bytes", host.rss_anon() / APPS, "bytes")
    finally:
        host.stop()
    return report.done()


sys.exit(main())
