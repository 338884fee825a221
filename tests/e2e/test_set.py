# SPDX-License-Identifier: MIT
"""`niwa set`: limits are widened and narrowed at once, kept over the record, and taken back."""

import json
import threading
import time

import echo
import inside
import pytest
from crash import get, wait_dead
from host import CGROUP_V2, CRIU, SLOW, Host, RpcError, wait_for

MIB = 1 << 20


@pytest.fixture(scope="module")
def garden():
    h = Host(criu=CRIU).start()
    yield h
    h.stop()


def app(name, *switches, **keys):
    keys.setdefault("limits", {"memory": "64M", "cpu": "50%"})
    return echo.app(name, *switches, **keys)


def apply(host, *apps):
    return host.apply(echo.file(*apps))


def instances(host, name):
    return [i["id"] for i in host.show(name)["instances"] if i["life"] == "serving"]


def read(host, name, controller, v1, v2):
    """What the kernel has, of the one instance."""
    ident = f"i{instances(host, name)[0]}"
    unified = CGROUP_V2 / host.cgroup / ident / v2
    return (unified if unified.exists() else CGROUP_V2.parent / controller / host.cgroup / ident / v1).read_text().strip()


def memory(host, name):
    text = read(host, name, "memory", "memory.limit_in_bytes", "memory.max")
    return None if text == "max" or int(text) > 1 << 60 else int(text)


def cpu(host, name):
    """Percent of a CPU, or None."""
    text = read(host, name, "cpu", "cpu.cfs_quota_us", "cpu.max").split()
    if len(text) == 1:
        text.append(read(host, name, "cpu", "cpu.cfs_period_us", "cpu.max"))
    return None if text[0] in ("max", "-1") else round(100 * int(text[0]) / int(text[1]), 1)


def test_limits_are_widened_narrowed_and_taken_back_while_the_app_runs(garden):
    apply(garden, app("a"))
    address = garden.address("a")
    get(address)
    pid = garden.pid("a")
    assert (cpu(garden, "a"), memory(garden, "a")) == (50, 64 * MIB)
    done = garden.niwa("set", "a", "cpu=200%", "memory=256M")
    assert done.stdout == "a: cpu=200% memory=256M\n"
    assert (cpu(garden, "a"), memory(garden, "a")) == (200, 256 * MIB)
    assert f"touched: {128 * MIB}" in get(address, f"/memory?bytes={128 * MIB}")[1]
    assert "cpu=200% over 50% of the record, memory=256M over 64M of the record" in garden.niwa("show", "a").stdout
    garden.niwa("set", "a", "cpu=1%", "memory=48M")
    assert (cpu(garden, "a"), memory(garden, "a")) == (1, 48 * MIB)
    garden.niwa("set", "a", "cpu=none", "memory=none")
    assert (cpu(garden, "a"), memory(garden, "a")) == (None, None)
    done = garden.niwa("set", "a", "cpu=")
    assert done.stdout == "a: cpu=50% (as in its record) memory=none\n"
    garden.niwa("set", "a", "memory=")
    assert (cpu(garden, "a"), memory(garden, "a")) == (50, 64 * MIB)
    assert "set" not in garden.show("a") and garden.pid("a") == pid
    garden.niwa("rm", "--yes", "a")


def test_what_was_set_holds_for_the_next_instance_after_an_apply_and_after_a_start_of_niwad(garden):
    apply(garden, app("kept"))
    garden.niwa("set", "kept", "cpu=150%")  # while it sleeps
    get(garden.address("kept"))
    assert (cpu(garden, "kept"), memory(garden, "kept")) == (150, 64 * MIB)
    garden.niwa("stop", "kept")
    get(garden.address("kept"))
    assert cpu(garden, "kept") == 150
    old = instances(garden, "kept")
    apply(garden, app("kept", limits={"memory": "80M", "cpu": "60%"}))
    wait_for("a fresh one serves", lambda: instances(garden, "kept") and not set(instances(garden, "kept")) & set(old))
    assert (cpu(garden, "kept"), memory(garden, "kept")) == (150, 80 * MIB)
    garden.kill_niwad()
    garden.start_niwad()
    assert garden.show("kept")["set"] == {"cpu": "150%"} and cpu(garden, "kept") == 150
    garden.niwa("stop", "kept")
    get(garden.address("kept"))
    assert cpu(garden, "kept") == 150
    garden.niwa("set", "kept", "cpu=")
    assert cpu(garden, "kept") == 60
    garden.niwa("rm", "--yes", "kept")


