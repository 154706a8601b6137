#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# make bench: our drivers, the C drivers and the least that the work can cost, side by side, into build/bench/DRIVER/.
#
# Variables: BENCH_DRIVER (gluster, quorum, rbd or replication; default all), BENCH_ROUNDS (default 5), BENCH_SECONDS (of
# I/O per run, default 2, and 0.3 for quorum and replication), BENCH_ONLY (only workloads and commands whose name contains
# this text, as in "read-4k", "qd1-", "null3", "info", "thin"), BENCH_OUT (default build/bench), BENCH_MODULES (a folder with
# other modules of this project to measure than those of this checkout). More are in scripts/bench-DRIVER.sh.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Settings may be arguments too, which is how they survive sudo.
for setting; do
    [[ $setting == BENCH_*=* ]] || die "not a setting: $setting"
    export "${setting?}"
done
settings=()
for setting in "${!BENCH_@}"; do settings+=("$setting=${!setting}"); done
need_root "${settings[@]}"

all=(gluster quorum rbd replication)
read -ra drivers <<< "${BENCH_DRIVER:-${all[*]}}"
for driver in "${drivers[@]}"; do
    [[ -f $QBR_TOP/scripts/bench-$driver.sh ]] || die "BENCH_DRIVER=$driver: it is one of: ${all[*]}"
done
take_lock bench
for driver in "${drivers[@]}"; do
    out=${BENCH_OUT:-$QBR_BUILD/bench}/$driver
    mkdir -p "$out"
    bash "$QBR_TOP/scripts/bench-$driver.sh" "$out"
    say "everything is in $out"
done
