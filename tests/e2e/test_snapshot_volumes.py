# SPDX-License-Identifier: MIT
"""Images of apps with writable volumes: what an app has in memory must not meet data that others have changed."""

import urllib.request

import pytest
from clients import apply
from host import wait_for

AWAKE = {"freeze": "never", "page": "never", "save": "never"}

SERVER = """
import http.server, mmap, os
open("/data/rows", "ab").write(b"x" * 4096)
%s
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"here")
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 80), Answer).serve_forever()
"""


def start(host, opening, to="/data"):
    """An app that says that its memory does not depend on its volume; what is known of its image after a while."""
    data = host.dir / "data"
    data.mkdir()
    apply(host, {"name": "rows", "tenant": "web", "image": "host",
                 "command": ["python3", "-c", (SERVER % opening).replace("/data", to)],
                 "ports": [{"port": 80, "protocol": "http"}], "volumes": [{"from": str(data), "to": to}],
                 "snapshot": "ready", "sleep": AWAKE})
    assert ask(host) == b"here"
    wait_for("an image is taken or refused", lambda: known(host)["usable"] or known(host).get("refused"))
    return known(host)


def known(host):
    return host.show("rows")["snapshot"]


def ask(host):
    with urllib.request.urlopen(f"http://{host.address('rows')}/", timeout=60) as answer:
        return answer.read()


@pytest.mark.parametrize("opening,said", [
    ("rows = open('/data/rows', 'r+b')", "open for writing"),
    ("rows = open('/data/other', 'wb')", "open for writing"),
    ("f = open('/data/rows', 'r+b'); rows = mmap.mmap(f.fileno(), 4096); f.close()", "mapped for writing"),
])
def test_an_app_that_keeps_data_of_its_volume_open_is_refused_and_starts_cold(garden, opening, said):
    image = start(garden, opening)
    assert not image["usable"] and said in image["why_not"] and "'/data/" in image["why_not"]
    garden.niwa("stop", "rows")
    assert garden.state("rows") == "stopped"
    assert ask(garden) == b"here"
    assert garden.show("rows")["last_wake"]["path"] == "start"
    assert garden.rpc("host.status")["counts"]["failed_restores"] == 0


def test_a_volume_below_a_link_of_the_image_is_looked_at_too(garden):
    image = start(garden, "rows = open('/data/rows', 'r+b')", to="/var/run/data")
    assert not image["usable"] and "'/run/data/rows' of a writable volume is open for writing" in image["why_not"], image


def test_an_app_that_only_appends_to_its_volume_is_woken_from_its_image(garden):
    assert start(garden, "log = os.open('/data/log', os.O_WRONLY | os.O_APPEND | os.O_CREAT)")["usable"]
    (garden.dir / "data/rows").write_bytes(b"changed meanwhile")
    garden.niwa("stop", "rows")
    assert garden.state("rows") == "saved"
    assert ask(garden) == b"here"
    assert garden.show("rows")["last_wake"]["path"] == "restore"
