/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* What fails, and that nothing is in flight when a request returns. */

#include "rbd.h"

static const int errors[] = { EIO, ENOSPC, EPERM, EACCES, ETIMEDOUT, ENOTCONN, EDQUOT, EROFS, EOPNOTSUPP, EBUSY };

#define ERRORS (sizeof(errors) / sizeof(errors[0]))
#define DATA "rbd_data"

TEST(rbd_errors_of_the_cluster_are_passed_on)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0), *two = qiov_bytes(OBJECT + 1, 0);
    int64_t pnum, map;
    unsigned i;

    rbd_node(&bs);
    fill_image();
    for (i = 0; i < ERRORS; i++) {
        ceph_fail_object(DATA, CEPH_ANY, 0, CEPH_FOR_EVER, errors[i]);
        CHECK_INT(rbd_read(&bs, 0, qiov), -errors[i]);
        CHECK_INT(rbd_read(&bs, 0, two), -errors[i]);
        CHECK_INT(rbd_write(&bs, 0, qiov), -errors[i]);
        CHECK_INT(rbd_write(&bs, 0, two), -errors[i]);
        CHECK_INT(rbd_zero(&bs, 0, 4096, 0), -errors[i]);
        CHECK_INT(rbd_zero(&bs, 0, 4096, QBR_REQ_MAY_UNMAP), -errors[i]);
        CHECK_INT(rbd_discard(&bs, 0, OBJECT), -errors[i]);
        CHECK_INT(rbd_truncate(&bs, 0), -errors[i]);
        CHECK_INT(rbd_run((struct rbd_request) { .op = R_STATUS, .bs = &bs, .bytes = 4096, .mode = QBR_WANT_ZERO,
                                                 .pnum = &pnum, .map = &map }), -errors[i]);
        CHECK_INT(rbd.getlength(&bs), OBJECTS * OBJECT);
        CHECK_INT(ceph_image_size(IMAGE), OBJECTS * OBJECT);
        ceph_pass_objects();
    }
    check_image(&bs, 0, 4096, 0);
    rbd_close(&bs);
    qiov_free(qiov);
    qiov_free(two);
}

/* The cluster has shut this client out, which is final: a write that arrived later could damage the image. */
TEST(rbd_client_that_was_shut_out_sends_no_more_writes)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);
    unsigned writes;

    rbd_node(&bs);
    ceph_fail_object(DATA, CEPH_WRITE, 0, 1, ESHUTDOWN);
    CHECK_INT(rbd_write(&bs, 0, qiov), -ESHUTDOWN);
    CHECK_INT(errors_reported(), 1);
    CHECK_CONTAINS(last_error_reported(), "blocklisted");
    writes = ceph_count(CEPH_WRITE);
    CHECK_INT(rbd_write(&bs, 0, qiov), -ESHUTDOWN);
    CHECK_INT(rbd_zero(&bs, 0, 4096, 0), -ESHUTDOWN);
    CHECK_INT(rbd_discard(&bs, 0, OBJECT), -ESHUTDOWN);
    CHECK_INT(rbd_truncate(&bs, 0), -ESHUTDOWN);
    CHECK_INT(ceph_count(CEPH_WRITE), writes);
    /* Said once. */
    CHECK_INT(errors_reported(), 1);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_missing_object_is_an_error_for_a_write)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    rbd_node(&bs);
    ceph_fail_object(DATA, CEPH_ANY, 0, 1, ENOENT);
    CHECK_INT(rbd_write(&bs, 0, qiov), -ENOENT);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_submissions_that_fail_fail_the_request)
{
    static const enum ceph_call calls[] = { CEPH_READ, CEPH_WRITE, CEPH_REMOVE, CEPH_STAT, CEPH_WRITE_OP, CEPH_COMPLETION };
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0), *two = qiov_bytes_in((const size_t[]) { 5, OBJECT, 0 }, 0);
    int64_t pnum, map;
    unsigned i;

    rbd_node(&bs);
    for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        ceph_fail(calls[i], ENOMEM);
    }
    CHECK_INT(rbd_read(&bs, 0, qiov), -ENOMEM);
    CHECK_INT(rbd_read(&bs, 0, two), -ENOMEM);
    CHECK_INT(rbd_write(&bs, 0, qiov), -ENOMEM);
    CHECK_INT(rbd_write(&bs, 0, two), -ENOMEM);
    CHECK_INT(rbd_zero(&bs, 0, 4096, 0), -ENOMEM);
    CHECK_INT(rbd_zero(&bs, 0, OBJECT, QBR_REQ_MAY_UNMAP), -ENOMEM);
    CHECK_INT(rbd_discard(&bs, 0, OBJECT), -ENOMEM);
    CHECK_INT(rbd_truncate(&bs, 2 * OBJECT), -ENOMEM);
    CHECK_INT(rbd_snapshot(&bs, "s"), -ENOMEM);
    CHECK_INT(errors_reported(), 1);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_STATUS, .bs = &bs, .bytes = 4096, .mode = QBR_WANT_ZERO, .pnum = &pnum,
                                             .map = &map }), -ENOMEM);
    for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        ceph_fail(calls[i], 0);
    }
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    rbd_close(&bs);
    qiov_free(qiov);
    qiov_free(two);
}

