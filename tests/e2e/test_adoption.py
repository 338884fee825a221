# SPDX-License-Identifier: MIT
"""What happens while no niwad is there, and what the next one makes of it."""

import http.client
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import time

import crash
import echo
import inside
import pytest
from crash import Load, Talk, end, fail_at, get, instances, is_alive, later, relay_pid, serving, wait_dead
from host import BUILD, SLOW, Host, RpcError, wait_for

PORTS = (80, "http"), {"port": 7, "protocol": "tcp", "speaks": "client"}


def app(name, *switches, ports=PORTS, **keys):
    return echo.app(name, "--tcp", "7", *switches, ports=ports, **keys)


@pytest.fixture(scope="module")
def shared_host():
    host = Host().start()
    host.apply(echo.file(
        app("plain"), app("naps", sleep={"freeze": "150ms", "page": "never", "save": "never"}),
        app("always", restart={"policy": "always", "backoff": "10ms"}), app("late", "--late", "1500"),
        app("published", ports=[{"port": 80, "protocol": "http", "publish": "127.0.0.1:18080"}])))
    host.at = {row["name"]: row["service_address"] for row in host.rpc("app.list")["apps"]}
    host.ledger = crash.Ledger(host, "plain")
    yield host
    host.stop()


@pytest.fixture(autouse=True)
def tidy(request):
    yield
    if "shared_host" in request.fixturenames:
        host = request.getfixturevalue("shared_host")
        if host.niwad.poll() is not None:
            host.start_niwad()
        host.ledger.check()
        for row in host.rpc("app.list")["apps"]:
            if row["state"] != "stopped":
                host.rpc("app.stop", name=row["name"])
        host.ledger.check()


def wake(host, name):
    assert get(host.address(name))[0] == 200
    return serving(host, name)


# The record that niwa-keep holds for an instance (src/container/keep_protocol.h, struct niwa_tag in the engine).

KEEP_MSG = struct.Struct("=IIQiiiiiIQQ64sI1024s4x")
KEEP_TAG, KEEP_LIST, KEEP_INSTANCE, KEEP_END, KEEP_OK = 1, 3, 9, 11, 12
TAG = struct.Struct("=IIQQQIIIIIIQ")  # what its first version had


def keep_message(kind, number=0, tag=b""):
    return KEEP_MSG.pack(1, kind, number, 0, 0, 0, 0, 0, 0, 0, 0, b"", len(tag), tag)


