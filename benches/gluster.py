# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""What is measured on gluster: our block-gluster.so, QEMU's own, and the bare libgfapi loop."""

import itertools
import os

from workload import Workload

SUBJECTS = {"bare": "bare libgfapi", "c": "C driver", "rust": "qemu-block-rs"}
# The ones that whole commands are measured with.
DRIVERS = ("c", "rust")
# How the report looks at it: I/O per second.
VIEW = "rate"
MODULE = "block-gluster.so"
IMAGE_SIZE = 512 << 20
SIZES = {"4k": 4 << 10, "1m": 1 << 20}
DEPTHS = (1, 32)
CACHES = ("none", "writeback")
# Extents of the image for block status, as long as the holes between them.
FRAGMENTS = 2000
FRAGMENT_SIZE = 64 << 10


class Gluster:
    """Argument lists of the clients. QBR_BENCH_* and GLUSTER_* in the environment say where things are."""

    def __init__(self):
        self._host = os.environ["GLUSTER_HOST"]
        self._port = os.environ["GLUSTER_PORT"]
        self._volume = os.environ["GLUSTER_VOLUME"]
        self._url = os.environ["GLUSTER_URL"]
        self._bare = os.environ["QBR_BENCH_BARE"]
        self._modules = os.environ["QBR_BENCH_MODULES"]
        self.qemu_img = "qemu-img"

    def about(self):
        """What the results depend on, besides machine and QEMU."""
        return f"{os.environ.get('QBR_BENCH_LIBRARY', '')}; bricks on {os.environ.get('QBR_BENCH_BRICK', '')}"

    def workloads(self):
        """4 KiB requests jump through the image, 1 MiB requests follow one another."""
        for op, (label, size), depth, cache in itertools.product(("read", "write"), SIZES.items(), DEPTHS, CACHES):
            step = size
            if label == "4k":
                # An odd number of blocks near the golden section: every block once, neighbours far apart.
                step = (int(IMAGE_SIZE // size * 0.618) | 1) * size
            yield Workload(f"{op}-{label}-qd{depth}-{cache}", op, size, step, depth, cache, tuple(SUBJECTS),
                           optional=cache == "none")

    def module(self, subject):
        """(file, folder) that the subject has to load; no folder: the distribution's."""
        return {"bare": None, "c": (MODULE, None), "rust": (MODULE, self._modules)}[subject]

    def env(self, subject):
        return {"QEMU_MODULE_DIR": self._modules} if subject == "rust" else {}

    def io(self, subject, work, count):
        """The client that does `count` requests of a workload."""
        if subject == "bare":
            return self._loop("bench.img", work.op, work.cache, work.size, work.step, work.depth, count)
        write = ["-w", "--pattern=0"] if work.op == "write" else []
        return [self.qemu_img, "bench", "-f", "raw", "-t", work.cache, "-c", str(count), "-d", str(work.depth), "-s",
                str(work.size), "-S", str(work.step), *write, f"{self._url}/bench.img"]

    def _loop(self, image, op, cache, size, step, depth, count):
        mode = "direct" if cache == "none" else "buffered"
        numbers = map(str, (size, step, depth, count))
        return [self._bare, self._host, self._port, self._volume, image, op, mode, *numbers]

    def prepare(self):
        """Commands that make the images."""
        yield self._create("bench.img", IMAGE_SIZE)
        yield self._loop("bench.img", "write", "writeback", 1 << 20, 1 << 20, 8, IMAGE_SIZE >> 20)
        yield self._create("holes.img", 2 * FRAGMENTS * FRAGMENT_SIZE)
        yield self._loop("holes.img", "write", "writeback", FRAGMENT_SIZE, 2 * FRAGMENT_SIZE, 8, FRAGMENTS)

    def _create(self, image, size):
        return [self.qemu_img, "create", "-q", "-f", "raw", f"{self._url}/{image}", str(size)]

    def commands(self):
        """Whole commands: name, arguments, and the text that ends their output where the output counts."""
        yield "info", [self.qemu_img, "info", f"{self._url}/bench.img"], None
        yield "create", self._create("new.img", 1 << 30), None
        yield "map", [self.qemu_img, "map", "-f", "raw", "--output=json", f"{self._url}/holes.img"], "]"


Driver = Gluster
