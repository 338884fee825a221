# SPDX-License-Identifier: MIT
"""Apps that grow: more instances when one is full, spread in the kernel, fewer when it is quiet."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from contextlib import contextmanager

import echo
import pytest
from clients import Load, text_of
from crash import Talk, get, wait_dead
from host import SLOW, Host, wait_for

PORTS = (80, "http"), {"port": 7, "protocol": "tcp", "speaks": "client"}
SCALE = {"max": 3, "connections": 4, "quiet": "1s", "drain": f"{4 * SLOW:.0f}s"}


@pytest.fixture(scope="module")
def garden():
    h = Host(drain=f"{2 * SLOW:.0f}s", ula_prefix="fd6e:6977:6100::/48").start()
    yield h
    h.stop()


@pytest.fixture
def garden_left(garden):
    """The same; afterwards nothing of its apps is left."""
    yield garden
    for row in garden.rpc("app.list")["apps"]:
        garden.niwa("rm", "--yes", row["name"])

    def nothing_left():  # a namespace lives on with connections that clients have not closed, as long as TCP does
        return not any(found for kind, found in garden.kernel_objects().items() if kind != "veths")

    wait_for(f"nothing is left: {garden.kernel_objects()}", nothing_left, timeout=20)


def app(name, *switches, ports=PORTS, **keys):
    keys.setdefault("scale", SCALE)
    return echo.app(name, "--tcp", "7", *switches, ports=ports, **keys)


def apply(host, *apps, check=True):
    return host.apply(echo.file(*apps), check=check)


def rows(host, name, life="serving"):
    return [i for i in host.show(name)["instances"] if i["life"] == life]


def pids(host, name):
    return {i["pid"] for i in rows(host, name)}


def wait_count(host, name, count, timeout=20):
    return wait_for(f"{count} serve: {host.show(name)['instances']}",
                    lambda: len(rows(host, name)) == count and not rows(host, name, "started") and
                    bool(shares(host)) == (count > 1) and pids(host, name), timeout, pause=0.05)


def shares(host):
    """Buckets by private address, of the one app that has some."""
    table = subprocess.run(["nft", "-j", "list", "map", "inet", "niwa", "spread"], capture_output=True, text=True).stdout
    found = {}
    for item in json.loads(table)["nftables"] if table else []:
        for key, value in item.get("map", {}).get("elem", []):
            found[value] = found.get(value, 0) + 1
    return found


def pid_of(address):
    status, text = get(address)
    assert status == 200
    return int(next(line for line in text.splitlines() if line.startswith("pid: ")).split(": ")[1])


def hosts_of(address, tries=40):
    """The names (of instances) that answer."""
    found = set()
    for _ in range(tries):
        text = get(address)[1]
        found.add(next(line for line in text.splitlines() if line.startswith("server: ")))
    return found


@contextmanager
def talks(address, count):
    open_ones = [Talk(address) for _ in range(count)]
    for t in open_ones:
        t.say()
    try:
        yield open_ones
    finally:
        for t in open_ones:
            t.close()


def grow(host, name, count, held):
    """Opens connections until there are `count` instances."""
    address = host.address(name)
    for n in range(1, count):
        while len(held) < 4 * n:
            held.append(Talk(address))
            held[-1].say()
        wait_count(host, name, n + 1)
    return address


@pytest.fixture
def three(garden_left):
    """An app with three instances that are full to two thirds."""
    apply(garden_left, app("three"))
    held = []
    get(garden_left.address("three"))
    grow(garden_left, "three", 3, held)
    yield garden_left, garden_left.address("three"), held
    for t in held:
        t.close()


def test_an_app_grows_when_it_is_full_and_not_beyond_its_bound(garden_left):
    host = garden_left
    apply(host, app("grows"))
    address = host.address("grows")
    get(address)
    assert len(rows(host, "grows")) == 1 and not shares(host)
    held = []
    grow(host, "grows", 3, held)
    while len(held) < 16:
        held.append(Talk(address))
        held[-1].say()
    wait_for("all are counted", lambda: sum(i["connections"] for i in rows(host, "grows")) >= 16)
    said = host.niwad_log().count("one more instance is made")
    seen = [i["connections"] for i in rows(host, "grows")]
    assert len(seen) == 3 and all(n >= 1 for n in seen), seen
    for t in held:
        t.say()
    assert len(rows(host, "grows")) == 3 and host.niwad_log().count("one more instance is made") == said
    out = host.niwa("show", "grows").stdout
    assert "CONNECTIONS" in out and out.count("serving") == 3
    for t in held:
        t.close()


@pytest.fixture
def roomy(garden_left):
    """An app with two instances that stay, and have room; its record says more."""
    def make(name, **keys):
        apply(garden_left, app(name, scale={**SCALE, "quiet": "1h"}, **keys))
        get(garden_left.address(name))
        held = []
        address = grow(garden_left, name, 2, held)
        for t in held:
            t.close()
        wait_for("they have room", lambda: sorted(shares(garden_left).values()) == [32, 32])
        return address

    return make


def test_new_connections_go_to_all_instances_and_fewer_to_those_that_are_fuller(garden_left, roomy):
    host, address = garden_left, roomy("spreads")
    assert host.kernel_objects()["awake"] == 0 and host.kernel_objects()["scaled"] == 2
    assert len(hosts_of(address)) == 2
    with talks(address, 3):
        by = {}

        def follows():
            by.update({i["private_address"]: i["connections"] for i in rows(host, "spreads")})
            room = {a: 4 - n for a, n in by.items()}
            return all(abs(shares(host).get(a, 0) - 64 * r // sum(room.values())) <= 1 for a, r in room.items())

        wait_for("the shares are as the room", follows)
        assert sum(by.values()) == 3 and len(set(shares(host).values())) == 2


def test_an_app_that_is_quiet_again_has_one_instance_and_sleeps(garden_left):
    host = garden_left
    apply(host, app("quiet", sleep={"freeze": "1s", "page": "never", "save": "never"}))
    get(host.address("quiet"))
    held = []
    address = grow(host, "quiet", 2, held)
    assert host.state("quiet") == "running"
    for t in held:
        t.close()
    wait_count(host, "quiet", 1)
    host.wait_state("quiet", "frozen")
    assert get(address)[0] == 200
    assert len(rows(host, "quiet")) == 1


def test_an_instance_that_leaves_finishes_its_connections(three):
    host, address, held = three
    for t in held[4:]:
        t.close()
    del held[4:]
    draining = wait_for("one drains", lambda: rows(host, "three", "draining"))
    for t in held:
        t.say()
    assert all(i["private_address"] not in shares(host) for i in draining)
    for t in held:
        t.close()
    held.clear()
    wait_for("one is left", lambda: len(host.show("three")["instances"]) == 1, timeout=20)


def test_an_instance_that_leaves_ends_after_its_time(garden_left):
    host = garden_left
    apply(host, app("bound", scale={**SCALE, "drain": "1s"}))
    get(host.address("bound"))
    held = []
    grow(host, "bound", 2, held)
    keep = held[0:3]
    for t in held[3:]:
        t.close()
    wait_for("one is left", lambda: len(host.show("bound")["instances"]) == 1, timeout=20)
    for t in keep:
        t.close()


@pytest.mark.parametrize("first", (True, False), ids=("the first", "a copy"))
def test_the_others_take_the_share_of_one_that_is_killed(three, first):
    host, address, held = three
    victim = next(i for i in rows(host, "three") if i["copy"] != first)
    refused = []
    with Load(lambda: get(address), clients=3) as load:
        wait_for("there is load", lambda: load.answered() >= 20)
        died = time.time()
        os.kill(victim["pid"], signal.SIGKILL)
        wait_for("its share is gone", lambda: victim["private_address"] not in shares(host))
        took = time.time() - died
        seen = load.answered()
        wait_for("answers go on", lambda: load.answered() >= seen + 50)
        refused = [t for t in load.failed() if t.began > died + took]
    assert not refused, text_of(refused)
    assert not [t for t in load.failed() if isinstance(t.error, ConnectionRefusedError)], text_of(load.failed())
    assert host.state("three") == "running"
    assert len([i for i in rows(host, "three") if not i["copy"]]) == 1
    alive = 0
    for t in held:
        try:
            t.say()
            alive += 1
        except (OSError, AssertionError):
            pass
    assert alive >= 1, "connections of the others go on"


def test_a_new_niwad_adopts_all_instances(three):
    host, address, held = three
    before = pids(host, "three")
    host.kill_niwad()
    assert {pid_of(address) for _ in range(5)}  # the kernel needs none
    host.start_niwad()
    assert pids(host, "three") == before and sum(shares(host).values()) == 64
    assert len([i for i in rows(host, "three") if not i["copy"]]) == 1
    for t in held:
        t.say()
    assert get(address)[0] == 200
    first = next(i["pid"] for i in rows(host, "three") if not i["copy"])
    host.kill_niwad()
    os.kill(first, signal.SIGKILL)
    host.start_niwad()
    wait_for("a copy is the app", lambda: len([i for i in rows(host, "three") if not i["copy"]]) == 1)
    assert get(address)[0] == 200 and first not in pids(host, "three")


def test_the_shares_come_back_when_somebody_flushes_the_rules(three):
    host, address, held = three
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    wait_for("they are there again", lambda: sum(shares(host).values()) == 64 and host.kernel_objects()["scaled"] == 2)
    assert get(address)[0] == 200
    for t in held:
        t.say()


@pytest.mark.parametrize("point", ["niwad.growing", "niwad.grown"])
def test_a_niwad_killed_while_an_app_grows_is_followed_by_one_that_goes_on(garden_left, point):
    host = garden_left
    apply(host, app("torn"))
    address = host.address("torn")
    get(address)
    host.kill_niwad()
    host.start_niwad({"NIWA_FAULT": f"{point}:kill@1"})
    with talks(address, 4) as held:
        wait_dead(host, point)
        assert get(address)[0] == 200
        host.start_niwad()
        for t in held:
            t.say()
        wait_for("it serves, without anything half done", lambda: rows(host, "torn") and not rows(host, "torn", "started"))
        assert {pid_of(address) for _ in range(10)}


def test_a_niwad_that_is_replaced_while_an_app_grows_goes_on_with_that_and_replaces_no_instance(garden_left):
    host = garden_left
    apply(host, app("late", "--late", "1000"))
    address = host.address("late")
    get(address)
    first = pids(host, "late")
    with talks(address, 4) as held:
        wait_for("one more is made", lambda: rows(host, "late", "started"))
        host.kill_niwad()
        host.start_niwad()
        wait_for("it is ready", lambda: not rows(host, "late", "started"))
        assert first < pids(host, "late") and [i["copy"] for i in rows(host, "late") if i["pid"] in first] == [False]
        for t in held:
            t.say()


def test_a_niwad_killed_while_a_copy_takes_over_is_followed_by_one_that_does(three):
    host, address, held = three
    host.kill_niwad()
    host.start_niwad({"NIWA_FAULT": "niwad.taken-over:kill@1"})
    first = next(i["pid"] for i in rows(host, "three") if not i["copy"])
    os.kill(first, signal.SIGKILL)
    wait_dead(host, "niwad.taken-over")
    host.start_niwad()
    wait_for("a copy is the app", lambda: len([i for i in rows(host, "three") if not i["copy"]]) == 1)
    assert get(address)[0] == 200 and len(pids(host, "three")) >= 2


def restart(host):
    host.niwa("restart", "three")


def change(host):
    apply(host, app("three", env={"CHANGED": "yes"}))


@pytest.mark.parametrize("rotate", (restart, change))
def test_all_instances_are_replaced_and_no_request_fails(three, rotate):
    host, address, held = three
    before = pids(host, "three")
    for t in held:
        t.close()
    held.clear()
    with Load(lambda: get(address), clients=3) as load:
        rotate(host)
        wait_for("none of the old ones serves", lambda: pids(host, "three") and not pids(host, "three") & before, timeout=30)
        seen = load.answered()
        wait_for("answers go on", lambda: load.answered() >= seen + 20)
    assert not load.failed(), text_of(load.failed())
    if rotate is change:
        assert all(i["generation"] == host.show("three")["generation"] for i in rows(host, "three"))


def test_a_record_with_one_instance_drains_the_others(three):
    host, address, held = three
    apply(host, app("three", scale={"max": 1}))
    wait_count(host, "three", 1)
    assert get(address)[0] == 200


def test_a_record_with_data_ends_the_others_first(three, tmp_path):
    host, address, held = three
    tmp_path.chmod(0o777)
    apply(host, app("three", scale={"max": 1}, volumes=[{"from": str(tmp_path), "to": "/data"}]))
    generation = host.show("three")["generation"]
    wait_for("one of the new record", lambda: [i["generation"] for i in host.show("three")["instances"]] == [generation])
    assert get(address)[0] == 200


def test_a_frozen_app_is_one_instance(three):
    host, address, held = three
    for t in held:
        t.close()
    held.clear()
    host.niwa("freeze", "three")
    assert host.state("three") == "frozen" and len(rows(host, "three")) == 1 and not shares(host)
    assert get(address)[0] == 200


def test_a_grown_app_is_stopped_and_removed_whole(three):
    host, address, held = three
    host.niwa("stop", "three")
    wait_for("none is left", lambda: not host.show("three")["instances"])
    assert get(address)[0] == 200
    assert len(rows(host, "three")) == 1


def test_writable_data_that_is_not_shared_refuses_growth_with_its_line(garden_left, tmp_path):
    done = apply(garden_left, app("data", volumes=[{"from": str(tmp_path), "to": "/data"}]), check=False)
    assert done.returncode != 0 and "scale.max: found 3 with a writable volume that is not shared" in done.stderr
    assert "apps.yaml:" in done.stderr


def test_a_change_of_the_tables_that_fails_is_made_later(garden_left):
    host = garden_left
    apply(host, app("failing"))
    address = host.address("failing")
    get(address)
    host.kill_niwad()
    host.start_niwad({"NIWA_FAULT": "niwad.spread:EIO@1"})
    with talks(address, 4) as held:
        wait_for("both serve", lambda: len(rows(host, "failing")) == 2)
        assert "ERR" in host.niwad_log() and "announce failing to the kernel" in host.niwad_log()
        wait_for("and have their shares", lambda: sum(shares(host).values()) == 64 and not host.kernel_objects()["awake"])
        for t in held:
            t.say()
    wait_count(host, "failing", 1)
    assert get(address)[0] == 200
    host.kill_niwad()
    host.start_niwad()


def test_an_app_does_not_grow_beyond_what_its_tenant_may_have(garden_left):
    host = garden_left
    host.apply(json.dumps({"tenants": [{"name": "small", "limits": {"awake": 1}}], "apps": [app("bounded", tenant="small")]}))
    address = host.address("bounded")
    get(address)
    with talks(address, 6) as held:
        wait_for("it was tried", lambda: "room in its tenant's limits" in host.show("bounded").get("last_error", ""))
        for t in held:
            t.say()
        assert len(host.show("bounded")["instances"]) == 1


def test_a_copy_that_cannot_start_is_not_tried_again_and_again(garden_left):
    host = garden_left
    apply(host, app("lonely"))
    address = host.address("lonely")
    get(address)
    host.kill_niwad()
    host.start_niwad({"NIWA_FAULT": "niwad.start:EIO@1"})
    with talks(address, 5) as held:
        wait_for("it was tried", lambda: "last_error" in host.show("lonely"))
        for t in held:
            t.say()
        assert host.state("lonely") == "running" and len(rows(host, "lonely")) == 1
        assert "app=lonely doing=scale" in host.niwad_log() and "the next try is in 10 s" in host.niwad_log()
    host.kill_niwad()
    host.start_niwad()


def test_a_published_port_leads_to_all_instances(roomy):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    roomy("shown", ports=({"port": 80, "protocol": "http", "publish": port}, PORTS[1]))
    seen = set()
    for _ in range(30):
        text = get("127.0.0.1", port=port)[1]
        seen.add(next(line for line in text.splitlines() if line.startswith("server: ")))
    assert len(seen) == 2, seen


SIX = """
import socket
six = ":" in FAMILY
s = socket.create_server((FAMILY, 80), family=socket.AF_INET6 if six else socket.AF_INET, dualstack_ipv6=six)
held = []
while True:
    c = s.accept()[0]
    held.append(c)
    c.sendall((socket.gethostname() + " " + c.getsockname()[0] + "\\n").encode())
