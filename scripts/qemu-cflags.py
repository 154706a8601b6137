#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Print the flags with which a configured QEMU tree compiles its block modules, one per line.

usage: qemu-cflags.py [--object] FOLDER

They are taken from the tree's own compile command of the gluster driver, with every path made absolute.
With --object, print that command's object file instead (a ninja target).
"""

import json
import os
import shlex
import sys

INCLUDE = ("-I", "-iquote", "-isystem")
DROP_ONE = ("-MD", "-c")
DROP_TWO = ("-MQ", "-MF", "-o")


def module_command(folder):
    """The entry of compile_commands.json for block/gluster.c."""
    with open(os.path.join(folder, "compile_commands.json"), encoding="utf-8") as stream:
        for entry in json.load(stream):
            if entry["file"].endswith("/block/gluster.c"):
                return entry
    sys.exit(f"{folder}: configured without gluster, so there is no compile command to learn from")


def flags(entry):
    """The flags of a compile command that do not belong to its one file."""
    base = entry["directory"]
    words = shlex.split(entry["command"])[1:]
    out = []
    i = 0
    while i < len(words):
        word = words[i]
        i += 1
        if word in DROP_ONE or word == entry["file"]:
            continue
        if word in DROP_TWO:
            i += 1
            continue
        if word in INCLUDE:
            out += [word, os.path.normpath(os.path.join(base, words[i]))]
            i += 1
            continue
        if word.startswith("-I"):
            path = os.path.normpath(os.path.join(base, word[2:]))
            if path.endswith(".p"):
                continue
            word = "-I" + path
        out.append(word)
    return out


def main():
    args = sys.argv[1:]
    want_object = args[:1] == ["--object"]
    if want_object:
        args = args[1:]
    if len(args) != 1:
        sys.exit(__doc__)
    entry = module_command(args[0])
    print(entry["output"] if want_object else "\n".join(flags(entry)))


if __name__ == "__main__":
    main()
