# SPDX-License-Identifier: GPL-2.0-or-later
"""What an administrator does from the command line to the disk of a running machine; and the object map, which has to be right."""

import json
import random
import signal

from lib import nbd
from lib.harness import check, test, wait_for
from lib.model import Model, compare
from lib.nbd import StatusClient
from lib.qmp import Daemon
from lib.rbd import MIB, Served, exported, fill, info, make, node, plain, read, some_bytes, spec, url
from lib.rbd_lock import DEFAULT, OBJECT, SIZE, Scene, check_map, locks, stamp_of

SMALL = ("--object-size", "64K")


def refused(scene, *words):
    """The tool must fail, in an orderly way; its message."""
    try:
        scene.rbd(*words)
    except RuntimeError as error:
        return str(error)
    check(False, f"rbd {' '.join(words)} was not refused")
    return ""


def goes_on(scene, party):
    """Writes go on, and the object map is right."""
    party.wait_writes(5)
    party.pause()
    check_map(scene.t, scene.ceph, scene.spec)
    party.write().wait_writes(2)


@test(core=True)
def snapshots_of_a_running_disk_hold_what_was_acknowledged(t):
    with Scene(t) as scene:
        ours = scene.ours().write().wait_writes()
        for number in range(3):
            before = ours.acked()
            scene.rbd("snap", "create", "--no-progress", f"{scene.spec}@s{number}")
            after = len(ours.writes)
            ours.wait_writes(5)
            data = exported(t, f"a@s{number}", ceph=scene.ceph)
            _, written = stamp_of(data[:4096])
            check(before // 2 <= written <= after // 2 + 1, f"the snapshot has write {written}; {before // 2} were acknowledged before, and {after // 2} sent")
            check(exported(t, f"a@s{number}", ceph=scene.ceph) == data, "the snapshot changes")
        goes_on(scene, ours)
        for number in (1, 0, 2):
            scene.rbd("snap", "rm", "--no-progress", f"{scene.spec}@s{number}")
            goes_on(scene, ours)
        check([snap["name"] for snap in scene.ceph.rbd_json("snap", "ls", scene.spec)] == [], "snapshots are left")


@test()
def snapshot_of_a_paused_disk_is_exact(t):
    with Scene(t) as scene:
        ours = scene.ours().write().wait_writes()
        for number in range(4):
            ours.pause()
            before = exported(t, ceph=scene.ceph)
            scene.rbd("snap", "create", "--no-progress", f"{scene.spec}@s{number}")
            ours.write().wait_writes(10)
            compare(before, exported(t, f"a@s{number}", ceph=scene.ceph), "the snapshot")
            if number == 2:
                scene.rbd("snap", "rm", "--no-progress", f"{scene.spec}@s1")
                ours.wait_writes(4)
        goes_on(scene, ours)


@test(core=True)
def resize_of_a_running_disk_does_no_harm(t):
    with Scene(t) as scene:
        ours = scene.ours().write().wait_writes()
        for size in (SIZE + 7 * OBJECT + 4096, SIZE + OBJECT, SIZE):
            scene.rbd("resize", "--no-progress", "--allow-shrink", "-s", f"{size}B", scene.spec)
            goes_on(scene, ours)
            check(info(t, ceph=scene.ceph)["size"] == size, "the size is another")


@test()
def what_was_cut_off_by_others_reads_as_zeroes_when_it_comes_back(t):
    make(t, "a", 4 * MIB, *SMALL, ceph=locks(t), wanted=DEFAULT)
    with Served(t, ceph=locks(t)) as client:
        client.write(0, some_bytes(4 * MIB))
        locks(t).rbd("resize", "--no-progress", "--allow-shrink", "-s", f"{MIB + 1000}B", spec(t))
        locks(t).rbd("resize", "--no-progress", "-s", "4M", spec(t))
        expected = some_bytes(4 * MIB)[:MIB + 1000] + bytes(3 * MIB - 1000)
        compare(expected, client.read_all(), "ours after the resize")
        client.write(2 * MIB, b"x" * 4096)
    compare(expected[:2 * MIB] + b"x" * 4096 + expected[2 * MIB + 4096:], exported(t, ceph=locks(t)), "librbd")
    check_map(t, locks(t), spec(t))


@test(core=True)
def object_map_is_rebuilt_under_a_running_disk(t):
    with Scene(t) as scene:
        ours = scene.ours().write().wait_writes()
        scene.rbd("object-map", "rebuild", "--no-progress", scene.spec)
        goes_on(scene, ours)


@test(core=True)
def metadata_and_features_of_a_running_disk_change(t):
    with Scene(t) as scene:
        ours = scene.ours().write().wait_writes()
        scene.rbd("image-meta", "set", scene.spec, "color", "green")
        check(scene.rbd("image-meta", "get", scene.spec, "color").strip() == "green", "the metadata is not there")
        ours.wait_writes(3)
        # librbd takes fast-diff along.
        for what in ("disable", "enable", "disable", "enable"):
            scene.rbd("feature", what, scene.spec, "object-map")
            ours.wait_writes(5)
        # It says of itself that it isn't complete.
        check("object map invalid" in scene.ceph.rbd_json("info", scene.spec)["flags"], scene.ceph.rbd_json("info", scene.spec))
        scene.rbd("object-map", "rebuild", "--no-progress", scene.spec)
        goes_on(scene, ours)


@test()
def exclusive_lock_is_taken_away_and_comes_back(t):
    with Scene(t) as scene:
        ours = scene.ours().write().wait_writes()
        ours.pause()
        scene.rbd("feature", "disable", scene.spec, "exclusive-lock", "object-map", "fast-diff")
        ours.client.write(20 * MIB + 900 * 1024, b"w" * 4096)
        scene.rbd("feature", "enable", scene.spec, "exclusive-lock", "object-map", "fast-diff")
        scene.rbd("object-map", "rebuild", "--no-progress", scene.spec)
        # Until here the log of the cluster has writes without a lock.
        scene.begin_log()
        ours.write()
        goes_on(scene, ours)
        ours.pause()
        check(exported(t, ceph=scene.ceph)[20 * MIB + 900 * 1024:][:4096] == b"w" * 4096, "the write is lost")


@test(core=True)
def removal_and_rollback_of_a_running_disk_are_refused(t):
    with Scene(t) as scene:
        ours = scene.ours().write().wait_writes()
        scene.rbd("snap", "create", "--no-progress", f"{scene.spec}@s")
        ours.wait_writes(5)
        t.note(refused(scene, "snap", "rollback", "--no-progress", f"{scene.spec}@s").strip()[-200:])
        ours.wait_writes(5)
        scene.rbd("snap", "rm", "--no-progress", f"{scene.spec}@s")
        t.note(refused(scene, "rm", "--no-progress", scene.spec).strip()[-200:])
        goes_on(scene, ours)


@test(core=True)
def rollback_of_an_idle_disk_is_refused_after_a_snapshot_was_made(t):
    """Who makes it gets the lock, and with it the node would look as if it were gone."""
    ceph = plain(t)
    make(t, "a", 4 * MIB, ceph=ceph, wanted=DEFAULT)

    def lockers():
        return ceph.rbd_json("lock", "ls", spec(t))

    with served(t) as client:
        client.write(0, b"1" * 4096)
        ours = lockers()
        ceph.rbd("snap", "create", "--no-progress", f"{spec(t)}@s")
        wait_for(lambda: lockers() == ours, 20, "the lock to be taken again")
        t.note(refused(ceph, "snap", "rollback", "--no-progress", f"{spec(t)}@s").strip()[-200:])
        check(client.read(0, 4096) == b"1" * 4096, "the disk has changed")
    check(not lockers(), "the lock is kept after the end")


# --- the object map ---

def served(t, **more):
    return Served(t, ceph=plain(t), **more)


def diff(t, of="", size=0):
    """Which objects `rbd diff --whole-object` says are there, as a set of offsets."""
    return {one["offset"] for one in plain(t).rbd_json("diff", "--whole-object", spec(t) + of) if one["exists"] == "true"}


def mapped(t, image):
    """The ranges that `qemu-img map` says hold data."""
    done = t.cell.run("qemu-img", "map", "--output=json", "-f", "raw", image, cwd=t.work)
    check(done.status == 0, done)
    return [(one["start"], one["length"]) for one in json.loads(done.out) if one["data"]]


def objects_of(ranges, size):
    return {at // size * size for begin, length in ranges for at in range(begin // size * size, begin + length, size)}


@test(core=True)
def object_map_is_right_after_a_random_mix(t):
    # Not by librbd's own check: it also complains of its own maps, as zeroes behind an object's end count as a change there.
    size = 6 * MIB
    make(t, "a", size, *SMALL, ceph=plain(t), wanted=DEFAULT)
    model, kept = Model(size, 41), {}
    with served(t) as client:
        for number in range(4):
            model.run(client, 150)
            client.daemon.raw("blockdev-snapshot-internal-sync", {"device": "r", "name": f"s{number}"})
            kept[f"s{number}"] = bytes(model.data)
        client.daemon.raw("blockdev-snapshot-delete-internal-sync", {"device": "r", "name": "s1"})
        model.run(client, 150)
        model.check_all(client)
    compare(bytes(model.data), exported(t, ceph=plain(t)), "librbd")
    for name in ("s0", "s2", "s3"):
        compare(kept[name], exported(t, f"a@{name}", ceph=plain(t)), f"librbd at {name}")
    for of in ("", "@s0", "@s2", "@s3"):
        check(objects_of(mapped(t, url(t, "a" + of, ceph=plain(t))), 65536) == diff(t, of), f"qemu-img map and rbd diff of {of or 'the image'} differ")
    # librbd's difference between two snapshots comes from the maps: what has changed must be in it.
    for first, second in (("s0", "s2"), ("s2", "s3"), ("s3", None)):
        new = kept[second] if second else bytes(model.data)
        changed = {at for at in range(0, size, 65536) if kept[first][at:at + 65536] != new[at:at + 65536]}
        told = {one["offset"] for one in plain(t).rbd_json("diff", "--whole-object", "--from-snap", first, spec(t) + (f"@{second}" if second else ""))}
        check(changed <= told, f"fast-diff from {first} to {second} lacks {sorted(changed - told)}")
    t.img("snapshot", "-a", "s2", url(t, ceph=plain(t)), quiet=False)
    compare(kept["s2"], exported(t, ceph=plain(t)), "librbd after the rollback")
    t.img("resize", "--shrink", "-f", "raw", url(t, ceph=plain(t)), str(MIB + 512))
    t.img("resize", "-f", "raw", url(t, ceph=plain(t)), str(8 * MIB))
    compare(kept["s2"][:MIB + 512] + bytes(7 * MIB - 512), exported(t, ceph=plain(t)), "librbd after two resizes")


@test(core=True)
def object_map_is_right_after_a_kill(t):
    ceph, size = plain(t), 4 * MIB
    make(t, "a", size, *SMALL, ceph=ceph, wanted=DEFAULT)
    dice = random.Random(7)
    for number in range(4):
        served_now = served(t)
        client = served_now.client
        for _ in range(120):
            kind = dice.choice((nbd.WRITE, nbd.WRITE, nbd.TRIM, nbd.ZEROES))
            offset = dice.randrange(0, size // 65536) * 65536
            client.submit(kind, offset, 65536, b"k" * 65536 if kind == nbd.WRITE else b"")
        for _ in range(dice.randrange(1, 100)):
            client.receive()
        # In the middle of the rest.
        served_now.daemon.kill()
        client.__exit__()
        # What is left of the killed one is shut out at once.
        for one in ceph.rbd_json("lock", "ls", spec(t)):
            ceph.rbd("lock", "rm", spec(t), one["id"], one["locker"])
        with served(t) as client:
            seen = client.read_all()
            client.write(0, bytes([number + 1]) * 4096)
            compare(seen[4096:], client.read_all()[4096:], "before and after the lock is taken")
        compare(seen[4096:], exported(t, ceph=ceph)[4096:], "librbd")
        # A map may say too much after a crash, never too little; librbd's check knows that.
        ceph.rbd("object-map", "check", "--no-progress", spec(t))
        missing = {at for at in range(0, size, 65536) if any(seen[at:at + 65536])} - objects_of(mapped(t, url(t, ceph=ceph)), 65536)
        check(not missing, f"qemu-img map lacks {sorted(missing)}")


@test(core=True)
def invalid_object_map_is_not_believed(t):
    ceph, size = plain(t), 2 * MIB
    make(t, "a", size, *SMALL, ceph=ceph, wanted=DEFAULT)
    data = some_bytes(size // 2)
    fill(t, data, ceph=ceph)
    identity = ceph.rbd_json("info", spec(t))["id"]
    name = f"rbd_object_map.{identity}"
    # A map that lies: that of an empty image.
    ceph.rbd("create", *(word for feature in DEFAULT for word in ("--image-feature", feature)), "-s", f"{size}B", *SMALL, spec(t, "empty"))
    other = ceph.rbd_json("info", spec(t, "empty"))["id"]
    path = t.path("map")
    ceph.rados("-p", "rbd", "get", f"rbd_object_map.{other}", path)
    ceph.rados("-p", "rbd", "put", name, path)
    set_flags(t, ceph, identity, 3)
    check("object map invalid" in ceph.rbd_json("info", spec(t))["flags"], "the flag is not set")
    image = url(t, ceph=ceph)
    compare(data + bytes(size - len(data)), read(t, image), "what is read")
    check(objects_of(mapped(t, image), 65536) == set(range(0, size // 2, 65536)), f"qemu-img map: {mapped(t, image)}")
    with served(t) as client:
        client.write(size // 2, b"n" * 4096)
        compare(data + b"n" * 4096, client.read(0, len(data) + 4096), "what is read with the lock")
        client.trim(0, 65536)
        compare(bytes(65536) + data[65536:], client.read(0, len(data)), "what is read after a discard")
    check("object map invalid" in ceph.rbd_json("info", spec(t))["flags"], "the flag is gone")
    compare(bytes(65536) + data[65536:] + b"n" * 4096, exported(t, ceph=ceph)[:len(data) + 4096], "librbd")
    ceph.rbd("object-map", "rebuild", "--no-progress", spec(t))
    check_map(t, ceph, spec(t))
    check(objects_of(mapped(t, image), 65536) == set(range(65536, size // 2 + 1, 65536)), f"qemu-img map afterwards: {mapped(t, image)}")


def set_flags(t, ceph, identity, flags):
    """Mark the object map of an image."""
    path = t.path("flags")
    with open(path, "wb") as file:
        file.write(flags.to_bytes(8, "little"))
    ceph.rados("-p", "rbd", "setomapval", f"rbd_header.{identity}", "flags", "--input-file", path)


@test(core=True)
def reader_believes_the_map_only_while_nobody_writes(t):
    ceph, size = plain(t), 4 * MIB
    make(t, "a", size, *SMALL, ceph=ceph, wanted=DEFAULT)
    with Daemon(t.cell, t.work) as reader:
        reader.add(node(t, "a", "r", ceph=ceph, **{"read-only": True}))
        socket = reader.export("r", writable=False)

        def data():
            # The server gives up to so many extents at once.
            with StatusClient(t.work, socket, "r") as client:
                at, found = 0, set()
                for length, bits in client.status(0, size):
                    found |= set() if bits & nbd.HOLE else {offset for offset in range(at, at + length, 65536)}
                    at += length
                check(at == size, f"{at} bytes of status")
                return found

        check(data() == set(), "an empty image has data")
        with served(t) as writer:
            dice = random.Random(3)
            written = set()
            for _ in range(20):
                offset = dice.randrange(0, size // 65536) * 65536
                writer.write(offset, b"d" * 4096)
                written.add(offset)
                check(written <= data(), f"the reader does not know of {sorted(written - data())}")
            writer.trim(0, size)
            writer.write(65536, b"e" * 4096)
            check(65536 in data(), "the reader does not know of the last write")
        check(data() == {65536}, f"afterwards: {data()}")
        # And once more, as it may have kept the map now.
        with served(t) as writer:
            writer.write(3 * 65536, b"f" * 4096)
            check(data() >= {65536, 3 * 65536}, f"with another writer: {data()}")
        ceph.rbd("bench", "--io-type", "write", "--io-size", "4K", "--io-total", "64K", "--io-threads", "1", "--io-pattern", "rand", spec(t))
        check(data() == diff(t), f"after librbd has written: {sorted(data() ^ diff(t))}")
        check(reader.quit() == 0, reader.output())


@test()
def owner_that_hangs_does_not_mislead_a_reader(t):
    """A reader that has a map looks again when somebody has begun to write, though that one can't say so any more."""
    ceph, size = plain(t), 2 * MIB
    make(t, "a", size, *SMALL, ceph=ceph, wanted=DEFAULT)
    with Daemon(t.cell, t.work) as reader:
        reader.add(node(t, "a", "r", ceph=ceph, **{"read-only": True}))
        socket = reader.export("r", writable=False)
        with StatusClient(t.work, socket, "r") as client:
            check(all(bits & nbd.HOLE for _, bits in client.status(0, size)), "an empty image has data")
            writer = served(t)
            writer.client.write(0, b"w" * 65536)
            writer.daemon.process.send_signal(signal.SIGSTOP)
            try:
                extents = client.status(0, size)
                check(not extents[0][1] & nbd.HOLE, f"{extents}")
            finally:
                writer.daemon.kill()
                writer.client.__exit__()
