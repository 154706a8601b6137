# SPDX-License-Identifier: GPL-2.0-or-later
"""An image in memory, and a random mix of requests that a real one must answer in the same way."""

import random
import threading
import time

from . import nbd


class Mismatch(Exception):
    """The image and the model differ."""


def compare(expected, found, what):
    if expected == found:
        return
    if len(expected) != len(found):
        raise Mismatch(f"{what}: {len(found)} bytes instead of {len(expected)}")
    first = next(i for i, (a, b) in enumerate(zip(expected, found)) if a != b)
    count = sum(a != b for a, b in zip(expected, found))
    raise Mismatch(f"{what}: {count} bytes differ, the first one at {first}: {found[first]:#x}, not {expected[first]:#x}")


class Model:
    """The expected content. Trimmed ranges may read as old data or as zeroes until they are written again."""

    def __init__(self, size, seed):
        self.data = bytearray(size)
        self.random = random.Random(seed)
        self.seed = seed
        self.counts = {}

    def _range(self, busy, limit):
        """A range that no request in flight touches; most of them are aligned, some to single bytes."""
        size = len(self.data)
        while True:
            unit = self.random.choice((1, 512, 512, 4096, 4096, 65536))
            length = min(limit, max(unit, self.random.randrange(1, 9) * unit), size)
            offset = self.random.randrange(0, size - length + 1) // unit * unit
            if not any(offset < end and start < offset + length for start, end in busy):
                return offset, length

    def run(self, client, requests, depth=8, limit=256 << 10, until=None):
        """Send a mix with up to `depth` requests in flight, and check every reply; the slowest reply in seconds. With
        `until`, a function, it goes on beyond `requests` until that says True."""
        pending, slowest, sent = {}, 0.0, 0
        trimmed = []

        def settle():
            nonlocal slowest
            handle, code, data = client.receive()
            kind, offset, length, new, begin = pending.pop(handle)
            slowest = max(slowest, time.monotonic() - begin)
            if code:
                raise Mismatch(f"{kind} of {length} bytes at {offset} failed with error {code}")
            if kind == "read":
                compare(bytes(self.data[offset:offset + length]), data, f"read of {length} bytes at {offset}")
            elif kind == "trim":
                trimmed.append((offset, length))
            elif new is not None:
                self.data[offset:offset + length] = new

        while sent < requests or (until is not None and not until()):
            while client.in_flight >= depth:
                settle()
            if trimmed:
                while client.in_flight:
                    settle()
                self._learn(client, trimmed)
            busy = [(offset, offset + length) for _, offset, length, _, _ in pending.values()]
            offset, length = self._range(busy, limit)
            kind = self.random.choices(("read", "write", "zero", "trim", "flush"), (40, 40, 10, 3, 7))[0]
            new, begin = None, time.monotonic()
            if kind == "read":
                handle = client.submit(nbd.READ, offset, length)
            elif kind == "write":
                new = self.random.randbytes(length)
                handle = client.submit(nbd.WRITE, offset, data=new, flags=nbd.FUA if self.random.random() < 0.03 else 0)
            elif kind == "zero":
                new = bytes(length)
                handle = client.submit(nbd.ZEROES, offset, length, flags=self.random.choice((0, nbd.NO_HOLE)))
            elif kind == "trim":
                handle = client.submit(nbd.TRIM, offset, length)
            else:
                offset = length = 0
                handle = client.submit(nbd.FLUSH)
            pending[handle] = kind, offset, length, new, begin
            self.counts[kind] = self.counts.get(kind, 0) + 1
            sent += 1
        while client.in_flight:
            settle()
        self._learn(client, trimmed)
        return slowest

    def _learn(self, client, trimmed):
        """A trimmed range has no promised content: what is there now becomes the model's."""
        for offset, length in trimmed:
            now = client.read(offset, length)
            old = self.data[offset:offset + length]
            if any(new not in (was, 0) for new, was in zip(now, old)):
                raise Mismatch(f"after a trim of {length} bytes at {offset} there is neither old data nor zeroes")
            self.data[offset:offset + length] = now
        trimmed.clear()

    def check_all(self, client, what="the whole image"):
        compare(bytes(self.data), client.read_all(), what)


class Load:
    """A random mix from a thread of its own for as long as the block runs; a reply that is wrong or an error fails the block."""

    def __init__(self, model, client):
        self._model, self._client = model, client
        self._done, self._error = threading.Event(), None
        self.slowest = 0.0
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        try:
            self.slowest = self._model.run(self._client, 200, until=self._done.is_set)
        except Exception as error:
            self._error = error

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._done.set()
        self._thread.join()
        if kind is None and self._error:
            raise self._error
