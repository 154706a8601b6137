/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Calls that end later: in the submit call, on a thread of the library, or when a test says so. */

#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "internal.h"

/* An operation that was submitted. */
struct op {
    struct op *next;
    enum fake_call call;
    struct glfs_fd *fd;
    /* A read's own copy of the elements, as the library has one; a write's data was copied too. */
    struct iovec *iov;
    int count;
    off_t offset;
    off_t bytes;
    glfs_io_cbk callback;
    void *data;
};

/* What is to happen to the next operation of a kind. */
struct next {
    bool fail;
    int error;
    bool limited;
    size_t most;
};

static enum fake_mode mode;
static struct next nexts[FAKE_CALLS];
static size_t most_bytes = SIZE_MAX;
static bool twice;
static bool call_back_after_failure;
static struct op *held;
static unsigned held_count;
static struct op *queue;
static pthread_cond_t queued = PTHREAD_COND_INITIALIZER;
static bool thread_runs;
static glfs_io_cbk last_callback;
static void *last_data;

static void free_op(struct op *op)
{
    int i;

    if (op->call == FAKE_PWRITEV) {
        for (i = 0; i < op->count; i++) {
            free(op->iov[i].iov_base);
        }
    }
    free(op->iov);
    free(op);
}

/* As the library does it: the position is what the last one to end says. */
static ssize_t moved(struct op *op, ssize_t result)
{
    if (result > 0) {
        op->fd->offset = op->offset + result;
    }
    return result;
}

/* Does the work; with the lock. The number of bytes or -errno; -4096 is a failure without a reason. */
static ssize_t perform(struct op *op)
{
    struct next next = nexts[op->call];
    size_t most = next.limited ? next.most : most_bytes;

    nexts[op->call] = (struct next) { .fail = false };
    if (next.fail) {
        return next.error ? -next.error : -4096;
    }
    if (!fake_usable(op->fd)) {
        return -EBADF;
    }
    switch (op->call) {
    case FAKE_PREADV:
        return moved(op, fake_read(op->fd, op->iov, op->count, op->offset, most));
    case FAKE_PWRITEV:
        return moved(op, fake_write(op->fd, op->iov, op->count, op->offset, most));
    case FAKE_DISCARD:
        return fake_punch(op->fd, op->offset, op->bytes);
    case FAKE_ZEROFILL_ASYNC:
        return fake_zero(op->fd, op->offset, op->bytes);
    case FAKE_FSYNC:
        fake_write_back(op->fd->image);
        return 0;
    default:
        return 0;
    }
}

static void call_back(glfs_io_cbk callback, void *data, ssize_t result)
{
    errno = result == -4096 ? 0 : result < 0 ? -result : 0;
    callback(NULL, result < 0 ? -1 : result, NULL, NULL, data);
}

/* Ends an operation; without the lock. */
static void finish(struct op *op)
{
    glfs_io_cbk callback = op->callback;
    void *data = op->data;
    ssize_t result;
    bool again;

    fake_acquire();
    result = perform(op);
    op->fd->in_flight--;
    last_callback = callback;
    last_data = data;
    again = twice;
    fake_release_lock();
    free_op(op);
    call_back(callback, data, result);
    if (again) {
        call_back(callback, data, -EBADMSG);
    }
}

static void *library_thread(void *opaque)
{
    struct op *op;

    (void)opaque;
    for (;;) {
        fake_acquire();
        while (!queue) {
            pthread_cond_wait(&queued, &fake_lock);
        }
        op = queue;
        queue = op->next;
        fake_release_lock();
        finish(op);
    }
    return NULL;
}

/* With the lock. */
static void append(struct op **list, struct op *op)
{
    while (*list) {
        list = &(*list)->next;
    }
    *list = op;
}

static void start_thread(void)
{
    pthread_t thread;

    if (!thread_runs) {
        thread_runs = true;
        if (pthread_create(&thread, NULL, library_thread, NULL)) {
            abort();
        }
        pthread_detach(thread);
    }
}

static struct op *new_op(struct op op, const struct iovec *iov, int count)
{
    struct op *copy = malloc(sizeof(*copy));
    int i;

    *copy = op;
    copy->count = count;
    copy->iov = calloc(count + 1, sizeof(*iov));
    for (i = 0; i < count; i++) {
        copy->iov[i] = iov[i];
        if (op.call == FAKE_PWRITEV) {
            copy->iov[i].iov_base = malloc(iov[i].iov_len + 1);
            memcpy(copy->iov[i].iov_base, iov[i].iov_base, iov[i].iov_len);
        }
    }
    return copy;
}