#define NOT_YET 12345

/* Lets the default loop run once: what could have returned has done so. */
static void turn(BlockDriverState *bs)
{
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_FLUSH, .bs = bs }), 0);
}

/* One of eight objects fails, and the others end only afterwards. */
static void check_one_of_many(enum rbd_op op, QEMUIOVector *qiov, enum ceph_call call)
{
    BlockDriverState bs = { 0 };
    struct rbd_request *rq;

    rbd_node(&bs);
    fill_image();
    ceph_fail_object(ceph_data(IMAGE, 3), call, 0, 1, ENOSPC);
    ceph_mode(call, CEPH_WHEN_RELEASED);
    rq = rbd_start(loop_default(), (struct rbd_request) {
        .op = op, .bs = &bs, .bytes = qiov->size, .qiov = qiov, .ret = NOT_YET });
    ceph_wait_for_held(8);
    CHECK(ceph_release(3));
    turn(&bs);
    CHECK_INT(rq->ret, NOT_YET);
    while (ceph_held() > 1) {
        CHECK(ceph_release(ceph_held() - 1));
        turn(&bs);
        CHECK_INT(rq->ret, NOT_YET);
    }
    CHECK(ceph_release(0));
    CHECK_INT(rbd_finish(rq), -ENOSPC);
    CHECK_INT(ceph_held(), 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_read_of_many_objects_with_one_failing_waits_for_all)
{
    check_one_of_many(R_READ, qiov_flat(8 * OBJECT), CEPH_READ);
}

TEST(rbd_bounced_read_of_many_objects_with_one_failing_waits_for_all)
{
    check_one_of_many(R_READ, qiov_new((const size_t[]) { 5, 8 * OBJECT - 5, 0 }), CEPH_READ);
}

TEST(rbd_write_of_many_objects_with_one_failing_waits_for_all)
{
    check_one_of_many(R_WRITE, qiov_flat(8 * OBJECT), CEPH_WRITE);
}

TEST(rbd_bounced_write_of_many_objects_with_one_failing_waits_for_all)
{
    check_one_of_many(R_WRITE, qiov_new((const size_t[]) { 5, 8 * OBJECT - 5, 0 }), CEPH_WRITE);
}

TEST(rbd_write_zeroes_of_many_objects_with_one_failing_waits_for_all)
{
    check_one_of_many(R_ZERO, qiov_flat(8 * OBJECT), CEPH_WRITE_OP);
}

TEST(rbd_discard_of_many_objects_with_one_failing_waits_for_all)
{
    check_one_of_many(R_DISCARD, qiov_flat(8 * OBJECT), CEPH_REMOVE);
}

TEST(rbd_first_of_two_errors_counts)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(8 * OBJECT);

    rbd_node(&bs);
    ceph_fail_object(ceph_data(IMAGE, 6), CEPH_ANY, 0, 2, EPERM);
    ceph_fail_object(ceph_data(IMAGE, 2), CEPH_ANY, 0, 2, ENOSPC);
    CHECK_INT(rbd_read(&bs, 0, qiov), -ENOSPC);
    CHECK_INT(rbd_write(&bs, 0, qiov), -ENOSPC);
    rbd_close(&bs);
    qiov_free(qiov);
}

