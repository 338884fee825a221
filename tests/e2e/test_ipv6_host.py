# SPDX-License-Identifier: MIT
"""IPv6 turned on and off while apps run, and hosts that have none."""

import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from clients import PATIENCE
from host import Host
from test_ipv6 import GATEWAY, PREFIX, app, apply, exchange, in_map, six

CONF = Path("/proc/sys/net/ipv6/conf")


def routes():
    return subprocess.run(["ip", "-6", "route", "show", "table", "all"], capture_output=True, text=True, check=True).stdout


def seen(address):
    return exchange(socket.create_connection((address, 80), PATIENCE))[0][0]


def set_prefix(host, prefix):
    host.kill_niwad()
    host.configure(ula_prefix=prefix)
    host.start_niwad()


def test_ipv6_is_turned_on_and_off_while_an_app_runs():
    host = Host().start()
    try:
        apply(host, app("a"))
        assert "service_address6" not in host.show("a") and "local fd6e" not in routes()
        host.niwa("wake", "a")
        pid = host.pid("a")
        set_prefix(host, PREFIX)
        to = six(host, "a")
        assert seen(to).endswith("10.80.0.1")  # it was started without: by niwa-relay, which connects by IPv4
        assert not in_map("awake6", to) and host.pid("a") == pid
        host.niwa("restart", "a")
        assert seen(to) == GATEWAY and in_map("awake6", to)
        host.kill_niwad()
        host.start_niwad()
        assert seen(to) == GATEWAY and in_map("awake6", to)
        set_prefix(host, "fd6e:6977:6200::/48")
        host.niwa("restart", "a")
        assert seen(six(host, "a")) == "fd6e:6977:6200:2::a50:1" and "local fd6e:6977:6100" not in routes()
        set_prefix(host, "none")
        assert seen(host.address("a")).endswith("10.80.0.1") and "local fd6e" not in routes()
    finally:
        host.stop()


def test_without_ula_prefix_a_published_port_is_reached_by_ipv6_all_the_same():
    subprocess.run(["ip", "-6", "address", "add", "2001:db8:2::9/128", "dev", "lo", "nodad"], check=True)
    host = Host().start()
    try:
        apply(host, app("every", publish=":18700"))
        for to in ("2001:db8:2::9", "::1", "127.0.0.1"):
            host.niwa("stop", "every")
            for state in ("stopped", "running"):
                assert host.state("every") == state
                assert exchange(socket.create_connection((to, 18700), PATIENCE))[0][0].endswith("10.80.0.1")
            assert host.show("every")["last_wake"]["from"] == to
    finally:
        host.stop()
        subprocess.run(["ip", "-6", "address", "del", "2001:db8:2::9/128", "dev", "lo"], check=True)


@contextmanager
def setting(path, value):
    before = path.read_text()
    path.write_text(value)
    try:
        yield
    finally:
        path.write_text(before)


def test_a_host_without_ipv6_says_so_and_does_all_else():
    with setting(CONF / "all/disable_ipv6", "1"):
        host = Host(ula_prefix=PREFIX).start()
        try:
            assert "this host has no IPv6" in host.niwad_log()
            apply(host, app("a", "0.0.0.0"))
            for _ in range(2):
                assert seen(host.address("a")) == "10.80.0.1"
            assert "service_address6" not in host.show("a")
        finally:
            host.stop()


def test_what_ipv6_brought_to_the_host_goes_with_niwa_and_it_keeps_its_router_advertisements():
    subprocess.run(["ip", "link", "add", "uplink", "type", "veth", "peer", "name", "uplink1"], check=True)
    try:
        with setting(CONF / "all/forwarding", "0"):
            (CONF / "uplink/accept_ra").write_text("1")
            host = Host(ula_prefix=PREFIX).start()
            assert (CONF / "all/forwarding").read_text() == "1\n"
            assert (CONF / "uplink/accept_ra").read_text() == "2\n"
            assert "local fd6e:6977:6100:1::/96" in routes() and "local default dev lo table 6480" in routes()
            host.stop()
    finally:
        subprocess.run(["ip", "link", "del", "uplink"], check=True)
    left = [line for line in routes().splitlines() if "fd6e" in line]
    assert len(left) == 1 and left[0].startswith("unreachable fd6e:6977:6100:1::/96"), left


@pytest.mark.parametrize("prefix", ("2001:db8::/48", "fd6e:6977:6100::/64", "fd6e:6977:6100:1::/48", "fd6e", "10.0.0.0/8"))
def test_another_prefix_is_refused_with_what_is_allowed(prefix):
    host = Host(ula_prefix=prefix)
    host.start_keep()
    host.start_niwad(wait=False)
    assert host.niwad.wait(20) != 0
    assert f"ula_prefix = {prefix}: must be none, or a /48 of fc00::/7" in host.niwad_log()
    host.stop()


@pytest.mark.parametrize("prefix", ("none", PREFIX))
def test_a_host_that_forwards_ipv6_keeps_no_app_from_its_sleep(prefix):
    with setting(CONF / "all/forwarding", "1"):
        host = Host(ula_prefix=prefix).start()
        try:
            apply(host, *(app(f"a{n}", sleep={"freeze": "100ms", "save": "1s"}) for n in range(8)))
            for n in range(8):
                host.niwa("wake", f"a{n}")
            for n in range(8):  # reports of groups come within a second of a device's birth, and again
                host.wait_state(f"a{n}", "stopped", timeout=10)
        finally:
            host.stop()


def test_a_frame_that_is_no_traffic_delays_the_sleep_of_a_frozen_app_and_does_not_end_it():
    host = Host().start()
    try:
        apply(host, app("a", sleep={"freeze": "100ms", "save": "2s"}))
        host.niwa("wake", "a")
        host.wait_state("a", "frozen")
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind((host.kernel_objects()["veths"][-1], 0))
            wire.send(b"\xff" * 6 + b"\x02" + bytes(5) + b"\x88\xb5" + bytes(46))
        host.wait_state("a", "stopped", timeout=15)
        assert "traffic" not in [h["why"] for h in host.show("a")["history"]]
    finally:
        host.stop()
