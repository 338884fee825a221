# SPDX-License-Identifier: MIT
"""An app that says that it is busy does not sleep: by /run/niwa/busy, by a line to its NOTIFY_SOCKET."""

import os
import socket
import time
from pathlib import Path

import pytest
from clients import apply, record
from host import CRIU, SLOW, Host, wait_for
from inside import QUIET, app, run
from test_snapshot import taken

SLEEPS = {"freeze": "200ms", "page": "never", "save": "never"}


@pytest.fixture(scope="module")
def garden():
    h = Host(drain="1s", criu=CRIU).start()
    yield h
    h.stop()


@pytest.fixture
def longest(garden):
    """Sets the longest lease, for one test."""
    def restart(**settings):
        garden.kill_niwad()
        garden.configure(**garden.settings, **settings)
        garden.start_niwad()

    yield lambda text: restart(lease_max=text)
    restart()


def awake(host, name, **keys):
    apply(host, app(name, **{"sleep": SLEEPS, "snapshot": "off", **keys}))
    host.niwa("wake", name)


def instance_pid(name):
    """Without asking niwad: a process that has the app's name in its environment."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"NIWA_APP={name}\0".encode() in path.read_bytes():
                return int(path.parent.name)
        except OSError:
            pass  # it has just ended
    raise AssertionError(f"{name} has no process")


def write(host, name, text):
    run(host, name, "sh", "-c", f"echo {text} > /run/niwa/busy")


def stays_awake(host, name, seconds=0.6):
    """Longer than it would be awake by itself."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert host.state(name) == "running", host.show(name)["history"]
        time.sleep(0.05)


# -- the file -------------------------------------------------------------------------------------------------------


def test_a_lease_by_the_file_keeps_an_app_awake_until_it_is_given_back(garden, name):
    awake(garden, name)
    write(garden, name, "5m")
    stays_awake(garden, name)
    write(garden, name, "0")
    garden.wait_state(name, "frozen")


def test_a_lease_ends_by_itself_and_is_begun_anew_by_a_touch(garden, name):
    awake(garden, name)
    write(garden, name, f"{1500 * SLOW:.0f}ms")
    stays_awake(garden, name, 1)
    run(garden, name, "touch", "/run/niwa/busy")
    stays_awake(garden, name, 1)
    garden.wait_state(name, "frozen")


def test_every_user_of_the_app_may_say_that_it_is_busy(garden, name):
    awake(garden, name, user="nobody")
    write(garden, name, "5m")
    stays_awake(garden, name)


def test_a_lease_holds_though_niwad_is_another_one(garden, name):
    awake(garden, name)
    write(garden, name, "5m")
    garden.kill_niwad()
    garden.start_niwad()
    stays_awake(garden, name)


def test_an_app_that_took_no_lease_sleeps_though_it_has_the_file(garden, name):
    awake(garden, name)
    assert run(garden, name, "cat", "/run/niwa/busy").stdout == "0\n"
    garden.wait_state(name, "frozen")


def test_a_lease_holds_an_app_back_from_every_depth(garden, name):
    awake(garden, name, sleep={"freeze": "never", "page": "never", "save": "200ms"})
    write(garden, name, "5m")
    stays_awake(garden, name)
    write(garden, name, "0")
    garden.wait_state(name, "stopped", "saved")


HOSTILE = {
    "a FIFO": "rm /run/niwa/busy; mkfifo /run/niwa/busy",
    "a link": "rm /run/niwa/busy; echo 5m > /tmp/x; ln -s /tmp/x /run/niwa/busy",
    "a link of the folder": "mkdir /tmp/n; echo 5m > /tmp/n/busy; mv /run/niwa/busy /tmp/y; rm -f /run/niwa/busy; ln -s /proc/1/root/tmp/n/busy /run/niwa/busy",
    "a folder": "rm /run/niwa/busy; mkdir /run/niwa/busy",
    "nothing": "rm /run/niwa/busy",
    "much": "yes 5m | head -c 1000000 > /run/niwa/busy",
    "no text": "printf '5m\\000' > /run/niwa/busy",
    "no time": "echo for ever > /run/niwa/busy",
    "a negative time": "echo -5m > /run/niwa/busy",
    "two": "echo 5m 5m > /run/niwa/busy",
    "empty": ": > /run/niwa/busy",
    "a hole": "truncate -s 1T /run/niwa/busy",
}


