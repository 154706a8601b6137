# SPDX-License-Identifier: GPL-2.0-or-later
"""A quorum that repairs its children where it must not write: after a migration, and before it is activated."""

from lib.harness import Skip, check, test, wait_for
from lib.qmp import Machine
from lib.quorum import edges, is_self, quorum_node, raw_children

REPAIRS = {"rewrite-corrupted": True}


def ours(t):
    if is_self():
        raise Skip("the C driver asks for the permission to write all the time")
    return t.cell


def may_write(machine):
    """Whether the quorum may write to each of its children."""
    return ["write" in permissions for parent, _, _, permissions, _ in edges(machine) if parent == "q"]


def damage(t):
    with open(t.path("child1"), "r+b") as file:
        file.write(b"x")


def is_damaged(t):
    with open(t.path("child1"), "rb") as file:
        return file.read(1) == b"x"


def read(machine):
    said = machine.io("q", "read -P 0 0 4k")
    check("failed" not in said, said)


def migrate(source, target):
    address = f"unix:move{target.tag}"
    target.raw("migrate-incoming", {"uri": address})
    source.raw("migrate", {"uri": address})

    def ended():
        return source.command("query-migrate").get("status") in ("completed", "failed")

    wait_for(ended, 60, "the end of the migration")
    found = source.command("query-migrate")
    check(found["status"] == "completed", f"{found}\n{source.output()}")
    wait_for(lambda: source.command("query-status")["status"] == "postmigrate", 60, "what follows the migration")


@test(core=True)
def quorum_that_repairs_can_be_migrated(t):
    with Machine(ours(t), t.work) as source, Machine(t.cell, t.work, "-incoming", "defer") as target:
        for child in raw_children(t, 3):
            source.add(child)
        source.add(quorum_node(["c0", "c1", "c2"], 2, **REPAIRS))
        check(may_write(source) == [True] * 3, edges(source))
        migrate(source, target)
        check(may_write(source) == [False] * 3, edges(source))
        damage(t)
        read(source)
        check(is_damaged(t), "an inactive node has written")
        # It comes back.
        source.command("cont")
        check(may_write(source) == [True] * 3, edges(source))
        read(source)
        check(not is_damaged(t), "there was no repair")
        check(source.quit() == 0, source.output())


@test()
def quorum_that_repairs_can_be_inactive_from_the_start(t):
    if t.cell.version < (10, 0):
        raise Skip("no node of this QEMU can be made inactive")
    with Machine(ours(t), t.work) as machine:
        for child in raw_children(t, 3, active=False):
            machine.add(child)
        machine.add(quorum_node(["c0", "c1", "c2"], 2, active=False, **REPAIRS))
        check(may_write(machine) == [False] * 3, edges(machine))
        machine.raw("blockdev-set-active", {"node-name": "q", "active": True})
        check(may_write(machine) == [True] * 3, edges(machine))
        damage(t)
        read(machine)
        check(not is_damaged(t), "there was no repair")
        machine.raw("blockdev-set-active", {"node-name": "q", "active": False})
        check(may_write(machine) == [False] * 3, edges(machine))
        check(machine.quit() == 0, machine.output())


@test()
def read_only_quorum_still_repairs(t):
    with Machine(ours(t), t.work) as machine:
        for child in raw_children(t, 3):
            machine.add(child)
        machine.add(quorum_node(["c0", "c1", "c2"], 2, **{"read-only": True}, **REPAIRS))
        damage(t)
        read(machine)
        check(not is_damaged(t), "there was no repair")
        check(machine.quit() == 0, machine.output())
