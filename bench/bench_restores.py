#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench restores: different apps restored per second, sustained, by clients that wait for each answer, and the CPU time of
a restore: of niwad, niwa-keep, niwa-relay and of the instances, in which CRIU runs. A small server, one image for all;
where images are not shared, each app has its own, and the target counts as missed."""
import os
import sys
import time
from pathlib import Path

import lib
import restore
from clients import AWAKE, apply
from host import wait_for

APPS = 300
PARALLEL = 8
MIB, MS = 1, 100
OWN_APPS = 60  # each is started and dumped before


def declared(host, name, snapshot):
    return {"name": name, "tenant": "bench", "image": str(host.image), "command": ["/server", "80", str(MIB), str(MS)],
            "ports": [{"port": 80, "protocol": "http"}], "limits": {"memory": "64M", "processes": 64}, "sleep": AWAKE,
            "stop": {"grace": "1s"}, "snapshot": snapshot}


def saved(host):
    return [row["name"] for row in host.rows() if row["state"] == "saved"]


def prepare(host, ask, names, snapshot):
    """Declares the apps and waits until all of them are saved; True when they are."""
    apply(host, *(declared(host, name, snapshot) for name in names))
    first = names if snapshot == "ready" else names[:1]
    try:
        for name in first:
            restore.take(host, name, ask)
        for name in first:
            host.stop_app(name)
        wait_for("all are saved", lambda: len(saved(host)) >= len(names), timeout=15, pause=0.2)
    except (restore.NoSnapshot, AssertionError) as why:
        print(f"restores: snapshot: {snapshot}: {why}; {len(saved(host))} of {len(names)} are saved", file=sys.stderr)
        return False
    return True


def spent(pid):
    """CPU ms of a process and of its children that have ended."""
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(word) for word in words[11:15]) * 1000 / os.sysconf("SC_CLK_TCK")


def cpu_ms(host, rpc, names):
    """(programs of the host, instances that run)"""
    programs = sum(spent(pid) for pid in (host.niwad.pid, host.keep.pid, host.rpc("host.status")["relay"]["pid"]))
    return programs, sum(rpc.call("app.show", name=name).get("cpu_us", 0) for name in names) / 1000


def measure(report, host, names, case, least):
    with host.talk() as rpc:
        addresses = [rpc.call("app.show", name=name)["service_address"] for name in names]
        before, _ = cpu_ms(host, rpc, [])
        time.sleep(1)
        answers = host.ask_many(addresses, PARALLEL)
        after, inside = cpu_ms(host, rpc, names)
        ways = [rpc.call("app.show", name=name)["last_wake"]["path"] for name in names]
    first, last = min(at for _, at, _ in answers), max(at + ms * 1000 for ms, at, _ in answers)
    report.value(case, "rate", len(names) / (last - first) * 1e6, "/s", least=least)
    report.samples(f"{case}: connect to first byte", [ms for ms, _, _ in answers], "ms")
    report.value(f"{case}: CPU ms of a restore, instance with CRIU", "ratio", inside / len(names), "ms")
    report.value(f"{case}: CPU ms of a restore, niwad, keep and relay", "ratio", (after - before) / len(names), "ms")
    report.value(f"{case}: not by restore", "count", sum(way != "restore" for way in ways), "", most=0)


def main():
    report = lib.Report("restores")
    with restore.running() as host, restore.client(host) as ask:
        names = [f"app{n}" for n in range(APPS)]
        if prepare(host, ask, names, "shared"):
            measure(report, host, names, f"{APPS} apps, one image", 60)
            return report.done()
        report.missed += 1
        host.niwa("rm", *names)
        names = [f"own{n}" for n in range(OWN_APPS)]
        if prepare(host, ask, names, "ready"):
            measure(report, host, names, f"{OWN_APPS} apps, an image each", 60)
    return report.done()


if __name__ == "__main__":
    sys.exit(main())
