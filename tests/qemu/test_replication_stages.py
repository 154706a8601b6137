# SPDX-License-Identifier: GPL-2.0-or-later
"""What can be done with a replication node when, and what it leaves behind."""

import errno
import os
import threading
from contextlib import ExitStack

from lib.harness import Skip, check, test, wait_for
from lib.nbd import Client, NbdError
from lib.qcow2 import corrupt
from lib.qmp import Machine
from lib.quorum import answer
from lib.replication import (BLOCK, SIZE, Content, Primary, Secondary, children, file_of, image, is_read_only, raw_image, refused, start,
                             status, stop)


@test(core=True)
def start_that_fails_leaves_nothing_behind_and_can_be_repeated(t):
    secondary = Secondary(t, bytes(SIZE), top_id="nobody", hidden={"read-only": True})
    with secondary.machine as machine:
        for _ in range(3):
            check("top_bs" in refused(start, machine, False), "another message")
            check(children(machine, "r") == {"file": "active"}, children(machine, "r"))
            check(is_read_only(machine, "hidden"), "the hidden disk is writable")
            check("not running" in status(machine), status(machine))
        # The node that it asks for is there now.
        machine.add({"driver": "raw", "node-name": "nobody", "file": "top"})
        start(machine, False)
        check(not is_read_only(machine, "hidden"), "the hidden disk is read-only")
        check(set(children(machine, "r")) == {"file", "hidden disk", "secondary disk"}, children(machine, "r"))
        check(status(machine) is None, status(machine))
        check("running or done" in refused(start, machine, False), "another message")
        stop(machine, False, False)
        check(children(machine, "r") == {"file": "active"}, children(machine, "r"))
        check(is_read_only(machine, "hidden"), "the hidden disk is still writable")
        check(machine.quit() == 0, machine.output())


@test(core=True)
def secondary_that_is_stopped_forgets_its_guests_writes_and_starts_again(t):
    content = Content("stopped")
    secondary = Secondary(t, content.bytes)
    with secondary.machine as machine, secondary.client() as guest:
        for _ in range(3):
            start(machine, False)
            on_guest = content.copy()
            for _ in range(5):
                on_guest.change(guest)
            on_guest.compare(guest, "while it runs")
            stop(machine, False, False)
            check(status(machine) is None, status(machine))
            content.compare(guest, "after the stop")
        check(machine.quit() == 0, machine.output())


@test()
def secondary_is_stopped_and_started_under_its_guests_flushes(t):
    """The disks of a secondary come and go while a flush goes through them."""
    secondary = Secondary(t, bytes(SIZE))
    is_over, failures = threading.Event(), []

    def flush(client):
        try:
            while not is_over.is_set():
                client.write(0, b"x" * 512)
                client.flush()
        except (OSError, NbdError) as error:
            failures.append(error)

    with secondary.machine as machine, ExitStack() as stack:
        start(machine, False)
        primary = stack.enter_context(Client(t.work, secondary.socket, "disk"))
        guests = [stack.enter_context(secondary.client()) for _ in range(4)]
        threads = [threading.Thread(target=flush, args=(guest,)) for guest in guests]
        for thread in threads:
            thread.start()
        try:
            for number in range(20):
                primary.write(number * BLOCK, b"y" * 512)
                stop(machine, False, False)
                start(machine, False)
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
        check(not failures, failures)
        check(status(machine) is None, status(machine))
        check(machine.quit() == 0, machine.output())


