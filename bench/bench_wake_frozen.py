#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench wake-frozen: what freezing adds to connect -> first byte, alternating with the running app in one run; the same
while 10,000 apps are being applied."""
import os
import subprocess
import sys
import time

import lib
import world

RUNS = 500
APPS = 10000
BUSY_RUNS = 300
PAUSE = 0.003  # the same before each request, so that both come to the same host
FILLER = """
  - name: filler{n}
    tenant: filler{t}
    image: host
    command: [/usr/bin/sleep, "{version}"]
    ports: [{{port: 80, protocol: http}}]
"""


def freeze(rpc):
    """The last segments of the request before may come while the app is freezing: then it is not frozen."""
    for _ in range(10):
        try:
            return rpc.call("app.freeze", name="app")
        except world.RpcError as err:
            if "bytes came" not in str(err):
                raise
    raise RuntimeError("the app cannot be frozen")


def pair(ask, rpc, address):
    """(ms running, ms frozen)"""
    time.sleep(PAUSE)
    running = ask(address)[0]
    freeze(rpc)
    time.sleep(PAUSE)
    return running, ask(address)[0]


def apply_filler(host, version):
    """A running `niwa apply` that adds, or changes, all of them."""
    path = host.dir / f"filler{version}.yaml"
    path.write_text("apps:" + "".join(FILLER.format(n=n, t=n // 20, version=version) for n in range(APPS)))
    return subprocess.Popen(["chrt", "-o", "0", world.BUILD / "src/cli/niwa", "apply", path],
                            stdout=subprocess.DEVNULL, env={**os.environ, "NIWA_SOCKET": str(host.socket)})


def while_applying(host, ask, rpc, address):
    pairs, version = [], 0
    while len(pairs) < BUSY_RUNS:
        version += 1
        apply = apply_filler(host, version)
        while apply.poll() is None:
            pairs.append(pair(ask, rpc, address))
        if apply.returncode != 0:
            raise RuntimeError("niwa apply failed")
    return pairs


def main():
    report = lib.Report("wake-frozen")
    with world.running() as host, host.client() as ask, host.talk() as rpc:
        address = host.declare(["app"])["app"]
        ask(address)
        pairs = [pair(ask, rpc, address) for _ in range(RUNS)]
        busy = while_applying(host, ask, rpc, address)
    report.samples("running", [a for a, _ in pairs], "ms")
    report.samples("frozen", [b for _, b in pairs], "ms")
    report.samples("added", [b - a for a, b in pairs], "ms", p50=0.3, p99=1.5)
    report.samples(f"running, {APPS} apps being applied", [a for a, _ in busy], "ms")
    report.samples(f"frozen, {APPS} apps being applied", [b for _, b in busy], "ms")
    report.samples(f"added, {APPS} apps being applied", [b - a for a, b in busy], "ms", p99=3)
    return report.done()


sys.exit(main())
