#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Build QEMU's own, original C drivers as modules for a QEMU that has ours, so that the same programs run with either.
#
# Usage: c-modules.sh VERSION        (7.2, 10.0 or 10.2, after QEMU=VERSION scripts/qemu.sh)
# Leaves build/qemu-VERSION/c-drivers/block-DRIVER.so and prints that folder; QEMU_MODULE_DIR=FOLDER chooses them.
# For the drivers whose C form needs nothing but QEMU, and for rbd, whose C form needs librbd: the oracle runs the same program
# with either. thick/block-rbd.so is the C driver of rbd as it is meant: it lets librbd keep the space of zeroes that may not
# unmap. gluster has a stock build (STOCK=1 scripts/qemu.sh) to be compared with.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

declare -A LIBRARIES=([rbd]="-lrbd -lrados")
PROGRAMS=(qemu-img qemu-io qemu-nbd qemu-storage-daemon qemu-system-x86_64)

(($# == 1)) || die "usage: c-modules.sh VERSION"
version=$1
folder=$QBR_BUILD/qemu-$version
tree=$QBR_BUILD/integrated/qemu-$version
stamp=$folder/libmodule-common.a.p/module-common.c.o
originals=$tree/.qemu-block-rs/original/block
[[ -f $folder/compile_commands.json ]] || die "$folder is not there; QEMU=$version scripts/qemu.sh makes it"
[[ -f $stamp ]] || die "$folder was built without modules"
take_lock "qemu-$version"

# The command that compiles the adapter in the place of the driver $1, for another source $2 and object $3.
compile_command() {
    python3 - "$folder/compile_commands.json" "$tree/block/$1.c" "$2" "$3" << 'END'
import json, os, shlex, sys
commands, wanted, source, target = sys.argv[1:]
with open(commands, encoding="utf-8") as stream:
    entries = json.load(stream)
for entry in entries:
    if os.path.normpath(os.path.join(entry["directory"], entry["file"])) == os.path.normpath(wanted):
        words = shlex.split(entry["command"])
        words[words.index("-o") + 1] = target
        words[words.index("-c") + 1] = source
        for drop in ("-MQ", "-MF"):
            at = words.index(drop)
            del words[at:at + 2]
        words.remove("-MD")
        print(entry["directory"])
        print("\n".join(words))
        break
else:
    sys.exit(f"{commands} has no command for {wanted}")
END
}

# Every function that the module needs must be in each program: QEMU takes along only what some object asks for.
check_symbols() {
    local module=$1 program missing libraries
    for program in "${PROGRAMS[@]}"; do
        [[ -x $folder/$program ]] || continue
        mapfile -t libraries < <(ldd "$folder/$program" "$module" | sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | sort -u)
        missing=$(comm -23 <(nm -D --undefined-only "$module" | awk '$1 == "U" { sub(/@.*/, "", $2); print $2 }' | sort -u) \
            <(nm -D --defined-only "$folder/$program" "${libraries[@]}" | awk 'NF { sub(/@.*/, "", $NF); print $NF }' | sort -u))
        [[ -z $missing ]] || die "$program lacks what the C form of $(basename "$module") needs: ${missing//$'\n'/ }"
    done
}

# make_module DRIVER MODULE [LINE...]: with these lines before those of the C driver.
make_module() {
    local driver=$1 module=$2 original=$originals/$1.c source=$2.c words
    shift 2
    # Not ours yet in this tree, or built into the programs.
    [[ -f $original && -f $folder/block-$driver.so ]] || return 0
    [[ ! -f $module || ${BASH_SOURCE[0]} -nt $module || $original -nt $module || $stamp -nt $module ||
        $folder/config-host.h -nt $module ]] || return 0
    [[ $driver != rbd ]] || need_packages librbd-dev librados-dev
    step "building QEMU's own C driver $driver as ${module#"$QBR_TOP/"}"
    mkdir -p "$(dirname "$module")"
    printf '%s\n' '#include "qemu/osdep.h"' "$@" "#include \"$original\"" > "$source"
    mapfile -t words < <(compile_command "$driver" "$source" "$module.o")
    ((${#words[@]} > 2)) || die "there is no compile command for $driver"
    (cd "${words[0]}" && run_logged "c-modules-$version" "${words[@]:1}") || die "$original could not be compiled"
    run_logged "c-modules-$version" gcc -shared -fPIC -o "$module.new" "$module.o" "$stamp" \
        -Wl,--allow-shlib-undefined -Wl,-z,relro -Wl,-z,now ${LIBRARIES[$driver]:-} ||
        die "$module could not be linked"
    check_symbols "$module.new"
    mv "$module.new" "$module"
    rm -f "$module.o" "$source"
}

# This QEMU was configured without a look at librbd, so that what it can do is said here.
rbd=('#include <rbd/librbd.h>' '#define HAVE_RBD_NAMESPACE_EXISTS')
# It wants to keep the space of zeroes that may not unmap, but asks the preprocessor for a name that is none of its.
thick=('#define RBD_WRITE_ZEROES_FLAG_THICK_PROVISION RBD_WRITE_ZEROES_FLAG_THICK_PROVISION')
make_module quorum "$folder/c-drivers/block-quorum.so"
make_module replication "$folder/c-drivers/block-replication.so"
make_module rbd "$folder/c-drivers/block-rbd.so" "${rbd[@]}"
make_module rbd "$folder/c-drivers/thick/block-rbd.so" "${rbd[@]}" "${thick[@]}"
echo "$folder/c-drivers"
