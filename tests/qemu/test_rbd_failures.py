# SPDX-License-Identifier: GPL-2.0-or-later
"""Daemons that die, hang or refuse: no acknowledged write is lost, the monitor of QEMU answers, errors come when they were asked for."""

import threading
import time

from lib.harness import Skip, check, test, wait_for
from lib.model import Model, compare
from lib.nbd import READ, WRITE, Client, NbdError
from lib.qmp import Daemon, QmpError
from lib.rbd import MIB, POOL, Served, both_fail, c_cell, exported, image_json, io, make, node, read, some_bytes, spec, url

SIZE = 16 * MIB
QUERIES = ("query-block", "query-named-block-nodes", "query-blockstats")
# The answers are in memory; the rest is for a machine that is busy.
SOON = 0.5
# NBD has no number for ETIMEDOUT: its server says EINVAL.
TIMED_OUT = (5, 22, 110)


def sturdy(t):
    return t.clusters.sturdy()


def queries_answer(daemon, rounds=5):
    """Ask everything that a management tool asks; the longest answer in seconds."""
    longest = 0.0
    for _ in range(rounds):
        for name in QUERIES:
            if name == "query-block" and daemon.program == "qemu-storage-daemon":
                continue
            begin = time.monotonic()
            daemon.command(name, timeout=10)
            longest = max(longest, time.monotonic() - begin)
    check(longest < SOON, f"a query took {longest:.2f} s")
    return longest


class Chaos:
    """Something that happens in a thread while the block runs; its exception is the test's."""

    def __init__(self, work):
        self.done, self._error, self._work = threading.Event(), None, work

    def _run(self):
        try:
            self._work()
        except Exception as error:
            self._error = error
        finally:
            self.done.set()

    def __enter__(self):
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self.done

    def __exit__(self, kind, *_):
        self._thread.join()
        if self._error and kind is None:
            raise self._error


def nothing_is_lost(t, model):
    ceph = sturdy(t)
    compare(bytes(model.data), exported(t, ceph=ceph), "what librbd reads")
    compare(bytes(model.data), read(t, url(t, ceph=ceph), c_cell(t)), "what the C driver reads")


@test(alone=True)
def osd_killed_and_restarted_under_load_loses_nothing(t):
    ceph = sturdy(t)
    make(t, "a", SIZE, ceph=ceph)
    model = Model(SIZE, 77)

    def kill_and_restart():
        for number in (0, 1, 2):
            # The next one only goes when the last one has caught up.
            ceph.kill_osd(number)
            ceph.start_osd(number)
            ceph.wait_clean()

    with Served(t, ceph=ceph) as client:
        with Chaos(kill_and_restart) as done:
            slowest = model.run(client, 300, until=done.is_set)
        client.flush()
        model.check_all(client)
    t.note(f"{sum(model.counts.values())} requests: {model.counts}; slowest reply {slowest:.2f} s")
    nothing_is_lost(t, model)


def in_flight(client, count=16):
    """Requests that nobody can answer now: reads, and writes of what is there already."""
    return [client.submit(READ, number * 4096, 4096) if number % 2 else client.submit(WRITE, number * 4096, data=bytes([number]) * 4096)
            for number in range(count)]


def settle(client, handles):
    for _ in handles:
        _, code, _ = client.receive()
        check(code == 0, f"a request failed with error {code}")


@test(core=True, alone=True)
def all_osds_stopped_and_continued(t):
    """Requests wait and then end well; the monitor answers meanwhile; a snapshot and a resize later do, too."""
    ceph = sturdy(t)
    make(t, "a", SIZE, ceph=ceph)
    with Served(t, ceph=ceph) as client:
        client.write(0, bytes(65536))
        ceph.stop_osds()
        try:
            handles = in_flight(client)
            longest = queries_answer(client.daemon)
        finally:
            ceph.cont_osds()
        settle(client, handles)
        for number in range(0, 16, 2):
            compare(bytes([number]) * 4096, client.read(number * 4096, 4096), "a write in flight")
    t.note(f"the slowest of {len(QUERIES) - 1} queries took {longest * 1000:.1f} ms")


