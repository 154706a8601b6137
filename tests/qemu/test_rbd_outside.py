# SPDX-License-Identifier: GPL-2.0-or-later
"""Changes from outside while a node is open: snapshots and sizes of other clients hold, and no write spoils them."""

import threading

from lib.harness import cases, check, test, wait_for
from lib.model import compare
from lib.nbd import WRITE
from lib.rbd import MIB, POOL, SPACE, DATA_POOL, Served, exported, info, make, plain, read, snapshots, some_bytes, spec, url

KINDS = {"format 1": (["--image-format", "1"], POOL), "format 2": ([], POOL), "a data pool": (["--data-pool", DATA_POOL], POOL),
         "a namespace": ([], f"{POOL}/{SPACE}")}


def snapshot_holds(t, kind):
    """When the tool says that the snapshot is there, no later write of ours changes it."""
    options, pool = KINDS[kind]
    make(t, "a", 8 * MIB, *options, pool=pool)
    with Served(t, pool=pool) as client:
        for number in range(4):
            data = some_bytes(MIB, number)
            client.write(0, data)
            plain(t).rbd("snap", "create", "--no-progress", f"{spec(t, pool=pool)}@s{number}")
            client.write(0, b"later" * 1000)
            client.zero(512 << 10, 100000)
            client.trim(0, MIB)
            compare(data, exported(t, f"a@s{number}", pool)[:MIB], f"snapshot {number}")
        plain(t).rbd("snap", "rm", "--no-progress", f"{spec(t, pool=pool)}@s1")
        client.write(0, b"more" * 1000)
        check(snapshots(t, pool=pool) == ["s0", "s2", "s3"], snapshots(t, pool=pool))
        (found,) = client.daemon.command("query-named-block-nodes")
        wait_for(lambda: [snap["name"] for snap in client.daemon.command("query-named-block-nodes")[0]["image"].get("snapshots", [])] == ["s0", "s2", "s3"],
                 10, "the list of snapshots being up to date")
    compare(b"more" * 1000, exported(t, pool=pool)[:4000], "the image")
    compare(some_bytes(MIB, 2), read(t, url(t, "a@s2", pool))[:MIB], "ours at a snapshot")
    check(found["drv"] == "rbd", found)


cases("rbd_outside", [(f"snapshot of an image with {kind} from the command line holds under a writer", snapshot_holds, kind) for kind in KINDS], core=True)


@test(core=True)
def snapshots_from_outside_under_load_are_each_of_one_moment(t):
    """A counter is written over and over into the first and then into the last block: in no snapshot has the last one more."""
    size = 8 * MIB
    make(t, "a", size)
    stop, trouble, count = threading.Event(), [], [0]

    def write(client):
        try:
            while not stop.is_set():
                count[0] += 1
                word = count[0].to_bytes(8, "big") * 512
                client.write(0, word)
                client.write(size - 4096, word)
        except Exception as error:
            trouble.append(error)

    with Served(t) as client:
        thread = threading.Thread(target=write, args=(client,))
        thread.start()
        try:
            for number in range(8):
                wait_for(lambda before=count[0]: count[0] > before + 20 or trouble, 30, "writes")
                plain(t).rbd("snap", "create", "--no-progress", f"{spec(t)}@s{number}")
        finally:
            stop.set()
            thread.join()
        check(not trouble, trouble)
    last = 0
    for number in range(8):
        data = exported(t, f"a@s{number}")
        first, final = int.from_bytes(data[:8], "big"), int.from_bytes(data[-8:], "big")
        check(final in (first, first - 1) and first > last, f"snapshot {number}: {first} and {final} after {last}")
        check(data[:4096] == first.to_bytes(8, "big") * 512, f"a torn block in snapshot {number}")
        last = first
    t.note(f"{count[0]} pairs of writes")


@test()
def snapshots_of_two_nodes_hold_for_each_other(t):
    make(t, "a", 8 * MIB)
    with Served(t) as one, Served(t) as two:
        for number in range(5):
            one.write(0, bytes([number + 1]) * 4096)
            two.write(4 * MIB, bytes([number + 1]) * 4096)
            (one if number % 2 else two).daemon.raw("blockdev-snapshot-internal-sync", {"device": "r", "name": f"s{number}"})
            one.write(0, b"later")
            two.write(4 * MIB, b"later")
    for number in range(5):
        data = exported(t, f"a@s{number}")
        compare(bytes([number + 1]) * 4096, data[:4096], f"snapshot {number}")
        compare(bytes([number + 1]) * 4096, data[4 * MIB:4 * MIB + 4096], f"snapshot {number}")


@test()
def image_that_grows_from_outside_goes_on_and_can_be_used_to_its_new_end(t):
    make(t, "a", 4 * MIB)
    with Served(t) as client:
        client.write(0, b"x" * 4096)
        plain(t).rbd("resize", "--no-progress", "-s", f"{8 * MIB}B", spec(t))
        client.write(4 * MIB - 4096, b"y" * 4096)
        with Served(t) as again:
            again.write(8 * MIB - 4096, b"z" * 4096)
    data = exported(t)
    check(len(data) == 8 * MIB and data[:1] + data[4 * MIB - 1:4 * MIB] + data[-1:] == b"xyz", "the image")


@test()
def image_that_shrinks_from_outside_fails_no_worse_than_past_its_end(t):
    make(t, "a", 8 * MIB)
    with Served(t) as client:
        client.write(0, b"x" * 4096)
        client.write(6 * MIB, b"x" * 4096)
        plain(t).rbd("resize", "--no-progress", "--allow-shrink", "-s", f"{4 * MIB}B", spec(t))
        client.write(4096, b"y" * 4096)
        compare(b"x" * 4096 + b"y" * 4096, client.read(0, 8192), "what is left")
        client.submit(0, 6 * MIB, 4096)
        _, code, data = client.receive()
        check(code or not any(data), f"error {code}, or old data")
    check(info(t)["size"] == 4 * MIB, info(t))


@test()
def writes_go_on_while_snapshots_come_and_go(t):
    make(t, "a", 8 * MIB)
    with Served(t) as client:
        done = threading.Event()

        def churn():
            for number in range(12):
                plain(t).rbd("snap", "create", "--no-progress", f"{spec(t)}@s{number}")
                if number % 3:
                    plain(t).rbd("snap", "rm", "--no-progress", f"{spec(t)}@s{number}")
            done.set()

        thread = threading.Thread(target=churn)
        thread.start()
        number = 0
        while not done.is_set():
            for _ in range(8):
                number += 1
                client.submit(WRITE, number % 128 * 65536, data=number.to_bytes(4, "big") * 16384)
            while client.in_flight:
                check(client.receive()[1] == 0, "a write failed")
        thread.join()
        t.note(f"{number} writes")
    check(snapshots(t) == ["s0", "s3", "s6", "s9"], snapshots(t))
