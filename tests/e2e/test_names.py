# SPDX-License-Identifier: MIT
"""Names of apps by DNS: what niwad tells niwa-api and when, who may have a name, who may do what."""

import json
import re
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from host import SLOW, TOP, Host, Rpc, RpcError, wait_for
from names import NOERROR, NXDOMAIN, ZONE, NiwaApi, app, commit, question, read, record


@pytest.fixture(scope="module")
def host(shared_host):
    return shared_host


@pytest.fixture(scope="module")
def api(shared_host):
    a = NiwaApi(shared_host).start()
    yield a
    a.stop()


# -- changes ------------------------------------------------------------------------------------------------------------


def test_a_name_answers_each_time_the_apply_that_made_it_has_returned(host, api):
    rpc = host.connect()
    late = []
    for i in range(int(1000 / SLOW)):
        commit(rpc, record(f"app{i}", f"site{i}.example"))
        name = f"site{i}.example.http.{ZONE}" if i % 2 else f"app{i}.{ZONE}"
        late += [name] if api.ask(name)[0] != NOERROR else []
    assert late == []
    rpc.close()


def test_a_question_that_waited_behind_others_knows_what_was_applied_before_it(host, api):
    rpc = host.connect()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(api.at)
        sock.settimeout(5 * SLOW)
        for i in range(20):
            api.process.send_signal(signal.SIGSTOP)
            sock.send(question(f"behind.{ZONE}"))  # now there is something to read before niwad says anything
            commit(rpc, record(f"behind{i}"))
            sock.send(question(f"behind{i}.{ZONE}"))
            api.process.send_signal(signal.SIGCONT)
            assert read(sock.recv(4096))[0] == NXDOMAIN
            assert read(sock.recv(4096)) == (NOERROR, [host.address(f"behind{i}")])
    rpc.close()


def test_what_niwa_rm_took_away_is_gone_when_it_has_returned(host, api):
    host.apply("apps:\n" + app("a", ("a.example", "lmtp"), ("b.example", "lmtp")) + app("b"))
    host.apply("apps:\n" + app("a", ("a.example", "lmtp")))
    assert api.ask(f"b.example.lmtp.{ZONE}") == (NXDOMAIN, [])
    assert api.address(f"a.example.lmtp.{ZONE}") == host.address("a")
    host.niwa("rm", "a", "--yes")
    for name in ("a", "a.example.lmtp", "lmtp"):
        assert api.ask(f"{name}.{ZONE}") == (NXDOMAIN, []), name
    assert api.address(f"b.{ZONE}") == host.address("b")


def test_a_domain_that_moves_to_another_app_leads_to_one_of_them_at_every_moment(host, api):
    many = [record(f"m{i:03}") for i in range(100)]
    commit(host.connect(), record("old", "moves.example"), record("new"), *many)
    old, new = host.address("old"), host.address("new")
    assert api.address(f"moves.example.http.{ZONE}") == old
    seen, rpc = [], host.connect()
    txn = rpc.call("apply.begin")["txn"]
    # between the two come more changes than a turn of niwad's loop takes
    changed = [{**r, "max_waiting": 7} for r in many]
    rpc.call("apply.put", txn=txn, apps=[record("old"), *changed, record("new", "moves.example")])
    rpc.sock.sendall(json.dumps({"jsonrpc": "2.0", "id": 99, "method": "apply.commit", "params": {"txn": txn}}).encode() + b"\n")
    while not seen or seen[-1] != (NOERROR, [new]):
        seen.append(api.ask(f"moves.example.http.{ZONE}"))
        assert seen[-1] in ((NOERROR, [old]), (NOERROR, [new]))
    assert json.loads(rpc.file.readline())["result"]["changed"] == 102
    assert api.address(f"moves.example.http.{ZONE}") == new
    rpc.close()


def test_thousands_of_names_that_go_at_once_are_told_in_bounded_messages(host, api):
    watcher, rpc = Rpc(host.dir / "run/api.sock"), host.connect()
    watcher.call("names.watch")
    while json.loads(watcher.file.readline())["method"] != "names.complete":
        pass
    domains = [[f"{'x' * 60}.d{n}.many{i}.example" for n in range(200)] for i in range(20)]
    commit(rpc, *[record(f"many{i}", *names) for i, names in enumerate(domains)])
    commit(rpc, *[record(f"many{i}") for i in range(20)])
    assert api.ask(f"{domains[19][199]}.http.{ZONE}")[0] == NXDOMAIN
    there, gone, longest = set(), set(), 0
    while len(gone) < 4000:
        line = watcher.file.readline()
        change, longest = json.loads(line)["params"], max(longest, len(line))
        there |= set(change["set"])
        gone |= set(change["gone"])
    assert longest < 65536 and gone == {f"{d}.http" for names in domains for d in names}
    assert gone < there
    watcher.close()
    rpc.close()


