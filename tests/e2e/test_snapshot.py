# SPDX-License-Identifier: MIT
"""Apps that are woken from an image of their processes."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clients import ASK, apply, next_path, record
from host import CRIU, SLOW, Host, wait_for

AWAKE = {"freeze": "never", "page": "never", "save": "never"}


def image(host, name):
    return host.show(name)["snapshot"]


def taken(host, name):
    """Waits until the app has an image; returns what is known of it."""
    wait_for(f"an image of {name} is taken", lambda: image(host, name)["usable"] or image(host, name).get("refused"))
    known = image(host, name)
    assert known["usable"], known
    return known


def asleep_with_image(host, name, **keys):
    apply(host, record(name, sleep=AWAKE, **keys))
    address = host.address(name)
    assert ASK[name](address)
    taken(host, name)
    host.niwa("stop", name)
    assert host.state(name) == "saved"
    return address


def http(address):
    with socket.create_connection((address, 80), timeout=60) as s:
        s.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return b"".join(iter(lambda: s.recv(65536), b""))


def path(host, name):
    return host.show(name)["last_wake"]["path"]


@pytest.mark.parametrize("name", ["php", "django"])
def test_an_app_is_woken_from_its_image(garden, name):
    address = asleep_with_image(garden, name, snapshot="ready")
    assert ASK[name](address)
    assert path(garden, name) == "restore"
    assert garden.state(name) == "running"


def test_a_saved_app_holds_nothing_but_its_set_elements(garden):
    asleep_with_image(garden, "php", snapshot="ready")
    wait_for("nothing is left of the instance", lambda: not {k: v for k, v in garden.kernel_objects().items() if v})
    assert len(list((garden.dir / "state/snapshots").iterdir())) == 1


def test_a_connection_made_while_the_image_is_taken_is_answered(garden):
    apply(garden, record("php", sleep=AWAKE, snapshot="ready"))
    address = garden.address("php")
    assert ASK["php"](address)
    until = time.monotonic() + 60 * SLOW
    while not image(garden, "php")["usable"]:
        assert ASK["php"](address)
        assert time.monotonic() < until
        time.sleep(0.03)
    assert path(garden, "php") == "start"


def test_fifty_sleeps_and_wakes_in_a_row_are_answered(garden):
    address = asleep_with_image(garden, "django", snapshot="ready", stop={"signal": "SIGKILL"})  # gunicorn takes its time
    paths, wakes = [], 50 if SLOW == 1 else 10  # emulated, each takes seconds
    for _ in range(wakes):
        paths.append(next_path(garden, "django"))
        assert ASK["django"](address)
        assert path(garden, "django") == paths[-1]
        garden.niwa("stop", "django")
    known = image(garden, "django")
    assert known["restores"] == paths.count("restore") >= 3 and "failures" not in known
    assert garden.rpc("host.status")["counts"]["failed_restores"] == 0


# -- what is not done ----------------------------------------------------------------------------------------------


def test_an_app_with_a_writable_volume_has_no_image_and_the_reason_is_shown(garden):
    apply(garden, record("postgres", sleep=AWAKE))
    assert ASK["postgres"](garden.address("postgres"))
    time.sleep(1)
    known = image(garden, "postgres")
    assert not known["usable"] and "writable volume" in known["why_not"]
    assert "writable volume" in garden.niwa("show", "postgres").stdout
    refused = garden.niwa("snapshot", "take", "postgres", check=False)
    assert refused.returncode == 1 and "writable volume" in refused.stderr
    garden.niwa("stop", "postgres")
    assert garden.state("postgres") == "stopped"


def test_without_criu_apps_are_started_and_the_reason_is_shown(host):
    apply(host, record("php", sleep=AWAKE, snapshot="ready"))
    assert ASK["php"](host.address("php"))
    assert "criu" in image(host, "php")["why_not"]
    host.niwa("stop", "php")
    assert host.state("php") == "stopped"


def test_an_app_that_says_off_has_no_image(garden):
    apply(garden, record("php", sleep=AWAKE, snapshot="off"))
    assert ASK["php"](garden.address("php"))
    time.sleep(0.5)
    assert image(garden, "php")["why_not"] == "snapshot: off"


def test_the_faster_way_is_taken_and_both_are_shown(garden):
    """A server that does nothing at its start gains nothing by an image."""
    address = asleep_with_image(garden, "static", snapshot="ready")
    for _ in range(8):
        assert ASK["static"](address)
        garden.niwa("stop", "static")
    known = image(garden, "static")
    assert known["restored_us"] and known["cold_us"]
    if known["restored_us"] > 0.8 * known["cold_us"]:
        assert known["wakes_by"] == "start" and "cold start" in known["why_not"]
        assert garden.state("static") == "stopped"
    else:
        assert known["wakes_by"] == "restore"
    assert "a restore" in garden.niwa("show", "static").stdout


# -- what goes wrong -----------------------------------------------------------------------------------------------


def folder_of(host):
    return next(p for p in (host.dir / "state/snapshots").iterdir() if not p.name.startswith("."))


def largest(folder):
    return max((p for p in (folder / "images").iterdir()), key=lambda p: p.stat().st_size)


def spoil(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def flip_core(folder):
    for p in (folder / "images").glob("core-*.img"):
        spoil(p)


DAMAGE = {
    "a missing image": lambda f: next((f / "images").glob("pstree.img")).unlink(),
    "a truncated one": lambda f: os.truncate(largest(f), largest(f).stat().st_size // 2),
    "a corrupt one": flip_core,
    "no manifest": lambda f: (f / "manifest").unlink(),
    "a corrupt manifest": lambda f: spoil(f / "manifest"),
    "nothing at all": shutil.rmtree,
}


def answered_by_a_start(host, name, address, reason=None):
    assert ASK[name](address)
    assert path(host, name) == "start"
    known = image(host, name)
    assert not reason or reason in known.get("last_reason", ""), known


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_image_is_answered_by_a_start_and_dropped(garden, damage):
    address = asleep_with_image(garden, "php", snapshot="ready")
    old = folder_of(garden)
    DAMAGE[damage](old)
    answered_by_a_start(garden, "php", address)
    taken(garden, "php")  # and another one is made
    garden.niwa("stop", "php")
    assert ASK["php"](address) and path(garden, "php") == "restore"


def pages_of_own_program(host):
    """A server whose program is on a volume, asleep; its address, the program."""
    programs = host.dir / "programs"
    programs.mkdir()
    shutil.copy2(os.path.realpath("/usr/bin/python3"), programs / "python")
    apply(host, {"name": "pages", "tenant": "web", "image": "host", "sleep": AWAKE, "snapshot": "ready", "workdir": "/usr",
                 "command": ["/srv/programs/python", "-m", "http.server", "80"],
                 "ports": [{"port": 80, "protocol": "http"}],
                 "volumes": [{"from": str(programs), "to": "/srv/programs", "read_only": True}]})
    address = host.address("pages")
    assert http(address).startswith(b"HTTP/1.0 200")
    taken(host, "pages")
    host.niwa("stop", "pages")
    assert http(address).startswith(b"HTTP/1.0 200") and path(host, "pages") == "restore"
    host.niwa("stop", "pages")
    return address, programs / "python"


def test_an_image_whose_files_have_changed_is_answered_by_a_start(garden):
    address, program = pages_of_own_program(garden)
    os.utime(program)
    assert http(address).startswith(b"HTTP/1.0 200") and path(garden, "pages") == "start"
    assert "/srv/programs/python" in image(garden, "pages")["last_reason"]


def test_an_image_that_became_void_in_sleep_is_made_anew(garden):
    address, program = pages_of_own_program(garden)
    before = image(garden, "pages")["taken_at"]
    garden.kill_niwad()
    os.utime(program)
    garden.start_niwad()
    wait_for("there is a newer image", lambda: image(garden, "pages").get("taken_at", 0) > before, timeout=30)
    garden.wait_state("pages", "saved", timeout=30)
    assert http(address).startswith(b"HTTP/1.0 200") and path(garden, "pages") == "restore"


def test_an_image_that_became_void_while_its_app_is_awake_goes_and_is_made_anew_in_sleep(garden):
    address, program = pages_of_own_program(garden)
    assert http(address).startswith(b"HTTP/1.0 200")
    garden.kill_niwad()
    os.utime(program)
    garden.start_niwad()
    wait_for("it is gone", lambda: not image(garden, "pages")["usable"] and not json.loads(
        garden.niwa("--json", "snapshot", "ls").stdout)["snapshots"])
    assert garden.state("pages") == "running"
    garden.niwa("stop", "pages")
    wait_for("there is another one", lambda: image(garden, "pages")["usable"], timeout=30)
    garden.wait_state("pages", "saved", timeout=30)


def test_an_app_that_was_changed_is_answered_by_a_start(garden):
    address = asleep_with_image(garden, "php", snapshot="ready")
    apply(garden, record("php", sleep=AWAKE, snapshot="ready", env={"NEW": "1"}))
    answered_by_a_start(garden, "php", address, "changed")
    taken(garden, "php")


def test_a_restore_that_takes_too_long_is_answered_by_a_start(tmp_path):
    host = Host(criu=CRIU, restore_deadline="1ms").start()
    try:
        address = asleep_with_image(host, "php", snapshot="ready")
        answered_by_a_start(host, "php", address, "in time")
        host.niwa("stop", "php")
        wait_for("nothing is left", lambda: not {k: v for k, v in host.kernel_objects().items() if v})
    finally:
        host.stop()


def criu_children(host):
    """Children of niwa-keep in which CRIU dumps or restores, not one that only looks at the kernel; quick, because they
    do not live long."""
    found = []
    for pid in Path(f"/proc/{host.keep.pid}/task/{host.keep.pid}/children").read_text().split():
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith((b"criu\0dump\0", b"criu\0restore\0")):
                found.append(int(pid))
        except OSError:
            pass  # it has ended
    return found


def the_look_at_the_kernel(host):
    """The process in which CRIU looks at the kernel, as soon as there is one."""
    children = Path(f"/proc/{host.keep.pid}/task/{host.keep.pid}/children")
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for pid in children.read_text().split():
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"criu\0check\0"):
                    return int(pid)
    raise AssertionError("CRIU does not look at the kernel")


def test_a_look_at_the_kernel_that_hangs_is_repeated():
    host = Host(criu=CRIU)
    try:
        host.start_keep()
        host.start_niwad(wait=False)
        os.kill(the_look_at_the_kernel(host), signal.SIGSTOP)
        wait_for("niwad answers", host.answers, timeout=30)
        wait_for("it looks once more", lambda: "once more" in host.niwad_log())
        asleep_with_image(host, "php", snapshot="ready")
    finally:
        host.stop()


def killer(host, stop, killed):
    while not stop.is_set():
        for pid in criu_children(host):
            try:
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            except ProcessLookupError:
                pass
        time.sleep(0.0005)


def test_criu_killed_in_a_restore_is_answered_by_a_start(garden):
    address = asleep_with_image(garden, "django", snapshot="ready")
    stop, killed = threading.Event(), []
    thread = threading.Thread(target=killer, args=(garden, stop, killed))
    thread.start()
    try:
        assert ASK["django"](address)
    finally:
        stop.set()
        thread.join()
    assert killed and path(garden, "django") == "start"
    garden.niwa("stop", "django")


def test_a_start_after_a_broken_restore_waits_for_the_volume(garden):
    data = garden.dir / "data"
    data.mkdir()
    volumes = [*record("php").get("volumes", []), {"from": str(data), "to": "/data"}]
    address = asleep_with_image(garden, "php", snapshot="ready", volumes=volumes)
    stop, killed = threading.Event(), []
    thread = threading.Thread(target=killer, args=(garden, stop, killed))
    thread.start()
    try:
        assert ASK["php"](address)
    finally:
        stop.set()
        thread.join()
    assert killed and path(garden, "php") == "start"
    assert f"'{data}' is written to by instance" in garden.niwad_log()  # by what was half restored


def test_criu_killed_in_a_dump_is_answered(garden):
    apply(garden, record("php", sleep=AWAKE, snapshot="ready"))
    address = garden.address("php")
    stop, killed = threading.Event(), []
    thread = threading.Thread(target=killer, args=(garden, stop, killed))
    thread.start()
    try:
        assert ASK["php"](address)
        wait_for("CRIU was killed", lambda: killed)
        for _ in range(5):
            assert ASK["php"](address)
    finally:
        stop.set()
        thread.join()
    assert "CRIU" in image(garden, "php")["last_reason"]


@pytest.mark.parametrize("point", ["niwad.dump-begins", "niwad.dump-started", "niwad.dump-written", "niwad.dump-copied",
                                   "niwad.dump-went-on"])
def test_an_app_goes_on_when_niwad_dies_while_it_is_dumped(point):
    host = Host(criu=CRIU).start(niwad_env={"NIWA_FAULT": f"{point}:kill"})
    try:
        apply(host, record("php", sleep=AWAKE, snapshot="ready"))
        address = host.address("php")
        assert ASK["php"](address)
        wait_for("niwad has died", lambda: host.niwad.poll() is not None, timeout=20)
        host.start_niwad()
        for _ in range(3):
            assert ASK["php"](address)
        host.niwa("stop", "php")
        wait_for("nothing half made is left", lambda: not list((host.dir / "state/snapshots").glob(".new-*")))
        assert ASK["php"](address)
    finally:
        host.stop()


@pytest.mark.parametrize("point", ["niwad.restore-asked", "niwad.restore-started", "niwad.restored"])
def test_the_same_connection_is_answered_when_niwad_dies_in_a_restore(point):
    host = Host(criu=CRIU).start(niwad_env={"NIWA_FAULT": f"{point}:kill"})
    try:
        address = asleep_with_image(host, "php", snapshot="ready")
        with ThreadPoolExecutor() as pool:
            answer = pool.submit(ASK["php"], address)
            wait_for("niwad has died", lambda: host.niwad.poll() is not None, timeout=20)
            host.start_niwad()
            assert answer.result(60 * SLOW)
        host.niwa("stop", "php")
        wait_for("nothing is left", lambda: not {k: v for k, v in host.kernel_objects().items() if v})
    finally:
        host.stop()


def test_a_new_niwad_wakes_from_the_image_that_is_there(garden):
    address = asleep_with_image(garden, "php", snapshot="ready")
    garden.kill_niwad()
    garden.start_niwad()
    garden.wait_state("php", "saved")
    assert ASK["php"](address) and path(garden, "php") == "restore"


# -- commands ------------------------------------------------------------------------------------------------------


def test_images_are_listed_taken_verified_and_removed(garden):
    address = asleep_with_image(garden, "php", snapshot="ready")
    assert ASK["php"](address)
    wait_for("the restore is noted", lambda: garden.rpc("snapshot.list")["snapshots"][0]["restores"] == 1)
    shown = json.loads(garden.niwa("--json", "snapshot", "ls").stdout)
    assert [s["app"] for s in shown["snapshots"]] == ["php"] and shown["snapshots"][0]["restores"] == 1
    assert "php" in garden.niwa("snapshot", "ls").stdout
    garden.niwa("snapshot", "verify", "php")
    garden.niwa("snapshot", "take", "php")
    assert image(garden, "php")["usable"]
    spoil(largest(folder_of(garden)))
    assert garden.niwa("snapshot", "verify", "php", check=False).returncode == 1
    assert not image(garden, "php")["usable"]
    garden.niwa("snapshot", "take", "php")
    garden.niwa("snapshot", "rm", "php")
    assert json.loads(garden.niwa("--json", "snapshot", "ls").stdout)["snapshots"] == []
    wait_for("the folder is gone", lambda: not list((garden.dir / "state/snapshots").iterdir()))


def test_each_wake_has_a_generation_of_its_own(garden):
    address = asleep_with_image(garden, "php", snapshot="ready")
    seen = set()
    for _ in range(3):
        assert ASK["php"](address)
        seen.add(garden.niwa("exec", "php", "cat", "/run/niwa/generation").stdout)
        garden.niwa("stop", "php")
    assert len(seen) == 3


# -- hibernation ---------------------------------------------------------------------------------------------------

COUNTER = """
import http.server
count = 0
open("/data/rows", "a").close()
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        global count
        count += 1
        if self.path == "/write":
            open("/data/rows", "a").write("row\\n")
        text = f"{count} {len(open('/data/rows').readlines())}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 80), Answer).serve_forever()
