# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""What a measurement consists of; each driver's file lists its own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """Requests of one kind; `step` is the distance from one to the next, and it wraps round at the end of the image.

    `subjects` are measured with it; `image` and `client` are for the driver's file alone.
    """

    name: str
    op: str
    size: int
    step: int
    depth: int
    cache: str
    subjects: tuple
    image: str = ""
    client: str = ""
    # What is looked at first: `us`, the time that passes, or `cpu_us`, processor time, where nothing is waited for.
    clock: str = "us"
    # Whether it is left out where it can't be opened, as with O_DIRECT on some file systems.
    optional: bool = False
