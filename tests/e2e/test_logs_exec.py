# SPDX-License-Identifier: MIT
"""What apps print, and commands that join them."""

import grp
import os
import pty
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import termios
import time

import pytest
from host import BUILD, SLOW, Host, wait_for
from inside import app, apply, ask, echo, python, run


def lines(text):
    """A log's lines without their times."""
    return [line.split(" ", 1)[1] for line in text.splitlines()]


def whole_log(host, name):
    old = host.dir / "log" / f"{name}.log.1"
    return (old.read_text() if old.exists() else "") + host.app_log(name)


# -- logs -------------------------------------------------------------------------------------------------------------


def test_a_log_is_complete_and_in_order_though_niwad_was_killed_meanwhile(host):
    """The pipe belongs to niwa-keep: what is printed while nobody reads waits there, and the app does not notice."""
    code = ("import socket, time\ns = socket.create_server(('', 80))\n"
            "for n in range(4000):\n    print('line', n, flush=True)\n    time.sleep(0.0005)\ns.accept()")
    apply(host, app("talker.example.com", command=["/usr/bin/python3", "-Ic", code]))
    host.niwa("wake", "talker.example.com")
    pid = host.pid("talker.example.com")
    for _ in range(3):
        host.kill_niwad()
        host.start_niwad()
    wait_for("the last line", lambda: "line 3999" in host.app_log("talker.example.com"), 30)
    assert lines(host.app_log("talker.example.com")) == [f"line {n}" for n in range(4000)]
    assert host.pid("talker.example.com") == pid, "no SIGPIPE"


def test_a_log_is_renamed_beyond_its_bound_and_two_files_are_all_there_is(host):
    host.kill_niwad()
    host.configure(log_max="64K")
    host.start_niwad()
    apply(host, echo("talker.example.com"))
    address = host.address("talker.example.com")
    for _ in range(4):
        ask(address, "/log", lines=1000, bytes=100)
    wait_for("all is read", lambda: lines(host.app_log("talker.example.com"))[-1:] == ["1000".zfill(99)])
    files = sorted(path.name for path in (host.dir / "log").glob("talker.example.com*"))
    assert files == ["talker.example.com.log", "talker.example.com.log.1"]
    for name in files:
        path = host.dir / "log" / name
        assert path.stat().st_size < 2 * 65536 + 16384, "the bound, and what came in one piece"
        assert re.fullmatch(rb"(\d{4}-\d\d-\d\dT[^ ]+Z? [0-9]{99}\n)*", path.read_bytes()), "whole lines only"


def test_niwa_logs_shows_the_end_and_follows_across_a_restart_of_niwad_and_a_renamed_file(host):
    host.kill_niwad()
    host.configure(log_max="64K")
    host.start_niwad()
    apply(host, echo("talker.example.com"))
    address = host.address("talker.example.com")
    ask(address, "/log", lines=20, bytes=5)
    wait_for("lines", lambda: len(host.app_log("talker.example.com").splitlines()) == 20)
    assert lines(host.niwa("logs", "-n", "3", "talker.example.com").stdout) == ["0018", "0019", "0020"]
    assert len(host.niwa("logs", "-n", "all", "talker.example.com").stdout.splitlines()) == 20
    follow = subprocess.Popen([BUILD / "src/cli/niwa", "logs", "-f", "-n", "1", "talker.example.com"], stdout=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, env={**os.environ, "NIWA_SOCKET": str(host.socket)}, text=True)
    try:
        assert follow.stdout.readline().endswith(" 0020\n")
        host.kill_niwad()
        ask(address, "/log", lines=2, bytes=6)
        host.start_niwad()
        for want in ("00001", "00002"):
            assert follow.stdout.readline().endswith(f" {want}\n")
        ask(address, "/log", lines=1500, bytes=100)
        ask(address, "/log", lines=1, bytes=7)
        got = ""
        while not got.endswith(" 000001\n"):
            got = follow.stdout.readline()
            assert got, "logs -f ended"
    finally:
        follow.kill()
        follow.wait()


