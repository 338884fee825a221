# SPDX-License-Identifier: MIT
"""Memory of a tenant: what is idle goes, or is waited for, before the kernel ends somebody."""

from inside import QUIET, app, ask, echo, facts
from tenants import IDLE, declare

HOLDS = ["/usr/bin/python3", "-Ic", "kept = b'x' * (100 << 20); " + QUIET]


def test_for_memory_of_the_tenant_an_idle_app_is_put_to_sleep_before_the_kernel_ends_one(host):
    declare(host, app("idle", command=HOLDS, sleep=IDLE), echo("two"), memory="150M")
    host.niwa("wake", "idle")
    host.wait_state("idle", "frozen")
    assert facts(ask(host.address("two"), "/memory", bytes=80 << 20)) == {"touched": str(80 << 20)}
    idle = host.show("idle")
    assert idle["state"] == "stopped" and idle["history"][-1]["why"] == "ended", idle["history"]
    assert idle["limit_hits"] == host.show("two")["limit_hits"] == []


def test_a_start_that_is_known_to_need_more_than_is_left_waits_until_somebody_is_idle(host):
    sleep = {**IDLE, "freeze": "1s"}
    declare(host, app("one", command=HOLDS, sleep=sleep), app("two", command=HOLDS, sleep=sleep), memory="150M")
    host.niwa("wake", "two")
    host.niwa("stop", "two")  # what it needs was seen
    host.niwa("wake", "one")
    host.niwa("wake", "two")
    assert (host.state("one"), host.state("two")) == ("stopped", "running")
    assert host.show("one")["limit_hits"] == host.show("two")["limit_hits"] == []


def test_where_no_app_of_the_tenant_is_idle_one_more_may_start(host):
    declare(host, app("one", command=HOLDS), echo("two"), memory="150M")
    host.niwa("wake", "one")
    assert facts(ask(host.address("two"), "/memory", bytes=20 << 20)) == {"touched": str(20 << 20)}
    assert host.state("one") == "running"
