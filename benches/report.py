#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""Turns results.json into a table and plots; `report.py FOLDER` does it again for an old one.

Ratios are taken round by round, of runs that followed one another, and their median is given with the lowest and the
highest. A difference counts when it has the same sign in so many rounds that chance alone would do that in less than 1 of
20 cases.
"""

import json
import math
import os
import sys
from statistics import median

import plot

# Colours that colour-blind people tell apart.
COLOURS = {"bare": "#999999", "c": "#e69f00", "rust": "#0072b2"}


def ratios(samples, over, under, field):
    """`field` of one subject divided by that of another, round by round."""
    pairs = zip(samples[over], samples[under])
    return [a[field] / b[field] for a, b in pairs if b[field] > 0]


def beyond_noise(values):
    """-1 if the values are below 1 by more than noise, 1 if above, else 0 (sign test, one-sided, 5 %)."""
    count = len(values)
    for sign, agreeing in ((-1, sum(v < 1 for v in values)), (1, sum(v > 1 for v in values))):
        chance = sum(math.comb(count, k) for k in range(agreeing, count + 1)) / 2**count
        if count and chance < 0.05:
            return sign
    return 0


def ratio_text(values):
    return f"{median(values):5.2f} [{min(values):.2f}-{max(values):.2f}]"


def verdict(iops, cpu):
    """What the rounds say about us against the C driver."""
    words = []
    if beyond_noise(iops):
        words.append("SLOWER" if beyond_noise(iops) < 0 else "faster")
    if beyond_noise(cpu):
        words.append("MORE CPU" if beyond_noise(cpu) > 0 else "less cpu")
    return ", ".join(words)


def middle(samples, subject, field):
    return median(sample[field] for sample in samples[subject])


def io_rows(results):
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


def command_rows(results):
    for name, samples in results["commands"].items():
        for field, label in (("wall_s", name), ("output_s", f"{name}, until its output is there")):
            if field in samples["c"][0]:
                times = [[sample[field] for sample in samples[s]] for s in ("c", "rust")]
                row = [label] + [f"{median(t):.3f} [{min(t):.3f}-{max(t):.3f}]" for t in times]
                values = ratios(samples, "c", "rust", field)
                sign = beyond_noise(values)
                yield row + [ratio_text(values), {-1: "SLOWER", 0: "", 1: "faster"}[sign]]


def table(head, rows):
    rows = [head, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        middle_cells = [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:])]
        yield "  ".join([row[0].ljust(widths[0]), *middle_cells, row[-1]]).rstrip()


def text(results):
    env = results["environment"]
    yield f"{results['driver']}: {results['rounds']} rounds of {results['seconds']} s per run; medians"
    yield f"{env['cpu']}, {env['cores']} cores, Linux {env['kernel']}, {env['system']}"
    yield f"{env['qemu']}; {env['library']}; bricks on {env['brick']}"
    yield f"revision {env['revision']}, module sha256 {env['module_sha256'][:16]}"
    load = [" ".join(f"{x:.1f}" for x in env[key][:2]) for key in ("load_before", "load_after")]
    yield f"load average (1 and 5 min) {load[0]} before, {load[1]} after"
    yield ""
    if results["workloads"]:
        subjects = list(results["subjects"])
        head = ["workload"]
        head += [f"{what} {s}" for what in ("IOPS", "us", "sw") for s in subjects]
        head += ["IOPS rust/c", "CPU rust/c"]
        head += ["IOPS rust/bare", "CPU rust/bare"] if "bare" in subjects else []
        yield from table([*head, "against C"], io_rows(results))
        yield ""
        yield "us: client processor time per request, all threads, in microseconds; sw: voluntary context switches."
        yield ", ".join(f"{key}: {label}" for key, label in results["subjects"].items())
        yield ""
    if results["commands"]:
        yield from table(["command, seconds", "c", "rust", "c/rust", "against C"], command_rows(results))
        yield ""
    yield "Ratios: median [lowest-highest] over the rounds. A word in the last column: the difference is beyond the noise"
    yield "(it has the same sign in so many rounds that chance is ruled out at 5 %; this takes five rounds at least)."
    for name, reason in results["skipped"].items():
        yield f"left out: {name}: {reason}"


def points(results, field):
    """Per workload and subject: (median, lowest, highest) of the ratio to the C driver."""
    for name, entry in results["workloads"].items():
        row = {}
        for subject in results["subjects"]:
            values = ratios(entry["samples"], subject, "c", field)
            row[subject] = (median(values), min(values), max(values))
        yield name, row


def command_points(results):
    for name, samples in results["commands"].items():
        row = {}
        for subject, runs in samples.items():
            times = [run["wall_s"] for run in runs]
            row[subject] = (median(times), min(times), max(times))
        yield name, row


def write(results, folder):
    """Writes results.txt and the plots, and prints the table."""
    body = "\n".join(text(results)) + "\n"
    with open(os.path.join(folder, "results.txt"), "w", encoding="utf-8") as out:
        out.write(body)
    print(body, end="")
    series = [(s, label, COLOURS.get(s, "#009e73")) for s, label in results["subjects"].items()]
    drivers = [one for one in series if one[0] != "bare"]
    for name, title, rows, lines, log in (
        ("iops", "I/O per second, C driver = 1 (more is better)", points(results, "iops"), series, False),
        ("cpu", "Client CPU per I/O, C driver = 1 (less is better)", points(results, "cpu_us"), series, False),
        ("commands", "Seconds per qemu-img command (less is better)", command_points(results), drivers, True),
    ):
        rows = list(rows)
        if rows:
            with open(os.path.join(folder, f"{name}.svg"), "w", encoding="utf-8") as out:
                out.write(plot.bars(f"{results['driver']}: {title}", rows, lines, log))


if __name__ == "__main__":
    with open(os.path.join(sys.argv[1], "results.json"), encoding="utf-8") as saved:
        write(json.load(saved), sys.argv[1])