@pytest.mark.parametrize("user", ["root", "www-data", "12345:54321"])
def test_dev_stdout_and_dev_stderr_can_be_opened_by_name(host, user):
    """Stock images of nginx and httpd log there."""
    code = ("import os, socket\nfor name in ('stdout', 'stderr'):\n    print(name, file=open('/dev/' + name, 'w'))\n"
            "if os.getuid() == 0:\n    os.setgid(33); os.setuid(33)\n    print('worker', file=open('/dev/stderr', 'a'))\n"
            "socket.create_server(('', 80)).accept()")
    apply(host, app("web.example.com", command=["/usr/bin/python3", "-Ic", code], user=user))
    host.niwa("wake", "web.example.com")
    want = ["stdout", "stderr"] + (["worker"] if user == "root" else [])
    wait_for("its lines", lambda: lines(host.app_log("web.example.com")) == want)


def test_the_last_words_of_an_app_that_ends_are_kept_and_told(host):
    apply(host, app("short.example.com", command=["sh", "-c", "echo no configuration >&2; exit 3"]))
    done = host.niwa("wake", "short.example.com", check=False)
    assert done.returncode == 1
    assert "exited with status 3" in done.stderr and "no configuration" in done.stderr
    assert lines(host.app_log("short.example.com"))[-1] == "no configuration"


def test_logs_are_for_root_and_the_group_niwa_alone():
    try:
        group = grp.getgrnam("niwa").gr_gid
    except KeyError:
        group = 0
    host = Host()
    host.configure(log_dir=host.dir / "log/apps")
    host.start()
    try:
        apply(host, echo("talker.example.com"))
        ask(host.address("talker.example.com"), "/log", lines=1)
        path = host.dir / "log/apps/talker.example.com.log"
        wait_for("a line", lambda: path.stat().st_size)
        assert (path.stat().st_gid, stat.S_IMODE(path.stat().st_mode)) == (group, 0o640)
        assert (path.parent.stat().st_gid, stat.S_IMODE(path.parent.stat().st_mode)) == (group, 0o750)
    finally:
        host.stop()


NAMES = [".".join(["a" * 63] * 3 + ["b" * n]) for n in (57, 58, 61)]  # 249, 250, 253 characters


@pytest.mark.parametrize("name", NAMES, ids=len)
def test_the_log_of_an_app_with_a_long_name_is_bounded(host, name):
    """NAME.log.1 has to be a file name, too."""
    host.kill_niwad()
    host.configure(log_max="64K")
    host.start_niwad()
    shell = "yes a line of the log | head -n 100000; exec /usr/bin/python3 -m http.server 80"
    apply(host, app(name, tenant="t", command=["/bin/sh", "-c", shell]))
    host.niwa("wake", name)
    wait_for("it is logged", lambda: "a line" in host.niwa("logs", name).stdout)
    size = sum(f.stat().st_size for f in (host.dir / "log").glob("aaa*"))
    assert size < 64 * 1024 * 2 + 256 * 1024, f"{size} bytes of log"


def says(text):
    return ["sh", "-c", f"echo {text}; exec /usr/bin/python3 -m http.server 80"]


def test_an_app_of_another_tenant_with_the_same_name_does_not_find_what_was_printed(host):
    name = "web.example.com"
    apply(host, app(name, tenant="one", command=says("secret of one")))
    host.niwa("wake", name)
    wait_for("a line", lambda: host.app_log(name))
    host.niwa("rm", name)
    assert not host.app_log(name)
    for tenant in ("two", "three"):  # declared anew, and moved to another tenant
        apply(host, app(name, tenant=tenant, command=says(f"hello from {tenant}")))
        assert "secret of one" not in host.niwa("logs", "-n", "all", name).stdout
        host.niwa("wake", name)
        wait_for("only its own", lambda: lines(host.niwa("logs", "-n", "all", name).stdout)[:1] == [f"hello from {tenant}"])
    host.niwa("rm", name)
    wait_for("no file of it is left", lambda: not list((host.dir / "log").glob("*web.example.com*"))
             and not list((host.dir / "log").glob(".removed*")))


def test_an_app_that_is_new_does_not_find_the_log_that_a_killed_niwad_left(host):
    path = host.dir / "log/web.example.com.log"
    path.write_text("secret\n")
    path.with_name("web.example.com.log.1").write_text("older secret\n")
    apply(host, app("web.example.com", command=says("hello")))
    assert "secret" not in host.niwa("logs", "-n", "all", "web.example.com").stdout