static int submit(struct op draft, const struct iovec *iov, int count)
{
    struct op *op;
    int error;

    if (!fake_begin(draft.call)) {
        error = errno;
        if (call_back_after_failure) {
            call_back(draft.callback, draft.data, -EBADMSG);
        }
        errno = error;
        return -1;
    }
    op = new_op(draft, iov, count);
    fake_acquire();
    fake_usable(op->fd);
    op->fd->in_flight++;
    switch (mode) {
    case FAKE_IN_SUBMIT:
        fake_release_lock();
        finish(op);
        return 0;
    case FAKE_WHEN_RELEASED:
        append(&held, op);
        held_count++;
        break;
    case FAKE_ON_THREAD:
        start_thread();
        append(&queue, op);
        pthread_cond_signal(&queued);
        break;
    }
    fake_release_lock();
    return 0;
}

int glfs_preadv_async(struct glfs_fd *fd, const struct iovec *iov, int count, off_t offset, int flags, glfs_io_cbk fn,
                      void *data)
{
    struct op op = { .call = FAKE_PREADV, .fd = fd, .offset = offset, .callback = fn, .data = data };

    (void)flags;
    return submit(op, iov, count);
}

int glfs_pwritev_async(struct glfs_fd *fd, const struct iovec *iov, int count, off_t offset, int flags, glfs_io_cbk fn,
                       void *data)
{
    struct op op = { .call = FAKE_PWRITEV, .fd = fd, .offset = offset, .callback = fn, .data = data };

    (void)flags;
    return submit(op, iov, count);
}

int glfs_fsync_async(struct glfs_fd *fd, glfs_io_cbk fn, void *data)
{
    return submit((struct op) { .call = FAKE_FSYNC, .fd = fd, .callback = fn, .data = data }, NULL, 0);
}

int glfs_discard_async(struct glfs_fd *fd, off_t offset, size_t len, glfs_io_cbk fn, void *data)
{
    struct op op = { .call = FAKE_DISCARD, .fd = fd, .offset = offset, .bytes = len, .callback = fn, .data = data };

    return submit(op, NULL, 0);
}

int glfs_zerofill_async(struct glfs_fd *fd, off_t offset, off_t len, glfs_io_cbk fn, void *data)
{
    struct op op = {
        .call = FAKE_ZEROFILL_ASYNC, .fd = fd, .offset = offset, .bytes = len, .callback = fn, .data = data
    };

    return submit(op, NULL, 0);
}

/* --- For tests ------------------------------------------------------------------------------------------------------------ */

void fake_mode(enum fake_mode how)
{
    fake_acquire();
    mode = how;
    fake_release_lock();
}

void fake_next_error(enum fake_call call, int error)
{
    fake_acquire();
    nexts[call] = (struct next) { .fail = true, .error = error };
    fake_release_lock();
}

void fake_next_most(enum fake_call call, size_t bytes)
{
    fake_acquire();
    nexts[call] = (struct next) { .limited = true, .most = bytes };
    fake_release_lock();
}

void fake_most(size_t bytes)
{
    fake_acquire();
    most_bytes = bytes;
    fake_release_lock();
}

void fake_call_back_twice(bool on)
{
    fake_acquire();
    twice = on;
    fake_release_lock();
}

void fake_call_back_after_failed_submission(bool on)
{
    call_back_after_failure = on;
}

void fake_call_back_again(void)
{
    glfs_io_cbk callback;
    void *data;

    fake_acquire();
    callback = last_callback;
    data = last_data;
    fake_release_lock();
    call_back(callback, data, -EBADMSG);
}

unsigned fake_wait_for_held(unsigned count)
{
    unsigned now;

    fake_acquire();
    while (held_count < count) {
        pthread_cond_wait(&fake_changed, &fake_lock);
    }
    now = held_count;
    fake_release_lock();
    return now;
}

bool fake_release(unsigned index)
{
    struct op **place = &held;
    struct op *op;

    fake_acquire();
    while (*place && index) {
        place = &(*place)->next;
        index--;
    }
    op = *place;
    if (op) {
        *place = op->next;
        op->next = NULL;
        held_count--;
    }
    fake_release_lock();
    if (op) {
        finish(op);
    }
    return op;
}

void fake_release_all(void)
{
    while (fake_release(0)) {
    }
}
