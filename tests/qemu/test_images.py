# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-img: create, info, convert, compare, map, resize, bench."""

import json
import os
import random
import subprocess

from lib.harness import check, test

MIB = 1 << 20


def info(t, url, *options):
    return json.loads(t.img("info", "--output=json", *options, url).out)


@test(core=True)
def create_without_preallocation_makes_a_sparse_file(t):
    t.img("create", "-q", "-f", "raw", t.url(), "64M")
    status = os.stat(t.brick())
    check(status.st_size == 64 * MIB, status)
    check(status.st_blocks * 512 < MIB, f"{status.st_blocks} blocks")


@test()
def create_with_preallocation_off_makes_a_sparse_file(t):
    t.img("create", "-q", "-f", "raw", "-o", "preallocation=off", t.url(), "64M")
    check(os.stat(t.brick()).st_blocks * 512 < MIB, os.stat(t.brick()))


@test()
def create_makes_a_file_that_only_its_owner_can_read(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    check(os.stat(t.brick()).st_mode & 0o777 == 0o600, oct(os.stat(t.brick()).st_mode))


@test(core=True)
def create_with_falloc_allocates_every_block(t):
    t.img("create", "-q", "-f", "raw", "-o", "preallocation=falloc", t.url(), "16M")
    status = os.stat(t.brick())
    check(status.st_size == 16 * MIB and status.st_blocks * 512 >= 16 * MIB, status)


@test()
def create_with_full_allocates_every_block(t):
    t.img("create", "-q", "-f", "raw", "-o", "preallocation=full", t.url(), "16M")
    status = os.stat(t.brick())
    check(status.st_size == 16 * MIB and status.st_blocks * 512 >= 16 * MIB, status)


@test()
def create_with_full_reads_as_zeroes(t):
    t.img("create", "-q", "-f", "raw", "-o", "preallocation=full", t.url(), "4M")
    t.io(t.url(), "read -P 0 0 4M")


@test()
def create_with_metadata_preallocation_is_refused(t):
    t.fails("qemu-img", "create", "-f", "raw", "-o", "preallocation=metadata", t.url(), "1M", names=["metadata"])
    check(not os.path.exists(t.brick()), "a file was left behind")


@test()
def create_with_an_unknown_preallocation_names_it(t):
    t.fails("qemu-img", "create", "-f", "raw", "-o", "preallocation=wool", t.url(), "1M", names=["wool"])
    check(not os.path.exists(t.brick()), "a file was left behind")


@test()
def create_on_an_existing_file_empties_it(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    t.io(t.url(), "write -P 7 0 4M")
    t.img("create", "-q", "-f", "raw", t.url(), "2M")
    t.io(t.url(), "read -P 0 0 2M")
    check(os.stat(t.brick()).st_size == 2 * MIB, os.stat(t.brick()))


@test()
def create_rounds_the_size_up_to_a_sector(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1000")
    check(os.stat(t.brick()).st_size == 1024, os.stat(t.brick()))


@test()
def create_of_size_zero_works(t):
    t.img("create", "-q", "-f", "raw", t.url(), "0")
    check(info(t, t.url())["virtual-size"] == 0, "size")


@test()
def create_in_a_missing_folder_names_image_and_volume(t):
    t.fails("qemu-img", "create", "-f", "raw", t.gluster.url("plain", "no/such/folder/a.img"), "1M",
            names=["no/such/folder/a.img", "plain", "No such file"])


@test()
def create_with_an_unknown_option_is_refused(t):
    t.fails("qemu-img", "create", "-f", "raw", "-o", "wool=1", t.url(), "1M", names=["wool"])


@test(core=True)
def create_on_each_kind_of_volume_gives_the_size(t):
    for volume in ("plain", "replica3", "shard"):
        t.img("create", "-q", "-f", "raw", t.url(volume=volume), "70M")
        check(info(t, t.url(volume=volume))["virtual-size"] == 70 * MIB, volume)


@test(core=True)
def info_tells_virtual_size_and_disk_size(t):
    t.img("create", "-q", "-f", "raw", t.url(), "64M")
    t.io(t.url(), "write 8M 3M")
    found = info(t, t.url())
    check(found["virtual-size"] == 64 * MIB, found)
    check(3 * MIB <= found["actual-size"] < 4 * MIB, found)
    check(found["format"] == "raw" and found["filename"] == t.url(), found)


@test()
def info_of_a_missing_image_names_image_and_volume(t):
    t.fails("qemu-img", "info", t.url(), names=[t.image(), "plain", "No such file"])


@test()
def info_of_a_missing_volume_names_it(t):
    t.fails("qemu-img", "info", t.gluster.url("no-such-volume", "a"), names=["no-such-volume"])


def ext4(t, name="disk.img", files=3000):
    """A file system with a few thousand files, a local file."""
    folder = t.path("files")
    source = random.Random(12)
    for number in range(files):
        into = os.path.join(folder, f"d{number % 40}")
        os.makedirs(into, exist_ok=True)
        with open(os.path.join(into, f"f{number}"), "wb") as file:
            file.write(source.randbytes(source.choice((10, 700, 4096, 30000))))
    image = t.path(name)
    subprocess.run(["truncate", "-s", "160M", image], check=True)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", "-d", folder, image], check=True)
    return image


def intact(image):
    done = subprocess.run(["/usr/sbin/e2fsck", "-f", "-n", image], capture_output=True, text=True, check=False)
    check(done.returncode == 0, done.stdout + done.stderr)


def same_file(one, two):
    check(subprocess.run(["cmp", one, two], check=False).returncode == 0, f"{one} and {two} differ")


@test(core=True)
def convert_of_a_real_ext4_there_and_back_is_byte_equal(t):
    image = ext4(t)
    for volume in ("plain", "replica3", "shard"):
        url = t.url(volume=volume)
        t.img("convert", "-f", "raw", "-O", "raw", image, url)
        t.img("compare", "-f", "raw", "-F", "raw", image, url)
        t.img("convert", "-f", "raw", "-O", "raw", url, t.path("back.img"))
        same_file(image, t.path("back.img"))
    intact(t.path("back.img"))
    same_file(image, t.brick())


@test(core=True)
def convert_to_qcow2_and_back_is_byte_equal(t):
    image = ext4(t)
    url = t.url("a.qcow2")
    t.img("convert", "-f", "raw", "-O", "qcow2", image, url)
    t.img("check", "-q", "-f", "qcow2", url)
    t.img("compare", "-f", "raw", "-F", "qcow2", image, url)
    t.img("convert", "-f", "qcow2", "-O", "raw", url, t.path("back.img"))
    same_file(image, t.path("back.img"))


@test()
def convert_to_compressed_qcow2_is_readable(t):
    image = ext4(t, files=300)
    url = t.url("a.qcow2")
    t.img("convert", "-c", "-f", "raw", "-O", "qcow2", image, url)
    t.img("compare", "-f", "raw", "-F", "qcow2", image, url)


@test()
def convert_with_many_coroutines_out_of_order_is_byte_equal(t):
    image = ext4(t, files=1000)
    t.img("convert", "-m", "16", "-W", "-f", "raw", "-O", "raw", image, t.url())
    same_file(image, t.brick())


@test()
def convert_between_volumes_is_byte_equal(t):
    image = ext4(t, files=1000)
    t.img("convert", "-f", "raw", "-O", "raw", image, t.url(volume="shard"))
    t.img("convert", "-f", "raw", "-O", "raw", t.url(volume="shard"), t.url())
    same_file(image, t.brick())


@test()
def qcow2_with_a_backing_file_on_gluster_reads_through(t):
    t.img("create", "-q", "-f", "raw", t.url(), "8M")
    t.io(t.url(), "write -P 5 0 8M")
    t.img("create", "-q", "-f", "qcow2", "-b", t.url(), "-F", "raw", t.url("top.qcow2"))
    t.io(t.url("top.qcow2"), "write -P 6 1M 1M", "read -P 5 0 1M", "read -P 6 1M 1M", options=("-f", "qcow2"))
    t.img("commit", "-q", "-f", "qcow2", t.url("top.qcow2"))
    t.io(t.url(), "read -P 6 1M 1M", "read -P 5 2M 6M")


@test()
def qcow2_snapshots_on_gluster_come_back(t):
    url = t.url("a.qcow2")
    t.img("create", "-q", "-f", "qcow2", url, "8M")
    t.io(url, "write -P 1 0 1M", options=("-f", "qcow2"))
    t.img("snapshot", "-c", "before", url)
    t.io(url, "write -P 2 0 1M", options=("-f", "qcow2"))
    t.img("snapshot", "-a", "before", url)
    t.io(url, "read -P 1 0 1M", options=("-f", "qcow2"))


@test()
def compare_finds_a_difference(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    t.img("create", "-q", "-f", "raw", t.url("b.img"), "4M")
    t.io(t.url("b.img"), "write -P 1 3M 512")
    done = t.cell.run("qemu-img", "compare", "-f", "raw", "-F", "raw", t.url(), t.url("b.img"))
    check(done.status == 1 and "3145728" in done.out and not done.err, done)


def extents(t, url, *options):
    """What `map` says, with neighbours of the same kind put together."""
    result = []
    for row in json.loads(t.img("map", "-f", "raw", "--output=json", *options, url).out):
        if result and result[-1][2] == row["zero"]:
            result[-1][1] += row["length"]
        else:
            result.append([row["start"], row["length"], row["zero"]])
    return result


@test(core=True)
def map_says_what_it_says_of_the_same_local_file(t):
    local = t.path("local.img")
    t.img("create", "-q", "-f", "raw", local, "32M")
    t.img("create", "-q", "-f", "raw", t.url(), "32M")
    writes = ("write 0 64k", "write 1M 2M", "write 7M 4k", "write 20M 8M")
    t.io(local, *writes)
    t.io(t.url(), *writes)
    for options in ((), ("--start-offset=1536k",), ("--start-offset=30M", "--max-length=1M")):
        check(extents(t, t.url(), *options) == extents(t, local, *options),
              f"{options}: {extents(t, t.url(), *options)}, not {extents(t, local, *options)}")


@test()
def map_of_an_empty_image_is_one_hole(t):
    t.img("create", "-q", "-f", "raw", t.url(), "32M")
    check(extents(t, t.url()) == [[0, 32 * MIB, True]], extents(t, t.url()))


@test()
def map_of_a_full_image_is_one_piece_of_data(t):
    t.img("create", "-q", "-f", "raw", t.url(), "8M")
    t.io(t.url(), "write 0 8M")
    check(extents(t, t.url()) == [[0, 8 * MIB, False]], extents(t, t.url()))


@test()
def resize_grows_with_zeroes(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    t.io(t.url(), "write -P 3 0 4M")
    t.img("resize", "-q", "-f", "raw", t.url(), "+4M")
    t.io(t.url(), "read -P 3 0 4M", "read -P 0 4M 4M")


@test(core=True)
def resize_shrinks(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    t.io(t.url(), "write -P 3 0 4M")
    t.img("resize", "-q", "-f", "raw", "--shrink", t.url(), "1M")
    check(os.stat(t.brick()).st_size == MIB, os.stat(t.brick()))
    t.img("resize", "-q", "-f", "raw", t.url(), "4M")
    t.io(t.url(), "read -P 3 0 1M", "read -P 0 1M 3M")


@test()
def resize_with_falloc_allocates_the_new_area(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    t.img("resize", "-q", "-f", "raw", "--preallocation=falloc", t.url(), "9M")
    status = os.stat(t.brick())
    check(status.st_size == 9 * MIB and status.st_blocks * 512 >= 8 * MIB, status)


@test()
def resize_with_full_allocates_the_new_area(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    t.io(t.url(), "write -P 3 0 1M")
    t.img("resize", "-q", "-f", "raw", "--preallocation=full", t.url(), "9M")
    check(os.stat(t.brick()).st_blocks * 512 >= 9 * MIB, os.stat(t.brick()))
    t.io(t.url(), "read -P 3 0 1M", "read -P 0 1M 8M")


@test()
def resize_with_metadata_is_refused_and_changes_nothing(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    t.fails("qemu-img", "resize", "-f", "raw", "--preallocation=metadata", t.url(), "2M", names=["metadata"])
    check(os.stat(t.brick()).st_size == MIB, os.stat(t.brick()))


@test()
def resize_works_on_a_sharded_volume(t):
    url = t.url(volume="shard")
    t.img("create", "-q", "-f", "raw", url, "10M")
    t.io(url, "write -P 3 0 10M")
    t.img("resize", "-q", "-f", "raw", url, "30M")
    t.io(url, "read -P 3 0 10M", "read -P 0 10M 20M")
    t.img("resize", "-q", "-f", "raw", "--shrink", url, "5M")
    check(info(t, url)["virtual-size"] == 5 * MIB, "size")
    t.io(url, "read -P 3 0 5M")


@test()
def bench_reads_and_writes(t):
    t.img("create", "-q", "-f", "raw", t.url(), "64M")
    for more in (("-w",), (), ("-w", "--flush-interval=50")):
        done = t.img("bench", "-f", "raw", "-c", "2000", "-d", "32", "-s", "4096", "-t", "none", *more, t.url())
        check("Run completed" in done.out, done)


@test()
def measure_works_without_help_of_the_driver(t):
    t.img("create", "-q", "-f", "raw", t.url(), "8M")
    found = json.loads(t.img("measure", "--output=json", "-f", "raw", "-O", "raw", t.url()).out)
    check(found["required"] == 8 * MIB, found)


@test()
def dd_copies_part_of_an_image(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    t.io(t.url(), "write -P 9 1M 1M")
    t.img("dd", "-f", "raw", "-O", "raw", "bs=1M", "skip=1", "count=2", f"if={t.url()}", f"of={t.path('part')}")
    with open(t.path("part"), "rb") as part:
        data = part.read()
    check(data[:MIB] == b"\x09" * MIB, "the copied part differs")
