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
#include "qemu-block-rs.h"

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
/* Starts a coroutine in the caller's loop, which runs at once until it first sleeps. Nobody joins it. In a coroutine. */
void co_start_here(void (*entry)(void *), void *opaque);
/* Sleeps for one turn of the loop. In a coroutine. */
void co_next_turn(void);

/* --- Nodes (node.c) ------------------------------------------------------------------------------------------------------- */

struct BlockDriverState {
    void *state;
    const char *name;
    QbrLimits limits;
    bool limits_set;
    /* What auto-read-only answers, and what it was asked. */
    int auto_read_only;
    unsigned auto_read_only_asked;
    bool inactive;
    QbrFlags flags;
    unsigned flags_set;
    /* The driver's .bdrv_child_perm, which the block layer calls whenever children come and go; how often it did. */
    void (*child_perm)(BlockDriverState *bs, BdrvChild *child, unsigned role, BlockReopenQueue *queue, uint64_t perm,
                       uint64_t shared, uint64_t *nperm, uint64_t *nshared);
    unsigned child_perm_asked;
    /* Children in the order in which they were attached. */
    BdrvChild *children[8];
    unsigned child_count;
    /* If it can be a child. */
    struct disk *disk;
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
void options_add(struct options *options, const char *key, const char *value);
/* Takes an option; NULL if it isn't there, else for the caller to free. */
char *options_take(struct options *options, const char *key);
/* Takes all options whose keys begin with a prefix; how many. */
size_t options_take_all(struct options *options, const char *prefix);
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

/* The value of an option as QEMU spells it, valid as long as it stays; NULL if it isn't there. */
const char *options_get(const struct options *options, const char *key);

/* --- Images and secrets (image.c) ------------------------------------------------------------------------------------------ */

struct BlockDriverInfo {
    uint32_t cluster_size;
};

struct ImageInfoSpecific {
    /* QBR_RBD_*. */
    uint32_t encryption;
};

struct QEMUSnapshotInfo {
    char id_str[128];
    char name[256];
    uint64_t vm_state_size;
};

/* Tables of snapshots and descriptions of images that nobody has freed yet. */
unsigned tables_alive(void);
void table_free(QEMUSnapshotInfo *table);
void info_free(ImageInfoSpecific *info);
/* From now on there is no memory for a table of snapshots. */
void tables_run_out(bool on);

/* Adds a secret object; @base64 stays valid. All of them are forgotten with secrets_forget(). */
void secret_add(const char *id, const char *base64);
void secrets_forget(void);
/* How often a secret was looked up since secrets_forget(). */
unsigned secrets_asked(void);

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
/* The only warning so far, which then doesn't count any more. */
const char *warning_take(void);

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
/* All bytes of a vector to or from one buffer of its size. */
void qiov_copy_out(const QEMUIOVector *qiov, void *buffer);
void qiov_copy_in(QEMUIOVector *qiov, const void *buffer);
unsigned char qiov_byte(const QEMUIOVector *qiov, size_t offset);
void qiov_set_byte(QEMUIOVector *qiov, size_t offset, unsigned char byte);

#endif
