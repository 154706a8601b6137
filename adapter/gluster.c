/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* QEMU's gluster protocol drivers, implemented in Rust. Names and option lists only. */

#include "qemu/osdep.h"

#include "block/block_int.h"
#include "qemu/module.h"
#include "qemu/option.h"

#include "qbr-compat.h"
#include "qbr-host.h"
#include "qemu-block-rs.h"

typedef struct QbrGluster {
    void *rs;
} QbrGluster;

QBR_DEFINE_CO_BLOCK_STATUS(gluster)

static QemuOptsList qbr_gluster_create_opts = {
    .name = "qbr-gluster-create-opts",
    .head = QTAILQ_HEAD_INITIALIZER(qbr_gluster_create_opts.head),
    .desc = {
        { .name = BLOCK_OPT_SIZE, .type = QEMU_OPT_SIZE, .help = "Virtual disk size" },
        { .name = BLOCK_OPT_PREALLOC,
          .type = QEMU_OPT_STRING,
          .help = "Preallocation mode (allowed values: off, falloc, full)" },
        { .name = "debug", .type = QEMU_OPT_NUMBER, .help = "Log level of libgfapi, 0 to 9 (default 4)" },
        { .name = "logfile", .type = QEMU_OPT_STRING, .help = "Log file of libgfapi (default: standard error)" },
        { /* end of list */ },
    },
};

/* What makes a node what it is: goes into the file names that QEMU generates. */
static const char *const qbr_gluster_strong_runtime_opts[] = {
    "volume", "path", "type", "server.", "host", "port", "to", "ipv4", "ipv6", "socket", NULL,
};

#define QBR_GLUSTER_COMMON                                                                        \
    .instance_size = sizeof(QbrGluster),                                                          \
    .QBR_BDRV_PROTOCOL_OPEN = qbr_gluster_open,                                                   \
    .bdrv_reopen_prepare = qbr_gluster_reopen_prepare,                                            \
    .bdrv_reopen_commit = qbr_gluster_reopen_commit,                                              \
    .bdrv_reopen_abort = qbr_gluster_reopen_abort,                                                \
    .bdrv_close = qbr_gluster_close,                                                              \
    .bdrv_co_create = qbr_gluster_co_create,                                                      \
    .bdrv_co_create_opts = qbr_gluster_co_create_opts,                                            \
    .bdrv_co_truncate = qbr_gluster_co_truncate,                                                  \
    .QBR_BDRV_GETLENGTH = qbr_gluster_getlength,                                                  \
    .QBR_BDRV_GET_ALLOCATED_FILE_SIZE = qbr_gluster_get_allocated_file_size,                      \
    .bdrv_co_preadv = qbr_gluster_co_preadv,                                                      \
    .bdrv_co_pwritev = qbr_gluster_co_pwritev,                                                    \
    .bdrv_co_pwrite_zeroes = qbr_gluster_co_pwrite_zeroes,                                        \
    .bdrv_co_pdiscard = qbr_gluster_co_pdiscard,                                                  \
    .bdrv_co_flush_to_disk = qbr_gluster_co_flush_to_disk,                                        \
    .bdrv_co_block_status = QBR_CO_BLOCK_STATUS(gluster),                                         \
    .bdrv_refresh_limits = qbr_gluster_refresh_limits,                                            \
    .create_opts = &qbr_gluster_create_opts,                                                      \
    .strong_runtime_opts = qbr_gluster_strong_runtime_opts

static BlockDriver qbr_gluster = {
    .format_name = "gluster",
    .protocol_name = "gluster",
    QBR_GLUSTER_COMMON,
};

static BlockDriver qbr_gluster_tcp = {
    .format_name = "gluster",
    .protocol_name = "gluster+tcp",
    QBR_GLUSTER_COMMON,
};

static BlockDriver qbr_gluster_unix = {
    .format_name = "gluster",
    .protocol_name = "gluster+unix",
    QBR_GLUSTER_COMMON,
};

/* The last one registered is the first one found, and the plain name is the one to find by format. */
static void qbr_gluster_init(void)
{
    if (qbr_host_accepts_archive("gluster")) {
        bdrv_register(&qbr_gluster_unix);
        bdrv_register(&qbr_gluster_tcp);
        bdrv_register(&qbr_gluster);
    }
}

block_init(qbr_gluster_init);
