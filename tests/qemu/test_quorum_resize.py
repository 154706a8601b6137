# SPDX-License-Identifier: GPL-2.0-or-later
"""Resizing a quorum: all children or none. The C driver can't do it at all."""

import os

from lib.harness import Skip, cases, check, test
from lib.nbd import Client
from lib.qmp import Daemon, QmpError
from lib.quorum import file_node, is_self, need_c_driver, products, quorum_node, raw_children, raw_files

MIB = 1 << 20
OLD = 2 * MIB


def ours(t):
    if is_self():
        raise Skip("the C driver can't resize")
    return t.cell


def resize(daemon, size, node="q"):
    try:
        daemon.raw("block_resize", {"node-name": node, "size": size})
    except QmpError as error:
        return str(error)
    return None


def sizes(t, count):
    return [os.stat(t.path(f"child{number}")).st_size for number in range(count)]


def length_of(daemon):
    return {node["node-name"]: node["image"]["virtual-size"] for node in daemon.command("query-named-block-nodes")}["q"]


@test()
def c_driver_can_not_resize(t):
    need_c_driver(t)
    with Daemon(t.c_drivers, t.work) as daemon:
        daemon.add(quorum_node(raw_children(t, 3, OLD), 2))
        said = resize(daemon, 2 * OLD)
        check(said and sizes(t, 3) == [OLD] * 3, said)


def resized(t, size, **options):
    with Daemon(ours(t), t.work) as daemon:
        daemon.add(quorum_node(raw_children(t, 3, OLD), 2, **options))
        with Client(t.work, daemon.export("q"), "q") as client:
            client.write(0, b"k" * min(size, OLD))
        daemon.unexport("q")
        check(resize(daemon, size) is None, "refused")
        check(sizes(t, 3) == [size] * 3 and length_of(daemon) == size, (sizes(t, 3), length_of(daemon)))
        with Client(t.work, daemon.export("q"), "q") as client:
            check(client.size == size, client.size)
            check(client.read_all() == b"k" * min(size, OLD) + bytes(max(0, size - OLD)), "the data")
            client.write(size - 512, b"e" * 512)
        check(daemon.quit() == 0, daemon.output())
    for number in range(3):
        with open(t.path(f"child{number}"), "rb") as file:
            check(file.read()[-512:] == b"e" * 512, f"child {number}")


cases("quorum_resize", [
    ("grow", resized, 3 * MIB),
    ("shrink", resized, MIB),
    ("to the same length", resized, OLD),
    ("grow in fifo pattern", lambda t: resized(t, 3 * MIB, **{"read-pattern": "fifo"}),),
    ("grow with rewrite-corrupted", lambda t: resized(t, 3 * MIB, **{"rewrite-corrupted": True}),),
])


def mixed(t, mix):
    """Children that can be resized, or not: a raw node of a fixed size refuses, whatever the size."""
    raw_files(t, len(mix), OLD)
    children = []
    for number, state in enumerate(mix):
        file = file_node(t.path(f"child{number}"))
        children.append({"driver": "raw", "node-name": f"c{number}", "file": file, **({} if state == "ok" else {"size": OLD})})
    return children


@test(core=True)
def one_child_that_can_not_be_resized_leaves_all_as_they_were(t):
    """Every subset of such children, every threshold, both patterns."""
    total = 0
    with Daemon(ours(t), t.work) as daemon:
        for count in (2, 3, 4, 5):
            for mix in products(("ok", "fixed"), count):
                for threshold in range(1, count + 1):
                    for pattern in ("quorum", "fifo"):
                        for size in (2 * OLD, MIB):
                            total += 1
                            case = (mix, threshold, pattern, size)
                            children = mixed(t, mix)
                            with open(t.path("child0"), "r+b") as file:
                                file.seek(OLD - 512)
                                file.write(b"z" * 512)
                            daemon.add(quorum_node(children, threshold, **{"read-pattern": pattern}))
                            said = resize(daemon, size)
                            if "fixed" in mix:
                                check(said and f"'c{mix.index('fixed')}'" in said, (case, said))
                                check(sizes(t, count) == [OLD] * count and length_of(daemon) == OLD, (case, sizes(t, count), said))
                                with open(t.path("child0"), "rb") as file:
                                    check(file.read()[-512:] == b"z" * 512, f"{case}: what was there is lost")
                            else:
                                check(said is None and sizes(t, count) == [size] * count and length_of(daemon) == size, (case, said))
                            daemon.remove("q")
        check(daemon.quit() == 0, daemon.output())
    t.note(f"{total} cases")


