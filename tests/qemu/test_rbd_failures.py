# SPDX-License-Identifier: GPL-2.0-or-later
"""Daemons that die, hang or refuse: no acknowledged write is lost, the monitor of QEMU answers, errors come when they were asked for."""

import contextlib
import threading
import time

from lib.guest import Guest
from lib.harness import Skip, check, test, wait_for
from lib.model import Model, compare
from lib.nbd import READ, WRITE, Client, NbdError
from lib.qmp import Daemon, QmpError
from lib.rbd import MIB, POOL, Served, both_fail, c_cell, exported, fill, image_json, io, make, node, read, some_bytes, spec, url

SIZE = 16 * MIB
# The answers are in memory.
SOON = 0.1
# Questions about the graph and the devices beside all query-*; and those that want arguments to say something.
QUERIES = (("query-named-block-nodes", {"flat": True}), ("query-blockstats", {"query-nodes": True}), ("x-debug-query-block-graph", {}),
           ("qom-list", {"path": "/"}), ("qom-list", {"path": "/machine/peripheral"}), ("qom-list", {"path": "/objects"}), ("qom-list-types", {}))
# NBD has no number for ETIMEDOUT: its server says EINVAL.
TIMED_OUT = (5, 22, 110)


def sturdy(t):
    return t.clusters.sturdy()


def answer_times(daemon):
    """Ask everything that there is to ask: (question, arguments) and how long its answers took, in seconds."""
    names = {command["name"] for command in daemon.command("query-commands")}
    asked = [(name, {}) for name in sorted(names) if name.startswith("query-")] + [one for one in QUERIES if one[0] in names]
    return [(one, ask(daemon, *one)) for one in asked]


def queries_answer(daemon, usual):
    """Everything that there is to ask is answered soon, compared with the answer times that are `usual`: a machine that is busy may need a
    while for the hundreds of kilobytes of query-qmp-schema, with or without a cluster. The slowest question and the best of its times, how
    many there are, and the longest time of all."""
    before = [min(seconds) for _, seconds in usual]
    times = answer_times(daemon)
    for (one, seconds), least in zip(times, before, strict=True):
        check(min(seconds) < least + SOON, f"{one} takes {min(seconds):.2f} s, and {least:.2f} s with the cluster")
    best, (name, _) = max(((min(seconds), one) for one, seconds in times), key=lambda pair: pair[0])
    return name, best, len(times), max(max(seconds) for _, seconds in times)


def ask(daemon, name, arguments):
    """How long the answers took; until there is one that comes soon."""
    times = []
    while len(times) < 10 and min(times, default=SOON) >= SOON:
        begin = time.monotonic()
        try:
            daemon.raw(name, arguments, 10)
        except QmpError as error:
            # Something is missing: arguments, or what is asked for.
            check(daemon.process.poll() is None, error)
        times.append(time.monotonic() - begin)
    return times


def answers(found):
    name, best, count, longest = found
    return f"{count} queries; the slowest is {name} with {best * 1000:.1f} ms, the longest answer took {longest * 1000:.1f} ms"


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
        usual = answer_times(client.daemon)
        ceph.stop_osds()
        try:
            handles = in_flight(client)
            found = queries_answer(client.daemon, usual)
        finally:
            ceph.cont_osds()
        settle(client, handles)
        for number in range(0, 16, 2):
            compare(bytes([number]) * 4096, client.read(number * 4096, 4096), "a write in flight")
    t.note(answers(found))


@test(alone=True)
def monitor_answers_with_more_in_flight_than_librados_takes_by_itself(t):
    """Beyond 100 MiB librados has whoever submits the next request wait, unless it is told otherwise."""
    ceph = sturdy(t)
    size = 32 * MIB
    make(t, "a", size, ceph=ceph)
    data = some_bytes(size)
    fill(t, data, ceph=ceph)
    with Served(t, ceph=ceph) as client:
        client.write(0, data[:4096])
        usual = answer_times(client.daemon)
        ceph.stop_osds()
        try:
            handles = [client.submit(READ, 0, size) for _ in range(5)]
            found = queries_answer(client.daemon, usual)
        finally:
            ceph.cont_osds()
        for _ in handles:
            _, code, read_back = client.receive()
            check(code == 0, f"a read failed with error {code}")
            compare(data, read_back, "a read in flight")
    t.note(answers(found))


@test(alone=True)
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


