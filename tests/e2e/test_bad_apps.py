# SPDX-License-Identifier: MIT
"""App files and apps that are broken, by mistake or on purpose."""

import os
import re
import socket
import time
import urllib.error
import urllib.request

import echo
import pytest
from host import SLOW, RpcError, wait_for

GOOD = "  - {name: good, image: host, command: [/bin/true], ports: [{port: 80}]}\n"
MAX_APPLY_S = 10


def get(address, port=80, timeout=30):
    """Status, headers, body; also of an error."""
    try:
        with urllib.request.urlopen(f"http://{address}:{port}/", timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def apply_bytes(host, data):
    path = host.dir / "apps.yaml"
    path.write_bytes(data)
    return host.niwa("apply", path, check=False)


def names(host):
    return [row["name"] for row in host.rpc("app.list")["apps"]]


# -- files ----------------------------------------------------------------------------------------------------------


def second(text):
    return "apps:\n" + GOOD + "  - " + text + "\n"


BROKEN = {  # a sentence: (file, line, what the message holds)
    "a flow list without an end": ("apps: [", 2, ["not YAML"]),
    "tabs for indentation": ("\tapps:\n", 1, ["use spaces"]),
    "an indentation that goes back half": ("apps:\n  - name: a\n    image: host\n   ports: []\n", 4, ["not YAML"]),
    "nothing": ("", 1, ["found no apps", "allowed: apps:"]),
    "a number": ("42\n", 1, ["found no apps"]),
    "no apps": ("apps: []\n", 1, ["apps: found no apps", "allowed: a list"]),
    "a port that is too large": (
        second("{name: b, image: host, command: [/x], ports: [{port: 99999}]}"), 3,
        ["apps[1].ports[0].port: found '99999'", "from 1 to 65535"]),
    "a port with a zero in front": (
        second("{name: b, image: host, command: [/x], ports: [{port: 080}]}"), 3,
        ["apps[1].ports[0].port: found '080'", "from 1 to 65535", "without the zero in front"]),
    "a port with 400 digits": (
        second("{name: b, image: host, command: [/x], ports: [{port: " + "9" * 400 + "}]}"), 3,
        ["apps[1].ports[0].port: found", "from 1 to 65535"]),
    "a key that is misspelt": (
        second("{name: b, image: host, command: [/x], prots: [{port: 9}]}"), 3,
        ["apps[1].prots: unknown key", "did you mean 'ports'?"]),
    "a protocol nobody speaks": (
        second("{name: b, image: host, command: [/x], ports: [{port: 9, protocol: gopher}]}"), 3,
        ["apps[1].ports[0].protocol: found 'gopher'", "allowed: tcp, http"]),
    "no command": (second("{name: b, image: host, ports: [{port: 9}]}"), 3, ["apps[1].command: missing"]),
    "a command that is no list": (
        second("{name: b, image: host, command: 7, ports: [{port: 9}]}"), 3, ["apps[1].command: found '7'"]),
    "a time that is negative": (
        second("{name: b, image: host, command: [/x], ports: [{port: 9}], sleep: {freeze: -3s}}"), 3,
        ["apps[1].sleep.freeze: found '-3s'", "allowed: a time"]),
    "one name twice": ("apps:\n" + GOOD + GOOD, 3, ["apps[1].name: found 'good', as in line 2", "each name once"]),
    "one key twice": (
        second("{name: b, name: c, image: host, command: [/x], ports: [{port: 9}]}"), 3, ["key 'name' is here twice"]),
    "one port twice": (
        second("{name: b, image: host, command: [/x], ports: [{port: 9}, {port: 9}]}"), 3, ["apps[1].ports[1].port"]),
    "one published port twice": (
        second("{name: b, image: host, command: [/x], ports: [{port: 9, publish: 8080}]}")
        + "  - {name: c, image: host, command: [/x], ports: [{port: 9, publish: 8080}]}\n", 4,
        ["apps[2].ports[0].publish: found 8080, as in line 3", "each port of the host once"]),
    "a second document": ("apps:\n" + GOOD + "---\napps:\n" + GOOD, 3, ["a second document"]),
    "a tag that makes objects": (
        "apps:\n  - !!python/object/apply:os.system [reboot]\n", 2, ["allowed: values without tags"]),
    "colours in a name": (
        'apps:\n  - {name: "a\\x1b[31m", image: host, command: [x], ports: [{port: 1}]}\n', 2,
        ["apps[0].name: found 'a\\x1b[31m'"]),
    "a NUL byte in a name": (
        'apps:\n  - {name: "a\\0b", image: host, command: [x], ports: [{port: 1}]}\n', 2, ["NUL"]),
    "bytes that are no text": ("\xff\xfe\x00\x81\xfe", 1, ["not text"]),
    "brackets 5,000 deep": ("[" * 5000, 1, ["nested deeper than 32 levels"]),
    "a path that climbs": (
        second("{name: b, image: host, command: [/x], ports: [{port: 9}], volumes: [{from: /srv/../etc, to: /x}]}"), 3,
        ["apps[1].volumes[0].from: found '/srv/../etc'"]),
    "the host's root as a volume": (
        second("{name: b, image: host, command: [/x], ports: [{port: 9}], volumes: [{from: /, to: /x}]}"), 3,
        ["apps[1].volumes[0].from: found '/'"]),
    "a file of variables that is not there": (
        second("{name: b, image: host, command: [/x], ports: [{port: 9}], env_files: [none.env]}"), 3,
        ["apps[1].env_files[0]", "No such file"]),
    "an anchor that contains itself": (
        "apps:\n  - &a {name: b, image: host, command: [/x, *a], ports: [{port: 9}]}\n", 2, []),
}


@pytest.mark.parametrize("what", BROKEN)
def test_one_bad_app_refuses_the_file_with_line_key_and_what_is_allowed(shared_host, what):
    text, line, parts = BROKEN[what]
    before = names(shared_host)
    done = apply_bytes(shared_host, text.encode("latin1"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert f"apps.yaml:{line}:" in done.stderr
    for part in parts:
        assert part in done.stderr, done.stderr
    assert "nothing was changed" in done.stderr
    assert "\x1b" not in done.stderr
    assert names(shared_host) == before


def test_a_billion_laughs_are_refused_without_eating_time_or_memory(shared_host):
    text = "a0: &a0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]\n"
    for n in range(1, 10):
        text += f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n"
    text += "apps: *a9\n"
    began = time.monotonic()
    done = apply_bytes(shared_host, text.encode())
    assert done.returncode == 1 and "nothing was changed" in done.stderr
    assert len(done.stderr) < 20000
    assert time.monotonic() - began < MAX_APPLY_S


def test_a_file_without_an_end_is_refused(shared_host):
    done = shared_host.niwa("apply", "/dev/zero", check=False)
    assert done.returncode == 1 and "nothing was changed" in done.stderr
    done = shared_host.niwa("apply", shared_host.dir / "none.yaml", check=False)
    assert done.returncode == 1 and "none.yaml" in done.stderr and "No such file" in done.stderr
    done = shared_host.niwa("apply", shared_host.dir, check=False)
    assert done.returncode == 1 and "nothing was changed" in done.stderr


def test_the_engine_refuses_what_a_client_did_not_check(shared_host):
    """The engine's socket is not only spoken to by niwa."""
    for record in ({}, {"name": "x"}, [], "x", None, {"name": "a", "image": "host", "command": ["x"], "ports": []},
                   {"name": "../../etc", "image": "host", "command": ["x"], "ports": [{"port": 1}]},
                   {"name": "ok", "image": "host", "command": ["x"], "ports": [{"port": 1}], "shell": True}):
        rpc = shared_host.connect()
        txn = rpc.call("apply.begin")["txn"]
        with pytest.raises(RpcError):
            rpc.call("apply.put", txn=txn, apps=[echo.app("fine"), record])
        with pytest.raises(RpcError, match="no such transaction"):
            rpc.call("apply.commit", txn=txn)
        rpc.close()
    assert "fine" not in names(shared_host)


def test_a_transaction_of_one_connection_is_none_of_anothers(shared_host):
    one, two = shared_host.connect(), shared_host.connect()
    txn = one.call("apply.begin")["txn"]
    with pytest.raises(RpcError, match="no such transaction"):
        two.call("apply.put", txn=txn, apps=[])
    one.call("apply.put", txn=txn, apps=[echo.app("half.example.com")])
    one.close()  # and with it the transaction
    assert two.call("ping")["apps"] == len(names(shared_host))
    assert "half.example.com" not in names(shared_host)
    two.close()


# -- published ports ------------------------------------------------------------------------------------------------


def listener(port, address="127.0.0.1"):
    s = socket.socket()
    s.bind((address, port))
    s.listen()
    return s


def published(name, port, **keys):
    return echo.app(name, ports=[{"port": 80, "protocol": "http", "publish": port}], **keys)


def test_a_published_port_that_another_program_has_is_refused_at_apply(shared_host):
    before = names(shared_host)
    with listener(18080):
        done = shared_host.apply(echo.file(echo.app("beside"), published("clash", 18080)), check=False)
        assert done.returncode == 1
        assert "clash" in done.stderr and "127.0.0.1:18080" in done.stderr and "another program" in done.stderr
        assert names(shared_host) == before
    shared_host.apply(echo.file(published("clash", 18080)))
    assert get("127.0.0.1", 18080)[0] == 200


def test_a_published_address_that_the_host_does_not_have_is_refused_at_apply(shared_host):
    done = shared_host.apply(echo.file(published("elsewhere", "192.0.2.7:18090")), check=False)
    assert done.returncode == 1 and "192.0.2.7:18090" in done.stderr
    assert "elsewhere" not in names(shared_host)


def test_two_files_cannot_publish_one_port(shared_host):
    shared_host.apply(echo.file(published("first", 18081)))
    done = shared_host.apply(echo.file(published("second", 18081)), check=False)
    assert done.returncode == 1
    assert "127.0.0.1:18081" in done.stderr and "app first" in done.stderr
    assert "second" not in names(shared_host)
    one, two = shared_host.dir / "one.yaml", shared_host.dir / "two.yaml"
    one.write_text(echo.file(published("third", 18082)))
    two.write_text(echo.file(published("fourth", 18082)))
    done = shared_host.niwa("apply", one, two, check=False)
    assert done.returncode == 1 and "18082" in done.stderr
    assert not {"third", "fourth"} & set(names(shared_host))


def test_two_files_cannot_declare_one_name(shared_host):
    one, two = shared_host.dir / "one.yaml", shared_host.dir / "two.yaml"
    one.write_text(echo.file(echo.app("twin")))
    two.write_text(echo.file(echo.app("twin", "--late", "5")))
    done = shared_host.niwa("apply", one, two, check=False)
    assert done.returncode == 1 and "two.yaml:" in done.stderr and "'twin'" in done.stderr, done.stderr
    assert "twin" not in names(shared_host)


def test_two_transactions_at_once_cannot_publish_one_port(shared_host):
    one, two = shared_host.connect(), shared_host.connect()
    txns = [(c, c.call("apply.begin")["txn"], name) for c, name in ((one, "race-a"), (two, "race-b"))]
    for c, txn, name in txns:
        c.call("apply.put", txn=txn, apps=[published(name, 18083)])
    one.call("apply.commit", txn=txns[0][1])
    with pytest.raises(RpcError, match="18083"):
        two.call("apply.commit", txn=txns[1][1])
    assert "race-b" not in names(shared_host)
    for c in (one, two):
        c.close()


def test_an_app_that_is_changed_to_publish_a_taken_port_stays_as_it_was(shared_host):
    shared_host.apply(echo.file(published("holder", 18084), echo.app("changed")))
    address = shared_host.address("changed")
    assert get(address)[0] == 200
    done = shared_host.apply(echo.file(published("changed", 18084)), check=False)
    assert done.returncode == 1 and "app holder" in done.stderr
    assert shared_host.show("changed")["generation"] == 1 and get(address)[0] == 200
    shared_host.apply(echo.file(published("changed", 18085)))
    assert get("127.0.0.1", 18085)[0] == 200
    shared_host.apply(echo.file(echo.app("changed")))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", 18085), timeout=2)


def test_a_published_port_moves_from_one_app_to_another_in_one_file(shared_host):
    shared_host.apply(echo.file(published("old", 18086), echo.app("new")))
    shared_host.apply(echo.file(echo.app("old"), published("new", 18086)))
    assert get("127.0.0.1", 18086)[0] == 200
    assert shared_host.state("old") == "stopped" and shared_host.state("new") == "running"


def test_a_published_port_can_be_had_again_at_once(shared_host):
    for name in ("again-a", "again-b", "again-a"):
        shared_host.apply(echo.file(published(name, 18087)))
        assert get("127.0.0.1", 18087)[0] == 200
        shared_host.niwa("rm", name)


# -- apps that do not start -----------------------------------------------------------------------------------------


def folder(name, mode=0o755):
    def make(host):
        path = host.dir / name
        path.mkdir(exist_ok=True)
        path.chmod(mode)
        return str(path)
    return make


def plain_file(host):
    path = host.dir / "plain-file"
    path.write_text("no image")
    return str(path)


FAILING = {  # name: (keys, what niwa says)
    "no-image": (dict(image="/nonexistent/image"), r"image '/nonexistent/image': No such file or directory"),
    "file-image": (dict(image=plain_file), r"image '.*/plain-file': Not a directory"),
    "empty-image": (dict(image=folder("empty")), r"execute '/echo': No such file or directory"),
    "never-imported": (dict(image="never-imported"), r"image 'never-imported'.*No such file"),
    "image-on-sysfs": (dict(image="/sys/kernel"), r"image-on-sysfs|image '/sys/kernel'"),
    "not-readable": (dict(image=folder("private", 0o700), user="1000"),
                     r"execute '/echo': (Permission denied|No such)"),
    "no-command": (dict(command=["/no/such/command"]), r"execute '/no/such/command': No such file or directory"),
    "not-executable": (dict(command=["/etc/passwd"]), r"execute '/etc/passwd': Permission denied"),
    "a-folder": (dict(command=["/etc"]), r"execute '/etc': Permission denied"),
    "not-in-path": (dict(command=["nosuch"]), r"execute 'nosuch': No such file or directory"),
    "no-workdir": (dict(workdir="/does/not/exist"), r"chdir /does/not/exist: No such file or directory"),
    "no-user": (dict(user="nobody-knows"), r"no user 'nobody-knows'"),
    "no-volume": (dict(volumes=[{"from": "/nonexistent/v", "to": "/v"}]),
                  r"volumes\[0\]\.from: '/nonexistent/v' \(create it.*No such file"),
    "no-owner": (dict(volumes=[{"from": "/usr/share/doc", "to": "/v", "owner": "no-such-user"}]),
                 r"owner 'no-such-user' is no user of this host"),
    "ends-at-once": (dict(command=["/echo", "--exit", "3"]), r"exited with status 3 before it was ready"),
    "ends-well-at-once": (dict(command=["/echo", "--exit", "0"]), r"status 0.*a command must stay in the foreground"),
    "forks-and-ends": (dict(command=["/echo", "--http", "80", "--background"]),
                       r"status 0.*a command must stay in the foreground"),
    "never-listens": (dict(command=["/echo", "--http", "80", "--silent"], ready={"deadline": "400ms"}),
                      r"was not ready in time: nothing listens on TCP port 80"),
    "only-loopback": (dict(command=["/echo", "--http", "127.0.0.1:80"], ready={"deadline": "400ms"}),
                      r"nothing listens on TCP port 80 \(on all addresses, not only 127\.0\.0\.1\)"),
    "other-port": (dict(command=["/echo", "--http", "81"], ready={"deadline": "400ms"}),
                   r"nothing listens on TCP port 80"),
    "never-healthy": (dict(ready={"http": "/reset", "deadline": "700ms"}), r"GET /reset on port 80 was not answered"),
    "never-notifies": (dict(ready={"notify": True, "deadline": "400ms"}), r"sent no READY=1"),
}


@pytest.mark.parametrize("name", FAILING)
def test_an_app_that_cannot_start_is_answered_for_explained_and_leaves_nothing(shared_host, name):
    keys, message = FAILING[name]
    keys = {k: v(shared_host) if callable(v) else v for k, v in keys.items()}
    shared_host.apply(echo.file(echo.app(name, **keys)))
    before = shared_host.kernel_objects()
    status, headers, body = get(shared_host.address(name))
    assert status == 503 and headers["Retry-After"] == "5" and name.encode() in body
    assert b"/nonexistent" not in body and b"exited" not in body  # the visitor learns nothing of the inside
    shared_host.wait_state(name, "stopped")
    shown = shared_host.show(name)
    assert re.search(message, shown["last_error"]), shown["last_error"]
    assert shown["failures"] == 1
    done = shared_host.niwa("wake", name, check=False)
    assert done.returncode == 1 and re.search(message, done.stderr), done.stderr
    for kind in ("groups", "layers", "veths"):
        wait_for(f"its {kind} are collected", lambda: set(shared_host.kernel_objects()[kind]) <= set(before[kind]))
    shared_host.niwa("rm", name)


def test_an_app_that_listens_late_is_waited_for(shared_host):
    shared_host.apply(echo.file(echo.app("late", "--late", "1200")))
    began = time.monotonic()
    assert get(shared_host.address("late"))[0] == 200
    assert time.monotonic() - began >= 1.2


def test_a_stop_says_that_waiting_connections_start_the_app_again(shared_host):
    shared_host.apply(echo.file(echo.app("stopped-late", "--late", "2000")))
    with socket.create_connection((shared_host.address("stopped-late"), 80), timeout=20 * SLOW) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        shared_host.wait_state("stopped-late", "starting")
        said = shared_host.niwa("stop", "stopped-late").stdout
        assert said.startswith("stopped-late: stopped, and started again by 1 waiting connections ("), said
        assert client.recv(4096).startswith(b"HTTP/1.")
    assert shared_host.niwa("stop", "stopped-late").stdout.startswith("stopped-late: stopped (")


def test_an_app_that_is_mended_serves_its_next_visitor(shared_host):
    shared_host.apply(echo.file(echo.app("mended", command=["/no/such/command"])))
    assert get(shared_host.address("mended"))[0] == 503
    shared_host.apply(echo.file(echo.app("mended")))
    assert get(shared_host.address("mended"))[0] == 200


def test_an_app_that_ends_at_once_is_not_started_for_each_visitor(shared_host):
    """The pause between starts grows; visitors of that time are answered at once."""
    shared_host.apply(echo.file(echo.app("flapping", "--exit", "1", restart={"backoff": "20s"})))
    address = shared_host.address("flapping")
    assert get(address)[0] == 503
    for _ in range(20):
        assert get(address)[0] == 503
    assert len([h for h in shared_host.show("flapping")["history"] if h["to"] == "starting"]) == 1


def test_what_an_app_prints_before_it_dies_is_in_its_log(shared_host):
    shared_host.apply(echo.file(echo.app("last-words", "--chatter", "3", "--exit", "1")))
    assert get(shared_host.address("last-words"))[0] == 503
    wait_for("the log", lambda: "line 3 of 3" in shared_host.app_log("last-words"))


def test_a_missing_volume_is_found_at_each_start(shared_host):
    volume = shared_host.dir / "comes-and-goes"
    shared_host.apply(echo.file(echo.app("volume", volumes=[{"from": str(volume), "to": "/v"}])))
    address = shared_host.address("volume")
    assert get(address)[0] == 503
    volume.mkdir()
    wait_for("the pause after the failure is over", lambda: get(address)[0] == 200)
    shared_host.niwa("stop", "volume")
    os.chown(volume, 0, 0)
    volume.rmdir()
    assert get(address)[0] == 503


# -- the answers of each protocol -----------------------------------------------------------------------------------


def talk(address, port, say=b""):
    with socket.create_connection((address, port), timeout=20) as s:
        s.settimeout(20)
        if say:
            s.sendall(say)
        data = b""
        while chunk := s.recv(4096):
            data += chunk
        return data


POSTGRES_STARTUP = (lambda body: (len(body) + 4).to_bytes(4, "big") + body)(b"\0\3\0\0user\0x\0\0")
ANSWERS = {
    "http": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", rb"(?s)\AHTTP/1\.1 503 .*\r\nRetry-After: 5\r\n.*dead"),
    "smtp": (b"", rb"\A421 4\.3\.2 dead.*\r\n\Z"),
    "lmtp": (b"", rb"\A421 4\.3\.2 dead.*\r\n\Z"),
    "imap": (b"", rb"\A\* BYE \[UNAVAILABLE\] dead.*\r\n\Z"),
    "pop3": (b"", rb"\A-ERR \[SYS/TEMP\] dead.*\r\n\Z"),
    "postgres": (POSTGRES_STARTUP, rb"(?s)\AE\0\0.*C57P03\0.*Mdead"),
    "mysql": (b"", rb"(?s)\A..\0\0\xff..dead"),
    "redis": (b"PING\r\n", rb"\A-ERR dead.*\r\n\Z"),
}


@pytest.fixture(scope="module")
def dead(shared_host):
    """An app that cannot start, with a port of each protocol; its fault is of the kind that no retry mends."""
    ports = [(1000 + n, p) for n, p in enumerate([*ANSWERS, "tcp"])]
    shared_host.apply(echo.file(echo.app("dead", image="/nonexistent", ports=ports)))
    return shared_host.address("dead"), {p: n for n, p in ports}


@pytest.mark.parametrize("protocol", ANSWERS)
def test_a_failed_wake_is_answered_in_the_ports_protocol_as_temporary(dead, protocol):
    address, ports = dead
    say, pattern = ANSWERS[protocol]
    data = talk(address, ports[protocol], say)
    assert re.search(pattern, data), data


def test_a_failed_wake_resets_a_tcp_connection(dead):
    address, ports = dead
    with pytest.raises(ConnectionResetError):
        talk(address, ports["tcp"])
