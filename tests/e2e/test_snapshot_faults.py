# SPDX-License-Identifier: MIT
"""What goes wrong around images: niwad ends, disks are slow or full, the host is another one, memory is short."""

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clients import ASK, apply, record
from crash import children
from host import CRIU, SLOW, Host, wait_for
from test_snapshot import AWAKE, COUNTER, HIBERNATES, answered_by_a_start, ask, asleep_with_image, counting, image, path, taken, the_look_at_the_kernel

UNAME26 = 0x0020000


# -- what a new niwad has adopted ----------------------------------------------------------------------------------


def test_an_adopted_app_is_hibernated_and_wakes_with_its_memory(garden):
    address, _ = counting(garden, **HIBERNATES)
    assert ask(address, "/write") == (1, 1)
    garden.kill_niwad()
    garden.start_niwad()
    garden.wait_state("counter", "saved", timeout=30)
    assert ask(address, "/write") == (2, 2) and path(garden, "counter") == "restore"
    garden.kill_niwad()  # this one was restored: its pid and clocks are those of the image
    garden.start_niwad()
    garden.wait_state("counter", "saved", timeout=30)
    assert ask(address) == (3, 2) and path(garden, "counter") == "restore"


def test_an_adopted_frozen_app_is_hibernated(garden):
    sleep = {**HIBERNATES["sleep"], "save": f"{2000 * SLOW:.0f}ms"}
    address, _ = counting(garden, sleep=sleep)
    assert ask(address) == (1, 0)
    garden.wait_state("counter", "frozen")
    garden.kill_niwad()
    garden.start_niwad()
    garden.wait_state("counter", "saved", timeout=30)
    assert ask(address) == (2, 0) and path(garden, "counter") == "restore"


def test_an_adopted_app_gets_the_image_of_its_ready_point(garden):
    apply(garden, record("php", sleep=AWAKE, snapshot="ready"))
    address = garden.address("php")
    stay = subprocess.Popen(["sh", "-c", f"exec 3<>/dev/tcp/{address}/80; sleep 60"], executable="/bin/bash",
                            stdin=subprocess.DEVNULL)
    try:
        assert ASK["php"](address)
        assert not image(garden, "php")["usable"]  # somebody is connected
        garden.kill_niwad()
        garden.start_niwad()
    finally:
        stay.kill()
        stay.wait()
    taken(garden, "php")
    garden.niwa("stop", "php")
    assert ASK["php"](address) and path(garden, "php") == "restore"


@contextlib.contextmanager
def images_not_known(host):
    """A new niwad, which does not get to know what is on disk inside of this."""
    host.start_niwad(wait=False)
    look = the_look_at_the_kernel(host)
    os.kill(look, signal.SIGSTOP)
    wait_for("niwad answers", host.answers, timeout=30)
    yield
    with contextlib.suppress(ProcessLookupError):
        os.kill(look, signal.SIGCONT)


def test_what_is_started_again_by_itself_waits_until_images_are_known(garden):
    asleep_with_image(garden, "php", snapshot="ready", restart={"policy": "always"})
    garden.niwa("wake", "php")
    pid = garden.pid("php")
    garden.kill_niwad()
    os.kill(pid, signal.SIGKILL)
    with images_not_known(garden):
        time.sleep(0.5)  # several times the pause before it is started again
        assert garden.state("php") == "stopped"
    garden.wait_state("php", "running", timeout=20)
    assert "restoring" in [move["to"] for move in garden.show("php")["history"]]


def test_images_that_do_not_get_known_are_not_waited_for():
    host = Host(criu=CRIU, images_wait="300ms").start()
    try:
        address, _ = counting(host, **HIBERNATES)
        assert ask(address) == (1, 0)
        host.wait_state("counter", "saved", timeout=30)
        host.kill_niwad()
        with images_not_known(host):
            assert ask(address) == (1, 0) and path(host, "counter") == "start"
    finally:
        host.stop()


def test_memory_of_an_app_that_went_on_is_void(garden):
    """niwad dies when the memory has its name on disk and the app was not ended yet."""
    garden.kill_niwad()
    garden.start_niwad({"NIWA_FAULT": "snapshot.committed:kill"})
    address, _ = counting(garden, **HIBERNATES)
    assert ask(address) == (1, 0)
    garden.niwad.wait(30 * SLOW)
    with images_not_known(garden):
        assert ask(address) == (2, 0)
        os.kill(garden.pid("counter"), signal.SIGKILL)
        garden.wait_state("counter", "stopped")
    store = garden.dir / "state/snapshots"
    wait_for("what is on disk is known", lambda: garden.state("counter") == "saved" or not [p for p in store.iterdir() if len(p.name) == 64])
    assert ask(address) == (1, 0)


