# SPDX-License-Identifier: MIT
"""Each limit, with an app that tries to take more. `niwa exec` is inside the same limits."""

import http.client
import re
import resource
import shutil

import pytest
from host import CGROUP_V2, Host, wait_for
from inside import app, apply, ask, echo, facts, python, run

MIB = 1 << 20


@pytest.fixture(scope="module")
def host():
    """One host with an app of each limit and a neighbour that must not notice anything."""
    h = Host().start()
    apply(h,
          echo("neighbour.example.com"),
          echo("memory.example.com", limits={"memory": "64M"}),
          echo("cpu.example.com", limits={"cpu": "20%"}),
          echo("processes.example.com", limits={"processes": 20}),
          echo("files.example.com", limits={"open_files": 100}),
          echo("disk.example.com", limits={"disk": "8M"}),
          app("all.example.com", limits={"memory": "96M", "cpu": "30%", "processes": 12, "open_files": 90, "disk": "8M", "io_weight": 50}))
    assert "pid" in ask(h.address("neighbour.example.com"), "/")
    pid = h.pid("neighbour.example.com")
    yield h
    assert h.pid("neighbour.example.com") == pid and "pid" in ask(h.address("neighbour.example.com"), "/")
    h.stop()


def instance(host, name):
    return next(i["id"] for i in host.show(name)["instances"] if i["life"] == "serving")


def group_file(host, name, controller, v1_file, v2_file):
    """A file of an instance's group, in the hierarchy that has the controller."""
    one = CGROUP_V2 / host.cgroup / f"i{instance(host, name)}" / v2_file
    other = CGROUP_V2.parent / controller / host.cgroup / f"i{instance(host, name)}" / v1_file
    return one if one.exists() else other


def test_an_app_that_takes_too_much_memory_is_ended_and_wakes_again(host):
    address = host.address("memory.example.com")
    assert facts(ask(address, "/memory", bytes=32 * MIB)) == {"touched": str(32 * MIB)}
    pid = host.pid("memory.example.com")
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        ask(address, "/memory", bytes=512 * MIB)
    host.wait_state("memory.example.com", "stopped")
    assert "killed by SIGKILL: it wanted more than limits.memory" in host.show("memory.example.com")["last_error"]
    assert facts(ask(address, "/memory", bytes=32 * MIB)) == {"touched": str(32 * MIB)}
    assert host.pid("memory.example.com") != pid


def test_a_command_of_exec_that_takes_too_much_memory_is_killed(host):
    host.niwa("wake", "all.example.com")
    done = run(host, "all.example.com", "/usr/bin/python3", "-Ic", f"x = bytearray({512 * MIB})\nx[::4096] = x[::4096]", check=False)
    assert done.returncode == 137
    assert python(host, "all.example.com", "print(len(bytearray(16 << 20)))") == 16 * MIB


def test_files_in_shared_memory_count_as_memory(host):
    done = run(host, "all.example.com", "sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=500 2>&1", check=False)
    host.niwa("stop", "all.example.com", check=False)
    assert "500+0 records out" not in done.stdout


def test_an_app_gets_no_more_cpu_than_its_share(host):
    got = facts(ask(host.address("cpu.example.com"), "/cpu", ms=3000, threads=2))
    assert got["threads"] == "2"
    assert int(got["cpu_us"]) <= 3000000 * 0.2 * 1.25 + 20000, "20 % of one CPU, and what a period may add"


def test_a_command_of_exec_gets_no_more_cpu_than_the_app(host):
    code = """import json, time
until, used = time.monotonic() + 2, time.process_time()
while time.monotonic() < until: pass
print(json.dumps(time.process_time() - used))"""
    assert python(host, "all.example.com", code) <= 2 * 0.3 * 1.25 + 0.05


def test_a_fork_bomb_ends_at_the_limit_of_processes(host):
    address = host.address("processes.example.com")
    got = facts(ask(address, "/fork", max=100000, ms=300))
    assert got["error"] == "Resource temporarily unavailable"
    assert 10 <= int(got["forked"]) < 20
    assert "pid" in ask(address, "/"), "and the app goes on"


def test_processes_of_exec_count(host):
    code = """import json, os, time
n = 0
try:
    while n < 100:
        if os.fork() == 0:
            time.sleep(0.5); os._exit(0)
        n += 1
except BlockingIOError:
    pass
for _ in range(n):
    os.wait()
print(json.dumps(n))"""
    assert 1 <= python(host, "all.example.com", code) < 12


