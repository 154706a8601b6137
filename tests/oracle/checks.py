# SPDX-License-Identifier: GPL-2.0-or-later
"""How images are compared: with the model, with each other, and with what the rbd tool says."""

import json
import time

import hands
from model import PAGE

# Differences between the two drivers' images that are meant to be: part of the state, and why.
KNOWN = (
    ("header: create_timestamp, access_timestamp, modify_timestamp", "the time of day; and they are optional to write"),
    ("header: block_name, object_prefix, snapshot ids", "unique by design; compared with the id taken out, and by their order"),
    ("objects: hints about their size", "only advice to the servers, and no client can read them back"),
    ("extended attributes of the header", "the watchers and advisory locks of whoever has it open"),
    ("length and list of snapshots", "ours are as last heard, and never ask the cluster: another client's change is there a moment after "
     "that client has been answered"),
    ("zeroes that may not unmap", "the C driver unmaps all the same, by mistake; here it is built as its source means it, with "
     "librbd keeping the space (scripts/c-modules.sh, thick/)"),
    ("a write of nothing beyond the end", "makes the image longer with the C driver; none is sent"),
    ("object maps after a rollback, until the next snapshot", "ours says of every object that it has changed, as it may differ from a newer "
     "snapshot; librbd copies the snapshot's map, and its differences to newer snapshots may lack an object"),
    ("rbd object-map check: marked as 1, but should be 3", "librbd itself says that an object has changed also for zeroes behind the end of that "
     "object, which change nothing; too much is harmless, and that it is never too little is compared with the model"),
    ("rbd object-map check: marked as 3, but should be 1", "librbd of its own map, in an image that it has rolled back (see above)"),
    ("object maps after a client was killed", "objects may be called there that are not, by both; never the other way round. "
     "librbd leaves them so when it makes the map anew, and its check does not mind"),
    ("rollback of an image whose lock another client has", "the C driver refuses it; ours asks for the lock"),
    ("block status", "the C driver says data where there is no fast-diff; both must only never call data zeroes"),
)
ROOM = 4 << 20


class Difference(Exception):
    """The image is not what it must be."""


