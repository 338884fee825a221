#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""bench start: from the request to the first instruction of a static binary. niwa: `app.wake` on niwad's socket, all
namespaces, user namespace, overlay, veth with addresses, control groups with limits, seccomp. crun: `crun run` of the
same root, from its spawn; the same namespaces and a control group, but no veth, overlay, limits or seccomp. crun
refuses hybrid control groups: there it runs where only the unified hierarchy is mounted. They take turns.

Both figures end with what the binary says was the moment of its first instruction."""
import json
import os
import statistics
import subprocess
import sys
import time

import lib
import world

RUNS = 300
PAUSE = 0.02
STAGES = ("decided", "cloned", "executed")
KEPT = ("/proc", "/dev", "/dev/pts", "/dev/shm")


def now_us():
    return time.monotonic_ns() // 1000


def bundle(folder, image):
    """An OCI bundle of the image as crun itself proposes it, with all namespaces."""
    folder.mkdir()
    subprocess.run(["crun", "spec"], cwd=folder, check=True)
    config = json.loads((folder / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["/server", "--now"]}
    config["root"] = {"path": str(image), "readonly": False}
    config["mounts"] = [m for m in config["mounts"] if m["destination"] in KEPT]
    config["linux"].pop("resources")
    config["linux"]["namespaces"] = [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "user", "cgroup")]
    config["linux"]["uidMappings"] = config["linux"]["gidMappings"] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    (folder / "config.json").write_text(json.dumps(config))


def serve_crun(folder):
    """For each line: runs crun, says how many ms it took to the first instruction. In a mount namespace of its own."""
    world.as_keep()
    if os.path.ismount("/sys/fs/cgroup/unified"):
        subprocess.run(["mount", "--bind", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"], check=True)
    argv = ["/usr/bin/crun", "--root", f"{folder}/state", "--cgroup-manager=cgroupfs", "run", "-b", folder]
    for n, _ in enumerate(sys.stdin):
        began = now_us()
        with subprocess.Popen([*argv, f"bench{os.getpid()}-{n}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              close_fds=False) as child:
            said = child.stdout.read()
        print((int(said) - began) / 1000, flush=True)
    return 0


class Crun:
    def __init__(self, host):
        host.image.chmod(0o755)
        bundle(host.dir / "crun", host.image)
        self.child = subprocess.Popen(["unshare", "-m", sys.executable, "-B", __file__, "--crun", host.dir / "crun"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self):
        self.child.stdin.write("\n")
        self.child.stdin.flush()
        return float(self.child.stdout.readline())

    def close(self):
        self.child.stdin.close()
        self.child.wait(10)


def start(rpc, ask, address):
    """(ms from request to first instruction, stages)"""
    began = now_us()
    stages = rpc.call("app.wake", name="app")["stages"]
    first_us = ask(address)[2]
    rpc.call("app.stop", name="app")
    time.sleep(PAUSE)
    return (first_us - began) / 1000, stages


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--crun":
        return serve_crun(sys.argv[2])
    report = lib.Report("start")
    niwa, crun, stages = [], [], []
    with world.running() as host, host.client() as ask, host.talk() as rpc:
        address = host.declare(["app"])["app"]
        other = Crun(host)
        other.run()
        start(rpc, ask, address)
        for _ in range(RUNS):
            ms, parts = start(rpc, ask, address)
            niwa.append(ms)
            stages.append(parts)
            crun.append(other.run())
            time.sleep(PAUSE)
        other.close()
    report.samples("niwa", niwa, "ms", p50=3, p99=8)
    for stage in STAGES:
        report.value(f"niwa, accepted to {stage}", "p50", statistics.median(s[stage] / 1000 for s in stages), "ms")
    report.samples("crun run", crun, "ms")
    report.value("crun run / niwa", "ratio", statistics.median(b / a for a, b in zip(niwa, crun)), "", least=2)
    return report.done()


sys.exit(main())