WRITER = """
import os, socket, threading
def serve(c):
    while data := c.recv(4096):
        os.write(1, data)
        c.sendall(b'.')
s = socket.create_server(('', 80))
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""


def test_two_instances_of_an_app_that_overlap_print_whole_lines_into_one_log(host):
    apply(host, app("web.example.com", command=["/usr/bin/python3", "-Ic", WRITER]))

    def connect():
        return socket.create_connection((host.address("web.example.com"), 80), timeout=20 * SLOW)

    def prints(s, text):
        s.sendall(text.encode())
        assert s.recv(1) == b"."

    with connect() as old:
        prints(old, "old 1\nold 2 is cut ")
        host.niwa("restart", "web.example.com")
        with connect() as fresh:
            wait_for("both are there", lambda: len(host.show("web.example.com")["instances"]) == 2)
            wait_for("the first is read", lambda: "cut" in host.app_log("web.example.com"))
            prints(fresh, "fresh 1\n")
            wait_for("it is read", lambda: "fresh 1" in host.app_log("web.example.com"))
            prints(old, "in two\n")
            wait_for("it is read", lambda: "in two" in host.app_log("web.example.com"))
            prints(fresh, "fresh 2\n")
    wait_for("all is read", lambda: "fresh 2" in host.app_log("web.example.com"))
    assert lines(host.app_log("web.example.com")) == ["old 1", "old 2 is cut ", "fresh 1", "in two", "fresh 2"]


# -- exec -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def box():
    host = Host().start()
    apply(host, app("box.example.com", env={"GREETING": "hello", "PLACE": "here"}, workdir="/var/tmp"),
          app("web.example.com", user="www-data"))
    host.niwa("wake", "box.example.com")
    yield host
    host.stop()


@pytest.mark.parametrize("script, code", [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)])
def test_exec_ends_as_its_command_ended(box, script, code):
    assert run(box, "box.example.com", "sh", "-c", script, check=False).returncode == code


@pytest.mark.parametrize("command, code, said", [
    ("/no/such/program", 127, "No such file or directory"), ("nosuchcmd", 127, "No such file or directory"),
    ("", 127, "No such file or directory"), ("/etc/hosts", 126, "Permission denied"), ("/etc", 126, "Permission denied")])
@pytest.mark.parametrize("terminal", ["-t", "-T"])
def test_exec_says_what_it_could_not_start_and_ends_as_a_shell_would(box, terminal, command, code, said):
    done = run(box, terminal, "box.example.com", "--", command, check=False)
    assert (done.returncode, done.stdout) == (code, "") and done.stderr.count(said) == 1


def test_exec_passes_input_output_and_errors_apart(box):
    text = "".join(f"{n}\n" for n in range(20000))
    done = run(box, "box.example.com", "sh", "-c", "cat; echo oops >&2", input=text)
    assert done.stdout == text
    assert done.stderr == "oops\n"


BY_NAME = "echo one > /dev/stdout; echo two > /dev/stderr; echo three; echo four >&2"


@pytest.mark.parametrize("name", ["box.example.com", "web.example.com"])
def test_a_command_opens_its_input_and_output_by_name_as_root_and_as_another_user(box, name):
    done = run(box, name, "sh", "-c", BY_NAME)
    assert (done.stdout, done.stderr) == ("one\nthree\n", "two\nfour\n")
    assert run(box, name, "sh", "-c", "cat /dev/stdin", input="hello\n").stdout == "hello\n"


def test_a_command_of_a_user_of_the_group_opens_its_input_and_output_by_name(box):
    niwa = shutil.copy(BUILD / "src/cli/niwa", box.dir / "niwa")  # the build may be out of that user's reach
    done = subprocess.run(["sh", "-c", 'echo hello | "$@"', "sh", niwa, "exec", "-T", "web.example.com", "--", "sh", "-c",
                           BY_NAME + "; cat /dev/stdin"], capture_output=True, text=True, timeout=60 * SLOW, check=False,
                          env={"NIWA_SOCKET": str(box.socket)}, user=64321, group=os.stat(box.socket).st_gid, extra_groups=[])
    assert (done.stdout, done.stderr) == ("one\nthree\nhello\n", "two\nfour\n")


@pytest.mark.parametrize("name", ["box.example.com", "web.example.com"])
def test_output_to_one_file_or_terminal_stays_in_order_and_whole(box, name):
    command = [BUILD / "src/cli/niwa", "exec", "-T", name, "--", "sh", "-c"]
    env = {**os.environ, "NIWA_SOCKET": str(box.socket)}
    path = box.dir / "printed"
    path.write_text("before\n")
    with open(path, "a", encoding="utf-8") as file:
        subprocess.run([*command, BY_NAME], stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=True, env=env)
    assert path.read_text() == "before\none\ntwo\nthree\nfour\n"
    with open(path, "w", encoding="utf-8") as file:
        subprocess.run([*command, "seq 300000; exit 3"], stdin=subprocess.DEVNULL, stdout=file, check=False, env=env)
    assert path.read_text() == "".join(f"{n}\n" for n in range(1, 300001))
    master, slave = pty.openpty()
    subprocess.run([*command, BY_NAME + "; test -t 1 || echo none"], stdin=slave, stdout=slave, stderr=slave, check=True, env=env)
    os.close(slave)
    assert read_until(master, b"none\r\n") == b"one\r\ntwo\r\nthree\r\nfour\r\nnone\r\n"
    os.close(master)


def test_a_command_learns_that_nobody_reads_what_it_prints(box):
    process = subprocess.Popen([BUILD / "src/cli/niwa", "exec", "-T", "box.example.com", "--", "sh", "-c", "seq 1000000; echo ended $? >&2"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               env={**os.environ, "NIWA_SOCKET": str(box.socket)})
    assert process.stdout.readline() == b"1\n"
    process.stdout.close()
    assert process.stderr.read() == b"ended 141\n"
    assert process.wait(20 * SLOW) == 0


def test_exec_says_when_what_was_printed_cannot_be_written(box):
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run([BUILD / "src/cli/niwa", "exec", "-T", "box.example.com", "--", "echo", "lost"], stdin=subprocess.DEVNULL,
                              stdout=full, stderr=subprocess.PIPE, text=True, check=False, env={**os.environ, "NIWA_SOCKET": str(box.socket)})
    assert done.returncode == 1
    assert "No space left on device" in done.stderr


def test_exec_ends_with_its_command_though_another_process_holds_its_output(box):
    began = time.monotonic()
    assert run(box, "box.example.com", "sh", "-c", "sleep 60 & echo started").stdout == "started\n"
    assert time.monotonic() - began < 20 * SLOW


def test_a_reader_that_does_not_read_makes_exec_neither_deaf_nor_endless(box):
    process = subprocess.Popen([BUILD / "src/cli/niwa", "exec", "-T", "box.example.com", "--", "seq", "1000000"], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, env={**os.environ, "NIWA_SOCKET": str(box.socket)})
    select.select([process.stdout], [], [], 20 * SLOW)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20 * SLOW) == 143
    process.stdout.close()


STEAL = """
import json, os
stolen = {"name": "stolen.example.com", "image": "host", "command": ["sleep", "9"], "ports": [{"port": 80}]}
for n, (method, params) in enumerate([("apply.begin", {}), ("apply.put", {"txn": 1, "apps": [stolen]}), ("apply.commit", {"txn": 1})]):
    os.write(0, json.dumps({"jsonrpc": "2.0", "id": 9000 + n, "method": method, "params": params}).encode() + b"\\n")