def rewrite_tag(host, change):
    """Does in niwa-keep what a niwad of another version would have done; niwad is dead."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as keep:
        keep.settimeout(10)
        keep.connect(str(host.dir / "run/keep.sock"))
        keep.send(keep_message(KEEP_LIST))
        tags = {}
        while (answer := KEEP_MSG.unpack(keep.recv(4096)))[1] != KEEP_END:
            if answer[1] == KEEP_INSTANCE:
                tags[answer[2]] = answer[13][:answer[12]]
        apps = {n: tag for n, tag in tags.items() if TAG.unpack(tag[:TAG.size])[1] == 1}
        assert len(apps) == 1, tags
        for number, tag in apps.items():
            keep.send(keep_message(KEEP_TAG, number, change(tag)))
            assert KEEP_MSG.unpack(keep.recv(4096))[1] == KEEP_OK


@pytest.mark.parametrize("change, adopted", [
    (lambda tag: tag + b"what a newer niwad has added", True),
    (lambda tag: tag[:56], True),  # before began_realtime_us was added
    (lambda tag: tag[:TAG.size], True),  # before folders, stop and record were
    (lambda tag: tag[:-16], True),  # before target, work and restored were
    (lambda tag: b"\2" + tag[1:], False),  # a version that this niwad cannot read
    (lambda tag: b"", False)])
def test_an_instance_of_another_version_of_niwad_is_adopted_when_its_record_can_be_read(shared_host, change, adopted):
    host = shared_host
    pid = wake(host, "plain")
    host.kill_niwad()
    rewrite_tag(host, change)
    host.start_niwad()
    assert (wake(host, "plain") == pid) == adopted


# Ends that nobody saw.

def test_an_instance_that_was_killed_meanwhile_is_known_to_have_been_killed(shared_host):
    host = shared_host
    pid = wake(host, "plain")
    host.kill_niwad()
    end(pid)
    host.start_niwad()
    shown = host.show("plain")
    assert shown["state"] == "stopped" and shown["instances"] == []
    assert "SIGKILL" in shown["last_error"]
    assert shown["history"][-1]["to"] == "stopped"
    assert wait_for("the back-off ends", lambda: get(host.at["plain"])[0] == 200)


def test_the_exit_status_of_an_instance_that_ended_meanwhile_is_known(shared_host):
    host = shared_host
    address, pid = host.at["plain"], wake(host, "plain")
    host.kill_niwad()
    with pytest.raises((OSError, http.client.HTTPException)):
        get(address, "/exit?status=7")
    wait_for("it has ended", lambda: not is_alive(pid))
    host.start_niwad()
    assert "exited with status 7" in host.show("plain")["last_error"]


def test_an_app_that_is_to_run_always_is_started_again_without_a_connection(shared_host):
    host = shared_host
    pid = wake(host, "always")
    host.kill_niwad()
    end(pid)
    host.start_niwad()
    host.wait_state("always", "running")
    assert serving(host, "always") != pid


def test_connections_to_an_app_that_ended_meanwhile_are_answered_by_a_new_start(shared_host):
    host = shared_host
    address, pid = host.at["plain"], wake(host, "plain")
    fail_at(host, "niwad.stop-sent")
    order = later(host.niwa, "stop", "plain", check=False)
    wait_dead(host, "niwad.stop-sent")
    order.result(60)
    wait_for("the stopped one has ended", lambda: not is_alive(pid))
    answers = [later(get, address) for _ in range(8)]
    host.start_niwad()
    assert [a.result(60)[0] for a in answers] == [200] * 8
    assert serving(host, "plain") != pid


def test_a_connection_made_while_app_and_niwad_are_dead_is_answered(shared_host):
    host = shared_host
    address, pid = host.at["plain"], wake(host, "plain")
    host.kill_niwad()
    end(pid)
    answer = later(get, address)
    with pytest.raises(TimeoutError):
        answer.result(0.5)
    host.start_niwad()
    status, _ = answer.result(60)
    assert status in (200, 503)  # during the back-off of a crashed app the answer is 503 with Retry-After


# What goes on.

def test_lines_that_an_app_prints_meanwhile_are_all_in_its_log(shared_host):
    host = shared_host
    address = host.at["plain"]
    wake(host, "plain")
    host.kill_niwad()
    before = len(host.app_log("plain"))
    assert get(address, "/log?lines=400&bytes=100")[0] == 200
    assert len(host.app_log("plain")) == before
    host.start_niwad()
    assert get(address, "/log?lines=1&bytes=10")[0] == 200
    wait_for("401 lines", lambda: host.app_log("plain")[before:].count("\n") >= 401)
    assert host.app_log("plain")[before:].count("\n") == 401


def test_an_app_that_prints_more_than_the_pipe_holds_is_held_not_killed(shared_host):
    host = shared_host
    address, pid = host.at["plain"], wake(host, "plain")
    host.kill_niwad()
    before = len(host.app_log("plain"))
    answer = later(get, address, "/log?lines=20000&bytes=100")
    time.sleep(0.2)
    host.start_niwad()
    assert answer.result(60)[0] == 200
    wait_for("20000 lines", lambda: host.app_log("plain")[before:].count("\n") == 20000)
    serving(host, "plain", pid)


def test_a_connection_through_the_relay_and_one_past_it_go_on(shared_host):
    host = shared_host
    through = Talk(host.at["plain"])
    through.say()
    past = Talk(host.at["plain"])
    past.say()
    host.kill_niwad()
    through.say()
    past.say(b"x" * 100000)
    host.start_niwad()
    through.say(b"y" * 100000)
    past.say()
    through.close()
    past.close()


def test_a_connection_that_waits_for_a_wake_is_answered_by_the_next_niwad(shared_host):
    host = shared_host
    answers = [later(get, host.at["late"]) for _ in range(5)]
    host.wait_state("late", "starting")
    host.kill_niwad()
    time.sleep(0.1)
    host.start_niwad()
    assert [a.result(60)[0] for a in answers] == [200] * 5
    serving(host, "late")


def test_bytes_for_a_frozen_app_are_answered_when_niwad_returns(shared_host):
    host = shared_host
    talk = Talk(host.at["naps"])
    talk.say()
    host.wait_state("naps", "frozen")
    host.kill_niwad()
    answer = later(talk.say)
    fresh = later(get, host.at["naps"])
    with pytest.raises(TimeoutError):
        answer.result(0.3)
    host.start_niwad()
    answer.result(60)
    assert fresh.result(60)[0] == 200
    talk.close()


def test_a_published_port_goes_on_accepting(shared_host):
    host = shared_host
    assert get("127.0.0.1", port=18080)[0] == 200
    host.kill_niwad()
    with socket.create_connection(("127.0.0.1", 18080), timeout=5):
        answer = later(get, "127.0.0.1", port=18080)
    host.start_niwad()
    assert answer.result(60)[0] == 200
    with pytest.raises(OSError):
        socket.create_server(("127.0.0.1", 18080))


def test_a_frozen_app_stays_frozen_over_a_restart(shared_host):
    host = shared_host
    pid = wake(host, "naps")
    host.wait_state("naps", "frozen")
    host.kill_niwad(signal.SIGTERM)
    host.start_niwad()
    assert host.state("naps") == "frozen"
    assert get(host.at["naps"])[0] == 200
    serving(host, "naps", pid)


# Adoption itself.

@pytest.mark.parametrize("point", ["niwad.adopt-listed", "niwad.adopt-elements", "niwad.adopt-collected"])
def test_a_niwad_killed_while_it_adopts_is_followed_by_one_that_adopts(shared_host, point):
    host = shared_host
    talk, pid = Talk(host.at["naps"]), wake(host, "naps")
    talk.say()
    host.wait_state("naps", "frozen")
    other = wake(host, "plain")
    dead = wake(host, "late")
    host.kill_niwad()
    end(dead)
    host.start_niwad({"NIWA_FAULT": f"{point}:kill"}, wait=False)
    wait_dead(host, point)
    answer = later(get, host.at["late"])
    host.start_niwad()
    talk.say()
    talk.close()
    serving(host, "naps", pid)
    serving(host, "plain", other)
    assert answer.result(60)[0] in (200, 503)


# Records that changed.

def test_an_instance_keeps_the_tenant_it_was_made_for(shared_host):
    host = shared_host
    path = host.dir / "moves.yaml"
    path.write_text(echo.file(app("moves", tenant="one")))
    host.niwa("apply", path)
    wake(host, "moves")
    path.write_text(echo.file(app("moves", tenant="two")))
    host.niwa("apply", path)
    wait_for("a fresh instance serves", lambda: {i["generation"] for i in instances(host, "moves")} ==
             {host.show("moves")["generation"]})
    host.ledger.check()
    path.write_text(echo.file(app("moves", tenant="three")))
    fail_at(host, "niwad.committed")
    order = later(host.niwa, "apply", path, check=False)
    wait_dead(host, "niwad.committed")
    order.result(60)
    host.start_niwad()
    assert host.show("moves")["tenant"] == "three"
    wait_for("a fresh instance serves", lambda: {i["generation"] for i in instances(host, "moves")} ==
             {host.show("moves")["generation"]})
    host.ledger.check()
    host.niwa("rm", "moves")


def test_a_fresh_instance_follows_also_when_niwad_died_while_the_old_one_stopped(shared_host):
    host = shared_host
    path = host.dir / "follows.yaml"
    path.write_text(echo.file(app("follows", rotate="handover")))
    host.niwa("apply", path)
    pid = wake(host, "follows")
    path.write_text(echo.file(app("follows", rotate="handover", env={"VERSION": "2"})))
    fail_at(host, "niwad.stop-sent")
    order = later(host.niwa, "apply", path, check=False)
    wait_dead(host, "niwad.stop-sent")
    order.result(60)
    host.start_niwad()
    host.wait_state("follows", "running")  # without a connection: somebody was using it
    assert serving(host, "follows") != pid
    host.niwa("rm", "follows")


def test_the_instance_of_an_app_that_was_removed_meanwhile_ends(shared_host):
    host = shared_host
    path = host.dir / "goes.yaml"
    path.write_text(echo.file(app("goes")))
    host.niwa("apply", path)
    pid = wake(host, "goes")
    fail_at(host, "niwad.committed")
    later(host.niwa, "rm", "goes", check=False).result(60)
    wait_dead(host, "niwad.committed")
    host.start_niwad()
    with pytest.raises(RpcError):
        host.show("goes")
    wait_for("it has ended", lambda: not is_alive(pid))


# Takes two seconds to end, and says then that it did.
TIDY = """
import os, signal, socket, threading, time
def end():
    open("/data/stops", "a").close()
    time.sleep(2)
    open("/data/ended", "a").close()
    os._exit(0)
