/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* The services of qbr-host.h for drivers whose nodes have children. */

#include "qemu/osdep.h"

#include "block/block_int.h"
#include "block/coroutines.h"
#include "qapi/error.h"
#include "qapi/qapi-events-block.h"
#include "qemu/coroutine.h"

#include "qbr-compat.h"
#include "qbr-host.h"
#include "qemu-block-rs.h"

/* Flag values that Rust knows by heart (src/abi.rs). */
QEMU_BUILD_BUG_ON(QBR_CHILD_DATA != BDRV_CHILD_DATA);
QEMU_BUILD_BUG_ON(QBR_CHILD_PRIMARY != BDRV_CHILD_PRIMARY);
QEMU_BUILD_BUG_ON(QBR_PERM_CONSISTENT_READ != BLK_PERM_CONSISTENT_READ);
QEMU_BUILD_BUG_ON(QBR_PERM_WRITE != BLK_PERM_WRITE);
QEMU_BUILD_BUG_ON(QBR_PERM_WRITE_UNCHANGED != BLK_PERM_WRITE_UNCHANGED);
QEMU_BUILD_BUG_ON(QBR_PERM_RESIZE != BLK_PERM_RESIZE);
/* There is no permission besides these four. */
QEMU_BUILD_BUG_ON(DEFAULT_PERM_UNCHANGED != 0);
QEMU_BUILD_BUG_ON(QBR_REQ_ZERO_WRITE != BDRV_REQ_ZERO_WRITE);
QEMU_BUILD_BUG_ON(QBR_REQ_MAY_UNMAP != BDRV_REQ_MAY_UNMAP);
QEMU_BUILD_BUG_ON(QBR_REQ_FUA != BDRV_REQ_FUA);
QEMU_BUILD_BUG_ON(QBR_REQ_WRITE_UNCHANGED != BDRV_REQ_WRITE_UNCHANGED);
QEMU_BUILD_BUG_ON(QBR_REQ_NO_FALLBACK != BDRV_REQ_NO_FALLBACK);
QEMU_BUILD_BUG_ON(QBR_QUORUM_READ != QUORUM_OP_TYPE_READ);
QEMU_BUILD_BUG_ON(QBR_QUORUM_WRITE != QUORUM_OP_TYPE_WRITE);
QEMU_BUILD_BUG_ON(QBR_QUORUM_FLUSH != QUORUM_OP_TYPE_FLUSH);

/* --- The block graph ------------------------------------------------------------------------------------------------------ */

BdrvChild *qbr_host_child_open(BlockDriverState *bs, QDict *options, const char *name, uint32_t role, Error **errp)
{
    return bdrv_open_child(NULL, options, name, bs, &child_of_bds, role, false, errp);
}

BdrvChild *qbr_host_child_attach(BlockDriverState *bs, BlockDriverState *node, const char *name, uint32_t role,
                                 Error **errp)
{
    /* Attaching takes the reference over, also when it fails. */
    bdrv_ref(node);
    return bdrv_attach_child(bs, node, name, &child_of_bds, role, errp);
}

void qbr_host_child_detach(BlockDriverState *bs, BdrvChild *child)
{
    bdrv_unref_child(bs, child);
}

void qbr_host_children_close(BlockDriverState *bs, BdrvChild *const *children, size_t count)
{
    size_t i;

    qbr_graph_wrlock_drained(bs);
    for (i = 0; i < count; i++) {
        bdrv_unref_child(bs, children[i]);
    }
    qbr_graph_wrunlock_drained(bs);
}

void qbr_host_child_drained_begin(BdrvChild *child)
{
    bdrv_ref(child->bs);
    bdrv_drained_begin(child->bs);
}

void qbr_host_child_drained_end(BdrvChild *child)
{
    BlockDriverState *bs = child->bs;

    bdrv_drained_end(bs);
    bdrv_unref(bs);
}

int64_t qbr_host_bs_length(BlockDriverState *bs)
{
    return bs->total_sectors * BDRV_SECTOR_SIZE;
}

bool qbr_host_bs_is_inactive(BlockDriverState *bs)
{
    return bs->open_flags & BDRV_O_INACTIVE;
}

const char *qbr_host_child_name(BdrvChild *child)
{
    return child->name;
}

const char *qbr_host_child_node_name(BdrvChild *child)
{
    return child->bs->node_name;
}

void qbr_host_child_flags(BdrvChild *child, QbrFlags *flags)
{
    flags->write = child->bs->supported_write_flags;
    flags->zero = child->bs->supported_zero_flags;
    flags->truncate = child->bs->supported_truncate_flags;
}

bool qbr_host_child_may_be_written(BdrvChild *child)
{
    return child->perm & BLK_PERM_WRITE;
}

bool qbr_host_child_unmaps(BdrvChild *child)
{
    BlockDriverState *bs;

    for (bs = child->bs; bs; bs = bdrv_primary_bs(bs)) {
        if (!(bs->open_flags & BDRV_O_UNMAP)) {
            return false;
        }
    }
    return true;
}

uint32_t qbr_host_child_zero_alignment(BdrvChild *child)
{
    return MAX(child->bs->bl.pwrite_zeroes_alignment, child->bs->bl.request_alignment);
}

