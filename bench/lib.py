# SPDX-License-Identifier: MIT
"""What benchmarks share: samples, percentiles, one JSON line a figure on stdout, a table on stderr, targets.

    report = lib.Report("wake-frozen")
    report.samples("added", times_ms, "ms", p50=0.3, p99=1.5)     # targets: at most
    report.value("with 100 frozen", "bytes", rss, "bytes", most=8 << 20)
    report.value("keep-alive", "percent", 98.2, "%", least=97)
    sys.exit(report.done())
"""
import json
import math
import sys
import time

METRICS = ("p50", "p99", "ratio", "rate", "bytes", "count", "percent")
RUNS = 200  # percentiles over fewer are not worth their name


def percentile(samples, percent):
    """The smallest sample that at least `percent` of all do not exceed (nearest rank)."""
    ordered = sorted(samples)
    if not ordered:
        raise ValueError("no samples")
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


class Stopwatch:
    """with Stopwatch() as s: …; s.ms"""

    def __enter__(self):
        self._began = time.perf_counter_ns()
        return self

    def __exit__(self, *_):
        self.ms = (time.perf_counter_ns() - self._began) / 1e6


class Report:
    """The figures of one benchmark."""

    def __init__(self, bench):
        self.bench = bench
        self.missed = 0
        self._rows = []

    def value(self, case, metric, value, unit, most=None, least=None):
        """One figure; most and least are its target, if it has one."""
        if metric not in METRICS:
            raise ValueError(f"metric '{metric}' is none of {METRICS}")
        value = float(f"{value:.6g}")
        print(json.dumps({"bench": self.bench, "case": case, "metric": metric, "value": value, "unit": unit}), flush=True)
        target, verdict = "", ""
        if most is not None or least is not None:
            target = f"<= {most:g}" if most is not None else f">= {least:g}"
            good = (most is None or value <= most) and (least is None or value >= least)
            verdict = "ok" if good else "MISSED"
            self.missed += not good
        self._rows.append((case, metric, f"{value:g} {unit}", target, verdict))

    def samples(self, case, samples, unit, p50=None, p99=None):
        """p50 and p99 of many measurements; p50 and p99 are the targets."""
        if len(samples) < RUNS:
            print(f"{self.bench}: {case}: only {len(samples)} runs, {RUNS} are wanted", file=sys.stderr)
        self.value(case, "p50", percentile(samples, 50), unit, most=p50)
        self.value(case, "p99", percentile(samples, 99), unit, most=p99)

    def done(self):
        """Prints the table; the exit status: 1 when a target was missed."""
        rows = [("case", "metric", "value", "target", "")] + self._rows
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        print(f"\n{self.bench}", file=sys.stderr)
        for row in rows:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip(), file=sys.stderr)
        sys.stderr.flush()
        return 1 if self.missed else 0
