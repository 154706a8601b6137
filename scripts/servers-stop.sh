#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-or-later
# Stop the private servers that `make servers` started; their volumes, pools and data stay for the next time.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
need_root "$@"

QBR_GLUSTER=servers "$QBR_TOP/scripts/gluster.sh" stop
QBR_CEPH=servers "$QBR_TOP/scripts/ceph.sh" stop
step "the servers are stopped"
