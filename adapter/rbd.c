/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* QEMU's rbd protocol driver, implemented in Rust. Names and option lists only. */

#include "qemu/osdep.h"

#include "block/block_int.h"
#include "qemu/module.h"
#include "qemu/option.h"

#include "qbr-compat.h"
#include "qbr-host.h"
#include "qemu-block-rs.h"

typedef struct QbrRbd {
    void *rs;
} QbrRbd;

QBR_DEFINE_CO_BLOCK_STATUS(rbd)

static QemuOptsList qbr_rbd_create_opts = {
    .name = "qbr-rbd-create-opts",
    .head = QTAILQ_HEAD_INITIALIZER(qbr_rbd_create_opts.head),
    .desc = {
        { .name = BLOCK_OPT_SIZE, .type = QEMU_OPT_SIZE, .help = "Virtual disk size" },
        { .name = BLOCK_OPT_CLUSTER_SIZE,
          .type = QEMU_OPT_SIZE,
          .help = "Size of the objects that the image consists of (default: as Ceph is configured)" },
        { .name = "password-secret",
          .type = QEMU_OPT_STRING,
          .help = "ID of the secret object with the key to log in to Ceph" },
        { .name = "encrypt.format", .type = QEMU_OPT_STRING, .help = "Encrypt the image (allowed values: luks, luks2)" },
        { .name = "encrypt.cipher-alg",
          .type = QEMU_OPT_STRING,
          .help = "Cipher of the encryption (allowed values: aes-128, aes-256; default aes-256)" },
        { .name = "encrypt.key-secret",
          .type = QEMU_OPT_STRING,
          .help = "ID of the secret object with the passphrase of the encryption" },
        { /* end of list */ },
    },
};

/* What makes a node what it is: goes into the file names that QEMU generates. */
static const char *const qbr_rbd_strong_runtime_opts[] = {
    "pool", "namespace", "image", "snapshot", "conf", "user", "server.", "auth-client-required.", "key-secret",
    "password-secret", "encrypt.", "=keyvalue-pairs", NULL,
};

static BlockDriver qbr_rbd = {
    .format_name = "rbd",
    .protocol_name = "rbd",
    .instance_size = sizeof(QbrRbd),
    .bdrv_parse_filename = qbr_rbd_parse_filename,
    .QBR_BDRV_PROTOCOL_OPEN = qbr_rbd_open,
    .bdrv_reopen_prepare = qbr_rbd_reopen_prepare,
    .bdrv_reopen_commit = qbr_rbd_reopen_commit,
    .bdrv_reopen_abort = qbr_rbd_reopen_abort,
    .bdrv_close = qbr_rbd_close,
    .bdrv_co_create = qbr_rbd_co_create,
    .bdrv_co_create_opts = qbr_rbd_co_create_opts,
    .bdrv_has_zero_init = bdrv_has_zero_init_1,
    .bdrv_co_truncate = qbr_rbd_co_truncate,
    .QBR_BDRV_GETLENGTH = qbr_rbd_getlength,
    .QBR_BDRV_GET_INFO = qbr_rbd_get_info,
    .bdrv_get_specific_info = qbr_rbd_get_specific_info,
    .bdrv_co_preadv = qbr_rbd_co_preadv,
    .bdrv_co_pwritev = qbr_rbd_co_pwritev,
    .bdrv_co_pwrite_zeroes = qbr_rbd_co_pwrite_zeroes,
    .bdrv_co_pdiscard = qbr_rbd_co_pdiscard,
    .bdrv_co_flush_to_disk = qbr_rbd_co_flush_to_disk,
    .bdrv_co_block_status = QBR_CO_BLOCK_STATUS(rbd),
    .bdrv_snapshot_create = qbr_rbd_snapshot_create,
    .bdrv_snapshot_goto = qbr_rbd_snapshot_goto,
    .bdrv_snapshot_delete = qbr_rbd_snapshot_delete,
    .bdrv_snapshot_list = qbr_rbd_snapshot_list,
    .bdrv_inactivate = qbr_rbd_inactivate,
    .bdrv_co_invalidate_cache = qbr_rbd_co_invalidate_cache,
    .create_opts = &qbr_rbd_create_opts,
    .strong_runtime_opts = qbr_rbd_strong_runtime_opts,
};

static void qbr_rbd_init(void)
{
    if (qbr_host_accepts_archive("rbd")) {
        bdrv_register(&qbr_rbd);
    }
}

block_init(qbr_rbd_init);