def test_what_is_no_lease_keeps_nothing_awake(garden):
    names = {f"hostile-{n}.example.com": what for n, what in enumerate(HOSTILE)}
    apply(garden, *(app(name, sleep=SLEEPS, snapshot="off") for name in names))
    for name, what in names.items():
        garden.niwa("wake", name)
        run(garden, name, "sh", "-c", HOSTILE[what])
    for name, what in names.items():
        garden.wait_state(name, "frozen"), what
    garden.niwa("rm", *names)


def test_no_lease_is_longer_than_it_may_be(garden, longest, name):
    """Nor is one from the future."""
    longest(f"{1000 * SLOW:.0f}ms")
    awake(garden, name)
    run(garden, name, "sh", "-c", "echo 20d > /run/niwa/busy; touch -d '+10 days' /run/niwa/busy")
    stays_awake(garden, name, 0.6)
    garden.wait_state(name, "frozen")
    run(garden, name, "true")
    garden.wait_state(name, "frozen")


def test_leases_are_not_heeded_where_there_are_none(garden, longest, name):
    longest("0")
    awake(garden, name)
    write(garden, name, "5m")
    garden.wait_state(name, "frozen")


def test_the_end_of_its_lifetime_comes_though_a_lease_is_renewed_for_ever(garden, name):
    renew = "import threading, time\ndef again():\n  while True:\n    open('/run/niwa/busy', 'w').write('1h'); time.sleep(0.1)\nthreading.Thread(target=again).start()\n"
    awake(garden, name, command=["/usr/bin/python3", "-Ic", renew + QUIET], lifetime="1500ms" if SLOW == 1 else "10s")
    first = garden.show(name)["instances"][0]["id"]
    wait_for("a fresh instance serves", lambda: [i for i in garden.show(name)["instances"] if i["id"] != first and i["life"] == "serving"], 20)
    wait_for("the old one is gone", lambda: all(i["id"] != first for i in garden.show(name)["instances"]), 20)


def test_a_lease_that_is_taken_while_the_freezer_is_at_work_thaws_the_app(garden, name):
    """niwad has decided; the app's last instruction is to say that it is busy."""
    garden.kill_niwad()
    garden.start_niwad({"NIWA_FAULT": "niwad.frozen:slow"})
    try:
        awake(garden, name)
        wait_for("it is being frozen", lambda: f"{name} instance=" in garden.niwad_log() and "running -> freezing" in garden.niwad_log().split(name)[-1])
        with open(f"/proc/{instance_pid(name)}/root/run/niwa/busy", "w") as f:
            f.write("5m")
        wait_for("it runs again", lambda: garden.state(name) == "running", 10)
        assert garden.show(name)["history"][-1]["why"] in ("it is busy", "bytes came while it froze"), "the kernel may send some"
        stays_awake(garden, name)
    finally:
        garden.kill_niwad()
        garden.start_niwad()


def test_an_operator_may_freeze_and_stop_a_busy_app(garden, name):
    awake(garden, name)
    write(garden, name, "5m")
    stays_awake(garden, name, 0.3)
    garden.niwa("freeze", name)
    assert garden.state(name) == "frozen"
    garden.niwa("stop", name)
    assert garden.state(name) == "stopped"


# -- the socket -----------------------------------------------------------------------------------------------------

SENDS = """
import os, socket, sys
def notify(text):
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(text, '/run/niwa/notify')
"""
READY = ["/usr/bin/python3", "-Ic", SENDS + "s = socket.create_server(('', 80)); notify(b'READY=1'); [c.close() for c, _ in iter(s.accept, None)]"]


def tell(host, name, text):
    run(host, name, "/usr/bin/python3", "-Ic", SENDS + f"notify({text.encode()!r})")


def notifier(host, name, **keys):
    awake(host, name, command=READY, ready={"notify": True}, **keys)


