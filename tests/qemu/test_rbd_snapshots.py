# SPDX-License-Identifier: GPL-2.0-or-later
"""Internal snapshots: by qemu-img and the monitor, their names and errors, rolling back, and librbd's view of them."""

import re

from lib.harness import cases, check, test
from lib.model import compare
from lib.qmp import Daemon, QmpError
from lib.rbd import MIB, POOL, SPACE, DATA_POOL, Served, c_cell, exported, fill, info, make, node, plain, read, snapshots, some_bytes, spec, url

KINDS = {"format 1": (["--image-format", "1"], POOL), "format 2": ([], POOL), "a namespace and a data pool": (["--data-pool", DATA_POOL], f"{POOL}/{SPACE}"),
         "striping": (["--object-size", "64K", "--stripe-unit", "4K", "--stripe-count", "3", "--image-feature", "striping"], POOL)}


def listed(text):
    """What qemu-img snapshot -l prints: (id, name, size as shown)."""
    rows = [line.split() for line in text.splitlines() if re.match(r"\S", line) and not line.startswith(("Snapshot list", "ID "))]
    return [(row[0], row[1], " ".join(row[2:4])) for row in rows]


def img(t, *args, cell=None, status=0):
    done = (cell or t.cell).run("qemu-img", "snapshot", *args, cwd=t.work)
    check(done.status == status, done)
    return done


def round_trip(t, kind):
    """Create, list, go back, delete: with ours, seen by librbd; and the other way round."""
    options, pool = KINDS[kind]
    first, second = some_bytes(5 * MIB), some_bytes(3 * MIB, 2) + bytes(2 * MIB)
    name = make(t, "a", 5 * MIB, *options, pool=pool)
    fill(t, first, pool=pool)
    img(t, "-c", "one", name)
    fill(t, second, pool=pool)
    plain(t).rbd("snap", "create", "--no-progress", f"{spec(t, pool=pool)}@two")
    t.img("resize", "-q", "-f", "raw", name, "8M")
    check(snapshots(t, pool=pool) == ["one", "two"], snapshots(t, pool=pool))
    ours, c = img(t, "-l", name), img(t, "-l", name, cell=c_cell(t))
    check(listed(ours.out) == listed(c.out), f"ours:\n{ours}\nC driver:\n{c}")
    compare(first, exported(t, "a@one", pool), "librbd at our snapshot")
    compare(second, read(t, url(t, "a@two", pool)), "ours at librbd's")
    img(t, "-a", "one", name)
    check(info(t, pool=pool)["size"] == 5 * MIB, info(t, pool=pool))
    compare(first, exported(t, pool=pool), "librbd after we went back")
    compare(first, read(t, name), "ours after going back")
    plain(t).rbd("snap", "rollback", "--no-progress", f"{spec(t, pool=pool)}@two")
    compare(second, read(t, name), "ours after librbd went back")
    img(t, "-d", "one", name)
    check(snapshots(t, pool=pool) == ["two"], snapshots(t, pool=pool))
    img(t, "-d", "two", name, cell=c_cell(t))
    check(listed(img(t, "-l", name).out) == [], "a snapshot is left")
    plain(t).rbd("rm", "--no-progress", spec(t, pool=pool))


cases("rbd_snapshots", [(f"round trip with {kind}", round_trip, kind) for kind in KINDS], core=True)


def command_refused(t, args, reason):
    """Refused by both for the same reason."""
    name = make(t, "a", MIB)
    plain(t).rbd("snap", "create", "--no-progress", f"{spec(t)}@there")
    ours, c = img(t, *args, name, status=1), img(t, *args, name, cell=c_cell(t), status=1)
    for done in (ours, c):
        check(reason in done.err, f"{reason!r} is expected\nours:\n{ours}\nC driver:\n{c}")
    check(snapshots(t) == ["there"], snapshots(t))


cases("rbd_snapshots", [
    ("name that is there is refused", command_refused, ["-c", "there"], "File exists"),
    ("empty name is refused", command_refused, ["-c", ""], "Invalid argument"),
    ("name of 128 bytes is refused", command_refused, ["-c", "n" * 128], "Numerical result out of range"),
    ("delete of what is not there is refused", command_refused, ["-d", "nowhere"], "nowhere"),
    ("going to what is not there is refused", command_refused, ["-a", "nowhere"], "No such file or directory"),
])


@test()
def name_of_127_bytes_is_taken(t):
    name = make(t, "a", MIB)
    img(t, "-c", "n" * 127, name)
    check(snapshots(t) == ["n" * 127], snapshots(t))
    img(t, "-d", "n" * 127, name)


