# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""The report on a driver that only uses processor and memory: how long a request takes, and how near that is to the limit."""

from stats import middle, ratio_text, ratios, span, table, verdict


def _number(value):
    """Three digits are more than these samples are worth."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def _ratio(values):
    return ratio_text(values) if values else "-"


def _against(samples, over, under, clock):
    return ratios(samples, over, under, clock) if over in samples and under in samples else []


def _pairs(subjects):
    """What is divided by what: label, two subjects, and which of the clocks."""
    yield "c/rust", "c", "rust", "clock"
    yield "other clock", "c", "rust", "other"
    for reference in ("builtin", "keep"):
        if reference in subjects:
            yield f"{reference}/rust", reference, "rust", "clock"
    for limit in ("limit", "bare"):
        if limit in subjects:
            yield f"rust/{limit}", "rust", limit, "clock"


def _rows(results):
    for name, entry in results["workloads"].items():
        samples, clock = entry["samples"], entry["clock"]
        other = {"us": "cpu_us", "cpu_us": "us"}[clock]
        row = [name, {"us": "wall", "cpu_us": "cpu"}[clock]]
        row += [_number(middle(samples, s, clock)) if s in samples else "-" for s in results["subjects"]]
        row += [_ratio(_against(samples, over, under, {"clock": clock, "other": other}[which]))
                for _, over, under, which in _pairs(results["subjects"])]
        row += [f"{middle(samples, s, 'faults'):.2f}" for s in ("c", "rust")]
        yield row + [verdict(ratios(samples, "c", "rust", "us"), ratios(samples, "rust", "c", "cpu_us"))]


def text(results):
    head = ["us per request", "of", *results["subjects"]]
    head += [label for label, *_ in _pairs(results["subjects"])] + ["faults c", "faults rust"]
    yield from table([*head, "against C"], _rows(results))
    yield ""
    yield "Microseconds per request from the client's first request to its last: starting and ending are not in them. cpu:"
    yield "processor time, where nothing is ever waited for; on a machine that does nothing else it is the same as wall time."
    yield "other clock: c/rust in wall time for cpu, in processor time for wall. faults: pages that the kernel had to provide,"
    yield "per request."
    yield from results.get("notes", "").splitlines()


def _times(results, group):
    for name, entry in results["workloads"].items():
        if name.split("-")[0] == group:
            samples = entry["samples"]
            yield name, {s: span([one[entry["clock"]] for one in samples[s]]) for s in results["subjects"] if s in samples}


def plots(results):
    """File name, title, rows, and whether the axis is logarithmic."""
    speed = ((name, {"rust": span(ratios(entry["samples"], "c", "rust", entry["clock"]))})
             for name, entry in results["workloads"].items())
    yield "speed", "Times as fast as the C driver (more is better)", speed, True
    for group in dict.fromkeys(name.split("-")[0] for name in results["workloads"]):
        yield f"time-{group}", f"{group}: microseconds per request (less is better)", _times(results, group), True
