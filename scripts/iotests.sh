#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# QEMU's own iotests that use our drivers, unmodified, on a build that has them: each once with our driver and once with the C driver.
#
# Usage: iotests.sh VERSION [FORMAT/TEST...]     (after QEMU=VERSION SYSTEM=1 scripts/qemu.sh; default: all that name quorum)
# One line per test: ok when the verdict is the same as with the C driver and a pass; skip when neither can run it.
# Full output: build/log/iotests-VERSION-{ours,c}.log
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Every test of the tree that names quorum, in each format that it supports.
TESTS=(raw/081 raw/148 qcow2/312 qcow2/139 qcow2/245 qcow2/262 qcow2/110 qcow2/030 qcow2/041
    qed/030 qed/041 qed/110 qcow/110 vmdk/059 vmdk/110)
# They name the driver, and do nothing with it that depends on it.
IGNORED=(183)

need_root "$@"
(($# >= 1)) || die "usage: iotests.sh VERSION [FORMAT/TEST...]"
version=$1
shift
selected=$#
(($# == 0)) || TESTS=("$@")
folder=$QBR_BUILD/qemu-$version
source=$QBR_BUILD/integrated/qemu-$version
[[ -x $folder/qemu-system-x86_64 ]] || die "$folder has no emulator; QEMU=$version SYSTEM=1 scripts/qemu.sh makes it"
need_packages python3
c_drivers=$("$QBR_TOP/scripts/c-modules.sh" "$version")
[[ ${QBR_QUORUM_OURS:-} == c || -f $c_drivers/block-quorum.so && -f $folder/block-quorum.so ]] || die "quorum is not a module in $folder"
take_lock "iotests-$version"

# Names of sockets must be short.
sockets=$(mktemp -d /tmp/qbr-iotests.XXXXXX)
work=$QBR_BUILD/tests/iotests-$version
pids=()
cleanup() {
    local pid
    for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2> /dev/null || true; done
    ((${#pids[@]} == 0)) || wait_gone 10 "${pids[@]}" || for pid in "${pids[@]}"; do kill -KILL -- "-$pid" 2> /dev/null || true; done
    rm -rf "$sockets"
}
at_exit cleanup
rm -rf "$work"
mkdir -p "$work/firmware"

# The emulator looks for these, which a build from Debian's source has not; no processor runs in these tests, so blank ones do.
head -c 262144 /dev/zero > "$work/firmware/bios-256k.bin"
head -c 9216 /dev/zero > "$work/firmware/kvmvapic.bin"
mkdir "$work/bin"
printf '#!/bin/sh\nexec "%s" -L "%s" "$@"\n' "$folder/qemu-system-x86_64" "$work/firmware" > "$work/bin/qemu-system-x86_64"
chmod +x "$work/bin/qemu-system-x86_64"
python=/usr/bin/python3
[[ ! -x $folder/pyvenv/bin/python3 ]] || python=$folder/pyvenv/bin/python3

# run_side SIDE [VARIABLE=VALUE...]: all tests, format by format.
run_side() {
    local side=$1 format test wanted
    shift
    mkdir -p "$work/$side" "$sockets/$side"
    cd "$work/$side"
    for format in $(printf '%s\n' "${TESTS[@]%%/*}" | sort -u); do
        wanted=()
        for test in "${TESTS[@]}"; do [[ ${test%%/*} != "$format" ]] || wanted+=("${test#*/}"); done
        echo "--- format $format"
        env -u QEMU_MODULE_DIR -u PYTHONPATH "$@" PYTHONDONTWRITEBYTECODE=1 PYTHON="$python" LC_ALL=C.UTF-8 \
            QEMU_PROG="$work/bin/qemu-system-x86_64" QSD_PROG="$folder/qemu-storage-daemon" TEST_DIR="$work/$side/scratch" SOCK_DIR="$sockets/$side" \
            "$python" "$folder/tests/qemu-iotests/check" --color off "-$format" "${wanted[@]}" || true
    done
}

mkdir -p "$QBR_LOG"
step "running ${#TESTS[@]} of QEMU $version's iotests, with our driver and with the C driver"
begin=$SECONDS
for side in ours c; do
    variables=()
    [[ $side == ours ]] || variables=("QEMU_MODULE_DIR=$c_drivers")
    (
        trap - EXIT INT TERM HUP
        export -f run_side
        export folder work sockets python
        # shellcheck disable=SC2016
        exec setsid bash -c 'IFS=" " read -ra TESTS <<< "$1"; shift; run_side "$@"' - "${TESTS[*]}" "$side" "${variables[@]}"
    ) > "$QBR_LOG/iotests-$version-$side.log" 2>&1 < /dev/null &
    pids+=($!)
done
wait "${pids[@]}" || true
pids=()

bad=0
python3 - "$QBR_LOG/iotests-$version-ours.log" "$QBR_LOG/iotests-$version-c.log" "${TESTS[@]}" << 'END' || bad=1
import re, sys

def results(path):
    """For each test: pass, fail or the reason why it was not run; what was left out; the lines about it."""
    found, form, mine = {}, None, None
    with open(path, encoding="utf-8", errors="replace") as log:
        for line in log.read().splitlines():
            if line.startswith("--- format "):
                form, mine = line.split()[2], None
                continue
            last = line.rsplit("\r", 1)[-1]
            end = re.match(r"(\d{3}|tests/\S+) .*?\s(pass|fail|not run)\s", last + " ")
            if end:
                reason = re.split(r"\s{2,}", last.strip())[-1]
                mine = found[f"{form}/{end[1]}"] = {"verdict": end[2] if end[2] != "not run" else f"not run: {reason}", "out": [], "lines": []}
            elif re.match(r"(Passed|Failed|Failures|Not run|Some cases)", last):
                mine = None
            elif mine and "[case not run]" in line:
                mine["out"].append(line.split("]", 1)[1].strip())
            elif mine:
                mine["lines"].append(line)
    return found

ours, c = results(sys.argv[1]), results(sys.argv[2])
none = {"verdict": "no result", "out": [], "lines": []}
bad = False
for test in sys.argv[3:]:
    one, other = ours.get(test, none), c.get(test, none)
    name = f"iotest {test.split('/', 1)[1]} ({test.split('/')[0]})"
    if (one["verdict"], one["out"]) != (other["verdict"], other["out"]):
        bad = True
        print(f"not ok - {name}: another verdict than with the C driver")
        print(f"# ours: {one['verdict']} {one['out'] or ''}\n# C driver: {other['verdict']} {other['out'] or ''}")
        print("\n".join(f"# {line}" for line in one["lines"][:60]))
    elif one["verdict"] == "pass":
        print(f"ok - {name}: same verdict as with the C driver (passed)")
        print("".join(f"# not run in it, with either driver: {text}\n" for text in one["out"]), end="")
    elif one["verdict"].startswith("not run"):
        print(f"skip - {name} # {one['verdict']} (both drivers)")
    elif one is none:
        bad = True
        print(f"not ok - {name}: no result")
    else:
        print(f"skip - {name} # it fails with the C driver too, see {sys.argv[2]}")
sys.exit(bad)
END
if ((selected == 0)); then
    for test in $(cd "$source/tests/qemu-iotests" && grep -lw quorum [0-9][0-9][0-9] tests/* 2> /dev/null); do
        if [[ " ${IGNORED[*]} ${TESTS[*]#*/} " != *" $test "* ]]; then
            echo "not ok - iotest $test names quorum, and is not in the list of $(basename "$0")"
            bad=1
        fi
    done
fi
echo "# $((SECONDS - begin)) s"
rm -rf "$work"
exit "$bad"
