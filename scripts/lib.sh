# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Functions that all scripts of this project share: sourced, never run.
#
#   say TEXT, step TEXT, die TEXT          progress and errors, on standard error
#   run_logged NAME CMD...                 run CMD with its output in build/log/NAME.log; on failure show the end of it
#   need_root "$@"                         re-run the calling script with sudo when not root
#   need_packages PACKAGE...               install the packages that are missing, and only those; nothing with QBR_NO_INSTALL=1
#   need_rust                              cargo and rustc 1.85 or newer, the distribution's own where there are none
#   take_lock NAME                         one holder at a time among all commands that use this build folder
#   at_exit CMD                            run CMD when the script ends, however it ends; last added runs first
#   free_port                              print a TCP port nobody uses on the loopback addresses
#   start_daemon PIDFILE LOG CMD...        start CMD in the background, in a session of its own, and record it
#   record_pid PIDFILE PID                 record a process that somebody else started
#   daemon_pid PIDFILE                     print its process id when that very process still runs, else fail
#   stop_daemon PIDFILE [SECONDS]          end it, and wait until it is gone
#   pid_alive PID, wait_gone SECONDS PID...
#
# Variables set here: QBR_TOP (the checkout), QBR_BUILD (where all state goes; default QBR_TOP/build), QBR_LOG.

