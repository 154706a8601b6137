/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* The services of qbr-host.h on top of QEMU. Each does one thing; none has a policy of its own. */

#include "qemu/osdep.h"

#include "block/aio.h"
#include "block/block_int.h"
#include "block/qdict.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-block-core.h"
#include "qapi/qobject-output-visitor.h"
#include "qemu/coroutine.h"
#include "qemu/error-report.h"
#include "qemu/iov.h"
#include "qemu/option.h"

#include "qbr-compat.h"
#include "qbr-host.h"
#include "qemu-block-rs.h"

/* Flag values that Rust knows by heart (src/abi.rs). */
QEMU_BUILD_BUG_ON(QBR_O_RDWR != BDRV_O_RDWR);
QEMU_BUILD_BUG_ON(QBR_O_NOCACHE != BDRV_O_NOCACHE);
QEMU_BUILD_BUG_ON(QBR_PREALLOC_OFF != PREALLOC_MODE_OFF);
QEMU_BUILD_BUG_ON(QBR_PREALLOC_METADATA != PREALLOC_MODE_METADATA);
QEMU_BUILD_BUG_ON(QBR_PREALLOC_FALLOC != PREALLOC_MODE_FALLOC);
QEMU_BUILD_BUG_ON(QBR_PREALLOC_FULL != PREALLOC_MODE_FULL);
QEMU_BUILD_BUG_ON(QBR_BLOCK_DATA != BDRV_BLOCK_DATA);
QEMU_BUILD_BUG_ON(QBR_BLOCK_ZERO != BDRV_BLOCK_ZERO);
QEMU_BUILD_BUG_ON(QBR_BLOCK_OFFSET_VALID != BDRV_BLOCK_OFFSET_VALID);
#if QBR_QEMU_AT_LEAST(10, 2)
QEMU_BUILD_BUG_ON(QBR_WANT_ZERO != BDRV_WANT_ZERO);
#endif

/* --- Coroutines ----------------------------------------------------------------------------------------------------------- */

bool qbr_host_in_coroutine(void)
{
    return qemu_in_coroutine();
}

QbrTask qbr_host_co_self(void)
{
    Coroutine *co = qemu_coroutine_self();

    return (QbrTask) { .co = co, .ctx = qemu_coroutine_get_aio_context(co) };
}

void qbr_host_co_yield(void)
{
    qemu_coroutine_yield();
}

void qbr_host_co_wake(QbrTask task)
{
    /*
     * A coroutine of the same loop may be waiting for one that ends here and now: then it is entered right after, without
     * a turn of the event loop. From elsewhere, and from a callback, it must be scheduled.
     */
    if (qemu_in_coroutine() && task.ctx == qemu_get_current_aio_context()) {
        aio_co_wake(task.co);
    } else {
        aio_co_schedule(task.ctx, task.co);
    }
}

/* --- Node state ----------------------------------------------------------------------------------------------------------- */

void **qbr_host_bs_state(BlockDriverState *bs)
{
    return bs->opaque;
}

void **qbr_host_reopen_state(BDRVReopenState *state)
{
    return &state->opaque;
}

BlockDriverState *qbr_host_reopen_bs(BDRVReopenState *state)
{
    return state->bs;
}

int qbr_host_reopen_flags(BDRVReopenState *state)
{
    return state->flags;
}

const char *qbr_host_bs_name(BlockDriverState *bs)
{
    return bs->node_name;
}

void qbr_host_bs_set_limits(BlockDriverState *bs, const QbrLimits *limits)
{
    if (limits->request_alignment) {
        bs->bl.request_alignment = limits->request_alignment;
    }
    if (limits->max_transfer) {
        bs->bl.max_transfer = limits->max_transfer;
    }
    if (limits->max_pdiscard) {
        /* The block layer wants a multiple of the request alignment. */
        bs->bl.max_pdiscard = QEMU_ALIGN_DOWN(limits->max_pdiscard, MAX(bs->bl.request_alignment, 1));
    }
    if (limits->max_pwrite_zeroes) {
        bs->bl.max_pwrite_zeroes = limits->max_pwrite_zeroes;
    }
}

void qbr_host_bs_set_flags(BlockDriverState *bs, const QbrFlags *flags)
{
    bs->supported_write_flags = flags->write;
    bs->supported_zero_flags = flags->zero;
    bs->supported_truncate_flags = flags->truncate;
}

int qbr_host_apply_auto_read_only(BlockDriverState *bs, const char *reason, Error **errp)
{
    int ret;

    bdrv_graph_rdlock_main_loop();
    ret = bdrv_apply_auto_read_only(bs, reason, errp);
    bdrv_graph_rdunlock_main_loop();
    return ret;
}

/* --- Options -------------------------------------------------------------------------------------------------------------- */

