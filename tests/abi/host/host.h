/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * A small block layer for tests: every service of adapter/qbr-host.h, with coroutines and event loops of its own.
 *
 * It is stricter than QEMU: a wake-up from the wrong loop, a second one, or one that nobody waits for ends the test.
 */
#ifndef QBR_TEST_HOST_H
#define QBR_TEST_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "qbr-host.h"

/* --- Event loops and coroutines (loop.c, coroutine.c) --------------------------------------------------------------------- */

struct loop;
struct co;

/* An event loop in a thread of its own. */
struct loop *loop_start(void);
/* Ends it; no coroutine may be left. */
void loop_stop(struct loop *loop);
/* The loop for tests that need only one. */
struct loop *loop_default(void);
/* Starts a coroutine in a loop. Any thread. */
struct co *co_start(struct loop *loop, void (*entry)(void *), void *opaque);
/* Waits until it ended, checks its wake-ups and frees it; how often it slept. Not in a coroutine. */
unsigned co_join(struct co *co);
/* Enters a sleeping coroutine without waking it, as a nosy caller might. */
void co_poke(struct co *co);
/* Waits until the coroutine has gone to sleep @parks times. */
void co_wait_parked(struct co *co, unsigned parks);
/* Runs a function in a coroutine of the default loop and waits for it. */
void co_run(void (*entry)(void *), void *opaque);

/* --- Nodes (node.c) ------------------------------------------------------------------------------------------------------- */

struct BlockDriverState {
    void *state;
    const char *name;
    QbrLimits limits;
    bool limits_set;
    /* What auto-read-only answers, and what it was asked. */
    int auto_read_only;
    unsigned auto_read_only_asked;
};

struct BDRVReopenState {
    BlockDriverState *bs;
    int flags;
    void *state;
};

/* --- Options (options.c) -------------------------------------------------------------------------------------------------- */

enum option_type { OPTION_TEXT, OPTION_NUMBER, OPTION_BOOL, OPTION_OTHER };

/*
 * QDict, QemuOpts and BlockdevCreateOptions are all lists of typed options here. "key=value,..." makes one: a value that begins
 * with '#' is a number, with '?' a boolean, with '!' something that is no scalar; else it is text.
 */
struct options;
struct options *options_new(const char *text);
void options_free(struct options *options);
size_t options_left(const struct options *options);
bool options_have(const struct options *options, const char *key);

static inline QDict *as_qdict(struct options *options)
{
    return (QDict *)options;
}

static inline QemuOpts *as_opts(struct options *options)
{
    return (QemuOpts *)options;
}

static inline BlockdevCreateOptions *as_create_options(struct options *options)
{
    return (BlockdevCreateOptions *)options;
}

/* --- Errors and messages (message.c) -------------------------------------------------------------------------------------- */

struct Error {
    char *message;
    char *hint;
};

void error_free(Error *error);
/* Errors that were set and not freed. */
unsigned errors_alive(void);
/* How many errors and warnings were printed; the last error. */
unsigned errors_reported(void);
unsigned warnings_reported(void);
const char *last_error_reported(void);

/* --- Guest memory (qiov.c) ------------------------------------------------------------------------------------------------ */

struct QEMUIOVector {
    struct iovec *iov;
    size_t niov;
    size_t size;
};

/* A vector with elements of these sizes, the last one 0; each element is memory of its own, filled with 0xa5. */
QEMUIOVector *qiov_new(const size_t *sizes);
/* A vector with one element. */
QEMUIOVector *qiov_flat(size_t bytes);
void qiov_free(QEMUIOVector *qiov);
unsigned char qiov_byte(const QEMUIOVector *qiov, size_t offset);
void qiov_set_byte(QEMUIOVector *qiov, size_t offset, unsigned char byte);

#endif
