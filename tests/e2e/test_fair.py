# SPDX-License-Identifier: MIT
"""Who starts first when many are visited at once."""

import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
from host import Host, wait_for
from inside import app, apply, echo
from visitors import addresses, empty, knock, visit

STORM = 16


def began(host, name):
    """The number of its instance: they are given in the order of the starts."""
    return host.show(name)["instances"][0]["id"]


@pytest.fixture(scope="module")
def narrow_host():
    h = Host(concurrent_starts=1, start_hold="60s").start()
    yield h
    h.stop()


@pytest.fixture
def narrow(narrow_host):
    """A host that starts one app at a time, and is patient."""
    yield narrow_host
    empty(narrow_host)


def storm(host, **keys):
    return [echo(f"storm{n}", "--late", "100", tenant="storm", **keys) for n in range(STORM)]


def queue(host):
    """Apps that wait for their start, by what app.show says."""
    return [row["name"] for row in host.rpc("app.list")["apps"]
            if row["state"] == "starting" and "its start waits" in host.show(row["name"]).get("waits_for", "")]


def test_the_single_visitor_of_another_tenant_does_not_wait_behind_a_storm(narrow):
    apply(narrow, *storm(narrow), echo("single", tenant="single"))
    at = addresses(narrow)
    with ThreadPoolExecutor(STORM + 1) as pool:
        visits = [pool.submit(visit, at[f"storm{n}"]) for n in range(STORM)]
        wait_for("the storm waits", lambda: len(queue(narrow)) > STORM // 2)
        single = pool.submit(visit, at["single"])
        assert single.result()[0] == 200
        assert all(v.result()[0] == 200 for v in visits)
    mine = began(narrow, "single")
    after = sum(began(narrow, f"storm{n}") > mine for n in range(STORM))
    assert after >= STORM // 2 - 3, "one that was under way, and perhaps another one before the visitor was heard"


def test_an_app_that_wakes_another_one_while_it_starts_holds_no_place_and_the_other_goes_first(narrow):
    needs = ("import socket, time\n"
             "c = socket.create_connection(('db', 80)); c.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); assert c.recv(9)\n"
             "s = socket.create_server(('', 80))\n"
             "while True:\n c, _ = s.accept(); c.recv(999); c.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n'); c.close()\n")
    apply(narrow, app("web", command=["/usr/bin/python3", "-Ic", needs], tenant="shop"), echo("db", tenant="shop"),
          *(record | {"tenant": f"tenant{n}"} for n, record in enumerate(storm(narrow))))
    at = addresses(narrow)
    with ThreadPoolExecutor(STORM + 1) as pool:
        web = pool.submit(visit, at["web"])
        wait_for("it starts", lambda: narrow.show("web")["instances"])
        visits = [pool.submit(visit, at[f"storm{n}"]) for n in range(STORM)]
        assert web.result()[0] == 200
        assert all(v.result()[0] == 200 for v in visits)
    before = sum(began(narrow, f"storm{n}") < began(narrow, "db") for n in range(STORM))
    assert before <= 1, "when it asked for its database no other start was let in first, but one that had begun"


@contextlib.contextmanager
def other_settings(host, **settings):
    """The next niwad has them; afterwards they are what they were."""
    for values in ({**host.settings, **settings}, host.settings):
        host.configure(**values)
        host.kill_niwad()
        host.start_niwad()
        if values is not host.settings:
            yield


def test_what_finds_no_room_in_the_queue_is_answered_in_its_protocol(narrow):
    apply(narrow, *(echo(f"app{n}", "--late", "300", tenant=f"t{n}") for n in range(8)))
    at = addresses(narrow)
    with other_settings(narrow, wake_queue=4), ThreadPoolExecutor(8) as pool:
        visits = [pool.submit(visit, at[f"app{n}"]) for n in range(8)]
        results = [v.result() for v in visits]
        assert sorted(r[0] for r in results) == [200] * 5 + [503] * 3
        refused = next(n for n, r in enumerate(results) if r[0] == 503)
        assert "Retry-After" in results[refused][1]
        assert "4 starts wait already (wake_queue)" in narrow.show(f"app{refused}")["last_error"]
        assert narrow.show(f"app{refused}")["failures"] == 0, "it is not the app that failed"
        told = narrow.rpc("metrics.get")["text"]
        assert 'niwa_refusals_total{reason="wake_queue"} 3\n' in told and 'niwa_refusals_total{reason="wake_failed"} 0\n' in told
        assert 'niwa_starts_refused_total{reason="wake_queue"} 3\n' in told
        wait_for("and a moment later it is woken", lambda: visit(at[f"app{refused}"])[0] == 200)


def serving(host, names):
    return [i for name in names for i in host.show(name)["instances"] if i["life"] == "serving"]


def apart(instances):
    """The shortest time between two of their beginnings, in milliseconds."""
    times = sorted(i["began_at"] for i in instances)
    return min(b - a for a, b in zip(times, times[1:])) / 1000


def test_apps_that_are_replaced_at_once_take_their_turns_and_a_visitor_has_his_in_between(narrow):
    names = [f"app{n}" for n in range(8)]
    records = [echo(name, "--late", "150", tenant="many") for name in names]
    apply(narrow, *records, echo("single", tenant="single"))
    at = addresses(narrow)
    for name in names:
        assert visit(at[name])[0] == 200
    apply(narrow, *(record | {"env": {"CHANGED": "yes"}} for record in records))
    assert visit(at["single"])[0] == 200
    fresh = wait_for("all are replaced", lambda: len(new := [i for i in serving(narrow, names) if i["generation"] == 2]) == 8 and new,
                     timeout=20)
    assert apart(fresh) >= 140, "there is one place, and each has it until it is ready"
    assert sum(i["id"] > began(narrow, "single") for i in fresh) >= 3


def test_apps_that_grow_at_once_take_their_turns(narrow):
    names = [f"app{n}" for n in range(4)]
    apply(narrow, *(echo(name, "--late", "150", "--tcp", "7", tenant=name, scale={"max": 2, "connections": 1},
                         sleep={"freeze": "300ms", "page": "never", "save": "never"},
                         ports=[{"port": 80, "protocol": "http"}, {"port": 7, "protocol": "tcp"}]) for name in names))
    at = addresses(narrow)
    with contextlib.ExitStack() as held:
        for name in names:
            assert visit(at[name])[0] == 200
            narrow.wait_state(name, "frozen")
        narrow.kill_niwad()
        narrow.start_niwad()  # which has looked at none of them, and does it when they thaw
        for name in names:
            held.enter_context(knock(at[name], 7))
        two = wait_for("each has two", lambda: len(all_ := serving(narrow, names)) == 8 and all_, timeout=20)
    assert apart([i for i in two if i["copy"]]) >= 140


def test_a_resident_app_has_its_turn_while_many_starts_wait(narrow):
    names = [f"storm{n}" for n in range(10)]
    apply(narrow, *(echo(name, "--late", "300", tenant="storm") for name in names),
          echo("resident", tenant="resident", resident=True))
    narrow.wait_state("resident", "running")
    at, before = addresses(narrow), began(narrow, "resident")
    with ThreadPoolExecutor(len(names)) as pool:
        visits = [pool.submit(visit, at[name]) for name in names]
        wait_for("the storm waits", lambda: len(queue(narrow)) > len(names) // 2)
        os.kill(narrow.pid("resident"), signal.SIGKILL)
        assert all(v.result()[0] == 200 for v in visits)
    mine = wait_for("it is back", lambda: narrow.state("resident") == "running" and began(narrow, "resident"))
    assert mine > before and sum(began(narrow, name) > mine for name in names) >= 2


def test_a_start_that_only_waits_gives_its_place_to_others(narrow):
    apply(narrow, echo("late", "--late", "20000", tenant="a"), echo("quick", tenant="b"))
    at = addresses(narrow)
    with other_settings(narrow, start_hold="1s"), knock(at["late"]):
        wait_for("it starts", lambda: narrow.show("late")["instances"])
        assert visit(at["quick"], timeout=10)[0] == 200
        assert narrow.state("late") == "starting"


def test_a_start_whose_visitors_have_gone_is_given_up(narrow):
    apply(narrow, echo("first", "--late", "1500", tenant="a"), echo("second", tenant="b"))
    at = addresses(narrow)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(visit, at["first"])
        wait_for("the first one starts", lambda: narrow.show("first")["instances"])
        with knock(at["second"]):
            wait_for("the second one waits", lambda: queue(narrow) == ["second"])
        wait_for("the second one sleeps on", lambda: narrow.state("second") == "stopped")
        assert first.result()[0] == 200
    assert narrow.show("second")["wakes"] == 1 and "visitors have gone" in narrow.show("second")["why"]


def test_an_app_that_is_removed_or_moved_to_another_tenant_while_it_waits_is_not_forgotten(narrow):
    records = [echo("first", "--late", "1500", tenant="a"), echo("moved", tenant="b"), echo("removed", tenant="c")]
    apply(narrow, *records)
    at = addresses(narrow)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(visit, at["first"])
        wait_for("the first one starts", lambda: narrow.show("first")["instances"])
        moved, removed = pool.submit(visit, at["moved"]), pool.submit(visit, at["removed"])
        wait_for("the others wait", lambda: len(queue(narrow)) == 2)
        apply(narrow, echo("moved", tenant="d"))
        narrow.niwa("rm", "removed")
        assert removed.result()[0] == 503
        assert moved.result()[0] == 200 and first.result()[0] == 200


def test_a_storm_is_answered_although_niwad_is_killed_in_its_middle(narrow):
    apply(narrow, *storm(narrow))
    at = addresses(narrow)
    with ThreadPoolExecutor(STORM) as pool:
        visits = [pool.submit(visit, at[f"storm{n}"]) for n in range(STORM)]
        wait_for("it is in its middle", lambda: STORM // 4 < len(queue(narrow)) < STORM - 4)
        narrow.kill_niwad()
        narrow.start_niwad()
        assert all(v.result()[0] == 200 for v in visits)
