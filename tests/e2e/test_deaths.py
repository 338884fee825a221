# SPDX-License-Identifier: MIT
"""Deaths that need a host of their own: of niwa-keep, of what niwa-keep starts, at the very first start."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import echo
import inside
import pytest
from crash import Talk, children, get, instances, is_alive, later, name_of, relay_pid, serving, wait_dead
from host import BUILD, SLOW, Host, wait_for

PORTS = (80, "http"), {"port": 7, "protocol": "tcp", "speaks": "client"}


def app(name, *switches, ports=PORTS, **keys):
    return echo.app(name, "--tcp", "7", *switches, ports=ports, **keys)


def wake(host, name):
    assert get(host.address(name))[0] == 200
    return serving(host, name)


@pytest.fixture
def host():
    h = Host()
    yield h
    h.stop()


@pytest.mark.parametrize("point", ["niwad.adopt-elements", "niwad.relay-stored", "niwad.relay-sent"])
def test_a_niwad_killed_at_its_first_start_is_followed_by_one_that_works(host, point):
    host.start_keep()
    host.start_niwad({"NIWA_FAULT": f"{point}:kill"}, wait=False)
    wait_dead(host, point)
    host.start_niwad()
    host.apply(echo.file(app("plain")))
    assert get(host.address("plain"))[0] == 200
    relays = [c for c in children(host.keep.pid) if name_of(c) == "niwa-relay"]
    assert len(relays) == 1


def test_a_start_under_way_is_adopted_and_there_is_no_second_one(host):
    host.start(keep_env={"NIWA_FAULT": "keep.child.pivot:slow"})
    host.apply(echo.file(app("plain", volumes=[])))
    answer = later(get, host.address("plain"))
    wait_for("the start is under way", lambda: len(children(host.keep.pid)) == 2)
    starting = children(host.keep.pid)
    host.kill_niwad()
    host.start_niwad()
    rows = instances(host, "plain")
    assert len(rows) == 1 and rows[0]["pid"] == 0, rows
    second = later(get, host.address("plain"))
    assert answer.result(60)[0] == second.result(60)[0] == 200
    assert serving(host, "plain") in starting


def sleeps(pid):
    """Is it in clock_nanosleep, as at a fault of the kind "hang"?"""
    try:
        return name_of(pid) != "niwa-relay" and Path(f"/proc/{pid}/syscall").read_text().startswith("230 ")
    except OSError:
        return False


@pytest.mark.parametrize("step", ["put", "move-mount", "mount", "pivot", "detach", "diag", "seccomp"])
def test_a_child_of_keep_killed_at_any_stage_is_told_to_who_waits_and_leaves_nothing(host, step):
    host.start(keep_env={"NIWA_FAULT": f"keep.child.{step}:hang"})
    host.apply(echo.file(app("plain", restart={"backoff": "1ms", "backoff_max": "1ms"})))
    for restart in (False, True):
        answer = later(get, host.address("plain"))
        child = wait_for("the start is at that stage", lambda: next(filter(sleeps, children(host.keep.pid)), None))
        if restart:
            host.kill_niwad()
            host.start_niwad()
        os.kill(child, signal.SIGKILL)
        assert answer.result(60)[0] == 503
        error = host.show("plain")["last_error"]
        assert "killed" in error and (restart or step in error)  # a new niwad has no plan to name the stage from
        wait_for(f"nothing is left: {host.kernel_objects()}", host.nothing_left)
        time.sleep(0.01)


def test_after_the_death_of_keep_a_new_pair_collects_and_works(host):
    host.start()
    host.apply(echo.file(
        app("plain"), app("sleeps"), app("naps", sleep={"freeze": "100ms", "page": "never", "save": "never"}),
        app("published", ports=[{"port": 80, "protocol": "http", "publish": "127.0.0.1:18080"}])))
    pids = [wake(host, name) for name in ("plain", "naps", "published")]
    plain, asleep = host.address("plain"), host.address("sleeps")
    through = Talk(host.address("plain"))
    through.say()
    host.wait_state("naps", "frozen")
    relay = relay_pid(host)
    host.keep.kill()
    host.keep.wait()
    assert host.niwad.wait(10 * SLOW) == 1
    assert get(plain)[0] == 200  # the old one still, past everything
    wait_for("the old relay ends", lambda: not is_alive(relay))  # what was in its backlog is lost with it
    answer = later(get, asleep)
    host.start()
    for pid in pids:
        wait_for("what the old one started has ended", lambda p=pid: not is_alive(p))
    through.close()
    assert answer.result(60)[0] == get(plain)[0] == 200
    assert get("127.0.0.1", port=18080)[0] == 200
    assert get(host.address("naps"))[0] == 200
    for name in ("plain", "sleeps", "naps", "published"):
        host.rpc("app.stop", name=name)
    wait_for(f"nothing is left: {host.kernel_objects()}", host.nothing_left)


@pytest.mark.parametrize("point", ["keep.start.received", "keep.before-clone", "keep.after-clone", "keep.host-ops",
                                   "keep.started"])
def test_when_keep_dies_in_a_start_who_waits_is_told_and_the_next_pair_starts_the_app(host, point):
    host.start(keep_env={"NIWA_FAULT": f"{point}:kill@2"})  # the first start is the relay's
    host.apply(echo.file(app("plain")))
    address, began = host.address("plain"), time.monotonic()
    answer = later(get, address)
    assert host.keep.wait(10 * SLOW) == -signal.SIGKILL
    assert host.niwad.wait(10 * SLOW) == 1
    assert answer.result(60)[0] == 503
    assert time.monotonic() - began < 10 * SLOW  # long before the deadline of a wake
    host.start()
    wait_for(f"nothing is left: {host.kernel_objects()}", host.nothing_left)
    assert get(address)[0] == 200
    serving(host, "plain")


def test_remove_takes_everything_out_of_the_kernel_but_the_guard_route(host):
    host.start()
    host.apply(echo.file(app("plain")))
    address = host.address("plain")
    wake(host, "plain")
    host.rpc("app.stop", name="plain")
    host.kill_niwad(signal.SIGTERM)
    subprocess.run([BUILD / "src/engine/niwad", "--config", host.dir / "niwad.conf", "--remove"], check=True)
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
    assert "table inet niwa" not in tables.splitlines()  # the guard belongs to niwa-keep and ends with it
    routes = subprocess.run(["ip", "route", "show", "table", "all"], capture_output=True, text=True).stdout
    assert "unreachable 10.64.0.0/12" in routes
    assert "local 10.64.0.0/12" not in routes
    with pytest.raises(OSError):
        socket.create_connection((address, 80), timeout=2)
    host.start_niwad()
    assert get(address)[0] == 200


# Answers nobody, and says when it is asked.
ASKED = """
import socket, time
s = socket.create_server(('', 80))
c, _ = s.accept()
c.recv(65536)
print('asked', flush=True)
time.sleep(1e6)
"""


def test_an_app_that_dies_while_it_is_asked_is_not_thought_of_when_the_answer_comes(host):
    host.start(niwad_env={"MALLOC_PERTURB_": "165", "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"})  # freed is overwritten
    asked = inside.app("asked", command=["/usr/bin/python3", "-Ic", ASKED], ready={"http": "/"})
    host.apply(echo.file(asked, app("plain", ready={"http": "/"})))
    wake(host, "plain")
    relay = relay_pid(host)
    waking = later(host.niwa, "wake", "asked", check=False)
    wait_for("it is asked", lambda: "asked" in host.app_log("asked"))
    os.kill(relay, signal.SIGSTOP)
    os.kill(host.show("asked")["instances"][0]["pid"], signal.SIGKILL)
    assert waking.result(30 * SLOW).returncode == 1
    wait_for("it is gone", lambda: not host.show("asked")["instances"])
    os.kill(relay, signal.SIGCONT)
    host.niwa("stop", "plain")
    host.niwa("wake", "plain")
