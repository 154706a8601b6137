/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Arguments that the block layer never passes: an error number, an error where there is a place for it, never a crash. */

#include "quorum.h"

static void check_refused(struct quorum_request rq, int64_t expected)
{
    Error *error = NULL;

    CHECK_INT(quorum_run(rq), expected);
    if (rq.op == Q_TRUNCATE) {
        rq.errp = &error;
        CHECK_INT(quorum_run(rq), expected);
        CHECK(!!error == (expected < 0));
        error_free(error);
    }
}

static void check_all_refused(BlockDriverState *bs, int64_t expected)
{
    QEMUIOVector *qiov = qiov_flat(512);
    int64_t reach;
    enum quorum_op op;

    for (op = Q_READ; op <= Q_LENGTH; op++) {
        check_refused((struct quorum_request) { .op = op, .bs = bs, .bytes = 512, .qiov = qiov, .pnum = &reach },
                      expected);
    }
    qiov_free(qiov);
}

/* Calls that return nothing: an error where they have a place for it, and none without one. */
static void check_changes_refused(BlockDriverState *bs, BlockDriverState *node, BdrvChild *child)
{
    Error *error = NULL;

    quorum.add_child(bs, node, &error);
    CHECK(error);
    error_free(error);
    error = NULL;
    quorum.del_child(bs, child, &error);
    CHECK(error);
    error_free(error);
    quorum.add_child(bs, node, NULL);
    quorum.del_child(bs, child, NULL);
}

TEST(quorum_requests_without_a_node_are_einval)
{
    struct disk *disk = disk_new("disk", 512);
    struct options *target = options_new("");

    check_all_refused(NULL, -EINVAL);
    check_changes_refused(NULL, &disk->bs, NULL);
    check_changes_refused(NULL, NULL, NULL);
    quorum.gather_child_options(NULL, as_qdict(target), false);
    CHECK_INT(options_left(target), 0);
    CHECK(!quorum.recurse_can_replace(NULL, &disk->bs));
    quorum.close(NULL);
    options_free(target);
    disk_free(disk);
}

TEST(quorum_requests_of_a_node_that_is_not_open_are_enomedium)
{
    BlockDriverState bs = { .name = "closed" };
    struct disk *disk = disk_new("disk", 512);

    check_all_refused(&bs, -ENOMEDIUM);
    check_changes_refused(&bs, &disk->bs, NULL);
    CHECK(!quorum.recurse_can_replace(&bs, &disk->bs));
    quorum.close(&bs);
    CHECK_INT(disk->attached, 0);
    disk_free(disk);
}

TEST(quorum_open_without_node_or_options_is_einval)
{
    BlockDriverState bs = { .name = "node" };
    struct options *options = options_new("children.0=disk,vote-threshold=#1");
    Error *error = NULL;

    CHECK_INT(quorum.open(NULL, as_qdict(options), 0, &error), -EINVAL);
    CHECK(error);
    error_free(error);
    error = NULL;
    CHECK_INT(quorum.open(&bs, NULL, 0, &error), -EINVAL);
    CHECK(error);
    error_free(error);
    CHECK_INT(quorum.open(NULL, NULL, 0, NULL), -EINVAL);
    CHECK(!bs.state);
    options_free(options);
}

TEST(quorum_child_perm_answers_without_a_node_or_places)
{
    uint64_t wanted = 0, shared = 0;
    struct voters voters;

    quorum.child_perm(NULL, NULL, 0, NULL, QBR_PERM_WRITE, ~0ull, &wanted, &shared);
    CHECK_INT(wanted, QBR_PERM_WRITE);
    CHECK_INT(shared, QBR_PERM_CONSISTENT_READ | QBR_PERM_WRITE_UNCHANGED);
    voters_open(&voters, 1, 512, "vote-threshold=#1");
    quorum.child_perm(&voters.bs, NULL, 0, NULL, 0, 0, NULL, NULL);
    voters_close(&voters);
}

TEST(quorum_changes_without_a_child_or_a_node_to_add_are_refused)
{
    struct voters voters;

    voters_open(&voters, 2, 512, "vote-threshold=#1");
    check_changes_refused(&voters.bs, NULL, NULL);
    CHECK(!quorum.recurse_can_replace(&voters.bs, NULL));
    quorum.gather_child_options(&voters.bs, NULL, false);
    CHECK(!quorum.dirname(&voters.bs, NULL));
    voters_close(&voters);
}

/* Ranges that are none. */
static const struct range {
    int64_t offset;
    int64_t bytes;
} bad_ranges[] = { { -1, 512 }, { 0, -1 }, { INT64_MIN, 0 }, { INT64_MAX, 1 }, { INT64_MAX, INT64_MAX }, { 1, INT64_MAX } };

