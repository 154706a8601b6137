/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* QEMU's quorum driver, implemented in Rust. Names and option lists only. */

#include "qemu/osdep.h"

#include "block/block_int.h"
#include "qemu/module.h"

#include "qbr-compat.h"
#include "qbr-host.h"
#include "qemu-block-rs.h"

typedef struct QbrQuorum {
    void *rs;
} QbrQuorum;

QBR_DEFINE_CO_BLOCK_STATUS(quorum)
QBR_DEFINE_ADD_DEL_CHILD(quorum)

/* What makes a node what it is: goes into the file names that QEMU generates. */
static const char *const qbr_quorum_strong_runtime_opts[] = {
    "vote-threshold", "blkverify", "rewrite-corrupted", "read-pattern", NULL,
};

static BlockDriver qbr_quorum = {
    .format_name = "quorum",
    .instance_size = sizeof(QbrQuorum),
    .bdrv_open = qbr_quorum_open,
    .bdrv_close = qbr_quorum_close,
    .bdrv_gather_child_options = qbr_quorum_gather_child_options,
    .bdrv_dirname = qbr_quorum_dirname,
    .bdrv_co_truncate = qbr_quorum_co_truncate,
    .QBR_BDRV_GETLENGTH = qbr_quorum_getlength,
    .bdrv_co_preadv = qbr_quorum_co_preadv,
    .bdrv_co_pwritev = qbr_quorum_co_pwritev,
    .bdrv_co_pwrite_zeroes = qbr_quorum_co_pwrite_zeroes,
    .bdrv_co_pdiscard = qbr_quorum_co_pdiscard,
    .bdrv_co_flush = qbr_quorum_co_flush,
    .bdrv_co_block_status = QBR_CO_BLOCK_STATUS(quorum),
    .bdrv_add_child = QBR_ADD_CHILD(quorum),
    .bdrv_del_child = QBR_DEL_CHILD(quorum),
    .bdrv_child_perm = qbr_quorum_child_perm,
    .bdrv_recurse_can_replace = qbr_quorum_recurse_can_replace,
    .strong_runtime_opts = qbr_quorum_strong_runtime_opts,
};

static void qbr_quorum_init(void)
{
    if (qbr_host_accepts_archive("quorum")) {
        bdrv_register(&qbr_quorum);
    }
}

block_init(qbr_quorum_init);
