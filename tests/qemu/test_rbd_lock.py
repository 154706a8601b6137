# SPDX-License-Identifier: GPL-2.0-or-later
"""The exclusive lock: who dies with it, who answers, who doesn't; and that no two clients ever write at the same time."""

import time

from lib.harness import check, test, wait_for
from lib.nbd import Client
from lib.rbd import exported, node
from lib.rbd_lock import BLOCK, ESHUTDOWN, WATCH, Scene

# The most that a takeover may take beyond the time that the cluster keeps a watch.
MORE = 25
# Where no party writes.
FREE = (20 << 20) + (512 << 10)


def seconds(begin):
    return time.monotonic() - begin


def address_of(party, scene):
    """The address of the lock's owner, which must be this party's."""
    check(scene.lockers(), f"{party.name} has no lock")
    return scene.owner()[2]


# --- the owner lives and answers ---

def pass_on(t, scene, first, second, turns=6):
    """Both write all the time; each must get its turn again and again."""
    first.write().wait_writes()
    begin = time.monotonic()
    second.write().wait_writes(1)
    t.note(f"first hand-over from {first.name} to {second.name}: {seconds(begin):.2f} s")
    begin = time.monotonic()
    for _ in range(turns):
        first.wait_writes(1)
        second.wait_writes(1)
    t.note(f"{turns} more turns of each took {seconds(begin):.1f} s")
    second.pause()
    first.wait_writes(5)
    first.pause()
    second.write().wait_writes(5)
    second.pause()


@test(core=True)
def lock_goes_to_and_fro_between_ours_and_librbd(t):
    with Scene(t) as scene:
        pass_on(t, scene, scene.ours(), scene.librbd())


@test()
def lock_goes_to_and_fro_between_librbd_and_ours(t):
    with Scene(t) as scene:
        pass_on(t, scene, scene.librbd(), scene.ours())


@test(core=True)
def lock_goes_to_and_fro_between_two_of_ours(t):
    with Scene(t) as scene:
        pass_on(t, scene, scene.ours(), scene.ours())


@test()
def lock_goes_round_among_four_writers(t):
    with Scene(t) as scene:
        parties = [scene.ours(), scene.librbd(), scene.ours(), scene.ours()]
        for party in parties:
            party.write()
        for party in parties:
            party.wait_writes(5, 90)


@test()
def two_nodes_of_one_daemon_pass_the_lock_on(t):
    with Scene(t) as scene:
        ours = scene.ours()
        daemon = ours.daemon
        daemon.add(node(t, "a", "r2", ceph=scene.ceph))
        ours.write().wait_writes()
        with Client(t.work, daemon.export("r2"), "r2") as other:
            for number in range(5):
                other.write(FREE, bytes([number + 1]) * BLOCK)
                ours.wait_writes(2)
        ours.pause()
        check(exported(t, ceph=scene.ceph)[FREE:FREE + BLOCK] == bytes([5]) * BLOCK, "the other node's last write is not there")


@test(core=True)
def lock_is_given_back_at_the_end(t):
    with Scene(t) as scene:
        ours = scene.ours()
        check(scene.lockers() == [], "the lock is taken without a write")
        ours.client.read(0, BLOCK)
        check(scene.lockers() == [], "the lock is taken for a read")
        ours.write().wait_writes(3)
        check(scene.owner()[1].startswith("auto "), scene.owner())
        ours.quit()
        check(scene.lockers() == [], "the lock is left behind")
        check(not scene.watchers(), "a watch is left behind")


# --- the owner is dead ---

def survive(t, scene, dead, heir):
    dead.write().wait_writes()
    dead.kill()
    begin = time.monotonic()
    heir.write().wait_writes(1, WATCH + MORE)
    t.note(f"{heir.name} took over from {dead.name} after {seconds(begin):.1f} s")
    heir.wait_writes()


@test()
def ours_takes_over_from_librbd_that_was_killed(t):
    with Scene(t) as scene:
        survive(t, scene, scene.librbd(), scene.ours())


@test()
def librbd_takes_over_from_ours_that_was_killed(t):
    with Scene(t) as scene:
        survive(t, scene, scene.ours(), scene.librbd())


@test()
def ours_takes_over_from_ours_that_was_killed(t):
    with Scene(t) as scene:
        survive(t, scene, scene.ours(), scene.ours())