"""


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-"])
def test_exec_with_closed_standard_streams_gives_away_no_descriptor_of_its_own(box, closed):
    """Else the socket to the engine, on which the engine trusts who speaks, would be number 0 and the command's input."""
    before = [row["name"] for row in box.rpc("app.list")["apps"]]
    subprocess.run(["bash", "-c", f'"$0" exec -T box.example.com -- python3 -c "$1" {closed}', BUILD / "src/cli/niwa", STEAL],
                   env={**os.environ, "NIWA_SOCKET": str(box.socket)}, capture_output=True, timeout=60 * SLOW, check=False)
    time.sleep(0.3)  # a commit has its time
    assert [row["name"] for row in box.rpc("app.list")["apps"]] == before


def test_a_program_started_with_closed_standard_streams_holds_their_numbers(box):
    """What it opens later must not get the number of a stream."""
    script = "import os\nos.closerange(0, 3)\nos.execv(%r, ['niwa', 'exec', '-T', 'box.example.com', '--', 'sleep', '9'])"
    process = subprocess.Popen(["/usr/bin/python3", "-c", script % str(BUILD / "src/cli/niwa")], env={**os.environ, "NIWA_SOCKET": str(box.socket)})
    links = lambda: [os.readlink(f"/proc/{process.pid}/fd/{n}") for n in os.listdir(f"/proc/{process.pid}/fd") if int(n) < 3]  # noqa: E731
    try:
        wait_for("it is connected", lambda: len(os.listdir(f"/proc/{process.pid}/fd")) > 5)
        assert links() == ["/dev/null"] * 3
    finally:
        process.kill()
        process.wait()


