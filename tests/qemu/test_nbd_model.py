# SPDX-License-Identifier: GPL-2.0-or-later
"""A random mix through a qemu-storage-daemon's NBD export, checked against a model; then read back by the C driver."""

import os

from lib.harness import cases, check, test
from lib.model import Model, compare
from lib.nbd import Client
from lib.qmp import Daemon

SIZE = 24 << 20
SEED = int(os.environ.get("QBR_SEED", "20250805"))
REQUESTS = int(os.environ.get("QBR_REQUESTS", "1500"))


def mix(t, cell, volume, model, requests, *daemon_args, export=None, **node):
    with Daemon(cell, t.work, *daemon_args) as daemon:
        daemon.add(t.node(volume=volume, **{"discard": "unmap", **node}))
        if export:
            daemon.raw("nbd-server-start", {"addr": {"type": "unix", "data": {"path": "nbdx"}}})
            daemon.raw("block-export-add", {"type": "nbd", "id": "e", "node-name": "g", "name": "g", "writable": True, **export})
            name = "nbdx"
        else:
            name = daemon.export()
        with Client(t.work, name) as client:
            slowest = model.run(client, requests)
            model.check_all(client)
            client.flush()
            if export and cell.version < (8, 0):
                # That NBD server aborts when a client of an export in an iothread leaves, whatever the driver is.
                daemon.kill()
        t.note(f"seed {model.seed}, {model.counts}, slowest reply {slowest * 1000:.0f} ms")
        if not cell.is_stock and daemon.process.poll() is None:
            check(daemon.quit() == 0, daemon.output())
            check(daemon.output() == "", daemon.output())


def read_through(t, cell, volume):
    with Daemon(cell, t.work) as daemon:
        daemon.add(t.node(volume=volume, **{"read-only": True}))
        with Client(t.work, daemon.export(writable=False)) as client:
            return client.read_all()


def ours_then_c_driver(t, volume):
    t.img("create", "-q", "-f", "raw", t.url(volume=volume), str(SIZE))
    model = Model(SIZE, SEED)
    mix(t, t.cell, volume, model, REQUESTS)
    compare(bytes(model.data), read_through(t, t.stock, volume), "what the C driver reads")


def c_driver_then_ours(t, volume):
    t.img("create", "-q", "-f", "raw", t.url(volume=volume), str(SIZE))
    model = Model(SIZE, SEED + 1)
    mix(t, t.stock, volume, model, REQUESTS // 2)
    compare(bytes(model.data), read_through(t, t.cell, volume), "what our driver reads")


def variant(t, daemon_args, export, node):
    t.img("create", "-q", "-f", "raw", t.url(), str(SIZE))
    model = Model(SIZE, SEED + 2)
    mix(t, t.cell, "plain", model, REQUESTS, *daemon_args, export=export, **node)
    compare(bytes(model.data), t.gluster_bytes(), "the file on the brick")


cases("nbd_model", [
    (f"random mix on {volume} is what the C driver reads", ours_then_c_driver, volume) for volume in ("plain", "replica3", "shard")
] + [
    (f"random mix of the C driver on {volume} is what we read", c_driver_then_ours, volume) for volume in ("plain", "replica3", "shard")
] + [
    ("random mix in an iothread", variant, ("--object", "iothread,id=io"), {"iothread": "io"}, {}),
    ("random mix with cache.direct", variant, (), None, {"cache": {"direct": True}}),
])


@test(core=True)
def random_mix_on_replica3_is_what_a_new_process_reads(t):
    t.img("create", "-q", "-f", "raw", t.url(volume="replica3"), str(SIZE))
    model = Model(SIZE, SEED + 3)
    mix(t, t.cell, "replica3", model, REQUESTS // 3)
    compare(bytes(model.data), read_through(t, t.cell, "replica3"), "what a new process reads")


@test()
def two_clients_on_one_export_see_each_other(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(t.node())
        name = daemon.export()
        with Client(t.work, name) as one, Client(t.work, name) as two:
            for number in range(50):
                one.write(number * 4096, bytes([number + 1]) * 4096)
                compare(bytes([number + 1]) * 4096, two.read(number * 4096, 4096), "the other client's read")