signal.signal(signal.SIGTERM, lambda *a: threading.Thread(target=end).start())
s = socket.create_server(("", 80))
while True:
    s.accept()[0].close()
"""


@pytest.mark.parametrize("point", ["niwad.committed", "niwad.stop-tagged", "niwad.stop-sent"])
def test_a_removed_app_has_its_signal_and_its_grace_also_when_niwad_died(shared_host, point):
    host = shared_host
    folder = host.dir / point
    folder.mkdir()
    record = inside.app("tidy", command=["/usr/bin/python3", "-Ic", TIDY], stop={"grace": "20s", "signal": "TERM"},
                        volumes=[{"from": str(folder), "to": "/data"}])
    inside.apply(host, record)
    host.niwa("wake", "tidy")
    pid = host.pid("tidy")
    fail_at(host, point)
    later(host.niwa, "rm", "--yes", "tidy", check=False).result(60)
    wait_dead(host, point)
    host.start_niwad()
    wait_for("it has ended", lambda: not is_alive(pid))
    assert (folder / "ended").exists(), "it was killed before it was done"


def test_the_grace_of_a_removed_app_goes_on_when_niwad_dies_and_does_not_begin_again(shared_host):
    host = shared_host
    record = inside.app("deaf", stop={"grace": "6s", "signal": "TERM"}, command=[
        "/usr/bin/python3", "-Ic", "import signal; signal.signal(signal.SIGTERM, lambda *a: None); " + inside.QUIET])
    inside.apply(host, record)
    host.niwa("wake", "deaf")
    pid = host.pid("deaf")
    began = time.monotonic()
    host.niwa("rm", "--yes", "deaf")
    for _ in range(3):
        time.sleep(1)
        host.kill_niwad()
        host.start_niwad()
        assert is_alive(pid) or time.monotonic() - began >= 6
    wait_for("it has ended", lambda: not is_alive(pid), timeout=20)
    assert 5.5 < time.monotonic() - began < 8 * SLOW  # 9 and more, did the last niwad give it a grace of its own


CLOCK = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *ts)
{
	int r = (int)syscall(SYS_clock_gettime, id, ts);

	if (id == CLOCK_REALTIME)
		ts->tv_sec += atol(getenv("SHIFT"));
	return r;
}
"""