@test()
def dead_owner_can_not_be_shut_out_without_the_capability(t):
    with Scene(t) as scene:
        dead, heir, allowed = scene.ours(), scene.ours(user="nobl"), scene.ours()
        dead.write().wait_writes()
        owner = scene.owner()
        dead.kill()
        heir.write()
        code = heir.wait_failure(WATCH + MORE)
        t.note(f"NBD error {code}: {heir.daemon.output().strip()}")
        for word in (owner[0], "blocklist", "profile rbd"):
            check(word in heir.daemon.output(), f"{word!r} is not in the message: {heir.daemon.output()}")
        check(scene.owner() == owner, "the lock was broken")
        check(heir.acked() == 0, "a write was acknowledged without the lock")
        # Who may do it goes on.
        allowed.write().wait_writes(5)


# --- the owner lives, and does not answer ---

def stall(t, scene, stalled, heir):
    stalled.write().wait_writes()
    stalled.stop()
    begin = time.monotonic()
    try:
        heir.write().wait_writes(1, WATCH + MORE)
        t.note(f"{heir.name} took over from {stalled.name} after {seconds(begin):.1f} s")
        before = stalled.own(exported(t, ceph=scene.ceph))
        heir.wait_writes()
    finally:
        stalled.cont()
    return before


@test()
def ours_that_hangs_is_shut_out_and_says_so(t):
    with Scene(t) as scene:
        ours, librbd = scene.ours(), scene.librbd()
        before = stall(t, scene, ours, librbd)
        code = ours.wait_failure()
        librbd.wait_writes()
        check(code == ESHUTDOWN, f"NBD error {code}, not {ESHUTDOWN}: {ours.daemon.output()}")
        for word in ("blocklisted", "reopen"):
            check(word in ours.daemon.output().lower(), f"{word!r} is not in the message: {ours.daemon.output()}")
        t.note(ours.daemon.output().strip())
        check(ours.own(exported(t, ceph=scene.ceph)) == before, "writes of the one that hung have arrived after all")


@test()
def librbd_that_hangs_is_shut_out_by_ours(t):
    with Scene(t) as scene:
        librbd, ours = scene.librbd(), scene.ours()
        before = stall(t, scene, librbd, ours)
        librbd.wait_failure()
        ours.wait_writes()
        check(librbd.own(exported(t, ceph=scene.ceph)) == before, "writes of the one that hung have arrived after all")


@test()
def watch_is_lost_and_made_anew(t):
    """A client hangs for longer than its watch lives, and nobody else wants the lock."""
    with Scene(t) as scene:
        ours, librbd = scene.ours(), scene.librbd()
        ours.write().wait_writes()
        owner = scene.owner()
        ours.stop()
        try:
            wait_for(lambda: owner[2] not in scene.watchers(), WATCH + MORE, "the end of the watch")
        finally:
            ours.cont()
        ours.wait_writes()
        now = wait_for(lambda: [one for one in scene.lockers() if one[0] == owner[0] and one[1] != owner[1]], 20, "a new cookie")
        t.note(f"cookie before: {owner[1]}, after: {now[0][1]}")
        check(owner[2] in scene.watchers(), "there is no new watch")
        librbd.write().wait_writes(5)
        ours.wait_writes(5)
        check("lost" not in ours.daemon.output(), ours.daemon.output())


# --- administrators ---

@test(core=True)
def ours_that_was_blocklisted_stops_and_can_be_reopened(t):
    with Scene(t) as scene:
        ours = scene.ours()
        ours.write().wait_writes()
        address = address_of(ours, scene)
        scene.ceph.cli("osd", "blocklist", "add", address)
        code = ours.wait_failure()
        said = ours.daemon.output()
        check(code == ESHUTDOWN, f"NBD error {code}, not {ESHUTDOWN}: {said}")
        check("blocklisted" in said and "eopen" in said, said)
        begin = time.monotonic()
        ours.daemon.command("query-named-block-nodes")
        check(seconds(begin) < 1, "the monitor waits")
        reopen(t, scene, ours)
        ours.errors, ours.writes = ours.failed(), [write for write in ours.writes if not write.error]
        ours.write().wait_writes(5, WATCH + MORE)


