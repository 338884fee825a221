#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""niwa doctor against real rules and routes, each case in a network namespace of its own. Root only."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

NIWA = os.environ["NIWA"]
RANGE = "10.80.0.0/16"
RANGE6 = "fd6e:6977:6100:2::/96"
IPV6 = "ula_prefix = fd6e:6977:6100::/48\n"

DOCKER = """table ip filter {
 chain DOCKER-USER { return; }
 chain FORWARD { type filter hook forward priority 0; policy drop; jump DOCKER-USER; }
}"""
UFW = """table ip filter {
 chain ufw-user-forward { }
 chain FORWARD { type filter hook forward priority 0; policy drop; jump ufw-user-forward; }
}"""
FIREWALLD = """table inet firewalld {
 chain filter_FORWARD {
  type filter hook forward priority filter + 10; policy accept;
  ct state { established, related } accept
  reject with icmpx admin-prohibited
 }
}"""
PLAIN = """table inet filter { chain pass { type filter hook forward priority 0; policy drop; }
}"""
HARMLESS = """table inet filter {
 chain input { type filter hook input priority 0; policy drop; }
 chain forward { type filter hook forward priority 0; policy accept; tcp dport 25 drop; }
}
table inet niwa { chain forward { type filter hook forward priority 0; policy drop; }
}
table ip6 filter { chain forward { type filter hook forward priority 0; policy drop; }
}"""


