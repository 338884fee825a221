# SPDX-License-Identifier: MIT
"""What images may cost: room and time of a dump, the life of memory, and what people ask of them by hand."""

import hashlib
import json
import os
import socket
import time
import urllib.request

from clients import apply
from host import CRIU, Host, wait_for

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


READS = """
with open("/data/large", "rb") as file:
    while file.read(1 << 20):
        pass
"""


def app(**keys):
    return {"name": "a", "tenant": "alice", "image": "host", "command": ["python3", "-c", SERVER],
            "ports": [{"port": 80, "protocol": "http"}], "sleep": AWAKE, "stop": {"grace": "1s"}, **keys}


def ask(host, path="/"):
    with urllib.request.urlopen(f"http://{host.address('a')}{path}", timeout=60) as answer:
        return answer.read().decode()


def known(host):
    return host.show("a")["snapshot"]


def on_disk(host):
    return json.loads(host.niwa("--json", "snapshot", "ls").stdout)["snapshots"]


def settled(host):
    wait_for("an image is taken or refused", lambda: known(host)["usable"] or known(host).get("refused"))
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


def test_files_that_an_app_has_read_do_not_count_for_its_image():
    host = Host(criu=CRIU, snapshot_image_bytes="40M").start()
    try:
        data = host.dir / "data"
        data.mkdir()
        with open(data / "large", "wb") as file:
            file.write(b"x" * (64 << 20))
            file.flush()
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # who reads it first is charged for it
        apply(host, app(command=["python3", "-c", READS + SERVER], snapshot="ready",
                        volumes=[{"from": str(data), "to": "/data", "read_only": True}]))
        ask(host)
        assert host.show("a")["memory_bytes"] > 60 << 20
        assert settled(host)["usable"], known(host)
    finally:
        host.stop()


def test_an_image_is_not_taken_by_hand_of_an_app_whose_memory_is_kept(garden):
    apply(garden, app(sleep=HIBERNATES))
    ask(garden, "/one")
    garden.wait_state("a", "saved", timeout=30)
    refused = garden.niwa("snapshot", "take", "a", check=False)
    assert refused.returncode == 1 and "its memory is saved whenever it sleeps" in refused.stderr
    assert ask(garden, "/two") == "/one /two"


def test_the_image_of_memory_takes_the_place_of_that_of_the_start_and_is_removed_by_hand(garden):
    apply(garden, app(snapshot="ready"))
    ask(garden)
    assert settled(garden)["usable"]
    apply(garden, app(snapshot="ready", sleep=HIBERNATES))
    ask(garden)
    garden.wait_state("a", "saved", timeout=30)
    wait_for("only the newer one is left", lambda: len(on_disk(garden)) == 1)
    assert on_disk(garden)[0]["kind"] == "moment"
    garden.niwa("snapshot", "rm", "a")
    assert on_disk(garden) == []
    assert garden.state("a") == "stopped"
    none = garden.niwa("snapshot", "rm", "a", check=False)
    assert none.returncode == 1 and "a has no image" in none.stderr


def test_a_lifetime_holds_over_sleep_with_memory_and_over_niwad(garden):
    """It ends by waking without it, not while somebody waits."""
    apply(garden, app(sleep=HIBERNATES, lifetime="5s"))
    began = time.monotonic()
    ask(garden, "/0")
    garden.wait_state("a", "saved", timeout=30)
    garden.kill_niwad()
    garden.start_niwad()
    garden.wait_state("a", "saved", timeout=30)
    assert ask(garden, "/1") == "/0 /1"
    garden.wait_state("a", "saved", "stopped", timeout=30)
    time.sleep(max(0, began + 6 - time.monotonic()))
    assert "/0" not in ask(garden, "/2").split()
    assert known(garden).get("failures", 0) == 0


def test_the_rest_of_a_lifetime_runs_after_a_restore(garden):
    apply(garden, app(sleep=HIBERNATES, lifetime="4s"))
    ask(garden, "/0")
    garden.wait_state("a", "saved", timeout=30)
    began = time.monotonic()
    apply(garden, app(sleep={**AWAKE, "keep": "memory"}, lifetime="4s"))
    assert ask(garden, "/1") == "/0 /1"
    pid = garden.pid("a")
    wait_for("a fresh one serves", lambda: garden.state("a") == "running" and garden.pid("a") != pid, timeout=8)
    assert time.monotonic() - began < 3.5
    assert "/0" not in ask(garden, "/2").split()


def test_an_app_with_a_connection_that_lasts_is_not_looked_at_again_and_again():
    host = Host(criu=CRIU).start(niwad_env={"NIWA_FAULT": "niwad.dump-later:kill@7"})
    try:
        apply(host, app(snapshot="ready"))
        with socket.create_connection((host.address("a"), 80)) as talk:
            talk.sendall(b"GET / HTTP/1.0\r\n")
            host.wait_state("a", "running")
            time.sleep(2.5)
            assert host.niwad.poll() is None, "seven looks"
            assert not known(host)["usable"]
        assert settled(host)["usable"]
    finally:
        host.stop()


def copies(store, count):
    """Of the image that is there, under other keys. What they hold is not looked at by who lists them."""
    source = next(path for path in store.iterdir() if len(path.name) == 64)
    text = (source / "manifest").read_text()
    text = text[:text[:-1].rindex("\n") + 1]
    for n in range(count):
        key = hashlib.sha256(str(n).encode()).hexdigest()
        copy = text.replace(source.name, key)
        (store / key / "images").mkdir(parents=True)
        (store / key / "manifest").write_text(f"{copy}sum {hashlib.sha256(copy.encode()).hexdigest()}\n")


def test_thousands_of_images_are_listed(garden):
    apply(garden, app(snapshot="ready"))
    ask(garden)
    assert settled(garden)["usable"]
    copies(garden.dir / "state/snapshots", 4000)  # more than fit into one answer
    keys = [row["key"] for row in on_disk(garden)]
    assert len(keys) == 4001 and keys == sorted(keys)
    assert len(garden.rpc("snapshot.list")["snapshots"]) == 100


def test_many_images_on_disk_find_their_apps(garden):
    apply(garden, app(snapshot="ready"))
    ask(garden)
    assert settled(garden)["usable"]
    copies(garden.dir / "state/snapshots", 500)
    garden.kill_niwad()
    garden.start_niwad()
    wait_for("one of a kind stays at most", lambda: len(on_disk(garden)) <= 1, timeout=30)


def test_apps_without_an_image_are_listed_from_where_it_is_said(garden):
    links = "import os\nopen('/tmp/one', 'w').close()\nos.link('/tmp/one', '/tmp/two')\n"
    apply(garden, *(app(name=name, snapshot="ready", command=["python3", "-c", links + SERVER]) for name in "abc"))
    garden.niwa("wake", "a", "b", "c")
    wait_for("they cannot be dumped", lambda: [row["app"] for row in garden.rpc("snapshot.list")["none"]] == ["a", "b", "c"])
    page = garden.rpc("snapshot.list", after="none:1:a")
    assert page["snapshots"] == [] and [row["app"] for row in page["none"]] == ["b", "c"] and "next" not in page
