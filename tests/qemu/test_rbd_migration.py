# SPDX-License-Identifier: GPL-2.0-or-later
"""Live migration: the lock goes along, nobody writes beside its owner, and whoever survives a failure goes on.

Two emulators, or storage daemons, have the same image, each with an export that somebody writes to all the time, allowed or not: harder
than a guest, which stops before its disk becomes inactive.
"""

import contextlib
import time

from lib.harness import Skip, check, test, wait_for
from lib.nbd import Client
from lib.qmp import Machine
from lib.rbd import exported, node
from lib.rbd_lock import EPERM, WATCH, Party, Scene, free_place
from lib.virtio import Mix, QueueGuest, storm

# The most that a takeover may take beyond the time that the cluster keeps a watch.
MORE = 25
# How soon somebody goes on who has nobody to wait for. It is tens of milliseconds; the rest is for a machine that is busy.
SOON = 5
INACTIVE = {"allow-inactive": True}


class Host(Party):
    """An emulator that can move to another one, with an export of its image."""

    def _serve(self, t, cell, options):
        incoming = options.pop("incoming", False)
        daemon = Machine(cell, t.work, *(("-incoming", "defer") if incoming else ()))
        try:
            daemon.add(node(t, discard="unmap", **options))
            daemon.raw("nbd-server-start", {"addr": {"type": "unix", "data": {"path": f"nbd{daemon.tag}"}}})
            daemon.raw("block-export-add", {"type": "nbd", "id": "e", "node-name": "r", "name": "r", "writable": True, **INACTIVE})
            return daemon, Client(t.work, f"nbd{daemon.tag}", "r")
        except BaseException:
            daemon.kill()
            raise

    def is_active(self):
        (found,) = self.daemon.command("query-named-block-nodes", flat=True)
        return found["active"]

    def is_running(self):
        return self.daemon.command("query-status")["status"] == "running"

    def wait_status(self, wanted):
        wait_status(self.daemon, wanted)


def wait_status(daemon, wanted):
    """Wait until the migration is in this state."""
    while True:
        status = daemon.wait_event("MIGRATION")["status"]
        if status == wanted:
            return
        check(status not in ("failed", "cancelled", "completed"), f"the migration is {status}: {daemon.output()}")


class Move:
    """A machine goes from one host to another; it stops before the source makes its disks inactive."""

    def __init__(self, source, target, *capabilities):
        self._source, self._target = source, target
        for daemon, names in ((source, ("events", "pause-before-switchover", *capabilities)), (target, ("events", *capabilities))):
            daemon.raw("migrate-set-capabilities", {"capabilities": [{"capability": name, "state": True} for name in names]})
        address = f"unix:move{target.tag}"
        target.raw("migrate-incoming", {"uri": address, "exit-on-error": False})
        source.raw("migrate", {"uri": address})
        wait_status(source, "pre-switchover")

    def go_on(self):
        self._source.raw("migrate-continue", {"state": "pre-switchover"})

    def finish(self):
        self.go_on()
        for daemon in (self._source, self._target):
            wait_status(daemon, "completed")


@contextlib.contextmanager
def moving(t):
    if t.cell.version < (10, 0):
        raise Skip("no export of this QEMU can have an inactive image")
    if t.cell.run("qemu-system-x86_64", "--version").status:
        raise Skip("there is no emulator here")
    with Scene(t) as scene:
        yield scene


def host(scene, c=False, incoming=False):
    return scene.party(Host, c, incoming=incoming)


def moved(scene):
    """The hosts of a machine that has moved from the one to the other while somebody wrote to its disk, who is refused at the source now."""
    source, target = host(scene), host(scene, incoming=True)
    source.write().wait_writes()
    Move(source.daemon, target.daemon).finish()
    source.wait_failure()
    return source, target


def gap(t, first, second):
    """From the last write that the one has acknowledged to the first one of the other."""
    seconds = second.times()[0] - first.times()[-1]
    check(seconds > 0, f"{second.name} writes {-seconds:.4f} s before {first.name} has done so for the last time")
    t.note(f"gap between {first.name} and {second.name}: {seconds * 1000:.1f} ms")
    return seconds


# --- without an emulator ---

def hand_on(t, first, second):
    if t.cell.version < (10, 0):
        raise Skip("no node of this QEMU can be made inactive")
    with Scene(t) as scene:
        first = getattr(scene, first)(export=INACTIVE)
        second = getattr(scene, second)(export=INACTIVE, active=False)
        second.patient = True
        first.write().wait_writes()
        second.write()
        first.daemon.raw("blockdev-set-active", {"node-name": "r", "active": False})
        check(first.wait_failure() == EPERM, first.failed())
        second.daemon.raw("blockdev-set-active", {"node-name": "r", "active": True})
        second.wait_writes()
        gap(t, first, second)


