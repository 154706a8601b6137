/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* The object map of an image that grows or shrinks. */

#include "map.h"

TEST(rbd_map_grows_before_the_image)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_truncate(&bs, 20 * OBJECT + 1), 0);
    check_order("object_map_resize", "set_size");
    CHECK_INT(ceph_map_count(IMAGE), 21);
    check_map_state(20, CEPH_ABSENT);
    CHECK_INT(write_object(&bs, 19), 0);
    check_map_state(19, CEPH_EXISTS);
    rbd_close(&bs);
}

TEST(rbd_map_shrinks_after_the_image)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    fill_image();
    mapped_open(&bs);
    CHECK_INT(rbd_truncate(&bs, 3 * OBJECT + 100), 0);
    check_order("object_map_update", "remove rbd_data");
    check_order("remove rbd_data", "set_size");
    check_order("set_size", "object_map_resize");
    CHECK_INT(ceph_map_count(IMAGE), 4);
    check_map_state(3, CEPH_EXISTS);
    CHECK_INT(ceph_flags(IMAGE), 0);
    CHECK_INT(rbd_truncate(&bs, 0), 0);
    CHECK_INT(ceph_map_count(IMAGE), 0);
    CHECK_INT(rbd_truncate(&bs, OBJECTS * OBJECT), 0);
    check_hole(&bs, 0, OBJECTS * OBJECT);
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd_close(&bs);
}

/* Refused before anything is changed, and the map is what it was. */
static void check_is_not_too_large(BlockDriverState *bs, QEMUIOVector *qiov)
{
    CHECK_INT(ceph_image_size(IMAGE), OBJECTS << 12);
    CHECK_INT(ceph_log_count("object_map_resize"), 0);
    CHECK_INT(ceph_flags(IMAGE), 0);
    CHECK_INT(rbd_write(bs, 5 << 12, qiov), 0);
    check_map_state(5, CEPH_EXISTS);
    CHECK_INT(rbd_truncate(bs, 20 << 12), 0);
    CHECK_INT(ceph_map_count(IMAGE), 20);
}

TEST(rbd_image_with_a_map_does_not_get_more_objects_than_a_map_can_have)
{
    const int64_t most = (int64_t)256000000 << 12;
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    Error *error = NULL;

    ceph_image(IMAGE, OBJECTS << 12, 12, MAPPED);
    mapped_open(&bs);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_TRUNCATE, .bs = &bs, .offset = most + 1, .errp = &error }), -EFBIG);
    CHECK_CONTAINS(error->message, "1048576000001");
    error_free(error);
    check_is_not_too_large(&bs, qiov);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_write_does_not_make_more_objects_than_a_map_can_have)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);

    ceph_image(IMAGE, OBJECTS << 12, 12, MAPPED);
    mapped_open(&bs);
    CHECK_INT(rbd_write(&bs, (int64_t)256000000 << 12, qiov), -EFBIG);
    check_is_not_too_large(&bs, qiov);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_image_without_a_map_can_have_any_number_of_objects)
{
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECTS << 12, 12, CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd_truncate(&bs, (int64_t)256000001 << 12), 0);
    CHECK_INT(ceph_image_size(IMAGE), (int64_t)256000001 << 12);
    rbd_close(&bs);
}

TEST(rbd_shrink_with_a_map_removes_only_what_is_there)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(write_object(&bs, 7), 0);
    ceph_log_clear();
    CHECK_INT(rbd_truncate(&bs, OBJECT), 0);
    CHECK_INT(ceph_log_count("remove rbd_data"), 1);
    rbd_close(&bs);
}

TEST(rbd_write_behind_the_end_grows_the_map)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(write_object(&bs, 20), 0);
    CHECK_INT(ceph_map_count(IMAGE), 21);
    check_map_state(20, CEPH_EXISTS);
    check_map_state(19, CEPH_ABSENT);
    rbd_close(&bs);
}

