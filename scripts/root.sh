#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Private Debian trees under build/roots/: the distribution's own QEMU, servers and build tools, apart from this machine's.
#
#   scripts/root.sh create SUITE           make the tree, or bring it up to the package list below (SUITE: bookworm, trixie)
#   scripts/root.sh run SUITE [--] CMD...  run CMD inside it; the same as scripts/in-root SUITE CMD..., which says what CMD sees
#   scripts/root.sh path SUITE             print its folder
#   scripts/root.sh versions SUITE         print the versions of QEMU, Gluster, Ceph and rustc in it
#   scripts/root.sh destroy SUITE          remove it
#
# QBR_REFRESH=1 create also upgrades what is installed. Packages come from the mirror that this machine's apt uses, with
# the proxy and certificates it uses; apt here is neither changed nor used. They are kept in build/cache/apt.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

usage() {
    sed -n '5,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 2
}

packages() {
    echo ca-certificates procps iproute2 attr strace e2fsprogs xz-utils python3
    echo qemu-utils qemu-block-extra
    echo glusterfs-server glusterfs-client libglusterfs-dev
    echo ceph-mon ceph-osd ceph-mgr ceph-common librados-dev python3-rados python3-rbd rbd-nbd
    echo gcc g++ make pkg-config meson ninja-build libclang-dev libglib2.0-dev zlib1g-dev dpkg-dev patch flex bison
    case $1 in
    # Debian 12 has qemu-storage-daemon in another package, and a new enough Rust under another name.
    bookworm) echo qemu-system-common rustc-web cargo-web ;;
    *) echo rustc cargo ;;
    esac
}

# The address of the archive: what apt on this machine reads for its own release, else Debian's own.
# $1: "main" or "security"; $2: what to print when apt has none.
mirror() {
    local kind=$1 fallback=$2 uri release
    # shellcheck disable=SC2016
    while read -r uri release; do
        case $uri in http://* | https://*) ;; *) continue ;; esac
        case $kind:$release in
        security:bookworm-security | security:trixie-security | security:*stable-security) ;;
        main:bookworm | main:trixie | main:stable | main:oldstable | main:testing | main:sid) ;;
        *) continue ;;
        esac
        echo "$uri"
        return
    done < <(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Identifier: Packages' 2> /dev/null)
    echo "$fallback"
}

