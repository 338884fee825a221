# SPDX-License-Identifier: MIT
"""A host that is full, misconfigured or meddled with."""

import contextlib
import errno
import grp
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import echo
import pytest
from host import SLOW, Host, wait_for

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
HELLO = b"hello"


@pytest.fixture
def made():
    """Hosts with settings of their own; one at a time."""
    hosts = []

    def make(**settings):
        hosts.append(Host(**settings))
        return hosts[-1]

    yield make
    for h in hosts:
        h.stop()


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def relay(host):
    return host.rpc("host.status")["relay"]


def counts(host):
    return host.rpc("host.status")["counts"]


def ask(address, timeout=30):
    with socket.create_connection((address, 80), timeout=timeout * SLOW) as s:
        s.sendall(GET)
        data = b""
        while chunk := s.recv(4096):
            data += chunk
        return data.split(b"\r\n")[0]


def status(address):
    return int(ask(address).split(b" ")[1])


def talker(name, **keys):
    """Sends back what it gets; its clients speak first."""
    return echo.app(name, command=["/echo", "--tcp", "7"],
                    ports=[{"port": 7, "protocol": "tcp", "speaks": "client"}], **keys)


def connect(host, app):
    """A connection that has talked once: the second one of an app, so that the kernel alone carries it."""
    address = host.address(app)
    for _ in range(2):
        s = socket.create_connection((address, 7), timeout=20 * SLOW)
        s.sendall(HELLO)
        assert s.recv(100) == HELLO
    return s


# -- bounds that need a configuration -------------------------------------------------------------------------------


def test_the_relays_own_bound_on_waiting_connections_answers_too(made):
    host = made(relay_waiting=10).start()
    host.apply(echo.file(echo.app("few", "--late", "2000")))
    address = host.address("few")
    held = []
    for _ in range(10):
        held.append(socket.create_connection((address, 80), timeout=20))
        held[-1].sendall(GET)
    wait_for("ten wait", lambda: host.show("few")["waiting"] == 10)
    with socket.create_connection((address, 80), timeout=5) as s:
        s.settimeout(1)
        try:
            s.sendall(GET)
            assert s.recv(100).startswith(b"HTTP/1.1 503 ")
        except ConnectionResetError:
            pass  # over the bound it is not asked whose connection it is
    for s in held:
        assert s.recv(15) == b"HTTP/1.1 200 OK"
        s.close()
    assert ask(address) == b"HTTP/1.1 200 OK"


def test_clients_that_say_nothing_wake_nothing_and_are_let_go(made):
    host = made(relay_first_byte="1s").start()
    host.apply(echo.file(echo.app("quiet")))
    address = host.address("quiet")
    silent = [socket.create_connection((address, 80), timeout=20) for _ in range(50)]
    for s in silent:
        data = b""
        try:
            while chunk := s.recv(4096):
                data += chunk
        except ConnectionResetError:
            pass
        assert data == b"" or data.startswith(b"HTTP/1.1 ")
        s.close()
    assert host.state("quiet") == "stopped"
    wait_for("the relay holds none", lambda: relay(host)["open"] == 0)


PROBE = r"""
import json, os, socket, sys
gid, uid = int(sys.argv[2]), int(sys.argv[3])
os.setgroups([gid] if gid else []); os.setgid(uid); os.setuid(uid)
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(sys.argv[1])
except OSError as error:
    print(error.strerror)
    sys.exit()
f = s.makefile("rb")
for n, (method, params) in enumerate(json.loads(sys.argv[4])):
    s.sendall(json.dumps({"id": n, "method": method, "params": params}).encode() + b"\n")
    print(f.readline().decode(), end="")
"""


def probe(host, gid, calls):
    done = subprocess.run(["/usr/bin/python3", "-c", PROBE, str(host.socket), str(gid), "64321", json.dumps(calls)],
                          capture_output=True, text=True, timeout=30 * SLOW)
    return done.stdout


@pytest.fixture
def niwa_group():
    """Group niwa; where the machine has none, in this mount namespace only."""
    try:
        yield grp.getgrnam("niwa").gr_gid
    except KeyError:
        copy = Path("/tmp") / f"nwgroup-{os.getpid()}"
        shutil.copy("/etc/group", copy)
        with open(copy, "a") as f:
            f.write("niwa:x:64322:\n")
        run("mount", "--bind", copy, "/etc/group")
        yield 64322
        run("umount", "/etc/group")
        copy.unlink()


