/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Watches and notifications. They call back on a thread of their own, one at a time. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Never freed: an event may come late. */
struct watch {
    struct watch *next;
    struct client *client;
    struct pool *pool;
    char namespace[64];
    char name[MAX_NAME];
    uint64_t cookie;
    rados_watchcb2_t notified;
    rados_watcherrcb_t broken;
    void *arg;
    /* No event comes any more. */
    bool ended;
    /* The library has lost it; the client has to end it all the same. */
    bool lost;
};

/* Something that was said, and who has answered. */
struct notification {
    struct notification *next;
    uint64_t id;
    uint64_t sender;
    struct bytes message;
    unsigned left;
    unsigned acks;
    bool answered;
    unsigned silent;
    struct bytes answers;
    /* Of the archive's. */
    struct op *op;
};

/* What the thread has to tell a watch. */
struct event {
    struct event *next;
    struct watch *watch;
    struct notification *notification;
    int error;
};

static struct watch *watches;
static struct notification *notifications;
static uint64_t last_id;
static uint64_t last_cookie = 0x1000;
static struct event *queue, **queue_end = &queue;
/* The thread is telling something. */
static bool busy;
static bool deaf;
static unsigned breaks;
/* What a test has said last was answered. */
static bool answered;
/* Another client that watches. */
static struct {
    char object[MAX_NAME];
    uint64_t handle;
    bool answers;
    struct bytes answer;
} stranger;
static pthread_t thread;
static bool thread_runs;
static pthread_cond_t queued = PTHREAD_COND_INITIALIZER;

/* --- Telling -------------------------------------------------------------------------------------------------------------- */

/* Everybody has answered or won't. With the lock. */
static void settle(struct notification *notification)
{
    struct op *op = notification->op;
    struct bytes reply = { .length = 0 };
    unsigned i;

    if (notification->left || !op) {
        return;
    }
    notification->op = NULL;
    if (deaf) {
        notification->silent++;
    }
    bytes_u32(&reply, notification->acks);
    if (notification->answers.length) {
        bytes_put(&reply, notification->answers.data, notification->answers.length);
    }
    bytes_u32(&reply, notification->silent);
    for (i = 0; i < notification->silent; i++) {
        bytes_u64(&reply, CEPH_STRANGER);
        bytes_u64(&reply, stranger.handle);
    }
    if (op->reply) {
        *op->reply = (char *)reply.data;
        *op->reply_length = reply.length;
        ceph_count_alive(1);
    } else {
        free(reply.data);
    }
    async_finish_later(op, notification->silent ? -ETIMEDOUT : 0);
}

static void tell(struct event *event)
{
    struct watch *watch = event->watch;
    struct notification *notification = event->notification;
    unsigned acks;

    if (!notification) {
        watch->broken(watch->arg, watch->cookie, event->error);
        return;
    }
    ceph_acquire();
    acks = notification->acks;
    ceph_release_lock();
    watch->notified(watch->arg, notification->id, watch->cookie, notification->sender, notification->message.data,
                    notification->message.length);
    ceph_acquire();
    if (notification->acks == acks) {
        ceph_violate("a notification was not acknowledged");
        notification->silent++;
        notification->left--;
        settle(notification);
    }
    ceph_release_lock();
}

static void *watch_thread(void *opaque)
{
    struct event *event;

    (void)opaque;
    ceph_is_library_thread();
    for (;;) {
        ceph_acquire();
        busy = false;
        pthread_cond_broadcast(&ceph_changed);
        while (!queue) {
            pthread_cond_wait(&queued, &ceph_lock);
        }
        event = queue;
        queue = event->next;
        if (!queue) {
            queue_end = &queue;
        }
        busy = true;
        if (event->watch->ended) {
            if (event->notification) {
                event->notification->left--;
                settle(event->notification);
            }
            ceph_release_lock();
        } else {
            ceph_release_lock();
            tell(event);
        }
        free(event);
    }
    return NULL;
}

/* With the lock. */
static void enqueue(struct event draft)
{
    struct event *event = malloc(sizeof(*event));

    *event = draft;
    *queue_end = event;
    queue_end = &event->next;
    if (!thread_runs) {
        thread_runs = true;
        if (pthread_create(&thread, NULL, watch_thread, NULL)) {
            abort();
        }
        pthread_detach(thread);
    }
    pthread_cond_signal(&queued);
}