sources() {
    local suite=$1 main security
    main=$(mirror main http://deb.debian.org/debian/)
    security=$(mirror security http://deb.debian.org/debian-security/)
    echo "deb [signed-by=$KEYRING] $main $suite main"
    echo "deb [signed-by=$KEYRING] $main $suite-updates main"
    echo "deb [signed-by=$KEYRING] $security $suite-security main"
}

# This machine's settings for fetching (proxy, certificates, date checks) and what a private tree needs.
apt_conf() {
    # Certificate files are named by their path here; the bundle is at one path in the tree.
    apt-config dump |
        grep -E '^Acquire::(http|https|Check-Valid-Until|Check-Date|ForceIPv[46])(::[^ ]*)? "' |
        grep -vEi '::(CaInfo|CaPath|SslCert|SslKey)' || true
    cat << END
Acquire::https::CAInfo "/etc/host-ca-certificates.crt";
Acquire::Languages "none";
Acquire::Retries "3";
APT::Install-Recommends "0";
APT::Sandbox::User "root";
APT::Keep-Downloaded-Packages "1";
Dir::Cache::archives "$QBR_BUILD/cache/apt/$1/";
DPkg::Use-Pty "0";
END
}

# apt-get inside the tree $1.
tree_apt() {
    local root=$1
    shift
    "$QBR_TOP/scripts/in-root" "$root" DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends "$@"
}

# Write the tree's own settings: apt's, and no service ever starts in it.
configure() {
    local suite=$1 root=$2
    mkdir -p "$root/etc/apt/apt.conf.d" "$root$QBR_TOP" "$root$QBR_BUILD"
    sources "$suite" > "$root/etc/apt/sources.list"
    apt_conf "$suite" > "$root/etc/apt/apt.conf.d/90build"
    printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    touch "$root/etc/host-ca-certificates.crt" "$root/etc/resolv.conf" "$root/etc/hosts"
}

stamp_matches() { [[ -f $2/.complete && $(< "$2/.complete") == "$(packages "$1")" ]]; }

bootstrap() {
    local suite=$1 tmp=$2 proxy='' cache=$QBR_BUILD/cache/apt/$1
    [[ -x /usr/sbin/debootstrap && -f $KEYRING ]] || need_packages debootstrap debian-archive-keyring
    [[ -e /usr/share/debootstrap/scripts/$suite ]] || die "debootstrap on this machine does not know $suite"
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    [[ ${proxy:-DIRECT} == DIRECT ]] || export http_proxy=$proxy
    step "making a Debian $suite tree (about a minute)"
    rm -rf --one-file-system "$tmp"
    mkdir -p "$tmp" "$cache/partial"
    run_logged "root-$suite" debootstrap --variant=minbase --keyring="$KEYRING" --cache-dir="$cache" \
        "$suite" "$tmp" "$(mirror main http://deb.debian.org/debian/)" ||
        die "debootstrap $suite failed"
}

install_packages() {
    local suite=$1 root=$2
    configure "$suite" "$root"
    mkdir -p "$QBR_BUILD/cache/apt/$suite/partial"
    run_logged "root-$suite" tree_apt "$root" update || die "the package lists of $suite could not be read"
    [[ -z ${QBR_REFRESH:-} && -e $root/.complete ]] ||
        run_logged "root-$suite" tree_apt "$root" dist-upgrade || die "upgrading the $suite tree failed"
    say "installing QEMU, Gluster, Ceph and build tools in it"
    # shellcheck disable=SC2046
    run_logged "root-$suite" tree_apt "$root" install $(packages "$suite") || die "installing packages in the $suite tree failed"
    packages "$suite" > "$root/.complete.new"
    mv "$root/.complete.new" "$root/.complete"
}

create() {
    local suite=$1 root=$2
    if [[ -z ${QBR_REFRESH:-} ]] && stamp_matches "$suite" "$root"; then return; fi
    take_lock "root-$suite"
    if [[ -z ${QBR_REFRESH:-} ]] && stamp_matches "$suite" "$root"; then return; fi
    if [[ -f $root/.complete ]]; then
        step "bringing the Debian $suite tree up to date"
        install_packages "$suite" "$root"
    else
        bootstrap "$suite" "$root.tmp"
        install_packages "$suite" "$root.tmp"
        rm -rf --one-file-system "$root"
        mv "$root.tmp" "$root"
    fi
    say "Debian $suite is ready: $(versions "$root" | tr '\n' ' ')"
}

versions() {
    dpkg-query --admindir="$1/var/lib/dpkg" -W -f '${db:Status-Abbrev}${Package}=${Version}\n' \
        qemu-utils glusterfs-server ceph-osd rustc rustc-web 2> /dev/null | sed -n 's/^ii *//p'
}

# Processes whose root directory is this tree.
processes_in() {
    local root pid
    root=$(cd "$1" && pwd -P)
    for pid in /proc/[0-9]*; do
        [[ $(readlink "$pid/root" 2> /dev/null) != "$root" ]] || echo "${pid#/proc/}"
    done
}

destroy() {
    local root=$1 pids
    [[ -e $root ]] || return 0
    pids=$(processes_in "$root")
    [[ -z $pids ]] || die "these processes still run inside $root; stop them first: ${pids//$'\n'/ }"
    rm -rf --one-file-system "$root" "$root.tmp"
}

(($# >= 2)) || usage
command=$1 suite=$2
case $suite in bookworm | trixie) ;; *) die "the trees are bookworm (Debian 12) and trixie (Debian 13), not '$suite'" ;; esac
root=$QBR_BUILD/roots/$suite
case $command in
path)
    echo "$root"
    ;;
run)
    shift 2
    exec "$QBR_TOP/scripts/in-root" "$suite" "$@"
    ;;
create)
    need_root "$@"
    create "$suite" "$root"
    ;;
versions)
    versions "$root"
    ;;
destroy)
    need_root "$@"
    take_lock "root-$suite"
    destroy "$root"
    ;;
*) usage ;;
esac
