# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory of reads: bounded however many there are, and given back afterwards."""

from lib.harness import Skip, check, test, wait_for
from lib.nbd import READ, Client
from lib.qmp import Daemon
from lib.quorum import is_self, need_c_driver, quorum_node, raw_children

MIB = 1 << 20
DEPTH, LENGTH, CHILDREN = 16, 16 * MIB, 3
# What all reads together may use for each child.
BOUND = 64 * MIB


def burst(daemon, client):
    """All reads at once; the most memory that the process ever had since it began, in bytes."""
    for number in range(DEPTH):
        client.submit(READ, number % 2 * LENGTH, LENGTH)
    while client.in_flight:
        check(client.receive()[1] == 0, "a read failed")
    return daemon.memory("VmHWM") << 10


@test(core=True, alone=True)
def burst_of_large_reads_stays_within_its_bound_and_gives_the_memory_back(t):
    if is_self():
        raise Skip("the C driver has no bound")
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(quorum_node(raw_children(t, CHILDREN, 2 * LENGTH), 2))
        with Client(t.work, daemon.export("q"), "q") as client:
            client.read(0, MIB)
            before = daemon.memory("VmRSS") << 10
            peak = burst(daemon, client)
            client.read(0, 512)
            # The export has a buffer for each request, too.
            limit = before + CHILDREN * BOUND + DEPTH * LENGTH + 32 * MIB
            wait_for(lambda: daemon.memory("VmRSS") << 10 < before + 48 * MIB, 30, "the memory coming back")
            after = daemon.memory("VmRSS") << 10
        check(daemon.quit() == 0, daemon.output())
    t.note(f"MiB before {before / MIB:.0f}, at most {peak / MIB:.0f}, afterwards {after / MIB:.0f}; bound {limit / MIB:.0f}")
    check(peak <= limit, f"{peak / MIB:.0f} MiB")


@test(alone=True)
def c_driver_takes_what_all_reads_need_at_once(t):
    need_c_driver(t)
    with Daemon(t.c_drivers, t.work) as daemon:
        daemon.add(quorum_node(raw_children(t, CHILDREN, 2 * LENGTH), 2))
        with Client(t.work, daemon.export("q"), "q") as client:
            t.note(f"MiB at most: {burst(daemon, client) / MIB:.0f}")
