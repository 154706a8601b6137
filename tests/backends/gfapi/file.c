/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Files, and the calls on them that wait for their result. */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "internal.h"

static struct glfs_fd *files;
static unsigned open_files;
static int read_only_error;

bool fake_usable(struct glfs_fd *fd)
{
    if (fd->closed) {
        fake_violate("a file was used after glfs_close");
        return false;
    }
    if (fd->fs->ended) {
        fake_violate("a file was used after glfs_fini");
        return false;
    }
    return true;
}

/* With the lock. */
static struct glfs_fd *open_image(struct glfs *fs, struct fake_image *image, int flags)
{
    struct glfs_fd *fd = calloc(1, sizeof(*fd));

    *fd = (struct glfs_fd) { .next = files, .fs = fs, .image = image, .flags = flags, .first = fd, .descriptors = 1 };
    files = fd;
    open_files++;
    fs->open_files++;
    return fd;
}

/* What opening gives, and its error in errno; with the lock. */
static struct glfs_fd *try_open(struct glfs *fs, const char *path, int flags, int *error)
{
    struct fake_image *image = fake_find(path);

    *error = 0;
    if (fs->ended) {
        fake_violate("a client was used after glfs_fini");
        *error = EFAULT;
    } else if (fs->broken) {
        *error = ENOTCONN;
    } else if ((flags & O_ACCMODE) != O_RDONLY && read_only_error) {
        *error = read_only_error;
    } else if (!image && !(flags & O_CREAT)) {
        *error = ENOENT;
    } else if (image && flags & O_CREAT && flags & O_EXCL) {
        *error = EEXIST;
    }
    if (*error) {
        return NULL;
    }
    if (!image) {
        image = fake_make(path);
    } else if (flags & O_TRUNC) {
        fake_set_length(image, 0);
    }
    return open_image(fs, image, flags);
}

static struct glfs_fd *open_call(enum fake_call call, struct glfs *fs, const char *path, int flags)
{
    struct glfs_fd *fd;
    int error;

    if (!fake_begin(call)) {
        return NULL;
    }
    fake_acquire();
    fd = try_open(fs, path, flags, &error);
    fake_release_lock();
    errno = error;
    return fd;
}

struct glfs_fd *glfs_open(struct glfs *fs, const char *path, int flags)
{
    return open_call(FAKE_OPEN, fs, path, flags);
}

struct glfs_fd *glfs_creat(struct glfs *fs, const char *path, int flags, mode_t mode)
{
    (void)mode;
    return open_call(FAKE_CREAT, fs, path, flags | O_CREAT);
}

struct glfs_fd *glfs_dup(struct glfs_fd *fd)
{
    struct glfs_fd *copy = NULL;

    if (!fake_begin(FAKE_DUP)) {
        return NULL;
    }
    fake_acquire();
    if (fake_usable(fd)) {
        copy = calloc(1, sizeof(*copy));
        *copy = (struct glfs_fd) { .next = files, .fs = fd->fs, .image = fd->image, .flags = fd->flags, .first = fd->first };
        files = copy;
        fd->first->descriptors++;
    }
    fake_release_lock();
    errno = EBADF;
    return copy;
}

int glfs_close(struct glfs_fd *fd)
{
    /* The file is gone whatever the answer is. */
    bool fine = fake_begin(FAKE_CLOSE);
    int error = errno;

    fake_acquire();
    if (fake_usable(fd)) {
        if (fd->in_flight) {
            fake_violate("glfs_close was called while operations are in flight");
        }
        fd->closed = true;
        fd->first->descriptors--;
        if (!fd->first->descriptors) {
            fd->fs->open_files--;
            open_files--;
        }
    }
    fake_release_lock();
    errno = error;
    return fine ? 0 : -1;
}

int glfs_unlink(struct glfs *fs, const char *path)
{
    struct fake_image *image;

    (void)fs;
    if (!fake_begin(FAKE_UNLINK)) {
        return -1;
    }
    fake_acquire();
    image = fake_find(path);
    if (image) {
        fake_unlink(image);
    }
    fake_release_lock();
    errno = ENOENT;
    return image ? 0 : -1;
}

/* Begins a call on a file; with the lock if it answers true. */
static bool begin(enum fake_call call, struct glfs_fd *fd)
{
    if (!fake_begin(call)) {
        return false;
    }
    fake_acquire();
    if (!fake_usable(fd)) {
        fake_release_lock();
        errno = EBADF;
        return false;
    }
    return true;
}

/* Ends it with a result or -errno. */
static ssize_t end(ssize_t result)
{
    fake_release_lock();
    if (result < 0) {
        errno = -result;
        return -1;
    }
    return result;
}

off_t glfs_lseek(struct glfs_fd *fd, off_t offset, int whence)
{
    off_t found;

    if (!begin(FAKE_LSEEK, fd)) {
        return -1;
    }
    found = fake_seek_in(fd->image, offset, whence);
    if (found >= 0) {
        fd->offset = found;
    }
    if (end(found) < 0 || !fake_begin(FAKE_LSEEK_ANSWER)) {
        return -1;
    }
    /* The library answers with the position, whoever has moved it meanwhile. */
    fake_acquire();
    found = fd->offset;
    fake_release_lock();
    return found;
}

int glfs_fstat(struct glfs_fd *fd, struct stat *buf)
{
    if (!begin(FAKE_FSTAT, fd)) {
        return -1;
    }
    memset(buf, 0, sizeof(*buf));
    buf->st_size = fake_seek_in(fd->image, 0, SEEK_END);
    buf->st_blocks = fake_allocated(fd->image) / 512;
    return end(0);
}

ssize_t glfs_pread(struct glfs_fd *fd, void *buf, size_t count, off_t offset, int flags, struct glfs_stat *poststat)
{
    struct iovec iov = { .iov_base = buf, .iov_len = count };

    (void)flags;
    (void)poststat;
    return begin(FAKE_PREAD, fd) ? end(fake_read(fd, &iov, 1, offset, SIZE_MAX)) : -1;
}

int glfs_ftruncate(struct glfs_fd *fd, off_t length, struct glfs_stat *prestat, struct glfs_stat *poststat)
{
    (void)prestat;
    (void)poststat;
    return begin(FAKE_FTRUNCATE, fd) ? (int)end(fake_set_length(fd->image, length)) : -1;
}

int glfs_fallocate(struct glfs_fd *fd, int keep_size, off_t offset, size_t len)
{
    (void)keep_size;
    return begin(FAKE_FALLOCATE, fd) ? (int)end(fake_zero(fd, offset, len)) : -1;
}

int glfs_zerofill(struct glfs_fd *fd, off_t offset, off_t len)
{
    return begin(FAKE_ZEROFILL, fd) ? (int)end(fake_zero(fd, offset, len)) : -1;
}

/* --- For tests ------------------------------------------------------------------------------------------------------------ */

void fake_image_read_only(int error)
{
    fake_acquire();
    read_only_error = error;
    fake_release_lock();
}

void fake_wait_for_no_file(void)
{
    fake_acquire();
    while (open_files) {
        pthread_cond_wait(&fake_changed, &fake_lock);
    }
    fake_release_lock();
}

unsigned fake_open_files(void)
{
    unsigned count;

    fake_acquire();
    count = open_files;
    fake_release_lock();
    return count;
}