def test_open_files_end_at_the_limit_and_it_cannot_be_raised(host):
    got = facts(ask(host.address("files.example.com"), "/files", max=60000))
    assert got["error"] == "Too many open files"
    assert 80 <= int(got["opened"]) < 100
    code = """import json, resource
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (91, 91)); raised = True
except (ValueError, OSError):
    raised = False
print(json.dumps([resource.getrlimit(resource.RLIMIT_NOFILE), raised]))"""
    assert python(host, "all.example.com", code) == [[90, 90], False]


@pytest.mark.parametrize("folder", ["/tmp", "", "/run"])
def test_the_writable_layer_is_full_at_its_limit_and_the_host_s_disk_is_not(host, folder):
    before = shutil.disk_usage(host.dir).free
    got = facts(ask(host.address("disk.example.com"), "/disk", path=f"{folder}/big", bytes=1 << 30))
    assert got["error"] == "No space left on device"
    assert 6 * MIB <= int(got["written"]) <= 8 * MIB
    assert shutil.disk_usage(host.dir).free > before - (512 << 20)
    assert facts(ask(host.address("disk.example.com"), "/disk", path=f"{folder}/small", bytes=MIB))["error"] == "none", "given back"


def test_what_exec_writes_counts(host):
    done = run(host, "all.example.com", "sh", "-c", "dd if=/dev/zero of=/tmp/x bs=1M count=100; rm /tmp/x", check=False)
    assert "No space left on device" in done.stderr


def test_every_process_of_an_app_is_in_its_groups_those_of_exec_too(host):
    out = run(host, "all.example.com", "sh", "-c", "sleep 0.4 & cat /proc/self/cgroup; wait").stdout
    ident = instance(host, "all.example.com")
    groups = dict(line.split(":", 2)[1:] for line in out.splitlines())
    outside = dict(line.split(":", 2)[1:] for line in
                   open(f"/proc/{host.pid('all.example.com')}/cgroup").read().splitlines())
    assert groups[""] == "/", "the instance's own group is the root of what it sees"
    assert outside[""].endswith(f"/i{ident}"), outside
    for names, path in groups.items():  # hierarchies of version 1, where they hold the limits
        if set(names.split(",")) & {"memory", "pids", "cpu"}:
            assert path == "/", groups  # "/.." would be another group than that of the instance
            assert outside[names].endswith(f"/i{ident}"), outside


def test_the_groups_say_what_the_app_file_says(host):
    host.niwa("wake", "all.example.com")
    name = "all.example.com"
    assert group_file(host, name, "memory", "memory.limit_in_bytes", "memory.max").read_text().strip() == str(96 * MIB)
    assert group_file(host, name, "pids", "pids.max", "pids.max").read_text().strip() == "12"
    quota = group_file(host, name, "cpu", "cpu.cfs_quota_us", "cpu.max").read_text().split()
    assert quota in (["30000"], ["30000", "100000"])
    weight = group_file(host, name, "blkio", "blkio.weight", "io.weight")
    if weight.exists():  # with an I/O scheduler that knows weights
        assert weight.read_text().split()[-1] == "50"


def test_an_app_whose_limit_changes_gets_a_fresh_instance_with_it(host):
    apply(host, app("changing.example.com", limits={"processes": 10}))
    host.niwa("wake", "changing.example.com")
    pid = host.pid("changing.example.com")
    apply(host, app("changing.example.com", limits={"processes": 30}))
    wait_for("a fresh instance", lambda: any(i["pid"] != pid and i["life"] == "serving" for i in host.show("changing.example.com")["instances"]))
    assert group_file(host, "changing.example.com", "pids", "pids.max", "pids.max").read_text().strip() == "30"


def test_open_files_beyond_what_the_host_has_are_refused_with_a_reason(host):
    hard = int(re.search(r"Max open files +\d+ +(\d+)", open(f"/proc/{host.keep.pid}/limits").read()).group(1))
    if hard >= 1048576:  # the highest that an app file may say
        hard = 100000
        resource.prlimit(host.keep.pid, resource.RLIMIT_NOFILE, (hard, hard))
        host.kill_niwad()
        host.start_niwad()
    apply(host, echo("greedy.example.com", limits={"open_files": hard + 1}))
    done = host.niwa("wake", "greedy.example.com", check=False)
    assert done.returncode == 1 and "limits.open" in done.stderr and str(hard) in done.stderr


def test_an_exec_at_the_limit_of_processes_names_the_limit(host):
    host.apply("""
apps:
  - name: full
    image: host
    command: [/usr/bin/python3, -m, http.server, "8080"]
    ports: [{port: 8080, protocol: http}]
    limits: {processes: 1}
""")
    host.niwa("wake", "full")
    done = host.niwa("exec", "full", "--", "true", check=False)
    assert "start the command: full is at its limit of 1 processes: end some, or raise limits.processes" in done.stderr
