# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that overwrites its buffers while requests use them: no wrong vote, no wrong report, no wrong repair."""

import random

from lib.guest import Guest
from lib.harness import Skip, check, memory_folder, test
from lib.quorum import EVENTS, file_node, is_self, our_cell, quorum_node

BLOCK, COUNT = 64 << 10, 384


def hostile(t, cell, contents, work, threshold=2, **options):
    """work(guest) on a quorum of children with these contents, while the guest's buffer changes all the time; events, and the
    children's contents afterwards."""
    folder = memory_folder(t)
    paths = [f"{folder}/{number}" for number in range(len(contents))]
    for path, data in zip(paths, contents):
        with open(path, "wb") as file:
            file.write(data)
    with Guest(cell, t.work) as guest:
        guest.add(quorum_node([file_node(path, **{"node-name": f"c{number}"}) for number, path in enumerate(paths)], threshold, **options))
        guest.plug("q")
        # The device has had a look at the first sectors.
        guest.seconds_pass()
        guest.take_events(*EVENTS)
        scribbler = guest.scribbler(BLOCK)
        try:
            work(guest)
        finally:
            scribbler.kill()
            scribbler.wait()
            scribbler.stdout.close()
        guest.unplug()
        events = guest.take_events(*EVENTS)
        check(guest.quit() == 0, guest.output())
    after = []
    for path in paths:
        with open(path, "rb") as file:
            after.append(file.read())
    return events, after


def read_all(guest):
    for number in range(COUNT):
        check(guest.read(number * BLOCK, BLOCK) == 0, f"the read of block {number} failed")
        guest.seconds_pass(2)


def base_and_damaged():
    """Some data, and the same with one byte of each sector changed."""
    base = random.Random(5).randbytes(BLOCK * COUNT)
    damaged = bytearray(base)
    for at in range(7, len(base), 512):
        damaged[at] ^= 0xFF
    return base, bytes(damaged)


def blocks_that_differ(one, other):
    return sum(one[at:at + BLOCK] != other[at:at + BLOCK] for at in range(0, len(one), BLOCK))


@test(core=True, alone=True)
def repair_writes_what_won_the_vote_and_not_what_the_guest_made_of_it(t):
    """The C driver repairs from the guest's memory."""
    if is_self():
        raise Skip("the C driver does not")
    base, damaged = base_and_damaged()
    events, after = hostile(t, our_cell(t), (base, damaged, base), read_all, **{"rewrite-corrupted": True})
    if not t.c_drivers.missing(("quorum",)):
        _, theirs = hostile(t, t.c_drivers, (base, damaged, base), read_all, **{"rewrite-corrupted": True})
        t.note(f"blocks of {COUNT} that a repair made worse: ours {blocks_that_differ(base, after[1])}, "
               f"C driver {blocks_that_differ(base, theirs[1])}")
    check({data["node-name"] for name, data in events if name == "QUORUM_REPORT_BAD"} == {"c1"} and
          not [1 for name, _ in events if name == "QUORUM_FAILURE"], events)
    # The first block may have been repaired before.
    check(len(events) in (COUNT - 1, COUNT), f"{len(events)} events")
    check(after == [base] * 3, f"wrong blocks: {[blocks_that_differ(base, data) for data in after]}")


@test(core=True, alone=True)
def children_that_agree_are_never_reported_and_never_changed(t):
    base, _ = base_and_damaged()
    events, after = hostile(t, our_cell(t), (base, base, base), read_all, threshold=3, **{"rewrite-corrupted": True})
    check(events == [] and after == [base] * 3, events)
