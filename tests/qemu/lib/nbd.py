# SPDX-License-Identifier: GPL-2.0-or-later
"""A small NBD client with several requests in flight."""

import select
import struct

from .qmp import connect_unix

READ, WRITE, DISCONNECT, FLUSH, TRIM, ZEROES, STATUS = 0, 1, 2, 3, 4, 6, 7
FUA, NO_HOLE, REQ_ONE, FAST_ZERO = 1, 2, 8, 16
HOLE, ZERO = 1, 2


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
        self._timeout = timeout
        self._handle = 0
        self._lengths = {}
        # Received already, but not taken.
        self._ahead = bytearray()
        if self._take(16) != b"NBDMAGICIHAVEOPT":
            raise RuntimeError("not an NBD server")
        flags, = struct.unpack(">H", self._take(2))
        self._socket.sendall(struct.pack(">I", flags & 3))
        self._negotiate(export.encode(), flags)

    def _negotiate(self, text, flags):
        self._socket.sendall(b"IHAVEOPT" + struct.pack(">II", 1, len(text)) + text)
        self.size, self.flags = struct.unpack(">QH", self._take(10))
        if not flags & 2:
            self._take(124)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def _take(self, count):
        data = self._ahead[:count]
        del self._ahead[:count]
        first = len(data)
        data.extend(bytes(count - first))
        view = memoryview(data)[first:]
        while len(view):
            got = self._socket.recv_into(view)
            if not got:
                raise ConnectionError("the NBD server closed the connection")
            view = view[got:]
        return bytes(data)

    def _send(self, data):
        """Send, and take in meanwhile what comes: a server may first want to be rid of its replies, in a drain above all."""
        view = memoryview(data)
        while len(view):
            readable, writable, _ = select.select([self._socket], [self._socket], [], self._timeout)
            if not readable and not writable:
                raise TimeoutError("the NBD server takes nothing")
            if readable:
                got = self._socket.recv(1 << 20)
                if not got:
                    raise ConnectionError("the NBD server closed the connection")
                self._ahead += got
            if writable:
                view = view[self._socket.send(view):]

    @property
    def in_flight(self):
        return len(self._lengths)

    def submit(self, kind, offset=0, length=0, data=b"", flags=0):
        """Send a request; its number, which receive() gives back."""
        self._handle += 1
        length = len(data) if kind == WRITE else length
        self._lengths[self._handle] = length if kind == READ else 0
        self._send(struct.pack(">IHHQQI", 0x25609513, flags, kind, self._handle, offset, length) + data)
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


class StatusClient(Client):
    """A connection for block status alone; reads would make the server ask for the status too."""

    def _option(self, number, data=b""):
        self._socket.sendall(b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data)
        replies = []
        while True:
            magic, _, kind, length = struct.unpack(">QIII", self._take(20))
            data = self._take(length)
            if magic != 0x3E889045565A9 or kind & 0x80000000:
                raise RuntimeError(f"option {number} is refused: {kind:#x} {data!r}")
            if kind == 1:
                return replies
            replies.append(data)

    def _negotiate(self, text, flags):
        name, query = struct.pack(">I", len(text)) + text, b"base:allocation"
        self._option(8)
        self._option(10, name + struct.pack(">II", 1, len(query)) + query)
        self._option(7, name + struct.pack(">H", 0))

    def status(self, offset, length, flags=0):
        """The extents from `offset` on, as (length, HOLE and ZERO bits)."""
        self.submit(STATUS, offset, length, flags=flags)
        extents, error = [], 0
        while True:
            magic, done, kind, _, length = struct.unpack(">IHHQI", self._take(20))
            data = self._take(length)
            if magic != 0x668E33EF:
                raise RuntimeError("a malformed NBD reply")
            if kind == 5:
                extents += list(struct.iter_unpack(">II", data[4:]))
            elif kind & 0x8000:
                error, = struct.unpack_from(">I", data)
            if done & 1:
                break
        if error:
            raise NbdError(error)
        return extents
