# SPDX-License-Identifier: MIT
"""Apps are replaced by fresh ones while clients use them: at the end of a lifetime, by `niwa restart`, and because
their declaration changed. Those without data overlap, those with data hand over and never run twice."""

import fcntl
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clients import (ASK, AWAKE, Answer, Broken, Load, NotConnected, Postgres, apply, connect, folder, http, imap, psql,
                     record, text_of)
from host import SLOW, Host, wait_for

STATELESS = ("static", "php", "django")

# Written into the volume by every instance before its program begins; the lock lives as long as any of its processes.
GUARD = "exec 9>>{0}/lock; if flock -n 9; then echo alone; else echo two; fi >>{0}/starts; "
INSIDE = {"postgres": "/var/lib/postgresql/data", "dovecot": "/srv/mail"}
OUTSIDE = {"postgres": "postgres/data", "dovecot": "dovecot/mail"}
PROGRAM = {"postgres": "exec /usr/lib/postgresql/*/bin/postgres -D /var/lib/postgresql/data",
           # A killed one leaves dot-locks, which its successor would wait for; it has just shown that it is alone.
           "dovecot": "rm -f /srv/mail/*/dovecot-uidlist.lock; exec dovecot -F -c /etc/dovecot-niwa/dovecot.conf"}


@pytest.fixture(scope="module")
def garden():
    host = Host(drain=f"{2 * SLOW:.0f}s").start()
    yield host
    host.stop()


def guarded(name, **changes):
    return record(name, sleep=AWAKE, command=["sh", "-c", GUARD.format(INSIDE[name]) + PROGRAM[name]], **changes)


def starts(name):
    return Path(folder(), OUTSIDE[name], "starts").read_text().split()


def lock_is_held(name):
    with open(Path(folder(), OUTSIDE[name], "lock"), "ab") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class History:
    """Collects an app's changes of state; the engine itself keeps the last eight."""

    def __init__(self, host, name):
        self.host, self.name, self.seen = host, name, set()

    def look(self):
        show = self.host.show(self.name)
        self.seen |= {(h["at"] / 1e6, h["to"]) for h in show["history"]}
        return show

    def times(self, state):
        return sorted(at for at, to in self.seen if to == state)


def serving(host, name):
    return [i["id"] for i in host.show(name)["instances"] if i["life"] == "serving"]


def lives(host, name):
    return [i["life"] for i in host.show(name)["instances"]]


def single(host, name):
    return len(lives(host, name)) == 1


# -- overlap ------------------------------------------------------------------------------------------------------


def restart(host, name):
    host.niwa("restart", name)


def change(host, name):
    apply(host, record(name, sleep=AWAKE, env={**record(name).get("env", {}), "CHANGED": str(time.time())}))


@pytest.mark.parametrize("rotate", (restart, change))
@pytest.mark.parametrize("name", STATELESS)
def test_no_request_fails_while_an_app_without_data_is_replaced(garden, name, rotate):
    apply(garden, record(name, sleep=AWAKE))
    address = garden.address(name)
    ASK[name](address)
    wait_for("one instance", lambda: single(garden, name), timeout=20)
    old = serving(garden, name)
    with Load(ASK[name], address) as load:
        wait_for("there is load", lambda: load.answered() >= 10, timeout=20)
        rotate(garden, name)
        wait_for("a fresh one serves", lambda: serving(garden, name) not in (old, []), timeout=30)
        wait_for("the old one has gone", lambda: single(garden, name), timeout=30)
        seen = load.answered()
        wait_for("answers go on", lambda: load.answered() >= seen + 10, timeout=20)
    assert not load.failed(), text_of(load.failed())


@pytest.mark.parametrize("name", STATELESS)
def test_no_request_fails_when_lifetimes_end(garden, name):
    apply(garden, record(name, sleep=AWAKE, lifetime=f"{2 * SLOW:.0f}s"))
    address = garden.address(name)
    ASK[name](address)
    seen = set()
    with Load(ASK[name], address, clients=3) as load:
        wait_for("three served", lambda: seen.update(serving(garden, name)) or len(seen) >= 3, timeout=40, pause=0.1)
    apply(garden, record(name, sleep=AWAKE))
    assert not load.failed(), text_of(load.failed())