TEST(rbd_image_grows_with_a_map_that_does_not)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object(MAP, CEPH_WRITE_OP, 0, 1, EIO);
    CHECK_INT(rbd_truncate(&bs, 20 * OBJECT), 0);
    CHECK_INT(ceph_image_size(IMAGE), 20 * OBJECT);
    check_order("set_flags", "set_size");
    CHECK_INT(write_object(&bs, 19), 0);
    check_map_is_invalid(&bs);
    rbd_close(&bs);
    /* Who comes later makes it longer. */
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(write_object(&bs, 18), 0);
    CHECK_INT(ceph_map_count(IMAGE), 20);
    check_image(&bs, 19 * OBJECT, 512, 19 * OBJECT);
    rbd_close(&bs);
}

TEST(rbd_image_does_not_grow_if_there_is_no_space_for_the_map)
{
    static const int errors[] = { ENOSPC, EDQUOT };
    BlockDriverState bs = { 0 };
    unsigned i;

    mapped_node(&bs);
    for (i = 0; i < 2; i++) {
        ceph_fail_object(MAP, CEPH_WRITE_OP, 0, 1, errors[i]);
        CHECK_INT(rbd_truncate(&bs, 20 * OBJECT), -errors[i]);
        ceph_fail_object(MAP, CEPH_WRITE_OP, 0, 1, errors[i]);
        CHECK_INT(write_object(&bs, 19), -errors[i]);
        CHECK_INT(ceph_image_size(IMAGE), OBJECTS * OBJECT);
        CHECK_INT(ceph_flags(IMAGE), 0);
        CHECK_INT(write_object(&bs, 5), 0);
    }
    CHECK_INT(rbd_truncate(&bs, 20 * OBJECT), 0);
    CHECK_INT(ceph_map_count(IMAGE), 20);
    CHECK_INT(write_object(&bs, 19), 0);
    check_map_state(19, CEPH_EXISTS);
    rbd_close(&bs);
}

TEST(rbd_image_does_not_grow_if_the_map_can_neither_grow_nor_be_marked)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object(MAP, CEPH_WRITE_OP, 0, 1, EIO);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, EPERM);
    CHECK_INT(rbd_truncate(&bs, 20 * OBJECT), -EPERM);
    CHECK_INT(ceph_image_size(IMAGE), OBJECTS * OBJECT);
    CHECK_INT(rbd_truncate(&bs, 20 * OBJECT), 0);
    CHECK_INT(ceph_map_count(IMAGE), 20);
    rbd_close(&bs);
}

TEST(rbd_map_that_has_grown_without_the_image_is_right)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, EIO);
    CHECK_INT(rbd_truncate(&bs, 20 * OBJECT), -EIO);
    CHECK_INT(ceph_map_count(IMAGE), 20);
    CHECK_INT(write_object(&bs, 5), 0);
    CHECK_INT(rbd_truncate(&bs, 18 * OBJECT), 0);
    CHECK_INT(ceph_map_count(IMAGE), 18);
    CHECK_INT(write_object(&bs, 17), 0);
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd_close(&bs);
}

/* Nothing is wrong with a map that is too long. */
TEST(rbd_image_shrinks_if_there_is_no_space_for_another_map)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object(MAP, CEPH_WRITE_OP, 0, 1, ENOSPC);
    CHECK_INT(rbd_truncate(&bs, 15 * OBJECT), 0);
    CHECK_INT(ceph_image_size(IMAGE), 15 * OBJECT);
    CHECK_INT(ceph_map_count(IMAGE), OBJECTS);
    CHECK_INT(ceph_flags(IMAGE), 0);
    CHECK_INT(rbd_truncate(&bs, 14 * OBJECT), 0);
    CHECK_INT(ceph_map_count(IMAGE), 14);
    rbd_close(&bs);
}

TEST(rbd_image_shrinks_with_a_map_that_does_not)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    fill_image();
    mapped_open(&bs);
    /* One before and one after the removals. */
    ceph_fail_object(MAP, CEPH_WRITE_OP, 2, 1, EIO);
    CHECK_INT(rbd_truncate(&bs, 15 * OBJECT), 0);
    CHECK_INT(ceph_image_size(IMAGE), 15 * OBJECT);
    check_map_is_invalid(&bs);
    rbd_close(&bs);
}
