# SPDX-License-Identifier: MIT
"""The thinnest path: declare, connect, sleep, wake."""

import socket
import subprocess
import urllib.request

import pytest
from host import wait_for

WEB = """
apps:
  - name: web.example.com
    tenant: example
    image: host
    command: [/usr/bin/python3, -m, http.server, "80", -d, /usr/share/doc]
    ports: [{{port: 80, protocol: http}}]
    sleep: {{freeze: {freeze}, page: 0, save: {save}}}
    egress: none
    stop: {{grace: 2s}}
"""


def get(address, timeout=20):
    with urllib.request.urlopen(f"http://{address}/", timeout=timeout) as answer:
        return answer.status, answer.read()


def test_an_app_sleeps_until_somebody_connects(host):
    host.apply(WEB.format(freeze="0", save="0"))
    assert host.state("web.example.com") == "stopped"
    assert host.nothing_left(), host.kernel_objects()
    assert get(host.address("web.example.com"))[0] == 200
    assert host.state("web.example.com") == "running"


def test_a_quiet_app_freezes_and_a_request_thaws_it(host):
    host.apply(WEB.format(freeze="300ms", save="0"))
    address = host.address("web.example.com")
    get(address)
    host.wait_state("web.example.com", "frozen")
    pid = host.pid("web.example.com")
    assert get(address)[0] == 200
    assert host.pid("web.example.com") == pid


def test_a_frozen_app_stops_and_leaves_nothing_behind(host):
    host.apply(WEB.format(freeze="200ms", save="700ms"))
    address = host.address("web.example.com")
    get(address)
    host.wait_state("web.example.com", "stopped")
    wait_for(f"nothing is left: {host.kernel_objects()}", host.nothing_left)
    assert get(address)[0] == 200


def test_an_undeclared_port_is_refused_at_once_and_wakes_nothing(host):
    host.apply(WEB.format(freeze="0", save="0"))
    address = host.address("web.example.com")
    for port in (79, 81, 443):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, port), timeout=2)
    assert host.state("web.example.com") == "stopped"


def test_a_connection_without_a_byte_wakes_no_http_app(host):
    host.apply(WEB.format(freeze="0", save="0"))
    with socket.create_connection((host.address("web.example.com"), 80), timeout=5) as s:
        s.settimeout(0.5)
        with pytest.raises(TimeoutError):
            s.recv(1)
        assert host.state("web.example.com") == "stopped"
        s.settimeout(20)
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert s.recv(12).startswith(b"HTTP/1.0 200")


def test_instances_and_open_connections_survive_a_killed_niwad(host):
    host.apply(WEB.format(freeze="0", save="0"))
    address = host.address("web.example.com")
    get(address)
    pid = host.pid("web.example.com")
    host.kill_niwad()
    assert get(address)[0] == 200
    host.start_niwad()
    assert host.pid("web.example.com") == pid
    assert get(address)[0] == 200
    assert subprocess.run(["kill", "-0", str(pid)]).returncode == 0


SLOW_ANSWER = """
apps:
  - name: slow.example.com
    image: host
    command:
      - /usr/bin/python3
      - -c
      - |
        import http.server, time
        class H(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                time.sleep(1.5)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"late")
        http.server.HTTPServer(("", 80), H).serve_forever()
    ports: [{port: 80, protocol: http}]
    sleep: {freeze: 200ms, page: 0, save: 0}
    egress: none
"""


def test_a_request_that_waits_inside_the_app_is_answered_before_the_app_freezes(host):
    host.apply(SLOW_ANSWER)
    address = host.address("slow.example.com")
    for _ in range(3):
        assert get(address) == (200, b"late")
        host.wait_state("slow.example.com", "frozen")
