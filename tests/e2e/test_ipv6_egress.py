# SPDX-License-Identifier: MIT
"""Where an app may connect to by IPv6, which name servers it may ask there, and what it knows of its neighbours. The outside
is a network namespace with public, private and tunnel addresses and a name server."""

import contextlib
import ipaddress
import json
import socket
import struct
import subprocess
import threading

import pytest
from host import Host, wait_for
from inside import app, apply, python, run
from neighbour import HOST6, Neighbour
from test_ipv6 import GATEWAY, PREFIX, PRIVATE, six

PUBLIC, FAR, TUNNEL, TEREDO = "2001:db8:2::2", "2600:1:1::5", "2002:c633:6402::1", "2001:0:1::5"
LAN, OUR_LAN = "fd99:1::2", "fd99:1::1"
NAMES = "169.254.64.53"  # niwa-api, which does not run here

TRY = r"""
import errno, json, socket, sys
out = {}
for where in sys.argv[1:]:
    address, _, port = where.partition("/")
    try:
        with socket.create_connection((address, int(port or 80)), timeout=2) as s:
            out[where] = s.recv(100).decode() if not port else "connected"
    except TimeoutError:
        out[where] = "silence"
    except OSError as e:
        out[where] = errno.errorcode[e.errno]
print(json.dumps(out))
"""
REFUSED = ("ECONNREFUSED", "EACCES", "EHOSTUNREACH", "ENETUNREACH", "EPERM")
LOOK_UP = """
import json, socket, sys
out = {}
for name in sys.argv[1:]:
    try:
        out[name] = sorted({a[4][0] for a in socket.getaddrinfo(name, 80, type=socket.SOCK_STREAM)})
    except OSError:
        out[name] = []
print(json.dumps(out))
"""


def tells(listener):
    """Each client is told its address, as the answer to a request where it makes one."""
    while True:
        try:
            c, peer = listener.accept()
        except OSError:
            return
        with c, contextlib.suppress(OSError):
            c.settimeout(5)
            c.sendall(f"{peer[0]}".encode())
            c.shutdown(socket.SHUT_WR)
            while c.recv(4096):  # a request that nobody has read would reset the connection
                pass


def reply(q):
    """To a question for a name below .example: FAR."""
    end = 12
    while q[end]:
        end += q[end] + 1
    end += 5
    known, kind = q[12:end - 4].endswith(b"\x07example\0"), q[end - 4:end - 2]
    answer = b"\xc0\x0c\0\x1c\0\1\0\0\0\x3c\0\x10" + socket.inet_pton(socket.AF_INET6, FAR) if known and kind == b"\0\x1c" else b""
    return q[:2] + struct.pack("!HHHHH", 0x8180 if known else 0x8183, 1, bool(answer), 0, 0) + q[12:end] + answer


def names(s):
    with contextlib.suppress(OSError):
        while True:
            q, who = s.recvfrom(4096)
            s.sendto(reply(q), who)


