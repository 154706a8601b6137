/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* What all calls have in common: they are counted, wait at gates and fail on demand. */

#include "internal.h"

pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
pthread_cond_t fake_changed = PTHREAD_COND_INITIALIZER;

struct fault {
    int skip;
    int times;
    int error;
};

static struct fault faults[FAKE_CALLS];
static bool closed_gates[FAKE_CALLS];
static unsigned counts[FAKE_CALLS];
static const char *violation;

void fake_acquire(void)
{
    pthread_mutex_lock(&fake_lock);
}

void fake_release_lock(void)
{
    pthread_cond_broadcast(&fake_changed);
    pthread_mutex_unlock(&fake_lock);
}

bool fake_begin(enum fake_call call)
{
    struct fault *fault = &faults[call];
    bool fails = false;
    int error = 0;

    fake_acquire();
    counts[call]++;
    pthread_cond_broadcast(&fake_changed);
    while (closed_gates[call]) {
        pthread_cond_wait(&fake_changed, &fake_lock);
    }
    if (fault->times != 0) {
        if (fault->skip > 0) {
            fault->skip--;
        } else {
            fails = true;
            error = fault->error;
            if (fault->times > 0) {
                fault->times--;
            }
        }
    }
    fake_release_lock();
    errno = error;
    return !fails;
}

void fake_fail(enum fake_call call, int error)
{
    fake_fail_some(call, 0, FAKE_FOR_EVER, error);
}

void fake_fail_some(enum fake_call call, int skip, int times, int error)
{
    fake_acquire();
    faults[call] = (struct fault) { .skip = skip, .times = times, .error = error };
    fake_release_lock();
}

void fake_pass(enum fake_call call)
{
    fake_fail_some(call, 0, 0, 0);
}

void fake_close_gate(enum fake_call call)
{
    fake_acquire();
    closed_gates[call] = true;
    fake_release_lock();
}

void fake_open_gate(enum fake_call call)
{
    fake_acquire();
    closed_gates[call] = false;
    fake_release_lock();
}

unsigned fake_count(enum fake_call call)
{
    unsigned count;

    fake_acquire();
    count = counts[call];
    fake_release_lock();
    return count;
}

void fake_wait_for(enum fake_call call, unsigned count)
{
    fake_acquire();
    while (counts[call] < count) {
        pthread_cond_wait(&fake_changed, &fake_lock);
    }
    fake_release_lock();
}

void fake_violate(const char *what)
{
    if (!violation) {
        violation = what;
    }
}

const char *fake_violation(void)
{
    const char *what;

    fake_acquire();
    what = violation;
    fake_release_lock();
    return what;
}
