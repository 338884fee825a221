# SPDX-License-Identifier: MIT
"""niwad is killed at each step of each thing it does, while somebody waits; the next one goes on as if it had done the
step itself. One table: what is done, and the points at which niwad is killed while it does it."""

import os

import crash
import echo
import pytest
from crash import Load, Talk, fail_at, get, later, serving, wait_dead
from host import Host, wait_for

PORTS = (80, "http"), {"port": 7, "protocol": "tcp", "speaks": "client"}
NAP = {"freeze": "150ms", "page": "never", "save": "never"}
IDLE = {"freeze": "100ms", "page": "never", "save": "300ms"}


def app(name, **keys):
    return echo.app(name, "--tcp", "7", ports=PORTS, **keys)


@pytest.fixture(scope="module")
def shared_host():
    host = Host().start()
    volume = host.dir / "volume"
    volume.mkdir()
    volume.chmod(0o777)
    host.apps = {a["name"]: a for a in (
        app("plain"), app("naps", sleep=NAP), app("idles", sleep=IDLE), app("beside", rotate="overlap"),
        app("handed", volumes=[{"from": str(volume), "to": "/data", "owner": "nobody"}]),
        app("slow", restart={"backoff": "1ms", "backoff_max": "1ms"}))}
    host.apply(echo.file(*host.apps.values()))
    host.ledger = crash.Ledger(host, "plain")
    yield host
    host.stop()


def change(host, name):
    """Applies another version of the app; that niwad may die of it is the idea."""
    record = host.apps[name]
    record["env"] = {"VERSION": str(int(record.get("env", {}).get("VERSION", "0")) + 1)}
    path = host.dir / f"{name}.yaml"
    path.write_text(echo.file(record))
    return later(host.niwa, "apply", path, check=False)


# What is done. Before: with a sound niwad. act: with the one that will be killed. Then, when it is dead, `away`; when
# its successor is there, `check`.

class Step:
    name = "plain"

    def __init__(self, host):
        self.host = host
        self.address = host.address(self.name)

    def before(self):
        pass

    def act(self):
        pass

    def away(self):
        pass

    def check(self):
        pass


class Wake(Step):
    """A connection to a stopped app."""

    def act(self):
        self.first = later(get, self.address)

    def away(self):
        self.second = later(get, self.address)

    def check(self):
        pids = {a.result(60)[1] for a in (self.first, self.second) if a.result(60)[0] == 200}
        assert len(pids) >= 1 and self.first.result()[0] == self.second.result()[0] == 200
        serving(self.host, self.name)


class Freeze(Step):
    """An app with an open connection goes to sleep."""
    name = "naps"

    def before(self):
        self.talk = Talk(self.address)
        self.talk.say()
        self.pid = serving(self.host, self.name)

    def act(self):
        self.first = later(self.talk.say)  # on a slow machine niwad may be dead before the answer

    def check(self):
        self.first.result(60)
        self.talk.say()
        self.host.wait_state(self.name, "frozen")
        assert get(self.address)[0] == 200
        self.talk.say()
        self.talk.close()
        serving(self.host, self.name, self.pid)


class Thaw(Freeze):
    """Bytes on an open connection of a frozen app."""

    def before(self):
        super().before()
        self.host.wait_state(self.name, "frozen")

    def away(self):
        self.second = later(get, self.address)

    def check(self):
        self.first.result(60)
        assert self.second.result(60)[0] == 200
        self.talk.close()
        serving(self.host, self.name, self.pid)


class Leave(Step):
    """An idle app stops; somebody comes in that moment."""
    name = "idles"

    def act(self):
        self.first = later(get, self.address)

    def away(self):
        self.answer = later(get, self.address)

    def check(self):
        assert self.first.result(60)[0] == self.answer.result(60)[0] == 200
        self.host.wait_state(self.name, "stopped")


class Stop(Step):
    """An app is stopped by hand; somebody comes in that moment."""

    def before(self):
        assert get(self.address)[0] == 200

    def act(self):
        self.order = later(self.host.niwa, "stop", self.name, check=False)

    def away(self):
        self.order.result(60)
        self.answer = later(get, self.address)

    def check(self):
        assert self.answer.result(60)[0] == 200


