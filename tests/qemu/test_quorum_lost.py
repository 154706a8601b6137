# SPDX-License-Identifier: GPL-2.0-or-later
"""Children that lose their image while the quorum runs, as a qcow2 does that turns out to be corrupt."""

import errno

from lib.harness import check, test
from lib.nbd import Client
from lib.qcow2 import corrupt
from lib.qmp import Machine
from lib.quorum import EVENTS, answer, file_node, need_c_driver, our_cell, quorum_node

NO_MEDIUM = "No medium found"
# NBD has no number for it.
NBD_NO_MEDIUM = errno.EINVAL


def quorum_of_images(t, cell, corrupted, threshold, **options):
    """A machine with an exported quorum "q" of three qcow2 images of ones, some of which are lost by now, and the export's socket."""
    nodes = []
    for number in range(3):
        path = t.path(f"{cell.name}-{number}.qcow2")
        t.img("create", "-q", "-f", "qcow2", path, "1M")
        t.io(path, "write -P 1 0 128k", options=("-f", "qcow2"))
        if number in corrupted:
            corrupt(path)
        nodes.append({"driver": "qcow2", "node-name": f"c{number}", "file": file_node(path)})
    machine = Machine(cell, t.work)
    machine.add(quorum_node(nodes, threshold, **options))
    socket = machine.export("q")
    for number in corrupted:
        check("Input/output error" in machine.io(f"c{number}", "read 0 4k"), "the image is not corrupt")
        check(NO_MEDIUM in machine.io(f"c{number}", "read 64k 4k"), "the image is not lost")
    machine.seconds_pass()
    machine.take_events(*EVENTS)
    return machine, socket


def reported(machine):
    """The children that are reported with their errors, and the quorum if that has failed."""
    machine.seconds_pass()
    return sorted((data.get("node-name", "quorum"), data.get("error")) for _, data in machine.take_events(*EVENTS))


def errors(machine, command):
    """What goes wrong with a request: what is printed of it, and who is reported."""
    said = machine.io("q", command)
    return [line for line in said.splitlines() if "failed" in line], reported(machine)


def flush_errors(machine, socket):
    """The same of a flush, which prints nothing: the number that NBD has for its error."""
    with Client(machine.work, socket, "q") as client:
        code, _ = answer(client.flush)
    return code, reported(machine)


@test(core=True)
def quorum_goes_on_without_a_child_that_has_lost_its_image(t):
    machine, socket = quorum_of_images(t, our_cell(t), (1,), 2)
    with machine:
        for command in ("read -P 1 64k 4k", "write -P 2 64k 4k", "read -P 2 64k 4k", "write -z 64k 4k", "read -P 0 64k 4k"):
            found = errors(machine, command)
            check(found == ([], [("c1", NO_MEDIUM)]), f"{command}: {found}")
        found = flush_errors(machine, socket)
        check(found == (0, [("c1", NO_MEDIUM)]), found)
        check(machine.quit() == 0, machine.output())


@test(core=True)
def fifo_quorum_reads_past_a_child_that_has_lost_its_image(t):
    machine, _ = quorum_of_images(t, our_cell(t), (0,), 1, **{"read-pattern": "fifo"})
    with machine:
        found = errors(machine, "read -P 1 64k 4k")
        check(found == ([], [("c0", NO_MEDIUM)]), found)
        check(machine.quit() == 0, machine.output())


@test(core=True)
def quorum_with_too_few_images_left_fails_every_request_and_the_flush_too(t):
    machine, socket = quorum_of_images(t, our_cell(t), (0, 2), 2)
    with machine:
        all_of_them = [("c0", NO_MEDIUM), ("c2", NO_MEDIUM), ("quorum", None)]
        for command in ("read 64k 4k", "write 64k 4k"):
            failed, events = errors(machine, command)
            check(len(failed) == 1 and NO_MEDIUM in failed[0], f"{command}: {failed}")
            check(events == all_of_them, f"{command}: {events}")
        found = flush_errors(machine, socket)
        check(found == (NBD_NO_MEDIUM, all_of_them), found)
        check(machine.quit() == 0, machine.output())


@test()
def quorum_of_the_c_driver_is_gone_with_the_first_image(t):
    need_c_driver(t)
    machine, socket = quorum_of_images(t, t.c_drivers, (1,), 2)
    with machine:
        for command in ("read 64k 4k", "write 64k 4k"):
            failed, events = errors(machine, command)
            check(len(failed) == 1 and NO_MEDIUM in failed[0] and not events, f"{command}: {failed} {events}")
        found = flush_errors(machine, socket)
        check(found == (NBD_NO_MEDIUM, []), found)
        check(machine.quit() == 0, machine.output())
