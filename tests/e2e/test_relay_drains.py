# SPDX-License-Identifier: MIT
"""niwa-relay is replaced without an interruption: what the old one carries and holds goes on, everybody else is the new
one's, by its signal and by an installation."""

import os
import shutil
import signal

import echo
import pytest
from crash import Talk, children, get, is_alive, later, name_of, wait_dead
from host import BUILD, Host, wait_for

PORTS = (80, "http"), {"port": 7, "protocol": "tcp", "speaks": "client"}


def app(name, *switches):
    return echo.app(name, "--tcp", "7", *switches, ports=PORTS)


def relays(host):
    return [c for c in children(host.keep.pid) if name_of(c) == "niwa-relay"]


@pytest.fixture
def host():
    h = Host()
    yield h
    h.stop()


@pytest.fixture
def talking(host):
    """A host whose relay carries a connection; it and the relay's process."""
    host.start()
    host.apply(echo.file(app("plain"), app("other"), app("late", "--late", "1500")))
    talk = Talk(host.address("plain"))
    talk.say()
    yield host, talk, relays(host)[0]
    talk.close()


def another(host, old):
    return wait_for("another relay", lambda: [r for r in relays(host) if r != old])[0]


def ends_alone(host, talk, old):
    """The old one is there as long as its connection is, and the new one stays."""
    talk.say()
    assert is_alive(old)
    talk.close()
    wait_for("the old relay ends", lambda: not is_alive(old))
    assert len(relays(host)) == 1
    host.niwa("stop", "other")
    assert get(host.address("other"))[0] == 200


def test_a_relay_that_is_told_to_end_is_followed_at_once_and_goes_on_with_what_it_has(talking):
    host, talk, old = talking
    held = later(get, host.address("late"))
    wait_for("it is held", lambda: host.state("late") == "starting")
    os.kill(old, signal.SIGTERM)
    another(host, old)
    assert get(host.address("other"))[0] == 200
    assert held.result(60)[0] == 200  # by the old one
    ends_alone(host, talk, old)


def test_what_a_relay_that_drains_holds_is_answered_by_the_next_niwad(talking):
    host, talk, old = talking
    held = later(get, host.address("late"))
    wait_for("it is held", lambda: host.state("late") == "starting")
    os.kill(old, signal.SIGTERM)
    new = another(host, old)
    host.kill_niwad()
    host.start_niwad()
    assert held.result(60)[0] == get(host.address("other"))[0] == 200
    assert sorted(relays(host)) == sorted((old, new))
    ends_alone(host, talk, old)


def test_a_niwad_that_dies_when_it_hears_of_it_is_followed_by_one_that_starts_another(talking):
    host, talk, old = talking
    other = host.address("other")
    host.kill_niwad()
    host.start_niwad({"NIWA_FAULT": "niwad.relay-drains:kill"})
    os.kill(old, signal.SIGTERM)
    wait_dead(host, "niwad.relay-drains")
    answer = later(get, other)
    host.start_niwad()
    assert answer.result(60)[0] == 200
    ends_alone(host, talk, old)


def test_a_drain_that_nobody_heard_of_is_told_again(talking):
    host, talk, old = talking
    host.niwad.send_signal(signal.SIGSTOP)
    os.kill(old, signal.SIGTERM)
    host.kill_niwad()
    host.start_niwad()
    assert get(host.address("other"))[0] == 200
    ends_alone(host, talk, old)


def test_an_installed_relay_takes_the_place_of_the_old_one_when_niwad_starts(talking):
    host, talk, old = talking
    host.kill_niwad(signal.SIGTERM)
    host.start_niwad()
    assert relays(host) == [old], "the same program stays"
    host.kill_niwad(signal.SIGTERM)
    shutil.copy2(BUILD / "src/relay/niwa-relay", host.dir / "libexec/new")
    os.rename(host.dir / "libexec/new", host.dir / "libexec/niwa-relay")
    host.start_niwad()
    another(host, old)
    assert get(host.address("other"))[0] == 200
    ends_alone(host, talk, old)