@test(core=True)
def secondary_that_is_inactive_refuses_what_changes_its_disks_and_goes_on(t):
    content = Content("inactive")
    secondary = Secondary(t, content.bytes)
    with secondary.machine as machine:
        if all(command["name"] != "blockdev-set-active" for command in machine.command("query-commands")):
            raise Skip("this QEMU has no blockdev-set-active")
        # An export would need the node to be active.
        machine.unexport("top")
        start(machine, False)
        with Client(t.work, secondary.socket, "disk") as client:
            content.change(client)
        # The disk is exported and stays active, so that this fails; but what is above has become inactive by then.
        refused(machine.command, "blockdev-set-active", node_name="top", active=False)
        for call in (lambda: machine.command("xen-colo-do-checkpoint"), lambda: stop(machine, False, False)):
            message = refused(call)
            check("inactive" in message, message)
            check(status(machine) is None, status(machine))
        # The command leaves the errors of a failover out.
        stop(machine, False, True)
        check("Permission denied" in (status(machine) or ""), status(machine))
        check(set(children(machine, "r")) == {"file", "hidden disk", "secondary disk"}, children(machine, "r"))
        machine.command("blockdev-set-active", node_name="top", active=True)
        machine.command("xen-colo-do-checkpoint")
        check(status(machine) is None, status(machine))
        stop(machine, False, False)
        machine.export("top")
        with secondary.client() as guest:
            content.compare(guest, "the secondary")
        check(machine.quit() == 0, machine.output())


@test(core=True)
def resize_is_refused_and_the_process_goes_on(t):
    secondary = Secondary(t, bytes(SIZE))
    with secondary.machine as machine:
        start(machine, False)
        # The block layer refuses it already: because of who uses the node, and because the node on top is blocked.
        refused(machine.command, "block_resize", node_name="r", size=2 * SIZE)
        refused(machine.command, "block_resize", node_name="top", size=2 * SIZE)
        stop(machine, False, False)
    # Nobody else uses this one, so that the driver is asked.
    with Machine(t.cell, t.work) as machine:
        machine.add({"driver": "replication", "node-name": "p", "mode": "primary", "file": file_of(raw_image(t, "disk", bytes(SIZE)))})
        for begin in (lambda: None, lambda: start(machine, True), lambda: stop(machine, True, False)):
            begin()
            message = refused(machine.command, "block_resize", node_name="p", size=2 * SIZE)
            check("can't be resized" in message, message)
        check(machine.quit() == 0, machine.output())


def corrupt_image(t, name):
    """A qcow2 image that is lost as soon as its first cluster is touched; its path."""
    path = image(t, name)
    t.io(path, "write -P 1 0 128k", options=("-f", "qcow2"))
    corrupt(path)
    return path


def secondary_without_hidden_disk(t, before=lambda machine: None):
    """
    A machine with a running secondary "r" whose hidden disk, which was made writable for that, has lost its image. What `before` adds
    is started with it.
    """
    hidden = t.path("hidden")
    t.img("create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", hidden, "16M")
    machine = Machine(t.cell, t.work)
    before(machine)
    machine.add({"driver": "raw", "node-name": "disk", "file": file_of(raw_image(t, "disk", bytes(16 << 20)))})
    machine.add({"driver": "replication", "node-name": "r", "mode": "secondary", "top-id": "r",
                 "file": {"driver": "qcow2", "node-name": "active", "file": file_of(image(t, "active", 16 << 20)),
                          "backing": {"driver": "qcow2", "node-name": "hidden", "l2-cache-size": 8192, "l2-cache-entry-size": 4096,
                                      "file": file_of(hidden), "backing": "disk"}}})
    socket = machine.export("disk")
    start(machine, False)
    # More tables than qcow2 keeps in memory, so that it has to read the first one again.
    with Client(t.work, socket, "disk") as client:
        for at in range(0, 10 << 20, 2 << 20):
            client.write(at, bytes([1]) * 4096)
        client.flush()
    for at in ("8M", "6M"):
        machine.io("r", f"read {at} 4k")
    corrupt(hidden)
    check("Input/output error" in machine.io("r", "read 0 4k"), "the hidden disk is not corrupt")
    check("No medium" in machine.io("hidden", "read 1M 4k"), "the hidden disk has its image still")
    return machine


@test(core=True)
def stop_of_a_secondary_whose_hidden_disk_has_lost_its_image_tells_it(t):
    with secondary_without_hidden_disk(t) as machine:
        refused(stop, machine, False, False)
        check(machine.quit() == 0, machine.output())


@test(core=True)
def failover_of_a_secondary_whose_hidden_disk_has_lost_its_image_fails_and_close_works(t):
    with secondary_without_hidden_disk(t) as machine:
        stop(machine, False, True)
        wait_for(lambda: status(machine), 60, "the failover to fail")
        check(machine.quit() == 0, machine.output())


