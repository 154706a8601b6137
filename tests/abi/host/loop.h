/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* What event loops and coroutines know of each other. */
#ifndef QBR_TEST_LOOP_H
#define QBR_TEST_LOOP_H

#include <pthread.h>
#include <stdbool.h>

struct co;

/* A coroutine to enter. */
struct entry {
    struct entry *next;
    struct co *co;
};

struct loop {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct entry *entries;
    bool stop;
    bool is_default;
};

/* Has the loop enter a coroutine. Any thread. */
void loop_enter(struct loop *loop, struct co *co);
/* Runs a coroutine until it sleeps or ends, and then those whom it has woken. In the loop's thread. */
void co_enter(struct co *co);

#endif
