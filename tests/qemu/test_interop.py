# SPDX-License-Identifier: GPL-2.0-or-later
"""Images go back and forth between our driver and the C driver."""

import random

from lib.harness import Skip, check, test
from lib.nbd import Client
from lib.qmp import Daemon

SIZE = 8 << 20


@test()
def image_made_by_the_c_driver_is_ours_to_use(t):
    with Daemon(t.stock, t.work) as daemon:
        error = daemon.create({"volume": "plain", "path": t.image(), "server": [t.gluster.server()]}, SIZE)
        check(error is None, error)
    t.io(t.url(), "read -P 0 0 8M", "write -P 1 0 8M", "read -P 1 0 8M")


@test()
def image_made_by_us_is_the_c_drivers_to_use(t):
    t.img("create", "-q", "-f", "raw", "-o", "preallocation=full", t.url(), str(SIZE))
    with Daemon(t.stock, t.work) as daemon:
        daemon.add(t.node())
        with Client(t.work, daemon.export()) as client:
            check(client.size == SIZE, client.size)
            client.write(12345, b"abc" * 1000)
            client.flush()
    t.img("convert", "-f", "raw", "-O", "raw", t.url(), t.path("copy"))
    with open(t.path("copy"), "rb") as copy:
        check(copy.read() == bytes(12345) + b"abc" * 1000 + bytes(SIZE - 12345 - 3000), "the bytes differ")


@test()
def qcow2_written_alternately_stays_sound(t):
    t.img("create", "-q", "-f", "qcow2", t.url("a.qcow2"), str(SIZE))
    source, expected = random.Random(3), bytearray(SIZE)
    for turn in range(4):
        with Daemon(t.stock if turn % 2 else t.cell, t.work) as daemon:
            daemon.add(t.node("a.qcow2", node="file"))
            daemon.add({"driver": "qcow2", "node-name": "g", "file": "file"})
            with Client(t.work, daemon.export()) as client:
                for _ in range(40):
                    offset, data = source.randrange(SIZE - 70000), source.randbytes(source.randrange(1, 70000))
                    client.write(offset, data)
                    expected[offset:offset + len(data)] = data
                client.flush()
                check(client.read_all() == bytes(expected), f"turn {turn}")
            if not turn % 2:
                check(daemon.quit() == 0, daemon.output())
    t.img("check", "-q", "-f", "qcow2", t.url("a.qcow2"))


@test()
def strange_names_mean_the_same_file_to_both(t):
    name = f"{t.id} ü %41"
    t.img("create", "-q", "-f", "raw", t.gluster.url("plain", f"{t.id}%20%c3%bc%20%2541"), "1M")
    with Daemon(t.stock, t.work) as daemon:
        daemon.add(t.gluster.node("plain", name))
        (node,) = daemon.command("query-named-block-nodes")
        check(node["image"]["virtual-size"] == 1 << 20, node)


@test(core=True)
def qemu_nbd_serves_an_image(t):
    t.img("create", "-q", "-f", "raw", t.url(), str(SIZE))
    if len(t.path("socket")) > 100:
        raise Skip("qemu-nbd wants the whole path of its socket, and this one is too long")
    server = t.cell.start("qemu-nbd", "-f", "raw", "-x", "g", "-k", t.path("socket"), t.url(), cwd=t.work)
    try:
        with Client(t.work, "socket") as client:
            client.write(777, b"n" * 70000)
            client.flush()
            check(client.read(777, 70000) == b"n" * 70000, "read")
        # It serves one client and ends.
        check(server.wait(30) == 0, "exit status")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
    check(t.gluster_bytes()[777:70777] == b"n" * 70000, "the file on the brick")
