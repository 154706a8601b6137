# SPDX-License-Identifier: GPL-2.0-or-later
"""What is done to an image: combinations of formats and layouts, and random steps that depend on nothing but the seed."""

import itertools
from dataclasses import dataclass, field

import hands

KIB, MIB = 1 << 10, 1 << 20
ORDERS = {16: "64K", 22: "4M", 25: "32M"}
# First and largest size of an image.
SIZES = {16: (2 * MIB, 8 * MIB), 22: (16 * MIB, 48 * MIB), 25: (80 * MIB, 200 * MIB)}
UNITS = {16: ((4 * KIB, 3), (16 * KIB, 4), (32 * KIB, 2)), 22: ((64 * KIB, 3), (1 * MIB, 4), (4 * MIB, 2)),
         25: ((512 * KIB, 2), (4 * MIB, 3), (16 * MIB, 2))}
WEIGHTS = {"read": 27, "write": 32, "zeroes": 12, "discard": 8, "flush": 2, "batch": 7, "truncate": 3, "status": 2, "again": 1.2,
           "reopen": 0.8, "invalidate": 0.5, "create": 0.9, "delete": 0.6, "goto": 0.5, "snapshot": 1.5, "wrong": 0.5, "info": 0.5}


@dataclass(frozen=True)
class Combo:
    form: int
    order: int
    striped: bool
    data_pool: bool
    namespace: bool

    @property
    def name(self):
        words = [f"format{self.form}", ORDERS[self.order], "striped" if self.striped else "plain"]
        return "-".join(words + (["datapool"] if self.data_pool else []) + (["namespace"] if self.namespace else []))


def combos():
    """All there are; format 1 knows neither striping nor data pools nor namespaces."""
    return [Combo(1, order, False, False, False) for order in ORDERS] + [
        Combo(2, order, *more) for order in ORDERS for more in itertools.product((False, True), repeat=3)]


@dataclass
class Step:
    """One thing to do. `ranges` are all that it may touch."""

    kind: str
    offset: int = 0
    length: int = 0
    data: bytes = b""
    flags: int = 0
    name: str = ""
    parts: list = field(default_factory=list)

    @property
    def ranges(self):
        if self.parts:
            return [one for part in self.parts for one in part.ranges]
        return [(self.offset, self.length)] if self.kind in ("read", "write", "zeroes", "discard") else []

    def __str__(self):
        if self.parts:
            return "batch of " + ", ".join(map(str, self.parts))
        text = self.kind
        if self.kind in ("read", "write", "zeroes", "discard", "status", "snapshot"):
            text += f" {self.offset}+{self.length}"
        if self.kind in ("truncate", "tool resize"):
            text += f" to {self.length}"
        if self.name:
            text += f" {self.name!r}"
        return text + (f" flags {self.flags:#x}" if self.flags else "")

    def order(self):
        """As the worker wants it: op, a, b, data, flags."""
        op = {"read": hands.READ, "write": hands.WRITE, "zeroes": hands.ZEROES, "discard": hands.DISCARD, "flush": hands.FLUSH}
        return op[self.kind], self.offset, self.length, self.data, self.flags


