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
#include "block/block-io.h"
#include "block/graph-lock.h"
#include "qobject/qdict.h"
#include "qobject/qnum.h"
#include "qobject/qbool.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#else
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
#else
#define QBR_BDRV_PROTOCOL_OPEN bdrv_file_open
#define QBR_BDRV_GETLENGTH bdrv_getlength
#define QBR_BDRV_GET_ALLOCATED_FILE_SIZE bdrv_get_allocated_file_size
#define QBR_BDRV_GET_INFO bdrv_get_info
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
#define bdrv_graph_wrunlock() ((void)0)
#endif

/* To unlock, which also ends the drain: bdrv_graph_wrunlock(). */
#if QBR_QEMU_AT_LEAST(10, 2)
#define qbr_graph_wrlock_drained() bdrv_graph_wrlock_drained()
#elif QBR_QEMU_AT_LEAST(10, 0)
#define qbr_graph_wrlock_drained() bdrv_graph_wrlock()
#else
#define qbr_graph_wrlock_drained() ((void)0)
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
#else
#define QBR_CHILD_GETLENGTH(bs) bdrv_getlength(bs)
#endif

/* An optional string had a flag beside it. */
#if QBR_QEMU_AT_LEAST(10, 0)
#define qbr_send_quorum_report_bad(type, error, node, sector, sectors) \
    qapi_event_send_quorum_report_bad(type, error, node, sector, sectors)
#else
#define qbr_send_quorum_report_bad(type, error, node, sector, sectors) \
    qapi_event_send_quorum_report_bad(type, (error) != NULL, error, node, sector, sectors)
#endif

#endif
