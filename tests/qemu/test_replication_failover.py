# SPDX-License-Identifier: GPL-2.0-or-later
"""A primary and a secondary under random writes, with checkpoints, until one of them is gone: the other has what it must have."""

import os

from lib.harness import check, test
from lib.qmp import QmpError
from lib.replication import Content, Primary, Secondary, start, status, stop

# How many failovers of each kind; each after up to CHECKPOINTS checkpoints.
FAILOVERS = int(os.environ.get("QBR_REPLICATION_FAILOVERS", "2"))
CHECKPOINTS = int(os.environ.get("QBR_REPLICATION_CHECKPOINTS", "6"))


def checkpoint(primary, secondary):
    """A checkpoint as COLO makes it; the primary is asked first."""
    check(status(primary.machine) is None, status(primary.machine))
    primary.machine.command("xen-colo-do-checkpoint")
    secondary.machine.command("xen-colo-do-checkpoint")
    check(status(secondary.machine) is None, status(secondary.machine))


def end_by_killing_the_primary(pair, on_primary, on_secondary):
    """The secondary goes on with what it has, with what its own guest has written since the last checkpoint."""
    pair.primary.machine.kill()
    pair.secondary.cut()
    pair.secondary.fail_over()
    check(status(pair.secondary.machine) is None, status(pair.secondary.machine))
    with pair.secondary.client() as client:
        on_secondary.compare(client, "the secondary after the failover")
        on_secondary.change(client)
        on_secondary.compare(client, "the secondary after more writes")
    pair.secondary.machine.quit()
    with open(pair.secondary.disk, "rb") as file:
        check(file.read() == on_secondary.bytes, "the secondary disk is not what its guest saw")


def end_by_killing_the_secondary(pair, on_primary, on_secondary):
    """The primary goes on, and nothing it has written is lost."""
    pair.secondary.machine.kill()
    with pair.primary.client() as client:
        for _ in range(3):
            on_primary.change(client)
        stop(pair.primary.machine, True, True)
        check(status(pair.primary.machine) is None, status(pair.primary.machine))
        pair.primary.disconnect()
        on_primary.change(client)
        on_primary.compare(client, "the primary after the failover")


def end_by_cutting_the_connection(pair, on_primary, on_secondary):
    """Both are there; the primary learns of it by its writes, and the secondary takes over."""
    pair.secondary.cut()
    with pair.primary.client() as client:
        on_primary.change(client)
        on_primary.compare(client, "the primary after the cut")
    found = status(pair.primary.machine)
    check(found and "I/O error" in found, f"the primary tells {found}")
    end_by_killing_the_primary(pair, on_primary, on_secondary)


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


def run(t, end, seed):
    on_primary = Content(seed)
    random = on_primary.random
    pair = Pair(t, on_primary.bytes)
    checkpoints = 0
    try:
        on_secondary = on_primary.copy()
        with pair.primary.client() as writer, pair.secondary.client() as guest:
            for _ in range(random.randint(1, CHECKPOINTS)):
                for _ in range(random.randint(0, 12)):
                    if random.random() < 0.6:
                        on_primary.change(writer)
                    else:
                        on_secondary.change(guest)
                # Whatever the primary does, the secondary's guest doesn't see it.
                on_secondary.compare(guest, "the secondary before a checkpoint")
                checkpoint(pair.primary, pair.secondary)
                checkpoints += 1
                on_secondary = on_primary.copy()
                on_secondary.compare(guest, "the secondary after a checkpoint")
            for _ in range(random.randint(0, 12)):
                if random.random() < 0.6:
                    on_primary.change(writer)
                else:
                    on_secondary.change(guest)
        end(pair, on_primary, on_secondary)
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
        try:
            pair.primary.machine.command("query-xen-replication-status")
        except QmpError as error:
            check(False, error)
    finally:
        pair.close()