def test_an_image_of_an_adopted_app_is_taken_on_request(garden):
    address = asleep_with_image(garden, "php", snapshot="ready")
    assert ASK["php"](address) and path(garden, "php") == "restore"
    before = image(garden, "php")["taken_at"]
    for _ in range(2):  # of a restored instance, which a fresh one follows; of a started one
        garden.kill_niwad()
        garden.start_niwad()
        wait_for("what is on disk is known", lambda: image(garden, "php")["usable"])
        garden.niwa("snapshot", "take", "php")
        wait_for("there is a newer image", lambda: image(garden, "php").get("taken_at", 0) > before)
        before = image(garden, "php")["taken_at"]
    assert ASK["php"](address)


# -- a disk that is slow -------------------------------------------------------------------------------------------


def others_are_answered(host, address, meanwhile):
    """While `meanwhile` runs, which the disk delays by two seconds, another app is asked again and again."""
    slowest = 0
    with ThreadPoolExecutor() as pool:
        waits = pool.submit(meanwhile)
        began = time.monotonic()
        while not waits.done():
            before = time.monotonic()
            host.state("other")  # the engine's own answer, and a visitor's
            assert ASK["static"](address)
            slowest = max(slowest, time.monotonic() - before)
        assert waits.result() and time.monotonic() - began > 1.8
    assert slowest < 1.5, f"another app waited {slowest:.1f} s for the disk"


SLOW_STEPS = ["niwad.volumes-walked", "snapshot.using", "snapshot.used"]


@pytest.mark.parametrize("point", SLOW_STEPS)
def test_others_are_answered_while_the_disk_delays_a_restore(point):
    host = Host(criu=CRIU).start(niwad_env={"NIWA_FAULT": f"{point}:slow@{3 if 'walked' in point else 1}"})
    try:
        apply(host, record("static", name="other", sleep=AWAKE, snapshot="off"))
        other = host.address("other")
        address, _ = counting(host, **HIBERNATES)
        assert ask(address) == (1, 0)
        host.wait_state("counter", "saved", timeout=30)
        others_are_answered(host, other, lambda: ask(address) == (2, 0))
        assert path(host, "counter") == "restore"
    finally:
        host.stop()


def test_others_are_answered_while_the_disk_delays_the_look_at_images_of_a_new_niwad(garden):
    apply(garden, record("static", name="other", sleep=AWAKE, snapshot="off"))
    other = garden.address("other")
    asleep_with_image(garden, "php", snapshot="ready")
    garden.kill_niwad()
    garden.start_niwad({"NIWA_FAULT": "snapshot.using:slow"})
    until, slowest = time.monotonic() + 2.5, 0
    while time.monotonic() < until:
        before = time.monotonic()
        assert ASK["static"](other) and garden.state("other")
        slowest = max(slowest, time.monotonic() - before)
    assert slowest < 1.5, f"another app waited {slowest:.1f} s for the disk"


def test_others_are_answered_while_the_disk_delays_what_is_noted():
    host = Host(criu=CRIU).start(niwad_env={"NIWA_FAULT": "snapshot.noting:slow"})
    try:
        apply(host, record("static", name="other", sleep=AWAKE, snapshot="off"))
        other = host.address("other")
        assert ASK["static"](other)
        address = asleep_with_image(host, "php", snapshot="ready")
        assert ASK["php"](address) and path(host, "php") == "restore"
        began = time.monotonic()
        assert ASK["static"](other) and host.state("other") == "running"
        assert time.monotonic() - began < 1.5
        wait_for("it is noted", lambda: host.rpc("snapshot.list")["snapshots"][0]["restores"] == 1)
    finally:
        host.stop()


# -- a host without time, room or memory ---------------------------------------------------------------------------


def test_an_image_is_dropped_when_a_second_restore_in_a_row_is_late():
    host = Host(criu=CRIU, restore_deadline="1ms").start()
    try:
        address = asleep_with_image(host, "php", snapshot="ready")
        answered_by_a_start(host, "php", address, "in time")
        assert image(host, "php")["usable"], "a host that is starved is not the image's fault"
        host.niwa("stop", "php")
        assert host.state("php") == "saved"
        assert ASK["php"](address) and path(host, "php") == "start"
        assert "its image is dropped: CRIU was not done in time" in host.niwad_log()
    finally:
        host.stop()