static bool watches_this(const struct watch *watch, int64_t pool, const char *namespace, const char *name)
{
    return !watch->ended && !watch->lost && watch->pool->id == pool && !strcmp(watch->namespace, namespace)
        && !strcmp(watch->name, name);
}

/* With the lock. */
static struct notification *notify(uint64_t sender, int64_t pool, const char *namespace, const char *name,
                                   struct bytes message)
{
    struct notification *notification = calloc(1, sizeof(*notification));
    struct watch *watch;

    notification->id = ++last_id;
    notification->sender = sender;
    notification->message = message;
    notification->next = notifications;
    notifications = notification;
    ceph_note("notify %s %zu\n", name, message.length);
    for (watch = watches; watch; watch = watch->next) {
        if (watches_this(watch, pool, namespace, name)) {
            notification->left++;
            enqueue((struct event) { .watch = watch, .notification = notification });
        }
    }
    return notification;
}

void watch_notify(struct op *op)
{
    struct object *object = store_find(op->pool->id, op->namespace, op->name);
    struct notification *notification;
    struct bytes message = op->message;

    if (!object || !object->exists) {
        async_finish_later(op, -ENOENT);
        return;
    }
    op->message = (struct bytes) { .length = 0 };
    notification = notify(op->client->number, op->pool->id, op->namespace, op->name, message);
    notification->op = op;
    if (!strcmp(stranger.object, op->name)) {
        if (stranger.answers) {
            notification->acks++;
            bytes_u64(&notification->answers, CEPH_STRANGER);
            bytes_u64(&notification->answers, stranger.handle);
            bytes_u32(&notification->answers, stranger.answer.length);
            bytes_put(&notification->answers, stranger.answer.data ? stranger.answer.data : (void *)"", stranger.answer.length);
        } else {
            notification->silent++;
        }
    }
    settle(notification);
}

int rados_notify_ack(rados_ioctx_t io, const char *o, uint64_t notify_id, uint64_t cookie, const char *buf, int buf_len)
{
    struct handle *handle = io;
    struct notification *notification;

    (void)o;
    ceph_acquire();
    ceph_usable(handle);
    handle->used = true;
    for (notification = notifications; notification && notification->id != notify_id; notification = notification->next) {
    }
    if (!notification || !notification->left) {
        ceph_violate("something was acknowledged that nobody said, or more often than it was said");
    } else {
        notification->left--;
        notification->acks++;
        notification->answered |= buf_len > 0;
        bytes_u64(&notification->answers, handle->client->number);
        bytes_u64(&notification->answers, cookie);
        bytes_u32(&notification->answers, buf_len);
        bytes_put(&notification->answers, buf ? buf : "", buf_len);
        settle(notification);
    }
    ceph_release_lock();
    return 0;
}

/* --- Watching ------------------------------------------------------------------------------------------------------------- */

int rados_watch3(rados_ioctx_t io, const char *o, uint64_t *cookie, rados_watchcb2_t watchcb, rados_watcherrcb_t watcherrcb,
                 uint32_t timeout, void *arg)
{
    struct handle *handle = io;
    struct object *object;
    struct watch *watch;
    int ret;

    (void)timeout;
    ceph_blocks("a callback watches");
    ret = ceph_begin(CEPH_WATCH);
    ceph_acquire();
    ceph_usable(handle);
    handle->used = true;
    object = store_find(handle->pool->id, handle->namespace, o);
    if (!ret && handle->client->blocked) {
        ret = -ESHUTDOWN;
    }
    if (!ret && (!object || !object->exists)) {
        ret = -ENOENT;
    }
    if (!ret) {
        watch = calloc(1, sizeof(*watch));
        *watch = (struct watch) { .next = watches, .client = handle->client, .pool = handle->pool, .cookie = last_cookie++,
                                  .notified = watchcb, .broken = watcherrcb, .arg = arg };
        snprintf(watch->namespace, sizeof(watch->namespace), "%s", handle->namespace);
        snprintf(watch->name, sizeof(watch->name), "%s", o);
        watches = watch;
        *cookie = watch->cookie;
        ceph_count_alive(1);
        ceph_note("watch %s\n", o);
    }
    if (!ret && breaks) {
        breaks--;
        watch->lost = true;
        enqueue((struct event) { .watch = watch, .error = -ENOTCONN });
        while (queue || busy) {
            pthread_cond_wait(&ceph_changed, &ceph_lock);
        }
    }
    ceph_release_lock();
    return ret;
}