@test()
def inactive_node_leaves_the_lock_to_another_of_ours(t):
    hand_on(t, "ours", "ours")


@test()
def inactive_node_leaves_the_lock_to_librbd(t):
    hand_on(t, "ours", "librbd")


@test()
def inactive_node_of_librbd_leaves_the_lock_to_ours(t):
    hand_on(t, "librbd", "ours")


@test()
def node_is_made_inactive_and_active_again_under_load(t):
    if t.cell.version < (10, 0):
        raise Skip("no node of this QEMU can be made inactive")
    with Scene(t) as scene:
        ours = scene.ours(export=INACTIVE)
        ours.patient = True
        ours.write().wait_writes()
        for _ in range(20):
            for state in (False, True):
                ours.daemon.raw("blockdev-set-active", {"node-name": "r", "active": state}, 20)
            ours.wait_writes(2)


# --- with emulators ---

def move_along(t, *are_c):
    """From each of these hosts to the next one."""
    with moving(t) as scene:
        here = host(scene, are_c[0])
        here.write().wait_writes()
        for is_c in are_c[1:]:
            there = host(scene, is_c, incoming=True)
            there.patient = True
            there.write()
            move = Move(here.daemon, there.daemon)
            owner = scene.owner()
            check(there.acked() == 0, "the target writes before it has the machine")
            move.finish()
            here.patient = False
            check(here.wait_failure() == EPERM, f"NBD error {here.failed()}: {here.daemon.output()}")
            there.wait_writes()
            gap(t, here, there)
            check(scene.owner()[0] != owner[0], f"{owner} has the lock afterwards")
            check(here.daemon.output() + there.daemon.output() == "", here.daemon.output() + there.daemon.output())
            here = there


@test()
def machine_moves_between_ours_and_back(t):
    move_along(t, False, False, False)


@test()
def machine_moves_from_ours_to_librbd_and_back(t):
    move_along(t, False, True, False)


@test()
def nobody_has_the_lock_between_source_and_target(t):
    """The target hangs when the source has done its part."""
    with moving(t) as scene:
        source, target = host(scene), host(scene, incoming=True)
        target.patient = True
        source.write().wait_writes()
        target.write()
        move = Move(source.daemon, target.daemon, "return-path")
        target.stop()
        try:
            move.go_on()
            wait_for(lambda: not source.is_active(), 20, "the source becoming inactive")
            check(scene.lockers() == [], scene.lockers())
        finally:
            target.cont()
        for party in (source, target):
            party.wait_status("completed")
        target.wait_writes()
        gap(t, source, target)


@test()
def guest_moves_with_requests_in_its_queues(t):
    """What it has asked for is done, by the source or by the target; what it asked for without a word, when it goes on."""
    with moving(t) as scene, QueueGuest(t.cell, t.work, 2) as here, QueueGuest(t.cell, t.work, 2, "-incoming", "defer") as there:
        for machine in (here, there):
            machine.add(node(t, ceph=scene.ceph, discard="unmap"))
        disk, mix = here.disk("r", queues=4), Mix(6, 128, place=free_place)
        disk.plug_into(there)
        storm({disk: mix}, 100)
        owner, mix.left = scene.owner(), 100
        for queue in range(disk.queues()):
            disk.submit(queue, mix.take(disk.queues(), queue, 8), tell=queue % 2)
        waiting, begin = disk.in_flight(), time.monotonic()
        Move(here, there).finish()
        disk.move_to(there)
        storm({disk: mix}, 100)
        t.note(f"{waiting} requests were waiting; the move with 100 more took {time.monotonic() - begin:.2f} s")
        check(scene.owner()[0] != owner[0], f"{owner} has the lock afterwards")
        mix.check_in(exported(t, ceph=scene.ceph))
        for machine in (here, there):
            machine.unmap()
            check(machine.quit() == 0 and "rbd" not in machine.output(), machine.output())


# --- the source is killed ---

@test()
def source_killed_before_the_switch_over_keeps_the_lock_until_it_is_shut_out(t):
    with moving(t) as scene:
        source, target, heir = host(scene), host(scene, incoming=True), scene.ours()
        target.patient = True
        source.write().wait_writes()
        target.write()
        Move(source.daemon, target.daemon)
        owner = scene.owner()
        source.kill()
        target.wait_status("failed")
        check(not target.is_active() and target.acked() == 0 and scene.lockers() == [owner], "the target has taken the lock")
        # Instead of waiting for the end of the dead one's watch.
        begin = time.monotonic()
        scene.ceph.cli("osd", "blocklist", "add", owner[2])
        wait_for(lambda: owner[2] not in scene.watchers(), WATCH, "the end of the watch")
        t.note(f"the watch ends {time.monotonic() - begin:.2f} s after the source was shut out")
        heir.write().wait_writes(1, SOON)
        t.note(f"another one goes on {time.monotonic() - begin:.2f} s after the source was shut out")
        heir.wait_writes()


