# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that is this test: its memory is a file which others can change at any time, and its disk is a virtio-blk device."""

import mmap
import os
import struct
import sys
import time

from .cell import spawn
from .qmp import Machine

RAM = 32 << 20
SLOT, PORTS = 5, 0xC000
QUEUE, HEADER, STATUS, BUFFER = 0x100000, 0x110000, 0x111000, 0x200000
NEXT, WRITABLE = 1, 2

SCRIBBLE = """
import mmap, os, sys
path, begin, length = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with open(path, "r+b") as file:
    memory = mmap.mmap(file.fileno(), 0)
patterns = [os.urandom(length) for _ in range(8)]
print("ready", flush=True)
while True:
    for pattern in patterns:
        memory[begin:begin + length] = pattern
"""


class Guest(Machine):
    """A PC whose processor never runs."""

    def _words(self, name):
        self.ram = os.path.join(self.work, f"ram{self.tag}")
        firmware = os.path.join(self.work, "bios")
        with open(firmware, "wb") as blank:
            blank.truncate(65536)
        words = list(super()._words(name))
        words[words.index("none")] = "pc,memory-backend=ram"
        return (*words, "-m", str(RAM >> 20), "-bios", firmware, "-object",
                f"memory-backend-file,id=ram,size={RAM},mem-path={self.ram},share=on")

    def _ask(self, text):
        self._clock.sendall(text.encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += self._clock.recv(4096)
        words = answer.decode().split()
        return int(words[1], 0) if len(words) > 1 else None

    def _config(self, register, value):
        self._ask(f"outl 0xcf8 {0x80000000 | SLOT << 11 | register:#x}")
        self._ask(f"outl 0xcfc {value:#x}")

    def plug(self, node):
        """Attach a node as the guest's disk, and start the driver."""
        self.raw("device_add", {"driver": "virtio-blk-pci", "id": "disk", "drive": node, "addr": f"{SLOT:02x}", "disable-modern": True})
        with open(self.ram, "r+b") as file:
            self.memory = mmap.mmap(file.fileno(), RAM)
        self._config(0x10, PORTS)
        self._config(0x04, 5)
        for state in (0, 1, 3):
            self._ask(f"outb {PORTS + 18:#x} {state}")
        self._ask(f"outl {PORTS + 4:#x} 0")
        self._ask(f"outw {PORTS + 14:#x} 0")
        self._size = self._ask(f"inw {PORTS + 12:#x}")
        self._ask(f"outl {PORTS + 8:#x} {QUEUE >> 12:#x}")
        self._ask(f"outb {PORTS + 18:#x} 7")
        self._available = QUEUE + 16 * self._size
        self._used = -(-(self._available + 6 + 2 * self._size) // 4096) * 4096
        self._count = 0

    def unplug(self):
        self.memory.close()

    def read(self, offset, length):
        """Read into the buffer; virtio's status."""
        struct.pack_into("<IIQ", self.memory, HEADER, 0, 0, offset // 512)
        for index, entry in enumerate(((HEADER, 16, NEXT, 1), (BUFFER, length, NEXT | WRITABLE, 2), (STATUS, 1, WRITABLE, 0))):
            struct.pack_into("<QIHH", self.memory, QUEUE + 16 * index, *entry)
        self.memory[STATUS] = 0xFF
        struct.pack_into("<H", self.memory, self._available + 4 + 2 * (self._count % self._size), 0)
        self._count += 1
        struct.pack_into("<H", self.memory, self._available + 2, self._count & 0xFFFF)
        self._ask(f"outw {PORTS + 16:#x} 0")
        end = time.monotonic() + 60
        while struct.unpack_from("<H", self.memory, self._used + 2)[0] != self._count & 0xFFFF:
            if time.monotonic() > end:
                raise TimeoutError("the disk does not answer")
        return self.memory[STATUS]

    def scribbler(self, length):
        """A process that overwrites the guest's buffer all the time."""
        process = spawn([sys.executable, "-B", "-c", SCRIBBLE, self.ram, str(BUFFER), str(length)], stdout=-1, stdin=-3)
        if process.stdout.readline() != b"ready\n":
            raise RuntimeError("the hostile process did not start")
        return process