@test(core=True, alone=True)
def objects_that_are_not_there_are_read_without_an_osd(t):
    """The object map says so: a read of one, and one over the border of two."""
    ceph = sturdy(t)
    make(t, "a", 64 * MIB, ceph=ceph)
    with Served(t, ceph=ceph) as client:
        client.write(0, b"w" * 4096)
        ceph.stop_osds()
        try:
            for offset, length in ((16 * MIB, 4096), (24 * MIB - 4096, 8192)):
                compare(bytes(length), client.read(offset, length), f"a hole at {offset}")
        finally:
            ceph.cont_osds()


@test(alone=True)
def queries_of_an_emulator_answer_while_all_osds_are_stopped(t):
    ceph = sturdy(t)
    make(t, "a", SIZE, ceph=ceph)
    program = "qemu-system-x86_64"
    if t.cell.run(program, "--version").status:
        raise Skip("there is no emulator here")

    class Emulator(Daemon):
        pass

    Emulator.program = program
    Emulator._words = lambda self, name: ("-M", "none", "-nodefaults", "-display", "none", "-S",
                                          "-chardev", f"socket,id=m,path={name},server=on,wait=off", "-mon", "chardev=m,mode=control")
    with Emulator(t.cell, t.work, "-drive", f"if=none,id=d,format=raw,file={url(t, ceph=ceph)}") as machine:
        machine.add(node(t, "a", "r", ceph=ceph, **{"read-only": True}))
        queries_answer(machine)
        ceph.stop_osds()
        try:
            longest = queries_answer(machine)
            machine.command("query-named-block-nodes", flat=True)
        finally:
            ceph.cont_osds()
    t.note(f"the slowest of {len(QUERIES)} queries took {longest * 1000:.1f} ms")


@test(core=True, alone=True)
def monitor_stopped_and_continued_leaves_open_images_working(t):
    ceph = sturdy(t)
    make(t, "a", SIZE, ceph=ceph)
    model = Model(SIZE, 78)
    with Served(t, ceph=ceph) as client:
        model.run(client, 50)
        ceph.stop_mon()
        try:
            slowest = model.run(client, 200)
            longest = queries_answer(client.daemon)
            name = ceph.url(f"{POOL}/{t.image('a')}", client_mount_timeout=2)
            ours, _ = both_fail(t, "info", name, names=["admin"])
            check("timed out" in ours.err.lower() and ours.seconds < 15, ours)
        finally:
            ceph.cont_mon()
        model.run(client, 100)
        model.check_all(client)
    t.note(f"slowest reply {slowest:.2f} s, slowest query {longest * 1000:.1f} ms, failed open {ours.seconds:.1f} s")
    nothing_is_lost(t, model)


@test(alone=True)
def monitor_killed_and_restarted_loses_nothing(t):
    ceph = sturdy(t)
    make(t, "a", SIZE, ceph=ceph)
    model = Model(SIZE, 79)

    def kill_and_restart():
        ceph.kill_mon()
        ceph.start_mon()

    with Served(t, ceph=ceph) as client:
        with Chaos(kill_and_restart) as done:
            model.run(client, 200, until=done.is_set)
        model.check_all(client)
        ceph.rbd("snap", "create", "--no-progress", spec(t) + "@s")
        client.write(0, b"later" * 100)
    compare(bytes(model.data), exported(t, "a@s", ceph=ceph), "a snapshot made afterwards")


@test(alone=True)
def open_against_stopped_osds_is_bounded_by_rados_osd_op_timeout(t):
    ceph = sturdy(t)
    make(t, "a", SIZE, ceph=ceph)
    conf = ceph.with_settings(t.path("short.conf"), rados_osd_op_timeout=2)
    ceph.stop_osds()
    try:
        with Daemon(t.cell, t.work) as daemon:
            begin = time.monotonic()
            try:
                daemon.add({**node(t, ceph=ceph), "conf": conf})
            except QmpError as error:
                check("timed out" in str(error).lower(), error)
            else:
                check(False, "an image was opened without any OSD")
            seconds = time.monotonic() - begin
        done = t.fails("qemu-img", "create", "-q", "-f", "raw", f"rbd:{spec(t, 'b')}:conf={conf}", "1M", names=["timed out"])
    finally:
        ceph.cont_osds()
    check(1 <= seconds < 15 and done.seconds < 30, f"{seconds} s, {done}")
    t.note(f"open failed after {seconds:.1f} s, create after {done.seconds:.1f} s")


