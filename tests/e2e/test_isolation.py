# SPDX-License-Identifier: MIT
"""What root of a container can see, read, do and reach: its image, its volumes, its own network. Nothing else."""

import fnmatch
import os
import re
import signal
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from host import Host
from inside import app, apply, python, run

SECRET = "the-neighbour-s-secret"

# What `image: host` may show of the host's /etc, and what niwa writes there itself.
FROM_HOST = """ld.so.cache ld.so.conf ld.so.conf.d/* alternatives/* ssl/certs/* ssl/openssl.cnf ca-certificates/*
    ca-certificates.conf protocols services rpc ethertypes host.conf gai.conf mime.types magic magic.mime timezone
    locale.* default/locale terminfo/* inputrc papersize fonts/* xml/* sgml/* profile bash.bashrc shells debian_version
    os-release lsb-release perl/* python*/* php/* java-*/* ImageMagick-*/* OpenCL/* apache2/apache2.conf apache2/envvars
    apache2/magic apache2/ports.conf apache2/mods-*/* apache2/conf-*/* nginx/mime.types nginx/fastcgi* nginx/uwsgi_params
    nginx/scgi_params nginx/proxy_params nginx/koi-* nginx/win-utf nginx/modules-*/* postgresql-common/* mysql/my.cnf
    mysql/mariadb.cnf mysql/conf.d/* mysql/mariadb.conf.d/* dovecot/dovecot.conf dovecot/conf.d/* postfix/dynamicmaps.cf
    postfix/dynamicmaps.cf.d/* postfix/postfix-files postfix/postfix-files.d/*""".split()
GENERATED = {"passwd", "group", "nsswitch.conf", "hostname", "networks", "fstab", "localtime"}

# Every name below / but those of /usr and /proc, with its kind; regular files only when they can be read.
WALK = r"""
import json, os, stat
found = []
for top, folders, files in os.walk("/"):
    if top == "/":
        folders[:] = [f for f in folders if f not in ("usr", "proc")]
    for name in folders + files:
        path = os.path.join(top, name)
        st = os.lstat(path)
        kind = stat.S_IFMT(st.st_mode)
        if kind == stat.S_IFREG:
            try:
                os.close(os.open(path, os.O_RDONLY))
            except OSError:
                continue
        found.append([path, kind, st.st_rdev])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def two():
    """Two tenants on one host, both awake, each with a volume, a file in its layer, and an unrelated file beside."""
    ignored = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)}
    host = Host().start()  # as from a shell script in the background: its children inherit what is ignored
    for number, handler in ignored.items():
        signal.signal(number, handler)
    records = []
    for tenant in ("a", "b"):
        volume = host.dir / f"volume-{tenant}"
        volume.mkdir(mode=0o700)
        records.append(app(f"{tenant}.example.com", tenant=tenant, volumes=[{"from": str(volume), "to": "/srv/data"}]))
    (host.dir / "beside").write_text(SECRET)
    apply(host, *records)
    for record in records:
        host.niwa("wake", record["name"])
    run(host, "b.example.com", "sh", "-c", f"echo {SECRET} | tee /srv/data/secret /tmp/secret >/run/secret")
    yield host
    host.stop()


def test_root_of_a_container_can_read_nothing_but_usr_the_list_and_its_volumes(two):
    run(two, "a.example.com", "sh", "-c", "echo mine >/srv/data/mine")
    found = python(two, "a.example.com", WALK)
    files = [path for path, kind, _ in found if kind == stat.S_IFREG]
    unexpected = []
    for path in files:
        name = path.removeprefix("/etc/")
        if name == path:
            if path not in ("/srv/data/mine", "/run/niwa/busy", "/run/niwa/tenant/hosts", "/run/niwa/tenant/resolv.conf"):
                unexpected.append(path)
        elif name not in GENERATED and not any(fnmatch.fnmatch(name, pattern) for pattern in FROM_HOST):
            unexpected.append(path)
        elif name not in GENERATED:
            assert os.stat(path).st_mode & stat.S_IROTH, f"{path} is not for everybody on the host"
    assert not unexpected
    assert "/srv/data/mine" in files and "/etc/ld.so.cache" in files, "the walk saw what is there"
    assert not [path for path, kind, _ in found if kind == stat.S_IFSOCK], "no socket of anybody"
    assert not [path for path, _, _ in found if "secret" in path]


def test_there_are_only_harmless_devices_and_no_block_device(two):
    found = python(two, "a.example.com", WALK)
    devices = {path: (os.major(dev), os.minor(dev)) for path, kind, dev in found if kind == stat.S_IFCHR}
    terminals = {path for path in devices if re.fullmatch(r"/dev/pts/(ptmx|\d+)", path)}
    for path in terminals:
        del devices[path]
    assert devices == {"/dev/null": (1, 3), "/dev/zero": (1, 5), "/dev/full": (1, 7), "/dev/random": (1, 8),
                       "/dev/urandom": (1, 9), "/dev/tty": (5, 0)}
    assert not [path for path, kind, _ in found if kind == stat.S_IFBLK]


def test_accounts_of_the_image_hold_no_password_and_no_person_of_the_host(two):
    text = run(two, "a.example.com", "cat", "/etc/passwd").stdout
    for line in text.splitlines():
        name, password, uid = line.split(":")[:3]
        assert password in ("x", "*", "!"), line
        assert int(uid) < 1000 or int(uid) == 65534, line
    assert run(two, "a.example.com", "cat", "/etc/shadow", check=False).returncode != 0


def test_processes_of_the_host_and_of_neighbours_are_not_there(two):
    code = r"""
