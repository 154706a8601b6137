# SPDX-License-Identifier: GPL-2.0-or-later
"""Reopening a node with other flags."""

from lib.harness import check, read_only, test, wait_for
from lib.nbd import Client
from lib.qmp import Daemon, QmpError


def reopen(daemon, node):
    daemon.raw("blockdev-reopen", {"options": [node]})


def is_read_only(daemon):
    return daemon.command("query-named-block-nodes")[0]["ro"]


@test(core=True)
def read_only_node_becomes_writable_and_back(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(t.node(**{"read-only": True}))
        check(is_read_only(daemon), "read-only")
        reopen(daemon, t.node(**{"read-only": False}))
        check(not is_read_only(daemon), "writable")
        name = daemon.export()
        with Client(t.work, name) as client:
            client.write(0, b"x" * 4096)
            client.flush()
        daemon.raw("block-export-del", {"id": f"{name}-g", "mode": "hard"})
        reopen(daemon, t.node(**{"read-only": True}))
        check(is_read_only(daemon), "read-only again")
    with open(t.brick(), "rb") as file:
        check(file.read(4096) == b"x" * 4096, "the data")


@test()
def cache_mode_changes_under_an_export(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(t.node())
        name = daemon.export()
        with Client(t.work, name) as client:
            for number in range(10):
                reopen(daemon, t.node(cache={"direct": number % 2 == 0}))
                client.write(number * 5000, bytes([number + 1]) * 5000)
                check(client.read(number * 5000, 5000) == bytes([number + 1]) * 5000, number)
        check(daemon.quit() == 0, daemon.output())


@test()
def qemu_io_reopens_read_only_and_writable(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    t.io(t.url(), "write -P 1 0 1M", "reopen -r", "read -P 1 0 1M", "reopen -w", "write -P 2 0 1M", "read -P 2 0 1M")


def on_lockable_volume(t):
    """An image on a volume that refuses to open files for writing when it is read-only."""
    t.gluster.volume("reopen", "plain")
    # Else a client opens files when it first uses them, and learns of an error then.
    t.gluster.volume_set("reopen", "performance.open-behind", "off")
    url = t.url(volume="reopen")
    t.img("create", "-q", "-f", "raw", url, "1M")
    t.io(url, "write -P 5 0 1M")
    return url


def must_fail(t, daemon):
    try:
        reopen(daemon, t.node(volume="reopen", **{"read-only": False}))
    except QmpError as error:
        check(t.image() in str(error) and "Read-only" in str(error), error)
        return
    check(False, "an image was opened for writing on a read-only volume")


@test(core=True, alone=True)
def failed_reopens_leak_nothing_and_a_later_one_succeeds(t):
    url = on_lockable_volume(t)
    node = t.node(volume="reopen", **{"read-only": True})
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(node)
        name = daemon.export("g", writable=False)
        with Client(t.work, name) as client:
            with read_only(t, "reopen", url):
                for _ in range(5):
                    must_fail(t, daemon)
                before = daemon.descriptors(), len(daemon.threads())
                for _ in range(100):
                    must_fail(t, daemon)
                after = daemon.descriptors(), len(daemon.threads())
                check(after == before, f"descriptors and threads: {before}, then {after}")
                check(is_read_only(daemon), "still read-only")
                check(client.read(0, 4096) == b"\5" * 4096, "read")

            def succeeds():
                try:
                    reopen(daemon, {**node, "read-only": False})
                    return True
                except QmpError:
                    return False

            # The bricks learn a moment later that the volume is writable again.
            wait_for(succeeds, 20, "the reopen")
        check(not is_read_only(daemon), "writable now")
        check(daemon.quit() == 0, daemon.output())


@test()
def other_server_in_a_reopen_is_refused(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(t.node(**{"read-only": True}))
        try:
            reopen(daemon, {**t.node(**{"read-only": True}), "server": [{"type": "inet", "host": "127.0.0.1", "port": "1"}]})
        except QmpError as error:
            check("server" in str(error), error)
        else:
            check(False, "the server was changed")