def test_only_root_and_group_niwa_may_talk_to_the_engine(niwa_group, made):
    host = made().start()
    assert os.stat(host.socket).st_gid == niwa_group
    calls = [["ping", {}], ["apply.begin", {}], ["apply.put", {"txn": 1, "apps": [echo.app("from-the-group")]}],
             ["apply.commit", {"txn": 1}]]
    assert probe(host, 0, calls) == "Permission denied\n"
    answers = [json.loads(line) for line in probe(host, niwa_group, calls).splitlines()]
    assert len(answers) == 4 and all("result" in a for a in answers), answers
    assert [row["name"] for row in host.rpc("app.list")["apps"]] == ["from-the-group"]


# -- a start that cannot be -----------------------------------------------------------------------------------------


def refused_start(host, *parts):
    host.start_keep()
    host.start_niwad(wait=False)
    assert host.niwad.wait(30 * SLOW) == 1
    log = host.niwad_log()
    for part in parts:
        assert part in log, log
    assert not host.socket.exists()


IPV6 = {"ula_prefix": "fd6e:6977:6100::/48"}


@pytest.mark.parametrize("command, setting, parts", [
    ("route add 10.66.0.0/16 dev lo", {}, ["10.64.0.0/12", "10.66.0.0/16"]),
    ("route add 10.80.7.0/24 dev lo", {}, ["10.80.0.0/16", "10.80.7.0/24"]),
    ("route add 10.0.0.0/8 dev lo", {}, ["10.64.0.0/12", "10.0.0.0/8"]),
    ("address add 10.70.1.2/24 dev lo", {}, ["10.64.0.0/12", "10.70.1"]),
    ("-6 route add fd6e:6977:6100:1::/64 dev lo", IPV6, ["ula_prefix fd6e:6977:6100::/48", "fd6e:6977:6100:1::/64 dev lo"]),
    ("-6 route add fd6e:6977:6100::/44 dev lo", IPV6, ["ula_prefix fd6e:6977:6100::/48", "fd6e:6977:6100::/44 dev lo"]),
    ("-6 address add fd6e:6977:6100:2::7/96 dev lo", IPV6, ["ula_prefix fd6e:6977:6100::/48", "fd6e:6977:6100:2::"]),
    ("route add 172.20.0.0/24 dev lo", {"service_range": "172.20.0.0/16"}, ["172.20.0.0/16", "172.20.0.0/24"]),
])
def test_a_range_that_collides_with_a_route_of_the_host_is_refused_at_start(made, command, setting, parts):
    words = command.split()
    run("ip", *words)
    try:
        host = made(**setting)
        refused_start(host, *parts)
        assert "niwa" not in run("nft", "list", "tables")
    finally:
        run("ip", *("del" if word == "add" else word for word in words))
    host.start_niwad()


def test_ranges_that_overlap_each_other_are_refused_at_start(made):
    host = made(service_range="10.64.0.0/12", private_range="10.72.0.0/16")
    host.start_keep()
    host.start_niwad(wait=False)
    assert host.niwad.wait(30 * SLOW) != 0
    assert "service_range and private_range overlap" in host.niwad_log()


def test_a_configuration_with_a_mistake_is_refused_with_its_line(made):
    for text, parts in (("servce_range = 10.64.0.0/12\n", ["niwad.conf:1", "servce_range"]),
                        ("relay_port = 99999\n", ["niwad.conf:1", "relay_port", "99999", "a number from 0 to 65535"]),
                        ("service_range = 127.0.0.0/8\n", ["niwad.conf: service_range", "127.0.0.0/8"]),
                        ("private_range = 224.0.0.0/8\n", ["niwad.conf: private_range", "224.0.0.0"]),
                        ("service_range = 10.64.0.1/12\n", ["niwad.conf:1", "service_range", "10.64.0.1/12"]),
                        ("\nstate_dir = relative\n", ["niwad.conf:2", "state_dir"]),
                        ("just words\n", ["niwad.conf:1"])):
        host = made()
        (host.dir / "niwad.conf").write_text(text)
        host.start_niwad(wait=False)
        assert host.niwad.wait(30 * SLOW) != 0
        for part in parts:
            assert part in host.niwad_log(), host.niwad_log()


def test_the_relays_port_in_use_is_told_at_start(made):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 9999))
        s.listen()
        host = made()
        refused_start(host, "127.0.0.1:9999", "Address already in use")
    host.start_niwad()


# -- no room --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(made):
    """A host whose state is on a disk of a few megabytes of its own, in this mount namespace. Not a tmpfs: before
    Linux 6.3 it has no idmapped mounts, which images need."""
    host = made()
    run("mke2fs", "-q", "-t", "ext4", "-m", "0", "-N", "2000", host.dir / "disk", "8m")
    run("mount", "-o", "loop", host.dir / "disk", host.dir / "state")
    (host.dir / "state").chmod(0o711)
    yield host.start()
    host.stop()
    run("umount", host.dir / "state")