"""


def elements(name):
    return subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True).stdout.split(f" {name} ")[1].split("}")[0]


@pytest.mark.parametrize("listens", ("::", "0.0.0.0"))
def test_connections_by_ipv6_are_spread_too(garden_left, listens):
    host = garden_left
    command = ["/usr/bin/python3", "-Ic", SIX.replace("FAMILY", repr(listens))]
    apply(host, app("six", image="host", command=command, scale={**SCALE, "quiet": "1h", "max": 2},
                    ports=({"port": 80, "protocol": "tcp", "speaks": "server"},)))
    address = host.show("six")["service_address6"]

    def one():
        s = socket.create_connection((address, 80), timeout=30 * SLOW)
        return s, s.recv(200).decode().split()[1]

    held = [one() for _ in range(4)]
    wait_for("both serve", lambda: len(rows(host, "six")) == 2 and shares(host))
    assert ("80" in elements("scaled6")) == (listens == "::")
    held += [one() for _ in range(4)]
    assert len({by for _, by in held[4:]}) == 1, "the new one has all the room"
    assert len({by for _, by in held}) == 2
    for s, _ in held:
        s.close()
    os.kill(rows(host, "six")[0]["pid"], signal.SIGKILL)
    wait_for("one is left", lambda: len(rows(host, "six")) == 1 and not shares(host))
    assert ("80" in elements("scaled6")) is False
    one()[0].close()


def test_cpu_is_widened_when_all_of_it_is_used_and_narrowed_when_quiet(garden_left):
    host = garden_left
    apply(host, app("busy", limits={"cpu": "4%"}, scale={"cpu_max": "12%", "quiet": "1s"}))
    address = host.address("busy")
    get(address)
    done = threading.Event()

    def work():
        while not done.is_set():
            get(address, "/cpu?ms=100&threads=1")

    worker = threading.Thread(target=work, daemon=True)
    worker.start()
    wait_for("it is widened", lambda: "limits.cpu is 12% now" in host.niwad_log(), timeout=20)
    done.set()
    worker.join(30 * SLOW)
    wait_for("it is narrowed", lambda: "limits.cpu is 4% now" in host.niwad_log(), timeout=20)
