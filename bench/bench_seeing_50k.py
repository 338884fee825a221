#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench seeing-50k: what it takes to ask a niwad with 50,000 apps of 500 tenants, 200 of them awake, for its metrics and
for who uses most, and how long its loop is kept by that."""
import os
import sys

import lib
import world
from turns import Turns

APPS = int(os.environ.get("BENCH_APPS", "50000"))
AWAKE = int(os.environ.get("BENCH_AWAKE", "200"))
TENANTS = 500
PUT = 20  # records a call


def record(host, n):
    return {"name": f"site{n:05}.example", "tenant": f"t{n % TENANTS:03}", "image": str(host.image),
            "command": ["/server", "80"], "ports": [{"port": 80, "protocol": "http"}],
            "limits": {"memory": 64 << 20, "processes": 64}}


def declare(host, rpc):
    txn = rpc.call("apply.begin")["txn"]
    for first in range(0, APPS, PUT):
        rpc.call("apply.put", txn=txn, apps=[record(host, n) for n in range(first, min(first + PUT, APPS))])
    added = rpc.call("apply.commit", txn=txn)["added"]
    assert added == APPS, added


def ask(report, rpc, turns, case, method, p99, **params):
    took, number = [], 0
    for _ in range(lib.RUNS):
        with lib.Stopwatch() as s:
            answer = rpc.call(method, **params)
        number = answer.get("round", number)
        took.append(s.ms)
    report.samples(case, took, "ms", p99=p99)
    turns.take(report, case)


def rounds(report, rpc, turns):
    """Each call waits for a round of its own."""
    number, took = rpc.call("top")["round"], []
    for _ in range(20):
        with lib.Stopwatch() as s:
            number = rpc.call("top", after=number)["round"]
        took.append(s.ms)
    report.value(f"a round through {AWAKE} instances, the pause of 200 ms included", "p50", sorted(took)[10], "ms")
    turns.take(report, "rounds")


def main():
    report = lib.Report("seeing-50k")
    world.leave_the_machine_alone()
    host = world.World()
    turns = Turns(host)
    try:
        host.start(None, turns.env)
        rpc = host.connect()
        declare(host, rpc)
        for n in range(AWAKE):
            rpc.call("app.wake", name=f"site{n * 37 % APPS:05}.example")
        turns.take(lib.Report("nothing"), "declare and wake")
        ask(report, rpc, turns, "metrics.get", "metrics.get", 5)
        ask(report, rpc, turns, "top, apps by CPU", "top", 5, sort="cpu")
        ask(report, rpc, turns, "top, 200 apps by memory", "top", 10, sort="memory", limit=200)
        ask(report, rpc, turns, "top, tenants", "top", 5, by="tenant")
        rounds(report, rpc, turns)
        text = rpc.call("metrics.get")["text"]
        report.value("the text", "bytes", len(text), "bytes")
    finally:
        host.stop()
    return report.done()


sys.exit(main())
