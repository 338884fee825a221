# SPDX-License-Identifier: MIT
"""Apps that look around inside their container: Python in `image: host` for probes, the echo program (tests/apps/echo)
for faults."""

import json
import urllib.parse
import urllib.request

from echo import image
from host import SLOW

# Listens on 80 and does nothing else: what is looked at is done by `niwa exec` in it.
QUIET = "import socket; s = socket.create_server(('', 80)); [c.close() for c, _ in iter(s.accept, None)]"


def app(name, image="host", command=None, **keys):
    """An app record; keys as in niwa.yaml, `_` as it is. Listens on 80, never sleeps, unless told otherwise."""
    record = {"name": name, "image": image, "command": command or ["/usr/bin/python3", "-Ic", QUIET],
              "ports": [{"port": 80, "protocol": "http"}], "sleep": {"freeze": "0", "page": "0", "save": "0"},
              "egress": "none", "stop": {"grace": "1s", "signal": "KILL"}}
    record.update(keys)
    return record


def apply(host, *records, check=True):
    return host.apply(json.dumps({"apps": list(records)}), check=check)


def echo(name, *switches, **keys):
    return app(name, image(), ["/echo", "--http", "80", *switches], **keys)


def ask(address, what, timeout=20, **query):
    """GET what?query of an echo app: its answer as a text."""
    url = f"http://{address}{what}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=timeout * SLOW) as answer:
        return answer.read().decode(errors="replace")


def facts(text):
    """The `key: value` lines of an answer."""
    return dict(line.split(": ", 1) for line in text.splitlines() if ": " in line)


def run(host, name, *argv, **how):
    return host.niwa("exec", name, "--", *argv, **how)


def python(host, name, code, *args):
    """Runs Python inside; it prints JSON, which is returned."""
    done = run(host, name, "/usr/bin/python3", "-Ic", code, *args)
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise AssertionError(f"no JSON: {done.stdout[-2000:]}\n{done.stderr[-2000:]}") from None
