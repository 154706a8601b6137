/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Calls that end later: in the submit call, on the thread of the library, or when a test says so. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* What the thread has to do. */
struct work {
    struct work *next;
    struct op *op;
    /* It is performed already, and returns that. */
    bool performed;
    int ret;
};

static enum ceph_mode modes[CEPH_CALLS];
static struct {
    bool set;
    int ret;
} next_returns[CEPH_CALLS];
static bool twice;
static struct completion *completions;
static struct completion *last_completion;
static struct op *held;
static unsigned held_count;
static struct work *queue, **queue_end = &queue;
static pthread_cond_t queued = PTHREAD_COND_INITIALIZER;
static bool thread_runs;

/* --- Completions ---------------------------------------------------------------------------------------------------------- */

int rados_aio_create_completion2(void *cb_arg, rados_callback_t cb_complete, rados_completion_t *pc)
{
    int ret = ceph_begin(CEPH_COMPLETION);
    struct completion *completion;

    if (ret) {
        return ret;
    }
    completion = calloc(1, sizeof(*completion));
    completion->callback = cb_complete;
    completion->arg = cb_arg;
    ceph_acquire();
    completion->next = completions;
    completions = completion;
    ceph_count_alive(1);
    ceph_release_lock();
    *pc = completion;
    return 0;
}

/* Whether a completion may be used. */
static bool usable(const struct completion *completion)
{
    if (completion->released && !completion->echo) {
        ceph_violate("a completion was used after its release");
        return false;
    }
    return true;
}

int rados_aio_get_return_value(rados_completion_t c)
{
    struct completion *completion = c;
    int ret;

    ceph_acquire();
    if (usable(completion) && !completion->done) {
        ceph_violate("an operation was asked for its result before its end");
    }
    ret = completion->ret;
    ceph_release_lock();
    return ret;
}

uint64_t rados_aio_get_version(rados_completion_t c)
{
    struct completion *completion = c;
    uint64_t version;

    ceph_acquire();
    usable(completion);
    version = completion->version;
    ceph_release_lock();
    return version;
}

void rados_aio_release(rados_completion_t c)
{
    struct completion *completion = c;

    ceph_acquire();
    if (usable(completion) && !completion->released) {
        completion->released = true;
        ceph_count_alive(-1);
    }
    ceph_release_lock();
}

void rados_buffer_free(char *buf)
{
    if (buf) {
        ceph_acquire();
        ceph_count_alive(-1);
        ceph_release_lock();
        free(buf);
    }
}

/* --- The end of an operation ------------------------------------------------------------------------------------------------ */

void async_finish(struct op *op, int ret)
{
    struct completion *completion = op->completion;
    bool again;

    ceph_acquire();
    if (next_returns[op->call].set) {
        next_returns[op->call].set = false;
        ret = next_returns[op->call].ret;
    }
    completion->ret = ret;
    completion->done = true;
    completion->echo = again = twice;
    op->client->in_flight--;
    last_completion = completion;
    ceph_release_lock();
    operation_free(op);
    completion->callback(completion, completion->arg);
    if (again) {
        completion->ret = -EBADMSG;
        completion->callback(completion, completion->arg);
    }
}

/* Does an operation and ends it; a notification ends when it is answered. */
static void run(struct op *op)
{
    bool waits;
    int ret;

    ceph_acquire();
    ret = operation_perform(op);
    waits = op->call == CEPH_NOTIFY && !ret;
    if (waits) {
        watch_notify(op);
    }
    ceph_release_lock();
    if (!waits) {
        async_finish(op, ret);
    }
}

static void *library_thread(void *opaque)
{
    struct work *work;

    (void)opaque;
    ceph_is_library_thread();
    for (;;) {
        ceph_acquire();
        while (!queue) {
            pthread_cond_wait(&queued, &ceph_lock);
        }
        work = queue;
        queue = work->next;
        if (!queue) {
            queue_end = &queue;
        }
        ceph_release_lock();
        if (work->performed) {
            async_finish(work->op, work->ret);
        } else {
            run(work->op);
        }
        free(work);
    }
    return NULL;
}

