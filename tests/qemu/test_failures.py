# SPDX-License-Identifier: GPL-2.0-or-later
"""Servers that die, stop answering or fail: no acknowledged data is lost, errors are clear, the monitor answers."""

import os
import signal
import threading
import time

from lib.gluster import Gluster
from lib.harness import Skip, check, test, wait_for
from lib.model import Model, compare
from lib.nbd import Client, NbdError
from lib.qmp import Daemon, QmpError

SIZE = 16 << 20


def volume(t, name, kind, *settings, restart=False):
    """A volume of the test's own."""
    t.gluster.volume(name, kind)
    for key, value in settings:
        t.gluster.volume_set(name, key, value)
    if restart:
        # Some options make the bricks load another graph.
        t.gluster.cli("volume", "stop", name, "force")
        t.gluster.volume(name, kind)
    return name


def is_healed(t, name):
    """The three bricks are all there and have the same data."""
    found = t.gluster.cli("volume", "heal", name, "info")
    counts = [line.split(":")[1].strip() for line in found.splitlines() if line.startswith("Number of entries")]
    return len(counts) == 3 and all(count == "0" for count in counts)


@test(alone=True)
def brick_killed_and_restarted_under_load_loses_nothing(t):
    name = volume(t, "crash", "replica3")
    t.img("create", "-q", "-f", "raw", t.url(volume=name), str(SIZE))
    model, done = Model(SIZE, 77), threading.Event()
    trouble = []

    def kill_and_restart():
        try:
            for index in (0, 1, 2):
                # The next one only goes when the last one has caught up: two of three must always agree.
                t.gluster.kill_brick(name, index)
                t.gluster.restart_bricks(name)
                wait_for(lambda: is_healed(t, name), 120, "healing")
        except Exception as error:
            trouble.append(error)
        finally:
            done.set()

    with Daemon(t.cell, t.work) as daemon:
        daemon.add(t.node(volume=name, discard="unmap"))
        export = daemon.export()
        with Client(t.work, export) as client:
            chaos = threading.Thread(target=kill_and_restart)
            chaos.start()
            try:
                slowest = model.run(client, 500, until=done.is_set)
            finally:
                chaos.join()
            check(not trouble, trouble)
            client.flush()
            model.check_all(client)
        check(daemon.quit() == 0, daemon.output())
    t.note(f"{sum(model.counts.values())} requests: {model.counts}; slowest reply {slowest:.2f} s")
    with Daemon(t.stock, t.work) as daemon:
        daemon.add(t.node(volume=name, **{"read-only": True}))
        with Client(t.work, daemon.export(writable=False)) as client:
            compare(bytes(model.data), client.read_all(), "what the C driver reads")
    for index in range(3):
        compare(bytes(model.data), t.gluster_bytes(volume=name, index=index), f"brick {index}")


@test(core=True, alone=True)
def glusterd_stopped_leaves_open_nodes_working_and_names_itself_in_new_ones(t):
    t.img("create", "-q", "-f", "raw", t.url(), "4M")
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(t.node())
        with Client(t.work, daemon.export()) as client:
            t.gluster.stop_glusterd()
            try:
                client.write(0, b"x" * 100000)
                client.flush()
                check(client.read(0, 100000) == b"x" * 100000, "read")
                done = t.fails("qemu-img", "info", t.url(), names=["plain", str(t.gluster.port)])
                check(done.seconds < 10, done)
                check(len(daemon.command("query-named-block-nodes")) == 1, "nodes")
            finally:
                t.gluster.start_glusterd()
            client.write(200000, b"y" * 1000)
            client.flush()
    t.img("info", t.url())
    check(t.gluster_bytes()[:100000] == b"x" * 100000, "the data")


