# SPDX-License-Identifier: MIT
"""Apps that talk to apps: Apache with mod_php asks others from inside, by name and by address."""

import json
import time
import urllib.parse
from pathlib import Path

import pytest
from clients import AWAKE, PATIENCE, apply, ask_static, folder, http, prepare, psql, record
from host import Host, wait_for

# ?host=&port=&say=: connects, says it, tells what came, or which error, and how long it took.
TALK = r"""<?php
header('Content-Type: application/json');
$begun = microtime(true);
$to = "tcp://{$_GET['host']}:{$_GET['port']}";
$socket = @stream_socket_client($to, $error, $text, (float)($_GET['timeout'] ?? 30));
$connected = microtime(true) - $begun;
$answer = null;
if ($socket) {
	stream_set_timeout($socket, 30);
	if ($_GET['say'] ?? '')
		fwrite($socket, $_GET['say']);
	$answer = ($_GET['say'] ?? '') ? stream_get_contents($socket) : fgets($socket);
	$error = 0;
}
echo json_encode(['error' => $error, 'text' => $text, 'connected_s' => $connected, 'answer' => $answer,
                  'name' => gethostbyname($_GET['host'])], JSON_INVALID_UTF8_SUBSTITUTE);
"""
ECONNREFUSED = 111


def site(name, tenant, asleep="never", **changes):
    """Apache of a tenant."""
    sleep = {"freeze": asleep, "page": "never", "save": "never"}
    return record("php", name=name, tenant=tenant, sleep=sleep, **changes)


def page(name, tenant, allow=None, asleep="never"):
    """nginx of a tenant."""
    port = {"port": 80, "protocol": "http", **({"allow": allow} if allow else {})}
    return record("static", name=name, tenant=tenant, ports=[port],
                  sleep={"freeze": asleep, "page": "never", "save": "never"})


@pytest.fixture(scope="module")
def garden():
    prepare("php")
    Path(folder(), "php/htdocs/talk.php").write_text(TALK)
    host = Host().start()
    apply(host, site("front", "ada"), page("shop", "ada"), record("postgres", tenant="ada", sleep=AWAKE),
          record("dovecot", tenant="ada", sleep=AWAKE), page("private", "alan"), page("open", "alan", allow="any"),
          page("for-ada", "alan", allow=["ada"]), page("for-grace", "alan", allow=["grace"]),
          site("stranger", "grace"))
    yield host
    host.stop()


def talk(host, app, to, port=80, say="GET /who HTTP/1.0\r\n\r\n", timeout=30):
    query = urllib.parse.urlencode({"host": to, "port": port, "say": say, "timeout": timeout})
    return json.loads(http(host.address(app), f"/talk.php?{query}", timeout=PATIENCE).text)


def is_page_of(answer, app):
    head, _, body = (answer["answer"] or "").partition("\r\n\r\n")
    return head.startswith("HTTP/1.1 200") and body.split()[0] == app


def stop(host, *names):
    host.niwa("stop", *names)


@pytest.mark.parametrize("suffix", ("", ".niwa.internal"))
def test_an_app_wakes_another_of_its_tenant_by_name(garden, suffix):
    stop(garden, "shop")
    answer = talk(garden, "front", "shop" + suffix)
    assert is_page_of(answer, "shop"), answer
    assert answer["name"] == garden.address("shop")


def test_an_app_wakes_a_database_and_a_mail_server_of_its_tenant(garden):
    stop(garden, "postgres", "dovecot")
    answer = talk(garden, "front", "dovecot", 143, say="")
    assert answer["answer"].startswith("* OK"), answer
    wants_tls, nonsense = b"\0\0\0\x08\x04\xd2\x16\x2f", b"\0\0\0\x04"
    answer = talk(garden, "front", "postgres", 5432, say=wants_tls + nonsense)
    assert answer["answer"].startswith("NE"), answer  # no TLS, says PostgreSQL, then that this makes no sense
    assert garden.state("postgres") == garden.state("dovecot") == "running"


def test_an_app_thaws_a_frozen_one_of_its_tenant(garden):
    garden.niwa("wake", "shop")
    garden.niwa("freeze", "shop")
    pid = garden.pid("shop")
    assert is_page_of(talk(garden, "front", "shop"), "shop")
    assert garden.pid("shop") == pid


def test_the_app_that_is_called_sees_who_calls(garden):
    """The private address of the caller, not one of the host's, once the connection is the kernel's."""
    garden.niwa("wake", "shop")
    talk(garden, "front", "shop")
    answer = talk(garden, "front", "shop")
    private = next(i["private_address"] for i in garden.show("front")["instances"])
    assert answer["answer"].split()[-1] == private


def test_an_app_reaches_itself_by_name_and_by_its_service_address(garden):
    address = garden.address("front")
    for to in ("front", "front.niwa.internal", address):
        answer = talk(garden, "front", to, say="GET / HTTP/1.0\r\n\r\n")
        assert "host: front" in answer["answer"], answer
        assert answer["name"] == address


