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
typedef struct BdrvChild BdrvChild;
typedef struct BlockDriverInfo BlockDriverInfo;
typedef struct BlockDriverState BlockDriverState;
typedef struct BlockJob BlockJob;
typedef struct BlockdevCreateOptions BlockdevCreateOptions;
typedef struct Error Error;
typedef struct ImageInfoSpecific ImageInfoSpecific;
typedef struct QDict QDict;
typedef struct QEMUIOVector QEMUIOVector;
typedef struct QEMUSnapshotInfo QEMUSnapshotInfo;
typedef struct QemuOpts QemuOpts;
typedef struct ReplicationState ReplicationState;

/* Raised whenever a declaration below changes; an adapter and an archive with different numbers do not register. */
#define QBR_HOST_VERSION 10u

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
/*
 * Has a coroutine that has suspended itself, or is about to, go on in its own event loop. Any thread. It never runs before
 * this returns: called from a coroutine of the same loop, it runs when that one sleeps or ends.
 */
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

/* The length of a node as the block layer knows it, without asking anybody: in bytes, a multiple of 512. */
QBR_HOST_API int64_t qbr_host_bs_length(BlockDriverState *bs);

/* Whether a node leaves its image to somebody else, as the source of a migration does when that is over. It may not write then. */
QBR_HOST_API bool qbr_host_bs_is_inactive(BlockDriverState *bs);

/* What a driver tells the block layer about a node; 0 keeps the block layer's default. All in bytes. */
typedef struct QbrLimits {
    uint32_t request_alignment;
    int64_t max_transfer;
    int64_t max_pdiscard;
    int64_t max_pwrite_zeroes;
} QbrLimits;
QBR_HOST_API void qbr_host_bs_set_limits(BlockDriverState *bs, const QbrLimits *limits);

/* The request flags (BDRV_REQ_*) that a node takes. */
typedef struct QbrFlags {
    uint32_t write;
    uint32_t zero;
    uint32_t truncate;
} QbrFlags;
/* Tells the block layer which flags the node takes. Main loop, and no request is in flight. */
QBR_HOST_API void qbr_host_bs_set_flags(BlockDriverState *bs, const QbrFlags *flags);

/*
 * Lets the node become read-only when its user allowed that (auto-read-only=on). 0, or -errno with *errp set. Main loop.
 * @reason says why the node cannot be writable.
 */
QBR_HOST_API int qbr_host_apply_auto_read_only(BlockDriverState *bs, const char *reason, Error **errp);

/* --- Children (drivers that have some) ------------------------------------------------------------------------------------ */

/* Roles of children, as in BdrvChildRole. */
#define QBR_CHILD_DATA 0x1u
#define QBR_CHILD_PRIMARY 0x10u

/* Opens the node that @options describe under "@name" or "@name.", and attaches it. NULL with *errp set. Main loop. */
QBR_HOST_API BdrvChild *qbr_host_child_open(BlockDriverState *bs, QDict *options, const char *name, uint32_t role,
                                            Error **errp);
/*
 * Attaches a node that is there already. NULL with *errp set. Main loop; requests of @bs are held back by the caller, which
 * holds the lock of the block graph.
 */
QBR_HOST_API BdrvChild *qbr_host_child_attach(BlockDriverState *bs, BlockDriverState *node, const char *name,
                                              uint32_t role, Error **errp);
/* Detaches a child, with the lock held as for qbr_host_child_attach(). */
QBR_HOST_API void qbr_host_child_detach(BlockDriverState *bs, BdrvChild *child);
/* Detaches children: keeps requests of @bs away, and takes the lock of the block graph, itself. Main loop. */
QBR_HOST_API void qbr_host_children_close(BlockDriverState *bs, BdrvChild *const *children, size_t count);
/*
 * From the one to the other there is no request of the child's node, nor of what is above it, but those of the caller. The child stays
 * attached to the same node meanwhile. Main loop.
 */
