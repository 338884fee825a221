# SPDX-License-Identifier: MIT
"""What an app had written before it ended reaches its clients, and so does the end of their connections: its kernel goes
on for them when its processes are gone."""

import os
import re
import signal
import socket
import subprocess

import echo
import pytest
from crash import get
from host import SLOW, Host, wait_for

SIZE = 20_000  # more than a client takes at once that has a small window, less than the server's kernel does


def ready(host, *names):
    host.apply(echo.file(*[echo.app(name, restart={"backoff": "1ms"}) for name in names]))
    for name in names:
        host.niwa("wake", name)


class Slow:
    """A client past the relay that has asked for so many bytes, and has not taken more than a few when all are written."""

    def __init__(self, host, name, size=SIZE):
        self.size, self.sock = size, socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(20 * SLOW)
        self.sock.connect((host.address(name), 80))
        self.sock.sendall(f"GET /big?bytes={size} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.sock.recv(1)
        assert head.startswith(b"HTTP/1.1 200")
        self.sock.recv(1, socket.MSG_PEEK)  # one call writes them all

    def takes(self):
        """All there is; and how it ended."""
        count = 0
        with self.sock:
            while True:
                try:
                    part = self.sock.recv(4096)
                except OSError as error:
                    return count, type(error)
                if not part:
                    return count, None
                count += len(part)


def ends(host, name):
    try:
        get(host.address(name), "/exit?status=0")
    except OSError:
        pass  # it does not answer any more


def dies(host, name):
    os.kill(host.pid(name), signal.SIGKILL)


def is_stopped(host, name):
    host.niwa("stop", name)


def is_replaced(host, name):
    host.niwa("restart", name)
    host.niwa("stop", name)


@pytest.fixture
def host():
    h = Host()
    yield h
    h.stop()


@pytest.mark.parametrize("how", (ends, dies, is_stopped, is_replaced))
def test_what_an_app_had_written_comes_whole_to_a_slow_client(host, how):
    ready(host.start(), "plain")
    client = Slow(host, "plain")
    how(host, "plain")
    wait_for("it has ended", lambda: host.state("plain") == "stopped")
    assert client.takes() == (SIZE, None)
    wait_for("nothing is left", host.nothing_left)


def test_the_end_of_a_connection_that_was_lost_on_its_way_is_repeated(host):
    ready(host.start(), "plain")
    client = Slow(host, "plain", 1)
    subprocess.run(["nft", "-f", "-"], text=True, check=True, input="""table inet lossy {
        chain first {
            type filter hook prerouting priority raw
            iifgroup 6480 tcp flags & (fin | rst) != 0 quota until 60 bytes counter drop
        }
    }\n""")
    try:
        dies(host, "plain")
        assert client.takes() == (1, None)
        rules = subprocess.run(["nft", "list", "table", "inet", "lossy"], capture_output=True, text=True, check=True)
        assert "packets 1 " in rules.stdout, rules.stdout
    finally:
        subprocess.run(["nft", "delete", "table", "inet", "lossy"], check=True)
    wait_for("nothing is left", host.nothing_left)


def test_a_niwad_that_is_killed_meanwhile_is_followed_by_one_that_goes_on(host):
    host.start(niwad_env={"NIWA_FAULT": "niwad.farewell:kill"})
    ready(host, "plain")
    client = Slow(host, "plain")
    dies(host, "plain")
    host.niwad.wait(20 * SLOW)
    host.start_niwad()
    assert host.kernel_objects()["marks"] == 1, "the one after that would not find its connections"
    host.niwa("wake", "plain")  # the address of the one that is gone is not given to another
    assert client.takes() == (SIZE, None)
    host.niwa("stop", "plain")
    wait_for("nothing is left", host.nothing_left)


def test_who_takes_nothing_is_reset_when_the_time_is_over(host):
    host.configure(linger=f"{1000 * SLOW:.0f}ms")
    ready(host.start(), "plain")
    client = Slow(host, "plain")
    dies(host, "plain")
    wait_for("nothing is left", host.nothing_left)
    assert "1 connections have not taken" in host.niwad_log()
    count, error = client.takes()
    assert 0 < count < SIZE and error is ConnectionResetError


def test_no_more_instances_are_waited_for_than_allowed(host):
    host.configure(linger_instances=1)
    ready(host.start(), "first", "second")
    clients = []
    for name in ("first", "second"):
        clients.append(Slow(host, name))
        dies(host, name)
        wait_for("it has ended", lambda n=name: host.state(n) == "stopped")
    count, error = clients[1].takes()
    assert 0 < count < SIZE and error is ConnectionResetError
    assert clients[0].takes() == (SIZE, None)
    wait_for("nothing is left", host.nothing_left)


def test_a_client_is_served_by_the_instance_that_began_its_handshake_however_long_that_takes(host):
    """An answer of the kernel is repeated after a second where the client's is lost, and an instance that is replaced
    is looked at every quarter of one."""
    ready(host.start(), "plain")
    address = host.address("plain")
    slow = f"""table inet slow {{
        chain first {{
            type filter hook output priority raw
            ip daddr {address} tcp flags & (syn | ack | psh | fin | rst) == ack counter drop
        }}
    }}\n"""
    subprocess.run(["nft", "-f", "-"], text=True, check=True, input=slow)

    def lost():
        rules = subprocess.run(["nft", "list", "table", "inet", "slow"], capture_output=True, text=True, check=True)
        return int(re.search(r"packets (\d+)", rules.stdout)[1])

    try:
        client = socket.create_connection((address, 80), timeout=20 * SLOW)
        host.niwa("restart", "plain")
        wait_for("the handshake goes on", lambda: lost() >= 2)
    finally:
        subprocess.run(["nft", "delete", "table", "inet", "slow"], check=True)
    with client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200")
