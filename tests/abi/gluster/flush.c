/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Flushes, and what a failed one means for the node. */

#include "../request.h"

#include "../host/thread.h"

static void fail_flush(BlockDriverState *bs, int error)
{
    fake_next_error(FAKE_FSYNC, error);
    CHECK_INT(do_flush(bs), -error);
}

TEST(flush_waits_for_the_library)
{
    BlockDriverState bs = { 0 };
    struct request *rq;

    node_with_image(&bs, 4096);
    fake_mode(FAKE_WHEN_RELEASED);
    rq = request_start(loop_default(), (struct request) { .op = OP_FLUSH, .bs = &bs });
    co_wait_parked(rq->co, 1);
    CHECK_INT(fake_wait_for_held(1), 1);
    fake_release_all();
    CHECK_INT(request_finish(rq), 0);
    gluster.close(&bs);
}

TEST(after_a_failed_flush_each_later_one_fails_with_the_same_error)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 4096);
    fail_flush(&bs, ENOSPC);
    CHECK_INT(do_flush(&bs), -ENOSPC);
    fake_next_error(FAKE_FSYNC, EIO);
    CHECK_INT(do_flush(&bs), -ENOSPC);
    CHECK_INT(fake_count(FAKE_FSYNC), 1);
    gluster.close(&bs);
}

TEST(a_failed_flush_is_reported_once_and_names_the_node)
{
    BlockDriverState bs = { .name = "disk0" };

    node_with_image(&bs, 4096);
    fail_flush(&bs, EIO);
    CHECK_INT(do_flush(&bs), -EIO);
    CHECK_INT(errors_reported(), 1);
    CHECK_CONTAINS(last_error_reported(), "disk0");
    gluster.close(&bs);
}

TEST(a_flush_that_cannot_be_submitted_is_a_failed_one)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 4096);
    fake_fail_some(FAKE_FSYNC, 0, 1, ENOMEM);
    CHECK_INT(do_flush(&bs), -ENOMEM);
    CHECK_INT(do_flush(&bs), -ENOMEM);
    gluster.close(&bs);
}

TEST(after_a_failed_flush_all_other_requests_are_enomedium)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(512);
    Error *error = NULL;
    int64_t pnum = 7;

    node_with_image(&bs, 4096);
    fail_flush(&bs, EIO);
    CHECK_INT(do_read(&bs, 0, qiov), -ENOMEDIUM);
    CHECK_INT(do_write(&bs, 0, qiov), -ENOMEDIUM);
    CHECK_INT(request_run((struct request) { .op = OP_ZERO, .bs = &bs, .bytes = 512 }), -ENOMEDIUM);
    CHECK_INT(request_run((struct request) { .op = OP_DISCARD, .bs = &bs, .bytes = 512 }), -ENOMEDIUM);
    CHECK_INT(request_run((struct request) { .op = OP_STATUS, .bs = &bs, .bytes = 512, .pnum = &pnum }), -ENOMEDIUM);
    CHECK_INT(pnum, 7);
    CHECK_INT(request_run((struct request) { .op = OP_LENGTH, .bs = &bs }), -ENOMEDIUM);
    CHECK_INT(request_run((struct request) { .op = OP_TRUNCATE, .bs = &bs, .offset = 512, .errp = &error }), -ENOMEDIUM);
    CHECK(error);
    error_free(error);
    CHECK_INT(fake_count(FAKE_PREADV) + fake_count(FAKE_PWRITEV), 0);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(reopen_after_a_failed_flush_is_refused_and_opens_nothing)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = QBR_O_RDWR };
    Error *error = NULL;
    unsigned opened;

    node_with_image(&bs, 4096);
    fail_flush(&bs, EIO);
    opened = fake_count(FAKE_OPEN);
    CHECK_INT(gluster.reopen_prepare(&state, NULL, &error), -ENOMEDIUM);
    CHECK(error);
    error_free(error);
    CHECK_INT(fake_count(FAKE_OPEN), opened);
    gluster.close(&bs);
}

/* A node with a write that was not flushed, and a reopen of it that is prepared. */
static BDRVReopenState prepare_after_write(BlockDriverState *bs)
{
    BDRVReopenState state = { .bs = bs, .flags = QBR_O_RDWR };
    QEMUIOVector *qiov = qiov_flat(512);

    node_with_image(bs, 4096);
    CHECK_INT(do_write(bs, 0, qiov), 0);
    CHECK_INT(gluster.reopen_prepare(&state, NULL, NULL), 0);
    qiov_free(qiov);
    return state;
}