@test(alone=True)
def monitor_answers_while_all_bricks_are_stopped(t):
    name = volume(t, "frozen", "replica3")
    t.img("create", "-q", "-f", "raw", t.url(volume=name), "4M")
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(t.node(volume=name))
        with Client(t.work, daemon.export()) as client:
            client.write(0, b"a" * 4096)
            client.flush()
            pids = t.gluster.brick_pids(name)
            check(len(pids) == 3, pids)
            times = []
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            try:
                # Writes may be held back by the client; reads and flushes must wait for the bricks.
                client.submit(0, 1 << 20, 4096)
                client.submit(1, 8192, data=b"b" * 4096)
                client.submit(3)
                for _ in range(8):
                    for command in ("query-named-block-nodes", "query-block-exports", "query-jobs"):
                        begin = time.monotonic()
                        daemon.command(command, timeout=20)
                        times.append(time.monotonic() - begin)
            finally:
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)
            while client.in_flight:
                _, code, _ = client.receive()
                check(code == 0, f"error {code}")
            check(client.read(0, 12288) == b"a" * 4096 + bytes(4096) + b"b" * 4096, "the data")
        t.note(f"slowest answer of the monitor: {max(times):.3f} s")
        check(max(times) < 1, times)
        check(daemon.quit() == 0, daemon.output())


def failing_fsync(t):
    return volume(t, "nofsync", "plain", ("debug.error-gen", "posix"), ("debug.error-fops", "fsync"),
                  ("debug.error-failure", "100"), ("debug.error-number", "EIO"), restart=True)


@test(alone=True)
def failed_fsync_is_told_once_and_never_forgotten(t):
    name = failing_fsync(t)
    url = t.url(volume=name)
    t.img("create", "-q", "-f", "raw", url, "4M")
    commands = ("write -P 1 0 64k", "flush", "read 0 512", "write 0 512", "discard 0 64k", "write -z 0 64k", "flush", "truncate 1M")
    done = t.cell.run("qemu-io", "-f", "raw", "-t", "writeback", *(word for text in commands for word in ("-c", text)), url, cwd=t.work)
    said = done.out + done.err
    check(done.status == 1, done)
    check("wrote 65536/65536" in said, done)
    check(f"fsync of '{t.image()}' failed" in said, done)
    for failed in ("read", "write", "discard"):
        check(f"{failed} failed: No medium found" in said, f"{failed}: {done}")
    check(said.count("wrote") == 1 and "read 512/512" not in said, done)
    t.note(done.err.strip().splitlines()[0])


@test(alone=True)
def flush_after_a_failed_fsync_never_succeeds(t):
    name = failing_fsync(t)
    t.img("create", "-q", "-f", "raw", t.url(volume=name), "4M")
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(t.node(volume=name))
        with Client(t.work, daemon.export()) as client:
            client.write(0, b"x" * 4096)
            failed = 0
            for _ in range(20):
                for call in (client.flush, lambda: client.read(0, 512), lambda: client.write(0, b"y" * 512)):
                    try:
                        call()
                    except NbdError:
                        failed += 1
            check(failed == 60, f"{60 - failed} of 60 requests claimed success after a failed fsync")
        check(len(daemon.command("query-named-block-nodes")) == 1, "the node can be queried")
        check(daemon.quit() == 0, daemon.output())


@test(alone=True)
def requests_in_flight_at_a_failed_fsync_all_end(t):
    name = failing_fsync(t)
    t.img("create", "-q", "-f", "raw", t.url(volume=name), "16M")
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(t.node(volume=name))
        with Client(t.work, daemon.export()) as client:
            for turn in range(5):
                for number in range(4):
                    client.submit(1, number << 20, data=b"z" * 65536)
                    client.submit(0, number << 20, 65536)
                client.submit(3)
                while client.in_flight:
                    client.receive()
        check(daemon.quit() == 0, daemon.output())


