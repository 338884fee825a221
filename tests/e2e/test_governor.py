# SPDX-License-Identifier: MIT
"""The governor in niwad: paging, what is learnt of visits, memory pressure. How much memory and swap the host has is
told by a file in the place of /proc/meminfo: with told swap the kernel is asked to page, and leaves everything where
it is; what it moves where there is swap is told by bench/paging."""

import socket
import time
import urllib.request

import pytest
from host import CRIU, SLOW, wait_for
from inside import app, apply, echo
from test_admission import Told
from visitors import addresses, visit


class Swapped(Told):
    swap = 1024

    def tell(self, mib):
        text = (f"MemTotal: {8192 * 1024} kB\nMemAvailable: {mib * 1024:12} kB\n"
                f"SwapTotal: {self.swap * 1024} kB\nSwapFree: {self.swap * 1024} kB\n")
        with open(self.meminfo, "r+" if self.meminfo.exists() else "w", encoding="ascii") as file:
            file.write(text)


@pytest.fixture(name="one_host", scope="module")
def _one_host():
    host = Swapped(memory_reserve="100M", wait_worth="1ms", criu=CRIU)  # memory is dear: what is learnt shows at once
    host.tell(4000)
    try:
        yield host.start()
    finally:
        host.stop()


@pytest.fixture
def swapped(one_host):
    """A host with plenty of everything and no app."""
    one_host.swap = Swapped.swap
    one_host.tell(4000)
    if not one_host.answers():
        one_host.start_niwad()
    for row in one_host.rpc("app.list")["apps"]:
        one_host.niwa("rm", row["name"])
    return one_host


def moves(host, name):
    return [(m["from"], m["to"]) for m in host.show(name)["history"]]


def state(host, name):
    return host.show(name)["state"]


def said(host):
    return (host.dir / "log/niwad.err").read_text()


PAGED = {"freeze": "100ms", "page": "200ms", "save": "1h"}


def test_an_app_that_is_quiet_for_longer_than_page_is_paged_and_the_next_visitor_wakes_it(swapped):
    apply(swapped, echo("a", sleep=PAGED))
    at = swapped.address("a")
    for _ in range(2):
        assert visit(at)[0] == 200
        wait_for("it is paged", lambda: state(swapped, "a") == "paged")
    assert ("frozen", "paged") in moves(swapped, "a") and ("paged", "running") in moves(swapped, "a")
    assert swapped.show("a")["why"] == "quiet for sleep.page"
    memory = swapped.rpc("host.status")["memory"]
    assert memory["pagings"] >= 2 and memory["swap"] == 1 << 30 and memory["reserve"] == 100 << 20 and memory["wanted"] == 0
    assert [row["name"] for row in swapped.rpc("app.list", state="paged")["apps"]] == ["a"]


def test_bytes_on_an_open_connection_wake_a_paged_app(swapped):
    apply(swapped, echo("a", sleep=PAGED))
    with socket.create_connection((swapped.address("a"), 80), timeout=10 * SLOW) as client:
        for _ in range(2):
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.recv(65536).startswith(b"HTTP/1.1 200")
            wait_for("it is paged", lambda: state(swapped, "a") == "paged")


def test_a_paged_app_is_saved_when_it_stays_quiet_and_can_be_commanded(swapped):
    apply(swapped, echo("a", sleep=PAGED | {"save": "1s"}), echo("b", sleep=PAGED), echo("c", sleep=PAGED))
    for address in addresses(swapped).values():
        assert visit(address)[0] == 200
    wait_for("a is saved", lambda: ("paged", "stopping") in moves(swapped, "a"))
    wait_for("b and c are paged", lambda: state(swapped, "b") == state(swapped, "c") == "paged")
    assert swapped.rpc("app.freeze", name="b")["state"] == "paged"
    swapped.rpc("app.stop", name="c")
    assert state(swapped, "c") in ("stopped", "saved")
    assert visit(swapped.address("c"))[0] == 200


def test_memory_that_is_kept_is_whole_after_it_was_paged(swapped):
    counts = ("import socket; s = socket.create_server(('', 80)); n = 0\n"
              "while True:\n c, _ = s.accept(); c.recv(999); n += 1; c.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n%d' % n); c.close()\n")
    apply(swapped, app("a", command=["/usr/bin/python3", "-Ic", counts],
                       sleep={"freeze": "100ms", "page": "200ms", "save": "700ms", "connection": "1s", "keep": "memory"}))
    for n in range(1, 3):
        with urllib.request.urlopen(f"http://{swapped.address('a')}/", timeout=20 * SLOW) as answer:
            assert answer.read() == str(n).encode()
        wait_for("it is saved", lambda: state(swapped, "a") == "saved")
        assert ("frozen", "paged") in moves(swapped, "a")


