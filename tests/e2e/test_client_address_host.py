# SPDX-License-Identifier: MIT
"""What the host has to have, so that apps see their clients' own addresses: settings, routing rules, a table of routes."""

import subprocess

import echo
import pytest
from clients import apply
from host import Host
from neighbour import Neighbour
from test_client_address import CLIENTS, GATEWAY, client_of


@pytest.fixture(scope="module")
def outside():
    neighbour = Neighbour(*CLIENTS)
    yield neighbour
    neighbour.end()


def rules():
    return subprocess.run(["ip", "rule"], capture_output=True, text=True, check=True).stdout


def table(number):
    return subprocess.run(["ip", "route", "show", "table", str(number)], capture_output=True, text=True).stdout


def test_routing_rules_come_with_niwa_are_put_back_and_go_with_it(outside):
    host = Host(return_table=4711, return_rule=90, return_mark=0xbeef).start()
    try:
        assert "90:\tfrom all fwmark 0xbeef iif lo lookup main" in rules()
        assert "91:\tfrom all fwmark 0xbeef lookup 4711" in rules()
        assert "local default dev lo" in table(4711)
        apply(host, echo.app("a"))
        host.kill_niwad()
        subprocess.run(["ip", "rule", "del", "pref", "91"], check=True)
        subprocess.run(["ip", "route", "flush", "table", "4711"], check=True)
        host.configure(return_table=4712, return_rule=80)
        host.start_niwad()
        assert "0xbeef" not in rules() and "lookup 4712" in rules() and "local default dev lo" in table(4712)
        seen, own = client_of(outside.connect(host.address("a"), 80))
        assert seen == own
    finally:
        host.stop()
    assert "fwmark" not in rules() and not table(4711) and not table(4712)


def test_without_a_mark_apps_see_the_host(outside):
    host = Host(return_mark=0).start()
    try:
        assert "fwmark" not in rules()
        apply(host, echo.app("a"))
        seen, _ = client_of(outside.connect(host.address("a"), 80))
        assert seen.startswith(GATEWAY + ":")
        seen, own = client_of(outside.connect(host.address("a"), 80))
        assert seen == own  # by the kernel
    finally:
        host.stop()


@pytest.mark.parametrize("add, remove, said", (
    ("ip rule add fwmark 0x6e697761 lookup 77 pref 500", "ip rule del pref 500", "the rule 500 of this host"),
    ("ip route add unicast 203.0.113.0/24 dev lo table 6480", "ip route flush table 6480", "routing table 6480"),
))
def test_a_mark_or_table_of_somebody_else_s_is_left_to_them(add, remove, said):
    host = Host()
    subprocess.run(add.split(), check=True)
    try:
        host.start_keep()
        host.start_niwad(wait=False)
        assert host.niwad.wait(20) != 0
        assert said in host.niwad_log() and "return_" in host.niwad_log()
    finally:
        subprocess.run(remove.split(), check=True)
        host.stop()


def test_bad_numbers_are_refused_by_name(tmp_path):
    for text, said in (("return_rule = 40000", "return_rule"), ("return_table = 254", "return_table"),
                       ("return_rule = 0", "return_rule")):
        host = Host()
        host.configure(**dict([text.split(" = ")]))
        host.start_keep()
        host.start_niwad(wait=False)
        assert host.niwad.wait(20) != 0
        assert said in host.niwad_log()
        host.stop()