def test_an_app_that_is_asked_while_it_starts_reaches_itself(garden):
    stop(garden, "front")
    assert "host: front" in talk(garden, "front", "front", say="GET / HTTP/1.0\r\n\r\n")["answer"]


@pytest.mark.parametrize("state", ("stopped", "frozen", "running"))
def test_another_tenants_app_is_refused_at_once_and_sleeps_on(garden, state):
    stop(garden, "private")
    if state != "stopped":
        garden.niwa("wake", "private")
    if state == "frozen":
        garden.niwa("freeze", "private")
    answer = talk(garden, "front", garden.address("private"))
    assert answer["error"] == ECONNREFUSED and answer["connected_s"] < 1, answer
    assert garden.state("private") == state


def test_another_tenants_names_are_not_told(garden):
    assert talk(garden, "front", "private", timeout=3)["name"] == "private"
    hosts = garden.niwa("exec", "front", "--", "cat", "/etc/hosts").stdout
    assert "shop" in hosts and "private" not in hosts and garden.address("private") not in hosts


@pytest.mark.parametrize("asleep", (True, False))
@pytest.mark.parametrize("caller, to, reached", (
    ("front", "open", True), ("stranger", "open", True),
    ("front", "for-ada", True), ("stranger", "for-ada", False),
    ("front", "for-grace", False), ("stranger", "for-grace", True),
))
def test_a_port_is_open_to_the_tenants_that_it_allows(garden, caller, to, reached, asleep):
    stop(garden, to)
    if not asleep:
        garden.niwa("wake", to)
    answer = talk(garden, caller, garden.address(to))
    if reached:
        assert is_page_of(answer, to), answer
    else:
        assert answer["error"] == ECONNREFUSED and answer["connected_s"] < 1, answer
        assert (garden.state(to) == "stopped") == asleep


def test_what_a_port_allows_can_be_changed_while_everybody_runs(garden):
    apply(garden, page("changing", "alan"))
    address = garden.address("changing")
    ask_static(address)
    assert talk(garden, "front", address)["error"] == ECONNREFUSED
    for allow, caller, reached in ((["ada"], "front", True), (["grace"], "front", False), (["grace"], "stranger", True),
                                   ("any", "front", True), (None, "front", False), (None, "stranger", False)):
        apply(garden, page("changing", "alan", allow=allow))
        answer = talk(garden, caller, address)
        assert is_page_of(answer, "changing") if reached else answer["error"] == ECONNREFUSED, (allow, caller, answer)


def test_an_app_that_is_added_is_known_to_the_running_ones_of_its_tenant(garden):
    garden.niwa("wake", "front")
    pid = garden.pid("front")
    apply(garden, page("newcomer", "ada"))
    answer = talk(garden, "front", "newcomer")
    assert is_page_of(answer, "newcomer"), answer
    assert garden.pid("front") == pid


def test_an_app_that_is_removed_is_refused_at_once_and_its_name_goes(garden):
    apply(garden, page("leaver", "ada"))
    address = garden.address("leaver")
    assert is_page_of(talk(garden, "front", "leaver"), "leaver")
    garden.niwa("rm", "leaver")
    wait_for("refused", lambda: talk(garden, "front", address)["error"] == ECONNREFUSED)
    wait_for("unknown", lambda: talk(garden, "front", "leaver", timeout=3)["name"] == "leaver")


def test_two_apps_that_wait_for_each_other_while_both_sleep_are_answered(garden):
    """One sleeping app wakes a second, whose page asks for a third: three cold starts in one request."""
    apply(garden, site("middle", "ada"))
    stop(garden, "front", "middle", "shop")
    inner = "/talk.php?" + urllib.parse.urlencode({"host": "shop", "port": 80, "say": "GET /who HTTP/1.0\r\n\r\n"})
    answer = talk(garden, "front", "middle", say=f"GET {inner} HTTP/1.0\r\n\r\n")
    assert is_page_of(json.loads(answer["answer"].partition("\r\n\r\n")[2]), "shop"), answer


def test_a_call_between_two_apps_outlives_the_freezing_of_the_caller(garden):
    """The caller waits for an answer that comes when it is frozen: the answer thaws it."""
    apply(garden, site("slow", "ada"), site("waiting", "ada"))
    garden.niwa("wake", "slow", "waiting")
    begun = time.monotonic()
    assert "host: slow" in talk(garden, "waiting", "slow", say="GET /?sleep=300 HTTP/1.0\r\n\r\n")["answer"]
    apply(garden, site("waiting", "ada", asleep="200ms"))
    answer = talk(garden, "waiting", "slow", say="GET /?sleep=2500 HTTP/1.0\r\n\r\n")
    assert "host: slow" in answer["answer"], answer
    assert time.monotonic() - begun > 2.5


def test_psql_rows_written_through_an_address_are_there_for_the_next_caller(garden):
    address = garden.address("postgres")
    psql(address, "create table if not exists asked (n int); truncate asked; insert into asked values (7)")
    stop(garden, "postgres")
    assert psql(address, "select n from asked") == "7"
