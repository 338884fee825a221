# SPDX-License-Identifier: MIT
"""What niwa-api answers, to whatever it is sent. One host for all of it."""

import random
import re
import socket
import struct
import threading
import time

import pytest
from host import SLOW, TOP
from names import A, AAAA, ANY, FORMERR, NOERROR, NXDOMAIN, REFUSED, ZONE, NiwaApi, app, question, read, tcp_ask


@pytest.fixture(scope="module")
def shared(shared_host):
    a = NiwaApi(shared_host).start()
    shared_host.apply("apps:\n" + app("blog", ("example.com", "http"), ("example.com", "smtp")) + app("shop.example.com"))
    yield a
    a.stop()


def test_an_app_answers_to_its_name_and_to_its_routes(shared):
    blog, shop = shared.host.address("blog"), shared.host.address("shop.example.com")
    for name, address in ((f"blog.{ZONE}", blog), (f"example.com.http.{ZONE}", blog), (f"example.com.smtp.{ZONE}", blog),
                          (f"shop.example.com.{ZONE}", shop)):
        assert shared.address(name) == address
        answer = shared.dig(name, "A")
        assert "status: NOERROR" in answer and "flags: qr aa rd;" in answer
        assert re.search(rf"^{re.escape(name)}\.\s+3600\s+IN\s+A\s+{address}$", answer, re.M), answer


def test_the_case_of_a_question_is_kept_and_does_not_matter(shared):
    answer = shared.dig(f"BlOg.NIwa.iNternal")
    assert re.search(rf"^BlOg\.NIwa\.iNternal\.\s+3600\s+IN\s+A\s+{shared.host.address('blog')}$", answer, re.M), answer


def test_no_data_and_no_name_are_told_apart_and_may_be_remembered_for_a_second(shared):
    soa = rf"^niwa\.internal\.\s+1\s+IN\s+SOA\s+niwa\.internal\. hostmaster\.niwa\.internal\. \d+ 3600 600 86400 1$"
    for name, kind, code in ((f"blog.{ZONE}", "AAAA", "NOERROR"), (f"com.http.{ZONE}", "A", "NOERROR"), (f"http.{ZONE}", "A", "NOERROR"),
                             (f"www.blog.{ZONE}", "A", "NXDOMAIN"), (f"example.org.http.{ZONE}", "AAAA", "NXDOMAIN")):
        answer = shared.dig(name, kind)
        assert f"status: {code}" in answer and "ANSWER: 0, AUTHORITY: 1" in answer, answer
        assert re.search(soa, answer, re.M), answer


def test_the_domain_itself_has_soa_and_ns_and_nothing_else_is_answered_for(shared):
    assert shared.dig("+short", ZONE, "NS") == f"{ZONE}.\n"
    assert shared.dig("+short", ZONE, "A") == "127.0.0.64\n"
    assert shared.dig("+short", ZONE, "SOA").startswith(f"{ZONE}. hostmaster.{ZONE}. ")
    assert "status: REFUSED" in shared.dig("example.com")
    assert "status: REFUSED" in shared.dig("+noedns", "-c", "CH", "-t", "TXT", "version.bind")
    assert "Transfer failed" in shared.dig(ZONE, "AXFR")


def test_questions_come_by_tcp_as_well_any_number_on_a_connection(shared):
    blog = shared.host.address("blog")
    assert shared.dig("+tcp", "+short", f"blog.{ZONE}") == f"{blog}\n"
    with shared.connect() as sock:
        for _ in range(3):
            assert tcp_ask(sock, *[f"blog.{ZONE}", f"no.{ZONE}"] * 20) == [(NOERROR, [blog]), (NXDOMAIN, [])] * 20


def test_answers_that_are_read_late_are_whole(shared):
    blog, asked, many = shared.host.address("blog"), question(f"blog.{ZONE}"), 5000
    with shared.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        sender = threading.Thread(target=sock.sendall, args=((struct.pack(">H", len(asked)) + asked) * many,))
        sender.start()
        time.sleep(0.3)
        stream = sock.makefile("rb")
        for _ in range(many):
            assert read(stream.read(struct.unpack(">H", stream.read(2))[0])) == (NOERROR, [blog])
        sender.join()


def test_edns_is_understood_with_cookies_and_padding_and_later_versions(shared):
    blog = shared.host.address("blog")
    assert shared.dig("+short", "+cookie", "+bufsize=4096", "+dnssec", "+padding=128", "+subnet=10.0.0.0/8", f"blog.{ZONE}") == f"{blog}\n"
    assert "udp: 1232" in shared.dig(f"blog.{ZONE}")
    assert "status: BADVERS" in shared.dig("+edns=1", "+noednsneg", f"blog.{ZONE}")
    assert "status: NOTIMP" in shared.dig("+opcode=NOTIFY", f"blog.{ZONE}")


def test_whatever_is_sent_niwa_api_goes_on(shared):
    pid, noise = shared.process.pid, random.Random(5)
    samples = [p.read_bytes() for p in sorted((TOP / "src/api/corpus").iterdir())]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(shared.at)
        for i in range(3000):
            sample = bytearray(noise.choice(samples) or b"\0")
            for _ in range(noise.randrange(4)):
                sample[noise.randrange(len(sample))] = noise.randrange(256)
            sock.send(bytes(sample[:noise.randrange(len(sample) + 1)]) if i % 3 else noise.randbytes(noise.randrange(2000)))
    for i in range(100):
        with shared.connect() as sock:
            sample = noise.choice(samples)
            sock.sendall(struct.pack(">H", len(sample)) + sample if i % 2 else noise.randbytes(noise.randrange(5000)))
    assert shared.address(f"blog.{ZONE}") == shared.host.address("blog")
    assert shared.alive() and shared.process.pid == pid


def test_what_does_not_read_as_a_question_has_the_answer_it_should_have(shared):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(shared.at)
        sock.settimeout(2 * SLOW)
        sock.send(question(f"blog.{ZONE}")[:-1])
        assert read(sock.recv(4096)) == (FORMERR, [])
        sock.send(question(f"blog.{ZONE}", ANY))
        assert read(sock.recv(4096)) == (NOERROR, [shared.host.address("blog")])
        sock.send(question("example.com", AAAA))
        assert read(sock.recv(4096)) == (REFUSED, [])
        sock.send(b"\x12\x34\x80" + question(f"blog.{ZONE}")[3:])  # an answer: two servers could talk for ever
        sock.send(question(f"blog.{ZONE}", A))
        assert read(sock.recv(4096))[0] == NOERROR
        sock.settimeout(0.05)
        with pytest.raises(TimeoutError):
            sock.recv(4096)
