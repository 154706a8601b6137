# SPDX-License-Identifier: GPL-2.0-or-later
"""Two QEMU processes, one the primary and one the secondary of a replication, and a model of what their disks must hold."""

import os
import random
import socket
import threading

from .harness import check, wait_for
from .nbd import Client, NbdError
from .qmp import Machine, QmpError

SIZE = 4 << 20
BLOCK = 4096


def image(t, name, size=SIZE):
    """An empty qcow2 image; its path."""
    path = t.path(name)
    if os.path.exists(path):
        os.remove(path)
    result = t.cell.run("qemu-img", "create", "-q", "-f", "qcow2", path, str(size))
    check(result.status == 0, result.err)
    return path


def raw_image(t, name, content):
    path = t.path(name)
    with open(path, "wb") as file:
        file.write(content)
    return path


taken_ports = set()


def free_port():
    """A TCP port that nobody uses, and that no connection gets as its own end before it is used."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        lowest = int(file.read().split()[0])
    while True:
        port = random.randrange(1024, lowest)
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
        # Tests run beside one another.
        if port not in taken_ports:
            taken_ports.add(port)
            return port


def file_of(path):
    return {"driver": "file", "filename": path, "locking": "off", "discard": "unmap"}


def failing(file):
    """A file that takes no writes."""
    return {"driver": "blkdebug", "image": file, "inject-error": [{"event": "none", "iotype": "write", "errno": 5}]}


def quorum_over(child, name):
    return {"driver": "quorum", "node-name": name, "read-pattern": "fifo", "vote-threshold": 1, "children": [child]}


def status(machine):
    """Whether all replications of a process are well; the message if not, or None."""
    answer = machine.command("query-xen-replication-status")
    return answer.get("desc", "error") if answer["error"] else None


def start(machine, primary):
    machine.command("xen-set-replication", enable=True, primary=primary)


def stop(machine, primary, failover):
    machine.command("xen-set-replication", enable=False, primary=primary, failover=failover)


def refused(call, *args, **more):
    """The message with which a command is refused."""
    try:
        call(*args, **more)
    except QmpError as error:
        return str(error)
    check(False, f"{args} {more} was not refused")


def children(machine, node):
    """The children of a node by their names: {name: name of the child's node}."""
    graph = machine.command("x-debug-query-block-graph")
    names = {entry["id"]: entry["name"] for entry in graph["nodes"]}
    return {edge["name"]: names[edge["child"]] for edge in graph["edges"] if names[edge["parent"]] == node}


def is_read_only(machine, node):
    (entry,) = [entry for entry in machine.command("query-named-block-nodes") if entry["node-name"] == node]
    return entry["ro"]


class Secondary:
    """A secondary: the disk "disk", exported; "hidden" and "active" over it; the replication "r"; the quorum "top", exported."""

    def __init__(self, t, content, tag="", **more):
        self.t = t
        self.machine = machine = Machine(t.cell, t.work)
        self.disk = raw_image(t, f"secondary{tag}", content)
        file = file_of(self.disk)
        machine.add({"driver": "raw", "node-name": "disk", "file": failing(file) if more.get("fails") else file, "discard": "unmap"})
        self.socket = machine.export("disk")
        machine.add({"driver": "qcow2", "node-name": "hidden", "file": file_of(image(t, f"hidden{tag}", len(content))), "backing": "disk",
                     **more.get("hidden", {})})
        machine.add({"driver": "qcow2", "node-name": "active", "file": file_of(image(t, f"active{tag}", len(content))), "backing": "hidden",
                     "discard": "unmap"})
        machine.add({"driver": "replication", "node-name": "r", "mode": "secondary", "top-id": more.get("top_id", "top"),
                     "file": "active", "discard": "unmap"})
        machine.add({**quorum_over("r", "top"), "discard": "unmap"})
        machine.export("top")

    def client(self):
        return Client(self.t.work, self.socket, "top")

    def cut(self):
        """Take the primary's way to the disk, if it is still there."""
        # The export shows the node that the backup has put above the disk.
        if any(export["id"].endswith("-disk") for export in self.machine.command("query-block-exports")):
            self.machine.unexport("disk")

    def fail_over(self):
        """Take over, and wait until that is over."""
        stop(self.machine, False, True)
        wait_for(lambda: "hidden disk" not in children(self.machine, "r"), 60, "the end of the failover")


class Primary:
    """A primary: the quorum "q" over "local" and, once connected, the replication "p" to the secondary's disk; "q" is exported."""

    def __init__(self, t, content, tag=""):
        self.t = t
        self.machine = machine = Machine(t.cell, t.work)
        machine.add({"driver": "raw", "node-name": "local", "file": file_of(raw_image(t, f"primary{tag}", content)),
                     "discard": "unmap"})
        machine.add({**quorum_over("local", "q"), "discard": "unmap"})
        self.socket = machine.export("q")

    def connect(self, secondary):
        self.machine.add({"driver": "replication", "node-name": "p", "mode": "primary", "discard": "unmap",
                          "file": {"driver": "nbd", "export": "disk", "discard": "unmap",
                                   "server": {"type": "unix", "path": self.t.path(secondary.socket)}}})
        self.machine.raw("x-blockdev-change", {"parent": "q", "node": "p"})

    def disconnect(self):
        self.machine.raw("x-blockdev-change", {"parent": "q", "child": "children.1"})
        self.machine.remove("p")

    def client(self):
        return Client(self.t.work, self.socket, "q")


class Load:
    """A guest that changes a disk all the time, in a thread of its own: `content` follows it. Use as a context."""

    def __init__(self, client, content, seed):
        self._client, self.content, self._random = client, content, random.Random(seed)
        self._state = threading.Condition()
        self._paused, self._is_ending, self._busy, self._count, self.lost = True, False, False, 0, None
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while True:
            with self._state:
                self._busy = False
                self._state.notify_all()
                self._state.wait_for(lambda: self._is_ending or not self._paused)
                if self._is_ending:
                    return
                self._busy = True
            try:
                self.content.change(self._client, randomly=self._random)
            except (OSError, NbdError) as error:
                # Who served it was killed, or a guest would have been told of a failure.
                with self._state:
                    self.lost, self._is_ending = error, True
            with self._state:
                self._count += 1

    def pause(self):
        """From here on nothing is in flight, until go()."""
        with self._state:
            self._paused = True
            self._state.wait_for(lambda: not self._busy or self.lost)
            check(not self.lost, f"the disk was lost: {self.lost}")

    def go(self):
        with self._state:
            self._paused = False
            self._state.notify_all()

    def wait_for(self, changes):
        """Until so many more changes have been made."""
        with self._state:
            until = self._count + changes
            check(self._state.wait_for(lambda: self._count >= until or self.lost, 60), "the guest hangs")
            check(not self.lost, f"the disk was lost: {self.lost}")

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with self._state:
            self._is_ending = True
            self._state.notify_all()
        self._thread.join()


class Content:
    """What a disk must hold; written together with it."""

    def __init__(self, seed, content=None):
        self.random = random.Random(seed)
        self.bytes = bytearray(content if content is not None else self.random.randbytes(SIZE))

    def copy(self):
        other = Content(0, self.bytes)
        other.random = self.random
        return other

    def change(self, client, also=(), randomly=None):
        """One random write, or write of zeroes, through a client; `also` are other contents that follow it."""
        randomly = randomly or self.random
        blocks = randomly.randint(1, 16)
        at = randomly.randrange(SIZE // BLOCK - blocks) * BLOCK
        if randomly.random() < 0.2:
            data = bytes(blocks * BLOCK)
            client.zero(at, len(data))
        else:
            data = randomly.randbytes(blocks * BLOCK)
            client.write(at, data)
        for content in (self, *also):
            content.bytes[at:at + len(data)] = data

    def compare(self, client, what):
        found = client.read_all()
        if found != self.bytes:
            at = next(at for at in range(SIZE) if found[at] != self.bytes[at])
            wrong = sum(found[at:at + BLOCK] != self.bytes[at:at + BLOCK] for at in range(0, SIZE, BLOCK))
            check(False, f"{what}: {wrong} blocks are not as the model has them, the first at {at}")
