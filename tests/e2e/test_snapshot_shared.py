# SPDX-License-Identifier: MIT
"""Apps that share an image, which is taken of a template that is none of them."""

import contextlib
import json
import os
import re
import signal
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from clients import AWAKE, apply
from host import CRIU, SLOW, Host, wait_for

# Remembers what it saw at its start, and answers with it; its environment is asked for only then.
SERVER = """
import http.server, os, socket, time
time.sleep(0.3)  # so that an image is faster, whatever else this machine does
began = {"host": socket.gethostname(), "env": dict(os.environ), "volume": os.listdir("/data") if os.path.isdir("/data") else None}
def now():
    folder = "/run/niwa/env"
    return {"host": socket.gethostname(), "pid": os.getpid(),
            "env": {n: open(f"{folder}/{n}").read() for n in os.listdir(folder)} if os.path.isdir(folder) else {},
            "generation": open("/run/niwa/generation").read().strip() if os.path.exists("/run/niwa/generation") else "",
            "volume": os.listdir("/data") if os.path.isdir("/data") else None}
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        import json
        text = json.dumps({"began": began, "now": now()}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 80), Answer).serve_forever()
"""


def app(name, program=SERVER, **keys):
    return {"name": name, "tenant": "web", "image": "host", "command": ["python3", "-c", program],
            "ports": [{"port": 80, "protocol": "http"}], "sleep": AWAKE, "snapshot": "shared", "egress": "none",
            "stop": {"grace": "1s"}, **keys}


def ask(address):
    with urllib.request.urlopen(f"http://{address}/", timeout=60 * SLOW) as answer:
        return json.loads(answer.read())


def known(host, name):
    return host.show(name)["snapshot"]


def path(host, name):
    return host.show(name)["last_wake"]["path"]


def images(host):
    return [p for p in (host.dir / "state/snapshots").iterdir() if not p.name.startswith(".")]


def usable(host, name):
    """Waits until the app has an image, or there is a reason."""
    wait_for(f"an image for {name}", lambda: known(host, name)["usable"] or known(host, name)["refused"], timeout=20)
    assert known(host, name)["usable"], known(host, name)
    return known(host, name)


def visited(host, name):
    """A first visitor, after whom there is an image; the app is asleep again."""
    answer = ask(host.address(name))
    assert path(host, name) == "start"
    usable(host, name)
    host.niwa("stop", name)
    host.wait_state(name, "saved")
    return answer


def listed(host):
    return json.loads(host.niwa("--json", "snapshot", "ls").stdout)


def refused(host, name):
    wait_for(f"{name} has no image, for a reason", lambda: known(host, name)["refused"], timeout=20)
    return known(host, name)["why_not"]


def test_apps_that_never_ran_wake_from_the_image_of_a_template(garden):
    apply(garden, *(app(f"a{n}") for n in range(4)))
    visited(garden, "a0")
    for n in range(1, 4):
        garden.wait_state(f"a{n}", "saved")
        answer = ask(garden.address(f"a{n}"))
        assert path(garden, f"a{n}") == "restore"
        assert answer["now"]["host"] == f"a{n}" and answer["began"]["host"] == "template"
    assert len(images(garden)) == 1
    assert known(garden, "a3")["sharers"] == 4 and "shared by 4 apps" in garden.niwa("show", "a3").stdout


def test_a_thousand_apps_hold_one_image_on_disk(garden):
    apply(garden, *(app(f"a{n}") for n in range(1000)))
    visited(garden, "a0")
    wait_for("all are saved", lambda: len(garden.rows(state="saved")) == 1000, timeout=30)
    (folder,) = images(garden)
    taken = sum(p.stat().st_blocks * 512 for p in folder.rglob("*"))
    (row,) = listed(garden)["snapshots"]
    assert row["sharers"] == 1000 and row["scope"] == "shared" and len(row["apps"]) == 8
    assert 0 < taken <= 1.1 * row["bytes"] and row["bytes"] < 64 << 20
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda n: ask(garden.address(f"a{n}")), range(980, 1000)))
    assert [a["now"]["host"] for a in answers] == [f"a{n}" for n in range(980, 1000)]
    assert {path(garden, f"a{n}") for n in range(980, 1000)} == {"restore"}
    assert images(garden) == [folder]
    garden.niwa("stop", *(f"a{n}" for n in range(980, 1000)))
    wait_for("nothing is left of any of them", garden.nothing_left)


