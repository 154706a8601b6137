# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""What is measured on quorum: our block-quorum.so, QEMU's own in the same QEMU, and what neither can do without."""

import itertools
import json
import os

from options import flat
from workload import Workload

SUBJECTS = {
    "c": "C driver",
    "rust": "qemu-block-rs",
    "builtin": "C driver, built in",
    "keep": "C driver, malloc keeps memory",
    "limit": "limit: memory, one thread",
    "one": "one child alone",
}
DRIVERS = ("c", "rust")
# How the report looks at it: time per request.
VIEW = "time"
NOTES = """\
qd1, qd16: qemu-img bench, half of whose time with small requests is its own event loop; with children that answer
at once, one request runs at a time in both. loop: a coroutine that does one request after the other.
c: as a module of the same programs, like ours. builtin: as distributions have it, in a QEMU built the same way; how
much memory malloc gives back to the kernel after each request depends on what else is on its heap.
keep: the C driver with GLIBC_TUNABLES that make malloc keep all its memory. limit: N reads (or fills) of private
buffers, N-1 compares and one copy, in a loop of one thread without block layer, coroutines or event loop. one: the
same requests to one child, without quorum."""
MODULE = "block-quorum.so"
IMAGE_SIZE = 64 << 20
SIZES = {"4k": 4 << 10, "64k": 64 << 10, "1m": 1 << 20}
# Requests in flight, and how they are made: `qemu-img bench`, or a loop without its event loop (block-loop.c).
CLIENTS = {"qd1": (1, "bench"), "qd16": (16, "bench"), "loop": (1, "loop")}
# An image: the vote-threshold, and its children: `zeroes`, or a file.
IMAGES = {
    "null3": (2, ["zeroes"] * 3),
    "null5": (3, ["zeroes"] * 5),
    "file3": (2, ["copy-1", "copy-2", "copy-3"]),
    # Children that differ have to be hashed to find the majority.
    "hash-first": (2, ["bad", "zeroes", "zeroes"]),
    "hash-second": (2, ["zeroes", "bad", "zeroes"]),
    "hash-last": (2, ["zeroes", "zeroes", "bad"]),
}
# Larger than all that a run has in flight: glibc then returns nothing to the kernel. 32 MiB is the highest that it takes
# for the first.
KEEP = "glibc.malloc.mmap_threshold=33554432:glibc.malloc.trim_threshold=1073741824"


class Quorum:
    """Argument lists of the clients. QBR_BENCH_* in the environment say where things are."""

    def __init__(self):
        self._bare = os.environ["QBR_BENCH_BARE"]
        self._modules = os.environ["QBR_BENCH_MODULES"]
        self._c_modules = os.environ["QBR_BENCH_C_MODULES"]
        self._files = os.environ["QBR_BENCH_FILES"]
        self._stock = os.environ.get("QBR_BENCH_STOCK")
        self._aio = os.environ.get("QBR_BENCH_AIO") or "threads"
        self._programs = os.environ["QBR_BENCH_QEMU"]
        self.qemu_img = os.path.join(self._programs, "qemu-img")

    def about(self):
        """What the results depend on, besides machine and QEMU."""
        return f"{os.confstr('CS_GNU_LIBC_VERSION')}; files on tmpfs with aio={self._aio}"

    def workloads(self):
        """Requests follow one another. The limits come with what they are the limits of."""
        for image, op, (label, size), client in itertools.product(IMAGES, ("read", "write"), SIZES.items(), CLIENTS):
            subjects = ["c", "rust"]
            if image.startswith("hash"):
                if (op, label, client) != ("read", "64k", "loop"):
                    continue
            elif image.startswith("null"):
                subjects += ["keep", "limit"] if op == "read" else []
                # It is the same for five.
                subjects += ["one"] if image == "null3" else []
            elif client == "loop":
                continue
            else:
                subjects += ["limit", "one"] if op == "read" else ["one"]
            # A module is another heap layout, and with it glibc may give less memory back between requests.
            subjects += ["builtin"] if self._stock and op == "read" else []
            depth, program = CLIENTS[client]
            name = f"{image}-{op}-{label}-{client}"
            clock = "us" if image == "file3" else "cpu_us"
            yield Workload(name, op, size, size, depth, "none", tuple(subjects), image, program, clock)

    def module(self, subject):
        """(file, folder) that the subject has to load."""
        folder = {"c": self._c_modules, "keep": self._c_modules, "rust": self._modules}.get(subject)
        return (MODULE, folder) if folder else None

    def env(self, subject):
        """The modules stand in the folder of their programs, or in the one that the variable names."""
        if subject == "builtin":
            return {}
        env = {"QEMU_MODULE_DIR": self._modules if subject == "rust" else self._c_modules}
        if subject == "keep":
            env["GLIBC_TUNABLES"] = KEEP
        return env

    def io(self, subject, work, count):
        """The client that does `count` requests of a workload; it needs a processor all the time, so it goes first."""
        return ["nice", "-n", "-15", *self._client(subject, work, count)]

    def _client(self, subject, work, count):
        threshold, children = IMAGES[work.image]
        if subject == "limit":
            paths = [child if child == "zeroes" else self._path(child) for child in children]
            return [self._bare, *map(str, (work.size, work.depth, count)), *paths]
        node = {"driver": "quorum", "vote-threshold": threshold, "children": [self._child(c) for c in children]}
        if subject == "one":
            node = self._child(children[0])
        folder = self._stock if subject == "builtin" else self._programs
        if work.client == "loop":
            numbers = map(str, (work.size, work.depth, count))
            return [os.path.join(folder, "block-loop"), work.op, *numbers, flat(node)]
        write = ["-w", "--pattern=0"] if work.op == "write" else []
        return [os.path.join(folder, "qemu-img"), "bench", "-t", work.cache, "-c", str(count), "-d", str(work.depth),
                "-s", str(work.size), *write, "json:" + json.dumps(node)]

    def _path(self, name):
        return os.path.join(self._files, name)

    def _child(self, name):
        if name == "zeroes":
            return {"driver": "null-co", "size": IMAGE_SIZE, "read-zeroes": True}
        return {"driver": "raw", "file": {"driver": "file", "filename": self._path(name), "aio": self._aio}}

    def prepare(self):
        """Makes the files: three that are equal, and one that differs from zeroes everywhere."""
        chunk = os.urandom(1 << 20)
        for name in ("copy-1", "copy-2", "copy-3", "bad"):
            with open(self._path(name), "wb") as out:
                for _ in range(IMAGE_SIZE // len(chunk)):
                    out.write(b"\xff" * len(chunk) if name == "bad" else chunk)
        return []

    def commands(self):
        return []


Driver = Quorum
