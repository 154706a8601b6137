# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""What is measured on replication: requests through a running primary and a running secondary, with our modules and with
QEMU's own in the same program, and the same requests without replication."""

import itertools
import os

from options import flat
from workload import Workload

SUBJECTS = {"c": "C driver", "rust": "qemu-block-rs", "bare": "no replication"}
DRIVERS = ("c", "rust")
# How the report looks at it: time per request.
VIEW = "time"
NOTES = """\
primary-write: to the node that a primary's quorum has beside its own disk. primary-read: of a fifo quorum over the local
disk and such a node, which no read reaches; each with the quorum of its own side. secondary: reads of what only the
secondary disk has, and writes of what the active disk has already, but for the first of them. All data is on null-co,
which neither stores nor waits; of the active and the hidden disk, which are qcow2, only the tables are in files.
bare: the same requests to the same disks without replication, and without the backup job of a secondary."""
MODULE = "block-replication.so"
SIZES = {"4k": 4 << 10, "64k": 64 << 10}
# So small that writes go round often.
DISK = 4 << 20


class Replication:
    """Argument lists of the clients. QBR_BENCH_* in the environment say where things are."""

    def __init__(self):
        self._modules = os.environ["QBR_BENCH_MODULES"]
        self._c_modules = os.environ["QBR_BENCH_C_MODULES"]
        self._files = os.environ["QBR_BENCH_FILES"]
        self._programs = os.environ["QBR_BENCH_QEMU"]
        self.qemu_img = os.path.join(self._programs, "qemu-img")

    def about(self):
        """What the results depend on, besides machine and QEMU."""
        return f"{os.confstr('CS_GNU_LIBC_VERSION')}; all data on null-co"

    def workloads(self):
        """Requests follow one another, and wait for nothing."""
        for side, op, (label, size) in itertools.product(("primary", "secondary"), ("read", "write"), SIZES.items()):
            yield Workload(f"{side}-{op}-{label}", op, size, size, 1, "none", tuple(SUBJECTS), side, "loop", "cpu_us")

    def module(self, subject):
        """(file, folder) that the subject has to load."""
        folder = {"c": self._c_modules, "rust": self._modules}.get(subject)
        return (MODULE, folder) if folder else None

    def env(self, subject):
        """The modules stand in the folder that the variable names."""
        return {"QEMU_MODULE_DIR": self._modules if subject == "rust" else self._c_modules}

    def io(self, subject, work, count):
        """The client that does `count` requests of a workload. Nothing takes the processor from it meanwhile: what is to be seen
        is a few nanoseconds of a request."""
        numbers = map(str, (work.size, work.depth, count))
        nodes = self._primary(subject, work) if work.image == "primary" else self._secondary(subject, work)
        return ["chrt", "--fifo", "1", os.path.join(self._programs, "block-loop"), work.op, *numbers,
                *(flat(node) for node in nodes)]

    def _primary(self, subject, work):
        if subject == "bare":
            return [_memory()]
        node = {"driver": "replication", "mode": "primary", "file": _memory()}
        if work.op == "read":
            node = {"driver": "quorum", "read-pattern": "fifo", "vote-threshold": 1, "children": [_memory(), node]}
        return [node]

    def _secondary(self, subject, work):
        bare = subject == "bare"
        hidden = self._image(f"{subject}-{work.op}-hidden", _memory() if bare else "disk")
        active = self._image(f"{subject}-{work.op}-active", hidden)
        if bare:
            return [active]
        node = {"driver": "replication", "mode": "secondary", "node-name": "top", "top-id": "top", "file": active}
        return [node, {**_memory(), "node-name": "disk"}]

    def _image(self, name, backing):
        file = {"driver": "file", "filename": os.path.join(self._files, name), "locking": "off"}
        return {"driver": "qcow2", "file": file, "data-file": _memory(), "backing": backing}

    def prepare(self):
        """Makes the images. A start empties them; those that nobody starts are only read, or only written to."""
        for name in itertools.product(SUBJECTS, ("read", "write"), ("hidden", "active")):
            path = os.path.join(self._files, "-".join(name))
            yield [self.qemu_img, "create", "-q", "-f", "qcow2", "-o", f"data_file={path}-data", path, str(DISK)]

    def commands(self):
        return []


def _memory():
    return {"driver": "null-co", "size": DISK, "read-zeroes": False}


Driver = Replication
