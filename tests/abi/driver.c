/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */

#include "driver.h"

const struct driver gluster = {
    .open = qbr_gluster_open,
    .reopen_prepare = qbr_gluster_reopen_prepare,
    .reopen_commit = qbr_gluster_reopen_commit,
    .reopen_abort = qbr_gluster_reopen_abort,
    .close = qbr_gluster_close,
    .co_create = qbr_gluster_co_create,
    .co_create_opts = qbr_gluster_co_create_opts,
    .co_truncate = qbr_gluster_co_truncate,
    .getlength = qbr_gluster_getlength,
    .get_allocated_file_size = qbr_gluster_get_allocated_file_size,
    .co_preadv = qbr_gluster_co_preadv,
    .co_pwritev = qbr_gluster_co_pwritev,
    .co_pwrite_zeroes = qbr_gluster_co_pwrite_zeroes,
    .co_pdiscard = qbr_gluster_co_pdiscard,
    .co_flush_to_disk = qbr_gluster_co_flush_to_disk,
    .co_block_status = qbr_gluster_co_block_status,
    .refresh_limits = qbr_gluster_refresh_limits,
};
