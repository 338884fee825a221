#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench restore-small: a static server of one process with 20 MiB of touched memory. It waits for 100 ms before it
listens, as no small server does: started at once it would be faster than any restore, and niwa would start it."""
import sys

import lib
import restore
from clients import AWAKE, apply, http

RUNS = 200
MIB, MS = 20, 100


def declared(host, name, snapshot):
    return {"name": name, "tenant": "bench", "image": str(host.image), "command": ["/server", "80", str(MIB), str(MS)],
            "ports": [{"port": 80, "protocol": "http"}], "limits": {"memory": "128M", "processes": 64}, "sleep": AWAKE,
            "stop": {"grace": "1s"}, "snapshot": snapshot}


def main():
    report = lib.Report("restore-small")
    with restore.running() as host:
        apply(host, declared(host, "cold", "off"), declared(host, "restored", "ready"))
        restore.compare(report, host, ("cold", "restored"), RUNS, http, most=25, p99=60)
    return report.done()


sys.exit(main())
