#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The quorum part of make bench: bench-quorum.sh FOLDER, called by bench.sh with BENCH_* in the environment.
#
# Both drivers run as modules of the same programs, those of make qemu; and the C driver also where it usually is, in the
# programs. BENCH_QEMU is a folder with programs that are ready, the C driver in its c-drivers/, and BENCH_STOCK one with
# QEMU's own programs, or empty (default: build/qemu-10.0 and build/qemu-10.0-stock, which are brought up to date first).
# BENCH_AIO is how files are read and written: threads (default), io_uring or native.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/bench-loop.sh
source "$(dirname "${BASH_SOURCE[0]}")/bench-loop.sh"

out=$1
need_packages gcc libc6-dev python3

qemu=${BENCH_QEMU:-} stock=${BENCH_STOCK:-}
if [[ -z $qemu ]]; then
    stock=$(QEMU=10.0 BUILTIN='' STOCK=1 "$QBR_TOP/scripts/qemu.sh")
    qemu=$(QEMU=10.0 BUILTIN='' STOCK='' "$QBR_TOP/scripts/qemu.sh")
    "$QBR_TOP/scripts/c-modules.sh" 10.0 > /dev/null
fi
# Copies, so that a build meanwhile does not change what is measured.
programs=$out/programs
rm -rf "$programs"
mkdir -p "$programs"/{rust,c,stock}
cp "$qemu/qemu-img" "$programs/"
cp "${BENCH_MODULES:-$qemu}/block-quorum.so" "$programs/rust/"
cp "$qemu/c-drivers/block-quorum.so" "$programs/c/"
link_loop "$qemu" "$programs"
if [[ -n $stock ]]; then
    cp "$stock/qemu-img" "$programs/stock/"
    link_loop "$stock" "$programs/stock"
fi

gcc -O2 -Wall -Wextra -Werror -o "$out/bare-quorum" "$QBR_TOP/benches/bare-quorum.c" ||
    die "the bare loop could not be built"

files=$out/files
files_in_memory "$files" 512m

step "measuring quorum: ${BENCH_ROUNDS:-5} rounds (a full one takes about a minute and a half)"
PYTHONDONTWRITEBYTECODE=1 QBR_BENCH_BARE=$out/bare-quorum QBR_BENCH_FILES=$files QBR_BENCH_AIO=${BENCH_AIO:-} \
    QBR_BENCH_QEMU=$programs QBR_BENCH_STOCK=${stock:+$programs/stock} QBR_BENCH_MODULES=$programs/rust \
    QBR_BENCH_C_MODULES=$programs/c \
    QBR_BENCH_REVISION="$(git -C "$QBR_TOP" describe --always --dirty 2> /dev/null || true)" \
    python3 "$QBR_TOP/benches/run.py" quorum --out "$out" --rounds "${BENCH_ROUNDS:-5}" \
    --seconds "${BENCH_SECONDS:-0.3}" --only "${BENCH_ONLY:-}"
