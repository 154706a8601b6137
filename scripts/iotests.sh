#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# QEMU's own iotests that use our drivers, unmodified, on a build that has them: each once with our driver and once with the C driver.
#
# Usage: iotests.sh VERSION [quorum] [rbd] [FORMAT/TEST...]     (after QEMU=VERSION SYSTEM=1 scripts/qemu.sh)
# "quorum", the default, stands for all that name quorum; "rbd" for those that can be run on rbd, which rbd-raw/001 names one of, on a
# private Ceph that is started for it.
# One line per test: ok when the verdict is the same as with the C driver and a pass; skip when neither can run it. On rbd each side has
# a pool of its own, and the name of an image in the output is what it is on files.
# Full output: build/log/iotests-VERSION-{ours,c}.log
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Every test of the tree that names quorum, in each format that it supports.
QUORUM=(raw/081 raw/148 qcow2/312 qcow2/139 qcow2/245 qcow2/262 qcow2/110 qcow2/030 qcow2/041
    qed/030 qed/041 qed/110 qcow/110 vmdk/059 vmdk/110)
# The generic tests that pass on rbd, and the one for it. Not here, as they fail with any driver of rbd: 005 and 197, which take it for a
# file; 104 knows the name of the image by heart; 143, 145 and 181 want an emulator that was built otherwise.
RBD=(rbd-raw/001 rbd-raw/002 rbd-raw/003 rbd-raw/004 rbd-raw/008 rbd-raw/009 rbd-raw/010 rbd-raw/011 rbd-raw/021 rbd-raw/025 rbd-raw/032
    rbd-raw/033 rbd-raw/077 rbd-raw/215 rbd-raw/231)
# They name the driver, and do nothing with it that depends on it.
IGNORED=(183)

need_root "$@"
(($# >= 1)) || die "usage: iotests.sh VERSION [quorum] [rbd] [FORMAT/TEST...]"
version=$1
shift
TESTS=() all_quorum='' on_rbd=''
(($#)) || set -- quorum
for word; do
    case $word in
    quorum) TESTS+=("${QUORUM[@]}") all_quorum=1 ;;
    rbd) TESTS+=("${RBD[@]}") ;;
    */*) TESTS+=("$word") ;;
    *) die "usage: iotests.sh VERSION [quorum] [rbd] [FORMAT/TEST...]" ;;
    esac
done
[[ " ${TESTS[*]}" != *" rbd-"* ]] || on_rbd=1
folder=$QBR_BUILD/qemu-$version
source=$QBR_BUILD/integrated/qemu-$version
[[ -x $folder/qemu-system-x86_64 ]] || die "$folder has no emulator; QEMU=$version SYSTEM=1 scripts/qemu.sh makes it"
need_packages python3
c_drivers=$("$QBR_TOP/scripts/c-modules.sh" "$version")
for driver in quorum ${on_rbd:+rbd}; do
    [[ ${QBR_QUORUM_OURS:-} == c || -f $c_drivers/block-$driver.so && -f $folder/block-$driver.so ]] || die "$driver is not a module in $folder"
done
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
    [[ -z $on_rbd ]] || ceph destroy > /dev/null 2>&1 || true
}
ceph() { QBR_CEPH=check-iotests-${version//./_} "$QBR_TOP/scripts/ceph.sh" "$@"; }
at_exit cleanup
rm -rf "$work"
mkdir -p "$work/firmware"

# The emulator looks for these, which a build from Debian's source has not; no processor runs in these tests, so blank ones do.
head -c 262144 /dev/zero > "$work/firmware/bios-256k.bin"
head -c 9216 /dev/zero > "$work/firmware/kvmvapic.bin"
mkdir "$work/bin"
printf '#!/bin/sh\nexec "%s" -L "%s" "$@"\n' "$folder/qemu-system-x86_64" "$work/firmware" > "$work/bin/qemu-system-x86_64"
chmod +x "$work/bin/qemu-system-x86_64"
# The tests that use rbd's tool find it here.
printf '#!/bin/sh\nexec env QBR_CEPH="%s" "%s" rbd "$@"\n' "check-iotests-${version//./_}" "$QBR_TOP/scripts/ceph.sh" > "$work/bin/rbd"
chmod +x "$work/bin/rbd"
python=/usr/bin/python3
[[ ! -x $folder/pyvenv/bin/python3 ]] || python=$folder/pyvenv/bin/python3

# Tests on rbd take TEST_DIR for a folder in their own one, and for a pool. So each side has a copy of the tests, and a pool.
prepare_rbd() {
    local side test format
    ceph destroy > /dev/null 2>&1 || true
    ceph start || die "Ceph could not be started"
    eval "$(ceph env)"
    for side in ours c; do
        mkdir -p "$work/$side/tree/tests"
        cp -r "$source/tests/qemu-iotests" "$work/$side/tree/tests/"
        ln -s "$source/python" "$work/$side/tree/python"
        ceph pool "qbr$side"
        for test in "${TESTS[@]}"; do
            # The folder of a test is called FORMAT-PROTOCOL-TEST.
            format=${test%%/*}
            [[ $format != rbd-* ]] || ceph namespace "qbr$side" "${format#rbd-}-rbd-${test##*/}"
        done
    done
}

