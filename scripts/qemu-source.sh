#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Fetch a Debian QEMU source package, patched, into build/src/ and print its folder.
#
#   scripts/qemu-source.sh 7.2|10.0|10.2    build/src/qemu-VERSION, from bookworm, trixie or sid
#   scripts/qemu-source.sh installed        the source of exactly the QEMU that dpkg has installed here
#   scripts/qemu-source.sh FOLDER           any QEMU source tree: checked, and printed as it is
#
# Variables: QBR_BUILD (state folder), QBR_SRC (where sources go, default $QBR_BUILD/src),
# QBR_REFRESH=1 (look for a newer revision of a source that is already here).
#
# apt's own sources are neither used nor changed: a private sources file with deb-src lines only, with
# its own lists and cache, stands in their place. Mirror, proxy, credentials and certificates are the machine's.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SRC=${QBR_SRC:-$QBR_BUILD/src}
APT_DIR=$SRC/.apt
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
MARK=.debian-source-version

usage() { sed -n '4,6s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

# The address from which apt on this machine reads its own release; $1: main or security.
mirror_of() {
    local uri release
    while read -r uri release; do
        case $1:$release in
        security:*-security) ;;
        main:bookworm | main:trixie | main:sid | main:*stable | main:testing) ;;
        *) continue ;;
        esac
        echo "$uri"
        return
    done < <(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 2> /dev/null)
}

write_sources() {
    local main security suite
    main=$(mirror_of main)
    [[ -n $main ]] || die "no Debian mirror is configured in apt here, so QEMU's source cannot be fetched (see 'apt-get indextargets')"
    security=$(mirror_of security)
    for suite in bookworm bookworm-updates trixie trixie-updates sid; do
        echo "deb-src [signed-by=$KEYRING] $main $suite main"
    done
    [[ -z $security ]] || for suite in bookworm trixie; do
        echo "deb-src [signed-by=$KEYRING] $security $suite-security main"
    done
}

# apt-get with the private configuration; apt keeps its state files in APT_DIR only.
private_apt() {
    "$@" -o Dir::Etc::sourcelist="$APT_DIR/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
        -o Dir::State::lists="$APT_DIR/lists" -o Dir::Cache="$APT_DIR/cache" \
        -o Dir::Cache::archives="$APT_DIR/cache/archives" \
        -o APT::Sandbox::User=root -o APT::Get::List-Cleanup=0 -o Acquire::Retries=3 \
        -o Acquire::Languages=none -o APT::Architectures::= \
        -o APT::Update::Post-Invoke::= -o APT::Update::Post-Invoke-Success::=
}

refresh_lists() {
    local want
    want=$(write_sources)
    if [[ -f $APT_DIR/sources.list && $(<"$APT_DIR/sources.list") == "$want" && -f $APT_DIR/updated ]] &&
        [[ -n $(find "$APT_DIR/updated" -mmin -720) ]]; then
        return
    fi
    mkdir -p "$APT_DIR/lists/partial" "$APT_DIR/cache/archives/partial"
    printf '%s\n' "$want" > "$APT_DIR/sources.list"
    step "reading Debian's source package lists (private copy)"
    run_logged apt-sources private_apt apt-get -q update ||
        die "cannot read Debian's source package lists; see the lines above"
    touch "$APT_DIR/updated"
}

# Every source version of qemu that can be had, one per line.
known_versions() {
    private_apt apt-cache showsrc --only-source qemu 2>/dev/null | sed -n 's/^Version: //p' | sort -u
}

