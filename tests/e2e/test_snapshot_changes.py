# SPDX-License-Identifier: MIT
"""Images of an app that became another's, was removed, restarted, or reads other files: old memory is not woken."""

import os
import time
import urllib.request
from pathlib import Path

import pytest
from clients import apply
from host import Host, wait_for

CRIU = Path(os.environ.get("NIWA_CRIU", "/usr/local/libexec/niwa/criu"))
AWAKE = {"freeze": "never", "page": "never", "save": "never"}
HIBERNATES = {"freeze": "200ms", "page": "never", "save": "500ms", "connection": "1s", "keep": "memory"}

PROGRAM = """
import http.server, os, time
time.sleep(0.2)
conf = open("/conf/site").read() if os.path.exists("/conf/site") else "none"
heard = []
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        heard.append(self.path)
        text = f"{conf} {' '.join(heard)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("", 80), Answer).serve_forever()
"""


@pytest.fixture
def garden():
    """A host that has CRIU."""
    host = Host(criu=CRIU).start()
    yield host
    host.stop()


def app(**keys):
    """One that remembers what it was asked, and what it read when it started."""
    return {
        "name": "a",
        "tenant": "alice",
        "image": "host",
        "command": ["python3", "-c", PROGRAM],
        "ports": [{"port": 80, "protocol": "http"}],
        "sleep": AWAKE,
        "stop": {"grace": "1s"},
        **keys,
    }


def ask(host, path="/"):
    with urllib.request.urlopen(f"http://{host.address('a')}{path}", timeout=60) as answer:
        return answer.read().decode()


def known(host):
    return host.show("a")["snapshot"]


def asleep(host):
    """Its image is taken, then it sleeps."""
    wait_for("image", lambda: known(host)["usable"] or known(host).get("refused"), timeout=20)
    assert known(host)["usable"]
    host.niwa("stop", "a")


def hibernates(host, **keys):
    """It sleeps, and its memory is kept."""
    apply(host, app(sleep=HIBERNATES, **keys))
    first = ask(host, "/of-alice")
    host.wait_state("a", "saved", timeout=30)
    return first


def images(host):
    return sorted(path.name for path in (host.dir / "state/snapshots").iterdir())


def conf(host, name, text):
    """A volume that the app only reads."""
    folder = host.dir / name
    folder.mkdir(exist_ok=True)
    (folder / "site").write_text(text)
    return [{"from": str(folder), "to": "/conf", "read_only": True}]


def test_memory_of_a_tenant_is_not_given_to_another_when_the_app_changes_hands(garden):
    hibernates(garden)
    apply(garden, app(sleep=HIBERNATES, tenant="bob"))
    wait_for("image to go", lambda: not images(garden))
    assert "alice" not in ask(garden, "/bob")


def test_a_ready_image_of_a_tenant_is_not_given_to_another_either(garden):
    apply(garden, app(env={"NAME": "same"}))
    ask(garden, "/of-alice")
    asleep(garden)
    apply(garden, app(env={"NAME": "same"}, tenant="bob"))
    wait_for("image to go", lambda: not images(garden))
    ask(garden, "/bob")
    assert garden.show("a")["last_wake"]["path"] == "start"


def test_memory_of_a_removed_app_is_not_given_to_another_of_its_name(garden):
    hibernates(garden)
    kept = garden.dir / "kept"
    (garden.dir / "state/snapshots" / images(garden)[0]).rename(kept)
    garden.niwa("rm", "a")
    apply(garden, app(sleep=HIBERNATES, tenant="alice"))
    garden.kill_niwad()
    kept.rename(garden.dir / "state/snapshots" / next(iter_key(kept)))
    garden.start_niwad()
    wait_for("image to go", lambda: not images(garden))
    assert "alice" not in ask(garden, "/bob")


def iter_key(folder):
    """The key of an image, from its manifest."""
    for line in (folder / "manifest").read_text().splitlines():
        if line.startswith("key "):
            yield line.split()[1]


def test_nothing_of_a_removed_app_stays_on_disk(garden):
    hibernates(garden)
    garden.niwa("rm", "a")
    wait_for("image to go", lambda: not images(garden))


def test_an_app_that_was_changed_has_one_image_not_two(garden):
    apply(garden, app())
    ask(garden)
    wait_for("image", lambda: known(garden)["usable"])
    before = images(garden)
    apply(garden, app(env={"MORE": "1"}))
    wait_for("another image", lambda: known(garden)["usable"] and images(garden) != before, timeout=20)
    wait_for("the first to go", lambda: len(images(garden)) == 1)


def test_another_source_of_a_volume_is_seen(garden):
    apply(garden, app(volumes=conf(garden, "one", "old")))
    assert "old" in ask(garden)
    asleep(garden)
    apply(garden, app(volumes=conf(garden, "two", "new")))
    assert "new" in ask(garden), garden.show("a")["last_wake"]


def test_another_source_of_a_volume_is_seen_after_hibernation(garden):
    assert "old" in hibernates(garden, volumes=conf(garden, "one", "old"))
    apply(garden, app(sleep=HIBERNATES, volumes=conf(garden, "two", "new")))
    assert "new" in ask(garden), garden.show("a")["last_wake"]
