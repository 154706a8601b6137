/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* The services of qbr-host.h for the replication driver: QEMU's replication core, jobs, and the disks of a secondary. */

#include "qemu/osdep.h"

#include "block/block_backup.h"
#include "block/block_int.h"
#include "block/blockjob.h"
#include "block/replication.h"
#include "qapi/error.h"

#include "qbr-compat.h"
#include "qbr-host.h"
#include "qemu-block-rs.h"
#include QBR_BLOCK_BACKEND_H

/* Values that Rust knows by heart. */
QEMU_BUILD_BUG_ON(QBR_REPLICATION_PRIMARY != REPLICATION_MODE_PRIMARY);
QEMU_BUILD_BUG_ON(QBR_REPLICATION_SECONDARY != REPLICATION_MODE_SECONDARY);

/* --- The replication core ------------------------------------------------------------------------------------------------- */

static void qbr_ops_start(ReplicationState *rs, ReplicationMode mode, Error **errp)
{
    AioContext *ctx = bdrv_get_aio_context(rs->opaque);

    qbr_context_lock(ctx);
    qbr_replication_start(rs->opaque, mode, errp);
    qbr_context_unlock(ctx);
}

static void qbr_ops_stop(ReplicationState *rs, bool failover, Error **errp)
{
    AioContext *ctx = bdrv_get_aio_context(rs->opaque);

    qbr_context_lock(ctx);
    qbr_replication_stop(rs->opaque, failover, errp);
    qbr_context_unlock(ctx);
}

static void qbr_ops_checkpoint(ReplicationState *rs, Error **errp)
{
    AioContext *ctx = bdrv_get_aio_context(rs->opaque);

    qbr_context_lock(ctx);
    qbr_replication_checkpoint(rs->opaque, errp);
    qbr_context_unlock(ctx);
}

static void qbr_ops_get_error(ReplicationState *rs, Error **errp)
{
    AioContext *ctx = bdrv_get_aio_context(rs->opaque);

    qbr_context_lock(ctx);
    qbr_replication_get_error(rs->opaque, errp);
    qbr_context_unlock(ctx);
}

static ReplicationOps qbr_replication_ops = {
    .start = qbr_ops_start,
    .stop = qbr_ops_stop,
    .checkpoint = qbr_ops_checkpoint,
    .get_error = qbr_ops_get_error,
};

ReplicationState *qbr_host_replication_new(BlockDriverState *bs)
{
    return replication_new(bs, &qbr_replication_ops);
}

void qbr_host_replication_remove(ReplicationState *state)
{
    replication_remove(state);
}

/* --- The node ------------------------------------------------------------------------------------------------------------- */

bool qbr_host_bs_is_writable(BlockDriverState *bs)
{
    return (bs->open_flags & (BDRV_O_INACTIVE | BDRV_O_RDWR)) == BDRV_O_RDWR;
}

BdrvChild *qbr_host_filtered_open(BlockDriverState *bs, QDict *options, Error **errp)
{
    return bdrv_open_file_child(NULL, options, "file", bs, errp) < 0 ? NULL : bs->file;
}

/* --- The disks of a secondary --------------------------------------------------------------------------------------------- */

/* The node behind a node; NULL if there is none. With the graph locked. ("struct": QEMU's module_block.py would see a driver.) */
static struct BlockDriverState *qbr_behind(BlockDriverState *bs)
{
    return bs && bs->backing ? bs->backing->bs : NULL;
}

static bool qbr_can_be_emptied(BlockDriverState *bs)
{
    return bs->drv && bs->drv->bdrv_make_empty;
}

void qbr_host_disks_examine(BlockDriverState *bs, QbrDisks *disks)
{
    BlockDriverState *active, *hidden, *secondary;

    *disks = (QbrDisks) {};
    bdrv_graph_rdlock_main_loop();
    active = bs->file ? bs->file->bs : NULL;
    hidden = qbr_behind(active);
    secondary = qbr_behind(hidden);
    disks->has_hidden = hidden != NULL;
    disks->has_secondary = secondary != NULL;
    if (secondary) {
        disks->secondary_has_user = bdrv_has_blk(secondary);
        disks->can_be_emptied = qbr_can_be_emptied(active) && qbr_can_be_emptied(hidden);
        disks->hidden_read_only = bdrv_is_read_only(hidden);
        disks->secondary_read_only = bdrv_is_read_only(secondary);
    }
    bdrv_graph_rdunlock_main_loop();
    /* Nothing but a callback of the main loop changes the graph, so the nodes stay; but this may poll. */
    if (secondary) {
        disks->active_length = bdrv_getlength(active);
        disks->hidden_length = bdrv_getlength(hidden);
        disks->secondary_length = bdrv_getlength(secondary);
    }
}

