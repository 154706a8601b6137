/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Changing the size. */

#include "rbd.h"

static void check_removed(unsigned from)
{
    size_t length;
    unsigned i;

    for (i = 0; i < OBJECTS; i++) {
        CHECK(!ceph_bytes(ceph_data(IMAGE, i), &length) == (i >= from));
    }
}

TEST(rbd_shrink_removes_the_objects_behind_the_end)
{
    BlockDriverState bs = { 0 };
    size_t length;

    rbd_node(&bs);
    fill_image();
    CHECK_INT(rbd_truncate(&bs, 5 * OBJECT + 1000), 0);
    CHECK_INT(rbd.getlength(&bs), 5 * OBJECT + 1000);
    CHECK_INT(ceph_image_size(IMAGE), 5 * OBJECT + 1000);
    check_removed(6);
    CHECK(ceph_bytes(ceph_data(IMAGE, 5), &length));
    CHECK_INT(length, 1000);
    check_image(&bs, 0, 5 * OBJECT + 1000, 0);
    CHECK_INT(rbd_truncate(&bs, 2 * OBJECT), 0);
    check_removed(2);
    CHECK_INT(rbd_truncate(&bs, 0), 0);
    check_removed(0);
    CHECK_INT(rbd.getlength(&bs), 0);
    rbd_close(&bs);
}

TEST(rbd_image_that_grows_again_has_zeroes_there)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    fill_image();
    CHECK_INT(rbd_truncate(&bs, 3 * OBJECT + 777), 0);
    CHECK_INT(rbd_truncate(&bs, 8 * OBJECT), 0);
    CHECK_INT(rbd.getlength(&bs), 8 * OBJECT);
    check_image(&bs, 0, 3 * OBJECT + 777, 0);
    check_hole(&bs, 3 * OBJECT + 777, 5 * OBJECT - 777);
    rbd_close(&bs);
}

TEST(rbd_striped_image_that_grows_again_has_zeroes_there)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(OBJECTS * OBJECT, 0);
    int64_t size;

    ceph_striped_image(IMAGE, OBJECTS * OBJECT, ORDER, 4096, 3);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    for (size = 1; size < 8 * OBJECT; size += 77777) {
        CHECK_INT(rbd_truncate(&bs, OBJECTS * OBJECT), 0);
        CHECK_INT(rbd_write(&bs, 0, qiov), 0);
        CHECK_INT(rbd_truncate(&bs, size), 0);
        CHECK_INT(rbd_truncate(&bs, OBJECTS * OBJECT), 0);
        check_image(&bs, 0, size, 0);
        check_hole(&bs, size, OBJECTS * OBJECT - size);
    }
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_shrink_changes_the_header_last)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    fill_image();
    ceph_log_clear();
    CHECK_INT(rbd_truncate(&bs, OBJECT), 0);
    CHECK(!strstr(strstr(ceph_log(), "set_size"), "remove"));
    rbd_close(&bs);
}

TEST(rbd_shrink_that_fails_leaves_the_size)
{
    BlockDriverState bs = { 0 };
    Error *error = NULL;

    rbd_node(&bs);
    fill_image();
    ceph_fail_object(ceph_data(IMAGE, 9), CEPH_REMOVE, 0, 1, EPERM);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_TRUNCATE, .bs = &bs, .offset = OBJECT, .errp = &error }), -EPERM);
    CHECK(error);
    CHECK_CONTAINS(error->message, "65536");
    error_free(error);
    CHECK_INT(rbd.getlength(&bs), OBJECTS * OBJECT);
    CHECK_INT(ceph_image_size(IMAGE), OBJECTS * OBJECT);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, EIO);
    CHECK_INT(rbd_truncate(&bs, OBJECT), -EIO);
    CHECK_INT(rbd.getlength(&bs), OBJECTS * OBJECT);
    CHECK_INT(rbd_truncate(&bs, OBJECT), 0);
    rbd_close(&bs);
}

/* The cluster did it, but the answer was an error. */
TEST(rbd_resize_whose_answer_was_lost_is_found_out)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    rbd_node(&bs);
    ceph_fail_object_late(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, ETIMEDOUT);
    CHECK_INT(rbd_truncate(&bs, 20 * OBJECT), -ETIMEDOUT);
    CHECK_INT(ceph_image_size(IMAGE), 20 * OBJECT);
    /* What is there must not be cut off by a write that thinks that it grows the image. */
    CHECK_INT(rbd_write(&bs, 17 * OBJECT, qiov), 0);
    CHECK_INT(ceph_image_size(IMAGE), 20 * OBJECT);
    CHECK_INT(rbd.getlength(&bs), 20 * OBJECT);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_resize_knows_what_another_client_has_done)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_resize(IMAGE, 20 * OBJECT);
    ceph_fill(ceph_data(IMAGE, 18), 0, 100, 0);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(rbd_truncate(&bs, OBJECTS * OBJECT), 0);
    CHECK_INT(rbd_truncate(&bs, 20 * OBJECT), 0);
    check_hole(&bs, 18 * OBJECT, OBJECT);
    rbd_close(&bs);
}

