/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Arguments that the block layer never passes: an error number, an error where there is a place for it, never a crash. */

#include "../request.h"

static void check_refused(struct request rq, int64_t expected)
{
    CHECK_INT(request_run(rq), expected);
}

static void check_refused_with_error(struct request rq, int64_t expected)
{
    Error *error = NULL;

    rq.errp = &error;
    CHECK_INT(request_run(rq), expected);
    CHECK(error);
    error_free(error);
    rq.errp = NULL;
    CHECK_INT(request_run(rq), expected);
}

TEST(requests_without_a_node_are_einval)
{
    QEMUIOVector *qiov = qiov_flat(512);

    check_refused((struct request) { .op = OP_READ, .bytes = 512, .qiov = qiov }, -EINVAL);
    check_refused((struct request) { .op = OP_WRITE, .bytes = 512, .qiov = qiov }, -EINVAL);
    check_refused((struct request) { .op = OP_ZERO, .bytes = 512 }, -EINVAL);
    check_refused((struct request) { .op = OP_DISCARD, .bytes = 512 }, -EINVAL);
    check_refused((struct request) { .op = OP_FLUSH }, -EINVAL);
    check_refused((struct request) { .op = OP_STATUS, .bytes = 512 }, -EINVAL);
    check_refused((struct request) { .op = OP_LENGTH }, -EINVAL);
    check_refused((struct request) { .op = OP_ALLOCATED }, -EINVAL);
    check_refused_with_error((struct request) { .op = OP_TRUNCATE }, -EINVAL);
    gluster.refresh_limits(NULL, NULL);
    gluster.close(NULL);
    qiov_free(qiov);
}

TEST(requests_of_a_node_that_is_not_open_are_enomedium)
{
    BlockDriverState bs = { .name = "closed" };
    QEMUIOVector *qiov = qiov_flat(512);

    CHECK_INT(do_read(&bs, 0, qiov), -ENOMEDIUM);
    CHECK_INT(do_write(&bs, 0, qiov), -ENOMEDIUM);
    CHECK_INT(do_flush(&bs), -ENOMEDIUM);
    check_refused((struct request) { .op = OP_ZERO, .bs = &bs, .bytes = 512 }, -ENOMEDIUM);
    check_refused((struct request) { .op = OP_DISCARD, .bs = &bs, .bytes = 512 }, -ENOMEDIUM);
    check_refused((struct request) { .op = OP_STATUS, .bs = &bs, .bytes = 512 }, -ENOMEDIUM);
    check_refused((struct request) { .op = OP_LENGTH, .bs = &bs }, -ENOMEDIUM);
    check_refused((struct request) { .op = OP_ALLOCATED, .bs = &bs }, -ENOMEDIUM);
    check_refused_with_error((struct request) { .op = OP_TRUNCATE, .bs = &bs }, -ENOMEDIUM);
    gluster.refresh_limits(&bs, NULL);
    CHECK(!bs.limits_set);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(open_without_node_or_options_is_einval)
{
    BlockDriverState bs = { .name = "node" };
    struct options *options = options_new(IMAGE_URI);
    Error *error = NULL;

    CHECK_INT(gluster.open(NULL, as_qdict(options), QBR_O_RDWR, &error), -EINVAL);
    CHECK(error);
    error_free(error);
    error = NULL;
    CHECK_INT(gluster.open(&bs, NULL, QBR_O_RDWR, &error), -EINVAL);
    CHECK(error);
    error_free(error);
    CHECK_INT(gluster.open(NULL, NULL, 0, NULL), -EINVAL);
    CHECK(!bs.state);
    CHECK_INT(fake_count(FAKE_NEW), 0);
    options_free(options);
}

TEST(create_without_name_or_options_is_einval)
{
    struct options *options = options_new("size=#512");
    struct request rq = { .op = OP_CREATE_OPTS, .filename = "gluster://h/v/p" };

    check_refused_with_error(rq, -EINVAL);
    rq = (struct request) { .op = OP_CREATE_OPTS, .options = options };
    check_refused_with_error(rq, -EINVAL);
    check_refused_with_error((struct request) { .op = OP_CREATE }, -EINVAL);
    CHECK_INT(fake_count(FAKE_NEW), 0);
    options_free(options);
}

TEST(reopen_without_state_or_node_fails_or_does_nothing)
{
    BlockDriverState closed = { .name = "closed" };
    BDRVReopenState nowhere = { .flags = QBR_O_RDWR };
    BDRVReopenState of_closed = { .bs = &closed };
    Error *error = NULL;

    CHECK_INT(gluster.reopen_prepare(NULL, NULL, &error), -EINVAL);
    CHECK(error);
    error_free(error);
    error = NULL;
    CHECK_INT(gluster.reopen_prepare(&nowhere, NULL, &error), -EINVAL);
    CHECK(error);
    error_free(error);
    CHECK_INT(gluster.reopen_prepare(&of_closed, NULL, NULL), -ENOMEDIUM);
    gluster.reopen_commit(NULL);
    gluster.reopen_commit(&nowhere);
    gluster.reopen_commit(&of_closed);
    gluster.reopen_abort(NULL);
    gluster.reopen_abort(&nowhere);
    gluster.reopen_abort(&of_closed);
    CHECK(!closed.state && !nowhere.state && !of_closed.state);
}

/* Ranges that are none. */
static const struct range {
    int64_t offset;
    int64_t bytes;
} bad_ranges[] = { { -1, 512 }, { 0, -1 }, { INT64_MIN, 0 }, { INT64_MAX, 1 }, { INT64_MAX, INT64_MAX }, { 1, INT64_MAX } };

#define BAD_RANGES (sizeof(bad_ranges) / sizeof(bad_ranges[0]))

TEST(negative_and_overflowing_ranges_are_einval_and_reach_no_library)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(512);
    unsigned i;
    enum op op;

    node_with_image(&bs, 4096);
    for (i = 0; i < BAD_RANGES; i++) {
        for (op = OP_READ; op <= OP_STATUS; op++) {
            struct request rq = {
                .op = op, .bs = &bs, .offset = bad_ranges[i].offset, .bytes = bad_ranges[i].bytes, .qiov = qiov,
                .mode = QBR_WANT_ZERO,
            };

            if (op != OP_FLUSH) {
                check_refused(rq, -EINVAL);
            }
        }
    }
    CHECK_INT(fake_count(FAKE_PREADV) + fake_count(FAKE_PWRITEV), 0);
    CHECK_INT(fake_count(FAKE_DISCARD) + fake_count(FAKE_ZEROFILL_ASYNC), 0);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(truncate_to_a_negative_length_is_einval_with_an_error)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 4096);
    check_refused_with_error((struct request) { .op = OP_TRUNCATE, .bs = &bs, .offset = -1 }, -EINVAL);
    check_refused_with_error((struct request) { .op = OP_TRUNCATE, .bs = &bs, .offset = INT64_MIN }, -EINVAL);
    CHECK_INT(fake_count(FAKE_FTRUNCATE), 0);
    gluster.close(&bs);
}

