/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Quorum nodes over disks in memory, and requests to them, each in a coroutine of its own. */
#ifndef QBR_TEST_QUORUM_H
#define QBR_TEST_QUORUM_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../driver.h"
#include "../host/child.h"
#include "../host/memory.h"
#include "../test.h"

enum quorum_op { Q_READ, Q_WRITE, Q_ZERO, Q_DISCARD, Q_FLUSH, Q_STATUS, Q_TRUNCATE, Q_LENGTH };

struct quorum_request {
    enum quorum_op op;
    BlockDriverState *bs;
    int64_t offset;
    int64_t bytes;
    QEMUIOVector *qiov;
    unsigned flags;
    /* Block status. */
    unsigned mode;
    int64_t *pnum;
    /* Truncate. */
    bool exact;
    unsigned prealloc;
    Error **errp;
    /* Out. */
    int64_t ret;
    struct co *co;
};

struct quorum_request *quorum_start(struct loop *loop, struct quorum_request request);
int64_t quorum_finish(struct quorum_request *request);
/* Both, in the default loop. */
int64_t quorum_run(struct quorum_request request);
int64_t quorum_read(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov);
int64_t quorum_write(BlockDriverState *bs, int64_t offset, QEMUIOVector *qiov);
int64_t quorum_flush(BlockDriverState *bs);

#define MAX_VOTERS 5

/* A node named "q" and its disks "disk0" and so on. */
struct voters {
    BlockDriverState bs;
    struct disk *disk[MAX_VOTERS];
    unsigned count;
};

/* Opens a node over new disks of @length bytes; @options follow those that name the children. */
void voters_open(struct voters *voters, unsigned count, int64_t length, const char *options);
/* Closes it, and frees the disks. */
void voters_close(struct voters *voters);
/* Operations of a kind that have begun, on all disks. */
unsigned voters_calls(const struct voters *voters, QbrChildOp op);
void voters_mode(struct voters *voters, QbrChildOp op, enum disk_mode mode);
/* Whether the disks' contents are as long as each other's, and the same. */
bool voters_agree(const struct voters *voters);

/* Opens a node; on success all options must be taken. */
int quorum_open(BlockDriverState *bs, const char *options, Error **errp);

/* Whether the vector has what a new disk has from an offset on. */
bool qiov_is_intact(const QEMUIOVector *qiov, int64_t offset);
/* A vector with one element of other bytes than a new disk's. */
QEMUIOVector *qiov_of_news(size_t bytes);
/* Whether a range of the disk has what such a vector brought. */
bool disk_has_news(const struct disk *disk, int64_t offset, int64_t bytes);

#endif
