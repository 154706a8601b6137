/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Reads and block status with an object map. */

#include "map.h"

#include <time.h>

/* --- Reads ----------------------------------------------------------------------------------------------------------------- */

TEST(rbd_reads_of_absent_objects_ask_nobody)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    check_hole(&bs, 5 * OBJECT, 512);
    check_hole(&bs, 5 * OBJECT + 100, 3 * OBJECT);
    CHECK_TEXT(ceph_log(), "");
    rbd_close(&bs);
}

TEST(rbd_read_over_objects_asks_those_that_are_there)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *bounced = qiov_new((const size_t[]) { 1000, 2 * OBJECT, 24, 0 });
    QEMUIOVector *qiov = qiov_flat(4 * OBJECT);

    mapped_node(&bs);
    CHECK_INT(rbd_read(&bs, 0, qiov), 0);
    CHECK_INT(ceph_log_count("read rbd_data"), 1);
    check_bytes(qiov, 0, 512, 0);
    check_zeroes(qiov, 512, 4 * OBJECT - 512);
    CHECK_INT(rbd_read(&bs, 0, bounced), 0);
    CHECK_INT(ceph_log_count("read rbd_data"), 2);
    check_bytes(bounced, 0, 512, 0);
    check_zeroes(bounced, 512, bounced->size - 512);
    rbd_close(&bs);
    qiov_free(qiov);
    qiov_free(bounced);
}

TEST(rbd_reads_without_the_lock_do_not_rely_on_the_map)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    ceph_log_clear();
    check_hole(&bs, 5 * OBJECT, 512);
    CHECK_INT(ceph_log_count("read rbd_data"), 1);
    CHECK_INT(write_object(&bs, 0), 0);
    CHECK_INT(rbd.inactivate(&bs), 0);
    ceph_log_clear();
    check_hole(&bs, 5 * OBJECT, 512);
    CHECK_INT(ceph_log_count("read rbd_data"), 1);
    rbd_close(&bs);
}

TEST(rbd_reads_with_a_map_that_is_marked_as_wrong_ask)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    fill_image();
    ceph_set_flags(IMAGE, CEPH_INVALID);
    ceph_map_set(IMAGE, 5, CEPH_ABSENT);
    mapped_open(&bs);
    check_image(&bs, 5 * OBJECT, OBJECT, 5 * OBJECT);
    rbd_close(&bs);
}

/* What nothing is known of since the last diff may still be relied on. */
TEST(rbd_reads_with_a_map_whose_diff_is_marked_as_wrong_ask_nobody)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    ceph_set_flags(IMAGE, 2);
    mapped_open(&bs);
    check_hole(&bs, 5 * OBJECT, 512);
    CHECK_TEXT(ceph_log(), "");
    rbd_close(&bs);
}

TEST(rbd_discards_with_a_map_that_is_marked_as_wrong_remove_what_is_there)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    fill_image();
    ceph_set_flags(IMAGE, CEPH_INVALID);
    ceph_map_set(IMAGE, 5, CEPH_ABSENT);
    ceph_map_set(IMAGE, 6, CEPH_ABSENT);
    mapped_open(&bs);
    CHECK_INT(rbd_discard(&bs, 5 * OBJECT, OBJECT), 0);
    check_hole(&bs, 5 * OBJECT, OBJECT);
    CHECK_INT(rbd_zero(&bs, 6 * OBJECT, 1000, QBR_REQ_MAY_UNMAP), 0);
    check_hole(&bs, 6 * OBJECT, 1000);
    check_image(&bs, 6 * OBJECT + 1000, OBJECT - 1000, 6 * OBJECT + 1000);
    rbd_close(&bs);
}

/* Another client marks it while the lock is ours, as a check of the map does. */
TEST(rbd_map_that_another_client_marks_as_wrong_is_not_relied_on)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    check_hole(&bs, 5 * OBJECT, 512);
    CHECK_TEXT(ceph_log(), "");
    ceph_set_flags(IMAGE, CEPH_INVALID);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(write_object(&bs, 0), 0);
    check_map_is_invalid(&bs);
    rbd_close(&bs);
}