def fill(folder):
    """Writes until nothing more goes in: neither a byte nor a file."""
    path = folder / "ballast"
    path.mkdir()
    for n in range(100000):
        try:
            (path / str(n)).touch(exist_ok=False)
        except OSError as error:
            assert error.errno == errno.ENOSPC
            break
    else:
        raise AssertionError("there is room for files without end")
    path = path / "0"
    with open(path, "ab", buffering=0) as f:
        for size in (65536, 4096, 512, 1):
            try:
                while True:
                    f.write(b"\0" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
    return path.parent


def test_a_full_disk_while_applying_is_told_and_nothing_is_half_done(small_disk):
    host = small_disk
    host.apply(echo.file(echo.app("before")))
    ballast = fill(host.dir / "state")
    many = [echo.app(f"app-{n:04d}", env={"PADDING": "x" * 2000}) for n in range(400)]
    done = host.apply(echo.file(*many), check=False)
    assert done.returncode == 1 and "nothing was changed" in done.stderr, done.stderr
    assert "disk" in done.stderr or "No space" in done.stderr, done.stderr
    assert [row["name"] for row in host.rpc("app.list")["apps"]] == ["before"]
    shutil.rmtree(ballast)
    host.kill_niwad()  # what a niwad after a crash reads is the same
    host.start_niwad()
    assert [row["name"] for row in host.rpc("app.list")["apps"]] == ["before"]
    done = host.apply(echo.file(*many))
    assert "added 400" in done.stdout
    assert ask(host.address("before")) == b"HTTP/1.1 200 OK"


def test_a_full_disk_keeps_no_app_from_starting_or_serving(small_disk):
    """What an app needs beside its volumes is in memory."""
    host = small_disk
    host.apply(echo.file(echo.app("running"), echo.app("asleep")))
    assert status(host.address("running")) == 200
    fill(host.dir / "state")
    assert status(host.address("running")) == 200
    assert status(host.address("asleep")) == 200
    host.niwa("stop", "asleep")
    wait_for("the kernel objects of one are gone", lambda: len(host.kernel_objects()["groups"]) == 1)


def test_no_room_for_what_a_start_writes_is_told_and_the_next_visitor_is_served_when_there_is_room(made):
    host = made()
    run("mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100,mode=755", "niwa-run", host.dir / "run")
    try:
        host.start()
        host.apply(echo.file(echo.app("app", restart={"backoff": "1ms"})))
        address = host.address("app")
        ballast = fill(host.dir / "run")
        assert status(address) == 503
        assert "No space left on device" in host.show("app")["last_error"]
        wait_for("nothing is left", host.nothing_left)
        shutil.rmtree(ballast)
        wait_for("it starts", lambda: status(address) == 200)
    finally:
        host.stop()
        run("umount", host.dir / "run")


def test_a_full_disk_for_logs_stops_no_app(made):
    host = made()
    run("mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=100,mode=750", "niwa-logs", host.dir / "log")
    try:
        host.start()
        ballast = fill(host.dir / "log")
        host.apply(echo.file(echo.app("chatter", "--chatter", "20000")))
        assert ask(host.address("chatter")) == b"HTTP/1.1 200 OK"
        shutil.rmtree(ballast)
    finally:
        host.stop()
        run("umount", host.dir / "log")


# -- no processes, no memory ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["keep.before-clone:EAGAIN@{n}", "keep.before-clone:ENOMEM@{n}",
                                   "keep.host-ops:ENOBUFS@{n}", "keep.start.received:EMFILE@{n}"])
def test_a_start_that_the_kernel_refuses_is_answered_and_the_next_one_works(made, fault):
    host = made().start(keep_env={"NIWA_FAULT": fault.format(n=2)})  # the first start is the relay's
    host.apply(echo.file(echo.app("app", restart={"backoff": "1ms"})))
    address = host.address("app")
    assert status(address) == 503
    assert host.show("app")["last_error"].startswith("app: ")
    wait_for("nothing is left", host.nothing_left)
    wait_for("the next start works", lambda: status(address) == 200)


def test_a_start_that_niwad_cannot_ask_for_is_answered_and_the_next_one_works(made):
    host = made().start(niwad_env={"NIWA_FAULT": "niwad.start:ENOMEM@1"})
    host.apply(echo.file(echo.app("app", restart={"backoff": "1ms"})))
    address = host.address("app")
    assert status(address) == 503
    wait_for("nothing is left", host.nothing_left)
    wait_for("the next start works", lambda: status(address) == 200)


