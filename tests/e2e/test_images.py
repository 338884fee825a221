# SPDX-License-Identifier: MIT
"""Images: the host's, folders of all kinds, imported ones; and that what an image says about its app is done."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from echo import image
from host import Host, wait_for
from inside import app, apply, ask, facts, run


@pytest.fixture(scope="module")
def host():
    h = Host().start()
    yield h
    h.stop()


@pytest.fixture
def root(host, request):
    """A new folder that becomes an image."""
    path = host.dir / "roots" / request.node.name.replace("[", "-").rstrip("]")
    path.mkdir(parents=True)
    return path


def put_echo(root, where="echo"):
    (root / where).parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(f"{image()}/echo", root / where)


def refusal(host, *record):
    """What is said when an app is applied and woken, at the one or the other."""
    done = apply(host, *record, check=False)
    if done.returncode == 0:
        done = host.niwa("wake", record[0]["name"], check=False)
    assert done.returncode != 0, done.stdout
    return done.stderr


# -- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_with_one_program_and_nothing_else_is_an_image(host, name, root):
    """No /etc, /proc, /dev, /run, /tmp, /usr: what an instance needs of them is made in its layer."""
    put_echo(root)
    before = sorted(os.listdir(root))
    apply(host, app(name, str(root), ["/echo", "--http", "80"]))
    address = host.address(name)
    assert facts(ask(address, "/"))["host"] == name
    assert address in ask(address, "/read", path="/etc/hosts")
    assert "nameserver" in ask(address, "/read", path="/etc/resolv.conf") or "options" in ask(address, "/read", path="/etc/resolv.conf")
    assert "NoNewPrivs:\t1" in ask(address, "/id")
    assert ask(address, "/write", path="/dev/shm/x", text="x") == "written\n"
    assert ask(address, "/write", path="/new", text="x") == "written\n"
    assert sorted(os.listdir(root)) == before, "the image itself stays as it is"


@pytest.mark.parametrize("memory", [False, True])
def test_links_of_an_image_in_the_place_of_folders_lead_nowhere(host, name, root, memory):
    """/etc, /proc, /dev and /run of an image may be anything; nothing is written or mounted where they lead."""
    put_echo(root)
    trap = host.dir / f"trap-{memory}"
    trap.mkdir()
    for link in ("etc", "proc", "dev", "run"):
        os.symlink(f"../../../../../../../../../..{trap}", root / link)
    apply(host, app(name, str(root), ["/echo", "--http", "80"], limits={"disk": "16M"} if memory else {}))
    address = host.address(name)
    assert facts(ask(address, "/"))["host"] == name
    assert address in ask(address, "/read", path="/etc/hosts")
    assert "Seccomp:\t2" in ask(address, "/read", path="/proc/self/status")
    assert os.listdir(trap) == []


def test_files_of_an_image_that_only_its_root_may_read_are_read_by_root_of_the_container(host, name, root):
    put_echo(root)
    (root / "secret").write_text("of the image\n")
    (root / "secret").chmod(0o600)
    os.chown(root / "secret", 33, 33)
    apply(host, app(name, str(root), ["/echo", "--http", "80"], user="33:33"))
    assert ask(host.address(name), "/read", path="/secret") == "of the image\n"
    assert re.search(r"Uid:\t33\t33", ask(host.address(name), "/id"))


def test_an_image_that_is_not_there_is_named_with_those_that_are(host, name):
    assert "/no/such/folder" in refusal(host, app(name, "/no/such/folder", ["/echo"]))
    message = refusal(host, app(name, "no-such-image", ["/echo"]))
    assert "no-such-image" in message and "host" in message


def test_a_file_is_no_image(host, name, root):
    (root / "file").write_text("")
    assert "file" in refusal(host, app(name, f"{root}/file", ["/echo"]))


@pytest.mark.parametrize("what, words", [("missing", "No such file"), ("a folder", "denied"), ("not executable", "denied"),
                                         ("another machine's", "Exec format error"), ("without its interpreter", "No such file")])
def test_a_command_that_cannot_be_executed_is_named_with_the_reason(host, name, root, what, words):
    program = root / "program"
    if what == "a folder":
        program.mkdir()
    elif what != "missing":
        program.write_bytes(b"#!/no/such/shell\n" if "interpreter" in what else b"\x7fELF\x02\x01\x01" + b"\0" * 57)
        program.chmod(0o644 if what == "not executable" else 0o755)
    message = refusal(host, app(name, str(root), ["/program"]))
    assert "/program" in message and words in message


def test_a_user_that_the_image_does_not_have_is_named(host, name, root):
    put_echo(root)
    assert "'ada'" in refusal(host, app(name, str(root), ["/echo"], user="ada"))
    assert "ada" in refusal(host, app(name, "host", ["true"], user="www-data:ada"))


def test_a_folder_to_start_in_that_is_not_there_is_named(host, name):
    assert "/not/there" in refusal(host, app(name, workdir="/not/there"))


# -- what an app file says about the process ---------------------------------------------------------------------------


@pytest.mark.parametrize("user, want", [(None, "0 0 []"), ("www-data", "33 33 []"), ("33", "33 33 []"), ("www-data:mail", "33 8 []"),
                                        ("1234:4321", "1234 4321 []"), ("1234", "1234 0 []")])
def test_an_app_runs_as_the_user_that_it_names(host, name, user, want):
    code = ("import os, socket; print(os.getuid(), os.getgid(), sorted(set(os.getgroups()) - {os.getgid()}), flush=True); "
            "socket.create_server(('', 80)).accept()")
    apply(host, app(name, command=["/usr/bin/python3", "-Ic", code], **({"user": user} if user else {})))
    host.niwa("wake", name)
    assert wait_for("its line", lambda: host.app_log(name)).split(" ", 1)[1].strip() == want


def test_an_app_has_its_environment_and_nothing_of_niwa_s(host, name):
    (host.dir / "one.env").write_text("# comment\nFROM_FILE=1\nBOTH=file\nQUOTED=\"a b\"\n")
    apply(host, app(name, image(), ["/echo", "--http", "80"], env={"BOTH": "env", "YES": "yes"}, env_files=["one.env"]))
    got = dict(line.split("=", 1) for line in ask(host.address(name), "/env").splitlines())
    assert got == {"FROM_FILE": "1", "BOTH": "env", "QUOTED": "a b", "YES": "yes", "HOME": "/", "NIWA_APP": name, "container": "niwa",
                   "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}


def test_an_app_starts_in_the_folder_that_it_names(host, name):
    apply(host, app(name, workdir="/var/www"))
    assert run(host, name, "readlink", "/proc/1/cwd").stdout == "/var/www\n"


def test_with_init_orphans_are_reaped_and_signals_arrive(host, name):
    code = """import os, signal, socket, sys, time