# The newest of the known versions that begins with the given upstream version.
newest() {
    local prefix=$1 best='' v bare
    while read -r v; do
        bare=${v#*:}
        [[ $bare == "$prefix".* || $bare == "$prefix"+* || $bare == "$prefix"-* ]] || continue
        if [[ -z $best ]] || dpkg --compare-versions "$v" gt "$best"; then best=$v; fi
    done < <(known_versions)
    echo "$best"
}

# Unpack source version $1 (with epoch) as folder $2; fails when the archive lists it but does not have it.
fetch() {
    local version=$1 folder=$2 tmp log=$QBR_LOG/qemu-source.log
    tmp=$(mktemp -d "$SRC/.tmp.XXXXXX")
    at_exit "rm -rf '$tmp'"
    step "fetching QEMU source $version"
    mkdir -p "$QBR_LOG"
    (cd "$tmp" && private_apt apt-get -q source --download-only --only-source "qemu=$version") > "$log" 2>&1 < /dev/null || return 1
    step "unpacking it with Debian's patches"
    (cd "$tmp" && run_logged qemu-unpack dpkg-source --no-check -x ./*.dsc tree) ||
        die "the source of QEMU $version could not be unpacked"
    printf '%s\n' "$version" > "$tmp/tree/$MARK"
    rm -rf "$folder.old"
    [[ ! -e $folder ]] || mv "$folder" "$folder.old" || die "$folder is in the way"
    mv "$tmp/tree" "$folder" || die "$folder could not be made"
    rm -rf "$folder.old" "$tmp"
}

prepare() {
    need_packages dpkg-dev patch xz-utils ca-certificates debian-archive-keyring
    [[ -f $KEYRING ]] || die "$KEYRING is missing (package debian-archive-keyring)"
    mkdir -p "$SRC" "$APT_DIR"
    exec 9> "$SRC/.lock"
    flock 9
}

by_number() {
    local number=$1 folder=$SRC/qemu-$1 version have=''
    [[ ! -f $folder/$MARK ]] || have=$(<"$folder/$MARK")
    if [[ -n $have && -z ${QBR_REFRESH:-} ]]; then echo "$folder"; return; fi
    prepare
    refresh_lists
    version=$(newest "$number")
    [[ -n $version ]] ||
        die "no suite of Debian has a source package of QEMU $number any more; there are: $(known_versions | tr '\n' ' ')"
    [[ $version == "$have" ]] || fetch "$version" "$folder" || {
        tail -n 5 "$QBR_LOG/qemu-source.log" | sed 's/^/    | /' >&2
        die "the source of QEMU $version could not be downloaded"
    }
    case $number:$version in
    10.2:*10.2.2+*) ;;
    10.2:*) say "note: QEMU $version was found; this project is tested with 10.2.2" ;;
    esac
    echo "$folder"
}

installed() {
    local binary source wanted folder f versions
    binary=$(dpkg-query -W -f '${Version}' qemu-utils 2> /dev/null || true)
    [[ -n $binary ]] ||
        die "no distribution QEMU is installed here (package qemu-utils): apt-get install qemu-utils"
    source=$(dpkg-query -W -f '${source:Version}' qemu-utils)
    # A backport whose own source is gone is the rebuild of a version that may still be there. modules.sh compares
    # the stamp of what it builds with the installed program, so a wrong guess cannot pass.
    for wanted in "$source" "${source%%~bpo*}"; do
        for f in "$SRC"/qemu-*/"$MARK"; do
            if [[ -f $f && $(< "$f") == "$wanted" ]]; then dirname "$f"; return; fi
        done
    done
    prepare
    refresh_lists
    versions=$(known_versions)
    for wanted in "$source" "${source%%~bpo*}"; do
        grep -qxF "$wanted" <<< "$versions" || continue
        [[ $wanted == "$source" ]] || say "the source of the backport $source is gone; trying $wanted, from which it was made"
        folder=$SRC/qemu-${wanted#*:}
        fetch "$wanted" "$folder" || continue
        echo "$folder"
        return
    done
    die "the installed QEMU is $binary, and its source ($source) cannot be fetched from Debian's archive:
    a backport, or a version that was replaced since. What is listed there: ${versions//$'\n'/ }
    Either install the version of your own release ('apt-cache policy qemu-utils' lists it; then
    'apt-get install --allow-downgrades qemu-utils=VERSION' and likewise for qemu-block-extra and qemu-system-*),
    or, if you have the source that your QEMU was built from, run: QEMU_SOURCE=FOLDER make modules"
}

[[ $# -ge 1 ]] || usage
need_root "$@"
for what; do
    case $what in
    7.2 | 10.0 | 10.2) by_number "$what" ;;
    installed) installed ;;
    -*) usage ;;
    *)
        [[ -f $what/VERSION && -f $what/block/meson.build ]] || die "$what is neither 7.2, 10.0, 10.2, 'installed' nor a QEMU source folder"
        (cd "$what" && pwd) ;;
    esac
done
