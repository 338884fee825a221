# SPDX-License-Identifier: MIT
"""What niwad counts for monitoring, and its text as promtool and a scraper see it."""

import re
import json
import os
import signal
import socket
import subprocess

import pytest
from host import TOP, wait_for

APP = """apps:
- name: web
  tenant: t
  image: host
  command: [python3, -m, http.server, "80"]
  ports: [{port: 80, protocol: http}]
  sleep: {freeze: 300ms, save: 1h}
- name: broken
  tenant: t
  image: host
  command: ["/bin/false"]
  ports: [{port: 80, protocol: http}]
"""


@pytest.fixture(scope="module")
def host(shared_host):
    shared_host.apply(APP)
    return shared_host


def parse(text):
    """{name{labels}: value}; labels in the order they are told."""
    return {m[1]: float(m[2]) for m in re.finditer(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.M)}


def metrics(host):
    return parse(host.rpc("metrics.get")["text"])


def get(host, app):
    with socket.create_connection((host.address(app), 80), timeout=20) as sock:
        sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return sock.recv(65536)


def test_the_text_passes_promtool(host):
    done = subprocess.run(["promtool", "check", "metrics"], input=host.rpc("metrics.get")["text"], capture_output=True,
                          text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def families(text):
    return set(re.findall(r"^# TYPE (\S+)", text, re.M))


def test_the_alert_rules_of_the_manual_are_rules_about_metrics_that_exist(host, tmp_path):
    manual = (TOP / "docs/metrics.md").read_text()
    rules = re.search(r"```yaml\n(.*?)```", manual, re.S)[1]
    (tmp_path / "rules.yml").write_text(rules)
    done = subprocess.run(["promtool", "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "14 rules found" in done.stdout, done.stdout + done.stderr
    named = {re.sub("_bucket$", "", name) for name in re.findall(r"\bniwa_[a-z_]+", rules)} - {"niwa_engine_up"}
    assert named <= families(host.rpc("metrics.get")["text"])


def test_the_manual_names_each_metric(host):
    manual, at = set(), ""
    for name in re.findall(r"`(_?[a-z][a-z_]+)(?:\{[a-z,]*\})?`", (TOP / "docs/metrics.md").read_text()):
        at = at if name.startswith("_") else name
        # `niwa_x_a_total`, `_b_total`: the other one begins like the first
        manual |= {name} if at == name else {at[:i] + name for i, c in enumerate(at) if c == "_"}
    assert families(host.rpc("metrics.get")["text"]) - manual == set()


def test_a_start_a_thaw_and_a_failure_are_counted_once_each(host):
    before = metrics(host)
    assert b"200 OK" in get(host, "web")
    host.wait_state("web", "frozen")
    assert b"200 OK" in get(host, "web")
    assert b"503" in get(host, "broken")
    now = metrics(host)
    grown = {k: v - before[k] for k, v in now.items() if k.startswith(("niwa_wakes", "niwa_refusals")) and v != before[k]}
    assert grown == {'niwa_wakes_total{path="start",outcome="ok"}': 1, 'niwa_wakes_total{path="thaw",outcome="ok"}': 1,
                     'niwa_wakes_total{path="start",outcome="failed"}': 1, 'niwa_refusals_total{reason="wake_failed"}': 1}


def test_stages_of_a_wake_add_up_and_are_of_that_wake(host):
    now = metrics(host)
    stage = {s: now[f'niwa_wake_stage_seconds_sum{{path="start",stage="{s}"}}']
             for s in ("decided", "cloned", "executed", "ready", "connected")}
    assert list(stage.values()) == sorted(stage.values()) and stage["decided"] > 0
    shown = host.show("web")
    assert now['niwa_wake_stage_seconds_count{path="start",stage="ready"}'] == 1, shown["stages"]


def test_apps_are_counted_by_their_state_when_they_come_move_and_go(host):
    def apps():
        return {k[17:-2]: v for k, v in metrics(host).items() if k.startswith("niwa_apps{") and v}

    host.rpc("app.stop", name="web")
    assert apps() == {"stopped": 2}
    host.apply(APP + APP[5:].replace("web", "third").replace("broken", "fourth"))
    assert apps() == {"stopped": 4}
    host.rpc("app.wake", name="third")
    host.rpc("app.freeze", name="third")
    assert apps() == {"stopped": 3, "frozen": 1}
    host.niwa("rm", "third", "fourth", "--yes")
    assert apps() == {"stopped": 2}
    host.apply(APP + APP[5:].replace("web", "third").replace("broken", "fourth"))  # while the old one may still end
    assert apps() == {"stopped": 4}
    host.niwa("rm", "third", "fourth", "--yes")


def test_a_refusal_is_counted_by_its_reason(host):
    before = metrics(host)
    assert b"503" in get(host, "broken")
    for _ in range(3):  # by now it backs off for longer than a client is held
        get(host, "broken")
    now = metrics(host)
    refused = sum(now[f'niwa_refusals_total{{reason="{r}"}}'] - before[f'niwa_refusals_total{{reason="{r}"}}']
                  for r in ("wake_failed", "back_off"))
    assert refused == 4


def test_the_counters_of_the_relay_are_of_this_moment(host):
    before = metrics(host)["niwa_relay_accepted_total"]
    get(host, "broken")
    assert metrics(host)["niwa_relay_accepted_total"] == before + 1
    assert host.rpc("host.status")["relay"]["accepted"] == before + 1


def test_a_new_niwad_counts_the_apps_that_it_finds_awake(host):
    host.rpc("app.wake", name="web")
    host.kill_niwad()
    host.start_niwad()
    now = metrics(host)
    assert now['niwa_apps{state="stopped"}'] == 1
    assert sum(now[f'niwa_apps{{state="{s}"}}'] for s in ("running", "freezing", "frozen")) == 1


def test_metrics_are_answered_also_when_the_relay_does_not(host):
    relay = host.rpc("host.status")["relay"]["pid"]
    os.kill(relay, signal.SIGSTOP)
    try:
        assert metrics(host)['niwa_up{program="relay"}'] == 1
    finally:
        os.kill(relay, signal.SIGKILL)
    wait_for("another relay runs", lambda: host.rpc("host.status")["relay"]["pid"] not in (0, relay))
    assert metrics(host)["niwa_relay_accepted_total"] == 0


def test_each_of_many_who_ask_at_once_has_a_turn_of_the_loop_of_his_own(host):
    turns = "niwa_loop_turn_seconds_count"
    before = metrics(host)[turns]
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(host.socket))
        sock.sendall(b"".join(b'{"jsonrpc":"2.0","id":%d,"method":"metrics.get"}\n' % n for n in range(50)))
        answers = sock.makefile("rb")
        assert sorted(json.loads(answers.readline())["id"] for _ in range(50)) == list(range(50))
    assert metrics(host)[turns] - before >= 100  # one to read each question, one to answer it