def test_a_frozen_app_that_nobody_uses_is_stopped_when_its_lifetime_ends(garden):
    apply(garden, record("static", lifetime=f"{3 * SLOW:.0f}s", sleep={"freeze": "200ms", "page": "never", "save": "never"}))
    address = garden.address("static")
    garden.niwa("stop", "static")
    ASK["static"](address)
    pid = garden.pid("static")
    garden.wait_state("static", "frozen")
    garden.wait_state("static", "stopped")
    ASK["static"](address)
    assert garden.pid("static") != pid


def test_a_request_under_way_is_answered_by_the_instance_that_took_it(garden):
    apply(garden, record("php", sleep=AWAKE))
    address = garden.address("php")
    ASK["php"](address)
    wait_for("one instance", lambda: single(garden, "php"), timeout=20)
    with Load(lambda: http(address, f"/?sleep={1500 * SLOW:.0f}"), clients=3, pause=60) as load:
        time_limit = time.monotonic() + 1.2 * SLOW
        restart(garden, "php")
        assert time.monotonic() < time_limit, "the restart waited for the requests"
        fresh = garden.pid("php")
        assert os.path.exists(f"/proc/{fresh}")
        assert not load.tries
        wait_for("they are answered", lambda: len(load.tries) == 3)
    assert not load.failed(), text_of(load.failed())


def test_a_keep_alive_connection_stays_with_the_old_instance_until_it_has_drained(garden):
    apply(garden, record("static", sleep=AWAKE))
    address = garden.address("static")

    def who(s):
        s.sendall(b"GET /who HTTP/1.1\r\nHost: x\r\n\r\n")
        head, _, body = s.recv(4096).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        return body.split()[1]

    ASK["static"](address)
    wait_for("one instance", lambda: single(garden, "static"), timeout=20)
    old = garden.pid("static")
    with connect(address, 80) as kept:
        pid = who(kept)
        restart(garden, "static")
        assert garden.pid("static") != old
        assert who(kept) == pid
        kept.settimeout(20 * SLOW)
        assert kept.recv(1) == b"", "closed in good order when the drain is over"
    wait_for("the old one has gone", lambda: single(garden, "static"), timeout=20)


def test_a_change_that_does_not_work_leaves_the_old_instance_in_place_and_is_told(garden):
    good = record("static", sleep=AWAKE)
    apply(garden, good)
    address = garden.address("static")
    ASK["static"](address)
    wait_for("one instance", lambda: single(garden, "static"), timeout=20)
    with Load(ASK["static"], address, clients=2) as load:
        apply(garden, {**good, "command": ["nginx", "-c", "/srv/static/no-such.conf", "-e", "stderr"]})
        wait_for("it is told", lambda: "no-such.conf" in garden.show("static").get("last_error", ""))
        done = garden.niwa("restart", "static", check=False, timeout=20)
        assert done.returncode == 1 and "no-such.conf" in done.stderr, done
        apply(garden, good)
        wait_for("one instance", lambda: single(garden, "static"), timeout=20)
        seen = load.answered()
        wait_for("answers go on", lambda: load.answered() >= seen + 5)
    assert not load.failed(), text_of(load.failed())


@pytest.fixture
def replacing(garden):
    """Django, which takes its time to start, with a successor that is not ready yet; the old one's pid."""
    apply(garden, record("django", sleep=AWAKE))
    garden.niwa("stop", "django")
    garden.niwa("wake", "django")
    pid = garden.pid("django")
    with ThreadPoolExecutor(1) as pool:
        restarted = pool.submit(garden.niwa, "restart", "django", check=False, timeout=40)
        wait_for("a successor is on its way", lambda: len(lives(garden, "django")) == 2, pause=0)
        yield pid
        restarted.result()


def test_an_app_is_stopped_for_good_while_its_successor_starts(garden, replacing):
    garden.niwa("stop", "django")
    assert garden.state("django") == "stopped"
    wait_for("both have gone", lambda: not lives(garden, "django"))
    assert "the old instance goes on" not in garden.niwad_log().split("doing=rotate")[-1]
    ASK["django"](garden.address("django"))


