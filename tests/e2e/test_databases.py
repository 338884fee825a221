# SPDX-License-Identifier: MIT
"""Databases that sleep: a row that was acknowledged is there after sleeps, wakes and kills, and memory never meets newer
data."""

import itertools
import os
import signal
from pathlib import Path

import pytest
from clients import AWAKE, Broken, MariaDB, Postgres, apply, psql, records
from host import CRIU, SLOW, Host, wait_for

SESSION = {"postgres": Postgres, "wordpress-db": MariaDB}
SLEEPS = {"freeze": "never", "page": "never", "save": "100ms", "connection": "1s", "cpu": "50%"}
HIBERNATES = {**SLEEPS, "keep": "memory"}
OFTEN = {"backoff": "1ms", "backoff_max": "1ms"}  # it is killed again and again


@pytest.fixture(scope="module")
def garden():
    """A host that has CRIU."""
    host = Host(criu=CRIU, dump_deadline=f"{20 * SLOW:.0f}s", restore_deadline=f"{20 * SLOW:.0f}s").start()
    yield host
    host.stop()


def declare(host, name, **keys):
    software = "wordpress" if name == "wordpress-db" else name
    app = next(app for app in records(software, restart=OFTEN, **keys) if app["name"] == name)
    apply(host, app)
    return app


def image(host, name):
    return host.show(name)["snapshot"]


def path(host, name):
    return host.show(name)["last_wake"]["path"]


def falls_asleep(host, name):
    return host.wait_state(name, "stopped", "saved", timeout=30)


def falls_asleep_with_memory(host, name, rows):
    """A database that begins to flush while it is dumped, which a slow machine leaves time for, is stopped; and woken
    again here."""
    for _ in range(1 if SLOW == 1 else 8):
        falls_asleep(host, name)
        if host.state(name) == "saved":
            return
        assert "volume was written" in image(host, name)["last_reason"]
        with rows.session() as session:
            rows.check(session)
    raise AssertionError(f"{name} has no memory to wake from")


class Rows:
    """A table; what is in it for sure, and what was sent to somebody who was killed, which may be in it."""

    def __init__(self, host, name):
        self.host, self.name, self.address = host, name, host.address(name)
        self.sure, self.perhaps, self.numbers = set(), set(), itertools.count(1)
        if name == "postgres":
            psql(self.address, "drop table if exists kept; create table kept (n int primary key); grant all on kept to guest")
        else:
            with self.session() as session:
                session.query("create or replace table kept (n int primary key)")

    def session(self):
        return SESSION[self.name](self.address)

    def check(self, session):
        there = {int(n) for (n,) in session.query("select n from kept")}
        assert self.sure <= there, f"acknowledged, but lost: {sorted(self.sure - there)}"
        assert there <= self.sure | self.perhaps
        self.sure, self.perhaps = there, set()

    def write(self, session, kill=None):
        """One row; somebody may be killed before it is acknowledged."""
        n = next(self.numbers)
        self.perhaps.add(n)
        session.send(f"insert into kept values ({n})")
        if kill:
            kill()
        try:
            session.until_ready()
            self.sure.add(n)
        except (OSError, Broken):
            assert kill, f"row {n} was not acknowledged"


# -- ways to end ---------------------------------------------------------------------------------------------------


def nothing_is_killed(host, rows, session):
    rows.write(session)


def database_is_killed(host, rows, session):
    pid = host.pid(rows.name)
    below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    if Path(f"/proc/{pid}/comm").read_text().strip() in ("init", "niwa-init"):
        pid = int(below[0])
    rows.write(session, lambda: os.kill(pid, signal.SIGKILL))


def instance_is_killed(host, rows, session):
    pid = host.pid(rows.name)
    rows.write(session, lambda: os.kill(pid, signal.SIGKILL))


def niwad_is_killed(host, rows, session):
    rows.write(session, host.kill_niwad)
    rows.write(session)  # nobody is needed for that
    host.start_niwad()
    rows.write(session)


ENDS = (nothing_is_killed, database_is_killed, nothing_is_killed, niwad_is_killed, instance_is_killed)


