#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""Turns results.json into a table and plots; `report.py FOLDER` does it again for an old one.

How requests are looked at depends on the driver: view_rate.py and view_time.py. What ratios mean is in stats.py.
"""

import importlib
import json
import os
import sys
from statistics import median

import plot
from stats import beyond_noise, ratio_text, ratios, span, table

# Colours that colour-blind people tell apart.
COLOURS = {"bare": "#999999", "limit": "#999999", "c": "#e69f00", "rust": "#0072b2", "keep": "#cc79a7", "one": "#56b4e9",
           "builtin": "#d55e00"}


def command_rows(results):
    for name, samples in results["commands"].items():
        for field, label in (("wall_s", name), ("output_s", f"{name}, until its output is there")):
            if field in samples["c"][0]:
                times = [[sample[field] for sample in samples[s]] for s in ("c", "rust")]
                row = [label] + [f"{median(t):.3f} [{min(t):.3f}-{max(t):.3f}]" for t in times]
                values = ratios(samples, "c", "rust", field)
                sign = beyond_noise(values)
                yield row + [ratio_text(values), {-1: "SLOWER", 0: "", 1: "faster"}[sign]]


def command_points(results):
    for name, samples in results["commands"].items():
        yield name, {subject: span([run["wall_s"] for run in runs]) for subject, runs in samples.items()}


def text(results, view):
    env = results["environment"]
    yield f"{results['driver']}: {results['rounds']} rounds of {results['seconds']:g} s per run; medians"
    yield f"{env['cpu']}, {env['cores']} cores, Linux {env['kernel']}, {env['system']}"
    yield f"{env['qemu']}; {env['about']}"
    yield f"revision {env['revision']}, module sha256 {env['module_sha256'][:16]}"
    load = [" ".join(f"{x:.1f}" for x in env[key][:2]) for key in ("load_before", "load_after")]
    yield f"load average (1 and 5 min) {load[0]} before, {load[1]} after"
    yield ""
    if results["workloads"]:
        yield from view.text(results)
        yield ", ".join(f"{key}: {label}" for key, label in results["subjects"].items())
        yield ""
    if results["commands"]:
        yield from table(["command, seconds", "c", "rust", "c/rust", "against C"], command_rows(results))
        yield ""
    yield "Ratios: median [lowest-highest] over the rounds. A word in the last column: the difference is beyond the noise"
    yield "(it has the same sign in so many rounds that chance is ruled out at 5 %; this takes five rounds at least)."
    for name, reason in results["skipped"].items():
        yield f"left out: {name}: {reason}"


def write(results, folder):
    """Writes results.txt and the plots, and prints the table."""
    view = importlib.import_module(f"view_{results['view']}")
    body = "\n".join(text(results, view)) + "\n"
    with open(os.path.join(folder, "results.txt"), "w", encoding="utf-8") as out:
        out.write(body)
    print(body, end="")
    plots = [*view.plots(results),
             ("commands", "Seconds per qemu-img command (less is better)", command_points(results), True)]
    for name, title, rows, log in plots:
        rows = list(rows)
        series = [(s, label, COLOURS.get(s, "#009e73")) for s, label in results["subjects"].items()
                  if any(s in row for _, row in rows)]
        if rows:
            with open(os.path.join(folder, f"{name}.svg"), "w", encoding="utf-8") as out:
                out.write(plot.bars(f"{results['driver']}: {title}", rows, series, log))


if __name__ == "__main__":
    with open(os.path.join(sys.argv[1], "results.json"), encoding="utf-8") as saved:
        write(json.load(saved), sys.argv[1])