"""


def counting(host, data=None, **keys):
    """An app whose memory is a counter and whose volume has rows."""
    data = data or folder_for(host)
    apply(host, {"name": "counter", "tenant": "web", "image": "host", "command": ["python3", "-c", COUNTER],
                 "ports": [{"port": 80, "protocol": "http"}], "volumes": [{"from": str(data), "to": "/data"}], **keys})
    return host.address("counter"), data


def folder_for(host):
    data = host.dir / "data"
    data.mkdir()
    return data


def ask(address, path="/"):
    with urllib.request.urlopen(f"http://{address}{path}", timeout=60) as answer:
        return tuple(int(n) for n in answer.read().split())


HIBERNATES = {"sleep": {"freeze": f"{200 * SLOW:.0f}ms", "page": "never", "save": f"{500 * SLOW:.0f}ms",
                        "connection": f"{SLOW:.0f}s", "keep": "memory"}}


def test_memory_goes_on_where_it_stopped(garden):
    address, _ = counting(garden, **HIBERNATES)
    for n in range(1, 7):
        assert ask(address, "/write") == (n, n)
        garden.wait_state("counter", "saved", timeout=30)
    assert path(garden, "counter") == "restore"
    assert garden.rpc("host.status")["counts"]["failed_restores"] == 0


def test_memory_is_void_when_a_volume_was_written_meanwhile(garden):
    address, data = counting(garden, **HIBERNATES)
    assert ask(address, "/write") == (1, 1)
    garden.wait_state("counter", "saved", timeout=30)
    with (data / "rows").open("a") as rows:
        rows.write("by another\n")
    assert ask(address) == (1, 2) and path(garden, "counter") == "start"
    assert "volume was written" in image(garden, "counter")["last_reason"]


def test_memory_is_used_once(garden):
    address, _ = counting(garden, **HIBERNATES)
    assert ask(address) == (1, 0)
    garden.wait_state("counter", "saved", timeout=30)
    assert ask(address) == (2, 0)
    garden.niwa("stop", "counter")
    assert garden.state("counter") == "stopped"
    assert ask(address) == (1, 0)


@pytest.mark.parametrize("point", ["niwad.dump-written", "niwad.dump-copied", "snapshot.renamed", "niwad.moment-saved"])
def test_no_row_is_lost_when_niwad_dies_while_memory_is_saved(point):
    host = Host(criu=CRIU).start(niwad_env={"NIWA_FAULT": f"{point}:kill"})
    try:
        address, data = counting(host, **HIBERNATES)
        rows = ask(address, "/write")[1]
        wait_for("niwad has died", lambda: host.niwad.poll() is not None, timeout=30)
        host.start_niwad()
        for _ in range(3):
            assert ask(address, "/write")[1] == rows + 1
            rows += 1
            host.wait_state("counter", "saved", timeout=30)
        assert len((data / "rows").read_text().splitlines()) == rows
    finally:
        host.stop()


def test_warm_requests_are_made_before_the_image_is_taken(garden):
    address, _ = counting(garden, snapshot="ready", warm=["/", "/write", "/"], sleep=AWAKE)
    assert ask(address)[0] <= 4  # warm requests begin when it is ready, beside the first visitor's
    taken(garden, "counter")
    garden.niwa("stop", "counter")
    assert ask(address) == (5, 1) and path(garden, "counter") == "restore"


def test_an_app_is_told_that_it_was_restored_by_a_signal(garden):
    program = "import signal, sys\nsignal.signal(signal.SIGUSR1, lambda *_: print('restored', flush=True))\n" + COUNTER
    apply(garden, {"name": "told", "tenant": "web", "image": "host", "command": ["python3", "-c", program],
                   "ports": [{"port": 80, "protocol": "http"}], "snapshot": "ready", "restore_signal": "USR1", "sleep": AWAKE,
                   "volumes": [{"from": str(folder_for(garden)), "to": "/data"}]})
    address = garden.address("told")
    assert ask(address)[0] == 1
    taken(garden, "told")
    garden.niwa("stop", "told")
    assert ask(address)[0] == 2
    wait_for("it says so", lambda: "restored" in garden.app_log("told"))


def test_many_apps_wake_from_their_images_at_the_same_time(garden):
    apps = [record("static", name=f"static{n}", sleep=AWAKE, snapshot="ready") for n in range(20)]
    apply(garden, *apps)
    addresses = [garden.address(a["name"]) for a in apps]
    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(ASK["static"], addresses))
    for a in apps:
        taken(garden, a["name"])
    garden.niwa("stop", *[a["name"] for a in apps])
    assert {garden.state(a["name"]) for a in apps} == {"saved"}
    with ThreadPoolExecutor(20) as pool:
        assert all(pool.map(ASK["static"], addresses))
    assert garden.rpc("host.status")["counts"]["failed_restores"] == 0
    assert {path(garden, a["name"]) for a in apps} == {"restore"}


WRITER = """
import http.server, os
os.makedirs("/srv/state", exist_ok=True)
open("/srv/state/made", "w").write("at the start")
os.unlink("/etc/mime.types") if os.path.exists("/etc/mime.types") else None
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        text = (open("/srv/state/made").read() + str(os.path.exists("/etc/mime.types"))).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
http.server.HTTPServer(("", 80), Answer).serve_forever()
"""


OWN_SOCKET = """
import http.server, os, socket, threading
own = socket.socket(socket.AF_UNIX)
own.bind("/tmp/own")
os.chmod("/tmp/own", 0o600)
own.listen()
def serve():
    while True:
        own.accept()[0].sendall(b"from its own socket")
