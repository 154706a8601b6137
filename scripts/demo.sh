#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# make demo: a real disk image goes to Gluster and to Ceph and back, through our drivers in Debian's own unmodified QEMU.
#
# Variables: DEMO_SUITE=bookworm|trixie (show it with the QEMU of Debian 12 or 13, in a private tree; default: the
# installed QEMU where it is this release's own, else a private tree of this release), QBR_BUILD.
# The first run sets everything up, which takes minutes; later ones take about a minute. Nothing keeps running.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# sudo hands on what begins with QBR_.
export QBR_DEMO_SUITE=${QBR_DEMO_SUITE:-${DEMO_SUITE:-}}
need_root "$@"

PATH=$PATH:/usr/sbin:/sbin
FILES=3000
DEMO=$QBR_BUILD/demo
export QBR_GLUSTER=demo QBR_CEPH=demo

# --- how it looks ------------------------------------------------------------------------------------------------

bold='' dim='' green='' plain=''
[[ ! -t 1 ]] || bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' plain=$'\e[0m'
number=0
title() {
    number=$((number + 1))
    printf '\n%s%2d. %s%s\n' "$bold" "$number" "$*" "$plain"
}
# A command at its prompt; a long one goes on in the next line.
shown() { fold -s -w 108 <<< "$1\$ $2" | sed "\$!s/ *\$/ \\\\/; 2,\$s/^/    /; s/.*/    $dim&$plain/"; }
result() { printf '    %s%s%s\n' "$green" "$*" "$plain"; }

# --- where the commands run --------------------------------------------------------------------------------------

codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
case $codename in bookworm | trixie) ;; *) [[ -n $QBR_DEMO_SUITE ]] ||
    die "this shows Debian 12 or 13, and this machine runs neither: choose with DEMO_SUITE=bookworm or DEMO_SUITE=trixie" ;; esac
suite=${QBR_DEMO_SUITE:-$codename}
case $suite in
bookworm) release=12 series=7.2 ;;
trixie) release=13 series=10.0 ;;
*) die "DEMO_SUITE must be bookworm (Debian 12) or trixie (Debian 13), not '$suite'" ;;
esac

# Why the installed QEMU is not the one to show; nothing when it is.
why_not_installed() {
    local version
    [[ -z $QBR_DEMO_SUITE ]] || { echo "DEMO_SUITE asks for it"; return; }
    package_installed qemu-utils || { echo "no QEMU is installed on this machine"; return; }
    version=$(dpkg-query -W -f '${Version}' qemu-utils)
    [[ $version == 1:${series}[.+]* && $version != *~bpo* ]] ||
        { echo "the installed QEMU ($version) is not Debian $release's own"; return; }
    package_installed qemu-block-extra || { echo "qemu-block-extra is not installed on this machine"; return; }
    [[ $(command -v qemu-img) == /usr/bin/qemu-img ]] || echo "the first qemu-img in PATH is not the distribution's"
}

# Run a command where Debian's QEMU is; VARIABLE=VALUE words come first.
debian() {
    if [[ -n $tree ]]; then "$QBR_TOP/scripts/in-root" "$suite" "$@"; else env "$@"; fi
}