TEST(a_reopen_that_loses_writes_with_the_old_file_is_a_failed_flush)
{
    BlockDriverState bs = { .name = "disk0" };
    BDRVReopenState state = prepare_after_write(&bs);
    QEMUIOVector *qiov = qiov_flat(512);

    fake_fail_some(FAKE_CLOSE, 0, 1, ENOSPC);
    gluster.reopen_commit(&state);
    CHECK_INT(errors_reported(), 1);
    CHECK_CONTAINS(last_error_reported(), "disk0");
    CHECK_CONTAINS(last_error_reported(), "closing 'a.img'");
    CHECK_INT(do_flush(&bs), -ENOSPC);
    CHECK_INT(do_read(&bs, 0, qiov), -ENOMEDIUM);
    gluster.close(&bs);
    CHECK_INT(errors_reported(), 1);
    qiov_free(qiov);
}

TEST(a_reopen_that_loses_nothing_with_the_old_file_is_fine)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = prepare_after_write(&bs);

    CHECK_INT(do_flush(&bs), 0);
    fake_fail_some(FAKE_CLOSE, 0, 1, ENOTCONN);
    gluster.reopen_commit(&state);
    CHECK_INT(do_flush(&bs), 0);
    CHECK_INT(errors_reported(), 0);
    gluster.close(&bs);
}

TEST(a_flush_that_fails_during_a_reopen_is_remembered)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = prepare_after_write(&bs);

    fail_flush(&bs, EIO);
    gluster.reopen_commit(&state);
    CHECK_INT(do_flush(&bs), -EIO);
    CHECK_INT(errors_reported(), 1);
    gluster.close(&bs);
}

TEST(writes_that_are_lost_when_a_node_is_closed_are_reported)
{
    BlockDriverState bs = { .name = "disk0" };
    QEMUIOVector *qiov = qiov_flat(512);

    node_with_image(&bs, 4096);
    CHECK_INT(do_write(&bs, 0, qiov), 0);
    fake_fail_some(FAKE_CLOSE, 1, 1, EDQUOT);
    gluster.close(&bs);
    CHECK_INT(errors_reported(), 1);
    CHECK_CONTAINS(last_error_reported(), "disk0");
    qiov_free(qiov);
}

TEST(requests_in_flight_at_a_failed_flush_are_settled_before_the_file_is_closed)
{
    enum { COUNT = 8 };
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiovs[COUNT];
    struct request *writes[COUNT], *flush;
    unsigned i;

    node_with_image(&bs, 65536);
    fake_mode(FAKE_WHEN_RELEASED);
    for (i = 0; i < COUNT; i++) {
        qiovs[i] = qiov_flat(4096);
        writes[i] = request_start(loop_default(), (struct request) {
            .op = OP_WRITE, .bs = &bs, .offset = i * 4096, .bytes = 4096, .qiov = qiovs[i] });
    }
    fake_wait_for_held(COUNT);
    flush = request_start(loop_default(), (struct request) { .op = OP_FLUSH, .bs = &bs });
    fake_wait_for_held(COUNT + 1);
    fake_next_error(FAKE_FSYNC, EIO);
    CHECK(fake_release(COUNT));
    CHECK_INT(request_finish(flush), -EIO);
    CHECK_INT(fake_open_files(), 1);
    fake_release_all();
    for (i = 0; i < COUNT; i++) {
        CHECK_INT(request_finish(writes[i]), 0);
        qiov_free(qiovs[i]);
    }
    CHECK_INT(do_flush(&bs), -EIO);
    gluster.close(&bs);
}

TEST(a_flush_in_flight_while_another_fails_does_not_claim_success)
{
    BlockDriverState bs = { 0 };
    struct request *first, *second;

    node_with_image(&bs, 4096);
    fake_mode(FAKE_WHEN_RELEASED);
    first = request_start(loop_default(), (struct request) { .op = OP_FLUSH, .bs = &bs });
    fake_wait_for_held(1);
    second = request_start(loop_default(), (struct request) { .op = OP_FLUSH, .bs = &bs });
    fake_wait_for_held(2);
    fake_next_error(FAKE_FSYNC, EIO);
    CHECK(fake_release(0));
    CHECK_INT(request_finish(first), -EIO);
    /* The server tells of a lost write once; the second fsync knows nothing of it. */
    CHECK(fake_release(0));
    CHECK_INT(request_finish(second), -EIO);
    gluster.close(&bs);
}

TEST(close_after_a_failed_flush_closes_and_a_new_open_works)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 4096);
    fail_flush(&bs, EIO);
    gluster.close(&bs);
    CHECK_INT(fake_open_files(), 0);
    node_open_ok(&bs, IMAGE_URI, QBR_O_RDWR);
    CHECK_INT(do_flush(&bs), 0);
    gluster.close(&bs);
}
