# SPDX-License-Identifier: MIT
"""A fake of niwad's socket for tests of the command line: keeps app records in memory, runs what exec asks for as
ordinary processes of this host. Nothing sleeps or wakes here."""
import array
import fnmatch
import json
import os
import pty
import signal
import socket
import threading
import time


def has_label(record, label):
    key, equals, value = label.partition("=")
    return key in record.get("labels", {}) and (not equals or record["labels"][key] == value)


class Refused(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class FakeEngine:
    def __init__(self, folder):
        self.path = os.path.join(folder, "niwad.sock")
        self.folder = folder
        self.apps = {}      # name → record
        self.tenants = {}   # the same
        self.states = {}    # name → state
        self.calls = []     # (method, params), as they came
        self.cpu_us = 0
        self.round = 0
        self.away = False   # closes each connection at its next question
        self.status = {}    # more members of host.status
        self.running = 0    # instances of each app
        self.commands = {}  # exec number → pid
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(16)
        threading.Thread(target=self.accept, daemon=True).start()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)  # wakes the thread; a bare close would not
        self.listener.close()

    def accept(self):
        while True:
            try:
                conn, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve_and_close, args=(conn,), daemon=True).start()

    def serve_and_close(self, conn):
        with conn:
            self.serve(conn)

    def serve(self, conn):
        pending, fds, lock = b"", [], threading.Lock()

        def send(message):
            with lock:
                conn.sendall(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")

        while True:
            try:
                data, ancillary, _, _ = conn.recvmsg(65536, socket.CMSG_SPACE(16 * 4))
            except OSError:
                return
            for level, kind, payload in ancillary:
                if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                    fds.extend(array.array("i", payload))
            if not data:
                return
            pending += data
            while b"\n" in pending:
                if self.away:
                    return
                line, pending = pending.split(b"\n", 1)
                request = json.loads(line)
                self.calls.append((request["method"], request["params"]))
                try:
                    result = self.answer(request["method"], request["params"], fds, send)
                    send({"id": request["id"], "result": result})
                except Refused as error:
                    send({"id": request["id"], "error": {"code": error.code, "message": str(error),
                                                         "data": {"kind": "caller"}}})
                for fd in fds:
                    os.close(fd)
                fds = []

    def answer(self, method, params, fds, send):
        name = "do_" + method.replace(".", "_")
        if not hasattr(self, name):
            raise Refused(-32601, f"no method '{method}'")
        if method == "app.exec":
            return self.do_app_exec(params, fds, send)
        return getattr(self, name)(params)

    def app(self, params):
        if params["name"] not in self.apps:
            raise Refused(-32001, f"no app is called '{params['name']}'")
        return params["name"]

    def row(self, name):
        record = self.apps[name]
        return {"name": name, "tenant": record.get("tenant", name), "state": self.states[name],
                "service_address": "10.64.0.17", "instances": self.running, "waiting": 0,
                "ports": [{"number": p["port"], "protocol": p.get("protocol", "tcp")} for p in record.get("ports", [])],
                "last_wake": {"at": int((time.time() - 3.2) * 1e6), "took_us": 12400, "path": "start"}}

    def do_ping(self, _):
        return {"version": "0.1.0", "pid": os.getpid(), "started_us": int(time.time() * 1e6), "apps": len(self.apps)}

    def do_apply_begin(self, _):
        self.pending = {}
        self.pending_tenants = {}
        self.removals = []
        return {"txn": 1}

    def do_apply_put(self, params):
        for app in params["apps"]:
            if app["name"].startswith("refused"):
                raise Refused(-32602, f"{app['name']}: port 80 is in use on this host")
            self.pending[app["name"]] = app
        self.pending_tenants.update({t["name"]: t for t in params.get("tenants", [])})
        return {"count": len(self.pending)}

    def do_apply_remove(self, params):
        self.removals.append(self.app(params))
        return {}

    def do_apply_commit(self, _):
        names = {"added": [n for n in self.pending if n not in self.apps],
                 "changed": [n for n in self.pending if n in self.apps and self.apps[n] != self.pending[n]],
                 "removed": self.removals}
        counts = {kind: len(list_) for kind, list_ in names.items()}
        counts["unchanged"] = len(self.pending) - counts["added"] - counts["changed"]
        limits = [n for n, t in self.pending_tenants.items() if t != self.tenants.get(n, {"name": n})]
        tenants = {"changed": len(limits), "unchanged": len(self.pending_tenants) - len(limits)}
        self.tenants.update(self.pending_tenants)
        self.apps.update(self.pending)
        for name in self.pending:
            self.states.setdefault(name, "stopped")
        for name in self.removals:
            del self.apps[name]
        return {**counts, "tenants": tenants, "names": {kind: list_[:100] for kind, list_ in {**names, "tenants": limits}.items()}}

    def do_tenant_show(self, params):
        return {"record": self.tenants.get(params["name"], {"name": params["name"]}), "apps": 0}

    def do_app_list(self, params):
        rows = [self.row(n) for n in sorted(self.apps) if n > params.get("after", "")]
        rows = [r for r in rows if fnmatch.fnmatchcase(r["name"], params.get("match", "*")) and
                r["state"] == params.get("state", r["state"]) and r["tenant"] == params.get("tenant", r["tenant"]) and
                ("label" not in params or has_label(self.apps[r["name"]], params["label"]))]
        limit = min(params.get("limit", 200), 200)
        result = {"apps": rows[:limit]}
        if len(rows) > limit:
            result["next"] = rows[limit - 1]["name"]
        return result

    def do_app_show(self, params):
        name = self.app(params)
        now = int(time.time() * 1e6)
        return {**self.row(name), "record": self.apps[name], "generation": 1, "why": "quiet for 2 s",
                "instances": [{"id": 7, "life": "serving", "pid": 42, "private_address": "10.80.0.9", "began_at": now}],
                "history": [{"at": now, "from": "running", "to": "frozen", "why": "quiet\x1b[31m"}],
                "stages": {"accepted": 0, "decided": 100, "cloned": 900, "ready": 12000}, "wakes": 3, "failures": 0,
                "warnings": ["has written 2 MiB outside its volumes"]}

    def do_app_wake(self, params):
        name = self.app(params)
        self.states[name] = "running"
        return {"state": "running", "took_us": 43100, "stages": {}}

    def do_app_freeze(self, params):
        self.states[self.app(params)] = "frozen"
        return {"state": "frozen"}

    def do_app_stop(self, params):
        self.states[self.app(params)] = "stopped"
        return {"state": "stopped"}

    def do_app_log(self, params):
        return {"path": os.path.join(self.folder, self.app(params) + ".log")}

    def do_top(self, params):
        self.cpu_us += 100000
        rows = [{"name": n, "tenant": n, "state": self.states[n], "cpu_us": self.cpu_us, "cpu_percent": 20.1,
                 "memory_bytes": 12 << 20, "wakes": 3, "connections": 2} for n in sorted(self.apps)]
        self.round += 1
        total = {"apps": len(rows), "running": len(rows), "asleep": 0, "cpu_percent": 20.1, "memory_bytes": 24 << 20}
        return {"round": self.round, "total": total, "tenants" if params.get("by") == "tenant" else "apps": rows}

    def do_host_status(self, _):
        return {"relay": {"open": 0}, "conntrack": {"count": 1, "max": 262144}, **self.status}

    def do_image_prepare(self, _):
        return {}

    def do_app_exec(self, params, fds, send):
        self.app(params)
        number = len(self.commands) + 1
        if params["terminal"]:
            pid, master = pty.fork()
        else:
            pid, master = os.fork(), -1
        if pid == 0:
            try:
                if not params["terminal"]:
                    for target, fd in enumerate(fds):
                        os.dup2(fd, target)
                os.execvp(params["argv"][0], params["argv"])
            finally:
                os._exit(127)
        if params["terminal"]:
            console = socket.socket(fileno=os.dup(fds[0]))
            socket.send_fds(console, [b"t"], [master])
            console.close()
            os.close(master)
        self.commands[number] = pid
        threading.Thread(target=self.reap, args=(number, pid, send), daemon=True).start()
        return {"exec": number}

    @staticmethod
    def reap(number, pid, send):
        _, status = os.waitpid(pid, 0)
        code, value = (1, os.WEXITSTATUS(status)) if os.WIFEXITED(status) else (2, os.WTERMSIG(status))
        time.sleep(0.02)  # the answer to app.exec comes first
        try:
            send({"method": "exec.exited", "params": {"exec": number, "code": code, "status": value}})
        except OSError:
            pass

    def do_exec_signal(self, params):
        os.kill(self.commands[params["exec"]], signal.Signals(params["signal"]))
        return {}
