# SPDX-License-Identifier: MIT
"""What niwad has learnt of visits outlives it: killed, ended in order, with a store that refuses or holds nonsense."""

import contextlib
import signal
import sqlite3
import time

import pytest
from host import Host, wait_for
from inside import apply, echo
from test_fair import addresses, empty, visit

IDLE = {"freeze": "100ms", "page": "never", "save": "1h"}
HOUR = 23    # the bucket of gaps between an hour and one and a half
ONE = 16     # the weight of a gap
GAP_S = 1.1  # shorter ones are not counted


def settings(**changed):
    return {"wait_worth": "1ms", "history_write": "200ms"} | changed  # memory is dear: what is learnt shows at once


@pytest.fixture(name="host", scope="module")
def _host():
    one = Host(**settings()).start()
    yield one
    one.stop()


@pytest.fixture
def learns(host):
    """A host without an app."""
    empty(host)
    return host


def again(host, sig=signal.SIGKILL, env=None, **changed):
    host.kill_niwad(sig)
    host.configure(**settings(**changed))
    host.start_niwad(env)


@contextlib.contextmanager
def store(host):
    db = sqlite3.connect(host.dir / "state/niwa.db", timeout=10)
    try:
        with db:
            yield db
    finally:
        db.close()


def number(n):
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def record(gaps, version=1):
    """As niwad packs it; gaps: {bucket: how many}."""
    pairs = b"".join(number(bucket) + number(ONE * count) for bucket, count in sorted(gaps.items()))
    return b"".join(map(number, (version, 0, 0, 0, 0))) + pairs


def numbers(data):
    out, n, shift = [], 0, 0
    for byte in data:
        n, shift = n | (byte & 127) << shift, shift + 7
        if byte < 128:
            out, n, shift = [*out, n], 0, 0
    return out


def stored(host, name):
    """How many gaps the store knows of an app; None: nothing."""
    with store(host) as db:
        row = db.execute("SELECT seen FROM past JOIN app ON app.id = past.app WHERE name = ?", (name,)).fetchone()
    return row and sum(numbers(row[0])[6::2]) // ONE


def put(host, **records):
    with store(host) as db:
        for name, data in records.items():
            db.execute("INSERT OR REPLACE INTO past SELECT id, ? FROM app WHERE name = ?", (data, name))


def visit_twice(host, name):
    at = host.address(name)
    assert visit(at)[0] == 200
    time.sleep(GAP_S)
    assert visit(at)[0] == 200


def test_what_was_learnt_of_visits_survives_a_kill_and_goes_on(learns):
    apply(learns, echo("a", sleep=IDLE))
    visit_twice(learns, "a")
    wait_for("it is written", lambda: stored(learns, "a"))
    again(learns)
    known = learns.show("a")["gaps"]
    assert known >= 1  # it was awake all the time; on a slow machine one visit may be seen as two
    learns.rpc("app.stop", name="a")
    wait_for("nothing of it is left to adopt", lambda: learns.rpc("host.status")["instances"] == 0)
    again(learns)
    assert "gaps" not in learns.show("a")  # what sleeps costs nothing
    time.sleep(GAP_S)
    assert visit(learns.address("a"))[0] == 200
    assert learns.show("a")["gaps"] > known  # with the one over both restarts


def test_a_niwad_that_ends_in_order_writes_what_it_knows(learns):
    again(learns, history_write="1h")
    apply(learns, echo("a", sleep=IDLE))
    visit_twice(learns, "a")
    assert stored(learns, "a") is None
    again(learns, signal.SIGTERM)
    known = stored(learns, "a")
    assert known >= 1
    assert learns.show("a")["gaps"] >= known


def test_an_app_known_from_before_is_put_away_at_once_and_one_with_a_damaged_record_is_new(learns):
    known = {"known": record({HOUR: 8}), "cut": record({HOUR: 8})[:-1], "later": record({HOUR: 8}, version=9),
             "full": record({HOUR: 4000}), "noise": bytes(range(255)), "new": None}
    apply(learns, *(echo(name, sleep=IDLE) for name in known))
    learns.kill_niwad()
    put(learns, **{name: data for name, data in known.items() if data})
    learns.start_niwad()
    for address in addresses(learns).values():
        assert visit(address)[0] == 200
    learns.wait_state("known", "stopped", "saved")
    assert "quiet, and not expected soon" in [m["why"] for m in learns.show("known")["history"]]
    for name in set(known) - {"known"}:
        assert learns.wait_state(name, "frozen") and learns.show(name)["gaps"] == 0


def test_what_the_store_refuses_is_written_later(learns):
    apply(learns, echo("a", sleep=IDLE))
    again(learns, env={"NIWA_FAULT": "cmdb.commit:ENOSPC@1"})
    visit_twice(learns, "a")
    wait_for("it is written", lambda: stored(learns, "a"))
    assert "what was learnt of visits is not written" in learns.niwad_log()


@pytest.mark.parametrize("point, left", [("cmdb.commit", 0), ("cmdb.committed", 3)])
def test_a_kill_while_it_is_written_leaves_all_of_it_or_nothing(learns, point, left):
    names = [f"a{n}" for n in range(3)]
    apply(learns, *(echo(name, sleep=IDLE) for name in names))
    again(learns, env={"NIWA_FAULT": f"{point}:kill@1"}, history_write="1s")
    for name in names:
        assert visit(learns.address(name))[0] == 200
    wait_for("it is dead", lambda: learns.niwad.poll() is not None)
    again(learns)
    with store(learns) as db:
        assert db.execute("SELECT count(*) FROM past").fetchone() == (left,)
    for name in names:
        assert visit(learns.address(name))[0] == 200


def test_what_was_learnt_goes_with_the_app(learns):
    apply(learns, echo("a", sleep=IDLE), echo("b", sleep=IDLE))
    for address in addresses(learns).values():
        assert visit(address)[0] == 200
    wait_for("it is written", lambda: stored(learns, "a") is not None and stored(learns, "b") is not None)
    learns.niwa("rm", "a")
    with store(learns) as db:
        assert db.execute("SELECT count(*) FROM past").fetchone() == (1,)
    apply(learns, echo("a", sleep=IDLE), echo("b", sleep=IDLE, env={"CHANGED": "1"}))
    assert stored(learns, "a") is None
    assert stored(learns, "b") is not None


def test_the_first_app_of_a_tenant_starts_without_waiting_for_the_disk(learns):
    again(learns, env={"NIWA_FAULT": "file.sync:EIO"})
    apply(learns, echo("a", tenant="nobody-before"))
    assert visit(learns.address("a"))[0] == 200
