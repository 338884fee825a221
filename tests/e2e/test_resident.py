# SPDX-License-Identifier: MIT
"""Resident apps have a ready instance without anybody's asking, from apply on and from the start of niwad on."""

import os
import signal

import echo
import pytest
from clients import ASK, Load, record, text_of
from clients import apply as apply_records
from crash import get, serving
from host import SLOW, Host, wait_for


@pytest.fixture(scope="module")
def garden():
    h = Host(drain=f"{1 * SLOW:.0f}s").start()
    yield h
    h.stop()


def app(name, *switches, **keys):
    keys.setdefault("resident", True)
    return echo.app(name, *switches, **keys)


def apply(host, *apps, check=True):
    return host.apply(echo.file(*apps), check=check)


def running(host, name, other_than=None):
    def there():
        rows = [i for i in host.show(name)["instances"] if i["life"] == "serving" and i["pid"] != other_than]
        return host.state(name) == "running" and rows and rows[0]["pid"]

    return wait_for(f"{name} runs: {host.show(name)['history']}", there, timeout=20)


def test_a_resident_app_is_started_by_its_declaration(garden):
    apply(garden, app("declared"))
    running(garden, "declared")
    shown = garden.show("declared")
    assert shown["wakes"] == 0 and shown["history"][0]["why"] == "resident"


def test_an_app_that_becomes_resident_is_started_and_sleeps_again_when_it_no_longer_is(garden):
    sleep = {"freeze": "200ms", "page": "never", "save": "never"}
    apply(garden, app("changes", resident=False, sleep=sleep))
    assert garden.state("changes") == "stopped"
    apply(garden, app("changes", sleep=sleep))
    pid = running(garden, "changes")
    assert garden.show("changes")["record"]["sleep"] == {"freeze": "never", "page": "never", "save": "never"}
    apply(garden, app("changes", resident=False, sleep=sleep))
    garden.wait_state("changes", "frozen")
    apply(garden, app("changes", sleep=sleep))
    running(garden, "changes", other_than=pid)


def test_a_resident_app_that_ends_is_started_again_with_pauses_and_without_a_visitor(garden):
    apply(garden, app("crashes", restart={"backoff": "20ms", "backoff_max": "50ms"}))
    pid = running(garden, "crashes")
    for sig in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        os.kill(pid, sig)
        pid = running(garden, "crashes", other_than=pid)
    assert garden.show("crashes")["failures"] == 3


def test_a_resident_app_that_cannot_start_is_tried_again_until_its_record_is_mended(garden):
    apply(garden, app("broken", command=["/nothing-here"], restart={"backoff": "50ms", "backoff_max": "100ms"}))
    wait_for("tries", lambda: garden.show("broken")["failures"] >= 3)
    apply(garden, app("broken"))
    running(garden, "broken")
    apply(garden, app("broken", image="/nowhere/at/all", restart={"backoff": "50ms", "backoff_max": "100ms"}))
    wait_for("the old one goes on", lambda: "the old instance goes on" in garden.show("broken").get("last_error", "")
             or garden.show("broken").get("last_error"))
    assert get(garden.address("broken"))[0] == 200
    garden.niwa("rm", "--yes", "broken")


def test_a_resident_app_is_not_frozen_on_request(garden):
    apply(garden, app("warm"))
    running(garden, "warm")
    done = garden.niwa("freeze", "warm", check=False)
    assert done.returncode == 1 and "resident" in done.stderr, done
    assert garden.state("warm") == "running"


def test_a_resident_app_that_was_stopped_on_request_stays_so_until_a_connection_comes(garden):
    apply(garden, app("rests"), app("other"))
    running(garden, "rests")
    garden.niwa("stop", "rests")
    pid = running(garden, "other")
    os.kill(pid, signal.SIGKILL)
    running(garden, "other", other_than=pid)  # the queue of residents was gone through
    assert garden.state("rests") == "stopped"
    assert get(garden.address("rests"))[0] == 200
    pid = running(garden, "rests")
    os.kill(pid, signal.SIGKILL)
    running(garden, "rests", other_than=pid)  # it is resident again