def test_an_app_that_is_killed_while_its_successor_starts_is_replaced_by_it(garden, replacing):
    address = garden.address("django")
    successor = wait_for("its process", lambda: next((i["pid"] for i in garden.show("django")["instances"]
                                                      if i["life"] == "started"), None), pause=0)
    os.kill(successor, signal.SIGSTOP)  # it will not be ready before the old one is killed
    with Load(ASK["django"], address) as load:
        wait_for("there is load", lambda: load.answered() >= 3)
        os.kill(replacing, signal.SIGKILL)
        died = time.time() + 0.1 * SLOW
        os.kill(successor, signal.SIGCONT)
        seen = load.answered()
        wait_for("answers go on", lambda: load.answered() >= seen + 10, timeout=30)
    wrong = [t for t in load.failed() if t.began > died or isinstance(t.error.__cause__, ConnectionRefusedError)]
    assert not wrong, text_of(wrong)
    assert garden.state("django") == "running" and lives(garden, "django") == ["serving"]


def test_an_app_is_not_frozen_while_its_successor_starts(garden, replacing):
    done = garden.niwa("freeze", "django", check=False)
    assert done.returncode == 1 and "replaced" in done.stderr, done
    wait_for("the successor serves", lambda: serving(garden, "django") and garden.pid("django") != replacing, 30)
    assert garden.state("django") == "running"
    ASK["django"](garden.address("django"))


def test_a_port_that_is_no_longer_declared_is_refused_and_leaves_nothing(garden):
    two = [{"port": 80, "protocol": "http"}, {"port": 8080, "protocol": "http"}]
    apply(garden, record("static", sleep=AWAKE, ports=two))
    address = garden.address("static")
    ASK["static"](address)
    old = garden.pid("static")
    apply(garden, record("static", sleep=AWAKE, ports=two[:1]))
    wait_for("a fresh one serves", lambda: garden.pid("static") != old)
    for name in (*STATELESS, "postgres", "dovecot"):
        garden.niwa("stop", name, check=False)  # those that this run has declared
    wait_for(f"nothing is left: {garden.kernel_objects()}", garden.nothing_left, timeout=20)
    with pytest.raises(NotConnected, match="refused"):
        connect(address, 8080, timeout=3)
    ASK["static"](address)


# -- handover -----------------------------------------------------------------------------------------------------


class Rows:
    """Rows of PostgreSQL, acknowledged ones remembered: every client has a session, and a new one when it broke."""

    def __init__(self, address):
        self.address, self.sessions, self.acknowledged, self.next = address, {}, [], 0
        psql(address, "create table if not exists rows (id text primary key); truncate rows;"
                      "grant all on rows to guest")

    def __call__(self, number):
        if number not in self.sessions:
            self.sessions[number] = Postgres(self.address)
        self.next += 1
        row = f"{number}-{self.next}"
        try:
            self.sessions[number].query(f"insert into rows values ('{row}')")
        except Broken:
            self.sessions.pop(number).close()
            raise
        self.acknowledged.append(row)
        return Answer(row, None)

    numbered = True

    def lost(self):
        for session in self.sessions.values():
            session.close()
        there = set(psql(self.address, "select id from rows").split())
        return [row for row in self.acknowledged if row not in there]


class Mails:
    """Mails given to Dovecot; each try is a session of its own."""

    def __init__(self, address):
        self.address, self.acknowledged, self.next = address, [], 0

    def __call__(self, number):
        self.next += 1
        name = f"{number}-{self.next}-{time.time_ns()}"
        with imap(self.address) as session:
            status, text = session.append("INBOX", None, None, f"Message-ID: <{name}>\r\n\r\nText.\r\n".encode())
            if status != "OK":
                raise Broken(f"APPEND: {status} {text}")
        self.acknowledged.append(name)
        return Answer(name, None)

    numbered = True

    def lost(self):
        with imap(self.address) as session:
            session.select("INBOX", readonly=True)
            data = session.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")[1]
        there = b"".join(part[1] for part in data if isinstance(part, tuple)).decode()
        return [name for name in self.acknowledged if f"<{name}>" not in there]