def test_an_image_that_could_not_be_opened_once_is_kept():
    host = Host(criu=CRIU).start(niwad_env={"NIWA_FAULT": "snapshot.using:ENOMEM@1"})
    try:
        address = asleep_with_image(host, "php", snapshot="ready")
        assert ASK["php"](address) and path(host, "php") == "start"
        host.niwa("stop", "php")
        wait_for("it is noted", lambda: '"failures": 1' in host.niwa("--json", "snapshot", "ls").stdout)
        assert "fault snapshot.using" in host.niwa("snapshot", "ls").stdout
        assert ASK["php"](address) and path(host, "php") == "restore"
    finally:
        host.stop()


def kill_restores(host, stop):
    while not stop.wait(0.0005):
        for pid in children(host.keep.pid):
            with contextlib.suppress(OSError):  # it has ended
                if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"criu\0restore\0"):
                    os.kill(pid, signal.SIGKILL)


def test_an_app_that_is_never_restored_has_no_other_image_made(garden):
    address = asleep_with_image(garden, "php", snapshot="ready")
    stop = threading.Event()
    thread = threading.Thread(target=kill_restores, args=(garden, stop))
    thread.start()
    try:
        for _ in range(2):
            assert ASK["php"](address) and path(garden, "php") == "start"
            taken(garden, "php")
            garden.niwa("stop", "php")
        assert ASK["php"](address)
    finally:
        stop.set()
        thread.join()
    known = image(garden, "php")
    assert known["refused"] and "not restored 3 times in a row: CRIU killed" in known["why_not"], known
    time.sleep(0.5)
    garden.niwa("stop", "php")
    assert garden.state("php") == "stopped" and not image(garden, "php")["usable"]
    garden.niwa("snapshot", "take", "php")  # whoever has mended something says so
    garden.niwa("stop", "php")
    assert ASK["php"](address) and path(garden, "php") == "restore"


def test_an_app_that_ends_after_each_restore_has_no_other_image_made(garden):
    address = asleep_with_image(garden, "php", snapshot="ready", restore_signal="KILL")

    def visit():
        with contextlib.suppress(Exception):  # who comes just then is not answered
            ASK["php"](address)
        known = garden.show("php")
        if known["snapshot"]["usable"] and known["last_wake"]["path"] == "start":
            garden.niwa("stop", "php")
        return known["snapshot"].get("refused")

    wait_for("no other image is made", visit, timeout=30)
    assert garden.niwad_log().count("an image was taken: ") == 3


def small_disk(host, megabytes):
    """The host's state on a disk of its own."""
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-m", "0", "-O", "^has_journal", host.dir / "disk", f"{megabytes}m"], check=True)
    subprocess.run(["mount", "-o", "loop", host.dir / "disk", host.dir / "state"], check=True)
    (host.dir / "state").chmod(0o711)


def fill(folder, leave=0):
    """Leaves so many bytes free."""
    free = os.statvfs(folder)
    with open(folder / "ballast", "wb", buffering=0) as f:
        os.posix_fallocate(f.fileno(), 0, max(free.f_bavail * free.f_frsize - leave - (1 << 16), 1))


@pytest.fixture
def cramped():
    """A host with CRIU and little room."""
    host = Host(criu=CRIU, snapshot_free_bytes="0")
    small_disk(host, 96)
    try:
        yield host.start()
    finally:
        host.stop()
        subprocess.run(["umount", host.dir / "state"], check=False)


def nothing_half_made(host):
    wait_for("nothing half made is left", lambda: not [p for p in (host.dir / "state/snapshots").iterdir() if p.name.startswith(".")])


def test_a_disk_without_room_for_an_image_stops_no_app_and_is_told(cramped):
    fill(cramped.dir / "state", 6 << 20)  # PHP's image has 17 MiB
    apply(cramped, record("php", sleep=AWAKE, snapshot="ready"))
    address = cramped.address("php")
    assert ASK["php"](address)
    wait_for("the reason is shown", lambda: image(cramped, "php").get("last_reason"))
    assert ASK["php"](address)
    known = image(cramped, "php")
    assert not known["usable"] and not known["refused"], known  # there will be room again
    nothing_half_made(cramped)


def test_a_full_disk_hinders_no_restore(cramped):
    address = asleep_with_image(cramped, "php", snapshot="ready")
    fill(cramped.dir / "state")
    for _ in range(2):
        assert ASK["php"](address) and path(cramped, "php") == "restore"
        cramped.niwa("stop", "php")


def test_memory_that_finds_no_room_is_lost_and_the_app_is_answered(cramped):
    address, _ = counting(cramped, **HIBERNATES)
    fill(cramped.dir / "state", 2 << 20)
    assert ask(address) == (1, 0)
    cramped.wait_state("counter", "stopped", "saved", timeout=30)
    assert ask(address) == (1, 0)
    nothing_half_made(cramped)
    (cramped.dir / "state/ballast").unlink()
    cramped.wait_state("counter", "saved", timeout=30)
    assert ask(address) == (2, 0) and path(cramped, "counter") == "restore"