import json, os
out = {}
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        out[pid] = open(f"/proc/{pid}/cmdline").read()
    except OSError:
        pass
print(json.dumps(out))
"""
    seen = python(two, "a.example.com", code)
    assert 2 <= len(seen) <= 3 and "1" in seen, seen  # the app, the probe
    for pid in (os.getpid(), two.keep.pid, two.pid("b.example.com")):
        done = run(two, "a.example.com", "/usr/bin/python3", "-Ic",
                   f"import os, sys\ntry: os.kill({pid}, 0)\nexcept ProcessLookupError: sys.exit(7)", check=False)
        assert done.returncode == 7


def test_the_table_of_tcp_connections_is_not_the_host_s(two):
    """Negative: shared with the namespace that it was born in."""
    places = Path("/proc/sys/net/ipv4/tcp_ehash_entries")
    assert int(run(two, "a.example.com", "cat", places).stdout) > 0
    assert int(run(two, "a.example.com", "cat", "/proc/sys/net/ipv4/tcp_max_tw_buckets").stdout) == 65536
    assert Path("/proc/sys/net/ipv4/tcp_child_ehash_entries").read_text() == "0\n", "the setting of the host stays as it is"
    assert os.readlink(f"/proc/{two.keep.pid}/ns/net") == os.readlink("/proc/self/ns/net"), "niwa-keep is where it was"


def test_proc_shows_no_secret_of_the_kernel_and_changes_nothing(two):
    code = r"""
import json, os
out = {}
for path in ("/proc/kcore", "/proc/kmsg", "/proc/keys", "/proc/sysrq-trigger", "/proc/timer_list", "/proc/1/mem",
             "/proc/kpagecount", "/proc/slabinfo", "/proc/vmallocinfo", "/proc/scsi/scsi", "/proc/sched_debug"):
    for how, flags in (("read", os.O_RDONLY), ("write", os.O_WRONLY)):
        try:
            fd = os.open(path, flags | os.O_NONBLOCK)
            if how == "read" and not os.read(fd, 1):
                continue
            out.setdefault(path, []).append(how)
        except OSError:
            pass
writable = []
for top, _, files in os.walk("/proc/sys"):
    for name in files:
        try:
            os.close(os.open(os.path.join(top, name), os.O_WRONLY))
            writable.append(os.path.join(top, name))
        except OSError:
            pass
print(json.dumps([out, writable, os.listdir("/sys")]))
"""
    readable, writable, sys = python(two, "a.example.com", code)
    readable.pop("/proc/1/mem", None)  # of its own app: fine
    assert readable == {} or readable == {"/proc/keys": ["write"]}, readable
    assert writable == []
    assert sys == []


def test_every_mount_is_nosuid_and_all_but_dev_are_nodev(two):
    text = run(two, "a.example.com", "cat", "/proc/self/mountinfo").stdout
    points = {}
    for line in text.splitlines():
        field = line.split()
        points[field[4]] = set(field[5].split(","))
    assert set(points) - {"/proc/keys", "/proc/acpi", "/proc/asound", "/proc/latency_stats", "/proc/scsi"} == {
        "/", "/usr", "/dev", "/dev/pts", "/dev/shm", "/proc", "/proc/sys", "/run/niwa/tenant", "/srv/data"}
    for point, flags in points.items():
        assert "nosuid" in flags or point.startswith("/proc/"), f"{point}: {flags}"
        assert "nodev" in flags or point in ("/dev", "/dev/pts") or point.startswith("/proc/"), f"{point}: {flags}"
    assert "ro" in points["/usr"] and "ro" in points["/dev"] and "ro" in points["/proc/sys"]
    assert "noexec" in points["/proc"] and "noexec" in points["/dev/shm"]


REFUSED = r"""
import ctypes, errno, json, os, socket, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *args):
    ctypes.set_errno(0)
    r = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) if isinstance(a, int) else a for a in args])
    return "done" if r >= 0 else errno.errorcode[ctypes.get_errno()]
