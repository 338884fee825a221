# SPDX-License-Identifier: MIT
"""Starts that wait for memory. How much the host has available is told by a file in the place of /proc/meminfo."""

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from host import BUILD, Host, wait_for
from inside import app, apply, echo
from visitors import addresses, empty, knock, visit

IDLE = {"freeze": "100ms", "page": "never", "save": "1h"}


class Told(Host):
    """Its niwad, and nobody else, is told how much memory is available."""

    @property
    def meminfo(self):
        return self.dir / "meminfo"

    def tell(self, mib):
        text = f"MemTotal: {8192 * 1024} kB\nMemAvailable: {mib * 1024:12} kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
        with open(self.meminfo, "r+" if self.meminfo.exists() else "w", encoding="ascii") as file:
            file.write(text)  # as long as before, in place: it is mounted

    def tell_and_see(self, mib):
        """It has looked since."""
        self.tell(mib)
        wait_for("niwad has seen it", lambda: self.rpc("host.status")["memory"]["available"] == mib << 20)

    def start_niwad(self, env=None, wait=True):
        script = 'mount --bind "$0" /proc/meminfo && exec "$@"'
        self.niwad = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, self.meminfo,
             BUILD / "src/engine/niwad", "--config", self.dir / "niwad.conf"], start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.dir / "log/niwad.err", "ab"))
        wait_for("niwad answers", self.answers, timeout=30)

    def wait_longer(self, how_long):
        self.wait = how_long
        self.configure(**self.settings | {"start_wait": how_long})
        self.kill_niwad()
        self.start_niwad()


@pytest.fixture(scope="module")
def told():
    host = Told(memory_reserve="100M", start_memory="64M", start_wait="500ms")
    host.tell(4000)
    try:
        yield host.start()
    finally:
        host.stop()


@pytest.fixture
def short(told):
    told.wait = "500ms"
    yield told
    told.tell(4000)
    empty(told)
    if told.wait != "500ms":
        told.wait_longer("500ms")


def test_a_start_that_does_not_fit_is_refused_in_its_protocol_with_the_reason(short):
    apply(short, echo("large"), echo("small", limits={"memory": "16M"}))
    at = addresses(short)
    short.tell(120)
    status, headers = visit(at["large"])
    assert (status, "Retry-After" in headers) == (503, True)
    assert "needs 64M of memory, and 20M are available beyond memory_reserve (100M)" in short.show("large")["last_error"]
    assert short.show("large")["failures"] == 0
    counts = short.rpc("host.status")["counts"]
    assert counts["refused_starts"] >= 1 and counts["limit_hits"] >= 1
    told = short.rpc("metrics.get")["text"]
    assert re.search(r'niwa_refusals_total{reason="host_memory"} [1-9]', told)
    assert re.search(r'niwa_starts_refused_total{reason="host_memory"} [1-9]', told)
    assert [h["limit"] for h in short.show("large")["limit_hits"]] == ["host memory"]
    assert visit(at["small"])[0] == 200, "what fits is let in"
    short.tell(200)
    assert visit(at["large"])[0] == 200


def test_a_start_that_does_not_fit_waits_until_it_does(short):
    short.wait_longer("20s")
    apply(short, echo("large"))
    short.tell(110)
    with ThreadPoolExecutor(1) as pool:
        large = pool.submit(visit, short.address("large"))
        wait_for("it waits", lambda: "needs 64M of memory, 10M are available" in short.show("large").get("waits_for", ""))
        short.tell(500)
        assert large.result()[0] == 200


def test_for_a_start_that_does_not_fit_the_app_that_was_quiet_longest_is_put_to_sleep(short):
    short.wait_longer("20s")
    apply(short, echo("older", sleep=IDLE), echo("newer", sleep=IDLE), echo("never"), echo("wanted"))
    at = addresses(short)
    for name in ("never", "older", "newer"):
        assert visit(at[name])[0] == 200
        if name != "never":
            short.wait_state(name, "frozen")
    short.tell(100)
    with ThreadPoolExecutor(1) as pool:
        wanted = pool.submit(visit, at["wanted"])
        short.wait_state("older", "stopped")
        short.tell(400)
        assert wanted.result()[0] == 200
    assert short.state("newer") in ("frozen", "stopped"), "it may have followed before the file was written"
    history = {name: [m for m in short.show(name)["history"] if m["to"] == "stopping"] for name in ("older", "newer")}
    assert "memory is wanted" in history["older"][0]["why"]
    assert not history["newer"] or history["newer"][0]["at"] > history["older"][0]["at"]
    assert short.state("never") == "running"


