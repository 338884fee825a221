# SPDX-License-Identifier: MIT
"""Who may wake an app by a port, and how often."""

import concurrent.futures
import http.client
import socket
import subprocess

import pytest
from host import SLOW, Host
from inside import app, apply, echo, run

SLEEPS = {"freeze": "200ms", "page": "never", "save": "never"}
SOURCES = ["192.0.2.1/32", "192.0.2.2/32", "198.51.100.1/32", "203.0.113.0/24", "2001:db8::7/128", "2001:db8:1::7/128"]


@pytest.fixture(scope="module")
def garden():
    for addr in SOURCES:  # clients on this host that come from elsewhere
        subprocess.run(["ip", "addr", "add", addr, "dev", "lo"], check=True)
    h = Host(ula_prefix="fd6e:6977:6100::/48").start()
    yield h
    h.stop()
    for addr in SOURCES:
        subprocess.run(["ip", "addr", "del", addr, "dev", "lo"], check=True)


def declare(host, name, policy, **keys):
    keys.setdefault("sleep", SLEEPS)
    apply(host, echo(name, ports=[{"port": 80, "protocol": "http", "wake": policy}], snapshot="off", **keys))
    return host.address(name)


def visit(address, source=None, timeout=20):
    """The status of an answer, and its Retry-After."""
    c = http.client.HTTPConnection(address, 80, timeout=timeout * SLOW, source_address=(source, 0) if source else None)
    try:
        c.request("GET", "/")
        answer = c.getresponse()
        answer.read()
        return answer.status, answer.getheader("Retry-After")
    finally:
        c.close()


def wakes(host, name):
    return host.show(name)["wakes"]


def test_only_who_may_wake_it_does(garden, name):
    address = declare(garden, name, {"from": ["192.0.2.0/31", "192.0.2.2"]})
    assert visit(address, "198.51.100.1") == (503, "60")
    assert garden.state(name) == "stopped" and wakes(garden, name) == 0
    assert visit(address)[0] == 503, "the host itself is not among them"
    assert visit(address, "192.0.2.1")[0] == 200
    assert wakes(garden, name) == 1
    assert "not woken by 198.51.100.1 at port 80: it may not (wake.from)" in garden.niwad_log()


def test_who_may_not_wake_it_reaches_it_while_it_is_awake(garden, name):
    address = declare(garden, name, {"from": ["192.0.2.1"]}, sleep={**SLEEPS, "freeze": "never"})
    assert visit(address, "192.0.2.1")[0] == 200
    assert visit(address, "198.51.100.1")[0] == 200


def test_a_frozen_app_is_thawed_only_by_who_may(garden, name):
    address = declare(garden, name, {"from": ["192.0.2.1"]})
    for _ in range(3):
        assert visit(address, "192.0.2.1")[0] == 200
        garden.wait_state(name, "frozen")
        assert visit(address, "198.51.100.1")[0] == 503
        assert garden.state(name) == "frozen"


def test_a_connection_that_exists_goes_on_while_the_app_is_frozen(garden, name):
    address = declare(garden, name, {"from": ["192.0.2.1"]})
    assert visit(address, "192.0.2.1")[0] == 200
    c = http.client.HTTPConnection(address, 80, timeout=20 * SLOW, source_address=("198.51.100.1", 0))
    for _ in range(3):
        c.request("GET", "/")
        assert c.getresponse().read() is not None
        garden.wait_state(name, "frozen")
    c.close()


def test_networks_of_ipv6_are_known_too_asleep_and_frozen(garden, name):
    declare(garden, name, {"from": ["2001:db8::/48"]})
    address = garden.show(name)["service_address6"]
    for _ in range(2):
        assert visit(address, "2001:db8:1::7")[0] == 503
        assert visit(address, "2001:db8::7")[0] == 200
        assert garden.show(name)["last_wake"]["from"] == "2001:db8::7"
        garden.wait_state(name, "frozen")
    assert garden.show(name)["history"][0]["why"] == "connection from 2001:db8::7"
    assert garden.show(name)["refused"][0]["last"] == "2001:db8:1::7"


@pytest.mark.parametrize("word, source, status", [("host", None, 200), ("host", "192.0.2.1", 503), ("none", None, 503), ("any", "192.0.2.1", 200), (["10.0.0.0/8", "host"], None, 200)])
def test_the_host_has_a_name(garden, name, word, source, status):
    word = [word] if word == "host" else word
    assert visit(declare(garden, name, {"from": word}), source)[0] == status


