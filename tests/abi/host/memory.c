/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */

#include "memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

static atomic_uint allocations;
static atomic_int none_left;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
/* Protected by the lock. */
static unsigned mappings;
static size_t mapped;
static size_t peak;

void *archive_malloc(size_t size);
void *archive_calloc(size_t count, size_t size);
void *archive_realloc(void *memory, size_t size);
int archive_posix_memalign(void **memory, size_t alignment, size_t size);
void *archive_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
void *archive_mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset);
int archive_munmap(void *address, size_t length);

void *archive_malloc(size_t size)
{
    allocations++;
    return malloc(size);
}

void *archive_calloc(size_t count, size_t size)
{
    allocations++;
    return calloc(count, size);
}

void *archive_realloc(void *memory, size_t size)
{
    allocations++;
    return realloc(memory, size);
}

int archive_posix_memalign(void **memory, size_t alignment, size_t size)
{
    allocations++;
    return posix_memalign(memory, alignment, size);
}

void *archive_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    void *memory = MAP_FAILED;

    errno = ENOMEM;
    if (!none_left) {
        memory = mmap(address, length, protection, flags, fd, offset);
    }
    if (memory != MAP_FAILED) {
        pthread_mutex_lock(&lock);
        mappings++;
        mapped += length;
        peak = mapped > peak ? mapped : peak;
        pthread_mutex_unlock(&lock);
    }
    return memory;
}

void *archive_mmap64(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    return archive_mmap(address, length, protection, flags, fd, offset);
}

int archive_munmap(void *address, size_t length)
{
    int ret = munmap(address, length);

    if (!ret) {
        pthread_mutex_lock(&lock);
        mapped -= length;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&lock);
    }
    return ret;
}

unsigned memory_allocations(void)
{
    return allocations;
}

unsigned memory_mappings(void)
{
    unsigned value;

    pthread_mutex_lock(&lock);
    value = mappings;
    pthread_mutex_unlock(&lock);
    return value;
}

size_t memory_mapped(void)
{
    size_t value;

    pthread_mutex_lock(&lock);
    value = mapped;
    pthread_mutex_unlock(&lock);
    return value;
}

size_t memory_peak(void)
{
    size_t value;

    pthread_mutex_lock(&lock);
    value = peak;
    pthread_mutex_unlock(&lock);
    return value;
}

void memory_wait_mapped(size_t bytes)
{
    pthread_mutex_lock(&lock);
    while (mapped > bytes) {
        pthread_cond_wait(&changed, &lock);
    }
    pthread_mutex_unlock(&lock);
}

void memory_runs_out(int on)
{
    none_left = on;
}