class Overlap(Step):
    """A changed app is replaced, the fresh instance first; requests all the time, and a connection that stays."""
    name = "beside"

    def before(self):
        self.talk = Talk(self.address)
        self.talk.say()
        get(self.address)
        self.pid = serving(self.host, self.name)
        self.talk.close()
        self.talk = Talk(self.address)
        self.talk.say()

    def act(self):
        self.load = Load(self.address)
        self.order = change(self.host, self.name)

    def away(self):
        self.talk.say()
        self.order.result(60)

    def check(self):
        def replaced():
            rows = [i for i in crash.instances(self.host, self.name) if i["life"] == "serving"]
            return len(rows) == 1 and rows[0]["pid"] != self.pid and self.host.state(self.name) == "running"

        wait_for(f"a fresh instance serves: {crash.instances(self.host, self.name)}", replaced, timeout=20)
        assert self.load.end() == []
        self.talk.say()  # the old one drains
        self.talk.close()
        serving(self.host, self.name)
        shown = self.host.show(self.name)
        assert shown["instances"][0]["generation"] == shown["generation"]


class Handover(Step):
    """A changed app with a volume is replaced, the old instance first; requests all the time, never two at once."""
    name = "handed"

    def before(self):
        get(self.address)
        self.pid = serving(self.host, self.name)

    def act(self):
        self.load = Load(self.address)
        self.order = change(self.host, self.name)

    def away(self):
        self.order.result(60)
        self.alive = os.path.exists(f"/proc/{self.pid}")

    def check(self):
        def replaced():
            rows = crash.instances(self.host, self.name)
            live = [i for i in rows if i["pid"] and os.path.exists(f"/proc/{i['pid']}/ns/pid")]
            assert len(live) <= 1, f"two on one volume: {rows}"
            return len(rows) == 1 and rows[0]["pid"] != self.pid and self.host.state(self.name) == "running"

        wait_for(f"a fresh instance serves: {crash.instances(self.host, self.name)}", replaced, timeout=20)
        assert self.load.end() == []
        shown = self.host.show(self.name)
        assert shown["instances"][0]["generation"] == shown["generation"]


class Apply(Step):
    """Two new apps and a removed one in one transaction."""
    count = 0

    def act(self):
        Apply.count += 1
        self.names = [f"new{Apply.count}a", f"new{Apply.count}b"]
        path = self.host.dir / "new.yaml"
        path.write_text(echo.file(*(app(n) for n in self.names)))
        self.order = later(self.host.niwa, "apply", path, check=False)

    def away(self):
        self.acknowledged = self.order.result(60).returncode == 0

    def check(self):
        declared = [n for n in self.names if n in {row["name"] for row in self.host.rpc("app.list")["apps"]}]
        assert declared in ([], self.names)
        assert declared or not self.acknowledged
        for name in declared:
            assert get(self.host.address(name))[0] == 200
            self.host.niwa("rm", name)


START = ["niwad.start", "niwad.start-sent", "niwad.started", "niwad.ready", "niwad.answered", "niwad.awake",
         "niwad.ready-tagged"]
STOP = ["niwad.left-awake", "niwad.flushed", "niwad.before-stop-signal", "niwad.stop-tagged", "niwad.stop-sent",
        "niwad.exited", "niwad.end-told", "niwad.left-kernel", "niwad.collecting", "niwad.collected", "niwad.ended"]
TABLE = {
    Wake: START,
    Freeze: ["niwad.before-freeze", "niwad.freeze-asked", "niwad.frozen", "niwad.frozen-known"],
    Thaw: ["niwad.before-thaw", "niwad.thawed", "niwad.thaw-done"],
    Leave: STOP,
    Stop: STOP,
    Overlap: ["cmdb.committed", "niwad.committed", "niwad.declared", "niwad.start", "niwad.start-sent",
              "niwad.rotate-begun", "niwad.started", "niwad.rotate-awake", "niwad.rotate-tagged", "niwad.draining"],
    Handover: ["cmdb.committed", "niwad.committed", "niwad.handover-begun", *STOP, *START],
    Apply: ["cmdb.commit", "cmdb.committed", "niwad.committed", "niwad.declared"],
}


def stop_all(host):
    for row in host.rpc("app.list")["apps"]:
        if row["state"] != "stopped":
            host.rpc("app.stop", name=row["name"])


@pytest.mark.parametrize("step, point", [(s, p) for s, points in TABLE.items() for p in points],
                         ids=lambda v: v if isinstance(v, str) else v.__name__)
def test_niwad_killed_at_any_step_is_not_noticed(shared_host, step, point):
    host, action = shared_host, step(shared_host)
    action.before()
    fail_at(host, point)
    action.act()
    wait_dead(host, point)
    action.away()
    host.start_niwad()
    action.check()
    host.ledger.check()
    stop_all(host)
    host.ledger.check()