class DoctorTest(unittest.TestCase):
    def ask(self, probe, *commands, rules="", conf=""):
        """Sets a fresh network namespace up, asks one probe there. (result, what it found, how to mend it)"""
        with tempfile.NamedTemporaryFile("w", suffix=".nft") as file, tempfile.NamedTemporaryFile("w", suffix=".conf") as set_to:
            file.write(rules)
            file.flush()
            set_to.write(conf)
            set_to.flush()
            config = f"--config {set_to.name}" if conf else ""
            lines = ["set -e", "ip link set lo up", f"nft -f {file.name}" if rules else "true", *commands,
                     f"{NIWA} doctor --json {config} {probe} || [ $? = 1 ]"]
            done = subprocess.run(["unshare", "-n", "sh", "-c", "\n".join(lines)], text=True, capture_output=True,
                                  check=False, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads(done.stdout)[0]
        return answer["result"], answer["found"], answer["mend"]

    def test_firewalls_that_drop_are_named_with_the_lines_that_mend(self):
        for rules, who, line in ((DOCKER, "Docker", f"iptables -I DOCKER-USER -s {RANGE} -j ACCEPT"),
                                 (UFW, "ufw", f"ufw route allow from {RANGE}"),
                                 (FIREWALLD, "firewalld", f"--zone=trusted --add-source={RANGE}"),
                                 (PLAIN, "another firewall", f"nft insert rule inet filter pass ip daddr {RANGE} accept")):
            with self.subTest(who):
                result, found, mend = self.ask("firewall", rules=rules)
                self.assertEqual(result, "fail")
                self.assertIn(who, found)
                self.assertIn(line, mend)

    def test_what_the_doctor_prescribes_heals(self):
        _, _, mend = self.ask("firewall", rules=PLAIN)
        lines = [line for line in mend.splitlines() if line.startswith("nft insert")]
        self.assertEqual(len(lines), 2)
        self.assertEqual(self.ask("firewall", *lines, rules=PLAIN)[0], "ok")

    def test_one_direction_alone_is_not_enough(self):
        self.assertEqual(self.ask("firewall", f"nft insert rule ip filter DOCKER-USER ip saddr {RANGE} accept",
                                  rules=DOCKER)[0], "fail")

    def test_an_accept_of_a_wider_range_is_enough(self):
        self.assertEqual(self.ask("firewall", "nft insert rule ip filter DOCKER-USER ip saddr 10.0.0.0/8 accept",
                                  "nft insert rule ip filter DOCKER-USER ip daddr 10.0.0.0/8 accept",
                                  rules=DOCKER)[0], "ok")

    def test_other_tables_do_not_worry_it(self):
        self.assertEqual(self.ask("firewall", rules=HARMLESS)[0], "ok")

    def test_iptables_legacy_is_read_too(self):
        if not shutil.which("iptables-legacy"):
            self.skipTest("iptables is not installed")
        drop = "iptables-legacy -P FORWARD DROP"
        result, _, mend = self.ask("firewall-legacy", drop)
        self.assertEqual(result, "fail")
        self.assertEqual(self.ask("firewall-legacy", drop, *mend.splitlines())[0], "ok")

    def test_ranges_meet_the_routes_of_the_host(self):
        pair = ["ip link add e0 type veth peer name e1", "ip link set e0 up", "ip link set e1 up"]
        own = ["ip addr add 10.80.0.1/32 dev lo", "ip route add local 10.64.0.0/12 dev lo",
               "ip route add unreachable 10.64.0.0/12 metric 4000000"]
        cases = (
            ("nothing else", [], "ok", "10.64.0.0/12"),
            ("our own routes", own, "ok", "10.80.0.0/16"),
            ("an instance", [*pair, "ip link set e1 group 6480", "ip route add 10.80.3.4/32 dev e1"], "ok", ""),
            ("a foreign instance", [*pair, "ip route add 10.80.3.4/32 dev e1"], "fail", "10.80.3.4/32 through e1"),
            ("an address", [*pair, "ip addr add 10.70.1.2/24 dev e0"], "fail", "10.70.1"),
            ("another table", [*pair, "ip route add 10.79.0.0/16 dev e0 table 51820"], "fail", "10.79.0.0/16 through e0"),
            ("a private network", [*pair, "ip route add 10.0.0.0/8 dev e0"], "warn", "hides a part"),
            ("a default route", [*pair, "ip route add default dev e0"], "ok", ""),
        )
        for name, commands, result, found in cases:
            with self.subTest(name):
                answer = self.ask("ranges", *commands)
                self.assertEqual(answer[0], result, answer)
                self.assertIn(found, answer[1])

    def test_forwarding_is_looked_at_in_this_namespace(self):
        self.assertEqual(self.ask("forwarding", "echo 1 >/proc/sys/net/ipv4/ip_forward")[0], "ok")
        self.assertIn("niwad turns it on", self.ask("forwarding", "echo 0 >/proc/sys/net/ipv4/ip_forward")[1])

    def test_the_ranges_of_ipv6_meet_the_routes_of_the_host(self):
        pair = ["ip link add e0 type veth peer name e1", "ip link set e0 up", "ip link set e1 up"]
        own = ["ip -6 addr add fd6e:6977:6100:2::a50:1/128 dev lo nodad", "ip -6 route add local fd6e:6977:6100:1::/96 dev lo",
               "ip -6 route add unreachable fd6e:6977:6100:1::/96 metric 4000000",
               "ip -6 route add blackhole fd6e:6977:6100:2::/96 metric 4000000"]
        cases = (
            ("nothing else", [], "ok", "10.64.0.0/12, 10.80.0.0/16 and fd6e:6977:6100::/48"),
            ("our own routes", own, "ok", ""),
            ("an instance", [*pair, "ip link set e1 group 6480", "ip -6 route add fd6e:6977:6100:2::a50:9/128 dev e1"], "ok", ""),
            ("a foreign instance", [*pair, "ip -6 route add fd6e:6977:6100:2::a50:9/128 dev e1"], "fail", "2::a50:9/128 through e1"),
            ("an address", [*pair, "ip -6 addr add fd6e:6977:6100:1::7/112 dev e0 nodad"], "fail", "fd6e:6977:6100:1::"),
            ("another table", [*pair, "ip -6 route add fd6e:6977:6100:2::/112 dev e0 table 51820"], "fail", "through e0"),
            ("a site's network", [*pair, "ip -6 route add fd6e:6977:6100::/48 dev e0"], "warn", "hides a part"),
            ("a default route", [*pair, "ip -6 route add default dev e0"], "ok", ""),
            ("IPv4", [*pair, "ip route add 10.79.0.0/16 dev e0"], "fail", "10.79.0.0/16 through e0"),
        )
        for name, commands, result, found in cases:
            with self.subTest(name):
                answer = self.ask("ranges", *commands, conf=IPV6)
                self.assertEqual(answer[0], result, answer)
                self.assertIn(found, answer[1])
        self.assertEqual(self.ask("ranges", *pair, "ip -6 route add fd6e:6977:6100::/48 dev e0")[0], "ok", "IPv6 is off")

    def test_ipv6_is_looked_at_where_it_is_asked_for(self):
        conf = "/proc/sys/net/ipv6/conf"
        pair = ["ip link add e0 type veth peer name e1"]
        cases = (
            ("off", [], "", "ok", "ula_prefix of niwad.conf is none"),
            ("not yet on", [f"echo 0 >{conf}/all/forwarding"], IPV6, "ok", "niwad turns it on"),
            ("on", [f"echo 1 >{conf}/all/forwarding"], IPV6, "ok", "forwarding is on"),
            ("none", [f"echo 1 >{conf}/all/disable_ipv6"], IPV6, "fail", "this host has no IPv6"),
            ("an uplink", [*pair, f"echo 1 >{conf}/all/forwarding", f"echo 1 >{conf}/e0/accept_ra",
                           f"echo 2 >{conf}/e1/accept_ra"], IPV6, "warn", "e0 ignores routers"),
        )
        for name, commands, text, result, found in cases:
            with self.subTest(name):
                answer = self.ask("ipv6", *commands, conf=text)
                self.assertEqual(answer[0], result, answer)
                self.assertIn(found, answer[1])
        self.assertEqual(answer[2], "sysctl -w net.ipv6.conf.e0.accept_ra=2 (for good: in /etc/sysctl.d/niwa.conf)")

    def test_firewalls_that_drop_ipv6_are_named_and_what_is_prescribed_heals(self):
        for rules, who, line in ((DOCKER.replace("ip filter", "ip6 filter"), "Docker drops what is forwarded by IPv6",
                                  f"ip6tables -I DOCKER-USER -s {RANGE6} -j ACCEPT"),
                                 (UFW.replace("ip filter", "ip6 filter"), "ufw", f"ufw route allow from {RANGE6}"),
                                 (FIREWALLD, "firewalld", f"--zone=trusted --add-source={RANGE6}"),
                                 (PLAIN, "another firewall", f"nft insert rule inet filter pass ip6 daddr {RANGE6} accept")):
            with self.subTest(who):
                result, found, mend = self.ask("firewall", rules=rules, conf=IPV6)
                self.assertEqual(result, "fail")
                self.assertIn(who, found)
                self.assertIn(line, mend)
        lines = [line for line in mend.splitlines() if line.startswith("nft insert")]
        self.assertEqual(len(lines), 4)
        self.assertEqual(self.ask("firewall", *lines, rules=PLAIN, conf=IPV6)[0], "ok")
        four = [line for line in lines if "ip6" not in line]
        self.assertIn("by IPv6", self.ask("firewall", *four, rules=PLAIN, conf=IPV6)[1])
        self.assertEqual(self.ask("firewall", *four, rules=PLAIN)[0], "ok")

    def ask_swap(self, total, left):
        with tempfile.NamedTemporaryFile("w", suffix=".meminfo") as file:
            file.write(f"MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\nSwapTotal: {total} kB\nSwapFree: {left} kB\n")
            file.flush()
            script = f"mount --make-rprivate / && mount --bind {file.name} /proc/meminfo && {NIWA} doctor --json swap"
            done = subprocess.run(["unshare", "-m", "sh", "-c", script], text=True, capture_output=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        answer = json.loads(done.stdout)[0]
        return answer["result"], answer["found"], answer["mend"]

    def test_without_swap_it_says_what_is_missed_and_how_to_set_it_up(self):
        result, found, mend = self.ask_swap(0, 0)
        self.assertEqual(result, "warn")
        self.assertIn("paged is skipped", found)
        for line in mend.splitlines()[1:4]:  # commands, with what they say to people before them
            subprocess.run(["bash", "-n", "-c", line.removeprefix("or until the next boot: ").removeprefix("or on a fast disk: ")],
                           check=True)
        self.assertIn("zramctl -f -s 4G", mend)  # half of the memory
        self.assertEqual(self.ask_swap(4 << 20, 3 << 20)[:2], ("ok", "3G left of 4G"))
        self.assertEqual(self.ask_swap(4 << 20, 1 << 10)[0], "warn")

    def ask_criu(self, probe, script):
        """One probe about a CRIU that is this shell script."""
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/criu", "w", encoding="ascii") as file:
                file.write(f"#!/bin/sh\n{script}\n")
            os.chmod(f"{folder}/criu", 0o755)
            with open(f"{folder}/niwad.conf", "w", encoding="ascii") as file:
                file.write(f"libexec_dir = {folder}\n")
            done = subprocess.run([NIWA, "doctor", "--json", "--config", f"{folder}/niwad.conf", probe], text=True,
                                  capture_output=True, check=False, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)  # niwa does without: never a failure
        answer = json.loads(done.stdout)[0]
        return answer["result"], answer["found"], answer["mend"]

    def test_a_criu_that_is_too_old_is_named_and_not_tried(self):
        script = "echo Version: 3.17.1; [ $1 = --version ] || touch /tmp/niwa-doctor-tried"
        result, found, mend = self.ask_criu("criu", script)
        self.assertEqual(result, "warn")
        self.assertIn("is 3.17.1, at least 4.2 is needed", found)
        self.assertIn("make criu", mend)
        self.assertEqual(self.ask_criu("criu-works", script)[0], "unknown")
        self.assertFalse(os.path.exists("/tmp/niwa-doctor-tried"))

    def test_a_criu_with_a_part_missing_in_the_kernel_is_told_with_the_part(self):
        script = "case $* in --version) echo Version: 4.10.1;; *seccomp*) exit 1;; esac"
        result, found, _ = self.ask_criu("criu", script)
        self.assertEqual((result, found.split(",")[0]), ("warn", "4.10.1 (without seccomp_suspend)"))
        self.assertEqual(self.ask_criu("criu", "[ $1 != --version ] || echo Version: 4.2")[0], "ok")

    def test_a_criu_that_niwad_would_refuse_is_not_said_to_be_fine(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/source.c", "w", encoding="ascii") as file:
                file.write('#include <stdio.h>\nint main(void) { puts("Version: 4.2"); return 0; }\n')
            for options, result in (([], "warn"), (["-static"], "ok")):
                subprocess.run(["cc", *options, "-o", f"{folder}/criu", f"{folder}/source.c"], check=True)
                with open(f"{folder}/niwad.conf", "w", encoding="ascii") as file:
                    file.write(f"criu = {folder}/criu\n")
                done = subprocess.run([NIWA, "doctor", "--json", "--config", f"{folder}/niwad.conf", "criu"], text=True,
                                      capture_output=True, check=False, timeout=60)
                answer = json.loads(done.stdout)[0]
                self.assertEqual(answer["result"], result, answer)
                self.assertEqual("dynamically linked" in answer["found"], result == "warn", answer)

    def test_a_criu_that_niwad_does_not_look_at_is_named(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/criu", "w", encoding="ascii") as file:
                file.write("#!/bin/sh\necho Version: 4.2\n")
            os.chmod(f"{folder}/criu", 0o755)
            with open(f"{folder}/niwad.conf", "w", encoding="ascii") as file:
                file.write(f"libexec_dir = {folder}/none\n")
            done = subprocess.run([NIWA, "doctor", "--json", "--config", f"{folder}/niwad.conf", "criu"], text=True,
                                  capture_output=True, check=False, timeout=60, env={**os.environ, "PATH": folder})
        answer = json.loads(done.stdout)[0]
        self.assertEqual(answer["result"], "warn")
        self.assertIn(f"there is no {folder}/none/criu ({folder}/criu is not used)", answer["found"])

    def test_something_that_is_no_criu_is_not_taken_for_one(self):
        result, found, _ = self.ask_criu("criu", "echo hello")
        self.assertEqual(result, "warn")
        self.assertIn("does not tell", found)

    def test_what_a_criu_says_when_it_cannot_dump_is_passed_on(self):
        says = "echo 'Error (rlimit.c): harmless'; echo 'Error (x.c): no such vdso'; exit 1"
        result, found, _ = self.ask_criu("criu-works", f"[ $1 != --version ] || {{ echo Version: 4.2; exit; }}; {says}")
        self.assertEqual(result, "warn")
        self.assertIn("cannot dump a process: Error (x.c): no such vdso", found)

    def test_a_criu_that_says_it_has_restored_is_not_believed(self):
        script = "case $1 in --version) echo Version: 4.2;; dump) kill -9 $3;; esac"
        result, found, _ = self.ask_criu("criu-works", script)
        self.assertEqual(result, "warn")
        self.assertIn("does not listen", found)

    def test_a_criu_that_hangs_is_ended(self):
        command = f"sleep 7531.{os.getpid()}"  # another run of this test has another one
        result, _, _ = self.ask_criu("criu-works",
                                     "[ $1 != --version ] || { echo Version: 4.2; exit; }; exec " + command)
        self.assertEqual(result, "unknown")
        done = subprocess.run(["ps", "-eo", "args"], text=True, capture_output=True, check=True)
        self.assertNotIn(command, done.stdout)

    def test_every_probe_leaves_the_host_as_it_was(self):
        def state():
            with open("/proc/self/mounts", encoding="utf-8") as file:
                mounts = file.read()
            groups = [root for root, dirs, _ in os.walk("/sys/fs/cgroup") if "niwa-doctor" in root]
            return mounts, groups, sorted(os.listdir("/var/lib"))
        before = state()
        done = subprocess.run([NIWA, "doctor", "--json"], text=True, capture_output=True, check=False, timeout=120)
        self.assertGreater(len(json.loads(done.stdout)), 30)
        self.assertEqual(state(), before)


if __name__ == "__main__":
    unittest.main()
