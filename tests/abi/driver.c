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

const struct quorum_driver quorum = {
    .open = qbr_quorum_open,
    .close = qbr_quorum_close,
    .gather_child_options = qbr_quorum_gather_child_options,
    .dirname = qbr_quorum_dirname,
    .co_truncate = qbr_quorum_co_truncate,
    .getlength = qbr_quorum_getlength,
    .co_preadv = qbr_quorum_co_preadv,
    .co_pwritev = qbr_quorum_co_pwritev,
    .co_pwrite_zeroes = qbr_quorum_co_pwrite_zeroes,
    .co_pdiscard = qbr_quorum_co_pdiscard,
    .co_flush = qbr_quorum_co_flush,
    .co_block_status = qbr_quorum_co_block_status,
    .add_child = qbr_quorum_add_child,
    .del_child = qbr_quorum_del_child,
    .child_perm = qbr_quorum_child_perm,
    .recurse_can_replace = qbr_quorum_recurse_can_replace,
};