/* Others may have taken it for dead. */
TEST(rbd_reads_without_a_watch_do_not_rely_on_the_map)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_wait_for(CEPH_NOTIFY, 1);
    ceph_close_gate(CEPH_WATCH);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    ceph_log_clear();
    check_hole(&bs, 5 * OBJECT, 512);
    CHECK_INT(ceph_log_count("read rbd_data"), 1);
    ceph_open_gate(CEPH_WATCH);
    rbd_close(&bs);
}

/* --- Block status ---------------------------------------------------------------------------------------------------------- */

static void check_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int kind, int64_t expected)
{
    int64_t pnum = -1, map = -1;
    BlockDriverState *file = NULL;

    CHECK_INT(rbd_run((struct rbd_request) { .op = R_STATUS, .bs = bs, .mode = QBR_WANT_ZERO, .offset = offset,
                                             .bytes = bytes, .pnum = &pnum, .map = &map, .file = &file }),
              kind | QBR_BLOCK_OFFSET_VALID);
    CHECK_INT(pnum, expected);
}

TEST(rbd_status_with_the_lock_asks_nobody)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(write_object(&bs, 7), 0);
    ceph_log_clear();
    check_status(&bs, 0, OBJECTS * OBJECT, QBR_BLOCK_DATA, OBJECT);
    check_status(&bs, OBJECT + 512, 15 * OBJECT - 512, QBR_BLOCK_ZERO, 6 * OBJECT - 512);
    check_status(&bs, 8 * OBJECT, 8 * OBJECT, QBR_BLOCK_ZERO, 8 * OBJECT);
    CHECK_TEXT(ceph_log(), "");
    rbd_close(&bs);
}

TEST(rbd_status_of_an_image_that_nobody_has_locked_asks_no_object)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    ceph_fill(ceph_data(IMAGE, 5), 0, 100, 0);
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    ceph_log_clear();
    check_status(&bs, 0, OBJECTS * OBJECT, QBR_BLOCK_ZERO, 5 * OBJECT);
    check_status(&bs, 5 * OBJECT, 2 * OBJECT, QBR_BLOCK_DATA, OBJECT);
    CHECK_INT(ceph_log_count("rbd_data"), 0);
    rbd_close(&bs);
}

TEST(rbd_status_of_an_image_that_another_client_has_locked_asks_the_objects)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    ceph_lock_as(IMAGE, CEPH_STRANGER, "auto 1", "internal");
    ceph_fill(ceph_data(IMAGE, 5), 0, 100, 0);
    ceph_log_clear();
    check_status(&bs, 0, OBJECTS * OBJECT, QBR_BLOCK_ZERO, 5 * OBJECT);
    CHECK_CONTAINS(ceph_log(), "stat rbd_data");
    rbd_close(&bs);
}

TEST(rbd_status_of_a_snapshot_goes_by_its_own_map)
{
    BlockDriverState bs = { 0 }, old = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(write_object(&bs, 1), 0);
    rbd_open_ok(&old, IMAGE_OPTIONS ",snapshot=one", 0);
    ceph_log_clear();
    check_status(&old, 0, OBJECTS * OBJECT, QBR_BLOCK_DATA, OBJECT);
    check_status(&old, OBJECT, 15 * OBJECT, QBR_BLOCK_ZERO, 15 * OBJECT);
    CHECK_INT(ceph_log_count("rbd_data"), 0);
    rbd.close(&old);
    rbd_close(&bs);
}

/* The changes of another client take longer on servers than what the header said counts for, which is 200 us. */
static void let_changes_take_time(void)
{
    nanosleep(&(struct timespec) { .tv_nsec = 1000 * 1000 }, NULL);
}

/* Another client has had the lock in between, and what it said of that has not arrived. */
TEST(rbd_status_without_the_lock_knows_what_was_written_since)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    check_status(&bs, 0, OBJECTS * OBJECT, QBR_BLOCK_ZERO, OBJECTS * OBJECT);
    ceph_lock_as(IMAGE, CEPH_STRANGER, "auto 1", "internal");
    ceph_fill(ceph_data(IMAGE, 5), 0, 100, 0);
    ceph_map_set(IMAGE, 5, CEPH_EXISTS);
    ceph_lock_as(IMAGE, 0, "", "");
    let_changes_take_time();
    check_status(&bs, 0, OBJECTS * OBJECT, QBR_BLOCK_ZERO, 5 * OBJECT);
    rbd_close(&bs);
}
