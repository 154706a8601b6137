#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""Measures drivers side by side: every round runs each workload with each subject, in turn.

    run.py DRIVER --out FOLDER [--rounds N] [--seconds N] [--only TEXT]

Called by scripts/bench.sh, in the tree whose QEMU is measured. Samples go to FOLDER/results.json, after each round.
"""

import argparse
import hashlib
import importlib
import itertools
import json
import os
import platform
import subprocess
import sys
from dataclasses import dataclass

import report
from client import ClientError, measure_command, measure_io, watch_closely

OPS = ("read", "write")
SIZES = {"4k": 4 << 10, "1m": 1 << 20}
DEPTHS = (1, 32)
CACHES = ("none", "writeback")
# The run that finds out how many requests fit into the time: no more than either of these.
TRIAL_BYTES = 64 << 20
TRIAL_COUNT = 2000


@dataclass(frozen=True)
class Workload:
    """Requests of one kind; `step` is the distance from one to the next, and it wraps round at the end of the image."""

    name: str
    op: str
    size: int
    step: int
    depth: int
    cache: str


def workloads(image_size):
    """4 KiB requests jump through the image, 1 MiB requests follow one another."""
    for op, (label, size), depth, cache in itertools.product(OPS, SIZES.items(), DEPTHS, CACHES):
        step = size
        if label == "4k":
            # An odd number of blocks near the golden section: every block once, neighbours far apart.
            step = (int(image_size // size * 0.618) | 1) * size
        yield Workload(f"{op}-{label}-qd{depth}-{cache}", op, size, step, depth, cache)


def say(text):
    print(f"    {text}", file=sys.stderr, flush=True)


def output_of(*argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def environment(spec):
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        models = [line.split(":", 1)[1].strip() for line in cpuinfo if line.startswith("model name")]
    with open("/etc/os-release", encoding="utf-8") as release:
        system = next((line.split("=", 1)[1].strip().strip('"') for line in release if line.startswith("PRETTY_NAME")), "")
    with open(os.path.join(os.environ["QBR_BENCH_MODULES"], spec.MODULE), "rb") as module:
        content = module.read()
    if b"qemu-block-rs" not in content:
        sys.exit(f"error: {module.name} is not a module of this project")
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "system": system,
        "qemu": output_of("qemu-img", "--version").split("\n")[0],
        "library": os.environ.get("QBR_BENCH_LIBRARY", ""),
        "brick": os.environ.get("QBR_BENCH_BRICK", ""),
        "revision": os.environ.get("QBR_BENCH_REVISION", ""),
        "module_sha256": hashlib.sha256(content).hexdigest(),
        "load_before": os.getloadavg(),
    }


class Bench:
    """One measurement of one driver; `results` is what goes into results.json."""

    def __init__(self, spec, name, seconds, only):
        self._spec, self._seconds, self._only = spec, seconds, only
        self._driver = spec.Driver()
        self._workloads = []
        self.results = {"driver": name, "subjects": spec.SUBJECTS, "environment": environment(spec), "seconds": seconds,
                        "rounds": 0, "skipped": {}, "workloads": {}, "commands": {}}

    def _io(self, subject, work, count):
        argv = self._driver.io(subject, work, count)
        return measure_io(argv, self._driver.env(subject), count, self._driver.module(subject))

    def prepare(self):
        """Makes the images, and finds the number of requests of each workload."""
        for argv in self._driver.prepare():
            measure_command(argv, self._driver.env("rust"))
        first = next(iter(self._spec.SUBJECTS))
        for work in workloads(self._spec.IMAGE_SIZE):
            if self._only not in work.name:
                continue
            trial = min(TRIAL_COUNT, TRIAL_BYTES // work.size)
            try:
                rate = self._io(first, work, trial)["iops"]
            except ClientError as error:
                if work.cache != "none":
                    raise
                self.results["skipped"][work.name] = str(error)
                continue
            self._workloads.append(work)
            samples = {subject: [] for subject in self._spec.SUBJECTS}
            count = max(trial, int(rate * self._seconds))
            self.results["workloads"][work.name] = {"size": work.size, "count": count, "samples": samples}

    def round(self, number):
        for work in self._workloads:
            entry = self.results["workloads"][work.name]
            for subject in turned(list(self._spec.SUBJECTS), number):
                entry["samples"][subject].append(self._io(subject, work, entry["count"]))
        for name, argv, until in self._driver.commands():
            if self._only in name:
                samples = self.results["commands"].setdefault(name, {s: [] for s in self._spec.DRIVERS})
                for subject in turned(list(self._spec.DRIVERS), number):
                    samples[subject].append(measure_command(argv, self._driver.env(subject), until))
        self.results["rounds"] = number + 1
        self.results["environment"]["load_after"] = os.getloadavg()

    def save(self, folder):
        path = os.path.join(folder, "results.json")
        with open(f"{path}.new", "w", encoding="utf-8") as out:
            json.dump(self.results, out, indent=1)
        os.replace(f"{path}.new", path)


def turned(subjects, number):
    """Each round begins with another one."""
    number %= len(subjects)
    return subjects[number:] + subjects[:number]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("--out", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--only", default="")
    args = parser.parse_args()

    bench = Bench(importlib.import_module(args.driver), args.driver, args.seconds, args.only)
    watch_closely()
    bench.prepare()
    for name, reason in bench.results["skipped"].items():
        say(f"{name} is left out: {reason}")
    for number in range(args.rounds):
        say(f"round {number + 1} of {args.rounds}")
        bench.round(number)
        bench.save(args.out)
    report.write(bench.results, args.out)


if __name__ == "__main__":
    try:
        main()
    except ClientError as failure:
        sys.exit(f"error: {failure}")
