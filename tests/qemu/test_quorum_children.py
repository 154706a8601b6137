# SPDX-License-Identifier: GPL-2.0-or-later
"""Adding, removing and replacing children of a running quorum."""

from lib.harness import Failure, Skip, check, test
from lib.model import Load, Model
from lib.nbd import FAST_ZERO, ZEROES, Client
from lib.qmp import Daemon, QmpError
from lib.quorum import edges, file_node, is_self, our_cell, quorum_node, raw_children, raw_files, same_with_both

MIB = 1 << 20


def change(daemon, **more):
    """x-blockdev-change on the quorum; the message of a refusal."""
    try:
        daemon.raw("x-blockdev-change", {"parent": "q", **more})
    except QmpError as error:
        return str(error)
    return None


def children_of(daemon):
    """The quorum's children as name of the edge -> node."""
    return {name: child for parent, name, child, _, _ in edges(daemon) if parent == "q"}


def steps(t, count, threshold, work, **options):
    """The same steps with both drivers, on a quorum of nodes c0, c1 and so on of which the first `count` are children."""

    def run(cell, _):
        with Daemon(cell, t.work) as daemon:
            for child in raw_children(t, 6):
                daemon.add(child)
            daemon.add(quorum_node([f"c{number}" for number in range(count)], threshold, **options))
            found = work(daemon)
            status = daemon.quit()
            check(status == 0, daemon.output())
            return found

    return same_with_both(t, run)


@test(core=True)
def child_added_after_a_removed_one_gets_a_new_name(t):
    def work(daemon):
        return [change(daemon, child="children.1"), children_of(daemon), change(daemon, node="c4"), children_of(daemon)]

    found = steps(t, 3, 1, work)
    check(found == [None, {"children.0": "c0", "children.2": "c2"}, None, {"children.0": "c0", "children.2": "c2", "children.3": "c4"}], found)


@test()
def name_of_a_removed_last_child_is_given_again(t):
    def work(daemon):
        return [change(daemon, child="children.2"), change(daemon, node="c5"), children_of(daemon)]

    found = steps(t, 3, 1, work)
    check(found[2] == {"children.0": "c0", "children.1": "c1", "children.2": "c5"}, found)


@test()
def names_after_many_changes(t):
    def work(daemon):
        found = []
        for change_of in ({"node": "c3"}, {"child": "children.0"}, {"node": "c4"}, {"child": "children.4"}, {"child": "children.3"},
                          {"node": "c0"}, {"child": "children.1"}, {"node": "c1"}, {"node": "c5"}):
            found += [change(daemon, **change_of), children_of(daemon)]
        return found

    found = steps(t, 3, 1, work)
    check(found[0::2] == [None] * 9, found)


@test(core=True)
def children_below_the_threshold_are_refused(t):
    found = steps(t, 3, 3, lambda daemon: [change(daemon, child="children.0"), children_of(daemon)])
    check("cannot be lower than the vote threshold 3" in found[0] and len(found[1]) == 3, found)


@test(core=True)
def child_is_not_added_in_blkverify_mode(t):
    found = steps(t, 2, 2, lambda daemon: [change(daemon, node="c3"), children_of(daemon)], blkverify=True)
    check(found[0] == "Cannot add a child to a quorum in blkverify mode" and len(found[1]) == 2, found)


@test()
def child_that_has_a_parent_is_not_added(t):
    found = steps(t, 3, 2, lambda daemon: [change(daemon, node="c0"), change(daemon, node="q"), change(daemon, node="none"),
                                           change(daemon, child="children.7"), change(daemon, child="children.0", node="c4"),
                                           children_of(daemon)])
    check(all(found[:5]) and len(found[5]) == 3, found)


@test()
def read_only_child_is_not_added_to_a_quorum_that_is_written(t):
    def work(daemon):
        daemon.export("q")
        daemon.add(file_node(raw_files(t, 1, name="other")[0], **{"node-name": "ro", "read-only": True}))
        return [change(daemon, node="ro"), children_of(daemon), change(daemon, node="c4"), children_of(daemon)]

    found = steps(t, 3, 2, work)
    check(found[0] and len(found[1]) == 3 and found[2] is None and found[3]["children.3"] == "c4", found)


@test(core=True)
def added_child_is_written_and_votes(t):
    def work(daemon):
        export = daemon.export("q")
        with Client(daemon.work, export, "q") as client:
            client.write(0, b"a" * 4096)
            said = [change(daemon, node="c2"), change(daemon, node="c3")]
            client.write(4096, b"b" * 4096)
            # Two of four have it.
            return said, client.read(0, 8192)

    said, data = steps(t, 2, 2, work)
    check(said == [None, None] and data[4096:] == b"b" * 4096, (said, data[:1]))
    for number in range(4):
        with open(t.path(f"child{number}"), "rb") as file:
            found = file.read(8192)
        check(found == (b"a" if number < 2 else b"\0") * 4096 + b"b" * 4096, f"child {number}")


@test()
def removed_child_is_not_written_any_more(t):
    def work(daemon):
        said = change(daemon, child="children.0")
        with Client(daemon.work, daemon.export("q"), "q") as client:
            client.write(0, b"x" * 512)
            client.flush()
        daemon.remove("c0")
        return said

    check(steps(t, 3, 2, work) is None, "the child was not removed")
    with open(t.path("child0"), "rb") as file:
        check(file.read(512) == bytes(512), "the removed child was written")


