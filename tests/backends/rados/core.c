/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* What all calls have in common: they are counted, wait at gates, fail on demand, and are written down. */

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "internal.h"

#define LOG_SIZE (1 << 20)

pthread_mutex_t ceph_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t ceph_changed = PTHREAD_COND_INITIALIZER;

struct fault {
    int skip;
    int times;
    int error;
};

static struct fault faults[CEPH_CALLS];
static bool closed_gates[CEPH_CALLS];
static unsigned counts[CEPH_CALLS];
static const char *violation;
static int alive;
static char history[LOG_SIZE];
static size_t history_used;
static __thread bool is_library_thread;

void ceph_acquire(void)
{
    pthread_mutex_lock(&ceph_lock);
}

void ceph_release_lock(void)
{
    pthread_cond_broadcast(&ceph_changed);
    pthread_mutex_unlock(&ceph_lock);
}

int ceph_begin(enum ceph_call call)
{
    struct fault *fault = &faults[call];
    int error = 0;

    ceph_acquire();
    counts[call]++;
    pthread_cond_broadcast(&ceph_changed);
    while (closed_gates[call]) {
        pthread_cond_wait(&ceph_changed, &ceph_lock);
    }
    if (fault->times != 0) {
        if (fault->skip > 0) {
            fault->skip--;
        } else {
            error = fault->error;
            if (fault->times > 0) {
                fault->times--;
            }
        }
    }
    ceph_release_lock();
    return -error;
}

void ceph_fail(enum ceph_call call, int error)
{
    ceph_fail_some(call, 0, error ? CEPH_FOR_EVER : 0, error);
}

void ceph_fail_some(enum ceph_call call, int skip, int times, int error)
{
    ceph_acquire();
    faults[call] = (struct fault) { .skip = skip, .times = times, .error = error };
    ceph_release_lock();
}

void ceph_close_gate(enum ceph_call call)
{
    ceph_acquire();
    closed_gates[call] = true;
    ceph_release_lock();
}

void ceph_open_gate(enum ceph_call call)
{
    ceph_acquire();
    closed_gates[call] = false;
    ceph_release_lock();
}

unsigned ceph_count(enum ceph_call call)
{
    unsigned count;

    ceph_acquire();
    count = counts[call];
    ceph_release_lock();
    return count;
}

void ceph_wait_for(enum ceph_call call, unsigned count)
{
    ceph_acquire();
    while (counts[call] < count) {
        pthread_cond_wait(&ceph_changed, &ceph_lock);
    }
    ceph_release_lock();
}

void ceph_violate(const char *what)
{
    if (!violation) {
        violation = what;
    }
}

const char *ceph_violation(void)
{
    const char *what;

    ceph_acquire();
    what = violation ? violation : map_find_wrong();
    ceph_release_lock();
    return what;
}

void ceph_is_library_thread(void)
{
    is_library_thread = true;
}

void ceph_blocks(const char *what)
{
    if (is_library_thread) {
        ceph_acquire();
        ceph_violate(what);
        ceph_release_lock();
    }
}

void ceph_count_alive(int change)
{
    alive += change;
}

void ceph_none_alive(void)
{
    alive = 0;
}

unsigned ceph_alive(void)
{
    unsigned now;

    ceph_acquire();
    now = alive;
    ceph_release_lock();
    return now;
}

void ceph_note(const char *format, ...)
{
    size_t left = sizeof(history) - history_used;
    va_list args;
    int length;

    va_start(args, format);
    length = vsnprintf(history + history_used, left, format, args);
    va_end(args);
    if (length > 0) {
        history_used += (size_t)length < left ? (size_t)length : left - 1;
    }
}

const char *ceph_log(void)
{
    return history;
}

void ceph_log_clear(void)
{
    ceph_acquire();
    history_used = 0;
    history[0] = '\0';
    ceph_release_lock();
}

unsigned ceph_log_count(const char *part)
{
    const char *at = history;
    unsigned count = 0;

    ceph_acquire();
    while ((at = strstr(at, part))) {
        count++;
        at += strlen(part);
    }
    ceph_release_lock();
    return count;
}