@test(alone=True)
def requests_fail_after_rados_osd_op_timeout_when_it_is_given(t):
    ceph = sturdy(t)
    make(t, "a", SIZE, ceph=ceph)
    conf = ceph.with_settings(t.path("short.conf"), rados_osd_op_timeout=3)
    with Daemon(t.cell, t.work) as daemon:
        daemon.add({**node(t, ceph=ceph), "conf": conf})
        with Client(t.work, daemon.export("r"), "r") as client:
            client.write(0, b"x" * 4096)
            ceph.stop_osds()
            try:
                for request in (lambda: client.read(0, 4096), lambda: client.write(4096, b"y" * 4096)):
                    begin = time.monotonic()
                    try:
                        request()
                    except NbdError as error:
                        check(error.code in TIMED_OUT, error)
                    else:
                        check(False, "a request without any OSD was done")
                    check(2 <= time.monotonic() - begin < 15, f"after {time.monotonic() - begin:.1f} s")
                queries_answer(daemon)
            finally:
                ceph.cont_osds()
            wait_for(lambda: written(client), 30, "writes working again")
            compare(b"x" * 4096, client.read(0, 4096), "what was written before")
    io(t, url(t, ceph=ceph), "read -P 120 0 4k")


def written(client):
    """Whether a write is done."""
    try:
        client.write(8192, b"z" * 4096)
        return True
    except NbdError:
        return False


@test(alone=True)
def process_killed_in_the_middle_of_writes_leaves_a_good_image(t):
    ceph = sturdy(t)
    make(t, "a", SIZE, ceph=ceph)
    acknowledged = []
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(node(t, ceph=ceph))
        with Client(t.work, daemon.export("r"), "r") as client:
            pending = {client.submit(WRITE, number * 65536, data=bytes([number + 1]) * 65536): number for number in range(128)}
            while len(acknowledged) < 40:
                handle, code, _ = client.receive()
                check(code == 0, code)
                acknowledged.append(pending[handle])
            daemon.kill()
    data = exported(t, ceph=ceph)
    for number in acknowledged:
        compare(bytes([number + 1]) * 65536, data[number * 65536:(number + 1) * 65536], f"acknowledged write {number}")
    io(t, url(t, ceph=ceph), "write 0 16M", "read 0 16M")


@test(alone=True)
def user_who_loses_his_right_to_write_gets_errors_and_no_hang(t):
    ceph = sturdy(t)
    make(t, "a", SIZE, ceph=ceph)
    user = t.image("u").replace(".", "-")
    ceph.cli("auth", "get-or-create", f"client.{user}", "mon", "profile rbd", "osd", "profile rbd-read-only")
    secret = "--object", f"secret,id=s,format=base64,data={ceph.key(user)}"
    options = {"driver": "rbd", "pool": POOL, "image": t.image("a"), "conf": ceph.conf, "user": user, "key-secret": "s"}
    done = t.cell.run("qemu-io", *secret, "-c", "write 0 4k", image_json(options), cwd=t.work)
    check(done.status == 1 and "not permitted" in done.err, done)
    done = t.cell.run("qemu-io", "-r", *secret, "-c", "read -P 0 0 4k", image_json(options), cwd=t.work)
    check(done.status == 0 and "verification" not in done.out, done)


@test(alone=True)
def blocklisted_client_gets_errors_and_another_one_goes_on(t):
    ceph = sturdy(t)
    make(t, "a", SIZE, ceph=ceph)
    data = some_bytes(MIB)
    with Daemon(t.cell, t.work) as daemon:
        daemon.add(node(t, ceph=ceph))
        with Client(t.work, daemon.export("r"), "r") as client:
            client.write(0, data)
            (watcher,) = ceph.rbd_json("status", spec(t))["watchers"]
            ceph.cli("osd", "blocklist", "add", watcher["address"])

            def fails():
                try:
                    client.write(0, data[:512])
                except NbdError:
                    return True
                return False

            wait_for(fails, 30, "writes failing")
            queries_answer(daemon)
            (found,) = daemon.command("query-named-block-nodes")
            check(found["node-name"] == "r", found)
            ceph.cli("osd", "blocklist", "rm", watcher["address"])
            check(fails(), "a client that was shut out writes again by itself")
        check(daemon.quit() == 0, daemon.output())
    compare(data, exported(t, ceph=ceph)[:MIB], "the image")
    io(t, url(t, ceph=ceph), "write -P 1 0 4k", "read -P 1 0 4k")
