# SPDX-License-Identifier: GPL-2.0-or-later
"""Two clients that both want to write to one image, and the proof that never both did.

There are two of them. Every write carries who sent it, which one it was and when, so that the bytes at the end say whose write came
last. And the cluster says in a log what it has done, and for whom: whoever changes data must have had the lock all the while.
"""

import contextlib
import os
import re
import signal
import struct
import threading
import time

from . import nbd
from .harness import check, wait_for
from .rbd import MIB, Served, c_cell, exported, features, info, spec

# What `rbd create` gives by default.
DEFAULT = ("layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten")
BLOCK, OBJECT = 4096, MIB
# All write to the first block; the others are one writer's own.
OWN = 48
SIZE = 24 * MIB
STAMP = struct.Struct("<8sQQ")
MAGIC = b"stamp"
# The OSD keeps the watch of a client that is gone that long, and others wait for it.
WATCH = 30
# How often a writer writes; the log of the cluster grows with that.
PACE = 0.004
EPERM, ESHUTDOWN = 1, 108


def locks(t):
    """The cluster of these tests: its one OSD may be killed, and writes down what it does."""
    # pylint: disable-next=protected-access
    ceph = t.clusters._get("locks", osds=1, store="bluestore")
    with ceph_lock:
        if not getattr(ceph, "talks", False):
            # Also after the OSD was started again.
            with open(ceph.env["CEPH_CONF"], "a", encoding="utf-8") as file:
                file.write("\n[osd.0]\ndebug optracker = 6\n")
            ceph.cli("tell", "osd.0", "config", "set", "debug_optracker", "6")
            ceph.talks = True
    return ceph


ceph_lock = threading.Lock()


