# SPDX-License-Identifier: MIT
"""GET /metrics of niwa-api: what a scraper gets, and what anybody else does to it."""

import errno
import http.client
import json
import re
import signal
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from host import SLOW, wait_for
from names import NOERROR, ZONE, NiwaApi, app
from test_metrics import parse

AT = ("127.0.0.64", 9464)


@pytest.fixture(scope="module")
def host(shared_host):
    shared_host.apply("apps:\n" + app("blog") + app("shop", ("shop.example", "http")))
    return shared_host


@pytest.fixture
def api(host):
    a = NiwaApi(host).start()
    yield a
    a.stop()


def ask(method="GET", path="/metrics", at=AT, **headers):
    conn = http.client.HTTPConnection(*at, timeout=10 * SLOW)
    try:
        conn.request(method, path, headers=headers)
        answer = conn.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        conn.close()


def metrics(at=AT):
    status, headers, text = ask(at=at)
    assert status == 200 and headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return parse(text)


def test_a_scraper_gets_what_niwad_counts_and_what_niwa_api_counts(host, api):
    assert api.ask(f"blog.{ZONE}")[0] == NOERROR
    assert api.ask(f"nobody.{ZONE}")[0] != NOERROR
    status, headers, text = ask()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (status, done.returncode, done.stdout + done.stderr) == (200, 0, "")
    assert int(headers["Content-Length"]) == len(text)
    told = parse(text)
    want = {'niwa_apps{state="stopped"}': 2, "niwa_engine_up": 1, "niwa_dns_names": 3, "niwa_dns_complete": 1,
            'niwa_dns_queries_total{transport="udp"}': 2, 'niwa_dns_answers_total{code="noerror"}': 1,
            'niwa_dns_answers_total{code="nxdomain"}': 1}
    assert {k: told.get(k) for k in want} == want


def test_no_name_of_an_app_or_a_tenant_is_told(host, api):
    text = ask()[2]
    assert "blog" not in text and "shop" not in text and 'tenant="' not in text


def test_other_paths_and_methods_are_refused(api):
    assert ask(path="/")[0] == 404
    assert ask(path="/metrics/x")[0] == 404
    status, headers, _ = ask("POST", "/metrics")
    assert (status, headers["Allow"]) == (405, "GET, HEAD")
    status, headers, body = ask("HEAD")
    assert (status, body) == (200, "") and int(headers["Content-Length"]) > 1000


def test_without_niwad_it_says_so_and_still_tells_of_names(host, api):
    host.kill_niwad()
    try:
        wait_for("niwa-api has noticed", lambda: "no conversation with niwad" in api.log())
        told = metrics()
        assert told["niwa_engine_up"] == 0 and told["niwa_dns_names"] == 3
        assert not any(k.startswith("niwa_apps") for k in told)
    finally:
        host.start_niwad()
    wait_for("niwad is back", lambda: metrics()["niwa_engine_up"] == 1)


def test_who_asks_while_niwad_hangs_is_answered_at_the_deadline_and_names_go_on(host, api):
    time.sleep(0.15)  # what was told last is old
    host.niwad.send_signal(signal.SIGSTOP)
    try:
        began, answers = time.monotonic(), []
        threads = [threading.Thread(target=lambda: answers.append(metrics()["niwa_engine_up"])) for _ in range(10)]
        for t in threads:
            t.start()
        assert api.ask(f"blog.{ZONE}")[0] == NOERROR
        assert time.monotonic() - began < 1.5 * SLOW
        for t in threads:
            t.join()
        assert answers == [0] * 10
    finally:
        host.niwad.send_signal(signal.SIGCONT)
    wait_for("niwad answers again", lambda: metrics()["niwa_engine_up"] == 1)


