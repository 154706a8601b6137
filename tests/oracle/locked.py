# SPDX-License-Identifier: GPL-2.0-or-later
"""What is different with images that have the exclusive lock and the object map: the maps, clients that are killed, and the rbd tool."""

import json
import os
import time

import hands
from checks import ROOM, Difference

# How often, of all steps, a client is killed, and the tool changes the image.
KILL, TOOL = 0.004, 0.005
ABSENT, EXISTS, PENDING, CLEAN = range(4)
# Flags of an image, or of a snapshot.
MAP_INVALID, DIFF_INVALID = 1, 2


class Locked:
    """Another half of a Trial. `locked` says whether the image has a lock and a map at all."""

    def _prepare(self):
        self.locked = self.combo.form == 2 and "object-map" in self.setup.features
        # A client was killed: the map may call objects there that are not, also when librbd has made it anew.
        self.vague = False
        # And librbd has not made it anew since. Until then it may be marked as invalid: whoever takes the lock from one that was killed in
        # a resize may not know the new size yet, and takes the map for too short.
        self.broken = False
        # Maps of twins (None: of the image as it is) in which ours may say "exists" where librbd's says "exists unchanged".
        self.rolled = set()
        # Maps that librbd has copied for a rollback, or that come from such a one: those may call unchanged what has changed.
        self.copied = set()
        self.kills = self.tools = 0

    def _extra(self):
        """Instead of a usual step, now and then; whether it was done."""
        if not self.locked or self.kind != "turns":
            return False
        chance = self.random.random()
        if chance < KILL:
            self._kill()
        elif chance < KILL + TOOL:
            self._tool()
        else:
            return False
        self.steps += 1
        return True

    # --- maps ---

    def _compare_maps(self, everything):
        """The maps must say of every object what is true, and the twins' ones be the same."""
        if not self.locked:
            return
        self._settle()
        headers = [image.header() for image in self.images]
        before = None
        # The oldest first.
        for name, model in [*self.snapshots.items(), (None, self.model)]:
            older, before = before, model
            if not everything and name is not None and self.random.random() < 0.5:
                continue
            count = self.layout.object_count(model.size)
            found = []
            for image, (header, numbers), side in zip(self.images, headers, self.sides):
                what = f"{image.name}: map of {name or 'the image'}"
                invalid = header["snapshots"][name][3] if name is not None else header["flags"]
                if invalid and not self.broken:
                    raise Difference(f"{what}: marked as invalid, and nobody was killed")
                states = image.object_map(numbers[name] if name is not None else None)
                objects = image.sizes_at(numbers[name], count) if name is not None else image.sizes(range(count))
                if not invalid & MAP_INVALID:
                    self._check_map(what, states, objects, count)
                if not invalid & DIFF_INVALID and (name not in self.copied or self.kind == "twins" and side is self.sides[0]):
                    self._check_unchanged(what, states, older, model, count)
                found.append(states)
            if len(found) > 1 and found[0] != found[1]:
                self._compare_twins(name, *found)

    def _check_map(self, what, states, objects, count):
        if states is None:
            raise Difference(f"{what}: it is not there")
        if len(states) != count and not (self.vague and len(states) > count):
            raise Difference(f"{what}: it has {len(states)} objects, not {count}")
        for number in range(count):
            state, there = states[number], number in objects
            if there and state not in ((EXISTS, CLEAN, PENDING) if self.vague else (EXISTS, CLEAN)) or not there and state != ABSENT and not self.vague:
                raise Difference(f"{what}: state {state} for object {number}, which is {'there' if there else 'not there'} (object {number})")

    def _check_unchanged(self, what, states, older, model, count):
        """What has not changed since the snapshot before must be what that one has."""
        for number in range(count):
            if states[number] == CLEAN and (older is None or any(
                    older.read(at, length) != model.read(at, length) for at, length in self.layout.pieces(number, model.size))):
                raise Difference(f"{what}: object {number} has changed since the snapshot before, but is marked as unchanged (object {number})")

    def _compare_twins(self, name, ours, c):
        different = [(number, a, b) for number, (a, b) in enumerate(zip(ours, c)) if a != b]
        if name in self.rolled:
            different = [one for one in different if one[1:] != (EXISTS, CLEAN)]
        if different:
            raise Difference(f"map of {name or 'the image'}: states differ (object, ours, C driver): {different[:12]}")

    def _maps_after(self, kind, name, by=None):
        """What becomes of the known differences: `kind` of step on the snapshot `name`; `by` which side, None for the tool."""
        if kind == "goto":
            self.rolled.add(None)
            if self.kind == "twins" or by is not self.sides[0] or self.sides[0].worker.has_librbd:
                self.copied.add(None)
        for known in (self.rolled, self.copied):
            if kind == "create" and None in known:
                # The snapshot gets the map, and nothing has changed since.
                known.add(name)
                known.discard(None)
            elif kind == "delete" and name in known:
                # What the next newer one says depends on it.
                names = list(self.snapshots)
                after = names[names.index(name) + 1:]
                known.discard(name)
                known.add(after[0] if after else None)

    def _check_by_tool(self, image):
        """librbd's own look at the maps marks those that are wrong."""
        if not self.locked or self.broken:
            return
        spec = self.setup.spec(self.combo, image.name)
        for name in [None, *self.snapshots]:
            self.setup.tool("object-map", "check", spec if name is None else f"{spec}@{name}", "--no-progress")
            info = json.loads(self.setup.tool("info", spec if name is None else f"{spec}@{name}", "--format", "json"))
            wrong = self._map_errors(image) if info["flags"] else []
            harmless = ("marked as 1, but should be 3",)
            if self.copied and (self.kind == "turns" or image is not self.images[0]):
                harmless += ("marked as 3, but should be 1",)
            if info["flags"] and (not wrong or any(not line.endswith(harmless) for line in wrong)):
                raise Difference(f"rbd object-map check of {spec} at {name}: {info['flags']} {wrong[:5]}")

    def _map_errors(self, image):
        """What librbd has written down of an image's map."""
        with open(os.path.join(os.path.dirname(self.setup.conf), "log", "clients.log"), encoding="utf-8", errors="replace") as file:
            return [line.strip() for line in file if f"{image.prefix}." in line and "object map error" in line]

    def _rebuild(self):
        """The tool makes all maps anew."""
        spec = self._spec()
        for name in [None, *self.snapshots]:
            self.setup.tool("object-map", "rebuild", spec if name is None else f"{spec}@{name}", "--no-progress")
        self.broken = False

    def _spec(self):
        return self.setup.spec(self.combo, self.images[0].name)

    # --- the lock ---

    def _take_lock(self, side):
        """librbd goes back to a snapshot only if it has the lock already, or nobody has."""
        if self.locked and self.model.size:
            data = self.model.read(0, min(512, self.model.size))
            ret, _, text = side.worker.call(hands.WRITE, 0, len(data), data)
            self._expect(side, "a write that changes nothing", ret, 0, text)
            self.model.write(0, data)
            self.dirty.add(0)

    def _take_lock_of_nothing(self, side):
        """The same of an image without a byte that could be written: by making it longer for a moment."""
        if self.locked and not self.model.size:
            for size in (512, 0):
                ret, _, text = side.worker.call(hands.TRUNCATE, size)
                self._expect(side, f"truncate to {size} for the lock", ret, 0, text)

    # --- a client is killed ---

    def _kill(self):
        """kill -9 while it does something; another one goes on."""
        self.kills += 1
        side, other = self.sides[self.turn], self.sides[1 - self.turn]
        # Its watch would stay for half a minute, and all notifications wait for that.
        self._close_reader(side)
        self._take_lock(side)
        # That writes nothing to an image of no size, and then the lock may be the other one's.
        others = set() if self.model.size else self._owners()
        # With its cache librbd has answered changes that nobody has flushed yet; those may be lost.
        self._settle()
        step = self._last_step()
        self.log.append((self.steps, f"{side.worker.name}, killed meanwhile", step))
        if step.parts:
            side.worker.start_batch([part.order() for part in step.parts])
        else:
            op = {"truncate": hands.TRUNCATE, "create": hands.SNAP_CREATE, "goto": hands.SNAP_GOTO}[step.kind]
            side.worker.start(op, a=step.length, data=step.name.encode())
        # Anywhere between nothing and all of it.
        time.sleep(self.random.choice((0, self.random.random() * 0.004, self.random.random() * 0.03)))
        side.worker.kill()
        side.is_open = False
        if step.kind == "goto":
            self._maps_after("goto", step.name, side)
        for address in self._owners() - others:
            # What the cluster does by itself after half a minute: the watch of the killed one ends.
            self.setup.cluster.blocklist(address)
        side.worker = self.setup.start(self.sides.index(side))
        self.turn = 1 - self.turn
        if not other.is_open:
            self._open_unknown(other)
        if step.kind == "goto" and side.worker.has_librbd:
            # librbd puts the snapshot's map in its place before it brings the objects back: in between the map calls objects absent
            # that are there, and what a reader sees of them depends on whether it has looked at the map.
            self._rebuild()
        self._learn(other, step)
        self.vague = self.broken = True
        if step.kind == "create" or self.random.random() < 0.7:
            self._rebuild()
        if self.together:
            self._open(side)

    def _last_step(self):
        """Something to be killed in; within the image, so that its size stays known."""
        size = self.model.size
        kind = self.random.choice(("batch", "batch", "batch", "truncate", "create", "goto"))
        if kind == "create" and len(self.snapshots) < 6:
            return self.deeds.step("create", name=self.deeds.snapshot_name())
        if kind == "goto" and self.snapshots:
            return self.deeds.step("goto", name=self.random.choice(list(self.snapshots)))
        if kind == "truncate" or not size:
            return self.deeds.step("truncate", length=self.deeds.new_size(size))
        return self._some(("write", "zeroes", "discard"), (8, 3, 3))

    def _some(self, kinds, weights):
        parts, taken = [], []
        for _ in range(12):
            part = self.deeds.request(self.random.choices(kinds, weights)[0], self.model.size, False)
            end = part.offset + part.length
            if part.length and all(end <= low or high <= part.offset for low, high in taken):
                parts.append(part)
                taken.append((part.offset, end))
        return self.deeds.step("batch", parts=parts)

    def _owners(self):
        """The addresses of whoever has the lock."""
        return {one["address"] for one in json.loads(self.setup.tool("lock", "ls", self._spec(), "--format", "json"))}

    def _open_unknown(self, side):
        ret, text = side.worker.open(self.address(side.name), hands.WRITABLE | self.flags)
        self._expect(side, "open after the other one was killed", min(ret, 0), 0, text.encode())
        side.is_open = True

    def _learn(self, side, step):
        """Each byte must be what it was, or what it was to become; which of both it is becomes the model's."""
        old, new = self.model, self.model.copy()
        for part in step.parts:
            self._apply(new, part)
        if step.kind == "truncate":
            new.truncate(step.length)
        if step.kind == "goto":
            new = self.snapshots[step.name].copy()
        header, ids = self.images[0].header()
        size = header["size"]
        if size not in (old.size, new.size):
            raise Difference(f"after the kill the image has {size} bytes, neither {old.size} nor {new.size}")
        if step.kind == "create" and step.name in ids:
            self._maps_after("create", step.name)
            self.snapshots[step.name] = old.copy()
        if sorted(ids) != sorted(self.snapshots):
            raise Difference(f"after the kill there are the snapshots {sorted(ids)}, not {sorted(self.snapshots)}")
        model = old.copy()
        model.truncate(size)
        new = new.copy()
        new.truncate(size)
        self.model = model
        if side.worker.call(hands.LENGTH)[0] != size:
            # The other one has not got round to telling of it: who takes the lock finds out, and QEMU when it is asked again.
            ret, _, text = side.worker.call(hands.TRUNCATE, size)
            self._expect(side, "a truncate that changes nothing", ret, 0, text)
            self._length(side)
        for at in range(0, size, ROOM):
            length = min(ROOM, size - at)
            ret, _, data = side.worker.call(hands.READ, at, length)
            self._expect(side, f"read of {at}+{length} after the kill", ret, 0)
            was, will = model.read(at, length), new.read(at, length)
            if data == was:
                continue
            if data != will:
                wrong = next((i for i, (found, a, b) in enumerate(zip(data, was, will)) if found not in (a, b)), None)
                if wrong is not None and not (step.kind in ("goto", "truncate") and data[wrong] == 0):
                    raise Difference(f"{side.worker.name}: after the kill byte {at + wrong} (object {self.layout.place(at + wrong)[0]}) is "
                                     f"{data[wrong]:#x}, neither {was[wrong]:#x} nor {will[wrong]:#x}")
            for begin in range(0, length, 4096):
                if data[begin:begin + 4096] != was[begin:begin + 4096]:
                    model.write(at + begin, data[begin:begin + 4096])
        self._take_lock(side)
        self.dirty |= set(range(self.layout.object_count(max(old.size, new.size, size))))

    def _apply(self, model, part):
        if part.kind == "write":
            model.write(part.offset, part.data)
        elif part.kind == "zeroes":
            model.write_zeroes(part.offset, part.length)
        elif part.kind == "discard":
            for offset, length in self.layout.discarded(part.offset, part.length):
                model.zero(offset, length)

    # --- the rbd tool ---

    def _tool(self):
        """Snapshots and resizes by the tool, while writes are in flight; and rollbacks, which it only does when nobody writes."""
        self.tools += 1
        side, spec = self.sides[self.turn], self._spec()
        kinds = ["resize", "create"] if len(self.snapshots) < 6 else ["resize"]
        kinds += ["delete", "rollback"] if self.snapshots else []
        kind = self.random.choice(kinds)
        name = self.random.choice(list(self.snapshots)) if self.snapshots else ""
        step = self.deeds.step(f"tool {kind}", name=name)
        if kind == "create":
            # The tool takes no blanks or colons apart, but an @.
            step.name = name = self.deeds.snapshot_name()
        if kind == "resize":
            step.length = self.deeds.new_size(self.model.size)
            step.length += step.length == self.model.size
        self.log.append((self.steps, "rbd", step))
        if kind == "rollback":
            open_sides = [one for one in self.sides if one.is_open]
            for one in open_sides:
                self._close(one)
            old = self.model.size
            self.setup.tool("snap", "rollback", f"{spec}@{name}", "--no-progress")
            self._maps_after("goto", name)
            self.model = self.snapshots[name].copy()
            self.dirty |= set(range(self.layout.object_count(max(old, self.model.size))))
            for one in open_sides:
                self._open(one)
            return
        if kind == "delete":
            for one in self.sides:
                if one.reader == name:
                    self._close_reader(one)
        batch = self._some(("read", "write", "zeroes", "discard"), (4, 8, 2, 2))
        if kind == "resize":
            # What is to be cut off is nothing to write to.
            batch.parts = [part for part in batch.parts if part.offset + part.length <= step.length]
        before, after = self.model, self.model.copy()
        side.worker.start_batch([part.order() for part in batch.parts])
        try:
            if kind == "create":
                self.setup.tool("snap", "create", f"{spec}@{name}", "--no-progress")
            elif kind == "delete":
                self.setup.tool("snap", "rm", f"{spec}@{name}", "--no-progress")
            else:
                self.setup.tool("resize", spec, "-s", f"{step.length}B", "--allow-shrink", "--no-progress")
        finally:
            answers = side.worker.take_batch(len(batch.parts))
        for part, (ret, _, data) in zip(batch.parts, answers):
            self._expect(side, f"{part} while the tool does: {kind}", ret, 0, data if ret < 0 else b"")
            if part.kind == "read":
                self._same(side, part.offset, data, before, "read")
            self._apply(after, part)
            self.dirty |= self.layout.objects(part.offset, part.length)
        self.model = after
        self.outside = True
        if kind == "resize":
            self.dirty |= set(range(self.layout.object_count(max(step.length, before.size))))
            self.model.truncate(step.length)
            self._lengths()
        elif kind == "delete":
            self._maps_after("delete", name)
            del self.snapshots[name]
        else:
            self._maps_after("create", name)
            self._learn_snapshot(side, name, before, after)
        self._compare_headers()
        self.outside = False

    def _learn_snapshot(self, side, name, before, after):
        """Each byte of the snapshot is what it was before the writes in flight, or after them."""
        ret, text = side.worker.open(self.address(side.name, name), slot=2)
        self._expect(side, f"open at {name!r}", min(ret, 0), 0, text.encode())
        model = before.copy()
        for at in range(0, model.size, ROOM):
            length = min(ROOM, model.size - at)
            ret, _, data = side.worker.call(hands.READ, at, length, slot=2)
            self._expect(side, f"read at {name!r}", ret, 0)
            was, will = before.read(at, length), after.read(at, length)
            if data != was and any(found not in (a, b) for found, a, b in zip(data, was, will)):
                raise Difference(f"{side.worker.name}: the snapshot {name!r} of the tool is neither what was there before {at}+{length} was written "
                                 "nor what was there afterwards")
            for begin in range(0, length, 4096):
                if data[begin:begin + 4096] != was[begin:begin + 4096]:
                    model.write(at + begin, data[begin:begin + 4096])
        side.worker.close(slot=2)
        self.snapshots[name] = model