/* Adds a node to a reopen. */
static BlockReopenQueue *qbr_reopen_queue(BlockReopenQueue *queue, BlockDriverState *bs, bool writable)
{
    QDict *options = qdict_new();

    qdict_put_bool(options, BDRV_OPT_READ_ONLY, !writable);
    return bdrv_reopen_queue(queue, bs, options, true);
}

/*
 * DIVERGES: a disk that has lost its image isn't reopened.
 * Adds a disk to a reopen. One that has lost its image, or stands on one that has, is left as it is if it shall become read-only.
 */
static int qbr_reopen_disk(BlockReopenQueue **queue, BlockDriverState *bs, bool writable, Error **errp)
{
    if (bdrv_is_inserted(bs)) {
        *queue = qbr_reopen_queue(*queue, bs, writable);
    } else if (writable) {
        error_setg(errp, "the disk '%s' has lost its image", bdrv_get_node_name(bs));
        return -ENOMEDIUM;
    }
    return 0;
}

int qbr_host_disks_reopen(BlockDriverState *bs, bool hidden, bool secondary, bool writable, Error **errp)
{
    BlockDriverState *hidden_bs, *secondary_bs;
    BlockReopenQueue *queue = NULL;
    int ret = 0;

    bdrv_graph_rdlock_main_loop();
    hidden_bs = qbr_behind(bs->file->bs);
    secondary_bs = qbr_behind(hidden_bs);
    bdrv_graph_rdunlock_main_loop();
    if (!secondary_bs) {
        error_setg(errp, "the disks of the replication are not there any more");
        return -EINVAL;
    }

    bdrv_ref(hidden_bs);
    bdrv_ref(secondary_bs);
    qbr_reopen_drain_begin(hidden_bs);
    qbr_reopen_drain_begin(secondary_bs);
    if (hidden) {
        ret = qbr_reopen_disk(&queue, hidden_bs, writable, errp);
    }
    if (secondary && ret == 0) {
        ret = qbr_reopen_disk(&queue, secondary_bs, writable, errp);
    }
    if (queue && ret < 0) {
        bdrv_reopen_queue_free(queue);
    } else if (queue) {
        AioContext *ctx = bdrv_get_aio_context(bs);
        bool is_main = ctx == qemu_get_aio_context();

        /* It waits for the main loop, with no other lock than that one's own. */
        if (!is_main) {
            qbr_context_unlock(ctx);
        }
        ret = bdrv_reopen_multiple(queue, errp);
        if (!is_main) {
            qbr_context_lock(ctx);
        }
    }
    qbr_reopen_drain_end(secondary_bs);
    qbr_reopen_drain_end(hidden_bs);
    bdrv_unref(secondary_bs);
    bdrv_unref(hidden_bs);
    return ret;
}

int qbr_host_disks_attach(BlockDriverState *bs, BdrvChild **hidden, BdrvChild **secondary, Error **errp)
{
    BlockDriverState *hidden_bs, *secondary_bs;

    qbr_graph_wrlock_drained(bs);
    hidden_bs = qbr_behind(bs->file->bs);
    secondary_bs = qbr_behind(hidden_bs);
    *hidden = qbr_host_child_attach(bs, hidden_bs, "hidden disk", QBR_CHILD_DATA, errp);
    *secondary = NULL;
    if (*hidden) {
        *secondary = qbr_host_child_attach(bs, secondary_bs, "secondary disk", QBR_CHILD_DATA, errp);
        if (!*secondary) {
            bdrv_unref_child(bs, *hidden);
            *hidden = NULL;
        }
    }
    qbr_graph_wrunlock_drained(bs);
    return *secondary ? 0 : -1;
}

bool qbr_host_disk_is_behind(BlockDriverState *bs, BdrvChild *hidden)
{
    bool is_behind;

    bdrv_graph_rdlock_main_loop();
    /* Jobs put filters in between, which change nothing. */
    is_behind = bdrv_skip_filters(qbr_behind(bs->file->bs)) == bdrv_skip_filters(hidden->bs);
    bdrv_graph_rdunlock_main_loop();
    return is_behind;
}