def test_an_app_that_is_removed_and_declared_anew_in_one_transaction_keeps_its_names(host, api):
    rpc = host.connect()
    commit(rpc, record("again", "again.example"))
    txn = rpc.call("apply.begin")["txn"]
    rpc.call("apply.remove", txn=txn, name="again")
    rpc.call("apply.put", txn=txn, apps=[record("again", "again.example")])
    rpc.call("apply.commit", txn=txn)
    for name in ("again", "again.example.http"):
        assert api.address(f"{name}.{ZONE}") == host.address("again")
    rpc.close()


def test_names_are_answered_while_niwad_is_away_and_change_when_it_is_back(host, api):
    host.apply("apps:\n" + app("stays") + app("goes", ("away.example", "http")))
    stays, goes = host.address("stays"), host.address("goes")
    host.kill_niwad()
    time.sleep(0.1)
    assert api.address(f"stays.{ZONE}") == stays and api.address(f"away.example.http.{ZONE}") == goes
    assert api.ask(f"none.{ZONE}") == (NXDOMAIN, [])
    api.process.send_signal(signal.SIGSTOP)  # what happens now it is not told
    host.start_niwad()
    host.niwa("rm", "goes", "--yes")
    host.apply("apps:\n" + app("comes"))
    api.process.send_signal(signal.SIGCONT)
    wait_for("the new name is there", lambda: api.ask(f"comes.{ZONE}")[0] == NOERROR)
    wait_for("the old one is gone", lambda: api.ask(f"away.example.http.{ZONE}")[0] == NXDOMAIN)
    assert api.address(f"stays.{ZONE}") == stays and api.alive()


def test_a_change_of_routes_alone_leaves_the_instance_as_it_is(host, api):
    web = """apps:
- name: steady
  image: host
  command: [/usr/bin/python3, -m, http.server, "80", -d, /usr/share/doc]
  ports: [{port: 80, protocol: http}]
  routes: [%s]
  max_waiting: %d
"""
    host.apply(web % ("{domain: steady.example}", 8))
    host.niwa("wake", "steady")
    pid = host.pid("steady")
    host.apply(web % ("{domain: calm.example}", 8))
    assert api.ask(f"steady.example.http.{ZONE}")[0] == NXDOMAIN
    assert api.address(f"calm.example.http.{ZONE}") == host.address("steady")
    host.kill_niwad()
    host.start_niwad()
    time.sleep(0.3 * SLOW)  # for the rotation that must not come
    assert [i["pid"] for i in host.show("steady")["instances"]] == [pid]
    host.apply(web % ("", 9))  # of another key it is replaced
    wait_for("a fresh instance serves", lambda: host.state("steady") == "running" and host.pid("steady") != pid)


# -- who has a name -----------------------------------------------------------------------------------------------------


def test_a_domain_that_another_app_has_is_refused_with_file_and_line(host):
    host.apply("apps:\n" + app("first", ("taken.example", "http")))
    refused = host.apply("apps:\n- name: second\n  tenant: t\n  image: host\n  command: [/bin/true]\n  ports: [{port: 80}]\n  routes:\n"
                         "  - {domain: free.example}\n  - {domain: taken.example}\n", check=False)
    assert refused.returncode == 1
    assert re.search(r"apps\.yaml:9: apps\[0\]\.routes\[1\]\.domain of second: taken\.example\.http leads to app first already", refused.stdout + refused.stderr)
    host.apply("apps:\n" + app("second", ("taken.example", "smtp")))
    # an app that is called as a route is
    refused = host.apply("apps:\n" + app("taken.example.http"), check=False)
    assert re.search(r"apps\.yaml:2: apps\[0\]\.name of taken\.example\.http: taken\.example\.http leads to app first already", refused.stdout + refused.stderr)
    host.apply("apps:\n" + app("third.example.http"))
    refused = host.apply("apps:\n" + app("third", ("third.example", "http")), check=False)
    assert "third.example.http leads to app third.example.http already" in refused.stdout + refused.stderr
    host.apply("apps:\n" + app("third.example.http", ("third.example", "http")))  # its own it may have


