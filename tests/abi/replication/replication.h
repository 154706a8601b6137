/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Replication nodes over disks in memory, and what is done to them. */
#ifndef QBR_TEST_REPLICATION_H
#define QBR_TEST_REPLICATION_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../host/host.h"
#include "../host/replica.h"
#include "../test.h"

enum side { PRIMARY, SECONDARY };

enum stage { NONE, RUNNING, FAILOVER, FAILOVER_FAILED, STOPPED, FAILED_OVER, STAGES };

/* A node named "r" and its disks. */
struct side_node {
    BlockDriverState bs;
    struct disk *active, *hidden, *secondary;
};

enum replication_op { R_READ, R_WRITE, R_ZERO, R_DISCARD, R_TRUNCATE, R_LENGTH, R_FLUSH };

#define R_BYTES 32768

/* Opens a node over new disks of R_BYTES bytes. */
void side_open(struct side_node *node, enum side side);
/* Closes it as the block layer does, checks that nothing is left, and frees the disks. */
void side_close(struct side_node *node);
/* Opens one with these options over a disk named "active". */
int side_open_with(BlockDriverState *bs, const char *options, Error **errp);
/* Brings a new node to a stage. */
void side_bring(struct side_node *node, enum side side, enum stage stage);

/* Does something; NULL if that worked, else the message, valid until the next call. */
const char *side_start(struct side_node *node, enum side as);
const char *side_stop(struct side_node *node, bool failover);
const char *side_checkpoint(struct side_node *node);
const char *side_get_error(struct side_node *node);

/* A request of @bytes at @offset, in a coroutine. */
int64_t side_request(struct side_node *node, enum replication_op op, int64_t offset, int64_t bytes, unsigned flags);
/* The same, to be waited for. */
struct side_request *side_start_request(struct side_node *node, enum replication_op op, int64_t offset, int64_t bytes);
int64_t side_finish(struct side_request *rq);
/* A read or write of @bytes at @offset with a vector, from its byte @skip on, in a coroutine. */
int64_t side_transfer(struct side_node *node, enum replication_op op, int64_t offset, int64_t bytes, QEMUIOVector *qiov, size_t skip);
/* The message of the last truncate. */
const char *side_truncate_message(void);

/* Checks that the node holds nothing of what a started secondary does. */
void side_check_let_go(struct side_node *node);

#endif
