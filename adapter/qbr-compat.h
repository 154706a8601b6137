/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * Every difference between the QEMU versions that the adapters support, and nothing else.
 *
 * Known: 7.2 (Debian 12), 10.0 (Debian 13), 10.2.
 */
#ifndef QBR_COMPAT_H
#define QBR_COMPAT_H

#define QBR_QEMU_AT_LEAST(major, minor) \
    (QEMU_VERSION_MAJOR > (major) || (QEMU_VERSION_MAJOR == (major) && QEMU_VERSION_MINOR >= (minor)))

/* --- Headers: the object model's data types moved in 10.0 ------------------------------------------------------------------- */

#if QBR_QEMU_AT_LEAST(10, 0)
#define QBR_BLOCK_BACKEND_H "system/block-backend.h"
#include "block/block-io.h"
#include "block/graph-lock.h"
#include "qobject/qdict.h"
#include "qobject/qnum.h"
#include "qobject/qbool.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#else
#define QBR_BLOCK_BACKEND_H "sysemu/block-backend.h"
#include "qapi/qmp/qdict.h"
#include "qapi/qmp/qnum.h"
#include "qapi/qmp/qbool.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qstring.h"
#endif

/* --- Members of struct BlockDriver that were renamed on the way to 10.0 ----------------------------------------------------- */

#if QBR_QEMU_AT_LEAST(10, 0)
#define QBR_BDRV_PROTOCOL_OPEN bdrv_open
#define QBR_BDRV_GETLENGTH bdrv_co_getlength
#define QBR_BDRV_GET_ALLOCATED_FILE_SIZE bdrv_co_get_allocated_file_size
#define QBR_BDRV_GET_INFO bdrv_co_get_info
#define QBR_BDRV_IS_INSERTED bdrv_co_is_inserted
#else
#define QBR_BDRV_PROTOCOL_OPEN bdrv_file_open
#define QBR_BDRV_GETLENGTH bdrv_getlength
#define QBR_BDRV_GET_ALLOCATED_FILE_SIZE bdrv_get_allocated_file_size
#define QBR_BDRV_GET_INFO bdrv_get_info
#define QBR_BDRV_IS_INSERTED bdrv_is_inserted
#endif

/* Whether the length may change below a filter is inherited since 10.0. */
#if QBR_QEMU_AT_LEAST(10, 0)
#define QBR_HAS_VARIABLE_LENGTH
#else
#define QBR_HAS_VARIABLE_LENGTH .has_variable_length = true,
#endif

/* --- Block status: a boolean until 10.0, a set of flags since 10.2 ---------------------------------------------------------- */

#if QBR_QEMU_AT_LEAST(10, 2)
#define QBR_BLOCK_STATUS_MODE(mode) (mode)
#define QBR_CO_BLOCK_STATUS(driver) qbr_##driver##_co_block_status
#define QBR_DEFINE_CO_BLOCK_STATUS(driver)
#else
#define QBR_BLOCK_STATUS_MODE(mode) (((mode) & QBR_WANT_ZERO) != 0)
#define QBR_CO_BLOCK_STATUS(driver) qbr_compat_##driver##_co_block_status
#define QBR_DEFINE_CO_BLOCK_STATUS(driver)                                                                    \
    static int coroutine_fn qbr_compat_##driver##_co_block_status(BlockDriverState *bs, bool want_zero,      \
                                                                  int64_t offset, int64_t bytes,             \
                                                                  int64_t *pnum, int64_t *map,               \
                                                                  BlockDriverState **file)                   \
    {                                                                                                        \
        return qbr_##driver##_co_block_status(bs, want_zero ? QBR_WANT_ZERO : 0, offset, bytes, pnum, map,   \
                                              file);                                                         \
    }
#endif

/* --- The block graph's lock came with 8.0 ----------------------------------------------------------------------------------- */

