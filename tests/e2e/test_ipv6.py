# SPDX-License-Identifier: MIT
"""Apps by IPv6: the same addresses asleep and awake, the same rules about who may reach whom, and clients known by their
own addresses."""

import json
import os
import socket
import struct
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import PATIENCE
from host import CRIU, Host, wait_for
from inside import python
from names import NiwaApi
from neighbour import HOST6, Neighbour

PREFIX = "fd6e:6977:6100::/48"
SERVICE, PRIVATE = "fd6e:6977:6100:1::", "fd6e:6977:6100:2::"
GATEWAY = PRIVATE + "a50:1"
CLIENTS = ("2001:db8:2::2", "2001:db8:2::3")
NEVER = {"freeze": "never", "page": "never", "save": "never"}

# Tells each client its address and port as the app sees them, and what was heard. argv: an address to listen on.
TELLS = """
import socket, sys, threading
s = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((sys.argv[1], 80))
s.listen(4096)
def serve(c, a):
    heard = c.recv(4096)
    c.sendall(f"{a[0]} {a[1]} {heard.hex()}\\n".encode())
    c.close()
while True:
    threading.Thread(target=serve, args=s.accept()).start()
"""


def app(name, listen="::", tenant="ada", sleep=NEVER, **port):
    return {"name": name, "tenant": tenant, "image": "host", "command": ["/usr/bin/python3", "-Ic", TELLS, listen],
            "ports": [{"port": 80, "protocol": "http", **port}], "egress": "none", "sleep": sleep,
            "stop": {"signal": "KILL", "grace": "1s"}, "snapshot": "off"}  # while an image is taken it is out of `awake`


def apply(host, *apps):
    host.apply(json.dumps({"apps": list(apps)}))


@pytest.fixture(scope="module")
def outside():
    neighbour = Neighbour("192.0.2.2", *CLIENTS)
    yield neighbour
    neighbour.end()


@pytest.fixture(scope="module")
def garden(outside):
    host = Host(ula_prefix=PREFIX, criu=CRIU).start()
    apply(host, app("a"), app("old", "0.0.0.0"), app("friend"), app("victim"), app("proxied", proxy="v2"),
          app("stranger", tenant="alan"), app("open", tenant="alan", allow="any"))
    yield host
    host.stop()


def six(host, name):
    return host.show(name)["service_address6"]


def exchange(s):
    """Who the app says that its client is, and what it heard."""
    with s:
        s.sendall(b"hello")
        seen, port, heard = s.makefile("r").readline().split()
    return (seen, int(port)), bytes.fromhex(heard)


def told(s):
    own = s.getsockname()[:2]
    return exchange(s)[0], own


def in_map(name, address):
    said = subprocess.run(["nft", "list", "map", "inet", "niwa", name], capture_output=True, text=True, check=True).stdout
    return address + " . " in said


def freeze(host, name):
    wait_for(f"{name} is frozen", lambda: host.niwa("freeze", name, check=False).returncode == 0)


def test_each_app_has_an_address_made_of_its_other_one(garden):
    for row in garden.rpc("app.list")["apps"]:
        four = socket.inet_aton(row["service_address"])
        assert socket.inet_pton(socket.AF_INET6, row["service_address6"])[12:] == four
        assert row["service_address6"].startswith(SERVICE)
    assert '"service_address6"' in garden.niwa("show", "a", "--json").stdout
    assert '"service_address6"' in garden.niwa("ls", "--json").stdout


@pytest.mark.parametrize("where", ("outside", "here"))
def test_a_client_is_answered_and_known_by_a_stopped_a_frozen_and_a_running_app(garden, outside, where):
    garden.niwa("stop", "a")
    to = six(garden, "a")
    for state in ("stopped", "running", "frozen", "running"):
        if state == "frozen":
            freeze(garden, "a")
        assert garden.state("a") == state
        if where == "outside":
            seen, own = told(outside.connect(to, 80, (CLIENTS[1], 0)))
            assert seen == own and own[0] == CLIENTS[1], state
        else:
            seen, own = told(socket.create_connection((to, 80), PATIENCE))
            assert seen[0] == own[0] == GATEWAY, state
    assert in_map("awake6", to)


