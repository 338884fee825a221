# SPDX-License-Identifier: MIT
"""Real software (tests/apps) and clients that talk to it once: a connection, an exchange, what was answered. What went
wrong is told apart: the connection could not be made, or it broke afterwards."""

import atexit
import contextlib
import functools
import hashlib
import imaplib
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from host import SLOW, TOP

PATIENCE = 40 * SLOW  # above the 25 s that the relay holds a connection


class NotConnected(Exception):
    """connect() failed, or the server did not let the session begin."""


class Broken(Exception):
    """A connection that was made did not bring the whole answer."""


# -- the apps -----------------------------------------------------------------------------------------------------


@functools.cache
def folder():
    """One folder for the files of all apps of this run."""
    path = tempfile.mkdtemp(prefix="nwapps", dir="/tmp")
    atexit.register(shutil.rmtree, path, True)
    Path(path).chmod(0o755)
    return path


@functools.cache
def prepare(name):
    subprocess.run([TOP / "tests/apps" / name / "prepare.sh", folder()], check=True, stdin=subprocess.DEVNULL,
                   stdout=subprocess.DEVNULL)


def records(software, /, **changes):
    """The records of its apps as tests/apps declares them, with changes."""
    prepare(software)
    text = (TOP / "tests/apps" / software / "app.yaml.in").read_text().replace("@DIR@", folder())
    return [{**app, "egress": "none", **changes} for app in yaml.safe_load(text)["apps"]]


def record(software, /, **changes):
    """That of the first, which most have alone."""
    return records(software, **changes)[0]


def apply(host, *records, check=True):
    return host.apply(json.dumps({"apps": list(records)}, indent=1), check=check)


AWAKE = {"freeze": "never", "page": "never", "save": "never"}


def next_path(host, name):
    """How this app, which has an image and sleeps, will be woken: from it. Where the processor is emulated, a start may
    have been measured to be as fast."""
    known = host.show(name)
    if SLOW != 1 and known["state"] == "stopped" and known["snapshot"]["wakes_by"] == "start":
        return "start"
    assert known["state"] == "saved", known
    return "restore"


# -- one exchange -------------------------------------------------------------------------------------------------


def connect(address, port, timeout=PATIENCE):
    try:
        return socket.create_connection((address, port), timeout=timeout)
    except OSError as e:
        raise NotConnected(f"connect to {address}:{port}: {e!r}") from e


@dataclass
class Answer:
    text: str
    client: tuple  # the client's own address and port
    facts: dict = field(default_factory=dict)


def chunks(path, body):
    while True:
        size, _, body = body.partition(b"\r\n")
        length = int(size or b"-1", 16)
        if not 0 <= length <= len(body) - 2:
            raise Broken(f"GET {path}: a chunk is missing")
        if length == 0:
            return
        yield body[:length]
        body = body[length + 2:]


def http(address, path="/", port=80, timeout=PATIENCE):
    """GET; only a whole 200 counts."""
    with connect(address, port, timeout) as s:
        client = s.getsockname()
        try:
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: niwa.example.com\r\nConnection: close\r\n\r\n".encode())
            data = b"".join(iter(lambda: s.recv(65536), b""))
        except OSError as e:
            raise Broken(f"GET {path}: {e!r}") from e
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise Broken(f"GET {path}: {data[:300]!r}")
    lines = head.decode().lower().split("\r\n")
    length = [int(line.split(":")[1]) for line in lines if line.startswith("content-length:")]
    if length and length[0] != len(body):
        raise Broken(f"GET {path}: {len(body)} bytes of {length[0]}")
    if "transfer-encoding: chunked" in lines:
        body = b"".join(chunks(path, body))
    return Answer(body.decode(), client)


def ask_static(address, **how):
    answer = http(address, "/who", **how)
    answer.facts = dict(zip(("host", "pid", "client"), answer.text.split()))
    return answer


def ask_php(address, **how):
    answer = http(address, "/", **how)
    answer.facts = dict(line.split(": ", 1) for line in answer.text.splitlines() if ": " in line)
    answer.facts["client"], answer.facts["client_port"] = answer.facts["client"].rsplit(":", 1)
    return answer


def ask_django(address, **how):
    answer = http(address, "/who", **how)
    answer.facts = json.loads(answer.text)
    return answer


ask_rails = ask_node = ask_django


def ask_java(address, **how):
    answer = http(address, "/who", **how)
    answer.facts = dict(line.split(": ", 1) for line in answer.text.splitlines())
    answer.facts["client"], answer.facts["client_port"] = answer.facts["client"].rsplit(":", 1)
    return answer


