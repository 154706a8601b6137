/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */

#include "thread.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "../test.h"

static atomic_bool none_left;

/* The linker puts the one in the place of the other (--wrap). */
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*entry)(void *), void *opaque);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*entry)(void *), void *opaque);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*entry)(void *), void *opaque)
{
    return none_left ? EAGAIN : __real_pthread_create(thread, attr, entry, opaque);
}

void threads_run_out(bool on)
{
    none_left = on;
}

static unsigned status_line(const char *name)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    unsigned value = 0;

    CHECK(file);
    while (fgets(line, sizeof(line), file)) {
        if (!strncmp(line, name, strlen(name))) {
            CHECK(sscanf(line + strlen(name), ": %u", &value) == 1);
        }
    }
    fclose(file);
    return value;
}

unsigned process_threads(void)
{
    return status_line("Threads");
}

unsigned process_rss_kib(void)
{
    return status_line("VmRSS");
}

unsigned process_files(void)
{
    DIR *folder = opendir("/proc/self/fd");
    unsigned count = 0;

    CHECK(folder);
    while (readdir(folder)) {
        count++;
    }
    closedir(folder);
    return count;
}
