# SPDX-License-Identifier: GPL-2.0-or-later
"""Growing and shrinking: by command, while a node is used, by a write behind the end, and from outside."""

from lib.harness import cases, check, test
from lib.model import compare
from lib.nbd import Client
from lib.qmp import Daemon
from lib.rbd import (MIB, both_fail, c_cell, exported, fill, info, io, make, node, objects, plain, read, some_bytes, spec, url)

KINDS = {"format 1": ["--image-format", "1"], "format 2": [], "striped": ["--object-size", "64K", "--stripe-unit", "4K", "--stripe-count", "3",
                                                                      "--image-feature", "striping"]}


def up_and_down(t, kind):
    """What is cut off is gone: it reads as zeroes when the image grows again, and has no objects."""
    data = some_bytes(7 * MIB)
    name = make(t, "a", 7 * MIB, *KINDS[kind])
    c_name = make(t, "b", 7 * MIB, *KINDS[kind])
    fill(t, data)
    fill(t, data, where="b")
    for size in (3 * MIB + 512 * 77, 9 * MIB, 512, 5 * MIB):
        t.img("resize", "-q", "--shrink", "-f", "raw", name, str(size))
        done = c_cell(t).run("qemu-img", "resize", "-q", "--shrink", "-f", "raw", c_name, str(size), cwd=t.work)
        check(done.status == 0, done)
        data = data[:size] + bytes(max(0, size - len(data)))
        check(info(t)["size"] == size, info(t))
        compare(data, exported(t), f"librbd after a resize to {size}")
        check(objects(t) == objects(t, "b"), f"{objects(t)} objects after a resize to {size}, with the C driver {objects(t, 'b')}")
    compare(data, read(t, name), "ours")


cases("rbd_resize", [(f"{kind} image up and down keeps what it has and nothing of what was cut off", up_and_down, kind) for kind in KINDS], core=True)


@test()
def preallocation_is_refused(t):
    make(t, "a", MIB)
    for mode in ("full", "falloc", "metadata"):
        both_fail(t, "resize", "-q", "-f", "raw", f"--preallocation={mode}", url(t), "2M", names=["prealloc"])
    check(info(t)["size"] == MIB, info(t))


@test()
def shrinking_without_saying_so_is_refused(t):
    make(t, "a", 2 * MIB)
    t.cell.run("qemu-img", "resize", "-q", "-f", "raw", url(t), "1M", cwd=t.work)
    check(info(t)["size"] == 2 * MIB, info(t))


def served(t, daemon, work):
    """Do something with the node over NBD, which allows no resize meanwhile."""
    with Client(t.work, daemon.export("r"), "r") as client:
        work(client)
    daemon.unexport("r")


@test(core=True)
def block_resize_of_an_open_node(t):
    make(t, "a", 4 * MIB)
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(node(t))
        served(t, daemon, lambda client: client.write(3 * MIB, b"x" * 100))
        for size in (8 * MIB, 2 * MIB, 8 * MIB):
            daemon.raw("block_resize", {"node-name": "r", "size": size})
            (found,) = daemon.command("query-named-block-nodes")
            check(found["image"]["virtual-size"] == size, found)
        served(t, daemon, lambda client: check(client.size == 8 * MIB and not any(client.read(0, 8 * MIB)), "what was cut off is there again"))
        served(t, daemon, lambda client: client.write(7 * MIB, b"y" * 100))
    data = exported(t)
    check(len(data) == 8 * MIB and data[7 * MIB:7 * MIB + 100] == b"y" * 100, "the image")


@test(core=True)
def image_below_qcow2_grows_with_what_is_written(t):
    t.img("create", "-q", "-f", "qcow2", url(t), "64M")
    first = info(t)["size"]
    done = t.cell.run("qemu-io", "-f", "qcow2", "-c", "write -P 5 0 10M", "-c", "write -P 6 50M 64k", "-c", "read -P 5 0 10M", "-c", "read -P 6 50M 64k",
                      url(t), cwd=t.work)
    check(done.status == 0 and "verification" not in done.out, done)
    check(info(t)["size"] > first + 10 * MIB, f"{first} bytes, then {info(t)['size']}")
    t.img("check", "-q", "-f", "qcow2", url(t))
    done = c_cell(t).run("qemu-io", "-f", "qcow2", "-c", "read -P 5 0 10M", "-c", "read -P 6 50M 64k", url(t), cwd=t.work)
    check(done.status == 0 and "verification" not in done.out, done)


@test()
def many_writes_that_grow_the_image_at_once(t):
    t.img("create", "-q", "-f", "qcow2", url(t), "32M")
    with Daemon(t.cell, t.work) as daemon:
        daemon.add({"driver": "qcow2", "node-name": "q", "file": node(t)})
        with Client(t.work, daemon.export("q"), "q") as client:
            handles = [client.submit(1, number * MIB, data=bytes([number + 1]) * 65536) for number in range(32)]
            check(all(client.receive()[1] == 0 for _ in handles), "a write failed")
            for number in range(32):
                compare(bytes([number + 1]) * 65536, client.read(number * MIB, 65536), f"write {number}")
        check(daemon.quit() == 0, daemon.output())
    t.img("check", "-q", "-f", "qcow2", url(t))


@test(core=True)
def size_changed_from_outside_is_seen_by_an_open_node(t):
    make(t, "a", 4 * MIB)
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(node(t))
        served(t, daemon, lambda client: client.write(0, b"x" * 4096))
        plain(t).rbd("resize", "--no-progress", "-s", f"{6 * MIB}B", spec(t))
        served(t, daemon, lambda client: client.write(client.size - 4096, b"y" * 4096))
        daemon.raw("block_resize", {"node-name": "r", "size": 8 * MIB})
        served(t, daemon, lambda client: client.write(8 * MIB - 4096, b"z" * 4096))
    data = exported(t)
    check(len(data) == 8 * MIB and data[:1] + data[-1:] == b"xz" and b"y" in data, f"{len(data)} bytes")


@test()
def resize_to_more_than_any_image_can_have_is_refused(t):
    make(t, "a", MIB)
    both_fail(t, "resize", "-q", "-f", "raw", url(t), "9223372036854775296")
    check(info(t)["size"] == MIB, info(t))


@test()
def resize_of_an_image_opened_read_only_is_refused(t):
    make(t, "a", MIB)
    io(t, url(t), "read 0 1M", options=("-r", "-f", "raw"))
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(node(t, **{"read-only": True}))
        try:
            daemon.raw("block_resize", {"node-name": "r", "size": 2 * MIB})
        except RuntimeError:
            pass
        except Exception as error:
            check("read-only" in str(error).lower() or "permitted" in str(error).lower(), error)
        else:
            check(False, "it was resized")
    check(info(t)["size"] == MIB, info(t))
