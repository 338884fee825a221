#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench dns: 50,000 names (25,000 apps, each with a route). Answers a second of niwa-api on one core, asked by dnsperf on
the other; how long an answer takes while 50,000 a second are asked for; its memory; how soon all names are known to a
fresh one. Besides, without the network, the time of an answer as it is made and as libldns would make it."""
import json
import os
import random
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import lib
import world

from names import NOERROR, ZONE, NiwaApi, record  # noqa: E402  (world.py has made its folder known)

APPS = 25000
A_PUT = 200  # apps
ROUNDS = 7
SECONDS = 2
OFFERED = 50000


def apply_all(host):
    rpc = host.connect()
    txn = rpc.call("apply.begin")["txn"]
    names = []
    for first in range(0, APPS, A_PUT):
        rpc.call("apply.put", txn=txn, apps=[record(f"app{i:05}", f"www.site{i:05}.example") for i in range(first, first + A_PUT)])
    for i in range(APPS):
        names += [f"app{i:05}.{ZONE}", f"www.site{i:05}.example.http.{ZONE}"]
    rpc.call("apply.commit", txn=txn)
    rpc.close()
    return names


def pin(pid, cpu, priority=1):
    os.sched_setaffinity(pid, [cpu])
    if os.environ.get("BENCH_PRIORITY"):
        os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(priority))


def cpu_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(pid, key):
    return int(re.search(rf"^{key}:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M).group(1)) * 1024


def dnsperf(questions, api, *more, priority=1):
    return subprocess.Popen(["dnsperf", "-s", api.at[0], "-p", str(api.at[1]), "-d", questions, "-c", "4", "-e", *more],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                            preexec_fn=lambda: pin(0, os.cpu_count() - 1, priority))


def figures(said):
    """Answers a second; dnsperf says also what was lost and what the answers were."""
    if re.search(r"Response codes:\s+NOERROR \d+ \(100\.00%\)", said) is None:
        raise RuntimeError(said)
    return float(re.search(r"Queries per second:\s+([\d.]+)", said).group(1)), int(re.search(r"Queries completed:\s+(\d+)", said).group(1))


def speed(report, questions, api):
    rates, of_core = [], []
    for _ in range(ROUNDS):
        began = cpu_s(api.process.pid)
        rate, count = figures(dnsperf(questions, api, "-q", "200", "-l", str(SECONDS)).communicate()[0])
        rates.append(rate)
        of_core.append(count / (cpu_s(api.process.pid) - began))
    report.value("answers", "rate", statistics.median(rates), "/s", least=50000)
    report.value("answers a second of its own processor time", "rate", statistics.median(of_core), "/s")


def latency(report, questions, api):
    load = dnsperf(questions, api, "-q", "1000", "-Q", str(OFFERED), "-l", "8")
    time.sleep(1)
    # before the load on their processor, else it would measure that
    probe = dnsperf(questions, api, "-q", "1", "-Q", "500", "-l", "5", "-v", priority=2).communicate()[0]
    rate = figures(load.communicate()[0])[0]
    samples = [float(line.split()[-1]) * 1000 for line in probe.splitlines() if line.startswith("> NOERROR")]
    report.samples(f"an answer while {OFFERED} a second are asked for", samples, "ms", p99=1)
    report.value("of those were answered a second", "rate", rate, "/s")


def main():
    world.leave_the_machine_alone()
    report = lib.Report("dns")
    host = world.Host(log_level=4).start()
    api = NiwaApi(host)
    try:
        names = apply_all(host)
        api.start()
        before = memory(api.process.pid, "Private_Dirty")
        api.stop()
        began = time.monotonic()
        api.start()
        report.value("names known to a fresh one after", "p50", 1000 * (time.monotonic() - began), "ms")
        report.value("memory of its own with 50,000 names", "bytes", before, "bytes")
        pin(api.process.pid, 0)
        assert all(api.ask(name)[0] == NOERROR for name in names[::1000])
        random.Random(1).shuffle(names)
        questions = host.dir / "questions"
        questions.write_text("".join(f"{name} A\n" for name in names))
        speed(report, questions, api)
        latency(report, questions, api)
        alone = json.loads(subprocess.run([world.BUILD / "src/api/dns_answers"], capture_output=True, text=True, check=True).stdout)
        report.value("one answer, without the network", "p50", alone["answer_us"] / 1000, "ms")
        report.value("the same by packets of libldns", "p50", alone["by_packets_us"] / 1000, "ms")
    finally:
        api.stop()
        host.stop()
    return report.done()


if __name__ == "__main__":
    sys.exit(main())
