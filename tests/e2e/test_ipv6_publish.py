# SPDX-License-Identifier: MIT
"""Ports of the host that lead to apps, by IPv6: on every address or on one, asleep or awake, clients known by their own
addresses."""

import json
import os
import socket
import struct
import subprocess
from pathlib import Path

import pytest
from clients import PATIENCE, folder
from host import Host
from inside import python
from neighbour import HOST, HOST6, Neighbour
from test_ipv6 import CLIENTS, GATEWAY, PREFIX, TRY, app, apply, exchange, freeze, six, told

GATEWAY4 = "10.80.0.1"
BASE = 18600

# Says who its client is, by IPv4 and IPv6.
NGINX = """daemon off; worker_processes 1; pid /tmp/nginx.pid; error_log stderr warn;
events { worker_connections 256; }
http {
	access_log off; default_type text/plain;
	client_body_temp_path /tmp/body; proxy_temp_path /tmp/proxy; fastcgi_temp_path /tmp/fastcgi;
	uwsgi_temp_path /tmp/uwsgi; scgi_temp_path /tmp/scgi;
	server { listen 80; listen [::]:80; location / { return 200 "client: $remote_addr\\n"; } }
}
"""


def nginx(name, **port):
    where = Path(folder(), "nginx6")
    where.mkdir(exist_ok=True)
    (where / "nginx.conf").write_text(NGINX)
    return {**app(name, **port), "user": "www-data", "command": ["nginx", "-c", "/srv/p/nginx.conf", "-e", "stderr"],
            "volumes": [{"from": str(where), "to": "/srv/p", "read_only": True}]}


@pytest.fixture(scope="module")
def outside():
    neighbour = Neighbour("192.0.2.2", *CLIENTS)
    yield neighbour
    neighbour.end()


@pytest.fixture(scope="module")
def garden(outside):
    host = Host(ula_prefix=PREFIX).start()
    apply(host, app("every", publish=f":{BASE}"), app("one", publish=f"[{HOST6}]:{BASE + 1}"), app("friend"),
          app("loop", publish=f"[::1]:{BASE + 2}"), app("four", publish=f"0.0.0.0:{BASE + 3}"),
          app("old", "0.0.0.0", publish=f"[::]:{BASE + 4}"), app("header", publish=f"[::]:{BASE + 5}", proxy="v2"),
          nginx("web", publish=f"[::]:{BASE + 6}"))
    yield host
    host.stop()


def published(name):
    """Host addresses and ports in the kernel's map, as nft writes them."""
    said = json.loads(subprocess.run(["nft", "-j", "list", "map", "inet", "niwa", name], capture_output=True, text=True,
                                     check=True).stdout)
    elements = next(item["map"].get("elem", []) for item in said["nftables"] if "map" in item)
    return {":".join(map(str, key["concat"])) if isinstance(key, dict) else str(key) for key, _ in elements}


def states(host, name):
    """The app in each state before its next visitor."""
    host.niwa("stop", name)
    for state in ("stopped", "running", "frozen", "running"):
        if state == "frozen":
            freeze(host, name)
        assert host.state(name) == state
        yield state


def test_a_port_on_every_address_is_reached_by_both_families_and_clients_are_themselves(garden, outside):
    for state in states(garden, "every"):
        seen, own = told(outside.connect(HOST6, BASE, (CLIENTS[1], 0)))
        assert seen == own and own[0] == CLIENTS[1], state
    for state in states(garden, "every"):
        seen, own = told(outside.connect(HOST, BASE))
        assert seen[0] in (own[0], "::ffff:" + own[0]) and seen[1] == own[1], state
    assert str(BASE) in published("published_any") and str(BASE) in published("published_any6")


def test_a_port_on_one_address_is_reached_there_and_nowhere_else(garden, outside):
    for state in states(garden, "one"):
        seen, own = told(outside.connect(HOST6, BASE + 1))
        assert seen == own, state
    assert published("published6") == {f"{HOST6}:{BASE + 1}"} and str(BASE + 1) not in published("published_any6")
    for to in (HOST, "127.0.0.1"):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((to, BASE + 1), PATIENCE)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("::1", BASE + 1), PATIENCE)


def test_loopback_stays_on_the_host_and_is_seen_as_the_host(garden, outside):
    for state in states(garden, "loop"):
        assert told(socket.create_connection(("::1", BASE + 2), PATIENCE))[0][0] == GATEWAY, state
    for to in (HOST6, HOST):
        with pytest.raises(ConnectionRefusedError):
            outside.connect(to, BASE + 2)
    for state in states(garden, "every"):
        assert told(socket.create_connection(("::1", BASE), PATIENCE))[0][0] == GATEWAY, state
        assert told(socket.create_connection(("127.0.0.1", BASE), PATIENCE))[0][0].endswith(GATEWAY4), state
        assert told(socket.create_connection((HOST6, BASE), PATIENCE))[0][0] == HOST6, state


