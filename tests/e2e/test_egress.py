# SPDX-License-Identifier: MIT
"""Where an app may connect to, and which names it can look up. The outside is a network namespace with public and
private addresses and a name server."""

import ctypes
import subprocess
import sys

import pytest
from conftest import CLONE_NEWNET
from host import Host, wait_for
from inside import app, apply, python, run

PUBLIC, OTHER_PUBLIC, LAN, METADATA = "198.51.100.2", "203.0.113.5", "10.99.0.2", "169.254.169.254"

# Tells each client its address; answers names: every A of *.example is PUBLIC, over UDP, and over TCP too.
OUTSIDE = r"""
import socket, struct, subprocess, sys, threading
sys.stdin.readline()
for command in ("link set lo up", "link set in0 up", "addr add 198.51.100.2/24 dev in0", "addr add 10.99.0.2/24 dev in0",
                "addr add 203.0.113.5/32 dev lo", "addr add 169.254.169.254/32 dev lo",
                "route add 10.64.0.0/12 via 198.51.100.1", "route add 10.80.0.0/12 via 198.51.100.1"):
    subprocess.run(["ip", *command.split()], check=True)

def serve(s):
    while True:
        c, (address, _) = s.accept()
        c.sendall(address.encode())
        c.close()

def reply(q):
    end = 12
    while q[end]:
        end += q[end] + 1
    end += 5
    name, kind = q[12:end - 4], q[end - 4:end - 2]
    known = name.endswith(b"\x07example\0")
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("198.51.100.2") if known and kind == b"\0\1" else b""
    return q[:2] + struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, bool(answer), 0, 0) + q[12:end] + answer

def names_udp(s):
    while True:
        q, who = s.recvfrom(4096)
        s.sendto(reply(q), who)

def names_tcp(s):
    while True:
        c, _ = s.accept()
        q = c.recv(4096)
        a = reply(q[2:])
        c.sendall(struct.pack("!H", len(a)) + a)
        c.close()

def udp(address):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind((address, 53))
    return s

for fn, s in ((serve, socket.create_server(("", 80))), (names_udp, udp("198.51.100.2")),
              (names_udp, udp("10.99.0.2")), (names_tcp, socket.create_server(("198.51.100.2", 53)))):
    threading.Thread(target=fn, args=(s,), daemon=True).start()
print("ready", flush=True)
for line in sys.stdin:  # ADDRESS PORT: can we connect there?
    address, port = line.split()
    try:
        socket.create_connection((address, int(port)), timeout=1).close()
        print("connected", flush=True)
    except OSError as e:
        print(type(e).__name__, flush=True)
"""

# What becomes of a connection to each address: "from ADDRESS" as the other side sees it, or an error.
TRY = r"""
import errno, json, socket, sys
out = {}
for where in sys.argv[1:]:
    address, _, port = where.partition(":")
    try:
        with socket.create_connection((address, int(port or 80)), timeout=1) as s:
            out[where] = "from " + (s.recv(100).decode() if not port else "")
    except TimeoutError:
        out[where] = "silence"
    except OSError as e:
        out[where] = errno.errorcode[e.errno]
print(json.dumps(out))
"""
LOOK_UP = """
import json, socket, sys
out = {}
for name in sys.argv[1:]:
    try:
        out[name] = socket.gethostbyname(name)
    except OSError:
        out[name] = None
print(json.dumps(out))
"""


NAMES = "169.254.64.53"  # niwa-api, which does not run here: refused at once, and the next one is asked


