# SPDX-License-Identifier: MIT
"""Where benchmarks run: a host like those of the end-to-end tests, in a network and mount namespace of its own, with a
trivial static server as the app and a compiled client, so that Python measures nothing but itself."""
import concurrent.futures
import contextlib
import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "e2e"))
os.environ.setdefault("NIWA_BUILD", str(HERE.parent / "build"))

from host import BUILD, Host, Rpc, RpcError  # noqa: E402  (its folder is known only now)

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
PORT = 80
FLAGS = ["-std=gnu17", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-static"]
ACCOUNTS = "root:x:0:0::/:/server\nnobody:x:65534:65534::/:/server\n"

APP = """
  - name: {name}
    tenant: bench
    image: {image}
    command: [/server, "{port}"]
    ports: [{{port: {port}, protocol: http}}]
    limits: {{memory: 64M, processes: 64}}
    sleep: {{freeze: "0", page: "0", save: "0"}}
    stop: {{grace: 1s}}
"""


def leave_the_machine_alone():
    """From here on nothing of this machine's network and mounts can be touched."""
    if os.geteuid() != 0:
        sys.exit("bench: this needs root")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET | CLONE_NEWNS) != 0:
        sys.exit(f"bench: unshare: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def as_keep(pid=0):
    """The priority of niwa-keep, and of what it starts, under BENCH_PRIORITY."""
    if os.environ.get("BENCH_PRIORITY"):
        os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, pid, -20)


class World(Host):
    """A running host with the server's image in self.image."""

    def __init__(self, **settings):
        super().__init__(**{"log_level": 4, **settings})
        # as /run is, where niwad has its files that need not outlive the host; what has to is on the disk
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", self.dir / "run"], check=True)
        self.image = self.dir / "image"
        for folder in ("etc", "tmp", "proc", "dev", "run", "usr", "var"):
            (self.image / folder).mkdir(parents=True)
        (self.image / "tmp").chmod(0o1777)
        (self.image / "etc/passwd").write_text(ACCOUNTS)
        (self.image / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
        for name, to in (("server", self.image / "server"), ("client", self.dir / "client")):
            subprocess.run([os.environ.get("CC", "cc"), *FLAGS, "-o", to, HERE / f"{name}.c"], check=True)

    def start(self, *env):
        super().start(*env)
        if os.environ.get("BENCH_PRIORITY"):
            self.hurry()
        return self

    def hurry(self):
        """BENCH_PRIORITY=1: what is measured goes first, for machines on which others work. Not in real time where apps
        inherit it: the control groups of version 1 refuse that."""
        relay = self.rpc("host.status")["relay"]["pid"]
        for pid in (0, self.niwad.pid, relay):
            os.sched_setscheduler(pid, os.SCHED_RR, os.sched_param(1))
        as_keep(self.keep.pid)

    def stop(self):
        """Apps that are running give their connections a moment: not one after the other."""
        try:
            awake = [row["name"] for row in self.rows() if row["state"] != "stopped"]
        except OSError:
            awake = []
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            list(pool.map(self.stop_app, awake))
        super().stop()
        subprocess.run(["umount", "-l", self.dir / "run"], check=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def stop_app(self, name):
        with contextlib.suppress(RpcError):
            self.rpc("app.stop", name=name)

    def declare(self, names, **changes):
        """Applies an app of the server for each name; returns {name: service address}."""
        text = "apps:" + "".join(APP.format(name=name, image=self.image, port=PORT) for name in names)
        for old, new in changes.items():
            text = text.replace(old, new)
        self.apply(text)
        return {row["name"]: row["service_address"] for row in self.rows() if row["name"] in set(names)}

    @contextlib.contextmanager
    def talk(self):
        rpc = Rpc(self.socket)
        try:
            yield rpc
        finally:
            rpc.close()

    @contextlib.contextmanager
    def client(self):
        """ask(address) -> (ms from connect to the first byte, moment of connect in us, moment the server began in us)"""
        with subprocess.Popen([self.dir / "client"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            def ask(address, port=PORT):
                child.stdin.write(f"{address} {port}\n")
                child.stdin.flush()
                return parse(child.stdout.readline())
            yield ask
            child.stdin.close()

    def ask_many(self, addresses, parallel):
        """One request to each address, so many at a time; as client's answers, in the order in which they came."""
        done = subprocess.run([self.dir / "client", str(parallel)], check=True, text=True, stdout=subprocess.PIPE,
                              input="".join(f"{address} {PORT}\n" for address in addresses))
        return [parse(line) for line in done.stdout.splitlines()]

    def rss_anon(self):
        """Bytes of memory of niwad's own."""
        for line in Path(f"/proc/{self.niwad.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise ValueError("no RssAnon")


def swap_bytes():
    """What this host has."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("SwapTotal:")), 0)


def parse(line):
    words = line.split()
    if len(words) != 5:
        raise RuntimeError(f"the client says: {line.strip() or 'nothing'}")
    return int(words[1]) / 1000, int(words[2]), int(words[4])


@contextlib.contextmanager
def running(kind=None, **settings):
    """with running() as world: a host in namespaces of its own, a World or what is made of it; everything is taken away
    after it."""
    leave_the_machine_alone()
    world = (kind or World)(**settings)
    try:
        yield world.start()
    finally:
        world.stop()
