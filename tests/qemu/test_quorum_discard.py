# SPDX-License-Identifier: GPL-2.0-or-later
"""Discard through a quorum: it reaches the children, which stay equal. The C driver drops it."""

import os

from lib.harness import Skip, cases, check, test
from lib.nbd import Client
from lib.qmp import Daemon
from lib.quorum import file_node, is_self, need_c_driver, quorum_node, raw_files

MIB = 1 << 20


def ours(t):
    if is_self():
        raise Skip("the C driver drops discards")
    return t.cell


def blocks(path):
    return os.stat(path).st_blocks * 512


def discarded(t, cell, children, paths, **options):
    """Fill 4 MiB, discard the second one; the space that each child has before and after, and what is read there."""
    with Daemon(cell, t.work) as daemon:
        daemon.add(quorum_node(children, 2, **options))
        with Client(t.work, daemon.export("q"), "q") as client:
            for at in range(0, 4 * MIB, MIB):
                client.write(at, b"d" * MIB)
            client.flush()
            before = [blocks(path) for path in paths]
            client.trim(MIB, MIB)
            client.flush()
            data = client.read_all()
        check(daemon.quit() == 0, daemon.output())
    check(data[:MIB] == b"d" * MIB and data[2 * MIB:] == b"d" * 2 * MIB, "what was not discarded has changed")
    return before, [blocks(path) for path in paths], data[MIB:2 * MIB]


def freed(t, **options):
    paths = raw_files(t, 3, 4 * MIB)
    before, after, data = discarded(t, ours(t), [file_node(path) for path in paths], paths, **options)
    check(all(old - new >= MIB for old, new in zip(before, after)), (before, after))
    check(data == bytes(MIB), "it does not read as zeroes")
    contents = set()
    for path in paths:
        with open(path, "rb") as file:
            contents.add(file.read())
    check(len(contents) == 1, "the children differ")


cases("quorum_discard", [
    ("space comes back from every child", freed),
    ("space comes back in fifo pattern", lambda t: freed(t, **{"read-pattern": "fifo"}),),
    ("space comes back with rewrite-corrupted", lambda t: freed(t, **{"rewrite-corrupted": True}),),
])


@test()
def c_driver_drops_discards(t):
    need_c_driver(t)
    paths = raw_files(t, 3, 4 * MIB)
    before, after, data = discarded(t, t.c_drivers, [file_node(path) for path in paths], paths)
    check(before == after and data == b"d" * MIB, "it has not")


@test(core=True)
def space_comes_back_from_children_of_different_formats(t):
    raw, = raw_files(t, 1, 4 * MIB)
    one, two = t.path("a.qcow2"), t.path("b.qcow2")
    for path, more in ((one, ()), (two, ("-o", "cluster_size=4k"))):
        t.img("create", "-q", "-f", "qcow2", *more, path, "4M")
    children = [file_node(raw)] + [{"driver": "qcow2", "discard": "unmap", "file": file_node(path)} for path in (one, two)]
    before, after, data = discarded(t, ours(t), children, [raw, one, two])
    # The formats have some use for a little of it.
    check(all(old - new >= MIB - 65536 for old, new in zip(before, after)) and data == bytes(MIB), (before, after))


@test(core=True)
def discard_that_cuts_clusters_leaves_children_equal(t):
    """Each qcow2 can only discard whole clusters of its own; whatever they do, they must agree afterwards."""
    paths = [t.path("small.qcow2"), t.path("large.qcow2")]
    for path, size in zip(paths, ("64k", "128k")):
        t.img("create", "-q", "-f", "qcow2", "-o", f"cluster_size={size}", path, "1M")
    children = [{"driver": "qcow2", "discard": "unmap", "file": file_node(path)} for path in paths]
    with Daemon(ours(t), t.work) as daemon:
        daemon.add(quorum_node(children, 2))
        with Client(t.work, daemon.export("q"), "q") as client:
            client.write(0, b"d" * MIB)
            # No whole cluster of the larger ones, one of them and a half, two of them and something on both sides.
            for offset, length in ((128 << 10, 68 << 10), (256 << 10, 196 << 10), (508 << 10, 300 << 10)):
                client.trim(offset, length)
                # A vote that can't be won is an error.
                data = client.read_all()
            client.flush()
        check(daemon.quit() == 0, daemon.output())
    zeroes = {at >> 10 for at in range(0, MIB, 4096) if data[at:at + 4096] == bytes(4096)}
    check(zeroes == set(range(256, 384, 4)) | set(range(512, 768, 4)), f"zeroes at {sorted(zeroes)} KiB")
    check(data.count(b"d") + data.count(b"\0") == MIB, "there is something else")


@test(core=True)
def discard_is_ignored_where_a_child_can_not_write_zeroes_quickly(t):
    paths = raw_files(t, 2, 4 * MIB)
    t.img("create", "-q", "-f", "vdi", t.path("c.vdi"), "4M")
    children = [file_node(path) for path in paths] + [{"driver": "vdi", "file": file_node(t.path("c.vdi"))}]
    _, _, data = discarded(t, ours(t), children, paths)
    # The children must agree, or the read would have failed.
    check(data == b"d" * MIB, "it reads as something else")


@test(core=True)
def discard_is_ignored_where_a_child_does_not_unmap(t):
    """Zeroes would be written there in place of what was given back elsewhere."""
    paths = raw_files(t, 3, 4 * MIB)
    children = [file_node(path) for path in paths]
    children[1]["discard"] = "ignore"
    before, after, data = discarded(t, ours(t), children, paths)
    check(before == after and data == b"d" * MIB, (before, after))


@test()
def discard_in_fifo_pattern_is_each_childs_own_affair(t):
    paths = raw_files(t, 3, 4 * MIB)
    children = [file_node(path) for path in paths]
    children[1]["discard"] = "ignore"
    before, after, _ = discarded(t, ours(t), children, paths, **{"read-pattern": "fifo"})
    check([old - new >= MIB for old, new in zip(before, after)] == [True, False, True], (before, after))


@test()
def discard_is_ignored_without_the_option(t):
    paths = raw_files(t, 3, 4 * MIB)
    before, after, data = discarded(t, ours(t), [file_node(path) for path in paths], paths, discard="ignore")
    check(before == after and data == b"d" * MIB, "it was not ignored")


@test()
def space_comes_back_by_zeroes_with_unmap(t):
    paths = raw_files(t, 3, 4 * MIB)
    with Daemon(ours(t), t.work) as daemon:
        daemon.add(quorum_node([file_node(path) for path in paths], 2))
        with Client(t.work, daemon.export("q"), "q") as client:
            client.write(0, b"d" * MIB)
            client.flush()
            before = [blocks(path) for path in paths]
            client.zero(0, MIB)
            client.flush()
    check(all(old - blocks(path) >= MIB for old, path in zip(before, paths)), before)