/* The third object can't be submitted; two are under way then. */
static void check_failed_submission(enum rbd_op op, QEMUIOVector *qiov, enum ceph_call call)
{
    BlockDriverState bs = { 0 };
    struct rbd_request *rq;

    rbd_node(&bs);
    fill_image();
    ceph_fail_some(call, 2, 1, ENOMEM);
    ceph_mode(call, CEPH_WHEN_RELEASED);
    rq = rbd_start(loop_default(), (struct rbd_request) {
        .op = op, .bs = &bs, .bytes = qiov->size, .qiov = qiov, .ret = NOT_YET });
    ceph_wait_for(call, 3);
    turn(&bs);
    CHECK_INT(rq->ret, NOT_YET);
    CHECK(ceph_held() >= 2);
    ceph_mode(call, CEPH_ON_THREAD);
    ceph_release_all();
    CHECK_INT(rbd_finish(rq), -ENOMEM);
    CHECK_INT(ceph_held(), 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_read_with_a_failed_submission_waits_for_the_others)
{
    check_failed_submission(R_READ, qiov_flat(8 * OBJECT), CEPH_READ);
}

TEST(rbd_bounced_read_with_a_failed_submission_waits_for_the_others)
{
    check_failed_submission(R_READ, qiov_new((const size_t[]) { 5, 8 * OBJECT - 5, 0 }), CEPH_READ);
}

TEST(rbd_write_with_a_failed_submission_waits_for_the_others)
{
    check_failed_submission(R_WRITE, qiov_flat(8 * OBJECT), CEPH_WRITE);
}

TEST(rbd_bounced_write_with_a_failed_submission_waits_for_the_others)
{
    check_failed_submission(R_WRITE, qiov_new((const size_t[]) { 5, 8 * OBJECT - 5, 0 }), CEPH_WRITE);
}

TEST(rbd_write_zeroes_with_a_failed_submission_waits_for_the_others)
{
    check_failed_submission(R_ZERO, qiov_flat(8 * OBJECT), CEPH_WRITE_OP);
}

TEST(rbd_request_over_more_objects_than_may_be_under_way_goes_in_turns)
{
    enum { COUNT = 100 };
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(COUNT * 4096);
    struct rbd_request *rq;
    unsigned i;

    ceph_image(IMAGE, COUNT * 4096, 12, 0);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    for (i = 0; i < COUNT; i++) {
        ceph_fill(ceph_data(IMAGE, i), 0, 4096, i * 4096);
    }
    ceph_mode(CEPH_READ, CEPH_WHEN_RELEASED);
    rq = rbd_start(loop_default(),
                   (struct rbd_request) { .op = R_READ, .bs = &bs, .bytes = qiov->size, .qiov = qiov });
    for (i = 0; i < COUNT; i++) {
        CHECK(ceph_wait_for_held(1) <= 32);
        CHECK(ceph_release(ceph_held() - 1));
    }
    CHECK_INT(rbd_finish(rq), 0);
    check_bytes(qiov, 0, qiov->size, 0);
    /* One fails in the first turn: the others are not begun. */
    ceph_mode(CEPH_READ, CEPH_ON_THREAD);
    ceph_fail_object(ceph_data(IMAGE, 7), CEPH_READ, 0, 1, EIO);
    i = ceph_count(CEPH_READ);
    CHECK_INT(rbd_read(&bs, 0, qiov), -EIO);
    CHECK(ceph_count(CEPH_READ) - i <= 32);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_read_that_claims_more_than_was_asked_for_is_an_error)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(4096), *odd = qiov_new((const size_t[]) { 5, 100, 0 });
    QEMUIOVector *many = qiov_flat(4 * OBJECT);

    rbd_node(&bs);
    fill_image();
    ceph_next_return(CEPH_READ, 4097);
    CHECK_INT(rbd_read(&bs, 0, qiov), -EIO);
    ceph_next_return(CEPH_READ, INT32_MAX);
    CHECK_INT(rbd_read(&bs, 0, odd), -EIO);
    ceph_next_return(CEPH_READ, 106);
    CHECK_INT(rbd_read(&bs, 0, odd), -EIO);
    check_image(&bs, 0, 4096, 0);
    ceph_next_return(CEPH_READ, OBJECT + 1);
    CHECK_INT(rbd_read(&bs, 0, many), -EIO);
    rbd_close(&bs);
    qiov_free(qiov);
    qiov_free(odd);
    qiov_free(many);
}

TEST(rbd_strange_numbers_from_the_library_are_errors)
{
    static const int strange[] = { INT32_MIN, -4096, -5000, -INT32_MAX };
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);
    unsigned i;

    rbd_node(&bs);
    for (i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
        ceph_next_return(CEPH_READ, strange[i]);
        CHECK(rbd_read(&bs, 0, qiov) < 0);
        ceph_next_return(CEPH_WRITE, strange[i]);
        CHECK(rbd_write(&bs, 0, qiov) < 0);
    }
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_failed_header_change_of_a_growing_write_writes_nothing)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    rbd_node(&bs);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, EACCES);
    CHECK_INT(rbd_write(&bs, OBJECTS * OBJECT, qiov), -EACCES);
    CHECK_INT(ceph_count(CEPH_WRITE), 0);
    CHECK_INT(rbd.getlength(&bs), OBJECTS * OBJECT);
    CHECK_INT(rbd_write(&bs, OBJECTS * OBJECT, qiov), 0);
    rbd_close(&bs);
    qiov_free(qiov);
}
