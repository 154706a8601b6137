# SPDX-License-Identifier: GPL-2.0-or-later
"""Every operation with every mix of failing children, every threshold and both read patterns, through our driver and the C
driver in the same QEMU: result, data, events and the children's bytes must be the same, or as the list of divergences says.

QBR_QUORUM_TABLE=quick leaves out most of what has five children; QBR_QUORUM_OURS=c compares the C driver with itself.
"""

import collections
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor

from lib import nbd
from lib.harness import check, memory_folder, test
from lib.quorum import (Side, answer, bad, error_rule, failing_node, failure, plain_events, products, quorum_node, rules_file)

SLOT = 4096
SECTORS = SLOT // 512
# Ranges within a slot. All of them touch the byte at 512, at whose sector the failures are planted.
SHAPES = ((0, SLOT), (512, 512), (500, 100), (512, 1), (100, 3000))
IS_FULL = os.environ.get("QBR_QUORUM_TABLE", "full") != "quick"
IS_SELF = os.environ.get("QBR_QUORUM_OURS") == "c"

Case = collections.namedtuple("Case", "count threshold pattern rewrite operation slot states")
Outcome = collections.namedtuple("Outcome", "error data events children space", defaults=((),))


def shape(slot):
    # Not simply in turn, as the mixes of states repeat with these numbers.
    offset, length = SHAPES[(slot * 40503 >> 7) % len(SHAPES)]
    return slot * SLOT + offset, length


