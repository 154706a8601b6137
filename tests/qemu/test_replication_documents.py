# SPDX-License-Identifier: GPL-2.0-or-later
"""The set-up of QEMU's documents for COLO, command for command, as docs/replication.md shows it."""

import json
import os
import re
import shlex

from lib.harness import check, test, wait_for
from lib.qmp import Machine
from lib.replication import children, free_port, image, status

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# What the page calls the sets of commands, in its order.
COMMANDS = ("server", "connect", "primary alone", "secondary alone", "copy", "connect again", "copy back", "become primary",
            "begin", "take over", "go on alone")
PORTS = ("9001", "9003", "9004", "9005", "9998", "9999")
# What only COLO needs.
COLO = ("migrate", "migrate-set-capabilities", "migrate-set-parameters")


def documented():
    """The arguments of the primary and of the secondary, and the monitor commands by name."""
    with open(os.path.join(TOP, "docs", "replication.md"), encoding="utf-8") as file:
        text = file.read()
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.replace("\\\n", "").splitlines()]
    primary, secondary = [shlex.split(line)[1:] for line in lines if line.startswith("qemu-system-x86_64 ")]
    blocks = [[json.loads(line) for line in block.splitlines()] for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    check(len(blocks) == len(COMMANDS), f"{len(blocks)} sets of commands")
    return primary, secondary, dict(zip(COMMANDS, blocks))


class Pc(Machine):
    """A PC whose processor never runs, with an empty firmware."""

    def _words(self, name):
        firmware = os.path.join(self.work, "firmware")
        with open(firmware, "wb") as blank:
            blank.truncate(65536)
        words = list(super()._words(name))
        words[words.index("none")] = "pc"
        return (*words, "-bios", firmware)


class Page:
    """The page's commands, for two processes of this machine."""

    def __init__(self, t):
        self._t = t
        self._primary, self._secondary, self.commands = documented()
        self._ports = {port: str(free_port()) for port in PORTS}
        self._folders = 0
        self._has_rewriter = "filter-rewriter" in t.cell.run("qemu-system-x86_64", "-object", "help").out

    def _here(self, text):
        text = re.sub(r"\b(?:127\.0\.0\.2|0\.0\.0\.0)\b", "127.0.0.1", text)
        return re.sub(rf"\b(?:{'|'.join(PORTS)})\b", lambda port: self._ports[port[0]], text)

    def folder(self):
        """A new folder with the images of either side."""
        self._folders += 1
        name = f"images{self._folders}"
        os.mkdir(self._t.path(name))
        for disk in ("primary", "secondary-active", "secondary-hidden"):
            image(self._t, os.path.join(name, f"{disk}.qcow2"))
        return self._t.path(name)

    def _machine(self, kind, documented_words, folder, change):
        words, pairs = [], iter(documented_words)
        for word in pairs:
            if word in ("-enable-kvm", "-S"):
                words += [word] if word == "-S" else []
                continue
            value = self._here(next(pairs)).replace("$imagefolder", folder).replace("$primary_ip", "127.0.0.1")
            words += change(word, value)
        return kind(self._t.cell, self._t.work, *words)

    def _whole(self, word, value):
        """An argument of a machine with everything that COLO wants; those that this test does without are left out."""
        if word in ("-cpu", "-qmp") or (value.startswith("filter-rewriter") and not self._has_rewriter):
            return []
        if self._t.cell.version < (9, 2):
            value = value.replace("reconnect-ms=1000", "reconnect=1")
        value = {"-m": "64", "-netdev": "hubport,id=hn0,hubid=0"}.get(word, value)
        return [word, f"{value},romfile=" if value.startswith("rtl8139") else value]

    def _disks(self, word, value):
        """The drives alone, of a machine that has no place for a disk of the type that the page gives it."""
        return [word, value.replace("if=ide", "if=none")] if word == "-drive" else []

    def primary(self, folder, colo):
        words = self._primary if colo else [word for word in self._primary if word != "-S"]
        return self._machine(Pc if colo else Machine, words, folder, self._whole if colo else self._disks)

    def secondary(self, folder, colo):
        return self._machine(Pc if colo else Machine, self._secondary, folder, self._whole if colo else self._disks)

    def say(self, machine, name, part=slice(None), colo=True):
        """Give a monitor a set of commands, or part of it."""
        for command in self.commands[name][part]:
            if not colo and command["execute"] in COLO:
                continue
            command = json.loads(self._here(json.dumps(command)))
            arguments = command.get("arguments", {})
            if arguments.get("position") == "id=rew0" and not self._has_rewriter:
                del arguments["insert"], arguments["position"]
            machine.raw(command["execute"], arguments)


def node_of(machine):
    (node,) = [node["node-name"] for node in machine.command("query-named-block-nodes") if node["drv"] == "replication"]
    return node


def holds(machine, pattern, where):
    """Whether a machine sees a pattern at a place, given as of `qemu-io`."""
    return f"{pattern} {pattern} {pattern}" in machine.io("colo-disk0", f"read -v {where} 512")


def wait_for_colo(primary, secondary):
    def both():
        states = [machine.command("query-migrate").get("status") for machine in (primary, secondary)]
        check("failed" not in states, f"{states}: {primary.output()} {secondary.output()}")
        # The disks are not in step as soon as that; a guest would not run yet.
        return states == ["colo", "colo"] and status(primary) is None and status(secondary) is None
    wait_for(both, 60, "COLO")


def wait_until_alone(machine):
    wait_for(lambda: machine.command("query-colo-status")["mode"] == "none" and machine.command("query-status")["running"], 60,
             "the end of COLO")


def follow(primary, secondary, pattern):
    """Have the secondary see, after a checkpoint, what the primary writes, and forget what it writes itself."""
    try:
        # A guest doesn't write during a checkpoint, so nor does this: there are two seconds from the end of one to the next.
        for runs in (False, True):
            wait_for(lambda: primary.command("query-status")["running"] == runs, 60, "the end of a checkpoint")
        secondary.io("colo-disk0", "write -P 0x77 1M 64k")
        primary.io("colo-disk0", f"write -P 0x{pattern} 0 64k")
        wait_for(lambda: holds(secondary, pattern, "0"), 60, "a checkpoint")
        wait_for(lambda: holds(secondary, "00", "1M"), 60, "another checkpoint")
        check(status(primary) is None and status(secondary) is None, (status(primary), status(secondary)))
    except OSError as error:
        check(False, f"{error}: {primary.output()} {secondary.output()}")


def start_colo(page, secondary_folder, primary_folder):
    """A secondary, a primary that connects to it, and COLO."""
    secondary = page.secondary(secondary_folder, True)
    try:
        # It waits for the secondary before it answers.
        primary = page.primary(primary_folder, True)
        try:
            page.say(secondary, "server")
            page.say(primary, "connect")
            wait_for_colo(primary, secondary)
            follow(primary, secondary, "11")
            return primary, secondary
        except BaseException:
            primary.kill()
            raise
    except BaseException:
        secondary.kill()
        raise


def fail_over(page, secondary):
    """Have a secondary whose primary is gone go on alone."""
    page.say(secondary, "secondary alone")
    wait_until_alone(secondary)
    node = node_of(secondary)
    wait_for(lambda: "hidden disk" not in children(secondary, node), 60, "the end of the failover")


def resume(page, survivor, copy, connect):
    """Give a machine that has gone on alone a new secondary, by these sets of commands, and take that one away, too."""
    survivor.io("colo-disk0", "write -P 0x22 64k 64k")
    with page.secondary(page.folder(), True) as secondary:
        page.say(secondary, "server")
        page.say(survivor, copy)
        survivor.wait_event("BLOCK_JOB_READY")
        page.say(survivor, connect, slice(2))
        survivor.wait_event("BLOCK_JOB_COMPLETED")
        page.say(survivor, connect, slice(2, None))
        wait_for_colo(survivor, secondary)
        check(holds(secondary, "22", "64k"), "the data was not copied")
        follow(survivor, secondary, "33")
        secondary.kill()
    page.say(survivor, "primary alone")
    wait_until_alone(survivor)
    check(holds(survivor, "33", "0"), "the data is not there any more")
    check(survivor.quit() == 0, survivor.output())


@test(core=True)
def documented_colo_goes_on_with_the_secondary(t):
    page = Page(t)
    folder = page.folder()
    primary, secondary = start_colo(page, folder, page.folder())
    with primary, secondary:
        primary.kill()
        fail_over(page, secondary)
        check(holds(secondary, "11", "0"), "the primary's data is not there")
        secondary.io("colo-disk0", "write -P 0x22 64k 64k")
        check(secondary.quit() == 0, secondary.output())
    for pattern, where in (("0x11", "0"), ("0x22", "64k")):
        found = t.cell.run("qemu-io", "-c", f"read -P {pattern} {where} 64k", os.path.join(folder, "primary.qcow2"))
        check(found.status == 0 and "verification failed" not in found.out, found)


@test(core=True)
def documented_colo_goes_on_with_the_secondary_and_a_new_one(t):
    page = Page(t)
    primary, secondary = start_colo(page, page.folder(), page.folder())
    with primary, secondary:
        primary.kill()
        fail_over(page, secondary)
        resume(page, secondary, "copy back", "become primary")


@test(core=True)
def documented_colo_goes_on_with_the_primary_and_a_new_secondary(t):
    page = Page(t)
    primary, secondary = start_colo(page, page.folder(), page.folder())
    with primary:
        with secondary:
            secondary.kill()
        page.say(primary, "primary alone")
        wait_until_alone(primary)
        check(holds(primary, "11", "0"), "the data is not there")
        resume(page, primary, "copy", "connect again")


@test(core=True)
def documented_commands_work_on_both_sides(t):
    page = Page(t)
    primary_folder = page.folder()
    for survivor in ("secondary", "primary"):
        secondary, primary = page.secondary(page.folder(), False), page.primary(primary_folder, False)
        with secondary, primary:
            page.say(secondary, "server", colo=False)
            page.say(primary, "connect", colo=False)
            page.say(secondary, "begin", slice(1))
            primary.command("xen-set-replication", enable=True, primary=True)
            primary.io("colo-disk0", "write -P 0x11 0 64k")
            page.say(primary, "begin", slice(1, None))
            page.say(secondary, "begin", slice(1, None))
            secondary.io("colo-disk0", "write -P 0x22 64k 64k")
            check(status(primary) is None and status(secondary) is None, (status(primary), status(secondary)))
            if survivor == "secondary":
                primary.kill()
                page.say(secondary, "take over")
                node = node_of(secondary)
                wait_for(lambda: "hidden disk" not in children(secondary, node), 60, "the end of the failover")
                check(holds(secondary, "11", "0"), "the primary's data is not there")
                check(holds(secondary, "22", "64k"), "the secondary's data is not there")
                check(secondary.quit() == 0, secondary.output())
            else:
                secondary.kill()
                page.say(primary, "go on alone")
                check(holds(primary, "11", "0"), "the data is not there")
                check(primary.quit() == 0, primary.output())
