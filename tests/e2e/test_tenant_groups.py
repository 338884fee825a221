# SPDX-License-Identifier: MIT
"""Control groups of tenants: what was declared last is what they say, and they live as long as somebody is in them."""

import json

import pytest
from host import CGROUP_V2, wait_for
from inside import app, echo
from tenants import declare

MIB = 1 << 20
MEMORY = ("memory", "memory.limit_in_bytes", "memory.max")
SWAP = ("memory", "memory.memsw.limit_in_bytes", "memory.swap.max")  # v1: together with the memory
CPU = ("cpu", "cpu.cfs_quota_us", "cpu.max")
PROCESSES = ("pids", "pids.max", "pids.max")


@pytest.fixture
def host(tenant_host):
    yield tenant_host
    if tenant_host.niwad.poll() is not None or "NIWA_FAULT" in getattr(tenant_host, "broken", {}):
        again(tenant_host)


def again(host, fault=None):
    """Another niwad."""
    host.broken = {"NIWA_FAULT": fault} if fault else {}
    if host.niwad.poll() is None:
        host.kill_niwad()
    host.start_niwad(host.broken)


def number(text):
    return None if text in ("max", "-1") or int(text) > 1 << 60 else int(text)


def group_file(host, name, file, of_tenant=True):
    """Of the group of the app's instance, or of its tenant."""
    controller, v1, v2 = file
    ident = next(i["id"] for i in host.show(name)["instances"] if i["life"] == "serving")
    for root, wanted in ((CGROUP_V2, v2), (CGROUP_V2.parent / controller, v1)):
        for group in (root / host.cgroup).glob(f"**/i{ident}"):
            where = group.parent if of_tenant else group
            if (where / wanted).exists():
                return where / wanted
    raise AssertionError(f"no {file} of {name}")


def has(host, name, file, of_tenant=True):
    return number(group_file(host, name, file, of_tenant).read_text().strip())


def swap(host, name, of_tenant=True):
    """How much it may have in swap; None: no bound."""
    file = group_file(host, name, SWAP, of_tenant)
    both = number(file.read_text().strip())
    if both is None or "memsw" not in file.name:
        return both
    return both - (has(host, name, MEMORY, of_tenant) or 0)


def share(host, name, of_tenant=True):
    """Percent of a CPU; None: no bound."""
    file = group_file(host, name, CPU, of_tenant)
    quota, *period = file.read_text().split()
    period = period or [(file.parent / "cpu.cfs_period_us").read_text()]
    return None if quota in ("max", "-1") else round(100 * int(quota) / int(period[0]))


def groups_of_tenants(host):
    roots = [CGROUP_V2] + [CGROUP_V2.parent / n for n in ("memory", "cpu", "pids")]
    return [g for root in roots for g in (root / host.cgroup).glob("t[0-9]*")]


def test_limits_of_many_tenants_that_change_together_are_all_written(host):
    names = [f"many{n}" for n in range(24)]

    def limits(processes):
        return [{"name": n, "limits": {"processes": processes}} for n in names]

    host.apply(json.dumps({"tenants": limits(40), "apps": [echo(n, tenant=n) for n in names]}))
    host.niwa("wake", *names)
    assert {has(host, n, PROCESSES) for n in names} == {40}
    host.apply(json.dumps({"tenants": limits(41)}))
    wait_for("all are written", lambda: {has(host, n, PROCESSES) for n in names} == {41})
    host.apply(json.dumps({"tenants": [{"name": n} for n in names]}))
    wait_for("and taken back", lambda: {has(host, n, PROCESSES) for n in names} == {None})


def test_of_two_changes_the_later_one_holds_though_the_first_one_takes_its_time(host):
    declare(host, echo("one"), processes=50)
    again(host, "niwad.tenant-limits:slow@1")
    host.niwa("wake", "one")
    declare(host, processes=60)
    declare(host, processes=70)
    wait_for("the later one", lambda: has(host, "one", PROCESSES) == 70)
    declare(host, processes=80)  # is written behind all that was under way
    wait_for("the last one", lambda: has(host, "one", PROCESSES) == 80)


def test_a_limit_that_nobody_could_write_at_once_is_written_soon(host):
    declare(host, echo("one"), processes=50)
    again(host, "niwad.tenant-limits-begin:EAGAIN@1")
    host.niwa("wake", "one")
    declare(host, processes=60)
    wait_for("it is tried again", lambda: has(host, "one", PROCESSES) == 60)


