# SPDX-License-Identifier: MIT
"""nginx in front of apps, with the files that niwa brings for it (niwa-nginx(7)): domains and certificates that come and go,
what becomes of a request on its way, and clients that mean harm."""

import contextlib
import os
import socket
import subprocess
from pathlib import Path

import pytest
from front import Front, apply, read_answer, requests, site, told
from host import SLOW, Host, wait_for
from names import NiwaApi

PERL = "/usr/lib/nginx/modules/ngx_http_perl_module.so"


@pytest.fixture(scope="module")
def host():
    host = Host().start()
    (host.dir / "sites").mkdir(mode=0o755)
    api = NiwaApi(host)
    try:
        api.start()
        apply(host, site(host.dir / "sites", "one", "one.example", "www.one.example"))
        yield host
    finally:
        api.stop()
        host.stop()


@pytest.fixture(scope="module")
def front(host):
    with Front(host.dir / "front") as front:
        front.certificate("one.example")
        yield front


@pytest.fixture(scope="module")
def other(host):
    """One more, with nginx's Perl module."""
    with Front(host.dir / "other", perl=PERL, ports=(81, 444)) as other:
        other.certificate("one.example")
        yield other


@pytest.fixture
def declared(host):
    """declared(name, domain…) applies one more site, which is gone after the test."""
    names = []

    def declare(name, *domains, **keys):
        names.append(name)
        apply(host, site(host.dir / "sites", name, *domains, **keys))
        return host.address(name)

    yield declare
    host.niwa("rm", "--yes", *names)


@contextlib.contextmanager
def first_connections(address, count):
    """The first so many connections to the address are refused; how many were."""
    rules = f"""
        add table ip refuse
        add chain ip refuse output {{ type filter hook output priority -350; }}
        add rule ip refuse output ip daddr {address} tcp dport 80 tcp flags & (syn | ack) == syn numgen inc mod 1000000 < {count} \\
            reject with tcp reset
    """
    subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)
    try:
        yield
    finally:
        subprocess.run(["nft", "delete", "table", "ip", "refuse"], check=True)


def established(address):
    """Is there a connection to it?"""
    at = "".join(f"{int(part):02X}" for part in reversed(address.split("."))) + ":0050"
    return any(line.split()[2] == at and line.split()[3] == "01" for line in Path("/proc/net/tcp").read_text().splitlines()[1:])


# -- names --------------------------------------------------------------------------------------------------------------


def test_a_request_wakes_the_app_that_has_the_domain(host, front):
    host.niwa("stop", "one")
    for domain in ("one.example", "www.one.example", "ONE.example", "one.example.", "one.example:80"):
        assert told(front.get(domain))["app"] == "one"
    assert host.state("one") == "running"


def test_domains_come_and_go_and_move_without_a_reload(host, front, declared):
    workers = front.workers()
    assert front.get("come.example")[0] == 503
    declared("first", "come.example")
    assert told(front.get("come.example"))["app"] == "first"
    apply(host, site(host.dir / "sites", "first"), site(host.dir / "sites", "second", "come.example"))
    wait_for("it leads to the other app", lambda: told(front.get("come.example"))["app"] == "second")
    host.niwa("rm", "--yes", "second")
    wait_for("nobody has it", lambda: front.get("come.example")[0] == 503)
    assert front.workers() == workers


def test_what_is_nobody_s_name_is_answered(front):
    status, headers, body = front.get("nobody.example")
    assert status == 503 and headers["retry-after"] == "60" and b"No site has this name" in body


BAD_HOSTS = ["127.0.0.88?", "127.0.0.88?x.example", "127.0.0.88#", "127.0.0.88;", "a@127.0.0.88", "[::1]", "one_example", "-one.example",
             "one-.example", "*.example", "%2e", "one.example%00", "{a}", "$host", "'", "x" * 64 + ".example",
             ".".join(["abcdefghi"] * 24), "", "_"]
