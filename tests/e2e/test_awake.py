# SPDX-License-Identifier: MIT
"""niwa show says who woke an app and why it is awake."""

import http.client
import subprocess
import time

import pytest
from crash import Talk
from host import SLOW, Host, wait_for
from inside import app, apply, echo, run

SLEEPS = {"freeze": "300ms", "page": "never", "save": "never"}


@pytest.fixture(scope="module")
def garden():
    subprocess.run(["ip", "addr", "add", "192.0.2.77/32", "dev", "lo"], check=True)
    h = Host().start()
    yield h
    h.stop()
    subprocess.run(["ip", "addr", "del", "192.0.2.77/32", "dev", "lo"], check=True)


def declare(host, name, make=app, **keys):
    apply(host, make(name, **{"sleep": SLEEPS, "snapshot": "off", **keys}))


def reasons(host, name):
    return {reason["why"]: reason for reason in host.show(name).get("awake", [])}


def shown(host, name, title):
    for line in host.niwa("show", name).stdout.splitlines():
        if line.startswith(f"  {title} "):
            return line[len(title) + 2:].strip()
    return ""


def test_who_woke_it_is_named(garden, name):
    declare(garden, name, echo)
    c = http.client.HTTPConnection(garden.address(name), 80, timeout=20 * SLOW, source_address=("192.0.2.77", 0))
    c.request("GET", "/")
    assert c.getresponse().status == 200
    c.close()
    wake = garden.show(name)["last_wake"]
    assert (wake["by"], wake["from"], wake["port"]) == ("connection", "192.0.2.77", 80)
    assert shown(garden, name, "last wake").endswith("by start, for 192.0.2.77 at port 80")
    assert garden.show(name)["history"][0]["why"] == "connection from 192.0.2.77"
    garden.wait_state(name, "frozen")
    garden.niwa("wake", name)
    assert garden.show(name)["last_wake"]["by"] == "request" and "from" not in garden.show(name)["last_wake"]
    assert shown(garden, name, "last wake").endswith("by thaw, on request")


def test_traffic_and_schedules_are_named_too(garden, zones, name):
    declare(garden, name, echo, wake={"at": "0 12 * * *", "for": "30s", "zone": zones.before("12:00", 2)})
    assert shown(garden, name, "next wake").startswith("in ")
    garden.wait_state(name, "running")
    assert garden.show(name)["last_wake"]["by"] == "its schedule"
    assert shown(garden, name, "last wake").endswith("by start, by its schedule")
    why = reasons(garden, name)["its schedule"]
    assert 20 < why["until"] / 1e6 - time.time() < 31
    assert "its schedule for " in shown(garden, name, "awake")
    assert garden.show(name)["next_wake"] / 1e6 - time.time() > 80000


def test_a_lease_is_named_with_its_end(garden, name):
    declare(garden, name)
    garden.niwa("wake", name)
    run(garden, name, "sh", "-c", "echo 5m > /run/niwa/busy")
    why = reasons(garden, name)["lease"]
    assert 290 < why["until"] / 1e6 - time.time() <= 300
    assert "lease for 4 min" in shown(garden, name, "awake") or "lease for 5 min" in shown(garden, name, "awake")


def test_hours_connections_commands_and_bytes_are_named(garden, zones, name):
    declare(garden, name, lambda name, **keys: echo(name, "--tcp", "7", **keys), ports=[{"port": 80, "protocol": "http"}, {"port": 7}],
            awake={"times": "08:00-18:00", "zone": zones.before("12:00")})
    talk = Talk(garden.address(name))
    talk.say()
    assert garden.state(name) == "running"
    talk.say()  # the first bytes belong to the wake
    began = time.time()
    wait_for("the bytes were seen", lambda: "bytes" in reasons(garden, name), 5)
    found = reasons(garden, name)
    assert found["connections"]["count"] == 1 and "its hours" in found
    assert abs(found["bytes"]["at"] / 1e6 - began) < 3 * SLOW
    text = shown(garden, name, "awake")
    assert "its hours for 5 h" in text or "its hours for 6 h" in text
    assert "a connection is open" in text and "last bytes" in text
    talk.close()


def test_what_sleeps_has_no_reason_to_be_awake(garden, name):
    declare(garden, name)
    assert "awake" not in garden.show(name) and shown(garden, name, "awake") == ""
    garden.niwa("wake", name)
    garden.wait_state(name, "frozen")
    assert "awake" not in garden.show(name)


def test_a_refusal_is_shown_with_who_it_was(garden, name):
    declare(garden, name, echo, ports=[{"port": 80, "protocol": "http", "wake": {"from": "none"}}])
    c = http.client.HTTPConnection(garden.address(name), 80, timeout=20 * SLOW, source_address=("192.0.2.77", 0))
    c.request("GET", "/")
    assert c.getresponse().status == 503
    c.close()
    assert shown(garden, name, "refused") == "1 at port 80 (1 from where it may not be woken, 0 too often), last 192.0.2.77"
    assert garden.show(name)["refused"] == [{"port": 80, "not_from_there": 1, "too_often": 0, "last": "192.0.2.77"}]
