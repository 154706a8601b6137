# SPDX-License-Identifier: GPL-2.0-or-later
"""What QEMU can't be asked to do to its own images."""

import struct

ENTRY = struct.Struct(">Q")
OFFSET = 0x00FFFFFFFFFFFE00


def corrupt(path):
    """Have the first cluster's data, of which there must be some, begin in the middle of a cluster.

    qcow2 finds that out when the cluster is read or written to. Such a request is an I/O error, and from then on the node has no
    image any more: all others are told that there is no medium.
    """
    with open(path, "r+b") as file:

        def entry(at):
            file.seek(at)
            return ENTRY.unpack(file.read(ENTRY.size))[0]

        table = entry(entry(40) & OFFSET) & OFFSET
        data = entry(table)
        file.seek(table)
        file.write(ENTRY.pack(data + 512))