QBR_HOST_API void qbr_host_child_drained_begin(BdrvChild *child);
QBR_HOST_API void qbr_host_child_drained_end(BdrvChild *child);
/* The name of a child within its parent; valid as long as the child. */
QBR_HOST_API const char *qbr_host_child_name(BdrvChild *child);
/* The name of the child's node; valid until the next change of the block graph. */
QBR_HOST_API const char *qbr_host_child_node_name(BdrvChild *child);
/* The request flags that the child's node takes. */
QBR_HOST_API void qbr_host_child_flags(BdrvChild *child, QbrFlags *flags);
/* Whether the node has permission to write to the child now. Any thread. */
QBR_HOST_API bool qbr_host_child_may_be_written(BdrvChild *child);
/* Whether zeroes written with BDRV_REQ_MAY_UNMAP give space back all the way down (discard=unmap). With the graph locked. */
QBR_HOST_API bool qbr_host_child_unmaps(BdrvChild *child);
/* What ranges have to be multiples of, in bytes and at least 1, so that the child's node writes zeroes there quickly if it can. */
QBR_HOST_API uint32_t qbr_host_child_zero_alignment(BdrvChild *child);
/* Whether the child is @node and this parent is the only one it has. Main loop, with the graph locked for reading. */
QBR_HOST_API bool qbr_host_child_is_only_parent_of(BdrvChild *child, BlockDriverState *node);
/* Adds the complete options of all children to @target, as the list "children". Main loop. */
QBR_HOST_API void qbr_host_children_options(QDict *target, BdrvChild *const *children, size_t count);

/* What to do with a child. */
typedef enum QbrChildOp {
    /* Read @bytes at @offset into @buffer, or into @qiov if that is not NULL. */
    QBR_CHILD_READ,
    /* Write @bytes at @offset from @buffer, or from @qiov if that is not NULL, with @flags. */
    QBR_CHILD_WRITE,
    /* Write @bytes zero bytes at @offset, with @flags. */
    QBR_CHILD_WRITE_ZEROES,
    /* Discard @bytes at @offset. */
    QBR_CHILD_DISCARD,
    /* Make what was written durable. */
    QBR_CHILD_FLUSH,
    /* Set the length to @offset; @preallocation is a PreallocMode, @flags as for a truncate, and *@errp is set by a failure. */
    QBR_CHILD_TRUNCATE,
    /* The length in bytes is the result. */
    QBR_CHILD_LENGTH,
    /* BDRV_BLOCK_* at @offset are the result, *@pnum is how far it reaches; @flags are BDRV_WANT_*. */
    QBR_CHILD_BLOCK_STATUS,
    /*
     * 1 if what is at @offset is in the child or between it and the node of @base, which is among what backs it, 0 if it is
     * not; *@pnum is how far that reaches.
     */
    QBR_CHILD_ALLOCATED_ABOVE,
} QbrChildOp;

/* One operation on a child. It belongs to whoever starts it, and stays as it is until the operation has ended. */
typedef struct QbrChildIo {
    QbrChildOp op;
    uint32_t flags;
    BdrvChild *child;
    int64_t offset;
    int64_t bytes;
    QEMUIOVector *qiov;
    /* Where in @qiov a transfer begins. */
    size_t qiov_offset;
    void *buffer;
    BdrvChild *base;
    int64_t *pnum;
    Error **errp;
    uint32_t preallocation;
    bool exact;
    /*
     * The operation has ended with @ret: at least 0, or -errno. Called once, in a coroutine of the same event loop. What it
     * returns, if not NULL, is to be done by the same coroutine.
     */
    struct QbrChildIo *(*done)(struct QbrChildIo *io, int64_t ret);
} QbrChildIo;

/* Does it in the calling coroutine, which may sleep meanwhile. The result; @done is not called. */
QBR_HOST_API int64_t qbr_host_child_run(QbrChildIo *io);
/*
 * The two most frequent ones in fewer steps: @bytes at @offset of a child, to or from @qiov from its byte @qiov_offset on. 0, or
 * -errno; -EIO if the vector is too short.
 */
QBR_HOST_API int qbr_host_child_read(BdrvChild *child, int64_t offset, int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset,
                                     uint32_t flags);
QBR_HOST_API int qbr_host_child_write(BdrvChild *child, int64_t offset, int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset,
                                      uint32_t flags);