def test_nothing_that_serves_a_connection_is_put_to_sleep_for_a_start(short):
    apply(short, echo("busy", "--tcp", "7", sleep=IDLE,
                     ports=[{"port": 80, "protocol": "http"}, {"port": 7, "protocol": "tcp"}]), echo("wanted"))
    at = addresses(short)
    with knock(at["busy"], 7):
        short.wait_state("busy", "frozen")
        short.tell(100)
        assert visit(at["wanted"])[0] == 503
        assert short.state("busy") == "frozen"


SERVES = """
import socket, sys
kept = b"x" * (int(sys.argv[1]) << 20)
s = socket.create_server(("", 80))
while True:
    c, _ = s.accept(); c.recv(999); c.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n"); c.close()
"""


def test_what_an_app_used_when_it_left_is_what_it_needs_next_time(short):
    for mib, before, enough in ((150, 4000, 300), (1, 300, 200)):
        apply(short, app("grown", command=["/usr/bin/python3", "-Ic", SERVES, str(mib)]))
        address = short.address("grown")
        short.tell(before)
        assert visit(address)[0] == 200
        short.niwa("stop", "grown")
        short.tell(enough - 60)
        assert visit(address)[0] == (503 if mib > 1 else 200)
        short.tell(enough)
        assert visit(address)[0] == 200
        short.niwa("stop", "grown")


NEVER = {"freeze": "never", "page": "never", "save": "never"}


def test_a_successor_waits_for_memory_and_the_old_instance_goes_on(short):
    short.wait_longer("20s")
    apply(short, echo("old", sleep=NEVER))
    address = short.address("old")
    assert visit(address)[0] == 200
    before = short.pid("old")
    short.tell_and_see(100)
    with ThreadPoolExecutor(1) as pool:
        restarted = pool.submit(short.niwa, "restart", "old")
        wait_for("it waits", lambda: "a fresh instance waits" in short.show("old").get("waits_for", ""))
        assert visit(address)[0] == 200 and short.pid("old") == before
        short.tell(500)
        restarted.result()
    assert short.pid("old") != before and visit(address)[0] == 200


def test_a_successor_for_which_there_is_no_memory_is_given_up_with_the_reason(short):
    apply(short, echo("old", sleep=NEVER))
    assert visit(short.address("old"))[0] == 200
    before = short.pid("old")
    short.tell_and_see(100)
    done = short.niwa("restart", "old", check=False)
    assert done.returncode == 1 and "needs 64M of memory" in done.stderr
    assert visit(short.address("old"))[0] == 200 and short.pid("old") == before


def test_a_crowd_that_waits_for_its_tenant_does_not_hide_a_start_that_waits_for_memory(short):
    short.wait_longer("30s")
    crowd = [echo(f"crowd{n}", tenant="crowd") for n in range(70)]
    short.apply(json.dumps({"tenants": [{"name": "crowd", "limits": {"awake": 1}}],
                            "apps": [echo("first", tenant="crowd", sleep=NEVER), *crowd, echo("single", tenant="other")]}))
    at = addresses(short)
    assert visit(at["first"])[0] == 200

    def waiting():
        return [row for row in short.rpc("app.list")["apps"] if row["state"] == "starting" and row["tenant"] == "crowd"]

    with ExitStack() as held, ThreadPoolExecutor(1) as pool:
        for n in range(70):
            held.enter_context(knock(at[f"crowd{n}"]))
        wait_for("the crowd waits", lambda: len(waiting()) == 70)
        short.tell(110)
        single = pool.submit(visit, at["single"])
        wait_for("it waits", lambda: "needs 64M" in short.show("single").get("waits_for", ""))
        short.tell(4000)
        assert single.result()[0] == 200
        assert len(waiting()) == 70
    short.apply(json.dumps({"tenants": [{"name": "crowd"}]}))


def test_a_visitor_who_leaves_while_memory_is_waited_for_is_forgotten(short):
    short.wait_longer("60s")
    apply(short, echo("large"))
    short.tell(100)
    with knock(short.address("large")):
        wait_for("it waits", lambda: "needs 64M" in short.show("large").get("waits_for", ""))
    short.wait_state("large", "stopped")
    short.tell(4000)
    assert visit(short.address("large"))[0] == 200