WORSE_HOSTS = ["..", "one..example", "../one.example", "one.example/", "one example", "one.example\0x", "\x7f.example"]


def test_a_host_that_is_no_domain_reaches_nothing(front):
    with socket.create_server(("127.0.0.88", 80)) as trap:
        trap.settimeout(0.2)
        for name in BAD_HOSTS:
            assert front.get(name)[0] in (400, 421), name
        for name in WORSE_HOSTS:
            assert front.get(name)[0] == 400, name
        for name in ("127.0.0.88", "127.0.0.88:80", "localhost", "one.example.http.niwa.internal", "niwa.internal"):
            assert front.get(name)[0] == 503, name
        for line in ("GET http://127.0.0.88?/ HTTP/1.1", "GET http://127.0.0.88/ HTTP/1.1"):
            assert front.ask(f"{line}\r\nHost: one.example\r\nConnection: close\r\n\r\n".encode())[0] in (421, 503), line
        assert front.ask(b"GET / HTTP/1.0\r\n\r\n")[0] == 421
        with pytest.raises(TimeoutError):
            trap.accept()


# -- what reaches the app -----------------------------------------------------------------------------------------------


def test_a_client_cannot_say_who_it_is_and_where_it_comes_from(front):
    forged = ["X-Forwarded-For: 10.1.1.1", "X-Forwarded-Proto: https", "X-Real-IP: 10.1.1.1", "X-Forwarded-Host: other.example",
              "Forwarded: for=10.1.1.1", "Proxy: 10.1.1.1", "Upgrade: h2c"]
    request = "\r\n".join(["GET / HTTP/1.1", "Host: one.example:8080", *forged, "Connection: close", "", ""])
    headers = told(front.ask(request.encode()))["headers"]
    assert sorted(h for h in headers if h[0] not in ("accept", "user-agent")) == [
        ["connection", "close"], ["host", "one.example:8080"], ["x-forwarded-for", "127.0.0.1"],
        ["x-forwarded-host", "one.example:8080"], ["x-forwarded-port", "80"], ["x-forwarded-proto", "http"], ["x-real-ip", "127.0.0.1"]]
    headers = dict(told(front.get("one.example", tls="one.example"))["headers"])
    assert headers["x-forwarded-proto"] == "https" and headers["x-forwarded-port"] == "443"


def test_a_request_whose_body_comes_slowly_wakes_the_app_when_it_is_whole(host, front):
    host.niwa("stop", "one")
    body = os.urandom(1 << 20)
    with front.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
        sock.sendall(body[:-1])
        wait_for("nginx has taken it", lambda: front.held() > len(body) - 65536)
        assert host.state("one") == "stopped"
        sock.sendall(body[-1:])
        answer = told(read_answer(sock))
    assert answer["bytes"] == len(body) and host.state("one") == "running"


def test_an_http_2_client_is_answered(host, front):
    said = subprocess.run(["curl", "-sk", "--http2", "--resolve", "one.example:443:127.0.0.1", "-w", "%{http_version} %{http_code}",
                           "-o", "/dev/null", "https://one.example/"], capture_output=True, text=True, timeout=30 * SLOW, check=True)
    assert said.stdout == "2 200"


