# SPDX-License-Identifier: GPL-2.0-or-later
"""A worker: a process with QEMU's block layer and one of the two drivers, which does what it is told."""

import errno
import os
import select
import struct
import subprocess

(HELLO, OPEN, CLOSE, LENGTH, READ, WRITE, ZEROES, DISCARD, FLUSH, TRUNCATE, SNAP_CREATE, SNAP_DELETE, SNAP_GOTO, SNAP_LIST,
 STATUS, INVALIDATE, REOPEN, INFO, CREATE, BATCH) = range(20)
WRITABLE, CACHE = 1, 2
FUA, MAY_UNMAP, NO_FALLBACK = 1, 2, 4
ZERO_NEW = 1
DATA, ZERO = 1, 2
HEAD, ANSWER = struct.Struct("<4I2Q"), struct.Struct("<qQII")


class WorkerError(Exception):
    """A worker died, hung or could not start."""


def pieces(count):
    return count << 16


def name_of(ret):
    return errno.errorcode.get(-ret, str(ret)) if ret < 0 else str(ret)


class Worker:
    """`name` is for messages; `folder` holds the driver's module; what the worker prints goes to `log`."""

    def __init__(self, name, program, folder, log, sabotage="", timeout=180):
        self.name, self.timeout, self.opened = name, timeout, set()
        self.log = log
        with open(log, "ab") as stream:
            self._process = subprocess.Popen(
                [*os.environ.get("QBR_ORACLE_WRAP", "").split(), program, *([sabotage] if sabotage else [])],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream, bufsize=0,
                env={**os.environ, "QEMU_MODULE_DIR": folder})
        ret, value, text = self.call(HELLO)
        if ret < 0:
            raise WorkerError(f"{name}: {folder} has no driver that loads: {text.decode()}")
        self.has_librbd = bool(value)

    def _take(self, count):
        data = bytearray(count)
        view = memoryview(data)
        out = self._process.stdout
        while len(view):
            if not select.select([out], [], [], self.timeout)[0]:
                raise WorkerError(f"{self.name} does not answer (process {self._process.pid})")
            got = out.readinto(view)
            if not got:
                status = self._process.wait()
                raise WorkerError(f"{self.name} ended with status {status}:\n{self.last_words()}")
            view = view[got:]
        return bytes(data)

    def last_words(self):
        with open(self.log, "rb") as stream:
            return b"\n".join(stream.read().splitlines()[-8:]).decode(errors="replace")

    def _send(self, data):
        try:
            view = memoryview(data)
            while len(view):
                view = view[self._process.stdin.write(view):]
        except BrokenPipeError:
            raise WorkerError(f"{self.name} ended with status {self._process.wait()}:\n{self.last_words()}") from None

    def _answer(self):
        ret, value, length, _ = ANSWER.unpack(self._take(ANSWER.size))
        return ret, value, self._take(length)

    def call(self, op, a=0, b=0, data=b"", flags=0, slot=0):
        """What the order gives: a number or -errno, a value, and bytes."""
        self._send(HEAD.pack(op, slot, flags, len(data), a, b) + data)
        return self._answer()

    def start(self, op, a=0, b=0, data=b"", flags=0, slot=0):
        """The same, without waiting for the answer."""
        self._send(HEAD.pack(op, slot, flags, len(data), a, b) + data)

    def start_batch(self, orders):
        """Several orders (op, a, b, data, flags) at the same time, without waiting for the answers."""
        self._send(HEAD.pack(BATCH, 0, 0, 0, len(orders), 0) +
                   b"".join(HEAD.pack(op, 0, flags, len(data), a, b) + data for op, a, b, data, flags in orders))

    def take_batch(self, count):
        """The answers."""
        return [self._answer() for _ in range(count)]

    def batch(self, orders):
        """Several orders at the same time; their answers."""
        self.start_batch(orders)
        return self.take_batch(len(orders))

    def open(self, name, flags=0, slot=0):
        ret, _, text = self.call(OPEN, data=name.encode(), flags=flags, slot=slot)
        (self.opened.add if ret >= 0 else self.opened.discard)(slot)
        return ret, text.decode(errors="replace")

    def close(self, slot=0):
        if slot in self.opened:
            self.call(CLOSE, slot=slot)
            self.opened.discard(slot)

    def snapshots(self):
        """(name, size) of each snapshot, in the driver's order; or -errno."""
        ret, _, data = self.call(SNAP_LIST)
        found, at = [], 0
        while at < len(data):
            size, length = struct.unpack_from("<QI", data, at)
            found.append((data[at + 12:at + 12 + length].decode(), size))
            at += 12 + length
        return found if ret >= 0 else ret

    def end(self):
        """Let it close everything; how it ended."""
        self._process.stdin.close()
        try:
            return self._process.wait(self.timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return -1

    def kill(self):
        self._process.kill()
        self._process.wait()
