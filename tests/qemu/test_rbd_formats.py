# SPDX-License-Identifier: GPL-2.0-or-later
"""Every kind of image: made by librbd's tool and used by us, and made by us and used by librbd's tool and the C driver."""

import os

from lib.harness import Skip, cases, check, test
from lib.model import compare
from lib.rbd import (DATA_POOL, ERASURE_POOL, MIB, POOL, SPACE, Served, c_cell, exported, features, file_name, fill, image_json, info, io, listing, make,
                     node, objects, plain, read, snapshots, some_bytes, spec, url)

SIZE = 9 * MIB + 12800
# Kinds of images: options of rbd create, the pool.
KINDS = {
    "format 1": (["--image-format", "1"], POOL),
    "format 1 with small objects": (["--image-format", "1", "--object-size", "64K"], POOL),
    "format 2": ([], POOL),
    "objects of 4 KiB": (["--object-size", "4K"], POOL),
    "objects of 64 KiB": (["--object-size", "64K"], POOL),
    "objects of 32 MiB": (["--object-size", "32M"], POOL),
    "striping": (["--stripe-unit", "64K", "--stripe-count", "3", "--image-feature", "striping"], POOL),
    "striping over small objects": (["--object-size", "64K", "--stripe-unit", "4K", "--stripe-count", "16", "--image-feature", "striping"], POOL),
    "data pool": (["--data-pool", DATA_POOL], POOL),
    "namespace": ([], f"{POOL}/{SPACE}"),
    "data pool in a namespace with striping": (["--data-pool", DATA_POOL, "--stripe-unit", "64K", "--stripe-count", "2",
                                                "--image-feature", "striping"], f"{POOL}/{SPACE}"),
}


def size_of(kind):
    return MIB + 4608 if "4 KiB" in kind else SIZE


