/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Arguments that the block layer never passes: an error number, an error where there is a place for it, never a crash. */

#include "rbd.h"

static void check_refused_with_error(struct rbd_request rq, int64_t expected)
{
    Error *error = NULL;

    rq.errp = &error;
    CHECK_INT(rbd_run(rq), expected);
    CHECK(error);
    error_free(error);
    rq.errp = NULL;
    CHECK_INT(rbd_run(rq), expected);
}

/* All requests to a node that can't be used. */
static void check_all(BlockDriverState *bs, int expected)
{
    QEMUIOVector *qiov = qiov_flat(512);
    QEMUSnapshotInfo info = { .name = "s" };
    QEMUSnapshotInfo *table = &info;
    BlockDriverInfo driver_info;
    Error *error = NULL;

    CHECK_INT(rbd_read(bs, 0, qiov), expected);
    CHECK_INT(rbd_write(bs, 0, qiov), expected);
    CHECK_INT(rbd_zero(bs, 0, 512, 0), expected);
    CHECK_INT(rbd_discard(bs, 0, 512), expected);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_FLUSH, .bs = bs }), expected);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_STATUS, .bs = bs, .bytes = 512 }), expected);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_LENGTH, .bs = bs }), expected);
    check_refused_with_error((struct rbd_request) { .op = R_TRUNCATE, .bs = bs }, expected);
    CHECK_INT(rbd.get_info(bs, &driver_info), expected);
    CHECK(!rbd.get_specific_info(bs, &error));
    CHECK(error);
    error_free(error);
    CHECK(!rbd.get_specific_info(bs, NULL));
    CHECK_INT(rbd.inactivate(bs), expected);
    CHECK_INT(rbd.snapshot_create(bs, &info), expected);
    CHECK_INT(rbd.snapshot_goto(bs, "s"), expected);
    error = NULL;
    CHECK_INT(rbd.snapshot_delete(bs, "s", "s", &error), expected);
    CHECK(error);
    error_free(error);
    CHECK_INT(rbd.snapshot_delete(bs, "s", "s", NULL), expected);
    CHECK_INT(rbd.snapshot_list(bs, &table), expected);
    CHECK(!table);
    error = NULL;
    rbd_run((struct rbd_request) { .op = R_INVALIDATE, .bs = bs, .errp = &error });
    CHECK(error);
    error_free(error);
    rbd.close(bs);
    qiov_free(qiov);
}

TEST(rbd_requests_without_a_node_are_einval)
{
    check_all(NULL, -EINVAL);
}

TEST(rbd_requests_of_a_node_that_is_not_open_are_enomedium)
{
    BlockDriverState bs = { .name = "closed" };

    check_all(&bs, -ENOMEDIUM);
}

TEST(rbd_requests_without_their_arguments_are_einval)
{
    BlockDriverState bs = { 0 };
    Error *error = NULL;

    rbd_node(&bs);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_READ, .bs = &bs, .bytes = 512 }), -EINVAL);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_WRITE, .bs = &bs, .bytes = 512 }), -EINVAL);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_STATUS, .bs = &bs, .bytes = 512, .mode = QBR_WANT_ZERO }),
              QBR_BLOCK_ZERO | QBR_BLOCK_OFFSET_VALID);
    CHECK_INT(rbd.snapshot_create(&bs, NULL), -EINVAL);
    CHECK_INT(rbd.snapshot_goto(&bs, NULL), -EINVAL);
    CHECK_INT(rbd.snapshot_delete(&bs, NULL, NULL, &error), -EINVAL);
    CHECK(error);
    error_free(error);
    CHECK_INT(rbd.snapshot_list(&bs, NULL), -EINVAL);
    rbd_close(&bs);
}

TEST(rbd_open_and_create_without_arguments_are_einval)
{
    BlockDriverState bs = { .name = "node" };
    struct options *options = options_new(IMAGE_OPTIONS);
    Error *error = NULL;

    CHECK_INT(rbd.open(NULL, as_qdict(options), QBR_O_RDWR, &error), -EINVAL);
    CHECK(error);
    error_free(error);
    error = NULL;
    CHECK_INT(rbd.open(&bs, NULL, QBR_O_RDWR, &error), -EINVAL);
    CHECK(error);
    error_free(error);
    CHECK_INT(rbd.open(NULL, NULL, 0, NULL), -EINVAL);
    check_refused_with_error((struct rbd_request) { .op = R_CREATE }, -EINVAL);
    check_refused_with_error((struct rbd_request) { .op = R_CREATE_OPTS, .options = options }, -EINVAL);
    check_refused_with_error((struct rbd_request) { .op = R_CREATE_OPTS, .filename = "rbd:rbd/a" }, -EINVAL);
    error = NULL;
    rbd.parse_filename(NULL, as_qdict(options), &error);
    CHECK(error);
    error_free(error);
    error = NULL;
    rbd.parse_filename("rbd:rbd/a", NULL, &error);
    CHECK(error);
    error_free(error);
    rbd.parse_filename(NULL, NULL, NULL);
    CHECK_INT(ceph_count(CEPH_CREATE), 0);
    options_free(options);
}

TEST(rbd_reopen_without_state_or_node_fails_or_does_nothing)
{
    BlockDriverState closed = { .name = "closed" };
    BDRVReopenState nowhere = { .flags = QBR_O_RDWR };
    BDRVReopenState of_closed = { .bs = &closed };
    Error *error = NULL;

    CHECK_INT(rbd.reopen_prepare(NULL, NULL, &error), -EINVAL);
    CHECK(error);
    error_free(error);
    CHECK_INT(rbd.reopen_prepare(&nowhere, NULL, NULL), -EINVAL);
    CHECK_INT(rbd.reopen_prepare(&of_closed, NULL, NULL), -ENOMEDIUM);
    rbd.reopen_commit(NULL);
    rbd.reopen_commit(&nowhere);
    rbd.reopen_commit(&of_closed);
    rbd.reopen_abort(NULL);
    rbd.reopen_abort(&nowhere);
    rbd.reopen_abort(&of_closed);
    CHECK(!closed.state && !nowhere.state && !of_closed.state);
}

TEST(rbd_ranges_that_are_none_are_einval)
{
    static const struct {
        int64_t offset;
        int64_t bytes;
    } ranges[] = { { -1, 512 }, { 0, -1 }, { INT64_MAX, 512 }, { INT64_MIN, 0 }, { 1, INT64_MAX }, { INT64_MAX, INT64_MAX } };
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(512);
    unsigned i, op;

    rbd_node(&bs);
    ceph_log_clear();
    for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        for (op = R_READ; op <= R_STATUS; op++) {
            if (op != R_FLUSH) {
                CHECK_INT(rbd_run((struct rbd_request) { .op = op, .bs = &bs, .offset = ranges[i].offset,
                                                         .bytes = ranges[i].bytes, .qiov = qiov }), -EINVAL);
            }
        }
    }
    CHECK_TEXT(ceph_log(), "");
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_vector_of_another_size_than_the_range_is_einval)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(512);
    int64_t bytes;

    rbd_node(&bs);
    ceph_log_clear();
    for (bytes = 0; bytes <= 1024; bytes += 511) {
        CHECK_INT(rbd_run((struct rbd_request) { .op = R_READ, .bs = &bs, .bytes = bytes, .qiov = qiov }), -EINVAL);
        CHECK_INT(rbd_run((struct rbd_request) { .op = R_WRITE, .bs = &bs, .bytes = bytes, .qiov = qiov }), -EINVAL);
    }
    CHECK_TEXT(ceph_log(), "");
    rbd_close(&bs);
    qiov_free(qiov);
}
