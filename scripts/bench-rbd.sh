#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The rbd part of make bench: bench-rbd.sh FOLDER, called by bench.sh with BENCH_* in the environment.
#
# BENCH_SUITE is the Debian whose stock QEMU and Ceph are used: trixie (default), or bookworm. BENCH_FEATURES are the
# image's features, as `rbd create --image-feature` has them (default: layering). With BENCH_REALTIME=1 cluster and clients
# keep everything else off the processors while they have work, which makes figures of a busy machine comparable.
# BENCH_ONLY=thin: qemu-img map and convert of thin images of 200 GiB, and of 50 TiB, which a full run leaves out as they take
# the C driver long.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

out=$1
suite=${BENCH_SUITE:-trixie}
in_tree() { "$QBR_TOP/scripts/in-root" "$suite" "$@"; }

"$QBR_TOP/scripts/root.sh" create "$suite"
modules=${BENCH_MODULES:-}
[[ -n $modules ]] ||
    modules=$(in_tree QBR_BUILD="$QBR_BUILD/in-$suite" QBR_SRC="$QBR_BUILD/src" "$QBR_TOP/scripts/modules.sh")
# A copy, so that a build meanwhile does not change what is measured.
mkdir -p "$out/modules"
cp "$modules/block-rbd.so" "$out/modules/"

export QBR_CEPH=bench QBR_CEPH_SUITE=$suite
ceph() { "$QBR_TOP/scripts/ceph.sh" "$@"; }
clean_up() { ceph destroy; }
clean_up
at_exit clean_up
# Cluster and clients go first, all of them alike: what else runs on this machine disturbs them less.
first=(nice -n -15)
"${first[@]}" "$QBR_TOP/scripts/ceph.sh" start --osds 1 --store memstore
mapfile -t pids < <(ceph pids)
for pid in "${pids[@]}"; do
    # Where the kernel shares processors among sessions, it looks at their own niceness.
    echo -15 2> /dev/null > "/proc/$pid/autogroup" || true
done
if [[ -n ${BENCH_REALTIME:-} ]]; then
    first=(chrt -f 1)
    for pid in "${pids[@]}"; do chrt -a -f -p 1 "$pid"; done
fi
ceph pool vms
eval "$(ceph env)"

# shellcheck disable=SC2016
in_tree sh -c 'gcc -O2 -Wall -Wextra -Werror -o "$1" "$2" -lrados' - \
    "$out/bare-rados" "$QBR_TOP/benches/bare-rados.c" || die "the bare loop could not be built"

step "measuring rbd: ${BENCH_ROUNDS:-5} rounds (a full one takes about a minute and a half)"
in_tree PYTHONDONTWRITEBYTECODE=1 QBR_BENCH_CONF="$CEPH_CONF" QBR_BENCH_POOL=vms \
    QBR_BENCH_PATIENCE=10 QBR_BENCH_FEATURES="${BENCH_FEATURES:-layering}" QBR_BENCH_FIRST="${first[*]}" \
    QBR_BENCH_BARE="$out/bare-rados" QBR_BENCH_MODULES="$out/modules" \
    QBR_BENCH_LIBRARY="$(in_tree ceph --version | cut -d' ' -f1-3)" \
    QBR_BENCH_REVISION="$(git -C "$QBR_TOP" describe --always --dirty 2> /dev/null || true)" \
    setsid --wait sh -c 'echo -15 2> /dev/null > /proc/self/autogroup; exec "$@"' - \
    python3 "$QBR_TOP/benches/run.py" rbd --out "$out" --rounds "${BENCH_ROUNDS:-5}" --seconds "${BENCH_SECONDS:-2}" \
    --only "${BENCH_ONLY:-}"