@contextlib.contextmanager
def busy_daemon(t, ceph):
    """A storage daemon with a job in the middle, an export with requests in flight, and a node below another one."""
    make(t, "a", SIZE, ceph=ceph)
    make(t, "b", SIZE, ceph=ceph)
    fill(t, some_bytes(SIZE), where="b", ceph=ceph)
    with Served(t, ceph=ceph) as client:
        client.write(0, bytes(65536))
        begin_job(t, client.daemon, ceph)
        yield client.daemon, client
        client.daemon.raw("job-cancel", {"id": "copy"})


def begin_job(t, daemon, ceph):
    """A copy of the image b that hardly goes on."""
    daemon.add({"driver": "raw", "node-name": "top", "file": node(t, "b", "below", ceph=ceph)})
    daemon.add({"driver": "null-co", "node-name": "nothing", "size": SIZE})
    daemon.raw("blockdev-backup", {"job-id": "copy", "device": "top", "target": "nothing", "sync": "full", "speed": 65536})


@contextlib.contextmanager
def busy_emulator(t, ceph):
    """An emulator with the same, and with a disk."""
    if t.cell.run("qemu-system-x86_64", "--version").status:
        raise Skip("there is no emulator here")
    make(t, "a", SIZE, ceph=ceph)
    make(t, "b", SIZE, ceph=ceph)
    fill(t, some_bytes(SIZE), where="b", ceph=ceph)
    with Guest(t.cell, t.work) as machine:
        machine.add(node(t, ceph=ceph))
        machine.raw("device_add", {"driver": "virtio-blk-pci", "id": "disk", "drive": "r", "share-rw": True})
        begin_job(t, machine, ceph)
        with Client(t.work, machine.export("r"), "r") as client:
            client.write(0, bytes(65536))
            yield machine, client


def outages(t, busy):
    """All queries while requests wait for the OSDs, and while the monitor hangs."""
    ceph = sturdy(t)
    with busy(t, ceph) as (daemon, client):
        usual = answer_times(daemon)
        ceph.stop_osds()
        try:
            handles = in_flight(client)
            without_osds = queries_answer(daemon, usual)
        finally:
            ceph.cont_osds()
        settle(client, handles)
        ceph.stop_mon()
        try:
            without_mon = queries_answer(daemon, usual)
        finally:
            ceph.cont_mon()
    for what, found in (("all OSDs stopped", without_osds), ("monitor stopped", without_mon)):
        t.note(f"{what}: {answers(found)}")


@test(alone=True)
def all_queries_of_a_storage_daemon_answer_without_osds_and_without_monitor(t):
    outages(t, busy_daemon)


@test(alone=True)
def all_queries_of_an_emulator_answer_without_osds_and_without_monitor(t):
    outages(t, busy_emulator)


@test(core=True, alone=True)
def monitor_stopped_and_continued_leaves_open_images_working(t):
    ceph = sturdy(t)
    make(t, "a", SIZE, ceph=ceph)
    model = Model(SIZE, 78)
    with Served(t, ceph=ceph) as client:
        model.run(client, 50)
        usual = answer_times(client.daemon)
        ceph.stop_mon()
        try:
            slowest = model.run(client, 200)
            found = queries_answer(client.daemon, usual)
            name = ceph.url(f"{POOL}/{t.image('a')}", client_mount_timeout=2)
            ours, _ = both_fail(t, "info", name, names=["admin"])
            check("timed out" in ours.err.lower() and ours.seconds < 15, ours)
        finally:
            ceph.cont_mon()
        model.run(client, 100)
        model.check_all(client)
    t.note(f"slowest reply {slowest:.2f} s, failed open {ours.seconds:.1f} s; {answers(found)}")
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
            usual = answer_times(daemon)
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
                queries_answer(daemon, usual)
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
            usual = answer_times(daemon)
            (watcher,) = ceph.rbd_json("status", spec(t))["watchers"]
            ceph.cli("osd", "blocklist", "add", watcher["address"])

            def fails():
                try:
                    client.write(0, data[:512])
                except NbdError:
                    return True
                return False

            wait_for(fails, 30, "writes failing")
            queries_answer(daemon, usual)
            (found,) = daemon.command("query-named-block-nodes")
            check(found["node-name"] == "r", found)
            ceph.cli("osd", "blocklist", "rm", watcher["address"])
            check(fails(), "a client that was shut out writes again by itself")
        check(daemon.quit() == 0, daemon.output())
    compare(data, exported(t, ceph=ceph)[:MIB], "the image")
    io(t, url(t, ceph=ceph), "write -P 1 0 4k", "read -P 1 0 4k")
