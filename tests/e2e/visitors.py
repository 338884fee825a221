# SPDX-License-Identifier: MIT
"""Visitors of apps on a host of many tenants."""

import contextlib
import http.client
import socket
import struct

from host import SLOW, wait_for


def visit(address, timeout=30):
    """(status, headers) of GET /."""
    conn = http.client.HTTPConnection(address, 80, timeout=timeout * SLOW)
    try:
        conn.request("GET", "/")
        answer = conn.getresponse()
        answer.read()
        return answer.status, dict(answer.getheaders())
    finally:
        conn.close()


@contextlib.contextmanager
def knock(address, port=80):
    """A visitor who breaks off in the end."""
    with socket.create_connection((address, port), timeout=10 * SLOW) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        yield
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def addresses(host):
    return {row["name"]: row["service_address"] for row in host.rpc("app.list")["apps"]}


def empty(host):
    """What a test has declared goes, for the next one."""
    names = [row["name"] for row in host.rpc("app.list")["apps"]]
    if names:
        host.niwa("rm", *names)
    wait_for("nothing of it lives", lambda: host.rpc("host.status")["instances"] == 0)
