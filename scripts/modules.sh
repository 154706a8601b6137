#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# make modules: build the drop-in modules for the QEMU that this distribution has installed.
#
# Variables: QBR_MODULES_DIR (where block-*.so go; default $QBR_BUILD/modules), QEMU_SOURCE (source folder of the
# installed QEMU, where Debian's archive does not have it any more), QBR_BUILD, QBR_SRC.
# Prints the folder. Try a module with: QEMU_MODULE_DIR=FOLDER qemu-img info gluster://HOST/VOLUME/IMAGE (or rbd:POOL/IMAGE)
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/qemu-common.sh
source "$(dirname "${BASH_SOURCE[0]}")/qemu-common.sh"

DRIVERS=(gluster rbd)
MODULES=${QBR_MODULES_DIR:-$QBR_BUILD/modules}
WORK=$QBR_BUILD/modules-work

# The programs of the installed QEMU that load block modules.
programs() {
    local program
    for program in qemu-img qemu-io qemu-nbd qemu-storage-daemon qemu-system-x86_64; do
        [[ ! -x /usr/bin/$program ]] || echo "/usr/bin/$program"
    done
}

symbols() { nm -D "$@" | sed 's/@.*//'; }

# The installed programs must find their stamp in the module, and the module every symbol in each of them.
verify() {
    local module=$1 stamp program stock missing libraries
    stamp=$(symbols --defined-only "$module" | grep -o 'qemu_stamp_[0-9a-f]*') || die "$module has no QEMU stamp"
    grep -qaF "$stamp" /usr/bin/qemu-img ||
        die "$module has the stamp $stamp, which the installed qemu-img does not accept: this source is not the one it was built from"
    for stock in /usr/lib/*/qemu/"$(basename "$module")"; do
        [[ ! -f $stock || $(symbols --defined-only "$stock") == *"$stamp"* ]] || die "$stock has another stamp than $module"
    done
    while read -r program; do
        mapfile -t libraries < <(ldd "$program" "$module" | sed -n 's/.*=> //; s/^[[:space:]]*\(\/[^ ]*\) .*/\1/p' | sort -u)
        missing=$(comm -23 <(symbols --undefined-only "$module" | awk '$1 == "U" { print $2 }' | sort -u) \
            <(symbols --defined-only "$program" "${libraries[@]}" | awk '{ print $NF }' | sort -u))
        [[ -z $missing ]] || die "$program lacks what $(basename "$module") needs: ${missing//$'\n'/ }"
    done < <(programs)
}

need_root "$@"
take_lock modules
[[ -x /usr/bin/qemu-img ]] || die "no distribution QEMU is installed here: apt-get install qemu-utils qemu-block-extra"
version=$(/usr/bin/qemu-img --version | sed -n 1p)
pkgversion=$(sed -n 's/^[^(]*(\(.*\))$/\1/p' <<< "$version")
step "building modules for ${version}"

src=$("$QBR_TOP/scripts/qemu-source.sh" "${QEMU_SOURCE:-installed}")
[[ $version == *" $(< "$src/VERSION") "* || $version == *" $(< "$src/VERSION")" ]] ||
    die "$src is QEMU $(< "$src/VERSION"), but the installed one is: $version"
headers=$WORK/qemu
"$QBR_TOP/scripts/qemu-headers.sh" --release-config --pkgversion "$pkgversion" --to "$headers" "$src" > /dev/null

if [[ -z ${QBR_ARCHIVE:-} ]]; then
    "$QBR_TOP/scripts/archive.sh" > /dev/null
    QBR_ARCHIVE=$QBR_BUILD/lib/libqemu_block_rs.a
fi

drivers=$(IFS=, && echo "${DRIVERS[*]}")
key=$(printf '%s\n' "$src" "$headers" "$(< "$headers/.configured")" "$QBR_ARCHIVE" "$drivers")
if [[ ! -f $WORK/build/build.ninja || ! -f $WORK/key || $(< "$WORK/key") != "$key" ]]; then
    rm -rf "$WORK/build"
    run_logged modules meson setup "$WORK/build" "$QBR_TOP" -Dqemu_source="$src" -Dqemu_build="$headers" \
        -Darchive="$QBR_ARCHIVE" -Ddrivers="$drivers" || die "the modules could not be configured"
    printf '%s\n' "$key" > "$WORK/key"
fi
run_logged modules ninja -C "$WORK/build" || die "the modules could not be built"

mkdir -p "$MODULES"
for driver in "${DRIVERS[@]}"; do
    module=$WORK/build/block-$driver.so
    verify "$module"
    cmp -s "$module" "$MODULES/block-$driver.so" || install -m 644 "$module" "$MODULES/block-$driver.so"
    say "$MODULES/block-$driver.so fits the installed QEMU"
done
echo "$MODULES"
