# SPDX-License-Identifier: GPL-2.0-or-later
"""A pool that is full: requests wait for space, or fail as the options say; nothing that was acknowledged is lost."""

import json

from lib.harness import Skip, check, test, wait_for
from lib.model import compare
from lib.nbd import WRITE, Client, NbdError
from lib.qmp import Daemon, QmpError
from lib.rbd import FEATURES, MIB, exported, info, make, node, snapshots, some_bytes


def pool_with_data(t, name):
    """A pool of the test's own, with more data than its quota will allow; the cluster."""
    ceph = t.clusters.sturdy()
    ceph.pool(name)
    make(t, "a", 16 * MIB, pool=name, ceph=ceph)
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(node(t, pool=name, ceph=ceph))
        with Client(t.work, daemon.export("r"), "r") as client:
            client.write(0, some_bytes(2 * MIB))
    return ceph


def make_full(ceph, name):
    ceph.cli("osd", "pool", "set-quota", name, "max_bytes", str(MIB))
    wait_for(lambda: is_full(ceph, name), 60, "the pool being full")
    epoch = json.loads(ceph.cli("osd", "dump", "--format", "json"))["epoch"]
    osds = json.loads(ceph.cli("osd", "ls", "--format", "json"))
    # The OSDs hear of it a moment later.
    for osd in osds:
        wait_for(lambda osd=osd: json.loads(ceph.cli("tell", f"osd.{osd}", "status"))["newest_map"] >= epoch, 60, f"osd.{osd} knowing that")


def is_full(ceph, name):
    (pool,) = [pool for pool in json.loads(ceph.cli("osd", "dump", "--format", "json"))["pools"] if pool["pool_name"] == name]
    return "full" in pool["flags_names"].split(",")


def more_space(ceph, name):
    ceph.cli("osd", "pool", "set-quota", name, "max_bytes", "0")
    wait_for(lambda: not is_full(ceph, name), 60, "the pool having space again")


@test(alone=True)
def write_into_a_full_pool_waits_and_completes_when_there_is_space(t):
    ceph = pool_with_data(t, "quota-waits")
    with Daemon(t.cell, t.work) as daemon:
        # Opening it needs a watch, which is a change and would wait, too.
        daemon.add(node(t, pool="quota-waits", ceph=ceph))
        with Client(t.work, daemon.export("r"), "r") as client:
            client.write(0, some_bytes(MIB))
            make_full(ceph, "quota-waits")
            handle = client.submit(WRITE, 8 * MIB, data=b"w" * 65536)
            # What needs no space goes on; so does the monitor.
            with Client(t.work, f"nbd{daemon.tag}", "r") as other:
                compare(some_bytes(2 * MIB)[:65536], other.read(0, 65536), "a read meanwhile")
            check(len(daemon.command("query-named-block-nodes")) == 1, "nodes")
            more_space(ceph, "quota-waits")
            done, code, _ = client.receive()
            check((done, code) == (handle, 0), f"error {code}")
            compare(b"w" * 65536, client.read(8 * MIB, 65536), "the write that waited")
        check(daemon.quit() == 0, daemon.output())
    compare(some_bytes(2 * MIB), exported(t, pool="quota-waits", ceph=ceph)[:2 * MIB], "what was there before")


@test(alone=True)
def write_into_a_full_pool_fails_in_time_with_rados_osd_op_timeout(t):
    ceph = pool_with_data(t, "quota-fails")
    conf = ceph.with_settings(t.path("short.conf"), rados_osd_op_timeout=3)
    with Daemon(t.cell, t.work) as daemon:
        daemon.add({**node(t, pool="quota-fails", ceph=ceph), "conf": conf})
        with Client(t.work, daemon.export("r"), "r") as client:
            client.write(0, some_bytes(MIB))
            make_full(ceph, "quota-fails")

            def fails():
                try:
                    client.write(8 * MIB, b"w" * 65536)
                except NbdError as error:
                    return error.code
                return None

            code = wait_for(fails, 30, "a write failing")
            # ETIMEDOUT has no number of its own there: its server says EINVAL.
            check(code == 22, f"error {code}")
            compare(some_bytes(2 * MIB)[:65536], client.read(0, 65536), "a read meanwhile")
            more_space(ceph, "quota-fails")
            wait_for(lambda: fails() is None, 30, "writes working again")
        check(daemon.quit() == 0, daemon.output())
    t.note(f"NBD error {code}")


@test(alone=True)
def growth_and_snapshot_in_a_full_pool_fail_and_leave_the_object_map_as_it_is(t):
    if FEATURES is not None and "object-map" not in FEATURES:
        raise Skip("images have no object map here")
    ceph = pool_with_data(t, "quota-map")
    changes = [("block_resize", {"node-name": "r", "size": 64 << 30}), ("blockdev-snapshot-internal-sync", {"device": "r", "name": "s"})]
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(node(t, pool="quota-map", ceph=ceph))
        with Client(t.work, daemon.export("r"), "r") as client:
            # The lock, and with it the map.
            client.write(0, some_bytes(MIB))
        # An export does not let anybody resize its node.
        daemon.unexport("r")
        make_full(ceph, "quota-map")
        for command, arguments in changes:
            try:
                daemon.raw(command, arguments)
            except QmpError as error:
                check("quota" in str(error), error)
            else:
                check(False, f"{command} has found space")
        found = info(t, pool="quota-map", ceph=ceph)
        check(found["flags"] == [] and found["size"] == 16 * MIB and found["snapshot_count"] == 0, found)
        more_space(ceph, "quota-map")
        for command, arguments in changes:
            daemon.raw(command, arguments)
        with Client(t.work, daemon.export("r"), "r") as client:
            client.write(8 * MIB, b"w" * 65536)
        check(daemon.quit() == 0, daemon.output())
    found = info(t, pool="quota-map", ceph=ceph)
    check(found["flags"] == [] and found["size"] == 64 << 30 and snapshots(t, pool="quota-map", ceph=ceph) == ["s"], found)
