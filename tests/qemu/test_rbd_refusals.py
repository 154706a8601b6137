# SPDX-License-Identifier: GPL-2.0-or-later
"""Images that we can not use yet, or must not: refused by name and with what to do; read-only where that is safe."""

from lib.harness import cases, check, test
from lib.model import compare
from lib.nbd import Client, NbdError
from lib.qmp import Daemon, QmpError
from lib.rbd import MIB, FEATURES, POOL, c_cell, exported, fill, info, make, node, plain, read, snapshots, some_bytes, spec, url

LOCKING = ("layering", "exclusive-lock")


def opens(t, name="a", writable=True):
    """Open it as a node; the error, or None."""
    with Daemon(t.cell, t.work) as daemon:
        try:
            daemon.add(node(t, name, **{"read-only": not writable}))
        except QmpError as error:
            return str(error)
    return None


def refused_for_writing(t, wanted, enable, names):
    """Not written, with the feature and what to do in the message; read as it is."""
    data = some_bytes(2 * MIB)
    make(t, "a", 2 * MIB, wanted=wanted)
    fill(t, data, cell=c_cell(t))
    for feature in enable:
        plain(t).rbd("feature", "enable", spec(t), feature)
    error = opens(t)
    check(error and all(name in error for name in names), error)
    check(opens(t, writable=False) is None, "it can not be read")
    compare(data, read(t, url(t)), "what we read")
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(node(t, **{"read-only": True}))
        try:
            daemon.raw("blockdev-reopen", {"options": [node(t, **{"read-only": False})]})
        except QmpError as error:
            check(names[0] in str(error), error)
        else:
            check(False, "it was reopened for writing")
        (found,) = daemon.command("query-named-block-nodes")
        check(found["ro"], found)
    compare(data, exported(t), "the image")


rows = [("journaling is refused for writing", refused_for_writing, LOCKING, ["journaling"], ["journaling", "feature disable"])]
cases("rbd_refusals", rows, core=True)


@test(core=True)
def feature_taken_away_as_the_message_says_lets_it_be_written(t):
    make(t, "a", 2 * MIB, wanted=(*LOCKING, "journaling"))
    check("journaling" in opens(t), "it was opened")
    plain(t).rbd("feature", "disable", spec(t), "journaling", *(["exclusive-lock"] if FEATURES == ("layering",) else []))
    check(opens(t) is None, opens(t))


@test()
def feature_enabled_while_it_is_open_stops_writes(t):
    make(t, "a", 2 * MIB)
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(node(t))
        socket = daemon.export("r")
        with Client(t.work, socket, "r") as client:
            client.write(0, b"x" * 512)
            plain(t).rbd("feature", "enable", spec(t), *(["exclusive-lock"] if FEATURES == ("layering",) else []), "journaling")
            try:
                client.write(512, b"y" * 512)
            except NbdError as error:
                check(error.code, error)
            else:
                check(False, "an image with a journal was written without one")
            check(client.read(0, 512) == b"x" * 512, "read")


@test(core=True)
def clone_is_refused_and_a_flattened_one_is_not(t):
    data = some_bytes(2 * MIB)
    make(t, "a", 2 * MIB)
    fill(t, data)
    plain(t).rbd("snap", "create", "--no-progress", f"{spec(t)}@s")
    plain(t).rbd("snap", "protect", f"{spec(t)}@s")
    plain(t).rbd("clone", "--image-feature", "layering", f"{spec(t)}@s", spec(t, "b"))
    for writable in (True, False):
        error = opens(t, "b", writable)
        check(error and "clone" in error and "flatten" in error, error)
    check(opens(t, "a") is None, "the parent")
    plain(t).rbd("flatten", "--no-progress", spec(t, "b"))
    check(opens(t, "b") is None, "the flattened clone")
    compare(data, read(t, url(t, "b")), "the flattened clone")
    plain(t).rbd("snap", "unprotect", f"{spec(t)}@s")


