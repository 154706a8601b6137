# SPDX-License-Identifier: GPL-2.0-or-later
"""The QEMU programs under test: one cell is one set of binaries together with our driver, or with the C driver."""

import copy
import os
import signal
import subprocess
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
BUILD = os.path.abspath(os.environ.get("QBR_BUILD") or os.path.join(TOP, "build"))

# Name: Debian tree of the binaries (None: this machine), version of QEMU, folder of our module or of the programs.
CELLS = {
    "debian12": ("bookworm", (7, 2), "in-bookworm/modules"),
    "debian13": ("trixie", (10, 0), "in-trixie/modules"),
    "qemu-7.2": (None, (7, 2), "qemu-7.2"),
    "qemu-7.2-builtin": (None, (7, 2), "qemu-7.2-builtin"),
    "qemu-10.0": (None, (10, 0), "qemu-10.0"),
    "qemu-10.0-builtin": (None, (10, 0), "qemu-10.0-builtin"),
    "qemu-10.2": (None, (10, 2), "qemu-10.2"),
    "qemu-10.2-builtin": (None, (10, 2), "qemu-10.2-builtin"),
}


_children = set()
_stopped = threading.Event()


def spawn(argv, **popen):
    """Start a program in a session of its own, and remember it for kill_all()."""
    if _stopped.is_set():
        raise RuntimeError("interrupted")
    child = subprocess.Popen(argv, start_new_session=True, **popen)
    _children.difference_update([old for old in list(_children) if old.poll() is not None])
    _children.add(child)
    return child


def kill_all():
    """End every program that still runs, and let no other start."""
    _stopped.set()
    for child in list(_children):
        if child.poll() is None:
            child.kill()


class Result:
    """What a program that ended left behind."""

    def __init__(self, argv, status, out, err, seconds):
        self.argv, self.status, self.out, self.err, self.seconds = argv, status, out, err, seconds

    def __str__(self):
        shown = " ".join(self.argv)
        return f"{shown}\nexit status {self.status} after {self.seconds:.2f} s\n{self.out[-1500:]}{self.err[-1500:]}"


class Tree:
    """A private Debian tree that stays mounted, so that a program starts in it within milliseconds."""

    _open = {}
    _lock = threading.Lock()

    @classmethod
    def get(cls, suite):
        with cls._lock:
            if suite not in cls._open:
                cls._open[suite] = cls(suite)
            return cls._open[suite]

    @classmethod
    def close_all(cls):
        with cls._lock:
            for tree in cls._open.values():
                tree.holder.stdin.close()
                tree.holder.wait()
            cls._open.clear()

    def __init__(self, suite):
        in_root = os.path.join(TOP, "scripts", "in-root")
        self.holder = subprocess.Popen([in_root, suite, "sh", "-c", "echo ready; exec cat > /dev/null"],
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        if self.holder.stdout.readline() != b"ready\n":
            raise RuntimeError(f"the {suite} tree can't be entered")

    def argv(self, cwd, variables, argv):
        return ["nsenter", f"--target={self.holder.pid}", "--mount", "--root", "--",
                "/usr/bin/env", "-C", cwd, "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C",
                *(f"{name}={value}" for name, value in variables.items()), *argv]


class Cell:
    """Runs the programs of one cell; stock() and with_c_drivers() have the C driver."""

    def __init__(self, name, is_stock=False, is_c=False):
        suite, version, folder = CELLS[name]
        self.name, self.version, self.is_stock, self.is_c, self.prefix = name, version, is_stock, is_c, ()
        self.folder = os.path.join(BUILD, folder)
        self.suite = suite
        if is_stock and suite is None:
            # An integrated build has no C driver; the distribution's programs are the reference.
            self.suite = host_suite()
            self.version = CELLS["debian12" if self.suite == "bookworm" else "debian13"][1]

    def stock(self):
        return Cell(self.name, is_stock=True)

    def with_c_drivers(self):
        """The very same programs with QEMU's own drivers as modules (scripts/c-modules.sh). Programs that have our drivers in
        them have no place for modules: then those of the build with modules of the same version."""
        return Cell(self.name.removesuffix("-builtin"), is_c=True)

    def behind(self, *words):
        """The same cell, whose programs are started by these words."""
        cell = copy.copy(self)
        cell.prefix = words
        return cell

    def c_modules(self):
        return os.path.join(self.folder, "c-drivers")

    def has_quorum(self):
        """Whether quorum is ours here: the distribution's programs have their own in them."""
        return self.suite is None

    def is_builtin(self):
        return self.name.endswith("-builtin")

    def gluster_suite(self):
        return self.suite or host_suite()

    def module(self, driver="gluster"):
        """The file that the programs must have loaded, or None when the driver is in the programs."""
        if self.is_builtin():
            return None
        return os.path.join(self.c_modules() if self.is_c else self.folder, f"block-{driver}.so")

    def missing(self, drivers=("gluster",)):
        """Why this cell can't run the tests of these drivers, or None."""
        wanted = [] if self.is_builtin() else [self.module(driver) for driver in drivers]
        if CELLS[self.name][0] is None:
            wanted.append(os.path.join(self.folder, "qemu-img"))
        for path in wanted:
            if not os.path.exists(path):
                return f"{path} is not there"
        return None

    def argv_program(self, program):
        """How another program of the same tree names it."""
        return program if self.suite else os.path.join(self.folder, program)

    def argv(self, program, args, cwd=None, variables=None):
        variables = dict(variables or {})
        cwd = cwd or BUILD
        if self.suite:
            if not self.is_stock:
                variables["QEMU_MODULE_DIR"] = self.folder
            return Tree.get(self.suite).argv(cwd, variables, [program, *args])
        path = os.path.join(self.folder, program)
        if self.is_c:
            variables["QEMU_MODULE_DIR"] = self.c_modules()
        words = [f"{name}={value}" for name, value in variables.items()]
        return ["/usr/bin/env", "-C", cwd, "LC_ALL=C", *words, *self.prefix, path if os.path.exists(path) else program, *args]

    def start(self, program, *args, cwd=None, variables=None, **popen):
        return spawn(self.argv(program, args, cwd, variables), **popen)

    def run(self, program, *args, cwd=None, variables=None, timeout=90, stdin=None):
        argv = self.argv(program, args, cwd, variables)
        begin = time.monotonic()
        child = spawn(argv, stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = child.communicate(stdin.encode() if stdin else None, timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            out, err = child.communicate()
            err += f"\n(killed after {timeout} s)".encode()
        seconds = time.monotonic() - begin
        return Result([program, *args], child.returncode, out.decode(errors="replace"), err.decode(errors="replace"), seconds)


def host_suite():
    with open("/etc/os-release", encoding="utf-8") as release:
        names = [line.split("=", 1)[1].strip().strip('"') for line in release if line.startswith("VERSION_CODENAME=")]
    return "bookworm" if names == ["bookworm"] else "trixie"
