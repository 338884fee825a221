#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""The program niwa against a fake engine. NIWA is the program, SOURCE the root of the source tree."""
import codecs
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fake_engine import FakeEngine  # noqa: E402

NIWA = os.environ["NIWA"]
SOURCE = os.environ["SOURCE"]
APPS = """apps:
  - {name: blog.example.com, image: host, command: [true], ports: [{port: 80, protocol: http}]}
  - {name: mail.example.com, image: host, command: [true], ports: [{port: 143, protocol: imap}]}
"""


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


class Terminal:
    """A program on a pseudo terminal of ours."""

    def __init__(self, argv, env):
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            os.execve(argv[0], argv, env)
        self.output = ""
        self.decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode

    def read_until(self, text, seconds=10):
        deadline = time.monotonic() + seconds
        while text not in self.output:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise AssertionError(f"'{text}' did not come; there is {self.output!r}")
            try:
                self.output += self.decode(os.read(self.master, 4096))
            except OSError:
                raise AssertionError(f"'{text}' did not come before the end; there is {self.output!r}") from None

    def type(self, text):
        os.write(self.master, text.encode())

    def is_raw(self):
        return not termios.tcgetattr(self.master)[3] & termios.ICANON

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def wait(self):
        while True:  # what is unread would keep the program from ending
            try:
                if select.select([self.master], [], [], 0.05)[0]:
                    self.output += self.decode(os.read(self.master, 4096))
            except OSError:
                pass
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)


class CliTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="niwa-test-cli-")
        self.engine = FakeEngine(self.folder)
        self.env = {**os.environ, "NIWA_SOCKET": self.engine.path, "LC_ALL": "C.UTF-8"}
        self.env.pop("COLUMNS", None)

    def tearDown(self):
        self.engine.close()
        subprocess.run(["rm", "-rf", self.folder], check=True)

    def niwa(self, *args, stdin=None, env=None):
        return subprocess.run([NIWA, *args], input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                              text=True, capture_output=True, timeout=30, env=env or self.env, check=False)

    def good(self, *args, **kwargs):
        done = self.niwa(*args, **kwargs)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def apply(self):
        return self.good("apply", self.write("apps.yaml", APPS))

    def terminal(self, *args):
        return Terminal([NIWA, *args], {**self.env, "TERM": "xterm"})

    # --- tables ---

    def test_help_completion_and_manual_agree(self):
        verbs = re.findall(r"^  ([a-z]+) ", self.good("help").split("options of all verbs")[0], re.M)
        self.assertIn("apply", verbs)
        self.assertEqual(self.good("help", "--completion"), read(f"{SOURCE}/dist/completion/niwa.bash"))
        page = read(f"{SOURCE}/docs/man/niwa.1")
        listed = self.good("help", "--man")
        self.assertIn(listed, page, "run: niwa help --man, and put it between the marks of docs/man/niwa.1")
        self.assertEqual(re.findall(r"^\.It Cm (\w+)", listed, re.M), verbs)
        for verb in verbs:
            self.assertIn(f"usage: niwa {verb}", self.good("help", verb))
            self.assertEqual(self.good("help", verb), self.good(verb, "--help"))

    def test_completion_offers_verbs_options_and_apps(self):
        self.apply()
        script = (f"PATH={os.path.dirname(NIWA)}:$PATH; source {SOURCE}/dist/completion/niwa.bash; "
                  'complete_it() { COMP_WORDS=("$@"); COMP_CWORD=$(($#-1)); _niwa; echo "${COMPREPLY[*]}"; }; '
                  "complete_it niwa ap; complete_it niwa apply --dry; complete_it niwa show bl; complete_it niwa show ''")
        done = subprocess.run(["bash", "-c", script], text=True, capture_output=True, env=self.env, check=True)
        self.assertEqual(done.stdout.splitlines(),
                         ["apply", "--dry-run", "blog.example.com", "blog.example.com mail.example.com"])

    def test_usage_mistakes_exit_with_2(self):
        for args in ([], ["lss"], ["show"], ["show", "a", "b"], ["ls", "--colour"], ["logs", "-n", "many", "a"],
                     ["exec", "app"], ["exec", "-t", "-T", "app", "ls"], ["top", "--sort", "age"],
                     ["top", "--delay", "1ms"], ["top", "--limit", "0"], ["top", "--limit", "201"], ["doctor", "nothing"], ["help", "lss"],
                     ["logs", "--json", "app"], ["--json", "import", "compose.yml"], ["--version", "app"]):
            done = self.niwa(*args)
            self.assertEqual(done.returncode, 2, args)
            self.assertTrue(done.stderr, args)
        self.assertIn("did you mean 'ls'", self.niwa("lss").stderr)

    # --- listings ---

    def test_applied_apps_are_listed(self):
        self.assertIn("added 2, changed 0, unchanged 0", self.apply())
        self.assertIn("added 0, changed 0, unchanged 2", self.apply())
        lines = self.good("ls").splitlines()
        self.assertEqual(lines[0].split(), ["APP", "TENANT", "STATE", "ADDRESS", "PORTS", "LAST", "WAKE", "TOOK", "BY"])
        self.assertEqual(len(lines), 3)
        self.assertRegex(lines[1], r"blog\.example\.com .* stopped +10\.64\.0\.17 +80/http +[34] s ago +12\.4 ms +start")
        self.assertEqual(self.good("ls", "-q"), "blog.example.com\nmail.example.com\n")
        self.assertEqual(self.good("ls", "-q", "mail*"), "mail.example.com\n")
        self.assertEqual([a["name"] for a in json.loads(self.good("ls", "--json"))],
                         ["blog.example.com", "mail.example.com"])

    def test_a_pattern_that_matches_nothing_is_a_failure(self):
        self.assertEqual(self.good("ls"), "")
        self.apply()
        for args, printed, said in ((["nothing*"], "", "no app matches\n"), (["-q", "nothing*"], "", ""),
                                    (["--json", "nothing*"], "[]\n", "no app matches\n")):
            done = self.niwa("ls", *args)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (1, printed, said), args)
        self.assertEqual(self.good("ls", "-q", "--state", "frozen"), "")  # a state that no app is in is an answer

    def test_pages_are_put_together(self):
        for n in range(1203):
            self.engine.apps[f"app{n:04}"] = {"name": f"app{n:04}"}
            self.engine.states[f"app{n:04}"] = "stopped"
        self.assertEqual(len(self.good("ls", "-q").splitlines()), 1203)
        self.assertEqual(len(json.loads(self.good("ls", "--json"))), 1203)

    def test_a_table_fits_the_terminal(self):
        self.apply()
        for columns in (30, 50, 80):
            for line in self.good("ls", env={**self.env, "COLUMNS": str(columns)}).splitlines():
                self.assertLessEqual(len(line), columns)

    def test_show_tells_why(self):
        self.apply()
        shown = self.good("show", "blog.example.com")
        self.assertIn("stopped: quiet for 2 s", shown)
        self.assertIn("decided +100 us, cloned +800 us, ready +11.1 ms", shown)
        self.assertIn("has written 2 MiB outside its volumes", shown)
        self.assertNotIn("\x1b", shown)
        self.assertEqual(json.loads(self.good("show", "--json", "blog.example.com"))["why"], "quiet for 2 s")

    def test_an_unknown_app_is_told(self):
        done = self.niwa("show", "nobody")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("no app is called 'nobody'", done.stderr)

    def test_orders_say_what_they_reached(self):
        self.apply()
        self.assertEqual(self.good("wake", "blog.example.com"), "blog.example.com: running (43.1 ms)\n")
        self.assertRegex(self.good("freeze", "blog.example.com"), r"^blog.example.com: frozen \(")
        done = self.niwa("stop", "nobody", "mail.example.com")
        self.assertEqual(done.returncode, 1)
        self.assertIn("mail.example.com: stopped", done.stdout)
        done = self.niwa("restart", "blog.example.com")
        self.assertIn("does not know 'app.restart'", done.stderr)

    def test_status_top_and_version(self):
        self.apply()
        self.assertIn("conntrack", self.good("status"))
        self.assertEqual(json.loads(self.good("status", "--json"))["engine"]["apps"], 2)
        self.assertRegex(self.good("top", "--once"), r"blog\.example\.com .* [12]\d\.\d % +12\.0 MiB +3")
        self.assertEqual(json.loads(self.good("top", "--json"))[0]["memory_bytes"], 12 << 20)
        self.assertIn("niwad 0.1.0", self.good("version"))
        for args in (["--version"], ["ls", "--version"], ["--socket", self.engine.path, "--version", "-q"]):
            self.assertEqual(self.good(*args), self.good("version"), args)
        self.assertEqual(self.good("--version", "--json"), self.good("version", "--json"))

    # --- changes ---

    def test_every_mistake_of_every_file_is_shown_and_nothing_sent(self):
        one = self.write("one.yaml", "apps:\n  - {name: a, image: host, command: [x], prots: []}\n")
        two = self.write("two.yaml", "apps:\n  - {name: b, image: host, command: [x], lifetime: soon}\n")
        done = self.niwa("apply", one, two, self.write("apps.yaml", APPS))
        self.assertEqual(done.returncode, 1)
        self.assertIn("one.yaml:2", done.stderr)
        self.assertIn("two.yaml:2", done.stderr)
        self.assertIn("nothing was changed", done.stderr)
        self.assertEqual(self.engine.calls, [])

    def test_one_name_in_two_files_is_a_mistake(self):
        done = self.niwa("apply", self.write("a.yaml", APPS), self.write("b.yaml", APPS))
        self.assertEqual(done.returncode, 1)
        self.assertIn("b.yaml: app 'blog.example.com' is declared in", done.stderr)

    def test_a_refusal_of_the_engine_is_shown(self):
        done = self.niwa("apply", self.write("x.yaml", "apps: [{name: refused, image: host, command: [x], ports: [{port: 80}]}]\n"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("port 80 is in use", done.stderr)
        self.assertIn("nothing was changed", done.stderr)

    def test_a_dry_run_changes_nothing(self):
        self.assertIn("would be: added 2", self.good("apply", "--dry-run", self.write("apps.yaml", APPS)))
        self.assertEqual(self.engine.apps, {})
        self.apply()
        changed = self.write("changed.yaml", APPS.replace("143", "144"))
        self.assertIn("~ mail.example.com\nwould be: added 0, changed 1, unchanged 1", self.good("apply", "-n", changed))

    def test_limits_of_tenants_that_change_are_said(self):
        file = self.write("t.yaml", "tenants: [{name: a, limits: {memory: 1G}}, {name: b}]\n")
        said = "~ limits of tenant a\n{}added 0, changed 0, unchanged 0; limits of tenants: changed 1, unchanged 1\n"
        self.assertEqual(said.format("would be: "), self.good("apply", "--dry-run", file))
        self.assertEqual({}, self.engine.tenants)
        self.assertEqual(said.format(""), self.good("apply", file))
        for how in ([], ["--dry-run"]):
            self.assertIn("limits of tenants: changed 0, unchanged 2", self.good("apply", *how, file))
        again = self.write("u.yaml", "tenants: [{name: a}]\n")
        for how in (["--dry-run"], []):
            told = json.loads(self.good("apply", "--json", *how, again))
            self.assertEqual(({"changed": 1, "unchanged": 0}, ["a"]), (told["tenants"], told["names"]["tenants"]))

    def test_a_tenant_in_two_files_is_a_mistake(self):
        done = self.niwa("apply", self.write("a.yaml", "tenants: [{name: a}]\n"), self.write("b.yaml", "tenants: [{name: a}]\n"))
        self.assertEqual(done.returncode, 1)
        self.assertIn("b.yaml: tenant 'a' is declared in another file already", done.stderr)

    def test_many_apps_are_sent_in_bounded_pieces(self):
        command = json.dumps(["x" * 200])
        text = "apps:\n" + "".join(f"  - {{name: app{n}, image: host, command: {command}, ports: [{{port: 80}}]}}\n" for n in range(5000))
        self.assertIn("added 5000", self.good("apply", self.write("many.yaml", text)))
        sizes = [len(json.dumps(p, separators=(",", ":"))) for m, p in self.engine.calls if m == "apply.put"]
        self.assertGreater(len(sizes), 30)
        self.assertLessEqual(max(sizes), 9 * 1024)

    def test_rm_forgets_all_or_none(self):
        self.apply()
        self.assertEqual(self.niwa("rm", "blog.example.com", "nobody").returncode, 1)
        self.assertEqual(len(self.engine.apps), 2)
        self.assertEqual(self.good("rm", "blog.example.com"), "removed 1\n")
        self.assertEqual(list(self.engine.apps), ["mail.example.com"])

    def test_rm_asks_on_a_terminal(self):
        self.apply()
        for answer, status in (("n\n", 1), ("y\n", 0)):
            terminal = self.terminal("rm", "blog.example.com")
            terminal.read_until("[y/N]")
            terminal.type(answer)
            self.assertEqual(terminal.wait(), status)
        self.assertEqual(list(self.engine.apps), ["mail.example.com"])

    def many(self, count):
        """Apps of two tenants; each third has a label."""
        text = "apps:\n"
        for n in range(count):
            labels = "{plan: free, n: 'x'}" if n % 3 == 0 else "{}"
            text += f"- {{name: a{n:04}, tenant: t{n % 2}, image: host, command: [x], ports: [{{port: 80}}], labels: {labels}}}\n"
        self.good("apply", self.write("many.yaml", text))
        return [f"a{n:04}" for n in range(count)]

    def test_ls_shows_all_pages_of_what_passes(self):
        names = self.many(1200)
        self.assertEqual(self.good("ls", "-q").split(), names)
        self.assertEqual(self.good("ls", "-q", "--label", "plan=free").split(), names[::3])
        self.assertEqual(self.good("ls", "-q", "--label", "plan", "--tenant", "t0").split(), names[::6])
        self.assertEqual(self.good("ls", "-q", "--name", "a000*").split(), names[:10])
        self.assertEqual(self.good("ls", "-q", "a000*", "--label", "n=x").split(), names[:10:3])
        self.assertEqual(self.good("ls", "-q", "--label", "plan=gold"), "")
        self.assertEqual(self.niwa("ls", "--name", "b*").returncode, 1)
        self.assertEqual(self.niwa("ls", "--name", "b*", "a*").returncode, 2)

    def test_rm_takes_all_of_a_tenant_or_label_and_shows_them_first(self):
        names = self.many(600)
        done = self.niwa("rm", "--label", "plan=free")
        self.assertEqual((done.returncode, len(self.engine.apps)), (1, 600))
        self.assertIn("- a0000\n- a0003\n", done.stderr)
        self.assertIn("- and 180 more\nniwa: 200 apps would be removed; say --yes\n", done.stderr)
        self.assertEqual(self.good("rm", "--yes", "--label", "plan=free", "--tenant", "t1"), "removed 100\n")
        self.assertEqual(sorted(self.engine.apps), [name for n, name in enumerate(names) if n % 6 != 3])
        self.assertEqual(self.good("rm", "-y", "--tenant", "t0"), "removed 300\n")
        self.assertEqual(sorted(self.engine.apps), [name for n, name in enumerate(names) if n % 2 and n % 6 != 3])
        self.assertEqual(self.niwa("rm", "--yes", "--tenant", "t0").returncode, 1)
        for wrong in (["rm"], ["rm", "--yes"], ["rm", "a0001", "--tenant", "t1"]):
            self.assertEqual(self.niwa(*wrong).returncode, 2, wrong)
        for answer, left in (("n\n", 200), ("y\n", 0)):
            terminal = self.terminal("rm", "--tenant", "t1")
            terminal.read_until("Remove 200 apps?")
            terminal.type(answer)
            terminal.wait()
            self.assertEqual(len(self.engine.apps), left)

    def test_a_compose_file_becomes_an_app_file(self):
        compose = self.write("compose.yml", "services:\n  web:\n    image: nginx\n    ports: ['8080:80']\n"
                                            "    privileged: true\n")
        out = os.path.join(self.folder, "web.yaml")
        done = self.niwa("import", "--tenant", "shop", "-o", out, compose)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("privileged", done.stderr)
        self.assertIn("added 1", self.good("apply", out))
        self.assertEqual(next(iter(self.engine.apps.values()))["tenant"], "shop")
        done = self.niwa("import", "-o", out, compose)
        self.assertEqual(done.returncode, 1)
        self.assertIn("--force replaces it", done.stderr)
        self.assertIn("nginx", self.good("import", compose))

    def test_images_are_listed_and_removed(self):
        state = os.path.join(self.folder, "state")
        config = self.write("niwad.conf", f"state_dir = {state}\nrun_dir = {self.folder}\n")
        for name in ("shop", "web", ".web.new", "host.1"):
            os.makedirs(f"{state}/images/{name}/rootfs/etc")
            self.write(f"state/images/{name}/config.json", json.dumps({"digest": "sha256:12", "source": "oci:/x:latest"}))
        self.engine.apps["a"] = {"name": "a", "image": "web"}
        self.engine.states["a"] = "stopped"
        images = ["image", "--config", config]
        self.assertEqual(self.good(*images, "ls", "-q").split(), ["host", "shop", "web"])
        self.assertRegex(self.good(*images, "ls"), r"shop +oci:/x:latest +sha256:12 +(now|\d+ s ago)")
        self.assertEqual([i["name"] for i in json.loads(self.good(*images, "ls", "--json"))], ["host", "shop", "web"])
        done = self.niwa(*images, "rm", "web")
        self.assertEqual(done.returncode, 1)
        self.assertIn("a names it; --force", done.stderr)
        self.engine.running = 1
        self.assertIn("a runs on it", self.niwa(*images, "rm", "--force", "web").stderr)
        self.engine.running = 0
        self.good(*images, "rm", "shop")
        self.good(*images, "rm", "--force", "web")
        self.assertEqual(self.good(*images, "ls", "-q"), "host\n")
        self.assertIn("image.prepare", self.engine.calls[-1][0])  # the engine forgets what it knew
        for name in ("host", "../images", ".web.new", "host.1", "nothing"):
            done = self.niwa(*images, "rm", "--force", name)
            self.assertEqual(done.returncode, 1, name)
            self.assertIn(name, done.stderr)
        self.assertTrue(os.path.isdir(f"{state}/images/host.1"))
        self.assertEqual(self.niwa("image", "import", "x").returncode, 2)
        self.good("image", "prepare")

    def configure_engine(self, state):
        self.engine.status["config"] = {
            "run_dir": self.folder, "state_dir": state, "log_dir": self.folder, "libexec_dir": self.folder,
            "criu": "auto", "cgroup": "niwa", "relay_user": "nobody",
            "service_range": "10.64.0.0/12", "private_range": "10.81.0.0/16", "veth_group": 6481,
            "lease_base": 268435456, "lease_count": 100}

    def test_images_are_those_of_the_engine_that_answers(self):
        for state in ("one", "two"):
            os.makedirs(f"{self.folder}/{state}/images/of-{state}/rootfs/etc")
            self.write(f"{state}/images/of-{state}/config.json", json.dumps({"digest": "sha256:12", "source": "oci:/x"}))
        self.configure_engine(f"{self.folder}/one")
        self.assertEqual(self.good("image", "ls", "-q").split(), ["host", "of-one"])
        config = self.write("niwad.conf", f"state_dir = {self.folder}/two\nrun_dir = {self.folder}\n")
        self.assertEqual(self.good("image", "ls", "-q", "-c", config).split(), ["host", "of-two"])
        self.good("image", "rm", "of-one")
        self.assertEqual(os.listdir(f"{self.folder}/one/images"), [])
        self.assertEqual(os.listdir(f"{self.folder}/two/images"), ["of-two"])

    def test_a_configuration_that_cannot_be_read_is_not_replaced_by_another(self):
        for args in (["ls"], ["rm", "shop"], ["import", "shop", "oci:/nonexistent"]):
            done = self.niwa("image", "-c", "/nonexistent/niwad.conf", *args)
            self.assertEqual((done.returncode, done.stdout), (1, ""), args)
            self.assertIn("/nonexistent/niwad.conf", done.stderr)

    def test_an_oci_image_is_imported(self):
        if os.geteuid() != 0:
            self.skipTest("needs root")
        layout, rootfs = os.path.join(self.folder, "oci"), os.path.join(self.folder, "tree")
        os.makedirs(rootfs)
        self.write("tree/hello", "hello from an image\n")
        for command in (["init", "--layout", layout], ["new", "--image", f"{layout}:v1"],
                        ["insert", "--image", f"{layout}:v1", f"{rootfs}/hello", "/hello"],
                        ["config", "--image", f"{layout}:v1", "--config.cmd", "/bin/run", "--config.env", "A=b"]):
            subprocess.run(["umoci", *command], check=True, capture_output=True)
        state = os.path.join(self.folder, "state")
        images = ["image", "--config", self.write("niwad.conf", f"state_dir = {state}\nrun_dir = {self.folder}\n")]
        os.mkdir(state)
        done = self.niwa(*images, "import", "shop", f"oci:{layout}:v1")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("image: shop", done.stderr)
        self.assertEqual(read(f"{state}/images/shop/rootfs/hello"), "hello from an image\n")
        self.assertIn(f"oci:{layout}:v1", self.good(*images, "ls"))
        done = self.niwa(*images, "import", "shop", f"oci:{layout}:v1")
        self.assertEqual(done.returncode, 1)
        self.assertIn("--replace", done.stderr)
        self.good(*images, "import", "--replace", "shop", f"oci:{layout}:v1")
        done = self.niwa(*images, "import", "other", f"oci:{layout}:v2")
        self.assertEqual(done.returncode, 1)
        self.assertEqual(self.good(*images, "ls", "-q").split(), ["host", "shop"])
        self.assertIn("none of oci:", self.niwa(*images, "import", "other", "ftp://x").stderr)

    # --- logs ---

    def test_logs_show_the_last_lines(self):
        self.apply()
        self.write("blog.example.com.log.1", "".join(f"old {n}\n" for n in range(200)))
        self.write("blog.example.com.log", "new 0\nnew 1\n")
        self.assertEqual(self.good("logs", "-n", "3", "blog.example.com"), "old 199\nnew 0\nnew 1\n")
        self.assertEqual(len(self.good("logs", "blog.example.com").splitlines()), 100)
        self.assertEqual(len(self.good("logs", "-n", "all", "blog.example.com").splitlines()), 202)
        self.assertEqual(self.good("logs", "mail.example.com"), "")

    def test_logs_cannot_steer_the_terminal(self):
        self.apply()
        path = os.path.join(self.folder, "blog.example.com.log")
        line = "tab\t\x1b]0;title\x07 \x1b[2J\r\x7f \u009b31m Grüße 庭 🏯 ".encode() + b"\x9b\xe0\x82\x9b\xf4\xc1\x9b\n"
        with open(path, "wb") as file:
            file.write(line * 3000)
            file.write(b"the end\n")
        terminal = self.terminal("logs", "-n", "all", "blog.example.com")
        terminal.read_until("the end")
        self.assertEqual(terminal.wait(), 0)
        shown = terminal.output.replace("\r\n", "\n").splitlines()
        self.assertEqual(set(shown[:-1]), {"tab\t\\x1b]0;title\\x07 \\x1b[2J\\x0d\\x7f \ufffd\\x9b31m Grüße 庭 🏯 "
                                           "\\x9b\ufffd\\x82\\x9b\ufffd\\xc1\\x9b"})
        done = subprocess.run([NIWA, "logs", "-n", "1000", "blog.example.com"], env=self.env, check=True, capture_output=True)
        self.assertEqual(done.stdout, line * 999 + b"the end\n")

    def test_logs_follow_and_end_with_their_reader(self):
        self.apply()
        path = self.write("blog.example.com.log", "first\n")
        with subprocess.Popen([NIWA, "logs", "-f", "blog.example.com"], stdout=subprocess.PIPE, text=True,
                              env=self.env) as follow:
            self.assertEqual(follow.stdout.readline(), "first\n")
            with open(path, "a", encoding="utf-8") as file:
                file.write("second\n")
            self.assertEqual(follow.stdout.readline(), "second\n")
            os.rename(path, path + ".1")
            self.write("blog.example.com.log", "third\n")
            self.assertEqual(follow.stdout.readline(), "third\n")
            follow.stdout.close()
            self.assertEqual(follow.wait(10), 0)

    # --- exec ---

    def test_exec_passes_input_output_and_status(self):
        self.apply()
        done = self.niwa("exec", "blog.example.com", "--", "sh", "-c", "cat; echo oops >&2; exit 7", stdin="hello\n")
        self.assertEqual((done.returncode, done.stdout, done.stderr), (7, "hello\n", "oops\n"))
        self.assertEqual(self.niwa("exec", "blog.example.com", "sh", "-c", "kill -9 $$").returncode, 128 + 9)
        self.assertEqual(self.niwa("exec", "nobody", "true").returncode, 1)

    def test_exec_passes_signals_on(self):
        self.apply()
        with subprocess.Popen([NIWA, "exec", "-T", "blog.example.com", "sh", "-c",
                               "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"],
                              stdout=subprocess.PIPE, text=True, env=self.env) as run:
            self.assertEqual(run.stdout.readline(), "ready\n")
            run.send_signal(signal.SIGTERM)
            self.assertEqual(run.wait(10), 5)

    def test_exec_gives_a_terminal_that_follows_the_window(self):
        self.apply()
        terminal = self.terminal("exec", "blog.example.com", "--", "sh")
        terminal.resize(33, 101)
        terminal.type("tty && echo A$((1+1))\n")
        terminal.read_until("A2")
        self.assertTrue(terminal.is_raw())
        terminal.resize(44, 102)
        time.sleep(0.2)
        terminal.type("stty size; echo B$((1+1))\n")
        terminal.read_until("B2")
        self.assertIn("44 102", terminal.output)
        terminal.type("exit 9\n")
        self.assertEqual(terminal.wait(), 9)
        self.assertFalse(terminal.is_raw())

    def test_exec_restores_the_terminal_when_it_is_killed(self):
        self.apply()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGSEGV):
            # cat keeps the terminal open, so that its settings can be looked at after the end
            terminal = self.terminal("exec", "blog.example.com", "--", "sh", "-c", "echo up; cat")
            terminal.read_until("up")
            self.assertTrue(terminal.is_raw())
            os.kill(terminal.pid, number)
            status = terminal.wait()
            self.assertIn(status, (128 + number, -number))
            self.assertFalse(terminal.is_raw(), number)

    def test_top_draws_and_ends_with_q(self):
        self.apply()
        terminal = self.terminal("top", "--delay", "200ms")
        terminal.resize(24, 80)
        terminal.read_until("blog.example.com")
        terminal.type("m")
        terminal.read_until("sorted by memory")
        terminal.type("t")
        terminal.read_until("RUNNING")
        terminal.type("t")
        terminal.read_until("sorted by memory   (c m w o s n: sort, t: tenants")
        terminal.type("q")
        self.assertEqual(terminal.wait(), 0)
        self.assertIn("\x1b[?1049l", terminal.output)
        self.assertFalse(terminal.is_raw())

    def test_top_shows_what_the_window_holds_also_after_it_has_changed(self):
        self.apply()
        terminal = self.terminal("top", "--delay", "60s")
        terminal.resize(24, 100)
        terminal.read_until("mail.example.com")
        terminal.read_until("\x1b[J")
        terminal.output = ""
        terminal.resize(5, 30)
        terminal.read_until("\x1b[J")
        lines = [line.strip("\r\n") for line in terminal.output.split("\x1b[H")[-1].split("\x1b[K")]
        self.assertEqual([line[:5] for line in lines], ["2 run", "sorte", "APP  ", "blog.", "\x1b[J"])
        self.assertEqual([line for line in lines if len(line) > 30], [])
        terminal.type("q")
        self.assertEqual(terminal.wait(), 0)

    def test_top_waits_for_an_engine_that_is_restarted(self):
        self.apply()
        terminal = self.terminal("top", "--delay", "100ms")
        terminal.resize(24, 100)
        terminal.read_until("blog.example.com")
        self.engine.away = True
        terminal.read_until("the engine closed")
        self.engine.away = False
        terminal.output = ""
        terminal.read_until("asleep of 2 apps")
        terminal.type("q")
        self.assertEqual(terminal.wait(), 0)

    # --- trouble ---

    def test_an_engine_that_does_not_run_is_explained(self):
        done = self.niwa("ls", "--socket", "/nonexistent/niwad.sock")
        self.assertEqual(done.returncode, 1)
        self.assertIn("'/nonexistent/niwad.sock': No such file", done.stderr)
        self.assertIn("systemctl start niwad", done.stderr)

    def test_missing_permission_names_the_group(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to become somebody else")
        os.chmod(self.folder, 0o755)
        os.chmod(self.engine.path, 0o660)
        done = subprocess.run([NIWA, "ls"], text=True, capture_output=True, env=self.env, check=False, user=65534, group=65534, extra_groups=[])
        self.assertEqual(done.returncode, 1)
        self.assertIn("group niwa", done.stderr)

    def test_an_output_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([NIWA, "help"], stdout=full, stderr=subprocess.PIPE, text=True, env=self.env,
                                  check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("No space left", done.stderr)

    # --- doctor ---

    def test_the_doctor_prints_the_line_that_mends(self):
        env = {**self.env, "NIWA_DOCTOR_FAKE": "kernel:fail,veth:warn,nft-fib:off"}
        done = self.niwa("doctor", "kernel", "veth", "nft-fib", "pidfd", env=env)
        self.assertEqual(done.returncode, 1)
        self.assertIn("> install a kernel", done.stdout)
        self.assertIn("1 ok, 1 to look at, 1 missing, 1 not checked", done.stdout)
        listed = json.loads(self.niwa("doctor", "--json", "kernel", "veth", env=env).stdout)
        self.assertEqual([(p["id"], p["result"]) for p in listed], [("kernel", "fail"), ("veth", "warn")])
        self.assertEqual(self.niwa("doctor", "veth", env=env).returncode, 0)

    def test_the_doctor_looks_at_the_engine_that_answers(self):
        self.configure_engine(os.path.join(self.folder, "state"))
        self.assertIn(f"{self.folder}/keep.sock", self.niwa("doctor", "keep").stdout)
        config = self.write("niwad.conf", "run_dir = /nonexistent/niwa\n")
        self.assertIn("/nonexistent/niwa/keep.sock", self.niwa("doctor", "-c", config, "keep").stdout)

    def test_the_doctor_without_root_says_what_it_could_not_check(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to become somebody else")
        done = subprocess.run([NIWA, "doctor", "overlay"], text=True, capture_output=True, env=self.env, check=False,
                              user=65534, group=65534, extra_groups=[])
        self.assertIn("not checked: needs root", done.stdout)
        self.assertEqual(done.returncode, 0)


if __name__ == "__main__":
    unittest.main()
