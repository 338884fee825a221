# SPDX-License-Identifier: MIT
"""Hours in which an app is awake, and times at which it is woken without a connection."""

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from host import SLOW, Host, wait_for
from inside import QUIET, app, apply, echo
from visitors import visit

SLEEPS = {"freeze": "100ms", "page": "never", "save": "never"}


@pytest.fixture(scope="module")
def garden(zones):
    h = Host().start()
    yield h
    h.stop()


def declare(host, name, **keys):
    apply(host, app(name, **{"sleep": SLEEPS, **keys}))


def whys(host, name):
    return [move["why"] for move in host.show(name)["history"]]


def moves(host, name):
    return [(move["from"], move["to"]) for move in host.show(name)["history"]]


# -- times of cron --------------------------------------------------------------------------------------------------


def test_an_app_is_woken_at_its_time_stays_awake_as_long_as_it_says_and_sleeps_again(garden, zones, name):
    declare(garden, name, wake={"at": "0 12 * * *", "for": "1s", "zone": zones.before("12:00", 2)})
    assert garden.state(name) == "stopped"
    garden.wait_state(name, "running", timeout=10)
    woken = time.monotonic()
    assert garden.show(name)["history"][0]["why"] == "its schedule"
    garden.wait_state(name, "frozen")
    assert time.monotonic() - woken > 0.7, "it slept before its time was over"
    assert garden.show(name)["wakes"] == 1


def test_a_frozen_app_is_thawed_at_its_time(garden, zones, name):
    declare(garden, name, wake={"at": "0 12 * * *", "for": "30s", "zone": zones.before("12:00", 2)})
    garden.niwa("wake", name)
    garden.wait_state(name, "frozen")
    garden.wait_state(name, "running", timeout=10)
    assert whys(garden, name)[-1] == "its schedule"
    time.sleep(0.3)
    assert garden.state(name) == "running", "it is awake for its time, though nobody speaks to it"


def test_a_changed_and_a_removed_time_does_not_come(garden, zones, name):
    at = {"at": "0 12 * * *", "zone": zones.before("12:00", 2)}
    gone = f"gone-{name}"
    declare(garden, name, wake=at)
    declare(garden, gone, wake=at)
    witness = f"witness-{name}"
    declare(garden, witness, wake=at)
    declare(garden, name, wake={**at, "at": "0 13 * * *"})
    garden.niwa("rm", gone)
    garden.wait_state(witness, "running", timeout=10)
    time.sleep(0.3)
    assert garden.state(name) == "stopped" and not garden.show(name)["history"]
    garden.niwa("rm", witness)


def test_what_was_missed_while_niwad_was_down_is_made_up_for_by_one_wake(garden, name):
    declare(garden, name, wake={"at": "*/5 * * * *", "for": "1s", "zone": "Test1"}, sleep={**SLEEPS, "save": "300ms"})
    never = f"never-{name}"
    declare(garden, never, wake={"at": "0 0 1 1 *", "zone": "Test1"})
    garden.kill_niwad()
    mark = garden.dir / "state/scheduled"
    os.utime(mark, (time.time() - 3600, time.time() - 3600))
    garden.start_niwad()
    garden.wait_state(name, "running", "frozen")
    assert garden.show(name)["wakes"] == 1
    garden.wait_state(name, "stopped")
    assert mark.stat().st_mtime > time.time() - 60
    garden.kill_niwad()
    garden.start_niwad()
    time.sleep(0.3)
    assert garden.state(name) == "stopped" and garden.state(never) == "stopped", "nothing was missed this time"
    garden.niwa("rm", never)


def test_what_an_app_was_woken_for_goes_on_when_niwad_is_killed(garden, zones, name):
    declare(garden, name, wake={"at": "0 12 * * *", "for": "1h", "zone": zones.before("12:00", 2)})
    garden.wait_state(name, "running", timeout=10)
    garden.kill_niwad()
    garden.start_niwad()
    time.sleep(1)
    assert garden.state(name) == "running"
    assert garden.show(name)["wakes"] == 0, "nobody woke it again"


