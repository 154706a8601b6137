# SPDX-License-Identifier: GPL-2.0-or-later
"""Quorum nodes over plain files in memory, some of which fail or hold other data, through either driver."""

import errno
import itertools
import os

from .harness import Skip, check
from .nbd import Client, NbdError, StatusClient
from .qmp import Machine

EVENTS = ("QUORUM_REPORT_BAD", "QUORUM_FAILURE")
ERRNO = {"eio": errno.EIO, "enospc": errno.ENOSPC, "enotsup": errno.ENOTSUP}


def is_self():
    """Whether the C driver is compared with itself, which shows that a test is about the drivers and about nothing else."""
    return os.environ.get("QBR_QUORUM_OURS") == "c"


def our_cell(t):
    return t.c_drivers if is_self() else t.cell


def need_c_driver(t):
    """Skip where there is no C driver to compare with."""
    missing = None if is_self() else t.c_drivers.missing(("quorum",))
    if missing:
        raise Skip(f"no C driver to compare with: {missing}")


def same_with_both(t, work):
    """work(cell, name) with our driver and with the C driver must give the same; that."""
    need_c_driver(t)
    ours, c = work(our_cell(t), "ours"), work(t.c_drivers, "c")
    check(ours == c, f"ours:\n{ours}\nC driver:\n{c}")
    return ours


def raw_files(t, count, size=1 << 20, name="child"):
    """Files of zeroes; their paths."""
    paths = [t.path(f"{name}{number}") for number in range(count)]
    for path in paths:
        with open(path, "wb") as file:
            file.truncate(size)
    return paths


def raw_children(t, count, size=1 << 20, name="child", **more):
    return [file_node(path, **{"node-name": f"c{number}", **more}) for number, path in enumerate(raw_files(t, count, size, name))]


def edges(daemon):
    """The block graph below the nodes: (parent, name of the edge, child, permissions, shared ones), sorted."""
    graph = daemon.command("x-debug-query-block-graph")
    names = {node["id"]: node["name"] for node in graph["nodes"]}
    return sorted((names[edge["parent"]], edge["name"], names[edge["child"]], sorted(edge["perm"]), sorted(edge["shared-perm"]))
                  for edge in graph["edges"])


def file_node(path, **more):
    return {"driver": "file", "filename": path, "locking": "off", "discard": "unmap", **more}


def failing_node(path, name, **more):
    """A child that fails as the options of blkdebug say."""
    return {"driver": "blkdebug", "node-name": name, "image": file_node(path), "discard": "unmap", **more}


def error_rule(iotype, code, **more):
    return {"event": "none", "iotype": iotype, "errno": ERRNO[code], **more}


def quorum_node(children, threshold, name="q", **more):
    return {"driver": "quorum", "node-name": name, "vote-threshold": threshold, "children": children, "discard": "unmap", **more}


def rules_file(path, rules):
    """blkdebug's configuration: (iotype, name of the error, sector) of each request that is to fail."""
    with open(path, "w", encoding="ascii") as file:
        for iotype, code, sector in rules:
            file.write(f'[inject-error]\nevent = "none"\niotype = "{iotype}"\nerrno = "{ERRNO[code]}"\nsector = "{sector}"\n\n')


def plain_events(events):
    """Events in one comparable form, sorted."""
    return sorted((name, *sorted(data.items())) for name, data in events)


def bad(node, kind, sector, count, code=None):
    """QUORUM_REPORT_BAD in that form."""
    data = {"type": kind, "node-name": node, "sector-num": sector, "sectors-count": count}
    if code:
        data["error"] = os.strerror(ERRNO[code])
    return ("QUORUM_REPORT_BAD", *sorted(data.items()))


def failure(sector, count, reference="q"):
    """QUORUM_FAILURE in that form."""
    return ("QUORUM_FAILURE", *sorted({"reference": reference, "sector-num": sector, "sectors-count": count}.items()))


def answer(call, *args, **more):
    """What a request of an NBD client gives: the number of its error, and its data."""
    try:
        return 0, call(*args, **more)
    except NbdError as error:
        return error.code, None


class Side:
    """A machine with one of the two drivers, and the files of its children in a folder of its own."""

    def __init__(self, cell, work, folder):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.machine = Machine(cell, work)

    def path(self, name):
        return os.path.join(self.folder, str(name))

    def in_memory(self):
        """Whether the space that files take can be told exactly."""
        return self.folder.startswith("/dev/shm/")

    def fill(self, contents):
        for number, data in enumerate(contents):
            with open(self.path(number), "wb") as file:
                file.write(data)

    def contents(self, count):
        found = []
        for number in range(count):
            with open(self.path(number), "rb") as file:
                found.append(file.read())
        return found

    def events(self):
        return self.machine.take_events(*EVENTS)

    def with_client(self, node, work, status=False):
        """Add a node, run work(client) on an export of it, and take it away; what work gives."""
        self.machine.add(node)
        export = self.machine.export("q")
        try:
            with (StatusClient if status else Client)(self.machine.work, export, "q") as client:
                return work(client)
        finally:
            if self.machine.process.poll() is None:
                self.machine.unexport("q")
                self.machine.remove("q")


def products(states, count):
    return list(itertools.product(states, repeat=count))
