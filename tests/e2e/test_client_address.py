# SPDX-License-Identifier: MIT
"""Whom an app sees: the client itself, however its connection came."""

import os
import re
import socket
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import echo
import pytest
from clients import AWAKE, PATIENCE, apply, folder, records
from host import Host, wait_for
from neighbour import HOST, Neighbour

GATEWAY = "10.80.0.1"  # of the host: what its own clients have for an address
CLIENTS = ("192.0.2.2", "192.0.2.3")

# Says what it hears first, then to whom it listens.
HEARS = """
import socket, threading
def serve(c, a):
    c.settimeout(20)
    first = c.recv(4096)
    c.sendall(first.hex().encode() + b" " + a[0].encode() + b"\\n")
    c.close()
s = socket.create_server(("", 80), backlog=1024)
while True:
    threading.Thread(target=serve, args=s.accept()).start()
"""

NGINX = """daemon off; worker_processes 1; pid /tmp/nginx.pid; error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
	access_log off; default_type text/plain;
	client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
	uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
	server {{
		listen 80 backlog=4096 proxy_protocol;
		real_ip_header proxy_protocol; set_real_ip_from {gateway};
		location / {{ return 200 "client: $remote_addr:$remote_port\\nfrom: $realip_remote_addr\\nproxy: $proxy_protocol_addr:$proxy_protocol_port\\n"; }}
	}}
}}
"""


def behind_proxy(name, version, **changes):
    """nginx that is told who its clients are."""
    where = Path(folder(), "proxied")
    where.mkdir(exist_ok=True)
    (where / "nginx.conf").write_text(NGINX.format(gateway=GATEWAY))
    port = {"port": 80, "protocol": "http", "proxy": version, **changes.pop("port", {})}
    return {"name": name, "tenant": "test", "image": "host", "user": "www-data",
            "command": ["nginx", "-c", "/srv/p/nginx.conf", "-e", "stderr"], "ports": [port],
            "volumes": [{"from": str(where), "to": "/srv/p", "read_only": True}], "egress": "none",
            "stop": {"signal": "SIGQUIT", "grace": "1s"}, "sleep": AWAKE, **changes}


@pytest.fixture(scope="module")
def outside():
    neighbour = Neighbour(*CLIENTS)
    yield neighbour
    neighbour.end()


@pytest.fixture(scope="module")
def garden(outside):
    host = Host().start()
    apply(host, echo.app("a"), echo.app("b"), echo.app("front"), echo.app("local", ports=(
        {"port": 80, "protocol": "http", "publish": 8080},)), echo.app("shown", ports=(
            {"port": 80, "protocol": "http", "publish": "0.0.0.0:8081"},)))
    yield host
    host.stop()


def get(s, path="/"):
    """The facts that an HTTP server tells over a connection."""
    with s:
        s.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        text = b"".join(iter(lambda: s.recv(65536), b"")).decode()
    assert " 200 " in text.split("\r\n")[0], text
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def client_of(s):
    name = "%s:%d" % s.getsockname()
    return get(s)["client"], name


def freeze(host, name):
    """Bytes of a connection that has just ended may thaw it again."""
    wait_for(f"{name} is frozen", lambda: host.niwa("freeze", name, check=False).returncode == 0)


def asleep(host, *names):
    host.niwa("stop", *names)


# -- connections that begin at the client's address ----------------------------------------------------------------


def test_the_first_connection_to_a_stopped_a_frozen_and_a_running_app_show_the_same_client(garden, outside):
    asleep(garden, "a")
    to = garden.address("a")
    for state in ("stopped", "running", "frozen", "running"):
        if state == "frozen":
            freeze(garden, "a")
        assert garden.state("a") == state
        seen, own = client_of(outside.connect(to, 80, (CLIENTS[1], 0)))
        assert seen == own and own.startswith(CLIENTS[1]), state