STAY = """
import os
if os.fork():
    os._exit(0)
os.setsid()
open("/tmp/keys", "a").write("began ")
while data := os.read(0, 100):
    open("/tmp/keys", "a").write(repr(data))
open("/tmp/keys", "a").write("ended")
"""


def test_what_a_command_leaves_behind_has_nothing_of_the_caller_s_terminal(box):
    """niwa exec APP -- CMD | less: what is typed after that is not for the app."""
    master, slave = pty.openpty()
    try:
        subprocess.run([BUILD / "src/cli/niwa", "exec", "box.example.com", "--", "python3", "-c", STAY], stdin=slave, stdout=subprocess.PIPE,
                       env={**os.environ, "NIWA_SOCKET": str(box.socket)}, timeout=30 * SLOW, check=True)
        os.write(master, b"my password\n")
        keys = lambda: run(box, "box.example.com", "cat", "/tmp/keys", check=False).stdout  # noqa: E731
        wait_for("its input has ended", lambda: keys().endswith("ended"))
        assert keys() == "began ended"
        assert os.read(slave, 100) == b"my password\n"
    finally:
        os.close(master)
        os.close(slave)


def test_lines_typed_at_a_terminal_reach_a_command_that_has_none(box):
    master, slave = pty.openpty()
    process = subprocess.Popen([BUILD / "src/cli/niwa", "exec", "box.example.com", "--", "sh", "-c", "test -t 0 || cat"], stdin=slave,
                               stdout=subprocess.PIPE, env={**os.environ, "NIWA_SOCKET": str(box.socket)})
    try:
        for word in (b"one\n", b"two\n"):
            os.write(master, word)
            assert process.stdout.readline() == word
        os.write(master, b"\x04")
        assert process.stdout.read() == b""
        assert process.wait(20 * SLOW) == 0
    finally:
        process.kill()
        os.close(master)
        os.close(slave)


def test_keys_for_a_pager_beside_exec_are_left_to_it(box):
    """A pager reads single keys of the same terminal."""
    master, slave = pty.openpty()
    mode = termios.tcgetattr(slave)
    mode[3] &= ~(termios.ICANON | termios.ECHO)
    process = subprocess.Popen([BUILD / "src/cli/niwa", "exec", "box.example.com", "--", "sh", "-c", "echo in; cat"], stdin=slave,
                               stdout=subprocess.PIPE, env={**os.environ, "NIWA_SOCKET": str(box.socket)})
    try:
        assert process.stdout.readline() == b"in\n"
        termios.tcsetattr(slave, termios.TCSANOW, mode)
        os.write(master, b"q")
        time.sleep(0.7)
        assert select.select([slave], [], [], 0)[0] and os.read(slave, 10) == b"q"
    finally:
        process.terminate()
        process.wait()
        os.close(master)
        os.close(slave)


def test_exec_has_the_app_s_environment_folder_and_user(box):
    out = run(box, "box.example.com", "sh", "-c", "echo $GREETING $PLACE $PWD $HOME; id -u").stdout
    assert out == "hello here /var/tmp /root\n0\n"
    out = run(box, "web.example.com", "sh", "-c", "echo $HOME; id -un; id -gn").stdout
    assert out == "/var/www\nwww-data\nwww-data\n"


def test_exec_wakes_an_app_that_sleeps(box):
    box.niwa("stop", "web.example.com")
    assert run(box, "web.example.com", "echo", "awake").stdout == "awake\n"
    assert box.state("web.example.com") == "running"