def test_without_swap_an_app_is_never_paged(swapped):
    swapped.swap = 0
    swapped.tell(4000)
    apply(swapped, echo("a", sleep=PAGED | {"save": "3s"}))
    swapped.kill_niwad()
    swapped.start_niwad()
    assert visit(swapped.address("a"))[0] == 200
    wait_for("it is saved", lambda: state(swapped, "a") in ("stopped", "saved"))
    assert "paged" not in {to for _, to in moves(swapped, "a")}


def test_an_app_that_is_visited_while_it_is_being_paged_answers_each_time(swapped):
    apply(swapped, echo("a", sleep={"freeze": "100ms", "page": "150ms", "save": "1h"}))
    at = swapped.address("a")
    for n in range(12):
        assert visit(at)[0] == 200
        time.sleep(0.13 + 0.01 * n)  # around the moment at which it is paged
    wait_for("it is paged", lambda: state(swapped, "a") == "paged")


def test_a_niwad_that_was_killed_finds_its_paged_apps_frozen_and_goes_on(swapped):
    apply(swapped, echo("a", sleep=PAGED), echo("b", sleep=PAGED))
    at = addresses(swapped)
    for name in at:
        assert visit(at[name])[0] == 200
    wait_for("both are paged", lambda: state(swapped, "a") == state(swapped, "b") == "paged")
    pid = swapped.show("a")["instances"][0]["pid"]
    swapped.kill_niwad()
    swapped.start_niwad()
    assert visit(at["a"])[0] == 200
    assert swapped.show("a")["instances"][0]["pid"] == pid
    wait_for("both are paged again", lambda: state(swapped, "a") == state(swapped, "b") == "paged")


def test_a_removed_app_and_a_changed_one_leave_no_trace_of_being_paged(swapped):
    apply(swapped, *(echo(f"a{n}", sleep=PAGED) for n in range(4)))
    at = addresses(swapped)
    for name in at:
        assert visit(at[name])[0] == 200
    for n in range(2):
        swapped.niwa("rm", f"a{n}")
    apply(swapped, *(echo(f"a{n}", sleep=PAGED, env={"CHANGED": "1"}) for n in range(2, 4)))
    for n in range(2, 4):
        assert visit(at[f"a{n}"])[0] == 200
    wait_for("the others are paged", lambda: {state(swapped, f"a{n}") for n in range(2, 4)} == {"paged"})


def test_an_app_whose_visitors_do_not_come_in_time_is_put_away_before_its_declared_time(swapped):
    apply(swapped, *(echo(name, sleep={"freeze": "100ms", "page": "never", "save": "1h"}) for name in ("known", "new")))
    at = addresses(swapped)
    assert visit(at["new"])[0] == 200
    for _ in range(7):
        assert visit(at["known"])[0] == 200
        time.sleep(1.1)  # gaps of less than a second are not counted
    wait_for("known is put away", lambda: state(swapped, "known") in ("stopped", "saved"))
    assert "quiet, and not expected soon" in [m["why"] for m in swapped.show("known")["history"]]
    assert state(swapped, "new") == "frozen"


def test_when_memory_is_short_what_is_idle_is_put_away_and_what_serves_stays(swapped):
    idle = {"freeze": "100ms", "page": "never", "save": "1h"}
    apply(swapped, echo("busy", sleep=idle), echo("idle", sleep=idle), echo("kept", sleep=idle | {"save": "never"}),
          echo("never"))
    at = addresses(swapped)
    for name in ("idle", "kept", "busy", "never"):
        visit(at[name])
    with socket.create_connection((at["busy"], 80), timeout=20 * SLOW) as client:
        client.sendall(b"GET /slow?ms=3000 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        swapped.tell(60)
        wait_for("idle is put away", lambda: state(swapped, "idle") in ("stopped", "saved"))
        assert "memory is wanted" in [m["why"] for m in swapped.show("idle")["history"]]
        assert "memory is short: 60M available, memory_reserve is 100M" in said(swapped)
        assert state(swapped, "kept") in ("running", "frozen")
        assert state(swapped, "never") in ("running", "frozen")
        assert state(swapped, "busy") == "running"
        assert client.recv(65536).startswith(b"HTTP/1.1 200")
    swapped.tell(4000)
    wait_for("niwad says so", lambda: "memory is not short any more" in said(swapped))
    assert visit(at["idle"])[0] == 200