@pytest.mark.parametrize("software", ("php", "postgres", "dovecot"))
def test_real_software_sees_who_woke_it(garden, outside, software):
    apply(garden, *records(software, sleep=AWAKE))
    asleep(garden, software)
    port = {"php": 80, "postgres": 5432, "dovecot": 143}[software]
    s = outside.connect(garden.address(software), port)
    own = s.getsockname()
    if software == "php":
        assert get(s)["client"] == "%s:%d" % own
    elif software == "postgres":
        user = b"user\0guest\0database\0niwa\0\0"
        s.sendall(struct.pack("!ii", 8 + len(user), 196608) + user)
        ask = b"select host(inet_client_addr()) || '|' || inet_client_port()\0"
        s.sendall(struct.pack("!ci", b"Q", 4 + len(ask)) + ask)
        said = b""
        while said.count(b"Z\0\0\0\5I") < 2:  # ready for a query, twice
            said += s.recv(4096)
        assert ("%s|%d" % own).encode() in said
    else:
        file = s.makefile("rb")
        assert file.readline().startswith(b"* OK")
        s.sendall(b"a login ada niwa\r\nb logout\r\n")
        file.read()
        wait_for("it is in the log", lambda: f"rip={own[0]}" in garden.app_log("dovecot"))
    s.close()
    garden.niwa("rm", *(r["name"] for r in records(software)))


def test_two_clients_with_one_port_and_one_client_of_two_apps_are_told_apart(garden, outside):
    asleep(garden, "a", "b")
    pairs = [(app, client) for app in ("a", "b") for client in CLIENTS]
    sockets = [outside.connect(garden.address(app), 80, (client, 40001)) for app, client in pairs]
    for s, (_, client) in zip(sockets, pairs):
        assert client_of(s)[0] == f"{client}:40001"


def test_a_client_that_comes_again_from_its_port_at_once_is_known_by_its_address(garden, outside):
    to = garden.address("a")
    for state in ("stopped", "running", "stopped", "frozen", "stopped"):
        asleep(garden, "a") if state == "stopped" else None
        freeze(garden, "a") if state == "frozen" else None
        s = outside.connect(to, 80, (CLIENTS[0], 40002))
        # reset at the end, so that the port is free at once
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        text = b""
        while b"pid: " not in text:
            text += s.recv(4096)
        s.close()
        # another port where the kernel still remembers the connection before, from there to this instance
        assert f"client: {CLIENTS[0]}:".encode() in text, (state, text)


def test_a_port_that_the_host_has_taken_is_replaced_and_the_address_is_kept(garden, outside):
    with socket.create_server(("0.0.0.0", 40003)):
        asleep(garden, "a")
        seen, _ = client_of(outside.connect(garden.address("a"), 80, (CLIENTS[0], 40003)))
    assert seen.startswith(CLIENTS[0] + ":") and not seen.endswith(":40003")


def test_a_client_with_a_privileged_port_is_known_by_its_address(garden, outside):
    asleep(garden, "a")
    seen, _ = client_of(outside.connect(garden.address("a"), 80, (CLIENTS[0], 1000)))
    assert seen.startswith(CLIENTS[0] + ":")


@pytest.mark.parametrize("source", ("", HOST))
def test_a_client_on_the_host_is_seen_with_the_address_that_it_has(garden, outside, source):
    for state in ("stopped", "running"):
        if state == "stopped":
            asleep(garden, "a")
        seen, own = client_of(socket.create_connection((garden.address("a"), 80), PATIENCE, (source, 0)))
        assert seen.split(":")[0] == own.split(":")[0] == (source or GATEWAY)


def test_a_client_on_loopback_is_seen_as_the_host(garden):
    for state in ("stopped", "running"):
        if state == "stopped":
            asleep(garden, "local")
        seen, own = client_of(socket.create_connection(("127.0.0.1", 8080), PATIENCE))
        assert own.startswith("127.0.0.1:") and seen.startswith(GATEWAY + ":")
    asleep(garden, "a")
    s = socket.create_connection((garden.address("a"), 80), PATIENCE, ("127.0.0.1", 0))
    assert client_of(s)[0].startswith(GATEWAY + ":")


