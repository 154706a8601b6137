# SPDX-License-Identifier: GPL-2.0-or-later
"""Options of quorum: what is refused with which message, what is told about a node; all of it as the C driver does."""

import json

from lib.harness import cases, check, test
from lib.qmp import Daemon, QmpError
from lib.quorum import (edges, file_node, is_self, need_c_driver, our_cell, quorum_node, raw_children, raw_files,
                        same_with_both)

CHILD = "children.{0}.driver=file,children.{0}.filename=child{0}"
ONE, TWO, THREE = (",".join(CHILD.format(number) for number in range(count)) for count in (1, 2, 3))


def info(t, cell, options, *more):
    done = cell.run("qemu-img", "info", *more, "--image-opts", f"driver=quorum,{options}", cwd=t.work)
    return done.status, done.out, done.err


def refused(t, options, *words):
    """Refused; our message says at least what the C driver's does, which has these words."""
    need_c_driver(t)
    raw_files(t, 3)
    ours, c = info(t, our_cell(t), options), info(t, t.c_drivers, options)
    check(ours[0] == c[0] == 1 and c[2].strip().lower() in ours[2].lower(), f"ours: {ours[2]}\nC driver: {c[2]}")
    for word in words:
        check(word in ours[2], ours[2])


def refused_in_other_words(t, options, ours, c):
    """Refused by both; our message has the words `ours`, the C driver's has `c`."""
    need_c_driver(t)
    raw_files(t, 3)
    for cell, word in ((our_cell(t), c if is_self() else ours), (t.c_drivers, c)):
        status, _, message = info(t, cell, options)
        check(status == 1 and word in message, message)


def accepted(t, options):
    raw_files(t, 3)

    def work(cell, _):
        done = cell.run("qemu-io", "-c", "read -P 0 0 4k", "-c", "length", "--image-opts", f"driver=quorum,{options}", cwd=t.work)
        return done.status, done.err, done.out.splitlines()[0], done.out.splitlines()[-1]

    found = same_with_both(t, work)
    check(found[0] == 0 and not found[1] and "verification" not in found[2], found)


cases("quorum_options", [
    ("three children", accepted, f"vote-threshold=2,{THREE}"),
    ("one child", accepted, f"vote-threshold=1,{ONE}"),
    ("fifo pattern", accepted, f"vote-threshold=2,read-pattern=fifo,{THREE}"),
    ("quorum pattern by its name", accepted, f"vote-threshold=2,read-pattern=quorum,{THREE}"),
    ("blkverify", accepted, f"vote-threshold=2,blkverify=on,{TWO}"),
    ("rewrite-corrupted", accepted, f"vote-threshold=2,rewrite-corrupted=on,{THREE}"),
    ("fifo pattern ignores blkverify with three children", accepted, f"vote-threshold=2,read-pattern=fifo,blkverify=on,{THREE}"),
    ("fifo pattern ignores blkverify and rewrite-corrupted", accepted,
     f"vote-threshold=2,read-pattern=fifo,blkverify=on,rewrite-corrupted=on,{TWO}"),
    ("threshold in hexadecimal", accepted, f"vote-threshold=0x2,{THREE}"),
    ("no children is refused", refused_in_other_words, "vote-threshold=1", "at least one child",
     "Number of provided children must be 1 or more"),
    ("gap in the children is refused", refused_in_other_words, f"vote-threshold=1,{ONE},{CHILD.format(2)}",
     "numbered from 0 on, without gaps", "Option children is not a valid array"),
    ("children that begin with 1 are refused", refused_in_other_words, f"vote-threshold=1,{CHILD.format(1)}",
     "numbered from 0 on, without gaps", "Option children is not a valid array"),
    ("children without a number are refused", refused_in_other_words, "vote-threshold=1,children.x.filename=child0",
     "numbered from 0 on, without gaps", "Option children is not a valid array"),
    ("no threshold is refused", refused, THREE, "vote-threshold", "a value >= 1"),
    ("threshold 0 is refused", refused, f"vote-threshold=0,{THREE}", "vote-threshold", "a value >= 1"),
    ("threshold that is negative is refused", refused_in_other_words, f"vote-threshold=-1,{THREE}", "vote-threshold", "a value >= 1"),
    ("threshold above the number of children is refused", refused_in_other_words, f"vote-threshold=4,{THREE}",
     "vote-threshold 4 may not exceed the children count 3", "threshold may not exceed children count"),
    ("threshold that is a word is refused", refused, f"vote-threshold=two,{THREE}", "vote-threshold"),
    ("threshold that is empty is refused", refused, f"vote-threshold=,{THREE}", "vote-threshold"),
    ("threshold beyond 64 bits is refused", refused_in_other_words, f"vote-threshold=99999999999999999999,{THREE}",
     "'vote-threshold' expects a number", "is too large for parameter 'vote-threshold'"),
    ("unknown pattern is refused", refused_in_other_words, f"vote-threshold=2,read-pattern=wool,{THREE}",
     "'read-pattern' expects 'quorum' or 'fifo', not 'wool'", "Please set read-pattern as fifo or quorum"),
    ("empty pattern is refused", refused_in_other_words, f"vote-threshold=2,read-pattern=,{THREE}",
     "'read-pattern' expects 'quorum' or 'fifo', not ''", "Please set read-pattern as fifo or quorum"),
    ("blkverify with three children is refused", refused, f"vote-threshold=2,blkverify=on,{THREE}", "exactly two files and vote-threshold is 2"),
    ("blkverify with threshold 1 is refused", refused, f"vote-threshold=1,blkverify=on,{TWO}", "exactly two files and vote-threshold is 2"),
    ("blkverify with rewrite-corrupted is refused", refused, f"vote-threshold=2,blkverify=on,rewrite-corrupted=on,{TWO}",
     "rewrite-corrupted=on cannot be used with blkverify=on"),
    ("blkverify that is no switch is refused", refused, f"vote-threshold=2,blkverify=wool,{TWO}", "blkverify"),
    ("rewrite-corrupted that is no switch is refused", refused, f"vote-threshold=2,rewrite-corrupted=wool,{TWO}", "rewrite-corrupted"),
    ("threshold is told before the pattern", refused_in_other_words, f"vote-threshold=9,read-pattern=wool,{THREE}",
     "vote-threshold 9 may not exceed", "threshold may not exceed"),
    ("children are told before the threshold", refused_in_other_words, "vote-threshold=0",
     "at least one child", "Number of provided children"),
    ("unknown option is refused", refused, f"vote-threshold=2,wool=1,{THREE}", "wool"),
    ("child that does not exist is refused", refused, f"vote-threshold=2,{TWO},children.2.driver=file,children.2.filename=no-such-file", "no-such-file"),
    ("child by the name of no node is refused", refused, f"vote-threshold=2,{TWO},children.2=no-such-node", "no-such-node"),
    ("child of an unknown driver is refused", refused, f"vote-threshold=2,{TWO},children.2.driver=wool", "wool"),
])


