# SPDX-License-Identifier: MIT
"""Names of apps inside containers: niwa-api is the first name server of each instance, for those names alone, and no way
out for any."""

import re
import socket
import subprocess
import threading

import pytest
from host import BUILD, SLOW, wait_for
from inside import app, apply, python, run
from names import NOERROR, ZONE, NiwaApi, commit, record

SERVER, PORT = "169.254.64.53", 9453

# Questions as DNS has them, past /etc/hosts: {name: [code, address…] or the error}
ASK = r"""
import errno, json, socket, struct, sys
server, kind, names = sys.argv[1], sys.argv[2], sys.argv[3:]
def ask(name):
    q = struct.pack(">HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0\0\1\0\1"
    s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    s.settimeout(2)
    try:
        host, _, port = server.partition(":")
        s.connect((host, int(port or 53)))
        s.sendall(struct.pack(">H", len(q)) + q if kind == "tcp" else q)
        a = s.recv(2048)[2 if kind == "tcp" else 0:]
    except TimeoutError:
        return "silence"
    except OSError as e:
        return errno.errorcode[e.errno]
    return [a[3] & 15] + ([socket.inet_ntoa(a[-4:])] if a[7] else [])
print(json.dumps({n: ask(n) for n in names}))
"""
LOOK_UP = "import json, socket, sys; print(json.dumps(socket.gethostbyname(sys.argv[1])))"


@pytest.fixture(scope="module")
def host(shared_host):
    apply(shared_host, app("one.t", tenant="t", routes=[{"domain": "one.example"}]), app("two.t", tenant="t", egress="internet"),
          app("stranger", tenant="other", routes=[{"domain": "stranger.example"}]))
    return shared_host


@pytest.fixture
def api(host):
    a = NiwaApi(host).start()
    yield a
    a.stop()


def ask(host, name, *names, kind="udp", server=SERVER):
    return python(host, name, ASK, server, kind, *names)


def test_an_app_without_a_way_out_resolves_apps_and_routes_by_udp_and_tcp(host, api):
    one, two = host.address("one.t"), host.address("two.t")
    for kind in ("udp", "tcp"):
        assert ask(host, "one.t", f"two.t.{ZONE}", f"one.example.http.{ZONE}", f"no.{ZONE}", kind=kind) == {
            f"two.t.{ZONE}": [0, two], f"one.example.http.{ZONE}": [0, one], f"no.{ZONE}": [3]}
    assert run(host, "one.t", "cat", "/etc/resolv.conf").stdout.startswith(f"nameserver {SERVER}\n")


def test_a_c_library_resolves_what_is_in_no_hosts_file_and_connects(host, api):
    name = f"one.example.http.{ZONE}"
    assert name not in run(host, "two.t", "cat", "/etc/hosts").stdout
    assert python(host, "two.t", LOOK_UP, name) == host.address("one.t")
    assert python(host, "two.t", "import json, socket, sys; s = socket.create_connection((sys.argv[1], 80), 5); "
                                 "print(json.dumps(s.recv(1) == b''))", name)


def test_a_new_app_is_found_from_inside_when_its_apply_has_returned(host, api):
    for n in range(20):
        commit(host.connect(), record(f"fresh{n}"))
        assert ask(host, "one.t", f"fresh{n}.{ZONE}")[f"fresh{n}.{ZONE}"] == [0, host.address(f"fresh{n}")]
    host.niwa("rm", *[f"fresh{n}" for n in range(20)], "--yes")


def test_another_tenant_s_name_leads_to_an_address_that_refuses(host, api):
    name = f"stranger.example.http.{ZONE}"
    assert ask(host, "one.t", name) == {name: [0, host.address("stranger")]}
    code = ("import errno, json, socket, sys\ntry: socket.create_connection((sys.argv[1], 80), 5); r = 'connected'\n"
            "except OSError as e: r = errno.errorcode[e.errno]\nprint(json.dumps(r))")
    assert python(host, "one.t", code, name) == "ECONNREFUSED"


def test_other_names_are_refused_so_nothing_is_told_to_the_world(host, api):
    assert ask(host, "one.t", "www.example", "secret.attacker.example") == {"www.example": [5], "secret.attacker.example": [5]}


