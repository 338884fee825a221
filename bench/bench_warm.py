#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench warm: requests a second through the service address against the private address, the same load, rounds that take
turns: with keep-alive, and with a new connection for each request; and, without a target, the same with one bare rule of
nftables in the place of niwa's: what the kernel takes for translating the connections of its own host."""
import re
import statistics
import subprocess
import sys
from pathlib import Path

import lib
import world

ROUNDS = 12
SECONDS = 1
CONNECTIONS = 16
BARE = """
delete table inet niwa
table ip bare {{
	chain output {{ type nat hook output priority -100; ip daddr {} dnat to {}; }}
}}
"""
PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Side:
    """One of the two addresses, with client ports of its own: the client's address is the same for both, so connections
    to the service address would else be translated into such as exist already."""

    def __init__(self, address, ports):
        self.address = address
        self.ports = ports

    def load(self, *more):
        """Requests a second."""
        PORTS.write_text(self.ports)
        said = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", *more,
                               f"http://{self.address}:{world.PORT}/"],
                              text=True, stdout=subprocess.PIPE, check=True).stdout
        if re.search(r"Non-2xx|Socket errors", said):
            raise RuntimeError(said)
        return float(re.search(r"Requests/sec:\s*([\d.]+)", said).group(1))


def compare(report, case, least, service, private, *more):
    pairs = []
    for n in range(ROUNDS):  # who begins takes turns, too
        first, second = (service, private) if n % 2 else (private, service)
        rates = {side: side.load(*more) for side in (first, second)}
        pairs.append((rates[service], rates[private]))
    report.value(f"{case}, service address", "rate", statistics.median(a for a, _ in pairs), "/s")
    report.value(f"{case}, private address", "rate", statistics.median(b for _, b in pairs), "/s")
    report.value(case, "percent", statistics.median(100 * a / b for a, b in pairs), "%", least=least)


def compare_bare(report, host, service, private):
    """Last: niwad would put its rules back, so it has to go."""
    host.kill_niwad()
    subprocess.run(["nft", "-f", "-"], input=BARE.format(service.address, private.address), text=True, check=True)
    compare(report, "keep-alive, one bare rule", None, service, private)


def main():
    report = lib.Report("warm")
    with world.running(conntrack_max=1048576) as host:
        address = host.declare(["app"], **{"64M": "512M"})["app"]
        with host.client() as ask:
            ask(address)
        service = Side(address, "2048 33000")
        private = Side(host.show("app")["instances"][0]["private_address"], "34000 65000")
        compare(report, "keep-alive", 97, service, private)
        compare(report, "a new connection a request", 90, service, private, "-H", "Connection: close")
        compare_bare(report, host, service, private)
    return report.done()


sys.exit(main())
