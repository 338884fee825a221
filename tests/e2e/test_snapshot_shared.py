# SPDX-License-Identifier: MIT
"""Apps that share an image, which is taken of a template that is none of them."""

import json
import os
import re
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clients import AWAKE, apply
from host import SLOW, Host, wait_for

CRIU = Path(os.environ.get("NIWA_CRIU", "/usr/local/libexec/niwa/criu"))

# Remembers what it saw at its start, and answers with it; its environment is asked for only then.
SERVER = """
import http.server, os, socket
began = {"host": socket.gethostname(), "env": dict(os.environ), "volume": os.listdir("/data") if os.path.isdir("/data") else None}
def now():
    folder = "/run/niwa/env"
    return {"host": socket.gethostname(), "pid": os.getpid(),
            "env": {n: open(f"{folder}/{n}").read() for n in os.listdir(folder)} if os.path.isdir(folder) else {},
            "generation": open("/run/niwa/generation").read().strip(),
            "volume": os.listdir("/data") if os.path.isdir("/data") else None}
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        import json
        text = json.dumps({"began": began, "now": now()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
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


def app(name, program=SERVER, **keys):
    return {"name": name, "tenant": "web", "image": "host", "command": ["python3", "-c", program],
            "ports": [{"port": 80, "protocol": "http"}], "sleep": AWAKE, "snapshot": "shared", "egress": "none",
            "stop": {"grace": "1s"}, **keys}


def ask(address):
    with urllib.request.urlopen(f"http://{address}/", timeout=60 * SLOW) as answer:
        return json.loads(answer.read())


def known(host, name):
    return host.show(name)["snapshot"]


def path(host, name):
    return host.show(name)["last_wake"]["path"]


def images(host):
    return [p for p in (host.dir / "state/snapshots").iterdir() if not p.name.startswith(".")]


def usable(host, name):
    """Waits until the app has an image, or there is a reason."""
    wait_for(f"an image for {name}", lambda: known(host, name)["usable"] or known(host, name)["refused"], timeout=20)
    assert known(host, name)["usable"], known(host, name)
    return known(host, name)


def visited(host, name):
    """A first visitor, after whom there is an image; the app is asleep again."""
    answer = ask(host.address(name))
    assert path(host, name) == "start"
    usable(host, name)
    host.niwa("stop", name)
    host.wait_state(name, "saved")
    return answer


def listed(host):
    return json.loads(host.niwa("--json", "snapshot", "ls").stdout)


def refused(host, name):
    wait_for(f"{name} has no image, for a reason", lambda: known(host, name)["refused"], timeout=20)
    return known(host, name)["why_not"]


def test_apps_that_never_ran_wake_from_the_image_of_a_template(garden):
    apply(garden, *(app(f"a{n}") for n in range(4)))
    visited(garden, "a0")
    for n in range(1, 4):
        garden.wait_state(f"a{n}", "saved")
        answer = ask(garden.address(f"a{n}"))
        assert path(garden, f"a{n}") == "restore"
        assert answer["now"]["host"] == f"a{n}" and answer["began"]["host"] == "template"
    assert len(images(garden)) == 1
    assert known(garden, "a3")["sharers"] == 4
