# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""What the reports say about samples.

Ratios are taken round by round, of runs that followed one another, and their median is given with the lowest and the
highest. A difference counts when it has the same sign in so many rounds that chance alone would do that in less than 1 of
20 cases.
"""

import math
from statistics import median


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


def verdict(speed, cpu):
    """What the rounds say about us against the C driver, for ratios of speed and of processor time."""
    words = []
    if beyond_noise(speed):
        words.append("SLOWER" if beyond_noise(speed) < 0 else "faster")
    if beyond_noise(cpu):
        words.append("MORE CPU" if beyond_noise(cpu) > 0 else "less cpu")
    return ", ".join(words)


def middle(samples, subject, field):
    return median(sample[field] for sample in samples[subject])


def span(values):
    """Median, lowest and highest, for a plot."""
    return median(values), min(values), max(values)


def ratio_text(values):
    return f"{median(values):5.2f} [{min(values):.2f}-{max(values):.2f}]"


def table(head, rows):
    """Lines of a table: the first and the last column are words, those between are numbers."""
    rows = [head, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        middle_cells = [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:])]
        yield "  ".join([row[0].ljust(widths[0]), *middle_cells, row[-1]]).rstrip()