@test(core=True)
def failover_that_cannot_begin_on_one_secondary_reaches_the_others(t):
    def another(machine):
        machine.add({"driver": "raw", "node-name": "disk2", "file": file_of(raw_image(t, "disk2", bytes(SIZE)))})
        machine.add({"driver": "replication", "node-name": "r2", "mode": "secondary", "top-id": "r2",
                     "file": {"driver": "qcow2", "node-name": "active2", "file": file_of(image(t, "active2")),
                              "backing": {"driver": "qcow2", "node-name": "hidden2", "file": file_of(image(t, "hidden2")),
                                          "backing": "disk2"}}})
        machine.export("disk2")

    with secondary_without_hidden_disk(t, another) as machine:
        machine.io("r2", "write -P 7 0 64k")
        # The core begins with the node that came last, and ends with the first error.
        stop(machine, False, True)
        wait_for(lambda: children(machine, "r2") == {"file": "disk2"}, 60, "the failover of the other disk")
        wait_for(lambda: status(machine), 60, "the failover to fail")
        stop(machine, False, True)
        check(machine.quit() == 0, machine.output())
        check("its failover can't begin" in machine.output(), machine.output())
    with open(t.path("disk2"), "rb") as disk:
        check(disk.read(65536) == bytes([7]) * 65536, "what the guest has written is not on the disk")


@test(core=True)
def close_of_a_secondary_whose_hidden_disk_has_lost_its_image_works(t):
    with secondary_without_hidden_disk(t) as machine:
        check("No medium" in machine.io("r", "read 1M 4k"), "a request has not failed")
        check(machine.quit() == 0, machine.output())


@test(core=True)
def flush_of_a_secondary_whose_hidden_disk_has_lost_its_image_fails(t):
    with Machine(t.cell, t.work) as machine:
        machine.add({"driver": "qcow2", "node-name": "hidden", "file": file_of(corrupt_image(t, "hidden"))})
        machine.add({"driver": "qcow2", "node-name": "active", "file": file_of(image(t, "active")), "backing": "hidden"})
        machine.add({"driver": "replication", "node-name": "r", "mode": "secondary", "top-id": "r", "file": "active"})
        with Client(t.work, machine.export("r"), "r") as client:
            check(answer(client.flush)[0] == 0, "a flush has failed")
            machine.io("hidden", "read 0 4k")
            check(answer(client.flush)[0] == errno.EINVAL, "a flush of no disk has succeeded")
        check(machine.quit() == 0, machine.output())


@test()
def primary_that_is_stopped_starts_again(t):
    content = Content("again")
    secondary, primary = Secondary(t, content.bytes), Primary(t, content.bytes)
    with secondary.machine, primary.machine as machine:
        primary.connect(secondary)
        for _ in range(3):
            start(machine, True)
            with primary.client() as client:
                content.change(client)
            check(status(machine) is None, status(machine))
            stop(machine, True, False)
        with secondary.client() as guest:
            check("not running" in status(secondary.machine), status(secondary.machine))
            start(secondary.machine, False)
            content.compare(guest, "the secondary")


@test(core=True)
def primary_whose_secondary_has_missed_a_write_starts_only_with_a_new_node(t):
    content = Content("missed")
    secondary, primary = Secondary(t, content.bytes), Primary(t, content.bytes)
    with secondary.machine, primary.machine as machine:
        primary.connect(secondary)
        with primary.client() as client:
            start(machine, True)
            content.change(client)
            stop(machine, True, False)
            # The quorum goes on with the other disk.
            content.change(client)
            content.compare(client, "the primary")
            for _ in range(2):
                message = refused(start, machine, True)
                check("has missed writes" in message, message)
                check(status(machine) is None, status(machine))
            primary.disconnect()
            with Client(t.work, secondary.socket, "disk") as disk:
                disk.write(0, bytes(content.bytes))
            primary.connect(secondary)
            start(machine, True)
            content.change(client)
            check(status(machine) is None, status(machine))
        start(secondary.machine, False)
        with secondary.client() as guest:
            content.compare(guest, "the secondary")
        check(machine.quit() == 0, machine.output())