# too_soon FORMAT FOLDER TEST...: those that failed as their emulator still had the image. Some tell it to quit and look at the image
# without waiting until it is gone (312 does), which on a busy machine is too soon with any driver.
too_soon() {
    local format=$1 folder=$2 test
    shift 2
    for test; do
        ! grep -qs 'Is another process using the image' "$folder/$format-file-${test##*/}/${test##*/}.out.bad" || echo "$test"
    done
}

# run_side SIDE [VARIABLE=VALUE...]: all tests, format by format; those that looked too soon once more, up to four times.
run_side() {
    local side=$1 format test wanted check words place tries
    shift
    mkdir -p "$work/$side" "$sockets/$side"
    cd "$work/$side"
    for format in $(printf '%s\n' "${TESTS[@]%%/*}" | sort -u); do
        wanted=()
        for test in "${TESTS[@]}"; do [[ ${test%%/*} != "$format" ]] || wanted+=("${test#*/}"); done
        echo "--- format $format"
        check=("$folder/tests/qemu-iotests/check") words='' place=$work/$side/scratch
        if [[ $format == rbd-* ]]; then
            cd "$work/$side/tree/tests/qemu-iotests"
            check=(./check --source-dir "$PWD" --build-dir "$folder/tests/qemu-iotests") words="-${format#rbd-} -rbd" place=qbr$side
        fi
        for ((tries = 5; tries && ${#wanted[@]}; tries--)); do
            env -u QEMU_MODULE_DIR -u PYTHONPATH "$@" PYTHONDONTWRITEBYTECODE=1 PYTHON="$python" LC_ALL=C.UTF-8 \
                QEMU_PROG="$work/bin/qemu-system-x86_64" QSD_PROG="$folder/qemu-storage-daemon" TEST_DIR="$place" SOCK_DIR="$sockets/$side" PATH="$work/bin:$PATH" \
                "$python" "${check[@]}" --color off ${words:--$format} "${wanted[@]}" || true
            mapfile -t wanted < <(too_soon "$format" "$place" "${wanted[@]}")
        done
    done
}

mkdir -p "$QBR_LOG"
[[ -z $on_rbd ]] || prepare_rbd
step "running ${#TESTS[@]} of QEMU $version's iotests, with our drivers and with the C drivers"
begin=$SECONDS
for side in ours c; do
    variables=()
    [[ $side == ours ]] || variables=("QEMU_MODULE_DIR=$c_drivers")
    (
        trap - EXIT INT TERM HUP
        export -f run_side too_soon
        export folder work sockets python
        # shellcheck disable=SC2016
        exec setsid bash -c 'IFS=" " read -ra TESTS <<< "$1"; shift; run_side "$@"' - "${TESTS[*]}" "$side" "${variables[@]}"
    ) > "$QBR_LOG/iotests-$version-$side.log" 2>&1 < /dev/null &
    pids+=($!)
done
wait "${pids[@]}" || true
pids=()

bad=0
python3 - "$work" "$QBR_LOG/iotests-$version-ours.log" "$QBR_LOG/iotests-$version-c.log" "${TESTS[@]}" << 'END' || bad=1
import difflib, os, re, sys
work = sys.argv.pop(1)

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

def on_rbd(found, side):
    """Judge a test on rbd anew: a file's name has no "rbd:" in front. What is left is compared as lines."""
    for name, one in found.items():
        if not name.startswith("rbd-") or one["verdict"] != "fail":
            continue
        form, test = name.removeprefix("rbd-").split("/", 1)
        tests = f"{work}/{side}/tree/tests/qemu-iotests"
        base = os.path.basename(test)
        reference = next((path for path in (f"{tests}/{test}.out.{form}", f"{tests}/{test}.{form}.out", f"{tests}/{test}.out") if os.path.exists(path)), None)
        bad = f"{tests}/qbr{side}/{form}-rbd-{base}/{base}.out.bad"
        if reference is None or not os.path.exists(bad):
            continue
        with open(reference, encoding="utf-8") as good, open(bad, encoding="utf-8", errors="replace") as text:
            good, text = good.read().splitlines(), text.read().replace("rbd:TEST_DIR", "TEST_DIR").splitlines()
        one["lines"] = list(difflib.unified_diff(good, text, "expected", side, lineterm=""))[2:]
        one["verdict"] = "fail" if one["lines"] else "pass"
        one["lines"] = [line.replace(f"qbr{side}", "POOL") for line in one["lines"]]

ours, c = results(sys.argv[1]), results(sys.argv[2])
on_rbd(ours, "ours")
on_rbd(c, "c")
none = {"verdict": "no result", "out": [], "lines": []}
bad = False
for test in sys.argv[3:]:
    one, other = ours.get(test, none), c.get(test, none)
    name = f"iotest {test.split('/', 1)[1]} ({test.split('/')[0]})"
    if (one["verdict"], one["out"]) != (other["verdict"], other["out"]) or test.startswith("rbd-") and one["lines"] != other["lines"]:
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
if [[ -n $all_quorum ]]; then
    for test in $(cd "$source/tests/qemu-iotests" && grep -lw quorum [0-9][0-9][0-9] tests/* 2> /dev/null); do
        if [[ " ${IGNORED[*]} ${QUORUM[*]#*/} " != *" $test "* ]]; then
            echo "not ok - iotest $test names quorum, and is not in the list of $(basename "$0")"
            bad=1
        fi
    done
fi
echo "# $((SECONDS - begin)) s"
rm -rf "$work"
exit "$bad"