def test_0_0_0_0_is_every_address_of_ipv4_and_none_of_ipv6(garden, outside):
    told(outside.connect(HOST, BASE + 3))
    with pytest.raises(ConnectionRefusedError):
        outside.connect(HOST6, BASE + 3)
    assert str(BASE + 3) in published("published_any") and str(BASE + 3) not in published("published_any6")


def test_an_app_that_listens_on_ipv4_only_is_reached_at_its_published_port_by_ipv6(garden, outside):
    for state in states(garden, "old"):
        assert told(outside.connect(HOST6, BASE + 4))[0][0] == GATEWAY4, state
    assert str(BASE + 4) not in published("published_any6")


@pytest.mark.parametrize("to", (HOST6, HOST))
def test_a_header_names_what_the_client_has_called_in_its_family(garden, outside, to):
    family, kind = (socket.AF_INET6, b"\x21\0\x24") if ":" in to else (socket.AF_INET, b"\x11\0\x0c")
    for state in ("stopped", "running"):
        if state == "stopped":
            garden.niwa("stop", "header")
        s = outside.connect(to, BASE + 5)
        own = s.getsockname()
        header = (b"\r\n\r\n\0\r\nQUIT\n\x21" + kind + socket.inet_pton(family, own[0]) + socket.inet_pton(family, to)
                  + struct.pack("!HH", own[1], BASE + 5))
        assert exchange(s)[1].startswith(header), state


def test_curl_and_nginx_meet_by_ipv6(garden, outside):
    def curl(*argv):
        done = subprocess.run(["nsenter", "-n", "-t", str(outside.machine.pid), "curl", "-6sS", "-g", "-m", str(PATIENCE), *argv],
                              capture_output=True, text=True, check=True)
        return done.stdout

    for state in states(garden, "web"):
        assert curl("--interface", CLIENTS[0], f"http://[{HOST6}]:{BASE + 6}/") == f"client: {CLIENTS[0]}\n", state
        assert curl(f"http://[{six(garden, 'web')}]/").startswith("client: 2001:db8:2::"), state


def test_an_instance_does_not_come_back_through_a_port_of_the_host(garden):
    found = python(garden, "friend", TRY, f"{HOST6}/{BASE}", f"{GATEWAY}/{BASE}")
    assert all(isinstance(what, int) for what in found.values()), found


def test_a_visitor_at_its_link_s_own_address_is_answered(garden, outside):
    outside.run("ip -6 address add fe80::1/64 dev outside nodad")
    outside.there("ip -6 address add fe80::2/64 dev inside nodad")
    said = subprocess.run(["nsenter", "-n", "-t", str(outside.machine.pid), "ip", "-o", "link", "show", "inside"],
                          capture_output=True, text=True, check=True).stdout
    index = int(said.split(":")[0])
    garden.niwa("stop", "every")
    for state in ("stopped", "running"):
        assert garden.state("every") == state
        s = outside.socket(socket.AF_INET6)
        s.settimeout(PATIENCE)
        s.bind(("fe80::2", 0, 0, index))
        s.connect(("fe80::1", BASE, 0, index))
        assert exchange(s)[0][0].endswith(GATEWAY4)  # a link's own address does not leave the link
    assert garden.show("every")["last_wake"]["from"] == "fe80::2"


def test_who_woke_it_is_told_with_its_address(garden, outside):
    garden.niwa("stop", "every")
    told(outside.connect(HOST6, BASE, (CLIENTS[1], 0)))
    wake = garden.show("every")["last_wake"]
    assert (wake["by"], wake["from"]) == ("connection", CLIENTS[1])
    assert f"connection from {CLIENTS[1]}" in garden.niwa("show", "every").stdout
    ports = garden.show("every")["ports"]
    assert ports[0]["publish"] == f"[::]:{BASE}" and garden.show("one")["ports"][0]["publish"] == f"[{HOST6}]:{BASE + 1}"


def test_who_thawed_it_is_told_with_its_address_in_both_families(garden, outside):
    for to, own in ((HOST6, CLIENTS[1]), (HOST, "192.0.2.2")):
        told(outside.connect(to, BASE))
        freeze(garden, "every")
        told(outside.connect(to, BASE, (own, 0)))
        wake = garden.show("every")["last_wake"]
        assert (wake["path"], wake["by"], wake["from"], wake["port"]) == ("thaw", "traffic", own, 80)
        assert f"by thaw, for {own} at port 80" in garden.niwa("show", "every").stdout