def ask_wordpress(address, **how):
    """A post, which is in the database, as a page; and who answered."""
    page = http(address, "/the-pond/", **how)
    if "A frog jumps in" not in page.text:
        raise Broken(f"GET /the-pond/: no post: {page.text[:300]!r}")
    answer = http(address, "/who", **how)
    answer.facts = dict(line.split(": ", 1) for line in answer.text.splitlines())
    answer.facts["client"], answer.facts["client_port"] = answer.facts["client"].rsplit(":", 1)
    return answer


class Session:
    """One with a database; for the many that psql and mariadb are too slow for."""

    def __init__(self, address, port, timeout):
        self.sock = connect(address, port, timeout)
        self.file = self.sock.makefile("rb")

    def query(self, sql):
        try:
            self.send(sql)
            return self.until_ready()
        except OSError as e:
            raise Broken(f"{sql}: {e!r}") from e

    def close(self):
        self.file.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Postgres(Session):
    """A session of the PostgreSQL protocol, version 3, simple queries only."""

    def __init__(self, address, user="guest", database="niwa", timeout=PATIENCE):
        super().__init__(address, 5432, timeout)
        names = b"".join(x.encode() + b"\0" for x in ("user", user, "database", database)) + b"\0"
        try:
            self.sock.sendall(struct.pack("!ii", 8 + len(names), 196608) + names)
            self.until_ready()
        except (OSError, Broken) as e:
            self.close()
            raise NotConnected(f"session: {e}") from e

    def until_ready(self):
        rows, error = [], None
        while True:
            head = self.file.read(5)
            if len(head) < 5:
                raise Broken(error or "the server closed the connection")
            kind, length = struct.unpack("!ci", head)
            body = self.file.read(length - 4)
            if kind == b"E":
                error = " ".join(part[1:].decode() for part in body.split(b"\0") if part[:1] in (b"S", b"C", b"M"))
            elif kind == b"D":
                rows.append(self.row(body))
            elif kind == b"Z":
                if error:
                    raise Broken(error)
                return rows

    @staticmethod
    def row(body):
        count, at, values = struct.unpack("!h", body[:2])[0], 2, []
        for _ in range(count):
            length = struct.unpack("!i", body[at:at + 4])[0]
            at += 4
            values.append(None if length < 0 else body[at:at + length].decode())
            at += max(length, 0)
        return values

    def send(self, sql):
        """A statement whose answer until_ready() brings."""
        text = sql.encode() + b"\0"
        self.sock.sendall(struct.pack("!ci", b"Q", 4 + len(text)) + text)


class MariaDB(Session):
    """A session of the MySQL protocol, version 10: mysql_native_password, simple queries."""

    # long password, with a database, protocol 4.1, transactions, secure connection, named ways to log in
    CAN = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x80000

    def __init__(self, address, user="wordpress", password="niwa", database="wordpress", timeout=PATIENCE):
        super().__init__(address, 3306, timeout)
        try:
            self.log_in(*(text.encode() for text in (user, password, database)))
        except (OSError, Broken) as e:
            self.close()
            raise NotConnected(f"session: {e}") from e

    def packet(self):
        head = self.file.read(4)
        body = self.file.read(int.from_bytes(head[:3], "little")) if len(head) == 4 else b""
        if not body:
            raise Broken("the server closed the connection")
        if body[0] == 0xFF:
            raise Broken(body[3:].decode(errors="replace"))
        return body

    def log_in(self, user, password, database):
        greeting = self.packet()
        rest = greeting[greeting.index(b"\0") + 5:]  # after protocol, version and the number of the session
        scramble = rest[:8] + rest[27:39]
        once = hashlib.sha1(password).digest()
        twice = hashlib.sha1(scramble + hashlib.sha1(once).digest()).digest()
        proof = bytes(a ^ b for a, b in zip(once, twice))
        body = struct.pack("<IIB23x", self.CAN, 1 << 24, 33) + user + b"\0" + bytes([len(proof)]) + proof \
            + database + b"\0mysql_native_password\0"
        self.sock.sendall(len(body).to_bytes(3, "little") + b"\1" + body)
        self.packet()

    def send(self, sql):
        text = b"\3" + sql.encode()
        self.sock.sendall(len(text).to_bytes(3, "little") + b"\0" + text)

    def until_ready(self):
        if self.packet()[0] == 0:  # OK: nothing but that
            return []
        while self.packet()[0] != 0xFE:
            pass  # what the columns are called
        rows = []
        while (body := self.packet())[0] != 0xFE or len(body) >= 9:
            rows.append(self.row(body))
        return rows

    @staticmethod
    def row(body):
        at, values = 0, []
        while at < len(body):
            kind, at = body[at], at + 1
            more = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(kind, 0)
            length = int.from_bytes(body[at:at + more], "little") if more else kind
            at += more
            values.append(None if kind == 0xFB else body[at:at + length].decode())
            at += 0 if kind == 0xFB else length
        return values