def test_a_time_that_comes_while_the_app_is_replaced_is_not_lost(garden, zones, name):
    """The old instance takes its time to end; the fresh one is there for the time that has come."""
    slow = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(2), exit(0)))\n"
    declare(garden, name, command=["/usr/bin/python3", "-Ic", slow + QUIET], stop={"grace": "10s", "signal": "TERM"})
    garden.niwa("wake", name)
    record = app(name, sleep=SLEEPS, command=["/usr/bin/python3", "-Ic", slow + QUIET], stop={"grace": "10s", "signal": "TERM"},
                 wake={"at": "0 12 * * *", "for": "30s", "zone": zones.before("12:00", 2)})
    apply(garden, record)
    stopper = threading.Thread(target=lambda: garden.niwa("stop", name, check=False))
    stopper.start()
    garden.wait_state(name, "stopping")
    wait_for("it was woken", lambda: garden.show(name)["wakes"] == 2 or garden.state(name) == "running" and "its schedule" in whys(garden, name), 15)
    stopper.join()
    garden.wait_state(name, "running")
    time.sleep(0.3)
    assert garden.state(name) == "running"


def again(host, **settings):
    """Another niwad."""
    host.configure(**settings)
    host.kill_niwad(signal.SIGTERM)
    host.start_niwad()


@pytest.fixture
def narrow(garden):
    """Starts one app at a time."""
    again(garden, concurrent_starts=1, start_hold="60s")
    yield garden
    for row in garden.rpc("app.list")["apps"]:
        garden.niwa("rm", "--yes", row["name"])
    again(garden)


def test_a_time_that_waits_for_its_turn_outlives_a_change_of_the_record(narrow, zones, name):
    """While starts wait for their turn, those of schedules do too; an apply in between does not lose them."""
    at = {"at": "0 12 * * *", "for": "30s", "zone": zones.before("12:00", 1)}
    apply(narrow, echo("slow", "--late", str(int(3500 * SLOW))), echo("behind"), app(name, sleep=SLEEPS, wake=at))
    due = narrow.show(name)["next_wake"] / 1e6
    with ThreadPoolExecutor(2) as pool:
        busy = []
        for other in ("slow", "behind"):
            busy.append(pool.submit(visit, narrow.address(other)))
            narrow.wait_state(other, "starting")
        wait_for("its time has come", lambda: time.time() > due + 0.3)
        assert narrow.state(name) == "stopped" and narrow.state("behind") == "starting"
        declare(narrow, name, wake=at, labels={"a": "b"})
        narrow.wait_state(name, "running", timeout=10)
        assert narrow.show(name)["history"][0]["why"] == "its schedule"
        assert [b.result()[0] for b in busy] == [200, 200]


def test_times_of_more_apps_than_starts_may_wait_all_come_and_a_visitor_finds_room(narrow):
    """Missed while niwad was down, they are all late: they fill no queue."""
    names = [f"late{n}" for n in range(12)]
    at = {"at": "*/5 * * * *", "for": "1m"}
    apply(narrow, *(echo(n, "--late", "50", sleep=SLEEPS, wake=at) for n in names), echo("visited"))
    mark = narrow.dir / "state/scheduled"
    narrow.kill_niwad()
    os.utime(mark, (time.time() - 3600, time.time() - 3600))
    narrow.configure(concurrent_starts=1, start_hold="60s", wake_queue=4)
    narrow.start_niwad()
    wait_for("the first one", lambda: any(narrow.state(n) == "starting" for n in names))
    assert visit(narrow.address("visited"))[0] == 200
    wait_for("all were woken", lambda: all(narrow.state(n) == "running" for n in names), timeout=10)
    assert not [n for n in names if "last_error" in narrow.show(n)]


def test_a_niwad_that_is_killed_between_a_wake_and_its_note_of_it_loses_nothing(garden, zones, name):
    garden.kill_niwad()
    garden.start_niwad({"NIWA_FAULT": "niwad.schedule-mark:kill@2"})  # the first note is of the first schedule
    declare(garden, name, wake={"at": "0 12 * * *", "for": "30s", "zone": zones.before("12:00", 1.5)})
    garden.niwad.wait(20 * SLOW)
    garden.start_niwad()
    garden.wait_state(name, "running")
    time.sleep(0.3)
    assert garden.state(name) == "running" and len(garden.show(name)["instances"]) == 1