def test_an_image_is_as_good_with_other_limits(garden):
    apply(garden, app("hibernates", limits={"memory": "64M"},
                      sleep={"keep": "memory", "freeze": "200ms", "page": "never", "save": "400ms", "connection": "1s"}))
    until = time.monotonic() + 30 * SLOW
    while garden.state("hibernates") != "saved" and time.monotonic() < until:
        get(garden.address("hibernates"))  # when it sleeps deeper is the governor's decision: perhaps after another visit
        visited = time.monotonic()
        wait_for("it sleeps", lambda: garden.state("hibernates") == "saved" or time.monotonic() > visited + 3 * SLOW)
    assert garden.state("hibernates") == "saved"
    garden.niwa("set", "hibernates", "memory=96M", "cpu=70%")
    get(garden.address("hibernates"))
    assert garden.show("hibernates")["last_wake"]["path"] == "restore"
    assert (cpu(garden, "hibernates"), memory(garden, "hibernates")) == (70, 96 * MIB)
    garden.niwa("rm", "--yes", "hibernates")


def test_memory_below_what_is_used_is_refused_and_nothing_changes_or_dies(garden):
    apply(garden, inside.app("eats", command=["/usr/bin/python3", "-Ic", "x = b'niwa' * (12 << 20);" + inside.QUIET],
                             limits={"memory": "128M", "cpu": "80%"}))
    garden.niwa("wake", "eats")
    pid = garden.pid("eats")
    done = garden.niwa("set", "eats", "cpu=90%", "memory=20M", check=False)
    assert done.returncode == 1 and "its processes use" in done.stderr and "found 20M" in done.stderr, done
    assert (cpu(garden, "eats"), memory(garden, "eats")) == (80, 128 * MIB)
    assert "set" not in garden.show("eats")
    garden.niwa("set", "eats", "memory=100M")
    assert memory(garden, "eats") == 100 * MIB
    assert garden.pid("eats") == pid
    garden.niwa("rm", "--yes", "eats")


@pytest.mark.parametrize("word, says", [
    ("cpu=lots", "cpu: found 'lots'; allowed: "), ("memory=12", "memory: found '12'; allowed: "), ("cpu", "KEY=VALUE"),
    ("disk=1G", "disk: cannot be set; allowed: cpu, memory"), ("=5", "cannot be set"), ("cpu=-1%", "cpu: found '-1%'"),
    ("memory=99999999T", "memory: found"), ("cpu=5%\x1b[1m", "cpu: found"),
])
def test_what_cannot_be_set_is_refused_with_what_is_allowed(garden, word, says):
    apply(garden, app("same"))
    done = garden.niwa("set", "same", word, check=False)
    assert done.returncode != 0 and says in done.stderr and "\x1b" not in done.stderr, done
    assert "set" not in garden.show("same")


@pytest.mark.parametrize("limits", [{}, [], None, "cpu", {"cpu": 5}, {"cpu": ["50%"]}, {"c" * 5000: "5%"}, {"cpu": "5" * 5000 + "%"}])
def test_a_hostile_request_is_refused(garden, limits):
    apply(garden, app("same"))
    with pytest.raises(RpcError) as e:
        garden.rpc("app.set", name="same", limits=limits)
    assert e.value.code == -32602 and len(str(e.value)) < 400


def test_changes_at_the_same_time_are_done_one_after_the_other_or_refused(garden):
    apply(garden, app("busy"))
    get(garden.address("busy"))
    wanted = [f"{n}%" for n in range(101, 121)]
    answers = []

    def change(value):
        try:
            garden.rpc("app.set", name="busy", limits={"cpu": value})
            answers.append(value)
        except RpcError as error:
            assert "being set" in str(error)

    threads = [threading.Thread(target=change, args=(w,)) for w in wanted]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert answers
    assert garden.show("busy")["set"]["cpu"] == f"{cpu(garden, 'busy'):.0f}%" in wanted
    garden.niwa("rm", "--yes", "busy")


@pytest.mark.parametrize("point", ["niwad.limits-written", "niwad.limits-stored"])
def test_a_niwad_killed_while_limits_are_set_is_followed_by_one_with_what_is_stored(garden, point):
    apply(garden, app("torn"))
    get(garden.address("torn"))
    garden.kill_niwad()
    garden.start_niwad({"NIWA_FAULT": f"{point}:kill@1"})
    garden.niwa("set", "torn", "cpu=180%", check=False)
    wait_dead(garden, point)
    garden.start_niwad()
    stored = garden.show("torn").get("set", {}).get("cpu", "50%")
    assert stored == ("180%" if point == "niwad.limits-stored" else "50%")
    assert f"{cpu(garden, 'torn'):.0f}%" == stored
    garden.niwa("set", "torn", "cpu=")
    garden.niwa("rm", "--yes", "torn")


def test_an_app_may_be_removed_while_its_limits_are_set(garden):
    for n in range(5):
        apply(garden, app("brief"))
        get(garden.address("brief"))
        change = threading.Thread(target=garden.niwa, args=("set", "brief", "cpu=90%"), kwargs={"check": False})
        change.start()
        garden.niwa("rm", "--yes", "brief")
        change.join()
    apply(garden, app("brief"))
    assert "set" not in garden.show("brief")
    assert json.loads(garden.niwa("--json", "set", "brief", "cpu=90%").stdout)["set"] == {"cpu": "90%"}
