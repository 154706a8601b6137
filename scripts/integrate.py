#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Put the drivers of this project into a QEMU source tree, and take them out again.

usage: integrate.py apply  TREE [--drivers NAME,...] [--archive FILE]
       integrate.py revert TREE
       integrate.py status TREE

apply replaces QEMU's C drivers by the adapters in adapter/, and edits block/meson.build so that they are built and
linked with the Rust archive: as modules, or into the programs when QEMU is configured without modules. Where a driver
needs another library than QEMU's own did, meson.build looks for that one. Default are
all drivers that have an adapter, and build/lib/libqemu_block_rs.a. A second apply brings the tree up to date with the
adapters and changes nothing that is up to date already. revert restores every byte and removes every file that apply
added. The originals and the list of what was done are kept in TREE/.qemu-block-rs until then.

Both refuse to touch a file that somebody else has changed since.
"""

import argparse
import hashlib
import json
import os
import re
import shutil
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
KEEP = ".qemu-block-rs"
MESON = "block/meson.build"
TOP_MESON = "meson.build"
SHARED = {
    "block/qbr/qbr-child.c": "adapter/qbr-child.c",
    "block/qbr/qbr-image.c": "adapter/qbr-image.c",
    "block/qbr/qbr-replication.c": "adapter/qbr-replication.c",
    "block/qbr/qbr-host.c": "adapter/qbr-host.c",
    "block/qbr/qbr-host.h": "adapter/qbr-host.h",
    "block/qbr/qbr-compat.h": "adapter/qbr-compat.h",
    "block/qbr/qemu-block-rs.h": "include/qemu-block-rs.h",
}

# One row per driver. "dependency": QEMU's name for the library whose presence decides whether the driver is built;
# "condition": a Meson condition instead, or None; "row": the line of the module list that QEMU has for it (None: it has none,
# as the driver is always built in, and a line is added); "built_in": the text that builds it in, which is taken out;
# "services": sources with services for drivers of its kind; "library": what to change in the search for its library, where
# ours needs another one than QEMU's (what to find, what to put there).
DRIVERS = {
    "gluster": {
        "dependency": "glusterfs",
        "row": r"^  \[glusterfs, 'gluster', files\('gluster\.c'\)\],\n",
        "built_in": None,
    },
    "rbd": {
        "dependency": "rbd",
        "row": r"^  \[rbd, 'rbd', files\('rbd\.c'\)\],\n",
        "built_in": None,
        "services": ["qbr/qbr-image.c"],
        # Ours speaks to librados itself, and librbd need not be there.
        "library": (r"^(rbd = not_found\nif not get_option\('rbd'\)\.auto\(\) or have_block\n"
                    r"  librados = cc\.find_library\([^)]*\)[^)]*\)\n)(?:  .*\n)+endif\n",
                    r"\1  rbd = librados\nendif\n"),
    },
    "quorum": {
        "condition": None,
        "row": None,
        "built_in": r"^  'quorum\.c',\n",
        "services": ["qbr/qbr-child.c"],
    },
    "replication": {
        "condition": "not get_option('replication').disabled()",
        "row": None,
        "built_in": r"^if (?:not get_option\('replication'\)\.disabled\(\)|get_option\('replication'\)\.allowed\(\))\n"
                    r"  block_ss\.add\(files\('replication\.c'\)\)\nendif\n",
        "services": ["qbr/qbr-child.c", "qbr/qbr-replication.c"],
    },
}
LIST_START = r"^modsrc = \[\]\nforeach m : \[\n"


class Refused(Exception):
    """The tree is not as it should be; nothing was changed."""


def digest(data):
    return hashlib.sha256(data).hexdigest()


def read(path):
    with open(path, "rb") as stream:
        return stream.read()


def write(path, data):
    """Replace a file, keeping its mode; the old content stays whole until the new one is."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = path + ".qbr-new"
    with open(temporary, "wb") as stream:
        stream.write(data)
    if os.path.exists(path):
        shutil.copymode(path, temporary)
    os.replace(temporary, path)


# --- what a tree is to look like ---------------------------------------------------------------------------------


def substitute(text, pattern, replacement, what, name=MESON):
    """Replace the one place where pattern matches."""
    result, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
    if count != 1:
        raise Refused(f"{name}: {what}: found {count} times instead of once; this QEMU is not one that is known here")
    return result


def literal(text):
    """A replacement that has no references in it."""
    return lambda _match: text