/*
 * Makes what was written to the children of a filter durable. 0, or -errno: the first failure, and -ENOMEDIUM if something below what
 * it filters has lost its image, which the block layer would take for done. Only in a coroutine.
 */
QBR_HOST_API int qbr_host_filter_flush(BlockDriverState *bs);
/*
 * Starts it in a coroutine of its own, which goes on with what @done returns. Returns when that coroutine sleeps for the first
 * time or has ended. Only in a coroutine.
 */
QBR_HOST_API void qbr_host_child_start(QbrChildIo *io);

/* --- Events --------------------------------------------------------------------------------------------------------------- */

/* What a child was doing when it failed, as in QuorumOpType. */
#define QBR_QUORUM_READ 0u
#define QBR_QUORUM_WRITE 1u
#define QBR_QUORUM_FLUSH 2u

/* Sends QUORUM_REPORT_BAD; @error is -errno, or 0 for a child whose data lost a vote. */
QBR_HOST_API void qbr_host_quorum_report_bad(uint32_t type, int error, BdrvChild *child, int64_t sector, int64_t sectors);
/* Sends QUORUM_FAILURE. */
QBR_HOST_API void qbr_host_quorum_failure(BlockDriverState *bs, int64_t sector, int64_t sectors);

/* --- Replication ---------------------------------------------------------------------------------------------------------- */

/* Sides of a replication, as in ReplicationMode. */
#define QBR_REPLICATION_PRIMARY 0u
#define QBR_REPLICATION_SECONDARY 1u

/* Whether the node is open for writing, and active. */
QBR_HOST_API bool qbr_host_bs_is_writable(BlockDriverState *bs);
/* Opens the node that @options describe under "file" as the one that @bs filters. NULL with *errp set. Main loop. */
QBR_HOST_API BdrvChild *qbr_host_filtered_open(BlockDriverState *bs, QDict *options, Error **errp);

/* From now on, what is done to all replications of the process is done to @bs too, by qbr_replication_start() and so on. */
QBR_HOST_API ReplicationState *qbr_host_replication_new(BlockDriverState *bs);
QBR_HOST_API void qbr_host_replication_remove(ReplicationState *state);

/* The disks of a secondary: the filtered one is active, its backing file is hidden, and that one's backing file is secondary. */
typedef struct QbrDisks {
    bool has_hidden;
    bool has_secondary;
    /* Somebody besides other nodes uses the secondary disk: an NBD export, say. */
    bool secondary_has_user;
    bool can_be_emptied;
    bool hidden_read_only;
    bool secondary_read_only;
    /* Bytes, or -errno. */
    int64_t active_length;
    int64_t hidden_length;
    int64_t secondary_length;
} QbrDisks;
/* Looks at them. What is behind a disk that is missing isn't filled in. Main loop. */
QBR_HOST_API void qbr_host_disks_examine(BlockDriverState *bs, QbrDisks *disks);
/*
 * Makes the hidden disk, the secondary disk, or both writable, or read-only: all that are chosen, or none. 0, or -errno with
 * *errp set. Main loop, and both disks are there. One that has lost its image is left out if it shall become read-only.
 */
QBR_HOST_API int qbr_host_disks_reopen(BlockDriverState *bs, bool hidden, bool secondary, bool writable, Error **errp);
/* Attaches both as children that hold data; or none. 0, or -1 with *errp set. Main loop, and both disks are there. */
QBR_HOST_API int qbr_host_disks_attach(BlockDriverState *bs, BdrvChild **hidden, BdrvChild **secondary, Error **errp);
/* Whether the hidden disk that was attached is still the one behind the active disk. Main loop. */
QBR_HOST_API bool qbr_host_disk_is_behind(BlockDriverState *bs, BdrvChild *hidden);

/* Operations on a node that are blocked. */
typedef struct QbrBlocker QbrBlocker;
/* Blocks all on the root node, or device, that @top_id names; NULL if there is no such, or @bs isn't below it. Main loop. */
QBR_HOST_API QbrBlocker *qbr_host_top_block(BlockDriverState *bs, const char *top_id);
QBR_HOST_API void qbr_host_top_unblock(QbrBlocker *blocker);