class Deeds:
    """Random steps for an image of this combination."""

    def __init__(self, random, combo, layout):
        self.random, self.layout, self.most = random, layout, SIZES[combo.order][1]
        self.names = 0
        # librbd hangs now and then if an image grows with other requests in flight: twice in 350,000 operations.
        self.grow_in_batches = True
        # Where most requests go, so that they meet.
        self.places = [self._edge() for _ in range(8)]

    def _edge(self):
        random, layout = self.random, self.layout
        unit = random.choice((layout.object_size, layout.unit, layout.object_size * layout.count, 64 * KIB))
        return random.randrange(0, max(1, self.most // unit + 1)) * unit

    def first_size(self, combo):
        size = SIZES[combo.order][0]
        return size if self.random.random() < 0.5 else size + self.random.randrange(1, 70000)

    def _length(self):
        random, big = self.random, self.layout.object_size
        chance = random.random()
        if chance < 0.01:
            return 0
        if chance < 0.35:
            return random.randrange(1, 5000)
        if chance < 0.65:
            return 512 * random.randrange(1, 17)
        if chance < 0.85:
            return 4096 * random.randrange(1, 33)
        if chance < 0.95:
            return random.randrange(1, min(2 * big, MIB) + 1)
        if chance < 0.985 or big > 4 * MIB:
            return self.layout.unit if self.layout.unit <= 4 * MIB else MIB
        return big * random.randrange(1, 3)

    def range(self, size, beyond=False):
        """Within `size` bytes; with `beyond`, up to what an image may have."""
        random = self.random
        limit = self.most if beyond else size
        length = min(self._length(), limit)
        if random.random() < 0.05 and self.layout.object_size <= 4 * MIB:
            # Whole objects.
            offset = self._edge()
            length = self.layout.object_size
        elif random.random() < 0.08:
            offset = size - length + random.choice((0, 0, 0, -1, 1, 511))
        elif random.random() < 0.7:
            offset = random.choice(self.places) + random.choice((0, 0, 512, -512, 4096, -length, -length // 2, random.randrange(-9000, 9000)))
        else:
            offset = random.randrange(0, limit + 1) // random.choice((1, 512, 4096)) * 512
        if random.random() < 0.3:
            offset = offset // 4096 * 4096
        if limit <= 0:
            return 0, 0
        offset = max(0, offset) if offset <= limit else offset % limit
        return offset, min(length, limit - offset)

    def fresh(self, length):
        random = self.random
        if random.random() < 0.04:
            return bytes(length)
        # As good as random for finding misplaced bytes, and much quicker to make.
        seed = random.randbytes(min(length, 4099))
        return (seed * (length // 4099 + 1))[:length]

    def request(self, kind, size, beyond=None):
        if beyond is None:
            beyond = self.random.random() < 0.03
        step = Step(kind)
        if kind == "flush":
            return step
        step.offset, step.length = self.range(size, beyond and kind in ("write", "zeroes"))
        # A write of nothing beyond the end makes the image longer with the C driver; nobody sends one.
        step.offset = min(step.offset, size) if not step.length else step.offset
        if kind in ("read", "write"):
            step.flags = hands.pieces(self.random.choice((1, 1, 1, 2, 3, 7)))
        if kind == "write":
            step.data = self.fresh(step.length)
            step.flags |= self.random.choices((0, hands.FUA), (20, 1))[0]
        if kind == "zeroes":
            step.flags = self.random.choice((0, hands.MAY_UNMAP, hands.MAY_UNMAP | hands.NO_FALLBACK, hands.NO_FALLBACK, hands.FUA,
                                             hands.MAY_UNMAP | hands.FUA))
        return step

    def new_size(self, size):
        random, big = self.random, self.layout.object_size
        near = size + random.choice((-1, 1)) * random.randrange(1, 2 * big)
        edge = self._edge() + random.choice((0, 0, 1, -1, 511, 512, random.randrange(1, 4096)))
        return min(self.most, max(0, random.choice((near, near, edge, edge, random.randrange(0, self.most) if random.random() < 0.3 else edge))))

    @staticmethod
    def step(kind, **more):
        return Step(kind, **more)

    def snapshot_name(self):
        self.names += 1
        return self.random.choice(("s{}", "s {}", "s:\u00fc{}", "snapshot-with-a-long-name-{}", "{}")).format(self.names)

    def next(self, size, snapshots):
        """The next step for an image of this size with these snapshots."""
        random = self.random
        kind = random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if kind in ("read", "write", "zeroes", "discard", "flush"):
            return self.request(kind, size)
        if kind == "batch":
            parts, taken = [], []
            for _ in range(random.randrange(2, 13)):
                kind = random.choices(("read", "write", "zeroes", "discard", "flush"), (8, 10, 3, 2, 1))[0]
                part = self.request(kind, size, None if self.grow_in_batches else False)
                start, end = part.offset, part.offset + part.length
                if part.kind in ("zeroes", "discard"):
                    # How long an object is afterwards depends on whether they come before or after a write to the same one.
                    unit = self.layout.object_size * self.layout.count
                    start, end = start // unit * unit, -(-end // unit) * unit
                if all(end <= low or high <= start for low, high in taken):
                    parts.append(part)
                    taken += [(start, end)] if part.ranges else []
            return Step("batch", parts=parts)
        if kind == "truncate":
            return Step(kind, length=self.new_size(size), flags=random.choice((0, 0, hands.ZERO_NEW)))
        if kind == "create" and len(snapshots) < 6:
            return Step(kind, name=self.snapshot_name())
        if kind in ("delete", "goto", "snapshot", "create") and snapshots:
            step = Step("delete" if kind == "create" else kind, name=random.choice(list(snapshots)))
            if kind == "snapshot":
                step.offset, step.length = self.range(snapshots[step.name].size)
            return step
        if kind == "status":
            offset, length = self.range(size)
            return Step(kind, offset, min(length * 16 + 1, size - offset)) if offset < size else Step("flush")
        if kind in ("again", "reopen", "invalidate", "wrong", "info"):
            return Step(kind)
        return self.request("read", size)
