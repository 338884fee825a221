# SPDX-License-Identifier: MIT
"""Software that takes long to start, woken from images of its ready point: again and again, many at once, and where one
app wakes another."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clients import ASK, AWAKE, apply, ask_wordpress, record, records
from host import Host, wait_for

CRIU = Path(os.environ.get("NIWA_CRIU", "/usr/local/libexec/niwa/criu"))
NAMES = ("wordpress", "rails", "django", "java", "node")
PATIENT = {"ready": {"deadline": "60s"}, "wake_deadline": "60s"}
WAKES = 50
MANY = {"wordpress": 5, "rails": 5, "django": 5, "java": 5, "node": 30}  # 50 different ones


@pytest.fixture(scope="module")
def garden():
    """A host that has CRIU, and patience: others may be at work on this machine."""
    host = Host(criu=CRIU, restore_deadline="20s", dump_deadline="20s").start()
    apply(host, records("wordpress", sleep=AWAKE)[1])
    yield host
    host.stop()


def image(host, name):
    return host.show(name)["snapshot"]


def put_to_sleep(host, *names):
    """Starts them, waits for their images, stops them."""
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda name: host.rpc("app.wake", name=name), names))
    for name in names:
        wait_for(f"an image of {name}", lambda n=name: image(host, n)["usable"] or image(host, n).get("last_reason"), 60)
        assert image(host, name)["usable"], image(host, name)
    host.niwa("stop", *names)
    assert [host.state(name) for name in names] == ["saved"] * len(names)


def path(host, name):
    return host.show(name)["last_wake"]["path"]


@pytest.mark.parametrize("name", NAMES)
def test_fifty_sleeps_and_wakes_in_a_row_are_answered_from_the_image(garden, name):
    apply(garden, record(name, sleep=AWAKE, snapshot="ready", **PATIENT))
    put_to_sleep(garden, name)
    address = garden.address(name)
    for _ in range(WAKES):
        assert ASK[name](address).facts["host"] == name
        assert path(garden, name) == "restore"
        garden.niwa("stop", name)
        assert garden.state(name) == "saved"
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
    apply(garden, *(record(software, name=name, sleep=AWAKE, snapshot="ready", **PATIENT)
                    for name, software in kinds.items()))
    put_to_sleep(garden, *kinds)
    addresses = {name: garden.address(name) for name in kinds}
    with ThreadPoolExecutor(len(kinds)) as pool:
        answers = list(pool.map(lambda name: ASK[kinds[name]](addresses[name]), kinds))
    assert [answer.facts["host"] for answer in answers] == list(kinds)
    assert [name for name in kinds if path(garden, name) != "restore"] == []
    garden.niwa("rm", *kinds)