@test(core=True)
def threshold_beyond_32_bits_is_refused(t):
    """The C driver takes the lower half of it."""
    raw_files(t, 3)
    for number in (4294967297, 4294967298, 9223372036854775809):
        status, _, message = info(t, t.cell, f"vote-threshold={number},{THREE}")
        check(status == 1 and "threshold" in message, (status, message))


@test()
def children_of_different_length_are_refused(t):
    raw_files(t, 2)
    with open(t.path("child2"), "wb") as file:
        file.truncate(3 << 20)
    status, _, message = same_with_both(t, lambda cell, _: info(t, cell, f"vote-threshold=2,{THREE}"))
    check(status == 1 and "Input/output error" in message, message)


def refusal(daemon, command, arguments):
    try:
        daemon.raw(command, arguments)
    except QmpError as error:
        return str(error)
    return None


@test(core=True)
def failed_open_leaves_the_other_children_as_they_were(t):
    children = raw_children(t, 2)

    def work(cell, _):
        with Daemon(cell, t.work) as daemon:
            for child in children:
                daemon.add(child)
            check(refusal(daemon, "blockdev-add", quorum_node(["c0", "c1"], 3)), "a threshold of 3 with 2 children was accepted")
            said = [refusal(daemon, "blockdev-add", quorum_node(["c0", "c1", "none"], 2)),
                    refusal(daemon, "blockdev-add", quorum_node(["c0", "c1", file_node("/no/such")], 1))]
            daemon.add(quorum_node(["c0", "c1"], 2))
            found = edges(daemon)
            daemon.remove("q")
            check(edges(daemon) == [], "edges are left over")
            daemon.remove("c0")
            daemon.remove("c1")
            check(daemon.quit() == 0, daemon.output())
            return said, found

    said, _ = same_with_both(t, work)
    check(all(said), said)


@test()
def create_is_refused(t):
    def work(cell, _):
        done = cell.run("qemu-img", "create", "-f", "quorum", t.path("new"), "1M", cwd=t.work)
        return done.status, done.err

    check(same_with_both(t, work)[0] == 1, "an image was created")


@test()
def reopen_is_refused(t):
    children = raw_children(t, 3)

    def work(cell, _):
        with Daemon(cell, t.work) as daemon:
            node = quorum_node(children, 2)
            daemon.add(node)
            return [refusal(daemon, "blockdev-reopen", {"options": [{**node, "read-only": True}]}),
                    refusal(daemon, "blockdev-reopen", {"options": [{**node, "vote-threshold": 3}]}), edges(daemon)]

    same, other, _ = same_with_both(t, work)
    check(same and other, (same, other))