def test_an_app_that_listens_on_ipv4_only_is_reached_all_the_same(garden, outside):
    garden.niwa("stop", "old")
    to = six(garden, "old")
    for state in ("stopped", "running", "frozen", "running"):
        if state == "frozen":
            freeze(garden, "old")
        assert garden.state("old") == state
        seen, _ = told(outside.connect(to, 80))
        assert seen[0] == "10.80.0.1"  # niwa-relay's own: there is no other that it could see
    assert not in_map("awake6", to)


def test_a_header_of_the_proxy_protocol_names_the_client(garden, outside):
    garden.niwa("stop", "proxied")
    to = six(garden, "proxied")
    for _ in ("asleep", "awake"):
        s = outside.connect(to, 80)
        own = s.getsockname()
        header = (b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24" + socket.inet_pton(socket.AF_INET6, own[0])
                  + socket.inet_pton(socket.AF_INET6, to) + struct.pack("!HH", own[1], 80))
        seen, heard = exchange(s)
        assert seen[0] == GATEWAY and heard.startswith(header)


TRY = """
import json, socket, sys
found = {}
for to in sys.argv[1:]:
    address, port = to.rsplit("/", 1)
    s = socket.socket(socket.AF_INET6)
    s.settimeout(8)
    try:
        s.connect((address, int(port)))
        own = s.getsockname()[0]
        s.sendall(b"hello")
        found[to] = [own, s.makefile("r").readline().split()[0]]
    except OSError as error:
        found[to] = error.errno or "timeout"
print(json.dumps(found))
"""


def test_apps_reach_those_of_their_tenant_and_what_others_allow_and_nothing_else(garden, outside):
    listener = outside.socket(socket.AF_INET6)
    listener.bind((CLIENTS[0], 7777))
    listener.listen()
    here = socket.create_server((HOST6, 7778), family=socket.AF_INET6)
    gateway = socket.create_server((GATEWAY, 7779), family=socket.AF_INET6)
    for state in ("stopped", "running"):
        if state == "stopped":
            garden.niwa("stop", "friend", "open", "stranger")
        mine, allowed, others = (f"{six(garden, name)}/80" for name in ("friend", "open", "stranger"))
        private = garden.show("a")["instances"][0]["private_address6"]
        closed, far, host = f"{six(garden, 'friend')}/81", f"{CLIENTS[0]}/7777", f"{HOST6}/7778"
        found = python(garden, "a", TRY, mine, allowed, others, closed, far, host, f"{GATEWAY}/7779")
        for to in (mine, allowed):
            assert found[to] == [private, private], found
        for to in (others, closed, far, host, f"{GATEWAY}/7779"):
            assert found[to] in (111, 13, 1, 113), (to, found)  # refused, at once
        own = python(garden, "a", TRY, f"{six(garden, 'a')}/80")
        assert own[f"{six(garden, 'a')}/80"][0] == six(garden, "a")
    for s in (listener, here, gateway):
        s.close()


def test_undeclared_ports_are_refused_and_private_addresses_are_the_host_s(garden, outside):
    garden.niwa("wake", "a")
    private = garden.show("a")["instances"][0]["private_address6"]
    for to, port in ((six(garden, "a"), 81), (private, 80), (GATEWAY, 80), (SERVICE + "a4f:1", 80)):
        with pytest.raises(OSError) as error:
            outside.connect(to, port)
        assert error.value.errno in (111, 113, 13, 1), (to, port)
    assert told(socket.create_connection((private, 80), PATIENCE))[0][0] == GATEWAY


def test_a_listener_of_the_host_does_not_answer_at_service_addresses(garden, outside):
    with socket.create_server(("::", 8123), family=socket.AF_INET6):
        with pytest.raises(OSError):
            outside.connect(six(garden, "a"), 8123)


def serving(host, name):
    host.niwa("wake", name)
    return next((i["pid"] for i in host.show(name)["instances"] if i["life"] == "serving"), None)


