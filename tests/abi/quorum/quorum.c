/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */

#include "quorum.h"

#include <stdio.h>

static int64_t call(struct quorum_request *rq)
{
    switch (rq->op) {
    case Q_READ:
        return quorum.co_preadv(rq->bs, rq->offset, rq->bytes, rq->qiov, rq->flags);
    case Q_WRITE:
        return quorum.co_pwritev(rq->bs, rq->offset, rq->bytes, rq->qiov, rq->flags);
    case Q_ZERO:
        return quorum.co_pwrite_zeroes(rq->bs, rq->offset, rq->bytes, rq->flags);
    case Q_DISCARD:
        return quorum.co_pdiscard(rq->bs, rq->offset, rq->bytes);
    case Q_FLUSH:
        return quorum.co_flush(rq->bs);
    case Q_STATUS:
        return quorum.co_block_status(rq->bs, rq->mode, rq->offset, rq->bytes, rq->pnum, NULL, NULL);
    case Q_TRUNCATE:
        return quorum.co_truncate(rq->bs, rq->offset, rq->exact, rq->prealloc, rq->flags, rq->errp);
    case Q_LENGTH:
        return quorum.getlength(rq->bs);
    }
    return -ENOSYS;
}

static void entry(void *opaque)
{
    struct quorum_request *rq = opaque;

    rq->ret = call(rq);
}

struct quorum_request *quorum_start(struct loop *loop, struct quorum_request request)
{
    struct quorum_request *rq = malloc(sizeof(*rq));

    *rq = request;
    rq->co = co_start(loop, entry, rq);
    return rq;
}

int64_t quorum_finish(struct quorum_request *request)
{
    int64_t ret;

    co_join(request->co);
    ret = request->ret;
    free(request);
    return ret;
}

int64_t quorum_run(struct quorum_request request)
{
    return quorum_finish(quorum_start(loop_default(), request));
}

int64_t quorum_read(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov)
{
    return quorum_run((struct quorum_request) {
        .op = Q_READ, .bs = bs, .offset = offset, .bytes = qiov->size, .qiov = qiov });
}

int64_t quorum_write(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov)
{
    return quorum_run((struct quorum_request) {
        .op = Q_WRITE, .bs = bs, .offset = offset, .bytes = qiov->size, .qiov = qiov });
}

int64_t quorum_flush(BlockDriverState *bs)
{
    return quorum_run((struct quorum_request) { .op = Q_FLUSH, .bs = bs });
}

int quorum_open(BlockDriverState *bs, const char *options, Error **errp)
{
    struct options *dict = options_new(options);
    int ret;

    bs->child_perm = quorum.child_perm;
    ret = quorum.open(bs, as_qdict(dict), QBR_O_RDWR, errp);
    if (ret >= 0) {
        CHECK_INT(options_left(dict), 0);
    }
    options_free(dict);
    return ret;
}

void voters_open(struct voters *voters, unsigned count, int64_t length, const char *options)
{
    static const char *const names[MAX_VOTERS] = { "disk0", "disk1", "disk2", "disk3", "disk4" };
    Error *error = NULL;
    char text[512] = "";
    unsigned i;
    int ret;

    CHECK(count <= MAX_VOTERS);
    *voters = (struct voters) { .bs = { .name = "q" }, .count = count };
    for (i = 0; i < count; i++) {
        voters->disk[i] = disk_new(names[i], length);
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "children.%u=%s,", i, names[i]);
    }
    snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s", options);
    ret = quorum_open(&voters->bs, text, &error);
    if (ret < 0) {
        test_fail(__FILE__, __LINE__, "open fails with %d: %s", ret, error ? error->message : "no error set");
    }
    CHECK(!error);
}

void voters_close(struct voters *voters)
{
    unsigned i;

    quorum.close(&voters->bs);
    CHECK(!voters->bs.state);
    CHECK_INT(voters->bs.child_count, 0);
    for (i = 0; i < voters->count; i++) {
        disk_free(voters->disk[i]);
    }
}

unsigned voters_calls(const struct voters *voters, QbrChildOp op)
{
    unsigned i, calls = 0;

    for (i = 0; i < voters->count; i++) {
        calls += voters->disk[i]->calls[op];
    }
    return calls;
}

void voters_mode(struct voters *voters, QbrChildOp op, enum disk_mode mode)
{
    unsigned i;

    for (i = 0; i < voters->count; i++) {
        disk_mode(voters->disk[i], op, mode);
    }
}

bool voters_agree(const struct voters *voters)
{
    const struct disk *first = voters->disk[0];
    unsigned i;

    for (i = 1; i < voters->count; i++) {
        const struct disk *disk = voters->disk[i];

        if (disk->length != first->length || memcmp(disk->content, first->content, first->length)) {
            return false;
        }
    }
    return true;
}

bool qiov_is_intact(const QEMUIOVector *qiov, int64_t offset)
{
    unsigned char *copy = malloc(qiov->size + 1);
    bool same = true;
    size_t at;

    qiov_copy_out(qiov, copy);
    for (at = 0; at < qiov->size; at++) {
        same &= copy[at] == disk_byte(offset + at);
    }
    free(copy);
    return same;
}

static unsigned char news(size_t at)
{
    return at * 5 + 3;
}

QEMUIOVector *qiov_of_news(size_t bytes)
{
    QEMUIOVector *qiov = qiov_flat(bytes);
    unsigned char *memory = qiov->iov[0].iov_base;
    size_t at;

    for (at = 0; at < bytes; at++) {
        memory[at] = news(at);
    }
    return qiov;
}

bool disk_has_news(const struct disk *disk, int64_t offset, int64_t bytes)
{
    int64_t at;

    for (at = 0; at < bytes; at++) {
        if (disk->content[offset + at] != news(at)) {
            return false;
        }
    }
    return true;
}
