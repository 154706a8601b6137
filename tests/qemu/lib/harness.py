# SPDX-License-Identifier: GPL-2.0-or-later
"""Registration of tests, and what a test may use: its cell, the Gluster, a folder of its own, and checks."""

import contextlib
import os
import shutil
import tempfile
import time

TESTS = []
_folders = []


class Failure(Exception):
    """A check did not hold."""


class Skip(Exception):
    """The test can't run here, and says why."""


def driver_of(topic):
    """The driver that a topic tests: quorum_NAME is of quorum, rbd_NAME of rbd and so on, every other one of gluster."""
    driver = topic.split("_", 1)[0]
    return driver if driver in ("quorum", "rbd", "replication") else "gluster"


def test(core=False, alone=False, needs_gluster=None):
    """Register a test. `core`: part of the smaller selection; `alone`: nothing else may run at the same time, as it measures
    or as it changes volumes: then the library also has something to say to clients of other volumes; `needs_gluster`: it
    uses the Gluster; default: if it is a test of that driver."""

    def register(function):
        topic = function.__module__.removeprefix("test_")
        function.title = f"{topic}: {function.__name__.replace('_', ' ')}"
        function.topic, function.core, function.alone, function.driver = topic, core, alone, driver_of(topic)
        function.needs_gluster = function.driver == "gluster" if needs_gluster is None else needs_gluster
        TESTS.append(function)
        return function

    return register


def cases(topic, rows, core=False):
    """Register one test for each row: a title, a function and the function's further arguments."""
    for title, function, *arguments in rows:
        def run(t, function=function, arguments=tuple(arguments)):
            function(t, *arguments)

        run.title, run.topic, run.core, run.alone = f"{topic}: {title}", topic, core, False
        run.driver = driver_of(topic)
        run.needs_gluster = run.driver == "gluster"
        TESTS.append(run)


def check(condition, text):
    if not condition:
        raise Failure(str(text))


def wait_for(condition, seconds, what):
    """Poll until condition() gives something true, and return that."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"{what} did not happen within {seconds} s")
        time.sleep(0.02)


def memory_folder(t):
    """A folder in memory where there is room, for files whose speed matters; the runner removes it after the test."""
    shared = "/dev/shm"
    try:
        room = os.statvfs(shared)
        base = shared if room.f_bavail * room.f_frsize > 1 << 30 else t.work
    except OSError:
        base = t.work
    folder = tempfile.mkdtemp(prefix=f"qbr-{t.id}-", dir=base)
    t.folders.append(folder)
    _folders.append(folder)
    return folder


def remove_folders(folders=None):
    """Remove these folders in memory, or all that are left."""
    for folder in list(_folders if folders is None else folders):
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def read_only(t, volume, url):
    """Within it, `volume` takes no writes; `url` is an image there."""
    t.gluster.volume_set(volume, "features.read-only", "on")
    try:
        # The bricks learn of it a moment later.
        wait_for(lambda: t.cell.run("qemu-io", "-f", "raw", "-c", "write 0 512", url).status, 20, "the volume becoming read-only")
        yield
    finally:
        t.gluster.volume_set(volume, "features.read-only", "off")


class Context:
    """Given to each test as `t`."""

    def __init__(self, cell, gluster, work, name, clusters=None):
        self.cell, self.stock, self.gluster, self.work, self.clusters = cell, cell.stock(), gluster, work, clusters
        self.c_drivers = cell.with_c_drivers()
        self.id = name
        self.notes, self.folders = [], []

    def note(self, text):
        """A line of the test's output, for figures."""
        self.notes.append(text)

    def path(self, name):
        return os.path.join(self.work, name)

    def image(self, name="a.img"):
        """A name on the volumes that no other test uses."""
        return f"{self.id}-{name}"

    def url(self, name="a.img", volume="plain"):
        return self.gluster.url(volume, self.image(name))

    def node(self, name="a.img", volume="plain", node="g", **more):
        return self.gluster.node(volume, self.image(name), node, **more)

    def gfapi(self, command, path, argument="", volume="plain"):
        """Do something on a volume without any QEMU."""
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gfapi.py")
        tree = self.cell.stock()
        done = tree.run("python3", "-B", script, self.gluster.host, str(self.gluster.port), volume, command, path, str(argument))
        check(done.status == 0, done)
        return done.out

    def brick(self, name="a.img", volume="plain", index=0):
        return self.gluster.on_brick(volume, self.image(name), index)

    def gluster_bytes(self, name="a.img", volume="plain", index=0):
        """The image as it is on a brick."""
        with open(self.brick(name, volume, index), "rb") as file:
            return file.read()

    def ok(self, program, *args, quiet=True, **more):
        """Run a program of the cell that must succeed, and say nothing on standard error."""
        done = self.cell.run(program, *args, cwd=self.work, **more)
        check(done.status == 0, done)
        if quiet:
            check(done.err == "", f"standard error is not empty: {done}")
        return done

    def img(self, *args, **more):
        return self.ok("qemu-img", *args, **more)

    def io(self, url, *commands, options=("-f", "raw"), **more):
        """qemu-io with some commands, all of which must succeed."""
        done = self.ok("qemu-io", *options, *(word for command in commands for word in ("-c", command)), url, **more)
        for bad in ("failed", "verification"):
            check(bad not in done.out, done)
        return done

    def fails(self, program, *args, names=(), **more):
        """Run a program of the cell that must fail in an orderly way, with each of `names` in its message."""
        done = self.cell.run(program, *args, cwd=self.work, **more)
        check(done.status == 1, f"exit status 1 expected: {done}")
        check(done.err.strip(), f"no message: {done}")
        for name in names:
            check(name in done.err, f"{name!r} is not in the message: {done}")
        return done
