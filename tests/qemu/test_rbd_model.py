# SPDX-License-Identifier: GPL-2.0-or-later
"""Random mixes of requests over NBD against an image in memory; what is there afterwards is what librbd and the C driver read."""

import os

from lib.harness import cases, check, test
from lib.model import Model, compare
from lib.qmp import Daemon
from lib.rbd import DATA_POOL, MIB, POOL, SPACE, Served, c_cell, exported, make, node, plain, read, spec, url
from lib.nbd import Client

SIZE = 12 * MIB
SEED = int(os.environ.get("QBR_SEED", "20261120"))
REQUESTS = int(os.environ.get("QBR_REQUESTS", "400"))
KINDS = {
    "format 1": (["--image-format", "1"], POOL),
    "format 2": ([], POOL),
    "objects of 64 KiB": (["--object-size", "64K"], POOL),
    "objects of 32 MiB": (["--object-size", "32M"], POOL),
    "striping": (["--object-size", "1M", "--stripe-unit", "16K", "--stripe-count", "5", "--image-feature", "striping"], POOL),
    "striping in a data pool and a namespace": (["--data-pool", DATA_POOL, "--object-size", "64K", "--stripe-unit", "4K", "--stripe-count", "7",
                                                 "--image-feature", "striping"], f"{POOL}/{SPACE}"),
}


def mix(t, kind, seed, requests=REQUESTS, cell=None, **more):
    options, pool = KINDS[kind]
    make(t, "a", SIZE, *options, pool=pool)
    model = Model(SIZE, SEED + seed)
    with Served(t, pool=pool, cell=cell, **more) as client:
        model.run(client, requests)
        model.check_all(client)
    return model, pool


def ours(t, kind, more):
    model, pool = mix(t, kind, 1, **more)
    compare(bytes(model.data), exported(t, pool=pool), "what librbd reads")
    compare(bytes(model.data), read(t, url(t, pool=pool)), "what a new process reads")


def theirs(t, kind):
    model, pool = mix(t, kind, 2, REQUESTS // 3, c_cell(t))
    compare(bytes(model.data), read(t, url(t, pool=pool)), "what we read of what the C driver wrote")


cases("rbd_model", [(f"random mix on {kind} is what librbd reads", ours, kind, {}) for kind in KINDS], core=True)
cases("rbd_model", [(f"random mix of the C driver on {kind} is what we read", theirs, kind) for kind in ("format 1", "format 2", "striping")])
cases("rbd_model", [
    ("random mix in an iothread is what librbd reads", ours, "format 2", {"daemon_args": ("--object", "iothread,id=io"), "export": {"iothread": "io"}}),
    ("random mix with cache.direct is what librbd reads", ours, "format 2", {"cache": {"direct": True}}),
    ("random mix with detect-zeroes is what librbd reads", ours, "format 2", {"detect-zeroes": "unmap"}),
])


@test(core=True)
def random_mix_between_snapshots_leaves_them_as_they_were(t):
    make(t, "a", SIZE)
    model, kept = Model(SIZE, SEED + 5), {}
    with Served(t) as client:
        for number in range(6):
            model.run(client, REQUESTS // 8)
            client.daemon.raw("blockdev-snapshot-internal-sync", {"device": "r", "name": f"s{number}"})
            kept[f"s{number}"] = bytes(model.data)
        model.run(client, REQUESTS // 8)
        model.check_all(client)
    for name, data in kept.items():
        compare(data, exported(t, f"a@{name}"), f"librbd at {name}")
    compare(kept["s3"], read(t, url(t, "a@s3")), "ours at s3")


@test()
def random_mix_through_qcow2_that_grows_its_image(t):
    make(t, "a", 0)
    t.img("create", "-q", "-f", "qcow2", url(t, "b"), str(SIZE))
    model = Model(SIZE, SEED + 6)
    with Daemon(t.cell, t.work) as daemon:
        daemon.add({"driver": "qcow2", "node-name": "q", "discard": "unmap", "file": node(t, "b", "r", discard="unmap")})
        with Client(t.work, daemon.export("q"), "q") as client:
            model.run(client, REQUESTS // 2)
            model.check_all(client)
        check(daemon.quit() == 0, daemon.output())
    t.img("check", "-q", "-f", "qcow2", url(t, "b"))
    path = t.path("out")
    done = c_cell(t).run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", url(t, "b"), path, cwd=t.work)
    check(done.status == 0, done)
    with open(path, "rb") as file:
        compare(bytes(model.data), file.read(), "what the C driver reads")


@test(core=True)
def two_clients_on_one_export_see_each_other(t):
    make(t, "a", 4 * MIB)
    with Served(t) as one, Client(t.work, f"nbd{one.daemon.tag}", "r") as two:
        for number in range(50):
            one.write(number * 4096, bytes([number + 1]) * 4096)
            compare(bytes([number + 1]) * 4096, two.read(number * 4096, 4096), "the other client's read")


@test()
def two_nodes_in_two_processes_see_each_other(t):
    make(t, "a", 4 * MIB)
    with Served(t) as one, Served(t) as two:
        for number in range(30):
            one.write(number * 8192, bytes([number + 1]) * 4096)
            two.write(number * 8192 + 4096, bytes([number + 101]) * 4096)
            compare(bytes([number + 1]) * 4096 + bytes([number + 101]) * 4096, two.read(number * 8192, 8192), "both writes")
            compare(bytes([number + 1]) * 4096 + bytes([number + 101]) * 4096, one.read(number * 8192, 8192), "both writes")
    plain(t).rbd("info", spec(t))