def test_an_app_that_is_killed_at_any_moment_refuses_nobody(garden, outside):
    to = six(garden, "victim")
    for _ in range(4):
        os.kill(wait_for("it serves", lambda: serving(garden, "victim")), 9)
        try:
            seen, own = told(outside.connect(to, 80))
            assert seen[0] == own[0]
        except (ConnectionResetError, ValueError):
            pass  # what the dying app had accepted ends with it; nobody is refused


def test_five_hundred_clients_of_a_sleeping_app_are_all_themselves(garden, outside):
    garden.niwa("stop", "a")
    to = six(garden, "a")
    with ThreadPoolExecutor(50) as pool:
        sockets = list(pool.map(lambda n: outside.connect(to, 80, (CLIENTS[n % 2], 0)), range(500)))
    for s in sockets:
        s.sendall(b"hello")
    for s in sockets:
        with s:
            assert s.makefile("r").readline().split()[:2] == [s.getsockname()[0], str(s.getsockname()[1])]


def test_a_restart_of_niwad_and_the_death_of_the_relay_change_nothing(garden, outside):
    to = six(garden, "a")
    told(outside.connect(to, 80))
    before = outside.connect(to, 80)
    garden.kill_niwad()
    garden.start_niwad()
    assert in_map("awake6", to)
    for s in (before, outside.connect(to, 80)):
        seen, own = told(s)
        assert seen == own
    pid = garden.rpc("host.status")["relay"]["pid"]
    os.kill(pid, 9)
    garden.niwa("stop", "a")
    seen, own = told(outside.connect(to, 80))
    assert seen == own


def test_nothing_is_left_of_apps_that_have_stopped(garden):
    garden.niwa("stop", *(row["name"] for row in garden.rpc("app.list")["apps"]))
    wait_for("nothing is left", garden.nothing_left)


def test_names_have_both_addresses(garden):
    api = NiwaApi(garden).start()
    try:
        for name in ("a", "old"):
            assert api.dig("+short", f"{name}.niwa.internal", "AAAA").split() == [six(garden, name)]
            assert api.address(f"{name}.niwa.internal") == garden.address(name)
    finally:
        api.stop()


def test_an_app_that_is_woken_from_an_image_answers_by_ipv6(garden, outside):
    apply(garden, {**app("deep"), "snapshot": "ready"})
    to = six(garden, "deep")
    seen, own = told(outside.connect(to, 80))
    assert seen == own
    wait_for("an image is taken", lambda: garden.show("deep")["snapshot"].get("usable"))
    garden.niwa("stop", "deep")
    assert garden.state("deep") == "saved"
    for _ in range(2):
        seen, own = told(outside.connect(to, 80))
        assert seen == own
    assert garden.show("deep")["last_wake"]["path"] == "restore" and in_map("awake6", to)
    garden.niwa("rm", "deep")


def test_an_app_with_several_instances_is_reached_by_ipv6_while_they_come_and_go(garden, outside):
    apply(garden, {**app("many"), "scale": {"max": 2, "connections": 2, "quiet": "1s", "drain": "1s"}})
    to = six(garden, "many")
    told(outside.connect(to, 80))
    assert in_map("awake6", to)
    held = [outside.connect(garden.address("many"), 80) for _ in range(4)]

    def serving_ones():
        return [i for i in garden.show("many")["instances"] if i["life"] == "serving"]

    wait_for("two serve", lambda: len(serving_ones()) == 2, timeout=20)
    wait_for("the kernel spreads", lambda: not in_map("awake6", to))
    seen, own = told(outside.connect(to, 80))
    assert seen == own
    for s in held:
        s.close()
    wait_for("one serves", lambda: len(serving_ones()) == 1, timeout=20)
    wait_for("the kernel's way is there again", lambda: in_map("awake6", to))
    seen, own = told(outside.connect(to, 80))
    assert seen == own
    garden.niwa("rm", "many")


def test_nothing_stirs_on_the_link_of_an_idle_app_so_it_goes_to_sleep(garden, outside):
    apply(garden, app("idle", sleep={"freeze": "300ms", "page": "never", "save": "1s"}))
    told(outside.connect(six(garden, "idle"), 80))
    garden.wait_state("idle", "stopped", "saved", timeout=8)
    garden.niwa("rm", "idle")
