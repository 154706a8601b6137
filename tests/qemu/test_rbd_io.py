# SPDX-License-Identifier: GPL-2.0-or-later
"""Reading, writing, zeroing, discarding and block status, compared with the C driver on an image of the same kind."""

import json

from lib.harness import cases, check, test
from lib.model import compare
from lib.nbd import FAST_ZERO, NO_HOLE, Client, NbdError, StatusClient
from lib.qmp import Daemon
from lib.rbd import MIB, POOL, Served, c_cell, exported, fill, info, io, make, node, objects, plain, read, some_bytes, spec, url

KINDS = {"plain": [], "small": ["--object-size", "64K"], "format 1": ["--image-format", "1"],
         "striped": ["--object-size", "64K", "--stripe-unit", "4K", "--stripe-count", "3", "--image-feature", "striping"]}


def object_sizes(t, name):
    """Of every object with data: its number and length."""
    sizes = plain(t).object_sizes(POOL, info(t, name)["block_name_prefix"])
    return {int(object_name.rsplit(".", 1)[1], 16): size for object_name, size in sizes.items()}


def same_objects(t, kind, *commands):
    """qemu-io does the same with both drivers: same answers, bytes and objects. Zeroes that need not give space back keep theirs
    with ours, which librbd never does."""
    for name in "ab":
        make(t, name, 2 * MIB if "s" in kind[:2] else 9 * MIB, *KINDS[kind])
        fill(t, some_bytes(MIB), where=name)
    answers = []
    for name, cell in (("a", t.cell), ("b", c_cell(t))):
        words = [word for command in commands for word in ("-c", command)]
        done = cell.run("qemu-io", "-f", "raw", "-d", "unmap", *words, url(t, name), cwd=t.work)
        kept = [line for line in done.out.splitlines() if "ops;" not in line]
        answers.append((done.status, kept, exported(t, name), object_sizes(t, name)))
    (status, said, data, sizes), (c_status, c_said, c_data, c_sizes) = answers
    check((status, said) == (c_status, c_said), f"ours:\n{status} {said}\nC driver:\n{c_status} {c_said}")
    compare(c_data, data, "the image that the C driver made, and ours")
    if any(command.startswith("write -z ") and " -u " not in command for command in commands):
        check(set(sizes) >= set(c_sizes), f"objects: {sizes}\nthe C driver's: {c_sizes}")
        return
    check(sizes == c_sizes, f"objects: {sizes}\nthe C driver's: {c_sizes}")


cases("rbd_io", [(f"{title} makes the same objects as with the C driver ({kind})", same_objects, kind, *commands)
                 for kind in KINDS for title, commands in (
    ("write", ["write -P 1 100k 100k", "write -P 2 1M 3", "write -P 3 1234567 1"]),
    ("write of zeroes", ["write -z 0 64k", "write -z 100k 3k", "write -z 1500000 999"]),
    ("write of zeroes that unmaps", ["write -z -u 0 64k", "write -z -u 100k 300k", "write -z -u 900001 10000"]),
    ("discard", ["discard 0 64k", "discard 100k 3k", "discard 200k 400k", "discard 1000000 100000"]),
    ("discard of everything", ["discard 0 2M"]),
    ("vector", ["writev -P 5 0 4k 8k 1 511 100k", "readv -P 5 0 4k 8k", "writev -P 6 1000001 1 2 3 4 5"]),
)])


def status_of(t, name, cell, size, writable=True):
    with Daemon(cell, t.work) as daemon:
        daemon.add(node(t, name, **({} if writable else {"read-only": True})))
        with StatusClient(t.work, daemon.export("r", writable=writable), "r") as client:
            extents, at = [], 0
            while at < size:
                for length, bits in client.status(at, size - at):
                    if extents and extents[-1][1] == bits:
                        extents[-1] = extents[-1][0] + length, bits
                    else:
                        extents.append((length, bits))
                    at += length
            return extents


def status_finds_objects(t, kind):
    """Block status tells holes where there are no objects, for any kind of image; it never calls data a hole."""
    size = 3 * MIB
    name = make(t, "a", size, "--object-size", "64K", *([] if kind != "striped" else ["--stripe-unit", "4K", "--stripe-count", "3", "--image-feature", "striping"]))
    io(t, name, "write -P 1 0 1", "write -P 1 1M 64k", f"write -P 1 {size - 1} 1")
    extents = status_of(t, "a", t.cell, size)
    check(sum(length for length, _ in extents) == size, extents)
    holes = sum(length for length, bits in extents if bits & 2)
    check(holes >= 2 * MIB, extents)
    at = 0
    for length, bits in extents:
        if bits & 2:
            check(not any(at <= data < at + length for data in (0, MIB, MIB + 65535, size - 1)), f"data in a hole: {extents}")
        at += length


cases("rbd_io", [(f"block status of a {kind} image finds the holes", status_finds_objects, kind) for kind in ("plain", "striped")])


@test()
def block_status_is_like_the_c_drivers_with_fast_diff(t):
    # Only read: such images can not be written yet.
    size = 3 * MIB
    make(t, "a", size, "--object-size", "64K", wanted=("layering", "exclusive-lock", "object-map", "fast-diff"))
    fill(t, some_bytes(MIB), cell=c_cell(t))
    io(t, url(t), "write -P 1 2M 1", "discard 128k 256k", cell=c_cell(t), options=("-f", "raw", "-d", "unmap"))
    ours, c = status_of(t, "a", t.cell, size, False), status_of(t, "a", c_cell(t), size, False)
    check(ours == c, f"{ours}, not {c}")
    maps = [json.loads(cell.run("qemu-img", "map", "--output=json", "-f", "raw", url(t), cwd=t.work).out) for cell in (t.cell, c_cell(t))]
    check([[{key: part[key] for key in ("start", "length", "zero", "data")} for part in one] for one in maps][0] ==
          [[{key: part[key] for key in ("start", "length", "zero", "data")} for part in one] for one in maps][1], maps)


