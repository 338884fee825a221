# SPDX-License-Identifier: MIT
"""nginx of this machine with the files of dist/nginx, as installed; and an app that tells what reached it."""

import contextlib
import json
import os
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

from host import SLOW, TOP, wait_for

ANY_CLIENT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
ANY_CLIENT.check_hostname = False
ANY_CLIENT.verify_mode = ssl.CERT_NONE

MAIN = """
{perl}user www-data;
worker_processes {workers};
daemon off;
pid {dir}/nginx.pid;
worker_rlimit_nofile 16384;
error_log {dir}/error.log notice;
events {{ worker_connections 8192; }}
http {{
    access_log {log};
    {temporary}
    {more}
    include {dir}/niwa/niwa.conf;
}}
"""


class Front:
    """with Front(folder) as front: …"""

    def __init__(self, folder, more="", workers=1, perl=None, ports=(80, 443), log=None):
        self.dir, self.process, self.ports = folder, None, ports
        self.installed = folder / "niwa"
        self.tls = folder / "etc/tls"
        self.tls.mkdir(parents=True)
        self.installed.mkdir()
        folder.chmod(0o755)
        for path in (TOP / "dist/nginx").iterdir():
            text = path.read_text().replace("@NGINX@", str(self.installed)).replace("@CONF@", str(folder / "etc"))
            for usual, port in zip((80, 443), ports):
                text = text.replace(f"listen {usual} ", f"listen 127.0.0.1:{port} ")
                text = text.replace(f"listen [::]:{usual} ", f"listen [::1]:{port} ")
            text = text.replace("valid=10s", "valid=1s")  # no test waits so long
            if perl:
                text = text.replace("/certificates.conf;", "/certificates-perl.conf;")
            (self.installed / path.name.removesuffix(".in")).write_text(text)
        temporary = []
        for kind in ("client_body", "proxy", "fastcgi", "scgi", "uwsgi"):
            (folder / kind).mkdir()
            shutil.chown(folder / kind, "www-data")
            temporary.append(f"{kind}_temp_path {folder}/{kind};")
        (folder / "main.conf").write_text(MAIN.format(dir=folder, temporary="\n    ".join(temporary), more=more, workers=workers,
                                                      log=log or folder / "access.log",
                                                      perl=f"load_module {perl};\n" if perl else ""))
        self.certificate("default")

    def __enter__(self):
        self.process = subprocess.Popen(["nginx", "-p", self.dir, "-c", self.dir / "main.conf"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=open(self.dir / "started.err", "ab"))
        try:
            wait_for("nginx listens", self.listens)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(10 * SLOW)

    def listens(self):
        assert self.process.poll() is None, (self.dir / "started.err").read_text()
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.ports[1])) == 0

    def certificate(self, name):
        folder = self.tls / name
        folder.mkdir()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=" + name, "-addext", "subjectAltName=DNS:" + name, "-keyout", folder / "privkey.pem",
                        "-out", folder / "fullchain.pem"], check=True, capture_output=True)
        shutil.chown(folder / "privkey.pem", "root", "www-data")
        (folder / "privkey.pem").chmod(0o640)
        return (folder / "fullchain.pem").read_text()

    def workers(self):
        return set(subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True,
                                  check=True).stdout.split())

    def errors(self):
        return (self.dir / "error.log").read_text(errors="replace")

    def held(self):
        """Bytes of bodies that the workers have in files, which have no name."""
        total = 0
        for pid in self.workers():
            for fd in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    total += os.stat(fd).st_size if "/client_body/" in os.readlink(fd) else 0
        return total

    # -- clients ----------------------------------------------------------------------------------------------------

    def get(self, host, path="/", **more):
        return self.ask(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode("latin1"), **more)

    def post(self, host, body, path="/", more=()):
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}", "Connection: close", f"Content-Length: {len(body)}", *more, "", ""]
        return self.ask("\r\n".join(lines).encode() + body)

    def ask(self, request, tls=None):
        """(status, headers, body) of an HTTP/1.1 request; tls: the name to say."""
        with self.connect(tls) as sock:
            sock.sendall(request)
            return read_answer(sock)

    @contextlib.contextmanager
    def connect(self, tls=None):
        with socket.create_connection(("127.0.0.1", self.ports[tls is not None]), timeout=40 * SLOW) as sock:
            if tls is None:
                yield sock
            else:
                with ANY_CLIENT.wrap_socket(sock, server_hostname=tls or None) as secure:
                    yield secure

    def certificate_for(self, name):
        """What a client is shown that says this name, byte by byte as it stands there; "": none is said."""
        said = ["-servername", name] if name else ["-noservername"]
        done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{self.ports[1]}", *said], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False, timeout=20 * SLOW)
        for line in done.stdout.splitlines():
            if line.startswith("subject="):
                return line.rpartition("=")[2].strip()
        return None


