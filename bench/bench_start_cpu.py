#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench start-cpu: what a start and a stop cost of processor time, on a busy machine too: 100 apps are visited once each, freeze
after a second and stop after two. niwad, niwa-keep and what it has reaped are counted to the nanosecond; threads of the kernel,
which take namespaces and control groups away, are counted whoever they work for. With a quiet table of connections, and
with 30,000 others in it. BENCH_BEFORE names the build folder of another version: the two take turns, and are compared."""
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import lib
import world

from host import wait_for  # noqa: E402  (world.py has made its folder known)

APPS, ROUNDS, PARALLEL = 100, 5, 4
OTHERS = {"a quiet table": 0, "30,000 other connections": 30000}
THREADS = ("kworker", "ksoftirqd", "rcu_", "kthreadd")
AWAKE, SLEEPY = 'sleep: {freeze: "0", page: "0", save: "0"}', "sleep: {freeze: 1s, page: never, save: 2s}\n    snapshot: off"


def used_ms(pid):
    """With the threads that have ended: the clock that clock_getcpuclockid(3) gives."""
    return time.clock_gettime_ns(~pid << 3 | 2) / 1e6


def reaped_ms(pid):
    words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(words[13]) + int(words[14])) * 1000 / os.sysconf("SC_CLK_TCK")


def kernel_ms():
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text().startswith(THREADS):
                total += int((folder / "schedstat").read_text().split()[0]) / 1e6
        except OSError:
            pass  # it has just ended
    return total


def fill(count):
    """So many entries of others in conntrack's table; they stay for half a minute."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for n in range(count):
            sock.sendto(b"x", (f"127.1.{1 + n // 60000}.1", 1024 + n % 60000))


def cycle(host, addresses):
    """ms of each start and stop"""
    before = (used_ms(host.niwad.pid), used_ms(host.keep.pid), reaped_ms(host.keep.pid), kernel_ms())
    answers = host.ask_many(addresses, PARALLEL)
    assert len(answers) == len(addresses)
    wait_for("all sleep", lambda: host.rpc("host.status")["instances"] == 0, timeout=60, pause=0.1)
    time.sleep(1)  # namespaces are taken away later
    after = (used_ms(host.niwad.pid), used_ms(host.keep.pid), reaped_ms(host.keep.pid), kernel_ms())
    return [(b - a) / len(addresses) for a, b in zip(before, after)]


def measure():
    """One round of the build that NIWA_BUILD names: a JSON object on stdout."""
    with world.running(conntrack_max=1048576) as host:
        addresses = list(host.declare([f"app{n}" for n in range(APPS)], **{AWAKE: SLEEPY}).values())
        cycle(host, addresses)
        found = {}
        for case, others in OTHERS.items():
            fill(others)
            found[case] = cycle(host, addresses)
    print(json.dumps(found))
    return 0


def one(build):
    done = subprocess.run([sys.executable, "-B", __file__, "--round"], env={**os.environ, "NIWA_BUILD": str(build)}, check=True,
                          text=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def main():
    if sys.argv[1:] == ["--round"]:
        return measure()
    report, before = lib.Report("start-cpu"), os.environ.get("BENCH_BEFORE")
    now, then = [], []
    for _ in range(ROUNDS):
        now.append(one(world.BUILD))
        then += [one(Path(before).resolve())] if before else []
    for case in OTHERS:
        parts = [statistics.median(p) for p in zip(*(r[case] for r in now))]
        for part, ms in zip(("niwad", "niwa-keep", "the instance", "threads of the kernel"), parts):
            report.value(f"{case}: {part}", "p50", ms, "ms")
        report.value(f"{case}: niwad, niwa-keep and the instance", "p50", statistics.median(sum(r[case][:3]) for r in now), "ms")
        if then:
            ratio = statistics.median(sum(a[case][:3]) / sum(b[case][:3]) for a, b in zip(now, then))
            report.value(f"{case}: against the version before", "ratio", ratio, "")
    return report.done()


sys.exit(main())
