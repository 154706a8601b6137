# SPDX-License-Identifier: GPL-2.0-or-later
"""The programs really run our driver, and not QEMU's."""

import os

from lib.harness import Skip, check, test
from lib.qmp import Daemon


def needs_module(t):
    if t.cell.is_builtin():
        raise Skip("the driver is in the programs")
    return t.cell.module()


@test(core=True)
def running_program_has_our_module_mapped(t):
    module = needs_module(t)
    with Daemon(t.cell, t.work) as daemon:
        check(daemon.create({"volume": "plain", "path": t.image(), "server": [t.gluster.server()]}, 1 << 20) is None, "create")
        with open(f"/proc/{daemon.pid}/maps", encoding="utf-8") as maps:
            mapped = {tuple(line.split(None, 5)[3:]) for line in maps if "block-gluster" in line}
        check(len(mapped) == 1, mapped)
        ((device, inode, path),) = mapped
        status = os.stat(module)
        check((device, int(inode)) == (f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}", status.st_ino),
              f"{path} is not {module}")
        t.note(f"/proc/PID/maps: {path.strip()}")


@test()
def strace_shows_our_module_being_opened(t):
    module = needs_module(t)
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    trace = t.path("trace")
    done = t.cell.run("strace", "-f", "-e", "trace=openat", "-o", trace, t.cell.argv_program("qemu-img"), "info", t.url(), cwd=t.work)
    if done.status in (125, 126, 127):
        raise Skip("strace can't be run here")
    check(done.status == 0, done)
    with open(trace, encoding="utf-8", errors="replace") as lines:
        opened = [line.strip() for line in lines if "block-gluster.so" in line and "= -1" not in line]
    # By a link, where the program is run from its build folder.
    paths = [line.split('"')[1] for line in opened]
    check(paths and all(os.path.realpath(path) == os.path.realpath(module) for path in paths), f"opened: {opened}")
    t.note(opened[0])


@test(core=True)
def usage_hint_is_ours(t):
    # The C driver's usage text speaks of a key that does not exist; ours does not.
    done = t.fails("qemu-img", "info", "gluster://127.0.0.1/volume-only", names=["gluster://127.0.0.1/volume-only"])
    check("transport" not in done.err, done)
