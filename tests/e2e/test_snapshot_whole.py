# SPDX-License-Identifier: MIT
"""An image holds the whole app as it was at one moment, or there is none and the reason is told."""

import signal
import time
import urllib.request
from pathlib import Path

from clients import apply
from host import CRIU, SLOW, Host, wait_for
from test_snapshot import AWAKE, HIBERNATES, image

SERVER = """
import http.server, os, subprocess, time
time.sleep(0.4)
heard = []
%s
def helper():
    try:
        os.kill(int(open("/tmp/helper").read()), 0)
        return "lives"
    except Exception:
        return "gone"
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        heard.append(self.path)
        data = open("/data/rows").read() if os.path.exists("/data/rows") else "nothing"
        text = f"{helper()} {data} {' '.join(heard)}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 80), Answer).serve_forever()
"""
HELPER = """subprocess.run(["sh", "-c", "setsid sleep 12345 & echo $! > /tmp/helper"])"""


def serve(host, opening, **keys):
    apply(host, {"name": "a", "tenant": "alice", "image": "host", "command": ["python3", "-c", SERVER % opening],
                 "ports": [{"port": 80, "protocol": "http"}], "sleep": AWAKE, "stop": {"grace": "1s"}, **keys})


def ask(host, path="/"):
    with urllib.request.urlopen(f"http://{host.address('a')}{path}", timeout=60) as answer:
        return answer.read().decode()


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(host):
    """The pid of the app's own first process."""
    return children(host.pid("a"))[0]


def is_stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[1].split()[0] in "Tt"


# -- memory --------------------------------------------------------------------------------------------------------

MEMORY = """
import ctypes, hashlib, mmap
small, large = os.memfd_create("small"), os.memfd_create("large")
os.write(small, b"x" * 5000)
os.lseek(small, 7, os.SEEK_SET)
os.ftruncate(large, 5 << 20)
shared = mmap.mmap(large, 5 << 20)
both = mmap.mmap(-1, 6 << 20)
own = bytearray(os.urandom(4096)) * 2048
untouched = mmap.mmap(-1, 8 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
for n in range(0, 5 << 20, 8192):
    shared[n:n + 8] = n.to_bytes(8, "little")
    both[n:n + 8] = (n + 1).to_bytes(8, "little")
told, child = socket.socketpair()
def state():
    sizes = f"{os.fstat(small).st_size} {os.lseek(small, 0, os.SEEK_CUR)} {os.fstat(large).st_size}"
    sums = " ".join(hashlib.sha256(m).hexdigest()[:16] for m in (shared, both, own, untouched, os.pread(small, 9000, 0)))
    return f"{sizes} {sums}"
if os.fork() == 0:
    own[77] = own[77] ^ 1 # and all others are its parent's
    while child.recv(1):
        child.send(state().encode())
    os._exit(0)
def helper():
    told.send(b"?")
    return f"[{state()}] [{told.recv(4096).decode()}]"
"""


def test_memory_of_all_kinds_is_the_same_after_a_restore(garden):
    """Shared, private, of a file that ends within a page, never touched, and a child's that differs in one byte."""
    server = SERVER.replace("http.server.ThreadingHTTPServer", MEMORY.replace("%", "%%") + "http.server.ThreadingHTTPServer")
    apply(garden, {"name": "a", "tenant": "alice", "image": "host", "command": ["python3", "-c", "import socket\n" + server % ""],
                   "ports": [{"port": 80, "protocol": "http"}], "sleep": AWAKE, "stop": {"grace": "1s"}, "snapshot": "ready"})
    before = ask(garden).split("]")[:2]
    assert before[0].startswith("[5000 7 5242880 ") and before[0] != before[1].strip()
    wait_for("an image is taken", lambda: image(garden, "a")["usable"], timeout=20)
    for _ in range(2):
        garden.niwa("stop", "a")
        assert ask(garden).split("]")[:2] == before
        assert garden.show("a")["last_wake"]["path"] == "restore"


# -- processes that CRIU does not take along -----------------------------------------------------------------------


def test_an_app_with_a_process_whose_parent_has_ended_has_no_image_and_the_reason_is_shown(garden):
    serve(garden, HELPER, snapshot="ready")
    assert "lives" in ask(garden)
    wait_for("an image is taken or refused", lambda: image(garden, "a")["usable"] or image(garden, "a").get("refused"))
    known = image(garden, "a")
    assert not known["usable"] and "(sleep) has ended" in known["why_not"], known
    assert "(sleep) has ended" in garden.niwa("show", "a").stdout
    garden.niwa("stop", "a")
    assert garden.state("a") == "stopped" and "lives" in ask(garden)
    time.sleep(0.5)
    assert garden.niwad_log().count("no image: ") == 1  # the same start is not tried again


def test_an_app_with_a_process_whose_parent_has_ended_is_not_hibernated(garden):
    serve(garden, HELPER, **HIBERNATES)
    for _ in range(2):
        assert "lives" in ask(garden)
        garden.wait_state("a", "saved", "stopped", timeout=30)
        assert garden.state("a") == "stopped"
    assert garden.niwad_log().count("no image: ") == 1


