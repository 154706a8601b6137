/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * The services the Rust drivers may call.
 *
 * This header is the whole contract between the Rust archive and whoever hosts it. adapter/qbr-host.c implements it on top of
 * QEMU, tests/abi/host/ implements it for tests, and the Rust declarations are generated from this file, so the sides
 * cannot drift. QEMU types are opaque here: Rust only hands them back.
 *
 * Threads: a service may be called only where a BlockDriver callback runs (main loop or a coroutine), except those marked
 * "any thread". Strings passed in are not kept. Strings returned belong to the caller and are freed with qbr_host_free().
 */
#ifndef QBR_HOST_H
#define QBR_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iovec;

typedef struct BDRVReopenState BDRVReopenState;
typedef struct BlockDriverState BlockDriverState;
typedef struct BlockdevCreateOptions BlockdevCreateOptions;
typedef struct Error Error;
typedef struct QDict QDict;
typedef struct QEMUIOVector QEMUIOVector;
typedef struct QemuOpts QemuOpts;

/* Raised whenever a declaration below changes; an adapter and an archive with different numbers do not register. */
#define QBR_HOST_VERSION 1u

/* Modules and built-in drivers alike keep these services to themselves. */
#ifndef QBR_HOST_API
#define QBR_HOST_API __attribute__((visibility("hidden")))
#endif

/* --- Coroutines ----------------------------------------------------------------------------------------------------------- */

/* A coroutine together with the event loop it runs in; both stay valid while the coroutine is suspended. */
typedef struct QbrTask {
    void *co;
    void *ctx;
} QbrTask;

/* Whether the caller runs in a coroutine. */
QBR_HOST_API bool qbr_host_in_coroutine(void);
/* The calling coroutine. Only in a coroutine. */
QBR_HOST_API QbrTask qbr_host_co_self(void);
/* Suspends the calling coroutine until qbr_host_co_wake(). It may go on in another thread. */
QBR_HOST_API void qbr_host_co_yield(void);
/* Schedules a coroutine that has suspended itself, or is about to, in its own event loop. Any thread. */
QBR_HOST_API void qbr_host_co_wake(QbrTask task);

/* --- Node state ----------------------------------------------------------------------------------------------------------- */

/* The place of the driver's state pointer in a node. NULL when the node is opened. */
QBR_HOST_API void **qbr_host_bs_state(BlockDriverState *bs);
/* The place of the driver's state pointer in a reopen. */
QBR_HOST_API void **qbr_host_reopen_state(BDRVReopenState *state);
/* The node that a reopen is about. */
QBR_HOST_API BlockDriverState *qbr_host_reopen_bs(BDRVReopenState *state);
/* The BDRV_O_* flags a reopen asks for. */
QBR_HOST_API int qbr_host_reopen_flags(BDRVReopenState *state);
/* The name to call a node by in messages; never NULL, valid until the next block graph change. */
QBR_HOST_API const char *qbr_host_bs_name(BlockDriverState *bs);

/* What a driver tells the block layer about a node; 0 keeps the block layer's default. All in bytes. */
typedef struct QbrLimits {
    uint32_t request_alignment;
    int64_t max_transfer;
    int64_t max_pdiscard;
    int64_t max_pwrite_zeroes;
} QbrLimits;
QBR_HOST_API void qbr_host_bs_set_limits(BlockDriverState *bs, const QbrLimits *limits);

/*
 * Lets the node become read-only when its user allowed that (auto-read-only=on). 0, or -errno with *errp set. Main loop.
 * @reason says why the node cannot be writable.
 */
QBR_HOST_API int qbr_host_apply_auto_read_only(BlockDriverState *bs, const char *reason, Error **errp);

/* --- Options -------------------------------------------------------------------------------------------------------------- */

/* Called once per option; @key and @value are valid during the call only. */
typedef void (*QbrOptionFn)(void *opaque, const char *key, const char *value);

/*
 * Takes every scalar option named @key, or beginning with @key if that ends in a dot, out of a flat QDict. Numbers and
 * booleans arrive in their option spelling (123, on, off). Other values stay in the dictionary.
 */
QBR_HOST_API void qbr_host_qdict_take(QDict *options, const char *key, QbrOptionFn fn, void *opaque);

/* Reports every member of the options of blockdev-create, flattened: "size", "location.server.0.type" and so on. */
QBR_HOST_API void qbr_host_create_options_visit(BlockdevCreateOptions *options, QbrOptionFn fn, void *opaque);

/* Takes one creation option; NULL if absent and without default. */
QBR_HOST_API char *qbr_host_opts_take(QemuOpts *opts, const char *key);
/* Takes one creation option of type size; @fallback if absent. */
QBR_HOST_API uint64_t qbr_host_opts_take_size(QemuOpts *opts, const char *key, uint64_t fallback);

/* Frees a string that a service returned; NULL is allowed. */
QBR_HOST_API void qbr_host_free(void *ptr);

/* --- Guest memory --------------------------------------------------------------------------------------------------------- */

/* The elements of a request's vector; valid as long as the request. */
QBR_HOST_API const struct iovec *qbr_host_qiov_elements(QEMUIOVector *qiov, size_t *count, size_t *bytes);
/* Sets @bytes bytes from @offset on to zero. */
QBR_HOST_API void qbr_host_qiov_zero(QEMUIOVector *qiov, size_t offset, size_t bytes);

/* --- Messages ------------------------------------------------------------------------------------------------------------- */

/* Sets *errp (NULL is allowed) to a message, and a hint if @hint is not NULL. *errp must not be set yet. */
QBR_HOST_API void qbr_host_error_set(Error **errp, const char *message, const char *hint);
/* Prints an error or a warning where QEMU prints them. */
QBR_HOST_API void qbr_host_error_report(const char *message);
QBR_HOST_API void qbr_host_warn_report(const char *message);

/* --- Registration (for adapters) ------------------------------------------------------------------------------------------ */

/* Whether the archive fits this adapter; prints what does not fit and says so with the driver's name. */
QBR_HOST_API bool qbr_host_accepts_archive(const char *driver);

#endif
