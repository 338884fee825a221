#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""test_install.py BUILD: scripts/install into a folder of its own, and away again."""
import os
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = ""


def listing(top):
    """Every path below top."""
    return sorted(os.path.relpath(os.path.join(folder, name), top)
                  for folder, folders, files in os.walk(top) for name in folders + files)


class InstallTest(unittest.TestCase):
    def setUp(self):
        self.place = tempfile.TemporaryDirectory(prefix="niwa-install-")
        self.addCleanup(self.place.cleanup)
        self.top = self.place.name

    def script(self, *args, prefix="/usr/local"):
        env = dict(os.environ, BUILD=BUILD, PREFIX=prefix, DESTDIR=self.top)
        done = subprocess.run([f"{TOP}/scripts/install", *args], env=env, text=True, capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def put(self, path, text):
        os.makedirs(os.path.dirname(f"{self.top}/{path}"), exist_ok=True)
        with open(f"{self.top}/{path}", "w", encoding="utf-8") as file:
            file.write(text)

    def test_every_program_page_and_unit_is_installed(self):
        self.script()
        there = listing(self.top)
        for path in ["usr/local/bin/niwa", "usr/local/bin/niwa-sim", "usr/local/share/man/man1/niwa-sim.1", "usr/local/sbin/niwad", "usr/local/sbin/niwa-keep", "usr/local/libexec/niwa/niwa-relay",
                     "usr/local/libexec/niwa/niwa-api", "usr/local/lib/systemd/system/niwa-api.service", "usr/local/share/man/man8/niwa-api.8",
                     "usr/local/lib/systemd/system/niwad.service", "usr/local/share/man/man5/niwa.yaml.5",
                     "usr/local/share/bash-completion/completions/niwa", "etc/niwa/niwad.conf",
                     "usr/local/share/man/man7/niwa-nginx.7", "usr/local/share/niwa/nginx/niwa.conf"]:
            self.assertIn(path, there)
        for path in there:
            if path.endswith((".service", ".conf")) or path.startswith("usr/local/libexec/niwa/niwa-stop"):
                with open(f"{self.top}/{path}", encoding="utf-8") as file:
                    self.assertNotRegex(file.read(), r"@[A-Z]+@", path)

    def test_what_was_installed_is_taken_away_and_nothing_else(self):
        for prefix in ["/usr/local", "/opt/niwa", "/usr"]:
            for path in ["usr/share/man/man1/other.1", "usr/local/share/man/man8/other.8", "usr/local/bin/other", "etc/other"]:
                self.put(path, "somebody else's\n")
            for folder in ["lib", "libexec", "sbin", "share/man/man5"]:
                os.makedirs(f"{self.top}/{prefix}/{folder}", exist_ok=True)
            before = listing(self.top)
            self.script(prefix=prefix)
            self.assertNotEqual(listing(self.top), before)
            self.script("--remove", prefix=prefix)
            self.assertEqual(listing(self.top), before)

    def test_a_configuration_that_somebody_wrote_in_stays(self):
        self.put("etc/niwa/niwad.conf", "freeze = 5s\n")
        self.script()
        said = self.script("--remove")
        self.assertIn("kept: /etc/niwa", said)
        with open(f"{self.top}/etc/niwa/niwad.conf", encoding="utf-8") as file:
            self.assertEqual(file.read(), "freeze = 5s\n")

    def test_it_can_be_installed_twice_and_taken_away_twice(self):
        self.script()
        once = listing(self.top)
        self.script()
        self.assertEqual(listing(self.top), once)
        self.script("--remove")
        self.script("--remove")
        self.assertEqual([path for path in listing(self.top) if "niwa" in path], [])


if __name__ == "__main__":
    BUILD = sys.argv.pop(1)
    unittest.main()