/* Reports one scalar in its option spelling. False for anything else. */
static bool qbr_report_scalar(const char *key, QObject *value, QbrOptionFn fn, void *opaque)
{
    switch (qobject_type(value)) {
    case QTYPE_QSTRING:
        fn(opaque, key, qstring_get_str(qobject_to(QString, value)));
        return true;
    case QTYPE_QNUM: {
        g_autofree char *text = qnum_to_string(qobject_to(QNum, value));

        fn(opaque, key, text);
        return true;
    }
    case QTYPE_QBOOL:
        fn(opaque, key, qbool_get_bool(qobject_to(QBool, value)) ? "on" : "off");
        return true;
    default:
        return false;
    }
}

/* Takes an empty list out, which flattening has left where it was. */
static void qbr_drop_empty_list(QDict *options, const char *prefix)
{
    g_autofree char *name = g_strndup(prefix, strlen(prefix) - 1);
    QList *list = qobject_to(QList, qdict_get(options, name));

    if (list && qlist_empty(list)) {
        qdict_del(options, name);
    }
}

void qbr_host_qdict_take(QDict *options, const char *key, QbrOptionFn fn, void *opaque)
{
    bool is_prefix = g_str_has_suffix(key, ".");
    const QDictEntry *entry;

    if (is_prefix) {
        qbr_drop_empty_list(options, key);
    }
    entry = qdict_first(options);
    while (entry) {
        const QDictEntry *next = qdict_next(options, entry);
        const char *name = qdict_entry_key(entry);
        bool wanted = is_prefix ? g_str_has_prefix(name, key) : g_str_equal(name, key);

        if (wanted && qbr_report_scalar(name, qdict_entry_value(entry), fn, opaque)) {
            qdict_del(options, name);
        }
        entry = next;
    }
}

void qbr_host_qdict_put(QDict *options, const char *key, const char *value)
{
    qdict_put_str(options, key, value);
}

int64_t qbr_host_qdict_array_entries(QDict *options, const char *prefix)
{
    qdict_flatten(options);
    return MAX(qdict_array_entries(options, prefix), -1);
}

void qbr_host_create_options_visit(BlockdevCreateOptions *options, QbrOptionFn fn, void *opaque)
{
    QObject *object = NULL;
    Visitor *visitor = qobject_output_visitor_new(&object);
    const QDictEntry *entry;
    QDict *flat;

    if (visit_type_BlockdevCreateOptions(visitor, NULL, &options, NULL)) {
        visit_complete(visitor, &object);
    }
    visit_free(visitor);
    flat = qobject_to(QDict, object);
    if (flat) {
        qdict_flatten(flat);
        for (entry = qdict_first(flat); entry; entry = qdict_next(flat, entry)) {
            qbr_report_scalar(qdict_entry_key(entry), qdict_entry_value(entry), fn, opaque);
        }
    }
    qobject_unref(object);
}

char *qbr_host_opts_take(QemuOpts *opts, const char *key)
{
    return qemu_opt_get_del(opts, key);
}

uint64_t qbr_host_opts_take_size(QemuOpts *opts, const char *key, uint64_t fallback)
{
    return qemu_opt_get_size_del(opts, key, fallback);
}

void qbr_host_free(void *ptr)
{
    g_free(ptr);
}

/* --- Guest memory --------------------------------------------------------------------------------------------------------- */

const struct iovec *qbr_host_qiov_elements(QEMUIOVector *qiov, size_t *count, size_t *bytes)
{
    *count = qiov->niov;
    *bytes = qiov->size;
    return qiov->iov;
}

void qbr_host_qiov_zero(QEMUIOVector *qiov, size_t offset, size_t bytes)
{
    qemu_iovec_memset(qiov, offset, 0, bytes);
}

/* --- Messages ------------------------------------------------------------------------------------------------------------- */

void qbr_host_error_set(Error **errp, const char *message, const char *hint)
{
    ERRP_GUARD();

    error_setg(errp, "%s", message);
    if (hint) {
        error_append_hint(errp, "%s\n", hint);
    }
}

void qbr_host_error_propagate(Error **errp, Error *error)
{
    error_propagate(errp, error);
}

const char *qbr_host_error_message(Error *error)
{
    return error_get_pretty(error);
}

void qbr_host_error_free(Error *error)
{
    error_free(error);
}

void qbr_host_error_report(const char *message)
{
    error_report("%s", message);
}

void qbr_host_warn_report(const char *message)
{
    warn_report("%s", message);
}

void qbr_host_exit_with(const char *line)
{
    fprintf(stderr, "%s\n", line);
    exit(EXIT_FAILURE);
}

/* --- Registration --------------------------------------------------------------------------------------------------------- */

bool qbr_host_accepts_archive(const char *driver)
{
    if (qbr_abi_version() == QBR_ABI_VERSION && qbr_host_version() == QBR_HOST_VERSION) {
        return true;
    }
    error_report("block driver %s is not available: its adapter is for qemu-block-rs ABI %u and host services %u, "
                 "but the archive has ABI %u and host services %u; build both from the same version",
                 driver, QBR_ABI_VERSION, QBR_HOST_VERSION, qbr_abi_version(), qbr_host_version());
    return false;
}