def test_a_process_that_loses_its_parent_just_before_criu_voids_the_image():
    host = Host(criu=CRIU).start(niwad_env={"NIWA_FAULT": "niwad.dump-looked:stop"})
    try:
        data = host.dir / "data"
        data.mkdir()
        serve(host, f"""
import threading
def begin():
    while not os.path.exists("/data/go"):
        time.sleep(0.01)
    {HELPER}
threading.Thread(target=begin).start()""", volumes=[{"from": str(data), "to": "/data", "read_only": True}],
              snapshot="ready")
        host.niwa("wake", "a")  # who asks the app may come when niwad stands still already
        wait_for("niwad has looked", lambda: is_stopped(host.niwad.pid), timeout=20)
        init = next(c for c in children(host.keep.pid) if "/init" in Path(f"/proc/{c}/cmdline").read_text())
        (data / "go").touch()
        wait_for("the helper is left", lambda: len(children(init)) == 2)
        host.niwad.send_signal(signal.SIGCONT)
        wait_for("an image is taken or refused", lambda: image(host, "a")["usable"] or image(host, "a").get("refused"))
        assert not image(host, "a")["usable"] and "(sleep) has ended" in image(host, "a")["why_not"]
        assert "lives" in ask(host)
    finally:
        host.niwad.send_signal(signal.SIGCONT)
        host.stop()


def test_a_process_without_a_parent_that_comes_and_goes_beside_criu_delays_the_image():
    host = Host(criu=CRIU).start(niwad_env={"NIWA_FAULT": "niwad.dump-looked:stop@1"})
    try:
        data = host.dir / "data"
        data.mkdir()
        serve(host, """
import threading
first = not os.path.exists("/data/go")
def begin():
    while not os.path.exists("/data/go"):
        time.sleep(0.01)
    if first: subprocess.run(["sh", "-c", "setsid sleep 0.5 &"])
threading.Thread(target=begin).start()""", volumes=[{"from": str(data), "to": "/data", "read_only": True}],
              snapshot="ready")
        host.niwa("wake", "a")
        wait_for("niwad has looked", lambda: is_stopped(host.niwad.pid), timeout=20)
        init = next(c for c in children(host.keep.pid) if "/init" in Path(f"/proc/{c}/cmdline").read_text())
        (data / "go").touch()
        wait_for("the helper is left", lambda: len(children(init)) == 2)
        wait_for("the helper is gone", lambda: len(children(init)) == 1)
        host.niwad.send_signal(signal.SIGCONT)
        wait_for("it was seen", lambda: "no image for now: a process whose parent had ended" in host.niwad_log())
        assert not image(host, "a")["usable"] and not image(host, "a")["refused"]  # another time
        host.niwa("stop", "a")
        assert ask(host)
        wait_for("a later image is taken", lambda: image(host, "a")["usable"], timeout=20)
    finally:
        host.niwad.send_signal(signal.SIGCONT)
        host.stop()


def test_a_connection_that_is_not_accepted_yet_delays_the_image(garden):
    """Within the app, with bytes in it: Dovecot's processes have one now and then."""
    serve(garden, """
import socket, threading
inner = socket.socket(socket.AF_UNIX)
inner.bind("/tmp/inner")
inner.listen()
client = socket.socket(socket.AF_UNIX)
client.connect("/tmp/inner")
client.send(b"hello")
def begin():
    while "/go" not in heard:
        time.sleep(0.01)
    heard.append(inner.accept()[0].recv(5).decode())
threading.Thread(target=begin).start()""", snapshot="ready")
    assert "gone" in ask(garden)
    wait_for("CRIU has seen it", lambda: "in-flight" in image(garden, "a").get("why_not", ""), timeout=20)
    assert not image(garden, "a").get("refused")
    ask(garden, "/go")
    wait_for("an image is taken", lambda: image(garden, "a")["usable"], timeout=30)
    garden.niwa("stop", "a")
    assert "hello" in ask(garden)


# -- one moment ----------------------------------------------------------------------------------------------------


def test_what_is_written_to_a_volume_while_memory_is_saved_voids_it(garden):
    data = garden.dir / "data"
    data.mkdir()
    (data / "rows").write_text("old")
    serve(garden, "hog = bytearray(os.urandom(1 << 20)) * 150", volumes=[{"from": str(data), "to": "/data"}],
          **HIBERNATES)
    assert "old" in ask(garden, "/one")
    pid = command(garden)
    wait_for("CRIU works", lambda: is_stopped(pid), timeout=30, pause=0.001)
    (data / "rows").write_text("new")
    garden.wait_state("a", "saved", "stopped", timeout=30)
    answer = ask(garden, "/two")
    assert "new" in answer and "/one" not in answer, answer
    assert "no image for now: a volume was written while its memory was saved" in garden.niwad_log()


def test_a_refusal_of_memory_is_remembered():
    host = Host(criu=CRIU, dump_deadline="1m").start()  # a slow disk is not what this is about
    try:
        serve(host, "for n in range(4200): open(f'/tmp/f{n}', 'w').close()", **HIBERNATES)
        for _ in range(2):
            ask(host)
            host.wait_state("a", "stopped", timeout=60 * SLOW)
        assert host.niwad_log().count("no image: more than 4096 files") == 1
    finally:
        host.stop()


# -- files that an image does not keep ------------------------------------------------------------------------------

LINKS = """
open("/tmp/one", "w").close()
os.link("/tmp/one", "/tmp/two")
"""


def test_an_app_that_has_written_hard_links_has_no_image_and_the_reason_is_shown(garden):
    """After a restore, what is written to one of the names would not be seen by the other."""
    serve(garden, LINKS, snapshot="ready")
    ask(garden)
    wait_for("an image is taken or refused", lambda: image(garden, "a")["usable"] or image(garden, "a").get("refused"))
    known = image(garden, "a")
    assert not known["usable"] and "has 2 names (hard links)" in known["why_not"], known
    assert "hard links" in garden.niwa("show", "a").stdout
    garden.niwa("exec", "a", "--", "rm", "/tmp/two")
    garden.niwa("snapshot", "take", "a")
    garden.niwa("stop", "a")
    assert garden.state("a") == "saved"
