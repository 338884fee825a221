# SPDX-License-Identifier: MIT
"""Clients that are too many, too slow, gone, curious or hostile, of apps and of the engine's socket."""

import errno
import json
import os
import re
import resource
import select
import socket
import statistics
import struct
import subprocess
import time
from pathlib import Path

import echo
import pytest
from host import SLOW, wait_for

MIB = 1024 * 1024
GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def anonymous_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssAnon:\s+(\d+) kB", status).group(1)) * 1024


def files_of(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def relay(host):
    """The relay's counters; the engine answers with what it heard last and asks anew."""
    return host.rpc("host.status")["relay"]


def ask(address, port=80, timeout=20):
    """One request on a connection of its own; the answer's first line and what it took."""
    began = time.monotonic()
    with socket.create_connection((address, port), timeout=timeout * SLOW) as s:
        s.sendall(GET)
        data = b""
        while b"\r\n" not in data and (chunk := s.recv(4096)):
            data += chunk
        return data.split(b"\r\n")[0], time.monotonic() - began


def reset(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


# -- too many -------------------------------------------------------------------------------------------------------


class Crowd:
    """Many connections of one process, each says GET and waits for what comes."""

    def __init__(self, address, count):
        self.poll = select.epoll()
        self.waiting = {}
        self.outcomes = {}
        for n in range(count):
            if n % 100 == 0:
                self.step(0)  # who says nothing for long is sent away
            s = socket.socket()
            s.setblocking(False)
            error = s.connect_ex((address, 80))
            assert error in (0, errno.EINPROGRESS), os.strerror(error)
            self.waiting[s.fileno()] = [s, b""]
            self.poll.register(s.fileno(), select.EPOLLOUT | select.EPOLLIN)

    def note(self, fd, outcome):
        s, _ = self.waiting.pop(fd)
        self.poll.unregister(fd)
        s.close()
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def step(self, timeout=0.02):
        for fd, events in self.poll.poll(timeout):
            entry = self.waiting[fd]
            try:
                if events & select.EPOLLOUT:
                    self.poll.modify(fd, select.EPOLLIN)
                    entry[0].send(GET)
                elif events & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
                    data = entry[0].recv(4096)
                    entry[1] += data
                    if not data:
                        self.note(fd, entry[1].split(b"\r\n")[0])
            except OSError as error:
                self.note(fd, errno.errorcode[error.errno])


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_10000_connections_to_an_app_that_is_never_ready_are_answered_and_hinder_no_other(shared_host, many_files):
    shared_host.apply(echo.file(
        echo.app("never", "--silent", ready={"deadline": "1h"}, wake_deadline=f"{6 * SLOW:.0f}s", max_waiting=8000),
        echo.app("other"), echo.app("sleeper")))
    other, sleeper = shared_host.address("other"), shared_host.address("sleeper")
    assert ask(other)[0].endswith(b"200 OK")
    before = anonymous_bytes(shared_host.niwad.pid)
    crowd = Crowd(shared_host.address("never"), 10000)
    took, most, woken = [], 0, None
    until = time.monotonic() + 60 * SLOW
    while crowd.waiting and time.monotonic() < until:
        crowd.step()
        if len(took) < 200:
            line, seconds = ask(other)
            assert line.endswith(b"200 OK")
            took.append(seconds)
        if woken is None and shared_host.show("never")["waiting"] >= 5000:
            woken = ask(sleeper)  # through the relay and the engine, while they hold thousands
            pid = relay(shared_host)["pid"]
            most = anonymous_bytes(shared_host.niwad.pid) - before
            assert anonymous_bytes(pid) < 64 * MIB
    assert not crowd.waiting, f"{len(crowd.waiting)} connections got no answer"
    assert crowd.outcomes == {b"HTTP/1.1 503 Service Unavailable": 10000}
    assert woken and woken[0].endswith(b"200 OK") and woken[1] < 3 * SLOW
    assert statistics.median(took) < 0.1 * SLOW and max(took) < 3 * SLOW, (statistics.median(took), max(took))
    assert most < 16 * MIB
    wait_for("the engine knows of none that waits", lambda: shared_host.show("never")["waiting"] == 0)
    assert len([h for h in shared_host.show("never")["history"] if h["to"] == "starting"]) == 1
    wait_for("the relay has let go of all", lambda: relay(shared_host)["open"] <= 1)


def test_more_connections_than_an_app_allows_to_wait_are_answered_at_once(shared_host):
    shared_host.apply(echo.file(echo.app("few", "--late", "3000", max_waiting=3)))
    address = shared_host.address("few")
    held = []
    for _ in range(3):
        held.append(socket.create_connection((address, 80), timeout=20))
        held[-1].sendall(GET)
    wait_for("three wait", lambda: shared_host.show("few")["waiting"] == 3)
    line, seconds = ask(address)
    assert line == b"HTTP/1.1 503 Service Unavailable" and seconds < 2 * SLOW
    for s in held:
        assert s.recv(15) == b"HTTP/1.1 200 OK"
        s.close()


# -- silent, slow, gone ---------------------------------------------------------------------------------------------


def test_a_client_that_dribbles_is_served_and_delays_nobody(shared_host):
    shared_host.apply(echo.file(echo.app("dribble", "--late", "300")))
    address = shared_host.address("dribble")
    with socket.create_connection((address, 80), timeout=20) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for n, byte in enumerate(GET):
            s.send(bytes([byte]))
            if n == 10:
                assert ask(address)[0].endswith(b"200 OK")
            select.select([], [], [], 0.01)
        assert s.recv(15) == b"HTTP/1.1 200 OK"


def test_what_a_client_sends_while_it_is_held_arrives_whole(shared_host):
    shared_host.apply(echo.file(echo.app(
        "bulk", command=["/echo", "--tcp", "7", "--late", "700"],
        ports=[{"port": 7, "protocol": "tcp", "speaks": "client"}])))
    data = os.urandom(3 * MIB)
    back = bytearray()
    with socket.create_connection((shared_host.address("bulk"), 7), timeout=30) as s:
        s.setblocking(False)
        sent = 0
        while len(back) < len(data):
            r, w, _ = select.select([s], [s] if sent < len(data) else [], [], 30)
            assert r or w, f"nothing moves after {sent} sent, {len(back)} received"
            if w:
                sent += s.send(data[sent:sent + 65536])
            if r:
                back += s.recv(65536)
    assert bytes(back) == data


def test_clients_that_reset_while_they_wait_leave_nothing(shared_host):
    shared_host.apply(echo.file(echo.app("resets", "--late", "700")))
    address = shared_host.address("resets")
    crowd = [socket.create_connection((address, 80), timeout=20) for _ in range(200)]
    for s in crowd:
        s.sendall(GET)
    wait_for("they wait", lambda: shared_host.show("resets")["waiting"] == 200)
    for s in crowd:
        reset(s)
    wait_for("nobody waits", lambda: shared_host.show("resets")["waiting"] == 0)
    assert ask(address)[0].endswith(b"200 OK")
    wait_for("the relay holds none of them", lambda: relay(shared_host)["open"] <= 1)


def test_clients_that_reset_a_server_that_speaks_first_leave_nothing(shared_host):
    shared_host.apply(echo.file(echo.app(
        "banner", command=["/echo", "--tcp", "25", "--banner", "220 hello", "--late", "500"], ports=[(25, "smtp")])))
    address = shared_host.address("banner")
    for _ in range(20):
        reset(socket.create_connection((address, 25), timeout=20))
    with socket.create_connection((address, 25), timeout=20) as s:
        assert s.recv(100) == b"220 hello\r\n"
    assert shared_host.show("banner")["waiting"] == 0


def test_a_client_that_does_not_read_does_not_grow_the_relay(shared_host):
    shared_host.apply(echo.file(echo.app("deaf")))
    with socket.create_connection((shared_host.address("deaf"), 80), timeout=20) as s:
        s.sendall(b"GET /big?bytes=67108864 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert s.recv(15) == b"HTTP/1.1 200 OK"
        pid = relay(shared_host)["pid"]
        before = anonymous_bytes(pid)
        select.select([], [], [], 0.3)  # while the app pushes
        assert anonymous_bytes(pid) - before < 2 * MIB
        left = 0
        while chunk := s.recv(MIB):
            left += len(chunk)
        assert left > 67108864 - MIB


# -- scans ----------------------------------------------------------------------------------------------------------


def test_a_port_scan_wakes_nothing_and_finds_only_declared_ports(shared_host):
    shared_host.apply(echo.file(
        echo.app("scan-a", ports=[(80, "http"), (5432, "postgres")]), echo.app("scan-b", ports=[(8080, "http")])))
    declared = {shared_host.address("scan-a"): {80, 5432}, shared_host.address("scan-b"): {8080}}
    nobody = "10.79.255.254"  # in the service range, no app's
    ports = [*range(1, 200), 80, 443, 3306, 5432, 6379, 8080, 9999, 65535]
    for address in [*declared, nobody]:
        found = set()
        for port in ports:
            s = socket.socket()
            s.settimeout(3)
            error = s.connect_ex((address, port))
            s.close()
            assert error in (0, errno.ECONNREFUSED), (address, port, os.strerror(error))
            if error == 0:
                found.add(port)
        assert found == declared.get(address, set())
    for app in ("scan-a", "scan-b"):
        assert shared_host.state(app) == "stopped"
        assert shared_host.show(app)["wakes"] == 0


def test_the_relays_listener_cannot_be_called_directly(shared_host):
    s = socket.socket()
    s.settimeout(3)
    assert s.connect_ex(("127.0.0.1", 9999)) == errno.ECONNREFUSED
    s.close()


# -- the engine's socket --------------------------------------------------------------------------------------------


def exchange(host, data, wait=5):
    """Sends raw bytes; what came until the end or a pause, and whether the connection ended."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(wait * SLOW)
        s.connect(str(host.socket))
        got, ended = b"", False
        try:
            s.sendall(data)
        except BrokenPipeError:
            pass
        try:
            while not got.endswith(b"\n"):
                chunk = s.recv(65536)
                if not chunk:
                    ended = True
                    break
                got += chunk
        except TimeoutError:
            pass
        return got, ended


def engine_is_well(host):
    began = time.monotonic()
    assert host.rpc("ping")["pid"] == host.niwad.pid
    assert time.monotonic() - began < 2 * SLOW


LINE = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode() + b"\n"
GARBAGE = {  # a sentence: (bytes, the code of the answer)
    "bytes that are no text": (b"\0\xff\xfe\x81 garbage\n", -32700),
    "a web browser": (GET, -32700),
    "half a JSON text": (b'{"jsonrpc":"2.0","id":1,\n', -32700),
    "a list": (b"[1]\n", -32600),
    "a batch": (b"[" + LINE[:-1] + b"]\n", -32600),
    "a number": (b"7\n", -32700),
    "no method": (b'{"id":1}\n', -32600),
    "a method that is a number": (b'{"id":1,"method":5}\n', -32600),
    "params that are a list": (b'{"id":1,"method":"ping","params":[]}\n', -32600),
    "a method nobody knows": (b'{"id":1,"method":"no.such"}\n', -32601),
    "a method of 900,000 letters": (b'{"id":1,"method":"' + b"y" * 900000 + b'"}\n', -32601),
    "an app of 900,000 letters": (b'{"id":1,"method":"app.show","params":{"name":"' + b"x" * 900000 + b'"}}\n', -32001),
    "an app of colours": (b'{"id":1,"method":"app.show","params":{"name":"\\u001b[31m"}}\n', -32001),
    "an app of NULs": (b'{"id":1,"method":"app.show","params":{"name":"a\\u0000b"}}\n', -32700),
    "an app that is a path": (b'{"id":1,"method":"app.log","params":{"name":"../../../etc/passwd"}}\n', -32001),
    "no app": (b'{"id":1,"method":"app.wake","params":{}}\n', -32602),
    "lists 200,000 deep": (b"[" * 200000 + b"\n", -32700),
    "maps 100,000 deep": (b'{"a":' * 100000 + b"1" + b"}" * 100000 + b"\n", -32700),
    "a number with 23 digits": (b'{"id":99999999999999999999999,"method":"ping"}\n', -32700),
    "a number with 1,000 digits of exponent": (b'{"id":1e' + b"9" * 1000 + b',"method":"ping"}\n', -32700),
    "a key twice": (b'{"id":1,"id":2,"method":"ping"}\n', -32700),
    "exec without descriptors": (
        b'{"id":1,"method":"app.exec","params":{"name":"x","argv":["/x"],"terminal":false}}\n', -32001),
    "a signal for nobody": (b'{"id":1,"method":"exec.signal","params":{"exec":-1,"signal":9}}\n', -32602),
    "a commit of nothing": (b'{"id":1,"method":"apply.commit","params":{"txn":1}}\n', -32602),
    "apps that are a number": (b'{"id":1,"method":"apply.put","params":{"txn":1,"apps":7}}\n', -32602),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_the_engine_answers_garbage_with_an_error_and_goes_on(shared_host, what):
    data, code = GARBAGE[what]
    got, ended = exchange(shared_host, data)
    assert not ended
    answer = json.loads(got.splitlines()[0])
    assert answer["error"]["code"] == code, answer
    assert len(got) < 2000 and b"\x1b" not in got
    engine_is_well(shared_host)


def test_a_request_of_almost_one_mib_is_answered(shared_host):
    line = json.dumps({"id": 1, "method": "ping", "params": {"x": "z" * (MIB - 100)}}).encode() + b"\n"
    assert len(line) < MIB
    got, ended = exchange(shared_host, line)
    assert json.loads(got)["result"]["pid"] == shared_host.niwad.pid and not ended


@pytest.mark.parametrize("data", [b"x" * 2 * MIB, b'{"id":1,"method":"ping","x":"' + b"z" * 2 * MIB + b'"}\n'],
                         ids=["without an end", "with an end"])
def test_a_line_of_two_mib_is_refused_and_ends_the_connection(shared_host, data):
    before = anonymous_bytes(shared_host.niwad.pid)
    got, _ = exchange(shared_host, data)
    assert json.loads(got)["error"] == {"code": -32600, "message": "a line is longer than 1 MiB"}
    engine_is_well(shared_host)
    assert anonymous_bytes(shared_host.niwad.pid) - before < 4 * MIB


def test_a_request_in_pieces_is_put_together(shared_host):
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(5)
        s.connect(str(shared_host.socket))
        for n in range(0, len(LINE), 7):
            s.sendall(LINE[n:n + 7])
            engine_is_well(shared_host)  # half a request holds nobody up
        assert json.loads(s.recv(4096))["result"]["pid"] == shared_host.niwad.pid


def test_a_client_that_stops_in_the_middle_of_a_request_is_forgotten(shared_host):
    files = files_of(shared_host.niwad.pid)
    for _ in range(100):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(shared_host.socket))
            s.sendall(LINE[:20])
    wait_for("their descriptors are closed", lambda: files_of(shared_host.niwad.pid) <= files + 1)


def test_many_requests_in_one_piece_are_answered_in_order_and_none_is_lost(shared_host):
    """More bytes than the engine takes at once; the client reads all the time."""
    count = 20000
    data = b"".join(b'{"id":%d,"method":"ping"}\n' % n for n in range(count))
    got, sent = b"", 0
    with socket.socket(socket.AF_UNIX) as s:
        s.setblocking(False)
        s.connect(str(shared_host.socket))
        while got.count(b"\n") < count:
            r, w, _ = select.select([s], [s] if sent < len(data) else [], [], 20)
            assert r or w, f"nothing moves after {sent} sent"
            if w:
                sent += s.send(data[sent:sent + 65536])
            if r:
                chunk = s.recv(MIB)
                assert chunk, "the engine closed the connection"
                got += chunk
    assert [json.loads(line)["id"] for line in got.splitlines()] == list(range(count))


def test_a_client_that_never_reads_is_not_worked_for(shared_host):
    """A megabyte of requests, each with a long answer."""
    shared_host.apply(echo.file(*(echo.app(f"app-{n:03d}.example.com") for n in range(300))))
    request = b'{"id":1,"method":"app.list","params":{"limit":1000}}\n'
    before = anonymous_bytes(shared_host.niwad.pid)
    clients = []
    for _ in range(20):
        s = socket.socket(socket.AF_UNIX)
        s.setblocking(False)
        s.connect(str(shared_host.socket))
        try:
            for _ in range(20):
                s.send(request * 1000)
        except BlockingIOError:
            pass
        clients.append(s)
    for _ in range(20):
        engine_is_well(shared_host)
    assert anonymous_bytes(shared_host.niwad.pid) - before < 48 * MIB
    for s in clients:
        s.close()
    engine_is_well(shared_host)


def test_a_client_with_too_many_open_questions_is_told_and_left(shared_host):
    shared_host.apply(echo.file(echo.app("slow-to-wake", "--late", "4000")))
    wakes = b"".join(b'{"id":%d,"method":"app.wake","params":{"name":"slow-to-wake"}}\n' % n for n in range(100))
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(3 * SLOW)
        s.connect(str(shared_host.socket))
        s.sendall(wakes)
        got = b""
        try:
            while chunk := s.recv(65536):
                got += chunk
        except ConnectionResetError:
            pass
    assert b"too many requests are unanswered" in got
    assert ask(shared_host.address("slow-to-wake"))[0].endswith(b"200 OK")


def ask_and_end(host, data):
    """A client that ends its half after its requests, as `nc -N` and socat do."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20 * SLOW)
    s.connect(str(host.socket))
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
    return s


def read_to_end(s):
    got = b""
    while chunk := s.recv(65536):
        got += chunk
    return got


def test_a_client_that_ends_its_half_gets_every_answer_and_then_the_end(shared_host):
    shared_host.apply(echo.file(echo.app("slow-for-nc", "--late", "1500")))
    wake = b'{"id":"wake","method":"app.wake","params":{"name":"slow-for-nc"}}\n'
    with ask_and_end(shared_host, wake + LINE + wake + b"half a line") as s:
        answers = [json.loads(line) for line in read_to_end(s).splitlines()]
    assert [a["id"] for a in answers] == [1, "wake", "wake"]
    assert [a["result"]["state"] for a in answers[1:]] == ["running", "running"]
    with ask_and_end(shared_host, LINE) as s:
        assert json.loads(read_to_end(s))["result"]["pid"] == shared_host.niwad.pid
    with ask_and_end(shared_host, b"") as s:
        assert read_to_end(s) == b""


def test_clients_that_end_their_half_and_then_leave_free_their_places_at_once(shared_host):
    """They wait for an app that does not come; then they do not even wait."""
    shared_host.apply(echo.file(echo.app("not-for-nc", "--late", "60000")))
    files = files_of(shared_host.niwad.pid)
    wakes = b'{"id":1,"method":"app.wake","params":{"name":"not-for-nc"}}\n' * 5
    clients = [ask_and_end(shared_host, LINE + wakes) for _ in range(100)]
    for s in clients:
        assert s.recv(4096).count(b"\n") == 1
        s.close()
    wait_for("their descriptors are closed", lambda: files_of(shared_host.niwad.pid) <= files + 4)
    engine_is_well(shared_host)


def test_more_connections_than_allowed_are_told_and_free_places_are_used_again(shared_host):
    files = files_of(shared_host.niwad.pid)
    crowd = []
    for _ in range(2000):
        s = socket.socket(socket.AF_UNIX)
        s.connect(str(shared_host.socket))
        crowd.append(s)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(shared_host.socket))
        s.settimeout(10)
        assert b"too many connections (rpc_connections)" in s.recv(4096)
    assert files_of(shared_host.niwad.pid) <= files + 257
    for s in crowd:
        s.close()
    wait_for("the places are free", lambda: files_of(shared_host.niwad.pid) <= files + 1)
    engine_is_well(shared_host)


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_engine_without_descriptors_lets_clients_wait_and_does_not_spin(shared_host):
    pid = shared_host.niwad.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    held = {int(n) for n in os.listdir(f"/proc/{pid}/fd")}
    lowest_free = next(n for n in range(len(held) + 1) if n not in held)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_free, before[1]))
    crowd = []
    try:
        for _ in range(20):
            crowd.append(socket.socket(socket.AF_UNIX))
            crowd[-1].connect(str(shared_host.socket))
        wait_for("it says so", lambda: "pausing" in shared_host.niwad_log())
        used = cpu_seconds(pid)
        time.sleep(1)
        assert cpu_seconds(pid) - used < 0.2
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    with crowd.pop() as s:
        s.settimeout(10 * SLOW)
        s.sendall(LINE)
        assert json.loads(s.recv(65536))["result"]["pid"] == pid
    for s in crowd:
        s.close()
    engine_is_well(shared_host)


# -- who may --------------------------------------------------------------------------------------------------------


def test_a_user_outside_the_group_reads_no_logs_layers_or_records(shared_host):
    shared_host.apply(echo.file(echo.app("private", "--chatter", "1")))
    ask(shared_host.address("private"))
    wait_for("the log", lambda: shared_host.app_log("private"))
    script = ("import os,sys;os.setgroups([]);os.setgid(64321);os.setuid(64321)\n"
              "for p in sys.argv[1:]:\n"
              "    try: print('open', p, len(os.listdir(p) if os.path.isdir(p) else open(p,'rb').read()))\n"
              "    except OSError: pass\n")
    paths = [shared_host.dir / "log/private.log", shared_host.dir / "state/niwa.db",
             shared_host.dir / "state/images"]
    done = subprocess.run(["/usr/bin/python3", "-c", script, *map(str, paths)], capture_output=True, text=True)
    assert done.stdout == "" and done.returncode == 0, done.stdout + done.stderr