# -- what nobody is to see -----------------------------------------------------------------------------------------

SECRET, PASSWORD, HOST = "tulip-" + "7f3a91cc", "word-" + "40d2b6e8", "ada-" + "5c77.example.com"


def memory_of(pid):
    """All that is mapped in a process, with its environment and what it is called."""
    parts = [Path(f"/proc/{pid}/environ").read_bytes(), Path(f"/proc/{pid}/cmdline").read_bytes()]
    with open(f"/proc/{pid}/mem", "rb", 0) as mem:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            begin, end = (int(n, 16) for n in line.split()[0].split("-"))
            if "r" in line.split()[1] and not line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                try:
                    mem.seek(begin)
                    parts.append(mem.read(end - begin))
                except (OSError, ValueError):
                    pass  # of a file that has become shorter, or the kernel's own
    return b"\0".join(parts)


def processes(host, name):
    groups = Path("/sys/fs/cgroup/unified" if Path("/sys/fs/cgroup/unified").exists() else "/sys/fs/cgroup") / host.cgroup
    number = next(i["id"] for i in host.show(name)["instances"] if i["life"] == "serving")
    return [int(pid) for pid in (groups / f"i{number}/cgroup.procs").read_text().split()]


def test_an_app_that_is_woken_from_a_shared_image_sees_nothing_of_another(garden):
    """Whichever of the two the template was made like."""
    words = {"ada": (SECRET, PASSWORD, HOST), "bob": ("rose-" + "11b2e7f0", "word-" + "93cc5a1d", "bob-" + "e81f.example.com")}
    for name, (secret, password, host) in words.items():
        (garden.dir / name / f"of-{secret}").mkdir(parents=True)
        apply(garden, app(host, tenant=name, env={"SECRET": secret, "PASSWORD": password},
                          volumes=[{"from": str(garden.dir / name), "to": "/data", "read_only": True}]))
    addresses = {name: garden.address(host) for name, (_, _, host) in words.items()}
    seen = visited(garden, HOST)
    assert seen["began"]["env"]["SECRET"] == SECRET and seen["began"]["host"] == HOST
    for name, other in (("ada", "bob"), ("bob", "ada")):
        secret, password, host = words[name]
        answer = ask(addresses[name])
        assert path(garden, host) == "restore" and answer["began"]["host"] == "template" and answer["began"]["volume"] == []
        assert answer["now"]["env"] == {"SECRET": secret, "PASSWORD": password, "NIWA_APP": host}
        assert answer["now"]["host"] == host and answer["now"]["volume"] == [f"of-{secret}"]
        nothing_of(garden, host, (*words[other], addresses[other]))
    (folder,) = images(garden)
    forbidden = [word for name in words for word in (*words[name], addresses[name])]
    for part in folder.rglob("*"):
        if part.is_file() and part.name != "manifest":  # which tells people like whom it was, and is root's
            assert not any(word.encode() in part.read_bytes() for word in forbidden), part


def nothing_of(host, name, words):
    """Neither in the memory of its processes nor in its files."""
    pids = processes(host, name)
    assert len(pids) == 2  # niwa-init and the server
    for pid in pids:
        memory = memory_of(pid)
        assert len(memory) > 100_000 and (b"BaseHTTPRequestHandler" in memory or pid == min(pids))
        for word in words:
            assert word.encode() not in memory, f"'{word}' is in process {pid}"
    patterns = [option for word in words for option in ("-e", word)]
    assert host.niwa("exec", name, "grep", "-rlF", *patterns, "/run", "/etc", "/tmp", check=False).stdout == ""


