#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The gluster part of make bench: bench-gluster.sh FOLDER, called by bench.sh with BENCH_* in the environment.
#
# BENCH_SUITE is the Debian whose stock QEMU and Gluster are used: trixie (default), or bookworm.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

out=$1
suite=${BENCH_SUITE:-trixie}
in_tree() { "$QBR_TOP/scripts/in-root" "$suite" "$@"; }

# Bricks in memory: what is measured is the client, not a disk. Where tmpfs has no trusted attributes, gluster.sh finds
# another place.
memory_bricks() {
    mkdir -p "$bricks"
    mount -t tmpfs -o mode=755 private-bricks "$bricks" || return 0
    touch "$bricks/.xattr"
    if ! in_tree setfattr -n trusted.test -v 1 "$bricks/.xattr" 2> /dev/null; then
        umount "$bricks"
        return 0
    fi
    rm "$bricks/.xattr"
}

"$QBR_TOP/scripts/root.sh" create "$suite"
modules=${BENCH_MODULES:-}
[[ -n $modules ]] ||
    modules=$(in_tree QBR_BUILD="$QBR_BUILD/in-$suite" QBR_SRC="$QBR_BUILD/src" "$QBR_TOP/scripts/modules.sh")

export QBR_GLUSTER=bench QBR_GLUSTER_SUITE=$suite
bricks=$QBR_BUILD/servers/gluster/$QBR_GLUSTER/bricks
gluster() { "$QBR_TOP/scripts/gluster.sh" "$@"; }
clean_up() {
    [[ -e $bricks/../conf ]] || ! mountpoint -q "$bricks" || umount "$bricks"
    gluster destroy
}
clean_up
at_exit clean_up
memory_bricks
gluster start
gluster volume vol plain
# As Gluster's own settings for virtual machines have it: with cache=none a write is acknowledged by the brick.
gluster volume-set vol performance.strict-o-direct on
gluster volume-set vol network.remote-dio disable
eval "$(gluster env vol)"

# shellcheck disable=SC2016
in_tree sh -c 'gcc -O2 -Wall -Wextra -Werror -o "$1" "$2" $(pkg-config --cflags --libs glusterfs-api)' - \
    "$out/bare-gluster" "$QBR_TOP/benches/bare-gluster.c" || die "the bare loop could not be built"

step "measuring gluster: ${BENCH_ROUNDS:-5} rounds (a full one takes about three minutes)"
in_tree PYTHONDONTWRITEBYTECODE=1 GLUSTER_HOST="$GLUSTER_HOST" GLUSTER_PORT="$GLUSTER_PORT" \
    GLUSTER_VOLUME="$GLUSTER_VOLUME" GLUSTER_URL="$GLUSTER_URL" \
    QBR_BENCH_BARE="$out/bare-gluster" QBR_BENCH_MODULES="$modules" \
    QBR_BENCH_LIBRARY="$(in_tree sh -c 'gluster --version | sed -n 1p' | cut -d' ' -f1,2)" \
    QBR_BENCH_BRICK="$(stat -f -c %T "$(gluster bricks vol)"); plain volume, strict-o-direct on" \
    QBR_BENCH_REVISION="$(git -C "$QBR_TOP" describe --always --dirty 2> /dev/null || true)" \
    python3 "$QBR_TOP/benches/run.py" gluster --out "$out" --rounds "${BENCH_ROUNDS:-5}" --seconds "${BENCH_SECONDS:-2}" \
    --only "${BENCH_ONLY:-}"