def test_a_lease_by_a_line_to_the_socket_keeps_an_app_awake_until_it_is_given_back(garden, name):
    notifier(garden, name)
    tell(garden, name, "STATUS=working\nBUSY=5m\n")
    stays_awake(garden, name)
    tell(garden, name, "BUSY=0")
    garden.wait_state(name, "frozen")


def test_a_lease_by_the_socket_holds_though_niwad_is_another_one(garden, name):
    notifier(garden, name)
    tell(garden, name, "BUSY=5m")
    stays_awake(garden, name, 0.4)
    garden.kill_niwad()
    garden.start_niwad()
    stays_awake(garden, name)
    tell(garden, name, "BUSY=0")
    garden.wait_state(name, "frozen")


def test_what_is_told_while_no_niwad_is_there_is_heard_by_the_next(garden, name):
    notifier(garden, name, sleep={**SLEEPS, "freeze": "600ms"})
    pid = garden.pid(name)
    garden.kill_niwad()
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.sendto(b"BUSY=5m", f"/proc/{pid}/root/run/niwa/notify")
    garden.start_niwad()
    stays_awake(garden, name, 1.2)


def test_of_lines_that_wait_together_only_the_last_one_is_told_on(garden, name):
    notifier(garden, name)
    pid = garden.pid(name)
    garden.kill_niwad()
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    for text in (b"BUSY=1h", b"BUSY=1s", b"BUSY=2h", b"STATUS=x", b"BUSY=2s", b"BUSY=5m", b"READY=1"):
        s.sendto(text, f"/proc/{pid}/root/run/niwa/notify")
    garden.start_niwad({"NIWA_FAULT": "niwad.busy-tag:kill@2"})
    (why,) = wait_for("they are read", lambda: garden.show(name)["awake"])
    assert why["why"] == "lease" and 200 < why["until"] / 1e6 - time.time() < 301, why
    garden.kill_niwad()
    garden.start_niwad()


NO_LEASES = ["BUSY=", "BUSY=x", "busy=5m", "XBUSY=5m", " BUSY=5m", "BUSY=5m\0", "BUSY=-1s", "BUSY=5m x", "BUSY=" + "9" * 400, "\n" * 400, ""]


def test_what_the_socket_does_not_know_keeps_nothing_awake(garden, name):
    notifier(garden, name, sleep={**SLEEPS, "freeze": "1s"})
    run(garden, name, "/usr/bin/python3", "-Ic", SENDS + "for text in eval(sys.argv[1]): notify(text.encode())", repr(NO_LEASES))
    garden.wait_state(name, "frozen", timeout=5)


def cpu(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_an_app_that_floods_its_socket_costs_others_nothing(garden, name):
    flood = SENDS + "s = socket.create_server(('', 80)); notify(b'READY=1')\nc = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); c.connect('/run/niwa/notify')\nwhile True: c.send(b'BUSY=1s\\n' * 50)"
    awake(garden, name, command=["/usr/bin/python3", "-Ic", flood], ready={"notify": True}, limits={"cpu": "20%"})
    other = f"other-{name}"
    awake(garden, other)
    before, began = cpu(garden.niwad.pid), time.monotonic()
    time.sleep(1)
    used, took = cpu(garden.niwad.pid) - before, time.monotonic() - began
    assert used < 0.15 * took, f"niwad used {used:.2f} s of {took:.2f} s"
    garden.wait_state(other, "frozen")
    garden.niwa("rm", other)


# -- images ---------------------------------------------------------------------------------------------------------


def test_an_app_that_was_restored_from_an_image_may_be_busy(garden, name):
    """The file and the socket are those of the restored instance."""
    apply(garden, record("php", name=name, sleep={"freeze": "never", "page": "never", "save": "never"}, snapshot="ready"))
    garden.niwa("wake", name)
    taken(garden, name)
    garden.niwa("stop", name)
    assert garden.state(name) == "saved"
    apply(garden, record("php", name=name, sleep=SLEEPS, snapshot="ready"))
    garden.niwa("wake", name)
    write(garden, name, "5m")
    stays_awake(garden, name)
    write(garden, name, "0")
    garden.wait_state(name, "frozen")
    assert garden.show(name)["last_wake"]["path"] == "restore"