def test_a_template_has_nobody_to_talk_to(garden):
    """It looks for others: the host's resolver, an app that lets everybody in, the world."""
    look = """
import os, socket
def reaches(address, port):
    try:
        socket.create_connection((address, port), timeout=0.3).close()
        return True
    except OSError:
        return False
found = [reaches("{open}", 80), reaches("192.0.2.77", 80)]
""" + SERVER.replace("began = {", "began = {'found': found, ")
    apply(garden, app("open", snapshot="off", ports=[{"port": 80, "protocol": "http", "allow": "any"}]))
    open_address = garden.address("open")
    assert ask(open_address)
    program = look.replace("{open}", open_address)
    apply(garden, *(app(name, program, tenant=name) for name in ("a", "b")))
    assert visited(garden, "a")["began"]["found"] == [True, False]
    answer = ask(garden.address("b"))
    assert path(garden, "b") == "restore" and answer["began"]["found"] == [False, False]


# -- which image ---------------------------------------------------------------------------------------------------


def test_apps_that_start_in_another_way_have_another_image(garden):
    apply(garden, app("a"), app("b", limits={"memory": "200M"}), app("c", user="nobody"), app("d", warm=["/"]),
          app("e", env={"ANOTHER": "1"}, tenant="other"))
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda name: ask(garden.address(name)), "abcd"))
    for name in "abcd":
        usable(garden, name)
    garden.wait_state("e", "saved")
    keys = {name: known(garden, name)["key"] for name in "abcde"}
    assert len(set(keys.values())) == 4 and keys["e"] == keys["a"]
    assert len(images(garden)) == 4


def test_an_app_that_is_changed_leaves_the_image_of_the_others(garden):
    apply(garden, app("a"), app("b"), app("c"))
    visited(garden, "a")
    for name in "bc":
        garden.wait_state(name, "saved")
    apply(garden, app("b", limits={"memory": "200M"}))
    ask(garden.address("b"))
    assert path(garden, "b") == "start"
    usable(garden, "b")
    assert known(garden, "a")["sharers"] == 2 and known(garden, "b")["sharers"] == 1
    ask(garden.address("c"))
    assert path(garden, "c") == "restore" and len(images(garden)) == 2


def test_an_app_whose_template_is_never_ready_is_started_and_the_reason_is_shown(garden):
    needy = "import os\nos.environ['NEEDED']\n" + SERVER
    apply(garden, *(app(name, needy, env={"NEEDED": "1"}) for name in ("a", "b")))
    assert ask(garden.address("a"))
    assert "not ready without its environment" in refused(garden, "a")
    assert "exited with status 1" in known(garden, "a")["why_not"]
    assert "not ready without" in garden.niwa("show", "a").stdout
    (row,) = listed(garden)["none"]
    assert "not ready without" in row["why"] and row["sharers"] == 2
    garden.niwa("stop", "a")
    assert garden.state("a") == "stopped" and not images(garden)
    assert ask(garden.address("b")) and path(garden, "b") == "start"
    failed = garden.niwa("snapshot", "take", "b", check=False)
    assert failed.returncode == 1 and "not ready without" in failed.stderr


def test_a_template_that_is_never_ready_does_not_keep_others_waiting():
    host = Host(criu=CRIU, template_deadline=f"{1000 * SLOW:.0f}ms").start()
    try:
        waits = "import os, time\nwhile 'NEEDED' not in os.environ:\n    time.sleep(1)\n" + SERVER
        apply(host, app("waits", waits, env={"NEEDED": "1"}, ready={"deadline": "1h"}), app("a", SERVER))
        assert ask(host.address("waits"))
        wait_for("its template is there", lambda: host.rpc("host.status")["instances"] == 2)
        assert ask(host.address("a"))
        wait_for("the other one has an image", lambda: known(host, "a")["usable"], timeout=20)
        assert "not ready without its environment" in known(host, "waits")["why_not"]
    finally:
        host.stop()


def test_an_app_that_has_a_file_of_a_volume_open_has_no_image(garden):
    holder = "f = open('/etc/holder.conf')\n" + SERVER
    for name in "ab":
        (garden.dir / name).write_text(name)
    apply(garden, *(app(name, holder, volumes=[{"from": str(garden.dir / name), "to": "/etc/holder.conf",
                                                "read_only": True}]) for name in "ab"))
    assert ask(garden.address("a"))
    assert "'/etc/holder.conf' open" in refused(garden, "a")


