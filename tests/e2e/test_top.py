# SPDX-License-Identifier: MIT
"""Who uses what: top by the engine's rounds, and `niwa top`."""

import json
import socket

import pytest
from host import RpcError, wait_for

SERVER = """
import socket, threading, time
hold = bytearray({mib} << 20)
hold[::4096] = b"x" * len(hold[::4096])
s = socket.create_server(("0.0.0.0", 80))
def spin():
    while True: pass
if {busy}: threading.Thread(target=spin, daemon=True).start()
kept = []
while True:
    c, _ = s.accept()
    kept.append(c)
    c.sendall(b"hello")
"""


def app(name, tenant="t", mib=1, busy=0, sleep="freeze: 0, save: 0"):
    body = "".join(" " * 6 + line + "\n" for line in SERVER.format(mib=mib, busy=busy).splitlines())
    return (f"- name: {name}\n  tenant: {tenant}\n  image: host\n  ports: [{{port: 80, protocol: tcp, speaks: server}}]\n"
            f"  sleep: {{{sleep}}}\n  limits: {{cpu: 20%}}\n  command:\n    - python3\n    - -c\n    - |\n{body}")


@pytest.fixture(scope="module")
def host(shared_host):
    shared_host.apply("apps:\n" + app("busy", "a", busy=1) + app("big", "a", mib=64) + app("small", "b")
                      + app("asleep", "b", sleep="freeze: 1h") + app("never", "c"))
    for name in ("busy", "big", "small", "asleep"):
        shared_host.rpc("app.wake", name=name)
    shared_host.rpc("app.freeze", name="asleep")
    return shared_host


def rates(host, **params):
    """Of a round that has one before it."""
    return host.rpc("top", after=host.rpc("top")["round"], **params)


def names(rows):
    return [row["name"] for row in rows]


def test_apps_come_in_the_order_that_was_asked_for(host):
    top = rates(host)
    assert names(top["apps"])[0] == "busy" and top["apps"][0]["cpu_percent"] == pytest.approx(20, abs=12), top
    assert set(names(top["apps"])) == {"busy", "big", "small", "asleep"}
    assert names(host.rpc("top", sort="memory")["apps"])[0] == "big"
    assert names(host.rpc("top", sort="state")["apps"])[-1] == "asleep"
    assert names(host.rpc("top", sort="memory", limit=1)["apps"]) == ["big"]
    row = host.rpc("top", sort="memory", limit=1)["apps"][0]
    assert row["memory_bytes"] > 64 << 20 and row["tenant"] == "a" and row["state"] == "running" and row["instances"] == 1


def test_connections_of_an_app_are_counted_and_gone_when_they_are_closed(host):
    socks = [socket.create_connection((host.address("small"), 80), timeout=10) for _ in range(5)]
    top = wait_for("five connections", lambda: (t := rates(host, sort="connections"))["apps"][0]["connections"] == 5 and t)
    assert names(top["apps"])[0] == "small"
    for sock in socks:
        sock.close()


def test_sums_by_tenant_are_those_of_its_apps(host):
    top = rates(host, by="tenant", sort="memory")
    assert names(top["tenants"]) == ["a", "b"]
    a, b = top["tenants"]
    assert (a["apps"], a["running"], a["asleep"], b["running"], b["asleep"]) == (2, 2, 0, 1, 1)
    apps = host.rpc("top", tenant="a")
    assert set(names(apps["apps"])) == {"busy", "big"}
    total = top["total"]
    assert (total["apps"], total["instances"], total["running"], total["asleep"]) == (5, 4, 3, 1)
    assert total["memory_bytes"] == a["memory_bytes"] + b["memory_bytes"]
    assert names(host.rpc("top", state="frozen")["apps"]) == ["asleep"]
    assert host.rpc("top", tenant="nobody")["apps"] == []


def test_what_cannot_be_sorted_by_is_said(host):
    for params, text in (({"sort": "age"}, "must be cpu, memory"), ({"by": "host"}, "must be app or tenant"),
                         ({"state": "tired"}, "is no sleep state")):
        with pytest.raises(RpcError, match=text):
            host.rpc("top", **params)


def test_a_new_instance_is_in_the_next_round_and_one_that_ended_is_not(host):
    host.rpc("app.wake", name="never")
    assert "never" in names(rates(host)["apps"])
    host.rpc("app.stop", name="never")
    assert "never" not in names(rates(host)["apps"])


def test_apps_that_end_while_a_round_passes_them_harm_nothing(host):
    rpc = host.connect()
    for _ in range(10):
        host.rpc("app.wake", name="never")
        number = rpc.call("top")["round"]
        host.rpc("app.stop", name="never")
        rpc.call("top", after=number)
    rpc.close()
    host.answers()


def test_memory_by_state_is_in_the_metrics(host):
    def memory():
        lines = host.rpc("metrics.get")["text"].splitlines()
        return {line.split()[0][25:-2]: int(line.split()[1]) for line in lines if line.startswith("niwa_memory_bytes{")}

    host.rpc("top")
    told = memory()
    assert told["running"] > 64 << 20 and told["frozen"] > 1 << 20 and told["stopped"] == 0


def test_niwa_top_in_a_pipe_is_one_table_or_json(host):
    table = host.niwa("top", "--once").stdout.splitlines()
    assert table[0].split()[:3] == ["APP", "TENANT", "STATE"] and table[1].startswith("busy")
    rows = json.loads(host.niwa("top", "--json", "--sort", "memory", "--limit", 2).stdout)
    assert len(rows) == 2 and rows[0]["name"] == "big"
    tenants = host.niwa("top", "--tenants").stdout.splitlines()
    assert tenants[0].split()[0] == "TENANT" and tenants[1].split()[0] == "a"
    assert names(json.loads(host.niwa("top", "--json", "--tenant", "b").stdout))[0] in ("small", "asleep")