def quote(text):
    """A Meson string."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def archive_text(archive):
    """The Meson lines that bring in the Rust archive.

    It is copied into the build folder, so that a new archive is linked again. Nothing of it is visible outside the
    module or program that it is linked into, and what none of the drivers there reaches is dropped.
    """
    return (
        "qbr_archive = custom_target('libqemu_block_rs.a', output: 'libqemu_block_rs.a',\n"
        f"                            input: files({quote(archive)}),\n"
        "                            command: ['cp', '@INPUT@', '@OUTPUT@'])\n"
        "qbr = declare_dependency(include_directories: include_directories('qbr'),\n"
        "                         link_with: qbr_archive,\n"
        "                         link_args: ['-Wl,--exclude-libs,libqemu_block_rs.a', '-Wl,--gc-sections',\n"
        "                                     '-lpthread', '-ldl', '-lm'])\n"
    )


def dependency_text(name, driver):
    """The Meson lines that define what one driver's module is linked with."""
    library = driver.get("dependency")
    if library:
        value = f"{library}.found() ? declare_dependency(dependencies: [qbr, {library}]) : {library}"
    elif driver["condition"]:
        value = f"{driver['condition']} ? qbr : dependency('', required: false)"
    else:
        value = "qbr"
    return f"qbr_{name} = {value}\n"


def edit_meson(text, names, archive):
    """block/meson.build with the given drivers replaced."""
    added = ""
    for name in names:
        driver = DRIVERS[name]
        sources = ", ".join(quote(source) for source in [f"{name}.c", "qbr/qbr-host.c", *driver.get("services", [])])
        row = f"  [qbr_{name}, '{name}', files({sources})],\n"
        if driver["built_in"]:
            text = substitute(text, driver["built_in"], "", f"the line that builds {name} in")
        if driver["row"]:
            text = substitute(text, driver["row"], literal(row), f"the module row of {name}")
        else:
            added += row
    definitions = archive_text(archive) + "".join(dependency_text(name, DRIVERS[name]) for name in names)
    start = "modsrc = []\n" + definitions + "foreach m : [\n" + added
    return substitute(text, LIST_START, literal(start), "the list of block modules")


def edit_top_meson(text, names):
    """meson.build with the libraries of the given drivers looked for."""
    for name in names:
        if "library" in DRIVERS[name]:
            pattern, replacement = DRIVERS[name]["library"]
            text = substitute(text, pattern, replacement, f"the search for the library of {name}", TOP_MESON)
    return text


def check_names(path, data):
    """QEMU finds out by text which source has which driver; a line of another kind would confuse it."""
    for number, line in enumerate(data.decode().splitlines(), 1):
        if "static BlockDriver" in line and "static BlockDriver " not in line:
            raise Refused(f"{path}:{number}: '{line.strip()}' would be taken for a driver table by QEMU's module_block.py")


def wanted_files(original_of, names, archive):
    """All files that differ from QEMU's own: path in the tree -> content."""
    files = {}
    for target, source in [(f"block/{name}.c", f"adapter/{name}.c") for name in names] + list(SHARED.items()):
        path = os.path.join(TOP, source)
        if not os.path.exists(path):
            raise Refused(f"{path} is missing")
        files[target] = read(path)
        if target.endswith(".c"):
            check_names(path, files[target])
    files[MESON] = edit_meson(original_of(MESON).decode(), names, archive).encode()
    if any("library" in DRIVERS[name] for name in names):
        files[TOP_MESON] = edit_top_meson(original_of(TOP_MESON).decode(), names).encode()
    return files


# --- the record of what was done ---------------------------------------------------------------------------------