def reopen(t, scene, party):
    """Reopen the node for reading and then for writing."""
    daemon = party.daemon
    party.client.__exit__()
    daemon.unexport("r")
    for read_only in (True, False):
        daemon.raw("blockdev-reopen", {"options": [node(t, "a", "r", ceph=scene.ceph, **{
            "discard": "unmap", "cache": {"direct": True}, "read-only": read_only})]})
    daemon.raw("block-export-add", {"type": "nbd", "id": "again", "node-name": "r", "name": "again", "writable": True})
    party.client = Client(t.work, f"nbd{daemon.tag}", "again")


@test()
def lock_that_an_administrator_breaks_stops_its_owner(t):
    with Scene(t) as scene:
        ours, librbd = scene.ours(), scene.librbd()
        ours.write().wait_writes()
        owner = scene.owner()
        scene.rbd("lock", "rm", scene.spec, owner[1], owner[0])
        code = ours.wait_failure()
        check(code == ESHUTDOWN, f"NBD error {code}: {ours.daemon.output()}")
        check("blocklisted" in ours.daemon.output(), ours.daemon.output())
        librbd.write().wait_writes(5)


@test()
def lock_of_a_user_keeps_ours_from_writing(t):
    with Scene(t) as scene:
        ours = scene.ours()
        scene.rbd("lock", "add", scene.spec, "by-hand")
        owner = scene.owner()
        ours.write()
        code = ours.wait_failure(20)
        t.note(f"NBD error {code}: {ours.daemon.output().strip()}")
        check(owner[0] in ours.daemon.output() and "rbd lock" in ours.daemon.output(), ours.daemon.output())
        check(scene.owner() == owner and ours.acked() == 0, "the user's lock is not respected")
        ours.client.read(0, BLOCK)
        scene.rbd("lock", "rm", scene.spec, owner[1], owner[0])
        ours.writes.clear()
        ours.write().wait_writes(5)


@test()
def lock_of_a_user_is_refused_while_ours_has_it(t):
    with Scene(t) as scene:
        ours = scene.ours()
        ours.write().wait_writes(3)
        try:
            scene.rbd("lock", "add", scene.spec, "by-hand")
            refused = False
        except RuntimeError:
            refused = True
        check(refused, "a second lock is granted")
        ours.wait_writes(3)


# --- the servers go away ---

@test(alone=True)
def osd_comes_back_under_load(t):
    with Scene(t) as scene:
        ours, librbd = scene.ours(), scene.librbd()
        ours.write().wait_writes()
        scene.ceph.kill_osd(0)
        begin = time.monotonic()
        scene.ceph.start_osd(0)
        ours.wait_writes()
        t.note(f"writes go on {seconds(begin):.1f} s after the OSD was killed")
        check(not ours.daemon.output(), ours.daemon.output())
        librbd.write().wait_writes(3)
        ours.wait_writes(3)


def hand_over_without_osd(t, first, second):
    """The OSD is killed in the middle of hand-overs."""
    with Scene(t) as scene:
        first, second = getattr(scene, first)(), getattr(scene, second)()
        first.write().wait_writes()
        second.write()
        for _ in range(2):
            second.wait_writes(1)
            scene.ceph.kill_osd(0)
            scene.ceph.start_osd(0)
            first.wait_writes(1)
        for party in (first, second):
            party.wait_writes(3)
        t.note(f"{first.acked()} and {second.acked()} writes")


@test(alone=True)
def osd_is_killed_while_ours_and_librbd_pass_the_lock_on(t):
    hand_over_without_osd(t, "ours", "librbd")


@test(alone=True)
def osd_is_killed_while_two_of_ours_pass_the_lock_on(t):
    hand_over_without_osd(t, "ours", "ours")


@test(alone=True)
def monitor_hangs_while_the_lock_is_passed_on(t):
    with Scene(t) as scene:
        first, second = scene.ours(), scene.ours()
        first.write().wait_writes()
        scene.ceph.stop_mon()
        try:
            second.write().wait_writes(3, 20)
            first.wait_writes(3, 20)
            for party in (first, second):
                begin = time.monotonic()
                party.daemon.command("query-named-block-nodes")
                check(seconds(begin) < 1, "the QEMU monitor waits")
        finally:
            scene.ceph.cont_mon()
