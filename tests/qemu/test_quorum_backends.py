# SPDX-License-Identifier: GPL-2.0-or-later
"""A quorum over three different backends: an image on Gluster, a file, a qcow2 in another folder. One dies, one is corrupted."""

import os
import random

from lib.harness import check, test, wait_for
from lib.model import Load, Model, compare
from lib.nbd import Client
from lib.qmp import Daemon
from lib.quorum import EVENTS, edges, file_node, quorum_node, raw_files

SIZE = 8 << 20
VOLUME = "quorumside"
SEED = int(os.environ.get("QBR_SEED", "20250805"))


def children_of(daemon):
    return {name: child for parent, name, child, _, _ in edges(daemon) if parent == "q"}


def reported(daemon, node, kinds=("read", "write", "flush")):
    """Wait until a child is reported; what was said."""

    def seen():
        return [data for name, data in daemon.take_events(*EVENTS)
                if name == "QUORUM_REPORT_BAD" and data["node-name"] == node and data["type"] in kinds]

    return wait_for(seen, 60, f"QUORUM_REPORT_BAD for {node}")[0]


@test(core=True, alone=True, needs_gluster=True)
def backend_that_dies_one_that_is_corrupted_and_one_that_comes_back_end_up_equal(t):
    t.gluster.volume(VOLUME, "plain")
    t.img("create", "-q", "-f", "raw", t.url(volume=VOLUME), str(SIZE))
    file, = raw_files(t, 1, SIZE)
    os.mkdir(t.path("other"))
    qcow2 = t.path("other/image.qcow2")
    t.img("create", "-q", "-f", "qcow2", qcow2, str(SIZE))
    model, chance = Model(SIZE, SEED), random.Random(SEED)

    with Daemon(t.cell, t.work) as daemon:
        daemon.add(t.node(volume=VOLUME, node="on-gluster", discard="unmap"))
        daemon.add(file_node(file, **{"node-name": "on-disk"}))
        daemon.add({"driver": "qcow2", "node-name": "in-qcow2", "discard": "unmap", "file": file_node(qcow2)})
        daemon.add(quorum_node(["on-gluster", "on-disk", "in-qcow2"], 2, **{"rewrite-corrupted": True}))
        with Client(t.work, daemon.export("q"), "q") as client:
            with Load(model, client):
                with open(file, "r+b") as damaged:
                    for _ in range(20):
                        damaged.seek(chance.randrange(SIZE - 65536))
                        damaged.write(chance.randbytes(65536))
                first = reported(daemon, "on-disk", ("read",))
                check("error" not in first, first)
            # What the mix did not read by chance is read here, and repaired.
            model.check_all(client)
            with open(file, "rb") as repaired:
                compare(bytes(model.data), repaired.read(), "the file that was corrupted")

            with Load(model, client):
                t.gluster.kill_brick(VOLUME, 0)
                second = reported(daemon, "on-gluster")
                check("error" in second, second)
                daemon.raw("x-blockdev-change", {"parent": "q", "child": "children.0"})
                daemon.remove("on-gluster")
            check(children_of(daemon) == {"children.1": "on-disk", "children.2": "in-qcow2"}, children_of(daemon))
            model.check_all(client)

            with Load(model, client):
                t.gluster.restart_bricks(VOLUME)
                # It comes back with what it had when it died.
                daemon.add(t.node(volume=VOLUME, node="back", discard="unmap"))
                daemon.raw("x-blockdev-change", {"parent": "q", "node": "back"})
                third = reported(daemon, "back", ("read",))
                check("error" not in third, third)
            check(children_of(daemon) == {"children.1": "on-disk", "children.2": "in-qcow2", "children.3": "back"}, children_of(daemon))
            model.check_all(client)
            client.flush()
        check(daemon.quit() == 0, daemon.output())
    t.note(f"{sum(model.counts.values())} requests: {model.counts}")
    t.note(f"events: {first}, {second}, {third}")
    t.img("convert", "-O", "raw", qcow2, t.path("flat"))
    with open(file, "rb") as one, open(t.path("flat"), "rb") as other:
        compare(bytes(model.data), one.read(), "the file")
        compare(bytes(model.data), other.read(), "the qcow2")
    compare(bytes(model.data), t.gluster_bytes(volume=VOLUME), "the image on the brick")