def test_a_client_of_a_published_port_is_known_asleep_or_awake(garden, outside):
    asleep(garden, "shown")
    for _ in range(2):
        seen, own = client_of(outside.connect(HOST, 8081))
        assert seen == own


@pytest.mark.parametrize("vpn", (False, True))
def test_an_app_of_the_tenant_is_known_by_its_private_address(garden, vpn):
    """Also where WireGuard has had the reverse path judged with marks (wg-quick sets that)."""
    path = Path("/proc/sys/net/ipv4/conf/all/src_valid_mark")
    path.write_text("1" if vpn else "0")
    code = ("import socket, sys; s = socket.create_connection((sys.argv[1], 80), 20); "
            "s.sendall(b'GET / HTTP/1.0\\r\\n\\r\\n'); print(s.getsockname()); "
            "print(b''.join(iter(lambda: s.recv(9999), b'')).decode())")
    apply(garden, {**echo.app("inner"), "image": "host", "command": ["/usr/bin/python3", "-Ic", HEARS]})
    try:
        for state in ("stopped", "running"):
            if state == "stopped":
                asleep(garden, "a")
            said = garden.niwa("exec", "inner", "--", "/usr/bin/python3", "-Ic", code, garden.address("a")).stdout
            own = re.search(r"\('([\d.]+)', (\d+)\)", said)
            assert own[1].startswith("10.80.") and f"client: {own[1]}:{own[2]}" in said, said
    finally:
        path.write_text("0")
        garden.niwa("rm", "inner")


def test_a_thousand_clients_of_a_sleeping_app_are_all_themselves(garden, outside):
    asleep(garden, "a")
    to = garden.address("a")
    with ThreadPoolExecutor(50) as pool:
        sockets = list(pool.map(lambda n: outside.connect(to, 80, (CLIENTS[n % 2], 0)), range(1000)))
    for s in sockets:
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
    for s in sockets:
        own = "%s:%d" % s.getsockname()
        with s:
            assert f"client: {own}\n" in b"".join(iter(lambda s=s: s.recv(65536), b"")).decode()


def test_when_the_relay_is_killed_the_next_client_is_known_and_no_answer_strays(garden, outside):
    asleep(garden, "a")
    to = garden.address("a")
    held = outside.connect(to, 80)
    held.sendall(b"GET / HTTP")  # and no more: there is no answer yet
    wait_for("it is at the instance", lambda: garden.state("a") == "running")
    pid = relay(garden)
    os.kill(pid, 9)
    assert ended(held)
    wait_for("there is another relay", lambda: relay(garden) not in (0, pid) and alive(relay(garden)))
    asleep(garden, "a")
    seen, own = client_of(outside.connect(to, 80))
    assert seen == own


def relay(host):
    return host.rpc("host.status")["relay"]["pid"]


def alive(pid):
    return Path(f"/proc/{pid}").exists()


def ended(s):
    try:
        return s.recv(1) == b""
    except ConnectionResetError:
        return True


# -- the relay's capability -------------------------------------------------------------------------------------


def test_the_relay_has_one_capability_and_a_filter(garden):
    pid = relay(garden)
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[which], 16) == 1 << 13, which  # CAP_NET_RAW
    assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1"
    assert 0 not in map(int, status["Uid"].split())


# -- the PROXY protocol -------------------------------------------------------------------------------------------


def in_awake(host, app):
    table = subprocess.run(["nft", "list", "map", "inet", "niwa", "awake"], capture_output=True, text=True).stdout
    return host.address(app) + " " in table


