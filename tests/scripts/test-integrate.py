#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""scripts/integrate.py against the sources of every supported QEMU that is at hand (build/src/qemu-*).

Only the few files that it edits are copied, so this takes a second. Prints one line per test.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("QBR_BUILD") or os.path.join(TOP, "build")
SOURCES = os.environ.get("QBR_SRC") or os.path.join(BUILD, "src")
FILES = ["VERSION", "configure", "meson.build", "block/meson.build", "block/gluster.c", "block/rbd.c", "block/quorum.c",
         "block/replication.c"]
failed = 0


def integrate(*args, project=TOP):
    """Run the script; returns whether it succeeded, and what it printed."""
    run = subprocess.run([sys.executable, os.path.join(project, "scripts/integrate.py"), *args], text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return run.returncode == 0, run.stdout


def snapshot(tree):
    """Path -> digest and mode of every file."""
    result = {}
    for folder, _folders, files in os.walk(tree):
        for name in files:
            path = os.path.join(folder, name)
            with open(path, "rb") as stream:
                data = stream.read()
            result[os.path.relpath(path, tree)] = (hashlib.sha256(data).hexdigest(), os.stat(path).st_mode)
    return result


def text_of(tree, name):
    with open(os.path.join(tree, name), encoding="utf-8") as stream:
        return stream.read()


def append(tree, name, text):
    with open(os.path.join(tree, name), "a", encoding="utf-8") as stream:
        stream.write(text)


class Bench:
    """A small copy of a QEMU tree, a copy of what the script reads of this project, and an archive."""

    def __init__(self, source, scratch):
        self.source = source
        self.tree = os.path.join(scratch, "tree")
        self.project = os.path.join(scratch, "project")
        self.archive = os.path.join(scratch, "libqemu_block_rs.a")
        for name in FILES:
            os.makedirs(os.path.dirname(os.path.join(self.tree, name)), exist_ok=True)
            shutil.copy2(os.path.join(source, name), os.path.join(self.tree, name))
        for name in ("adapter", "include"):
            shutil.copytree(os.path.join(TOP, name), os.path.join(self.project, name))
        os.makedirs(os.path.join(self.project, "scripts"))
        shutil.copy2(os.path.join(TOP, "scripts/integrate.py"), os.path.join(self.project, "scripts"))
        with open(self.archive, "wb") as stream:
            stream.write(b"!<arch>\n")
        self.before = snapshot(self.tree)

    def run(self, command, *args):
        if command == "apply":
            args = ("--archive", self.archive) + args
        return integrate(command, self.tree, *args, project=self.project)

    def add_adapters(self):
        """Pretend that all four drivers have an adapter."""
        shutil.copy(os.path.join(self.project, "adapter/gluster.c"),
                    os.path.join(self.project, "adapter/replication.c"))


def apply_and_revert(bench):
    assert bench.run("status")[0] is False
    assert bench.run("apply")[0] and bench.run("status")[0]
    assert snapshot(bench.tree) != bench.before
    assert text_of(bench.tree, "block/gluster.c") == text_of(TOP, "adapter/gluster.c")
    assert bench.run("revert")[0]
    assert snapshot(bench.tree) == bench.before, "revert left something different"


def second_apply_touches_nothing(bench):
    bench.run("apply")
    times = {name: os.stat(os.path.join(bench.tree, name)).st_mtime_ns for name in snapshot(bench.tree)}
    done, output = bench.run("apply")
    assert done and "in place already" in output, output
    assert times == {name: os.stat(os.path.join(bench.tree, name)).st_mtime_ns for name in snapshot(bench.tree)}


def new_adapter_is_taken_over(bench):
    bench.run("apply")
    append(bench.project, "adapter/gluster.c", "/* newer */\n")
    done, output = bench.run("apply")
    assert done and "put in" in output, output
    assert text_of(bench.tree, "block/gluster.c").endswith("/* newer */\n")
    assert bench.run("revert")[0] and snapshot(bench.tree) == bench.before


def all_four_drivers(bench):
    bench.add_adapters()
    done, output = bench.run("apply")
    assert done, output
    meson = text_of(bench.tree, "block/meson.build")
    for name, services in (("gluster", ""), ("rbd", ", 'qbr/qbr-image.c'"), ("quorum", ", 'qbr/qbr-child.c'"),
                           ("replication", ", 'qbr/qbr-child.c', 'qbr/qbr-replication.c'")):
        assert f"  [qbr_{name}, '{name}', files('{name}.c', 'qbr/qbr-host.c'{services})],\n" in meson, name
    assert "\n  'quorum.c',\n" not in meson and "block_ss.add(files('replication.c'))" not in meson
    assert bench.run("apply", "--drivers", "gluster")[0]
    assert "qbr_quorum" not in text_of(bench.tree, "block/meson.build")
    assert bench.run("revert")[0] and snapshot(bench.tree) == bench.before


def rbd_looks_for_librados_alone(bench):
    bench.run("apply", "--drivers", "rbd")
    search = text_of(bench.tree, "meson.build").split("\nrbd = not_found\n")[1].split("\nendif\n")[0]
    assert "librados = cc.find_library('rados', required: get_option('rbd')" in search, search
    assert search.endswith("\n  rbd = librados") and "librbd" not in search, search
    assert "librbd >= " not in text_of(bench.tree, "meson.build")
    assert bench.run("apply", "--drivers", "gluster")[0]
    assert text_of(bench.tree, "meson.build") == text_of(bench.source, "meson.build"), "still changed without rbd"
    assert bench.run("revert")[0] and snapshot(bench.tree) == bench.before


def foreign_change_is_refused(bench):
    bench.run("apply")
    append(bench.tree, "block/meson.build", "# mine\n")
    after = snapshot(bench.tree)
    for command in ("apply", "revert", "status"):
        done, output = bench.run(command)
        assert not done and "block/meson.build" in output, output
    assert snapshot(bench.tree) == after, "something was changed all the same"


def unknown_text_is_refused(bench):
    meson = text_of(bench.tree, "block/meson.build").replace("[glusterfs, 'gluster',", "[glusterfs, 'glusterfs',")
    with open(os.path.join(bench.tree, "block/meson.build"), "w", encoding="utf-8") as stream:
        stream.write(meson)
    before = snapshot(bench.tree)
    done, output = bench.run("apply")
    assert not done and "module row of gluster" in output, output
    assert snapshot(bench.tree) == before


def misleading_text_in_an_adapter_is_refused(bench):
    append(bench.project, "adapter/qbr-host.c", "static BlockDriverState *surprise;\n")
    done, output = bench.run("apply")
    assert not done and "module_block.py" in output, output
    assert snapshot(bench.tree) == bench.before


TESTS = [apply_and_revert, second_apply_touches_nothing, new_adapter_is_taken_over, all_four_drivers,
         rbd_looks_for_librados_alone, foreign_change_is_refused, unknown_text_is_refused, misleading_text_in_an_adapter_is_refused]


def main():
    global failed
    for version in ("7.2", "10.0", "10.2"):
        source = os.path.join(SOURCES, "qemu-" + version)
        for test in TESTS:
            name = f"integrate {test.__name__} {version}"
            if not os.path.exists(os.path.join(source, "VERSION")):
                print(f"skip - {name} # {source} is not here (scripts/qemu-source.sh {version})")
                continue
            with tempfile.TemporaryDirectory() as scratch:
                try:
                    test(Bench(source, scratch))
                    print(f"ok - {name}")
                except AssertionError as error:
                    failed += 1
                    print(f"not ok - {name}")
                    print("# " + (str(error) or "assertion").replace("\n", "\n# "))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
