# SPDX-License-Identifier: MIT
"""What an app that is up can do to the host, and to those who connect to it."""

import socket
import urllib.error
import urllib.request

from host import wait_for

TWO_PORTS = """
apps:
  - name: two.example.com
    image: host
    command:
      - /usr/bin/python3
      - -c
      - |
        import http.server, os, threading, time
        def serve(port):
            http.server.HTTPServer(("", port), http.server.SimpleHTTPRequestHandler).serve_forever()
        os.chdir("/usr/share/doc/base-files")
        threading.Thread(target=serve, args=(80,)).start()
        while not os.path.exists("/tmp/go"):
            time.sleep(0.05)
        serve(81)
    ports: [{port: 80, protocol: http}, {port: 81, protocol: http}]
    sleep: {freeze: 0, page: 0, save: 10m}
    egress: none
    stop: {grace: 1s}
"""


def status(address, port, timeout=10):
    try:
        with urllib.request.urlopen(f"http://{address}:{port}/", timeout=timeout) as answer:
            return answer.status
    except urllib.error.HTTPError as answer:
        return answer.code


def test_a_declared_port_that_nobody_listens_on_is_answered_and_served_once_somebody_does(host):
    host.apply(TWO_PORTS)
    address = host.address("two.example.com")
    assert status(address, 80) == 200
    assert status(address, 81) == 503
    assert status(address, 80) == 200
    host.niwa("exec", "two.example.com", "--", "touch", "/tmp/go")
    wait_for("the second port is served", lambda: status(address, 81) == 200)
    assert host.show("two.example.com")["failures"] == 0


LATE = TWO_PORTS.replace("two.example.com", "late.example.com").replace(
    'while not os.path.exists("/tmp/go"):\n            time.sleep(0.05)', "time.sleep(0.4)")


def test_a_connection_to_a_port_that_is_opened_after_the_first_one_is_held_until_then(host):
    assert "time.sleep(0.4)" in LATE
    host.apply(LATE)
    assert status(host.address("late.example.com"), 81) == 200


ONE_LINE = """
apps:
  - name: chatty.example.com
    image: host
    command:
      - /bin/sh
      - -c
      - "head -c 8000000 /dev/zero | tr '\\\\0' x; yes '' | head -c 300000; exec /usr/bin/python3 -m http.server 80"
    ports: [{port: 80, protocol: http}]
    sleep: {freeze: 0, page: 0, save: 0}
    egress: none
    stop: {grace: 1s}
"""


def test_a_line_without_an_end_and_lines_without_a_text_stay_within_the_bound_of_the_log(host):
    host.kill_niwad()
    host.configure(log_max="256K")
    host.start_niwad()
    host.apply(ONE_LINE)
    with socket.create_connection((host.address("chatty.example.com"), 80), timeout=20) as s:
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert s.recv(12).startswith(b"HTTP/1.0 200")
    log = host.dir / "log" / "chatty.example.com.log"
    wait_for("the line of the request is in the log", lambda: log.exists() and log.stat().st_size)  # after a rename
    for path in (log, log.with_name(log.name + ".1")):
        assert path.stat().st_size <= 256 * 1024 + 128 * 1024


QUIET = """
apps:
  - name: quiet.example.com
    image: host
    command: [/usr/bin/python3, -m, http.server, "80", -d, /usr/share/doc/base-files]
    ports: [{port: 80, protocol: http}]
    max_waiting: 20
    sleep: {freeze: 0, page: 0, save: 0}
    egress: none
    stop: {grace: 1s}
"""


def test_silent_connections_are_bounded_per_app_and_make_room_when_they_end(host):
    host.apply(QUIET)
    address = host.address("quiet.example.com")
    silent = [socket.create_connection((address, 80), timeout=10) for _ in range(20)]
    with socket.create_connection((address, 80), timeout=10) as one_too_many:
        assert one_too_many.recv(12).startswith(b"HTTP/1.1 503")
    assert host.state("quiet.example.com") == "stopped"
    for s in silent[:10]:
        s.close()
    wait_for("there is room again", lambda: status(address, 80) == 200)
    for s in silent[10:]:
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert s.recv(12).startswith(b"HTTP/1.0 200")
        s.close()
    wait_for("the first byte is among the stages", lambda: "first_byte" in host.show("quiet.example.com")["stages"])
