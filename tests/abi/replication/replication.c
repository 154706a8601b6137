/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */

#include "replication.h"

#include <stdio.h>

static char message[1024];

/* Keeps a message, and frees the error. */
static const char *told(Error *error)
{
    if (!error) {
        return NULL;
    }
    snprintf(message, sizeof(message), "%s", error->message);
    error_free(error);
    return message;
}

int side_open_with(BlockDriverState *bs, const char *options, Error **errp)
{
    struct options *dict = options_new(options);
    int ret;

    bs->child_perm = qbr_replication_child_perm;
    ret = qbr_replication_open(bs, as_qdict(dict), QBR_O_RDWR, errp);
    if (ret >= 0) {
        CHECK_INT(options_left(dict), 0);
    }
    options_free(dict);
    return ret;
}

void side_open(struct side_node *node, enum side side)
{
    static const char *const options[] = {
        "file=active,mode=primary",
        "file=active,mode=secondary,top-id=top",
    };
    Error *error = NULL;
    int ret;

    *node = (struct side_node) {
        .bs = { .name = "r" },
        .active = disk_new("active", R_BYTES),
        .hidden = disk_new("hidden", R_BYTES),
        .secondary = disk_new("secondary", R_BYTES),
    };
    replica = (struct replica) {
        .writable = true, .active = node->active, .hidden = node->hidden, .secondary = node->secondary,
        .secondary_has_user = true, .can_be_emptied = true, .hidden_read_only = true, .top = "top",
        .cancelled_commit = -ECANCELED,
    };
    ret = side_open_with(&node->bs, options[side], &error);
    if (ret < 0) {
        test_fail(__FILE__, __LINE__, "open fails with %d: %s", ret, error ? error->message : "no error set");
    }
    CHECK(!error);
    CHECK_INT(replica.registered, 1);
}

void side_close(struct side_node *node)
{
    qbr_replication_close(&node->bs);
    CHECK(!node->bs.state);
    CHECK_INT(replica.registered, 0);
    CHECK_INT(replica.blocked, 0);
    CHECK(!replica.backup_runs && !replica.commit_runs);
    while (node->bs.child_count) {
        qbr_host_child_detach(&node->bs, node->bs.children[0]);
    }
    disk_free(node->active);
    disk_free(node->hidden);
    disk_free(node->secondary);
}

void side_check_let_go(struct side_node *node)
{
    CHECK_INT(node->bs.child_count, 1);
    CHECK_INT(replica.blocked, 0);
    CHECK(replica.hidden_read_only);
    CHECK(!replica.backup_runs);
}

void side_bring(struct side_node *node, enum side side, enum stage stage)
{
    side_open(node, side);
    if (stage != NONE) {
        CHECK(!side_start(node, side));
    }
    if (stage == STOPPED) {
        CHECK(!side_stop(node, false));
    }
    if (stage == FAILOVER || stage == FAILOVER_FAILED || stage == FAILED_OVER) {
        CHECK_INT(side, SECONDARY);
        CHECK(!side_stop(node, true));
    }
    if (stage == FAILOVER_FAILED) {
        replica_end_commit(-ENOSPC);
    }
    if (stage == FAILED_OVER) {
        replica_end_commit(0);
    }
}

const char *side_start(struct side_node *node, enum side as)
{
    Error *error = NULL;

    qbr_replication_start(&node->bs, as == PRIMARY ? QBR_REPLICATION_PRIMARY : QBR_REPLICATION_SECONDARY, &error);
    return told(error);
}

const char *side_stop(struct side_node *node, bool failover)
{
    Error *error = NULL;

    qbr_replication_stop(&node->bs, failover, &error);
    return told(error);
}

const char *side_checkpoint(struct side_node *node)
{
    Error *error = NULL;

    qbr_replication_checkpoint(&node->bs, &error);
    return told(error);
}

const char *side_get_error(struct side_node *node)
{
    Error *error = NULL;

    qbr_replication_get_error(&node->bs, &error);
    return told(error);
}

struct side_request {
    BlockDriverState *bs;
    struct co *co;
    enum replication_op op;
    int64_t offset, bytes, ret;
    unsigned flags;
    QEMUIOVector *qiov;
    size_t skip;
    Error *error;
};

static void entry(void *opaque)
{
    struct side_request *rq = opaque;

    switch (rq->op) {
    case R_READ:
        rq->ret = qbr_replication_co_preadv_part(qbr_host_bs_state(rq->bs), rq->offset, rq->bytes, rq->qiov, rq->skip, rq->flags);
        break;
    case R_WRITE:
        rq->ret = qbr_replication_co_pwritev_part(qbr_host_bs_state(rq->bs), rq->offset, rq->bytes, rq->qiov, rq->skip, rq->flags);
        break;
    case R_ZERO:
        rq->ret = qbr_replication_co_pwrite_zeroes(rq->bs, rq->offset, rq->bytes, rq->flags);
        break;
    case R_DISCARD:
        rq->ret = qbr_replication_co_pdiscard(rq->bs, rq->offset, rq->bytes);
        break;
    case R_TRUNCATE:
        rq->ret = qbr_replication_co_truncate(rq->bs, rq->bytes, true, 0, rq->flags, &rq->error);
        break;
    case R_LENGTH:
        rq->ret = qbr_replication_getlength(rq->bs);
        break;
    case R_FLUSH:
        rq->ret = qbr_replication_co_flush(rq->bs);
        break;
    }
}

int64_t side_transfer(struct side_node *node, enum replication_op op, int64_t offset, int64_t bytes, QEMUIOVector *qiov, size_t skip)
{
    struct side_request rq = { .bs = &node->bs, .op = op, .offset = offset, .bytes = bytes, .qiov = qiov, .skip = skip };

    co_run(entry, &rq);
    return rq.ret;
}

int64_t side_request(struct side_node *node, enum replication_op op, int64_t offset, int64_t bytes, unsigned flags)
{
    struct side_request rq = {
        .bs = &node->bs, .op = op, .offset = offset, .bytes = bytes, .flags = flags, .qiov = qiov_flat(bytes),
    };

    co_run(entry, &rq);
    qiov_free(rq.qiov);
    message[0] = '\0';
    told(rq.error);
    return rq.ret;
}

struct side_request *side_start_request(struct side_node *node, enum replication_op op, int64_t offset, int64_t bytes)
{
    struct side_request *rq = malloc(sizeof(*rq));

    *rq = (struct side_request) { .bs = &node->bs, .op = op, .offset = offset, .bytes = bytes, .qiov = qiov_flat(bytes) };
    rq->co = co_start(loop_default(), entry, rq);
    return rq;
}

int64_t side_finish(struct side_request *rq)
{
    int64_t ret;

    co_join(rq->co);
    ret = rq->ret;
    qiov_free(rq->qiov);
    free(rq);
    return ret;
}

const char *side_truncate_message(void)
{
    return message;
}
