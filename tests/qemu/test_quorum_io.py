# SPDX-License-Identifier: GPL-2.0-or-later
"""Reads and writes of a quorum: votes and their ties, repair, blkverify, random mixes against a model."""

import errno
import os
import random

from lib.harness import Skip, cases, check, test
from lib.model import Model, compare
from lib.nbd import FAST_ZERO, Client, NbdError, StatusClient
from lib.qmp import Daemon
from lib.quorum import (EVENTS, answer, bad, failure, file_node, is_self, our_cell, plain_events, quorum_node, raw_children, raw_files,
                        same_with_both)

MIB = 1 << 20
SEED = int(os.environ.get("QBR_SEED", "20250805"))
REQUESTS = int(os.environ.get("QBR_REQUESTS", "1500"))


def written(t, number, data, offset=0):
    """Write into a child behind the quorum's back."""
    with open(t.path(f"child{number}"), "r+b") as file:
        file.seek(offset)
        file.write(data)


def child_bytes(t, number):
    with open(t.path(f"child{number}"), "rb") as file:
        return file.read()


def reads(t, contents, threshold, offset=0, length=4096, **options):
    """What a read gives with both drivers, when the children begin with these bytes; error, data, events."""

    def work(cell, _):
        children = raw_children(t, len(contents))
        for number, data in enumerate(contents):
            written(t, number, data)
        with Daemon(cell, t.work) as daemon:
            daemon.add(quorum_node(children, threshold, **options))
            with Client(daemon.work, daemon.export("q"), "q") as client:
                code, data = answer(client.read, offset, length)
            return code, data, plain_events(daemon.take_events(*EVENTS)), [child_bytes(t, number) for number in range(len(contents))]

    return same_with_both(t, work)


A, B, C = (bytes([number]) * 8192 for number in (1, 2, 3))


@test(core=True)
def majority_wins_and_the_loser_is_reported(t):
    code, data, events, _ = reads(t, (A, B, A), 2)
    check((code, data) == (0, A[:4096]) and events == [bad("c1", "read", 0, 8)], events)


@test(core=True)
def tie_goes_to_the_version_that_appears_last(t):
    code, data, events, _ = reads(t, (A, B), 1)
    check((code, data) == (0, B[:4096]) and events == [bad("c0", "read", 0, 8)], events)
    code, data, _, _ = reads(t, (A, B, B, A), 2)
    check((code, data) == (0, B[:4096]), data)
    code, data, _, _ = reads(t, (A, B, C), 1)
    check((code, data) == (0, C[:4096]), data)


@test(core=True)
def vote_without_a_majority_is_a_failure(t):
    code, _, events, _ = reads(t, (A, B, C), 2)
    check(code == 5 and events == [failure(0, 8)], events)


@test(core=True)
def corrupted_child_is_rewritten_in_the_range_that_was_read_and_nowhere_else(t):
    code, data, events, children = reads(t, (A, B, A), 2, 512, 1000, **{"rewrite-corrupted": True})
    check((code, data) == (0, A[:1000]) and events == [bad("c1", "read", 1, 2)], events)
    check(children[1][:8192] == B[:512] + A[:1000] + B[1512:8192], "the child's bytes")


