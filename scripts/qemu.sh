#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# make qemu: build a QEMU with the drivers of this project in it, from Debian's source, for this machine.
#
# Variables:
#   QEMU=7.2|10.0|10.2  version (default 10.0), or a QEMU source folder
#   BUILTIN=1           without modules: the drivers are in the programs
#   SYSTEM=1            qemu-system-x86_64 too (the default are the tools: qemu-img, qemu-io, qemu-nbd, qemu-storage-daemon)
#   STOCK=1             QEMU's own C drivers, otherwise built the same way: for comparisons
#   QBR_BUILD, QBR_SRC, QBR_ARCHIVE (a ready Rust archive)
# Leaves runnable programs in build/qemu-VERSION[-stock][-builtin]/ and prints that folder.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=scripts/qemu-common.sh
source "$(dirname "${BASH_SOURCE[0]}")/qemu-common.sh"

# Features of the build where this QEMU knows them; a system library that is missing is an error, not a gap.
TOOL_FEATURES=(linux-aio linux-io-uring zstd gnutls glusterfs coroutine-pool iconv
    bochs cloop dmg parallels qcow1 qed replication vdi vhdx vmdk vpc vvfat)
# What QEMU's own driver of that name needs is not asked for: there is Debian's own build to compare with.
[[ -n ${STOCK:-} ]] || TOOL_FEATURES+=(rbd)
SYSTEM_FEATURES=(kvm tcg fdt vnc slirp pixman vhost-net vhost-user vhost-kernel vhost-vdpa tpm)

need_root "$@"
version=${QEMU:-10.0}
src=$("$QBR_TOP/scripts/qemu-source.sh" "$version")
name=qemu-$version
[[ $version != */* ]] || name=$(basename "$src")
name+=${STOCK:+-stock}${BUILTIN:+-builtin}
folder=$QBR_BUILD/$name
take_lock "$name"

# libgfapi loads its translators, which are in glusterfs-common, when it connects.
# shellcheck disable=SC2046
need_packages $(qemu_packages "$src") libgnutls28-dev flex bison glusterfs-common ${SYSTEM:+libfdt-dev libpixman-1-dev libslirp-dev}

tree=$src
if [[ -z ${STOCK:-} ]]; then
    if [[ -z ${QBR_ARCHIVE:-} ]]; then
        "$QBR_TOP/scripts/archive.sh" > /dev/null
        QBR_ARCHIVE=$QBR_BUILD/lib/libqemu_block_rs.a
    fi
    # A copy of the source, as the original also serves the stock build. With and without modules share it.
    tree=$QBR_BUILD/integrated/$(basename "$src")
    mark=$tree.version
    exec 7> "$QBR_BUILD/.lock-integrated"
    flock 7
    if [[ ! -d $tree || ! -f $mark || $(< "$mark") != "$(qemu_source_version "$src")" ]]; then
        step "copying the source of QEMU $(< "$src/VERSION") to put the drivers in"
        rm -rf "$tree" "$tree.new"
        mkdir -p "$(dirname "$tree")"
        cp -a "$src" "$tree.new"
        mv "$tree.new" "$tree"
        qemu_source_version "$src" > "$mark"
    fi
    step "$(python3 "$QBR_TOP/scripts/integrate.py" apply "$tree" --archive "$QBR_ARCHIVE")"
    flock -u 7
fi

# The options that this source knows: --enable-X for each X of the list that is among them.
enabled() {
    local feature
    for feature; do
        ! grep -q "^option('${feature//-/_}'," "$src/meson_options.txt" || echo "--enable-$feature"
    done
}

# Without debugging information it is built faster; backtraces have their names all the same.
options=(--without-default-features --disable-debug-info --disable-docs --disable-install-blobs --disable-user --enable-tools
    --with-pkgversion="$([[ -n ${STOCK:-} ]] && echo "stock drivers" || echo "qemu-block-rs")")
mapfile -t -O "${#options[@]}" options < <(enabled "${TOOL_FEATURES[@]}")
[[ -n ${BUILTIN:-} ]] || options+=(--enable-modules)
case $(< "$src/VERSION") in
7.*) options+=(--with-git-submodules=ignore) ;;
*) options+=(--disable-download) ;;
esac
targets=(qemu-img qemu-io qemu-nbd storage-daemon/qemu-storage-daemon)
if [[ -n ${SYSTEM:-} ]]; then
    mapfile -t -O "${#options[@]}" options < <(enabled "${SYSTEM_FEATURES[@]}")
    options+=(--target-list=x86_64-softmmu --enable-system)
    targets+=(qemu-system-x86_64)
else
    options+=(--target-list= --disable-system)
fi
# Once built with the system emulator, it stays: the tools alone are part of that build.
if [[ -z ${SYSTEM:-} && -f $folder/.configured ]] && grep -qx -- '--enable-system' "$folder/.configured"; then
    SYSTEM=1 exec bash "${BASH_SOURCE[0]}"
fi

qemu_configure "$tree" "$folder" "${options[@]}"
if [[ -z ${BUILTIN:-} ]]; then
    # The list of modules is that of the sources as they are now, with the drivers put in.
    run_logged "build-$name" ninja -C "$folder" build.ninja || die "QEMU could not be configured"
    mapfile -t -O "${#targets[@]}" targets < <(ninja -C "$folder" -t targets all |
        sed -n 's/^\([a-z0-9]*-[a-z0-9_-]*\.so\): .*/\1/p')
    # The table of the modules that the emulator knows goes with them.
    [[ -z ${SYSTEM:-} ]] || targets+=(modinfo-x86_64-softmmu.c)
fi
step "building QEMU $(< "$tree/VERSION") in ${folder#"$QBR_TOP/"} (minutes the first time)"
run_logged "build-$name" ninja -C "$folder" "${targets[@]}" || die "QEMU could not be built"
# It finds its modules from the folder it stands in.
ln -f "$folder/storage-daemon/qemu-storage-daemon" "$folder/qemu-storage-daemon"
say "$("$folder/qemu-img" --version | sed -n 1p)"
echo "$folder"
