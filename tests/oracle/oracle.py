#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle: random operations on rbd images through our driver and through librbd, which must come out the same.

usage: oracle.py [--ops N] [--seconds N] [--seed S] [--combo WORD]... [--kind turns|twins] [--self-check] [--jobs N] ...

Every combination of image format, object size, striping, data pool and namespace gets a trial of two kinds. By turns: one
image, on which a random one of both drivers does each step. As twins: two images, on which each driver does the same steps;
then objects, headers and snapshots are compared too. A model in memory says what every read must give. Prints
`ok - oracle NAME` or `not ok - oracle NAME`, then seed, step and what happened before, which --seed, --combo and --kind
repeat. --self-check takes the C driver for both; --sabotage KIND:N makes the first worker spoil every N-th request of a kind
(see worker.c), and the difference must be found.

Needs a running Ceph; scripts/oracle.sh prepares everything.
"""

import argparse
import os
import subprocess
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from checks import KNOWN, Difference  # noqa: E402
from deeds import combos  # noqa: E402
from hands import Worker, WorkerError  # noqa: E402
from state import Cluster  # noqa: E402
from trial import Trial  # noqa: E402

DEFAULT = "layering,exclusive-lock,object-map,fast-diff,deep-flatten"


class Stopped(Exception):
    """Another trial has found a difference."""


class Setup:
    """What all trials of a process share."""

    def __init__(self, args):
        self.conf, self.pool, self.data_pool, self.namespace = args.conf, args.pool, args.data_pool, args.namespace
        self.features, self.run, self.rbd = args.features, args.run, args.rbd.split()
        self.every, self.full, self.history, self.quick = args.every, args.full, args.history, args.quick
        self.maps = args.maps
        self.cluster = Cluster(args.conf)

    def tool(self, *words):
        done = subprocess.run([*self.rbd, *words], capture_output=True, text=True, timeout=300, check=False,
                              env={**os.environ, "RBD_FORCE_ALLOW_V1": "1"})
        if done.returncode:
            raise Difference(f"rbd {' '.join(words)}: exit status {done.returncode}: {done.stderr[-800:]}")
        return done.stdout

    def tool_output(self, *words):
        """What the tool writes, in pieces."""
        with subprocess.Popen([*self.rbd, *words], stdout=subprocess.PIPE) as process:
            while data := process.stdout.read(1 << 20):
                yield data
        if process.returncode:
            raise Difference(f"rbd {' '.join(words)}: exit status {process.returncode}")

    def spec(self, combo, name):
        return f"{self.pool}/{self.namespace + '/' if combo.namespace else ''}{name}"

    def create(self, combo, name, size, layout):
        words = ["create", self.spec(combo, name), "--size", f"{size}B", "--object-size", f"{layout.object_size}B",
                 "--image-format", str(combo.form)]
        words += ["--image-feature", self.features] if combo.form == 2 else []
        words += ["--stripe-unit", f"{layout.unit}B", "--stripe-count", str(layout.count)] if combo.striped else []
        words += ["--data-pool", self.data_pool] if combo.data_pool else []
        self.tool(*words)

    def remove(self, combo, name):
        self.tool("snap", "purge", self.spec(combo, name), "--no-progress")
        self.tool("rm", self.spec(combo, name), "--no-progress")


def run_trial(args, combo, kind):
    """The lines to print, and whether all was equal."""
    begin = time.monotonic()
    title = f"oracle {combo.name} {kind}"
    workers, trial = [], None
    try:
        setup = Setup(args)
        log = os.path.join(args.out, f"{combo.name}-{kind}")
        drivers = (("A", args.c_driver if args.self_check else args.ours, args.sabotage), ("B", args.c_driver, ""))

        def start(number):
            """A worker; another one in the place of one that was killed."""
            letter, folder, sabotage = drivers[number]
            name = f"C driver {letter}" if args.self_check else ("ours", "C driver")[number]
            worker = Worker(name, args.program, folder, f"{log}-{letter}.log", sabotage)
            workers[number:number + 1] = [worker]
            return worker

        setup.start = start
        for number in range(2):
            start(number)
        if not workers[1].has_librbd or workers[0].has_librbd != args.self_check:
            raise WorkerError(f"the drivers are not the ones that were wanted (librbd: {[worker.has_librbd for worker in workers]})")
        trial = Trial(setup, combo, kind, args.seed, workers)
        trial.begin()
        slowest = 0, 0, ""
        until = time.monotonic() + args.seconds if args.seconds else None
        while trial.steps < args.ops and (until is None or time.monotonic() < until):
            at = time.monotonic()
            trial.step()
            if time.monotonic() - at > slowest[0]:
                slowest = time.monotonic() - at, trial.steps - 1, str(trial.log[-1][2]) if trial.log else ""
            if os.path.exists(args.stop):
                raise Stopped
        trial.end()
        for worker in workers:
            status = worker.end()
            if status:
                raise WorkerError(f"{worker.name} ended with status {status}:\n{worker.last_words()}")
        setup.cluster.close()
        more = f", {trial.kills} kills, {trial.tools} times the rbd tool" if trial.locked else ""
        return True, [f"ok - {title} ({trial.steps} operations, {trial.bytes >> 20} MiB compared{more}, "
                      f"{time.monotonic() - begin:.1f} s; slowest: {slowest[0]:.1f} s, {slowest[1]} {slowest[2][:60]})"], trial.steps
    except Stopped:
        lines = [f"# {title}: stopped after {trial.steps} operations"]
        trial = None
    except (Difference, WorkerError, OSError, subprocess.SubprocessError) as error:
        lines = [f"not ok - {title}", f"# seed {args.seed}, operation {trial.steps if trial else 0}: {error}"]
    except Exception:  # A defect of the oracle itself.
        lines = [f"not ok - {title}"] + [f"# {line}" for line in traceback.format_exc().splitlines()]
    for worker in workers:
        worker.kill()
    if trial:
        lines += [f"# {line}" for line in trial.history(lines[1])]
        lines += [f"# repeat it: --seed {args.seed} --combo {combo.name} --kind {kind} --ops {args.ops} --every 1"]
    return False, lines, trial.steps if trial else 0


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--ops", type=int, default=3800, help="operations of each trial")
    parser.add_argument("--seconds", type=float, default=0, help="end each trial after that time")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--combo", action="append", default=[])
    parser.add_argument("--kind", action="append", default=[])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--self-check", action="store_true")
    parser.add_argument("--sabotage", default="")
    parser.add_argument("--every", type=int, default=10, help="operations between two looks at the objects that were touched")
    parser.add_argument("--full", type=int, default=250, help="operations between two looks at everything")
    parser.add_argument("--maps", action="store_true", help="compare the object maps after every operation")
    parser.add_argument("--quick", action="store_true", help="leave most images to the end of the cluster")
    parser.add_argument("--history", type=int, default=12, help="steps to show before a difference")
    parser.add_argument("--features", default="layering", help="names, or default: what rbd create gives")
    parser.add_argument("--go-on", action="store_true", help="do the other trials too when one has found a difference")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--known", action="store_true", help="print the differences that are meant to be")
    for name in ("program", "ours", "c-driver", "conf", "pool", "data-pool", "namespace", "rbd", "out"):
        parser.add_argument(f"--{name}", default=os.environ.get(f"QBR_ORACLE_{name.upper().replace('-', '_')}", ""))
    args = parser.parse_args()

    args.features = DEFAULT if args.features == "default" else args.features
    if args.known:
        print("\n".join(f"{what}: {why}" for what, why in KNOWN))
        return 0
    kinds = args.kind or ["turns", "twins"]
    names = [combo.name for combo in combos()]
    trials = [(combo, kind) for combo in combos() for kind in kinds if not args.combo or any(word == combo.name or (word in combo.name and word not in names) for word in args.combo)]
    if args.list:
        print("\n".join(f"{combo.name} {kind}" for combo, kind in trials))
        return 0
    args.run = f"oracle{os.getpid()}"
    args.stop = os.path.join(args.out, f"{args.run}.stop")
    begin, failed, operations = time.monotonic(), 0, 0
    with ProcessPoolExecutor(args.jobs) as pool:
        jobs = [pool.submit(run_trial, args, combo, kind) for combo, kind in trials]
        for job in jobs:
            good, lines, steps = job.result()
            operations += steps
            failed += not good
            print("\n".join(lines), flush=True)
            if failed and not args.go_on:
                # The first difference ends it.
                with open(args.stop, "wb"):
                    pool.shutdown(cancel_futures=True)
                break
    print(f"# seed {args.seed}: {operations} operations in {time.monotonic() - begin:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
