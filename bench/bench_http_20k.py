#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench http-20k: nginx with the files of niwa-nginx(7) before 20,000 apps, each with a domain, visited by Zipf's law (s = 1)
at 500 requests a second for a minute; they freeze after 2 s and stop after 10. Errors; how long an answer takes by what the
app was when the visitor came; how many waited. Then a warm app, by its domain and by servers that nginx's configuration names.
BENCH_SECONDS, BENCH_DOMAINS and BENCH_RATE make it smaller: 500 requests a second start some 155 apps a second."""
import bisect
import os
import random
import statistics
import subprocess
import sys
import threading
import time

import lib
import world

from front import Front  # noqa: E402  (world.py has made its folder known)
from host import wait_for  # noqa: E402
from names import NiwaApi  # noqa: E402

DOMAINS = int(os.environ.get("BENCH_DOMAINS", "20000"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "60"))
RATE = int(os.environ.get("BENCH_RATE", "500"))
FREEZE, SAVE = 2.0, 10.0
UNSURE = 1.5  # seconds around a change of state
WARM_ROUNDS, WARM_A_ROUND = 10, 200

APP = ("- {{name: {name}, tenant: t{tenant:03}, image: {image}, command: [/server, \"80\"], ports: [{{port: 80, protocol: http}}], "
       "routes: [{{domain: {name}.example}}], limits: {{memory: 64M, processes: 64}}, snapshot: off, egress: none, stop: {{grace: 1s}}, "
       "sleep: {{freeze: {freeze}, page: never, save: {save}}}}}\n")

NAMED = """
    upstream named {{ server {address}:80; }}
    upstream kept {{ server {address}:80; keepalive 16; }}
    server {{ listen 127.0.0.1:8081; location / {{ proxy_pass http://named; include {installed}/proxy.conf; }} }}
    server {{ listen 127.0.0.1:8082;
        location / {{ proxy_pass http://kept; proxy_set_header Host $host; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
"""


def declare(host):
    path = host.dir / "all.yaml"
    apps = [APP.format(name=f"site{n:05}", tenant=n % 500, image=host.image, freeze=f"{FREEZE:g}s", save=f"{SAVE:g}s")
            for n in range(DOMAINS)]
    warm = APP.format(name="warm", tenant=0, image=host.image, freeze="never", save="never")
    path.write_text("apps:\n" + "".join(apps) + warm)
    host.niwa("apply", "-q", path, timeout=600)


def visits(seconds, rng):
    """(microseconds, number of the domain): Poisson arrivals, domains by Zipf's law."""
    total, sums = 0.0, []
    for rank in range(1, DOMAINS + 1):
        total += 1 / rank
        sums.append(total)
    of_rank = list(range(DOMAINS))
    rng.shuffle(of_rank)
    at, all_of_them = 0.0, []
    while (at := at + rng.expovariate(RATE)) < seconds:
        all_of_them.append((int(at * 1e6), of_rank[bisect.bisect_left(sums, rng.random() * total)]))
    return all_of_them


def visit(host, lines):
    """[(line, status, ms, moment of connect in us, body)…] in the order of the lines"""
    said = subprocess.run([host.dir / "visits"], input="".join(lines), text=True, stdout=subprocess.PIPE, check=True).stdout
    answers = []
    for line in said.splitlines():
        number, status, took, began, body = line.split(" ", 4)
        answers.append((int(number), int(status), int(took) / 1000, int(began), body))
    assert len(answers) == len(lines)
    return sorted(answers)


class Queue:
    """How many connections waited, how many apps were awake, every 0.1 s."""

    def __init__(self, host):
        self.host, self.waiting, self.instances, self.going = host, [], [], True
        self.thread = threading.Thread(target=self.look)

    def look(self):
        with self.host.talk() as rpc:
            while self.going:
                status = rpc.call("host.status")
                self.waiting.append(status["relay"]["waiting"])
                self.instances.append(status["instances"])
                time.sleep(0.1)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.going = False
        self.thread.join()


def states(answers, plan):
    """What the app was when the visitor came → times. Those who came near a change are in none."""
    found = {"running": [], "frozen": [], "stopped": []}
    last = {}
    for number, status, ms, began_us, body in answers:
        domain = plan[number][1]
        quiet = (began_us - last[domain]) / 1e6 if domain in last else None
        if status == 200 and int(body.split()[1]) > began_us:
            found["stopped"].append(ms)
        elif status == 200 and quiet is not None and quiet < FREEZE - UNSURE / 3:
            found["running"].append(ms)
        elif status == 200 and quiet is not None and FREEZE + UNSURE < quiet < SAVE - UNSURE:
            found["frozen"].append(ms)
        last[domain] = max(last.get(domain, 0), began_us + int(ms * 1000))
    return found


def zipf(report, host):
    plan = visits(SECONDS, random.Random(20))
    before = host.rpc("host.status")["counts"]
    with Queue(host) as queue:
        answers = visit(host, [f"{at} 80 site{n:05}.example\n" for at, n in plan])
    after = host.rpc("host.status")["counts"]
    wrong = [answer for answer in answers if answer[1] != 200]
    for answer in wrong[:5]:
        print(f"http-20k: an error: {answer}", file=sys.stderr)
    report.value(f"requests, of {len(set(n for _, n in plan))} domains", "count", len(plan), "")
    report.value("errors", "count", len(wrong), "", most=0)
    report.samples("an answer, all", [a[2] for a in answers if a[1] == 200], "ms")
    for state, times in states(answers, plan).items():
        report.samples(f"an answer, the app was {state}", times, "ms")
    report.value("connections that waited", "p50", lib.percentile(queue.waiting, 50), "")
    report.value("connections that waited", "p99", lib.percentile(queue.waiting, 99), "")
    report.value("instances at a time, at most", "count", max(queue.instances), "")
    for key in ("starts", "thaws"):
        report.value(f"{key} a second", "rate", (after[key] - before[key]) / SECONDS, "/s")


def warm(report, host):
    """The three take turns, request by request."""
    ports = {"by its domain": 80, "named": 8081, "named, kept connections": 8082}
    times = {case: [] for case in ports}
    for _ in range(WARM_ROUNDS):
        cases = list(ports) * WARM_A_ROUND
        answers = visit(host, [f"{i * 2000} {ports[case]} warm.example\n" for i, case in enumerate(cases)])
        wrong = [answer for answer in answers if answer[1] != 200]
        assert not wrong, wrong[:3]
        for case in ports:
            times[case].append(lib.percentile([a[2] for a, c in zip(answers, cases) if c == case], 50))
    for case, rounds in times.items():
        report.value(f"warm, {case}", "p50", statistics.median(rounds), "ms")
    for case, most in (("named", 1.1), ("named, kept connections", None)):
        ratio = statistics.median(a / b for a, b in zip(times["by its domain"], times[case]))
        report.value(f"warm, by its domain against {case}", "ratio", ratio, "", most=most)


def main():
    report = lib.Report("http-20k")
    with world.running(conntrack_max=1048576) as host:
        subprocess.run([os.environ.get("CC", "cc"), *world.FLAGS, "-o", host.dir / "visits", world.HERE / "visits.c"], check=True)
        api = NiwaApi(host)
        try:
            api.start()
            declare(host)
            named = NAMED.format(address=host.address("warm"), installed=host.dir / "front/niwa")
            with Front(host.dir / "front", more=named, workers=os.cpu_count(), log="off") as front:
                warm(report, host)
                zipf(report, host)
                assert "alert" not in front.errors(), front.errors()
            wait_for("they have stopped", lambda: host.rpc("host.status")["instances"] < 10, timeout=60, pause=0.5)
        finally:
            api.stop()
    return report.done()


sys.exit(main())