class Tree:
    """A QEMU source tree and the record in it. For each file the record has the content it had before (None: there
    was none) and those that we have written to it, as digests; the last one is what it should have now."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.keep = os.path.join(self.path, KEEP)
        for needed in ("VERSION", "configure", TOP_MESON, MESON, "block/gluster.c"):
            if not os.path.exists(os.path.join(self.path, needed)):
                raise Refused(f"{self.path} is not a QEMU source tree: {needed} is missing")
        self.record = None
        if os.path.exists(self.record_file()):
            self.record = json.loads(read(self.record_file()))

    def record_file(self):
        return os.path.join(self.keep, "record.json")

    def save(self):
        write(self.record_file(), (json.dumps(self.record, indent=1, sort_keys=True) + "\n").encode())

    def at(self, name):
        return os.path.join(self.path, name)

    def current(self, name):
        path = self.at(name)
        return read(path) if os.path.exists(path) else None

    def original(self, name):
        """The content before we came; None where there was no file."""
        if self.record and name in self.record["files"]:
            if self.record["files"][name]["original"] is None:
                return None
            data = read(os.path.join(self.keep, "original", name))
            if digest(data) != self.record["files"][name]["original"]:
                raise Refused(f"the kept original of {name} in {self.keep} was changed")
            return data
        return self.current(name)

    def check_unchanged(self):
        """Refuse if a file in the record is neither as it was nor as we have left it."""
        if not self.record:
            return
        changed = []
        for name, entry in self.record["files"].items():
            data = self.current(name)
            now = None if data is None else digest(data)
            if now != entry["original"] and now not in entry["written"]:
                changed.append(name)
        if changed:
            raise Refused(
                f"{self.path}: changed by somebody else since the drivers were put in: {', '.join(sorted(changed))}\n"
                f"    Move these changes away (the originals are in {self.keep}/original) and try again")

    def keep_original(self, name):
        data = self.current(name)
        if data is not None:
            write(os.path.join(self.keep, "original", name), data)
            shutil.copymode(self.at(name), os.path.join(self.keep, "original", name))
        self.record["files"][name] = {"original": None if data is None else digest(data), "written": []}

    def restore(self, name):
        """Undo what was done to one file."""
        original = self.original(name)
        if original is None:
            if os.path.exists(self.at(name)):
                os.remove(self.at(name))
            folder = os.path.dirname(self.at(name))
            if os.path.isdir(folder) and not os.listdir(folder):
                os.rmdir(folder)
        elif self.current(name) != original:
            write(self.at(name), original)
        del self.record["files"][name]


def apply(tree, names, archive):
    """Bring the tree to the wanted state; returns whether anything had to be done."""
    tree.check_unchanged()
    files = wanted_files(tree.original, names, archive)
    settings = {"version": read(tree.at("VERSION")).decode().strip(), "drivers": names, "archive": archive}
    if tree.record is None:
        tree.record = {"files": {}}
    before = json.dumps(tree.record, sort_keys=True)
    for name in [name for name in tree.record["files"] if name not in files]:
        tree.restore(name)
    changed = []
    for name, data in files.items():
        if name not in tree.record["files"]:
            tree.keep_original(name)
        entry = tree.record["files"][name]
        if tree.current(name) != data:
            changed.append(name)
        entry["written"] = sorted({*entry["written"], digest(data)})
    tree.record.update(settings)
    if not changed and json.dumps(tree.record, sort_keys=True) == before:
        return False
    # The record says what may be found in the files before any of them is touched, so that a crash loses nothing.
    tree.save()
    for name in changed:
        write(tree.at(name), files[name])
    for name, data in files.items():
        tree.record["files"][name]["written"] = [digest(data)]
    tree.save()
    return True


def revert(tree):
    if tree.record is None:
        return False
    tree.check_unchanged()
    for name in list(tree.record["files"]):
        tree.restore(name)
    shutil.rmtree(tree.keep)
    return True


def available():
    return [name for name in DRIVERS if os.path.exists(os.path.join(TOP, "adapter", name + ".c"))]


def chosen_drivers(text):
    names = text.split(",") if text else available()
    for name in names:
        if name not in DRIVERS:
            raise Refused(f"there is no driver {name}; there are: {', '.join(DRIVERS)}")
        if name not in available():
            raise Refused(f"the driver {name} has no adapter yet; there are: {', '.join(available())}")
    if not names:
        raise Refused("no driver has an adapter yet")
    return [name for name in DRIVERS if name in names]


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1].split("\n\n")[0], add_help=True,
                                     description=__doc__.split("\n\n")[0])
    parser.add_argument("command", choices=["apply", "revert", "status"])
    parser.add_argument("tree")
    parser.add_argument("--drivers", help="comma-separated; default: all that have an adapter")
    build = os.environ.get("QBR_BUILD") or os.path.join(TOP, "build")
    parser.add_argument("--archive", default=os.path.join(build, "lib", "libqemu_block_rs.a"))
    args = parser.parse_args()
    try:
        tree = Tree(args.tree)
        if args.command == "apply":
            archive = os.path.abspath(args.archive)
            if not os.path.exists(archive):
                raise Refused(f"there is no archive {archive}; scripts/archive.sh makes it")
            names = chosen_drivers(args.drivers)
            done = apply(tree, names, archive)
            print(f"{tree.path}: {', '.join(names)} {'put in' if done else 'in place already'}")
        elif args.command == "revert":
            print(f"{tree.path}: {'as it was before' if revert(tree) else 'nothing to revert'}")
        elif tree.record is None:
            print(f"{tree.path}: QEMU {read(tree.at('VERSION')).decode().strip()}, untouched")
            sys.exit(1)
        else:
            tree.check_unchanged()
            print(f"{tree.path}: QEMU {tree.record['version']} with {', '.join(tree.record['drivers'])} "
                  f"from {tree.record['archive']}")
    except (Refused, OSError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