int rados_unwatch2(rados_ioctx_t io, uint64_t cookie)
{
    struct handle *handle = io;
    struct watch *watch;
    int ret;

    ceph_blocks("a callback ends a watch");
    ret = ceph_begin(CEPH_UNWATCH);
    ceph_acquire();
    ceph_usable(handle);
    for (watch = watches; watch && watch->cookie != cookie; watch = watch->next) {
    }
    if (!watch || watch->ended) {
        ceph_violate("a watch was ended that there is not");
    } else {
        ret = ret ? ret : watch->lost ? -ENOENT : 0;
        /* It goes on hearing until the flush; what it hears is in the queue by now. */
        watch->lost = true;
        ceph_count_alive(-1);
        ceph_note("unwatch %s\n", watch->name);
        watch->client = NULL;
    }
    ceph_release_lock();
    return ret;
}

int rados_watch_flush(rados_t cluster)
{
    struct watch *watch;

    (void)cluster;
    ceph_blocks("a callback waits for callbacks");
    ceph_acquire();
    while (queue || busy) {
        pthread_cond_wait(&ceph_changed, &ceph_lock);
    }
    for (watch = watches; watch; watch = watch->next) {
        watch->ended |= !watch->client;
    }
    ceph_release_lock();
    return 0;
}

void watch_lose(int64_t pool, const char *namespace, const char *name, int error)
{
    struct watch *watch;

    for (watch = watches; watch; watch = watch->next) {
        if (watches_this(watch, pool, namespace, name)) {
            watch->lost = true;
            enqueue((struct event) { .watch = watch, .error = -error });
        }
    }
}

unsigned watch_count(const struct client *client)
{
    const struct watch *watch;
    unsigned count = 0;

    for (watch = watches; watch; watch = watch->next) {
        count += watch->client == client;
    }
    return count;
}

/* --- For tests ------------------------------------------------------------------------------------------------------------ */

static unsigned count_watches(const char *object)
{
    const struct watch *watch;
    unsigned count = 0;

    for (watch = watches; watch; watch = watch->next) {
        count += watches_this(watch, 2, "", object);
    }
    return count;
}

unsigned ceph_tell_as(uint64_t client, const char *object, const void *message, size_t length)
{
    struct notification *notification;
    struct bytes copy = { .length = 0 };
    unsigned acks;

    if (length) {
        bytes_put(&copy, message, length);
    }
    ceph_acquire();
    notification = notify(client, 2, "", object, copy);
    while (notification->left || queue || busy) {
        pthread_cond_wait(&ceph_changed, &ceph_lock);
    }
    acks = notification->acks;
    answered = notification->answered;
    ceph_release_lock();
    return acks;
}

bool ceph_was_answered(void)
{
    return answered;
}

unsigned ceph_tell(const char *object, const void *message, size_t length)
{
    return ceph_tell_as(CEPH_STRANGER, object, message, length);
}

unsigned ceph_break_watches(const char *object, int error)
{
    unsigned count;

    ceph_acquire();
    count = count_watches(object);
    watch_lose(2, "", object, error);
    while (queue || busy) {
        pthread_cond_wait(&ceph_changed, &ceph_lock);
    }
    ceph_release_lock();
    return count;
}

void ceph_break_next_watches(unsigned count)
{
    ceph_acquire();
    breaks = count;
    ceph_release_lock();
}

unsigned ceph_watches(const char *object)
{
    unsigned count;

    ceph_acquire();
    count = count_watches(object);
    ceph_release_lock();
    return count;
}

void ceph_wait_for_watches(const char *object, unsigned count)
{
    ceph_acquire();
    while (count_watches(object) != count) {
        pthread_cond_wait(&ceph_changed, &ceph_lock);
    }
    ceph_release_lock();
}

void ceph_stranger(const char *object, uint64_t handle, const void *answer, size_t length)
{
    ceph_acquire();
    snprintf(stranger.object, sizeof(stranger.object), "%s", object ? object : "");
    stranger.handle = handle;
    stranger.answers = answer;
    free(stranger.answer.data);
    stranger.answer = (struct bytes) { .length = 0 };
    if (length) {
        bytes_put(&stranger.answer, answer, length);
    }
    ceph_release_lock();
}

void ceph_deaf_watcher(bool on)
{
    ceph_acquire();
    deaf = on;
    ceph_release_lock();
}
