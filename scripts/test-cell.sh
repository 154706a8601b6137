#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The end-to-end tests of tests/qemu with one set of QEMU programs, which is built first where it is missing or out of date.
#
# Usage: test-cell.sh [--prepare-only] CELL [ARGUMENT-OF-RUN.PY...]
# CELL: debian12, debian13 (the distribution's own programs with the drop-in module, in a private tree), qemu-7.2, qemu-10.0, qemu-10.2
# (programs with our driver as a module), qemu-VERSION-builtin (with the driver in them).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_root "$@"
only=''
if [[ ${1:-} == --prepare-only ]]; then
    only=1
    shift
fi
(($# >= 1)) || die "usage: test-cell.sh [--prepare-only] CELL [ARGUMENT...]"
cell=$1
shift

# The drop-in module for the programs of a tree, built in that tree.
tree() {
    local archive=()
    "$QBR_TOP/scripts/root.sh" create "$1"
    if [[ $1 == "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")" ]]; then
        # Out of the same release, with the same libraries, comes the same archive.
        "$QBR_TOP/scripts/archive.sh" > /dev/null
        archive=("QBR_ARCHIVE=$QBR_BUILD/lib/libqemu_block_rs.a")
    fi
    "$QBR_TOP/scripts/in-root" "$1" "QBR_BUILD=$QBR_BUILD/in-$1" "QBR_SRC=${QBR_SRC:-$QBR_BUILD/src}" "${archive[@]}" \
        "$QBR_TOP/scripts/modules.sh" > /dev/null
}

case $cell in
debian12) tree bookworm ;;
debian13) tree trixie ;;
qemu-*)
    version=${cell#qemu-}
    builtin=''
    [[ $version != *-builtin ]] || builtin=1
    # With the emulator, as only there a test decides how time passes; and with QEMU's own drivers beside ours to compare with.
    QEMU=${version%-builtin} BUILTIN=$builtin SYSTEM=1 "$QBR_TOP/scripts/qemu.sh" > /dev/null
    [[ -n $builtin ]] || "$QBR_TOP/scripts/c-modules.sh" "$version" > /dev/null
    # Servers, and the programs that the results are compared with, come from the tree of this release.
    suite=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    [[ $suite == bookworm ]] || suite=trixie
    "$QBR_TOP/scripts/root.sh" create "$suite"
    ;;
*) die "there is no cell '$cell': debian12, debian13, qemu-VERSION or qemu-VERSION-builtin" ;;
esac
[[ -z $only ]] || exit 0

need_packages python3 e2fsprogs iproute2 strace
exec python3 "$QBR_TOP/tests/qemu/run.py" --cell "$cell" "$@"
