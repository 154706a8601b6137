#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Configure a QEMU source tree just far enough to compile block drivers against it, without building QEMU.
#
#   scripts/qemu-headers.sh [--cflags] [--pkgversion TEXT] [--to FOLDER] [--release-config] VERSION|SOURCE-FOLDER
#
# Prints the configured folder (default build/headers/NAME-OF-SOURCE), or with --cflags the compiler flags for an
# adapter on one line; the flags are also in FOLDER/adapter-cflags, one per line. All paths are absolute.
# VERSION is what scripts/qemu-source.sh takes. --release-config: the modules are to run in Debian's own executables,
# so a feature of Debian's build that shows in QEMU's headers must not be left out.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/qemu-common.sh
source "$(dirname "${BASH_SOURCE[0]}")/qemu-common.sh"

need_root "$@"
cflags='' release='' pkgversion='' folder='' what=''
while [[ $# -gt 0 ]]; do
    case $1 in
    --cflags) cflags=1 ;;
    --release-config) release=1 ;;
    --pkgversion) pkgversion=$2; shift ;;
    --to) folder=$2; shift ;;
    -*) die "unknown option $1; usage: $(sed -n '5s/^# *//p' "${BASH_SOURCE[0]}")" ;;
    *) what=$1 ;;
    esac
    shift
done
[[ -n $what ]] || die "usage: $(sed -n '5s/^# *//p' "${BASH_SOURCE[0]}")"

src=$("$QBR_TOP/scripts/qemu-source.sh" "$what")
folder=${folder:-$QBR_BUILD/headers/$(basename "$src")}
# shellcheck disable=SC2046
need_packages $(qemu_packages "$src")

# The features that decide about enumerations and structures in QEMU's headers are the ones of Debian's build,
# as the modules must agree with Debian's executables. libblkio stands for four rows of the driver enumeration.
options=(--target-list= --without-default-features --disable-system --disable-user --enable-tools --enable-modules
    --enable-replication --enable-linux-aio --enable-linux-io-uring --enable-zstd --enable-glusterfs
    --disable-docs --disable-install-blobs --with-pkgversion="${pkgversion:-Debian $(qemu_source_version "$src")}")
if grep -qs -- '^# --enable-blkio' "$src/debian/control"; then
    if apt-cache show libblkio-dev > /dev/null 2>&1; then
        need_packages libblkio-dev
        options+=(--enable-blkio)
    elif [[ -n $release ]]; then
        die "package libblkio-dev is needed (Debian built QEMU with it) and cannot be found"
    fi
fi
case $(<"$src/VERSION") in
7.*) options+=(--with-git-submodules=ignore) ;;
*) options+=(--disable-download) ;;
esac

mkdir -p "$(dirname "$folder")"
exec 8> "$folder.lock"
flock 8
qemu_configure "$src" "$folder" "${options[@]}"

# Everything that QEMU generates before it compiles a block module, and nothing more.
object=$(python3 "$QBR_TOP/scripts/qemu-cflags.py" --object "$folder")
mapfile -t headers < <(ninja -C "$folder" -t query "$object" | sed -n 's/^ *||* *\([^ ].*\.h\)$/\1/p')
run_logged "headers-$(basename "$folder")" ninja -C "$folder" "${headers[@]}" ||
    die "QEMU's generated headers could not be made"
python3 "$QBR_TOP/scripts/qemu-cflags.py" "$folder" > "$folder/adapter-cflags.new"
mv "$folder/adapter-cflags.new" "$folder/adapter-cflags"

if [[ -n $cflags ]]; then
    tr '\n' ' ' < "$folder/adapter-cflags"
    echo
else
    echo "$folder"
fi