def test_a_database_cannot_be_shared(garden):
    """What it wants to write when it starts is not there to be written."""
    program = "open('/data/rows', 'a')\n" + SERVER
    (garden.dir / "rows").mkdir()
    apply(garden, app("rows", program, volumes=[{"from": str(garden.dir / "rows"), "to": "/data"}]))
    assert ask(garden.address("rows"))
    assert "not ready without" in refused(garden, "rows")
    assert ask(garden.address("rows"))


# -- what goes wrong -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("point", ["niwad.start-sent", "niwad.ready", "niwad.dump-written", "snapshot.renamed"])
def test_nothing_is_left_of_a_template_when_niwad_dies(point):
    at = 2 if point in ("niwad.start-sent", "niwad.ready") else 1  # the first is the start of the app itself
    host = Host(criu=CRIU).start(niwad_env={"NIWA_FAULT": f"{point}:kill@{at}"})
    try:
        apply(host, app("a"))
        address = host.address("a")
        assert ask(address)
        wait_for("niwad has died", lambda: host.niwad.poll() is not None, timeout=20)
        host.start_niwad()
        number = next(i["id"] for i in host.show("a")["instances"])
        wait_for("only the app is there", lambda: host.kernel_objects()["groups"] == [f"i{number}"])
        wait_for("only its mark is there", lambda: host.kernel_objects()["marks"] == 1)
        assert not (host.dir / "run/tenants/_template").exists()
        assert [row["name"] for row in host.rpc("app.list")["apps"]] == ["a"]
        assert ask(address)
        host.niwa("stop", "a")
        wait_for("nothing is left", host.nothing_left)
        wait_for("nothing half made is left", lambda: not list((host.dir / "state/snapshots").glob(".new-*")))
    finally:
        host.stop()


def test_a_wake_that_comes_while_the_template_runs_is_a_start(garden):
    slow = "import time\ntime.sleep(1.5)\n" + SERVER
    apply(garden, app("a", slow), app("b", slow))
    assert ask(garden.address("a"))
    wait_for("a template runs", lambda: known(garden, "a")["making"])
    shown = garden.rpc("top", limit=100)["apps"]
    assert [row["name"] for row in garden.rpc("app.list")["apps"]] == ["a", "b"]
    assert [row["name"] for row in shown] == ["a"] and garden.rpc("host.status")["apps"] == 2
    assert garden.niwa("show", "template", check=False).returncode == 1
    assert ask(garden.address("b")) and path(garden, "b") == "start"
    usable(garden, "a")
    garden.niwa("stop", "b")
    assert ask(garden.address("b")) and path(garden, "b") == "restore"


def spoil(host):
    (folder,) = images(host)
    (folder / "images/pstree.img").unlink()


def test_a_damaged_image_is_dropped_for_all_and_another_one_is_made(garden):
    apply(garden, app("a"), app("b"))
    visited(garden, "a")
    garden.wait_state("b", "saved")
    spoil(garden)
    assert ask(garden.address("b")) and path(garden, "b") == "start"
    usable(garden, "a")
    garden.niwa("stop", "b")
    assert ask(garden.address("a")) and path(garden, "a") == "restore"
    assert ask(garden.address("b")) and path(garden, "b") == "restore"


def test_who_spoils_his_own_wake_does_not_take_the_image_from_others(garden):
    """A volume that has gone is his affair."""
    for name in "ab":
        (garden.dir / name).mkdir()
    apply(garden, *(app(name, volumes=[{"from": str(garden.dir / name), "to": "/data", "read_only": True}]) for name in "ab"))
    visited(garden, "a")
    garden.wait_state("b", "saved")
    (garden.dir / "b").rmdir()
    with pytest.raises(urllib.error.HTTPError):
        ask(garden.address("b"))
    assert known(garden, "a")["usable"]
    assert ask(garden.address("a")) and path(garden, "a") == "restore"


