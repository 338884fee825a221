# SPDX-License-Identifier: MIT
"""What images may cost: room and time of a dump, the life of memory, and what people ask of them by hand."""

import os
import urllib.request
from pathlib import Path

import pytest
from clients import apply
from host import Host, wait_for

CRIU = Path(os.environ.get("NIWA_CRIU", "/usr/local/libexec/niwa/criu"))
AWAKE = {"freeze": "never", "page": "never", "save": "never"}
HIBERNATES = {"freeze": "200ms", "page": "never", "save": "500ms", "connection": "1s", "keep": "memory"}
SERVER = """
import http.server, os
for name, size in (pair.split("=") for pair in os.environ.get("SPARSE", "").split()):
    with open(name, "wb") as file:
        file.write(b"begin")
        file.truncate(int(size))
        file.seek(int(size) - 3)
        file.write(b"end")
heard = []
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        heard.append(self.path)
        text = " ".join(heard)
        if self.path.startswith("/ends/"):
            with open(self.path[5:], "rb") as file:
                text = file.read(5).decode()
                file.seek(-4, 2)
                text += repr(file.read())
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 80), Answer).serve_forever()
"""


@pytest.fixture
def garden():
    """A host that has CRIU."""
    host = Host(criu=CRIU).start()
    yield host
    host.stop()


def app(**keys):
    return {"name": "a", "tenant": "alice", "image": "host", "command": ["python3", "-c", SERVER],
            "ports": [{"port": 80, "protocol": "http"}], "sleep": AWAKE, "stop": {"grace": "1s"}, **keys}


def ask(host, path="/"):
    with urllib.request.urlopen(f"http://{host.address('a')}{path}", timeout=60) as answer:
        return answer.read().decode()


def known(host):
    return host.show("a")["snapshot"]


def settled(host):
    wait_for("an image is taken or refused", lambda: known(host)["usable"] or known(host)["refused"])
    return known(host)


def test_holes_of_files_are_neither_copied_nor_counted_and_are_there_after_a_restore(garden):
    """Sixteen times what an image may have, in the layer and in shared memory."""
    files = f"/tmp/x={16 << 30} /dev/shm/x={16 << 30}"
    apply(garden, app(snapshot="ready", env={"SPARSE": files}, limits={"memory": "128M"}))
    ask(garden)
    assert settled(garden)["usable"], known(garden)
    assert known(garden)["bytes"] < 64 << 20 and known(garden)["still_us"] < 2_000_000
    garden.niwa("snapshot", "verify", "a")
    garden.niwa("stop", "a")
    for name in ("/tmp/x", "/dev/shm/x"):
        assert ask(garden, f"/ends{name}") == "beginb'\\x00end'"
    assert known(garden)["restores"] == 1
