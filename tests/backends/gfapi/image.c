/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Images in memory. */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "internal.h"

/* Room that every image has; address space only, as long as nothing is written. */
#define ROOM (256 << 20)
#define PIECES (ROOM / FAKE_PIECE)

struct fake_image {
    struct fake_image *next;
    char *path;
    bool unlinked;
    off_t length;
    unsigned char *bytes;
    /* How many of the bytes can be accessed: leak checkers look at all that can. */
    off_t open;
    /* Which pieces are data; the others are hole, and their bytes are zero. */
    bool data[PIECES];
    /* Which will be, once they are written back. */
    bool held_back[PIECES];
};

static struct fake_image *images;
static unsigned sector = 512;
static enum fake_seek seek_behaviour;
static bool write_behind;

/* --- With the lock -------------------------------------------------------------------------------------------------------- */

struct fake_image *fake_find(const char *path)
{
    struct fake_image *image;

    for (image = images; image; image = image->next) {
        if (!image->unlinked && !strcmp(image->path, path)) {
            return image;
        }
    }
    return NULL;
}

struct fake_image *fake_make(const char *path)
{
    struct fake_image *image = calloc(1, sizeof(*image));

    image->path = strdup(path);
    image->bytes = mmap(NULL, ROOM, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (image->bytes == MAP_FAILED) {
        abort();
    }
    image->next = images;
    images = image;
    return image;
}

/* Makes the bytes up to @end accessible. */
static void make_room(struct fake_image *image, off_t end)
{
    end = (end + FAKE_PIECE - 1) / FAKE_PIECE * FAKE_PIECE;
    if (end > image->open) {
        if (mprotect(image->bytes, end, PROT_READ | PROT_WRITE)) {
            abort();
        }
        image->open = end;
    }
}

static void set(bool *pieces, off_t offset, off_t bytes, bool value)
{
    off_t piece;

    for (piece = offset / FAKE_PIECE; piece * FAKE_PIECE < offset + bytes; piece++) {
        pieces[piece] = value;
    }
}

static void mark(struct fake_image *image, off_t offset, off_t bytes, bool data)
{
    set(image->data, offset, bytes, data);
}

void fake_write_back(struct fake_image *image)
{
    off_t piece;

    for (piece = 0; piece < PIECES; piece++) {
        image->data[piece] |= image->held_back[piece];
        image->held_back[piece] = false;
    }
}

/* Zeroes bytes; of a hole they are zero already, and are left untouched to save memory. */
static void clear(struct fake_image *image, off_t offset, off_t bytes)
{
    while (bytes > 0) {
        off_t part = FAKE_PIECE - offset % FAKE_PIECE;

        if (part > bytes) {
            part = bytes;
        }
        if (image->data[offset / FAKE_PIECE]) {
            memset(image->bytes + offset, 0, part);
        }
        offset += part;
        bytes -= part;
    }
}

int fake_set_length(struct fake_image *image, off_t length)
{
    off_t first;

    if (length < 0) {
        return -EINVAL;
    }
    if (length > ROOM) {
        return -EFBIG;
    }
    if (length < image->length) {
        clear(image, length, image->length - length);
        first = (length + FAKE_PIECE - 1) / FAKE_PIECE * FAKE_PIECE;
        if (first < image->length) {
            mark(image, first, image->length - first, false);
        }
    }
    image->length = length;
    make_room(image, length);
    return 0;
}

static bool misaligned(struct glfs_fd *fd, off_t offset, size_t bytes)
{
    return fd->flags & O_DIRECT && (offset % sector || bytes % sector);
}

static size_t total(const struct iovec *iov, int count)
{
    size_t bytes = 0;
    int i;

    for (i = 0; i < count; i++) {
        bytes += iov[i].iov_len;
    }
    return bytes;
}

ssize_t fake_read(struct glfs_fd *fd, const struct iovec *iov, int count, off_t offset, size_t most)
{
    struct fake_image *image = fd->image;
    size_t done = 0, rest;
    int i;

    if (misaligned(fd, offset, total(iov, count))) {
        return -EINVAL;
    }
    rest = offset < image->length ? (size_t)(image->length - offset) : 0;
    if (rest > most) {
        rest = most;
    }
    for (i = 0; i < count && rest; i++) {
        size_t part = iov[i].iov_len < rest ? iov[i].iov_len : rest;

        memcpy(iov[i].iov_base, image->bytes + offset + done, part);
        done += part;
        rest -= part;
    }
    return done;
}

ssize_t fake_write(struct glfs_fd *fd, const struct iovec *iov, int count, off_t offset, size_t most)
{
    struct fake_image *image = fd->image;
    size_t done = 0, rest = total(iov, count);
    int i;

    if ((fd->flags & O_ACCMODE) == O_RDONLY) {
        return -EBADF;
    }
    if (misaligned(fd, offset, rest)) {
        return -EINVAL;
    }
    if (rest > most) {
        rest = most;
    }
    if (offset > ROOM || rest > (size_t)(ROOM - offset)) {
        return -ENOSPC;
    }
    if (rest) {
        make_room(image, offset + rest);
        set(write_behind ? image->held_back : image->data, offset, rest, true);
    }
    for (i = 0; i < count && rest; i++) {
        size_t part = iov[i].iov_len < rest ? iov[i].iov_len : rest;

        memcpy(image->bytes + offset + done, iov[i].iov_base, part);
        done += part;
        rest -= part;
    }
    if (offset + (off_t)done > image->length) {
        image->length = offset + done;
    }
    return done;
}

int fake_zero(struct glfs_fd *fd, off_t offset, off_t bytes)
{
    struct fake_image *image = fd->image;

    if (offset > ROOM || bytes > ROOM - offset) {
        return -ENOSPC;
    }
    if (bytes) {
        make_room(image, offset + bytes);
        clear(image, offset, bytes);
        mark(image, offset, bytes, true);
    }
    if (offset + bytes > image->length) {
        image->length = offset + bytes;
    }
    return 0;
}

int fake_punch(struct glfs_fd *fd, off_t offset, off_t bytes)
{
    off_t end = offset + bytes < fd->image->length ? offset + bytes : fd->image->length;
    off_t first = (offset + FAKE_PIECE - 1) / FAKE_PIECE * FAKE_PIECE;

    if (offset < end) {
        clear(fd->image, offset, end - offset);
        if (first + FAKE_PIECE <= end) {
            mark(fd->image, first, (end - first) / FAKE_PIECE * FAKE_PIECE, false);
        }
    }
    return 0;
}

static off_t next_piece(struct fake_image *image, off_t offset, bool data)
{
    off_t at = offset;

    while (at < image->length && image->data[at / FAKE_PIECE] != data) {
        at = (at / FAKE_PIECE + 1) * FAKE_PIECE;
    }
    if (at < image->length) {
        return at;
    }
    return data ? -ENXIO : image->length;
}

off_t fake_seek_in(struct fake_image *image, off_t offset, int whence)
{
    if (whence == SEEK_END) {
        return image->length + offset;
    }
    if (seek_behaviour == FAKE_SEEK_UNKNOWN) {
        return -EINVAL;
    }
    if (seek_behaviour == FAKE_SEEK_ALL_DATA) {
        return whence == SEEK_DATA ? offset : image->length;
    }
    if (offset >= image->length) {
        return -ENXIO;
    }
    if (seek_behaviour == FAKE_SEEK_BEFORE) {
        return offset > 0 ? offset - 1 : 0;
    }
    if (seek_behaviour == FAKE_SEEK_SAME) {
        return offset;
    }
    return next_piece(image, offset, whence == SEEK_DATA);
}

off_t fake_allocated(struct fake_image *image)
{
    off_t piece, bytes = 0;

    for (piece = 0; piece < PIECES; piece++) {
        bytes += image->data[piece] ? FAKE_PIECE : 0;
    }
    return bytes;
}

void fake_unlink(struct fake_image *image)
{
    image->unlinked = true;
}

/* --- For tests ------------------------------------------------------------------------------------------------------------ */

void fake_image(const char *path, int64_t length)
{
    fake_acquire();
    fake_set_length(fake_make(path), length);
    fake_release_lock();
}

unsigned char fake_byte(int64_t offset)
{
    /* Never zero, and different in neighbouring sectors. */
    return offset % 251 + offset / 512 % 4 + 1;
}

void fake_image_fill(const char *path, int64_t offset, int64_t bytes)
{
    struct fake_image *image;
    int64_t at;

    fake_acquire();
    image = fake_find(path);
    mark(image, offset, bytes, true);
    for (at = offset; at < offset + bytes; at++) {
        image->bytes[at] = fake_byte(at);
    }
    fake_release_lock();
}

const unsigned char *fake_image_bytes(const char *path, int64_t *length)
{
    struct fake_image *image;

    fake_acquire();
    image = fake_find(path);
    if (image && length) {
        *length = image->length;
    }
    fake_release_lock();
    return image ? image->bytes : NULL;
}

bool fake_image_exists(const char *path)
{
    return fake_image_bytes(path, NULL);
}

void fake_write_behind(bool on)
{
    fake_acquire();
    write_behind = on;
    fake_release_lock();
}

void fake_sector(unsigned bytes)
{
    fake_acquire();
    sector = bytes;
    fake_release_lock();
}

void fake_seek(enum fake_seek behaviour)
{
    fake_acquire();
    seek_behaviour = behaviour;
    fake_release_lock();
}
