/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */

#include "rbd.h"

/* Version 7, compatible with 1, 4 bytes, kind 3. */
const unsigned char header_update[HEADER_UPDATE_SIZE] = { 7, 1, 4, 0, 0, 0, 3, 0, 0, 0 };

static int64_t call(struct rbd_request *rq)
{
    switch (rq->op) {
    case R_READ:
        return rbd.co_preadv(rq->bs, rq->offset, rq->bytes, rq->qiov, rq->flags);
    case R_WRITE:
        return rbd.co_pwritev(rq->bs, rq->offset, rq->bytes, rq->qiov, rq->flags);
    case R_ZERO:
        return rbd.co_pwrite_zeroes(rq->bs, rq->offset, rq->bytes, rq->flags);
    case R_DISCARD:
        return rbd.co_pdiscard(rq->bs, rq->offset, rq->bytes);
    case R_FLUSH:
        return rbd.co_flush_to_disk(rq->bs);
    case R_STATUS:
        return rbd.co_block_status(rq->bs, rq->mode, rq->offset, rq->bytes, rq->pnum, rq->map, rq->file);
    case R_TRUNCATE:
        return rbd.co_truncate(rq->bs, rq->offset, true, rq->prealloc, 0, rq->errp);
    case R_LENGTH:
        return rbd.getlength(rq->bs);
    case R_INVALIDATE:
        rbd.co_invalidate_cache(rq->bs, rq->errp);
        return 0;
    case R_CREATE:
        return rbd.co_create(as_create_options(rq->options), rq->errp);
    case R_CREATE_OPTS:
        return rbd.co_create_opts(NULL, rq->filename, as_opts(rq->options), rq->errp);
    }
    return -ENOSYS;
}

static void entry(void *opaque)
{
    struct rbd_request *rq = opaque;

    rq->ret = call(rq);
}

struct rbd_request *rbd_start(struct loop *loop, struct rbd_request request)
{
    struct rbd_request *rq = malloc(sizeof(*rq));

    *rq = request;
    rq->co = co_start(loop, entry, rq);
    return rq;
}

int64_t rbd_finish(struct rbd_request *request)
{
    int64_t ret;

    co_join(request->co);
    ret = request->ret;
    free(request);
    return ret;
}

int64_t rbd_run(struct rbd_request request)
{
    return rbd_finish(rbd_start(loop_default(), request));
}

int64_t rbd_read(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov)
{
    return rbd_run(
        (struct rbd_request) { .op = R_READ, .bs = bs, .offset = offset, .bytes = qiov->size, .qiov = qiov });
}

struct rbd_request *rbd_start_write(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov)
{
    return rbd_start(loop_default(), (struct rbd_request) {
        .op = R_WRITE, .bs = bs, .offset = offset, .bytes = qiov->size, .qiov = qiov });
}

int64_t rbd_write(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov)
{
    return rbd_finish(rbd_start_write(bs, offset, qiov));
}

int64_t rbd_zero(BlockDriverState *bs, int64_t offset, int64_t bytes, unsigned flags)
{
    return rbd_run((struct rbd_request) { .op = R_ZERO, .bs = bs, .offset = offset, .bytes = bytes, .flags = flags });
}

int64_t rbd_discard(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    return rbd_run((struct rbd_request) { .op = R_DISCARD, .bs = bs, .offset = offset, .bytes = bytes });
}

int64_t rbd_truncate(BlockDriverState *bs, int64_t length)
{
    return rbd_run((struct rbd_request) { .op = R_TRUNCATE, .bs = bs, .offset = length });
}

int rbd_open(BlockDriverState *bs, const char *options, int flags, Error **errp)
{
    struct options *dict = options_new(options);
    int ret = rbd.open(bs, as_qdict(dict), flags, errp);

    if (ret >= 0) {
        CHECK_INT(options_left(dict), 0);
    }
    options_free(dict);
    return ret;
}

void rbd_open_ok(BlockDriverState *bs, const char *options, int flags)
{
    Error *error = NULL;
    int ret;

    if (!bs->name) {
        bs->name = "node";
    }
    ret = rbd_open(bs, options, flags, &error);
    if (ret < 0) {
        test_fail(__FILE__, __LINE__, "open fails with %d: %s", ret, error ? error->message : "no error set");
    }
    CHECK(!error);
}

