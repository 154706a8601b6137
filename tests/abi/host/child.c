/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* The services for children: disks in memory under the control of the test. */

#include "child.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../test.h"

#define MAX_DISKS 16
#define MAX_SLEEPERS 4096
/* What is where nothing was written, or nothing may be read. */
#define GARBAGE 0xdd

struct BdrvChild {
    BlockDriverState *parent;
    struct disk *disk;
    char *name;
    uint32_t role;
};

/* An operation that sleeps. */
struct sleeper {
    struct disk *disk;
    QbrChildOp op;
    QbrTask task;
    bool *woken;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* Protected by the lock. */
static struct disk *disks[MAX_DISKS];
static unsigned attached;
static unsigned busy;
static unsigned now;
static struct sleeper sleepers[MAX_SLEEPERS];
static unsigned sleeping;
static bool has_thread;

/* --- Disks ---------------------------------------------------------------------------------------------------------------- */

unsigned char disk_byte(int64_t offset)
{
    return (offset ^ offset >> 8 ^ offset >> 16) * 31 + 1;
}

/*
 * What a new disk has at @offset, and how many of at most @bytes follow there. Byte by byte, a large disk takes seconds
 * under Valgrind.
 */
static const unsigned char *pattern_at(int64_t offset, int64_t bytes, size_t *run)
{
    enum { ROW = 256 };
    static unsigned char rows[ROW][ROW];
    static bool filled[ROW];
    unsigned row = (offset >> 8 ^ offset >> 16) % ROW, column = offset % ROW, i;

    for (i = 0; !filled[row] && i < ROW; i++) {
        rows[row][i] = disk_byte(offset - column + i);
    }
    filled[row] = true;
    *run = bytes < ROW - column ? bytes : ROW - column;
    return &rows[row][column];
}

struct disk *disk_new(const char *name, int64_t length)
{
    struct disk *disk = calloc(1, sizeof(*disk));
    unsigned slot = 0;
    int64_t at;
    size_t run;

