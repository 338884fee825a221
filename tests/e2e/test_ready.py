# SPDX-License-Identifier: MIT
"""When an app counts as ready, and what is said when it does not become so."""

import socket
import threading
import time
import urllib.error
import urllib.request

import pytest
from host import SLOW, Host, wait_for
from inside import app, apply

# Listens as {listen} says, {before} first; answers each request with {status}, and prints its Host header.
SERVER = """
import os, socket, time
began = time.monotonic()
def notify(text):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.sendto(text, os.environ['NOTIFY_SOCKET'])
{before}
s = {listen}
{after}
while True:
    c, _ = s.accept()
    head = c.recv(65536).decode()
    for line in head.splitlines():
        if line.startswith('Host: ') or line.startswith('GET '):
            print(line, flush=True)
    status = {status}
    c.sendall(f'HTTP/1.0 {{status}} x\\r\\nLocation: /\\r\\n\\r\\nanswer after {{time.monotonic() - began:.2f}}'.encode())
    c.close()
"""


def server(listen="socket.create_server(('', 80))", before="", after="", status="200"):
    return ["/usr/bin/python3", "-Ic", SERVER.format(listen=listen, before=before, after=after, status=status)]


@pytest.fixture(scope="module")
def host():
    h = Host().start()
    yield h
    h.stop()


def get(host, name, path="/page"):
    with urllib.request.urlopen(f"http://{host.address(name)}{path}", timeout=30 * SLOW) as answer:
        return answer.read().decode()


def refusal(host, name):
    """The message of a wake that fails, and how long it took."""
    began = time.monotonic()
    done = host.niwa("wake", name, check=False)
    assert done.returncode == 1, done.stdout
    assert host.show(name)["last_error"] in done.stderr
    return done.stderr, time.monotonic() - began


@pytest.mark.parametrize("listen", [
    "socket.create_server(('', 80))",
    "socket.create_server(('::', 80), family=socket.AF_INET6, dualstack_ipv6=True)",
    "socket.create_server(('', 80), backlog=1)",
])
def test_a_connection_waits_for_an_app_that_listens_late(host, name, listen):
    apply(host, app(name, command=server(listen, before="time.sleep(0.4)")))
    assert float(get(host, name).split()[-1]) >= 0.4


@pytest.mark.parametrize("listen", [
    "socket.create_server(('127.0.0.1', 80))",
    "socket.create_server(('::1', 80), family=socket.AF_INET6)",
    "socket.create_server(('::', 80), family=socket.AF_INET6)",
    "socket.create_server(('', 81))",
])
def test_an_app_that_listens_elsewhere_is_not_ready_and_told_so(host, name, listen):
    """On loopback, on IPv6 alone, on another port."""
    apply(host, app(name, command=server(listen), ready={"deadline": "400ms"}))
    message, took = refusal(host, name)
    assert "was not ready in time: nothing listens on TCP port 80" in message
    assert 0.4 <= took < 10 * SLOW
    host.wait_state(name, "stopped")


def test_a_client_is_answered_when_the_deadline_passes(host, name):
    apply(host, app(name, command=["sleep", "100"], ready={"deadline": "400ms"}))
    with pytest.raises(urllib.error.HTTPError) as answer:
        get(host, name)
    assert answer.value.code == 503 and answer.value.headers["Retry-After"]
    host.wait_state(name, "stopped")
    assert wait_for("its process is gone", lambda: not host.show(name)["instances"]) is True


def test_another_port_can_be_the_one_that_counts(host, name):
    after = "time.sleep(0.5); t = socket.create_server(('', 8080))"
    apply(host, app(name, command=server(after=after), ready={"listen": 8080}))
    host.niwa("wake", name)
    assert float(get(host, name).split()[-1]) >= 0.5


def test_an_http_check_asks_for_the_path_with_the_app_s_name_until_it_is_well(host, name):
    apply(host, app(name, command=server(status="200 if time.monotonic() - began > 0.5 or '/health' not in head else 503"),
                    ready={"http": "/health?deep=1"}))
    assert float(get(host, name).split()[-1]) >= 0.5
    log = wait_for("the log", lambda: "/page" in host.app_log(name) and host.app_log(name))
    asked = [line.split(" ", 1)[1] for line in log.splitlines()]
    assert asked[:2] == ["GET /health?deep=1 HTTP/1.1", f"Host: {name}"]
    assert asked.count("GET /page HTTP/1.1") == 1, "the client's request came once, and when it was well"
    assert asked.count("GET /health?deep=1 HTTP/1.1") >= 2


@pytest.mark.parametrize("status, well", [("204", True), ("302", True), ("404", False), ("500", False), ("'no'", False)])
def test_only_2xx_and_3xx_are_well(host, name, status, well):
    apply(host, app(name, command=server(status=status), ready={"http": "/up", "deadline": "20s" if well else f"{500 * SLOW:.0f}ms"}))
    if well:
        host.niwa("wake", name)
    else:
        got = "was not answered with 2xx" if status == "'no'" else f"was answered with {status}, not with 2xx"
        assert f"GET /up on port 80 {got} or 3xx" in refusal(host, name)[0]


