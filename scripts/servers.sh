#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Start the private servers for trying things out; standard output is fit for eval "$(make -s servers)".
#
# Gluster only, so far: an instance called "servers" with a volume "vol". What is running already is left running.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_root "$@"

export QBR_GLUSTER=servers
gluster() { "$QBR_TOP/scripts/gluster.sh" "$@"; }
{
    gluster start
    gluster volume vol plain
} >&2
gluster env vol
step "Gluster is ready: $(gluster env vol | sed -n 's/.*GLUSTER_URL=//p')/IMAGE; stop it with: make servers-stop"
