#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""niwa-sim as a program: test_sim.py NIWA_SIM"""
import json
import subprocess
import sys
import unittest

SIM = sys.argv.pop(1)


def sim(*args, text=None):
    return subprocess.run([SIM, *args], input=text, text=True, capture_output=True, check=False, timeout=60)


class Sim(unittest.TestCase):
    def test_what_is_printed_can_be_replayed_with_the_same_result(self):
        made = ["--make", "bursty", "--apps", "20", "--length", "2d", "--visits", "500"]
        text = sim(*made, "--print").stdout
        self.assertGreater(len(text.splitlines()), 300)
        again = json.loads(sim("--json", text=text).stdout)
        once = json.loads(sim("--json", *made).stdout)
        self.assertEqual(again["visits"], once["visits"])
        for a, b in zip(again["policies"], once["policies"]):
            self.assertEqual([a[k] for k in ("policy", "awake", "frozen", "saved", "p99_us")],
                             [b[k] for k in ("policy", "awake", "frozen", "saved", "p99_us")])

    def test_with_match_nobody_waits_longer_on_average_than_with_the_fixed_time(self):
        done = json.loads(sim("--make", "daily", "--apps", "50", "--length", "3d", "--visits", "2000", "--save", "1h",
                              "--match", "mean", "--json").stdout)
        fixed, _, governor = done["policies"]
        self.assertEqual((fixed["policy"], governor["policy"]), ("fixed", "governor"))
        self.assertLessEqual(governor["mean_us"], fixed["mean_us"])

    def test_the_table_names_the_policies_and_states(self):
        out = sim("--make", "cron", "--apps", "5", "--swap").stdout
        for word in ("fixed", "declared", "governor", "awake", "frozen", "paged", "saved", "p99", "GiB hours"):
            self.assertIn(word, out)

    def test_wrong_usage_is_2_and_names_what_was_wrong(self):
        for args, said in ((["--make", "often"], "--make: found 'often'"), (["--fixed", "x"], "--fixed: found 'x'"),
                           (["--apps", "0"], "--apps: found '0'"), (["--paged", "101%"], "--paged: found '101%'"),
                           (["--match", "p98"], "--match: found 'p98'"), (["--print"], "--make"),
                           (["--make", "cron", "file"], "--make"), (["--nonsense"], "nonsense")):
            done = sim(*args)
            self.assertEqual(done.returncode, 2, args)
            self.assertIn(said, done.stderr)

    def test_a_file_that_cannot_be_read_is_named(self):
        done = sim("/nonexistent/trace")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/nonexistent/trace", done.stderr)
        done = sim(text="nonsense\n")
        self.assertEqual(done.returncode, 1)
        self.assertIn("standard input:1:", done.stderr)


unittest.main(argv=sys.argv)
