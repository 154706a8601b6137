# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""What is measured on rbd: our block-rbd.so, QEMU's own (with librbd), and what neither can do without: a bare librados loop, and
what QEMU itself does for a request."""

import itertools
import os

from workload import Workload

SUBJECTS = {"bare": "bare librados", "null": "QEMU without a driver (null-co)", "c": "C driver", "rust": "qemu-block-rs"}
# The ones that whole commands are measured with.
DRIVERS = ("c", "rust")
# How the report looks at it: I/O per second.
VIEW = "rate"
MODULE = "block-rbd.so"
IMAGE_SIZE = 512 << 20
OBJECT_SIZE = 4 << 20
SIZES = {"4k": 4 << 10, "1m": 1 << 20}
DEPTHS = (1, 32)
IMAGE = "bench.img"
# Images of which next to nothing is written, with the features that images have by default.
THIN = {"thin-200g": 200 << 30, "thin-50t": 50 << 40}
THIN_FEATURES = "layering,exclusive-lock,object-map,fast-diff,deep-flatten"
# So many objects of each are written, far apart, and so much of each object.
THIN_OBJECTS = 64
THIN_BYTES = 64 << 10
# What takes the C driver long runs only if it is asked for.
SLOW = ("map-thin-50t", "convert-thin-50t")


class Rbd:
    """Argument lists of the clients. QBR_BENCH_* in the environment say where things are."""

    def __init__(self):
        self._conf = os.environ["QBR_BENCH_CONF"]
        self._pool = os.environ["QBR_BENCH_POOL"]
        self._features = os.environ["QBR_BENCH_FEATURES"]
        self._bare = os.environ["QBR_BENCH_BARE"]
        self._modules = os.environ["QBR_BENCH_MODULES"]
        # What makes a client go first.
        self._first = os.environ["QBR_BENCH_FIRST"].split()
        self._user = "admin"
        self.qemu_img = "qemu-img"

    def about(self):
        """What the results depend on, besides machine and QEMU."""
        return (f"{os.environ.get('QBR_BENCH_LIBRARY', '')}, one OSD in memory; "
                f"{OBJECT_SIZE >> 20} MiB objects, all written; features: {self._features}; {' '.join(self._first)}")

    def workloads(self):
        """4 KiB requests jump through the image, 1 MiB requests follow one another."""
        for op, (label, size), depth in itertools.product(("read", "write"), SIZES.items(), DEPTHS):
            step = size
            if label == "4k":
                # An odd number of blocks near the golden section: every block once, neighbours far apart.
                step = (int(IMAGE_SIZE // size * 0.618) | 1) * size
            # With direct I/O librbd has no cache, as our driver.
            yield Workload(f"{op}-{label}-qd{depth}", op, size, step, depth, "none", tuple(SUBJECTS))

    def module(self, subject):
        """(file, folder) that the subject has to load; no folder: the distribution's."""
        return {"c": (MODULE, None), "rust": (MODULE, self._modules)}.get(subject)

    def env(self, subject):
        return {"QEMU_MODULE_DIR": self._modules} if subject == "rust" else {}

    def io(self, subject, work, count):
        """The client that does `count` requests of a workload; it goes first, as its server does."""
        return [*self._first, *self._client(subject, work, count)]

    def _client(self, subject, work, count):
        if subject == "bare":
            return self._loop(work.op, work.size, work.step, work.depth, count)
        write = ["-w", "--pattern=0"] if work.op == "write" else []
        return [self.qemu_img, "bench", "-f", "raw", "-t", work.cache, "-c", str(count), "-d", str(work.depth), "-s",
                str(work.size), "-S", str(work.step), *write, "null-co://" if subject == "null" else self._name()]

    def _name(self, image=IMAGE):
        return f"rbd:{self._pool}/{image}:id={self._user}:conf={self._conf}"

    def _rbd_create(self, image, size, features):
        return ["rbd", "-c", self._conf, "--id", self._user, "create", f"{self._pool}/{image}", "--size", f"{size}B",
                "--object-size", f"{OBJECT_SIZE}B", "--image-feature", features]

    def _loop(self, op, *numbers):
        numbers = map(str, (IMAGE_SIZE, OBJECT_SIZE, *numbers))
        return [self._bare, self._conf, self._user, self._pool, IMAGE, op, *numbers]

    def prepare(self):
        """Commands that make the image, and all of its objects; and the thin ones, with a few."""
        yield self._rbd_create(IMAGE, IMAGE_SIZE, self._features)
        yield self._loop("write", 1 << 20, 1 << 20, 8, IMAGE_SIZE >> 20)
        for image, size in THIN.items():
            yield self._rbd_create(image, size, THIN_FEATURES)
            writes = (f"write -P 1 {number * (size // THIN_OBJECTS)} {THIN_BYTES}" for number in range(THIN_OBJECTS))
            yield ["qemu-io", "-f", "raw", *(word for write in writes for word in ("-c", write)), self._name(image)]

    def commands(self):
        """Whole commands: name, arguments, and the text that ends their output where the output counts."""
        yield "info", [self.qemu_img, "info", self._name()], None
        for image, size in THIN.items():
            yield f"map-{image}", [self.qemu_img, "map", "-f", "raw", "--output=json", self._name(image)], None
            # To nowhere: what is measured is how the source is read.
            yield f"convert-{image}", [self.qemu_img, "convert", "-f", "raw", "-n", "--target-is-zero", "--target-image-opts",
                                       self._name(image), f"driver=null-co,size={size}"], None


Driver = Rbd