# -- hours ----------------------------------------------------------------------------------------------------------


def test_an_app_is_up_in_its_hours_and_sleeps_when_they_end(garden, zones, name):
    declare(garden, name, awake={"times": "08:00-18:00", "zone": zones.before("18:00", 2)})
    garden.wait_state(name, "running", timeout=1.5)
    assert garden.show(name)["history"][0]["why"] == "its hours"
    time.sleep(0.3)
    assert garden.state(name) == "running"
    garden.wait_state(name, "frozen")


def test_hours_begin_for_what_is_stopped_and_for_what_is_frozen(garden, zones, name):
    frozen = f"frozen-{name}"
    hours = {"times": ["Mon-Fri 08:00-18:00", "Sat,Sun 08:00-12:00"], "zone": zones.before("08:00", 2.5)}
    declare(garden, name, awake=hours)
    declare(garden, frozen, awake=hours)
    garden.niwa("wake", frozen)
    garden.wait_state(frozen, "frozen")
    assert garden.state(name) == "stopped"
    garden.wait_state(frozen, "running", timeout=10)
    garden.wait_state(name, "running")
    time.sleep(0.3)
    assert garden.state(name) == garden.state(frozen) == "running"
    assert whys(garden, frozen)[-1] == "its hours"
    garden.niwa("rm", frozen)


def test_an_app_that_ends_in_its_hours_is_started_again_unless_it_was_stopped(garden, zones, name):
    declare(garden, name, awake={"times": "08:00-18:00", "zone": zones.before("12:00")}, restart={"backoff": "20ms"})
    garden.wait_state(name, "running")
    pid = garden.pid(name)
    os.kill(pid, signal.SIGKILL)
    wait_for("another one runs", lambda: any(i["life"] == "serving" and i["pid"] != pid for i in garden.show(name)["instances"]))
    garden.niwa("stop", name)
    time.sleep(0.3)
    assert garden.state(name) == "stopped"
    garden.niwa("wake", name)
    time.sleep(0.3)
    assert garden.state(name) == "running"


def test_hours_go_on_when_niwad_is_killed(garden, zones, name):
    declare(garden, name, awake={"times": "08:00-18:00", "zone": zones.before("12:00")})
    garden.wait_state(name, "running")
    pid = garden.pid(name)
    garden.kill_niwad()
    garden.start_niwad()
    time.sleep(0.3)
    assert garden.state(name) == "running" and garden.pid(name) == pid


def test_hours_that_are_no_more_let_it_sleep(garden, zones, name):
    declare(garden, name, awake={"times": "08:00-18:00", "zone": zones.before("12:00")})
    garden.wait_state(name, "running")
    pid = garden.pid(name)
    declare(garden, name)
    garden.wait_state(name, "frozen")
    assert garden.pid(name) == pid, "what concerns niwad alone is no reason for a fresh instance"


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line, says", [
    ("wake: {at: '61 * * * *', for: 1m}", "apps[0].wake.at: found '61 * * * *': minute '61'; allowed: 0 to 59"),
    ("wake: ['0 0 * * *', '0 0 31 2 *']", "apps[0].wake.at[1]: found '0 0 31 2 *': a day that never comes"),
    ("wake: {for: 1m}", "apps[0].wake.at: missing"),
    ("awake: 'Mon-Fri 8-18'", "apps[0].awake.times: found 'Mon-Fri 8-18'; allowed: days, hours or both"),
])
def test_a_wrong_time_is_refused_with_the_line(garden, line, says):
    text = f"apps:\n- name: wrong\n  image: host\n  command: ['true']\n  ports: [{{port: 80}}]\n  {line}\n"
    done = garden.apply(text, check=False)
    assert done.returncode == 1
    assert "apps.yaml:6: " in done.stderr and says in done.stderr, done.stderr


def test_a_zone_that_this_host_does_not_know_is_told_at_apply(garden, name):
    text = f"apps:\n- name: {name}\n  image: host\n  command: ['true']\n  ports: [{{port: 80}}]\n  awake:\n    times: Sat\n    zone: Mars/Olympus\n"
    done = garden.apply(text)
    assert "apps.yaml:8: " in done.stderr and "there is no time zone 'Mars/Olympus' on this host" in done.stderr, done.stderr
