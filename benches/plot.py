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

    height = TOP + len(rows) * (len(series) * BAR + GAP) + FOOT
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + RIGHT} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="100%" height="100%" fill="white"/><text x="10" y="20" font-size="15">{escape(title)}</text>',
    ]
    for i, (_, label, colour) in enumerate(series):
        at = LEFT + i * 150
        out.append(f'<rect x="{at}" y="32" width="11" height="11" fill="{colour}"/>')
        out.append(f'<text x="{at + 16}" y="42">{escape(label)}</text>')
    for tick in ticks:
        out.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{TOP - 6}" y2="{height - FOOT}" stroke="#ddd"/>')
        out.append(f'<text x="{x(tick):.1f}" y="{height - FOOT + 14}" text-anchor="middle">{tick:g}</text>')
    y = TOP
    for name, row in rows:
        middle = y + len(series) * BAR / 2 + 4
        out.append(f'<text x="{LEFT - 8}" y="{middle:.1f}" text-anchor="end">{escape(name)}</text>')
        for key, _, colour in series:
            if key in row:
                out += _bar(x, y, low if log else 0, row[key], colour)
            y += BAR
        y += GAP
    return "\n".join([*out, "</svg>", ""])


def _bar(x, y, origin, values, colour):
    mid, least, most = values
    line = y + BAR / 2 - 0.5
    yield f'<rect x="{x(origin):.1f}" y="{y}" width="{x(mid) - x(origin):.1f}" height="{BAR - 1}" fill="{colour}"/>'
    yield f'<line x1="{x(least):.1f}" x2="{x(most):.1f}" y1="{line}" y2="{line}" stroke="black"/>'
    yield f'<text x="{x(most) + 4:.1f}" y="{y + BAR - 2}">{mid:.3g}</text>'


def _range(rows, log):
    values = [v for _, row in rows for point in row.values() for v in point]
    if log:
        low = 10 ** math.floor(math.log10(min(values)))
        return low, max(10 ** math.ceil(math.log10(max(values))), low * 10)
    return 0, max(values) * 1.02


def _ticks(low, high, log):
    if log:
        return [10.0**n for n in range(round(math.log10(low)), round(math.log10(high)) + 1)]
    step = next(s for s in (0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 100, 1000, 1e9) if high / s <= 10)
    return [n * step for n in range(int(high / step) + 1)]
