# SPDX-License-Identifier: MIT
"""Images of an app that became another's, was removed, restarted, or reads other files: old memory is not woken."""

import os
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import apply
from host import CRIU, Host, wait_for

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
        time.sleep(self.path == "/slow")
        text = f"{conf} {' '.join(heard)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("", 80), Answer).serve_forever()
"""


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


def test_new_content_of_what_is_only_read_stays_seen_after_a_restart(garden):
    apply(garden, app(volumes=conf(garden, "one", "old")))
    assert "old" in ask(garden)
    asleep(garden)
    conf(garden, "one", "new")
    garden.niwa("restart", "a")
    assert "new" in ask(garden)
    garden.niwa("stop", "a")
    assert "new" in ask(garden), garden.show("a")["last_wake"]


def test_new_content_of_what_is_only_read_is_seen_at_the_next_wake(garden):
    apply(garden, app(volumes=conf(garden, "one", "old")))
    ask(garden)
    asleep(garden)
    ask(garden)
    assert garden.show("a")["last_wake"]["path"] == "restore"
    garden.niwa("stop", "a")
    conf(garden, "one", "new")
    assert "new" in ask(garden), garden.show("a")["last_wake"]
    asleep(garden)
    assert "new" in ask(garden)
    assert garden.show("a")["last_wake"]["path"] == "restore"


def test_no_image_is_made_of_what_was_read_before_it_was_written(garden):
    """The server reads when it starts; then it is too late for an image that is told by what is there now."""
    apply(garden, app(volumes=conf(garden, "one", "old"), warm=["/slow"]))
    garden.niwa("wake", "a")
    conf(garden, "one", "new")
    wait_for("reason", lambda: "was written since" in known(garden).get("why_not", ""), timeout=20)
    garden.niwa("stop", "a")
    assert "new" in ask(garden), garden.show("a")["last_wake"]


def test_what_is_only_read_and_was_written_voids_memory(garden):
    assert "old" in hibernates(garden, volumes=conf(garden, "one", "old"))
    conf(garden, "one", "new")
    assert "new" in ask(garden), garden.show("a")["last_wake"]


def test_memory_is_kept_beside_a_read_only_volume_of_very_many_files(garden):
    many = garden.dir / "many"
    many.mkdir()
    for n in range(4200):
        (many / str(n)).touch()
    hibernates(garden, volumes=[{"from": str(many), "to": "/many", "read_only": True}, *conf(garden, "one", "old")])
    assert "alice" in ask(garden)
    garden.wait_state("a", "saved", timeout=30)
    conf(garden, "one", "new")
    assert "new" in ask(garden), garden.show("a")["last_wake"]


def test_a_folder_as_image_is_seen_as_it_is(garden):
    root = garden.dir / "root"
    for name in ("usr", "etc", "proc", "dev", "sys", "tmp", "run", "conf"):
        (root / name).mkdir(parents=True)
    for name in ("bin", "lib", "lib64"):
        os.symlink("usr/" + name, root / name)
    (root / "conf/site").write_text("old")
    record = app(image=str(root), volumes=[{"from": "/usr", "to": "/usr", "read_only": True}])
    record["command"][0] = "/usr/bin/python3"
    apply(garden, record)
    assert "old" in ask(garden)
    asleep(garden)
    (root / "conf/site").write_text("new")
    assert "new" in ask(garden), garden.show("a")["last_wake"]


def test_a_restart_of_an_app_whose_memory_is_kept_is_a_fresh_start(garden):
    hibernates(garden)
    garden.niwa("restart", "a")
    assert garden.state("a") == "stopped"
    assert "alice" not in ask(garden, "/new")


def test_a_restart_of_an_app_that_sleeps_makes_another_image(garden):
    apply(garden, app())
    ask(garden)
    asleep(garden)
    before = known(garden)["taken_at"]
    garden.niwa("restart", "a")
    assert not known(garden)["usable"]
    ask(garden)
    assert garden.show("a")["last_wake"]["path"] == "start"
    wait_for("image", lambda: known(garden)["usable"], timeout=20)
    assert known(garden)["taken_at"] > before


@pytest.mark.parametrize("point", ["snapshot.using:slow", "niwad.trees-walked:slow"])
def test_a_restart_of_an_app_that_is_being_restored_is_a_fresh_start(point):
    host = Host(criu=CRIU).start(niwad_env={"NIWA_FAULT": f"{point}@1"})
    try:
        apply(host, app(volumes=conf(host, "one", "old")))
        ask(host, "/first")
        asleep(host)
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(ask, host)
            wait_for("it is being restored", lambda: host.state("a") == "restoring")
            assert host.rpc("app.restart", name="a")["state"] in ("starting", "restoring")
            assert answer.result() == "old /"
        assert host.show("a")["last_wake"]["path"] == "start"
        assert "its image is dropped: a restart was asked for" in host.niwad_log()
    finally:
        host.stop()


def test_what_is_only_read_is_compared_while_the_instance_is_started():
    host = Host(criu=CRIU).start(niwad_env={"NIWA_FAULT": "niwad.trees-walked:slow@2"})
    try:
        apply(host, app(volumes=conf(host, "one", "old")))
        ask(host)
        asleep(host)
        assert "old" in ask(host) and host.show("a")["last_wake"]["path"] == "restore"
        asleep(host)
        conf(host, "one", "new")
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(ask, host)
            wait_for("it is there, and waits", lambda: any(i.get("pid") for i in host.show("a")["instances"]),
                     pause=0.01)
            assert host.state("a") == "restoring"
            assert "new" in answer.result(), host.show("a")["last_wake"]
        assert "its image is dropped: what it only reads was written" in host.niwad_log()
        assert host.show("a")["last_wake"]["path"] == "start"
    finally:
        host.stop()


def test_an_app_that_is_stopped_while_what_it_reads_is_compared_keeps_its_image():
    host = Host(criu=CRIU).start(niwad_env={"NIWA_FAULT": "niwad.trees-walked:slow@1"})
    try:
        apply(host, app(volumes=conf(host, "one", "old")))
        ask(host)
        asleep(host)
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(ask, host)
            wait_for("it is there, and waits", lambda: any(i.get("pid") for i in host.show("a")["instances"]),
                     pause=0.01)
            host.niwa("stop", "a")
            assert "old" in answer.result()  # by another instance
        assert host.show("a")["last_wake"]["path"] == "restore"
        time.sleep(2)  # the disk answers, for an instance that is gone
        assert "old" in ask(host) and host.state("a") == "running"
        assert "dropped" not in host.niwad_log()
    finally:
        host.stop()


def test_stop_says_that_an_app_with_an_image_is_saved(garden):
    apply(garden, app())
    ask(garden)
    wait_for("image", lambda: known(garden)["usable"], timeout=20)
    assert garden.niwa("stop", "a").stdout.startswith("a: saved (")