@test()
def secondary_that_has_failed_over_says_why_it_cannot_start(t):
    secondary = Secondary(t, bytes(SIZE))
    with secondary.machine as machine:
        start(machine, False)
        secondary.fail_over()
        check("failed over" in refused(start, machine, False), "another message")
        # It is none of a primary's business.
        start(machine, True)
        machine.command("xen-colo-do-checkpoint")
        stop(machine, True, True)
        check(children(machine, "r") == {"file": "disk"}, children(machine, "r"))
        check(machine.quit() == 0, machine.output())


@test()
def writes_beside_one_another_after_a_failed_failover_are_all_kept(t):
    cluster, count, writers = 2 << 20, 16, 8
    piece = cluster // writers
    active = t.path("active")
    t.img("create", "-q", "-f", "qcow2", "-o", f"cluster_size={cluster}", active, str(cluster * count))
    disk = file_of(raw_image(t, "disk", bytes(cluster * count)))
    with Machine(t.cell, t.work) as machine:
        # The first write there is the failover's.
        rule = {"event": "none", "iotype": "write", "sector": 0, "errno": errno.EIO, "once": True}
        machine.add({"driver": "raw", "node-name": "disk", "file": {"driver": "blkdebug", "image": disk, "inject-error": [rule]}})
        hidden = {"driver": "qcow2", "file": file_of(image(t, "hidden", cluster * count)), "backing": "disk"}
        machine.add({"driver": "replication", "node-name": "r", "mode": "secondary", "top-id": "r",
                     "file": {"driver": "qcow2", "file": file_of(active), "backing": hidden}})
        machine.export("disk")
        socket = machine.export("r")
        start(machine, False)
        with Client(t.work, socket, "disk") as primary:
            # The hidden disk has the first piece of each cluster of the active one.
            for number in range(1, count):
                primary.write(number * cluster, bytes([1]) * 512)
        machine.io("r", "write -P 2 0 512")
        stop(machine, False, True)
        wait_for(lambda: status(machine), 60, "the failover to fail")
        with ExitStack() as stack:
            clients = [stack.enter_context(Client(t.work, socket, "r")) for _ in range(writers)]
            for number in range(1, count):
                # The first one's goes to the active disk, with the whole cluster around it, the others' to the secondary disk.
                at_once([lambda own=own, client=client: client.write(number * cluster + own * piece, bytes([10 + own]) * 512)
                         for own, client in enumerate(clients)])
            for number in range(1, count):
                for own, client in enumerate(clients):
                    check(client.read(number * cluster + own * piece, 512) == bytes([10 + own]) * 512,
                          f"what was written to cluster {number} by writer {own} is gone")
        check(machine.quit() == 0, machine.output())


