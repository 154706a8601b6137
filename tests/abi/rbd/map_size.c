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