TEST(io_without_a_vector_is_einval)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 4096);
    check_refused((struct request) { .op = OP_READ, .bs = &bs, .bytes = 512 }, -EINVAL);
    check_refused((struct request) { .op = OP_WRITE, .bs = &bs, .bytes = 512 }, -EINVAL);
    gluster.close(&bs);
}

TEST(a_vector_of_another_size_than_the_range_is_einval)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(512);
    int64_t bytes;

    node_with_image(&bs, 4096);
    for (bytes = 511; bytes <= 513; bytes += 2) {
        check_refused((struct request) { .op = OP_READ, .bs = &bs, .bytes = bytes, .qiov = qiov }, -EINVAL);
        check_refused((struct request) { .op = OP_WRITE, .bs = &bs, .bytes = bytes, .qiov = qiov }, -EINVAL);
    }
    CHECK_INT(fake_count(FAKE_PREADV) + fake_count(FAKE_PWRITEV), 0);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(a_vector_without_elements_and_a_range_without_bytes_do_nothing)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector empty = { 0 };

    node_with_image(&bs, 4096);
    CHECK_INT(do_read(&bs, 0, &empty), 0);
    CHECK_INT(do_write(&bs, 4096, &empty), 0);
    check_refused((struct request) { .op = OP_ZERO, .bs = &bs }, 0);
    check_refused((struct request) { .op = OP_DISCARD, .bs = &bs }, 0);
    CHECK_INT(fake_count(FAKE_PREADV) + fake_count(FAKE_PWRITEV), 0);
    gluster.close(&bs);
}

TEST(block_status_takes_null_for_every_answer)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 4096);
    check_refused((struct request) { .op = OP_STATUS, .bs = &bs, .bytes = 4096, .mode = QBR_WANT_ZERO },
                  QBR_BLOCK_DATA | QBR_BLOCK_OFFSET_VALID);
    gluster.close(&bs);
}

TEST(unaligned_io_works_without_direct_access)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(3);

    node_with_image(&bs, 4096);
    CHECK_INT(do_read(&bs, 777, qiov), 0);
    CHECK_INT(qiov_byte(qiov, 2), fake_byte(779));
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(close_twice_closes_once)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 512);
    gluster.close(&bs);
    gluster.close(&bs);
    CHECK(!bs.state);
    CHECK_INT(fake_open_files(), 0);
    /* Each of its descriptors. */
    CHECK_INT(fake_count(FAKE_CLOSE), fake_count(FAKE_OPEN) + fake_count(FAKE_DUP));
}