def test_a_firewall_that_checks_reverse_paths_of_ipv6_stops_nobody(garden, outside):
    """As firewalld does with IPv6_rpfilter."""
    rules = ("add table inet strict", "add chain inet strict pre { type filter hook prerouting priority filter + 10; }",
             "add rule inet strict pre meta nfproto ipv6 fib saddr . mark . iif oif missing drop")
    subprocess.run(["nft", "; ".join(rules)], check=True)
    try:
        for state in states(garden, "every"):
            seen, own = told(outside.connect(HOST6, BASE))
            assert seen == own, state
            seen, own = told(outside.connect(six(garden, "every"), 80))
            assert seen == own, state
    finally:
        subprocess.run(["nft", "delete", "table", "inet", "strict"], check=True)


def test_the_doctor_finds_nothing_wrong_with_ipv6_while_it_works(garden):
    said = json.loads(garden.niwa("doctor", "--json", "ipv6", "ranges", "firewall", check=False).stdout)
    found = {probe["id"]: (probe["result"], probe["found"]) for probe in said}
    assert found["ranges"] == ("ok", f"10.64.0.0/12, 10.80.0.0/16 and {PREFIX}"), found
    assert found["firewall"][0] == "ok" and found["ipv6"][1].startswith((PREFIX, "outside ignores")), found


def test_a_restart_of_niwad_keeps_the_listeners_and_the_maps(garden, outside):
    garden.niwa("stop", "one")
    told(outside.connect(HOST6, BASE))
    garden.kill_niwad()
    held = outside.connect(HOST6, BASE + 1)  # the relay answers without it
    garden.start_niwad()
    seen, own = told(held)
    assert seen == own
    assert str(BASE) in published("published_any6") and published("published6") == {f"{HOST6}:{BASE + 1}"}
    pid = garden.rpc("host.status")["relay"]["pid"]
    os.kill(pid, 9)
    garden.niwa("stop", "every", "one")
    for port in (BASE, BASE + 1):
        seen, own = told(outside.connect(HOST6, port))
        assert seen == own


def test_an_app_moves_between_families_and_addresses(garden, outside):
    port = BASE + 20
    for text, reached, refused in ((f"0.0.0.0:{port}", (HOST,), (HOST6,)), (f":{port}", (HOST, HOST6), ()),
                                   (f"[{HOST6}]:{port}", (HOST6,), (HOST,)), (f"[::]:{port}", (HOST, HOST6), ()),
                                   (f"{HOST}:{port}", (HOST,), (HOST6,))):
        apply(garden, app("moves", publish=text))
        for to in reached:
            told(outside.connect(to, port))
        for to in refused:
            with pytest.raises(ConnectionRefusedError):
                outside.connect(to, port)
    garden.niwa("rm", "moves")
    with pytest.raises(ConnectionRefusedError):
        outside.connect(HOST, port)


def test_a_port_moves_from_one_app_to_another_and_widens(garden, outside):
    port = BASE + 21
    apply(garden, app("giver", publish=f"[{HOST6}]:{port}"))
    done = garden.apply(json.dumps({"apps": [app("taker", publish=f"[{HOST6}]:{port}")]}), check=False)
    assert done.returncode != 0 and f"[{HOST6}]:{port} is published by app giver already" in done.stderr
    apply(garden, app("giver"), app("taker", publish=f"[{HOST6}]:{port}"))
    told(outside.connect(HOST6, port))
    assert garden.show("taker")["state"] == "running" and garden.show("giver")["state"] == "stopped"
    garden.niwa("rm", "giver", "taker")


@pytest.mark.parametrize("publish", ("[fe80::1]:80", "[ff02::1]:80", "[2001:db8::1]", "2001:db8::1:80", "[::]:0", "[::]:65536",
                                     "[]:80", "[::1:80", "[::%lo]:80", ":", "[192.0.2.1]:80"))
def test_what_is_no_address_and_port_is_refused_with_what_is_allowed(garden, publish):
    done = garden.apply(json.dumps({"apps": [app("bad", publish=publish)]}), check=False)
    assert done.returncode != 0
    assert f"found '{publish}'; allowed: PORT, :PORT (all addresses), ADDRESS:PORT or [IPV6]:PORT" in done.stderr


def test_a_port_or_an_address_that_cannot_be_had_is_refused_at_apply(garden):
    with socket.create_server((HOST6, BASE + 22), family=socket.AF_INET6):
        for text in (f"[::]:{BASE + 22}", f"[{HOST6}]:{BASE + 22}"):
            done = garden.apply(json.dumps({"apps": [app("bad", publish=text)]}), check=False)
            assert done.returncode != 0 and f"cannot listen on {text}" in done.stderr
    done = garden.apply(json.dumps({"apps": [app("bad", publish=f"[2001:db8:9::9]:{BASE + 22}")]}), check=False)
    assert done.returncode != 0 and f"cannot listen on [2001:db8:9::9]:{BASE + 22}" in done.stderr
