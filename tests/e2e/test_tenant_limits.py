# SPDX-License-Identifier: MIT
"""Limits of a tenant hold for all of its apps together."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from host import CGROUP_V2, SLOW, wait_for
from inside import app, ask, echo, facts, python, run
from tenants import HOLD, IDLE, declare
from visitors import addresses, knock, visit


@pytest.fixture
def host(tenant_host):
    return tenant_host


def tenant_groups(host):
    roots = [CGROUP_V2] + [CGROUP_V2.parent / n for n in ("memory", "cpu", "pids")]
    return [g for root in roots for g in (root / host.cgroup).glob("t[0-9]*")]


def hold(host, name, mib):
    """How a command that takes so much memory in the app ends, as far as it has ended in a moment."""
    return run(host, name, "timeout", str(SLOW), "/usr/bin/python3", "-Ic", HOLD, str(mib), check=False)


def test_the_memory_of_all_apps_together_ends_at_the_limit(host):
    declare(host, app("one"), app("two"), memory="150M")
    host.apply(json.dumps({"apps": [app("other")]}))
    for name in ("one", "two", "other"):
        host.niwa("wake", name)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(hold, host, "one", 80)
        wait_for("it holds its memory", lambda: host.show("one")["tenant_limits"]["uses"]["memory_bytes"] > 80 << 20)
        assert hold(host, "other", 200).returncode == 124, "others are not concerned"
        first.result()
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda name: hold(host, name, 90).returncode, ("one", "two")))
    assert sorted(both) in ([124, 137], [1, 124]), "one of them was killed"
    assert hold(host, "two", 90).returncode == 124, "and alone it has room"


def test_the_processes_of_all_apps_together_end_at_the_limit(host):
    declare(host, app("one"), app("two"), processes=30)
    for name in ("one", "two"):
        host.niwa("wake", name)
    code = """import json, os, time
n = 0
try:
    while n < 100:
        if os.fork() == 0:
            time.sleep(1.5); os._exit(0)
        n += 1
except BlockingIOError:
    pass