@test()
def relative_backing_file_has_no_folder_below_quorum(t):
    raw_files(t, 3)

    def work(cell, name):
        overlay, base = t.path(f"{name}.qcow2"), t.path(f"{name}.base")
        check(cell.run("qemu-img", "create", "-q", "-f", "raw", base, "1M").status == 0, "create")
        check(cell.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", overlay).status == 0, "create")
        check(cell.run("qemu-img", "rebase", "-u", "-b", "relative", "-F", "raw", "-f", "qcow2", overlay).status == 0, "rebase")
        node = {"driver": "qcow2", "file": {"driver": "quorum", "vote-threshold": 1, "children": [file_node(overlay)]}}
        done = cell.run("qemu-io", "-c", "read 0 512", "json:" + json.dumps(node), cwd=t.work)
        return done.status, done.err.replace(overlay, "OVERLAY")

    status, message = same_with_both(t, work)
    check(status == 1 and "Cannot generate a base directory for quorum nodes" in message, message)


def told(t, node, *before):
    """What is told about a node, with the names of the nodes below it."""

    def work(cell, _):
        with Daemon(cell, t.work) as daemon:
            for child in before:
                daemon.add(child)
            daemon.add(node)
            found = {one["node-name"]: one for one in daemon.command("query-named-block-nodes")}["q"]
            return {key: found[key] for key in ("file", "ro", "drv", "image", "cache", "detect_zeroes")}, edges(daemon)

    return same_with_both(t, work)


def filename_of(t, node, *before):
    found, _ = told(t, node, *before)
    check(found["file"].startswith("json:"), found["file"])
    return json.loads(found["file"].removeprefix("json:"))


@test(core=True)
def generated_filename_has_the_options_and_the_children(t):
    options = {"rewrite-corrupted": True, "read-pattern": "quorum"}
    found = filename_of(t, quorum_node(raw_children(t, 3), 2, **options))
    check(found["vote-threshold"] == 2 and found["rewrite-corrupted"] is True and len(found["children"]) == 3, found)


@test()
def generated_filename_of_children_by_name_has_their_options(t):
    found = filename_of(t, quorum_node(["c2", "c0", "c1"], 3), *raw_children(t, 3))
    check([child["filename"][-1] for child in found["children"]] == ["2", "0", "1"], found)


@test()
def generated_filename_opens_the_same_quorum_again(t):
    found = filename_of(t, quorum_node(raw_children(t, 2, locking="off"), 2, **{"read-pattern": "fifo"}))

    def again(cell, _):
        done = cell.run("qemu-img", "info", "--output=json", "json:" + json.dumps(found), cwd=t.work)
        return done.status, done.out, done.err

    status, text, _ = same_with_both(t, again)
    check(status == 0 and json.loads(text)["virtual-size"] == 1 << 20, text)


@test()
def permissions_on_the_children(t):
    _, graph = told(t, quorum_node(raw_children(t, 3), 2))
    check(len(graph) == 3, graph)


@test(core=True)
def rewrite_corrupted_needs_write_access_to_the_children_of_a_read_only_node(t):
    _, graph = told(t, quorum_node(["c0", "c1", "c2"], 2, **{"rewrite-corrupted": True, "read-only": True}), *raw_children(t, 3))
    check(all("write" in edge[3] for edge in graph), graph)

    def work(cell, _):
        with Daemon(cell, t.work) as daemon:
            for child in raw_children(t, 3, **{"read-only": True}):
                daemon.add(child)
            return refusal(daemon, "blockdev-add", quorum_node(["c0", "c1", "c2"], 2, **{"rewrite-corrupted": True, "read-only": True}))

    check(same_with_both(t, work), "read-only children were taken")


@test()
def permissions_of_a_writer_go_down_to_the_children(t):
    children = raw_children(t, 3)

    def work(cell, _):
        with Daemon(cell, t.work) as daemon:
            daemon.add(quorum_node(children, 2))
            daemon.export("q")
            return [edge for edge in edges(daemon) if edge[0] == "q"]

    graph = same_with_both(t, work)
    check(all("write" in edge[3] and "write" not in edge[4] and "resize" not in edge[4] for edge in graph), graph)


@test()
def cache_options_reach_the_children(t):
    _, graph = told(t, quorum_node(raw_children(t, 2), 1, cache={"no-flush": True}, **{"detect-zeroes": "unmap"}))
    check(len(graph) == 2, graph)


@test()
def help_of_the_drivers_lists_quorum(t):
    done = our_cell(t).run("qemu-img", "--help")
    check("quorum" in done.out, done)