def sectors(slot):
    """First sector and count, as the events tell them."""
    offset, length = shape(slot)
    first = offset // 512
    return first, -(-(offset + length) // 512) - first


# --- what differs, and what is right instead ---------------------------------------------------------------------------


def vote_error(case, failed):
    """The error of most children; of equally frequent ones, that which appeared last."""
    votes = collections.Counter(case.states[i] for i in failed)
    return max(votes, key=lambda error: (votes[error], case.states.index(error)))


def fifo_read_of_which_all_children_failed_sends_a_failure(case, c):
    if case.pattern == "fifo" and case.operation == "read" and c.error:
        return c._replace(events=sorted(c.events + [failure(*sectors(case.slot))]))
    return None


def failed_flush_sends_a_failure(case, c):
    if case.operation == "flush" and c.error:
        return c._replace(events=sorted(c.events + [failure(0, 0)]))
    return None


def in_state(case, *states):
    """The numbers of the children that are in one of these states."""
    return [i for i, state in enumerate(case.states) if state in states]


def zeroed(case, c, done):
    """What is right when these children get zeroes that they do not get from the C driver, and only real failures count."""
    failed = in_state(case, "eio", "enospc")
    children = list(c.children)
    offset, length = shape(case.slot)
    begin = offset % SLOT
    for i in done:
        children[i] = children[i][:begin] + bytes(length) + children[i][begin + length:]
    events = [bad(f"c{i}", "write", *sectors(case.slot), case.states[i]) for i in failed]
    error = 0
    if case.count - len(failed) < case.threshold:
        events.append(failure(*sectors(case.slot)))
        error = NUMBER[vote_error(case, failed)]
    return Outcome(error, c.data, sorted(events), tuple(children), c.space)


def discard_reaches_the_children(case, c):
    """The C driver says that all is well and does nothing."""
    if case.operation != "discard":
        return None
    # A child that refuses a discard is no failure. In the quorum pattern it gets zeroes instead.
    refused = in_state(case, "enotsup")
    done = in_state(case, "ok")
    if case.pattern == "quorum":
        done += refused
    return zeroed(case, c, done)


def quick_zeroes_reach_all_children_or_are_refused(case, c):
    """The C driver takes a child that has none for one that has failed, and goes on if there are enough others."""
    if case.operation != FAST_ZERO:
        return None
    refused = in_state(case, "enotsup")
    if len(refused) == case.count:
        # Nobody has done anything, and the caller is to write the zeroes.
        return c._replace(error=NUMBER["enotsup"], events=[])
    return zeroed(case, c, refused)


FAST_ZERO = "fast-zero"
NUMBER = {"eio": 5, "enospc": 28, "enotsup": 95}
DIVERGENCES = (fifo_read_of_which_all_children_failed_sends_a_failure, failed_flush_sends_a_failure, discard_reaches_the_children,
               quick_zeroes_reach_all_children_or_are_refused)


def expected(case, c):
    for rule in () if IS_SELF else DIVERGENCES:
        changed = rule(case, c)
        if changed is not None:
            return changed
    return c


# --- running and comparing ---------------------------------------------------------------------------------------------


class Table:
    """Runs the same nodes through both drivers, and compares them case by case."""

    def __init__(self, t):
        self.t, self.folder = t, memory_folder(t)
        self.total, self.wrong, self.diverged, self.seconds = 0, [], 0, [0.0, 0.0]

    def __enter__(self):
        cells = [self.t.cell if not IS_SELF else self.t.c_drivers, self.t.c_drivers]
        self.sides = [Side(cell, self.t.work, os.path.join(self.folder, name)) for cell, name in zip(cells, ("ours", "c"))]
        self.pool = ThreadPoolExecutor(2)
        return self

    def __exit__(self, kind, *_):
        self.pool.shutdown()
        for side in self.sides:
            if kind is None:
                check(side.machine.quit() == 0, side.machine.output())
            side.machine.kill()
        self.t.note(f"{self.total} cases, {self.diverged} of them on the list of divergences; seconds: "
                    f"ours {self.seconds[0]:.1f}, C driver {self.seconds[1]:.1f}")

    def both(self, run):
        """run(side) on both at the same time."""

        def timed(number):
            begin = time.monotonic()
            try:
                return run(self.sides[number])
            finally:
                self.seconds[number] += time.monotonic() - begin

        return list(self.pool.map(timed, range(2)))

    def compare(self, cases, ours, reference):
        for case, found, c in zip(cases, ours, reference, strict=True):
            self.total += 1
            wanted = expected(case, c)
            self.diverged += wanted != c
            if found != wanted:
                self.wrong.append((case, wanted, found))
                if len(self.wrong) >= 8:
                    self.done()

    def done(self):
        lines = []
        for case, wanted, found in self.wrong[:8]:
            lines.append(str(case))
            for field in Outcome._fields:
                a, b = getattr(wanted, field), getattr(found, field)
                if a != b:
                    lines.append(f"    {field}: {shown(b)}, expected: {shown(a)}")
        check(not self.wrong, f"{len(self.wrong)} of {self.total} cases\n" + "\n".join(lines))


def shown(value):
    if isinstance(value, bytes):
        return f"{len(value)} bytes {value[:4].hex()}..{value[-4:].hex()}"
    if isinstance(value, tuple) and value and isinstance(value[0], bytes):
        return f"children {[hash(data) % 10000 for data in value]}"
    return str(value)


def slot_outcomes(length, answers, events, files, space):
    """Sort events and bytes to the slots they belong to; the space that the files take belongs to all."""
    of_slot = collections.defaultdict(list)
    for name, data in events:
        of_slot[data["sector-num"] // SECTORS].append((name, data))
    return [Outcome(*answers[slot], plain_events(of_slot[slot]), tuple(data[slot * SLOT:(slot + 1) * SLOT] for data in files), space)
            for slot in range(length)]


def run_slots(side, node, contents, count, mixes, request, watch_space=False):
    """One request in each slot; their outcomes."""
    side.fill(contents)

    def work(client):
        answers = []
        for slot, states in enumerate(mixes):
            answers.append(answer(request, client, *shape(slot)))
            if any(state != "ok" for state in states):
                side.machine.seconds_pass()
        return answers

    answers = side.with_client(node, work)
    space = tuple(os.stat(side.path(number)).st_blocks for number in range(count)) if watch_space and side.in_memory() else ()
    return slot_outcomes(len(mixes), answers, side.events(), side.contents(count), space)


def children(side, count, name):
    return [failing_node(side.path(i), f"c{i}", config=side.path(f"{name}-{count}-{i}")) for i in range(count)]


def plant(table, name, count, mixes, iotypes):
    """The failures of each child, by slot."""
    for side in table.sides:
        for i in range(count):
            rules_file(side.path(f"{name}-{count}-{i}"),
                       [(iotype, states[i], slot * SECTORS + 1) for slot, states in enumerate(mixes)
                        for iotype in iotypes if states[i] in NUMBER])


def flipped(data, at, value):
    data[at] ^= value


def read_contents(count, mixes):
    """The children's bytes: equal, but for one byte in each slot where a child has `a` or `b`."""
    base = random.Random(count).randbytes(len(mixes) * SLOT)
    contents = []
    for i in range(count):
        data = bytearray(base)
        for slot, states in enumerate(mixes):
            offset, length = shape(slot)
            if states[i] == "a":
                flipped(data, offset, 0xFF)
            elif states[i] == "b":
                flipped(data, offset + length - 1, 0x0F)
        contents.append(bytes(data))
    return contents


def reduced(mixes, count):
    return mixes if IS_FULL or count < 5 else mixes[::17]


def reads(t, counts, pattern, rewrite):
    def request(client, offset, length):
        return client.read(offset, length)

    with Table(t) as table:
        for count in counts:
            mixes = reduced(products(("ok", "eio", "enospc", "a", "b"), count), count)
            contents = read_contents(count, mixes)
            plant(table, "read", count, mixes, ("read",))
            for threshold in range(1, count + 1):
                options = {"read-pattern": pattern, "rewrite-corrupted": rewrite}
                results = table.both(lambda side: run_slots(
                    side, quorum_node(children(side, count, "read"), threshold, **options), contents, count, mixes, request))
                cases = [Case(count, threshold, pattern, rewrite, "read", slot, mix) for slot, mix in enumerate(mixes)]
                table.compare(cases, *results)
        table.done()


COUNTS = (2, 3, 4, 5)


@test(core=True)
def read_by_vote(t):
    reads(t, COUNTS, "quorum", False)


@test(core=True)
def read_by_vote_that_rewrites_corrupted_children(t):
    reads(t, COUNTS, "quorum", True)


@test(core=True)
def read_in_fifo_pattern(t):
    reads(t, COUNTS, "fifo", False)


@test(core=True)
def read_in_fifo_pattern_ignores_rewrite_corrupted(t):
    reads(t, COUNTS[:3], "fifo", True)


@test(core=True)
def rewrite_of_a_child_that_fails_is_ignored(t):
    def request(client, offset, length):
        return client.read(offset, length)

    with Table(t) as table:
        for count in (2, 3, 4):
            mixes = products(("ok", "a", "b"), count)
            contents = read_contents(count, mixes)
            # Every other child refuses writes.
            for side in table.sides:
                for i in range(count):
                    rules_file(side.path(f"rewrite-{count}-{i}"),
                               [("write", "eio", slot * SECTORS + sector) for slot in range(len(mixes)) for sector in range(SECTORS) if i % 2])
            for threshold in range(1, count + 1):
                results = table.both(lambda side: run_slots(
                    side, quorum_node(children(side, count, "rewrite"), threshold, **{"rewrite-corrupted": True}),
                    contents, count, mixes, request))
                table.compare([Case(count, threshold, "quorum", True, "read", slot, mix) for slot, mix in enumerate(mixes)], *results)
        table.done()


def changes(t, operation, iotypes, request, states=("ok", "eio", "enospc"), counts=COUNTS, patterns=("quorum", "fifo"), **options):
    with Table(t) as table:
        for count in counts:
            mixes = reduced(products(states, count), count)
            contents = [random.Random(count).randbytes(len(mixes) * SLOT)] * count
            plant(table, operation, count, mixes, iotypes)
            for threshold in range(1, count + 1):
                for pattern in patterns:
                    results = table.both(lambda side: run_slots(
                        side, quorum_node(children(side, count, operation), threshold, **{"read-pattern": pattern}, **options),
                        contents, count, mixes, request, operation != "discard"))
                    table.compare([Case(count, threshold, pattern, False, operation, slot, mix) for slot, mix in enumerate(mixes)], *results)
        table.done()


@test(core=True)
def write(t):
    changes(t, "write", ("write",), lambda client, offset, length: client.write(offset, b"w" * length))


@test(core=True)
def write_with_fua(t):
    changes(t, "write", ("write",), lambda client, offset, length: client.write(offset, b"w" * length, nbd.FUA), counts=COUNTS[:3])


@test(core=True)
def write_with_rewrite_corrupted(t):
    changes(t, "write", ("write",), lambda client, offset, length: client.write(offset, b"w" * length), counts=COUNTS[:3],
            patterns=("quorum",), **{"rewrite-corrupted": True})


FALLIBLE = ("ok", "eio", "enospc", "enotsup")


@test(core=True)
def write_zeroes(t):
    changes(t, "write-zeroes", ("write-zeroes",), lambda client, offset, length: client.zero(offset, length, nbd.NO_HOLE),
            FALLIBLE, COUNTS[:3])


@test(core=True)
def write_zeroes_with_unmap(t):
    changes(t, "write-zeroes", ("write-zeroes",), lambda client, offset, length: client.zero(offset, length), FALLIBLE,
            patterns=("quorum",))


@test(core=True)
def write_zeroes_without_fallback(t):
    changes(t, FAST_ZERO, ("write-zeroes",), lambda client, offset, length: client.zero(offset, length, nbd.FAST_ZERO),
            FALLIBLE, COUNTS[:3])


@test(core=True)
def write_zeroes_with_unmap_where_unmap_is_off(t):
    changes(t, "write-zeroes", ("write-zeroes",), lambda client, offset, length: client.zero(offset, length), FALLIBLE, COUNTS[:3],
            patterns=("quorum",), discard="ignore")


@test(core=True)
def discard(t):
    changes(t, "discard", ("discard", "write-zeroes"), lambda client, offset, length: client.trim(offset, length), FALLIBLE)


@test(core=True)
def discard_where_discard_is_off(t):
    changes(t, "discard-off", ("discard", "write-zeroes"), lambda client, offset, length: client.trim(offset, length), FALLIBLE, COUNTS[:3],
            discard="ignore")


@test(core=True)
def flush(t):
    def run(side, count, threshold, mix, pattern):
        side.fill([bytes(SLOT)] * count)
        kinds = [{} if state == "ok" else {"inject-error": [error_rule("flush", state)]} for state in mix]
        node = quorum_node([failing_node(side.path(i), f"c{i}", **kinds[i]) for i in range(count)], threshold, **{"read-pattern": pattern})

        def work(client):
            # A node that nobody has written to is not flushed.
            client.write(0, b"w" * 512)
            code, _ = answer(client.flush)
            return code, side.events()

        code, events = side.with_client(node, work)
        # Closing has flushed once more.
        side.machine.seconds_pass()
        side.events()
        return Outcome(code, None, plain_events(events), tuple(side.contents(count)))

    with Table(t) as table:
        for count in COUNTS:
            for pattern in ("quorum", "fifo"):
                if pattern == "fifo" and count > 3:
                    continue
                for threshold in range(1, count + 1):
                    mixes = reduced(products(("ok", "eio", "enospc"), count), count)
                    results = table.both(lambda side: [run(side, count, threshold, mix, pattern) for mix in mixes])
                    table.compare([Case(count, threshold, pattern, False, "flush", slot, mix) for slot, mix in enumerate(mixes)], *results)
        table.done()


@test(core=True)
def block_status(t):
    page, begin = b"d" * 4096, 8192

    def write_sparse(path, slots):
        with open(path, "wb") as file:
            file.truncate(len(slots) * begin)
            for slot, state in enumerate(slots):
                at = slot * begin
                # Data all over, none, in the second half only, in the first half only; a child that fails has data.
                if state in ("data", "eio", "short-data"):
                    file.seek(at)
                    file.write(page)
                if state in ("data", "eio", "short-zero"):
                    file.seek(at + 4096)
                    file.write(page)

    def run(side, count, threshold, mixes, pattern, flags):
        node = quorum_node(children(side, count, "status"), threshold, **{"read-pattern": pattern})

        def work(client):
            answers = []
            for slot in range(len(mixes)):
                answers.append(answer(client.status, slot * begin, begin, flags))
                side.machine.seconds_pass()
            return answers

        answers = side.with_client(node, work, status=True)
        of_slot = collections.defaultdict(list)
        for name, data in side.events():
            of_slot[data["sector-num"] // (begin // 512)].append((name, data))
        return [Outcome(*answers[slot], plain_events(of_slot[slot]), ()) for slot in range(len(mixes))]

    with Table(t) as table:
        for count in COUNTS:
            mixes = reduced(products(("data", "zero", "short-data", "short-zero", "eio"), count), count)
            for side in table.sides:
                for i in range(count):
                    write_sparse(side.path(i), [mix[i] for mix in mixes])
                    rules_file(side.path(f"status-{count}-{i}"), [("block-status", "eio", slot * begin // 512 + sector)
                                                                  for slot, mix in enumerate(mixes) if mix[i] == "eio" for sector in (0, 8)])
            for threshold in range(1, count + 1) if count < 4 else (count,):
                for pattern in ("quorum", "fifo") if count < 4 else ("quorum",):
                    for flags in (0, nbd.REQ_ONE):
                        results = table.both(lambda side: run(side, count, threshold, mixes, pattern, flags))
                        table.compare([Case(count, threshold, pattern, False, f"block-status {flags}", slot, mix)
                                       for slot, mix in enumerate(mixes)], *results)
        table.done()
