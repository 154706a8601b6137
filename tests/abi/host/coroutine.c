/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Coroutines on stacks of their own, each bound to one event loop, with every sleep and every wake-up counted. */

#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "../test.h"
#include "host.h"
#include "loop.h"
#include "stack-switch.h"

#define STACK_SIZE (256 << 10)

struct co {
    struct loop *loop;
    void (*entry)(void *);
    void *opaque;
    ucontext_t context;
    ucontext_t caller;
    void *stack;
    unsigned stack_id;
    /* For the sanitizers. */
    void *fake_stack;
    const void *caller_stack;
    size_t caller_stack_size;
    void *fiber;
    void *caller_fiber;
    /* Nobody joins it. */
    bool detached;
    /* Coroutines of the same loop to enter when this one sleeps or ends; only the loop's thread looks at these two. */
    struct co *woken;
    struct co *next;
    /* Protected by the lock below. */
    bool done;
    bool running;
    unsigned parks;
    unsigned wakes;
    unsigned pokes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static __thread struct co *current;

/* Not inlined: a coroutine must not keep the address of a thread's variable across a sleep. */
__attribute__((noinline)) static struct co *self(void)
{
    return current;
}

__attribute__((noinline)) static void set_self(struct co *co)
{
    current = co;
}

static void leave(struct co *co, bool for_ever)
{
    fiber_switch(co->caller_fiber);
    switch_begin(for_ever ? NULL : &co->fake_stack, co->caller_stack, co->caller_stack_size);
    swapcontext(&co->context, &co->caller);
    switch_end(co->fake_stack, &co->caller_stack, &co->caller_stack_size);
}

static void begin(void)
{
    struct co *co = self();

    switch_end(NULL, &co->caller_stack, &co->caller_stack_size);
    co->entry(co->opaque);
    CHECK(self() == co);
    pthread_mutex_lock(&lock);
    co->done = true;
    pthread_mutex_unlock(&lock);
    leave(co, true);
}

/* The counts of a coroutine that has ended: exactly one wake-up for each sleep; a poke puts it to sleep once more. */
static void check_counts(const struct co *co)
{
    CHECK_INT(co->wakes, co->parks - co->pokes);
}

static void dispose(struct co *co)
{
    VALGRIND_STACK_DEREGISTER(co->stack_id);
    munmap(co->stack, STACK_SIZE);
    fiber_free(co->fiber);
    free(co);
}

/* Runs one coroutine, on top of the caller's if that is one; whom it has woken meanwhile. */
static struct co *enter_one(struct co *co)
{
    struct co *parent = self();
    void *fake_stack = NULL;
    struct co *woken;
    bool gone;

    CHECK(pthread_equal(pthread_self(), co->loop->thread));
    pthread_mutex_lock(&lock);
    CHECK(!co->done && !co->running);
    co->running = true;
    pthread_mutex_unlock(&lock);
    set_self(co);
    co->caller_fiber = fiber_self();
    fiber_switch(co->fiber);
    switch_begin(&fake_stack, co->stack, STACK_SIZE);
    swapcontext(&co->caller, &co->context);
    switch_end(fake_stack, NULL, NULL);
    set_self(parent);
    woken = co->woken;
    co->woken = NULL;
    pthread_mutex_lock(&lock);
    co->running = false;
    gone = co->done && co->detached;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    if (gone) {
        check_counts(co);
        dispose(co);
    }
    return woken;
}

void co_enter(struct co *co)
{
    struct co *queue = co;

    while (queue) {
        struct co *rest = queue->next;
        struct co **last = &queue;

        queue->next = NULL;
        /* Those whom it has woken come next, as in QEMU. */
        queue = enter_one(queue);
        while (*last) {
            last = &(*last)->next;
        }
        *last = rest;
    }
}

static struct co *co_new(struct loop *loop, void (*entry)(void *), void *opaque)
{
    struct co *co = calloc(1, sizeof(*co));

    *co = (struct co) { .loop = loop, .entry = entry, .opaque = opaque, .fiber = fiber_new() };
    co->stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
    CHECK(co->stack != MAP_FAILED);
    co->stack_id = VALGRIND_STACK_REGISTER(co->stack, (char *)co->stack + STACK_SIZE);
    getcontext(&co->context);
    co->context.uc_stack.ss_sp = co->stack;
    co->context.uc_stack.ss_size = STACK_SIZE;
    co->context.uc_link = NULL;
    makecontext(&co->context, begin, 0);
    return co;
}

struct co *co_start(struct loop *loop, void (*entry)(void *), void *opaque)
{
    struct co *co = co_new(loop, entry, opaque);

    loop_enter(loop, co);
    return co;
}

void co_start_here(void (*entry)(void *), void *opaque)
{
    struct co *parent = self();
    struct co *co;

    CHECK(parent);
    co = co_new(parent->loop, entry, opaque);
    co->detached = true;
    co_enter(co);
}

unsigned co_join(struct co *co)
{
    unsigned parks;

    CHECK(!self());
    pthread_mutex_lock(&lock);
    while (!co->done || co->running) {
        pthread_cond_wait(&changed, &lock);
    }
    check_counts(co);
    parks = co->parks;
    pthread_mutex_unlock(&lock);
    dispose(co);
    return parks;
}

void co_poke(struct co *co)
{
    pthread_mutex_lock(&lock);
    co->pokes++;
    pthread_mutex_unlock(&lock);
    loop_enter(co->loop, co);
}

void co_wait_parked(struct co *co, unsigned parks)
{
    pthread_mutex_lock(&lock);
    while (co->parks < parks || co->running) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}

void co_run(void (*entry)(void *), void *opaque)
{
    co_join(co_start(loop_default(), entry, opaque));
}

/* --- Services ------------------------------------------------------------------------------------------------------------- */

bool qbr_host_in_coroutine(void)
{
    return self();
}

QbrTask qbr_host_co_self(void)
{
    struct co *co = self();

    CHECK(co);
    return (QbrTask) { .co = co, .ctx = co->loop };
}

void qbr_host_co_yield(void)
{
    struct co *co = self();

    CHECK(co);
    pthread_mutex_lock(&lock);
    co->parks++;
    pthread_mutex_unlock(&lock);
    leave(co, false);
    CHECK(self() == co);
}

/* Counts a wake-up, which must be owed. */
static void count_wake(struct co *co)
{
    pthread_mutex_lock(&lock);
    co->wakes++;
    CHECK(!co->done);
    /* It sleeps, or is about to. */
    CHECK(co->wakes <= co->parks - co->pokes + 1);
    pthread_mutex_unlock(&lock);
}

void co_next_turn(void)
{
    struct co *co = self();

    CHECK(co);
    count_wake(co);
    loop_enter(co->loop, co);
    qbr_host_co_yield();
}

void qbr_host_co_wake(QbrTask task)
{
    struct co *co = task.co;
    struct co *waker = self();
    struct co **last;

    CHECK(co);
    CHECK(task.ctx == co->loop);
    count_wake(co);
    if (!waker || waker->loop != co->loop) {
        loop_enter(co->loop, co);
        return;
    }
    for (last = &waker->woken; *last; last = &(*last)->next) {
    }
    *last = co;
}