def attempt(fn):
    try:
        fn()
        return "done"
    except OSError as e:
        return errno.errorcode[e.errno]
NEWUSER, NEWNS, NEWNET = 0x10000000, 0x20000, 0x40000000
os.makedirs("/tmp/m", exist_ok=True)
buf = ctypes.create_string_buffer(256)
clone_args = struct.pack("11Q", NEWUSER, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0)
out = {
    "mount": call(165, b"none", b"/tmp/m", b"tmpfs", 0, 0), "bind": call(165, b"/usr", b"/tmp/m", 0, 4096, 0),
    "remount": call(165, 0, b"/usr", 0, 32 | 4096, 0), "umount": call(166, b"/proc/sys", 2),
    "pivot_root": call(155, b".", b"."), "fsopen": call(430, b"tmpfs", 0), "open_tree": call(428, -100, b"/", 1),
    "mount_setattr": call(442, -100, b"/usr", 0, buf, 32), "move_mount": call(429, -100, b"/usr", -100, b"/tmp/m", 0),
    "mknod": attempt(lambda: os.mknod("/tmp/disk", 0o60660, os.makedev(8, 0))),
    "mknod mem": attempt(lambda: os.mknod("/tmp/mem", 0o20660, os.makedev(1, 1))),
    "init_module": call(175, buf, 0, b""), "finit_module": call(313, 0, b"", 0), "delete_module": call(176, b"x", 0),
    "keyctl": call(250, 0, -3, 1), "add_key": call(248, b"user", b"x", b"y", 1, -3), "request_key": call(249, b"user", b"x", 0, 0),
    "bpf": call(321, 0, buf, 128), "perf_event_open": call(298, buf, 0, -1, -1, 0), "userfaultfd": call(323, 1),
    "unshare user": call(272, NEWUSER), "unshare mount": call(272, NEWNS), "unshare net": call(272, NEWNET),
    "clone3": call(435, clone_args, len(clone_args)), "clone user": call(56, NEWUSER | 17, 0, 0, 0, 0),
    "setns": attempt(lambda: call_setns()), "sethostname": attempt(lambda: socket.sethostname("other")),
    "reboot": call(169, 0xfee1dead, 672274793, 0, 0), "kexec": call(246, 0, 0, 0, 0), "swapon": call(167, b"/tmp/m", 0),
    "acct": call(163, b"/tmp/acct"), "quotactl": call(179, 0, b"/", 0, buf), "iopl": call(172, 3), "ioperm": call(173, 0, 1, 1),
    "settimeofday": call(164, buf, 0), "clock_settime": call(227, 0, struct.pack("QQ", 1, 0)), "syslog": call(103, 3, buf, 256),
    "open_by_handle_at": call(304, 0, struct.pack("II8s", 8, 1, b"\2"), 0), "lookup_dcookie": call(212, 0, buf, 256),
    "raw socket": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 6)),
    "packet socket": attempt(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)),
    "transparent": attempt(lambda: socket.socket().setsockopt(0, 19, 1)),
    "fanotify": call(300, 0, 0), "io_uring": call(425, 1, buf), "vhangup": call(153), "nfsservctl": call(180, 0, 0, 0),
    "kcmp": call(312, 1, 1, 0, 0, 0), "process_vm_readv": call(310, 1, buf, 0, buf, 0, 0) if len(sys.argv) > 1 else "EPERM",
}
print(json.dumps(out))
""".replace("attempt(lambda: call_setns())", "call(308, os.open('/proc/1/ns/user', 0), 0)")


def test_dangerous_system_calls_are_refused_to_root_of_a_container(two):
    out = python(two, "a.example.com", REFUSED)
    allowed = {name: result for name, result in out.items() if result not in ("EPERM", "ENOSYS", "EACCES")}
    assert allowed == {}
    assert socket.gethostname() != "other"


def test_a_second_root_folder_leads_no_further_than_the_first(two):
    """chroot is allowed (programs use it to confine themselves); the old way out of it ends in the container's root."""
    code = r"""
import json, os
fd = os.open("/", os.O_RDONLY)
os.makedirs("/tmp/jail", exist_ok=True)
os.chroot("/tmp/jail")
os.fchdir(fd)
for _ in range(64):
    os.chdir("..")
os.chroot(".")
print(json.dumps([sorted(os.listdir("/")), os.stat("/").st_ino == os.fstat(fd).st_ino]))
"""
    names, same = python(two, "a.example.com", code)
    assert same and "work" not in names and "srv" in names