@test(core=True, alone=True)
def acknowledged_flush_survives_the_death_of_client_and_brick(t):
    name = volume(t, "killed", "plain")
    t.img("create", "-q", "-f", "raw", t.url(volume=name), str(SIZE))
    block, durable = 65536, 0
    for life in range(4):
        with Daemon(t.cell, t.work) as daemon:
            daemon.add(t.node(volume=name))
            with Client(t.work, daemon.export()) as client:
                for number in range(durable, durable + 20):
                    client.write(number * block, bytes([number + 1]) * block)
                    if number % 5 == 4:
                        client.flush()
                        durable = number + 1
                # What comes now is not acknowledged by a flush and may be lost.
                client.submit(1, 250 * block, data=b"?" * block)
                daemon.kill()
                t.gluster.kill_brick(name, 0)
        t.gluster.restart_bricks(name)
        data = t.gluster_bytes(volume=name)
        for number in range(durable):
            check(data[number * block:(number + 1) * block] == bytes([number + 1]) * block, f"life {life}, block {number}")
    with Daemon(t.stock, t.work) as daemon:
        daemon.add(t.node(volume=name, **{"read-only": True}))
        with Client(t.work, daemon.export(writable=False)) as client:
            for number in range(durable):
                check(client.read(number * block, block) == bytes([number + 1]) * block, f"C driver, block {number}")
    t.note(f"{durable} blocks")


@test(core=True)
def failed_create_leaves_no_file(t):
    # No file system of a brick here can hold a file of 4 EiB.
    for mode in ("falloc", "full"):
        t.fails("qemu-img", "create", "-f", "raw", "-o", f"preallocation={mode}", t.url(f"{mode}.img"), "4E")
        check(not os.path.exists(t.brick(f"{mode}.img")), f"{mode}: a file was left behind")


@test()
def failed_create_leaves_an_existing_name_without_the_old_data_or_not_at_all(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    t.fails("qemu-img", "create", "-f", "raw", "-o", "preallocation=full", t.url(), "4E")
    check(not os.path.exists(t.brick()) or os.stat(t.brick()).st_size in (0, 1 << 20), "a file of another size")


@test()
def failed_growth_leaves_the_size_as_it_was(t):
    t.img("create", "-q", "-f", "raw", t.url(), "1M")
    for mode in ("off", "falloc", "full"):
        t.fails("qemu-img", "resize", "-f", "raw", f"--preallocation={mode}", t.url(), "4E", names=["4611686018427387904"])
        check(os.stat(t.brick()).st_size == 1 << 20, f"{mode}: {os.stat(t.brick())}")


@test(alone=True)
def full_volume_gives_enospc_and_frees_what_a_failed_create_took(t):
    os.environ.update(QBR_BRICK_STORE="file", QBR_BRICK_SIZE="64M")
    try:
        small = Gluster(t.gluster.name + "-small", t.gluster.suite)
    finally:
        del os.environ["QBR_BRICK_STORE"], os.environ["QBR_BRICK_SIZE"]
    try:
        small.start()
        small.volume("tiny", "plain")
        small.volume_set("tiny", "storage.reserve", "0")
        bricks = os.path.dirname(os.path.dirname(small.bricks("tiny")[0]))
        if os.statvfs(bricks).f_blocks * os.statvfs(bricks).f_frsize > 256 << 20:
            raise Skip("no small file system can be mounted here")
        url = small.url("tiny", t.image())
        for mode in ("falloc", "full"):
            t.fails("qemu-img", "create", "-f", "raw", "-o", f"preallocation={mode}", url, "200M", names=["No space left"])
            check(not os.path.exists(small.on_brick("tiny", t.image())), f"{mode}: a file was left behind")
        t.img("create", "-q", "-f", "raw", url, "200M")
        writes = [word for number in range(20) for word in ("-c", f"write -q -P 7 {number * 10}M 10M")]
        done = t.cell.run("qemu-io", "-f", "raw", "-t", "writeback", *writes, "-c", "read -P 7 0 1M", url, cwd=t.work)
        check("No space left on device" in done.out + done.err, done)
        t.note(f"error-free start, then: {(done.out + done.err).splitlines()[0]}")
    finally:
        small.destroy()


@test()
def connection_that_fails_says_so_quickly(t):
    with Daemon(t.cell, t.work) as daemon:
        begin = time.monotonic()
        try:
            daemon.add({**t.node(), "server": [{"type": "inet", "host": "127.0.0.1", "port": "1"}]})
        except QmpError as error:
            check("plain" in str(error) and t.image() in str(error), error)
        check(time.monotonic() - begin < 10, "it took too long")
        check(daemon.quit() == 0, daemon.output())
