# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs really run our quorum, and the C driver where that is wanted."""

import os

from lib.harness import Skip, check, test
from lib.qmp import Daemon
from lib.quorum import is_self, raw_children, quorum_node


def mapped_modules(t, cell):
    with Daemon(cell, t.work) as daemon:
        daemon.add(quorum_node(raw_children(t, 2), 1))
        with open(f"/proc/{daemon.pid}/maps", encoding="utf-8") as maps:
            return {os.path.realpath(line.split(None, 5)[5].strip()) for line in maps if "block-quorum" in line}


@test(core=True)
def running_program_has_our_module_mapped(t):
    if t.cell.is_builtin():
        raise Skip("the driver is in the programs")
    if is_self():
        raise Skip("this run compares the C driver with itself")
    mapped = mapped_modules(t, t.cell)
    check(mapped == {os.path.realpath(t.cell.module("quorum"))}, mapped)
    t.note(f"/proc/PID/maps: {mapped.pop()}")


@test(core=True)
def programs_of_the_comparison_have_the_c_driver_mapped(t):
    if is_self():
        raise Skip("this run compares the C driver with itself")
    mapped = mapped_modules(t, t.c_drivers)
    check(mapped == {os.path.realpath(t.c_drivers.module("quorum"))}, mapped)
    t.note(f"/proc/PID/maps: {mapped.pop()}")


@test()
def program_without_modules_has_the_driver_in_it(t):
    if not t.cell.is_builtin():
        raise Skip("the driver is a module")
    check(mapped_modules(t, t.cell) == set(), "a module was loaded")