# A command as one would type it, with $URL for the volume.
# shellcheck disable=SC2016
typed() {
    local word text=''
    for word; do
        word=${word//"$url"/'$URL'}
        word=${word//"$QBR_TOP/"/}
        [[ $word != *\ * ]] || word="'$word'"
        text+="$word "
    done
    echo "${text% }"
}

# Show a command and run it there, in the demo's folder. Leaves what it prints in the file "output" and its time in $took.
# With "stock" first, as it is without our module.
took=0 url='' modules='' ceph_conf=''
on_debian() {
    local ours=("QEMU_MODULE_DIR=$modules") prefix='' status=0
    if [[ $1 == stock ]]; then
        shift
        ours=() prefix='env -u QEMU_MODULE_DIR '
    fi
    shown "debian$release" "$prefix$(typed "$@")"
    rm -f "$DEMO/took"
    # The clock runs inside, so that entering the tree is not counted.
    # shellcheck disable=SC2016
    debian "CEPH_CONF=$ceph_conf" "${ours[@]}" bash -c 'start=${EPOCHREALTIME/./}
        "$@"
        status=$?
        echo $((${EPOCHREALTIME/./} - start)) > took
        exit $status' demo "$@" > "$DEMO/output" 2>&1 < /dev/null || status=$?
    if ((status)); then
        sed 's/^/    | /' "$DEMO/output" >&2
        die "that command failed (exit status $status)"
    fi
    took=$(seconds "$(< "$DEMO/took")")
}

# The same on this machine.
here() {
    local status=0 start
    shown here "$(typed "$@")"
    start=${EPOCHREALTIME/./}
    "$@" > "$DEMO/output" 2>&1 < /dev/null || status=$?
    if ((status)); then
        sed 's/^/    | /' "$DEMO/output" >&2
        die "that command failed (exit status $status)"
    fi
    took=$(seconds $((${EPOCHREALTIME/./} - start)))
}

# Microseconds as seconds.
seconds() { printf '%d.%02d s' $(($1 / 1000000)) $(($1 % 1000000 / 10000)); }

hash_of() { sha256sum "$1" | cut -c1-64; }

same_hash() {
    local have
    have=$(hash_of "$1")
    [[ $have == "$image_hash" ]] || die "$1 has the SHA-256 $have instead of $image_hash"
    rm -f "$1"
}

# Servers outlive the command that starts them, so they must not hold on to our lock.
gluster() {
    local fd
    (
        for fd in "${QBR_LOCK_FDS[@]}"; do exec {fd}>&-; done
        exec "$QBR_TOP/scripts/gluster.sh" "$@"
    )
}
ceph() {
    local fd
    (
        for fd in "${QBR_LOCK_FDS[@]}"; do exec {fd}>&-; done
        exec "$QBR_TOP/scripts/ceph.sh" "$@"
    )
}

# Show a command of Ceph's own tool and run it. What it prints is in the file "output".
rbd_tool() {
    shown ceph "rbd $(typed "$@")"
    ceph rbd "$@" > "$DEMO/output" 2>&1 || die "that command failed: $(tail -n 3 "$DEMO/output")"
}

clean_up() {
    gluster destroy > /dev/null 2>&1 || say "the servers could not be stopped: scripts/gluster.sh destroy, with QBR_GLUSTER=demo"
    ceph destroy > /dev/null 2>&1 || say "the servers could not be stopped: scripts/ceph.sh destroy, with QBR_CEPH=demo"
    rm -rf "$DEMO"
}

# --- set-up ------------------------------------------------------------------------------------------------------

SECONDS=0
printf '%sDebian %s, its own QEMU, a Gluster volume and a Ceph pool: our block drivers in place of the C ones%s\n\n' "$bold" "$release" "$plain"
take_lock demo
at_exit clean_up
gluster destroy > /dev/null 2>&1 || true
ceph destroy > /dev/null 2>&1 || true
rm -rf "$DEMO"
mkdir -p "$DEMO"
cd "$DEMO"

need_packages e2fsprogs python3 procps iproute2
reason=$(why_not_installed)
# The servers run from a private tree in any case: their packages would start services on this machine.
"$QBR_TOP/scripts/root.sh" create "$suite" > /dev/null
if [[ -n $reason ]]; then
    tree=$suite
    step "Debian $release's QEMU from a private tree, as $reason"
    debian "QBR_BUILD=$QBR_BUILD/in-$suite" "QBR_SRC=${QBR_SRC:-$QBR_BUILD/src}" "$QBR_TOP/scripts/modules.sh" > /dev/null
    modules=$QBR_BUILD/in-$suite/modules
else
    tree=''
    need_packages strace
    step "Debian $release's QEMU, as installed"
    "$QBR_TOP/scripts/modules.sh" > /dev/null
    modules=$QBR_BUILD/modules
fi
QEMU=10.0 BUILTIN='' SYSTEM='' STOCK='' "$QBR_TOP/scripts/qemu.sh" > /dev/null
integrated=$QBR_BUILD/qemu-10.0
QBR_GLUSTER_SUITE=$suite gluster start > /dev/null
gluster volume vol plain > /dev/null
url=gluster://$(gluster host-port)/vol
QBR_CEPH_SUITE=$suite ceph start > /dev/null
ceph pool rbd > /dev/null
ceph_conf=$(ceph env | sed -n 's/^export CEPH_CONF=//p')
setup=$SECONDS
step "ready after $setup s: QEMU, our modules, a private Gluster volume, URL=$url, and a private Ceph with the pool rbd"
[[ -z $tree ]] || say "(what is typed at debian$release\$ runs in the tree, by: scripts/in-root $tree COMMAND)"

# --- the demo ----------------------------------------------------------------------------------------------------

title "Debian's programs, as Debian ships them"
on_debian dpkg --verify qemu-utils qemu-block-extra
[[ ! -s $DEMO/output ]] || die "these files are not Debian's any more: $(< "$DEMO/output")"
result "$(debian qemu-img --version | sed -n 's/.* version //p'): not a byte differs from the packages"

title "A disk image with something in it: ext4, $FILES files"
python3 - "$FILES" << 'END'
import os, random, sys
rng = random.Random(20)
for n in range(int(sys.argv[1])):
    folder = f"tree/{n % 60:02}/{n % 7}"
    os.makedirs(folder, exist_ok=True)
    data = rng.randbytes(int(rng.expovariate(1 / 24000)))
    if n % 3 == 0:
        data += b"the same line again and again\n" * rng.randrange(2000)
    with open(f"{folder}/{n:04}", "wb") as file:
        file.write(data)
END
here mkfs.ext4 -q -F -d tree disk.img 256M
image_hash=$(hash_of disk.img)
result "$(du -sh --apparent-size tree | cut -f1) of files in a 256 MiB image, SHA-256 ${image_hash:0:16}..."
rm -rf tree

title "Onto Gluster, through our module"
shown "debian$release" "export $(typed "QEMU_MODULE_DIR=$modules")"
on_debian qemu-img convert -f raw -O raw disk.img "$url/disk.img"
result "written and flushed in $took"
on_debian qemu-img info -f raw "$url/disk.img"
sed -n 's/^\(image\|virtual size\|disk size\):/    &/p' "$DEMO/output"

title "Which module was that?"
on_debian strace -f -o trace -e trace=openat qemu-img info -f raw "$url/disk.img"
line=$(grep -F 'block-gluster.so' trace | grep -v ENOENT | grep -o 'openat.*') || die "no block-gluster.so was opened"
[[ $line == *"\"$modules/block-gluster.so\""* && $line != *$'\n'* ]] || die "another module was opened: $line"
result "${line//"$QBR_TOP/"/}"

title "And back: every byte the same"
on_debian qemu-img compare -f raw -F raw disk.img "$url/disk.img"
result "$(< "$DEMO/output") ($took)"
on_debian qemu-img convert -f raw -O raw "$url/disk.img" back.img
result "read in $took"
here e2fsck -fn back.img
result "$(tail -n 1 "$DEMO/output")"
same_hash back.img
result "SHA-256 ${image_hash:0:16}..., the same"

title "As a guest would: any offset, any size, zeroes, discard, flush"
on_debian qemu-img create -f raw "$url/guest.img" 64M
on_debian qemu-io -f raw -c 'write -P 0x5a 4097 70001' -c 'write -z 1M 3M' -c 'discard 8M 1M' -c 'flush' \
    -c 'read -P 0x5a 4097 70001' -c 'read -P 0 1M 3M' "$url/guest.img"
! grep -qiE 'fail|error' "$DEMO/output" || die "qemu-io found a difference: $(< "$DEMO/output")"
result "$(grep -cE '^(wrote|read|discard)' "$DEMO/output") requests as they should be ($took)"

title "Together with QEMU's C driver on the same volume, both ways"
on_debian stock qemu-img convert -f raw -O raw "$url/disk.img" theirs.img
same_hash theirs.img
result "the C driver reads what ours wrote: same SHA-256 ($took)"
on_debian qemu-img create -f raw "$url/theirs.img" 256M
on_debian stock qemu-img convert -n -f raw -O raw disk.img "$url/theirs.img"
on_debian qemu-img convert -f raw -O raw "$url/theirs.img" back.img
same_hash back.img
result "ours reads what the C driver wrote: same SHA-256 ($took)"

title "The same command twice: QEMU's C driver, then ours"
on_debian stock qemu-img info -f raw "$url/disk.img"
stock_took=$took
result "$stock_took (nearly all of it the library's shutdown, which the C driver waits for)"
on_debian qemu-img info -f raw "$url/disk.img"
result "$took"

title "Onto Ceph, without librbd"
on_debian qemu-img create -f raw rbd:rbd/disk 256M
on_debian qemu-img convert -n -f raw -O raw disk.img rbd:rbd/disk
result "written in $took"
rbd_tool info rbd/disk
sed -n 's/^\t\(size\|features\)[: ]/    &/p' "$DEMO/output"
on_debian qemu-img compare -f raw -F raw disk.img rbd:rbd/disk
result "$(< "$DEMO/output") ($took)"

title "Together with Ceph's own tools and the C driver on the same image"
rbd_tool snap create --no-progress rbd/disk@before
on_debian qemu-io -f raw -c 'write -P 0x5a 100M 5M' -c 'read -P 0x5a 100M 5M' rbd:rbd/disk
on_debian qemu-img compare -f raw -F raw disk.img rbd:rbd/disk@before
result "the snapshot has what was there before: $(< "$DEMO/output")"
on_debian stock qemu-io -r -f raw -c 'read -P 0x5a 100M 5M' rbd:rbd/disk
! grep -qi 'fail' "$DEMO/output" || die "the C driver reads something else: $(< "$DEMO/output")"
result "the C driver reads what ours wrote ($took)"
rbd_tool object-map check --no-progress rbd/disk
result "the object map is right"

title "A QEMU with our driver in its source tree"
grep -qaF qbr_gluster_open "$integrated/block-gluster.so" || die "$integrated/block-gluster.so is not ours"
here "$integrated/qemu-img" --version
sed -n '1s/^/    /p' "$DEMO/output"
here "$integrated/qemu-img" convert -f raw -O raw "$url/disk.img" back.img
same_hash back.img
here "$integrated/qemu-img" convert -f raw -O raw disk.img "$url/integrated.img"
here "$integrated/qemu-img" compare -f raw -F raw disk.img "$url/integrated.img"
result "read: same SHA-256; written and compared: $(< "$DEMO/output")"

title "Three copies of a disk, one on Gluster, and what happens when one of them goes bad"
here "$integrated/qemu-img" convert -f raw -O raw disk.img copy-b.img
here "$integrated/qemu-img" convert -f raw -O qcow2 disk.img copy-c.qcow2
here "$integrated/qemu-io" -f raw -c 'write -P 0xbd 100M 2M' copy-b.img
address=$(gluster host-port)
quorum="driver=quorum,vote-threshold=2,children.0.driver=gluster,children.0.volume=vol"
quorum+=",children.0.path=integrated.img,children.0.server.0.type=inet,children.0.server.0.host=${address%:*}"
quorum+=",children.0.server.0.port=${address##*:}"
quorum+=",children.1.driver=raw,children.1.file.filename=copy-b.img,children.2.driver=qcow2,children.2.file.filename=copy-c.qcow2"
here "$integrated/qemu-img" compare --image-opts driver=raw,file.filename=disk.img "$quorum"
result "read as one quorum, with 2 MiB of the second copy overwritten: $(< "$DEMO/output") ($took)"
here "$integrated/qemu-io" --image-opts "$quorum,rewrite-corrupted=on" -c 'read 96M 16M'
same_hash copy-b.img
result "repaired by reading it with rewrite-corrupted=on: SHA-256 ${image_hash:0:16}..., the same"

mapfile -t servers < <(gluster pids && ceph pids)
((${#servers[@]})) || die "the servers have ended by themselves"
clean_up
wait_gone 0 "${servers[@]}" || die "servers still run"
printf '\n%sDone in %d s (%d s of it set-up). The servers are stopped and their data is removed.%s\n' \
    "$bold" "$SECONDS" "$setup" "$plain"
