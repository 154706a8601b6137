#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The qemu-block-rs authors
"""Measures drivers side by side: every round runs each workload with each subject, in turn.

    run.py DRIVER --out FOLDER [--rounds N] [--seconds N] [--only TEXT]

Called by scripts/bench-DRIVER.sh, in the tree whose QEMU is measured. Samples go to FOLDER/results.json, after each round.
"""

import argparse
import hashlib
import importlib
import json
import os
import platform
import subprocess
import sys

import report
from client import ClientError, measure_command, measure_io, time_io, watch_closely

# The run that finds out how many requests fit into the time begins with no more than either of these.
TRIAL_BYTES = 64 << 20
TRIAL_COUNT = 2000
# It is repeated with more of them until it takes this part of the time; much shorter ones say too little.
TRIAL_PART = 0.1


def say(text):
    print(f"    {text}", file=sys.stderr, flush=True)


def output_of(*argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def environment(spec, driver):
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
        "qemu": output_of(driver.qemu_img, "--version").split("\n")[0],
        "about": driver.about(),
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
        self.results = {"driver": name, "view": spec.VIEW, "notes": getattr(spec, "NOTES", ""),
                        "subjects": spec.SUBJECTS, "environment": environment(spec, self._driver), "seconds": seconds,
                        "rounds": 0, "skipped": {}, "workloads": {}, "commands": {}}

    def _requests(self, subject, work):
        """How many requests of a workload fit into the time."""
        count = min(TRIAL_COUNT, TRIAL_BYTES // work.size)
        while True:
            seconds = time_io(self._driver.io(subject, work, count), self._driver.env(subject))
            if seconds >= self._seconds * TRIAL_PART:
                return max(count, int(count / seconds * self._seconds))
            count *= 8

    def prepare(self):
        """Makes the images, and finds the number of requests of each workload and subject."""
        for argv in self._driver.prepare():
            measure_command(argv, self._driver.env("rust"))
        for work in self._driver.workloads():
            # The end of a name can be asked for too: qd1- is not qd16.
            if self._only not in f"{work.name}-":
                continue
            try:
                counts = {subject: self._requests(subject, work) for subject in work.subjects}
            except ClientError as error:
                if not work.optional:
                    raise
                self.results["skipped"][work.name] = str(error)
                continue
            self._workloads.append(work)
            samples = {subject: [] for subject in work.subjects}
            self.results["workloads"][work.name] = {"size": work.size, "clock": work.clock, "counts": counts,
                                                       "samples": samples}

    def round(self, number):
        for work in self._workloads:
            entry = self.results["workloads"][work.name]
            for subject in turned(work.subjects, number):
                count = entry["counts"][subject]
                argv, env = self._driver.io(subject, work, count), self._driver.env(subject)
                entry["samples"][subject].append(measure_io(argv, env, count, self._driver.module(subject)))
        slow = getattr(self._spec, "SLOW", ()) if not self._only else ()
        for name, argv, until in self._driver.commands():
            if self._only in name and name not in slow:
                samples = self.results["commands"].setdefault(name, {s: [] for s in self._spec.DRIVERS})
                for subject in turned(self._spec.DRIVERS, number):
                    samples[subject].append(measure_command(argv, self._driver.env(subject), until))
        self.results["rounds"] = number + 1
        self.results["environment"]["load_after"] = os.getloadavg()

    def save(self, folder):
        path = os.path.join(folder, "results.json")
        with open(f"{path}.new", "w", encoding="utf-8") as out:
            json.dump(self.results, out, indent=1)
        os.replace(f"{path}.new", path)


def turned(subjects, number):
    """Every other round goes backwards, and then the next one begins with another subject."""
    at = number // 2 % len(subjects)
    order = subjects[at:] + subjects[:at]
    return order[::-1] if number % 2 else order


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
