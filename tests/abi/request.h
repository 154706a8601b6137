/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Requests of a test, each in a coroutine of its own, and the nodes they go to. */
#ifndef QBR_TEST_REQUEST_H
#define QBR_TEST_REQUEST_H

#include <errno.h>

#include "../backends/gfapi/fake.h"
#include "driver.h"
#include "test.h"

enum op {
    OP_READ,
    OP_WRITE,
    OP_ZERO,
    OP_DISCARD,
    OP_FLUSH,
    OP_STATUS,
    OP_TRUNCATE,
    OP_LENGTH,
    OP_ALLOCATED,
    OP_CREATE,
    OP_CREATE_OPTS
};

struct request {
    enum op op;
    BlockDriverState *bs;
    int64_t offset;
    int64_t bytes;
    QEMUIOVector *qiov;
    /* Block status: what is wanted, and where to put the answer. */
    unsigned mode;
    int64_t *pnum;
    int64_t *map;
    BlockDriverState **file;
    /* Truncate and create. */
    unsigned prealloc;
    bool inexact;
    struct options *options;
    const char *filename;
    Error **errp;
    /* Out. */
    int64_t ret;
    struct co *co;
};

/* Starts a request in a loop; its result. */
struct request *request_start(struct loop *loop, struct request request);
int64_t request_finish(struct request *request);
/* Both, in the default loop. */
int64_t request_run(struct request request);

int64_t do_read(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov);
int64_t do_write(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov);
int64_t do_flush(BlockDriverState *bs);
/* Asks for the size on disk until that is the answer: on a busy machine the last known one may come first. */
void wait_allocated(BlockDriverState *bs, int64_t expected);

/* The image that most tests use. */
#define IMAGE "a.img"
#define IMAGE_URI "filename=gluster://host/vol/" IMAGE

/* Opens a node; "key=value,..." options, all of which must be taken if that succeeds. */
int node_open(BlockDriverState *bs, const char *options, int flags, Error **errp);
/* Opens it, and can't fail. */
void node_open_ok(BlockDriverState *bs, const char *options, int flags);
/* Makes an image of @length bytes, filled, and opens it for reading and writing. */
void node_with_image(BlockDriverState *bs, int64_t length);

#endif
