# SPDX-License-Identifier: MIT
"""How long turns of niwad's loop take, by turns.c in its process."""
import mmap
import os
import struct
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent


class Turns:
    """The processor time of turns of niwad's loop, which is not that of others on a busy machine."""

    STEPS = 10000

    def __init__(self, host):
        library, path = host.dir / "turns.so", host.dir / "turns"
        subprocess.run([os.environ.get("CC", "cc"), "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC", "-o", library,
                        HERE / "turns.c", "-ldl"], check=True)
        path.write_bytes(b"\0" * 8 * self.STEPS)
        with path.open("r+b") as file:
            self.counts = mmap.mmap(file.fileno(), 8 * self.STEPS)
        self.env = {"LD_PRELOAD": str(library), "TURNS_FILE": str(path)}

    def take(self, report, case):
        """Since the last time; the slowest one is a p50 of one."""
        counts = struct.unpack(f"{self.STEPS}Q", self.counts[:])
        self.forget()
        slowest = max((step for step, count in enumerate(counts) if count), default=0)
        report.value(f"slowest turn of the loop: {case}", "p50", (slowest + 1) / 10, "ms")
        report.value(f"turns of more than 2 ms: {case}", "count", sum(counts[20:]), "", most=0)

    def forget(self):
        """What was counted so far is nobody's business."""
        self.counts[:] = b"\0" * 8 * self.STEPS