/*
 * Starts to copy, before each write to @secondary, what was there to @hidden. When that ends, as it does with an error or if it
 * is cancelled, qbr_replication_backup_ended() is called for @bs. NULL with *errp set. Main loop.
 */
QBR_HOST_API BlockJob *qbr_host_backup_start(BlockDriverState *bs, BdrvChild *secondary, BdrvChild *hidden, Error **errp);
/* From now on it copies everything that is written to for the first time since now. 0, or -1 with *errp set. Main loop. */
QBR_HOST_API int qbr_host_backup_checkpoint(BlockJob *job, Error **errp);
/*
 * Starts to move what is in @active, and between it and @secondary, to @secondary, which then takes the place of @active. When
 * that has ended qbr_replication_commit_ended() is called for @bs, never before this returns. NULL, with *errp set or not.
 * Main loop.
 */
QBR_HOST_API BlockJob *qbr_host_commit_start(BlockDriverState *bs, BdrvChild *active, BdrvChild *secondary, Error **errp);
/* Ends a job of @bs (@force: without completing it even if it could) and waits until it has told so. Main loop. */
QBR_HOST_API void qbr_host_job_cancel(BlockDriverState *bs, BlockJob *job, bool force);

/* Makes a child empty, so that all of it comes from what backs it. 0, or -errno; -ENOMEDIUM without *errp set. Main loop. */
QBR_HOST_API int qbr_host_child_make_empty(BdrvChild *child, Error **errp);

/* --- Images (drivers whose nodes are images in a store that knows them) ---------------------------------------------------- */

/* Tells how large the pieces are in which an image is stored, in bytes. Also where bdrv_get_info runs: in a coroutine or not. */
QBR_HOST_API void qbr_host_info_set_cluster_size(BlockDriverInfo *info, uint32_t bytes);

/* Formats of encrypted rbd images. */
#define QBR_RBD_PLAIN 0u
#define QBR_RBD_LUKS 1u
#define QBR_RBD_LUKS2 2u

/* What is to be said about an rbd image besides what there is to say about every image; belongs to the caller of the driver. */
QBR_HOST_API ImageInfoSpecific *qbr_host_rbd_info(uint32_t encryption);

/* The name and the id of a snapshot that is to be created; never NULL, may be empty, valid as long as @info. */
QBR_HOST_API const char *qbr_host_snapshot_name(const QEMUSnapshotInfo *info);
QBR_HOST_API const char *qbr_host_snapshot_id(const QEMUSnapshotInfo *info);

/*
 * A table of @count snapshots about which nothing is said yet; NULL if @count is 0, or if there is no memory. It goes to the
 * caller of the driver, or to qbr_host_free().
 */
QBR_HOST_API QEMUSnapshotInfo *qbr_host_snapshots_new(size_t count);
/* Describes one of them: @name (cut off where QEMU has no more room) is its id too, @size the length of the image in it. */
QBR_HOST_API void qbr_host_snapshots_set(QEMUSnapshotInfo *table, size_t index, const char *name, uint64_t size);

/* --- Secrets -------------------------------------------------------------------------------------------------------------- */

/* What the secret object named @id holds, in base64; NULL with *errp set. Main loop, in a coroutine or not. */
QBR_HOST_API char *qbr_host_secret_base64(const char *id, Error **errp);

/* --- Options -------------------------------------------------------------------------------------------------------------- */

/* Called once per option; @key and @value are valid during the call only. */
typedef void (*QbrOptionFn)(void *opaque, const char *key, const char *value);

/*
 * Takes every scalar option named @key, or beginning with @key if that ends in a dot, out of a flat QDict. Numbers and
 * booleans arrive in their option spelling (123, on, off). Other values stay in the dictionary, except for an empty list of
 * the name in front of the dot: it says nothing.
 */
QBR_HOST_API void qbr_host_qdict_take(QDict *options, const char *key, QbrOptionFn fn, void *opaque);

/* Sets an option to a text, in place of the value that it had. */
QBR_HOST_API void qbr_host_qdict_put(QDict *options, const char *key, const char *value);

/* Flattens @options and counts the elements of the array whose keys begin with @prefix; -1 if there are gaps. */
QBR_HOST_API int64_t qbr_host_qdict_array_entries(QDict *options, const char *prefix);