/* With the lock. */
static void enqueue(struct work draft)
{
    struct work *work = malloc(sizeof(*work));
    pthread_t thread;

    *work = draft;
    *queue_end = work;
    queue_end = &work->next;
    if (!thread_runs) {
        thread_runs = true;
        if (pthread_create(&thread, NULL, library_thread, NULL)) {
            abort();
        }
        pthread_detach(thread);
    }
    pthread_cond_signal(&queued);
}

void async_finish_later(struct op *op, int ret)
{
    enqueue((struct work) { .op = op, .performed = true, .ret = ret });
}

/* --- Submission ------------------------------------------------------------------------------------------------------------- */

static int submit(enum ceph_call call, rados_ioctx_t io, rados_completion_t c, struct op draft, const char *name)
{
    struct handle *handle = io;
    int ret = ceph_begin(call);
    struct op *op;

    if (ret) {
        unsigned i;

        for (i = 0; i < draft.count; i++) {
            free(draft.member[i].input.data);
        }
        free(draft.member);
        free(draft.message.data);
        return ret;
    }
    op = malloc(sizeof(*op));
    *op = draft;
    op->next = NULL;
    op->call = call;
    op->completion = c;
    snprintf(op->name, sizeof(op->name), "%s", name);
    ceph_acquire();
    ceph_usable(handle);
    handle->used = true;
    handle->client->in_flight++;
    op->client = handle->client;
    op->pool = handle->pool;
    op->context = handle->context;
    op->snap = handle->snap;
    snprintf(op->namespace, sizeof(op->namespace), "%s", handle->namespace);
    if (op->completion->submitted) {
        ceph_violate("a completion was used for two operations");
    }
    op->completion->submitted = true;
    map_check_sent(op);
    switch (modes[call]) {
    case CEPH_IN_SUBMIT:
        ceph_release_lock();
        run(op);
        return 0;
    case CEPH_WHEN_RELEASED: {
        struct op **place = &held;

        while (*place) {
            place = &(*place)->next;
        }
        *place = op;
        held_count++;
        break;
    }
    case CEPH_ON_THREAD:
        enqueue((struct work) { .op = op });
        break;
    }
    ceph_release_lock();
    return 0;
}

/* An operation with one member. */
static struct op of_one(struct member member, const void *input, size_t length)
{
    struct op op = { .count = 1, .member = malloc(sizeof(member)) };

    if (length) {
        bytes_put(&member.input, input, length);
    }
    op.member[0] = member;
    return op;
}

/* An operation with what was put together; that is empty from then on. */
static struct op of_many(struct members *members)
{
    struct op op = { .count = members->count };

    ceph_acquire();
    if (members->submitted) {
        ceph_violate("an operation was submitted twice");
    }
    members->submitted = true;
    ceph_release_lock();
    op.member = malloc((op.count + 1) * sizeof(*op.member));
    memcpy(op.member, members->member, op.count * sizeof(*op.member));
    members->count = 0;
    return op;
}

int rados_aio_read(rados_ioctx_t io, const char *oid, rados_completion_t completion, char *buf, size_t len, uint64_t off)
{
    struct member member = { .kind = READ, .offset = off, .length = len, .place = buf };

    return submit(CEPH_READ, io, completion, of_one(member, NULL, 0), oid);
}

int rados_aio_write(rados_ioctx_t io, const char *oid, rados_completion_t completion, const char *buf, size_t len,
                    uint64_t off)
{
    struct member member = { .kind = WRITE, .offset = off, .length = len };

    return submit(CEPH_WRITE, io, completion, of_one(member, buf, len), oid);
}

int rados_aio_write_full(rados_ioctx_t io, const char *oid, rados_completion_t completion, const char *buf, size_t len)
{
    struct member member = { .kind = WRITE_FULL, .length = len };

    return submit(CEPH_WRITE, io, completion, of_one(member, buf, len), oid);
}

int rados_aio_remove(rados_ioctx_t io, const char *oid, rados_completion_t completion)
{
    return submit(CEPH_REMOVE, io, completion, of_one((struct member) { .kind = REMOVE }, NULL, 0), oid);
}