@pytest.mark.parametrize("shift", [0, 31536000, -31536000])
def test_a_lifetime_ends_whatever_the_clock_on_the_wall_does(shared_host, shift):
    host = shared_host
    (host.dir / "clock.c").write_text(CLOCK)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", host.dir / "clock.so", host.dir / "clock.c"], check=True)
    inside.apply(host, inside.app("short", lifetime="4s"))
    host.niwa("wake", "short")
    pid = host.pid("short")
    host.kill_niwad()
    began = time.monotonic()
    host.start_niwad(env={"LD_PRELOAD": str(host.dir / "clock.so"), "SHIFT": str(shift),
                          "ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"})
    assert host.pid("short") == pid or time.monotonic() - began > 3, "its time had not come"
    wait_for("a fresh one serves", lambda: [i for i in instances(host, "short") if i["life"] == "serving" and i["pid"] != pid], timeout=8)
    host.niwa("rm", "--yes", "short")
    host.kill_niwad()
    host.start_niwad()


# Programs.

def test_a_second_niwad_refuses_and_does_not_disturb_the_first(shared_host):
    host = shared_host
    talk = Talk(host.at["plain"])
    talk.say()
    done = subprocess.run([BUILD / "src/engine/niwad", "--config", host.dir / "niwad.conf"], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=30 * SLOW)
    assert done.returncode == 1
    assert re.search(r"another niwad|already|niwad.*runs", done.stderr), done.stderr
    assert host.niwad.poll() is None and host.state("plain") == "running"
    talk.say()
    talk.close()
    assert get(host.at["late"])[0] == 200