/* Reports every member of the options of blockdev-create, flattened: "size", "location.server.0.type" and so on. */
QBR_HOST_API void qbr_host_create_options_visit(BlockdevCreateOptions *options, QbrOptionFn fn, void *opaque);

/* Takes one creation option; NULL if absent and without default. */
QBR_HOST_API char *qbr_host_opts_take(QemuOpts *opts, const char *key);
/* Takes one creation option of type size; @fallback if absent. */
QBR_HOST_API uint64_t qbr_host_opts_take_size(QemuOpts *opts, const char *key, uint64_t fallback);

/* Frees a string or a table that a service returned; NULL is allowed. */
QBR_HOST_API void qbr_host_free(void *ptr);

/* --- Guest memory --------------------------------------------------------------------------------------------------------- */

/* The elements of a request's vector; valid as long as the request. */
QBR_HOST_API const struct iovec *qbr_host_qiov_elements(QEMUIOVector *qiov, size_t *count, size_t *bytes);
/* Sets @bytes bytes from @offset on to zero. */
QBR_HOST_API void qbr_host_qiov_zero(QEMUIOVector *qiov, size_t offset, size_t bytes);

/* --- Messages ------------------------------------------------------------------------------------------------------------- */

/* Sets *errp (NULL is allowed) to a message, and a hint if @hint is not NULL. *errp must not be set yet. */
QBR_HOST_API void qbr_host_error_set(Error **errp, const char *message, const char *hint);
/* Gives an error to a caller (@errp may be NULL, which frees it); *errp must not be set yet. */
QBR_HOST_API void qbr_host_error_propagate(Error **errp, Error *error);
/* The message of an error; valid as long as the error. */
QBR_HOST_API const char *qbr_host_error_message(Error *error);
QBR_HOST_API void qbr_host_error_free(Error *error);
/* Prints an error or a warning where QEMU prints them. */
QBR_HOST_API void qbr_host_error_report(const char *message);
QBR_HOST_API void qbr_host_warn_report(const char *message);

/* Prints @line to standard error and ends the process with status 1, which is what blkverify promises to do. */
QBR_HOST_API void qbr_host_exit_with(const char *line) __attribute__((noreturn));

/* --- Callbacks (for adapters) --------------------------------------------------------------------------------------------- */

/*
 * Whether the children of a filter have their images. The block layer would go through all that is below them, too, twice for
 * every request, although each child does so itself when the request reaches it.
 */
QBR_HOST_API bool qbr_filter_is_inserted(BlockDriverState *bs);

/*
 * Reads and writes of a driver that does little besides handing them on: the exports get the place of the node's state at once,
 * and not the node, of which they would have to ask for it.
 */
#define QBR_CO_PREADV_PART(driver) qbr_##driver##_enter_preadv_part
#define QBR_CO_PWRITEV_PART(driver) qbr_##driver##_enter_pwritev_part
#define QBR_DEFINE_CO_TRANSFER_PART(driver)                                                                   \
    static int coroutine_fn qbr_##driver##_enter_preadv_part(BlockDriverState *bs, int64_t offset,            \
                                                             int64_t bytes, QEMUIOVector *qiov,               \
                                                             size_t qiov_offset, BdrvRequestFlags flags)      \
    {                                                                                                        \
        return qbr_##driver##_co_preadv_part(bs->opaque, offset, bytes, qiov, qiov_offset, flags);            \
    }                                                                                                        \
    static int coroutine_fn qbr_##driver##_enter_pwritev_part(BlockDriverState *bs, int64_t offset,           \
                                                              int64_t bytes, QEMUIOVector *qiov,              \
                                                              size_t qiov_offset, BdrvRequestFlags flags)     \
    {                                                                                                        \
        return qbr_##driver##_co_pwritev_part(bs->opaque, offset, bytes, qiov, qiov_offset, flags);           \
    }

/* --- Registration (for adapters) ------------------------------------------------------------------------------------------ */

/* Whether the archive fits this adapter; prints what does not fit and says so with the driver's name. */
QBR_HOST_API bool qbr_host_accepts_archive(const char *driver);

#endif