    *disk = (struct disk) {
        .bs = { .name = name, .disk = disk }, .name = name, .content = malloc(length + !length), .length = length,
        .flags = { .write = ~0u, .zero = ~0u, .truncate = ~0u }, .unmaps = true, .zero_alignment = 1,
        .status = QBR_BLOCK_DATA, .reach = INT64_MAX,
    };
    for (at = 0; at < length; at += run) {
        const unsigned char *pattern = pattern_at(at, length - at, &run);

        memcpy(&disk->content[at], pattern, run);
    }
    while (disks[slot]) {
        slot++;
        CHECK(slot < MAX_DISKS);
    }
    disks[slot] = disk;
    return disk;
}

void disk_free(struct disk *disk)
{
    unsigned slot;

    CHECK_INT(disk->attached, 0);
    for (slot = 0; slot < MAX_DISKS; slot++) {
        if (disks[slot] == disk) {
            disks[slot] = NULL;
        }
    }
    free(disk->content);
    free(disk);
}

bool disk_is_intact(const struct disk *disk, int64_t offset, int64_t bytes)
{
    int64_t at;
    size_t run;

    for (at = offset; at < offset + bytes; at += run) {
        const unsigned char *pattern = pattern_at(at, offset + bytes - at, &run);

        if (memcmp(&disk->content[at], pattern, run)) {
            return false;
        }
    }
    return true;
}

void disk_corrupt(struct disk *disk, int64_t offset)
{
    disk->content[offset] ^= 0x40;
}

void disk_fail(struct disk *disk, QbrChildOp op, int error)
{
    disk_fail_some(disk, op, 0, error ? -1u >> 1 : 0, error);
}

void disk_fail_some(struct disk *disk, QbrChildOp op, unsigned skip, unsigned count, int error)
{
    pthread_mutex_lock(&lock);
    disk->failing[op].from = disk->calls[op] + skip;
    disk->failing[op].to = disk->calls[op] + skip + count;
    disk->failing[op].error = error;
    pthread_mutex_unlock(&lock);
}

void disk_mode(struct disk *disk, QbrChildOp op, enum disk_mode mode)
{
    pthread_mutex_lock(&lock);
    disk->mode[op] = mode;
    pthread_mutex_unlock(&lock);
}

static void wait_for(const unsigned *value, unsigned count)
{
    pthread_mutex_lock(&lock);
    while (*value < count) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}

void disk_wait_held(struct disk *disk, QbrChildOp op, unsigned count)
{
    wait_for(&disk->held[op], count);
}

void disk_wait_ended(struct disk *disk, QbrChildOp op, unsigned count)
{
    wait_for(&disk->ended[op], count);
}

unsigned disks_attached(void)
{
    return attached;
}

unsigned disks_busy(void)
{
    unsigned value;

    pthread_mutex_lock(&lock);
    value = busy;
    pthread_mutex_unlock(&lock);
    return value;
}

/* --- Sleeping operations -------------------------------------------------------------------------------------------------- */

/* Takes a sleeper out of the list and wakes it. With the lock held. */
static void wake(unsigned index)
{
    struct sleeper sleeper = sleepers[index];

    sleepers[index] = sleepers[--sleeping];
    *sleeper.woken = true;
    qbr_host_co_wake(sleeper.task);
}

void disk_release(struct disk *disk, QbrChildOp op)
{
    unsigned i;

    pthread_mutex_lock(&lock);
    disk->mode[op] = DISK_AT_ONCE;
    disk->held[op] = 0;
    for (i = 0; i < sleeping;) {
        if (sleepers[i].disk == disk && sleepers[i].op == op) {
            wake(i);
        } else {
            i++;
        }
    }
    pthread_mutex_unlock(&lock);
}

/* Wakes those who want to be woken on a thread, in an order of its own. */
static void *wake_some(void *opaque)
{
    unsigned seed = 1;

    (void)opaque;
    pthread_mutex_lock(&lock);
    for (;;) {
        unsigned i, first = sleeping ? rand_r(&seed) % sleeping : 0;
        bool woke = false;

        for (i = 0; i < sleeping && !woke; i++) {
            unsigned index = (first + i) % sleeping;

            if (sleepers[index].disk->mode[sleepers[index].op] == DISK_ON_THREAD) {
                wake(index);
                woke = true;
            }
        }
        if (!woke) {
            pthread_cond_wait(&changed, &lock);
        }
    }
    return NULL;
}

/* Sleeps until somebody wakes the operation. With the lock held. */
static void sleep_until_woken(struct disk *disk, QbrChildOp op)
{
    bool woken = false;

    CHECK(sleeping < MAX_SLEEPERS);
    sleepers[sleeping++] =
        (struct sleeper) { .disk = disk, .op = op, .task = qbr_host_co_self(), .woken = &woken };
    disk->held[op] += disk->mode[op] == DISK_WHEN_RELEASED;
    if (disk->mode[op] == DISK_ON_THREAD && !has_thread) {
        pthread_t thread;

        CHECK(!pthread_create(&thread, NULL, wake_some, NULL));
        pthread_detach(thread);
        has_thread = true;
    }
    pthread_cond_broadcast(&changed);
    while (!woken) {
        pthread_mutex_unlock(&lock);
        qbr_host_co_yield();
        pthread_mutex_lock(&lock);
    }
}

/* Lets an operation take its time. With the lock held. */
static void delay(struct disk *disk, QbrChildOp op)
{
    switch (disk->mode[op]) {
    case DISK_AT_ONCE:
        break;
    case DISK_NEXT_TURN:
        pthread_mutex_unlock(&lock);
        co_next_turn();
        pthread_mutex_lock(&lock);
        break;
    case DISK_ON_THREAD:
    case DISK_WHEN_RELEASED:
        sleep_until_woken(disk, op);
        break;
    }
}

/* --- Operations ----------------------------------------------------------------------------------------------------------- */

/* Reads are answered with what was there when they came. */
static void do_read(const QbrChildIo *io, int error)
{
    const struct disk *disk = io->child->disk;

    CHECK(io->offset >= 0 && io->bytes >= 0 && io->offset + io->bytes <= disk->length);
    if (io->qiov) {
        CHECK(io->qiov_offset + io->bytes <= io->qiov->size);
        if (!error) {
            unsigned char *copy = malloc(io->qiov->size + 1);

            qiov_copy_out(io->qiov, copy);
            memcpy(copy + io->qiov_offset, disk->content + io->offset, io->bytes);
            qiov_copy_in(io->qiov, copy);
            free(copy);
        }
    } else if (error) {
        memset(io->buffer, GARBAGE, io->bytes);
    } else {
        memcpy(io->buffer, disk->content + io->offset, io->bytes);
    }
}

static void do_write(const QbrChildIo *io)
{
    struct disk *disk = io->child->disk;

    CHECK(io->offset >= 0 && io->bytes >= 0 && io->offset + io->bytes <= disk->length);
    if (io->qiov) {
        unsigned char *copy = malloc(io->qiov->size + 1);

        CHECK(io->qiov_offset + io->bytes <= io->qiov->size);
        qiov_copy_out(io->qiov, copy);
        memcpy(disk->content + io->offset, copy + io->qiov_offset, io->bytes);
        free(copy);
    } else {
        memcpy(disk->content + io->offset, io->buffer, io->bytes);
    }
}

static int do_zeroes(const QbrChildIo *io)
{
    struct disk *disk = io->child->disk;
    int64_t end = io->offset + io->bytes, quick_end = end;

    CHECK(io->offset >= 0 && io->bytes >= 0 && end <= disk->length);
    if (io->flags & QBR_REQ_NO_FALLBACK) {
        if (io->offset % disk->zero_alignment) {
            return -ENOTSUP;
        }
        quick_end -= end % disk->zero_alignment;
    }
    memset(disk->content + io->offset, 0, quick_end - io->offset);
    return quick_end < end ? -ENOTSUP : 0;
}

static void do_truncate(const QbrChildIo *io)
{
    struct disk *disk = io->child->disk;
    unsigned char *content = realloc(disk->content, io->offset + !io->offset);

    CHECK(content && io->offset >= 0);
    disk->content = content;
    if (io->offset > disk->length) {
        memset(content + disk->length, 0, io->offset - disk->length);
    }
    disk->length = io->offset;
}

/* Whether a range begins with something that is there; how far that reaches. */
static int64_t is_above(const QbrChildIo *io)
{
    const struct disk *disk = io->child->disk;
    int64_t sector = io->offset / 512, end = (io->offset + io->bytes) / 512, at = sector;
    bool first = disk->above >> sector & 1;

    CHECK(io->base && io->base->parent == io->child->parent);
    CHECK(io->offset % 512 == 0 && io->bytes % 512 == 0 && end <= 64);
    while (at < end && (disk->above >> at & 1) == first) {
        at++;
    }
    *io->pnum = (at - sector) * 512;
    return first;
}

static int64_t carry_out(const QbrChildIo *io)
{
    struct disk *disk = io->child->disk;

    switch (io->op) {
    case QBR_CHILD_READ:
    case QBR_CHILD_FLUSH:
        return 0;
    case QBR_CHILD_WRITE:
        do_write(io);
        return 0;
    case QBR_CHILD_WRITE_ZEROES:
        return do_zeroes(io);
    case QBR_CHILD_DISCARD:
        memset(disk->content + io->offset, GARBAGE, io->bytes);
        return 0;
    case QBR_CHILD_TRUNCATE:
        do_truncate(io);
        return 0;
    case QBR_CHILD_LENGTH:
        return disk->length;
    case QBR_CHILD_BLOCK_STATUS:
        *io->pnum = io->bytes < disk->reach ? io->bytes : disk->reach;
        return disk->status;
    case QBR_CHILD_ALLOCATED_ABOVE:
        return is_above(io);
    }
    return -EINVAL;
}

/* The operation has begun; the error with which it is going to fail. With the lock held. */
static int begin(const QbrChildIo *io)
{
    struct disk *disk = io->child->disk;
    unsigned number = disk->calls[io->op]++;

    disk->last[io->op] = *io;
    disk->repairs += io->op == QBR_CHILD_WRITE && !io->qiov;
    disk->began_at[io->op] = ++now;
    busy++;
    return number >= disk->failing[io->op].from && number < disk->failing[io->op].to ? disk->failing[io->op].error : 0;
}

int64_t qbr_host_child_run(QbrChildIo *io)
{
    struct disk *disk = io->child->disk;
    int64_t ret;
    int error;

    CHECK_INT(disk->attached, 1);
    CHECK(io->op != QBR_CHILD_WRITE || !disk->may_not_be_written);
    pthread_mutex_lock(&lock);
    error = begin(io);
    if (io->op == QBR_CHILD_READ) {
        pthread_mutex_unlock(&lock);
        do_read(io, error);
        pthread_mutex_lock(&lock);
    }
    if (qbr_host_in_coroutine()) {
        delay(disk, io->op);
    }
    pthread_mutex_unlock(&lock);
    ret = error ? -error : carry_out(io);
    if (error && io->op == QBR_CHILD_TRUNCATE) {
        char message[100];

        if (disk->fails_late) {
            disk->fails_late = false;
            do_truncate(io);
        }
        snprintf(message, sizeof(message), "%s can't be resized", disk->name);
        qbr_host_error_set(io->errp, message, NULL);
    }
    pthread_mutex_lock(&lock);
    disk->ended[io->op]++;
    disk->ended_at[io->op] = ++now;
    busy--;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    return ret;
}

int qbr_host_filter_flush(BlockDriverState *bs)
{
    int ret = 0;
    unsigned i;

    CHECK(qbr_host_in_coroutine());
    for (i = 0; i < bs->child_count; i++) {
        QbrChildIo io = { .op = QBR_CHILD_FLUSH, .child = bs->children[i] };
        int result = qbr_host_child_run(&io);

        ret = ret ? ret : result;
    }
    return ret;
}

int qbr_host_child_read(BdrvChild *child, int64_t offset, int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset, uint32_t flags)
{
    QbrChildIo io = {
        .op = QBR_CHILD_READ, .child = child, .offset = offset, .bytes = bytes, .qiov = qiov, .qiov_offset = qiov_offset,
        .flags = flags,
    };

    return (int) qbr_host_child_run(&io);
}

int qbr_host_child_write(BdrvChild *child, int64_t offset, int64_t bytes, QEMUIOVector *qiov, size_t qiov_offset, uint32_t flags)
{
    QbrChildIo io = {
        .op = QBR_CHILD_WRITE, .child = child, .offset = offset, .bytes = bytes, .qiov = qiov, .qiov_offset = qiov_offset,
        .flags = flags,
    };

    return (int) qbr_host_child_run(&io);
}

static void run_and_tell(void *opaque)
{
    QbrChildIo *io = opaque;

    do {
        io = io->done(io, qbr_host_child_run(io));
    } while (io);
}

void qbr_host_child_start(QbrChildIo *io)
{
    CHECK(io->done);
    co_start_here(run_and_tell, io);
}

/* --- The graph ------------------------------------------------------------------------------------------------------------ */

const char *child_name(const BdrvChild *child)
{
    return child->name;
}

struct disk *child_disk(const BdrvChild *child)
{
    return child->disk;
}

bool qbr_host_child_may_be_written(BdrvChild *child)
{
    return !child->disk->may_not_be_written;
}

void qbr_host_child_drained_begin(BdrvChild *child)
{
    CHECK(!qbr_host_in_coroutine());
    child->disk->drained++;
    child->disk->drains++;
}

void qbr_host_child_drained_end(BdrvChild *child)
{
    CHECK(child->disk->attached && child->disk->drained);
    child->disk->drained--;
}

/* The block layer asks for permissions whenever the graph changes. */
static void refresh_permissions(BlockDriverState *bs)
{
    unsigned i;

    for (i = 0; i < bs->child_count && bs->child_perm; i++) {
        uint64_t wanted = ~0ull, shared = ~0ull;

        bs->child_perm(bs, bs->children[i], bs->children[i]->role, NULL, 0, ~0ull, &wanted, &shared);
        CHECK(wanted != ~0ull && shared != ~0ull);
        bs->child_perm_asked++;
    }
}

static BdrvChild *attach(BlockDriverState *bs, struct disk *disk, const char *name, uint32_t role, Error **errp)
{
    BdrvChild *child;
    unsigned i;

    CHECK(!qbr_host_in_coroutine());
    CHECK(role == QBR_CHILD_DATA || role == QBR_CHILD_PRIMARY);
    if (disk->refusal) {
        qbr_host_error_set(errp, disk->refusal, NULL);
        return NULL;
    }
    for (i = 0; i < bs->child_count; i++) {
        /* Two children of one name could not be told apart. */
        CHECK(strcmp(bs->children[i]->name, name));
    }
    CHECK(bs->child_count < sizeof(bs->children) / sizeof(bs->children[0]));
    child = malloc(sizeof(*child));
    *child = (BdrvChild) { .parent = bs, .disk = disk, .name = strdup(name), .role = role };
    bs->children[bs->child_count++] = child;
    disk->attached++;
    attached++;
    refresh_permissions(bs);
    return child;
}

BdrvChild *qbr_host_child_open(BlockDriverState *bs, QDict *options, const char *name, uint32_t role, Error **errp)
{
    char *node = options_take((struct options *)options, name);
    BdrvChild *child = NULL;
    unsigned i;

    if (!node) {
        char key[64];

        snprintf(key, sizeof(key), "%s.node-name", name);
        node = options_take((struct options *)options, key);
        snprintf(key, sizeof(key), "%s.", name);
        options_take_all((struct options *)options, key);
    }
    for (i = 0; i < MAX_DISKS; i++) {
        if (node && disks[i] && !strcmp(disks[i]->name, node)) {
            child = attach(bs, disks[i], name, role, errp);
            free(node);
            return child;
        }
    }
    free(node);
    qbr_host_error_set(errp, "there is no such node", NULL);
    return NULL;
}

BdrvChild *qbr_host_child_attach(BlockDriverState *bs, BlockDriverState *node, const char *name, uint32_t role, Error **errp)
{
    CHECK(node->disk);
    return attach(bs, node->disk, name, role, errp);
}

int64_t qbr_host_bs_length(BlockDriverState *bs)
{
    const struct disk *disk = bs->disk;

    if (!disk) {
        /* What opening it has shown. */
        CHECK(bs->child_count);
        disk = bs->children[0]->disk;
    }
    return (disk->length + 511) / 512 * 512;
}

BdrvChild *qbr_host_filtered_open(BlockDriverState *bs, QDict *options, Error **errp)
{
    return qbr_host_child_open(bs, options, "file", QBR_CHILD_PRIMARY, errp);
}

void qbr_host_child_detach(BlockDriverState *bs, BdrvChild *child)
{
    unsigned i;

    CHECK(child->parent == bs);
    for (i = 0; bs->children[i] != child; i++) {
        CHECK(i + 1 < bs->child_count);
    }
    bs->child_count--;
    memmove(&bs->children[i], &bs->children[i + 1], (bs->child_count - i) * sizeof(bs->children[0]));
    child->disk->attached--;
    attached--;
    free(child->name);
    memset(child, GARBAGE, sizeof(*child));
    free(child);
    refresh_permissions(bs);
}

void qbr_host_children_close(BlockDriverState *bs, BdrvChild *const *children, size_t count)
{
    size_t i;

    CHECK(!qbr_host_in_coroutine());
    for (i = 0; i < count; i++) {
        qbr_host_child_detach(bs, children[i]);
    }
}

const char *qbr_host_child_name(BdrvChild *child)
{
    return child->name;
}

const char *qbr_host_child_node_name(BdrvChild *child)
{
    return child->disk->name;
}

void qbr_host_child_flags(BdrvChild *child, QbrFlags *flags)
{
    *flags = child->disk->flags;
}

bool qbr_host_child_unmaps(BdrvChild *child)
{
    return child->disk->unmaps;
}

uint32_t qbr_host_child_zero_alignment(BdrvChild *child)
{
    return child->disk->hides_alignment ? 1 : child->disk->zero_alignment;
}

bool qbr_host_child_is_only_parent_of(BdrvChild *child, BlockDriverState *node)
{
    return node == &child->disk->bs && !child->disk->other_parents;
}

void qbr_host_children_options(QDict *target, BdrvChild *const *children, size_t count)
{
    size_t i;

    for (i = 0; i < count; i++) {
        char key[64];

        snprintf(key, sizeof(key), "children.%zu", i);
        options_add((struct options *)target, key, children[i]->disk->name);
    }
}

/* --- Events --------------------------------------------------------------------------------------------------------------- */

static char events[2][4096];
static unsigned events_in;

__attribute__((format(printf, 1, 2))) static void add_event(const char *format, ...)
{
    char *text = events[events_in];
    size_t used = strlen(text);
    va_list args;

    va_start(args, format);
    vsnprintf(text + used, sizeof(events[0]) - used, format, args);
    va_end(args);
}

void qbr_host_quorum_report_bad(uint32_t type, int error, BdrvChild *child, int64_t sector, int64_t sectors)
{
    static const char *const types[] = { "read", "write", "flush" };

    CHECK(type < sizeof(types) / sizeof(types[0]));
    CHECK(error <= 0);
    CHECK_INT(child->disk->attached, 1);
    pthread_mutex_lock(&lock);
    add_event("bad(%s,%s,%s,%jd+%jd) ", types[type], child->disk->name, error ? strerrorname_np(-error) : "-",
              (intmax_t)sector, (intmax_t)sectors);
    pthread_mutex_unlock(&lock);
}

void qbr_host_quorum_failure(BlockDriverState *bs, int64_t sector, int64_t sectors)
{
    pthread_mutex_lock(&lock);
    add_event("failure(%s,%jd+%jd) ", bs->name, (intmax_t)sector, (intmax_t)sectors);
    pthread_mutex_unlock(&lock);
}

const char *events_take(void)
{
    const char *text;

    pthread_mutex_lock(&lock);
    text = events[events_in];
    events_in = !events_in;
    *events[events_in] = '\0';
    pthread_mutex_unlock(&lock);
    return text;
}
