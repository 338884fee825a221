#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench peers: the same PHP page, 1,000 sites, the same nginx in front:
    niwa                Apache and mod_php, a container each, woken from its image
    php-fpm             one master, a pool a site, pm = ondemand: no container, no limits, one opcache for all
    socket-activate     systemd-socket-activate, then systemd-socket-proxyd and the same Apache; one after the other for ever
Memory of a site that sleeps (PSS of all processes), the first request to one, and requests a second once it is warm.
BENCH_SITES makes it smaller."""
import os
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import lib
import restore
import world

from front import Front  # noqa: E402  (world.py has made its folder known)
from host import Host, wait_for  # noqa: E402
from names import NiwaApi  # noqa: E402

SITES = int(os.environ.get("BENCH_SITES", "1000"))
VISITS = min(40, SITES // 3)  # each has an image of its own by then
ROUNDS, SECONDS, CONNECTIONS = 5, 2, 8
FPM = next(iter(sorted(Path("/usr/sbin").glob("php-fpm*"))), "php-fpm")
LISTEN, BEHIND = 20000, 40000  # first ports of socket-activate's, of the servers behind

APP = """- {{name: site{n}, tenant: web, image: host, user: www-data, command: [apache2, -DFOREGROUND, -f, /srv/php/apache.conf],
   ports: [{{port: 80, protocol: http}}], routes: [{{domain: site{n}.niwa}}], stop: {{signal: SIGWINCH}}, warm: [/],
   egress: none, limits: {{memory: 256M, processes: 64}}, sleep: {{freeze: never, page: never, save: never}},
   volumes: [{{from: {dir}/php, to: /srv/php, read_only: true}}]}}