@test()
def single_byte_at_any_place_of_a_large_read_is_found(t):
    size = MIB + 4099
    base = random.Random(SEED).randbytes(size)
    for at in (0, 1, 4095, 4096, 65535, 65536, MIB - 1, MIB, size - 1):
        changed = base[:at] + bytes([base[at] ^ 1]) + base[at + 1:]

        def work(cell, _):
            children = raw_children(t, 3, 2 * MIB)
            for number, data in enumerate((base, changed, base)):
                written(t, number, data)
            with Daemon(cell, t.work) as daemon:
                daemon.add(quorum_node(children, 2))
                with Client(daemon.work, daemon.export("q"), "q") as client:
                    data = client.read(0, size)
                return data == base, plain_events(daemon.take_events(*EVENTS))

        right, events = same_with_both(t, work)
        check(right and events == [bad("c1", "read", 0, -(-size // 512))], f"byte {at}: {events}")


def verified(t, contents, offset, length):
    """A read in blkverify mode: exit status, standard error."""

    def work(cell, _):
        children = raw_children(t, 2)
        for number, data in enumerate(contents):
            written(t, number, data)
        with Daemon(cell, t.work) as daemon:
            daemon.add(quorum_node(children, 2, blkverify=True))
            with Client(daemon.work, daemon.export("q"), "q") as client:
                try:
                    data = client.read(offset, length)
                except ConnectionError:
                    return daemon.wait(), daemon.output()
            return data, plain_events(daemon.take_events(*EVENTS)), daemon.quit(), daemon.output()

    return same_with_both(t, work)


@test(core=True)
def blkverify_ends_the_process_and_says_where_the_children_differ(t):
    found = verified(t, (A, A[:5000] + B[5000:]), 4096, 2048)
    check(found == (1, "quorum: offset=4096 bytes=2048 contents mismatch at offset 5000\n"), found)


@test()
def blkverify_reads_what_is_equal(t):
    check(verified(t, (A, A[:5000] + B[5000:]), 0, 4096) == (A[:4096], [], 0, ""), "an equal range was not read")


def mix(t, count, threshold, *daemon_args, iothread=None, **options):
    """A random mix, through our driver, whose children are equal at the end and which the C driver reads."""
    children = raw_children(t, count, 8 * MIB)
    model = Model(8 * MIB, SEED + count)
    with Daemon(our_cell(t), t.work, *daemon_args) as daemon:
        daemon.add(quorum_node(children, threshold, **options))
        if iothread:
            daemon.raw("nbd-server-start", {"addr": {"type": "unix", "data": {"path": "nbdx"}}})
            daemon.raw("block-export-add", {"type": "nbd", "id": "e", "node-name": "q", "name": "q", "writable": True, "iothread": iothread})
        with Client(t.work, "nbdx" if iothread else daemon.export("q"), "q") as client:
            slowest = model.run(client, REQUESTS, depth=16)
            model.check_all(client)
            client.flush()
            check(daemon.take_events(*EVENTS) == [], "there were events")
            if iothread and our_cell(t).version < (8, 0):
                # That NBD server aborts when a client of an export in an iothread leaves, whatever the driver is.
                daemon.kill()
        t.note(f"seed {model.seed}, {model.counts}, slowest reply {slowest * 1000:.0f} ms")
        if daemon.process.poll() is None:
            check((daemon.quit(), daemon.output()) == (0, ""), daemon.output())
    for number in range(count):
        compare(bytes(model.data), child_bytes(t, number), f"child {number}")
    with Daemon(t.c_drivers if not t.c_drivers.missing(("quorum",)) else our_cell(t), t.work) as daemon:
        daemon.add(quorum_node(children, count, **{"read-only": True}))
        with Client(t.work, daemon.export("q", writable=False), "q") as client:
            compare(bytes(model.data), client.read_all(), "what the C driver reads")


cases("quorum_io", [
    ("random mix with three children", mix, 3, 2),
    ("random mix with five children", mix, 5, 3),
    ("random mix with one child", mix, 1, 1),
    ("random mix in fifo pattern without discard", lambda t: mix(t, 3, 2, discard="ignore", **{"read-pattern": "fifo"}),),
    ("random mix with rewrite-corrupted", lambda t: mix(t, 3, 2, **{"rewrite-corrupted": True}),),
    ("random mix with blkverify", lambda t: mix(t, 2, 2, blkverify=True),),
    ("random mix in an iothread", lambda t: mix(t, 3, 2, "--object", "iothread,id=io", iothread="io"),),
    ("random mix with detect-zeroes", lambda t: mix(t, 3, 2, **{"detect-zeroes": "unmap"}),),
    ("random mix with cache.direct", lambda t: mix(t, 3, 2, cache={"direct": True}),),
])


@test(core=True)
def corruption_under_load_is_repaired_and_never_read(t):
    """One child after the other gets other bytes behind the quorum's back, and a random mix goes on."""
    children = raw_children(t, 3, 4 * MIB)
    model = Model(4 * MIB, SEED + 7)
    with Daemon(our_cell(t), t.work) as daemon:
        daemon.add(quorum_node(children, 2, **{"rewrite-corrupted": True}))
        chance = random.Random(SEED)

        with Client(t.work, daemon.export("q"), "q") as client:
            for turn in range(15):
                for _ in range(5):
                    written(t, turn % 3, chance.randbytes(chance.randrange(1, 70000)), chance.randrange(4 * MIB - 70000))
                model.run(client, 300)
                # All of them agree again before the next one is changed: two of three must always be right.
                compare(bytes(model.data), client.read_all(), "the whole image")
            client.flush()
        bad_nodes = {data["node-name"] for name, data in daemon.take_events(*EVENTS) if name == "QUORUM_REPORT_BAD"}
        check(bad_nodes == {"c0", "c1", "c2"}, bad_nodes)
    for number in range(3):
        compare(bytes(model.data), child_bytes(t, number), f"child {number}")


@test(core=True)
def zeroes_are_only_told_where_all_children_have_them(t):
    def work(cell, _):
        children = raw_children(t, 3)
        written(t, 0, A)
        written(t, 1, A[:4096], 65536)
        with Daemon(cell, t.work) as daemon:
            daemon.add(quorum_node(children, 2))
            with StatusClient(t.work, daemon.export("q"), "q") as client:
                return client.status(0, MIB)

    found = same_with_both(t, work)
    at, data = 0, []
    for length, flags in found:
        if not flags:
            data.append((at, at + length))
        at += length
    check(at == MIB and any(a <= 0 and b >= 8192 for a, b in data) and any(a <= 65536 and b >= 69632 for a, b in data), found)
    check(sum(b - a for a, b in data) < MIB // 2, found)


@test()
def write_that_fails_everywhere_gives_the_error_of_most(t):
    def work(cell, _):
        children = raw_children(t, 3)
        with Daemon(cell, t.work) as daemon:
            for child in children:
                daemon.add(child)
            rules = ("28", "5", "28")
            daemon.add(quorum_node([{"driver": "blkdebug", "node-name": f"b{number}", "image": f"c{number}",
                                     "inject-error": [{"event": "none", "iotype": "write", "errno": int(rules[number])}]}
                                    for number in range(3)], 1))
            with Client(t.work, daemon.export("q"), "q") as client:
                try:
                    client.write(0, b"x" * 512)
                except NbdError as error:
                    return error.code
        return 0

    check(same_with_both(t, work) == 28, "not the error of most")


@test(core=True)
def zeroes_that_have_to_be_quick_reach_a_child_that_has_none(t):
    """A qcow2 can't do a part of a cluster, a file can."""
    if is_self():
        raise Skip("the C driver leaves the old data there")
    image, (file,) = t.path("image.qcow2"), raw_files(t, 1, MIB)
    t.img("create", "-q", "-f", "qcow2", image, "1M")
    children = [{"driver": "qcow2", "node-name": "c0", "discard": "unmap", "file": file_node(image)},
                file_node(file, **{"node-name": "c1"})]
    with Daemon(our_cell(t), t.work) as daemon:
        daemon.add(quorum_node(children, 1, **{"read-pattern": "fifo"}))
        with Client(t.work, daemon.export("q"), "q") as client:
            client.write(0, b"d" * 131072)
            client.zero(4096, 4096, FAST_ZERO)
            # The first child answers.
            check(client.read(0, 12288) == b"d" * 4096 + bytes(4096) + b"d" * 4096, "the old data is still there")
            client.flush()
        check(daemon.take_events(*EVENTS) == [], "a child was reported")
        check(daemon.quit() == 0, daemon.output())
    with open(file, "rb") as data:
        check(data.read(12288) == b"d" * 4096 + bytes(4096) + b"d" * 4096, "the file has not got the zeroes")


@test(core=True)
def zeroes_that_have_to_be_quick_are_refused_if_no_child_has_any(t):
    if is_self():
        raise Skip("the C driver reports all children")
    images = [t.path("a.qcow2"), t.path("b.qcow2")]
    for image in images:
        t.img("create", "-q", "-f", "qcow2", image, "1M")
    with Daemon(our_cell(t), t.work) as daemon:
        daemon.add(quorum_node([{"driver": "qcow2", "discard": "unmap", "file": file_node(image)} for image in images], 2))
        with Client(t.work, daemon.export("q"), "q") as client:
            client.write(0, b"d" * 65536)
            code, _ = answer(client.zero, 4096, 4096, FAST_ZERO)
            check(code == errno.ENOTSUP, code)
            check(client.read(0, 65536) == b"d" * 65536, "it was changed")
        check(daemon.take_events(*EVENTS) == [], "a child was reported")
        check(daemon.quit() == 0, daemon.output())
