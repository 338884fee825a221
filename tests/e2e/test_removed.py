# SPDX-License-Identifier: MIT
"""What is left of apps that were removed: nothing but the ids that their files may have."""

import contextlib
import socket
import sqlite3

from host import SLOW, wait_for
from inside import app, apply, run


def tenants(host):
    return sorted(path.name for path in (host.dir / "run/tenants").iterdir())


def run_hosts(host):
    return (host.dir / "run/tenants/t/hosts").read_text()


def test_the_folder_of_a_tenant_goes_with_its_last_app_and_comes_with_the_next(host):
    for _ in range(2):
        apply(host, app("a.example.com", tenant="t"), app("b.example.com", tenant="t"), app("c.example.com", tenant="other"))
        for name in ("a.example.com", "b.example.com", "c.example.com"):
            host.niwa("wake", name)
        assert tenants(host) == ["other", "t"]
        assert "b.example.com" in run(host, "a.example.com", "cat", "/etc/hosts").stdout
        host.niwa("rm", "b.example.com")
        wait_for("the name is gone", lambda: "b.example.com" not in run(host, "a.example.com", "cat", "/etc/hosts").stdout)
        assert tenants(host) == ["other", "t"]
        host.niwa("rm", "a.example.com")
        wait_for("its folder is gone", lambda: tenants(host) == ["other"])
    apply(host, app("c.example.com", tenant="third"))
    wait_for("the app is another tenant's", lambda: "other" not in tenants(host))
    host.niwa("rm", "c.example.com")
    wait_for("nothing is left", lambda: not tenants(host) and host.nothing_left())


def test_the_hosts_of_a_tenant_are_written_when_names_come_and_go_and_for_no_other_change(host):
    apply(host, app("one.example.com", tenant="other"), app("a.example.com", tenant="t"), app("b.example.com", tenant="t"))
    for name in ("one.example.com", "a.example.com"):  # the last to start is looked at first
        host.niwa("wake", name)
    hosts = host.dir / "run/tenants/t/hosts"
    before = hosts.stat()
    changed = app("b.example.com", tenant="t", limits={"memory": "96M"})
    apply(host, changed, app("two.example.com", tenant="other"))
    wait_for("the other's are written", lambda: "two.example.com" in (host.dir / "run/tenants/other/hosts").read_text())
    assert (hosts.stat().st_ino, hosts.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    apply(host, app("c.example.com", tenant="t"))
    wait_for("the new name is there", lambda: "c.example.com" in run(host, "a.example.com", "cat", "/etc/hosts").stdout)
    lines = hosts.read_text().splitlines()
    assert {f"{host.address(n)} {n} {n}.niwa.internal" for n in ("a.example.com", "b.example.com", "c.example.com")} <= set(lines)


def test_names_that_a_killed_niwad_had_committed_are_told_by_the_next_one(host):
    apply(host, app("a.example.com", tenant="t"))
    host.niwa("wake", "a.example.com")
    host.kill_niwad()
    host.start_niwad({"NIWA_FAULT": "niwad.declared:kill"})
    apply(host, app("b.example.com", tenant="t"), check=False)
    host.niwad.wait(30 * SLOW)
    assert "b.example.com" not in run_hosts(host)
    host.start_niwad()
    wait_for("the new name is there", lambda: "b.example.com" in run_hosts(host))


def test_folders_of_tenants_and_logs_of_apps_that_a_killed_niwad_left_are_collected(host):
    apply(host, app("a.example.com", tenant="t"))
    host.niwa("wake", "a.example.com")
    host.kill_niwad()
    gone = host.dir / "run/tenants/gone"
    gone.mkdir()
    (gone / "hosts").write_text("127.0.0.1 localhost\n")
    log = host.dir / "log/.removed-77.1"
    log.write_text("secret\n")
    host.start_niwad()
    wait_for("it is collected", lambda: tenants(host) == ["t"] and not log.exists())
    assert "a.example.com" in run(host, "a.example.com", "cat", "/etc/hosts").stdout


def test_the_tenant_after_45054_others_has_ids_of_its_own_and_when_none_are_left_it_is_told(host):
    """There are so many ranges of 65536 ids on disk; tenants without files of their own use none of them."""
    folder = host.dir / "volume"
    folder.mkdir()
    apply(host, app("one.example.com", tenant="one"))
    host.kill_niwad()
    with contextlib.closing(sqlite3.connect(host.dir / "state/niwa.db")) as db, db:
        db.execute("UPDATE sqlite_sequence SET seq = 45055 WHERE name = 'tenant'")
    host.start_niwad()
    record = app("many.example.com", tenant="many", volumes=[{"from": str(folder), "to": "/srv/data"}])
    apply(host, record)
    run(host, "many.example.com", "touch", "/srv/data/file")
    base = (folder / "file").stat().st_uid
    assert base % 65536 == 0 and 0x50000000 < base < 2**32 - 65536
    host.niwa("rm", "many.example.com")
    host.kill_niwad()
    with contextlib.closing(sqlite3.connect(host.dir / "state/niwa.db")) as db, db:
        db.execute("UPDATE tenant SET files = 45054 WHERE name = 'many'")
    host.start_niwad()
    done = apply(host, dict(record, tenant="late"), check=False)
    assert done.returncode == 1 and "tenant late cannot have volumes: 45054 tenants had some" in done.stderr
    apply(host, app("late.example.com", tenant="late"), dict(record, tenant="many"))
    run(host, "many.example.com", "true")


FULL = "import socket, time; s = socket.create_server(('', 80), backlog=0); time.sleep(1e6)"


def test_connections_that_the_relay_is_making_to_an_app_that_is_removed_are_answered(host):
    """Nothing is accepted, so the relay waits for the app's kernel; nobody will tell it when there is no app any more."""
    apply(host, app("full.example.com", command=["/usr/bin/python3", "-Ic", FULL],
                    ports=[{"port": 80, "protocol": "http", "proxy": "v1"}]), app("other.example.com"))
    host.niwa("wake", "full.example.com")
    address = host.address("full.example.com")
    with contextlib.ExitStack() as open_ones:
        clients = [open_ones.enter_context(socket.create_connection((address, 80), timeout=5 * SLOW)) for _ in range(8)]
        for client in clients:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for("some have to wait", lambda: 4 <= host.rpc("host.status")["starts"]["connections_waiting"] < 8)
        host.niwa("rm", "full.example.com")
        answers = []
        for client in clients:
            with contextlib.suppress(ConnectionError):  # that were there, or came later
                answers.append(client.recv(100)[:12])
        assert answers.count(b"HTTP/1.1 503") >= 4, answers
    wait_for("nobody waits", lambda: host.rpc("host.status")["starts"]["connections_waiting"] == 0)
    host.niwa("wake", "other.example.com")
