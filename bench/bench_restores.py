#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench restores: different apps restored per second, sustained, by clients that wait for each answer, and the CPU time of
a restore: of niwad, niwa-keep, niwa-relay and of the instances, in which CRIU runs. A small server, one image for all
(snapshot: shared), of which all but the first app were never started; then the same server with 20 MiB of memory."""
import os
import sys
import time
from pathlib import Path

import lib
import restore
from clients import AWAKE, apply
from host import wait_for

APPS, LARGER = 600, 150
PARALLEL = 8
MIB, LARGER_MIB = 1, 20
MS = 2000  # it starts so slowly that a restore is faster also where many come at a time


def declared(host, name, mib):
    return {"name": name, "tenant": "bench", "image": str(host.image), "command": ["/server", "80", str(mib), str(MS)],
            "ports": [{"port": 80, "protocol": "http"}], "limits": {"memory": "64M", "processes": 64}, "sleep": AWAKE,
            "stop": {"grace": "1s"}, "snapshot": "shared"}


def saved(host):
    return [row["name"] for row in host.rows() if row["state"] == "saved"]


def prepare(host, ask, names, mib=MIB):
    """Declares the apps and waits until all of them are saved by the visit of the first; True when they are."""
    apply(host, *(declared(host, name, mib) for name in names))
    try:
        restore.take(host, names[0], ask)
        host.stop_app(names[0])
        wait_for("all are saved", lambda: set(names) <= set(saved(host)), timeout=60, pause=0.2)
    except (restore.NoSnapshot, AssertionError) as why:
        print(f"restores: {why}; {len(saved(host))} of {len(names)} are saved", file=sys.stderr)
        return False
    return host.show(names[-1])["snapshot"]["sharers"] == len(names)


def spent(pid):
    """CPU ms of a process and of its children that have ended."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(word) for word in words[11:15]) * 1000 / os.sysconf("SC_CLK_TCK")


def cpu_ms(host, rpc):
    """By program of the host."""
    pids = {"niwad": host.niwad.pid, "keep": host.keep.pid, "relay": rpc.call("host.status")["relay"]["pid"]}
    return {name: spent(pid) for name, pid in pids.items()}


def measure(report, host, names, case, least):
    with host.talk() as rpc:
        addresses = [rpc.call("app.show", name=name)["service_address"] for name in names]
        before = cpu_ms(host, rpc)
        time.sleep(1)
        answers = host.ask_many(addresses, PARALLEL)
        after = cpu_ms(host, rpc)
        shown = [rpc.call("app.show", name=name) for name in names]
        failed = rpc.call("host.status")["counts"]["failed_restores"]
    inside = sum(app.get("cpu_us", 0) for app in shown) / 1000
    first, last = min(at for _, at, _ in answers), max(at + ms * 1000 for ms, at, _ in answers)
    report.value(case, "rate", len(names) / (last - first) * 1e6, "/s", least=least)
    report.samples(f"{case}: connect to first byte", [ms for ms, _, _ in answers], "ms")
    report.value(f"{case}: CPU ms of a restore, instance with CRIU", "ratio", inside / len(names), "ms")
    for program in before:
        report.value(f"{case}: CPU ms of a restore, {program}", "ratio", (after[program] - before[program]) / len(names), "ms")
    report.value(f"{case}: not by restore", "count", sum(app["last_wake"]["path"] != "restore" for app in shown), "", most=0)
    report.value(f"{case}: failed restores", "count", failed, "", most=0)


def main():
    report = lib.Report("restores")
    with restore.running() as host, restore.client(host) as ask:
        names = [f"app{n}" for n in range(APPS)]
        if not prepare(host, ask, names):
            return 1
        measure(report, host, names, f"{APPS} apps", 60)
        with host.talk() as rpc:
            for name in names:
                rpc.call("app.stop", name=name)
        names = [f"larger{n}" for n in range(LARGER)]
        if not prepare(host, ask, names, LARGER_MIB):
            return 1
        measure(report, host, names, f"{LARGER} apps of {LARGER_MIB} MiB", None)
    return report.done()


if __name__ == "__main__":
    sys.exit(main())