@pytest.mark.parametrize("name,sleep,cycles", [("postgres", SLEEPS, 80), ("wordpress-db", SLEEPS, 75),
                                               ("wordpress-db", HIBERNATES, 45)])
def test_acknowledged_rows_are_there_over_sleeps_and_kills(garden, name, sleep, cycles):
    if SLOW != 1:
        cycles //= 5  # emulated, each takes seconds
    declare(garden, name, sleep=sleep)
    rows = Rows(garden, name)
    falls_asleep(garden, name)
    restored = 0  # wakes that found their memory
    for end in itertools.islice(itertools.cycle(ENDS), cycles):
        with rows.session() as session:
            restored += path(garden, name) == "restore"
            rows.check(session)
            end(garden, rows, session)
        falls_asleep(garden, name)
    with rows.session() as session:
        rows.check(session)
    assert len(rows.sure) >= cycles * 3 // 5
    if sleep is HIBERNATES:
        assert restored >= cycles // 3
    garden.niwa("rm", name)


# -- memory --------------------------------------------------------------------------------------------------------


def test_memory_of_a_database_is_void_when_its_volume_was_written_meanwhile(garden):
    app = declare(garden, "wordpress-db", sleep=HIBERNATES)
    rows = Rows(garden, "wordpress-db")
    falls_asleep_with_memory(garden, "wordpress-db", rows)
    with rows.session() as session:
        rows.check(session)
        rows.write(session)
    assert path(garden, "wordpress-db") == "restore"
    falls_asleep_with_memory(garden, "wordpress-db", rows)
    data = next(Path(volume["from"]) for volume in app["volumes"] if volume["to"] == "/var/lib/mysql")
    (data / "written").write_text("by another")
    with rows.session() as session:
        rows.check(session)
    assert path(garden, "wordpress-db") == "start"
    assert "volume was written" in image(garden, "wordpress-db")["last_reason"]
    (data / "written").unlink()
    garden.niwa("rm", "wordpress-db")


def test_a_database_whose_memory_cannot_be_saved_says_why_and_is_started(garden):
    """PostgreSQL has a segment of System V shared memory, whatever its settings say."""
    declare(garden, "postgres", sleep=HIBERNATES)
    rows = Rows(garden, "postgres")
    for _ in range(2):
        falls_asleep(garden, "postgres")
        assert garden.state("postgres") == "stopped"
        assert "SysV" in image(garden, "postgres")["why_not"]
        assert "SysV" in garden.niwa("show", "postgres").stdout
        with rows.session() as session:
            rows.check(session)
            rows.write(session)
        assert path(garden, "postgres") == "start"
    assert garden.niwad_log().count("app=postgres doing=snapshot no image") == 1, "it is not tried again and again"
    garden.niwa("rm", "postgres")


# -- no image of the ready point -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name,said", [("postgres", "SysV"), ("wordpress-db", "is open for writing")])
def test_an_image_of_the_ready_point_of_a_database_is_refused(garden, name, said):
    declare(garden, name, sleep=AWAKE)
    rows = Rows(garden, name)
    taken = garden.niwa("snapshot", "take", name, check=False)
    assert taken.returncode == 1 and "writable volume" in taken.stderr  # nobody has said that it is ready for that
    declare(garden, name, sleep=AWAKE, snapshot="ready")
    garden.niwa("stop", name)
    with rows.session() as session:
        rows.check(session)
        rows.write(session)
    known = wait_for("it is refused", lambda: image(garden, name)["refused"] and image(garden, name), 30)
    assert not known["usable"] and said in known["why_not"], known
    assert said in garden.niwa("show", name).stdout
    taken = garden.niwa("snapshot", "take", name, check=False)
    assert taken.returncode == 1 and said in taken.stderr
    with rows.session() as session:
        rows.check(session)
        rows.write(session)
    garden.niwa("stop", name)
    assert garden.state(name) == "stopped"
    with rows.session() as session:
        rows.check(session)
    assert path(garden, name) == "start"
    garden.niwa("rm", name)
