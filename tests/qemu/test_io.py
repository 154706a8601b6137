# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-io: patterns at any alignment, files of odd sizes, zeroes, discards, cache modes."""

import os
import random

from lib.harness import cases, check, test
from lib.model import compare
from lib.qmp import Daemon

MIB = 1 << 20


def content(t, name="a.img"):
    with open(t.brick(name), "rb") as file:
        return file.read()


def random_patterns(t, volume, cache):
    """Overlapping writes of one-byte patterns at any offset, each read back later by the pieces that are left of it."""
    url = t.url(volume=volume)
    size = 12 * MIB
    t.img("create", "-q", "-f", "raw", url, str(size))
    source, expected, commands = random.Random(f"{volume}{cache}"), bytearray(size), []
    for _ in range(60):
        length = source.choice((1, 3, 511, 512, 513, 4095, 4096, 65537, 300000))
        offset = source.randrange(0, size - length)
        pattern = source.randrange(1, 256)
        commands.append(f"write -q -P {pattern} {offset} {length}")
        expected[offset:offset + length] = bytes([pattern]) * length
    begin = 0
    while begin < size and len(commands) < 400:
        end = begin + 1
        while end < size and expected[end] == expected[begin]:
            end += 1
        commands.append(f"read -q -P {expected[begin]} {begin} {end - begin}")
        begin = end
    t.io(url, *commands, options=("-f", "raw", "-t", cache))
    t.img("convert", "-f", "raw", "-O", "raw", url, t.path("copy"))
    with open(t.path("copy"), "rb") as copy:
        compare(bytes(expected), copy.read(), "the copy")
    if volume == "plain":
        compare(bytes(expected), content(t), "the file on the brick")


cases("io", [
    (f"unaligned patterns on {volume} with cache {cache}", random_patterns, volume, cache)
    for volume in ("plain", "replica3", "shard") for cache in ("none", "writeback", "unsafe", "directsync", "writethrough")
    if volume == "plain" or cache in ("none", "writeback")
])


