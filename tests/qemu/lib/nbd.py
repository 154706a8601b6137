# SPDX-License-Identifier: GPL-2.0-or-later
"""A small NBD client with several requests in flight."""

import struct

from .qmp import connect_unix

READ, WRITE, DISCONNECT, FLUSH, TRIM, ZEROES = 0, 1, 2, 3, 4, 6
FUA, NO_HOLE = 1, 2


class NbdError(Exception):
    """A request failed; `code` is NBD's number of the error."""

    def __init__(self, code):
        super().__init__(f"NBD error {code}")
        self.code = code


class Client:
    """One connection; use as a context."""

    def __init__(self, folder, name, export="g", timeout=120):
        self._socket = connect_unix(folder, name)
        self._socket.settimeout(timeout)
        self._handle = 0
        self._lengths = {}
        if self._take(16) != b"NBDMAGICIHAVEOPT":
            raise RuntimeError("not an NBD server")
        flags, = struct.unpack(">H", self._take(2))
        self._socket.sendall(struct.pack(">I", flags & 3))
        text = export.encode()
        self._socket.sendall(b"IHAVEOPT" + struct.pack(">II", 1, len(text)) + text)
        self.size, self.flags = struct.unpack(">QH", self._take(10))
        if not flags & 2:
            self._take(124)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def _take(self, count):
        data = bytearray(count)
        view = memoryview(data)
        while len(view):
            got = self._socket.recv_into(view)
            if not got:
                raise ConnectionError("the NBD server closed the connection")
            view = view[got:]
        return bytes(data)

    @property
    def in_flight(self):
        return len(self._lengths)

    def submit(self, kind, offset=0, length=0, data=b"", flags=0):
        """Send a request; its number, which receive() gives back."""
        self._handle += 1
        length = len(data) if kind == WRITE else length
        self._lengths[self._handle] = length if kind == READ else 0
        self._socket.sendall(struct.pack(">IHHQQI", 0x25609513, flags, kind, self._handle, offset, length) + data)
        return self._handle

    def receive(self):
        """One reply: the number of its request, the error (0: none), the data of a read."""
        magic, code, handle = struct.unpack(">IIQ", self._take(16))
        if magic != 0x67446698:
            raise RuntimeError("a malformed NBD reply")
        length = self._lengths.pop(handle)
        return handle, code, self._take(length) if length and not code else b""

    def _call(self, *args, **more):
        self.submit(*args, **more)
        _, code, data = self.receive()
        if code:
            raise NbdError(code)
        return data

    def read(self, offset, length):
        return self._call(READ, offset, length)

    def write(self, offset, data, flags=0):
        self._call(WRITE, offset, data=data, flags=flags)

    def zero(self, offset, length, flags=0):
        self._call(ZEROES, offset, length, flags=flags)

    def trim(self, offset, length):
        self._call(TRIM, offset, length)

    def flush(self):
        self._call(FLUSH)

    def read_all(self, piece=1 << 20):
        return b"".join(self.read(at, min(piece, self.size - at)) for at in range(0, self.size, piece))
