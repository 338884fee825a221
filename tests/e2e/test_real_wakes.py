# SPDX-License-Identifier: MIT
"""Software that takes long to start (WordPress with its database, Rails, Java, Node.js), woken by the first connection:
stopped, frozen, by many at once, and where one app wakes another."""

import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from clients import ASK, AWAKE, PATIENCE, apply, ask_wordpress, at_once, http, record, records, text_of
from host import SLOW, Host, wait_for

NAMES = ("wordpress", "rails", "java", "node")
SLEEPY = {"freeze": f"{SLOW:.0f}s", "page": "never", "save": "never"}
COLD = {"snapshot": "off"}
PATIENT = {"ready": {"deadline": f"{30 * SLOW:.0f}s"}, "wake_deadline": f"{25 * SLOW:.0f}s"}  # the defaults, and more
WAKES = 4


@pytest.fixture(scope="module")
def garden():
    """A host that starts one app at a time, with all of them, which freeze by themselves and stop only when they are
    told to."""
    host = Host(concurrent_starts=1).start()
    apply(host, *(app for name in NAMES for app in records(name, sleep=SLEEPY, **COLD, **PATIENT)))
    yield host
    host.stop()


def stop(host, name):
    """The app and, where it has one, its database."""
    host.niwa("stop", *([name, "wordpress-db"] if name == "wordpress" else [name]))


@pytest.fixture(params=NAMES)
def stopped(garden, request):
    """The app of the test, asleep; its name, its address."""
    stop(garden, request.param)
    return request.param, garden.address(request.param)


def starts(host):
    return host.rpc("host.status")["counts"]["starts"]


def mariadb(address, sql):
    """A statement in WordPress' database, by Debian's client."""
    done = subprocess.run(["mariadb", "--no-defaults", "-h", address, "-u", "wordpress", "-pniwa", "-N", "-e", sql,
                           "--connect-timeout", str(int(PATIENCE)), "wordpress"], capture_output=True, text=True,
                          timeout=PATIENCE, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, f"mariadb {sql}: exit {done.returncode}: {done.stderr}"
    return done.stdout.strip()


# -- each of them -------------------------------------------------------------------------------------------------


def test_the_first_connection_to_a_stopped_app_is_answered(garden, stopped):
    name, address = stopped
    answer = ASK[name](address)
    assert garden.state(name) == "running"
    assert answer.facts["client"] == answer.client[0]
    assert answer.facts["host"] == name, "an app sees its own name as host name"


def test_a_frozen_app_answers_as_the_process_it_was(garden, stopped):
    name, address = stopped
    ASK[name](address)
    pid = garden.pid(name)
    garden.wait_state(name, "frozen", timeout=30)
    before = starts(garden)
    ASK[name](address)
    assert garden.pid(name) == pid and starts(garden) == before


def test_fifty_connections_at_once_to_a_stopped_app_are_all_answered_by_one_start(garden, stopped):
    name, address = stopped
    before = starts(garden)
    tries = at_once(50, ASK[name], address)
    assert not [t for t in tries if t.error], text_of([t for t in tries if t.error])
    assert starts(garden) == before + (2 if name == "wordpress" else 1)  # and that of its database


def test_sleep_after_sleep_the_answers_are_right(garden, stopped):
    name, address = stopped
    for _ in range(WAKES):
        answer = ASK[name](address)
        assert answer.facts["host"] == name
        stop(garden, name)
        assert garden.state(name) == "stopped"


def test_all_of_them_are_woken_at_the_same_time(garden):
    for name in NAMES:
        stop(garden, name)
    with ThreadPoolExecutor(len(NAMES)) as pool:
        answers = list(pool.map(lambda name: ASK[name](garden.address(name)), NAMES))
    assert [answer.facts["host"] for answer in answers] == list(NAMES)


# -- the site and its database --------------------------------------------------------------------------------------


def test_waking_the_site_wakes_its_database_through_its_service_address(garden):
    stop(garden, "wordpress")
    page = http(garden.address("wordpress"), "/")
    assert "A frog jumps in: the sound of water." in page.text and "Hello world!" in page.text
    assert garden.state("wordpress-db") == "running"
    assert garden.show("wordpress-db")["last_wake"]["from"] == \
        next(i["private_address"] for i in garden.show("wordpress")["instances"])


def test_the_site_alone_leaves_its_database_asleep(garden):
    stop(garden, "wordpress")
    assert "host: wordpress" in http(garden.address("wordpress"), "/who?db=0").text
    assert garden.state("wordpress-db") == "stopped"


def test_a_site_that_runs_wakes_a_database_that_stopped(garden):
    address = garden.address("wordpress")
    ask_wordpress(address)
    garden.niwa("stop", "wordpress-db")
    assert ask_wordpress(address).facts["db"] == "wordpress-db"


def test_a_site_that_runs_thaws_a_database_that_is_frozen(garden):
    address = garden.address("wordpress")
    ask_wordpress(address)
    garden.niwa("freeze", "wordpress-db")
    pid = garden.pid("wordpress-db")
    assert ask_wordpress(address).facts["db"] == "wordpress-db"
    assert garden.pid("wordpress-db") == pid


def test_site_and_database_fall_asleep_and_wake_by_themselves(garden):
    address = garden.address("wordpress")
    apply(garden, *records("wordpress", sleep={"freeze": "500ms", "page": "never", "save": "2s"}, **COLD))
    for _ in range(2):
        ask_wordpress(address)
        for name in ("wordpress", "wordpress-db"):
            garden.wait_state(name, "stopped", timeout=40)
    apply(garden, *records("wordpress", sleep=SLEEPY, **COLD))


def test_what_was_written_to_the_database_is_on_the_site_after_both_slept_or_were_killed(garden):
    db, address = garden.address("wordpress-db"), garden.address("wordpress")
    for n in range(WAKES):
        title = f"Written {n} {time.monotonic_ns()}"
        mariadb(db, f"update wp_posts set post_title = '{title}' where post_name = 'the-pond'")
        if n % 2:
            os.kill(garden.pid("wordpress-db"), 9)
            wait_for("it is gone", lambda: garden.state("wordpress-db") == "stopped")
        stop(garden, "wordpress")
        assert title in http(address, "/the-pond/").text


# -- wakes that wait for wakes, where one may start at a time -----------------------------------------------------------


def test_an_app_that_wants_its_database_before_it_listens_gets_it(garden):
    """It is starting until its database, whose start comes second, has answered."""
    wait = ("require '/etc/wordpress/config-default.php';"
            "mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);"
            "mysqli_connect(DB_HOST, DB_USER, DB_PASSWORD, DB_NAME);")
    site = record("wordpress", name="careful", sleep=AWAKE, **COLD)
    site["command"] = ["sh", "-c", 'php -r "$0" && exec "$@"', wait, *site["command"]]
    apply(garden, site)
    for _ in range(2):
        garden.niwa("stop", "careful", "wordpress-db")
        began = time.monotonic()
        assert ask_wordpress(garden.address("careful")).facts["db"] == "wordpress-db"
        assert time.monotonic() - began < 20 * SLOW, "it waited for a deadline"
    garden.niwa("rm", "careful")


def test_ten_sites_and_the_database_they_share_wake_together(garden):
    names = [f"site{n}" for n in range(10)]
    apply(garden, *(record("wordpress", name=name, sleep=AWAKE, **COLD) for name in names))
    garden.niwa("stop", "wordpress-db")
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda name: ask_wordpress(garden.address(name)), names))
    assert [a.facts["host"] for a in answers] == names
    assert {a.facts["db"] for a in answers} == {"wordpress-db"}
    garden.niwa("rm", *names)
