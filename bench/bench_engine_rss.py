#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench engine-rss: RssAnon of niwad with 1,000 stopped apps, and with 100 of them frozen."""
import sys

import lib
import world

STOPPED, FROZEN = 1000, 100


def main():
    report = lib.Report("engine-rss")
    with world.running() as host:
        report.value("no app", "bytes", host.rss_anon(), "bytes")
        addresses = host.declare([f"app{n}" for n in range(STOPPED)])
        report.value(f"{STOPPED} stopped, just applied", "bytes", host.rss_anon(), "bytes", most=6 << 20)
        names = list(addresses)[:FROZEN]
        host.ask_many([addresses[name] for name in names], 8)
        with host.talk() as rpc:
            for name in names:
                rpc.call("app.freeze", name=name)
        report.value(f"{FROZEN} of them frozen", "bytes", host.rss_anon(), "bytes", most=8 << 20)
        host.kill_niwad()
        host.start_niwad()
        report.value("the same, niwad started again", "bytes", host.rss_anon(), "bytes", most=8 << 20)
        with host.talk() as rpc:
            for name in names:
                rpc.call("app.stop", name=name)
        host.kill_niwad()
        host.start_niwad()
        report.value(f"{STOPPED} stopped, niwad started again", "bytes", host.rss_anon(), "bytes", most=6 << 20)
    return report.done()


sys.exit(main())