def test_an_http_check_of_an_app_that_accepts_and_is_silent_ends_at_the_deadline(host, name):
    apply(host, app(name, command=server(after="time.sleep(100)"), ready={"http": "/", "deadline": "700ms"}))
    message, took = refusal(host, name)
    assert "GET / on port 80 was not answered" in message and took < 10 * SLOW


def test_an_http_check_may_go_to_another_port(host, name):
    listen = "socket.create_server(('', 81))\nt = socket.create_server(('', 80))"
    apply(host, app(name, command=server(listen), ready={"http": "/status", "port": 81}))
    host.niwa("wake", name)
    wait_for("the check", lambda: "GET /status" in host.app_log(name))


def test_an_app_that_notifies_is_ready_when_it_says_so_and_not_before(host, name):
    after = "time.sleep(0.5); notify(b'STATUS=loading'); notify(b'X_READY=1'); notify(b'READY=10'); time.sleep(0.3); notify(b'STATUS=done\\nREADY=1')"
    apply(host, app(name, command=server(after=after), ready={"notify": True}))
    assert float(get(host, name).split()[-1]) >= 0.8


def test_a_process_of_another_user_of_the_app_may_notify(host, name):
    after = "os.setgid(33); os.setuid(33); notify(b'READY=1\\n')"
    apply(host, app(name, command=server(after=after), ready={"notify": True, "deadline": "20s"}))
    host.niwa("wake", name)


def test_an_app_that_never_notifies_is_told_what_was_expected(host, name):
    apply(host, app(name, command=server(after="notify(b'READY=0')"), ready={"notify": True, "deadline": "500ms"}))
    assert "it sent no READY=1 to $NOTIFY_SOCKET" in refusal(host, name)[0]


def listens(pid):
    """Somebody listens on port 80 in the network of a process."""
    return any(line.split()[1].endswith(":0050") and line.split()[3] == "0A" for line in open(f"/proc/{pid}/net/tcp").readlines()[1:])


@pytest.mark.parametrize("ready", [{"notify": True}, {"http": "/up"}, {"listen": 80}])
def test_an_app_becomes_ready_though_niwad_dies_while_it_starts(host, name, ready):
    """What it says meanwhile waits in its socket."""
    apply(host, app(name, command=server(before="time.sleep(0.5)", after="if 'NOTIFY_SOCKET' in os.environ: notify(b'READY=1')"), ready=ready))
    asker = threading.Thread(target=lambda: host.niwa("wake", name, check=False))
    asker.start()
    wait_for("it starts", lambda: host.state(name) == "starting" and host.show(name)["instances"][0].get("pid"))
    pid = host.show(name)["instances"][0]["pid"]
    host.kill_niwad()
    wait_for("it listens by itself", lambda: listens(pid))
    host.start_niwad()
    asker.join()
    host.wait_state(name, "running")
    assert host.pid(name) == pid


# Says READY=1 once. Greets on port 81; what connects there and says "close" or "open" changes whether it listens.
ONCE = """
import os, socket
def listen():
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(('0.0.0.0', 81))
    s.listen()
    return s
s = listen()
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', os.environ['NOTIFY_SOCKET'])
held = []
while True:
    held.append(s.accept()[0])
    held[-1].sendall(b'hello')
    while held[0].recv(1) == b'c':
        s.close()
        held[0].sendall(b'.')
        assert held[0].recv(1) == b'o'
        s = listen()
"""


def greeted(host, name):
    c = socket.create_connection((host.address(name), 81), timeout=20 * SLOW)
    assert c.recv(5) == b"hello"
    return c


def test_a_port_on_which_nothing_listens_does_not_end_an_app_that_serves_on_another(host, name):
    apply(host, app(name, command=["/usr/bin/python3", "-Ic", ONCE], ports=[{"port": 80}, {"port": 81}],
                    ready={"notify": True, "deadline": "1s"}))
    host.niwa("wake", name)
    pid = host.pid(name)
    with greeted(host, name) as c:
        with pytest.raises(OSError), socket.create_connection((host.address(name), 80), timeout=2) as other:
            other.sendall(b"x")
            assert other.recv(1), "closed"
            raise AssertionError("answered")
        wait_for("the port is left out", lambda: "port 80 refuses connections" in host.niwad_log().split(name)[-1])
        time.sleep(1.5)  # longer than a second READY=1 would be waited for
        assert host.pid(name) == pid and host.state(name) == "running"
        c.sendall(b"x")
        greeted(host, name).close()


def test_an_app_that_listens_again_is_ready_without_saying_so_again(host, name):
    apply(host, app(name, command=["/usr/bin/python3", "-Ic", ONCE], ports=[{"port": 81}],
                    ready={"notify": True, "deadline": "5s"}))
    host.niwa("wake", name)
    pid = host.pid(name)
    with greeted(host, name) as c:
        c.sendall(b"c")
        assert c.recv(1) == b"."
        waiting = threading.Thread(target=lambda: greeted(host, name).close())
        waiting.start()
        host.wait_state(name, "starting")
        c.sendall(b"ox")
        waiting.join()
        host.wait_state(name, "running")
        assert host.pid(name) == pid