def at_once(calls):
    """Does all that at the same time."""
    begin, failures = threading.Barrier(len(calls)), []

    def do(call):
        begin.wait()
        try:
            call()
        except (OSError, NbdError) as error:
            failures.append(error)

    threads = [threading.Thread(target=do, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(not failures, failures)


@test()
def discards_and_zeroes_reach_the_disk_and_space_comes_back(t):
    path = raw_image(t, "disk", b"x" * SIZE)
    with Machine(t.cell, t.work) as machine:
        machine.add({"driver": "replication", "node-name": "p", "mode": "primary", "discard": "unmap", "file": file_of(path)})
        socket = machine.export("p")
        start(machine, True)
        with Client(t.work, socket, "p") as client:
            before = os.stat(path).st_blocks
            client.trim(0, SIZE // 2)
            client.zero(SIZE // 2, SIZE // 4)
            client.flush()
            check(os.stat(path).st_blocks * 512 <= SIZE // 4, f"{before} blocks before, {os.stat(path).st_blocks} now")
        check(status(machine) is None, status(machine))
        check(machine.quit() == 0, machine.output())


@test()
def discards_of_either_guest_never_show_what_is_not_theirs(t):
    content = Content("discard")
    secondary, primary = Secondary(t, content.bytes), Primary(t, content.bytes)
    with secondary.machine, primary.machine:
        primary.connect(secondary)
        start(secondary.machine, False)
        start(primary.machine, True)
        with primary.client() as client, secondary.client() as guest:
            on_guest = content.copy()
            client.trim(0, SIZE // 2)
            client.zero(SIZE // 2, SIZE // 4)
            on_guest.compare(guest, "the guest of the secondary, which must not see it")
            secondary.machine.command("xen-colo-do-checkpoint")
            # What is discarded may read as anything that was there, or as zeroes.
            now = guest.read(0, SIZE // 2)
            check(all(new in (0, old) for new, old in zip(now, content.bytes)), "a discarded block has neither old data nor zeroes")
            content.bytes[:SIZE // 4 * 3] = now + bytes(SIZE // 4)
            content.compare(guest, "the secondary after the checkpoint")
            guest.trim(SIZE // 4 * 3, SIZE // 8)
            guest.zero(SIZE // 8 * 7, SIZE // 8)
            secondary.machine.command("xen-colo-do-checkpoint")
            content.compare(guest, "the secondary whose own discard is forgotten")
        check(status(primary.machine) is None, status(primary.machine))


@test()
def requests_before_the_start_fail(t):
    secondary = Secondary(t, bytes(SIZE))
    with secondary.machine as machine, secondary.client() as guest:
        for call in (lambda: guest.read(0, 4096), lambda: guest.write(0, bytes(4096)), lambda: guest.zero(0, 4096)):
            try:
                call()
                check(False, "it succeeded")
            except NbdError:
                pass
        check(machine.quit() == 0, machine.output())


@test(core=True)
def options_are_refused_by_name(t):
    with Machine(t.cell, t.work) as machine:
        path = raw_image(t, "disk", bytes(SIZE))
        node = {"driver": "replication", "node-name": "r", "file": file_of(path)}
        check("top-id" in refused(machine.add, {**node, "mode": "secondary"}), "another message")
        check("top-id" in refused(machine.add, {**node, "mode": "primary", "top-id": "x"}), "another message")
        machine.add({**node, "mode": "primary"})
        start(machine, True)
        check("needs" not in (status(machine) or ""), status(machine))
        machine.remove("r")
        check(image(t, "unused"), "no image")
        check(machine.quit() == 0, machine.output())


@test(core=True)
def close_in_the_middle_of_everything(t):
    for how in ("running", "failover"):
        secondary = Secondary(t, bytes(SIZE))
        with secondary.machine as machine:
            start(machine, False)
            with secondary.client() as guest:
                guest.write(0, b"x" * 65536)
            if how == "failover":
                stop(machine, False, True)
            check(machine.quit() == 0, f"{how}: {machine.output()}")


@test(core=True)
def close_after_a_failed_failover_gives_the_disks_back(t):
    secondary = Secondary(t, bytes(SIZE), top_id="r", hidden={"read-only": True}, fails=True)
    with secondary.machine as machine:
        machine.unexport("top")
        machine.remove("top")
        start(machine, False)
        machine.io("r", "write -P 0x11 0 64k")
        stop(machine, False, True)
        wait_for(lambda: "the failover failed" in (status(machine) or ""), 60, "the failure of the failover")
        check(not is_read_only(machine, "hidden"), "the hidden disk is read-only already")
        machine.remove("r")
        check(is_read_only(machine, "hidden"), "the hidden disk is still writable")
        check(machine.quit() == 0, machine.output())


@test()
def close_in_an_iothread_in_the_middle_of_a_failover(t):
    size = 64 << 20
    for _ in range(3):
        secondary = Secondary(t, bytes(size), top_id="r")
        with secondary.machine as machine:
            machine.unexport("top")
            machine.remove("top")
            machine.unexport("disk")
            machine.command("object-add", qom_type="iothread", id="loop")
            # All nodes move to the iothread, and this keeps them there.
            machine.raw("block-export-add", {"type": "nbd", "id": "disk", "node-name": "disk", "name": "disk", "writable": True,
                                             "iothread": "loop", "fixed-iothread": True})
            start(machine, False)
            machine.io("r", f"write -P 0x11 0 {size}")
            stop(machine, False, True)
            # Most times the failover is not over yet.
            machine.remove("r")
            check(machine.quit() == 0, machine.output())