QBR_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
QBR_BUILD=${QBR_BUILD:-$QBR_TOP/build}
case $QBR_BUILD in /*) ;; *) QBR_BUILD=$PWD/$QBR_BUILD ;; esac
QBR_LOG=$QBR_BUILD/log
export QBR_BUILD
# A list in the environment does not survive, so nested commands read the names of the locks their caller holds.
export QBR_LOCKS=${QBR_LOCKS:-}
QBR_LOCK_FDS=()
QBR_AT_EXIT=()
declare -A QBR_LOG_STARTED=()

say() { printf '%s\n' "    $*" >&2; }
step() { printf '%s\n' "==> $*" >&2; }
die() {
    printf '%s\n' "error: $*" >&2
    exit 1
}

run_logged() {
    local name=$1 log=$QBR_LOG/$1.log status=0 from
    shift
    mkdir -p "$QBR_LOG"
    # The first use in a script begins the log anew; later ones add to it.
    [[ -n ${QBR_LOG_STARTED[$name]:-} ]] || : > "$log"
    QBR_LOG_STARTED[$name]=1
    from=$(($(wc -l < "$log") + 1))
    printf '+ %s\n' "$*" >> "$log"
    "$@" >> "$log" 2>&1 < /dev/null || status=$?
    if ((status)); then
        tail -n "+$from" "$log" | tail -n 40 | sed 's/^/    | /' >&2
        say "(exit status $status; everything is in $log)"
    fi
    return "$status"
}

# The script calls it first thing, with its own arguments.
need_root() {
    ((EUID)) || return 0
    command -v sudo > /dev/null ||
        die "this needs root: it sets up private folders and mounts; run it as root or install sudo"
    local name keep=()
    for name in "${!QBR_@}" QEMU BUILTIN SYSTEM STOCK QEMU_SOURCE CI TERM DEBUG SSL_CERT_FILE SSL_CERT_DIR CURL_CA_BUNDLE \
        http_proxy https_proxy no_proxy; do
        [[ -z ${!name:-} ]] || keep+=("$name=${!name}")
    done
    # A cargo that rustup keeps in the user's home stays usable; what cargo downloads goes to the build folder.
    [[ ! -d ${RUSTUP_HOME:-$HOME/.rustup} ]] ||
        keep+=("RUSTUP_HOME=${RUSTUP_HOME:-$HOME/.rustup}" "CARGO_HOME=$QBR_BUILD/cargo-home")
    step "this needs root: going on with sudo"
    exec sudo -- env "PATH=$PATH" "${keep[@]}" bash "$0" "$@"
}

package_installed() {
    [[ $(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2> /dev/null) == ?i* ]]
}

need_packages() {
    local package missing=() install
    [[ -z ${QBR_NO_INSTALL:-} ]] || return 0
    command -v dpkg-query > /dev/null ||
        die "this is not a Debian system: please install what these packages have, and set QBR_NO_INSTALL=1: $*"
    for package; do
        case $package in
        glusterfs-server | ceph-mon | ceph-osd | ceph-mgr | ceph-mds)
            die "$package starts services, so it belongs in a private tree (scripts/root.sh), never on this machine" ;;
        esac
        package_installed "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || die "these packages are missing, and installing them needs root: ${missing[*]}"
    step "installing ${missing[*]}"
    install=(env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C.UTF-8
        apt-get -q -y --no-install-recommends --no-remove
        -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
    # Lists that are missing or out of date make the first try fail at once; only then are they read anew.
    mkdir -p "$QBR_LOG"
    if ! "${install[@]}" install "${missing[@]}" > "$QBR_LOG/apt.log" 2>&1 < /dev/null; then
        run_logged apt-update "${install[@]}" update ||
            die "the package lists could not be read (apt-get update)"
        run_logged apt "${install[@]}" install "${missing[@]}" ||
            die "these packages could not be installed: ${missing[*]}"
    fi
    for package in "${missing[@]}"; do
        package_installed "$package" || die "apt-get says it is done, but $package is not installed (see $QBR_LOG/apt.log)"
    done
}

# Whether the program $1 exists and is 1.85 or newer.
rust_is_new() {
    local version
    version=$("$1" --version 2> /dev/null | awk '{ print $2 }') && [[ $version == [0-9]*.[0-9]* ]] || return 1
    [[ $(printf '%s\n' 1.85 "$version" | sort -V | head -n 1) == 1.85 ]]
}

need_rust() {
    local codename
    if rust_is_new cargo && rust_is_new rustc; then return; fi
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    if [[ $codename == bookworm ]]; then
        # Debian 12's plain rustc is 1.63; the -web packages replace it, which is the user's decision when it is there.
        if package_installed rustc || package_installed cargo; then
            die "the installed rustc is too old (1.85 is needed). Debian 12 has a newer one, which replaces it:
    apt-get install rustc-web cargo-web"
        fi
        need_packages rustc-web cargo-web
    else
        need_packages rustc cargo
    fi
    hash -r
    if ! { rust_is_new cargo && rust_is_new rustc; }; then
        PATH=/usr/bin:$PATH
        hash -r
        { rust_is_new cargo && rust_is_new rustc; } || die "cargo and rustc 1.85 or newer are needed; 'cargo --version' says $(cargo --version 2>&1)"
    fi
}

take_lock() {
    local name=$1 fd file=$QBR_BUILD/.lock-$1
    case " $QBR_LOCKS " in *" $name "*) return ;; esac
    mkdir -p "$QBR_BUILD"
    exec {fd}>> "$file"
    if ! flock -n "$fd"; then
        say "waiting for another command to finish (it holds $file)"
        flock "$fd"
    fi
    QBR_LOCK_FDS+=("$fd")
    QBR_LOCKS="$QBR_LOCKS $name"
}

run_at_exit() {
    local status=$? i
    trap '' INT TERM HUP
    for ((i = ${#QBR_AT_EXIT[@]} - 1; i >= 0; i--)); do
        eval "${QBR_AT_EXIT[i]}" || true
    done
    exit "$status"
}

at_exit() {
    QBR_AT_EXIT+=("$1")
    trap run_at_exit EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
}

free_port() {
    local port try
    for ((try = 0; try < 200; try++)); do
        # Below the range that the kernel gives to outgoing connections.
        port=$((20000 + (RANDOM << 15 | RANDOM) % 12000))
        if [[ -z $(ss -Htln "sport = :$port" 2> /dev/null) ]]; then
            echo "$port"
            return
        fi
    done
    die "no free TCP port was found"
}

# The time a process began, in clock ticks: together with the number it names one process for good. Empty when it is
# gone or only waits to be reaped.
pid_birth() {
    local stat rest
    { read -r stat < "/proc/$1/stat"; } 2> /dev/null || return 0
    rest=${stat##*) }
    # shellcheck disable=SC2086
    set -- $rest
    [[ $1 == Z || $1 == X ]] || echo "${20}"
}

pid_alive() { [[ -n $(pid_birth "$1") ]]; }

wait_gone() {
    local seconds=$1 end pid alive
    shift
    end=$((SECONDS + seconds))
    while :; do
        alive=
        for pid; do ! pid_alive "$pid" || alive=1; done
        [[ -n $alive ]] || return 0
        ((SECONDS < end)) || return 1
        sleep 0.05
    done
}

record_pid() {
    local birth
    birth=$(pid_birth "$2")
    [[ -n $birth ]] || return 1
    mkdir -p "$(dirname "$1")"
    printf '%s %s\n' "$2" "$birth" > "$1.tmp"
    mv "$1.tmp" "$1"
}

daemon_pid() {
    local pid='' birth=''
    { read -r pid birth < "$1"; } 2> /dev/null || return 1
    [[ -n $birth && $(pid_birth "$pid") == "$birth" ]] || return 1
    echo "$pid"
}

start_daemon() {
    local pidfile=$1 log=$2 fd pid
    shift 2
    mkdir -p "$(dirname "$log")"
    (
        trap - EXIT INT TERM HUP
        for fd in "${QBR_LOCK_FDS[@]}"; do exec {fd}>&-; done
        exec setsid "$@"
    ) >> "$log" 2>&1 < /dev/null &
    pid=$!
    disown "$pid"
    record_pid "$pidfile" "$pid" || {
        tail -n 20 "$log" | sed 's/^/    | /' >&2
        return 1
    }
}

stop_daemon() {
    local pidfile=$1 seconds=${2:-15} pid
    if pid=$(daemon_pid "$pidfile"); then
        kill -TERM "$pid" 2> /dev/null || true
        if ! wait_gone "$seconds" "$pid"; then
            kill -KILL "$pid" 2> /dev/null || true
            wait_gone 10 "$pid" || die "process $pid does not end ($pidfile)"
        fi
    fi
    rm -f "$pidfile"
}
