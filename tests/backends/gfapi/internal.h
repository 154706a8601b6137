/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* What the parts of the fake library share. One lock protects all of it. */
#ifndef QBR_FAKE_GFAPI_INTERNAL_H
#define QBR_FAKE_GFAPI_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <sys/types.h>

#include <glusterfs/api/glfs.h>

#include "fake.h"

#define LOG_SIZE 2048

struct fake_image;

struct glfs {
    struct glfs *next;
    char log[LOG_SIZE];
    bool ended;
    bool broken;
    unsigned open_files;
};

/* Never freed: a use after close is to be noticed. */
struct glfs_fd {
    struct glfs_fd *next;
    struct glfs *fs;
    struct fake_image *image;
    int flags;
    /* The position, which a search moves, and the end of every read and write. */
    off_t offset;
    /* The descriptor that the file was opened with, which counts all that it has. */
    struct glfs_fd *first;
    unsigned descriptors;
    bool closed;
    unsigned in_flight;
};

extern pthread_mutex_t fake_lock;
extern pthread_cond_t fake_changed;

void fake_acquire(void);
void fake_release_lock(void);

/*
 * Begins a call: counts it, waits at its gate, and decides whether it fails (then errno is set and the answer is false).
 * Without the lock.
 */
bool fake_begin(enum fake_call call);
/* With the lock. */
void fake_violate(const char *what);
/* Whether a file may be used; with the lock. */
bool fake_usable(struct glfs_fd *fd);

/* Images; with the lock. */
struct fake_image *fake_find(const char *path);
struct fake_image *fake_make(const char *path);
void fake_unlink(struct fake_image *image);
off_t fake_allocated(struct fake_image *image);

/* Work on images; with the lock, -errno on failure. */
void fake_write_back(struct fake_image *image);
int fake_set_length(struct fake_image *image, off_t length);
off_t fake_seek_in(struct fake_image *image, off_t offset, int whence);
ssize_t fake_read(struct glfs_fd *fd, const struct iovec *iov, int count, off_t offset, size_t most);
ssize_t fake_write(struct glfs_fd *fd, const struct iovec *iov, int count, off_t offset, size_t most);
int fake_zero(struct glfs_fd *fd, off_t offset, off_t bytes);
int fake_punch(struct glfs_fd *fd, off_t offset, off_t bytes);

#endif
