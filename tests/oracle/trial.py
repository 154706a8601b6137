# SPDX-License-Identifier: GPL-2.0-or-later
"""One image (by turns) or two (as twins), put through random steps, and compared with the model and with each other."""

import collections
import errno
import json
import random

import hands
from checks import Checks, Difference
from deeds import UNITS, Deeds
from locked import Locked
from model import PAGE, Disk, Layout
from state import Image


class Side:
    """A worker and the image it works on."""

    def __init__(self, worker, name):
        self.worker, self.name, self.reader, self.is_open = worker, name, None, False


class Trial(Checks, Locked):
    """`kind` is "turns": both drivers on one image; or "twins": each on its own. `setup` is the Setup of oracle.py."""

    def __init__(self, setup, combo, kind, seed, workers):
        self.setup, self.combo, self.kind = setup, combo, kind
        self.title = f"{combo.name} {kind}"
        self.random = random.Random(f"{seed}/{combo.name}/{kind}")
        self.layout = Layout(combo.order, *(self.random.choice(UNITS[combo.order]) if combo.striped else ()))
        self.deeds = Deeds(self.random, combo, self.layout)
        self.deeds.grow_in_batches = not setup.quick
        self.model = Disk(self.deeds.first_size(combo))
        self.snapshots = {}
        self.log = collections.deque(maxlen=4000)
        self.steps = self.bytes = 0
        self.dirty = set()
        # Images come from the tool or from the drivers themselves.
        self.by_drivers = self.random.random() < 0.5
        names = [f"{setup.run}-{combo.name}-{kind}"] if kind == "turns" else [f"{setup.run}-{combo.name}-{kind}-{who}" for who in "ab"]
        self.sides = [Side(worker, names[-1] if number else names[0]) for number, worker in enumerate(workers)]
        self.together, self.turn, self.flags = True, 0, 0
        self.images = []
        # The tool has just changed the image: everybody hears of it a moment later.
        self.outside = False
        self._prepare()

    # --- names ---

    def address(self, image, snapshot=None):
        """The image in one of the spellings that a driver takes."""
        namespace = self.setup.namespace if self.combo.namespace else ""
        if snapshot is None and self.random.random() < 0.5:
            return f"rbd:{self.setup.pool}/{namespace + '/' if namespace else ''}{image}:conf={self.setup.conf}"
        options = {"driver": "rbd", "pool": self.setup.pool, "image": image, "conf": self.setup.conf}
        options |= {"namespace": namespace} if namespace else {}
        options |= {"snapshot": snapshot} if snapshot is not None else {}
        return "json:" + json.dumps(options)

    # --- beginning and end ---

    def begin(self):
        for name in dict.fromkeys(side.name for side in self.sides):
            side = next(side for side in self.sides if side.name == name)
            if self.by_drivers:
                self._create_by_driver(side)
            else:
                self.setup.create(self.combo, name, self.model.size, self.layout)
            self.images.append(Image(self.setup.cluster, self.setup.pool, self.setup.namespace if self.combo.namespace else "", name,
                                     self.combo.form))
        if self.by_drivers:
            # qemu-img's way of creating knows whole sectors only.
            self.model.size = -(-self.model.size // 512) * 512
        for side in self.sides:
            self._open(side)

    def _create_by_driver(self, side):
        combo, layout = self.combo, self.layout
        settings = {"rbd_default_features": self.setup.features, "rbd_default_format": combo.form}
        if combo.striped:
            settings |= {"rbd_default_stripe_unit": layout.unit, "rbd_default_stripe_count": layout.count}
        if combo.data_pool:
            settings |= {"rbd_default_data_pool": self.setup.data_pool}
        name = f"rbd:{self.setup.pool}/{self.setup.namespace + '/' if combo.namespace else ''}{side.name}:conf={self.setup.conf}"
        name += "".join(f":{key}={value}" for key, value in settings.items())
        ret, _, text = side.worker.call(hands.CREATE, a=self.model.size, data=f"{name}\ncluster_size={layout.object_size}".encode())
        if ret < 0:
            raise Difference(f"{side.worker.name} can't create {name}: {text.decode()}")

    def end(self):
        """The last look, also by the rbd tool; a quick run leaves most of the images where they are."""
        self.check(True)
        if not self.setup.quick and self.kind == "twins" and self.combo.name in ("format1-64K-plain", "format2-64K-plain"):
            self._many_snapshots()
        for side in self.sides:
            self._close(side)
        if self.setup.quick and random.Random(self.title).random() < 0.75:
            return
        for image, name in zip(self.images, dict.fromkeys(side.name for side in self.sides)):
            self._check_by_tool(image)
            self._ask_the_tool(name)
            self.setup.remove(self.combo, name)
            left = image.objects()
            if left:
                raise Difference(f"{name}: objects are left after it was removed: {sorted(left)[:20]}")

    def _many_snapshots(self, count=104):
        """More than one array of the C driver has room for."""
        names = [f"many {number}" for number in range(count)]
        for op, what in ((hands.SNAP_CREATE, "create"), (hands.SNAP_DELETE, "delete")):
            for name in names:
                for side in self._active():
                    ret, _, text = side.worker.call(op, data=name.encode())
                    self._expect(side, f"{what} {name!r}", ret, 0, text)
                if what == "create":
                    self.snapshots[name] = self.model.copy()
                else:
                    del self.snapshots[name]
            self._compare_headers()

    # --- one step ---

    def step(self):
        if self.kind == "turns":
            self._pass_on()
        if self._extra():
            if self.setup.maps:
                self._compare_maps(True)
            return
        step = self.deeds.next(self.model.size, self.snapshots)
        self.log.append((self.steps, self.sides[self.turn].worker.name if self.kind == "turns" else "both", step))
        getattr(self, f"_{step.kind}", self._io)(step)
        self.steps += 1
        for offset, length in step.ranges:
            self.dirty |= self.layout.objects(offset, length)
            if self.random.random() < 0.35:
                self._look(offset, length)
        if self.setup.maps:
            self._compare_maps(True)
        if self.steps % self.setup.every == 0:
            self.compare_objects()
        if self.steps % self.setup.full == 0:
            self.check(False)

    def _pass_on(self):
        """By turns: whose turn is next, and whether the other one has the image open meanwhile."""
        if self.random.random() < 0.01:
            self.together = not self.together
            for side in self.sides:
                self._close(side)
            self.flags = 0 if self.together else self.random.choice((0, hands.CACHE))
            self.turn = self.random.randrange(2)
            for side in self.sides if self.together else [self.sides[self.turn]]:
                self._open(side)
        elif self.random.random() < (0.3 if self.together else 0.03):
            if not self.together:
                self._close(self.sides[self.turn])
            self.turn = 1 - self.turn
            if not self.together:
                self._open(self.sides[self.turn])

    def _open(self, side):
        ret, text = side.worker.open(self.address(side.name), hands.WRITABLE | self.flags)
        if ret < 0:
            raise Difference(f"{side.worker.name} can't open {side.name}: {text}")
        side.is_open = True
        self._length(side)

    def _close(self, side):
        self._close_reader(side)
        if side.is_open:
            side.worker.close()
        side.is_open = False

    def _close_reader(self, side):
        side.worker.close(slot=1)
        side.reader = None

    def _io(self, step):
        parts = step.parts or [step]
        before = self.model.size
        if any(part.kind in ("zeroes", "discard") for part in parts):
            # With its cache librbd has answered writes that are still under way, and how long an object is depends on which comes first.
            self._settle()
        for side in self._active():
            if step.parts and not (side.worker.has_librbd and self._may_hang(parts)):
                answers = side.worker.batch([part.order() for part in parts])
            else:
                answers = [side.worker.call(*part.order()) for part in parts]
            for part, (ret, _, data) in zip(parts, answers):
                self._expect(side, str(part), ret, 0, data if ret < 0 else b"")
                if part.kind == "read":
                    self._same(side, part.offset, data, self.model, "read")
                self.bytes += len(part.data)
        for part in parts:
            if part.kind == "write" and part.length:
                self.model.write(part.offset, part.data)
            elif part.kind == "zeroes" and part.length:
                self.model.write_zeroes(part.offset, part.length)
            elif part.kind == "discard":
                end = max(part.offset, min(part.offset + part.length, before))
                for offset, length in self.layout.discarded(part.offset, end - part.offset):
                    self.model.zero(offset, length)
        if self.model.size != before:
            self._lengths()

    def _may_hang(self, parts):
        """librbd's resize, with which the C driver blocks its event loop, now and then waits for zeroes in flight that wait for it."""
        return any(part.kind == "zeroes" for part in parts) and any(
            part.kind in ("write", "zeroes") and part.offset + part.length > self.model.size for part in parts)

    def _look(self, offset, length):
        """Read a range and what is around it; by turns with the other driver, if it has the image open."""
        begin = max(0, offset - 700)
        length = max(0, min(offset + length + 700, self.model.size) - begin)
        self._settle()
        for side in self.sides if self.kind == "twins" else [self.sides[1 - self.turn if self.together else self.turn]]:
            ret, _, data = side.worker.call(hands.READ, begin, length)
            self._expect(side, f"read of {begin}+{length}", ret, 0)
            self._same(side, begin, data, self.model, "read of what was done")

    def _truncate(self, step):
        for side in self._active():
            ret, _, text = side.worker.call(hands.TRUNCATE, step.length, flags=step.flags)
            self._expect(side, str(step), ret, 0, text)
        self.dirty |= set(range(self.layout.object_count(max(self.model.size, step.length))))
        self.model.truncate(step.length)
        self._lengths()

    def _create(self, step):
        for side in self._active():
            ret, _, _ = side.worker.call(hands.SNAP_CREATE, data=step.name.encode())
            self._expect(side, str(step), ret, 0)
        self.snapshots[step.name] = self.model.copy()
        self._maps_after("create", step.name)
        self._compare_headers()

    def _delete(self, step):
        readers = [side for side in self.sides if side.reader == step.name]
        for side in readers:
            if side.worker.name != "ours":
                self._close_reader(side)
        for side in self._active():
            ret, _, text = side.worker.call(hands.SNAP_DELETE, data=step.name.encode())
            self._expect(side, str(step), ret, 0, text)
        self._maps_after("delete", step.name)
        deleted = self.snapshots.pop(step.name)
        for side in readers:
            if side.reader:
                self._read_deleted(side, deleted)
        self._compare_headers()

    def _read_deleted(self, side, deleted):
        """What a reader of a snapshot sees that was deleted: what it had, as long as the cluster has that, or errors; never zeroes."""
        for offset in range(0, deleted.size, 1 << 20):
            ret, _, data = side.worker.call(hands.READ, offset, min(1 << 20, deleted.size - offset), slot=1)
            if ret < 0:
                self._expect(side, "a read at a snapshot that was deleted", ret, -errno.ENOENT)
            else:
                self._same(side, offset, data, deleted, "read at a snapshot that was deleted")
        self._close_reader(side)

    def _goto(self, step):
        self._maps_after("goto", step.name, self.sides[self.turn])
        for side in self._active():
            if self.kind == "turns" and self.together:
                self._take_lock(side)
                self._take_lock_of_nothing(side)
            ret, _, text = side.worker.call(hands.SNAP_GOTO, data=step.name.encode())
            self._expect(side, str(step), ret, 0, text)
        old = self.model.size
        self.model = self.snapshots[step.name].copy()
        self.dirty |= set(range(self.layout.object_count(max(old, self.model.size))))
        self._lengths()

    def _snapshot(self, step):
        """Read at a snapshot, with a node that may stay open from an earlier time."""
        for side in self._active():
            if side.reader != step.name:
                self._close_reader(side)
                ret, text = side.worker.open(self.address(side.name, step.name), slot=1)
                self._expect(side, f"open at {step.name!r}", ret, 0, text.encode())
                side.reader = step.name
            ret, _, data = side.worker.call(hands.READ, step.offset, step.length, slot=1)
            self._expect(side, str(step), ret, 0)
            self._same(side, step.offset, data, self.snapshots[step.name], f"read at the snapshot {step.name!r}")

    def _status(self, step):
        for side in self._active():
            at, end = step.offset, step.offset + step.length
            while at < end:
                ret, count, _ = side.worker.call(hands.STATUS, at, end - at)
                if ret < 0 or not 0 < count <= end - at:
                    raise Difference(f"{side.worker.name}: status of {at}+{end - at} gives {hands.name_of(ret)} for {count} bytes")
                # Only what was written takes a page of the model.
                if ret & hands.ZERO and any(any(self.model.read(begin, min(PAGE, at + count - begin)))
                                            for begin in range(at, at + count, PAGE) if self._has_data(begin)):
                    raise Difference(f"{side.worker.name}: status calls {at}+{count} zeroes, where there is data")
                at += count

    def _has_data(self, offset):
        return offset // PAGE in self.model.pages or offset // PAGE + 1 in self.model.pages

    def _again(self, step):
        """Close and open, as a rule with another cache mode."""
        if self.kind == "twins":
            self.flags = self.random.choice((0, hands.CACHE))
        for side in self._active():
            self._close(side)
            self._open(side)

    def _reopen(self, step):
        for side in self._active():
            for flags in (0, hands.WRITABLE):
                ret, _, text = side.worker.call(hands.REOPEN, flags=flags)
                self._expect(side, f"reopen {'read-write' if flags else 'read-only'}", ret, 0, text)
            self._length(side)

    def _invalidate(self, step):
        for side in self._active():
            ret, _, text = side.worker.call(hands.INVALIDATE)
            self._expect(side, "invalidate_cache", ret, 0, text)

    def _info(self, step):
        for side in self._active():
            ret, value, _ = side.worker.call(hands.INFO)
            self._expect(side, "get_info", ret, 0)
            self._expect(side, "the cluster size", value, self.layout.object_size)

    def _wrong(self, step):
        """What must be refused."""
        for side in self._active():
            for what, op, name, expected in (
                    ("delete of a snapshot that is not there", hands.SNAP_DELETE, "nothing", -errno.ENOENT),
                    ("goto of a snapshot that is not there", hands.SNAP_GOTO, "nothing", -errno.ENOENT),
                    ("a snapshot without a name", hands.SNAP_CREATE, "", -errno.EINVAL),
                    ("a snapshot with a name that is too long", hands.SNAP_CREATE, "n" * 128, -errno.ERANGE),
                    *(("a snapshot that is there already", hands.SNAP_CREATE, name, -errno.EEXIST) for name in list(self.snapshots)[:1])):
                ret, _, text = side.worker.call(op, data=name.encode())
                self._expect(side, what, ret, expected, text)

    def history(self, text):
        """The last steps, and the last ones on the object that the text of a difference names."""
        last = list(self.log)[-self.setup.history:]
        lines = [f"the last steps, of {self.steps + 1}:"] + [f"  {number} {who}: {str(step)[:400]}" for number, who, step in last]
        words = text.split("(object ")
        if len(words) > 1:
            wanted = int(words[1].split(")")[0])
            same = [entry for entry in self.log if entry[2].kind in ("truncate", "goto", "create", "delete") or
                    any(wanted in self.layout.objects(*one) for one in entry[2].ranges)]
            lines += [f"steps that may have touched object {wanted}:"]
            lines += [f"  {number} {who}: {str(step)[:400]}" for number, who, step in same[-15:]]
        return lines