#if !QBR_QEMU_AT_LEAST(10, 0)
#define bdrv_graph_rdlock_main_loop() ((void)0)
#define bdrv_graph_rdunlock_main_loop() ((void)0)
#endif

/* The children of @bs change, with no request in flight: its flush goes through their list, and sleeps in between. */
#if QBR_QEMU_AT_LEAST(10, 2)
#define qbr_graph_wrlock_drained(bs) ((void)(bs), bdrv_graph_wrlock_drained())
#define qbr_graph_wrunlock_drained(bs) ((void)(bs), bdrv_graph_wrunlock())
#elif QBR_QEMU_AT_LEAST(10, 0)
#define qbr_graph_wrlock_drained(bs) ((void)(bs), bdrv_graph_wrlock())
#define qbr_graph_wrunlock_drained(bs) ((void)(bs), bdrv_graph_wrunlock())
#else
#define qbr_graph_wrlock_drained(bs) bdrv_drained_begin(bs)
#define qbr_graph_wrunlock_drained(bs) bdrv_drained_end(bs)
#endif

/* --- Changes of children: their callers lock out requests since 8.0, before that the driver has to ---------------------------- */

#if QBR_QEMU_AT_LEAST(10, 0)
#define QBR_ADD_CHILD(driver) qbr_##driver##_add_child
#define QBR_DEL_CHILD(driver) qbr_##driver##_del_child
#define QBR_DEFINE_ADD_DEL_CHILD(driver)
#else
#define QBR_ADD_CHILD(driver) qbr_compat_##driver##_add_child
#define QBR_DEL_CHILD(driver) qbr_compat_##driver##_del_child
#define QBR_DEFINE_ADD_DEL_CHILD(driver)                                                                      \
    static void qbr_compat_##driver##_add_child(BlockDriverState *bs, BlockDriverState *node, Error **errp)   \
    {                                                                                                        \
        bdrv_drained_begin(bs);                                                                              \
        qbr_##driver##_add_child(bs, node, errp);                                                            \
        bdrv_drained_end(bs);                                                                                \
    }                                                                                                        \
    static void qbr_compat_##driver##_del_child(BlockDriverState *bs, BdrvChild *child, Error **errp)         \
    {                                                                                                        \
        bdrv_drained_begin(bs);                                                                              \
        qbr_##driver##_del_child(bs, child, errp);                                                           \
        bdrv_drained_end(bs);                                                                                \
    }
#endif

/* --- Functions that changed --------------------------------------------------------------------------------------------------- */

/* Called in coroutines only since 8.0, before that anywhere. */
#if QBR_QEMU_AT_LEAST(10, 0)
#define QBR_CHILD_GETLENGTH(bs) bdrv_co_getlength(bs)
#define QBR_CHILD_IS_INSERTED(bs) bdrv_co_is_inserted(bs)
#else
#define QBR_CHILD_GETLENGTH(bs) bdrv_getlength(bs)
#define QBR_CHILD_IS_INSERTED(bs) bdrv_is_inserted(bs)
#endif

#if QBR_QEMU_AT_LEAST(10, 0)
#define QBR_CHILD_IS_ALLOCATED_ABOVE bdrv_co_is_allocated_above
#else
#define QBR_CHILD_IS_ALLOCATED_ABOVE bdrv_is_allocated_above
#endif

/* An optional string had a flag beside it. */
#if QBR_QEMU_AT_LEAST(10, 0)
#define qbr_send_quorum_report_bad(type, error, node, sector, sectors) \
    qapi_event_send_quorum_report_bad(type, error, node, sector, sectors)
#else
#define qbr_send_quorum_report_bad(type, error, node, sector, sectors) \
    qapi_event_send_quorum_report_bad(type, (error) != NULL, error, node, sector, sectors)
#endif

/* --- Event loops had locks until 8.2 ------------------------------------------------------------------------------------------ */

/*
 * Whoever works on a node from the main loop held the lock of the node's event loop, and gave it back while it waited for
 * something that needs it there. The node may move to another event loop meanwhile, the lock stays that of the one where it was.
 */
