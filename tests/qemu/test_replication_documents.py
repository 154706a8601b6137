# SPDX-License-Identifier: GPL-2.0-or-later
"""The set-up of QEMU's documents for COLO, command for command, as docs/replication.md shows it."""

import json
import os
import re

from lib.harness import check, test, wait_for
from lib.qmp import Machine
from lib.replication import children, free_port, image, status

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SIZE = 4 << 20


def documented():
    """The drives (of the primary, and of the secondary) and the monitor commands of the page, block by block."""
    with open(os.path.join(TOP, "docs", "replication.md"), encoding="utf-8") as file:
        text = file.read()
    drives = []
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
        joined = re.sub(r",\\\n", ",", block)
        drives.append(re.findall(r"-drive (\S+)", joined))
    commands = [[json.loads(line) for line in block.splitlines()] for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    primary, secondary = [drive for drive in drives if drive]
    return primary, secondary, commands


def arguments(drives, folder):
    """The drives of a machine that has no place for a disk of the type that the page gives it."""
    words = []
    for drive in drives:
        words += ["-drive", drive.replace("$imagefolder", folder).replace("if=ide", "if=none")]
    return words


def say(machine, commands, port):
    for command in commands:
        text = json.dumps(command).replace("9999", str(port)).replace("127.0.0.2", "127.0.0.1").replace("0.0.0.0", "127.0.0.1")
        command = json.loads(text)
        machine.raw(command["execute"], command.get("arguments", {}))


@test(core=True)
def documented_commands_work_on_both_sides(t):
    primary_drives, secondary_drives, (server, connect, begin, take_over, go_on) = documented()
    port = free_port()
    folders = {}
    for side in ("p", "s", "again"):
        folders[side] = t.path(side)
        os.mkdir(folders[side])
        for name in ("primary", "secondary-active", "secondary-hidden"):
            image(t, os.path.join(side, f"{name}.qcow2"))
    for survivor in ("secondary", "primary"):
        folder = folders["s" if survivor == "secondary" else "again"]
        secondary = Machine(t.cell, t.work, *arguments(secondary_drives, folder))
        primary = Machine(t.cell, t.work, *arguments(primary_drives, folders["p"]))
        with secondary, primary:
            say(secondary, server, port)
            say(primary, connect, port)
            say(secondary, begin[:1], port)
            primary.command("xen-set-replication", enable=True, primary=True)
            primary.io("colo-disk0", "write -P 0x11 0 64k")
            say(primary, begin[1:], port)
            say(secondary, begin[1:], port)
            secondary.io("colo-disk0", "write -P 0x22 64k 64k")
            check(status(primary) is None and status(secondary) is None, (status(primary), status(secondary)))
            if survivor == "secondary":
                primary.kill()
                say(secondary, take_over, port)
                nodes = [node["node-name"] for node in secondary.command("query-named-block-nodes") if node["drv"] == "replication"]
                wait_for(lambda: "hidden disk" not in children(secondary, nodes[0]), 60, "the end of the failover")
                check("11 11 11" in secondary.io("colo-disk0", "read -v 0 512"), "the primary's data is not there")
                check("22 22 22" in secondary.io("colo-disk0", "read -v 64k 512"), "the secondary's data is not there")
                check(secondary.quit() == 0, secondary.output())
            else:
                secondary.kill()
                say(primary, go_on, port)
                check("11 11 11" in primary.io("colo-disk0", "read -v 0 512"), "the data is not there")
                check(primary.quit() == 0, primary.output())