def test_a_new_niwad_knows_who_shares_what(garden):
    apply(garden, *(app(name) for name in "abc"))
    visited(garden, "a")
    garden.kill_niwad()
    garden.start_niwad()
    for name in "abc":
        garden.wait_state(name, "saved")
    assert ask(garden.address("c")) and path(garden, "c") == "restore"
    assert known(garden, "c")["sharers"] == 3


def test_an_image_that_an_upgrade_has_made_void_is_made_anew_without_a_visitor(garden):
    apply(garden, app("a"), app("b"))
    visited(garden, "a")
    (old,) = images(garden)
    garden.kill_niwad()
    os.utime(garden.dir / "libexec/niwa-init")  # a build of another day
    garden.start_niwad()
    wait_for("there is another one", lambda: images(garden) and old not in images(garden), timeout=20)
    usable(garden, "b")
    wait_for("and only that", lambda: len(images(garden)) == 1)
    garden.wait_state("b", "saved")
    assert ask(garden.address("b")) and path(garden, "b") == "restore"


def open_images(pid):
    count = 0
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            count += os.readlink(fd).endswith("/images")
    return count


def test_wakes_under_way_when_the_image_goes_do_not_rule_out_another_one():
    host = Host(criu=CRIU, concurrent_starts=12).start()
    try:
        names = [f"a{n}" for n in range(11)]
        apply(host, *(app(name, 'open("/tmp/written", "w").close()\n' + SERVER) for name in names))
        visited(host, names.pop())
        for name in names:
            host.wait_state(name, "saved")
        os.kill(host.keep.pid, signal.SIGSTOP)
        with ThreadPoolExecutor(len(names)) as pool:
            answers = pool.map(lambda name: ask(host.address(name)), names)
            wait_for("all have opened it", lambda: open_images(host.niwad.pid) >= len(names))
            host.niwa("snapshot", "rm", "--all", "a0")
            os.kill(host.keep.pid, signal.SIGCONT)
            assert len(list(answers)) == len(names)
        assert {path(host, name) for name in names} == {"start"}
        usable(host, "a0")
    finally:
        os.kill(host.keep.pid, signal.SIGCONT)
        host.stop()


# -- commands ------------------------------------------------------------------------------------------------------


def test_an_image_is_removed_for_one_or_for_all(garden):
    apply(garden, *(app(name) for name in "abc"))
    visited(garden, "a")
    for name in "bc":
        garden.wait_state(name, "saved")
    assert "2 others" in garden.niwa("snapshot", "rm", "b").stdout
    assert garden.state("b") == "stopped" and garden.state("c") == "saved" and len(images(garden)) == 1
    assert ask(garden.address("b")) and path(garden, "b") == "start"
    garden.niwa("stop", "b")
    assert ask(garden.address("b")) and path(garden, "b") == "restore"  # as with an image of its own
    garden.niwa("snapshot", "rm", "--all", "b")
    wait_for("it is gone", lambda: not images(garden))
    for name in "ac":
        garden.wait_state(name, "stopped")
    garden.niwa("snapshot", "take", "c")
    assert known(garden, "a")["usable"] and garden.state("c") != "running"
    garden.niwa("snapshot", "verify", "a")
    garden.wait_state("a", "saved")


def test_an_image_stays_when_the_last_app_that_shared_it_is_removed(garden):
    apply(garden, app("a"), app("b"))
    visited(garden, "a")
    garden.niwa("rm", "--yes", "a", "b")
    time.sleep(0.3)
    assert len(images(garden)) == 1 and [row["sharers"] for row in listed(garden)["snapshots"]] == [0]
    apply(garden, app("c"))
    garden.wait_state("c", "saved")
    assert ask(garden.address("c")) and path(garden, "c") == "restore"


def test_each_wake_has_a_generation_and_a_place_of_its_own(garden):
    apply(garden, app("a"), app("b"))
    visited(garden, "a")
    answers = [ask(garden.address(name)) for name in "ab"]
    assert len({a["now"]["generation"] for a in answers}) == 2
    for name in "ab":
        hosts = garden.niwa("exec", name, "cat", "/etc/hosts").stdout
        assert re.search(rf"{re.escape(garden.address(name))} {name}\b", hosts) and "template" not in hosts