class Checks:
    """The comparing half of a Trial."""

    def _active(self):
        return self.sides if self.kind == "twins" else [self.sides[self.turn]]

    def _expect(self, side, what, ret, expected, text=b""):
        if ret != expected:
            raise Difference(f"{side.worker.name}: {what} gives {hands.name_of(ret)}, not {hands.name_of(expected)}"
                             + (f": {text.decode(errors='replace')}" if text else ""))

    def _patiently(self, side, ask, expected):
        """What ask() gives; if another client has just changed it, as soon as that has got about."""
        until = time.monotonic() + (5 if self.outside or side not in self._active() else 0)
        while True:
            found = ask()
            if found == expected or time.monotonic() >= until:
                return found
            time.sleep(0.001)

    def _length(self, side):
        ret = self._patiently(side, lambda: side.worker.call(hands.LENGTH)[0], self.model.size)
        self._expect(side, "the length", ret, self.model.size)

    def _lengths(self):
        for side in self.sides:
            if side.is_open:
                self._length(side)

    def _same(self, side, offset, data, model, what):
        self.bytes += len(data)
        expected = model.read(offset, len(data))
        if data == expected:
            return
        first = next(i for i, (a, b) in enumerate(zip(data, expected)) if a != b)
        count = sum(a != b for a, b in zip(data, expected))
        raise Difference(f"{side.worker.name}: {what}: {count} bytes of {offset}+{len(data)} differ, the first one at {offset + first} (object "
                         f"{self.layout.place(offset + first)[0]}): {data[first:first + 16].hex()} instead of "
                         f"{expected[first:first + 16].hex()}")

    def _settle(self):
        """What a cache holds back reaches the cluster."""
        for side in self.sides:
            if side.is_open and self.flags & hands.CACHE:
                self._expect(side, "flush", side.worker.call(hands.FLUSH)[0], 0)

    def compare_objects(self, everything=False):
        """Existence and size of the objects that were touched since the last time, or of all."""
        self._settle()
        found = [image.objects() if everything else image.sizes(sorted(self.dirty)) for image in self.images]
        count = self.layout.object_count(self.model.size)
        for image, sizes in zip(self.images, found):
            beyond = [number for number in sizes if number >= count]
            if beyond:
                raise Difference(f"{image.name}: of {self.model.size} bytes there are {count} objects, but it has {beyond[:20]}")
        if len(found) > 1 and found[0] != found[1]:
            self._unequal("objects", *found)
        self.dirty.clear()

    def _unequal(self, what, left, right):
        different = [key for key in sorted(left.keys() | right.keys(), key=str) if left.get(key) != right.get(key)]
        names = [side.worker.name for side in self.sides]
        raise Difference(f"{what} differ ({names[0]} / {names[1]}): " +
                         "; ".join(f"{key}: {left.get(key)} / {right.get(key)}" for key in different[:12]))

    def _compare_headers(self):
        """Both headers, and what the drivers and the model say about snapshots; the ids of each image's snapshots."""
        found = [image.header() for image in self.images]
        for image, (header, ids) in zip(self.images, found):
            if sorted(ids) != sorted(self.snapshots) or header["size"] != self.model.size:
                raise Difference(f"{image.name}: the header has {header['size']} bytes and the snapshots {sorted(ids)}, not "
                                 f"{self.model.size} and {sorted(self.snapshots)}")
        if len(found) > 1 and found[0][0] != found[1][0]:
            self._unequal("headers", found[0][0], found[1][0])
        expected = [(name, disk.size) for name, disk in self.snapshots.items()]
        for side in self.sides:
            if side.is_open:
                listed = self._patiently(side, side.worker.snapshots, expected)
                if listed != expected:
                    raise Difference(f"{side.worker.name} lists {listed}, not {expected}")
        return [ids for _, ids in found]

    def _read_all(self, side, model, slot, what, everything):
        """Every byte, or what was written and some of the rest."""
        pieces = range(0, model.size, ROOM)
        for begin in pieces:
            used = any(number in model.pages for number in range(begin // PAGE, (begin + ROOM) // PAGE))
            if everything or used or self.random.random() < 0.1:
                length = min(ROOM, model.size - begin)
                ret, _, data = side.worker.call(hands.READ, begin, length, slot=slot)
                self._expect(side, f"{what}: read of {begin}+{length}", ret, 0)
                self._same(side, begin, data, model, what)

    def check(self, everything):
        """All of it: data, objects, headers, and the snapshots' data and objects."""
        self.compare_objects(True)
        ids = self._compare_headers()
        self._compare_maps(everything)
        readers = [side for side in self.sides if side.is_open]
        for side in readers:
            self._read_all(side, self.model, 0, "all of it", everything)
        chosen = list(self.snapshots) if everything else self.random.sample(list(self.snapshots), min(2, len(self.snapshots)))
        for name in chosen:
            model = self.snapshots[name]
            if len(self.images) > 1:
                sizes = [image.sizes_at(ids[number][name], self.layout.object_count(model.size)) for number, image in enumerate(self.images)]
                if sizes[0] != sizes[1]:
                    self._unequal(f"objects at the snapshot {name!r}", *sizes)
            for side in readers:
                ret, text = side.worker.open(self.address(side.name, name), slot=2)
                self._expect(side, f"open at {name!r}", ret, 0, text.encode())
                self._length_at(side, model, name)
                self._read_all(side, model, 2, f"all of the snapshot {name!r}", False)
                side.worker.close(slot=2)

    def _length_at(self, side, model, name):
        ret, _, _ = side.worker.call(hands.LENGTH, slot=2)
        self._expect(side, f"the length at {name!r}", ret, model.size)

    def _ask_the_tool(self, name):
        spec = self.setup.spec(self.combo, name)
        info = json.loads(self.setup.tool("info", spec, "--format", "json"))
        listed = json.loads(self.setup.tool("snap", "ls", spec, "--format", "json"))
        if (info["size"], [(one["name"], one["size"]) for one in listed]) != (
                self.model.size, [(name, disk.size) for name, disk in self.snapshots.items()]):
            raise Difference(f"rbd says of {name}: {info} {listed}")
        chosen = self.random.choice([None, *self.snapshots])
        model = self.model if chosen is None else self.snapshots[chosen]
        words = ("export", spec if chosen is None else f"{spec}@{chosen}", "-", "--no-progress")
        at = 0
        for data in self.setup.tool_output(*words):
            if model.read(at, len(data)) != data:
                raise Difference(f"rbd {' '.join(words)}: {at}+{len(data)} is not what it must be")
            at += len(data)
        if at != model.size:
            raise Difference(f"rbd {' '.join(words)} gives {at} bytes, not {model.size}")