def test_a_stop_on_request_ends_the_tries_of_a_resident_app_that_fails(garden):
    apply(garden, app("tries", command=["/bin/nothing"], restart={"backoff": "300ms", "backoff_max": "300ms"}))
    wait_for("a try", lambda: garden.show("tries")["failures"] >= 1 and garden.state("tries") == "stopped")
    garden.niwa("stop", "tries")
    failures = garden.show("tries")["failures"]
    apply(garden, app("clock", command=["/bin/nothing"], restart={"backoff": "300ms", "backoff_max": "300ms"}))
    wait_for("another one is tried three times", lambda: garden.show("clock")["failures"] >= 3)
    assert garden.show("tries")["failures"] == failures
    garden.niwa("rm", "--yes", "tries", "clock")


def test_keep_memory_is_refused_for_a_resident_app_with_its_line(garden):
    done = apply(garden, app("both", sleep={"keep": "memory"}), check=False)
    assert done.returncode != 0 and "resident" in done.stderr and "keep: memory" in done.stderr, done.stderr
    assert "apps.yaml:" in done.stderr


def test_a_handover_is_said_at_apply_and_holds_connections(garden, tmp_path):
    tmp_path.chmod(0o777)
    volume = {"from": str(tmp_path), "to": "/data"}
    done = apply(garden, app("writer", volumes=[volume]))
    assert "resident" in done.stdout + done.stderr and "connections are held" in done.stdout + done.stderr, done
    pid = running(garden, "writer")
    with Load(lambda: get(garden.address("writer")), clients=2) as load:
        wait_for("there is load", lambda: load.answered() >= 5)
        garden.niwa("restart", "writer")
        running(garden, "writer", other_than=pid)
        seen = load.answered()
        wait_for("answers go on", lambda: load.answered() >= seen + 5)
    assert not [t for t in load.failed() if isinstance(t.error, ConnectionRefusedError)], text_of(load.failed())
    apply(garden, app("reader", volumes=[{**volume, "read_only": True}]))
    running(garden, "reader")


def test_no_request_fails_while_a_resident_server_is_rotated_again_and_again(garden):
    apply_records(garden, record("static", resident=True, lifetime=f"{1 * SLOW:.0f}s"))
    address, seen = garden.address("static"), set()
    running(garden, "static")
    with Load(ASK["static"], address, clients=3) as load:
        wait_for("four served", lambda: seen.update(
            i["id"] for i in garden.show("static")["instances"] if i["life"] == "serving") or len(seen) >= 4, timeout=40,
                 pause=0.1)
    apply_records(garden, record("static", resident=False))
    assert load.answered() > 50 and not load.failed(), text_of(load.failed())


def test_resident_apps_are_started_with_niwad_and_those_that_run_are_kept(garden):
    names = [f"r{n}" for n in range(12)]
    apply(garden, *(app(n) for n in names), app("visited", resident=False))
    pids = {n: running(garden, n) for n in names}
    garden.niwa("stop", "r0")
    garden.kill_niwad()
    os.kill(pids["r1"], signal.SIGKILL)
    garden.start_niwad()
    for n in names:
        assert (running(garden, n) == pids[n]) == (n not in ("r0", "r1")), n
    garden.kill_niwad()
    garden.keep.kill()
    garden.keep.wait()
    garden.start_keep()
    garden.start_niwad()
    for n in names:
        assert serving(garden, n) != pids[n]
    assert garden.state("visited") == "stopped"


def test_more_resident_apps_than_starts_may_wait_are_all_started_and_none_fails(garden):
    names = [f"many{n}" for n in range(16)]
    apply(garden, *(app(n, resident=False) for n in names))
    garden.configure(**garden.settings, wake_queue=4, concurrent_starts=1)
    garden.kill_niwad(signal.SIGTERM)
    garden.start_niwad()
    apply(garden, *(app(n) for n in names))
    for n in names:
        running(garden, n)
    assert not [garden.show(n)["last_error"] for n in names if "last_error" in garden.show(n)]
    garden.configure(**garden.settings)
    garden.kill_niwad(signal.SIGTERM)
    garden.start_niwad()


def test_a_resident_app_is_removed_in_any_state_and_leaves_nothing(garden):
    apply(garden, app("gone"), app("failing", command=["/bin/nothing"]))
    wait_for("a try", lambda: garden.show("failing")["failures"] >= 1)
    running(garden, "gone")
    garden.niwa("rm", "--yes", "gone", "failing")
    for row in garden.rpc("app.list")["apps"]:
        garden.niwa("stop", row["name"])
    wait_for(f"nothing is left: {garden.kernel_objects()}", garden.nothing_left, timeout=20)
    assert {row["state"] for row in garden.rpc("app.list")["apps"]} <= {"stopped", "saved"}