@test(core=True)
def child_of_another_length_is_not_added(t):
    if is_self():
        raise Skip("the C driver adds it, and aborts at a write beyond its end")
    with Daemon(our_cell(t), t.work) as daemon:
        for child in raw_children(t, 3):
            daemon.add(child)
        daemon.add(quorum_node(["c0", "c1", "c2"], 2))
        for name, size in (("short", MIB // 2), ("long", 2 * MIB)):
            daemon.add(file_node(raw_files(t, 1, size, name)[0], **{"node-name": name}))
            said = change(daemon, node=name)
            check(said == f"Cannot add node '{name}' of {size} bytes to a quorum of {MIB} bytes", said)
        check(len(children_of(daemon)) == 3, children_of(daemon))
        with Client(t.work, daemon.export("q"), "q") as client:
            client.write(MIB - 4096, b"e" * 4096)
        check(daemon.quit() == 0, daemon.output())


@test()
def child_of_the_same_odd_length_is_added(t):
    odd = MIB + 100

    def run(cell, name):
        with Daemon(cell, t.work) as daemon:
            for child in raw_children(t, 3, odd, name):
                daemon.add(child)
            daemon.add(quorum_node(["c0", "c1"], 2))
            said = change(daemon, node="c2")
            found = children_of(daemon)
            check(daemon.quit() == 0, daemon.output())
            return said, found

    said, found = same_with_both(t, run)
    check(said is None and len(found) == 3, (said, found))


@test()
def zero_flags_follow_the_children(t):
    """A child that can't write zeroes quickly takes that away from the quorum, and gives it back when it leaves."""

    def work(daemon):
        t.ok("qemu-img", "create", "-q", "-f", "vdi", t.path("slow"), "1M")
        daemon.add({"driver": "vdi", "node-name": "slow", "file": file_node(t.path("slow"))})
        found = []
        with Client(daemon.work, daemon.export("q"), "q") as client:
            for step in (None, {"node": "slow"}, {"child": "children.3"}):
                if step:
                    check(change(daemon, **step) is None, step)
                client.submit(ZEROES, 0, 65536, flags=FAST_ZERO)
                found.append(client.receive()[1])
        return found

    found = steps(t, 3, 2, work)
    check(found[0] == 0 and found[1] != 0 and found[2] == 0, found)


def mirrored(t, replaces, node="q", prepare=None):
    """Mirror a node onto a new one that is to replace a node of the graph."""

    def run(cell, _):
        with Daemon(cell, t.work) as daemon:
            for child in raw_children(t, 3):
                daemon.add(child)
            daemon.add(quorum_node(["c0", "c1", "c2"], 2))
            daemon.add(file_node(raw_files(t, 1, name="new")[0], **{"node-name": "new"}))
            with Client(daemon.work, daemon.export("q"), "q") as client:
                client.write(0, b"m" * 65536)
            daemon.unexport("q")
            if prepare:
                prepare(daemon)
            try:
                daemon.raw("blockdev-mirror", {"job-id": "m", "device": node, "target": "new", "sync": "full", "replaces": replaces})
            except QmpError as error:
                return str(error), children_of(daemon)
            finish(daemon)
            return None, children_of(daemon)

    return same_with_both(t, run)


def finish(daemon):
    """Complete the mirror job."""
    while True:
        event = daemon.wait_event("JOB_STATUS_CHANGE")
        if event["status"] == "ready":
            daemon.raw("job-complete", {"id": "m"})
        if event["status"] in ("null", "concluded"):
            return
        if event["status"] == "aborting":
            raise Failure(f"the mirror failed: {daemon.command('query-jobs')}")


@test(core=True)
def mirror_replaces_a_child(t):
    said, found = mirrored(t, "c1")
    check(said is None and found == {"children.0": "c0", "children.1": "new", "children.2": "c2"}, (said, found))
    with open(t.path("new0"), "rb") as file:
        check(file.read(65536) == b"m" * 65536, "the new child has not got the data")


@test()
def mirror_does_not_replace_a_child_with_another_parent(t):
    said, found = mirrored(t, "c1", prepare=lambda daemon: daemon.add({"driver": "raw", "node-name": "other", "file": "c1", "read-only": True}))
    check(said and found["children.1"] == "c1", (said, found))


@test()
def mirror_does_not_replace_what_is_no_child(t):
    def prepare(daemon):
        daemon.add(file_node(raw_files(t, 1, name="apart")[0], **{"node-name": "apart"}))

    said, found = mirrored(t, "apart", prepare=prepare)
    check(said and len(found) == 3, (said, found))


@test()
def hundred_changes_under_load_keep_the_children_equal(t):
    """Requests of four kinds are in flight all the time while children come and go."""
    with Daemon(our_cell(t), t.work) as daemon:
        for child in raw_children(t, 4):
            daemon.add(child)
        daemon.add(quorum_node(["c0", "c1", "c2"], 2, discard="unmap"))
        name = daemon.export("q")
        model = Model(MIB, 11)
        with Client(t.work, name, "q") as client:
            # By another thread: a request can't end, and so no child come or go, while nobody takes the replies.
            with Load(model, client) as load:
                for _ in range(100):
                    # The one that comes back is behind, so it only comes back for reads to outvote; it leaves before the next one goes.
                    check(change(daemon, node="c3") is None, "add")
                    check(change(daemon, child=next(edge for edge, node in children_of(daemon).items() if node == "c3")) is None, "remove")
            model.check_all(client)
            client.flush()
        t.note(f"{sum(model.counts.values())} requests, slowest reply {load.slowest * 1000:.0f} ms")
        check(daemon.quit() == 0, daemon.output())
    for number in range(3):
        with open(t.path(f"child{number}"), "rb") as file:
            check(file.read() == bytes(model.data), f"child {number}")