/* What would be written there would come back when the image grows again. */
TEST(rbd_write_that_finds_out_that_the_image_is_smaller_is_refused)
{
    unsigned i;

    for (i = 0; i < 2; i++) {
        BlockDriverState bs = { 0 };
        QEMUIOVector *qiov = qiov_bytes(512, 0);
        size_t length;

        ceph_image(IMAGE, OBJECTS * OBJECT, ORDER, i ? CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK | CEPH_OBJECT_MAP : 0);
        rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
        ceph_resize(IMAGE, 3 * OBJECT);
        if (i) {
            ceph_map_resize(IMAGE, 3);
        }
        CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
        CHECK_INT(rbd_write(&bs, 5 * OBJECT, qiov), -EINVAL);
        /* Nor is the image made larger again. */
        CHECK_INT(rbd_write(&bs, 5 * OBJECT, qiov), -EINVAL);
        CHECK_INT(ceph_image_size(IMAGE), 3 * OBJECT);
        CHECK(!ceph_bytes(ceph_data(IMAGE, 5), &length));
        CHECK_INT(rbd_write(&bs, 2 * OBJECT, qiov), 0);
        rbd_close(&bs);
        qiov_free(qiov);
    }
}

TEST(rbd_resize_to_the_same_size_changes_nothing)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_log_clear();
    CHECK_INT(rbd_truncate(&bs, OBJECTS * OBJECT), 0);
    CHECK_INT(ceph_log_count("set_size"), 0);
    rbd_close(&bs);
}

TEST(rbd_sizes_that_no_image_can_have_are_refused)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    CHECK_INT(rbd_truncate(&bs, -1), -EINVAL);
    CHECK_INT(rbd_truncate(&bs, INT64_MIN), -EINVAL);
    CHECK_INT(ceph_image_size(IMAGE), OBJECTS * OBJECT);
    CHECK_INT(rbd.getlength(&bs), OBJECTS * OBJECT);
    rbd_close(&bs);
}

TEST(rbd_preallocation_is_refused_by_name)
{
    static const char *const names[] = { NULL, "metadata", "falloc", "full", "7" };
    BlockDriverState bs = { 0 };
    unsigned i;

    rbd_node(&bs);
    for (i = 1; i < 5; i++) {
        Error *error = NULL;

        CHECK_INT(rbd_run((struct rbd_request) { .op = R_TRUNCATE, .bs = &bs, .offset = 20 * OBJECT,
                                                 .prealloc = i < 4 ? i : 7, .errp = &error }), -ENOTSUP);
        CHECK_CONTAINS(error->message, names[i]);
        error_free(error);
    }
    CHECK_INT(rbd.getlength(&bs), OBJECTS * OBJECT);
    rbd_close(&bs);
}

TEST(rbd_reads_go_on_while_the_size_changes)
{
    BlockDriverState bs = { 0 };
    struct rbd_request *resize;

    rbd_node(&bs);
    fill_image();
    ceph_mode(CEPH_REMOVE, CEPH_WHEN_RELEASED);
    resize = rbd_start(loop_default(),
                       (struct rbd_request) { .op = R_TRUNCATE, .bs = &bs, .offset = 8 * OBJECT });
    ceph_wait_for_held(8);
    check_image(&bs, 0, OBJECT, 0);
    ceph_release_all();
    CHECK_INT(rbd_finish(resize), 0);
    rbd_close(&bs);
}

/* QEMU 7.2 does not ask for the length after a reopen. */
TEST(rbd_write_behind_an_end_that_moved_before_a_reopen_is_refused)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = QBR_O_RDWR };

    rbd_node(&bs);
    CHECK_INT(rbd.getlength(&bs), OBJECTS * OBJECT);
    ceph_resize(IMAGE, 4 * OBJECT);
    CHECK_INT(rbd.reopen_prepare(&state, NULL, NULL), 0);
    rbd.reopen_commit(&state);
    CHECK_INT(rbd_zero(&bs, 15 * OBJECT, 512, 0), -EINVAL);
    CHECK_INT(ceph_image_size(IMAGE), 4 * OBJECT);
    /* What is behind the end that it knows makes the image grow. */
    CHECK_INT(rbd_zero(&bs, OBJECTS * OBJECT, 512, 0), 0);
    CHECK_INT(ceph_image_size(IMAGE), OBJECTS * OBJECT + 512);
    rbd_close(&bs);
}

/* Nobody has the lock of an image without one, and what another client has done may not have been heard yet. */
TEST(rbd_growth_beside_another_clients_does_not_make_the_image_smaller)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_resize(IMAGE, 32 * OBJECT);
    ceph_fill(ceph_data(IMAGE, 30), 0, 512, 30 * OBJECT);
    CHECK_INT(rbd_zero(&bs, 20 * OBJECT, 512, 0), 0);
    CHECK_INT(ceph_image_size(IMAGE), 32 * OBJECT);
    check_image(&bs, 30 * OBJECT, 512, 30 * OBJECT);
    /* And what is cut off is removed. */
    ceph_resize(IMAGE, 40 * OBJECT);
    ceph_fill(ceph_data(IMAGE, 39), 0, 512, 39 * OBJECT);
    CHECK_INT(rbd_truncate(&bs, 36 * OBJECT), 0);
    CHECK_INT(rbd_truncate(&bs, 40 * OBJECT), 0);
    check_hole(&bs, 39 * OBJECT, 512);
    rbd_close(&bs);
}
