#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Builds the Rust archive: build/lib/libqemu_block_rs.a, one object in which nothing but qbr_* is visible.
#
# Usage: archive.sh [OUTPUT]     a copy of the archive goes to OUTPUT
# Variables: QBR_BUILD (folder for everything that is built), QBR_FEATURES (drivers, default: all).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
source "$here/lib.sh"

root=$(dirname "$here")
build=${QBR_BUILD:-$root/build}
lib=$build/lib
work=$build/archive
mkdir -p "$lib" "$work" "$build/log"

need_packages gcc libc6-dev binutils pkg-config libclang-dev libglusterfs-dev librados-dev
need_rust

features=()
if [ -n "${QBR_FEATURES:-}" ]; then
    features=(--no-default-features --features "$QBR_FEATURES")
fi
# Two at once would cut the same object.
take_lock archive
step "Rust archive"
CARGO_TARGET_DIR=$build/cargo run_logged cargo-archive \
    cargo build --locked --release --lib --manifest-path "$root/Cargo.toml" "${features[@]}"

raw=$build/cargo/release/libqemu_block_rs.a
if [ "$raw" -nt "$lib/libqemu_block_rs.a" ]; then
    # One relocatable object, so that symbols can become local to it. Sections stay apart: a module drops what it doesn't use,
    # such as the drivers that it isn't for.
    ld -r --whole-archive "$raw" -o "$work/all.o"
    # The standard library brings the compiler's intermediate code along, which no linker here needs.
    objcopy --wildcard --keep-global-symbol='qbr_*' --remove-section=.llvmbc --remove-section=.llvmcmd \
        "$work/all.o" "$work/qemu_block_rs.o"
    rm -f "$work/libqemu_block_rs.a"
    ar crs "$work/libqemu_block_rs.a" "$work/qemu_block_rs.o"
    mv "$work/libqemu_block_rs.a" "$lib/libqemu_block_rs.a"
    rm -f "$work/all.o" "$work/qemu_block_rs.o"
fi
if [ $# -ge 1 ]; then
    cp "$lib/libqemu_block_rs.a" "$1"
fi