def test_the_port_itself_cannot_be_asked_and_no_other_resolver_of_the_host_is_reached(host, api):
    gateway, name, heard = "10.80.0.1", f"two.t.{ZONE}", []
    assert ask(host, "one.t", name, server=f"{gateway}:{PORT}")[name] in ("EHOSTUNREACH", "EACCES")
    assert ask(host, "one.t", name)[name][0] == NOERROR
    api.stop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:  # a resolver that passes questions on
        other.bind(("0.0.0.0", 53))
        assert ask(host, "one.t", name)[name] == "ECONNREFUSED", "at once: then the next server is asked"
        assert ask(host, "one.t", name, kind="tcp")[name] == "ECONNREFUSED"
        assert ask(host, "one.t", name, server=gateway)[name] in ("EHOSTUNREACH", "EACCES")
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            heard.append(other.recv(512))
    assert heard == []


def test_an_instance_that_floods_is_answered_so_much_a_second_and_others_at_once(host, api):
    flood = ("import socket, sys, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((sys.argv[1], 53))\n"
             "q = b'\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0' + b'\\3one\\1t\\4niwa\\x08internal\\0\\0\\1\\0\\1'\n"
             "end = time.monotonic() + 2\nn = got = 0\ns.setblocking(False)\n"
             "while time.monotonic() < end:\n"
             "    n += 1\n"
             "    try: s.send(q)\n"
             "    except OSError: pass\n"
             "    try: got += bool(s.recv(512))\n"
             "    except OSError: pass\n"
             "import json; print(json.dumps([n, got]))")
    result = []
    thread = threading.Thread(target=lambda: result.extend(python(host, "one.t", flood, SERVER)))
    thread.start()
    try:
        for _ in range(20):
            assert ask(host, "two.t", f"one.t.{ZONE}")[f"one.t.{ZONE}"][0] == NOERROR
            assert api.ask(f"one.t.{ZONE}")[0] == NOERROR
    finally:
        thread.join()
    sent, answered = result
    assert sent > 4000 and answered <= 1000 * (2 * SLOW + 1) + 100, result


def test_who_asks_a_frozen_app_s_name_does_not_wake_it(host, api):
    host.niwa("stop", "two.t")
    assert ask(host, "one.t", f"two.t.{ZONE}")[f"two.t.{ZONE}"][0] == NOERROR
    assert host.state("two.t") == "stopped"


def test_it_can_be_turned_off_and_instances_keep_the_host_s_name_servers(host):
    before = run(host, "one.t", "cat", "/etc/resolv.conf").stdout
    host.kill_niwad()
    host.configure(dns_instances="off")
    host.start_niwad()
    api = NiwaApi(host).start()
    try:
        host.niwa("stop", "two.t")
        after = run(host, "two.t", "cat", "/etc/resolv.conf").stdout
        assert SERVER in before and SERVER not in after
        assert not re.search(rf":{PORT}\s", subprocess.run(["ss", "-Hlnup"], capture_output=True, text=True, check=True).stdout)
        assert isinstance(ask(host, "two.t", f"one.t.{ZONE}")[f"one.t.{ZONE}"], str)  # an error, or silence
    finally:
        api.stop()
        host.kill_niwad()
        host.configure()
        host.start_niwad()


def test_after_a_restart_of_niwad_running_instances_resolve_as_before(host, api):
    host.niwa("wake", "one.t")
    host.kill_niwad()
    host.start_niwad()
    wait_for("niwa-api is told again", lambda: ask(host, "one.t", f"two.t.{ZONE}")[f"two.t.{ZONE}"] == [0, host.address("two.t")])


@pytest.mark.parametrize("value", ["127.0.0.64", "10.80.0.9", "10.64.0.9", "example", "169.254.64.53:53"])
def test_an_address_that_cannot_be_is_refused(host, tmp_path, value):
    (tmp_path / "niwad.conf").write_text(f"dns_instances = {value}\n")
    done = subprocess.run([BUILD / "src/engine/niwad", "--config", tmp_path / "niwad.conf", "--print-config"], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 2 and f"dns_instances = {value}" in done.stderr, done.stderr
