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


def _rows(results):
    for name, entry in results["workloads"].items():
        samples, clock = entry["samples"], entry["clock"]
        other = {"us": "cpu_us", "cpu_us": "us"}[clock]
        row = [name, {"us": "wall", "cpu_us": "cpu"}[clock]]
        row += [_number(middle(samples, s, clock)) if s in samples else "-" for s in results["subjects"]]
        row += [_ratio(_against(samples, *pair)) for pair in (
            ("c", "rust", clock), ("c", "rust", other), ("builtin", "rust", clock), ("keep", "rust", clock),
            ("rust", "limit", clock))]
        row += [f"{middle(samples, s, 'faults'):.2f}" for s in ("c", "rust")]
        yield row + [verdict(ratios(samples, "c", "rust", "us"), ratios(samples, "rust", "c", "cpu_us"))]


def text(results):
    head = ["us per request", "of", *results["subjects"]]
    head += ["c/rust", "other clock", "builtin/rust", "keep/rust", "rust/limit", "faults c", "faults rust"]
    yield from table([*head, "against C"], _rows(results))
    yield ""
    yield "Microseconds per request from the client's first request to its last: starting and ending are not in them. cpu:"
    yield "processor time, where nothing is ever waited for; on a machine that does nothing else it is the same as wall time."
    yield "other clock: c/rust in wall time for cpu, in processor time for wall. faults: pages that the kernel had to provide,"
    yield "per request."
    yield "qd1, qd16: qemu-img bench, half of whose time with small requests is its own event loop; with children that answer"
    yield "at once, one request runs at a time in both. loop: a coroutine that does one request after the other."
    yield "c: as a module of the same programs, like ours. builtin: as distributions have it, in a QEMU built the same way; how"
    yield "much memory malloc gives back to the kernel after each request depends on what else is on its heap."
    yield "keep: the C driver with GLIBC_TUNABLES that make malloc keep all its memory. limit: N reads (or fills) of private"
    yield "buffers, N-1 compares and one copy, in a loop of one thread without block layer, coroutines or event loop. one: the"
    yield "same requests to one child, without quorum."


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