@pytest.mark.parametrize("point", ["niwad.committed", "niwad.tenant-limits"])
def test_a_limit_that_was_stored_is_written_by_the_next_niwad(host, point):
    declare(host, echo("one"), processes=50, memory="80M")
    host.niwa("wake", "one")
    again(host, f"{point}:kill@{1 if point == 'niwad.committed' else 2}")  # the first time is that of adoption
    files = [group_file(host, "one", f) for f in (PROCESSES, MEMORY)]

    def written():
        return [number(f.read_text().strip()) for f in files]

    declare(host, processes=60, memory="90M", check=False)
    wait_for("it was killed", lambda: host.niwad.poll() is not None)
    assert written() == [50, 80 * MIB]
    again(host)
    wait_for("the next one writes it", lambda: written() == [60, 90 * MIB])


def test_the_group_of_a_tenant_goes_with_its_last_instance_and_comes_again(host):
    declare(host, echo("one"), echo("two"), memory="100M", processes=50)
    host.niwa("wake", "one", "two")
    host.niwa("stop", "one")
    assert has(host, "two", MEMORY) == 100 * MIB
    host.niwa("stop", "two")
    wait_for("an app that sleeps holds nothing", lambda: not groups_of_tenants(host))
    declare(host, memory="110M", processes=50)
    host.niwa("wake", "one")
    assert (has(host, "one", MEMORY), has(host, "one", PROCESSES)) == (110 * MIB, 50)
    again(host)
    host.niwa("stop", "one")
    wait_for("also one that was adopted", lambda: not groups_of_tenants(host))


def test_what_may_be_in_swap_is_bounded_with_the_memory(host):
    declare(host, app("one", limits={"memory": "64M"}), app("free"), memory="200M")
    host.niwa("wake", "one", "free")
    assert (swap(host, "one", False), swap(host, "one")) == (64 * MIB, 200 * MIB)
    assert swap(host, "free", False) is None
    for text, wanted in (("300M", 300), ("48M", 48), ("none", None), ("40M", 40)):
        host.niwa("set", "one", f"memory={text}")
        wanted = wanted and wanted * MIB
        assert (has(host, "one", MEMORY, False), swap(host, "one", False)) == (wanted, wanted)
    for limits, wanted in (({"memory": "300M"}, 300), ({"memory": "150M"}, 150), ({}, None)):
        declare(host, **limits)
        wanted = wanted and wanted * MIB
        wait_for("it is written", lambda: (has(host, "one", MEMORY), swap(host, "one")) == (wanted, wanted))
    host.niwa("set", "one", "memory=")


def test_less_cpu_for_a_tenant_than_one_of_its_apps_has_holds_at_once(host):
    declare(host, echo("one", limits={"cpu": "150%"}), echo("free"), cpu="200%")
    host.niwa("wake", "one", "free")
    assert (share(host, "one", False), share(host, "one")) == (150, 200)
    declare(host, cpu="50%")
    wait_for("it is written", lambda: share(host, "one") == 50)
    assert share(host, "free", False) is None
    declare(host)
    wait_for("and taken back", lambda: share(host, "one") is None)


def test_more_cpu_may_be_set_for_an_app_than_its_tenant_has(host):
    declare(host, echo("one", limits={"cpu": "10%"}), cpu="50%")
    host.niwa("wake", "one")
    assert host.niwa("set", "one", "cpu=200%").stdout == "one: cpu=200% memory=none (as in its record)\n"
    assert share(host, "one", False) in (50, 200) and share(host, "one") == 50, "v1 lets nobody have more than the tenant"
    host.niwa("restart", "one")
    assert share(host, "one", False) in (50, 200)
    host.niwa("set", "one", "cpu=")
    assert share(host, "one", False) == 10


def test_a_dry_run_says_what_of_the_tenants_would_change(host):
    declare(host, echo("one"), processes=50)
    file = host.dir / "more.yaml"
    file.write_text(json.dumps({"tenants": [{"name": "many", "limits": {"processes": 60}}, {"name": "nobody"}]}))
    would = host.niwa("apply", "--dry-run", file).stdout
    assert would == "~ limits of tenant many\nwould be: added 0, changed 0, unchanged 0; limits of tenants: changed 1, unchanged 1\n"
    assert host.rpc("tenant.show", name="many")["record"]["limits"] == {"processes": 50}
    assert host.niwa("apply", file).stdout == would.replace("would be: ", "")
    told = json.loads(host.niwa("apply", "--json", file).stdout)
    assert told["tenants"] == {"changed": 0, "unchanged": 2} and told["names"]["tenants"] == []
    shown = host.rpc("tenant.show", name="many")
    assert shown["record"] == {"name": "many", "limits": {"processes": 60}} and shown["apps"] == 1 and "processes" in shown["uses"]
    assert host.rpc("tenant.show", name="nobody") == {"record": {"name": "nobody"}, "apps": 0}