def with_limit(t, work):
    """work(daemon) with a daemon whose files can't be longer than 4 MiB."""
    with Daemon(ours(t).behind("prlimit", f"--fsize={4 * MIB}", "env", "--ignore-signal=XFSZ"), t.work) as daemon:
        return work(daemon)


@test(core=True)
def child_that_can_not_grow_makes_the_others_go_back(t):
    """The first child is a qcow2, whose length is only a number; the other one meets the limit on the length of files."""
    t.img("create", "-q", "-f", "qcow2", t.path("first"), str(OLD))
    raw_files(t, 1, OLD)

    def work(daemon):
        daemon.add(quorum_node([{"driver": "qcow2", "node-name": "c0", "file": file_node(t.path("first"))},
                                file_node(t.path("child0"), **{"node-name": "c1"})], 1))
        check(resize(daemon, 3 * MIB) is None, "a length below the limit is refused")
        said = resize(daemon, 16 * MIB)
        lengths = {node["node-name"]: node["image"]["virtual-size"] for node in daemon.command("query-named-block-nodes")}
        return said, lengths, daemon.quit()

    said, lengths, status = with_limit(t, work)
    check(said and "c1" in said and "File too large" in said and "c0" not in said.split(":")[0], said)
    check((lengths["q"], lengths["c0"], lengths["c1"], status) == (3 * MIB, 3 * MIB, 3 * MIB, 0), lengths)
    t.note(said)


@test()
def resize_with_preallocation_reaches_the_children(t):
    children = raw_files(t, 3, OLD)
    node = "driver=quorum,vote-threshold=2," + ",".join(f"children.{i}.driver=file,children.{i}.filename={path}" for i, path in enumerate(children))
    ours(t)
    t.ok("qemu-img", "resize", "-q", "--image-opts", "--preallocation=falloc", node, "4M", quiet=False)
    check(sizes(t, 3) == [4 * MIB] * 3, sizes(t, 3))
    for path in children:
        check(os.stat(path).st_blocks * 512 >= 2 * MIB, os.stat(path))


@test()
def resize_with_an_unknown_preallocation_changes_nothing(t):
    children = raw_files(t, 3, OLD)
    node = "driver=quorum,vote-threshold=2," + ",".join(f"children.{i}.driver=file,children.{i}.filename={path}" for i, path in enumerate(children))
    ours(t)
    t.fails("qemu-img", "resize", "-q", "--image-opts", "--preallocation=metadata", node, "4M")
    check(sizes(t, 3) == [OLD] * 3, sizes(t, 3))


@test(core=True)
def read_only_quorum_is_not_resized(t):
    with Daemon(ours(t), t.work) as daemon:
        daemon.add(quorum_node(raw_children(t, 3, OLD), 2, **{"read-only": True}))
        check(resize(daemon, 4 * MIB) and sizes(t, 3) == [OLD] * 3, sizes(t, 3))


@test()
def resize_while_somebody_relies_on_the_length_is_refused(t):
    with Daemon(ours(t), t.work) as daemon:
        daemon.add(quorum_node(raw_children(t, 3, OLD), 2))
        with Client(t.work, daemon.export("q"), "q") as client:
            said = resize(daemon, 2 * OLD)
            check(said and "resize" in said and sizes(t, 3) == [OLD] * 3, said)
            client.write(0, b"x" * 512)
        check(daemon.quit() == 0, daemon.output())