@pytest.mark.parametrize("refused", [0, 1])
def test_a_websocket_stays_open(host, front, refused):
    with first_connections(host.address("one"), refused), front.connect() as sock:
        sock.sendall(b"GET /socket HTTP/1.1\r\nHost: one.example\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n"
                     b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        stream = sock.makefile("rb")
        assert b" 101 " in stream.readline()
        while stream.readline().strip():
            pass
        for text in (b"hello", b"again"):
            sock.sendall(text)
            assert stream.read(5) == text


def test_an_app_cannot_send_a_request_on_to_files_of_the_host(host, front):
    assert told(front.get("one.example", "/elsewhere"))["request"][1] == "/elsewhere"


# -- what is tried again ------------------------------------------------------------------------------------------------


def test_a_connection_that_is_refused_once_is_tried_again(host, front, declared):
    address = declared("refused", "refused.example")
    for method in ("GET", "POST"):
        with first_connections(address, 1):
            answer = front.post("refused.example", b"body") if method == "POST" else front.get("refused.example")
            assert told(answer)["request"][0] == method
            assert told(answer)["bytes"] == (4 if method == "POST" else 0)
    assert requests(host.dir / "sites", "refused") == ["GET /", "POST /"]


def test_what_an_acme_client_has_not_put_there_goes_the_way_of_all(host, front):
    path = "/.well-known/acme-challenge/x"
    with first_connections(host.address("one"), 1):
        assert told(front.get("one.example", path))["request"][1] == path
    status, headers, _ = front.get("nobody.example", path)
    assert status == 503 and headers["retry-after"] == "60"


def test_a_connection_that_is_refused_twice_is_an_error(host, front):
    with first_connections(host.address("one"), 2):
        assert front.get("one.example")[0] == 502


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_request_that_an_app_has_seen_is_never_sent_twice(host, front, declared, method):
    name = f"breaks-{method.lower()}"
    declared(name, name + ".example")
    ask = front.get if method == "GET" else lambda domain, path: front.post(domain, b"body", path)
    status, _, body = ask(name + ".example", "/break-off")
    assert status == 502 and b"broken off" in body
    assert requests(host.dir / "sites", name) == [f"{method} /break-off"]


def test_the_answer_of_a_wake_that_fails_comes_through(host, front, declared):
    declared("broken", "broken.example", command=["/bin/false"])
    status, headers, _ = front.get("broken.example")
    assert status == 503 and int(headers["retry-after"]) > 0


def test_a_request_that_comes_while_niwad_is_away_is_answered_when_it_is_back(host, front):
    host.niwa("stop", "one")
    address = host.address("one")
    host.kill_niwad()
    with front.connect() as sock:
        sock.sendall(b"POST /late HTTP/1.1\r\nHost: one.example\r\nConnection: close\r\nContent-Length: 4\r\n\r\nbody")
        wait_for("nginx has connected", lambda: established(address))
        host.start_niwad()
        assert told(read_answer(sock))["bytes"] == 4
    assert requests(host.dir / "sites", "one").count("POST /late") == 1


# -- certificates -------------------------------------------------------------------------------------------------------


def test_each_domain_shows_its_own_certificate_also_one_that_came_later(front):
    workers = front.workers()
    assert front.certificate_for("one.example") == "one.example"
    assert front.certificate_for("later.example") is None
    front.certificate("later.example")
    assert front.certificate_for("later.example") == "later.example"
    (front.tls / "later.example").rename(front.tls / "gone")
    assert front.certificate_for("later.example") is None
    assert front.workers() == workers


BAD_NAMES = ["", "../tls/one.example", "../../../../etc/ssl", "one.example/../one.example", "/etc/ssl", ".", "..", "ONE.example",
             "one.example.", "one_example", "127.0.0.1", "one.example:443", "$host", "a\nb", "one.example\n", "*", "x" * 64, "%2e%2e",
             ".".join(["abcdefghi"] * 24)]


def test_a_name_in_a_handshake_that_is_no_domain_gets_the_default_certificate(front):
    before = len(front.errors())
    for name in BAD_NAMES:
        assert front.certificate_for(name) in ("default", None), name
    opened = [line for line in front.errors()[before:].splitlines() if "cannot load certificate" in line]
    assert not [line for line in opened if str(front.tls / "127.0.0.1") not in line], opened


def test_with_nginx_s_perl_module_every_other_name_gets_the_default_certificate(other):
    assert other.certificate_for("one.example") == "one.example"
    for name in ["nobody.example", *BAD_NAMES]:
        assert other.certificate_for(name) == "default", name
    assert told(other.get("one.example", tls="one.example"))["app"] == "one"