@pytest.mark.parametrize("whose", ["app", "exec"])
def test_the_kernel_says_that_a_process_is_confined(two, whose):
    if whose == "app":
        pid = two.pid("a.example.com")
        text = Path(f"/proc/{pid}/status").read_text()
        maps = [Path(f"/proc/{pid}/{kind}_map").read_text().split() for kind in ("uid", "gid")]
    else:
        text = run(two, "a.example.com", "cat", "/proc/self/status").stdout
        maps = [run(two, "a.example.com", "cat", f"/proc/self/{kind}_map").stdout.split() for kind in ("uid", "gid")]
    status = {key: value.strip() for key, value in (line.split(":", 1) for line in text.splitlines())}
    assert status["NoNewPrivs"] == "1" and status["Seccomp"] == "2"
    # chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap, net_bind_service, sys_chroot, setfcap
    kept = 1 << 0 | 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 10 | 1 << 18 | 1 << 31
    assert int(status["CapBnd"], 16) == kept
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == kept
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert maps[0] == maps[1] and len(maps[0]) == 3, "one range, the same for users and groups"
    first, on_host, count = map(int, maps[0])
    assert first == 0 and count == 65536 and on_host >= 65536, "no id of the host"


def test_neighbours_have_different_ids(two):
    bases = [Path(f"/proc/{two.pid(name)}/uid_map").read_text().split()[1] for name in ("a.example.com", "b.example.com")]
    assert bases[0] != bases[1]


def test_neighbours_share_no_namespace_with_each_other_or_with_the_host(two):
    pids = ["self", two.pid("a.example.com"), two.pid("b.example.com")]
    for kind in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
        assert len({os.readlink(f"/proc/{pid}/ns/{kind}") for pid in pids}) == 3, kind


@pytest.mark.parametrize("whose", ["app", "exec"])
def test_a_process_begins_with_three_descriptors_and_no_ignored_signal(two, whose):
    """Its parent has everything of all tenants open; and what a parent ignores, a child ignores too."""
    if whose == "exec":
        fds = python(two, "a.example.com", "import json, os; d = os.listdir('/proc/self/fd'); "
                     "print(json.dumps([f for f in d if os.path.lexists('/proc/self/fd/' + f)]))")
        text = run(two, "a.example.com", "cat", "/proc/self/status").stdout
    else:
        pid = two.pid("a.example.com")
        links = {f: os.readlink(f"/proc/{pid}/fd/{f}") for f in os.listdir(f"/proc/{pid}/fd")}
        fds = [f for f, link in links.items() if not link.startswith("socket:")]
        text = Path(f"/proc/{pid}/status").read_text()
    assert sorted(fds) == ["0", "1", "2"]
    ignored = int(re.search(r"^SigIgn:\s*(\w+)", text, re.M).group(1), 16)
    python_s_own = 1 << 12 | 1 << 24 if whose == "app" else 0  # SIGPIPE, SIGXFSZ
    assert ignored & ~python_s_own == 0, hex(ignored)
    assert re.search(r"^SigBlk:\s*0+$", text, re.M)


# -- the network ------------------------------------------------------------------------------------------------------

TRY = r"""
import errno, json, socket, sys
out = []
for where in sys.argv[1:]:
    to, _, source = where.partition("<")
    address, _, port = to.partition(":")
    s = socket.socket()
    s.settimeout(0.7)
    try:
        if source:
            s.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND, which needs no right
            s.bind((source, 0))
        s.connect((address, int(port)))
        out.append("connected")
    except TimeoutError:
        out.append("silence")
    except OSError as e:
        out.append(errno.errorcode[e.errno])
    s.close()
print(json.dumps(out))
"""


