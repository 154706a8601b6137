#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Build a program of one C file with QEMU's block layer, from the objects of a QEMU that was built here.

usage: link-block.py BUILD SOURCE PROGRAM

Compiled and linked like the qemu-img of the build folder, which has to be up to date; the file takes the place of
qemu-img's own. Does nothing when PROGRAM is newer than both. Drivers that are modules come from QEMU_MODULE_DIR.
"""

import json
import os
import shlex
import subprocess
import sys


def commands(build, source, program):
    """What compiles qemu-img.c, and what links qemu-img, with other names."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as stream:
        words = next(shlex.split(entry["command"]) for entry in json.load(stream) if entry["file"].endswith("/qemu-img.c"))
    for option in ("-MQ", "-MF"):
        at = words.index(option)
        del words[at:at + 2]
    compiling = [word for word in words if word != "-MD"]
    compiling[compiling.index("-o") + 1], compiling[compiling.index("-c") + 1] = f"{program}.o", source
    listed = subprocess.run(["ninja", "-t", "commands", "qemu-img"], cwd=build, capture_output=True, text=True, check=True)
    linking = shlex.split(listed.stdout.rstrip().rsplit("\n", 1)[-1])
    linking[linking.index("-o") + 1] = program
    return compiling, [f"{program}.o" if word.endswith("qemu-img.c.o") else word for word in linking]


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    build, source, program = map(os.path.abspath, sys.argv[1:])
    newest = max(map(os.path.getmtime, (source, __file__, os.path.join(build, "qemu-img"))))
    if os.path.exists(program) and os.path.getmtime(program) > newest:
        return
    os.makedirs(os.path.dirname(program), exist_ok=True)
    for command in commands(build, source, program):
        if subprocess.run(command, cwd=build, check=False).returncode:
            sys.exit(f"{source} could not be built with {build}")
    os.remove(f"{program}.o")


if __name__ == "__main__":
    main()