def pattern(size, seed=1):
    """Data with holes of all sizes, one of them more than an object."""
    data = bytearray(some_bytes(size, seed))
    for first, last in ((100, 5000), (64 << 10, 200 << 10), (300001, 700003), (size // 3, size // 3 * 2)):
        data[first:last] = bytes(max(0, min(last, size) - first))
    return bytes(data)


def padded(data):
    """As QEMU, which counts in sectors, sees the end."""
    return data + bytes(-len(data) % 512)


def imported(t, kind):
    """An image that librbd has written is what we read; its status finds every hole."""
    options, pool = KINDS[kind]
    data = pattern(size_of(kind) - 99)
    plain(t).load(spec(t, pool=pool), data, *([] if "1" in options else features()), *options)
    compare(padded(data), read(t, url(t, pool=pool)), "what we read")
    check(info(t, pool=pool)["size"] == len(data), "reading has changed the size")


def written(t, kind):
    """What we write into an image of librbd's is what librbd reads; its tool finds nothing wrong."""
    options, pool = KINDS[kind]
    data = pattern(size_of(kind), 2)
    name = make(t, "a", len(data), *options, pool=pool)
    fill(t, data, pool=pool)
    compare(data, exported(t, pool=pool), "what librbd reads")
    compare(data, read(t, name, c_cell(t)), "what the C driver reads")
    make(t, "b", len(data), *options, pool=pool)
    fill(t, data, cell=c_cell(t), where="b", pool=pool)
    compare(data, read(t, url(t, "b", pool)), "what we read of the C driver's")
    found = [tuple(objects(t, name, pool, data=data_pool(kind, pool)) for name in "ab")]
    for name, cell in (("a", t.cell), ("b", c_cell(t))):
        with Served(t, name, pool=pool, cell=cell) as client:
            client.zero(0, client.size)
            check(not any(client.read_all()), "zeroes are no zeroes")
    found.append(tuple(objects(t, name, pool, data=data_pool(kind, pool)) for name in "ab"))
    check(all(ours == c for ours, c in found), f"objects with data and of zeroes, ours and the C driver's: {found}")
    plain(t).rbd("rm", "--no-progress", spec(t, pool=pool))
    check(not any(t.image("a") in line for line in listing(pool, plain(t))), "something is left")


def data_pool(kind, pool):
    return (DATA_POOL + pool.removeprefix(POOL)) if "data pool" in kind else pool


cases("rbd_formats", [(f"{kind} that librbd has written is what we read", imported, kind) for kind in KINDS])
cases("rbd_formats", [(f"{kind} that we have written is what librbd reads", written, kind) for kind in KINDS])


def at_snapshot(t, kind):
    """Snapshots of librbd's, with other sizes, are what we read there, and what the C driver reads."""
    options, pool = KINDS[kind]
    make(t, "a", MIB, *options, pool=pool)
    contents = {}
    for number, size in enumerate((SIZE, 5 * MIB, 11 * MIB)):
        plain(t).rbd("resize", "--no-progress", "--allow-shrink", "-s", f"{size}B", spec(t, pool=pool))
        data = pattern(size - MIB, number)
        fill(t, data, pool=pool)
        snap = f"s{number}"
        plain(t).rbd("snap", "create", "--no-progress", f"{spec(t, pool=pool)}@{snap}")
        contents[snap] = exported(t, f"a@{snap}", pool)
        check(len(contents[snap]) == size, "the size of the snapshot")
    with Served(t, pool=pool) as client:
        client.zero(0, client.size)
        client.write(0, b"now" * 1000)
    for snap, data in contents.items():
        compare(data, exported(t, f"a@{snap}", pool), f"librbd at {snap}")
        compare(data, read(t, url(t, f"a@{snap}", pool)), f"ours at {snap}")
        compare(data, read(t, url(t, f"a@{snap}", pool), c_cell(t)), f"the C driver at {snap}")


cases("rbd_formats", [(f"snapshots of an image with {kind} are read as they were", at_snapshot, kind)
                      for kind in ("format 1", "format 2", "objects of 64 KiB", "striping", "data pool", "namespace")])


@test(core=True)
def snapshot_is_refused_for_writing_and_takes_no_writes(t):
    make(t)
    fill(t, some_bytes(MIB))
    plain(t).rbd("snap", "create", "--no-progress", spec(t) + "@s")
    before = exported(t, "a@s")
    for options in ([], ["-t", "none"]):
        done = t.cell.run("qemu-io", "-f", "raw", *options, "-c", "write 0 4k", url(t, "a@s"), cwd=t.work)
        c = c_cell(t).run("qemu-io", "-f", "raw", *options, "-c", "write 0 4k", url(t, "a@s"), cwd=t.work)
        check((done.status, c.status) == (1, 1), f"ours:\n{done}\nC driver:\n{c}")
        check("read-only" in done.err and "read-only" in c.err, f"ours:\n{done}\nC driver:\n{c}")
    io(t, url(t, "a@s"), "read 0 4k", options=("-r", "-f", "raw"))
    compare(before, exported(t, "a@s"), "the snapshot")


@test(core=True)
def image_of_ours_is_what_librbd_says_it_is(t):
    t.img("create", "-q", "-f", "raw", url(t), str(8 * MIB))
    ours = info(t)
    make(t, "b", 8 * MIB)
    theirs = info(t, "b")
    for key in ("size", "objects", "order", "object_size", "format", "features", "op_features", "flags", "snapshot_count"):
        check(ours[key] == theirs[key], f"{key}: {ours[key]}, not {theirs[key]}")
    check(ours["block_name_prefix"].startswith("rbd_data.") and ours["id"] in ours["block_name_prefix"], ours)
    fill(t, pattern(7 * MIB))
    plain(t).rbd("snap", "create", "--no-progress", spec(t) + "@s")
    check(snapshots(t) == ["s"], snapshots(t))
    (used,) = [image for image in plain(t).rbd_json("du", spec(t))["images"] if "snapshot" not in image]
    check(used["provisioned_size"] == 8 * MIB, used)
    check(t.image("a") in plain(t).rbd("ls"), "it is not listed")
    plain(t).rbd("snap", "rm", "--no-progress", spec(t) + "@s")
    plain(t).rbd("rename", spec(t), spec(t, "c"))
    compare(padded(pattern(7 * MIB)) + bytes(MIB), read(t, url(t, "c")), "the renamed image")
    plain(t).rbd("rm", "--no-progress", spec(t, "c"))


@test()
def image_in_an_erasure_coded_data_pool_works_both_ways(t):
    ceph = t.clusters.sturdy()
    data = pattern(SIZE)
    name = make(t, "a", len(data), "--data-pool", ERASURE_POOL, ceph=ceph)
    fill(t, data, ceph=ceph)
    compare(data, exported(t, ceph=ceph), "what librbd reads")
    compare(data, read(t, name, c_cell(t)), "what the C driver reads")
    ceph.rbd("snap", "create", "--no-progress", spec(t) + "@s")
    with Served(t, ceph=ceph) as client:
        client.write(12345, b"x" * 100000)
        client.zero(4 * MIB, 2 * MIB)
        client.trim(MIB, MIB)
        expected = client.read_all()
    compare(expected, exported(t, ceph=ceph), "what librbd reads afterwards")
    compare(data, exported(t, "a@s", ceph=ceph), "the snapshot")


@test()
def image_created_with_a_default_data_pool_has_its_data_there(t):
    conf = plain(t).with_settings(t.path("pool.conf"), rbd_default_data_pool=DATA_POOL)
    for name, cell in (("a", t.cell), ("b", c_cell(t))):
        done = cell.run("qemu-img", "create", "-q", "-f", "raw", f"rbd:{spec(t, name)}:conf={conf}", "8M", cwd=t.work)
        check(done.status == 0, done)
    ours, theirs = info(t), info(t, "b")
    check(ours["data_pool"] == theirs["data_pool"] == DATA_POOL and ours["features"] == theirs["features"], f"{ours} {theirs}")
    fill(t, some_bytes(MIB))
    check(objects(t, data=DATA_POOL) == 1 and objects(t, data=POOL) == 0, "the data is elsewhere")


@test()
def options_of_striping_in_the_configuration_are_followed(t):
    conf = plain(t).with_settings(t.path("s.conf"), rbd_default_stripe_unit=65536, rbd_default_stripe_count=4, rbd_default_order=20)
    for name, cell in (("a", t.cell), ("b", c_cell(t))):
        done = cell.run("qemu-img", "create", "-q", "-f", "raw", f"rbd:{spec(t, name)}:conf={conf}", "8M", cwd=t.work)
        check(done.status == 0, done)
    ours, theirs = info(t), info(t, "b")
    for key in ("features", "order", "stripe_unit", "stripe_count"):
        check(ours[key] == theirs[key], f"{key}: {ours[key]}, not {theirs[key]}")


# --- sizes that are no multiple of a sector -------------------------------------------------------------------------

def odd(t, size, options=()):
    """An image of that many bytes: mapped, converted, read and written to its last byte."""
    data = some_bytes(size)
    name = make(t, "a", size, *options)
    io(t, name, "map", "read 0 512")
    t.img("map", "--output=json", "-f", "raw", name)
    plain(t).rbd("rm", "--no-progress", spec(t))
    plain(t).load(spec(t), data, *(["--image-format", "1"] if options else features()))
    t.img("map", "-f", "raw", name)
    compare(padded(data), read(t, name), "the image")
    found = t.img("info", "--output=json", name).out
    check(f'"virtual-size": {len(padded(data))}' in found, found)
    check(info(t)["size"] == size, "reading has changed the size")
    # A write to the last sector makes the image whole sectors long, as with the C driver.
    last = (len(padded(data)) - 512, 512)
    io(t, name, f"write -P 9 {last[0]} {last[1]}", f"read -P 9 {last[0]} {last[1]}")
    check(info(t)["size"] == len(padded(data)), info(t))
    compare(padded(data)[:-512] + b"\x09" * 512, exported(t), "what librbd reads")


cases("rbd_formats", [
    ("image of 1000 bytes is used to its end", odd, 1000),
    ("image of one byte is used to its end", odd, 1),
    ("image of 4 MiB and one byte is used to its end", odd, 4 * MIB + 1),
    ("format 1 image of an odd size is used to its end", odd, 5 * MIB + 777, ("--image-format", "1")),
])


@test()
def empty_image_is_read_mapped_and_converted(t):
    name = make(t, "a", 0)
    t.img("map", "-f", "raw", name)
    check(read(t, name) == b"", "something was read")
    t.img("resize", "-q", "-f", "raw", name, "1M")
    io(t, name, "write -P 5 0 1M", "read -P 5 0 1M")


@test()
def very_large_image_is_used_at_its_end(t):
    size = 1 << 50
    # It has too many objects for a map of them.
    name = make(t, "a", size, wanted=("layering",))
    io(t, name, f"write -P 5 {size - 65536} 64k", f"read -P 5 {size - 65536} 64k", f"read -P 0 {size // 2} 64k")
    check(objects(t) == 1, objects(t))
    io(t, name, f"discard {size - 65536} 64k")


@test()
def info_tells_the_size_of_objects(t):
    for name, options, expected in (("a", ["--object-size", "64K"], 65536), ("b", ["--image-format", "1"], 4 * MIB)):
        made = make(t, name, MIB, *options)
        for cell in (t.cell, c_cell(t)):
            done = cell.run("qemu-img", "info", "--output=json", made, cwd=t.work)
            check(f'"cluster-size": {expected}' in done.out, done)


@test()
def encrypted_image_is_told_by_info_as_by_the_c_driver(t):
    # The C driver of QEMU 7.2 does not know those of layered images yet.
    layered = (("c", b"RBDL\xba\xbe\x00\x01"),) if t.cell.version >= (8, 0) else ()
    for name, magic in (("a", b"LUKS\xba\xbe\x00\x01"), ("b", b"LUKS\xba\xbe\x00\x02"), *layered, ("d", b"plain!!!")):
        plain(t).load(spec(t, name), magic + bytes(4096 - len(magic)), *features())
        found = [cell.run("qemu-img", "info", "--output=json", "-f", "rbd", url(t, name), cwd=t.work).out for cell in (t.cell, c_cell(t))]
        formats = [[line.strip() for line in text.splitlines() if "encryption-format" in line or "layered" in line] for text in found]
        check(formats[0] == formats[1], f"{name}: ours {formats[0]}, the C driver {formats[1]}")


@test(alone=True)
def kernel_maps_what_we_have_written(t):
    if not os.path.exists("/dev/nbd0"):
        raise Skip("this machine has no nbd devices")
    data = pattern(8 * MIB)
    make(t, "a", len(data))
    fill(t, data)
    device = plain(t).rbd("device", "map", "-t", "nbd", spec(t)).strip()
    try:
        with open(device, "rb") as file:
            compare(data, file.read(), "what the kernel reads")
    finally:
        plain(t).rbd("device", "unmap", "-t", "nbd", device)


@test()
def node_on_a_namespace_given_as_an_option_is_the_one_in_the_name(t):
    make(t, "a", 3 * MIB, pool=f"{POOL}/{SPACE}")
    one = t.img("info", "--output=json", image_json({"driver": "rbd", **{key: value for key, value in node(t, pool=f"{POOL}/{SPACE}").items() if key != "node-name"}})).out
    two = t.img("info", "--output=json", url(t, pool=f"{POOL}/{SPACE}")).out
    check(file_name(one) == file_name(two), f"{file_name(one)} is not {file_name(two)}")