@test()
def source_killed_after_the_switch_over_is_not_missed(t):
    with moving(t) as scene:
        source, target = moved(scene)
        # It had writes in flight, and gives the lock back when they have ended.
        wait_for(lambda: scene.lockers() == [], SOON, "the source giving the lock back")
        source.kill()
        begin = time.monotonic()
        target.write().wait_writes(1, SOON)
        t.note(f"the target's first write was acknowledged {time.monotonic() - begin:.3f} s after it was sent")
        target.wait_writes()


@test()
def guest_whose_source_is_killed_at_once_leaves_no_lock(t):
    """As a management tool does with a source that isn't needed any more: nothing is in flight then, and the lock is free."""
    with moving(t) as scene, QueueGuest(t.cell, t.work, 1) as here, QueueGuest(t.cell, t.work, 1, "-incoming", "defer") as there:
        for machine in (here, there):
            machine.add(node(t, ceph=scene.ceph, discard="unmap"))
        disk, mix = here.disk("r", queues=1), Mix(7, 128, place=free_place)
        disk.plug_into(there)
        storm({disk: mix}, 20)
        Move(here, there).finish()
        here.kill()
        check(scene.lockers() == [], f"the source was killed with the lock: {scene.lockers()}")
        disk.move_to(there)
        begin = time.monotonic()
        storm({disk: mix}, 20)
        t.note(f"20 requests at the target took {time.monotonic() - begin:.2f} s")
        mix.check_in(exported(t, ceph=scene.ceph))
        for machine in (here, there):
            machine.unmap()


# --- the target is killed ---

@test()
def target_killed_before_the_switch_over_is_not_missed(t):
    with moving(t) as scene:
        source, target = host(scene), host(scene, incoming=True)
        source.patient = True
        source.write().wait_writes()
        move = Move(source.daemon, target.daemon, "return-path")
        owner = scene.owner()
        target.kill()
        with contextlib.suppress(Exception):
            # It may have noticed already.
            move.go_on()
        source.wait_status("failed")
        wait_for(source.is_running, 20, "the machine going on")
        source.wait_writes()
        check(scene.owner()[0] == owner[0], scene.owner())


@test()
def migration_cancelled_before_the_switch_over_leaves_the_lock_where_it_is(t):
    with moving(t) as scene:
        source, target = host(scene), host(scene, incoming=True)
        source.write().wait_writes()
        Move(source.daemon, target.daemon)
        owner = scene.owner()
        source.daemon.command("migrate_cancel")
        source.wait_status("cancelled")
        wait_for(source.is_running, 20, "the machine going on")
        source.wait_writes()
        check(scene.owner() == owner, scene.owner())


@test()
def target_killed_when_the_source_is_inactive_gives_the_image_back(t):
    with moving(t) as scene:
        source, target = host(scene), host(scene, incoming=True)
        source.patient = True
        source.write().wait_writes()
        move = Move(source.daemon, target.daemon, "return-path")
        target.stop()
        move.go_on()
        wait_for(lambda: not source.is_active(), 20, "the source becoming inactive")
        check(scene.lockers() == [], scene.lockers())
        target.kill()
        begin = time.monotonic()
        source.wait_status("failed")
        source.wait_writes(1, SOON)
        t.note(f"the source writes again {time.monotonic() - begin:.2f} s after the target was killed")
        check(source.is_running(), source.daemon.command("query-status"))
        source.wait_writes()


def go_back(scene, source, target):
    """The machine goes on at the source, as its target is dead."""
    source.writes = [write for write in source.writes if not write.error]
    target.kill()
    source.daemon.command("cont")
    source.write()


@test()
def target_killed_before_its_first_write_has_no_lock(t):
    with moving(t) as scene:
        source, target = moved(scene)
        begin = time.monotonic()
        go_back(scene, source, target)
        source.wait_writes(1, SOON)
        t.note(f"the source writes again after {time.monotonic() - begin:.2f} s")
        source.wait_writes()


@test()
def target_killed_after_the_switch_over_keeps_the_lock_for_half_a_minute(t):
    with moving(t) as scene:
        source, target = moved(scene)
        target.write().wait_writes()
        begin = time.monotonic()
        go_back(scene, source, target)
        source.wait_writes(1, WATCH + MORE)
        t.note(f"the source writes again after {time.monotonic() - begin:.1f} s")
        source.wait_writes()


@test()
def source_that_goes_on_beside_its_target_takes_turns_with_it(t):
    """Somebody's mistake; the image stays whole."""
    with moving(t) as scene:
        source, target = moved(scene)
        target.write().wait_writes()
        source.writes = [write for write in source.writes if not write.error]
        source.daemon.command("cont")
        source.write().wait_writes()
        target.wait_writes(5)
