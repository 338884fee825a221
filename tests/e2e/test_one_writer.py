# SPDX-License-Identifier: MIT
"""A writable volume that is not shared has one instance at a time, whichever records its instances were made from."""

import subprocess
import threading
import time

import crash
import pytest
from host import Host, Rpc, RpcError, wait_for
from inside import app, apply

# Writes its beats into its volume; takes two seconds to end, or as many as $ENDS says.
SLOW = """
import os, signal, socket, threading, time
signal.signal(signal.SIGTERM, lambda *a: threading.Thread(target=lambda: (time.sleep(int(os.environ.get("ENDS", "2"))), os._exit(0))).start())
me = str(time.time_ns())
def beat():
    while True:
        with open("/data/beats", "a") as f:
            f.write(f"{time.monotonic()} {me}\\n")
        time.sleep(0.02)
threading.Thread(target=beat, daemon=True).start()
s = socket.create_server(("", 80))
while True:
    s.accept()[0].close()
"""


@pytest.fixture
def host():
    h = Host().start()
    yield h
    h.stop()


def folder(host, name="volume"):
    path = host.dir / name
    path.mkdir(exist_ok=True)
    return path


def db(name, path, **keys):
    volume = {"from": str(path), "to": "/data", **keys.pop("volume", {})}
    return app(name, tenant="db", command=["/usr/bin/python3", "-Ic", SLOW], volumes=[volume],
               stop={"grace": "10s", "signal": "TERM"}, **keys)


def beats(path):
    """First and last beat of each instance that wrote there, in order."""
    lives = {}
    for line in (path / "beats").read_text().splitlines():
        at, who = line.split()
        lives.setdefault(who, []).append(float(at))
    return sorted((min(life), max(life)) for life in lives.values())


def one_after_the_other(path, count):
    wait_for("the older ones have ended", lambda: all(life[1] < time.monotonic() - 0.5 for life in beats(path)[:-1]))
    lives = beats(path)
    assert len(lives) == count, lives
    for before, after in zip(lives, lives[1:]):
        assert before[1] < after[0], f"both wrote for {before[1] - after[0]:.1f} s"


@pytest.mark.parametrize("restart", [False, True], ids=["same-niwad", "next-niwad"])
@pytest.mark.parametrize("again", ["db.example", "db2.example"])
def test_a_removed_app_has_its_folder_until_it_has_ended(host, again, restart):
    path = folder(host)
    apply(host, db("db.example", path))
    host.niwa("wake", "db.example")
    wait_for("it writes", (path / "beats").exists)
    host.niwa("rm", "--yes", "db.example")
    wait_for("it stops", lambda: "running -> stopping (removed)" in host.niwad_log())
    if restart:
        host.kill_niwad()
        host.start_niwad()
    apply(host, db(again, path))
    waker = threading.Thread(target=host.niwa, args=("wake", again))
    waker.start()
    host.wait_state(again, "starting", "running")
    waker.join()
    assert host.state(again) == "running"
    wait_for("the other one writes", lambda: len(beats(path)) == 2)
    one_after_the_other(path, 2)
    assert beats(path)[0][1] - beats(path)[0][0] >= 1.5, "the first one had its grace"


def test_one_apply_that_swaps_the_folders_of_two_running_apps_lets_each_wait_for_the_other(host):
    one, two = folder(host, "one"), folder(host, "two")
    apply(host, db("a.example", one), db("b.example", two, env={"ENDS": "4"}))
    host.niwa("wake", "a.example")
    host.niwa("wake", "b.example")
    wait_for("both write", lambda: (one / "beats").exists() and (two / "beats").exists())
    first = {host.pid("a.example"), host.pid("b.example")}
    apply(host, db("a.example", two), db("b.example", one))
    wait_for("both write to the other's", lambda: len(beats(one)) == 2 and len(beats(two)) == 2, timeout=20)
    host.wait_state("a.example", "running")
    host.wait_state("b.example", "running")
    one_after_the_other(one, 2)
    one_after_the_other(two, 2)
    assert not first & {host.pid("a.example"), host.pid("b.example")}