def memory_groups(host):
    for root in ("/sys/fs/cgroup/memory", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        for group in (Path(root) / host.cgroup).glob("i*"):
            for limit in ("memory.limit_in_bytes", "memory.max"):
                if (group / limit).exists():
                    yield group / limit


def squeeze(host, known, stop, squeezed):
    """The next instance's groups get less memory than the image needs."""
    while not stop.is_set():
        for limit in memory_groups(host):
            if limit in known or (squeezed and squeezed[0].parent.name != limit.parent.name):
                continue
            try:
                limit.write_text(str(8 << 20))
                squeezed.append(limit)
            except OSError:
                pass
        time.sleep(0.0002)


def test_a_restore_that_runs_out_of_memory_is_answered_by_a_start(garden):
    address = asleep_with_image(garden, "django", snapshot="ready", limits={"memory": "512M"})
    stop, squeezed = threading.Event(), []
    thread = threading.Thread(target=squeeze, args=(garden, set(memory_groups(garden)), stop, squeezed))
    thread.start()
    try:
        assert ASK["django"](address)
    finally:
        stop.set()
        thread.join()
    assert squeezed and path(garden, "django") == "start"
    garden.niwa("stop", "django")
    wait_for("nothing is left", lambda: not {k: v for k, v in garden.kernel_objects().items() if v})


# -- another host --------------------------------------------------------------------------------------------------


def another_kernel(host):
    libc = ctypes.CDLL(None)
    old = libc.personality(0xFFFFFFFF)
    assert libc.personality(old | UNAME26) >= 0  # uname says 2.6: niwad is told another release
    try:
        host.start_niwad()
    finally:
        libc.personality(old)


def another_processor(host):
    text = Path("/proc/cpuinfo").read_text()
    fake = host.dir / "cpuinfo"
    fake.write_text("".join("flags\t\t: fpu\n" if line.startswith("flags") else f"{line}\n" for line in text.splitlines()))
    subprocess.run(["mount", "--bind", fake, "/proc/cpuinfo"], check=True)
    try:
        host.start_niwad()
    finally:
        subprocess.run(["umount", "/proc/cpuinfo"], check=True)


@pytest.mark.parametrize("start", [another_kernel, another_processor])
def test_an_image_of_another_host_is_answered_by_a_start(garden, start):
    address = asleep_with_image(garden, "php", snapshot="ready")
    old = image(garden, "php")["key"]
    garden.kill_niwad()
    start(garden)
    assert ASK["php"](address) and path(garden, "php") == "start"
    wait_for("there is an image of this host", lambda: image(garden, "php").get("key", old) != old)
    garden.niwa("stop", "php")
    assert ASK["php"](address) and path(garden, "php") == "restore"


# -- identity ------------------------------------------------------------------------------------------------------


def test_each_wake_has_random_numbers_of_its_own(garden):
    address = asleep_with_image(garden, "php", snapshot="ready")
    seen = set()
    for _ in range(3):
        assert ASK["php"](address)
        seen.add(garden.niwa("exec", "php", "cat", "/run/niwa/random").stdout)
        garden.niwa("stop", "php")
    assert len(seen) == 3 and all(len(bytes.fromhex(text)) == 32 for text in seen)


WRITES = """
import http.server, os
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        what, _, name = self.path[1:].partition("/")
        at = "/srv/" + name
        if what == "write":
            os.makedirs(os.path.dirname(at), exist_ok=True)
            open(at, "w").write(name)
        if what == "remove":
            os.remove(at)
        text = " ".join(sorted(os.path.join(d, f)[5:] for d, _, files in os.walk("/srv") for f in files)).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 80), Answer).serve_forever()
"""


def test_what_was_written_before_an_earlier_sleep_is_there_after_the_next(garden):
    apply(garden, {"name": "writes", "tenant": "web", "image": "host", "command": ["python3", "-c", WRITES],
                   "ports": [{"port": 80, "protocol": "http"}], **HIBERNATES})
    address = garden.address("writes")

    def step(what):
        with urllib.request.urlopen(f"http://{address}/{what}", timeout=60) as answer:
            said = answer.read().decode()
        garden.wait_state("writes", "saved", timeout=30)
        return said

    assert step("write/a/first") == "a/first"
    assert step("write/a/second") == "a/first a/second"
    assert step("look") == "a/first a/second"
    assert step("remove/a/first") == "a/second"
    assert step("write/third") == "a/second third"
    garden.kill_niwad()
    garden.start_niwad()
    assert step("write/a/first") == "a/first a/second third"
    assert step("look") == "a/first a/second third"
    assert path(garden, "writes") == "restore"
