# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""Horizontal bars with whiskers, as SVG."""

import math
from html import escape

LEFT, WIDTH, RIGHT = 210, 560, 70
TOP, BAR, GAP, FOOT = 64, 12, 10, 30


def bars(title, rows, series, log=False):
    """rows: (name, {key: (median, lowest, highest)}); series: (key, label, colour)."""
    low, high = _range(rows, log)
    ticks = _ticks(low, high, log)

    def x(value):
        if log:
            share = (math.log10(max(value, low)) - math.log10(low)) / (math.log10(high) - math.log10(low))
        else:
            share = value / high
        return LEFT + WIDTH * share

    legend, top = _legend(series)
    # A row is as high as the bars that it has.
    heights = [sum(key in row for key, _, _ in series) * BAR for _, row in rows]
    height = top + sum(heights) + len(rows) * GAP + FOOT
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="100%" fill="white"/><text x="10" y="20" font-size="15">{escape(title)}</text>',
    ]
    out += legend
    for tick in ticks:
        out.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{top - 6}" y2="{height - FOOT}" stroke="#ddd"/>')
        out.append(f'<text x="{x(tick):.1f}" y="{height - FOOT + 14}" text-anchor="middle">{tick:g}</text>')
    y = top
    for (name, row), bar_height in zip(rows, heights):
        middle = y + bar_height / 2 + 4
        out.append(f'<text x="{LEFT - 8}" y="{middle:.1f}" text-anchor="end">{escape(name)}</text>')
        for key, _, colour in series:
            if key in row:
                out += _bar(x, y, low if log else 0, row[key], colour)
                y += BAR
        y += GAP
    return "\n".join([*out, "</svg>", ""])


def _legend(series):
    """Its elements, and where the bars can begin below it. Letters are taken to be 6.5 wide."""
    out, at, y = [], LEFT, 32
    for _, label, colour in series:
        width = 16 + 6.5 * len(label) + 20
        if at > LEFT and at + width > LEFT + WIDTH + RIGHT:
            at, y = LEFT, y + 18
        out.append(f'<rect x="{at:.0f}" y="{y}" width="11" height="11" fill="{colour}"/>')
        out.append(f'<text x="{at + 16:.0f}" y="{y + 10}">{escape(label)}</text>')
        at += width
    return out, y + TOP - 32


def _bar(x, y, origin, values, colour):
    mid, least, most = values
    line = y + BAR / 2 - 0.5
    yield f'<rect x="{x(origin):.1f}" y="{y}" width="{x(mid) - x(origin):.1f}" height="{BAR - 1}" fill="{colour}"/>'
    yield f'<line x1="{x(least):.1f}" x2="{x(most):.1f}" y1="{line}" y2="{line}" stroke="black"/>'
    yield f'<text x="{x(most) + 4:.1f}" y="{y + BAR - 2}">{mid:.3g}</text>'


def _range(rows, log):
    values = [v for _, row in rows for point in row.values() for v in point]
    if log:
        # Nothing that is measured takes no time; what says so goes to the left edge.
        low = 10 ** math.floor(math.log10(min((v for v in values if v > 0), default=1)))
        return low, max(10 ** math.ceil(math.log10(max(values))), low * 10)
    return 0, max(values) * 1.02


def _ticks(low, high, log):
    if log:
        return [10.0**n for n in range(round(math.log10(low)), round(math.log10(high)) + 1)]
    step = next(s for s in (0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 100, 1000, 1e9) if high / s <= 10)
    return [n * step for n in range(int(high / step) + 1)]