def test_a_folder_that_becomes_shared_is_handed_over_also_when_niwad_died_before_the_rotation(host):
    path = folder(host)
    apply(host, db("db.example", path))
    host.niwa("wake", "db.example")
    crash.fail_at(host, "niwad.committed")
    apply(host, db("db.example", path, volume={"shared": True}), check=False)
    crash.wait_dead(host, "niwad.committed")
    host.start_niwad()
    wait_for("a fresh one writes", lambda: len(beats(path)) == 2)
    one_after_the_other(path, 2)


def test_a_start_that_waits_for_a_folder_can_be_given_up(host):
    path = folder(host)
    apply(host, db("db.example", path))
    host.niwa("wake", "db.example")
    host.niwa("rm", "--yes", "db.example")
    apply(host, db("db2.example", path))
    waker = threading.Thread(target=host.niwa, args=("wake", "db2.example"), kwargs={"check": False})
    waker.start()
    host.wait_state("db2.example", "starting")
    host.niwa("stop", "db2.example")
    waker.join()
    wait_for("the first one has ended", lambda: beats(path)[0][1] < time.monotonic() - 1)
    assert host.state("db2.example") == "stopped" and len(beats(path)) == 1


def test_an_app_whose_folder_another_app_writes_to_under_another_path_is_told_so(host):
    path, other = folder(host), folder(host, "other")
    apply(host, db("db.example", path), db("db2.example", other))
    subprocess.run(["mount", "--bind", path, other], check=True)
    try:
        host.niwa("wake", "db.example")
        done = host.niwa("wake", "db2.example", check=False)
        assert done.returncode == 1
        assert f"volumes[0].from: '{other}' is written to by instance" in done.stderr and "of app db.example" in done.stderr
        host.niwa("stop", "db.example")
        wait_for("it may start now", lambda: host.niwa("wake", "db2.example", check=False).returncode == 0)
    finally:
        host.niwa("stop", "db2.example")
        subprocess.run(["umount", "-l", other], check=True)


MORE = """apps:
  - name: more.example
    image: host
    command: [/bin/true]
    ports: [{{port: 80}}]
    volumes:
      - {{from: {path}, to: /data{keys}}}
"""


def test_an_app_in_another_file_that_writes_to_the_same_folder_is_refused_with_file_and_line(host):
    path = folder(host)
    apply(host, db("db.example", path))
    done = host.apply(MORE.format(path=path, keys=""), check=False)
    assert done.returncode != 0
    assert f"{host.dir}/apps.yaml:7: apps[0].volumes[0].from of more.example: '{path}' is written to by app db.example" in done.stderr
    assert host.apply(MORE.format(path=path, keys=", shared: true"), check=False).returncode != 0, "both have to say so"
    host.apply(MORE.format(path=path, keys=", read_only: true"))
    assert host.apply(MORE.format(path=path, keys=""), check=False).returncode != 0, "a change is looked at as well"
    apply(host, db("db.example", path, volume={"shared": True}))
    host.apply(MORE.format(path=path, keys=", shared: true"))
    assert apply(host, db("db.example", path), check=False).returncode != 0


def test_a_folder_may_go_from_one_app_to_another_in_one_transaction(host):
    one, two = folder(host, "one"), folder(host, "two")
    apply(host, db("a.example", one), db("b.example", two))
    apply(host, db("a.example", two), db("b.example", one))
    rpc = Rpc(host.socket)
    txn = rpc.call("apply.begin")["txn"]
    rpc.call("apply.remove", txn=txn, name="a.example")
    rpc.call("apply.put", txn=txn, apps=[db("c.example", two)])
    rpc.call("apply.commit", txn=txn)
    txn = rpc.call("apply.begin")["txn"]
    rpc.call("apply.put", txn=txn, apps=[db("d.example", one)])
    with pytest.raises(RpcError) as refused:
        rpc.call("apply.commit", txn=txn)
    assert refused.value.data == {"kind": "caller", "app": "d.example", "key": "volumes[0].from"}
    rpc.close()
