# SPDX-License-Identifier: MIT
"""Killing niwad where it hurts, and looking whether everything is as if nothing had happened."""

import http.client
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from host import CGROUP_V2, SLOW, wait_for

V1 = [Path("/sys/fs/cgroup") / name for name in ("memory", "cpu", "pids", "blkio")]
pool = ThreadPoolExecutor(16)


def get(address, path="/", port=80, timeout=30, source=None):
    """One request on a connection of its own, no second try: the status and the body."""
    connection = http.client.HTTPConnection(address, port, timeout=timeout * SLOW)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


def later(function, *args, **keys):
    return pool.submit(function, *args, **keys)


class Talk:
    """A connection that stays open, to the echo port."""

    def __init__(self, address, port=7):
        self.sock = socket.create_connection((address, port), timeout=30 * SLOW)

    def say(self, text=b"are you there\n"):
        self.sock.sendall(text)
        got = b""
        while len(got) < len(text):
            part = self.sock.recv(len(text) - len(got))
            assert part, f"the connection ended after {got!r}"
            got += part
        assert got == text

    def close(self):
        self.sock.close()


class Load:
    """Requests one after the other, until told to end; what was not answered with 200 is noted."""

    def __init__(self, *addresses, pause=0.01):
        self.addresses, self.pause = addresses, pause
        self.wrong, self.count, self.ends = [], 0, threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.ends.is_set():
            for address in self.addresses:
                try:
                    status, body = get(address)
                    if status != 200:
                        self.wrong.append((address, status, body))
                except OSError as error:
                    self.wrong.append((address, repr(error)))
                except http.client.HTTPException as error:
                    self.wrong.append((address, repr(error)))
                self.count += 1
            time.sleep(self.pause)

    def end(self):
        self.ends.set()
        self.thread.join(60 * SLOW)
        assert not self.thread.is_alive(), "a request was not answered"
        return self.wrong


def instances(host, *apps):
    """Rows of app.show, with the app's name and state."""
    rows = []
    for app in apps or [row["name"] for row in host.rpc("app.list")["apps"]]:
        shown = host.show(app)
        rows += [{**i, "app": app, "state": shown["state"], "ports": len(shown["record"]["ports"])}
                 for i in shown["instances"]]
    return rows


def groups(roots, host):
    found = set()
    for root in roots:
        found |= {p.name for p in (root / host.cgroup).glob("i*")}
    return found


def held_by_keep(host):
    """Descriptors of niwa-keep, without those of a start or an answer under way."""
    return len(os.listdir(f"/proc/{host.keep.pid}/fd"))


def mounts():
    return Path("/proc/self/mountinfo").read_text().count("\n")


class Ledger:
    """What a host without instances holds; from it, what one with instances may hold."""

    def __init__(self, host, app):
        self.host = host
        wait_for("nothing is left", host.nothing_left)
        self.mounts, self.descriptors = mounts(), held_by_keep(host)
        get(host.address(app))
        self.each = held_by_keep(host) - self.descriptors
        host.rpc("app.stop", name=app)
        wait_for("nothing is left", host.nothing_left)
        assert 2 <= self.each <= 5 and held_by_keep(host) == self.descriptors

    def differences(self):
        host, rows = self.host, instances(self.host)
        have = host.kernel_objects()
        ids = {f"i{row['id']}" for row in rows}
        awake = [row for row in rows if row["life"] == "serving" and row["state"] in ("running", "freezing", "frozen")]
        want = {
            "groups": sorted(ids), "veths": sorted(row["veth"] for row in rows),
            "awake": sum(row["ports"] for row in awake), "marks": len(rows), "may": len(rows),
            "frozen": sum(row["state"] == "frozen" for row in rows), "knocked": 0, "egress": 0,
        }
        wrong = {k: (sorted(have[k]) if isinstance(have[k], list) else have[k], v) for k, v in want.items()
                 if (sorted(have[k]) if isinstance(have[k], list) else have[k]) != v}
        if not {f"i{layer}" for layer in have["layers"]} <= ids:  # those in memory are not seen
            wrong["layers"] = (sorted(have["layers"]), sorted(ids))
        if not groups(V1, host) <= ids:
            wrong["groups v1"] = (sorted(groups(V1, host)), sorted(ids))
        if mounts() != self.mounts:
            wrong["mounts"] = (mounts(), self.mounts)
        if held_by_keep(host) != self.descriptors + self.each * len(rows):
            wrong["descriptors of keep"] = (held_by_keep(host), self.descriptors, self.each, len(rows))
        leases = {Path(f"/proc/{row['pid']}/uid_map").read_text() for row in rows if row["pid"]}
        if len(leases) != len(rows):
            wrong["id ranges"] = (len(leases), len(rows))
        return wrong

    def check(self):
        """What there is becomes what the instances need: have and want of each kind that differs."""
        found = {}

        def tidy():
            found.clear()
            try:
                found.update(self.differences())
            except FileNotFoundError as error:  # it has just ended
                found["race"] = error
            return not found

        try:
            wait_for("tidy", tidy, pause=0.05)
        except AssertionError:
            raise AssertionError(f"left over or missing (have, want): {found}") from None


def fail_at(host, point, at=1):
    """A new niwad, which will end at the point."""
    host.kill_niwad(signal.SIGTERM)
    host.start_niwad({"NIWA_FAULT": f"{point}:kill@{at}"})


def wait_dead(host, point):
    wait_for(f"niwad passes {point}:\n{host.niwad_log()[-1500:]}", lambda: host.niwad.poll() is not None, timeout=20)
    assert host.niwad.returncode == -signal.SIGKILL, host.niwad_log()[-2000:]


def serving(host, app, pid=None):
    """The pid of the one and only instance, in time."""
    def only():
        rows = instances(host, app)
        return len(rows) == 1 and rows[0]["life"] == "serving" and rows[0]["pid"]

    found = wait_for(f"{app} has one serving instance: {instances(host, app)}", only, timeout=20)
    assert pid is None or found == pid
    return found


def children(pid):
    return [int(c) for c in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def name_of(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def relay_pid(host):
    return next((c for c in children(host.keep.pid) if name_of(c) == "niwa-relay"), None)


def is_alive(pid):
    """Also of a zombie nobody has reaped."""
    return os.path.exists(f"/proc/{pid}")


def end(pid):
    """Kills a process and waits until its parent knows."""
    os.kill(pid, signal.SIGKILL)
    wait_for(f"process {pid} is gone", lambda: not is_alive(pid))
