#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The replication part of make bench: bench-replication.sh FOLDER, called by bench.sh with BENCH_* in the environment.
#
# Both drivers run as modules of the same program, which starts the replication itself. BENCH_QEMU is a folder with a build
# that is ready, the C drivers in its c-drivers/ (default: build/qemu-10.0, which is brought up to date first).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/bench-loop.sh
source "$(dirname "${BASH_SOURCE[0]}")/bench-loop.sh"

out=$1
need_packages python3

qemu=${BENCH_QEMU:-}
if [[ -z $qemu ]]; then
    qemu=$(QEMU=10.0 BUILTIN='' STOCK='' "$QBR_TOP/scripts/qemu.sh")
    "$QBR_TOP/scripts/c-modules.sh" 10.0 > /dev/null
fi
# Copies, so that a build meanwhile does not change what is measured.
programs=$out/programs
rm -rf "$programs"
mkdir -p "$programs"/{rust,c}
cp "$qemu/qemu-img" "$programs/"
for module in block-replication.so block-quorum.so; do
    cp "${BENCH_MODULES:-$qemu}/$module" "$programs/rust/"
    cp "$qemu/c-drivers/$module" "$programs/c/"
done
link_loop "$qemu" "$programs"

files=$out/files
files_in_memory "$files" 256m

step "measuring replication: ${BENCH_ROUNDS:-5} rounds (a full one takes about 20 seconds)"
PYTHONDONTWRITEBYTECODE=1 QBR_BENCH_FILES=$files QBR_BENCH_QEMU=$programs \
    QBR_BENCH_MODULES=$programs/rust QBR_BENCH_C_MODULES=$programs/c \
    QBR_BENCH_REVISION="$(git -C "$QBR_TOP" describe --always --dirty 2> /dev/null || true)" \
    python3 "$QBR_TOP/benches/run.py" replication --out "$out" --rounds "${BENCH_ROUNDS:-5}" \
    --seconds "${BENCH_SECONDS:-0.3}" --only "${BENCH_ONLY:-}"
