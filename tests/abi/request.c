/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */

#include "request.h"

#include <stdlib.h>

static int64_t call(struct request *rq)
{
    switch (rq->op) {
    case OP_READ:
        return gluster.co_preadv(rq->bs, rq->offset, rq->bytes, rq->qiov, 0);
    case OP_WRITE:
        return gluster.co_pwritev(rq->bs, rq->offset, rq->bytes, rq->qiov, 0);
    case OP_ZERO:
        return gluster.co_pwrite_zeroes(rq->bs, rq->offset, rq->bytes, 0);
    case OP_DISCARD:
        return gluster.co_pdiscard(rq->bs, rq->offset, rq->bytes);
    case OP_FLUSH:
        return gluster.co_flush_to_disk(rq->bs);
    case OP_STATUS:
        return gluster.co_block_status(rq->bs, rq->mode, rq->offset, rq->bytes, rq->pnum, rq->map, rq->file);
    case OP_TRUNCATE:
        return gluster.co_truncate(rq->bs, rq->offset, !rq->inexact, rq->prealloc, 0, rq->errp);
    case OP_LENGTH:
        return gluster.getlength(rq->bs);
    case OP_ALLOCATED:
        return gluster.get_allocated_file_size(rq->bs);
    case OP_CREATE:
        return gluster.co_create(as_create_options(rq->options), rq->errp);
    case OP_CREATE_OPTS:
        return gluster.co_create_opts(NULL, rq->filename, as_opts(rq->options), rq->errp);
    }
    return -ENOSYS;
}

static void entry(void *opaque)
{
    struct request *rq = opaque;

    rq->ret = call(rq);
}

struct request *request_start(struct loop *loop, struct request request)
{
    struct request *rq = malloc(sizeof(*rq));

    *rq = request;
    rq->co = co_start(loop, entry, rq);
    return rq;
}

int64_t request_finish(struct request *request)
{
    int64_t ret;

    co_join(request->co);
    ret = request->ret;
    free(request);
    return ret;
}

int64_t request_run(struct request request)
{
    return request_finish(request_start(loop_default(), request));
}

int64_t do_read(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov)
{
    return request_run(
        (struct request) { .op = OP_READ, .bs = bs, .offset = offset, .bytes = qiov->size, .qiov = qiov });
}

int64_t do_write(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov)
{
    return request_run(
        (struct request) { .op = OP_WRITE, .bs = bs, .offset = offset, .bytes = qiov->size, .qiov = qiov });
}

int64_t do_flush(BlockDriverState *bs)
{
    return request_run((struct request) { .op = OP_FLUSH, .bs = bs });
}

void wait_allocated(BlockDriverState *bs, int64_t expected)
{
    while (gluster.get_allocated_file_size(bs) != expected) {
    }
}

int node_open(BlockDriverState *bs, const char *options, int flags, Error **errp)
{
    struct options *dict = options_new(options);
    int ret = gluster.open(bs, as_qdict(dict), flags, errp);

    if (ret >= 0) {
        CHECK_INT(options_left(dict), 0);
    }
    options_free(dict);
    return ret;
}

void node_open_ok(BlockDriverState *bs, const char *options, int flags)
{
    Error *error = NULL;
    int ret;

    if (!bs->name) {
        bs->name = "node";
    }
    ret = node_open(bs, options, flags, &error);
    if (ret < 0) {
        test_fail(__FILE__, __LINE__, "open fails with %d: %s", ret, error ? error->message : "no error set");
    }
    CHECK(!error);
}

void node_with_image(BlockDriverState *bs, int64_t length)
{
    fake_image(IMAGE, length);
    if (length) {
        fake_image_fill(IMAGE, 0, length);
    }
    node_open_ok(bs, IMAGE_URI, QBR_O_RDWR);
}