bool qbr_host_child_is_only_parent_of(BdrvChild *child, BlockDriverState *node)
{
    return child->bs == node && QLIST_FIRST(&node->parents) == child && QLIST_NEXT(child, next_parent) == NULL;
}

void qbr_host_children_options(QDict *target, BdrvChild *const *children, size_t count)
{
    QList *list = qlist_new();
    size_t i;

    for (i = 0; i < count; i++) {
        qlist_append(list, qobject_ref(children[i]->bs->full_open_options));
    }
    qdict_put(target, "children", list);
}

/* --- Child I/O ------------------------------------------------------------------------------------------------------------ */

/* A transfer between a child and either guest memory or one buffer of the driver's. */
static int coroutine_fn qbr_child_transfer(QbrChildIo *io)
{
    QEMUIOVector local;
    QEMUIOVector *qiov = io->qiov;

    if (!qiov) {
        qemu_iovec_init_buf(&local, io->buffer, io->bytes);
        qiov = &local;
    }
    return io->op == QBR_CHILD_READ
        ? bdrv_co_preadv_part(io->child, io->offset, io->bytes, qiov, io->qiov_offset, io->flags)
        : bdrv_co_pwritev_part(io->child, io->offset, io->bytes, qiov, io->qiov_offset, io->flags);
}

int64_t qbr_host_child_run(QbrChildIo *io)
{
    switch (io->op) {
    case QBR_CHILD_READ:
    case QBR_CHILD_WRITE:
        return qbr_child_transfer(io);
    case QBR_CHILD_WRITE_ZEROES:
        return bdrv_co_pwrite_zeroes(io->child, io->offset, io->bytes, io->flags);
    case QBR_CHILD_DISCARD:
        return bdrv_co_pdiscard(io->child, io->offset, io->bytes);
    case QBR_CHILD_FLUSH:
        return bdrv_co_flush(io->child->bs);
    case QBR_CHILD_TRUNCATE:
        return bdrv_co_truncate(io->child, io->offset, io->exact, io->preallocation, io->flags, io->errp);
    case QBR_CHILD_LENGTH:
        return QBR_CHILD_GETLENGTH(io->child->bs);
    case QBR_CHILD_BLOCK_STATUS:
        return bdrv_co_common_block_status_above(io->child->bs, NULL, false, QBR_BLOCK_STATUS_MODE(io->flags),
                                                 io->offset, io->bytes, io->pnum, NULL, NULL, NULL);
    case QBR_CHILD_ALLOCATED_ABOVE:
        return QBR_CHILD_IS_ALLOCATED_ABOVE(io->child->bs, io->base->bs, false, io->offset, io->bytes, io->pnum);
    }
    return -EINVAL;
}

int coroutine_fn qbr_host_child_read(BdrvChild *child, int64_t offset, int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset,
                                     uint32_t flags)
{
    return bdrv_co_preadv_part(child, offset, bytes, qiov, qiov_offset, flags);
}

int coroutine_fn qbr_host_child_write(BdrvChild *child, int64_t offset, int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset,
                                      uint32_t flags)
{
    return bdrv_co_pwritev_part(child, offset, bytes, qiov, qiov_offset, flags);
}

int coroutine_fn qbr_host_filter_flush(BlockDriverState *bs)
{
    BdrvChild *child;
    int ret = QBR_CHILD_IS_INSERTED(bs->file->bs) ? 0 : -ENOMEDIUM;

    QLIST_FOREACH(child, &bs->children, next) {
        /* What can't have been written to can't fail. */
        if (child->perm & (BLK_PERM_WRITE | BLK_PERM_WRITE_UNCHANGED)) {
            int result = bdrv_co_flush(child->bs);

            ret = ret ? ret : result;
        }
    }
    return ret;
}

static void coroutine_fn qbr_child_entry(void *opaque)
{
    QbrChildIo *io = opaque;

    do {
        io = io->done(io, qbr_host_child_run(io));
    } while (io);
}

void qbr_host_child_start(QbrChildIo *io)
{
    qemu_coroutine_enter(qemu_coroutine_create(qbr_child_entry, io));
}

/* --- Callbacks ------------------------------------------------------------------------------------------------------------ */

bool qbr_filter_is_inserted(BlockDriverState *bs)
{
    /* Who wants to write to a node that is inactive has to hear of anything that is lost below: it must not get as far as that. */
    bool is_deep = qbr_host_bs_is_inactive(bs);
    BdrvChild *child;

    QLIST_FOREACH(child, &bs->children, next) {
        if (!(is_deep ? QBR_CHILD_IS_INSERTED(child->bs) : child->bs->drv != NULL)) {
            return false;
        }
    }
    return true;
}

/* --- Events --------------------------------------------------------------------------------------------------------------- */

void qbr_host_quorum_report_bad(uint32_t type, int error, BdrvChild *child, int64_t sector, int64_t sectors)
{
    qbr_send_quorum_report_bad(type, error < 0 ? strerror(-error) : NULL, child->bs->node_name, sector, sectors);
}

void qbr_host_quorum_failure(BlockDriverState *bs, int64_t sector, int64_t sectors)
{
    qapi_event_send_quorum_failure(bdrv_get_device_or_node_name(bs), sector, sectors);
}
