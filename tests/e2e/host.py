# SPDX-License-Identifier: MIT
"""A host that runs niwa, for tests: niwa-keep and niwad with folders of their own, in this process' private
network and mount namespace (conftest.py made it)."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("NIWA_BUILD", TOP / "build"))
CGROUP_V2 = Path("/sys/fs/cgroup/unified" if Path("/sys/fs/cgroup/unified").exists() else "/sys/fs/cgroup")
CRIU = Path(os.environ.get("NIWA_CRIU", "/usr/local/libexec/niwa/criu"))  # as scripts/build-criu leaves it
SLOW = float(os.environ.get("NIWA_TEST_SLOWNESS", "1"))  # patience on slow machines (emulation, sanitizers)


def wait_for(what, condition, timeout=10.0, pause=0.01):
    """Polls until condition() is true; returns its value. Fails the test with `what` at the deadline."""
    until = time.monotonic() + timeout * SLOW
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"in {timeout * SLOW:.0f} s did not come true: {what}")
        time.sleep(pause)


class RpcError(Exception):
    def __init__(self, error):
        super().__init__(error.get("message"))
        self.code = error.get("code")
        self.data = error.get("data", {})
        self.kind = self.data.get("kind")


class Rpc:
    """One connection to the engine's socket."""

    def __init__(self, path, timeout=60):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(timeout * SLOW)
        self.sock.connect(str(path))
        self.file = self.sock.makefile("rb")
        self.last = 0

    def call(self, method, **params):
        self.last += 1
        self.sock.sendall(json.dumps({"jsonrpc": "2.0", "id": self.last, "method": method, "params": params}).encode() + b"\n")
        while True:
            line = self.file.readline()
            if not line:
                raise ConnectionError("the engine closed the connection")
            answer = json.loads(line)
            if answer.get("id") == self.last:
                if "error" in answer:
                    raise RpcError(answer["error"])
                return answer["result"]

    def close(self):
        self.file.close()
        self.sock.close()


def rows_of(rpc, **filters):
    """All rows of app.list, page by page."""
    rows, after = [], {}
    while True:
        page = rpc.call("app.list", **filters, **after)
        rows += page["apps"]
        if "next" not in page:
            return rows
        after = {"after": page["next"]}