def test_of_two_transactions_that_want_a_domain_one_gets_it(host):
    one, two = host.connect(), host.connect()
    txns = [(c, c.call("apply.begin")["txn"], name) for c, name in ((one, "race-a"), (two, "race-b"))]
    for c, txn, name in txns:
        c.call("apply.put", txn=txn, apps=[record(name, "race.example")])
    for c, txn, name in txns:  # one comes while the other is being written
        c.sock.sendall(json.dumps({"jsonrpc": "2.0", "id": 99, "method": "apply.commit", "params": {"txn": txn}}).encode() + b"\n")
    answers = [json.loads(c.file.readline()) for c, _, _ in txns]
    refused = [a["error"]["message"] for a in answers if "error" in a]
    assert len(refused) == 1 and re.search("leads to app race-[ab] already", refused[0]), answers
    # what the one gives up in a transaction the other may take in it
    commit(one, record("race-a"), record("race-b", "race.example"))
    one.close()
    two.close()


def test_a_name_that_no_question_could_hold_is_refused(host):
    long = ".".join(["a" * 60] * 4)  # 243 bytes, and the domain behind it
    refused = host.apply("apps:\n" + app("a", (long, "http")), check=False)
    assert refused.returncode == 1 and "longer than 253 bytes" in refused.stdout + refused.stderr


# -- who may what -------------------------------------------------------------------------------------------------------


def test_the_socket_for_niwa_api_lets_nobody_command(host):
    assert (host.dir / "run/api.sock").stat().st_mode & 0o777 == 0o660
    host.apply("apps:\n" + app("blog"))
    rpc = Rpc(host.dir / "run/api.sock")  # as root
    assert rpc.call("ping")["apps"] > 0
    for method in ("apply.begin", "app.show", "app.stop", "app.exec", "snapshot.remove", "image.prepare"):
        with pytest.raises(RpcError, match="needs to be root or in group niwa"):
            rpc.call(method, name="blog")
    rpc.close()


def test_niwa_api_has_no_right_and_no_way_to_the_other_socket(host, api):
    status = Path(f"/proc/{api.process.pid}/status").read_text()
    for caps in re.findall(r"^Cap(?:Inh|Prm|Eff|Amb):\s+(\w+)", status, re.M):
        assert int(caps, 16) == 0, status
    assert "NoNewPrivs:\t1" in status and not re.search(r"^Uid:\t0", status, re.M)
    other = subprocess.run(["setpriv", "--reuid=niwa-api", "--regid=niwa-api", "--clear-groups", "/usr/bin/python3", "-c",
                            f"import socket; socket.socket(socket.AF_UNIX).connect('{host.socket}')"], capture_output=True, text=True,
                           timeout=20 * SLOW, check=False)
    assert "PermissionError" in other.stderr


def test_a_reader_of_names_that_does_not_read_is_cut(host, api):
    watcher = Rpc(host.dir / "run/api.sock")
    watcher.call("names.watch")
    rpc = host.connect()
    for i in range(60):  # 60 times 256 names of 200 bytes
        domains = [f"{'x' * 60}.{'y' * 60}.{'z' * 50}.d{n}.a{i}.example" for n in range(256)]
        commit(rpc, record(f"app{i}", *domains))
    got = 0
    watcher.sock.settimeout(5 * SLOW)
    while True:
        piece = watcher.sock.recv(1 << 20)
        if not piece:
            break
        got += len(piece)
    assert got < 2_500_000, got
    assert api.address(f"app59.{ZONE}") == host.address("app59")  # others are told on
    rpc.close()


# -- real resolvers -----------------------------------------------------------------------------------------------------


def test_nginx_finds_the_app_of_a_domain_by_name_and_new_ones_without_reload(host, api, tmp_path):
    tmp_path.chmod(0o755)
    (tmp_path / "nginx.conf").write_text(f"""
        daemon off; master_process off; error_log {tmp_path}/error.log; pid {tmp_path}/nginx.pid;
        events {{ }}
        http {{
            access_log off;
            resolver 127.0.0.64 ipv6=off valid=1s;
            server {{
                listen 127.0.0.1:8088;
                location / {{ proxy_pass http://$host.http.{ZONE}; proxy_set_header Host $host; }}
            }}
        }}""")
    web = """- name: {name}
  image: host
  command: [/usr/bin/python3, -m, http.server, "80", -d, /usr/share/doc]
  ports: [{{port: 80, protocol: http}}]
  routes: [{{domain: {name}.example}}]
"""
    nginx = subprocess.Popen(["nginx", "-p", tmp_path, "-c", tmp_path / "nginx.conf"], stdin=subprocess.DEVNULL,
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for name in ("one", "two"):
            host.apply("apps:\n" + web.format(name=name))
            request = urllib.request.Request("http://127.0.0.1:8088/", headers={"Host": f"{name}.example"})
            wait_for("nginx listens", lambda: socket.socket().connect_ex(("127.0.0.1", 8088)) == 0)
            with urllib.request.urlopen(request, timeout=20 * SLOW) as answer:
                assert answer.status == 200
            assert host.state(name) == "running"
    finally:
        nginx.terminate()
        nginx.wait(10 * SLOW)
