# SPDX-License-Identifier: MIT
"""A limit that was hit is recorded with the processes of that moment."""

import http.client
from concurrent.futures import ThreadPoolExecutor

import pytest
from host import wait_for
from inside import app, apply, ask, echo, run
from tenants import HOLD, IDLE, declare
from visitors import addresses, knock, visit

MIB = 1 << 20


@pytest.fixture
def host(tenant_host):
    return tenant_host


def hits(host, name, limit):
    return [h for h in host.show(name)["limit_hits"] if h["limit"] == limit]


def test_an_app_that_wants_more_memory_than_it_may_is_recorded_with_who_had_it(host):
    apply(host, echo("greedy", limits={"memory": "64M"}), echo("other"))
    address = host.address("greedy")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(address, "/memory", bytes=512 * MIB)
    host.wait_state("greedy", "stopped")
    (hit,) = hits(host, "greedy", "memory")
    assert hit["text"] == "it wanted more than limits.memory" and hit["count"] == 1
    assert {(p["app"], p["command"]) for p in hit["processes"]} <= {("greedy", "echo")}, "who had it may be gone by then"
    assert host.show("other")["limit_hits"] == []
    shown = host.niwa("show", "greedy").stdout
    assert "limit hit" in shown and "it wanted more than limits.memory" in shown


def test_a_command_that_is_killed_for_memory_while_the_app_lives_on_is_recorded_with_its_memory(host):
    apply(host, app("quiet", limits={"memory": "100M"}))
    run(host, "quiet", "/usr/bin/python3", "-Ic", HOLD, "300", check=False)
    (hit,) = wait_for("it is recorded", lambda: hits(host, "quiet", "memory"))
    assert "python3" in {p["command"] for p in hit["processes"]} and all(p["app"] == "quiet" for p in hit["processes"])
    assert sum(p["memory_bytes"] for p in hit["processes"]) > MIB


def test_forks_that_are_refused_are_recorded_with_the_processes_and_counted(host):
    apply(host, echo("bomb", limits={"processes": 12}))
    address = host.address("bomb")
    with ThreadPoolExecutor(1) as pool:
        fork = pool.submit(ask, address, "/fork", max=1000, ms=2000)
        wait_for("it is recorded", lambda: hits(host, "bomb", "processes"))
        assert "forked" in fork.result()
    before = hits(host, "bomb", "processes")[0]["count"]
    assert "forked" in ask(address, "/fork", max=1000, ms=10)
    (hit,) = wait_for("and counted", lambda: [h for h in hits(host, "bomb", "processes") if h["count"] > before])
    assert 8 <= len(hit["processes"]) <= 12
    assert hit["text"] == "it wanted more processes than limits.processes"


def test_the_limits_of_a_tenant_are_told_apart_from_those_of_the_app(host):
    declare(host, app("one", limits={"memory": "1G", "processes": 500}), memory="100M", processes=12)
    host.niwa("wake", "one")
    assert run(host, "one", "/usr/bin/python3", "-Ic", HOLD, "300", check=False).returncode == 137
    wait_for("memory", lambda: hits(host, "one", "tenant memory"))
    run(host, "one", "sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 1 & done; wait", check=False)
    wait_for("processes", lambda: hits(host, "one", "tenant processes"))
    assert not hits(host, "one", "memory") and not hits(host, "one", "processes")


def test_a_start_that_is_refused_is_recorded_with_the_processes_of_the_others(host):
    declare(host, echo("busy", "--tcp", "7", sleep=IDLE, ports=[{"port": 80, "protocol": "http"}, {"port": 7, "protocol": "tcp"}]),
            echo("more"), awake=1)
    at = addresses(host)
    with knock(at["busy"], 7):
        host.wait_state("busy", "frozen")
        assert visit(at["more"])[0] == 503
    (hit,) = hits(host, "more", "tenant awake")
    assert "may have 1 (limits.awake)" in hit["text"]
    assert [(p["app"], p["command"]) for p in hit["processes"]] == [("busy", "echo")]


def test_records_are_few_and_go_with_the_app(host):
    apply(host, echo("greedy", limits={"memory": "64M"}))
    address = host.address("greedy")
    for _ in range(3):
        with pytest.raises((ConnectionError, http.client.HTTPException)):
            ask(address, "/memory", bytes=512 * MIB)
        host.wait_state("greedy", "stopped")
    assert [h["count"] for h in hits(host, "greedy", "memory")] == [3]
    host.niwa("rm", "greedy")
    apply(host, echo("greedy"))
    assert host.show("greedy")["limit_hits"] == []