@test()
def protected_snapshot_is_not_deleted(t):
    name = make(t, "a", MIB)
    plain(t).rbd("snap", "create", "--no-progress", f"{spec(t)}@p")
    plain(t).rbd("snap", "protect", f"{spec(t)}@p")
    ours, c = img(t, "-d", "p", name, status=1), img(t, "-d", "p", name, cell=c_cell(t), status=1)
    check("busy" in ours.err and "busy" in c.err, f"ours:\n{ours}\nC driver:\n{c}")
    plain(t).rbd("snap", "unprotect", f"{spec(t)}@p")
    img(t, "-d", "p", name)


@test()
def more_than_a_hundred_snapshots(t):
    name = make(t, "a", MIB)
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(node(t))
        for number in range(130):
            daemon.raw("blockdev-snapshot-internal-sync", {"device": "r", "name": f"s{number}"})
        (found,) = daemon.command("query-named-block-nodes")
        check([snap["name"] for snap in found["image"]["snapshots"]] == [f"s{number}" for number in range(130)], found)
        check(daemon.quit() == 0, daemon.output())
    ours, c = img(t, "-l", name), img(t, "-l", name, cell=c_cell(t))
    check(len(listed(ours.out)) == 130 and listed(ours.out) == listed(c.out), ours)
    check(len(snapshots(t)) == 130, snapshots(t))
    with Served(t) as client:
        client.write(0, b"x" * 4096)
    compare(bytes(4096), read(t, url(t, "a@s129"))[:4096], "the last one")


@test(core=True)
def monitor_makes_lists_and_deletes_snapshots(t):
    make(t, "a", 4 * MIB)
    with Served(t) as client:
        daemon = client.daemon
        client.write(0, b"1" * 4096)
        daemon.raw("blockdev-snapshot-internal-sync", {"device": "r", "name": "one"})
        client.write(0, b"2" * 4096)
        (found,) = daemon.command("query-named-block-nodes")
        (snap,) = found["image"]["snapshots"]
        check((snap["id"], snap["name"], snap["vm-state-size"]) == ("one", "one", 4 * MIB), snap)
        for arguments, word in (({"name": "one"}, "one"), ({"name": ""}, "name"), ):
            try:
                daemon.raw("blockdev-snapshot-internal-sync", {"device": "r", **arguments})
            except QmpError as error:
                check(word in str(error).lower(), error)
            else:
                check(False, arguments)
        try:
            daemon.raw("blockdev-snapshot-delete-internal-sync", {"device": "r", "id": "other", "name": "one"})
        except QmpError as error:
            check("one" in str(error) or "other" in str(error), error)
        else:
            check(False, "deleted under another id")
        client.write(4096, b"3" * 4096)
        compare(b"1" * 4096 + bytes(4096), exported(t, "a@one")[:8192], "the snapshot")
        daemon.raw("blockdev-snapshot-delete-internal-sync", {"device": "r", "name": "one"})
        client.write(8192, b"4" * 4096)
    check(snapshots(t) == [], snapshots(t))
    compare(b"2" * 4096 + b"3" * 4096 + b"4" * 4096, exported(t)[:12288], "the image")


@test(core=True)
def snapshot_while_requests_are_in_flight_is_of_one_moment(t):
    make(t, "a", 8 * MIB)
    with Served(t) as client:
        for number in range(10):
            # All of these have been answered before the snapshot, none of the next ones was sent before it was there.
            handles = [client.submit(1, at * 65536, data=bytes([number + 1]) * 65536) for at in range(32)]
            for _ in handles:
                check(client.receive()[1] == 0, "write")
            client.daemon.raw("blockdev-snapshot-internal-sync", {"device": "r", "name": f"s{number}"})
    for number in range(10):
        compare(bytes([number + 1]) * (2 * MIB), exported(t, f"a@s{number}")[:2 * MIB], f"snapshot {number}")


@test()
def snapshot_of_an_image_opened_read_only_is_refused(t):
    make(t, "a", MIB)
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(node(t, **{"read-only": True}))
        try:
            daemon.raw("blockdev-snapshot-internal-sync", {"device": "r", "name": "s"})
        except QmpError as error:
            check("read" in str(error).lower(), error)
        else:
            check(False, "a snapshot was made")
    check(snapshots(t) == [], snapshots(t))


@test()
def rolling_back_restores_objects_that_were_removed_and_removes_new_ones(t):
    name = make(t, "a", 16 * MIB)
    fill(t, some_bytes(4 * MIB))
    img(t, "-c", "s", name)
    with Served(t) as client:
        client.zero(0, 16 * MIB)
        client.write(12 * MIB, b"x" * 100)
    img(t, "-a", "s", name)
    compare(some_bytes(4 * MIB) + bytes(12 * MIB), exported(t), "after going back")
