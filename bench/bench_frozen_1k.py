#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench frozen-1k: 1,000 frozen Python web applications (BENCH_APPS: another number): memory of each, before and after
paging where the host has swap, and what a visitor of a frozen one waits against one of a running one. Nothing is paged
before all are frozen and measured: until then niwad has no budget for it."""
import os
import sys
from pathlib import Path

import lib
import world
from host import wait_for

APPS = int(os.environ.get("BENCH_APPS", "1000"))
ASKED = min(APPS, 300)
# The answer in one piece, as the client wants it.
SERVER = ("import email, html, http.server, json, logging, sqlite3, urllib.parse, uuid; n = bytes([13, 10]); "
          "say = lambda s: s.wfile.write(b'HTTP/1.1 200 OK' + n + b'Content-Length: 4' + n + n + b'up 0'); "
          "h = type('H', (http.server.BaseHTTPRequestHandler,), {'protocol_version': 'HTTP/1.1', 'do_GET': say}); "
          "http.server.ThreadingHTTPServer(('', 80), h).serve_forever()")
APP = """
  - name: {name}
    tenant: bench
    image: host
    command: [/usr/bin/python3, -Ic, "{server}"]
    ports: [{{port: 80, protocol: http}}]
    sleep: {{freeze: 2s, page: 4s, save: never}}
    snapshot: off
"""


def in_state(host, state):
    return sum(row["state"] == state for row in host.rows())


def memory(host, names):
    """Bytes that an app uses, on average."""
    with host.talk() as rpc:
        return sum(rpc.call("app.show", name=name)["memory_bytes"] for name in names) / len(names)


def begin_paging(host):
    """The instances go on."""
    host.kill_niwad()
    host.configure(**{**host.settings, "page_budget": "64G"})
    host.start_niwad()
    if os.environ.get("BENCH_PRIORITY"):
        host.hurry()


def swapped_bytes(names):
    """What is in swap of each, and what that takes of the memory where it is compressed (zram)."""
    info = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in Path("/proc/meminfo").read_text().splitlines()}
    compressed = sum(int(stat.read_text().split()[2]) for stat in Path("/sys/block").glob("zram*/mm_stat"))
    return (info["SwapTotal"] - info["SwapFree"]) / len(names), compressed / len(names)


def measure_paged(report, host, names):
    before, there = memory(host, names), swapped_bytes(names)
    begin_paging(host)
    wait_for("all are paged", lambda: in_state(host, "paged") == APPS, timeout=600, pause=1)
    after = memory(host, names)
    swapped, compressed = (now - then for now, then in zip(swapped_bytes(names), there))
    report.value(f"{APPS} frozen: memory of each", "bytes", before, "bytes")
    report.value(f"{APPS} paged: of that", "percent", 100 * after / before, "%", most=25)
    report.value(f"{APPS} paged: in swap of each", "bytes", swapped, "bytes")
    if compressed > 0:
        report.value(f"{APPS} paged: memory that takes, compressed, of what it was", "percent", 100 * compressed / before, "%")


def visit_all(ask, addresses):
    return [ask(address)[0] for address in addresses]


def main():
    report = lib.Report("frozen-1k")
    names = [f"app{n}" for n in range(APPS)]
    with world.running(page_budget="0") as host, host.client() as ask:
        host.apply("apps:" + "".join(APP.format(name=name, server=SERVER) for name in names))
        at = {row["name"]: row["service_address"] for row in host.rows()}
        visit_all(ask, (at[name] for name in names))
        wait_for("all are frozen", lambda: in_state(host, "frozen") == APPS, timeout=120, pause=0.5)
        with_swap = world.swap_bytes() > 0
        if not with_swap:
            report.value(f"{APPS} frozen: memory of each", "bytes", memory(host, names), "bytes")
            print("frozen-1k: this host has no swap: paging is not measured", file=sys.stderr)
        else:
            measure_paged(report, host, names)
        asleep = visit_all(ask, (at[name] for name in names[:ASKED]))
        awake = visit_all(ask, (at[name] for name in names[:ASKED]))
        report.samples("paged" if with_swap else "frozen", asleep, "ms")
        report.samples("running", awake, "ms")
    return report.done()


sys.exit(main())