"""
POOL = """[site{n}]
user = www-data
group = www-data
listen = {dir}/fpm/site{n}.sock
listen.owner = www-data
listen.backlog = 4096
pm = ondemand
pm.max_children = 8
"""
# What systemd would do with a socket unit, a proxy unit and a service unit.
BEHIND_IT = """#!/bin/bash
sed "s,/srv/php,{dir}/php,g; s,^Listen 80,Listen 127.0.0.1:$2,; s,/tmp/apache.pid,{dir}/apache$1.pid," {dir}/php/apache.conf >{dir}/apache$1.conf
apache2 -f {dir}/apache$1.conf 3<&- || exit
until (exec 4<>/dev/tcp/127.0.0.1/$2) 2>/dev/null; do sleep 0.002; done
exec /usr/lib/systemd/systemd-socket-proxyd 127.0.0.1:$2
"""
SERVERS = """
    server {{ listen 127.0.0.1:8080; server_name ~^site(?<n>[0-9]+)\\.fpm$; location / {{
        include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME {dir}/php/htdocs/index.php;
        fastcgi_pass unix:{dir}/fpm/site$n.sock; }} }}
    server {{ listen 127.0.0.1:8080; server_name ~^port(?<n>[0-9]+)\\.socket$; location / {{
        proxy_pass http://127.0.0.1:$n; include {dir}/front/niwa/proxy.conf; }} }}
"""


def pss(*pids):
    """Bytes."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def request(name, port):
    """ms of one request by a new connection."""
    with lib.Stopwatch() as s, socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    if b" 200 " not in answer.split(b"\r\n")[0] or b"request: GET" not in answer:
        raise RuntimeError(f"{name}: {answer[:300]}")
    return s.ms


def load(name, port):
    """Requests a second."""
    said = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-H", f"Host: {name}", f"http://127.0.0.1:{port}/"],
                          text=True, stdout=subprocess.PIPE, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(said)
    return float(next(line for line in said.splitlines() if line.startswith("Requests/sec")).split()[1])


class Niwa:
    def __init__(self, host, api):
        self.host, self.api = host, api

    def __enter__(self):
        path = self.host.dir / "apps.yaml"
        path.write_text("apps:\n" + "".join(APP.format(n=n, dir=self.host.dir) for n in range(SITES)))
        self.host.niwa("apply", "-q", path, timeout=600)
        for n in range(VISITS + 1):
            request(f"site{n}.niwa", 80)
            wait_for("it has an image", lambda: self.image_of(n).get("usable"), timeout=30, pause=0.05)
            self.host.rpc("app.stop", name=f"site{n}")
        wait_for("nothing runs", lambda: not self.host.rpc("host.status")["instances"], timeout=30)
        return self

    def image_of(self, n):
        known = self.host.show(f"site{n}")["snapshot"]
        if known.get("refused"):
            raise RuntimeError(known)
        return known

    def idle_bytes(self):
        return pss(self.host.niwad.pid, self.host.keep.pid, self.host.rpc("host.status")["relay"]["pid"], self.api.process.pid) / SITES

    def first(self, n):
        took = request(f"site{n}.niwa", 80)
        self.host.rpc("app.stop", name=f"site{n}")
        return took

    def frozen(self):
        """Of one that only froze."""
        name, took = f"site{SITES - 1}", []
        request(name + ".niwa", 80)
        for _ in range(VISITS):
            self.host.rpc("app.freeze", name=name)
            took.append(request(name + ".niwa", 80))
        self.host.rpc("app.stop", name=name)
        return took

    warm = ("site0.niwa", 80)

    def __exit__(self, *_):
        for row in self.host.rows(state="running"):
            self.host.rpc("app.stop", name=row["name"])


class Fpm:
    def __init__(self, folder):
        self.dir = folder

    def __enter__(self):
        (self.dir / "fpm").mkdir()
        conf = self.dir / "fpm.conf"
        conf.write_text(f"[global]\ndaemonize = no\nerror_log = {self.dir}/fpm.log\n" + "".join(POOL.format(n=n, dir=self.dir) for n in range(SITES)))
        self.process = subprocess.Popen([FPM, "-y", conf, "-c", self.dir / "php/php.ini"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for("php-fpm listens", lambda: "ready to handle" in ((self.dir / "fpm.log").read_text() if (self.dir / "fpm.log").exists() else ""),
                 timeout=60)
        return self

    def idle_bytes(self):
        return pss(self.process.pid) / SITES

    def first(self, n):
        return request(f"site{n}.fpm", 8080)

    warm = ("site0.fpm", 8080)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


class Activated:
    def __init__(self, folder):
        self.dir, self.all = folder, []

    def __enter__(self):
        script = self.dir / "behind"
        script.write_text(BEHIND_IT.format(dir=self.dir))
        script.chmod(0o755)
        for n in range(SITES):
            self.all.append(subprocess.Popen(["systemd-socket-activate", "-l", f"127.0.0.1:{LISTEN + n}", script, str(n), str(BEHIND + n)],
                                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        listening = f"{LISTEN + SITES - 1:04X}"
        wait_for("all listen", lambda: f":{listening} 00000000:0000 0A" in Path("/proc/net/tcp").read_text(), timeout=60)
        time.sleep(1)
        return self

    def idle_bytes(self):
        return pss(*(p.pid for p in self.all)) / SITES

    def first(self, n):
        return request(f"port{LISTEN + n}.socket", 8080)

    warm = (f"port{LISTEN}.socket", 8080)

    def __exit__(self, *_):
        for pid in self.dir.glob("apache*.pid"):
            os.kill(int(pid.read_text()), 15)
        for process in self.all:
            process.terminate()
            process.wait()


def measure(report, peers):
    """Who is visited takes turns."""
    for name, peer in peers.items():
        report.value(f"{name}: a site that sleeps", "bytes", peer.idle_bytes(), "bytes")
    times = {name: [] for name in peers}
    for n in range(1, VISITS + 1):
        for name, peer in peers.items():
            times[name].append(peer.first(n))
    for name in peers:
        report.samples(f"{name}: the first request", times[name], "ms")
    report.samples("niwa: the first request to one that froze", peers["niwa"].frozen(), "ms")
    rates = {name: [] for name in peers}
    for peer in peers.values():
        request(*peer.warm)
    for _ in range(ROUNDS):
        for name, peer in peers.items():
            rates[name].append(load(*peer.warm))
    for name in peers:
        report.value(f"{name}: warm", "rate", statistics.median(rates[name]), "/s")
        if name != "niwa":
            report.value(f"warm, niwa against {name}", "ratio", statistics.median(a / b for a, b in zip(rates["niwa"], rates[name])), "")


def main():
    report = lib.Report("peers")
    world.leave_the_machine_alone()
    host = Host(log_level=4, criu=restore.CRIU)
    subprocess.run([world.HERE.parent / "tests/apps/php/prepare.sh", host.dir], check=True, stdin=subprocess.DEVNULL)
    api = NiwaApi(host)
    try:
        host.start()
        api.start()
        with Front(host.dir / "front", more=SERVERS.format(dir=host.dir), workers=os.cpu_count(), log="off"):
            with Niwa(host, api) as niwa, Fpm(host.dir) as fpm, Activated(host.dir) as activated:
                measure(report, {"niwa": niwa, "php-fpm ondemand": fpm, "socket-activate and proxyd": activated})
    finally:
        api.stop()
        host.stop()
    return report.done()


sys.exit(main())