def test_apps_of_the_tenant_have_a_name(garden, name):
    """They connect from the address of their instance; apps of others do not get there at all."""
    address = declare(garden, name, {"from": ["tenant"]}, tenant="family")
    sibling = f"sibling-{name}"
    apply(garden, app(sibling, tenant="family"))
    garden.niwa("wake", sibling)
    assert visit(address)[0] == 503
    get = f"import urllib.request; print(urllib.request.urlopen('http://{address}/', timeout=20).status)"
    assert run(garden, sibling, "/usr/bin/python3", "-Ic", get).stdout == "200\n"
    garden.niwa("rm", sibling)


def test_niwa_wake_is_nobody_s_connection(garden, name):
    declare(garden, name, {"from": "none", "wakes": "1/d"})
    garden.niwa("wake", name)
    garden.niwa("stop", name)
    garden.niwa("wake", name)


def test_an_app_is_woken_as_often_as_it_may_be_and_no_more(garden, name):
    address = declare(garden, name, {"wakes": "3/h"})
    for _ in range(3):
        assert visit(address)[0] == 200
        garden.wait_state(name, "frozen")
    status, after = visit(address)
    assert status == 503 and 1000 < int(after) <= 1200
    assert garden.state(name) == "frozen" and wakes(garden, name) == 3
    assert "more than 3 wakes in 3600 s (wake.wakes)" in garden.niwad_log()
    declare(garden, name, {"wakes": "3/h"}, wake="@yearly")
    assert visit(address)[0] == 503, "the same rate in another record is no fresh one"
    declare(garden, name, {"wakes": "4/h"})
    assert visit(address)[0] == 200, "but another one is"
    garden.wait_state(name, "frozen")
    declare(garden, name, {})
    assert visit(address)[0] == 200
    assert len(garden.show(name)["instances"]) == 1 and garden.show(name)["instances"][0]["life"] == "serving"


def test_scanners_from_many_addresses_do_not_keep_it_up(garden, name):
    """One byte each, as a scan for servers sends."""
    address = declare(garden, name, {"wakes": "2/h"}, sleep={**SLEEPS, "freeze": "100ms"})

    def scan(n):
        with socket.socket() as s:
            s.settimeout(0.1 * SLOW)
            s.bind((f"203.0.113.{n + 1}", 0))
            try:
                s.connect((address, 80))
                s.sendall(b"\n")
                return s.recv(1000)
            except OSError:  # it does not wait long
                return b""

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            list(pool.map(scan, range(32)))
            garden.wait_state(name, "frozen", "stopped")
    assert wakes(garden, name) <= 2
    refused = garden.show(name)["refused"][0]
    assert refused["port"] == 80 and refused["too_often"] >= 30 and refused["last"].startswith("203.0.113.")


def test_who_comes_while_it_wakes_counts_for_nothing(garden, name):
    address = declare(garden, name, {"wakes": "1/h"})
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert {status for status, _ in pool.map(lambda _: visit(address), range(20))} == {200}
    garden.wait_state(name, "frozen")
    assert visit(address)[0] == 503


def test_a_smtp_client_is_told_in_its_protocol(garden, name):
    apply(garden, app(name, ports=[{"port": 25, "protocol": "smtp", "wake": {"from": "none"}}]))
    with socket.create_connection((garden.address(name), 25), timeout=20 * SLOW) as s:
        assert s.recv(100).startswith(b"421 ")


def test_a_policy_holds_though_niwad_is_another_one_and_the_app_is_frozen(garden, name):
    address = declare(garden, name, {"from": ["192.0.2.1"]})
    assert visit(address, "192.0.2.1")[0] == 200
    garden.wait_state(name, "frozen")
    garden.kill_niwad()
    garden.start_niwad()
    assert garden.state(name) == "frozen"
    assert visit(address, "198.51.100.1")[0] == 503
    assert visit(address, "192.0.2.1")[0] == 200


def test_a_policy_that_comes_while_the_app_is_frozen_holds_at_once(garden, name):
    address = declare(garden, name, {})
    assert visit(address)[0] == 200
    garden.wait_state(name, "frozen")
    declare(garden, name, {"from": "none"})
    garden.wait_state(name, "frozen")
    assert visit(address)[0] == 503
    declare(garden, name, {})
    assert visit(address)[0] == 200
