#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Start the private servers for trying things out; standard output is fit for eval "$(make -s servers)".
#
# Each is an instance called "servers": Gluster with a volume "vol", Ceph with a pool "rbd". What is running already is left
# running.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_root "$@"

export QBR_GLUSTER=servers QBR_CEPH=servers
gluster() { "$QBR_TOP/scripts/gluster.sh" "$@"; }
ceph() { "$QBR_TOP/scripts/ceph.sh" "$@"; }
{
    gluster start
    gluster volume vol plain
    ceph start
    ceph pool rbd
} >&2
gluster env vol
ceph env
step "Gluster is ready: $(gluster env vol | sed -n 's/.*GLUSTER_URL=//p')/IMAGE"
step "Ceph is ready: rbd:rbd/IMAGE, with CEPH_CONF as printed; stop both with: make servers-stop"
