# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs really run our rbd driver, and nothing of librbd."""

import os
import re

from lib.harness import Skip, check, test
from lib.qmp import Daemon
from lib.rbd import c_cell, make, node


def mapped(daemon, word):
    """(device, inode) of every file that a program has mapped and whose name has `word`."""
    with open(f"/proc/{daemon.pid}/maps", encoding="utf-8") as maps:
        return {tuple(line.split(None, 5)[3:5]) for line in maps if word in line}


@test(core=True)
def running_program_has_our_module_mapped_and_no_librbd(t):
    if t.cell.is_builtin():
        raise Skip("the driver is in the programs")
    make(t)
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(node(t))
        status = os.stat(t.cell.module("rbd"))
        check(mapped(daemon, "block-rbd") == {(f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}", str(status.st_ino))},
              mapped(daemon, "block-rbd"))
        check(mapped(daemon, "librados") and not mapped(daemon, "librbd"), mapped(daemon, "librb"))


@test()
def module_links_librados_and_not_librbd(t):
    if t.cell.is_builtin():
        raise Skip("the driver is in the programs")
    done = t.cell.run("ldd", t.cell.module("rbd"))
    check(done.status == 0, done)
    check("librados" in done.out and "librbd" not in done.out and "not found" not in done.out, done)
    t.note(", ".join(re.findall(r"^\s*(\S+) =>", done.out, re.M)))


@test()
def c_driver_that_we_compare_with_is_really_another_one(t):
    make(t)
    with Daemon(c_cell(t), t.work) as daemon:
        daemon.add(node(t))
        check(mapped(daemon, "librbd"), "the C driver has no librbd")
