#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Compares the fake librados with the real one: compare.c has to print the same over both.
#
# Usage: compare.sh [POOL]
# Variables: CEPH_CONF (the cluster; without it there is nothing to compare with), QBR_BUILD (here: abi/).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/lib.sh
source "$here/../../../scripts/lib.sh"

out=$QBR_BUILD/abi/compare
name="the fake librados answers as a real cluster does"
if [[ -z ${CEPH_CONF:-} ]]; then
    echo "skip - $name # CEPH_CONF names no cluster"
    exit 0
fi
need_packages gcc libc6-dev librados-dev
mkdir -p "$out"
flags=(-std=gnu11 -g -O1 -Wall -Wextra -Werror -D_GNU_SOURCE)
run_logged compare-build gcc "${flags[@]}" -o "$out/fake" "$here"/*.c -lpthread
run_logged compare-build gcc "${flags[@]}" -o "$out/real" "$here/compare.c" -lrados -lpthread
timeout 60 "$out/fake" rbd > "$out/fake.txt"
timeout 120 "$out/real" "${1:-rbd}" > "$out/real.txt"
if diff -u "$out/real.txt" "$out/fake.txt" > "$out/diff.txt"; then
    echo "ok - $name"
else
    echo "not ok - $name"
    sed 's/^/# /' "$out/diff.txt"
    exit 1
fi
