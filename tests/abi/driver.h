/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* The driver under test as QEMU sees it: a table of callbacks, with the types that struct BlockDriver gives them. */
#ifndef QBR_TEST_DRIVER_H
#define QBR_TEST_DRIVER_H

#include "host/host.h"
#include "qemu-block-rs.h"

struct driver {
    int (*open)(BlockDriverState *bs, QDict *options, int flags, Error **errp);
    int (*reopen_prepare)(BDRVReopenState *state, BlockReopenQueue *queue, Error **errp);
    void (*reopen_commit)(BDRVReopenState *state);
    void (*reopen_abort)(BDRVReopenState *state);
    void (*close)(BlockDriverState *bs);
    int (*co_create)(BlockdevCreateOptions *options, Error **errp);
    int (*co_create_opts)(BlockDriver *drv, const char *filename, QemuOpts *opts, Error **errp);
    int (*co_truncate)(BlockDriverState *bs, int64_t offset, bool exact, unsigned prealloc, unsigned flags, Error **errp);
    int64_t (*getlength)(BlockDriverState *bs);
    int64_t (*get_allocated_file_size)(BlockDriverState *bs);
    int (*co_preadv)(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov, unsigned flags);
    int (*co_pwritev)(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov, unsigned flags);
    int (*co_pwrite_zeroes)(BlockDriverState *bs, int64_t offset, int64_t bytes, unsigned flags);
    int (*co_pdiscard)(BlockDriverState *bs, int64_t offset, int64_t bytes);
    int (*co_flush_to_disk)(BlockDriverState *bs);
    int (*co_block_status)(BlockDriverState *bs, unsigned mode, int64_t offset, int64_t bytes, int64_t *pnum, int64_t *map,
                           BlockDriverState **file);
    void (*refresh_limits)(BlockDriverState *bs, Error **errp);
};

extern const struct driver gluster;

/* The same for quorum, whose nodes have children. */
struct quorum_driver {
    int (*open)(BlockDriverState *bs, QDict *options, int flags, Error **errp);
    void (*close)(BlockDriverState *bs);
    void (*gather_child_options)(BlockDriverState *bs, QDict *target, bool backing_overridden);
    char *(*dirname)(BlockDriverState *bs, Error **errp);
    int (*co_truncate)(BlockDriverState *bs, int64_t offset, bool exact, unsigned prealloc, unsigned flags, Error **errp);
    int64_t (*getlength)(BlockDriverState *bs);
    int (*co_preadv)(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov, unsigned flags);
    int (*co_pwritev)(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov, unsigned flags);
    int (*co_pwrite_zeroes)(BlockDriverState *bs, int64_t offset, int64_t bytes, unsigned flags);
    int (*co_pdiscard)(BlockDriverState *bs, int64_t offset, int64_t bytes);
    int (*co_flush)(BlockDriverState *bs);
    int (*co_block_status)(BlockDriverState *bs, unsigned mode, int64_t offset, int64_t bytes, int64_t *pnum, int64_t *map,
                           BlockDriverState **file);
    void (*add_child)(BlockDriverState *bs, BlockDriverState *node, Error **errp);
    void (*del_child)(BlockDriverState *bs, BdrvChild *child, Error **errp);
    void (*child_perm)(BlockDriverState *bs, BdrvChild *child, unsigned role, BlockReopenQueue *queue, uint64_t perm,
                       uint64_t shared, uint64_t *nperm, uint64_t *nshared);
    bool (*recurse_can_replace)(BlockDriverState *bs, BlockDriverState *node);
};

extern const struct quorum_driver quorum;

/* The same for rbd, which has snapshots. */
struct rbd_driver {
    void (*parse_filename)(const char *filename, QDict *options, Error **errp);
    int (*open)(BlockDriverState *bs, QDict *options, int flags, Error **errp);
    int (*reopen_prepare)(BDRVReopenState *state, BlockReopenQueue *queue, Error **errp);
    void (*reopen_commit)(BDRVReopenState *state);
    void (*reopen_abort)(BDRVReopenState *state);
    void (*close)(BlockDriverState *bs);
    int (*co_create)(BlockdevCreateOptions *options, Error **errp);
    int (*co_create_opts)(BlockDriver *drv, const char *filename, QemuOpts *opts, Error **errp);
    int (*co_truncate)(BlockDriverState *bs, int64_t offset, bool exact, unsigned prealloc, unsigned flags, Error **errp);
    int64_t (*getlength)(BlockDriverState *bs);
    int (*get_info)(BlockDriverState *bs, BlockDriverInfo *info);
    ImageInfoSpecific *(*get_specific_info)(BlockDriverState *bs, Error **errp);
    int (*co_preadv)(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov, unsigned flags);
    int (*co_pwritev)(BlockDriverState *bs, int64_t offset, int64_t bytes, QEMUIOVector *qiov, unsigned flags);
    int (*co_pwrite_zeroes)(BlockDriverState *bs, int64_t offset, int64_t bytes, unsigned flags);
    int (*co_pdiscard)(BlockDriverState *bs, int64_t offset, int64_t bytes);
    int (*co_flush_to_disk)(BlockDriverState *bs);
    int (*co_block_status)(BlockDriverState *bs, unsigned mode, int64_t offset, int64_t bytes, int64_t *pnum, int64_t *map,
                           BlockDriverState **file);
    int (*snapshot_create)(BlockDriverState *bs, QEMUSnapshotInfo *info);
    int (*snapshot_goto)(BlockDriverState *bs, const char *id);
    int (*snapshot_delete)(BlockDriverState *bs, const char *id, const char *name, Error **errp);
    int (*snapshot_list)(BlockDriverState *bs, QEMUSnapshotInfo **table);
    int (*inactivate)(BlockDriverState *bs);
    void (*co_invalidate_cache)(BlockDriverState *bs, Error **errp);
};

extern const struct rbd_driver rbd;

#endif
