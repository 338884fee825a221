#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench paging: what niwad spends on paging 1,000 idle apps of 20 MiB (BENCH_APPS: another number), under page_budget.
Needs swap. On a host without, niwad is told that there is some: then only the cost of looking through the processes and
asking the kernel is told, and nothing is moved."""
import os
import subprocess
import sys
from pathlib import Path

import lib
import world
from host import wait_for

APPS = int(os.environ.get("BENCH_APPS", "1000"))
MIB = 20
HOLDS = (f"import socket; m = bytearray(b'x') * ({MIB} << 20); s = socket.create_server(('', 80)); "
         "[c.close() for c, _ in iter(s.accept, None)]")
APP = """
  - name: app{n}
    tenant: bench
    image: host
    command: [/usr/bin/python3, -Ic, "{code}"]
    ports: [{{port: 80, protocol: http}}]
    sleep: {{freeze: 2s, page: 3s, save: never}}
    snapshot: off
"""


class Told(world.World):
    """Without swap its niwad alone is told that there is some."""

    def start_niwad(self, env=None, wait=True):
        if world.swap_bytes():
            super().start_niwad(env, wait)
            return
        real = Path("/proc/meminfo").read_text().splitlines()
        lines = [line for line in real if not line.startswith("Swap")] + ["SwapTotal: 67108864 kB", "SwapFree: 67108864 kB"]
        (self.dir / "meminfo").write_text("\n".join(lines) + "\n")
        script = 'mount --bind "$0" /proc/meminfo && exec "$@"'
        self.niwad = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, self.dir / "meminfo",
             world.BUILD / "src/engine/niwad", "--config", self.dir / "niwad.conf"], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.dir / "log/niwad.err", "ab"))
        wait_for("niwad answers", self.answers, timeout=30)


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main():
    report = lib.Report("paging")
    moved = "" if world.swap_bytes() else ", no swap: nothing moved"
    with world.running(Told, page_budget="64G") as host:
        host.apply("apps:" + "".join(APP.format(n=n, code=HOLDS) for n in range(APPS)))
        before_all = cpu_seconds(host.niwad.pid)
        for n in range(APPS):
            host.niwa("wake", f"app{n}")
        before = cpu_seconds(host.niwad.pid)
        wait_for("all are paged", lambda: all(row["state"] == "paged" for row in host.rows()), timeout=600, pause=2)
        spent = cpu_seconds(host.niwad.pid) - before
        report.value(f"{APPS} apps of {MIB} MiB{moved}: CPU of niwad for each, with freezing", "p50", 1000 * spent / APPS, "ms")
        report.value(f"{APPS} apps of {MIB} MiB{moved}: and for waking each", "p50", 1000 * (before - before_all) / APPS, "ms")
    return report.done()


sys.exit(main())
