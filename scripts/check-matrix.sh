#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# make check-matrix: the tests of tests/qemu for every supported QEMU, as modules, and for 10.0 without them; as a table.
#
# Variables: QBR_BUILD, QBR_CHECK_CELLS (names of cells; default: the six below. There are qemu-7.2-builtin and
# qemu-10.2-builtin, too). Full logs: build/log/matrix/CELL.log.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_root "$@"
take_lock check
LOGS=$QBR_LOG/matrix
read -ra cells <<< "${QBR_CHECK_CELLS:-debian12 debian13 qemu-7.2 qemu-10.0 qemu-10.0-builtin qemu-10.2}"
mkdir -p "$LOGS"

child=''
cleanup() {
    [[ -z $child ]] || { kill -TERM -- "-$child" 2> /dev/null || true; wait_gone 60 "$child" || kill -KILL -- "-$child" || true; }
    for name in "$QBR_BUILD"/servers/gluster/check-*/; do
        [[ ! -d $name ]] || QBR_GLUSTER=$(basename "$name") "$QBR_TOP/scripts/gluster.sh" destroy > /dev/null 2>&1 || true
    done
    for name in "$QBR_BUILD"/servers/ceph/check-*/; do
        [[ ! -d $name ]] || QBR_CEPH=$(basename "$name") "$QBR_TOP/scripts/ceph.sh" destroy > /dev/null 2>&1 || true
    done
}
at_exit cleanup

what_is() {
    case $1 in
    debian12) echo "Debian 12's own QEMU 7.2, drop-in module" ;;
    debian13) echo "Debian 13's own QEMU 10.0, drop-in module" ;;
    *-builtin) echo "QEMU ${1//[^0-9.]/}, driver built in" ;;
    *) echo "QEMU ${1#qemu-}, driver built as a module" ;;
    esac
}

rows=() bad=0
for cell in "${cells[@]}"; do
    step "$cell: $(what_is "$cell")"
    begin=$SECONDS status=0
    setsid "$QBR_TOP/scripts/test-cell.sh" "$cell" > "$LOGS/$cell.log" 2>&1 < /dev/null &
    child=$!
    wait "$child" || status=$?
    child=''
    passed=$(grep -c '^ok - ' "$LOGS/$cell.log" || true)
    failed=$(grep -c '^not ok - ' "$LOGS/$cell.log" || true)
    skipped=$(grep -c '^skip - ' "$LOGS/$cell.log" || true)
    ((status == 0 || failed)) || { failed=1 && tail -n 20 "$LOGS/$cell.log" | sed 's/^/    | /' >&2; }
    grep -A 6 '^not ok - ' "$LOGS/$cell.log" | sed 's/^/    | /' >&2 || true
    ((failed == 0)) || bad=1
    say "$passed passed, $failed failed, $skipped skipped in $((SECONDS - begin)) s"
    rows+=("$(printf '%-18s %-42s %7d %7d %8d %6d s' "$cell" "$(what_is "$cell")" "$passed" "$failed" "$skipped" $((SECONDS - begin)))")
done
echo
printf '%-18s %-42s %7s %7s %8s %8s\n' cell programs passed failed skipped time
printf '%s\n' "${rows[@]}"
exit "$bad"