def pids_root():
    for root in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")):
        if (root / "cgroup.procs").exists() and (root.name == "pids" or
                                                 "pids" in (root / "cgroup.subtree_control").read_text()):
            return root
    raise AssertionError("no controller of processes on this host")


@contextlib.contextmanager
def no_further_process(host):
    """Until allow() is called clone fails with EAGAIN. In version 2 the group of the new process counts, into which it
    is born; in version 1 the one of niwa-keep."""
    if pids_root().name != "pids":
        limit = pids_root() / host.cgroup / "pids.max"
        limit.write_text("1")
        yield lambda: limit.write_text("max")
        return
    group = pids_root() / f"{host.cgroup}-keep"
    group.mkdir()
    home = next(line.split(":", 2) for line in Path(f"/proc/{host.keep.pid}/cgroup").read_text().splitlines()
                if line.split(":")[1] in ("pids", ""))[2]
    try:
        (group / "pids.max").write_text("1")
        (group / "cgroup.procs").write_text(str(host.keep.pid))
        yield lambda: (group / "pids.max").write_text("max")
    finally:
        (pids_root() / home.lstrip("/") / "cgroup.procs").write_text(str(host.keep.pid))
        host.stop()
        wait_for("the group is empty", lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()


def test_a_host_out_of_processes_answers_and_works_again_later(made):
    host = made().start()
    host.apply(echo.file(echo.app("app", restart={"backoff": "1ms"}), echo.app("running")))
    assert status(host.address("running")) == 200
    with no_further_process(host) as allow:
        assert status(host.address("app")) == 503
        assert "Resource temporarily unavailable" in host.show("app")["last_error"]
        if pids_root().name == "pids":  # else the limit counts the threads of every app
            assert status(host.address("running")) == 200
        allow()
        wait_for("it starts", lambda: status(host.address("app")) == 200)


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_keep_without_descriptors_has_one_for_the_engine_that_returns(made):
    host = made().start()
    host.apply(echo.file(echo.app("running")))
    assert status(host.address("running")) == 200
    pid = host.pid("running")
    host.kill_niwad()
    wait_for("its place is free", lambda: "niwad is gone" in (host.dir / "log/keep.err").read_text())
    before = resource.prlimit(host.keep.pid, resource.RLIMIT_NOFILE)
    low = [int(n) for n in os.listdir(f"/proc/{host.keep.pid}/fd") if int(n) < 1024]  # above is what instances have
    resource.prlimit(host.keep.pid, resource.RLIMIT_NOFILE, (max(low) + 1, before[1]))
    with contextlib.ExitStack() as stack:
        for _ in range(max(low) + 1 - len(low) + 1):  # the last of these, too, needs more than there are
            one = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            one.connect(str(host.dir / "run/keep.sock"))
        host.start_niwad()
    assert host.pid("running") == pid
    assert status(host.address("running")) == 200


def test_a_keep_that_cannot_let_the_engine_in_does_not_spin_and_lets_it_in_later(made):
    host = made().start()
    host.kill_niwad()
    before = resource.prlimit(host.keep.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(host.keep.pid, resource.RLIMIT_NOFILE, (3, before[1]))
    host.start_niwad(wait=False)
    wait_for("it says so", lambda: "accept niwad's connection" in (host.dir / "log/keep.err").read_text())
    used = cpu_seconds(host.keep.pid)
    time.sleep(1)
    assert cpu_seconds(host.keep.pid) - used < 0.1
    resource.prlimit(host.keep.pid, resource.RLIMIT_NOFILE, before)
    wait_for("niwad answers", host.answers, timeout=20)


# -- somebody else's hands in nftables ------------------------------------------------------------------------------


def test_a_flushed_ruleset_is_put_back_and_connections_go_on(host):
    host.apply(echo.file(talker("talker"), echo.app("sleeper")))
    warm = connect(host, "talker")
    run("nft", "flush", "ruleset")
    wait_for("the table is back", lambda: counts(host)["repairs"] == 1)
    warm.sendall(HELLO)
    assert warm.recv(100) == HELLO
    assert ask(host.address("sleeper")) == b"HTTP/1.1 200 OK"
    connect(host, "talker").close()
    for port in (1, 81):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host.address("sleeper"), port), timeout=3)


