# SPDX-License-Identifier: MIT
"""niwa-api beside a host of host.py, as the unit starts it, and questions to it byte by byte."""

import os
import shutil
import signal
import socket
import struct
import subprocess

from host import BUILD, SLOW, wait_for

A, NS, SOA, AAAA, ANY = 1, 2, 6, 28, 255
ZONE = "niwa.internal"
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)


class NiwaApi:
    """The process. Its user is niwa-api, its one capability that of low ports."""

    def __init__(self, host, address="127.0.0.64", port=53):
        self.host, self.at, self.process = host, (address, port), None
        self.socket = host.dir / "run/api.sock"
        shutil.copy2(BUILD / "src/api/niwa-api", host.dir / "libexec")

    def start(self, wait=True):
        said = len(self.log())
        self.process = subprocess.Popen(
            ["setpriv", "--reuid=niwa-api", "--regid=niwa-api", "--clear-groups", "--inh-caps=-all,+net_bind_service",
             "--ambient-caps=+net_bind_service", self.host.dir / "libexec/niwa-api", "--socket", self.socket],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.host.dir / "log/api.err", "ab"),
            env={k: v for k, v in os.environ.items() if k != "NOTIFY_SOCKET"}, start_new_session=True)
        if wait:
            wait_for("niwa-api knows the names", lambda: " names in " in self.log()[said:] or not self.alive())
            assert self.alive(), self.log()
        return self

    def alive(self):
        return self.process.poll() is None

    def log(self):
        path = self.host.dir / "log/api.err"
        return path.read_text(errors="replace") if path.exists() else ""

    def stop(self, sig=signal.SIGTERM):
        if self.process and self.alive():
            self.process.send_signal(sig)
            self.process.wait(10 * SLOW)

    # -- questions --------------------------------------------------------------------------------------------------

    def ask(self, name, kind=A, tries=3):
        """(code, addresses) over UDP; a datagram may be lost."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(self.at)
            sock.settimeout(2 * SLOW)
            for left in range(tries, 0, -1):
                sock.send(question(name, kind))
                try:
                    return read(sock.recv(4096))
                except (TimeoutError, ConnectionRefusedError):
                    if left == 1:
                        raise

    def address(self, name):
        code, addresses = self.ask(name)
        assert code == NOERROR and len(addresses) == 1, (name, code, addresses)
        return addresses[0]

    def connect(self):
        sock = socket.create_connection(self.at, timeout=5 * SLOW)
        return sock

    def dig(self, *args):
        done = subprocess.run(["dig", f"@{self.at[0]}", "-p", str(self.at[1]), "+time=2", "+tries=3", *args], capture_output=True,
                              text=True, timeout=30 * SLOW, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def question(name, kind=A, number=0x1234):
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", number, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", kind, 1)


def read(answer):
    """Code and addresses of an answer of ours: each record's owner is a pointer."""
    number, flags, questions, answers = struct.unpack(">HHHH", answer[:8])
    assert number == 0x1234 and flags & 0x8000 and questions in (0, 1)
    at = answer.index(b"\0", 12) + 5 if questions else 12
    addresses = []
    for _ in range(answers):
        kind, length = struct.unpack(">2xH6xH", answer[at:at + 12])
        if kind == A:
            addresses.append(socket.inet_ntoa(answer[at + 12:at + 12 + length]))
        at += 12 + length
    return flags & 15, addresses


def tcp_ask(sock, *names):
    """All questions in one piece; their codes and addresses."""
    sock.sendall(b"".join(struct.pack(">H", len(question(n))) + question(n) for n in names))
    stream = sock.makefile("rb")
    return [read(stream.read(struct.unpack(">H", stream.read(2))[0])) for _ in names]


# -- apps that nobody wakes ---------------------------------------------------------------------------------------------


def app(name, *routes):
    """In an app file; a route is a domain and a protocol."""
    routes = ", ".join(f"{{domain: {domain}, protocol: {protocol}}}" for domain, protocol in routes)
    return f"- {{name: {name}, tenant: t, image: host, command: [/bin/true], ports: [{{port: 80}}], routes: [{routes}]}}\n"


def record(name, *domains):
    """For commit(); the protocol is http."""
    return {"name": name, "tenant": "t", "image": "host", "command": ["/bin/true"], "ports": [{"port": 80}],
            "routes": [{"domain": domain} for domain in domains]}


def commit(rpc, *records):
    txn = rpc.call("apply.begin")["txn"]
    rpc.call("apply.put", txn=txn, apps=list(records))
    return rpc.call("apply.commit", txn=txn)