/* --- The node on top of a secondary --------------------------------------------------------------------------------------- */

struct QbrBlocker {
    /* It can't go away while operations on it are blocked. */
    BlockDriverState *top;
    Error *reason;
};

/* With the graph locked. */
static bool qbr_is_below(BlockDriverState *top, BlockDriverState *bs)
{
    BdrvChild *child;

    if (top == bs) {
        return true;
    }
    QLIST_FOREACH(child, &top->children, next) {
        if (qbr_is_below(child->bs, bs)) {
            return true;
        }
    }
    return false;
}

QbrBlocker *qbr_host_top_block(BlockDriverState *bs, const char *top_id)
{
    QbrBlocker *blocker = NULL;
    BlockDriverState *top;

    bdrv_graph_rdlock_main_loop();
    top = bdrv_lookup_bs(top_id, top_id, NULL);
    if (top && bdrv_is_root_node(top) && qbr_is_below(top, bs)) {
        blocker = g_new0(QbrBlocker, 1);
        blocker->top = top;
        error_setg(&blocker->reason, "Block device is in use by internal backup job");
        bdrv_op_block_all(top, blocker->reason);
        qbr_op_unblock_dataplane(top, blocker->reason);
    }
    bdrv_graph_rdunlock_main_loop();
    return blocker;
}

void qbr_host_top_unblock(QbrBlocker *blocker)
{
    bdrv_graph_rdlock_main_loop();
    bdrv_op_unblock_all(blocker->top, blocker->reason);
    bdrv_graph_rdunlock_main_loop();
    error_free(blocker->reason);
    g_free(blocker);
}

/* --- Jobs ----------------------------------------------------------------------------------------------------------------- */

static void qbr_backup_ended(void *opaque, int ret)
{
    qbr_replication_backup_ended(opaque, ret);
}

static void qbr_commit_ended(void *opaque, int ret)
{
    qbr_replication_commit_ended(opaque, ret);
}

BlockJob *qbr_host_backup_start(BlockDriverState *bs, BdrvChild *secondary, BdrvChild *hidden, Error **errp)
{
    BackupPerf perf = { .use_copy_range = true, .max_workers = 1 };
    BlockJob *job;

    job = qbr_backup_job_create(secondary->bs, hidden->bs, &perf, qbr_backup_ended, bs, errp);
    if (job) {
        job_start(&job->job);
    }
    return job;
}

int qbr_host_backup_checkpoint(BlockJob *job, Error **errp)
{
    ERRP_GUARD();

    bdrv_graph_rdlock_main_loop();
    backup_do_checkpoint(job, errp);
    bdrv_graph_rdunlock_main_loop();
    return *errp ? -1 : 0;
}

BlockJob *qbr_host_commit_start(BlockDriverState *bs, BdrvChild *active, BdrvChild *secondary, Error **errp)
{
    BlockJob *job;

    bdrv_graph_rdlock_main_loop();
    job = commit_active_start(NULL, active->bs, secondary->bs, JOB_INTERNAL, 0, BLOCKDEV_ON_ERROR_REPORT, NULL,
                              qbr_commit_ended, bs, true, errp);
    bdrv_graph_rdunlock_main_loop();
    return job;
}

void qbr_host_job_cancel(BlockDriverState *bs, BlockJob *job, bool force)
{
    AioContext *ctx = bdrv_get_aio_context(bs);

    qbr_context_unlock(ctx);
    job_cancel_sync(&job->job, force);
    qbr_context_lock(ctx);
}

int qbr_host_child_make_empty(BdrvChild *child, Error **errp)
{
    BlockDriverState *bs = child->bs;
    int ret = -ENOMEDIUM;

    /* To empty an image runs the event loop, and a request that comes through then finds it half empty: qcow2 aborts. */
    bdrv_ref(bs);
    bdrv_drained_begin(bs);
    bdrv_graph_rdlock_main_loop();
    if (bs->drv) {
        ret = bdrv_make_empty(child, errp);
    }
    bdrv_graph_rdunlock_main_loop();
    bdrv_drained_end(bs);
    bdrv_unref(bs);
    return ret;
}
