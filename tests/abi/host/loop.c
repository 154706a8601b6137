/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Event loops: threads that enter coroutines in the order in which they are told to. */

#include <stdlib.h>

#include "../test.h"
#include "host.h"
#include "loop.h"

void loop_enter(struct loop *loop, struct co *co)
{
    struct entry *entry = malloc(sizeof(*entry));
    struct entry **last;

    *entry = (struct entry) { .co = co };
    pthread_mutex_lock(&loop->lock);
    for (last = &loop->entries; *last; last = &(*last)->next) {
    }
    *last = entry;
    /* Under the lock: the loop may be gone once the coroutine has run. */
    pthread_cond_signal(&loop->work);
    pthread_mutex_unlock(&loop->lock);
}

static void *run(void *opaque)
{
    struct loop *loop = opaque;
    struct entry *entry;

    pthread_mutex_lock(&loop->lock);
    for (;;) {
        while (!loop->entries && !loop->stop) {
            pthread_cond_wait(&loop->work, &loop->lock);
        }
        entry = loop->entries;
        if (!entry) {
            break;
        }
        loop->entries = entry->next;
        pthread_mutex_unlock(&loop->lock);
        co_enter(entry->co);
        free(entry);
        pthread_mutex_lock(&loop->lock);
    }
    pthread_mutex_unlock(&loop->lock);
    return NULL;
}

struct loop *loop_start(void)
{
    struct loop *loop = calloc(1, sizeof(*loop));

    pthread_mutex_init(&loop->lock, NULL);
    pthread_cond_init(&loop->work, NULL);
    CHECK(!pthread_create(&loop->thread, NULL, run, loop));
    return loop;
}

void loop_stop(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->stop = true;
    pthread_cond_signal(&loop->work);
    pthread_mutex_unlock(&loop->lock);
    pthread_join(loop->thread, NULL);
    pthread_cond_destroy(&loop->work);
    pthread_mutex_destroy(&loop->lock);
    free(loop);
}

struct loop *loop_default(void)
{
    static struct loop *loop;

    if (!loop) {
        loop = loop_start();
    }
    return loop;
}
