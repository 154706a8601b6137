# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""Runs one client process and measures it between two lines of its output.

Start-up and teardown (which takes the stock gluster driver 10 s) are outside of the measured interval.
"""

import os
import re
import select
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass

# Of a whole command nothing may be seen until it ends.
TIMEOUT = 600
# Seconds that a client has to end by itself.
PATIENCE = float(os.environ.get("QBR_BENCH_PATIENCE", "0"))


def watch_closely():
    """Makes this process run at once when a line comes, however busy the machine is; clients stay as they are."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(2))
    except PermissionError:
        pass


# How often a run is repeated that was half over before anybody looked at it, as on a machine with too much to do.
ATTEMPTS = 5


class ClientError(Exception):
    """The client failed; the text is what it said."""


class TooLate(ClientError):
    """Too much of the run was over when it was looked at."""


@dataclass(frozen=True)
class Reading:
    """What a process, all its threads together, had used at one moment: seconds, how often it went to sleep, and how many
    pages of memory it had to be given."""

    wall: float
    cpu: float
    switches: int
    faults: int

    @classmethod
    def of(cls, pid):
        # The processor clock of another process: nanoseconds, and threads that have ended are in it.
        cpu = time.clock_gettime((~pid << 3) | 2)
        return cls(time.monotonic(), cpu, sum(_switches(pid)), _faults(pid))


def _faults(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:
        return int(stat.read().rpartition(")")[2].split()[7])


def _switches(pid):
    for tid in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{tid}/status", encoding="ascii", errors="replace") as status:
                yield int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", status.read(), re.M).group(1))
        except (FileNotFoundError, ProcessLookupError):
            pass  # the thread has ended meanwhile


class Client:
    """A running client.

    stdbuf makes every line of its output come at once. A terminal would do that too, but hands lines on by way of a
    kernel thread, which is late on a busy machine: the client would be gone before it is read.
    """

    def __init__(self, argv, env=None):
        self._errors = tempfile.TemporaryFile()
        self.started = time.monotonic()
        self._process = subprocess.Popen(
            ["stdbuf", "-oL", *argv], env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=self._errors,
        )
        self._output = self._process.stdout.fileno()
        self.pid = self._process.pid
        self._rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            # What it has to do in the end is not measured, but with an exclusive lock the next one would wait for a client that died.
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def lines(self):
        """The lines of its output, until it closes it."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            while b"\n" in self._rest:
                line, self._rest = self._rest.split(b"\n", 1)
                yield line.decode(errors="replace").rstrip()
            if not select.select([self._output], [], [], max(0, deadline - time.monotonic()))[0]:
                raise ClientError(f"no answer within {TIMEOUT} s: {self._process.args}")
            data = os.read(self._output, 65536)
            if not data:
                return
            self._rest += data

    def wait_for(self, text):
        """Waits for a line that contains `text` and returns it."""
        for line in self.lines():
            if text in line:
                return line
        raise ClientError(self.errors() or f"'{text}' never came: {self._process.args}")

    def wait(self):
        """Waits for its end; an error if it failed."""
        for _ in self.lines():
            pass
        if self._process.wait(TIMEOUT):
            raise ClientError(self.errors())

    def errors(self):
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()

    def has_mapped(self, name):
        """The path of the file called `name` that it has mapped."""
        with open(f"/proc/{self.pid}/maps", encoding="utf-8") as maps:
            lines = maps.read().splitlines()
        if not lines:
            raise TooLate(f"{self.pid} had ended before its modules could be seen")
        paths = (line.split(maxsplit=5)[-1] for line in lines)
        return next((path for path in paths if os.path.basename(path) == name), None)


def time_io(argv, env):
    """The seconds that a run says it took."""
    with Client(argv, env) as client:
        return _seconds(client.wait_for("Run completed in "))


def measure_io(argv, env, count, module=None):
    """One run of `count` requests. `module` is the (name, folder or None) that it must have loaded."""
    for attempt in range(ATTEMPTS):
        try:
            return _measure_io_once(argv, env, count, module)
        except TooLate:
            if attempt + 1 == ATTEMPTS:
                raise


def _measure_io_once(argv, env, count, module):
    with Client(argv, env) as client:
        client.wait_for("Sending ")
        before = Reading.of(client.pid)
        if module:
            _check_module(client, *module)
        line = client.wait_for("Run completed in ")
        after = Reading.of(client.pid)
    seconds = _seconds(line)
    seen = after.wall - before.wall
    if seen < seconds / 2:
        raise TooLate(f"only {seen:.3f} of {seconds:.3f} s could be watched: {argv}")
    # On a busy machine the lines may be seen late, so that the readings are of another stretch of time than the run.
    part = seconds / seen / count
    own = re.search(r"([0-9.]+) of them on processors", line)
    return {
        "seconds": seconds,
        "iops": count / seconds,
        "us": seconds / count * 1e6,
        # Some clients tell it themselves, which is exact then.
        "cpu_us": (float(own.group(1)) / count if own else (after.cpu - before.cpu) * part) * 1e6,
        "switches": (after.switches - before.switches) * part,
        "faults": (after.faults - before.faults) * part,
    }


def _seconds(line):
    """What the client says: it looks at its clock right before its first request and right after its last one."""
    return float(re.search(r"in ([0-9.]+) seconds", line).group(1))


def measure_command(argv, env, until=None):
    """Wall time of a whole command, and until it has printed the line that contains `until`."""
    sample = {}
    with Client(argv, env) as client:
        if until:
            client.wait_for(until)
            sample["output_s"] = time.monotonic() - client.started
        client.wait()
        sample["wall_s"] = time.monotonic() - client.started
    return sample


def _check_module(client, name, folder):
    path = client.has_mapped(name)
    if path is None or (folder and os.path.realpath(os.path.dirname(path)) != os.path.realpath(folder)):
        raise ClientError(f"{client.pid} has loaded {path} and not {name} from {folder}")