time.sleep(1)
print(json.dumps(n))"""
    with ThreadPoolExecutor(2) as pool:
        forked = list(pool.map(lambda name: python(host, name, code), ("one", "two")))
    assert 10 <= sum(forked) < 30


def test_the_cpu_of_all_apps_together_ends_at_the_limit_and_an_app_may_declare_more(host):
    declare(host, echo("one", limits={"cpu": "200%"}), echo("two"), cpu="20%")
    at = addresses(host)
    for name in ("one", "two"):
        assert visit(at[name])[0] == 200
    with ThreadPoolExecutor(2) as pool:
        used = list(pool.map(lambda name: int(facts(ask(at[name], "/cpu", ms=2000, threads=1))["cpu_us"]), ("one", "two")))
    assert sum(used) <= 2000000 * 0.2 * 1.25 + 40000


def test_for_one_more_than_may_be_awake_the_one_that_was_quiet_longest_is_put_to_sleep(host):
    declare(host, *(echo(f"app{n}", sleep=IDLE) for n in range(4)), awake=2)
    at = addresses(host)
    for n in range(4):
        assert visit(at[f"app{n}"])[0] == 200
        host.wait_state(f"app{n}", "frozen")
    assert [host.state(f"app{n}") for n in range(4)] == ["stopped", "stopped", "frozen", "frozen"]
    assert host.show("app1")["failures"] == 0
    assert host.show("app3")["tenant_limits"]["uses"]["awake"] == 2


def test_where_none_is_idle_one_more_is_refused_with_the_reason(host):
    declare(host, echo("busy", "--tcp", "7", sleep=IDLE, ports=[{"port": 80, "protocol": "http"}, {"port": 7, "protocol": "tcp"}]),
            echo("more"), awake=1)
    at = addresses(host)
    with knock(at["busy"], 7):
        host.wait_state("busy", "frozen")
        assert visit(at["more"])[0] == 503
        assert "tenant many has 1 instances and may have 1 (limits.awake)" in host.show("more")["last_error"]
        assert host.state("busy") == "frozen"
        declare(host, awake=2)
        wait_for("with another limit it is let in", lambda: visit(at["more"])[0] == 200)


def test_starts_of_a_tenant_at_once_end_at_the_limit(host):
    declare(host, *(echo(f"app{n}", "--late", "150") for n in range(5)), wakes=1)
    at = addresses(host)
    most, over = 0, threading.Event()

    def watch():
        nonlocal most
        while not over.is_set():
            most = max(most, host.show("app0")["tenant_limits"]["uses"]["wakes"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(5) as pool:
        assert [v[0] for v in pool.map(visit, at.values())] == [200] * 5
    over.set()
    watcher.join()
    assert most == 1


def test_limits_and_instances_below_them_outlive_niwad_and_leave_nothing(host):
    declare(host, echo("one", sleep=IDLE), app("two"), memory="150M", processes=100)
    host.niwa("wake", "one")
    host.niwa("wake", "two")
    host.wait_state("one", "frozen")
    pid = host.pid("two")
    host.kill_niwad()
    host.start_niwad()
    assert host.pid("two") == pid and visit(host.address("one"))[0] == 200
    assert hold(host, "two", 200).returncode == 137
    assert host.show("two")["tenant_limits"]["limits"] == {"memory": "150M", "processes": 100}
    assert tenant_groups(host)
    host.niwa("rm", "one", "two")
    wait_for("nothing is left", lambda: host.nothing_left() and not tenant_groups(host))


def test_a_limit_that_is_not_declared_any_more_ends_at_once(host):
    declare(host, app("one"), memory="100M")
    host.niwa("wake", "one")
    assert hold(host, "one", 150).returncode == 137
    declare(host)
    assert "tenant_limits" not in host.show("one")
    wait_for("it has room", lambda: hold(host, "one", 150).returncode == 124)


def test_what_is_wrong_with_a_tenant_is_said_with_file_and_line_and_nothing_is_changed(host):
    done = host.apply("tenants:\n  - name: many\n    limits: {memory: 1G, cpus: 2}\napps:\n  - name: one\n    image: host\n"
                      "    command: [a]\n    ports: [{port: 80}]\n", check=False)
    assert done.returncode == 1
    assert "apps.yaml:3: tenants[0].limits.cpus: unknown key; allowed: memory, cpu, processes, awake, wakes; did you mean 'cpu'?" in done.stderr
    assert host.rpc("app.list")["apps"] == []


@pytest.mark.parametrize("tenants", [{}, [1], [{"name": "A"}], [{"name": "a", "limits": {"memory": -1}}]])
def test_what_the_socket_is_told_of_tenants_is_checked_again(host, tenants):
    rpc = host.connect()
    txn = rpc.call("apply.begin")["txn"]
    try:
        rpc.call("apply.put", txn=txn, apps=[], tenants=tenants)
        rpc.call("apply.commit", txn=txn)
        assert tenants == {}, "nothing is in it"
    except Exception as error:  # noqa: BLE001
        assert getattr(error, "kind", None) == "caller"
    rpc.close()
    assert host.answers()


def test_apps_with_a_connection_do_not_hide_the_one_that_is_idle(host):
    """However many of them were quiet for longer."""
    ports = [{"port": 80, "protocol": "http"}, {"port": 7, "protocol": "tcp"}]
    declare(host, *(echo(f"app{n}", "--tcp", "7", sleep=IDLE, ports=ports) for n in range(5)), echo("idle", sleep=IDLE),
            echo("more"), awake=6)
    at = addresses(host)
    with ExitStack() as held:
        for n in range(5):
            held.enter_context(knock(at[f"app{n}"], 7))
            host.wait_state(f"app{n}", "frozen")
        assert visit(at["idle"])[0] == 200
        host.wait_state("idle", "frozen")
        assert visit(at["more"])[0] == 200
        assert {host.state(f"app{n}") for n in range(5)} == {"frozen"} and host.state("idle") == "stopped"
