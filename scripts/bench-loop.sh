# SPDX-License-Identifier: GPL-2.0-or-later
# What the benchmarks on local disks share: benches/block-loop.c, and files in memory; sourced after lib.sh.
# shellcheck shell=bash

# link_loop QEMU FOLDER: from the objects of the QEMU built in QEMU, as its qemu-img is made, into FOLDER/block-loop.
link_loop() {
    local commands
    mapfile -t commands < <(cd "$1" && ninja -t commands qemu-img | python3 -c '
import json, shlex, sys
source, target = sys.argv[1:]
with open("compile_commands.json", encoding="utf-8") as stream:
    words = next(shlex.split(entry["command"]) for entry in json.load(stream) if entry["file"].endswith("/qemu-img.c"))
for option in ("-MQ", "-MF"):
    at = words.index(option)
    del words[at:at + 2]
compile = [word for word in words if word != "-MD"]
compile[compile.index("-o") + 1], compile[compile.index("-c") + 1] = f"{target}.o", source
link = shlex.split(sys.stdin.read().rstrip().rsplit("\n", 1)[-1])
link[link.index("-o") + 1] = target
link = [f"{target}.o" if word.endswith("qemu-img.c.o") else word for word in link]
print(shlex.join(compile), shlex.join(link), sep="\n")
' "$QBR_TOP/benches/block-loop.c" "$2/block-loop")
    ((${#commands[@]} == 2)) || die "$1 has no commands for qemu-img"
    (cd "$1" && run_logged bench-loop sh -c "${commands[0]} && ${commands[1]}") || die "block-loop could not be built"
}

# files_in_memory FOLDER SIZE: a folder until the script ends, for files that are no disk's: what is measured is the driver.
files_in_memory() {
    files_in_memory_end "$1"
    at_exit "files_in_memory_end '$1'"
    mkdir "$1"
    mount -t tmpfs -o "mode=700,size=$2" private-files "$1" || die "no tmpfs could be mounted on $1"
}

files_in_memory_end() {
    ! mountpoint -q "$1" || umount "$1"
    [[ ! -d $1 ]] || rmdir "$1"
}