void rbd_open_fails(const char *options, int flags, int error, const char *message)
{
    BlockDriverState bs = { .name = "node", .auto_read_only = -EACCES };
    Error *err = NULL;

    CHECK_INT(rbd_open(&bs, options, flags, &err), -error);
    CHECK(!bs.state);
    CHECK(err);
    CHECK_CONTAINS(err->message, message);
    error_free(err);
    ceph_wait_for_no_client();
}

void rbd_node(BlockDriverState *bs)
{
    ceph_image(IMAGE, OBJECTS * OBJECT, ORDER, 0);
    rbd_open_ok(bs, IMAGE_OPTIONS, QBR_O_RDWR);
}

void rbd_close(BlockDriverState *bs)
{
    rbd.close(bs);
    CHECK(!bs->state);
    ceph_wait_for_no_client();
}

int rbd_snapshot(BlockDriverState *bs, const char *name)
{
    QEMUSnapshotInfo info = { .id_str = "" };

    snprintf(info.name, sizeof(info.name), "%s", name);
    return rbd.snapshot_create(bs, &info);
}

void rbd_list(BlockDriverState *bs, char *names, size_t size)
{
    QEMUSnapshotInfo *table = NULL;
    int i, count = rbd.snapshot_list(bs, &table);
    size_t used = 0;

    CHECK(count >= 0);
    CHECK(!table == !count);
    *names = '\0';
    for (i = 0; i < count; i++) {
        CHECK_TEXT(table[i].id_str, table[i].name);
        used += snprintf(names + used, size - used, "%s%s", i ? " " : "", table[i].name);
        CHECK(used < size);
    }
    table_free(table);
}

QEMUIOVector *qiov_bytes_in(const size_t *sizes, uint64_t position)
{
    QEMUIOVector *qiov = qiov_new(sizes);
    size_t element, i;

    for (element = 0; element < qiov->niov; element++) {
        unsigned char *bytes = qiov->iov[element].iov_base;

        for (i = 0; i < qiov->iov[element].iov_len; i++) {
            bytes[i] = ceph_byte(position++);
        }
    }
    return qiov;
}

QEMUIOVector *qiov_bytes(size_t bytes, uint64_t position)
{
    return qiov_bytes_in((const size_t[]) { bytes, 0 }, position);
}

void check_bytes(const QEMUIOVector *qiov, size_t offset, size_t bytes, uint64_t position)
{
    unsigned char *copy = malloc(qiov->size + 1);
    size_t i;

    CHECK(offset + bytes <= qiov->size);
    qiov_copy_out(qiov, copy);
    for (i = 0; i < bytes; i++) {
        if (copy[offset + i] != ceph_byte(position + i)) {
            test_fail(__FILE__, __LINE__, "byte %zu is %#x and not %#x", offset + i, copy[offset + i], ceph_byte(position + i));
        }
    }
    free(copy);
}

void check_zeroes(const QEMUIOVector *qiov, size_t offset, size_t bytes)
{
    unsigned char *copy = malloc(qiov->size + 1);
    size_t i;

    CHECK(offset + bytes <= qiov->size);
    qiov_copy_out(qiov, copy);
    for (i = 0; i < bytes; i++) {
        if (copy[offset + i]) {
            test_fail(__FILE__, __LINE__, "byte %zu is %#x and not 0", offset + i, copy[offset + i]);
        }
    }
    free(copy);
}

void check_image(BlockDriverState *bs, int64_t offset, size_t bytes, uint64_t position)
{
    QEMUIOVector *qiov = qiov_flat(bytes);

    CHECK_INT(rbd_read(bs, offset, qiov), 0);
    check_bytes(qiov, 0, bytes, position);
    qiov_free(qiov);
}

void check_hole(BlockDriverState *bs, int64_t offset, size_t bytes)
{
    QEMUIOVector *qiov = qiov_flat(bytes);

    CHECK_INT(rbd_read(bs, offset, qiov), 0);
    check_zeroes(qiov, 0, bytes);
    qiov_free(qiov);
}

void fill_image(void)
{
    unsigned i;

    for (i = 0; i < OBJECTS; i++) {
        ceph_fill(ceph_data(IMAGE, i), 0, OBJECT, i * OBJECT);
    }
}
