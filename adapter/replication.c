/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* QEMU's replication driver, implemented in Rust. Names and option lists only. */

#include "qemu/osdep.h"

#include "block/block_int.h"
#include "qemu/module.h"

#include "qbr-compat.h"
#include "qbr-host.h"
#include "qemu-block-rs.h"

typedef struct QbrReplication {
    void *rs;
} QbrReplication;

QBR_DEFINE_CLOSE(replication)
QBR_DEFINE_CO_TRANSFER_PART(replication)

/* What makes a node what it is: goes into the file names that QEMU generates. */
static const char *const qbr_replication_strong_runtime_opts[] = {
    "mode", "top-id", NULL,
};

static BlockDriver qbr_replication = {
    .format_name = "replication",
    .instance_size = sizeof(QbrReplication),
    .is_filter = true,
    QBR_HAS_VARIABLE_LENGTH
    .bdrv_open = qbr_replication_open,
    .bdrv_close = QBR_CLOSE(replication),
    .QBR_BDRV_IS_INSERTED = qbr_filter_is_inserted,
    .bdrv_co_truncate = qbr_replication_co_truncate,
    .QBR_BDRV_GETLENGTH = qbr_replication_getlength,
    .bdrv_co_preadv_part = QBR_CO_PREADV_PART(replication),
    .bdrv_co_pwritev_part = QBR_CO_PWRITEV_PART(replication),
    .bdrv_co_pwrite_zeroes = qbr_replication_co_pwrite_zeroes,
    .bdrv_co_pdiscard = qbr_replication_co_pdiscard,
    .bdrv_co_flush = qbr_replication_co_flush,
    .bdrv_child_perm = qbr_replication_child_perm,
    .strong_runtime_opts = qbr_replication_strong_runtime_opts,
};

static void qbr_replication_init(void)
{
    if (qbr_host_accepts_archive("replication")) {
        bdrv_register(&qbr_replication);
    }
}

block_init(qbr_replication_init);