class Host:
    count = 0

    def __init__(self, **settings):
        Host.count += 1
        self.dir = Path(tempfile.mkdtemp(prefix="nw", dir="/tmp"))
        self.dir.chmod(0o755)
        self.cgroup = f"niwa-e2e-{os.getpid()}-{Host.count}"
        self.keep = self.niwad = None
        self.settings = settings
        for name in ("run", "log", "libexec"):
            (self.dir / name).mkdir()
        (self.dir / "state").mkdir(mode=0o711)
        for program in ("relay/niwa-relay", "init/niwa-init"):
            shutil.copy2(BUILD / "src" / program, self.dir / "libexec")
        self.configure(**settings)

    # -- programs ---------------------------------------------------------------------------------------------------

    def configure(self, **settings):
        values = dict(run_dir=self.dir / "run", state_dir=self.dir / "state", log_dir=self.dir / "log",
                      libexec_dir=self.dir / "libexec", cgroup=self.cgroup)
        if SLOW != 1:  # niwad's own, for as long as the machine takes
            values.update(dump_deadline=f"{5000 * SLOW:.0f}ms", restore_deadline=f"{2000 * SLOW:.0f}ms")
        values.update(settings)
        (self.dir / "niwad.conf").write_text("".join(f"{k} = {v}\n" for k, v in values.items()))

    def start(self, keep_env=None, niwad_env=None):
        try:
            self.start_keep(keep_env)
            self.start_niwad(niwad_env)
        except BaseException:
            self.stop()  # nobody else will
            raise
        return self

    def start_keep(self, env=None):
        self.keep = subprocess.Popen([BUILD / "src/keep/niwa-keep", "--run-dir", self.dir / "run"],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.dir / "log/keep.err", "ab"),
                                     env={**os.environ, **(env or {})}, start_new_session=True)
        wait_for("niwa-keep listens", lambda: (self.dir / "run/keep.sock").exists())

    def start_niwad(self, env=None, wait=True):
        (self.dir / "run/niwad.sock").unlink(missing_ok=True)
        self.niwad = subprocess.Popen([BUILD / "src/engine/niwad", "--config", self.dir / "niwad.conf"],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.dir / "log/niwad.err", "ab"),
                                      env={**os.environ, **(env or {})}, start_new_session=True)
        if wait:
            wait_for("niwad answers: " + self.niwad_log()[-2000:], self.answers, timeout=30)

    def answers(self):
        assert self.niwad.poll() is None, f"niwad ended with {self.niwad.returncode}:\n{self.niwad_log()[-3000:]}"
        try:
            rpc = Rpc(self.socket)
        except OSError:
            return False
        rpc.close()
        return True

    def kill_niwad(self, sig=signal.SIGKILL):
        self.niwad.send_signal(sig)
        self.niwad.wait(30 * SLOW)

    def stop(self):
        """Ends every instance and both programs; what is left over is a failure of the test that ran."""
        if self.niwad and self.niwad.poll() is None:
            try:
                rpc = Rpc(self.socket, timeout=30)
                for row in rows_of(rpc):
                    if row["state"] != "stopped":
                        try:
                            rpc.call("app.stop", name=row["name"])
                        except RpcError:
                            pass
                rpc.close()
            except OSError:
                pass
            self.niwad.terminate()
            self.niwad.wait(30 * SLOW)
        if self.keep and self.keep.poll() is None:
            for _ in range(2):
                self.keep.terminate()
                time.sleep(0.05)
            try:
                self.keep.wait(10 * SLOW)
            except subprocess.TimeoutExpired:
                self.keep.kill()
                self.keep.wait()
        self.remove_groups()
        subprocess.run([BUILD / "src/engine/niwad", "--config", self.dir / "niwad.conf", "--remove"], check=False,
                       stderr=subprocess.DEVNULL)
        shutil.rmtree(self.dir, ignore_errors=True)

    def remove_groups(self):
        base = CGROUP_V2 / self.cgroup
        for kill in base.glob("*/cgroup.kill"):
            kill.write_text("1")
        roots = [CGROUP_V2] + [Path("/sys/fs/cgroup") / n for n in ("memory", "cpu", "pids", "blkio")]
        for root in roots:
            base = root / self.cgroup
            for group in sorted(base.glob("**/"), key=lambda p: -len(str(p))):
                for _ in range(100):
                    try:
                        group.rmdir()
                        break
                    except OSError:
                        time.sleep(0.01)

    # -- talking ----------------------------------------------------------------------------------------------------

    @property
    def socket(self):
        return self.dir / "run/niwad.sock"

    def connect(self):
        return Rpc(self.socket)

    def rpc(self, method, **params):
        rpc = Rpc(self.socket)
        try:
            return rpc.call(method, **params)
        finally:
            rpc.close()

    def rows(self, **filters):
        rpc = Rpc(self.socket)
        try:
            return rows_of(rpc, **filters)
        finally:
            rpc.close()

    def niwa(self, *args, check=True, input=None, timeout=120):
        done = subprocess.run([BUILD / "src/cli/niwa", *map(str, args)], capture_output=True, text=True, input=input,
                              timeout=timeout * SLOW, env={**os.environ, "NIWA_SOCKET": str(self.socket), "COLUMNS": "120"})
        if check and done.returncode != 0:
            raise AssertionError(f"niwa {' '.join(map(str, args))}: exit {done.returncode}\n{done.stdout}{done.stderr}"
                                 f"\n--- niwad:\n{self.niwad_log()[-3000:]}")
        return done

    def apply(self, text, check=True):
        path = self.dir / "apps.yaml"
        path.write_text(text)
        return self.niwa("apply", path, check=check)

    def show(self, app):
        return self.rpc("app.show", name=app)

    def state(self, app):
        return self.show(app)["state"]

    def address(self, app):
        return self.show(app)["service_address"]

    def pid(self, app):
        return next(i["pid"] for i in self.show(app)["instances"] if i["life"] == "serving")

    def wait_state(self, app, *states, timeout=15):
        return wait_for(f"{app} is {' or '.join(states)} (is {self.state(app)})", lambda: self.state(app) in states, timeout)

    def niwad_log(self):
        return (self.dir / "log/niwad.err").read_text(errors="replace") if (self.dir / "log/niwad.err").exists() else ""

    def app_log(self, app):
        path = self.dir / "log" / f"{app}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # -- what is left -----------------------------------------------------------------------------------------------

    def kernel_objects(self):
        """Everything of instances that exists at this moment, by kind."""
        links = subprocess.run(["ip", "-o", "link", "show", "group", "6480"], capture_output=True, text=True).stdout
        table = subprocess.run(["nft", "-j", "list", "table", "inet", "niwa"], capture_output=True, text=True).stdout
        sets = {}
        for item in json.loads(table)["nftables"] if table else []:
            for kind in ("map", "set"):
                if kind in item:
                    sets[item[kind]["name"]] = len(item[kind].get("elem", []))
        return {
            "groups": [p.name for p in (CGROUP_V2 / self.cgroup).glob("i*") if re.fullmatch(r"i\d+", p.name)],
            "layers": [p.name for p in (self.dir / "state/layers").glob("*")],
            "veths": re.findall(r"^\d+: (\S+?)[@:]", links, re.M),
            **{name: sets.get(name, 0) for name in ("awake", "scaled", "spread", "marks", "may", "frozen", "knocked", "egress",
                                                    "awake6", "marks6", "may6", "frozen6", "knocked6")},
        }

    def nothing_left(self):
        objects = self.kernel_objects()
        return not any(objects.values())
