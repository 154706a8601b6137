# SPDX-License-Identifier: GPL-2.0-or-later
"""A primary and a secondary under random writes, with checkpoints, until one of them is gone: the other has what it must have."""

import os

from lib.harness import check, test
from lib.replication import Content, Load, Primary, Secondary, start, status, stop

# How many failovers of each kind; each after up to CHECKPOINTS checkpoints.
FAILOVERS = int(os.environ.get("QBR_REPLICATION_FAILOVERS", "2"))
CHECKPOINTS = int(os.environ.get("QBR_REPLICATION_CHECKPOINTS", "6"))


def checkpoint(primary, secondary):
    """A checkpoint as COLO makes it; the primary is asked first."""
    check(status(primary.machine) is None, status(primary.machine))
    primary.machine.command("xen-colo-do-checkpoint")
    secondary.machine.command("xen-colo-do-checkpoint")
    check(status(secondary.machine) is None, status(secondary.machine))


def end_by_killing_the_primary(pair, writer, guest):
    """The secondary goes on with what it has, with what its own guest has written since the last checkpoint and writes meanwhile."""
    pair.primary.machine.kill()
    pair.secondary.cut()
    pair.secondary.fail_over()
    check(status(pair.secondary.machine) is None, status(pair.secondary.machine))
    guest.wait_for(2)
    guest.pause()
    with pair.secondary.client() as client:
        guest.content.compare(client, "the secondary after the failover")
    pair.secondary.machine.quit()
    with open(pair.secondary.disk, "rb") as file:
        check(file.read() == guest.content.bytes, "the secondary disk is not what its guest saw")


def end_by_killing_the_secondary(pair, writer, guest):
    """The primary goes on, and nothing it has written is lost."""
    pair.secondary.machine.kill()
    writer.wait_for(3)
    stop(pair.primary.machine, True, True)
    writer.wait_for(2)
    pair.primary.disconnect()
    writer.wait_for(2)
    writer.pause()
    with pair.primary.client() as client:
        writer.content.compare(client, "the primary after the failover")


def end_by_cutting_the_connection(pair, writer, guest):
    """Both are there; the primary learns of it by its writes, and the secondary takes over."""
    pair.secondary.cut()
    writer.wait_for(3)
    writer.pause()
    with pair.primary.client() as client:
        writer.content.compare(client, "the primary after the cut")
    found = status(pair.primary.machine)
    check(found and "I/O error" in found, f"the primary tells {found}")
    end_by_killing_the_primary(pair, writer, guest)


class Pair:
    def __init__(self, t, content):
        self.secondary = Secondary(t, content)
        self.primary = Primary(t, content)
        self.primary.connect(self.secondary)
        start(self.secondary.machine, False)
        start(self.primary.machine, True)

    def close(self):
        self.primary.machine.kill()
        self.secondary.machine.kill()


def checkpoints_under_load(pair, writer, guest, randomly):
    """Checkpoints at random moments, between which both guests write; how many."""
    count = randomly.randint(1, CHECKPOINTS)
    for _ in range(count):
        for load in (writer, guest):
            load.go()
            load.wait_for(randomly.randint(1, 6))
        # Whatever the primary does, the secondary's guest doesn't see it.
        guest.pause()
        with pair.secondary.client() as client:
            guest.content.compare(client, "the secondary before a checkpoint")
            # Neither guest writes during a checkpoint.
            writer.pause()
            checkpoint(pair.primary, pair.secondary)
            guest.content.bytes[:] = writer.content.bytes
            guest.content.compare(client, "the secondary after a checkpoint")
    return count


def run(t, end, seed):
    on_primary = Content(seed)
    randomly = on_primary.random
    pair = Pair(t, on_primary.bytes)
    try:
        with (pair.primary.client() as one, pair.secondary.client() as other, Load(one, on_primary, f"{seed}-writer") as writer,
              Load(other, Content(0, on_primary.bytes), f"{seed}-guest") as guest):
            checkpoints = checkpoints_under_load(pair, writer, guest, randomly)
            for load in (writer, guest):
                load.go()
                load.wait_for(randomly.randint(0, 12))
            # Both have a write in flight when it ends.
            end(pair, writer, guest)
    finally:
        pair.close()
    return checkpoints


def repeat(t, end):
    checkpoints = sum(run(t, end, f"{end.__name__}-{number}") for number in range(FAILOVERS))
    t.note(f"{FAILOVERS} failovers, {checkpoints} checkpoints")


@test(core=True)
def secondary_goes_on_when_the_primary_is_killed(t):
    repeat(t, end_by_killing_the_primary)


@test(core=True)
def primary_goes_on_when_the_secondary_is_killed(t):
    repeat(t, end_by_killing_the_secondary)


@test(core=True)
def secondary_goes_on_when_the_connection_is_cut(t):
    repeat(t, end_by_cutting_the_connection)


@test()
def primary_is_not_stopped_by_a_secondary_that_is_gone(t):
    content = Content("gone")
    pair = Pair(t, content.bytes)
    try:
        pair.secondary.machine.kill()
        with pair.primary.client() as client:
            for _ in range(20):
                content.change(client)
            content.compare(client, "the primary")
        found = status(pair.primary.machine)
        check(found and "I/O error" in found, f"the primary tells {found}")
    finally:
        pair.close()