def name_servers(host, name):
    return [line.split()[1] for line in run(host, name, "cat", "/etc/resolv.conf").stdout.splitlines() if line.startswith("nameserver")]


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Outside:
    def __init__(self):
        libc = ctypes.CDLL(None)
        self.process = subprocess.Popen([sys.executable, "-c", OUTSIDE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=lambda: libc.unshare(CLONE_NEWNET))
        ip("link", "add", "out0", "type", "veth", "peer", "name", "in0", "netns", str(self.process.pid))
        ip("link", "set", "out0", "up")
        ip("addr", "add", "198.51.100.1/24", "dev", "out0")
        ip("addr", "add", "10.99.0.1/24", "dev", "out0")
        ip("route", "add", "default", "via", PUBLIC)
        assert self.ask("") == "ready"

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def outside():
    o = Outside()
    yield o
    o.stop()


@pytest.fixture(scope="module")
def host(outside):
    h = Host()
    resolv = h.dir / "resolv.conf"
    resolv.write_text(f"nameserver 127.0.0.53\nnameserver {PUBLIC}\n")
    subprocess.run(["mount", "--bind", resolv, "/etc/resolv.conf"], check=True)  # in our own mount namespace
    h.start()
    default = app("default.example.com", tenant="t")
    del default["egress"]
    apply(h, default, app("none.example.com", tenant="t"), app("internet.example.com", tenant="t", egress="internet"),
          app("list.example.com", tenant="t", egress=["10.99.0.0/24", OTHER_PUBLIC]), app("stranger.example.com", tenant="other"))
    yield h
    h.stop()
    subprocess.run(["umount", "/etc/resolv.conf"], check=True)


def test_egress_none_reaches_nothing_outside(host):
    out = python(host, "none.example.com", TRY, PUBLIC, OTHER_PUBLIC, LAN, METADATA, f"{PUBLIC}:53")
    assert not [where for where, what in out.items() if what.startswith("from")], out
    assert "silence" not in out.values(), "refused at once: no program waits for a time-out"


@pytest.mark.parametrize("name", ["internet.example.com", "default.example.com"])
def test_egress_internet_is_public_addresses_from_the_host_s_own(host, name):
    out = python(host, name, TRY, PUBLIC, OTHER_PUBLIC, LAN, METADATA)
    assert out[PUBLIC] == out[OTHER_PUBLIC] == "from 198.51.100.1", "the host's address, not a private one"
    assert out[LAN] in ("ECONNREFUSED", "EHOSTUNREACH", "EACCES") and not out[METADATA].startswith("from"), out


def test_egress_list_is_these_networks(host):
    out = python(host, "list.example.com", TRY, PUBLIC, OTHER_PUBLIC, LAN, METADATA)
    assert out[LAN] == "from 10.99.0.1" and out[OTHER_PUBLIC] == "from 198.51.100.1"
    assert not out[PUBLIC].startswith("from") and not out[METADATA].startswith("from")


def test_names_are_looked_up_where_something_may_be_reached(host):
    """The host's resolver on loopback is of no use to an instance; the other one is."""
    names = ("www.example", "no.such.name")
    for name in ("internet.example.com", "list.example.com"):
        assert python(host, name, LOOK_UP, *names) == {"www.example": PUBLIC, "no.such.name": None}
        assert name_servers(host, name) == [NAMES, PUBLIC]
    assert python(host, name, TRY, f"{PUBLIC}:53") == {f"{PUBLIC}:53": "from "}, "long answers come over TCP"
    assert python(host, "none.example.com", LOOK_UP, *names) == {"www.example": None, "no.such.name": None}


def test_when_the_host_gets_other_name_servers_fresh_and_running_instances_use_them(host):
    """One of the LAN: port 53 of it may be reached then, and nothing else."""
    for name in ("default.example.com", "internet.example.com"):
        host.niwa("stop", name)
        assert python(host, name, LOOK_UP, "www.example") == {"www.example": PUBLIC}
    before = open("/etc/resolv.conf").read()
    try:
        with open("/etc/resolv.conf", "w") as file:
            file.write(f"nameserver {LAN}\n")
        host.niwa("stop", "internet.example.com")
        for name in ("internet.example.com", "default.example.com"):
            assert python(host, name, LOOK_UP, "www.example") == {"www.example": PUBLIC}, name
            assert name_servers(host, name) == [NAMES, LAN]
            assert not python(host, name, TRY, LAN)[LAN].startswith("from")
    finally:
        with open("/etc/resolv.conf", "w") as file:
            file.write(before)
    for name in ("internet.example.com", "default.example.com"):
        host.niwa("stop", name)
        assert python(host, name, LOOK_UP, "www.example") == {"www.example": PUBLIC}


def test_an_app_can_ping_where_it_may_go(host):
    code = r"""
import json, socket, struct
out = []
for to in ("198.51.100.2", "10.99.0.2"):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    s.settimeout(1)
    try:
        s.sendto(struct.pack("!BBHHH", 8, 0, 0, 0, 1), (to, 0))
        out.append(s.recv(100)[0])
    except OSError as e:
        out.append(type(e).__name__)
print(json.dumps(out))
"""
    answered, refused = python(host, "internet.example.com", code)
    assert answered == 0 and refused != 0


def test_nobody_outside_reaches_an_instance_at_its_private_address(host, outside):
    host.niwa("wake", "internet.example.com")
    private = host.show("internet.example.com")["instances"][0]["private_address"]
    assert outside.ask(f"{private} 80") != "connected"
    assert outside.ask(f"{host.address('internet.example.com')} 80") == "connected", "at its service address it may, where that is routed"


def test_apps_of_a_tenant_know_each_other_by_name_and_nobody_else(host):
    out = python(host, "none.example.com", LOOK_UP, "internet.example.com", "internet.example.com.niwa.internal", "none.example.com",
                 "stranger.example.com", "localhost")
    address = host.address("internet.example.com")
    assert out == {"internet.example.com": address, "internet.example.com.niwa.internal": address,
                   "none.example.com": host.address("none.example.com"), "stranger.example.com": None, "localhost": "127.0.0.1"}


def test_an_app_that_runs_learns_of_apps_declared_and_removed_later(host):
    assert python(host, "none.example.com", LOOK_UP, "later.example.com") == {"later.example.com": None}
    apply(host, app("later.example.com", tenant="t"))
    address = host.address("later.example.com")
    wait_for("the name", lambda: python(host, "none.example.com", LOOK_UP, "later.example.com")["later.example.com"] == address)
    assert python(host, "none.example.com", TRY.replace("1)", "20)"), "later.example.com:80") == {"later.example.com:80": "from "}
    host.niwa("rm", "later.example.com")
    wait_for("the name is gone", lambda: not python(host, "none.example.com", LOOK_UP, "later.example.com")["later.example.com"])


def test_changed_egress_holds_for_the_fresh_instance(host):
    apply(host, app("changing.example.com", egress="internet"))
    assert python(host, "changing.example.com", TRY, PUBLIC)[PUBLIC].startswith("from")
    pid = host.pid("changing.example.com")
    apply(host, app("changing.example.com", egress="none"))
    wait_for("a fresh instance", lambda: [i["pid"] for i in host.show("changing.example.com")["instances"]
                                          if i["life"] == "serving" and i["pid"] != pid])
    assert not python(host, "changing.example.com", TRY, PUBLIC)[PUBLIC].startswith("from")


def test_permissions_end_with_their_instance(host):
    for row in host.rpc("app.list")["apps"]:
        host.niwa("stop", row["name"])
    wait_for(f"nothing is left: {host.kernel_objects()}", host.nothing_left)
    text = subprocess.run(["nft", "list", "set", "inet", "niwa", "egress_list"], capture_output=True, text=True, check=True).stdout
    assert "elements" not in text
    text = subprocess.run(["nft", "list", "set", "inet", "niwa", "egress_names"], capture_output=True, text=True, check=True).stdout
    assert "elements" not in text


def test_what_an_app_may_reach_is_the_same_after_a_restart_of_niwad(host):
    for name in ("internet.example.com", "list.example.com", "none.example.com"):
        host.niwa("wake", name)
    host.kill_niwad()
    host.start_niwad()
    assert python(host, "internet.example.com", TRY, PUBLIC, LAN)[PUBLIC].startswith("from")
    out = python(host, "list.example.com", TRY, PUBLIC, LAN)
    assert out[LAN].startswith("from") and not out[PUBLIC].startswith("from")
    assert not python(host, "none.example.com", TRY, PUBLIC)[PUBLIC].startswith("from")