def end(*_): print('asked to end', flush=True); sys.exit(0)
signal.signal(signal.SIGQUIT, end)
for n in range(20):
    if os.fork() == 0:
        if os.fork() == 0: time.sleep(0.05)
        os._exit(0)
    os.wait()
s = socket.create_server(('', 80))
while True: s.accept()"""
    apply(host, app(name, command=["/usr/bin/python3", "-Ic", code], init=True, stop={"signal": "QUIT", "grace": "20s"}))
    host.niwa("wake", name)
    count = ("import glob; print(sum(open(p).read().rsplit(')', 1)[1].split()[0] == 'Z' for p in glob.glob('/proc/[0-9]*/stat')),"
             " len(glob.glob('/proc/[0-9]*')))")
    wait_for("no zombie, no orphan", lambda: run(host, name, "/usr/bin/python3", "-Ic", count).stdout == "0 3\n")
    assert run(host, name, "cat", "/proc/1/comm").stdout in ("init\n", "niwa-init\n")
    host.niwa("stop", name)
    assert host.app_log(name).endswith("asked to end\n")


def test_with_init_only_the_command_is_asked_to_end(host, name):
    code = """import os, signal, socket, sys, time
def end(*_): print(who, 'was asked to end', flush=True); time.sleep(0.3); sys.exit(0)
signal.signal(signal.SIGTERM, end)
who = 'the command' if os.fork() else 'its child'
s = socket.create_server(('', 80), reuse_port=True)
while True: s.accept()"""
    apply(host, app(name, command=["/usr/bin/python3", "-Ic", code], init=True, stop={"grace": "20s"}))
    host.niwa("wake", name)
    host.niwa("stop", name)
    assert host.app_log(name).endswith("the command was asked to end\n") and "child" not in host.app_log(name)


def test_with_init_an_app_that_ends_ends_with_its_own_status(host, name):
    apply(host, app(name, command=["sh", "-c", "exit 5"], init=True))
    assert "exited with status 5" in refusal(host, app(name, command=["sh", "-c", "exit 5"], init=True))


# -- imported images --------------------------------------------------------------------------------------------------


def umoci(*args):
    subprocess.run(["umoci", *map(str, args)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def layout(host):
    """An OCI layout with the echo program: a user, a folder, an environment and a command of its own."""
    oci, bundle = host.dir / "layout", host.dir / "bundle"
    umoci("init", "--layout", oci)
    umoci("new", "--image", f"{oci}:v1")
    umoci("unpack", "--image", f"{oci}:v1", bundle)
    rootfs = bundle / "rootfs"
    put_echo(rootfs, "bin/echo-server")
    for folder in ("etc", "work", "home/web"):
        (rootfs / folder).mkdir(parents=True)
    (rootfs / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\nweb:x:1001:1002::/home/web:/bin/sh\n")
    (rootfs / "etc/group").write_text("root:x:0:\nweb:x:1002:\nextra:x:1003:web\n")
    (rootfs / "etc/hosts").write_text("0.0.0.0 of-the-image\n")
    (rootfs / "work/private").write_text("of web\n")
    os.chown(rootfs / "work/private", 1001, 1002)
    (rootfs / "work/private").chmod(0o400)
    umoci("repack", "--image", f"{oci}:v1", bundle)
    umoci("config", "--image", f"{oci}:v1", "--config.user", "web", "--config.workingdir", "/work", "--config.env", "KIND=image",
          "--config.env", "BOTH=image", "--config.entrypoint", "echo-server", "--config.cmd", "--http", "--config.cmd", "80",
          "--config.env", "PATH=/bin")
    return oci


@pytest.fixture(scope="module")
def imported(host, layout):
    host.niwa("image", "import", "web", f"oci:{layout}:v1", "-c", host.dir / "niwad.conf")
    return "web"


def test_an_imported_image_says_how_its_app_runs(host, name, imported):
    record = app(name, imported)
    del record["command"]
    apply(host, record)
    address = host.address(name)
    status = ask(address, "/id")
    assert re.search(r"Uid:\t1001\t1001", status) and re.search(r"Gid:\t1002\t1002", status)
    assert re.search(r"Groups:\t1003\b", status)
    got = dict(line.split("=", 1) for line in ask(address, "/env").splitlines())
    assert (got["KIND"], got["BOTH"], got["PATH"], got["HOME"]) == ("image", "image", "/bin", "/home/web")
    assert ask(address, "/read", path="private") == "of web\n", "in the image's folder, by the image's user"
    assert "of-the-image" not in ask(address, "/read", path="/etc/hosts")


def test_the_app_file_wins_over_the_image(host, name, imported):
    apply(host, app(name, imported, ["/bin/echo-server", "--http", "80"], user="root", workdir="/home", env={"BOTH": "file"}))
    address = host.address(name)
    got = dict(line.split("=", 1) for line in ask(address, "/env").splitlines())
    assert (got["KIND"], got["BOTH"], got["HOME"]) == ("image", "file", "/root")
    assert re.search(r"Uid:\t0\t0", ask(address, "/id"))
    assert "error" in ask(address, "/read", path="private")


def test_a_command_of_exec_runs_as_the_image_says_too(host, name, imported):
    """The program itself, which ends at once with the status it is told."""
    record = app(name, imported)
    del record["command"]
    apply(host, record)
    host.niwa("wake", name)
    assert run(host, name, "echo-server", "--exit", "6", check=False).returncode == 6, "found along the image's PATH"
    served = subprocess.Popen([*exec_args(host, name), "echo-server", "--http", "127.0.0.1:8081"], stdin=subprocess.DEVNULL,
                              env={**os.environ, "NIWA_SOCKET": str(host.socket)})
    try:
        text = wait_for("it answers", lambda: connected(ask(host.address(name), "/connect", to="127.0.0.1:8081", ms=300)))
        pid = int(facts(text)["pid"])
        status = ask(host.address(name), "/read", path=f"/proc/{pid}/status")
        assert re.search(r"Uid:\t1001\t1001", status) and re.search(r"Groups:\t1003\b", status)
        assert "KIND=image" in ask(host.address(name), "/read", path=f"/proc/{pid}/environ")
    finally:
        served.terminate()
        served.wait()


def exec_args(host, name):
    from host import BUILD
    return [BUILD / "src/cli/niwa", "exec", name, "--"]


def connected(text):
    return text if text.startswith("connected") else None


def test_a_docker_archive_is_imported_listed_refused_while_used_and_removed(host, name, layout):
    archive = host.dir / "image.tar"
    subprocess.run(["skopeo", "--insecure-policy", "copy", f"oci:{layout}:v1", f"docker-archive:{archive}:web:v1"], check=True,
                   stdout=subprocess.DEVNULL)
    conf = ("-c", host.dir / "niwad.conf")
    host.niwa("image", "import", "from-archive", f"docker-archive:{archive}", *conf)
    listed = json.loads(host.niwa("image", "ls", "--json", *conf).stdout)
    assert "from-archive" in json.dumps(listed)
    assert "from-archive" in host.niwa("image", "ls", "-q").stdout.split(), "the engine says where its images are"
    record = app(name, "from-archive")
    del record["command"]
    apply(host, record)
    assert "pid" in ask(host.address(name), "/")
    done = host.niwa("image", "rm", "from-archive", *conf, check=False)
    assert done.returncode == 1 and name in done.stderr
    done = host.niwa("image", "rm", "--force", "from-archive", *conf, check=False)
    assert done.returncode == 1 and name in done.stderr, "not while an instance runs on it"
    host.niwa("rm", name)
    wait_for("it has ended", host.nothing_left)
    host.niwa("image", "rm", "from-archive", *conf)
    assert "from-archive" not in host.niwa("image", "ls", *conf).stdout
    assert not list(Path(host.dir, "state/images").glob("from-archive*"))
    assert "from-archive" in refusal(host, record)


@pytest.mark.parametrize("source", ["oci:/no/such/folder:v1", "docker-archive:/no/such/file", "oci:{layout}:no-such-tag", "ftp:thing"])
def test_an_import_that_fails_says_why_and_leaves_nothing(host, layout, source):
    done = host.niwa("image", "import", "broken", source.format(layout=layout), "-c", host.dir / "niwad.conf", check=False)
    assert done.returncode != 0 and len(done.stderr) > 20
    assert not list(Path(host.dir, "state/images").glob("*broken*"))


def test_what_skopeo_says_is_told_plainly(host):
    broken = host.dir / "broken"
    broken.mkdir()
    (broken / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (broken / "index.json").write_text('{"schemaVersion": 2, "manifests": ["\\"quoted"]}')
    done = host.niwa("image", "import", "x", f"oci:{broken}:v1", "--config", host.dir / "niwad.conf", check=False)
    assert "skopeo failed" in done.stderr
    assert "\\" not in done.stderr and "level=" not in done.stderr and "time=" not in done.stderr, done.stderr