class Write:
    """A write as its sender knows it."""

    def __init__(self, owner, number, block):
        self.owner, self.number, self.block = owner, number, block
        self.sent, self.acked, self.error = time.monotonic(), None, None

    def data(self):
        stamp = STAMP.pack(MAGIC, self.owner, self.number)
        return stamp * (BLOCK // STAMP.size) + bytes(BLOCK % STAMP.size)

    def __str__(self):
        return f"write {self.number} of writer {self.owner}"


def stamp_of(data):
    """(owner, number) of a block, or None if it was never written; it must be whole."""
    magic, owner, number = STAMP.unpack_from(data)
    if not any(data):
        return None
    check(magic.rstrip(b"\0") == MAGIC and data[:STAMP.size] * (BLOCK // STAMP.size) == data[:BLOCK // STAMP.size * STAMP.size],
          "a block was written in part")
    return owner, number


class Party:
    """A storage daemon with an image, ours or one with the C driver; and who writes through it."""

    def __init__(self, t, stack, number, c=False, **options):
        self.number, self.name = number, f"{'librbd' if c else 'ours'} {number}"
        self.daemon, self.client = self._serve(t, c_cell(t) if c else t.cell, {"ceph": locks(t), "cache": {"direct": True}} | options)
        self.writes, self.errors = [], []
        # Whether it tries again and again while the image is inactive.
        self.patient = False
        self._stop, self._thread, self._offset = threading.Event(), None, 1 + number * OWN
        stack.callback(self.end)

    def _serve(self, t, cell, options):
        """The process, and a client of its export."""
        served = Served(t, cell=cell, **options)
        return served.daemon, served.client

    def _send(self, number):
        for block in (0, self._offset + number % OWN):
            write = Write(self.number, number, block)
            self.writes.append(write)
            # Blocks lie in different objects.
            write.handle = self.client.submit(nbd.WRITE, place(block), data=write.data())

    def _run(self):
        number = self.writes[-1].number + 1 if self.writes else 1
        try:
            while not self._stop.is_set():
                self._send(number)
                failed = False
                for _ in range(2):
                    handle, code, _ = self.client.receive()
                    write = next(write for write in reversed(self.writes) if write.handle == handle)
                    if code and not (code == EPERM and self.patient):
                        write.error = code
                        failed = True
                    elif code:
                        self.writes.remove(write)
                    else:
                        write.acked = time.monotonic()
                if failed:
                    return
                number += 1
                self._stop.wait(PACE)
        except (OSError, ConnectionError):
            return

    def write(self):
        """Begin to write."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def pause(self):
        """Finish the writes in flight."""
        self._stop.set()
        if self._thread:
            self._thread.join(90)
            check(not self._thread.is_alive(), f"{self.name}: a write does not end: {self.daemon.output()}")
        self._thread = None

    def acked(self):
        """How many writes were acknowledged so far."""
        return sum(write.acked is not None for write in self.writes)

    def times(self):
        """When its writes were acknowledged, in order."""
        return sorted(write.acked for write in self.writes if write.acked)

    def failed(self):
        """The error that has ended it."""
        return next((write.error for write in self.writes if write.error), None)

    def wait_writes(self, count=20, seconds=70):
        """Wait until so many more were acknowledged."""
        goal = self.acked() + count
        wait_for(lambda: self.acked() >= goal or self.failed(), seconds, f"{self.name}: {count} more writes ({self.daemon.output()})")
        check(not self.failed(), f"{self.name} fails with {self.failed()}: {self.daemon.output()}")
        return self

    def wait_failure(self, seconds=60):
        """Wait until a write fails; its error."""
        wait_for(self.failed, seconds, f"{self.name}: a failing write")
        self.pause()
        return self.failed()

    def stop(self):
        os.kill(self.daemon.pid, signal.SIGSTOP)

    def cont(self):
        os.kill(self.daemon.pid, signal.SIGCONT)

    def kill(self):
        """kill -9."""
        self.daemon.kill()
        self._stop.set()
        if self._thread:
            self._thread.join(30)
        self._thread = None

    def own(self, data=None):
        """The stamps of its own blocks, as this party or `data` has them."""
        read = (lambda at: self.client.read(at, BLOCK)) if data is None else (lambda at: data[at:at + BLOCK])
        return [stamp_of(read(place(self._offset + block))) for block in range(OWN)]

    def quit(self):
        """End in the usual way."""
        self.pause()
        self.client.__exit__()
        status = self.daemon.quit(60)
        check(status == 0, f"{self.name}: exit status {status}: {self.daemon.output()}")

    def end(self):
        self._stop.set()
        self.daemon.kill()


def place(block):
    """Where a block is."""
    return block % (SIZE // OBJECT) * OBJECT + block // (SIZE // OBJECT) * BLOCK


def free_place(unit, size=16384):
    """Where units of this size are that no party writes to: in the second halves of all objects."""
    return unit % (SIZE // OBJECT) * OBJECT + OBJECT // 2 + unit // (SIZE // OBJECT) * size


class Scene:
    """An image for several parties, and what has to be true in the end."""

    def __init__(self, t, *options, wanted=DEFAULT):
        self.t, self.ceph, self.parties, self.stack = t, locks(t), [], contextlib.ExitStack()
        self.spec = spec(t)
        self.ceph.rbd("create", "--no-progress", *features(wanted), "-s", f"{SIZE}B", "--object-size", f"{OBJECT}B", *options, self.spec)
        self.log = os.path.join(os.path.dirname(self.ceph.env["CEPH_CONF"]), "log", "osd.0.log")
        # The log is written a moment later: what the tool has done to make the image is of no interest.
        self.begin, self.holder = os.path.getsize(self.log), None
        self.begin += len(self.logged())
        self.id = info(t, ceph=self.ceph)["id"]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            try:
                self.check()
            finally:
                self.stack.close()
        else:
            self.stack.close()

    def ours(self, **options):
        return self._party(False, options)

    def librbd(self, **options):
        return self._party(True, options)

    def party(self, kind, c=False, **options):
        """One of another kind of party."""
        return self._party(c, options, kind)

    def _party(self, c, options, kind=Party):
        party = kind(self.t, self.stack, len(self.parties), c, **options)
        self.parties.append(party)
        return party

    def logged(self):
        """What the cluster has written down since the beginning, with all that has been done until now."""
        sentinel = f"{self.t.id}-sentinel{time.monotonic_ns()}"
        self.ceph.rados("-p", "rbd", "create", sentinel)

        def found():
            with open(self.log, "rb") as file:
                file.seek(self.begin)
                text = file.read()
            return text if sentinel.encode() in text else None

        return wait_for(found, 20, "the log of the OSD being written")

    def begin_log(self):
        """What was before is of no interest."""
        self.begin, self.holder = self.begin + len(self.logged()), "?"

    def lockers(self):
        """[(locker, cookie, address)] of whoever has the lock."""
        return [(one["locker"], one["id"], one["address"]) for one in self.ceph.rbd_json("lock", "ls", self.spec)]

    def owner(self):
        (owner,) = self.lockers()
        return owner

    def watchers(self):
        """The addresses of all who have the image open."""
        return [one["address"] for one in self.ceph.rbd_json("status", self.spec)["watchers"]]

    def rbd(self, *words):
        return self.ceph.rbd(*words)

    def check(self):
        """Nobody writes any more: the bytes, the object map and the log of the cluster."""
        for party in self.parties:
            party.pause()
        data = exported(self.t, ceph=self.ceph)
        for party in self.parties:
            self._check_own(party, party.own(data))
        self._check_shared(stamp_of(data[:BLOCK]))
        check_log(self)
        check_map(self.t, self.ceph, self.spec)

    def _check_own(self, party, stamps):
        """Of each block the last write that was acknowledged, or one that came after it."""
        for block, stamp in enumerate(stamps):
            mine = [write for write in party.writes if write.block == 1 + party.number * OWN + block]
            acked = max((write.number for write in mine if write.acked), default=0)
            possible = {write.number for write in mine if write.number >= acked}
            if stamp is None:
                check(not acked, f"{party.name}: acknowledged write {acked} is lost")
            else:
                check(stamp[0] == party.number and stamp[1] in possible, f"{party.name}: instead of acknowledged write {acked} there is {stamp}")

    def _check_shared(self, stamp):
        """The last one, as far as the times of the writers tell."""
        writes = [write for party in self.parties for write in party.writes if write.block == 0]
        if stamp is None:
            check(not any(write.acked for write in writes), "the acknowledged writes to the shared block are lost")
            return
        (found,) = [write for write in writes if (write.owner, write.number) == stamp]

        def later(other):
            # One that was never acknowledged can't come behind the first one of another owner.
            return other.acked and (other.sent > found.acked if found.acked else other.owner != found.owner and other.sent > found.sent)

        newer = next(filter(later, writes), None)
        check(newer is None, f"{found} has come behind {newer}")


def check_map(t, ceph, image):
    """librbd finds nothing wrong with the object map, now and in all snapshots."""
    flags = ceph.rbd_json("info", image)["flags"]
    check(not flags, f"the object map is marked: {flags}")
    for one in ["", *("@" + snap["name"] for snap in ceph.rbd_json("snap", "ls", image))]:
        ceph.rbd("object-map", "check", "--no-progress", image + one)
        check(not ceph.rbd_json("info", image + one)["flags"], f"the object map of {image}{one} is wrong")


EVENT = re.compile(r" seq: (\d+), time: \S+ event: (\w+), op: osd_op\((client\.\d+)\.\d+:(\d+) \S+ \S+?:::(\S+?):head \[(.*?)\] snapc .*?\) ?$")


def events(scene):
    """(event, number, client, object, operations) of the image's objects, in the order of the cluster's log."""
    for line in scene.logged().decode(errors="replace").splitlines():
        if "process ceph-osd, pid" in line:
            yield "begin", 0, "", "", "", False
        elif scene.id in line and "op tracker" in line:
            match = EVENT.search(line)
            if match:
                number, event, client, _, name, operations = match.groups()
                yield event, int(number), client, name, operations, "+write" in line.rsplit("] snapc", 1)[1]


def check_log(scene):
    """Whoever has changed data, or the object map, had the lock from the beginning of that to its end."""
    holder, begun, changes, owners, kills = scene.holder, {}, 0, [], int(scene.holder is not None)
    header = f"rbd_header.{scene.id}"
    for event, number, client, name, operations, writes in events(scene):
        if event == "begin":
            # An OSD that is killed takes its last lines along.
            holder, kills = "?", kills + 1
            begun.clear()
        elif name == header:
            if "lock.lock" in operations and event == "op_commit":
                check(holder in (None, "?"), f"{client} gets the lock that {holder} has")
                holder = client
                owners += [] if owners and owners[-1] == client else [client]
            elif "lock.unlock" in operations and event == "started" and holder in (client, "?"):
                # In a moment it is gone.
                left = [what for who, what, _ in begun.values() if who == client]
                check(not left, f"{client} gives the lock back with this in flight: {left}")
                holder = None
            elif "lock.break_lock" in operations and event == "op_commit":
                holder = None
        elif f".{scene.id}." in name + "." and name.startswith(("rbd_data.", "rbd_object_map.")) and writes and "lock." not in operations.replace(
                "lock.assert_locked", ""):
            if holder == "?":
                holder = client
            if event == "started":
                begun[number] = client, f"{name} [{operations}]", holder
            elif event == "op_commit":
                check(holder == client, f"{client} has changed {name} [{operations}] while {holder} had the lock")
                _, what, then = begun.pop(number, (client, operations, None))
                check(then == client, f"{client} has begun with {what} while {then} had the lock")
                changes += 1
            elif event == "done":
                begun.pop(number, None)
    scene.owners = owners
    wrote = sum(party.acked() for party in scene.parties)
    check(kills or changes >= wrote, f"the log of the cluster has {changes} changes, but {wrote} writes were acknowledged")
    scene.t.note(f"{wrote} writes, {changes} changes in the cluster's log, the lock went to {len(owners)} owners one after the other")
