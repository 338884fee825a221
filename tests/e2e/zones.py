# SPDX-License-Identifier: MIT
"""Time zones for tests: their clocks show what a test wants to wait for, a second or two from now."""

import math
import struct
import subprocess
import tempfile
import time
from pathlib import Path

from host import SLOW

ZONEINFO = Path("/usr/share/zoneinfo")


class Zones:
    """Lies over the host's own zones, in this process' private mount namespace."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="nwzones", dir="/tmp"))
        self.folder.chmod(0o755)
        ZONEINFO.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", self.folder, ZONEINFO], check=True)
        self.count = 0

    def close(self):
        subprocess.run(["umount", ZONEINFO], check=True)
        for path in self.folder.iterdir():
            path.unlink()
        self.folder.rmdir()

    def file(self, ahead):
        """A TZif file of clocks that are so many seconds ahead of UTC."""
        def part(times):
            return b"TZif2" + bytes(15) + struct.pack(">6I", 0, 0, 0, 0, 1, 4) + struct.pack(">iBB", ahead, 0, 0) + b"NIW\0"

        sign, rest = ("-" if ahead > 0 else ""), abs(ahead)
        return part(4) + part(8) + f"\nNIW{sign}{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}\n".encode()

    def before(self, text, wait=0):
        """The name of a new zone whose clocks will show this time, HH:MM, in so many seconds (more on slow machines)."""
        hours, minutes = map(int, text.split(":"))
        ahead = (hours * 3600 + minutes * 60 - math.ceil(time.time() + wait * SLOW)) % 86400
        self.count += 1
        name = f"Test{self.count}"
        (self.folder / name).write_bytes(self.file(ahead - 86400 if ahead > 43200 else ahead))
        return name
