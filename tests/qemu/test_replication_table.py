# SPDX-License-Identifier: GPL-2.0-or-later
"""Every operation in every stage that can be held still, with our driver and with QEMU's own: what differs is listed here."""

from lib.harness import Skip, check, test, wait_for
from lib.nbd import Client, NbdError
from lib.qmp import Machine, QmpError
from lib.replication import SIZE, children, file_of, image, raw_image, start, stop

STAGES = {
    "primary": ("none", "running", "stopped"),
    "secondary": ("none", "running", "failover failed", "stopped", "failed over"),
}

# (side, stage, operation): what the C driver answers, and what ours does. Messages count up to their first colon.
DIFFERENCES = {
    # Discards are no longer dropped.
    ("primary", "none", "discard"): ("ok", "EIO"),
    ("primary", "stopped", "discard"): ("ok", "EIO"),
    ("secondary", "none", "discard"): ("ok", "EIO"),
    # A plain stop of a secondary works.
    ("secondary", "running", "stop"): ("Backup job was cancelled unexpectedly", "ok"),
    ("secondary", "stopped", "status"): ("I/O error occurred", "ok"),
    ("secondary", "stopped", "status afterwards"): ("I/O error occurred", "ok"),
    # A start as secondary after a failover says why it can't be.
    ("secondary", "failed over", "start secondary"): ("ok", "Block replication can't start as secondary"),
}


class Side:
    """A process with one replication node "r", exported, brought to a stage."""

    def __init__(self, t, cell, side, stage):
        self.t, self.side = t, side
        self.machine = machine = Machine(cell, t.work)
        failing = {"inject-error": [{"event": "none", "iotype": "write", "errno": 5}]} if stage == "failover failed" else {}
        machine.add({"driver": "raw", "node-name": "disk", "discard": "unmap", "file": {
            "driver": "blkdebug", "discard": "unmap", "image": file_of(raw_image(t, "disk", b"d" * SIZE)), **failing}})
        if side == "primary":
            machine.add({"driver": "replication", "node-name": "r", "mode": "primary", "file": "disk", "discard": "unmap"})
        else:
            machine.export("disk")
            machine.add({"driver": "qcow2", "node-name": "hidden", "file": file_of(image(t, "hidden")), "backing": "disk"})
            machine.add({"driver": "qcow2", "node-name": "active", "file": file_of(image(t, "active")), "backing": "hidden",
                         "discard": "unmap"})
            machine.add({"driver": "replication", "node-name": "r", "mode": "secondary", "top-id": "r", "file": "active",
                         "discard": "unmap"})
        self.socket = machine.export("r")
        self.bring(stage)

    def bring(self, stage):
        if stage == "none":
            return
        start(self.machine, self.side == "primary")
        if stage == "stopped":
            self.do("stop")
        elif stage != "running":
            with Client(self.t.work, self.socket, "r") as client:
                client.write(0, b"a" * 65536)
            stop(self.machine, False, True)
            if stage == "failed over":
                wait_for(lambda: "hidden disk" not in children(self.machine, "r"), 60, "the end of the failover")
            else:
                # The disk that takes no writes makes the job fail; then nothing is above the active disk any more.
                wait_for(lambda: children(self.machine, "r")["file"] == "active", 60, "the failure of the failover")

    def do(self, operation):
        calls = {
            "start primary": lambda: start(self.machine, True),
            "start secondary": lambda: start(self.machine, False),
            "checkpoint": lambda: self.machine.command("xen-colo-do-checkpoint"),
            "stop": lambda: stop(self.machine, self.side == "primary", False),
            "failover": lambda: stop(self.machine, self.side == "primary", True),
        }
        try:
            calls[operation]()
            return "ok"
        except QmpError as error:
            return str(error).split(":")[0]

    def status(self):
        answer = self.machine.command("query-xen-replication-status")
        return answer["desc"].split(":")[0] if answer["error"] else "ok"

    def requests(self):
        """What each kind of request gives, and what is read then."""
        found = {}
        with Client(self.t.work, self.socket, "r") as client:
            calls = {
                "read": lambda: client.read(0, 4096),
                "write": lambda: client.write(0, b"w" * 4096),
                "write of what nobody has": lambda: client.write(SIZE // 2, b"w" * 4096),
                "zeroes": lambda: client.zero(8192, 4096),
                "discard": lambda: client.trim(16384, 4096),
                "flush": client.flush,
            }
            for name, call in calls.items():
                try:
                    data = call()
                    found[name] = f"ok {data[:1]!r}" if name == "read" else "ok"
                except NbdError as error:
                    found[name] = "EIO" if error.code == 5 else f"error {error.code}"
            try:
                found["content"] = (client.read(0, 1), client.read(8192, 1), client.read(SIZE // 2, 1))
            except NbdError:
                found["content"] = None
        return found

    def close(self):
        self.machine.kill()


def answers(t, cell):
    """{(side, stage, operation): answer} with the drivers of a cell."""
    found = {}
    for side, stages in STAGES.items():
        for stage in stages:
            node = Side(t, cell, side, stage)
            try:
                found[side, stage, "status"] = node.status()
                for name, answer in node.requests().items():
                    found[side, stage, name] = answer
                found[side, stage, "status afterwards"] = node.status()
            finally:
                node.close()
            for operation in ("start primary", "start secondary", "checkpoint", "stop", "failover"):
                node = Side(t, cell, side, stage)
                try:
                    found[side, stage, operation] = node.do(operation)
                finally:
                    node.close()
    return found


@test()
def operations_in_each_stage_answer_as_those_of_the_c_driver(t):
    missing = t.c_drivers.missing(("replication",))
    if missing:
        raise Skip(f"no C driver to compare with: {missing}")
    ours, c = answers(t, t.cell), answers(t, t.c_drivers)
    different = {key: (c[key], ours[key]) for key in ours if ours[key] != c[key]}
    check(different == DIFFERENCES, "\n".join(
        [f"differs: {key}: {different[key]}" for key in different if DIFFERENCES.get(key) != different[key]]
        + [f"no longer differs: {key}" for key in DIFFERENCES if key not in different]))
    t.note(f"{len(ours)} answers, {len(different)} of them different on purpose")