#define BAD_RANGES (sizeof(bad_ranges) / sizeof(bad_ranges[0]))

TEST(quorum_refuses_negative_and_overflowing_ranges_and_asks_no_child)
{
    static const enum quorum_op ops[] = { Q_READ, Q_WRITE, Q_ZERO, Q_DISCARD, Q_STATUS };
    QEMUIOVector *qiov = qiov_flat(512);
    struct voters voters;
    unsigned i, j, op;

    voters_open(&voters, 3, 4096, "vote-threshold=#2,rewrite-corrupted=?on");
    for (i = 0; i < BAD_RANGES; i++) {
        for (j = 0; j < sizeof(ops) / sizeof(ops[0]); j++) {
            check_refused((struct quorum_request) {
                .op = ops[j], .bs = &voters.bs, .offset = bad_ranges[i].offset, .bytes = bad_ranges[i].bytes,
                .qiov = qiov }, -EINVAL);
        }
    }
    for (op = 0; op < CHILD_OPS; op++) {
        CHECK_INT(voters_calls(&voters, op), 0);
    }
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(quorum_refuses_to_truncate_to_a_negative_length)
{
    struct voters voters;

    voters_open(&voters, 2, 4096, "vote-threshold=#1");
    check_refused((struct quorum_request) { .op = Q_TRUNCATE, .bs = &voters.bs, .offset = -1 }, -EINVAL);
    check_refused((struct quorum_request) { .op = Q_TRUNCATE, .bs = &voters.bs, .offset = INT64_MIN }, -EINVAL);
    CHECK_INT(voters_calls(&voters, QBR_CHILD_TRUNCATE), 0);
    voters_close(&voters);
}

TEST(quorum_refuses_a_missing_vector_and_one_of_another_size_than_the_range)
{
    static const char *const patterns[] = { "quorum", "fifo" };
    QEMUIOVector *qiov = qiov_flat(512);
    struct voters voters;
    unsigned i;

    for (i = 0; i < 2; i++) {
        char options[100] = "vote-threshold=#1,read-pattern=";
        int64_t bytes;

        voters_open(&voters, 2, 4096, strcat(options, patterns[i]));
        for (bytes = 511; bytes <= 513; bytes++) {
            QEMUIOVector *wrong = bytes == 512 ? NULL : qiov;

            check_refused((struct quorum_request) { .op = Q_READ, .bs = &voters.bs, .bytes = bytes, .qiov = wrong },
                          -EINVAL);
            check_refused((struct quorum_request) { .op = Q_WRITE, .bs = &voters.bs, .bytes = bytes, .qiov = wrong },
                          -EINVAL);
        }
        CHECK_INT(voters_calls(&voters, QBR_CHILD_READ) + voters_calls(&voters, QBR_CHILD_WRITE), 0);
        voters_close(&voters);
    }
    qiov_free(qiov);
}

TEST(quorum_requests_without_bytes_succeed)
{
    QEMUIOVector empty = { 0 };
    struct voters voters;

    voters_open(&voters, 3, 4096, "vote-threshold=#2,rewrite-corrupted=?on");
    CHECK_INT(quorum_read(&voters.bs, 0, &empty), 0);
    CHECK_INT(quorum_write(&voters.bs, 4096, &empty), 0);
    check_refused((struct quorum_request) { .op = Q_ZERO, .bs = &voters.bs }, 0);
    check_refused((struct quorum_request) { .op = Q_DISCARD, .bs = &voters.bs }, 0);
    CHECK(disk_is_intact(voters.disk[0], 0, 4096));
    voters_close(&voters);
}

TEST(quorum_refuses_a_read_that_no_memory_can_hold)
{
    /* Only its size is looked at. */
    struct iovec element = { .iov_base = (void *)8, .iov_len = (size_t)3 << 30 };
    QEMUIOVector huge = { .iov = &element, .niov = 1, .size = element.iov_len };
    struct voters voters;

    voters_open(&voters, 2, 4096, "vote-threshold=#1");
    CHECK_INT(quorum_read(&voters.bs, 0, &huge), -EINVAL);
    CHECK_INT(voters_calls(&voters, QBR_CHILD_READ), 0);
    voters_close(&voters);
}

TEST(quorum_close_twice_closes_once)
{
    struct voters voters;

    voters_open(&voters, 3, 512, "vote-threshold=#2");
    quorum.close(&voters.bs);
    CHECK_INT(disks_attached(), 0);
    voters_close(&voters);
}
