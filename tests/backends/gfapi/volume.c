/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Clients: glfs_new to glfs_fini. */

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static struct glfs *volumes;
static unsigned live;
static int last_policy = -1;

/* With the lock. */
__attribute__((format(printf, 2, 3))) static void note(struct glfs *fs, const char *format, ...)
{
    size_t used = strlen(fs->log);
    va_list args;

    if (fs->ended) {
        fake_violate("a client was used after glfs_fini");
    }
    va_start(args, format);
    vsnprintf(fs->log + used, sizeof(fs->log) - used, format, args);
    va_end(args);
}

struct glfs *glfs_new(const char *volname)
{
    struct glfs **last;
    struct glfs *fs;

    if (!fake_begin(FAKE_NEW)) {
        return NULL;
    }
    fs = calloc(1, sizeof(*fs));
    fake_acquire();
    for (last = &volumes; *last; last = &(*last)->next) {
    }
    *last = fs;
    live++;
    note(fs, "new %s\n", volname);
    fake_release_lock();
    return fs;
}

int glfs_set_volfile_server(struct glfs *fs, const char *transport, const char *host, int port)
{
    if (!fake_begin(FAKE_SET_SERVER)) {
        return -1;
    }
    fake_acquire();
    note(fs, "server %s %s %d\n", transport, host, port);
    fake_release_lock();
    return 0;
}

int glfs_set_logging(struct glfs *fs, const char *logfile, int loglevel)
{
    if (!fake_begin(FAKE_SET_LOGGING)) {
        return -1;
    }
    fake_acquire();
    note(fs, "logging %s %d\n", logfile ? logfile : "same", loglevel);
    fake_release_lock();
    return 0;
}

int glfs_set_xlator_option(struct glfs *fs, const char *xlator, const char *key, const char *value)
{
    if (!fake_begin(FAKE_SET_XLATOR)) {
        return -1;
    }
    fake_acquire();
    note(fs, "xlator %s %s %s\n", xlator, key, value);
    fake_release_lock();
    return 0;
}

int glfs_init(struct glfs *fs)
{
    bool fine = fake_begin(FAKE_INIT);
    int error = errno;

    fake_acquire();
    note(fs, fine ? "init\n" : "init failed\n");
    fake_release_lock();
    errno = error;
    return fine ? 0 : -1;
}

int glfs_fini(struct glfs *fs)
{
    fake_begin(FAKE_FINI);
    fake_acquire();
    last_policy = sched_getscheduler(0);
    if (fs->ended) {
        fake_violate("glfs_fini was called twice");
    }
    if (fs->open_files) {
        fake_violate("glfs_fini was called while files are open");
    }
    fs->ended = true;
    live--;
    fake_release_lock();
    return 0;
}

int fake_fini_policy(void)
{
    int policy;

    fake_acquire();
    policy = last_policy;
    fake_release_lock();
    return policy;
}

unsigned fake_volumes(void)
{
    unsigned count;

    fake_acquire();
    count = live;
    fake_release_lock();
    return count;
}

void fake_wait_for_no_volume(void)
{
    fake_acquire();
    while (live) {
        pthread_cond_wait(&fake_changed, &fake_lock);
    }
    fake_release_lock();
}

const char *fake_volume_log(unsigned index)
{
    const char *log = "";
    struct glfs *fs;

    fake_acquire();
    for (fs = volumes; fs && index; fs = fs->next) {
        index--;
    }
    if (fs) {
        log = fs->log;
    }
    fake_release_lock();
    return log;
}

void fake_break_volumes(void)
{
    struct glfs *fs;

    fake_acquire();
    for (fs = volumes; fs; fs = fs->next) {
        fs->broken = true;
    }
    fake_release_lock();
}
