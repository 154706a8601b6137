#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# make check: set up everything and run all tests. The last line is "N passed, N failed" (and ", N skipped").
#
# Several lanes of steps run side by side. A step's output goes to build/log/check/STEP.log; what fails is also shown at once.
# gluster is tested completely on Debian 12 and rbd on Debian 13, and their core on the other one; make check-matrix runs
# all of tests/qemu in six cells.
# A step of the setup that fails counts as one failed test, and steps that need it are not run; everything else still is.
# Variables: QBR_BUILD, QBR_SEED and QBR_REQUESTS (the random mixes of tests/qemu), QBR_CHECK_CELLS (default: all).
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_root "$@"
PATH=$PATH:/usr/sbin:/sbin
LOGS=$QBR_LOG/check
LANES=(debian12 debian13 sources qemu images rust)
CELLS=(debian12 debian13 qemu-10.0)
# What the setup scripts and tests need on this machine, installed in one go as two apt-get would be in each other's way.
PACKAGES=(gcc g++ libc6-dev make binutils pkg-config libclang-dev libglusterfs-dev librados-dev librbd-dev python3-rados ninja-build meson python3 python3-venv
    libglib2.0-dev zlib1g-dev libaio-dev liburing-dev libzstd-dev libpixman-1-dev libgnutls28-dev libfdt-dev libslirp-dev flex bison
    debootstrap debian-archive-keyring e2fsprogs iproute2 strace valgrind shellcheck)

elapsed() { printf '%2d:%02d' $((($1) / 60)) $((($1) % 60)); }
now() { date +%s; }
progress() { printf '==> [%s] %s\n' "$(elapsed $(($(now) - QBR_CHECK_BEGIN)))" "$*" >&2; }

# --- steps ---------------------------------------------------------------------------------------------------------

# Passed, failed and skipped tests in a log: lines of our own tests, and cargo's sums.
count() {
    awk '/^ok - / { p++ } /^not ok - / { f++ } /^skip - / { s++ }
        /^test result: / { p += $4; f += $6; s += $8 }
        END { print p + 0, f + 0, s + 0 }' "$1"
}

# step_of KIND NAME NEEDED CMD...: KIND is "setup" (counts only when it fails) or "test"; NEEDED: names of steps, or "".
step_of() {
    local kind=$1 name=$2 needed=$3 need log=$LOGS/$2.log begin status=0 passed failed skipped
    shift 3
    for need in $needed; do
        until [[ -f $LOGS/$need.status ]]; do sleep 0.2; done
        if [[ $(< "$LOGS/$need.status") != 0 ]]; then
            progress "$name: not run, as $need failed"
            echo "0 0 1" > "$LOGS/$name.count"
            echo 1 > "$LOGS/$name.status"
            return
        fi
    done
    begin=$(now)
    progress "$name ..."
    "$@" > "$log" 2>&1 < /dev/null || status=$?
    read -r passed failed skipped < <(count "$log")
    if ((status && failed == 0)); then
        failed=1
    elif ((status == 0 && passed + failed + skipped == 0)) && [[ $kind == test ]]; then
        passed=1
    fi
    ((failed == 0)) || status=1
    echo "$passed $failed $skipped" > "$LOGS/$name.count"
    if ((status)); then
        progress "$name: FAILED: $passed passed, $failed failed ($(elapsed $(($(now) - begin)))), $log"
        if grep -q '^not ok - ' "$log"; then
            awk '/^not ok - / { show = 1; print; next } /^# / && show { print; next } { show = 0 }' "$log" | head -n 60 | sed 's/^/    | /' >&2
        else
            tail -n 40 "$log" | sed 's/^/    | /' >&2
        fi
    elif [[ $kind == test ]]; then
        progress "$name: $passed passed$( ((skipped == 0)) || echo ", $skipped skipped") ($(elapsed $(($(now) - begin))))"
    else
        progress "$name: done ($(elapsed $(($(now) - begin))))"
    fi
    echo "$status" > "$LOGS/$name.status"
}

setup() { step_of setup "$@"; }
tests() { step_of test "$@"; }

# --- what the steps do -----------------------------------------------------------------------------------------------

cargo_in_build() {
    local command=$1
    shift
    CARGO_TARGET_DIR=$QBR_BUILD/cargo cargo "$command" --locked --manifest-path "$QBR_TOP/Cargo.toml" "$@"
}

packages() {
    need_packages "${PACKAGES[@]}"
    need_rust
}

cargo_fmt() {
    if ! cargo fmt --version > /dev/null 2>&1; then echo "skip - rust format # rustfmt is not installed"; return; fi
    cargo fmt --manifest-path "$QBR_TOP/Cargo.toml" --check && echo "ok - rust format"
}