def read_answer(sock):
    stream = sock.makefile("rb")
    status = stream.readline()
    headers = {}
    while line := stream.readline().strip():
        key, _, value = line.decode("latin1").partition(":")
        headers[key.lower()] = value.strip()
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(stream.readline(), 16):
            body += stream.read(size)
            stream.readline()
    elif "content-length" in headers:
        body = stream.read(int(headers["content-length"]))
    else:
        body = stream.read()
    return int(status.split()[1]) if status else 0, headers, body


# -- the app ------------------------------------------------------------------------------------------------------------

PROGRAM = r'''
import base64, hashlib, json, os, socketserver, sys

class Handler(socketserver.StreamRequestHandler):
    """Tells what reached it; /break-off ends without an answer, /elsewhere asks the front to look elsewhere; says back what
    comes after a WebSocket's handshake."""

    def handle(self):
        request = self.rfile.readline().decode().split()
        if len(request) < 2:
            return
        headers = []
        while line := self.rfile.readline().strip():
            key, _, value = line.decode("latin1").partition(":")
            headers.append((key.lower(), value.strip()))
        known = dict(headers)
        body = self.rfile.read(int(known.get("content-length", 0)))
        with open("/data/requests", "a") as log:
            log.write(f"{request[0]} {request[1]}\n")
        if request[1] == "/break-off":
            return
        if known.get("upgrade") == "websocket":
            key = hashlib.sha1((known["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
            self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             b"Sec-WebSocket-Accept: " + base64.b64encode(key) + b"\r\n\r\n")
            while piece := self.connection.recv(4096):
                self.wfile.write(piece)
            return
        more = b"X-Accel-Redirect: /.well-known/acme-challenge/secret\r\n" if request[1] == "/elsewhere" else b""
        told = json.dumps({"app": os.uname().nodename, "request": request, "headers": headers, "bytes": len(body),
                           "sha": hashlib.sha256(body).hexdigest()}).encode()
        self.wfile.write(b"HTTP/1.1 200 OK\r\n" + more + b"Content-Length: %d\r\n\r\n" % len(told) + told)

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

Server(("", 80), Handler).serve_forever()
'''


def site(folder, name, *domains, **keys):
    """An app of an app file; folder is written to by it."""
    data = folder / name
    data.mkdir(exist_ok=True)
    (folder / "site.py").write_text(PROGRAM)
    return {"name": name, "tenant": "web", "image": "host", "command": ["python3", "/site/site.py"], "egress": "none",
            "ports": [{"port": 80, "protocol": "http"}], "routes": [{"domain": domain} for domain in domains],
            "volumes": [{"from": str(folder), "to": "/site", "read_only": True}, {"from": str(data), "to": "/data", "owner": "tenant"}],
            "sleep": {"freeze": "never", "page": "never", "save": "never"}, "stop": {"grace": "0s"}, **keys}


def requests(folder, name):
    path = folder / name / "requests"
    return path.read_text().splitlines() if path.exists() else []


def apply(host, *sites):
    return host.apply(json.dumps({"apps": list(sites)}))


def told(answer):
    status, _, body = answer
    assert status == 200, answer
    return json.loads(body)
