# SPDX-License-Identifier: GPL-2.0-or-later
# What the scripts that configure QEMU have in common; sourced after lib.sh.
# shellcheck shell=bash

# Debian's version of a source tree that qemu-source.sh made, or QEMU's own version.
qemu_source_version() {
    cat "$1/.debian-source-version" 2>/dev/null || cat "$1/VERSION"
}

# The Debian packages that configuring QEMU needs, with the libraries that show in its headers and those of the
# drivers that exist here.
qemu_packages() {
    echo gcc libc6-dev make pkg-config ninja-build meson python3 python3-venv libglib2.0-dev zlib1g-dev \
        libaio-dev liburing-dev libzstd-dev libglusterfs-dev librados-dev
    # QEMU before 8.1 wants a display library even for its tools.
    [[ $(cut -d. -f1 "$1/VERSION") -ge 8 ]] || echo libpixman-1-dev
}

# A Python interpreter that has a meson which this QEMU accepts: the system's where it is new enough,
# else one in a virtual environment under the build folder.
qemu_python() {
    local src=$1 need have venv=$QBR_BUILD/tools/meson
    need=$(sed -n 's/^meson *=.*accepted *= *">=\([0-9.]*\)".*/\1/p' "$src/pythondeps.toml" 2>/dev/null | head -1)
    have=$(/usr/bin/meson --version 2>/dev/null || echo 0)
    if [[ -z $need ]] || dpkg --compare-versions "$have" ge "$need"; then
        echo /usr/bin/python3
        return
    fi
    have=$("$venv/bin/meson" --version 2>/dev/null || echo 0)
    if dpkg --compare-versions "$have" lt "$need"; then
        step "meson $need or newer is needed and this system has an older one: putting meson 1.7 into ${venv#"$QBR_BUILD/"} under the build folder"
        rm -rf "$venv"
        run_logged meson-venv /usr/bin/python3 -m venv "$venv"
        run_logged meson-venv "$venv/bin/python3" -m pip install --disable-pip-version-check 'meson>=1.7,<1.8' ||
            die "meson could not be installed from PyPI"
    fi
    echo "$venv/bin/python3"
}

# qemu_configure SOURCE FOLDER OPTION...: configure once, and again only when something it depends on changed.
qemu_configure() {
    local src=$1 folder=$2 python key
    shift 2
    case $(<"$src/VERSION") in
    7.*) python=--meson=/usr/bin/meson ;; # takes --python only together with a bundled meson
    *) python=--python=$(qemu_python "$src") ;;
    esac
    key=$(printf '%s\n' "$src" "$(qemu_source_version "$src")" "$python" "$@")
    if [[ -f $folder/build.ninja && -f $folder/.configured && $(<"$folder/.configured") == "$key" ]]; then return; fi
    step "configuring QEMU $(<"$src/VERSION") in ${folder#"$QBR_TOP/"}"
    rm -rf "$folder"
    mkdir -p "$folder"
    # Only the system's own tools: a Python or a compiler of the user's would change what is found.
    (cd "$folder" && PATH=/usr/sbin:/usr/bin:/sbin:/bin run_logged "configure-$(basename "$folder")" \
        "$src/configure" "$python" "$@") ||
        die "QEMU could not be configured"
    printf '%s\n' "$key" > "$folder/.configured"
}
