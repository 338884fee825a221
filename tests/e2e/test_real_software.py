# SPDX-License-Identifier: MIT
"""Web, mail and database servers of Debian, reached while they are stopped, frozen and running, by one client and by
two hundred, and while somebody kills what carries them."""

import os
import signal
import subprocess

import pytest
from clients import ASK, Load, NotConnected, apply, at_once, connect, http, imap, one_try, psql, record, text_of
from host import Host, wait_for

NAMES = ("static", "php", "django", "postgres", "dovecot")
PORT = {"static": 80, "php": 80, "django": 80, "postgres": 5432, "dovecot": 143}
SLEEPY = {"freeze": "1s", "page": "never", "save": "never"}


@pytest.fixture(scope="module")
def garden():
    """A host with all of them, which freeze by themselves and stop only when they are told to."""
    host = Host().start()
    apply(host, *(record(name, sleep=SLEEPY) for name in NAMES))
    yield host
    host.stop()


@pytest.fixture
def stopped(garden, request):
    """The app of the test, asleep; its name, its address."""
    name = request.param
    garden.niwa("stop", name)
    assert garden.state(name) == "stopped"
    return name, garden.address(name)


each = pytest.mark.parametrize("stopped", NAMES, indirect=True)


def counts(host):
    return host.rpc("host.status")["counts"]


def relayed(host):
    """Connections that came through the relay up to now."""
    host.rpc("host.status")  # its counters are asked for, and there with the next answer
    before = None

    def settled():
        nonlocal before
        now = host.rpc("host.status")["relay"]["accepted"]
        before, same = now, now == before
        return same

    wait_for("the relay's counters settle", settled, pause=0.05)
    return before