WRITER = {"postgres": Rows, "dovecot": Mails}


def handed_over(host, name, rotate, count=1):
    """Writes under load while rotate() makes `count` fresh instances; judges what failed and what is there. Only a
    session that was open when its instance was told to stop may break."""
    address = host.address(name)
    ASK[name](address)
    writer, history, begun = WRITER[name](address), History(host, name), len(starts(name))
    assert lock_is_held(name), "an instance that runs holds the lock, else it would prove nothing"
    with Load(writer, clients=4) as load:
        wait_for("rows are written", lambda: load.answered() >= 10, timeout=30)
        since = time.time()
        rotate(history)
        wait_for("fresh ones began", lambda: history.look() and len(starts(name)) >= begun + count, 60, pause=0.1)
        wait_for("it runs", lambda: history.look()["state"] == "running", timeout=30)
        seen = load.answered()
        wait_for("rows are written again", lambda: load.answered() >= seen + 20, timeout=30)
        history.look()
    stops = [at for at in history.times("stopping") if at >= since]
    unmade = [t for t in load.failed() if isinstance(t.error, NotConnected)]
    assert not unmade, text_of(unmade)
    strange = [t for t in load.failed() if not any(t.began <= at + 0.2 * SLOW and t.ended >= at for at in stops)]
    assert not strange, f"stopped at {stops}; {text_of(strange)}"
    assert len(writer.acknowledged) >= 30 and not writer.lost()
    assert set(starts(name)) == {"alone"}


@pytest.mark.parametrize("name", ("postgres", "dovecot"))
def test_an_app_with_data_is_handed_over_by_a_restart_without_a_failed_connect_or_a_lost_row(garden, name):
    apply(garden, guarded(name))
    handed_over(garden, name, lambda _: garden.niwa("restart", name))


@pytest.mark.parametrize("name", ("postgres", "dovecot"))
def test_an_app_with_data_is_handed_over_when_it_was_changed(garden, name):
    apply(garden, guarded(name))
    handed_over(garden, name, lambda _: apply(garden, guarded(name, env={"CHANGED": str(time.time())})))


@pytest.mark.parametrize("name", ("postgres", "dovecot"))
def test_an_app_with_data_is_handed_over_when_its_lifetime_ends(garden, name):
    apply(garden, guarded(name, lifetime=f"{3 * SLOW:.0f}s"))
    try:
        handed_over(garden, name, lambda _: None, count=2)
    finally:
        apply(garden, guarded(name))


@pytest.mark.parametrize("name", ("postgres", "dovecot"))
def test_an_app_with_data_never_runs_twice_when_it_is_killed_under_load(garden, name):
    apply(garden, guarded(name))
    address = garden.address(name)
    ASK[name](address)
    writer, begun = WRITER[name](address), len(starts(name))
    with Load(writer, clients=4) as load:
        for n in range(1, 4):
            seen = load.answered()
            wait_for("rows are written", lambda: load.answered() >= seen + 10, timeout=40)
            os.kill(garden.pid(name), signal.SIGKILL)
            wait_for("a fresh one began", lambda: len(starts(name)) >= begun + n, timeout=40)
    assert set(starts(name)) == {"alone"}
    assert not writer.lost()


@pytest.mark.parametrize("when", ("before the signal", "after the signal"))
@pytest.mark.parametrize("name", ("postgres", "dovecot"))
def test_a_handover_is_done_once_when_niwad_is_killed_in_the_midst_of_it(garden, name, when):
    apply(garden, guarded(name))

    def kill_in_between(history):
        begun = len(starts(name))
        apply(garden, guarded(name, env={"CHANGED": str(time.time())}))  # answered: it is not forgotten
        if when == "after the signal":
            wait_for("it stops", lambda: len(starts(name)) > begun or "stopping" in lives(garden, name), pause=0)
        history.look()
        garden.kill_niwad()
        garden.start_niwad()

    handed_over(garden, name, kill_in_between)
