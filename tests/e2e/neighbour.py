# SPDX-License-Identifier: MIT
"""Another machine on a network of the host: sockets of this process that are there."""

import ctypes
import os
import socket
import subprocess
import threading

from clients import PATIENCE

CLONE_NEWNET = 0x40000000
HOST = "192.0.2.1"  # this host, as the other machine sees it
HOST6 = "2001:db8:2::1"


class Neighbour:
    """A network namespace with these addresses, a veth and a default route to the host."""

    def __init__(self, *addresses, link="outside"):
        self.link = link
        self.machine = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 600"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE)
        self.machine.stdout.readline()
        self.namespace = os.open(f"/proc/{self.machine.pid}/ns/net", os.O_RDONLY)
        pid = self.machine.pid
        self.run(f"ip link add {link} type veth peer name inside netns {pid}",
                 f"ip address add {HOST}/24 dev {link}", f"ip -6 address add {HOST6}/64 dev {link} nodad",
                 f"ip link set {link} up")
        self.there("ip link set lo up", *(
            f"ip -6 address add {a}/64 dev inside nodad" if ":" in a else f"ip address add {a}/24 dev inside"
            for a in addresses), "ip link set inside up", f"ip route add default via {HOST}",
                   *([f"ip -6 route add default via {HOST6}"] if any(":" in a for a in addresses) else []))

    def run(self, *lines):
        for line in lines:
            subprocess.run(line.split(), check=True)

    def there(self, *lines):
        self.run(*(f"nsenter -n -t {self.machine.pid} {line}" for line in lines))

    def socket(self, family=socket.AF_INET):
        return self.socket_of(family, socket.SOCK_STREAM)

    def socket_of(self, family, kind):
        """Made by a thread that has stepped over there."""
        made = []

        def make():
            if ctypes.CDLL(None, use_errno=True).setns(self.namespace, CLONE_NEWNET) == 0:
                made.append(socket.socket(family, kind))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]

    def connect(self, to, port, source=("", 0)):
        s = self.socket(socket.AF_INET6 if ":" in to else socket.AF_INET)
        s.settimeout(PATIENCE)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if source != ("", 0):
                s.bind(source)
            s.connect((to, port))
        except OSError:
            s.close()
            raise
        return s

    def end(self):
        self.machine.kill()
        self.machine.wait()
        self.machine.stdout.close()
        os.close(self.namespace)
        subprocess.run(["ip", "link", "delete", self.link], check=False, stderr=subprocess.DEVNULL)
