# SPDX-License-Identifier: MIT
"""niwa-api with other settings, and when it cannot do what it should."""

import json
import re
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest
from host import BUILD, SLOW, Host, wait_for
from names import NOERROR, NXDOMAIN, ZONE, NiwaApi, app, question, tcp_ask

SETTINGS = {"domain": "apps.example", "dns_listen": "0.0.0.0:5300", "dns_ttl": "5m", "dns_negative_ttl": "10s",
            "dns_connections": 8, "dns_idle": "1s"}


@pytest.fixture(scope="module")
def host():
    h = Host(**SETTINGS).start()
    h.apply("apps:\n" + app("blog"))
    yield h
    h.stop()


@pytest.fixture
def api(host):
    a = NiwaApi(host, "127.0.0.9", 5300).start()
    yield a
    a.stop()


def test_domain_address_and_times_are_those_of_the_configuration(host, api):
    answer = api.dig("blog.apps.example")
    assert re.search(rf"^blog\.apps\.example\.\s+300\s+IN\s+A\s+{host.address('blog')}$", answer, re.M), answer
    assert re.search(r"^apps\.example\.\s+10\s+IN\s+SOA", api.dig("no.apps.example"), re.M)


def test_tcp_connections_that_say_nothing_keep_nobody_out_and_end(host, api):
    before = len(list(Path(f"/proc/{api.process.pid}/fd").iterdir()))
    silent = [api.connect() for _ in range(20)]
    for sock in silent[-3:]:
        sock.sendall(b"\0\x30half")
    with api.connect() as sock:
        assert tcp_ask(sock, "blog.apps.example")[0][0] == NOERROR
    files = len(list(Path(f"/proc/{api.process.pid}/fd").iterdir()))
    assert files <= before + 8, files
    began = time.monotonic()
    for sock in silent:
        sock.settimeout(5 * SLOW)
        try:
            assert sock.recv(1) == b""
        except ConnectionResetError:
            pass
    assert time.monotonic() - began < 3 * SLOW
    assert api.address("blog.apps.example") == host.address("blog")


def test_who_asks_by_tcp_and_does_not_read_is_not_read_from_and_ends(host, api):
    asked = question("blog.apps.example")
    with api.connect() as sock:
        sock.settimeout(5 * SLOW)
        with pytest.raises(OSError):  # a time-out while it is not read from, and no more than that, would be one too
            for _ in range(1 << 20):
                sock.sendall((struct.pack(">H", len(asked)) + asked) * 100)
    assert api.address("blog.apps.example") == host.address("blog")


def test_with_other_settings_it_ends_to_be_started_again(host, api):
    host.kill_niwad()
    host.configure(**{**SETTINGS, "dns_ttl": "6m"})
    host.start_niwad()
    assert api.process.wait(10 * SLOW) == 0
    api.start()
    assert re.search(r"^blog\.apps\.example\.\s+360\s+IN\s+A", api.dig("blog.apps.example"), re.M)


def test_an_address_that_is_taken_is_named_with_the_key_to_change(host):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.64", 5300))
        api = NiwaApi(host)
        api.start(wait=False)
        assert api.process.wait(10 * SLOW) == 1
        assert "listen on 0.0.0.0:5300 (dns_listen of niwad.conf): UDP: Address already in use" in api.log()


def test_an_address_of_the_service_range_is_refused(tmp_path):
    (tmp_path / "niwad.conf").write_text("dns_listen = 10.64.0.5:53\n")
    done = subprocess.run([BUILD / "src/engine/niwad", "--config", tmp_path / "niwad.conf", "--print-config"], capture_output=True,
                          text=True, timeout=10 * SLOW, check=False)
    assert done.returncode == 2 and "is in service_range" in done.stderr


def test_niwa_api_does_not_run_as_root(host):
    done = subprocess.run([NiwaApi(host).host.dir / "libexec/niwa-api"], capture_output=True, text=True, timeout=10 * SLOW, check=False)
    assert done.returncode == 1 and "not for root" in done.stderr


def test_names_that_are_not_known_yet_are_not_denied(host):
    """A resolver would remember that they are not there."""
    listener = socket.socket(socket.AF_UNIX)
    path = host.dir / "run/other.sock"
    listener.bind(str(path))
    path.chmod(0o777)
    listener.listen()
    listener.settimeout(10 * SLOW)
    api, said = NiwaApi(host), len(NiwaApi(host).log())
    api.socket = path
    api.start(wait=False)
    conn = listener.accept()[0]
    settings = {"domain": ZONE, "address": "127.0.0.64", "port": 53, "ttl": 3600, "negative_ttl": 1, "tcp_connections": 4, "tcp_idle_us": 10**7}
    try:
        for message in ({"id": 1, "result": settings}, {"method": "names.changed", "params": {"set": {"a": "10.64.0.9"}, "gone": []}}):
            conn.sendall(json.dumps(message).encode() + b"\n")
        wait_for("the one that is known is answered", lambda: "answering for" in api.log()[said:] and api.ask(f"a.{ZONE}") == (NOERROR, ["10.64.0.9"]))
        assert api.ask(f"b.{ZONE}")[0] == 2  # SERVFAIL
        conn.sendall(b'{"method": "names.complete", "params": {"count": 1}}\n')
        wait_for("the other one is denied", lambda: api.ask(f"b.{ZONE}")[0] == NXDOMAIN)
    finally:
        api.stop()