def private(host, name):
    return next(i["private_address"] for i in host.show(name)["instances"] if i["life"] == "serving")


def test_an_app_reaches_neither_other_private_addresses_nor_other_tenants(two):
    assert python(two, "b.example.com", TRY, "127.0.0.1:80") == ["connected"], "the neighbour does listen"
    out = python(two, "a.example.com", TRY, private(two, "b.example.com") + ":80", two.address("b.example.com") + ":80")
    assert "connected" not in out, out


def test_an_app_reaches_its_own_service_address_and_its_tenant_s(two):
    assert python(two, "a.example.com", TRY, two.address("a.example.com") + ":80", "127.0.0.1:80") == ["connected"] * 2


def test_no_port_of_the_host_answers_an_app_but_name_service_where_something_outside_may_be_reached(two):
    """On the gateway, on every other address of the host, on the instances' own side of it. A resolver that passes questions
    on is a way out, so "egress: none" does not reach it either."""
    apply(two, app("names.example.com", tenant="c", egress="internet"))
    subprocess.run(["ip", "addr", "replace", "192.0.2.77/32", "dev", "lo"], check=True)
    gateway = str(two.rpc("host.status")["private_range"]).split("/")[0].rsplit(".", 1)[0] + ".1"
    with socket.create_server(("0.0.0.0", 0)) as s, socket.create_server(("0.0.0.0", 53)):
        port = s.getsockname()[1]
        relay = 9999
        wheres = [f"{a}:{p}" for a in (gateway, "192.0.2.77") for p in (port, relay, 53)]
        wheres += [f"{two.address('a.example.com')}:{port}", f"{two.address('b.example.com')}:{port}"]
        out = python(two, "a.example.com", TRY, *wheres)
        assert "connected" not in out, dict(zip(wheres, out))
        socket.create_connection(("192.0.2.77", port), timeout=2).close()
        assert python(two, "names.example.com", TRY, f"{gateway}:53") == ["connected"]
    two.niwa("rm", "names.example.com")


def test_an_app_cannot_send_from_an_address_that_is_not_its_own(two):
    """Counted on the host's side: a packet with a foreign source goes no further than the first rule."""
    subprocess.run(["ip", "addr", "replace", "192.0.2.77/32", "dev", "lo"], check=True)
    subprocess.run(["nft", "-f", "-"], input="""
        table inet watch {
            chain out { type filter hook forward priority 300; ip saddr 192.0.2.99 counter; }
            chain in { type filter hook input priority 300; ip saddr 192.0.2.99 counter; }
        }""", text=True, check=True)
    try:
        neighbour = private(two, "b.example.com")
        for source in ("192.0.2.99", neighbour, two.address("b.example.com")):
            out = python(two, "a.example.com", TRY, *(f"{to}<{source}" for to in (
                two.address("a.example.com") + ":81", neighbour + ":80", two.address("b.example.com") + ":80", "192.0.2.77:53")))
            assert "connected" not in out, (source, out)
        text = subprocess.run(["nft", "list", "table", "inet", "watch"], capture_output=True, text=True, check=True).stdout
        assert re.findall(r"packets (\d+)", text) == ["0", "0"], text
    finally:
        subprocess.run(["nft", "delete", "table", "inet", "watch"], check=True)


def test_an_app_cannot_change_its_network(two):
    code = r"""
import errno, json, socket, struct
def talk(kind, body):
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    s.send(struct.pack("IHHII", 16 + len(body), kind, 0x405, 1, 0) + body)
    return errno.errorcode.get(-struct.unpack("i", s.recv(4096)[16:20])[0], "done")
address = struct.pack("BBBBI", 2, 32, 0, 0, 2) + struct.pack("HH4s", 8, 2, socket.inet_aton("192.0.2.99"))
link = struct.pack("BxHiII", 0, 0, 2, 0, 1)
route = struct.pack("8BI", 2, 32, 0, 0, 254, 3, 0, 1, 0) + struct.pack("HH4s", 8, 1, socket.inet_aton("192.0.2.1"))
print(json.dumps([talk(20, address), talk(16, link), talk(24, route)]))
"""
    assert python(two, "a.example.com", code) == ["EPERM"] * 3