def talk(host, *argv):
    """niwa exec with a terminal: the other side of it, and the process."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(master, (33, 77))
    process = subprocess.Popen([BUILD / "src/cli/niwa", "exec", "box.example.com", "--", *argv], stdin=slave, stdout=slave, stderr=slave,
                               env={**os.environ, "NIWA_SOCKET": str(host.socket)}, start_new_session=True,
                               preexec_fn=lambda: __import__("fcntl").ioctl(0, termios.TIOCSCTTY, 0))
    os.close(slave)
    return master, process


def read_until(master, text, timeout=20):
    got, until = b"", time.monotonic() + timeout * SLOW
    while text not in got:
        if not select.select([master], [], [], max(0, until - time.monotonic()))[0]:
            raise AssertionError(f"{text!r} did not come: {got!r}")
        try:
            got += os.read(master, 4096)
        except OSError:
            raise AssertionError(f"the terminal was closed: {got!r}") from None
    return got


def test_exec_gives_a_terminal_with_its_size_line_editing_and_ctrl_c(box):
    master, process = talk(box, "sh", "-c", "test -t 0 && test -t 1 && stty size; trap 'echo caught; exit 5' INT; read x; "
                           "echo got $x; while :; do sleep 0.05; done")
    try:
        read_until(master, b"33 77")
        os.write(master, b"worx\x7fd\r")
        read_until(master, b"got word")
        os.write(master, b"\x03")
        read_until(master, b"caught")
        assert process.wait(20 * SLOW) == 5
    finally:
        process.kill()
        os.close(master)


def test_a_signal_to_exec_reaches_its_command(box):
    process = subprocess.Popen([BUILD / "src/cli/niwa", "exec", "box.example.com", "--", "sh", "-c",
                                "trap 'echo terminated; exit 9' TERM; echo ready; while :; do sleep 0.05; done"],
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env={**os.environ, "NIWA_SOCKET": str(box.socket)})
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=20 * SLOW)[0] == "terminated\n"
    assert process.returncode == 9


def test_a_command_whose_caller_is_gone_is_ended(box):
    process = subprocess.Popen([BUILD / "src/cli/niwa", "exec", "box.example.com", "--", "sleep", "987"], stdin=subprocess.DEVNULL,
                               env={**os.environ, "NIWA_SOCKET": str(box.socket)})
    count = "import json, glob; print(json.dumps(sum(b'987' in open(p, 'rb').read() for p in glob.glob('/proc/[0-9]*/cmdline'))))"
    wait_for("it runs", lambda: python(box, "box.example.com", count.replace("987", "9' b'87")) == 1)
    process.kill()
    process.wait()
    wait_for("it is gone", lambda: python(box, "box.example.com", count.replace("987", "9' b'87")) == 0)


def test_an_app_somebody_works_in_does_not_sleep(box):
    """No byte crosses its network and no CPU is used, but a person sits in front of it."""
    apply(box, app("quiet.example.com", sleep={"freeze": "200ms", "page": "0", "save": "600ms"}))
    process = subprocess.Popen([BUILD / "src/cli/niwa", "exec", "quiet.example.com", "--", "sh", "-c", "echo in; read x; echo out"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "NIWA_SOCKET": str(box.socket)})
    try:
        assert process.stdout.readline() == "in\n"
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert box.state("quiet.example.com") == "running"
            time.sleep(0.02)
        assert process.communicate("\n", timeout=20 * SLOW)[0] == "out\n"
    finally:
        process.kill()
    box.wait_state("quiet.example.com", "stopped")


def test_an_app_somebody_works_in_is_not_frozen_by_hand(box):
    process = subprocess.Popen([BUILD / "src/cli/niwa", "exec", "box.example.com", "--", "sh", "-c", "echo in; read x; echo out"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "NIWA_SOCKET": str(box.socket)})
    try:
        assert process.stdout.readline() == "in\n"
        refused = box.niwa("freeze", "box.example.com", check=False)
        assert refused.returncode == 1 and "a command of 'niwa exec' runs in it" in refused.stderr, refused.stderr
        assert box.state("box.example.com") == "running"
        assert process.communicate("\n", timeout=20 * SLOW)[0] == "out\n"
    finally:
        process.kill()
        process.wait()
    assert "box.example.com: frozen" in box.niwa("freeze", "box.example.com").stdout
