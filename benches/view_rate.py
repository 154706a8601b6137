# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""The report on a driver whose requests wait for a server: how many there are per second, and what each costs us."""

from stats import middle, ratio_text, ratios, span, table, verdict


def _rows(results):
    for name, entry in results["workloads"].items():
        samples = entry["samples"]
        row = [name]
        for field, form in (("iops", "{:.0f}"), ("cpu_us", "{:.1f}"), ("switches", "{:.2f}")):
            row += [form.format(middle(samples, s, field)) for s in results["subjects"]]
        against_c = [ratios(samples, "rust", "c", field) for field in ("iops", "cpu_us")]
        row += [ratio_text(values) for values in against_c]
        if "bare" in samples:
            row += [ratio_text(ratios(samples, "rust", "bare", field)) for field in ("iops", "cpu_us")]
        yield row + [verdict(*against_c)]


def text(results):
    subjects = list(results["subjects"])
    head = ["workload"]
    head += [f"{what} {s}" for what in ("IOPS", "us", "sw") for s in subjects]
    head += ["IOPS rust/c", "CPU rust/c"]
    head += ["IOPS rust/bare", "CPU rust/bare"] if "bare" in subjects else []
    yield from table([*head, "against C"], _rows(results))
    yield ""
    yield "us: client processor time per request, all threads, in microseconds; sw: voluntary context switches."


def _points(results, field):
    """Per workload and subject: (median, lowest, highest) of the ratio to the C driver. What has no server is far off the scale."""
    for name, entry in results["workloads"].items():
        yield name, {s: span(ratios(entry["samples"], s, "c", field)) for s in results["subjects"] if s != "null"}


def plots(results):
    """File name, title, rows, and whether the axis is logarithmic."""
    yield "iops", "I/O per second, C driver = 1 (more is better)", _points(results, "iops"), False
    yield "cpu", "Client CPU per I/O, C driver = 1 (less is better)", _points(results, "cpu_us"), False