@pytest.mark.parametrize("version", ("v1", "v2"))
def test_every_connection_of_a_proxied_port_has_a_header_asleep_frozen_or_awake(garden, outside, version):
    apply(garden, behind_proxy("proxied", version, ready={"http": "/", "port": 80}))
    to = garden.address("proxied")
    for state in ("stopped", "running", "frozen", "running"):
        if state == "frozen":
            freeze(garden, "proxied")
        assert garden.state("proxied") == state
        s = outside.connect(to, 80)
        own = "%s:%d" % s.getsockname()
        assert get(s).items() >= {"client": own, "proxy": own, "from": GATEWAY}.items()
    assert not in_awake(garden, "proxied")
    garden.kill_niwad()
    garden.start_niwad()
    assert garden.state("proxied") == "running" and not in_awake(garden, "proxied")
    s = outside.connect(to, 80)
    own = "%s:%d" % s.getsockname()
    assert get(s)["client"] == own
    garden.niwa("rm", "proxied")


def raw(version, **port):
    return {"name": "raw", "tenant": "test", "image": "host", "command": ["/usr/bin/python3", "-Ic", HEARS],
            "ports": [{"port": 80, **port, **({"proxy": version} if version else {})}], "egress": "none",
            "stop": {"signal": "KILL", "grace": "1s"}, "sleep": AWAKE}


def header(version, client, server):
    if version == "v1":
        return f"PROXY TCP4 {client[0]} {server[0]} {client[1]} {server[1]}\r\n".encode()
    return (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + socket.inet_aton(client[0]) + socket.inet_aton(server[0])
            + struct.pack("!HH", client[1], server[1]))


def heard(s):
    """What the app heard first, and from whom."""
    with s:
        first, by = s.makefile("rb").readline().split()
    return bytes.fromhex(first.decode()), by.decode()


@pytest.mark.parametrize("version", ("v1", "v2"))
def test_the_header_is_there_before_a_client_says_anything_and_names_what_it_called(garden, outside, version):
    apply(garden, raw(version, publish="0.0.0.0:8082"))
    to = garden.address("raw")
    for _ in ("asleep", "awake"):
        s = outside.connect(to, 80)
        expected = header(version, s.getsockname(), (to, 80))
        assert heard(s) == (expected, GATEWAY)
    s = outside.connect(HOST, 8082)
    expected = header(version, s.getsockname(), (HOST, 8082))
    assert heard(s) == (expected, GATEWAY)
    s = socket.create_connection((to, 80), PATIENCE)
    expected = header(version, s.getsockname(), (to, 80))
    assert heard(s) == (expected, GATEWAY)
    garden.niwa("rm", "raw")


def test_a_running_app_with_a_proxied_port_meets_silent_clients_too(garden, outside):
    apply(garden, raw("v2", speaks="client"))
    garden.niwa("wake", "raw")
    s = outside.connect(garden.address("raw"), 80)
    expected = header("v2", s.getsockname(), (garden.address("raw"), 80))
    assert heard(s)[0] == expected
    garden.niwa("rm", "raw")


def test_a_client_cannot_put_its_own_header_first(garden, outside):
    apply(garden, raw("v2", speaks="client"))
    for _ in ("asleep", "awake"):
        s = outside.connect(garden.address("raw"), 80)
        expected = header("v2", s.getsockname(), (garden.address("raw"), 80))
        s.sendall(header("v2", ("203.0.113.9", 1), (garden.address("raw"), 80)))
        assert heard(s)[0].startswith(expected)
    garden.niwa("rm", "raw")


def test_an_app_that_begins_to_want_the_header_and_no_longer_wants_it(garden, outside):
    apply(garden, raw(None, speaks="client"))
    to = garden.address("raw")

    def ask(version):
        s = outside.connect(to, 80)
        said = header(version, s.getsockname(), (to, 80)) if version else b"hello"
        s.sendall(b"hello")
        own = s.getsockname()[0]
        first, by = heard(s)
        return first.startswith(said) and by == (GATEWAY if version else own)

    assert ask(None) and ask(None) and in_awake(garden, "raw")
    for version in ("v1", None, "v2", None):
        apply(garden, raw(version, speaks="client"))
        wait_for("a fresh instance serves", lambda: ask(version))
        assert in_awake(garden, "raw") == (version is None)
        assert ask(version)
    garden.niwa("rm", "raw")
