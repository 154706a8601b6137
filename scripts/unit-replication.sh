#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Run QEMU's own unit test of replication, tests/unit/test-replication, with our driver.
#
# Usage: unit-replication.sh VERSION        (7.2, 10.0 or 10.2, after QEMU=VERSION scripts/qemu.sh; BUILTIN=1: that build)
# With modules the test gets the one line that it lacks: without it QEMU doesn't know where to look for any. QBR_REPLICATION_C=1
# runs it with QEMU's own driver (scripts/c-modules.sh) instead. ASAN=1 builds the test, the block layer and our driver in it
# under AddressSanitizer first, in build/qemu-VERSION-asan; that takes minutes the first time.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/qemu-common.sh
source "$(dirname "${BASH_SOURCE[0]}")/qemu-common.sh"

(($# == 1)) || die "usage: unit-replication.sh VERSION"
[[ -z ${ASAN:-} ]] || BUILTIN=1
name=qemu-$1${BUILTIN:+-builtin}
[[ -z ${ASAN:-} ]] || name=qemu-$1-asan
folder=$QBR_BUILD/$name
tree=$QBR_BUILD/integrated/qemu-$1
if [[ -n ${ASAN:-} ]]; then
    [[ -f $tree/meson.build ]] || die "$tree is not there; QEMU=$1 scripts/qemu.sh makes it"
    take_lock "$name"
    options=(--without-default-features --disable-docs --disable-install-blobs --disable-user --disable-system --target-list=
        --enable-tools --enable-replication --enable-glusterfs --enable-rbd)
    case $(< "$tree/VERSION") in
    7.*) options+=(--enable-sanitizers --with-git-submodules=ignore) ;;
    *) options+=(--enable-asan --disable-download) ;;
    esac
    qemu_configure "$tree" "$folder" "${options[@]}"
    step "building test-replication of QEMU $(< "$tree/VERSION") under AddressSanitizer"
fi
[[ -f $folder/build.ninja ]] || die "$folder is not there; QEMU=$1 ${BUILTIN:+BUILTIN=1 }scripts/qemu.sh makes it"
take_lock "$name"

run_logged "unit-$name" ninja -C "$folder" tests/unit/test-replication || die "the test could not be built"
program=$folder/tests/unit/test-replication
modules=''
if [[ -z ${BUILTIN:-} ]]; then
    modules=$folder
    [[ -z ${QBR_REPLICATION_C:-} ]] || modules=$folder/c-drivers
    [[ -f $modules/block-replication.so ]] || die "$modules/block-replication.so is not there"
    source=$folder/qbr-test-replication.c
    sed 's/^    qemu_init_main_loop(/    qemu_init_exec_dir(argv[0]);\n&/; s/^#include "qemu\/osdep.h"/&\n#include "qemu\/cutils.h"/' \
        "$tree/tests/unit/test-replication.c" > "$source"
    grep -q 'qemu_init_exec_dir' "$source" || die "the test has no place for the line that it lacks"
    # The commands with which ninja makes the test, for this source.
    object=$(ninja -C "$folder" -t query tests/unit/test-replication | sed -n 's/^ *\(.*test-replication\.c\.o\)$/\1/p' | head -1)
    mapfile -t commands < <(ninja -C "$folder" -t commands tests/unit/test-replication | grep -F -- "$object" | tail -2)
    ((${#commands[@]} == 2)) && [[ -n $object ]] || die "the commands that make the test were not found"
    compile=${commands[0]//$object/qbr-test-replication.o}
    compile=$(sed "s|-c [^ ]*test-replication\.c|-c $source -iquote $tree/tests/unit|" <<< "$compile")
    link=${commands[1]//$object/qbr-test-replication.o}
    link=${link//-o tests\/unit\/test-replication/-o qbr-test-replication}
    (cd "$folder" && run_logged "unit-$name" sh -c "$compile" && run_logged "unit-$name" sh -c "$link") ||
        die "the test could not be built for modules"
    program=$folder/qbr-test-replication
fi

images=$(mktemp -d "${TMPDIR:-/tmp}/qbr-replication-XXXXXX")
at_exit "rm -rf '$images'"
status=0
TMPDIR=$images QEMU_MODULE_DIR=$modules timeout 300 "$program" --tap -k > "$QBR_LOG/unit-$name.out" 2> "$QBR_LOG/unit-$name.err" < /dev/null ||
    status=$?
sed -n "s/^\(ok\|not ok\) [0-9]* \(.*\)$/\1 - $name test-replication \2/p" "$QBR_LOG/unit-$name.out"
passed=$(grep -c '^ok ' "$QBR_LOG/unit-$name.out" || true)
if ((status || passed != 13)); then
    echo "not ok - $name test-replication as a whole"
    echo "# exit status $status, $passed of 13 passed"
    tail -n 20 "$QBR_LOG/unit-$name.err" | sed 's/^/# /'
    exit 1
fi
if [[ -n $modules ]]; then
    echo "# with $modules/block-replication.so"
fi