def test_a_flush_while_niwad_stands_still_costs_no_open_connection(host):
    """What comes in the gap between the flush and the repair."""
    host.apply(echo.file(talker("talker")))
    warm = connect(host, "talker")
    host.niwad.send_signal(signal.SIGSTOP)
    try:
        run("nft", "flush", "ruleset")
        warm.sendall(HELLO)
        assert warm.recv(100) == HELLO
    finally:
        host.niwad.send_signal(signal.SIGCONT)
    wait_for("the table is back", lambda: counts(host)["repairs"] == 1)
    warm.sendall(HELLO)
    assert warm.recv(100) == HELLO


def test_bytes_for_a_frozen_app_while_the_rules_are_gone_are_answered(host):
    host.apply(echo.file(talker("talker")))
    warm = connect(host, "talker")
    host.niwa("freeze", "talker")
    assert host.state("talker") == "frozen"
    host.niwad.send_signal(signal.SIGSTOP)
    try:
        run("nft", "flush", "ruleset")
        warm.sendall(HELLO)
    finally:
        host.niwad.send_signal(signal.SIGCONT)
    assert warm.recv(100) == HELLO
    assert counts(host)["repairs"] == 1


def test_bytes_for_a_frozen_app_while_niwad_is_dead_and_the_rules_are_gone_are_answered(host):
    sleep = {"freeze": "never", "page": "never", "save": "never", "answer": "0s"}  # owed answers are not looked for
    host.apply(echo.file(talker("talker", sleep=sleep)))
    warm = connect(host, "talker")
    host.niwa("freeze", "talker")
    host.kill_niwad()
    run("nft", "flush", "ruleset")
    warm.sendall(HELLO)
    host.start_niwad()
    assert warm.recv(100) == HELLO


def test_single_foreign_changes_of_the_table_are_put_right(host):
    host.apply(echo.file(talker("talker")))
    warm = connect(host, "talker")
    for n, change in enumerate(("flush chain inet niwa leaving", "delete table inet niwa",
                                "flush map inet niwa awake", "flush map inet niwa declared"), 1):
        run("nft", change)
        wait_for(f"repaired: {change}", lambda: counts(host)["repairs"] >= n)
        warm.sendall(HELLO)
        assert warm.recv(100) == HELLO
        connect(host, "talker").close()


# -- lost hints -----------------------------------------------------------------------------------------------------


def test_many_that_knock_while_niwad_stands_still_are_all_answered(host):
    """More frozen apps than one reading of the set takes, each with a byte waiting."""
    apps = [f"app-{n:02d}" for n in range(40)]
    host.apply(echo.file(*map(talker, apps)))
    warm = [connect(host, app) for app in apps]
    for app in apps:
        host.rpc("app.freeze", name=app)
    host.niwad.send_signal(signal.SIGSTOP)
    for s in warm:
        s.sendall(HELLO)
    host.niwad.send_signal(signal.SIGCONT)
    for s in warm:
        assert s.recv(100) == HELLO
        s.close()


@pytest.mark.parametrize("fault", ["ENOBUFS", "EIO"], ids=["the kernel says so", "nobody says so"])
def test_knocks_whose_events_are_all_lost_are_found_in_the_set(made, fault):
    host = made().start(niwad_env={"NIWA_FAULT": f"net.nflog:{fault}"})
    apps = [f"app-{n}" for n in range(5)]
    host.apply(echo.file(*map(talker, apps)))
    warm = [connect(host, app) for app in apps]
    for app in apps:
        host.rpc("app.freeze", name=app)
    for s in warm:
        s.sendall(HELLO)
    for s in warm:
        assert s.recv(100) == HELLO
        s.close()
    assert (counts(host)["overflows"] > 0) == (fault == "ENOBUFS")


def test_a_client_that_talks_to_a_frozen_app_while_niwad_is_dead_is_answered_when_it_returns(host):
    host.apply(echo.file(talker("talker")))
    warm = connect(host, "talker")
    host.niwa("freeze", "talker")
    host.kill_niwad()  # nobody listens to the events of this time
    warm.sendall(HELLO)
    warm.settimeout(0.3)
    with pytest.raises(TimeoutError):
        warm.recv(100)
    warm.settimeout(20 * SLOW)
    host.start_niwad()
    assert warm.recv(100) == HELLO


def test_a_client_that_connects_to_a_sleeping_app_while_niwad_is_dead_is_answered_when_it_returns(host):
    host.apply(echo.file(echo.app("sleeper")))
    address = host.address("sleeper")
    host.kill_niwad()
    s = socket.create_connection((address, 80), timeout=30 * SLOW)
    s.sendall(GET)
    host.start_niwad()
    assert s.recv(15) == b"HTTP/1.1 200 OK"
    s.close()