def test_niwad_is_stopped_and_another_binary_takes_over(shared_host):
    host = shared_host
    talk, pid = Talk(host.at["plain"]), wake(host, "plain")
    talk.say()
    host.kill_niwad(signal.SIGTERM)
    assert host.niwad.returncode == 0
    talk.say()
    other = host.dir / "niwad.new"
    shutil.copy2(BUILD / "src/engine/niwad", other)
    (host.dir / "run/niwad.sock").unlink(missing_ok=True)
    host.niwad = subprocess.Popen([other, "--config", host.dir / "niwad.conf"], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=open(host.dir / "log/niwad.err", "ab"),
                                  start_new_session=True)
    wait_for("niwad answers", host.answers)
    serving(host, "plain", pid)
    talk.say()
    talk.close()


def test_a_killed_relay_is_replaced_within_a_second_and_refuses_nobody(shared_host):
    host = shared_host
    wake(host, "published")
    past = Talk(host.at["plain"])  # this one woke it: through the relay
    past.say()
    direct = Talk(host.at["plain"])
    direct.say()
    old = relay_pid(host)
    end(old)
    began = time.monotonic()
    answers = [later(get, host.at["late"]), later(get, "127.0.0.1", port=18080)]
    assert [a.result(60)[0] for a in answers] == [200, 200]
    wait_for("another relay", lambda: relay_pid(host) not in (None, old))
    assert time.monotonic() - began < 4 * SLOW  # the app alone takes 1.5
    direct.say()
    direct.close()
    past.close()


def test_a_relay_killed_while_no_niwad_is_there_is_replaced_by_the_next_one(shared_host):
    host = shared_host
    host.kill_niwad()
    end(relay_pid(host))
    answers = [later(get, host.at["plain"]), later(get, "127.0.0.1", port=18080)]
    host.start_niwad()
    assert [a.result(60)[0] for a in answers] == [200, 200]


def test_requests_under_fifty_kills_of_niwad_are_all_answered(shared_host):
    host, chance = shared_host, random.Random(4711)
    addresses = [host.at[name] for name in ("plain", "naps", "always")]
    loads = [Load(a, pause=0.02) for a in addresses]
    kills, least = 0, 50 if SLOW == 1 else 10  # emulated, niwad takes seconds to start
    while kills < least or (kills < 4 * least and not all(load.count > 10 for load in loads)):  # slow machines need more
        time.sleep(chance.uniform(0, 0.15 * SLOW))
        host.kill_niwad()
        host.start_niwad(wait=False)
        kills += 1
    wait_for("niwad answers", host.answers)
    wrong = [load.end() for load in loads]
    assert wrong == [[], [], []]
    assert all(load.count > 10 for load in loads)