threading.Thread(target=serve, daemon=True).start()
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect("/tmp/own")
            text = s.recv(100)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
http.server.HTTPServer(("", 80), Answer).serve_forever()
"""


@pytest.mark.parametrize("keys", [{"snapshot": "ready", "sleep": AWAKE}, HIBERNATES], ids=["ready", "memory"])
def test_a_unix_socket_is_at_its_path_after_each_restore(garden, keys):
    apply(garden, {"name": "own", "tenant": "web", "image": "host", "command": ["python3", "-c", OWN_SOCKET],
                   "ports": [{"port": 80, "protocol": "http"}], **keys})
    address = garden.address("own")
    assert http(address).endswith(b"from its own socket")
    for _ in range(3):
        if keys is HIBERNATES:
            garden.wait_state("own", "saved")
        else:
            taken(garden, "own")
            garden.niwa("stop", "own")
        assert http(address).endswith(b"from its own socket") and path(garden, "own") == "restore"


def test_what_an_app_had_written_is_there_as_long_as_it_lives(garden):
    apply(garden, {"name": "writer", "tenant": "web", "image": "host", "command": ["python3", "-c", WRITER],
                   "ports": [{"port": 80, "protocol": "http"}], "snapshot": "ready", "sleep": AWAKE})
    address = garden.address("writer")
    assert http(address).endswith(b"at the startFalse")
    taken(garden, "writer")
    garden.niwa("stop", "writer")
    assert http(address).endswith(b"at the startFalse") and path(garden, "writer") == "restore"
    garden.niwa("snapshot", "rm", "writer")  # the running app still has it mounted
    garden.kill_niwad()
    garden.start_niwad()
    time.sleep(1)
    assert http(address).endswith(b"at the startFalse")
    garden.niwa("stop", "writer")
    wait_for("the image is removed", lambda: not list((garden.dir / "state/snapshots").iterdir()))
