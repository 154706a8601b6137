# SPDX-License-Identifier: GPL-2.0-or-later
"""Several threads at once: disks whose queues are served by threads of their own, on one image and on many."""

import contextlib
import threading
import time

from lib.harness import Skip, check, test
from lib.model import compare
from lib.rbd import MIB, exported, info, make, node, plain, spec
from lib.rbd_lock import DEFAULT, Scene, check_map, free_place
from lib.virtio import UNIT, Mix, QueueGuest, storm


@contextlib.contextmanager
def guest(t, iothreads, **variables):
    if t.cell.version < (9, 0):
        raise Skip("queues of this QEMU have one thread in common")
    if t.cell.run("qemu-system-x86_64", "--version").status:
        raise Skip("there is no emulator here")
    with QueueGuest(t.cell, t.work, iothreads, variables=variables) as machine:
        yield machine
        machine.unmap()
        check(machine.quit() == 0 and "rbd" not in machine.output(), machine.output())


def attach(t, machine, name="a", queues=4, node_name=None, **options):
    """A disk with this image."""
    machine.add(node(t, name, node_name or name, discard="unmap", **options))
    return machine.disk(node_name or name, queues)


def check_flags(t):
    """The object map is in use. What librbd's own check says of it is of no use after random zeroes and snapshots."""
    found = info(t)["flags"]
    check(not found, f"the image is marked: {found}")


@test()
def four_threads_on_one_image_agree_with_a_model(t):
    """In turn they share objects, and have objects of their own to remove; with snapshots, for which the lock is handed over."""
    ceph, size, piece = plain(t), 8 * MIB, 65536
    make(t, "a", size, "--object-size", f"{piece}B", wanted=DEFAULT)
    shared, snapshots = Mix(1, size // UNIT), {}
    with guest(t, 4) as machine:
        disk = attach(t, machine)
        begin = time.monotonic()
        for number in range(3):
            storm({disk: shared}, 200)
            own = Mix(number, size // piece, piece, kinds="wwrrzuZZddd")
            own.data = {unit: shared.image(size)[unit * piece:][:piece] for unit in own.data}
            storm({disk: own}, 150)
            whole = own.image(size)
            shared.data = {unit: whole[unit * UNIT:][:UNIT] for unit in shared.data}
            ceph.rbd("snap", "create", "--no-progress", f"{spec(t)}@s{number}")
            snapshots[f"s{number}"] = whole
        t.note(f"{shared.done + 3 * 150} requests in {time.monotonic() - begin:.1f} s")
        storm({disk: shared}, 200)
    for name, whole in snapshots.items():
        compare(whole, exported(t, f"a@{name}"), f"snapshot {name}")
    compare(shared.image(size), exported(t), "what librbd reads")
    check_flags(t)


@test()
def snapshots_come_and_go_while_four_threads_write(t):
    ceph, size = plain(t), 8 * MIB
    make(t, "a", size, "--object-size", "65536B", wanted=DEFAULT)
    mix, ended = Mix(2, size // UNIT), threading.Event()

    def snapshots():
        for number in range(3):
            for verb in ("create", "rm"):
                ceph.rbd("snap", verb, "--no-progress", f"{spec(t)}@s{number}")
        ended.set()

    with guest(t, 4) as machine:
        disk, others = attach(t, machine), threading.Thread(target=snapshots)
        storm({disk: mix}, 10)
        others.start()
        while others.is_alive():
            storm({disk: mix}, 100)
        others.join()
        check(ended.is_set(), "a snapshot could not be made or removed")
    t.note(f"{mix.done} requests")
    compare(mix.image(size), exported(t), "what librbd reads")
    check_flags(t)


@test()
def four_threads_and_librbd_pass_the_lock_on(t):
    """Nobody writes without the lock, whichever thread it is."""
    with Scene(t) as scene:
        librbd, mix = scene.librbd(), Mix(3, 128, place=free_place)
        librbd.write().wait_writes()
        with guest(t, 4) as machine:
            disk = attach(t, machine, ceph=scene.ceph)
            for _ in range(5):
                storm({disk: mix}, 100)
                librbd.wait_writes(2)
        librbd.pause()
        t.note(f"{mix.done} requests of the guest")
        mix.check_in(exported(t, ceph=scene.ceph))


@test()
def two_nodes_of_one_image_in_four_threads_pass_the_lock_on(t):
    size = 8 * MIB
    make(t, "a", size, "--object-size", "65536B", wanted=DEFAULT)
    half = size // UNIT // 2
    with guest(t, 4) as machine:
        # Either has every other unit.
        mixes = {attach(t, machine, queues=2, node_name=f"n{number}"): Mix(number, half, place=lambda unit, number=number: (2 * unit + number) * UNIT)
                 for number in range(2)}
        for _ in range(3):
            storm(mixes, 60)
    whole = bytearray(size)
    for mix in mixes.values():
        mix.put(whole)
    compare(bytes(whole), exported(t), "what librbd reads")
    check_map(t, plain(t), spec(t))


def many(t, **variables):
    """Four disks, whose queues have the same four threads."""
    size, names = 4 * MIB, "abcd"
    for name in names:
        make(t, name, size, "--object-size", "65536B", wanted=DEFAULT)
    with guest(t, 4, **variables) as machine:
        mixes = {attach(t, machine, name): Mix(name, size // UNIT) for name in names}
        begin = time.monotonic()
        storm(mixes, 300)
        t.note(f"{len(names) * 300} requests in {time.monotonic() - begin:.1f} s, {len(machine.threads())} threads")
    for name, mix in zip(names, mixes.values()):
        compare(mix.image(size), exported(t, name), f"what librbd reads of {name}")
        check_map(t, plain(t), spec(t, name))


@test()
def four_images_in_four_threads_agree_with_a_model(t):
    many(t)


@test()
def four_images_with_one_connection_in_four_threads_agree_with_a_model(t):
    many(t, QBR_RBD_SHARE_CONNECTIONS="1")