@test(core=True)
def snapshot_that_needs_the_parent_of_a_flattened_clone_is_refused(t):
    old, new = some_bytes(2 * MIB), some_bytes(2 * MIB, 2)
    make(t, "a", 2 * MIB)
    fill(t, old)
    ceph = plain(t)
    ceph.rbd("snap", "create", "--no-progress", f"{spec(t)}@s")
    ceph.rbd("snap", "protect", f"{spec(t)}@s")
    # Without deep-flatten the snapshots of the clone stay clones.
    ceph.rbd("clone", "--image-feature", "layering", f"{spec(t)}@s", spec(t, "b"))
    ceph.rbd("snap", "create", "--no-progress", f"{spec(t, 'b')}@old")
    ceph.rbd("flatten", "--no-progress", spec(t, "b"))
    ceph.rbd("snap", "create", "--no-progress", f"{spec(t, 'b')}@new")
    fill(t, new, where="b")
    for args in (["-a", "old"], ["-d", "old"]):
        done = t.cell.run("qemu-img", "snapshot", *args, url(t, "b"), cwd=t.work)
        check(done.status == 1 and "still needs the parent" in done.err and "'old'" in done.err, done)
    done = t.cell.run("qemu-img", "info", url(t, "b@old"), cwd=t.work)
    check(done.status == 1 and "'old'" in done.err and "'rbd cp'" in done.err and "flatten" not in done.err, done)
    check(snapshots(t, "b") == ["old", "new"], snapshots(t, "b"))
    compare(new, read(t, url(t, "b")), "the flattened clone")
    compare(old, exported(t, "b@old"), "its old snapshot")
    t.cell.run("qemu-img", "snapshot", "-a", "new", url(t, "b"), cwd=t.work)
    compare(old, read(t, url(t, "b")), "the flattened clone after going back")
    # As the message says; then nothing is registered with the parent any more.
    ceph.rbd("snap", "rm", "--no-progress", f"{spec(t, 'b')}@old")
    ceph.rbd("snap", "unprotect", f"{spec(t)}@s")


@test()
def image_in_migration_is_refused(t):
    make(t, "a", 2 * MIB)
    plain(t).rbd("migration", "prepare", spec(t), spec(t, "b"))
    for name in "ab":
        for writable in (True, False):
            error = opens(t, name, writable)
            check(error and ("migrat" in error or name == "a"), f"{name}: {error}")
    plain(t).rbd("migration", "execute", "--no-progress", spec(t, "b"))
    plain(t).rbd("migration", "commit", "--no-progress", spec(t, "b"))
    check(opens(t, "b") is None, opens(t, "b"))


@test()
def mirrored_copy_is_refused_for_writing(t):
    # A pool of its own: mirroring is switched on for a whole pool.
    pool = "mirrored"
    plain(t).pool(pool)
    plain(t).rbd("mirror", "pool", "enable", pool, "image")
    make(t, "a", 2 * MIB, pool=pool)
    plain(t).rbd("mirror", "image", "enable", spec(t, pool=pool), "snapshot")
    plain(t).rbd("mirror", "image", "demote", spec(t, pool=pool))
    check("non_primary" in "".join(info(t, pool=pool)["features"]).replace("-", "_"), info(t, pool=pool))
    with Daemon(t.cell, t.work) as daemon:
        try:
            daemon.add(node(t, pool=pool))
        except QmpError as error:
            check("promote" in str(error), error)
        else:
            check(False, "it was opened for writing")
        daemon.add(node(t, pool=pool, **{"read-only": True}))
        daemon.add(node(t, pool=pool, node="auto", **{"auto-read-only": True}))
        check(all(entry["ro"] for entry in daemon.command("query-named-block-nodes")), "a node is writable")
    plain(t).rbd("mirror", "image", "promote", "--force", spec(t, pool=pool))


@test()
def feature_bit_that_nobody_knows_is_refused(t):
    make(t, "a", 2 * MIB)
    header = f"rbd_header.{info(t)['id']}"
    features = int.from_bytes(bytes.fromhex(plain(t).omap(POOL, header, "features")), "little")
    plain(t).set_omap(POOL, header, "features", (features | 1 << 50).to_bytes(8, "little"))
    error = opens(t)
    check(error and "know" in error and "0x4000000000000" in error, error)


def damaged(t, what):
    """A header that can not be understood is an error, and nothing is written."""
    make(t, "a", 2 * MIB, *(["--image-format", "1"] if what == "format 1" else []))
    ceph = plain(t)
    if what == "format 1":
        ceph.rados("-p", POOL, "put", f"{t.image('a')}.rbd", "-", stdin=b"wool" * 100)
    elif what == "id":
        ceph.rados("-p", POOL, "put", f"rbd_id.{t.image('a')}", "-", stdin=b"\xff\xff\xff\xffwool")
    elif what == "empty id":
        ceph.rados("-p", POOL, "put", f"rbd_id.{t.image('a')}", "-", stdin=b"")
    elif what == "order":
        ceph.set_omap(POOL, f"rbd_header.{info(t)['id']}", "order", b"\xff")
    elif what == "size":
        ceph.set_omap(POOL, f"rbd_header.{info(t)['id']}", "size", b"\xff" * 8)
    elif what == "no header":
        ceph.rados("-p", POOL, "rm", f"rbd_header.{info(t)['id']}")
    for writable in (True, False):
        error = opens(t, writable=writable)
        check(error, "it was opened")
    check(t.cell.run("qemu-img", "info", url(t), cwd=t.work).status == 1, "qemu-img")


cases("rbd_refusals", [(f"damage is an error: {what}", damaged, what) for what in ("format 1", "id", "empty id", "order", "size", "no header")])
