# SPDX-License-Identifier: GPL-2.0-or-later
"""qemu-storage-daemon, an emulator without a machine, and their monitors."""

import json
import os
import signal
import socket
import subprocess
import time


class QmpError(Exception):
    """A command was refused."""


def connect_unix(folder, name, deadline=15):
    """A connection to the socket `name` in `folder`, however long the folder's path is."""
    end = time.monotonic() + deadline
    at = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(f"/proc/self/fd/{at}/{name}")
                return connection
            except OSError:
                connection.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
    finally:
        os.close(at)


class Daemon:
    """A qemu-storage-daemon with a monitor; use as a context, which kills what is left of it."""

    _count = 0
    program = "qemu-storage-daemon"

    def __init__(self, cell, work, *args, variables=None):
        for attempt in (1, 2, 3):
            self._start(cell, work, args, variables)
            try:
                # QEMU 7.2 now and then misses the first command of a monitor, before there is any node.
                self.command("qmp_capabilities", timeout=10)
                self._settle()
                return
            except TimeoutError:
                self.kill()
                if attempt == 3:
                    raise

    def _settle(self):
        """A monitor to which somebody connects while it starts may greet twice, and forget that it was talked to before."""
        try:
            self.command("query-jobs")
        except QmpError:
            self.command("qmp_capabilities")

    def _words(self, name):
        """Arguments that make the monitor on the socket `name`."""
        return "--chardev", f"socket,id=m,path={name},server=on,wait=off", "--monitor", "chardev=m"

    def _start(self, cell, work, args, variables):
        Daemon._count += 1
        self.work, self.tag = work, f"{Daemon._count}"
        name = f"qmp{self.tag}"
        self.errors = os.path.join(work, f"qsd{self.tag}.err")
        with open(self.errors, "wb") as errors:
            self.process = cell.start(self.program, *self._words(name), *args, cwd=work, variables=variables,
                                      stdin=subprocess.DEVNULL, stdout=errors, stderr=errors)
        self.pid = self.process.pid
        try:
            self._socket = connect_unix(work, name)
        except OSError as error:
            self.kill()
            raise RuntimeError(f"{self.program} did not start: {self.output()}") from error
        self._buffer = b""
        self._socket.settimeout(90)
        self.events = []
        self._receive()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def _receive(self):
        while b"\n" not in self._buffer:
            data = self._socket.recv(1 << 16)
            if not data:
                raise QmpError(f"the monitor is closed: {self.output()}")
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return json.loads(line)

    def command(self, name, timeout=90, **arguments):
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        return self.raw(name, arguments, timeout)

    def raw(self, name, arguments, timeout=90):
        self._socket.settimeout(timeout)
        self._socket.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while True:
            message = self._receive()
            if "error" in message:
                raise QmpError(message["error"]["desc"])
            if "return" in message:
                return message["return"]
            if "event" in message:
                self.events.append(message)

    def add(self, node):
        return self.raw("blockdev-add", node)

    def remove(self, name="g"):
        return self.command("blockdev-del", node_name=name)

    def export(self, node="g", name=None, writable=True):
        """Export a node over NBD; the name of the socket."""
        name = name or node
        path = f"nbd{self.tag}-{name}"
        if not any(event == "nbd" for event in self.events):
            self.raw("nbd-server-start", {"addr": {"type": "unix", "data": {"path": f"nbd{self.tag}"}}, "max-connections": 0})
            self.events.append("nbd")
        self.raw("block-export-add", {"type": "nbd", "id": path, "node-name": node, "name": name, "writable": writable})
        return f"nbd{self.tag}"

    def take_events(self, *names):
        """The events of these names so far, as (name, data); they are forgotten here."""
        self.command("query-jobs")
        taken, left = [], []
        for event in self.events:
            (taken if isinstance(event, dict) and event["event"] in names else left).append(event)
        self.events = left
        return [(event["event"], event["data"]) for event in taken]

    def wait_event(self, name):
        """The data of the next event of this name, which may have come already; it is forgotten here."""
        while True:
            for at, event in enumerate(self.events):
                if isinstance(event, dict) and event["event"] == name:
                    del self.events[at]
                    return event["data"]
            message = self._receive()
            if "event" not in message:
                raise QmpError(f"an answer that nobody waits for: {message}")
            self.events.append(message)

    def unexport(self, node="g"):
        """Take back an export, whoever uses it."""
        name = f"nbd{self.tag}-{node}"
        self.raw("block-export-del", {"id": name, "mode": "hard"})
        while self.wait_event("BLOCK_EXPORT_DELETED")["id"] != name:
            pass

    def job(self, name, arguments, timeout=60):
        """Run a job to its end; the error text, or None."""
        self.raw(name, {"job-id": "j", **arguments})
        end = time.monotonic() + timeout
        while True:
            (job,) = [job for job in self.command("query-jobs") if job["id"] == "j"]
            if job["status"] == "concluded":
                self.raw("job-dismiss", {"id": "j"})
                return job.get("error")
            if time.monotonic() > end:
                raise QmpError(f"the job does not end: {job}")
            time.sleep(0.005)

    def create(self, location, size, **more):
        return self.job("blockdev-create", {"options": {"driver": "gluster", "location": location, "size": size, **more}})

    def quit(self, timeout=30):
        """End it in the usual way; its exit status."""
        self._socket.sendall(b'{"execute":"quit"}\n')
        return self.wait(timeout)

    def wait(self, timeout=30):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self):
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.process.wait()

    def output(self):
        with open(self.errors, encoding="utf-8", errors="replace") as errors:
            return errors.read()

    def threads(self):
        """The names of its threads."""
        names = []
        for task in os.listdir(f"/proc/{self.pid}/task"):
            try:
                with open(f"/proc/{self.pid}/task/{task}/comm", encoding="utf-8") as comm:
                    names.append(comm.read().strip())
            except OSError:
                pass
        return names

    def switches(self, name):
        """How often the thread of that name has gone to sleep so far; None when there is no such thread."""
        for task in os.listdir(f"/proc/{self.pid}/task"):
            try:
                with open(f"/proc/{self.pid}/task/{task}/comm", encoding="utf-8") as comm:
                    if comm.read().strip() != name:
                        continue
                with open(f"/proc/{self.pid}/task/{task}/status", encoding="utf-8") as status:
                    return next(int(line.split()[1]) for line in status if line.startswith("voluntary_ctxt_switches"))
            except OSError:
                pass
        return None

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self, name):
        """A line of /proc/PID/status, in KiB."""
        with open(f"/proc/{self.pid}/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) for line in status if line.startswith(f"{name}:"))

    def resident(self):
        """Resident memory in KiB."""
        return self.memory("VmRSS")


class Machine(Daemon):
    """qemu-system-x86_64 without a machine, whose clock only goes on when it is told to.

    QEMU sends no more than one event of a kind per second, and here a second passes between any two requests.
    """

    program = "qemu-system-x86_64"

    def _words(self, name):
        return ("-M", "none", "-nodefaults", "-display", "none", "-accel", "qtest", "-qtest", f"unix:{name}-clock,server=on,wait=off",
                "-qtest-log", "none", "-chardev", f"socket,id=m,path={name},server=on,wait=off", "-mon", "chardev=m,mode=control")

    def _start(self, cell, work, args, variables):
        super()._start(cell, work, args, variables)
        self._clock = connect_unix(work, f"qmp{self.tag}-clock")
        self._clock.settimeout(90)

    def seconds_pass(self, seconds=5):
        """Let the clock run, so that whatever event was held back is sent and none of the next ones is."""
        self._clock.sendall(b"clock_step %d\n" % (seconds * 1000000000))
        answer = b""
        while not answer.endswith(b"\n"):
            data = self._clock.recv(4096)
            if not data:
                raise QmpError(f"the clock is gone: {self.output()}")
            answer += data

    def io(self, node, command):
        """A command of qemu-io on a node; what it prints."""
        before = len(self.output())
        said = self.command("human-monitor-command", command_line=f'qemu-io {node} "{command}"')
        return self.output()[before:] + said