cargo_clippy() {
    if ! cargo clippy --version > /dev/null 2>&1; then echo "skip - clippy # clippy is not installed"; return; fi
    cargo_in_build clippy --all-targets -- -D warnings && echo "ok - clippy"
}

cargo_doc() { RUSTDOCFLAGS='-D warnings' cargo_in_build doc --no-deps --document-private-items; }
cargo_tests() { cargo_in_build test; }

loom() {
    cd "$QBR_TOP"
    RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=$QBR_BUILD/cargo-loom cargo test --locked --lib --release
}

shell_scripts() {
    if ! command -v shellcheck > /dev/null; then echo "skip - shell scripts # shellcheck is not installed"; return; fi
    local script status=0
    cd "$QBR_TOP"
    for script in scripts/*.sh scripts/in-root tests/*/run.sh .ci/run; do
        if shellcheck -x -S warning "$script"; then echo "ok - shellcheck $script"; else echo "not ok - shellcheck $script"; status=1; fi
    done
    return "$status"
}

sources() { QBR_LOG_STARTED=() "$QBR_TOP/scripts/qemu-source.sh" "$1"; }

# The adapters compile without a warning against the headers of a QEMU.
adapters() {
    local version=$1 file flags status=0
    read -ra flags < <("$QBR_TOP/scripts/qemu-headers.sh" --cflags "$version") && ((${#flags[@]})) || return 1
    for file in "$QBR_TOP"/adapter/*.c; do
        if gcc "${flags[@]}" -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Wno-sign-compare -Werror \
            -I "$QBR_TOP/adapter" -I "$QBR_TOP/include" -c -o /dev/null "$file"; then
            echo "ok - $(basename "$file") compiles against QEMU $version"
        else
            echo "not ok - $(basename "$file") compiles against QEMU $version"
            status=1
        fi
    done
    return "$status"
}

script_tests() {
    local test status=0
    for test in "$QBR_TOP"/tests/scripts/test-*.py "$QBR_TOP/scripts/check-adapters.py"; do
        python3 -B "$test" || { status=$?; echo "# exit status $status: $test"; }
    done
    return "$status"
}

# Whether the library that the archive tests use in the place of librados answers as a real cluster does.
compare_rados() {
    export QBR_CEPH=check-compare QBR_CEPH_SUITE=$HOST_SUITE
    local ceph=$QBR_TOP/scripts/ceph.sh status=0
    "$ceph" start && "$ceph" pool rbd && eval "$("$ceph" env)" && "$QBR_TOP/tests/backends/rados/compare.sh" || status=1
    "$ceph" destroy
    return "$status"
}

prepare() { "$QBR_TOP/scripts/test-cell.sh" --prepare-only "$1"; }
cell() { "$QBR_TOP/scripts/test-cell.sh" "$@"; }

wanted() { [[ " ${QBR_CHECK_CELLS:-${CELLS[*]}} " == *" $1 "* ]]; }

# --- lanes -----------------------------------------------------------------------------------------------------------

lane() {
    case $1 in
    rust)
        tests cargo-fmt packages cargo_fmt
        setup archive packages "$QBR_TOP/scripts/archive.sh"
        tests cargo-test packages cargo_tests
        tests cargo-clippy packages cargo_clippy
        tests cargo-doc packages cargo_doc
        tests abi archive "$QBR_TOP/tests/abi/run.sh"
        tests loom packages loom
        ;;
    sources)
        setup source-7.2 packages sources 7.2
        setup source-10.0 packages sources 10.0
        setup source-10.2 packages sources 10.2
        tests adapters-7.2 source-7.2 adapters 7.2
        tests adapters-10.0 source-10.0 adapters 10.0
        tests adapters-10.2 source-10.2 adapters 10.2
        tests scripts "source-7.2 source-10.0 source-10.2" script_tests
        tests shellcheck "" shell_scripts
        ;;
    qemu)
        # Everything ends with this lane, so it goes before the others. Where the kernel shares processors among sessions, it looks at
        # their own niceness.
        renice -n -5 -p $$ > /dev/null 2>&1 || true
        echo -5 2> /dev/null > /proc/self/autogroup || true
        if wanted qemu-10.0; then
            setup build-qemu-10.0 "archive source-10.0" prepare qemu-10.0
            tests qemu-10.0 "build-qemu-10.0 tree-$HOST_SUITE" cell qemu-10.0 --driver gluster --core --jobs 2
            tests quorum-10.0 "build-qemu-10.0 tree-$HOST_SUITE" cell qemu-10.0 --driver quorum --jobs 2
            tests replication-10.0 "build-qemu-10.0 tree-$HOST_SUITE" cell qemu-10.0 --driver replication --jobs 2
            tests unit-10.0 build-qemu-10.0 "$QBR_TOP/scripts/unit-replication.sh" 10.0
            tests rbd-migration-10.0 "build-qemu-10.0 tree-$HOST_SUITE" cell qemu-10.0 --driver rbd --filter rbd_migration
            tests rbd-threads-10.0 "build-qemu-10.0 tree-$HOST_SUITE" cell qemu-10.0 --driver rbd --filter rbd_threads
            tests rbd-queries-10.0 "build-qemu-10.0 tree-$HOST_SUITE" cell qemu-10.0 --driver rbd --filter "all queries"
        fi
        ;;
    images)
        if wanted qemu-10.0; then
            tests iotests-10.0 build-qemu-10.0 "$QBR_TOP/scripts/iotests.sh" 10.0
            tests iotests-rbd-10.0 "build-qemu-10.0 tree-$HOST_SUITE" "$QBR_TOP/scripts/iotests.sh" 10.0 rbd
        fi
        ;;
    debian12)
        setup tree-bookworm packages "$QBR_TOP/scripts/root.sh" create bookworm
        if wanted debian12; then
            setup module-debian12 "tree-bookworm source-7.2" prepare debian12
            tests debian12 module-debian12 cell debian12 --driver gluster
            tests rbd-debian12 module-debian12 cell debian12 --driver rbd --core --jobs 2
        fi
        tests compare "tree-$HOST_SUITE" compare_rados
        # This lane has time left.
        if wanted qemu-10.0; then
            tests oracle "build-qemu-10.0 tree-$HOST_SUITE" "$QBR_TOP/scripts/oracle.sh" --short
        fi
        ;;
    debian13)
        setup tree-trixie packages "$QBR_TOP/scripts/root.sh" create trixie
        wanted debian13 || return 0
        setup module-debian13 "tree-trixie source-10.0" prepare debian13
        tests debian13 module-debian13 cell debian13 --driver gluster --core
        tests rbd-debian13 module-debian13 cell debian13 --driver rbd --jobs 3
        ;;
    esac
}

HOST_SUITE=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
[[ $HOST_SUITE == bookworm ]] || HOST_SUITE=trixie
if [[ ${1:-} == --lane ]]; then
    set +e
    lane "$2"
    exit 0
fi

# --- everything ------------------------------------------------------------------------------------------------------

pids=()
cleanup() {
    local pid name
    for pid in "${pids[@]}"; do kill -TERM -- "-$pid" 2> /dev/null || true; done
    # The tests end their own servers and programs.
    wait_gone 60 "${pids[@]}" || for pid in "${pids[@]}"; do kill -KILL -- "-$pid" 2> /dev/null || true; done
    for name in "$QBR_BUILD"/servers/gluster/check-*/; do
        [[ ! -d $name ]] || QBR_GLUSTER=$(basename "$name") "$QBR_TOP/scripts/gluster.sh" destroy > /dev/null 2>&1 || true
    done
    for name in "$QBR_BUILD"/servers/ceph/check-*/; do
        [[ ! -d $name ]] || QBR_CEPH=$(basename "$name") "$QBR_TOP/scripts/ceph.sh" destroy > /dev/null 2>&1 || true
    done
}
everything() {
    local name
    take_lock check
    QBR_CHECK_BEGIN=$(now)
    export QBR_CHECK_BEGIN
    rm -rf "$LOGS"
    mkdir -p "$LOGS"

    at_exit cleanup

    step_of setup packages "" packages
    for name in "${LANES[@]}"; do
        setsid bash "${BASH_SOURCE[0]}" --lane "$name" < /dev/null &
        pids+=($!)
    done
    wait "${pids[@]}" || true

    local file passed failed skipped total_passed=0 total_failed=0 total_skipped=0
    for file in "$LOGS"/*.count; do
        read -r passed failed skipped < "$file"
        total_passed=$((total_passed + passed)) total_failed=$((total_failed + failed)) total_skipped=$((total_skipped + skipped))
    done
    # A lane that died has steps without a result.
    for file in "$LOGS"/*.log; do
        [[ -f ${file%.log}.count ]] || { progress "$(basename "$file" .log): ended without a result"; total_failed=$((total_failed + 1)); }
    done
    progress "everything is done; full logs are in $LOGS"
    if ((total_failed)); then
        for file in "$LOGS"/*.log; do
            if grep -q '^not ok - ' "$file"; then
                grep '^not ok - ' "$file"
            elif [[ -f ${file%.log}.status && $(< "${file%.log}.status") != 0 ]]; then
                echo "not ok - $(basename "$file" .log)"
            fi
        done
    fi
    echo "$total_passed passed, $total_failed failed$( ((total_skipped == 0)) || echo ", $total_skipped skipped")"
    ((total_failed == 0))
}

# One line, so that the whole script has been read before anything starts.
everything; exit
