# SPDX-License-Identifier: MIT
"""Images and the disk: room, a power failure, somebody who does not want to wait for it."""

import json
import shutil
import subprocess
from pathlib import Path

from clients import apply
from host import CRIU, Host, wait_for
from test_snapshot import AWAKE, HIBERNATES, ask, counting, image, taken
from test_snapshot_bounds import SERVER
from test_snapshot_faults import fill, small_disk


def app(name, **keys):
    return {"name": name, "tenant": "alice", "image": "host", "command": ["python3", "-c", SERVER], "sleep": AWAKE,
            "ports": [{"port": 80, "protocol": "http"}], "stop": {"grace": "1s"}, "snapshot": "ready", **keys}


def with_image(host, name):
    apply(host, app(name))
    host.niwa("wake", name)
    bytes_ = taken(host, name)["bytes"]
    host.niwa("stop", name)
    return bytes_


def test_an_app_whose_image_had_to_go_is_known_to_have_none():
    host = Host(criu=CRIU, snapshot_bytes="14M").start()
    try:
        assert 7 << 20 < with_image(host, "a") < 14 << 20  # two are too many
        assert host.state("a") == "saved"
        with_image(host, "b")
        host.wait_state("a", "stopped")
        known = image(host, "a")
        assert not known["usable"] and known["wakes_by"] == "start" and "place on disk was needed" in known["why_not"]
        rows = json.loads(host.niwa("--json", "snapshot", "ls").stdout)
        assert [row["app"] for row in rows["snapshots"]] == ["b"] and [row["app"] for row in rows["none"]] == ["a"]
    finally:
        host.stop()


FORKS = """
import mmap
shared = bytearray(24 << 20)
for _ in range(0, len(shared), 4096):
    shared[_] = 1
for _ in range(7):
    if os.fork() == 0:
        signal.pause()
"""


def test_processes_that_share_their_memory_fill_no_disk():
    """CRIU writes what is shared since a fork once for each process: eight times what the kernel counts."""
    host = Host(criu=CRIU, snapshot_image_bytes="96M")
    small_disk(host, 128)
    try:
        host.start()
        apply(host, app("a", command=["python3", "-c", "import signal, os" + FORKS + SERVER]))
        host.niwa("wake", "a")
        wait_for("it is refused", lambda: image(host, "a").get("refused"), timeout=20)
        assert "one may have 96 MiB" in image(host, "a")["why_not"]
        assert "No space left" not in host.niwad_log()
        assert host.state("a") == "running"
    finally:
        host.stop()
        subprocess.run(["umount", host.dir / "state"], check=False)


def test_images_leave_room_on_the_disk():
    host = Host(criu=CRIU, snapshot_free_bytes="40M")
    small_disk(host, 128)
    try:
        host.start()
        fill(host.dir / "state", 44 << 20)  # an image has 8 MiB
        apply(host, app("a"))
        host.niwa("wake", "a")
        wait_for("the reason is shown", lambda: "no room" in image(host, "a").get("last_reason", ""))
        assert not image(host, "a")["refused"]  # there will be room again
        (host.dir / "state/ballast").unlink()
        host.niwa("snapshot", "take", "a")
    finally:
        host.stop()
        subprocess.run(["umount", host.dir / "state"], check=False)


def test_memory_is_not_newer_than_the_files_after_a_power_failure(garden):
    disk, data, after = (garden.dir / name for name in ("data.disk", "data", "after"))
    for folder in (data, after):
        folder.mkdir()
    subprocess.run(["mke2fs", "-q", "-t", "ext4", disk, "32m"], check=True)
    subprocess.run(["mount", "-o", "loop,commit=600", disk, data], check=True)
    try:
        (data / "files").mkdir()
        address, _ = counting(garden, data=data / "files", **HIBERNATES)
        assert ask(address, "/write") == (1, 1)  # and does not sync it
        garden.wait_state("counter", "saved", timeout=30)
        shutil.copy(disk, garden.dir / "copy")  # what the disk has when the power fails now
        subprocess.run(["mount", "-o", "loop", garden.dir / "copy", after], check=True)
        assert (after / "files/rows").read_text() == (data / "files/rows").read_text() != ""
    finally:
        garden.niwa("stop", "counter")
        subprocess.run(["umount", "-q", after], check=False)
        subprocess.run(["umount", data], check=False)


def test_who_comes_while_memory_is_written_to_disk_does_not_wait_for_it():
    host = Host(criu=CRIU).start(niwad_env={"NIWA_FAULT": "snapshot.images-synced:hang"})
    try:
        address, _ = counting(host, **HIBERNATES)
        assert ask(address) == (1, 0)
        host.wait_state("counter", "saving", timeout=30)
        wait_for("it is copied", lambda: list((host.dir / "state/snapshots").glob(".new-*/images/inventory.img")))
        wait_for("CRIU has ended", lambda: not any("criu" in line for line in commands(host)))
        wait_for("a thread hangs where it is synced", lambda: hangs(host.niwad.pid))
        assert ask(address) == (2, 0) and host.state("counter") == "running"
        assert "its memory is not saved" in host.niwad_log()
        host.wait_state("counter", "saving", timeout=30)
        host.niwa("stop", "counter")
        host.wait_state("counter", "stopped")
    finally:
        host.stop()


def hangs(pid):
    """Does a thread sleep, as the fault makes it? 230: clock_nanosleep(2)."""
    return any(path.read_text().startswith("230 ") for path in Path(f"/proc/{pid}/task").glob("*/syscall"))


def commands(host):
    shown = subprocess.run(["ps", "-o", "args=", "--ppid", str(host.keep.pid)], capture_output=True, text=True, check=False)
    return shown.stdout.splitlines()
