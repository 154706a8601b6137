#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# The oracle: random operations on rbd images through our driver and through librbd, on a private Ceph; all must be equal.
#
#   scripts/oracle.sh [--short] [--ops N] [--seed S] [--combo WORD] [--kind turns|twins] [--features NAMES] [--self-check] ...
#
# --short: about a minute, all combinations, for make check. Default: 393,000 operations, 3,850 in each of 102 trials. --self-check:
# the C driver against itself, with some of its requests spoiled too, which has to be found. --erasure: images with their data in an
# erasure-coded pool, on three OSDs with BlueStore. --features default: images as rbd create makes them, with the exclusive lock
# and the object map; clients are killed, too, and the rbd tool changes the images meanwhile. Without --features or --combo there are
# two runs, with the feature layering alone and with those, the latter of format 2 only, in parts that each have a cluster of their own.
# What else there is: tests/oracle/oracle.py --help.
# Prints `ok - oracle ...` or `not ok - oracle ...` for each combination of format, object size, striping, data pool and namespace.
#
# Variables: QBR_CEPH_SUITE (bookworm: Ceph 16, trixie: 18), QBR_ORACLE_CEPH (an instance of scripts/ceph.sh that runs
# already and goes on running), QBR_ORACLE_OURS (folder of our block-rbd.so; default build/qemu-10.0).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SABOTAGE=(read:100 write:20 zeroes:12 discard:10 truncate:3 create:2 delete:2 goto:1 blind:40)

need_root "$@"
out=$QBR_BUILD/oracle
qemu=$QBR_BUILD/qemu-10.0
options=() self_check='' erasure='' default_ops=3850
for word; do
    case $word in
    --short) default_ops=200 options+=(--quick) ;;
    --erasure) erasure=1 options+=(--combo datapool) ;;
    --self-check) self_check=1 options+=(--self-check) ;;
    *) options+=("$word") ;;
    esac
done
need_packages gcc libc6-dev ninja-build python3 python3-rados librbd-dev librados-dev
take_lock oracle

[[ -f $qemu/compile_commands.json ]] || QEMU=10.0 BUILTIN='' STOCK='' "$QBR_TOP/scripts/qemu.sh" > /dev/null
c_drivers=$("$QBR_TOP/scripts/c-modules.sh" 10.0)
# Copies, so that a build meanwhile changes nothing.
rm -rf "$out/drivers" "$out/log"
mkdir -p "$out/drivers"/{ours,c} "$out/log"
cp "$c_drivers/thick/block-rbd.so" "$out/drivers/c/"
ours=${QBR_ORACLE_OURS:-$qemu}
if [[ -z $self_check ]]; then
    [[ -f $ours/block-rbd.so ]] || die "$ours has no block-rbd.so; QEMU=10.0 scripts/qemu.sh makes it"
    cp "$ours/block-rbd.so" "$out/drivers/ours/"
fi
run_logged oracle python3 "$QBR_TOP/scripts/link-block.py" "$qemu" "$QBR_TOP/tests/oracle/worker.c" "$out/worker" ||
    die "the worker could not be built"

ceph() { QBR_CEPH=${QBR_ORACLE_CEPH:-oracle} "$QBR_TOP/scripts/ceph.sh" "$@"; }

# A cluster without images, which go with it.
new_cluster() {
    if [[ -z ${QBR_ORACLE_CEPH:-} ]]; then
        ceph destroy > /dev/null 2>&1 || true
        run_logged oracle ceph start ${erasure:+--osds 3 --store bluestore} || die "Ceph could not be started"
    fi
    run_logged oracle ceph pool oracle && run_logged oracle ceph pool oracle-data ${erasure:+--erasure} ||
        die "the pools could not be made"
    run_logged oracle ceph namespace oracle space || die "the namespace could not be made"
    eval "$(ceph env)"
    export QBR_ORACLE_CONF=$CEPH_CONF
}

[[ -n ${QBR_ORACLE_CEPH:-} ]] || at_exit 'ceph destroy > /dev/null 2>&1'
new_cluster
export QBR_CEPH=${QBR_ORACLE_CEPH:-oracle} QBR_ORACLE_PROGRAM=$out/worker QBR_ORACLE_OURS=$out/drivers/ours \
    QBR_ORACLE_C_DRIVER=$out/drivers/c QBR_ORACLE_POOL=oracle QBR_ORACLE_DATA_POOL=oracle-data \
    QBR_ORACLE_NAMESPACE=space QBR_ORACLE_RBD="$QBR_TOP/scripts/ceph.sh rbd" QBR_ORACLE_OUT=$out/log
# The distribution's Python is the one that has rados.
oracle() { /usr/bin/python3 -B "$QBR_TOP/tests/oracle/oracle.py" "$@"; }

status=0
case " ${options[*]} " in
*" --combo "* | *" --self-check "* | *" --list "* | *" --known "*) oracle --ops "$default_ops" "${options[@]}" || status=$? ;;
*)
    # What a cluster in memory has held it keeps, and a long run of all would need more of it than most machines have.
    parts=(format2-64K format2-4M format2-32M)
    runs=("${parts[@]/%/ --features default}")
    case " ${options[*]} " in
    *" --features "*) runs=(format1 "${parts[@]}") ;;
    *" --quick "*) runs=(format "format2 --features default") ;;
    *) runs=(format1 "${parts[@]}" "${runs[@]}") ;;
    esac
    for run in "${runs[@]}"; do
        [[ $run == "${runs[0]}" || " ${options[*]} " == *" --quick "* ]] || new_cluster
        # shellcheck disable=SC2086 # A part and its options.
        oracle --ops "$default_ops" --combo $run "${options[@]}" || status=$?
    done
    ;;
esac
if [[ -n $self_check ]] && ((status == 0)); then
    # A worker that spoils some requests of a kind: the oracle must see it.
    for sabotage in "${SABOTAGE[@]}"; do
        for kind in turns twins; do
            if oracle --ops 1500 --self-check --combo format2-64K-striped-datapool-namespace --kind "$kind" --jobs 1 \
                --sabotage "$sabotage" > "$out/log/sabotage-$kind-$sabotage" 2>&1; then
                echo "not ok - oracle sees a spoiled ${sabotage%:*} ($kind)"
                status=1
            else
                echo "ok - oracle sees a spoiled ${sabotage%:*} ($kind): $(sed -n 's/^# seed [^:]*: //p' "$out/log/sabotage-$kind-$sabotage" | head -n 1)"
            fi
        done
    done
fi
exit "$status"