def gone(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def kill(pid):
    """SIGKILL; returns when it is gone."""
    os.kill(pid, signal.SIGKILL)
    wait_for(f"process {pid} is gone", lambda: gone(pid))


def illegitimate(load, since):
    """Failures that nobody may see: of connections that began later, and refused ones whenever they came."""
    return [t for t in load.failed() if t.began > since or isinstance(t.error.__cause__, ConnectionRefusedError)]


@each
def test_the_first_connection_to_a_stopped_app_is_answered(garden, stopped):
    name, address = stopped
    answer = ASK[name](address)
    assert garden.state(name) == "running"
    assert answer.facts.get("client", answer.client[0]) == answer.client[0]
    if name != "postgres" and name != "dovecot":
        assert answer.facts["host"] == name, "an app sees its own name as host name"


@each
def test_a_frozen_app_answers_as_the_process_it_was(garden, stopped):
    name, address = stopped
    ASK[name](address)
    pid = garden.pid(name)
    garden.wait_state(name, "frozen", timeout=30)
    before = counts(garden)
    answer = ASK[name](address)
    assert answer.facts.get("client", answer.client[0]) == answer.client[0]
    assert garden.pid(name) == pid
    after = counts(garden)
    assert after["starts"] == before["starts"] and after["thaws"] > before["thaws"]


@each
def test_a_running_app_is_reached_without_the_relay(garden, stopped):
    name, address = stopped
    ASK[name](address)
    before = relayed(garden)
    for _ in range(3):
        answer = ASK[name](address)
    assert relayed(garden) == before
    assert answer.facts.get("client_port", str(answer.client[1])) == str(answer.client[1])


@each
def test_two_hundred_connections_at_once_to_a_stopped_app_are_all_answered_by_one_start(garden, stopped):
    name, address = stopped
    before = counts(garden)
    tries = at_once(200, ASK[name], address)
    failed = [t for t in tries if t.error]
    assert not failed, text_of(failed)
    assert counts(garden)["starts"] == before["starts"] + 1


@each
def test_an_app_killed_under_load_breaks_only_what_was_connected_to_it(garden, stopped):
    name, address = stopped
    ASK[name](address)
    with Load(ASK[name], address, clients=4) as load:
        wait_for("there is load", lambda: load.answered() >= 10, timeout=30)
        pid = garden.pid(name)
        kill(pid)
        wait_for("the app is up again", lambda: garden.state(name) == "running" and garden.pid(name) != pid, 30)
        fresh = garden.show(name)["history"][-1]["at"] / 1e6
        wait_for("answers come from the fresh one", lambda: load.answered(since=fresh) >= 10, timeout=30)
    died = max(h["at"] for h in garden.show(name)["history"] if h["to"] == "stopped") / 1e6
    wrong = illegitimate(load, since=died)
    assert not wrong, text_of(wrong)


@each
def test_a_killed_niwad_disturbs_no_request_of_a_running_app(garden, stopped):
    name, address = stopped
    ASK[name](address)
    pid = garden.pid(name)
    with Load(ASK[name], address, clients=2) as load:
        wait_for("there is load", lambda: load.answered() >= 5, timeout=30)
        garden.kill_niwad()
        seen = load.answered()
        wait_for("answers come without niwad", lambda: load.answered() >= seen + 10, timeout=30)
        garden.start_niwad()
        seen = load.answered()
        wait_for("answers come with the new niwad", lambda: load.answered() >= seen + 10, timeout=30)
    assert not load.failed(), text_of(load.failed())
    assert garden.pid(name) == pid


@each
def test_connections_held_when_niwad_is_killed_are_answered_after_its_return(garden, stopped):
    name, address = stopped
    before = relayed(garden)
    with Load(ASK[name], address, clients=20, pause=60) as load:
        wait_for("connections are held", lambda: garden.state(name) != "stopped" or relayed(garden) > before)
        garden.kill_niwad()
        with connect(address, PORT[name]) as late:  # accepted while there is no niwad
            garden.start_niwad()
            late.close()
        wait_for("all are answered", lambda: len(load.tries) == 20, timeout=40)
    assert not load.failed(), text_of(load.failed())


@each
def test_a_connection_made_to_a_stopped_app_without_niwad_is_answered_when_it_returns(garden, stopped):
    name, address = stopped
    garden.kill_niwad()
    with Load(ASK[name], address, clients=5, pause=60) as load:
        wait_for("they are connected", lambda: established(address) >= 5)
        assert not load.tries
        garden.start_niwad()
        wait_for("all are answered", lambda: len(load.tries) == 5, timeout=40)
    assert not load.failed(), text_of(load.failed())


def established(address):
    out = subprocess.run(["ss", "-Htn", "state", "established", "dst", address], capture_output=True, text=True,
                         check=True).stdout
    return len(out.splitlines())


@each
def test_a_killed_relay_refuses_nobody_and_breaks_only_what_it_carried(garden, stopped):
    name, address = stopped
    relay = garden.rpc("host.status")["relay"]["pid"]
    carried = connect(address, PORT[name])  # a session of the relay's, the only one that may break
    try:
        assert not one_try(ASK[name], address).error
        with Load(ASK[name], address, clients=3) as load:
            wait_for("there is load", lambda: load.answered() >= 5, timeout=30)
            kill(relay)
            tries = [one_try(ASK[name], address)]
            garden.niwa("stop", name)  # from here on the next relay is needed
            killed = load.tries[-1].ended
            tries.append(one_try(ASK[name], address))
            wait_for("answers go on", lambda: load.answered(since=killed) >= 5, timeout=30)
        assert not [t for t in tries if t.error], text_of(tries)
        assert garden.rpc("host.status")["relay"]["pid"] not in (0, relay)
        stopping = max(h["at"] for h in garden.show(name)["history"] if h["to"] == "stopping") / 1e6
        wrong = illegitimate(load, since=stopping)
        assert not wrong, text_of(wrong)  # a session may break when its database server is told to stop, no other
    finally:
        carried.close()


def test_connections_that_come_after_the_relay_was_killed_wait_for_the_next_one(garden):
    garden.niwa("stop", "django")
    address = garden.address("django")
    relay = garden.rpc("host.status")["relay"]["pid"]
    with Load(ASK["django"], address, clients=20, pause=60) as early:
        wait_for("they wake it", lambda: garden.state("django") == "starting")
        kill(relay)
        tries = at_once(50, ASK["django"], address)
    assert not [t for t in tries if t.error], text_of([t for t in tries if t.error])
    assert not [t for t in early.failed() if isinstance(t.error, NotConnected)], text_of(early.failed())


def test_stopping_an_app_that_somebody_waits_for_ends_when_its_instance_has_ended(garden):
    address = garden.address("static")
    with Load(ASK["static"], address, clients=3) as load:
        wait_for("there is load", lambda: load.answered() >= 5)
        pid = garden.pid("static")
        garden.niwa("stop", "static", timeout=20)
        assert gone(pid)
        seen = load.answered()
        wait_for("a fresh one answers", lambda: load.answered() >= seen + 10)
    assert not load.failed(), text_of(load.failed())


def test_all_of_them_stop_by_themselves_leave_nothing_and_come_back(garden):
    everything = ("stop", *NAMES)
    garden.niwa(*everything)
    apply(garden, *(record(name, sleep={"freeze": "500ms", "page": "never", "save": "2s"}) for name in NAMES))
    for _ in range(2):
        for name in NAMES:
            ASK[name](garden.address(name))
        for name in NAMES:
            garden.wait_state(name, "stopped", timeout=40)
        wait_for("nothing is left", garden.nothing_left)
    apply(garden, *(record(name, sleep=SLEEPY) for name in NAMES))


@pytest.fixture
def neighbour(garden):
    """Another machine on a network of the host: runs a command there."""
    machine = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 600"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE)
    machine.stdout.readline()
    there = ["nsenter", "-n", "-t", str(machine.pid)]
    for line in (f"ip link add outside type veth peer name inside netns {machine.pid}",
                 "ip address add 192.0.2.1/24 dev outside", "ip link set outside up"):
        subprocess.run(line.split(), check=True)
    for line in ("ip address add 192.0.2.2/24 dev inside", "ip link set inside up",
                 "ip route add default via 192.0.2.1"):
        subprocess.run(there + line.split(), check=True)
    yield lambda *argv: subprocess.run([*there, *argv], capture_output=True, text=True, timeout=60, check=False)
    machine.kill()
    machine.wait()
    machine.stdout.close()
    subprocess.run(["ip", "link", "delete", "outside"], check=False, stderr=subprocess.DEVNULL)


def test_a_client_of_another_machine_is_answered_by_a_sleeping_app_and_known_to_a_running_one(garden, neighbour):
    garden.niwa("stop", "php")
    url = f"http://{garden.address('php')}/"
    assert "host: php" in neighbour("curl", "-sS", url).stdout
    assert "client: 192.0.2.2:" in neighbour("curl", "-sS", url).stdout
    garden.wait_state("php", "frozen", timeout=30)
    assert "client: 192.0.2.2:" in neighbour("curl", "-sS", url).stdout
    pid = garden.pid("php")
    refused = neighbour("curl", "-sS", f"http://{garden.address('php')}:81/")
    assert refused.returncode == 7, refused  # could not connect, and said so at once
    assert garden.pid("php") == pid


def test_a_large_file_comes_whole_from_a_stopped_and_from_a_running_app(garden):
    garden.niwa("stop", "static")
    address = garden.address("static")
    for _ in range(2):
        assert http(address, "/large.bin").text == "\0" * 8388608


def test_a_keep_alive_connection_outlives_freezing_and_thawing(garden):
    address = garden.address("static")
    with connect(address, 80) as s:
        for _ in range(3):
            s.sendall(b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n")
            data = b""
            while not data.endswith(b"small\n"):
                more = s.recv(4096)
                assert more, f"closed after {data!r}"
                data += more
            garden.wait_state("static", "frozen", timeout=30)


def test_an_open_session_of_psql_outlives_freezing_and_thawing(garden):
    address = garden.address("postgres")
    shell = subprocess.Popen(["psql", "-XAtq", "-h", address, "-U", "guest", "niwa"], text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        answers = []
        for _ in range(3):
            shell.stdin.write("select pg_backend_pid();\n")
            shell.stdin.flush()
            answers.append(shell.stdout.readline().strip())
            garden.wait_state("postgres", "frozen", timeout=30)
        assert answers[0].isdigit() and len(set(answers)) == 1, answers
    finally:
        shell.stdin.close()
        shell.stdout.close()
        shell.wait(30)


def test_what_psql_committed_is_there_after_a_stop_and_a_kill(garden):
    address = garden.address("postgres")
    psql(address, "create table if not exists kept (n int); truncate kept; insert into kept values (1)")
    garden.niwa("stop", "postgres")
    assert psql(address, "insert into kept values (2) returning n").startswith("2")
    kill(garden.pid("postgres"))
    assert psql(address, "select n from kept order by n").split() == ["1", "2"]


def test_a_mail_that_was_taken_is_there_after_a_stop(garden):
    address = garden.address("dovecot")
    with imap(address, "alan") as session:
        assert session.append("INBOX", None, None, b"Subject: hello\r\n\r\nText.\r\n")[0] == "OK"
    garden.niwa("stop", "dovecot")
    with imap(address, "alan") as session:
        assert session.select("INBOX")[1] == [b"1"]
        assert session.fetch("1", "(BODY[HEADER.FIELDS (SUBJECT)])")[1][0][1].strip() == b"Subject: hello"
