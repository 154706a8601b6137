/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Nodes over images of a cluster in memory, and requests to them, each in a coroutine of its own. */
#ifndef QBR_TEST_RBD_H
#define QBR_TEST_RBD_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../backends/rados/fake.h"
#include "../driver.h"
#include "../host/memory.h"
#include "../test.h"

enum rbd_op {
    R_READ,
    R_WRITE,
    R_ZERO,
    R_DISCARD,
    R_FLUSH,
    R_STATUS,
    R_TRUNCATE,
    R_LENGTH,
    R_INVALIDATE,
    R_CREATE,
    R_CREATE_OPTS
};

struct rbd_request {
    enum rbd_op op;
    BlockDriverState *bs;
    int64_t offset;
    int64_t bytes;
    QEMUIOVector *qiov;
    unsigned flags;
    /* Block status: what is wanted, and where to put the answer. */
    unsigned mode;
    int64_t *pnum;
    int64_t *map;
    BlockDriverState **file;
    /* Truncate and create. */
    unsigned prealloc;
    struct options *options;
    const char *filename;
    Error **errp;
    /* Out. */
    int64_t ret;
    struct co *co;
};

struct rbd_request *rbd_start(struct loop *loop, struct rbd_request request);
int64_t rbd_finish(struct rbd_request *request);
/* Both, in the default loop. */
int64_t rbd_run(struct rbd_request request);
int64_t rbd_read(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov);
int64_t rbd_write(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov);
int64_t rbd_zero(BlockDriverState *bs, int64_t offset, int64_t bytes, unsigned flags);
int64_t rbd_discard(BlockDriverState *bs, int64_t offset, int64_t bytes);
int64_t rbd_truncate(BlockDriverState *bs, int64_t length);
/* Starts a write of one byte again and again, in the default loop. */
struct rbd_request *rbd_start_write(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov);

/* The image that most tests use: 16 objects of 64 KiB, and no features. */
#define IMAGE "a"
#define IMAGE_OPTIONS "pool=rbd,image=" IMAGE
#define ORDER 16
#define OBJECT ((int64_t)1 << ORDER)
#define OBJECTS 16

/* Opens a node; "key=value,..." options, all of which must be taken if that succeeds. */
int rbd_open(BlockDriverState *bs, const char *options, int flags, Error **errp);
/* Opens it, and can't fail. */
void rbd_open_ok(BlockDriverState *bs, const char *options, int flags);
/* Opening has to fail with that number, and with a message that has that part. */
void rbd_open_fails(const char *options, int flags, int error, const char *message);
/* Makes the image, and opens it for reading and writing. */
void rbd_node(BlockDriverState *bs);
/* Closes it, and waits for threads that may still know its cluster. */
void rbd_close(BlockDriverState *bs);

int rbd_snapshot(BlockDriverState *bs, const char *name);
/* The names of the snapshots, with spaces between. */
void rbd_list(BlockDriverState *bs, char *names, size_t size);

/* A vector with one element, with the bytes of a position (ceph_byte). */
QEMUIOVector *qiov_bytes(size_t bytes, uint64_t position);
/* A vector with elements of these sizes, the last one 0, filled in the same way. */
QEMUIOVector *qiov_bytes_in(const size_t *sizes, uint64_t position);
/* Whether a range of the vector has those bytes, or zeroes. */
void check_bytes(const QEMUIOVector *qiov, size_t offset, size_t bytes, uint64_t position);
void check_zeroes(const QEMUIOVector *qiov, size_t offset, size_t bytes);
/* Reads, and checks the same. */
void check_image(BlockDriverState *bs, int64_t offset, size_t bytes, uint64_t position);
void check_hole(BlockDriverState *bs, int64_t offset, size_t bytes);
/* Fills all objects of the image with the bytes of their positions. */
void fill_image(void);

/* A notification that the header has changed. */
extern const unsigned char header_update[];
#define HEADER_UPDATE_SIZE 10

#endif
