# SPDX-License-Identifier: MIT
"""The program that misbehaves when it is told to (tests/apps/echo), as an image for tests."""

import atexit
import functools
import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from host import TOP


@functools.cache
def image():
    """Builds it once a run; the path of its root folder."""
    folder = tempfile.mkdtemp(prefix="nwecho", dir="/tmp")
    atexit.register(shutil.rmtree, folder, True)
    Path(folder).chmod(0o755)
    subprocess.run([TOP / "tests/apps/echo/prepare.sh", folder], check=True, stdin=subprocess.DEVNULL)
    return f"{folder}/echo/root"


def app(name, *switches, ports=((80, "http"),), **keys):
    """One app of an app file; keys over what suits a test: no egress, no sleep, short deadlines."""
    record = {
        "name": name, "tenant": "test", "image": image(), "egress": "none",
        "command": ["/echo", "--http", "80", *switches],
        "ports": [p if isinstance(p, dict) else {"port": p[0], "protocol": p[1]} for p in ports],
        "sleep": {"freeze": "never", "page": "never", "save": "never"},
        "stop": {"grace": "1s"},
    }
    record.update(keys)
    return record


def file(*apps):
    """JSON is YAML."""
    return json.dumps({"apps": list(apps)}, indent=1)
