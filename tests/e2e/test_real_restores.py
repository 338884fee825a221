# SPDX-License-Identifier: MIT
"""Software that takes long to start, woken from images of its ready point, and software that starts fast, woken whichever
way is faster: again and again, many at once, and where one app wakes another."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import ASK, AWAKE, apply, ask_wordpress, next_path, record, records
from host import CRIU, SLOW, Host, wait_for

SLOW_ONES = ("wordpress", "rails", "django", "java", "node")
FAST_ONES = ("static", "dovecot", "postgres")
PATIENT = {"ready": {"deadline": f"{60 * SLOW:.0f}s"}, "wake_deadline": f"{60 * SLOW:.0f}s"}
# Asked politely, gunicorn, Apache and Dovecot take more than a second to end, and Java a third of one.
AT_ONCE = {"stop": {"signal": "SIGKILL"}}
WAKES = 50 if SLOW == 1 else 10  # emulated, each takes seconds
MANY = {"wordpress": 4, "rails": 3, "django": 4, "java": 4, "node": 20, "static": 13, "postgres": 1, "dovecot": 1}
if SLOW != 1:  # emulated, all of them at once take longer than a wake may
    MANY |= {"wordpress": 1, "rails": 1, "django": 1, "java": 1, "node": 3, "static": 3}


@pytest.fixture(scope="module")
def garden():
    """A host that has CRIU, and patience: others may be at work on this machine."""
    host = Host(criu=CRIU, restore_deadline=f"{20 * SLOW:.0f}s", dump_deadline=f"{20 * SLOW:.0f}s").start()
    apply(host, records("wordpress", sleep=AWAKE)[1])
    yield host
    host.stop()


def image(host, name):
    return host.show(name)["snapshot"]


def put_to_sleep(host, *names):
    """Starts them, waits until they have an image or a reason why not, stops them."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: host.rpc("app.wake", name=name), names))
    for name in names:
        wait_for(f"an image of {name}", lambda n=name: image(host, n)["usable"] or image(host, n).get("refused"), 60)
    host.niwa("stop", *names)


def path(host, name):
    return host.show(name)["last_wake"]["path"]


def is_right(name, software, answer):
    """Dovecot and PostgreSQL do not tell the name of their host."""
    return answer.facts["mails"] == 2 if software == "dovecot" else \
        answer.facts["client"] == answer.client[0] if software == "postgres" else answer.facts["host"] == name


@pytest.mark.parametrize("name", SLOW_ONES)
def test_fifty_sleeps_and_wakes_in_a_row_are_answered_from_the_image(garden, name):
    apply(garden, record(name, sleep=AWAKE, snapshot="ready", **AT_ONCE, **PATIENT))
    put_to_sleep(garden, name)
    address = garden.address(name)
    for _ in range(WAKES):
        by = next_path(garden, name)
        assert is_right(name, name, ASK[name](address))
        assert path(garden, name) == by
        garden.niwa("stop", name)
    garden.niwa("rm", name)


@pytest.mark.parametrize("name", FAST_ONES)
def test_fifty_sleeps_and_wakes_in_a_row_are_answered_the_faster_way(garden, name):
    apply(garden, record(name, sleep=AWAKE, snapshot="ready", **({} if name == "postgres" else AT_ONCE)))
    put_to_sleep(garden, name)
    address = garden.address(name)
    for _ in range(WAKES):
        assert is_right(name, name, ASK[name](address))
        garden.niwa("stop", name)
    known, text = image(garden, name), garden.niwa("show", name).stdout
    assert garden.state(name) == ("saved" if known["wakes_by"] == "restore" else "stopped")
    assert f"by a {known['wakes_by']}, a start takes" in text
    if name == "postgres":
        assert not known["usable"] and "SysV" in known["why_not"] and known["why_not"] in text
    else:
        assert known["restored_us"] and ", a restore " in text
        assert known["wakes_by"] == ("start" if known["restored_us"] * 100 > known["cold_us"] * 80 else "restore")
    garden.niwa("rm", name)


def test_a_site_that_was_restored_wakes_its_database(garden):
    apply(garden, record("wordpress", sleep=AWAKE))  # an image is taken by itself: it names what to warm
    put_to_sleep(garden, "wordpress")
    for _ in range(3):
        garden.niwa("stop", "wordpress", "wordpress-db")
        answer = ask_wordpress(garden.address("wordpress"))
        assert answer.facts["db"] == "wordpress-db" and path(garden, "wordpress") == "restore"
    assert path(garden, "wordpress-db") == "start", "a database is never woken from its ready point"
    garden.niwa("rm", "wordpress")


def test_fifty_different_apps_are_woken_at_once(garden):
    kinds = {f"{software}{n}": software for software, count in MANY.items() for n in range(count)}
    assert len(kinds) == (50 if SLOW == 1 else 12)
    apply(garden, *(record(software, name=name, sleep=AWAKE, snapshot="ready",
                           **(AT_ONCE | PATIENT if software in SLOW_ONES else {})) for name, software in kinds.items()))
    put_to_sleep(garden, *kinds)
    assert [name for name, software in kinds.items() if software in SLOW_ONES and garden.state(name) != "saved"] == []
    addresses = {name: garden.address(name) for name in kinds}
    with ThreadPoolExecutor(len(kinds)) as pool:
        answers = dict(zip(kinds, pool.map(lambda name: ASK[kinds[name]](addresses[name]), kinds)))
    assert [name for name, software in kinds.items() if not is_right(name, software, answers[name])] == []
    # A restore that a starved machine does not end in time is answered by a start.
    assert {path(garden, name) for name in kinds} <= {"restore", "start"}
    garden.niwa("rm", *kinds)
    garden.niwa("stop", "wordpress-db")
    wait_for("nothing is left", garden.nothing_left, 60)