@test(core=True)
def pattern_is_read_back_by_a_new_process(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    t.io(t.url(), "write -P 0xa5 64k 1M")
    t.io(t.url(), "read -P 0xa5 64k 1M", "read -P 0 0 64k", "read -P 0 1114112 1M")


@test()
def vectors_of_many_pieces_keep_their_order(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    pieces = " ".join(("512", "1024", "4096", "1536") * 40)
    t.io(t.url(), f"writev -P 9 512 {pieces}", f"readv -P 9 512 {pieces}", "read -P 0 0 512")


@test()
def more_pieces_than_the_system_takes_are_split(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    pieces = " ".join(["512"] * 1500)
    t.io(t.url(), f"writev -q -P 9 0 {pieces}", "read -P 9 0 768000", "read -P 0 768000 512")


@test()
def asynchronous_requests_overlap(t):
    t.img("create", "-q", "-f", "raw", t.url(), "64M")
    writes = [f"aio_write -q -P {n + 1} {n * MIB} 1M" for n in range(32)]
    t.io(t.url(), *writes, "aio_flush", *(f"read -P {n + 1} {n * MIB} 1M" for n in range(32)))


@test()
def request_above_the_transfer_limit_is_split(t):
    t.img("create", "-q", "-f", "raw", t.url(), "600M")
    t.io(t.url(), "write -P 3 0 600M", "read -P 3 0 600M")
    os.truncate(t.brick(), 0)


@test()
def read_beyond_the_end_is_an_error(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    done = t.cell.run("qemu-io", "-f", "raw", "-c", "read 1M 512", t.url(), cwd=t.work)
    check("read failed: Input/output error" in done.out + done.err, done)


@test()
def read_only_node_takes_no_writes(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    done = t.cell.run("qemu-io", "-r", "-f", "raw", "-c", "write 0 512", t.url(), cwd=t.work)
    check("read-only" in (done.out + done.err).lower(), done)
    check(content(t) == bytes(MIB), "something was written")


def odd(t, size=1000):
    """A file that ends in the middle of a sector, every byte of which is 0x55."""
    t.gfapi("write", t.image(), "U" * size)
    check(os.stat(t.brick()).st_size == size, os.stat(t.brick()))


@test(core=True)
def odd_size_is_read_to_the_last_byte_and_padded_with_zeroes(t):
    odd(t)
    for cache in ("none", "writeback"):
        t.io(t.url(), "read -P 0x55 0 1000", "read -P 0x55 999 1", "read -P 0 1000 24", "read -P 0x55 0 512", options=("-f", "raw", "-t", cache))
    check(os.stat(t.brick()).st_size == 1000, "reading changed the size")


@test()
def odd_size_read_is_never_stale_memory(t):
    # Two requests in one process: the buffer of the first must not shine through the padding of the second.
    odd(t, 100)
    t.io(t.url(), "read -P 0x55 0 100", "read -P 0 100 412", "read -v -P 0x55 0 100", "read -P 0 511 1")


@test()
def odd_size_convert_gives_every_byte(t):
    odd(t, 70001)
    t.img("convert", "-f", "raw", "-O", "raw", t.url(), t.path("copy"))
    with open(t.path("copy"), "rb") as copy:
        data = copy.read()
    check(data.rstrip(b"\0") == b"U" * 70001 and len(data) in (70001, 70144), f"{len(data)} bytes")


@test()
def odd_size_write_into_the_tail_keeps_the_rest(t):
    odd(t)
    t.io(t.url(), "write -P 0x66 990 34", "read -P 0x55 0 990", "read -P 0x66 990 34")
    check(content(t) == b"U" * 990 + b"\x66" * 34, "the file differs")


@test()
def odd_size_write_before_the_tail_keeps_size_and_tail(t):
    odd(t)
    t.io(t.url(), "write -P 0x66 512 100", "read -P 0x55 612 388", "read -P 0 1000 24")
    check(content(t) == b"U" * 512 + b"\x66" * 100 + b"U" * 388, "the file differs")


@test()
def odd_size_on_a_sharded_volume_is_read_to_the_last_byte(t):
    with Daemon(t.cell, t.work) as daemon:
        check(daemon.create({"volume": "shard", "path": t.image(), "server": [t.gluster.server()]}, (9 << 20) + 77) is None, "create")
    url = t.url(volume="shard")
    t.io(url, f"write -P 4 9M 77", "read -P 4 9M 77", f"read -P 0 {(9 << 20) + 77} {512 - 77}", "read -P 0 8M 1M")


@test()
def odd_size_map_covers_the_whole_file(t):
    odd(t, 70001)
    done = t.img("map", "-f", "raw", t.url())
    check(t.image() in done.out, done)


@test(core=True)
def write_zeroes_reads_as_zeroes(t):
    t.img("create", "-q", "-f", "raw", t.url(), "8M")
    t.io(t.url(), "write -P 7 0 8M", "write -z 1M 2M", "write -z 5000000 12345",
         "read -P 7 0 1M", "read -P 0 1M 2M", "read -P 7 3M 1M", "read -P 0 5000000 12345", "read -P 7 5012345 1000")
    t.io(t.url(), "read -P 0 1M 2M", "read -P 0 5000000 12345")


@test()
def write_zeroes_works_on_replicated_and_sharded_volumes(t):
    for volume in ("replica3", "shard"):
        url = t.url(volume=volume)
        t.img("create", "-q", "-f", "raw", url, "12M")
        t.io(url, "write -P 7 0 12M", "write -z 3M 6M", "read -P 7 0 3M", "read -P 0 3M 6M", "read -P 7 9M 3M")


@test(core=True)
def discard_frees_space_on_the_brick(t):
    t.img("create", "-q", "-f", "raw", t.url(), "8M")
    t.io(t.url(), "write -P 7 0 8M")
    t.io(t.url(), "discard 2M 4M", "read -P 7 0 2M", "read -P 0 2M 4M", "read -P 7 6M 2M", options=("-f", "raw", "-d", "unmap"))
    status = os.stat(t.brick())
    check(status.st_size == 8 * MIB and status.st_blocks * 512 < 5 * MIB, status)


@test()
def discard_is_not_passed_on_when_ignored(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    t.io(t.url(), "write -P 7 0 4M", "discard 0 4M", "read -P 7 0 4M", options=("-f", "raw", "-d", "ignore"))


@test()
def discard_works_on_a_sharded_volume(t):
    url = t.url(volume="shard")
    t.img("create", "-q", "-f", "raw", url, "12M")
    t.io(url, "write -P 7 0 12M", "discard 4M 4M", "read -P 7 0 4M", "read -P 7 8M 4M", options=("-f", "raw", "-d", "unmap"))


@test()
def detect_zeroes_turns_zeroes_into_write_zeroes(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    t.io(t.url(), "write -P 7 0 4M")
    options = (f"driver=raw,discard=unmap,detect-zeroes=unmap,file.driver=gluster,file.volume=plain,file.path={t.image()},file.discard=unmap,"
               f"file.server.0.type=inet,file.server.0.host={t.gluster.host},file.server.0.port={t.gluster.port}")
    t.ok("qemu-io", "--image-opts", "-c", "write -P 0 1M 2M", "-c", "read -P 0 1M 2M", "-c", "read -P 7 0 1M", options)
    check(content(t) == b"\x07" * MIB + bytes(2 * MIB) + b"\x07" * MIB, "the file differs")


@test()
def write_with_fua_is_on_the_brick(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    t.io(t.url(), "write -f -P 7 0 64k", "flush")
    check(content(t)[:65536] == b"\x07" * 65536, "the file differs")


@test()
def truncate_of_an_open_node_is_seen_at_once(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    done = t.io(t.url(), "truncate 3M", "length", "write -P 7 2M 1M", "truncate 2560k", "length", "read -P 7 2M 512k", "truncate 3M", "read -P 0 2560k 512k")
    check("3 MiB" in done.out and "2.500 MiB" in done.out, done)


@test()
def unsafe_cache_still_writes_everything_at_close(t):
    t.img("create", "-q", "-f", "raw", t.url(), "8M")
    t.io(t.url(), "write -P 7 0 8M", options=("-f", "raw", "-t", "unsafe"))
    check(content(t) == b"\x07" * 8 * MIB, "the file differs")