@pytest.fixture(scope="module")
def outside():
    n = Neighbour("192.0.2.2", PUBLIC)
    n.run(f"ip -6 address add {OUR_LAN}/64 dev outside nodad", f"ip -6 route add default via {PUBLIC}")
    n.there(f"ip -6 address add {LAN}/64 dev inside nodad",
            *(f"ip -6 address add {a}/128 dev lo nodad" for a in (FAR, TUNNEL, TEREDO)))
    web, dns = n.socket(socket.AF_INET6), n.socket_of(socket.AF_INET6, socket.SOCK_DGRAM)
    web.bind(("::", 80))
    web.listen(64)
    dns.bind((LAN, 53))
    for serve, s in ((tells, web), (names, dns)):
        threading.Thread(target=serve, args=(s,), daemon=True).start()
    yield n
    web.close()
    dns.close()
    n.end()
    subprocess.run(["ip", "-6", "route", "del", "default", "via", PUBLIC], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def host(outside):
    h = Host(ula_prefix=PREFIX)
    resolv = h.dir / "resolv.conf"
    resolv.write_text(f"nameserver ::1\nnameserver fe80::1%lo\nnameserver {LAN}\n")
    subprocess.run(["mount", "--bind", resolv, "/etc/resolv.conf"], check=True)  # in our own mount namespace
    h.start()
    apply(h, app("none", tenant="t"), app("internet", tenant="t", egress="internet"),
          app("list", tenant="t", egress=["10.99.0.0/24", "fd99:1::/64", FAR]), app("stranger", tenant="other"))
    yield h
    h.stop()
    subprocess.run(["umount", "/etc/resolv.conf"], check=True)


def test_egress_none_reaches_nothing_outside(host):
    out = python(host, "none", TRY, PUBLIC, FAR, LAN, TUNNEL, f"{LAN}/53")
    assert all(what in REFUSED for what in out.values()), out


def test_egress_internet_is_public_addresses_from_the_host_s_own(host):
    host.niwa("wake", "none")
    neighbour = host.show("none")["instances"][0]["private_address6"]
    out = python(host, "internet", TRY, PUBLIC, FAR, LAN, TUNNEL, TEREDO, f"{HOST6}/80", f"{GATEWAY}/80", f"{neighbour}/80")
    assert out[PUBLIC] == out[FAR] == HOST6, out
    del out[PUBLIC], out[FAR]
    assert all(what in REFUSED for what in out.values()), out


def test_egress_list_is_these_networks(host):
    out = python(host, "list", TRY, PUBLIC, FAR, LAN, TUNNEL)
    assert out[LAN] == OUR_LAN and out[FAR] == HOST6, out
    assert out[PUBLIC] in REFUSED and out[TUNNEL] in REFUSED, out


def test_curl_in_an_app_reaches_the_outside_by_ipv6(host):
    assert run(host, "internet", "curl", "-6sS", "--http0.9", "-g", f"http://[{PUBLIC}]/").stdout == HOST6


def test_an_app_can_ping_where_it_may_go(host):
    code = r"""
import json, socket, struct, sys
out = []
for to in sys.argv[1:]:
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, socket.IPPROTO_ICMPV6)
    s.settimeout(2)
    try:
        s.sendto(struct.pack("!BBHHH", 128, 0, 0, 0, 1), (to, 0))
        out.append(s.recv(100)[0])
    except OSError as e:
        out.append(type(e).__name__)
print(json.dumps(out))
"""
    answered, refused = python(host, "internet", code, FAR, LAN)
    assert answered == 129 and refused != 129


def test_names_are_asked_of_a_server_with_an_ipv6_address_and_nothing_else_of_it(host):
    """Not of those on loopback or of a link alone: instances cannot reach them."""
    servers = [line.split()[1] for line in run(host, "internet", "cat", "/etc/resolv.conf").stdout.splitlines()
               if line.startswith("nameserver")]
    assert servers == [NAMES, LAN]
    for name in ("internet", "list"):
        assert python(host, name, LOOK_UP, "www.example", "no.such.name") == {"www.example": [FAR], "no.such.name": []}
    assert python(host, "none", LOOK_UP, "www.example") == {"www.example": []}
    assert python(host, "internet", TRY, LAN)[LAN] in REFUSED


def test_apps_of_a_tenant_know_each_other_by_both_addresses(host):
    out = python(host, "none", LOOK_UP, "internet", "internet.niwa.internal", "host.niwa.internal", "stranger")
    both = sorted([host.address("internet"), six(host, "internet")])
    assert out == {"internet": both, "internet.niwa.internal": both, "host.niwa.internal": sorted(["10.80.0.1", GATEWAY]),
                   "stranger": []}
    apply(host, app("later", tenant="t"))
    wait_for("the name", lambda: python(host, "none", LOOK_UP, "later")["later"])
    assert python(host, "none", LOOK_UP, "later")["later"] == sorted([host.address("later"), six(host, "later")])
    host.niwa("rm", "later")


def test_an_answer_from_outside_wakes_an_app_that_froze_meanwhile(host, outside):
    listener = outside.socket(socket.AF_INET6)
    listener.bind((FAR, 8080))
    listener.listen()
    code = ("import socket, threading; s = socket.create_server(('', 80)); "
            f"c = socket.create_connection(({FAR!r}, 8080)); [c.sendall(c.recv(100)) for _ in range(9)]")
    apply(host, app("calls", command=["/usr/bin/python3", "-Ic", code], egress="internet"))
    host.niwa("wake", "calls")
    listener.settimeout(20)
    c, _ = listener.accept()
    c.settimeout(20)
    wait_for("it is frozen", lambda: host.niwa("freeze", "calls", check=False).returncode == 0)
    assert host.state("calls") == "frozen"
    c.sendall(b"hello")
    assert c.recv(100) == b"hello" and host.state("calls") == "running"
    host.niwa("rm", "calls")
    c.close()
    listener.close()


def test_changed_egress_holds_for_the_fresh_instance(host):
    apply(host, app("changing", egress=[f"{FAR}/128"]))
    assert python(host, "changing", TRY, FAR)[FAR] == HOST6
    pid = host.pid("changing")
    apply(host, app("changing", egress=["10.0.0.0/8"]))
    wait_for("a fresh instance", lambda: [i["pid"] for i in host.show("changing")["instances"]
                                          if i["life"] == "serving" and i["pid"] != pid])
    assert python(host, "changing", TRY, FAR)[FAR] in REFUSED
    host.niwa("rm", "changing")


def elements(name):
    said = json.loads(subprocess.run(["nft", "-j", "list", "set", "inet", "niwa", name], capture_output=True, text=True,
                                     check=True).stdout)
    return next(item["set"].get("elem", []) for item in said["nftables"] if "set" in item)


def test_what_an_app_may_reach_is_the_same_after_a_restart_of_niwad_and_ends_with_its_instance(host):
    host.niwa("wake", "internet", "list")
    host.kill_niwad()
    host.start_niwad()
    assert python(host, "internet", TRY, PUBLIC, LAN)[PUBLIC] == HOST6
    out = python(host, "list", TRY, PUBLIC, LAN)
    assert out[LAN] == OUR_LAN and out[PUBLIC] in REFUSED
    assert all(elements(name) for name in ("egress6", "egress_list6", "egress_names6"))
    host.niwa("stop", *(row["name"] for row in host.rpc("app.list")["apps"]))
    wait_for("nothing is left", host.nothing_left)
    assert not any(elements(name) for name in ("egress6", "egress_list6", "egress_names6"))


def test_addresses_inside_are_told(host):
    host.niwa("wake", "none")
    instance = host.show("none")["instances"][0]
    inside = int(ipaddress.IPv6Address(PRIVATE)) + int(ipaddress.IPv4Address(instance["private_address"]))
    assert instance["private_address6"] == str(ipaddress.IPv6Address(inside))
    assert instance["private_address6"] in host.niwa("show", "none").stdout


@pytest.mark.parametrize("network, said", (
    ("2001:db8::1/32", "found '2001:db8::1/32'"), ("2001:db8::/129", "found '2001:db8::/129'"), ("::/0", "found '::/0'"),
    ("fe80::1%eth0", "found 'fe80::1%eth0'"), ("[2001:db8::]/32", "found '[2001:db8::]/32'"), ("tenant", "found 'tenant'"),
    ("2001:db8::/16", "found '2001:db8::/16'")))
def test_what_is_no_network_is_refused_with_what_is_allowed(host, network, said):
    done = host.apply(json.dumps({"apps": [app("bad", egress=[network])]}), check=False)
    assert done.returncode != 0 and f"egress[0]: {said}; allowed: an address or network such as" in done.stderr


def test_networks_that_overlap_are_refused_and_those_of_the_other_family_do_not(host):
    done = host.apply(json.dumps({"apps": [app("bad", egress=["2001:db8::/32", "2001:db8:1::/48"])]}), check=False)
    assert done.returncode != 0 and "'2001:db8::/32' and '2001:db8:1::/48' overlap" in done.stderr
    apply(host, app("wide", egress=["::/1", "8000::/1", "0.0.0.0/1", "128.0.0.0/1"]))
    out = python(host, "wide", TRY, PUBLIC, FAR, LAN, TUNNEL, f"{HOST6}/80")
    assert out.pop(LAN) == OUR_LAN and out.pop(f"{HOST6}/80") in REFUSED
    assert set(out.values()) == {HOST6}
    host.niwa("rm", "wide")
