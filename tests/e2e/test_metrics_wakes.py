# SPDX-License-Identifier: MIT
"""Each wake is counted once, by the way it went and by how it ended."""

import json
import socket
import threading

from clients import AWAKE, apply
from host import SLOW, wait_for
from test_metrics import metrics
from test_snapshot import path, taken

SERVER = """
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
http.server.HTTPServer(("", 80), Answer).serve_forever()
"""


def app(name, program=SERVER, **keys):
    return {"name": name, "tenant": "web", "image": "host", "command": ["python3", "-c", program],
            "ports": [{"port": 80, "protocol": "http"}], "sleep": AWAKE, "egress": "none", **keys}


def get(host, name):
    with socket.create_connection((host.address(name), 80), timeout=30 * SLOW) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return sock.makefile("rb").readline().split()[1]


def wakes(host):
    now = metrics(host)
    return {tuple(part.split('"')[1] for part in k.split(",")): v for k, v in now.items() if k.startswith("niwa_wakes_total") and v}


def test_a_restore_is_counted_as_one_and_an_image_that_cannot_be_restored_as_a_start_too(garden):
    apply(garden, app("a", snapshot="ready"))
    assert get(garden, "a") == b"200"
    taken(garden, "a")
    garden.niwa("stop", "a")
    assert get(garden, "a") == b"200" and path(garden, "a") == "restore"
    assert wakes(garden) == {("start", "ok"): 1, ("restore", "ok"): 1}
    now = metrics(garden)
    assert now['niwa_wake_stage_seconds_count{path="restore",stage="ready"}'] == 1
    assert now["niwa_snapshots_taken_total"] == 1 and now["niwa_snapshot_restores_total"] == 1
    garden.niwa("stop", "a")
    for images in (garden.dir / "state/snapshots").glob("*/images"):
        (images / "pstree.img").unlink(missing_ok=True)
    assert get(garden, "a") == b"200" and path(garden, "a") == "start"
    assert wakes(garden) == {("start", "ok"): 2, ("restore", "ok"): 1, ("restore", "fell_back"): 1}
    now = metrics(garden)
    assert now['niwa_snapshot_failures_total{operation="restore"}'] == 1
    assert now['niwa_wake_stage_seconds_count{path="start",stage="ready"}'] == 2


def test_a_start_that_is_stopped_before_it_is_ready_is_given_up_and_the_next_one_counts_anew(host):
    apply(host, app("never", "import time; time.sleep(1000)"))
    statuses = []
    thread = threading.Thread(target=lambda: statuses.append(get(host, "never")))
    thread.start()
    wait_for("it starts", lambda: host.state("never") == "starting" and host.show("never")["instances"])
    host.niwa("rm", "never", "--yes")
    thread.join()
    wait_for("its end is counted", lambda: wakes(host) == {("start", "given_up"): 1})
    apply(host, app("never"))
    assert get(host, "never") == b"200"
    assert wakes(host) == {("start", "given_up"): 1, ("start", "ok"): 1} and statuses == [b"503"]


def test_a_crowd_before_a_sleeping_app_is_one_wake(host):
    apply(host, app("a"))
    statuses = []
    threads = [threading.Thread(target=lambda: statuses.append(get(host, "a"))) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [b"200"] * 50 and wakes(host) == {("start", "ok"): 1}


def test_the_numbers_of_apps_add_up_after_a_storm_of_changes(host):
    """Applied, woken, frozen, removed and restarted at the same time: in the end each app is in one state."""
    apply(host, *(app(f"app{n}") for n in range(12)))

    def harass(name):
        again = host.dir / f"{name}.yaml"
        again.write_text(json.dumps({"apps": [app(name)]}))
        for verb in ("wake", "freeze", "restart", "rm", "apply", "wake", "stop", "rm", "apply", "wake", "freeze"):
            host.niwa(verb, *{"rm": (name, "--yes"), "apply": (again,)}.get(verb, (name,)), check=False)

    threads = [threading.Thread(target=harass, args=(f"app{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def agree():
        states = [row["state"] for row in host.rpc("app.list")["apps"]]
        counted = {k[17:-2]: v for k, v in metrics(host).items() if k.startswith("niwa_apps{") and v}
        return len(states) == 12 and counted == {s: states.count(s) for s in set(states)}

    wait_for("the counts are those of the list", agree)