@test(core=True)
def allocation_of_a_sparse_image_makes_copies_sparse(t):
    name = make(t, "a", 256 * MIB)
    io(t, name, "write -P 1 100M 1M")
    t.img("convert", "-f", "raw", "-O", "raw", name, url(t, "b"))
    check(objects(t, "b") == 1, objects(t, "b"))
    t.img("compare", "-f", "raw", "-F", "raw", name, url(t, "b"))


@test(core=True)
def unmapped_zeroes_give_space_back_and_others_take_it(t):
    make(t, "a", 8 * MIB)
    with Served(t) as client:
        client.zero(0, 4 * MIB, flags=NO_HOLE)
        check(objects(t) == 1, objects(t))
        client.zero(0, 4 * MIB)
        check(objects(t) == 0, objects(t))
        client.write(0, some_bytes(4 * MIB))
        client.trim(0, 4 * MIB)
        check(objects(t) == 0 and not any(client.read(0, 4 * MIB)), objects(t))


@test()
def zeroes_and_discards_of_holes_make_no_objects(t):
    make(t, "a", 64 * MIB)
    with Served(t) as client:
        client.zero(0, 64 * MIB)
        client.zero(MIB + 1, MIB)
        client.trim(0, 64 * MIB)
        check(not any(client.read(0, MIB)), "zeroes")
    check(objects(t) == 0, objects(t))


@test()
def zeroes_without_fallback_are_quick(t):
    make(t, "a", 64 * MIB)
    with Served(t) as client:
        check(client.flags & 0x800, "the server offers no quick zeroes")
        client.zero(0, 32 * MIB, flags=FAST_ZERO)
        client.zero(0, 32 * MIB, flags=FAST_ZERO | NO_HOLE)


@test()
def request_beyond_the_end_is_refused_and_changes_nothing(t):
    make(t, "a", 8 * MIB)
    with Served(t) as client:
        for request in (lambda: client.read(8 * MIB - 1, 2), lambda: client.write(8 * MIB, b"x"), lambda: client.zero(8 * MIB - 1, 2),
                        lambda: client.trim(8 * MIB, 4096)):
            try:
                request()
            except NbdError as error:
                check(error.code in (22, 28, 5), error)
            else:
                check(False, "a request beyond the end was done")
    check(info(t)["size"] == 8 * MIB, info(t))


@test(core=True)
def large_requests_over_many_objects(t):
    make(t, "a", 64 * MIB, "--object-size", "64K")
    data = some_bytes(32 * MIB)
    with Served(t) as client:
        client.write(MIB + 17, data)
        compare(data, client.read(MIB + 17, len(data)), "32 MiB")
    compare(bytes(MIB + 17) + data + bytes(31 * MIB - 17), exported(t), "what librbd reads")


@test()
def flush_and_fua_do_not_fail(t):
    make(t, "a", 4 * MIB)
    with Served(t) as client:
        client.write(0, b"x" * 4096, flags=1)
        client.flush()
    compare(b"x" * 4096, exported(t)[:4096], "after a flush")


@test()
def written_data_is_there_for_others_before_the_flush(t):
    make(t, "a", 4 * MIB)
    with Served(t, cache={"direct": False}) as client:
        client.write(0, b"y" * 100000)
        compare(b"y" * 100000, exported(t)[:100000], "what librbd reads without any flush")


@test()
def copy_on_read_overlay_and_commit_work_on_rbd(t):
    data = some_bytes(4 * MIB)
    make(t, "a", 4 * MIB)
    fill(t, data)
    t.img("create", "-q", "-f", "qcow2", "-F", "raw", "-b", url(t), url(t, "o"))
    done = t.cell.run("qemu-io", "-f", "qcow2", "-c", "write -P 7 1M 64k", "-c", "read -P 7 1M 64k", url(t, "o"), cwd=t.work)
    check(done.status == 0 and "verification" not in done.out, done)
    t.img("commit", "-q", "-f", "qcow2", url(t, "o"))
    compare(data[:MIB] + b"\x07" * 65536 + data[MIB + 65536:], exported(t), "after the commit")


@test(core=True)
def mirror_and_backup_to_rbd(t):
    data = some_bytes(6 * MIB)
    make(t, "a", 6 * MIB)
    fill(t, data)
    make(t, "b", 6 * MIB)
    make(t, "c", 6 * MIB)
    with Daemon(t.cell, t.work) as daemon:
        for name in "abc":
            daemon.add(node(t, name, name))
        check(daemon.job("blockdev-backup", {"device": "a", "target": "c", "sync": "full", "auto-dismiss": False}) is None, "backup")
        with Client(t.work, daemon.export("a"), "a") as client:
            daemon.raw("blockdev-mirror", {"job-id": "m", "device": "a", "target": "b", "sync": "full"})
            daemon.wait_event("BLOCK_JOB_READY")
            client.write(100, b"late")
        daemon.raw("block-job-complete", {"device": "m"})
        while daemon.wait_event("BLOCK_JOB_COMPLETED")["device"] != "m":
            pass
    compare(data, exported(t, "c"), "the backup")
    compare(exported(t), exported(t, "b"), "the mirror")
    compare(read(t, url(t, "b")), exported(t, "b"), "the mirror as we read it")
    plain(t).rbd("rm", "--no-progress", spec(t, "b"))