#if QBR_QEMU_AT_LEAST(10, 0)
#define qbr_context_lock(ctx) ((void)(ctx))
#define qbr_context_unlock(ctx) ((void)(ctx))
#define QBR_CLOSE(driver) qbr_##driver##_close
#define QBR_DEFINE_CLOSE(driver)
#else
#define qbr_context_lock(ctx) aio_context_acquire(ctx)
#define qbr_context_unlock(ctx) aio_context_release(ctx)
#define QBR_CLOSE(driver) qbr_compat_##driver##_close
/*
 * Who closes a node of an iothread holds its lock already, once: the flush before this gives it back that often. Held twice it
 * would keep the iothread from ending a job. Of a node of the main loop nobody needs to hold it.
 */
#define QBR_DEFINE_CLOSE(driver)                                                                              \
    static void qbr_compat_##driver##_close(BlockDriverState *bs)                                             \
    {                                                                                                        \
        AioContext *ctx = bdrv_get_aio_context(bs);                                                          \
        bool is_held = ctx != qemu_get_aio_context();                                                        \
                                                                                                             \
        if (!is_held) {                                                                                      \
            aio_context_acquire(ctx);                                                                        \
        }                                                                                                    \
        qbr_##driver##_close(bs);                                                                            \
        if (!is_held) {                                                                                      \
            aio_context_release(ctx);                                                                        \
        }                                                                                                    \
    }
#endif

/* A reopen drains the nodes itself since 8.0, and all of them since 10.2. */
#if QBR_QEMU_AT_LEAST(10, 0)
#define qbr_reopen_drain_begin(bs) ((void)0)
#define qbr_reopen_drain_end(bs) ((void)0)
#else
#define qbr_reopen_drain_begin(bs) bdrv_subtree_drained_begin(bs)
#define qbr_reopen_drain_end(bs) bdrv_subtree_drained_end(bs)
#endif

/* Operations that may go on although all are blocked: moving a disk to another event loop, which had a name once. */
#if QBR_QEMU_AT_LEAST(10, 0)
#define qbr_op_unblock_dataplane(bs, reason) ((void)0)
#else
#define qbr_op_unblock_dataplane(bs, reason) bdrv_op_unblock(bs, BLOCK_OP_TYPE_DATAPLANE, reason)
#endif

/* The options of a backup that came later: 10.2 what happens to a guest if it fails, 9.1 whether the source is emptied. */
#if QBR_QEMU_AT_LEAST(10, 2)
#define qbr_backup_job_create(bs, target, perf, cb, opaque, errp)                                              \
    backup_job_create(NULL, bs, target, 0, MIRROR_SYNC_MODE_NONE, NULL, 0, false, false, NULL, perf,          \
                      BLOCKDEV_ON_ERROR_REPORT, BLOCKDEV_ON_ERROR_REPORT, ON_CBW_ERROR_BREAK_GUEST_WRITE,    \
                      JOB_INTERNAL, cb, opaque, NULL, errp)
#elif QBR_QEMU_AT_LEAST(10, 0)
#define qbr_backup_job_create(bs, target, perf, cb, opaque, errp)                                              \
    backup_job_create(NULL, bs, target, 0, MIRROR_SYNC_MODE_NONE, NULL, 0, false, false, NULL, perf,          \
                      BLOCKDEV_ON_ERROR_REPORT, BLOCKDEV_ON_ERROR_REPORT, JOB_INTERNAL, cb, opaque, NULL, errp)
#else
#define qbr_backup_job_create(bs, target, perf, cb, opaque, errp)                                              \
    backup_job_create(NULL, bs, target, 0, MIRROR_SYNC_MODE_NONE, NULL, 0, false, NULL, perf,                 \
                      BLOCKDEV_ON_ERROR_REPORT, BLOCKDEV_ON_ERROR_REPORT, JOB_INTERNAL, cb, opaque, NULL, errp)
#endif

#endif