def test_a_thousand_scrapes_at_once_ask_niwad_at_most_ten_times_a_second(host, api):
    def turns():
        return metrics()["niwa_loop_turn_seconds_count"]

    before, began, texts = turns(), time.monotonic(), []

    def scrape():
        conn = http.client.HTTPConnection(*AT, timeout=10 * SLOW)
        for _ in range(50):
            conn.request("GET", "/metrics")
            texts.append(conn.getresponse().read())
        conn.close()

    threads = [threading.Thread(target=scrape) for _ in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    took = time.monotonic() - began
    assert len(texts) == 1000 and all(b"niwa_engine_up 1\n" in t for t in texts)
    asked = 10 * took + 3
    assert len({re.search(rb"niwa_loop_turn_seconds_count (\d+)", t)[1] for t in texts}) <= asked, took
    assert turns() - before < 20 * asked


HOSTILE = [b"\0" * 4096, b"GET /metrics", b"GET " + b"/" * 100000 + b" HTTP/1.1\r\n\r\n",
           b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 20000 + b"\r\n",
           b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 100000,
           b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
           b"GET /metrics HTTP/9.9\r\n\r\n", b"\r\n" * 5000, "GET /métrics%00 HTTP/1.1\r\nHost: ü\r\n\r\n".encode(),
           b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 500]


def test_hostile_requests_end_or_are_refused_and_the_next_scraper_is_answered(api):
    def attack(data):
        with socket.create_connection(AT, timeout=10 * SLOW) as sock:
            try:
                sock.sendall(data)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
            except OSError as e:
                if e.errno not in (errno.ECONNRESET, errno.EPIPE, errno.ENOTCONN):  # it was refused before all was sent
                    raise

    with ThreadPoolExecutor(len(HOSTILE)) as pool:
        list(pool.map(attack, HOSTILE))
        assert api.alive(), api.log()[-2000:]
    assert metrics()["niwa_engine_up"] == 1


def test_who_leaves_before_the_answer_harms_nobody(host, api):
    for _ in range(5):
        time.sleep(0.11)
        host.niwad.send_signal(signal.SIGSTOP)
        socks = [socket.create_connection(AT, timeout=10 * SLOW) for _ in range(20)]
        for sock in socks:
            sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            sock.close()
        host.niwad.send_signal(signal.SIGCONT)
        assert metrics()["niwa_engine_up"] == 1
    assert api.alive()


def test_silent_connections_end_and_do_not_keep_names_from_being_answered(api):
    socks = []
    for _ in range(100):  # more than there may be: those beyond wait in the kernel
        socks.append(socket.create_connection(AT, timeout=10 * SLOW))
    assert api.ask(f"blog.{ZONE}")[0] == NOERROR
    assert metrics()["niwa_engine_up"] == 1  # when the first of them have ended
    assert len(list(Path(f"/proc/{api.process.pid}/fd").iterdir())) < 100
    for sock in socks:
        sock.close()


def test_it_runs_without_rights_and_niwad_reads_no_byte_of_a_scraper(host, api):
    status = Path(f"/proc/{api.process.pid}/status").read_text()
    assert re.search(r"^CapEff:\s+0+$", status, re.M) and not re.search(r"^Uid:\s+0\b", status, re.M)
    listeners = subprocess.run(["ss", "-Hltnp", f"sport = :{AT[1]}"], capture_output=True, text=True, check=True).stdout
    assert "niwa-api" in listeners and "niwad" not in listeners


def test_metrics_can_be_turned_off_and_put_elsewhere(host, api):
    host.kill_niwad(signal.SIGTERM)
    host.configure(metrics_listen="off")
    host.start_niwad()
    api.process.wait(10 * SLOW)  # ends, to be started again with the new settings
    api.start()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(AT, timeout=5)
    host.kill_niwad(signal.SIGTERM)
    host.configure(metrics_listen="127.0.0.9:9999")
    host.start_niwad()
    api.process.wait(10 * SLOW)
    api.start()
    assert metrics(("127.0.0.9", 9999))["niwa_engine_up"] == 1
    host.kill_niwad(signal.SIGTERM)
    host.configure()
    host.start_niwad()
    api.process.wait(10 * SLOW)


def test_an_address_that_is_taken_costs_the_metrics_but_no_name(host):
    with socket.create_server(AT):
        api = NiwaApi(host).start()
        try:
            assert "no metrics on 127.0.0.64:9464 (metrics_listen of niwad.conf)" in api.log()
            assert api.ask(f"blog.{ZONE}")[0] == NOERROR
        finally:
            api.stop()


# -- what niwa status and niwa doctor say -------------------------------------------------------------------------------


def doctor(host, name):
    done = host.niwa("doctor", "--json", name, check=False)
    (found,) = json.loads(done.stdout)
    return found["result"], found["found"]


def test_the_doctor_asks_niwa_api_for_a_name_and_for_metrics(host):
    assert doctor(host, "api") == ("warn", "it does not run: apps are found by address only")
    api = NiwaApi(host).start()
    try:
        assert doctor(host, "api") == ("ok", "niwa.internal on 127.0.0.64:53, metrics on 127.0.0.64:9464")
        api.process.send_signal(signal.SIGSTOP)
        assert doctor(host, "api") == ("fail", "no answer on 127.0.0.64:53: Connection timed out")
        api.process.send_signal(signal.SIGCONT)
    finally:
        api.stop()
    with socket.create_server(AT):
        api = NiwaApi(host).start()
        try:
            result, found = doctor(host, "api")
            assert result == "warn" and "no metrics on 127.0.0.64:9464" in found
        finally:
            api.stop()


def test_the_doctor_and_the_status_tell_how_full_the_queues_and_the_connection_table_are(host):
    result, found = doctor(host, "queues")
    assert result == "ok" and re.match(r"0 of \d+ starts under way, 0 wait, 0 for a folder; 0 connections are held", found)
    status = host.rpc("host.status")
    assert status["conntrack"]["percent"] == status["conntrack"]["entries"] * 100 // status["conntrack"]["max"]
    assert status["starts"]["waiting"] == 0 and status["names"]["routes"] == 1
    said = host.niwa("status").stdout
    assert re.search(r"conntrack\n\s+entries +\d+\n\s+max +\d+\n\s+percent +\d+", said), said
    assert re.search(r"starts\n\s+under_way +0\n", said), said