int rados_aio_stat(rados_ioctx_t io, const char *o, rados_completion_t completion, uint64_t *psize, time_t *pmtime)
{
    (void)psize;
    (void)pmtime;
    return submit(CEPH_STAT, io, completion, of_one((struct member) { .kind = STAT }, NULL, 0), o);
}

int rados_aio_read_op_operate(rados_read_op_t read_op, rados_ioctx_t io, rados_completion_t completion, const char *oid,
                              int flags)
{
    const struct handle *handle = io;
    struct op op = of_many(read_op);

    op.in_order = flags & LIBRADOS_OPERATION_ORDER_READS_WRITES;
    ceph_acquire();
    if (op.in_order && !(flags & LIBRADOS_OPERATION_FULL_TRY)) {
        ceph_violate("a read would wait for space in a full pool");
    }
    if (op.in_order && handle->snap != NO_SNAP) {
        ceph_violate("a read of a snapshot was to be in order with changes");
    }
    ceph_release_lock();
    return submit(CEPH_READ_OP, io, completion, op, oid);
}

int rados_aio_write_op_operate(rados_write_op_t write_op, rados_ioctx_t io, rados_completion_t completion, const char *oid,
                               time_t *mtime, int flags)
{
    (void)mtime;
    (void)flags;
    return submit(CEPH_WRITE_OP, io, completion, of_many(write_op), oid);
}

int rados_aio_notify(rados_ioctx_t io, const char *o, rados_completion_t completion, const char *buf, int buf_len,
                     uint64_t timeout_ms, char **reply_buffer, size_t *reply_buffer_len)
{
    struct op op = { .reply = reply_buffer, .reply_length = reply_buffer_len };

    (void)timeout_ms;
    if (buf_len) {
        bytes_put(&op.message, buf, buf_len);
    }
    return submit(CEPH_NOTIFY, io, completion, op, o);
}

void rados_aio_ioctx_selfmanaged_snap_create(rados_ioctx_t io, rados_snap_t *snapid, rados_completion_t completion)
{
    submit(CEPH_SNAP_CREATE, io, completion, (struct op) { .id = snapid }, "");
}

void rados_aio_ioctx_selfmanaged_snap_remove(rados_ioctx_t io, rados_snap_t snapid, rados_completion_t completion)
{
    submit(CEPH_SNAP_REMOVE, io, completion, (struct op) { .old_id = snapid }, "");
}

/* --- For tests ------------------------------------------------------------------------------------------------------------ */

void ceph_mode(enum ceph_call call, enum ceph_mode mode)
{
    unsigned i;

    ceph_acquire();
    for (i = 0; i < CEPH_CALLS; i++) {
        if (call == CEPH_ANY || call == i) {
            modes[i] = mode;
        }
    }
    ceph_release_lock();
}

void ceph_next_return(enum ceph_call call, int ret)
{
    ceph_acquire();
    next_returns[call].set = true;
    next_returns[call].ret = ret;
    ceph_release_lock();
}

void ceph_call_back_twice(bool on)
{
    ceph_acquire();
    twice = on;
    ceph_release_lock();
}

void ceph_call_back_again(void)
{
    struct completion *completion;

    ceph_acquire();
    completion = last_completion;
    completion->echo = true;
    completion->ret = -EBADMSG;
    ceph_release_lock();
    completion->callback(completion, completion->arg);
}

unsigned ceph_wait_for_held(unsigned count)
{
    unsigned now;

    ceph_acquire();
    while (held_count < count) {
        pthread_cond_wait(&ceph_changed, &ceph_lock);
    }
    now = held_count;
    ceph_release_lock();
    return now;
}

unsigned ceph_held(void)
{
    return ceph_wait_for_held(0);
}

bool ceph_release(unsigned index)
{
    struct op **place = &held;
    struct op *op;

    ceph_acquire();
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
    ceph_release_lock();
    if (op) {
        run(op);
    }
    return op;
}

void ceph_release_all(void)
{
    while (ceph_release(0)) {
    }
}
