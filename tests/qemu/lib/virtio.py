# SPDX-License-Identifier: GPL-2.0-or-later
"""A disk with several queues, each served by a thread of QEMU's, with many requests in flight; the guest is this test."""

import mmap
import random
import struct
import time

from .guest import NEXT, PORTS, RAM, SLOT, WRITABLE, Guest
from .harness import check
from .model import compare

READ, WRITE, DISCARD, ZEROES = 0, 1, 11, 13
UNMAP = 1
MQ, CAN_DISCARD, CAN_ZERO = 1 << 12, 1 << 13, 1 << 14
NO_INTERRUPT = 1
SECTOR, UNIT = 512, 16384
# Where things are in the guest's memory: rings, headers and states of requests, their data.
RINGS, RING, HEADERS, HEADER, BUFFERS, BUFFER = 0x100000, 0x8000, 0x180000, 64, 0x200000, 1 << 16


class Request:
    """One request of a queue."""

    def __init__(self, kind, offset, length=0, data=b"", unmap=False):
        self.kind, self.offset, self.length, self.data, self.unmap = kind, offset, length or len(data), data, unmap


class Disk:
    """A disk of a guest."""

    def __init__(self, guest, number, node, queues, slots, iothreads):
        self._guest, self._slots, self._count = guest, slots, queues * slots
        self._ports, self._first = PORTS + number * 0x100, number * self._count
        self._free = [list(range(slots)) for _ in range(queues)]
        self._available, self._seen = [0] * queues, [0] * queues
        self._requests = {}
        address = SLOT + number
        self._device = {"driver": "virtio-blk-pci", "id": f"disk{number}", "drive": node, "addr": f"{address:02x}", "disable-modern": True,
                        "num-queues": queues, "iothread-vq-mapping": [{"iothread": name} for name in iothreads]}
        guest.raw("device_add", self._device)
        guest.configure(address, 0x10, self._ports)
        guest.configure(address, 0x04, 5)
        for state in (0, 1, 3):
            self._out("b", 18, state)
        self._out("l", 4, guest.ask(f"inl {self._ports:#x}") & (MQ | CAN_DISCARD | CAN_ZERO))
        for queue in range(queues):
            self._out("w", 14, queue)
            self._size = guest.ask(f"inw {self._ports + 12:#x}")
            check(3 * slots <= self._size <= 1024, f"a queue has {self._size} entries")
            self._out("l", 8, self._ring(queue) >> 12)
            struct.pack_into("<H", guest.memory, self._ring(queue) + 16 * self._size, NO_INTERRUPT)
        self._out("b", 18, 7)

    def _out(self, width, port, value):
        self._guest.ask(f"out{width} {self._ports + port:#x} {value:#x}")

    def _ring(self, queue):
        return RINGS + (self._first // self._slots + queue) * RING

    def _used(self, queue):
        return self._ring(queue) + -(-(16 * self._size + 6 + 2 * self._size) // 4096) * 4096

    def queues(self):
        return len(self._free)

    def room(self, queue):
        return len(self._free[queue])

    def in_flight(self):
        return len(self._requests)

    def plug_into(self, guest):
        """The guest is going to move to this emulator: attach the same device there."""
        guest.raw("device_add", self._device)

    def move_to(self, guest):
        """The guest has moved there, with its memory and all that is in the queues."""
        self._guest = guest

    def submit(self, queue, requests, tell=True):
        """Put as many of these requests into a queue as there is room for, and tell the disk; how many."""
        memory, ring, put = self._guest.memory, self._ring(queue), 0
        for request in requests[:len(self._free[queue])]:
            slot = self._free[queue].pop()
            number = self._first + queue * self._slots + slot
            header, buffer = HEADERS + number * HEADER, BUFFERS + number * BUFFER
            data, length, flags = request.data, request.length, NEXT
            if request.kind in (DISCARD, ZEROES):
                data, length = struct.pack("<QII", request.offset // 512, request.length // 512, UNMAP if request.unmap else 0), 16
            elif request.kind == READ:
                flags |= WRITABLE
            memory[buffer:buffer + len(data)] = data
            struct.pack_into("<IIQ", memory, header, request.kind, 0, request.offset // 512 if request.kind in (READ, WRITE) else 0)
            memory[header + 16] = 0xFF
            for index, entry in enumerate(((header, 16, NEXT), (buffer, length, flags), (header + 16, 1, WRITABLE))):
                struct.pack_into("<QIHH", memory, ring + 16 * (3 * slot + index), *entry, 3 * slot + index + 1)
            struct.pack_into("<H", memory, ring + 16 * self._size + 4 + 2 * (self._available[queue] % self._size), 3 * slot)
            self._available[queue] = (self._available[queue] + 1) & 0xFFFF
            self._requests[queue, slot] = request
            put += 1
        if put:
            self._guest.indexes[(ring + 16 * self._size + 2) // 2] = self._available[queue]
            if tell:
                self._out("w", 16, queue)
        return put

    def done(self, queue):
        """The requests of a queue that have ended since the last time: (request, virtio's status, what was read)."""
        memory, used = self._guest.memory, self._used(queue)
        while self._seen[queue] != self._guest.indexes[used // 2 + 1]:
            (head,) = struct.unpack_from("<I", memory, used + 4 + 8 * (self._seen[queue] % self._size))
            self._seen[queue] = (self._seen[queue] + 1) & 0xFFFF
            slot = head // 3
            number = self._first + queue * self._slots + slot
            request = self._requests.pop((queue, slot))
            self._free[queue].append(slot)
            data = bytes(memory[BUFFERS + number * BUFFER:][:request.length]) if request.kind == READ else b""
            yield request, memory[HEADERS + number * HEADER + 16], data


class QueueGuest(Guest):
    """A PC with disks that have several queues."""

    def __init__(self, cell, work, iothreads, *args, **more):
        self.iothreads = [f"io{number}" for number in range(iothreads)]
        super().__init__(cell, work, *(word for name in self.iothreads for word in ("-object", f"iothread,id={name}")), *args, **more)
        with open(self.ram, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), RAM)
        # Numbers that the threads of QEMU look at all the time; struct.pack_into() puts a zero there first.
        self.indexes = memoryview(self.memory).cast("H")
        self._disks = 0

    def unmap(self):
        """Leave the guest's memory alone."""
        self.indexes.release()
        self.memory.close()

    def ask(self, text):
        return self._ask(text)

    def configure(self, address, register, value):
        """Write to the configuration of a PCI device."""
        self._ask(f"outl 0xcf8 {0x80000000 | address << 11 | register:#x}")
        self._ask(f"outl 0xcfc {value:#x}")

    def disk(self, node, queues, slots=8, iothreads=None):
        """Attach a node; its queues are shared out to these iothreads, or to all."""
        self._disks += 1
        return Disk(self, self._disks - 1, node, queues, slots, iothreads or self.iothreads)


def run(disks, next_requests, seconds=60):
    """Keep all queues of these disks full: `next_requests(disk, queue, count)` gives up to so many requests for a queue, which may be none.
    Ends when nothing is in flight and nothing comes any more. Yields what is done: (disk, request, status, data)."""
    end = time.monotonic() + seconds
    while True:
        idle = True
        for disk in disks:
            for queue in range(disk.queues()):
                for one in disk.done(queue):
                    end = time.monotonic() + seconds
                    yield disk, *one
                room = disk.room(queue)
                if room and disk.submit(queue, next_requests(disk, queue, room)):
                    idle = False
        if idle and not any(disk.in_flight() for disk in disks):
            return
        if time.monotonic() > end:
            raise TimeoutError(f"the disk does not answer: {[disk.in_flight() for disk in disks]} requests in flight")


class Mix:
    """Random requests to an area of units, and what they make of it. A unit belongs to one queue, and has one request at a time; what units
    have in common, such as an object, all queues change at once."""

    def __init__(self, seed, units, size=UNIT, place=None, kinds="wwwwrrrzuZ"):
        self._random, self._units, self._size, self._kinds = random.Random(seed), units, size, kinds
        self._place = place or (lambda unit: unit * size)
        self._busy, self.left, self.done, self.data = {}, 0, 0, {unit: bytes(size) for unit in range(units)}

    def take(self, queues, queue, count):
        """Up to so many requests for a queue."""
        requests = []
        while self.left and len(requests) < count:
            unit = self._random.randrange(queue, self._units, queues)
            if unit in self._busy.values():
                break
            request = self._request(unit)
            self._busy[request] = unit
            requests.append(request)
            self.left -= 1
        return requests

    def _request(self, unit):
        sectors = self._size // SECTOR
        begin = self._random.randrange(sectors)
        length = self._random.randint(1, sectors - begin) * SECTOR
        at = self._place(unit)
        kind = self._random.choice(self._kinds)
        if kind == "w":
            return Request(WRITE, at + begin * SECTOR, data=self._random.randbytes(length))
        if kind == "r":
            return Request(READ, at, self._size)
        if kind in "zu":
            return Request(ZEROES, at + begin * SECTOR, length, unmap=kind == "u")
        return Request(ZEROES if kind == "Z" else DISCARD, at, self._size, unmap=kind == "Z")

    def finish(self, request, status, data):
        """A request has ended."""
        check(status == 0, f"request {request.kind} at {request.offset} ended with status {status}")
        unit = self._busy.pop(request)
        self.done += 1
        if request.kind == READ:
            compare(self.data[unit], data, f"the read at {request.offset}")
            return
        begin, old = request.offset - self._place(unit), self.data[unit]
        new = request.data or bytes(request.length)
        # A discard may leave what is there, where it isn't a whole object.
        self.data[unit] = old[:begin] + new + old[begin + request.length:]

    def image(self, size):
        """The whole image, if nobody else writes to it."""
        whole = bytearray(size)
        self.put(whole)
        return bytes(whole)

    def check_in(self, whole):
        """These bytes of an image must have what they should, where others write, too."""
        wanted = bytearray(whole)
        self.put(wanted)
        compare(bytes(wanted), whole, "the image")

    def put(self, whole):
        """Into these bytes of the image."""
        for unit, data in self.data.items():
            whole[self._place(unit):self._place(unit) + self._size] = data


def storm(mixes, requests):
    """So many requests to each disk; `mixes`: {disk: its mix}."""
    for mix in mixes.values():
        mix.left = requests
    for disk, *done in run(list(mixes), lambda disk, queue, room: mixes[disk].take(disk.queues(), queue, room)):
        mixes[disk].finish(*done)