def ask_postgres(address, timeout=PATIENCE):
    with Postgres(address, timeout=timeout) as session:
        client = session.sock.getsockname()
        row = session.query("select pg_postmaster_start_time(), inet_client_addr()::text, pg_backend_pid()")[0]
    return Answer(" ".join(row), client, {"began": row[0], "client": row[1].split("/")[0], "pid": row[2]})


def psql(address, sql, user="niwa", check=True):
    done = subprocess.run(["psql", "-XAt", "-v", "ON_ERROR_STOP=1", "-h", address, "-U", user, "-c", sql, "niwa"],
                          capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL,
                          env={**os.environ, "PGPASSWORD": "niwa", "PGCONNECT_TIMEOUT": str(int(PATIENCE))})
    if check and done.returncode != 0:
        raise AssertionError(f"psql {sql}: exit {done.returncode}: {done.stderr}")
    return done.stdout.strip()


@contextlib.contextmanager
def imap(address, user="ada", timeout=PATIENCE):
    """A session that has logged in. Who got no greeting was not connected; a server that stops after it may end the
    session, also while a name and password are looked up."""
    try:
        session = imaplib.IMAP4(address, 143, timeout=timeout)
    except (OSError, imaplib.IMAP4.error) as e:
        raise NotConnected(f"greeting: {e!r}") from e
    try:
        session.login(user, "niwa")
    except (OSError, imaplib.IMAP4.error) as e:
        session.shutdown()
        raise Broken(f"log in: {e!r}") from e
    try:
        yield session
    except (OSError, imaplib.IMAP4.error) as e:
        raise Broken(f"imap: {e!r}") from e
    finally:
        with contextlib.suppress(OSError, imaplib.IMAP4.error):
            session.logout()  # closes it


def ask_dovecot(address, timeout=PATIENCE):
    with imap(address, timeout=timeout) as session:
        client = session.sock.getsockname()
        status, (count,) = session.select("INBOX", readonly=True)
        if status != "OK":
            raise Broken(f"SELECT: {status} {count}")
    return Answer(f"{count.decode()} mails", client, {"mails": int(count)})


ASK = {"static": ask_static, "php": ask_php, "django": ask_django, "postgres": ask_postgres, "dovecot": ask_dovecot,
       "wordpress": ask_wordpress, "rails": ask_rails, "java": ask_java, "node": ask_node}


# -- many ---------------------------------------------------------------------------------------------------------


@dataclass
class Try:
    began: float  # time.time(), as the engine's history counts
    ended: float = 0.0
    answer: object = None
    error: Exception = None

    def __str__(self):
        return f"{self.began:.3f} +{self.ended - self.began:.3f} s: {self.error!r}"


def one_try(ask, *args):
    t = Try(time.time())
    try:
        t.answer = ask(*args)
    except Exception as e:  # told by the test, not by the thread
        t.error = e
    t.ended = time.time()
    return t


def at_once(count, ask, *args):
    """So many clients at the same moment."""
    barrier = threading.Barrier(count)

    def one(_):
        barrier.wait(PATIENCE)
        return one_try(ask, *args)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


class Load:
    """Some clients that ask again and again, each try recorded; gentle enough to leave the machine its breath."""

    def __init__(self, ask, *args, clients=4, pause=0.005):
        self.ask, self.args, self.pause = ask, args, pause
        self.tries, self.over = [], threading.Event()
        self.threads = [threading.Thread(target=self.run, args=(n,), daemon=True) for n in range(clients)]

    def run(self, number):
        while not self.over.is_set():
            args = (*self.args, number) if getattr(self.ask, "numbered", False) else self.args
            self.tries.append(one_try(self.ask, *args))
            self.over.wait(self.pause)

    def answered(self, since=0.0):
        return sum(1 for t in list(self.tries) if not t.error and t.began > since)

    def failed(self):
        return [t for t in list(self.tries) if t.error]

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for t in self.threads:
            t.join(PATIENCE + 5)
            assert not t.is_alive(), "a client hangs"


def text_of(tries):
    return f"{len(tries)} tries:\n" + "\n".join(str(t) for t in tries[:10])
