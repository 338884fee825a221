# SPDX-License-Identifier: MIT
"""Cold start against restore, in turns, of the same software declared twice: one app is always started, the other one
has an image of its ready point. From connect to the first byte of the first answer at a compiled client. A figure of
`restored` comes only from wakes that the engine calls restores; without any there is none, and the benchmark fails."""
import contextlib
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import lib
import world
from clients import ASK, AWAKE, apply, records
from host import wait_for

CRIU = Path(os.environ.get("NIWA_CRIU", "/usr/local/libexec/niwa/criu"))
PAUSE = 0.05  # the next visitor comes to a host that has tidied up
COLD, RESTORED = "cold", "restored"


class NoSnapshot(Exception):
    """Why none was taken or used."""


def running():
    return world.running(criu=CRIU)


@contextlib.contextmanager
def client(host):
    """ask(address) -> ms from connect to the first byte of a 200"""
    with subprocess.Popen([host.dir / "client"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          errors="replace") as child:
        def ask(address, port=world.PORT):
            child.stdin.write(f"{address} {port}\n")
            child.stdin.flush()
            line = child.stdout.readline()
            if not line.split()[1:2] or not line.split()[1].isdigit():
                raise RuntimeError(f"the client says: {line.strip() or 'nothing'}")
            return int(line.split()[1]) / 1000
        yield ask
        child.stdin.close()


def image_of(host, name):
    """What the engine knows of the app's image; {} where it knows of none."""
    return host.show(name).get("snapshot") or {}


def take(host, name, ask):
    """Starts the app and waits until it has an image."""
    ask(host.address(name))
    if not image_of(host, name):
        raise NoSnapshot("this niwa makes none")
    with contextlib.suppress(AssertionError):
        wait_for("an image", lambda: image_of(host, name).get("usable") or image_of(host, name).get("last_reason"), 30)
    known = image_of(host, name)
    if not known.get("usable"):
        raise NoSnapshot(known.get("last_reason") or known.get("why_not") or "none was taken in 30 s")


class Case:
    """The wakes of one of the two."""

    def __init__(self, name, path):
        self.name, self.path = name, path
        self.times, self.stages, self.others = [], [], []

    def wake(self, host, rpc, ask, check):
        address = host.address(self.name)
        ms = ask(address)
        shown = rpc.call("app.show", name=self.name)
        if shown["last_wake"]["path"] == self.path:
            self.times.append(ms)
            self.stages.append(shown.get("stages", {}))
        else:
            self.others.append((shown.get("snapshot") or {}).get("last_reason") or "it was started, not restored")
        check(address)
        rpc.call("app.stop", name=self.name)
        time.sleep(PAUSE)


def stages_of(report, case):
    """Medians of the stages, each from the one before, of the wakes that the engine knew all of when it was asked."""
    most = max(len(s) for s in case.stages)
    whole = [s for s in case.stages if len(s) == most]
    order = sorted(whole[0], key=lambda name: statistics.median(s.get(name, 0) for s in whole))
    for before, name in zip(order, order[1:]):
        report.value(f"{case.path}: {before} to {name}", "p50",
                     statistics.median((s[name] - s[before]) / 1000 for s in whole if name in s and before in s), "ms")
    last = [ms - s[order[-1]] / 1000 for ms, s in zip(case.times, case.stages) if order[-1] in s]
    report.value(f"{case.path}: connect to accepted, and {order[-1]} to the client", "p50", statistics.median(last), "ms")


def compare(report, host, pair, runs, check, most=None, p99=None, least=None):
    """Wakes both apps of the pair (cold, restored) in turns. `most`, `p99`: targets of restored, ms; `least`: of the
    ratio."""
    cold, restored = Case(pair[0], "start"), Case(pair[1], "restore")
    missing = None
    with client(host) as ask, host.talk() as rpc:
        try:
            take(host, restored.name, ask)
        except NoSnapshot as why:
            missing = str(why)
        ask(host.address(cold.name))
        for name in pair:
            rpc.call("app.stop", name=name)
        for _ in range(runs):
            cold.wake(host, rpc, ask, check)
            if not missing:
                restored.wake(host, rpc, ask, check)
    tell(report, cold, restored, missing, (most, p99, least))


def tell(report, cold, restored, missing, targets):
    most, p99, least = targets
    report.value(COLD, "p50", statistics.median(cold.times), "ms")
    if restored.times:
        report.value(RESTORED, "p50", lib.percentile(restored.times, 50), "ms", most=most)
        report.value(RESTORED, "p99", lib.percentile(restored.times, 99), "ms", most=p99)
        report.value("cold / restored", "ratio", statistics.median(cold.times) / statistics.median(restored.times), "",
                     least=least)
        stages_of(report, restored)
    if restored.others:
        missing = restored.others[-1]
        report.value("wakes that should have been restores", "count", len(restored.others), "", most=0)
    if missing:
        print(f"{report.bench}: no snapshot was used{' each time' if restored.times else ''}: {missing}", file=sys.stderr)
        report.missed += not restored.others


def software(name, runs=30, most=None, least=None):
    """The whole benchmark of an app of tests/apps, or of its first where there are more; the others stay awake."""
    report = lib.Report(f"restore-{name}")
    with running() as host:
        first, *others = records(name, sleep=AWAKE)
        pair = (f"{name}-cold", f"{name}-restored")
        apply(host, *others, {**first, "name": pair[0], "snapshot": "off"}, {**first, "name": pair[1],
                                                                             "snapshot": "ready"})
        compare(report, host, pair, runs, ASK[name], most=most, least=least)
    return report.done()
