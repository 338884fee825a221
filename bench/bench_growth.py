#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench growth: what spreading costs a new connection, against an app with one instance, taking turns; how even it is;
and how long after the end of one of three instances its share is the others'."""
import os
import signal
import socket
import subprocess
import sys
import time

import lib
import world

RUNS = 600
KILLS = 3
SCALE = "stop: {grace: 1s}\n    scale: {max: MAX, connections: 1, quiet: 1h}"


def serving(host, name):
    return [i for i in host.show(name)["instances"] if i["life"] == "serving"]


def grow(host, name, address, count):
    """Until `count` instances serve; each connection that is held open fills one."""
    held = []
    until = time.monotonic() + 60
    while len(serving(host, name)) < count and time.monotonic() < until:
        if len(held) < len(serving(host, name)):
            held.append(socket.create_connection((address, world.PORT)))
        time.sleep(0.1)
    for s in held:
        s.close()
    while len(shares(host)) < count and time.monotonic() < until:
        time.sleep(0.1)
    return serving(host, name)


def shares(host):
    """Private addresses that have buckets."""
    text = subprocess.run(["nft", "list", "map", "inet", "niwa", "spread"], capture_output=True, text=True).stdout
    return {part.split(":")[1].strip(" ,}\n\t") for part in text.split("elements = {")[-1].split(",") if ":" in part}


def evenness(host, ask, address, instances):
    """The smallest part of 3,000 connections that an instance got, in percent of an even one."""
    before = {i["pid"]: accepted(i["pid"]) for i in instances}
    for _ in range(3000):
        ask(address)
    got = [accepted(i["pid"]) - before[i["pid"]] for i in instances]
    return 100 * min(got) * len(got) / sum(got)


def accepted(pid):
    """Connections that the kernel of an instance has accepted for it."""
    names, values = [line.split() for line in open(f"/proc/{pid}/net/snmp") if line.startswith("Tcp:")]
    return int(values[names.index("PassiveOpens")])


def kill_one(host):
    """ms from the kill to the moment its share is given to others."""
    victim = serving(host, "three")[0]
    began = time.monotonic()
    os.kill(victim["pid"], signal.SIGKILL)
    while victim["private_address"] in shares(host):
        pass
    return (time.monotonic() - began) * 1000


def main():
    report = lib.Report("growth")
    with world.running() as host, host.client() as ask:
        one = host.declare(["one"])["one"]
        three = host.declare(["three"], **{"stop: {grace: 1s}": SCALE.replace("MAX", "3")})["three"]
        ask(one)
        ask(three)
        instances = grow(host, "three", three, 3)
        if len(instances) != 3:
            raise RuntimeError(f"it did not grow: {host.niwad_log()[-2000:]}")
        pairs = [(ask(one)[0], ask(three)[0]) for _ in range(RUNS)]
        even = evenness(host, ask, three, instances)
        kills = []
        for _ in range(KILLS):
            kills.append(kill_one(host))
            grow(host, "three", three, 3)
    report.samples("one instance", [a for a, _ in pairs], "ms")
    report.samples("three instances", [b for _, b in pairs], "ms")
    report.value("three against one", "ratio", lib.percentile([b for _, b in pairs], 50) / lib.percentile([a for a, _ in pairs], 50), "", most=1.25)
    report.value("smallest part of an instance", "percent", even, "%", least=80)
    report.value("share of a dead instance given away", "p50", lib.percentile(kills, 50), "ms")
    report.value("share of a dead instance given away", "p99", max(kills), "ms", most=1000)
    return report.done()


sys.exit(main())
