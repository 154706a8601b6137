/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Object maps that are damaged, not there, or can't be told; and those who are not to touch them any more. */

#include "map.h"

/* --- Maps that are damaged, or not there ----------------------------------------------------------------------------------- */

TEST(rbd_map_that_is_damaged_is_made_anew)
{
    BlockDriverState bs = { 0 };
    unsigned i;

    mapped_image();
    fill_image();
    ceph_map_damage(IMAGE);
    mapped_open(&bs);
    CHECK_INT(ceph_map_count(IMAGE), OBJECTS);
    for (i = 0; i < OBJECTS; i++) {
        check_map_state(i, CEPH_EXISTS);
    }
    check_image(&bs, OBJECT, (OBJECTS - 1) * OBJECT, OBJECT);
    check_map_is_invalid(&bs);
    rbd_close(&bs);
}

TEST(rbd_map_that_is_too_short_is_made_longer)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    ceph_map_resize(IMAGE, 3);
    ceph_set_flags(IMAGE, CEPH_INVALID);
    ceph_fill(ceph_data(IMAGE, 9), 0, 512, 0);
    ceph_set_flags(IMAGE, 0);
    mapped_open(&bs);
    CHECK_INT(ceph_map_count(IMAGE), OBJECTS);
    check_map_state(9, CEPH_EXISTS);
    check_image(&bs, 9 * OBJECT, 512, 0);
    check_map_is_invalid(&bs);
    rbd_close(&bs);
}

/* A shrink came to no end. */
TEST(rbd_map_that_is_too_long_is_right)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    ceph_map_resize(IMAGE, 20);
    mapped_open(&bs);
    CHECK_INT(ceph_flags(IMAGE), 0);
    check_hole(&bs, 9 * OBJECT, 512);
    CHECK_TEXT(ceph_log(), "");
    CHECK_INT(rbd_truncate(&bs, 20 * OBJECT), 0);
    CHECK_INT(ceph_map_count(IMAGE), 20);
    rbd_close(&bs);
}

TEST(rbd_image_whose_map_is_missing_does_without)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    ceph_remove(MAP);
    mapped_open(&bs);
    check_map_is_invalid(&bs);
    CHECK_INT(rbd_truncate(&bs, 20 * OBJECT), 0);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(write_object(&bs, 1), 0);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), 0);
    CHECK_INT(rbd.snapshot_delete(&bs, NULL, "one", NULL), 0);
    CHECK_INT(rbd_truncate(&bs, 2 * OBJECT), 0);
    CHECK_INT(ceph_flags(IMAGE), CEPH_INVALID);
    rbd_close(&bs);
    CHECK_INT(ceph_map_holder(IMAGE), 0);
}

TEST(rbd_map_that_cannot_be_read_is_not_relied_on)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    ceph_fail_object(MAP, CEPH_READ_OP, 0, 1, EIO);
    CHECK_INT(write_object(&bs, 0), 0);
    check_map_is_invalid(&bs);
    rbd_close(&bs);
}

TEST(rbd_map_that_cannot_be_made_anew_is_done_without)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    ceph_map_damage(IMAGE);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    /* The first one is the lock's. */
    ceph_fail_object(MAP, CEPH_WRITE_OP, 1, 1, ENOSPC);
    CHECK_INT(write_object(&bs, 0), 0);
    check_map_is_invalid(&bs);
    rbd_close(&bs);
}

TEST(rbd_map_that_cannot_be_locked_is_done_without)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    ceph_fail_object(MAP, CEPH_WRITE_OP, 0, 1, EIO);
    CHECK_INT(write_object(&bs, 0), 0);
    check_map_is_invalid(&bs);
    rbd_close(&bs);
}

TEST(rbd_damaged_map_that_cannot_be_marked_makes_the_write_fail)
{
    BlockDriverState bs = { 0 };
    size_t length;

    mapped_image();
    ceph_map_damage(IMAGE);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    /* Behind the lock. */
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 1, 1, EIO);
    CHECK_INT(write_object(&bs, 0), -EIO);
    CHECK(!ceph_bytes(ceph_data(IMAGE, 0), &length));
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
    CHECK_INT(write_object(&bs, 0), 0);
    check_map_is_invalid(&bs);
    rbd_close(&bs);
}

static void check_answer(const void *answer, size_t length)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    ceph_fill(ceph_data(IMAGE, 5), 0, 512, 0);
    ceph_reply("object_map_load", answer, length);
    mapped_open(&bs);
    check_image(&bs, 5 * OBJECT, 512, 0);
    check_map_is_invalid(&bs);
    ceph_reply("object_map_load", NULL, 0);
    rbd_close(&bs);
}

TEST(rbd_map_with_an_absurd_number_of_objects_is_damaged)
{
    check_answer("\16\0\0\0\1\1\10\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 22);
}

TEST(rbd_map_that_is_cut_off_is_damaged)
{
    check_answer("\16\0\0\0\1\1\10\0\0\0\20\0\0\0\0\0\0\0\0\0\0", 21);
}

TEST(rbd_map_of_nothing_is_damaged)
{
    check_answer("", 0);
}

TEST(rbd_map_with_a_wrong_checksum_is_damaged)
{
    check_answer("\16\0\0\0\1\1\10\0\0\0\20\0\0\0\0\0\0\0\0\0\0\0\14\0\0\0\1\2\3\4\1\0\0\0\0\0\0\0", 38);
}

/* --- The map can't be told ------------------------------------------------------------------------------------------------- */

static const int errors[] = { EIO, ENOSPC, EINVAL, ERANGE, ENOENT, EPERM, ETIMEDOUT, EDQUOT, EAGAIN };

TEST(rbd_map_that_cannot_be_told_of_a_write_is_marked_as_wrong)
{
    unsigned i;

    for (i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        BlockDriverState bs = { 0 };

        mapped_node(&bs);
        ceph_fail_object(MAP, CEPH_WRITE_OP, 0, 1, errors[i]);
        CHECK_INT(write_object(&bs, 5), 0);
        check_image(&bs, 5 * OBJECT, 512, 5 * OBJECT);
        check_order("set_flags", "write rbd_data");
        check_map_is_invalid(&bs);
        ceph_pass_objects();
        rbd_close(&bs);
    }
}

TEST(rbd_map_that_answers_an_error_after_it_was_told_is_marked_as_wrong)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object_late(MAP, CEPH_WRITE_OP, 0, 1, ETIMEDOUT);
    CHECK_INT(write_object(&bs, 5), 0);
    check_map_is_invalid(&bs);
    rbd_close(&bs);
}

TEST(rbd_map_that_cannot_be_told_of_a_removal_is_marked_as_wrong)
{
    unsigned step;

    for (step = 0; step < 2; step++) {
        BlockDriverState bs = { 0 };

        mapped_node(&bs);
        ceph_fail_object(MAP, CEPH_WRITE_OP, step, 1, EIO);
        CHECK_INT(rbd_discard(&bs, 0, OBJECT), 0);
        check_hole(&bs, 0, OBJECT);
        check_map_is_invalid(&bs);
        ceph_pass_objects();
        rbd_close(&bs);
    }
}

TEST(rbd_write_fails_if_the_map_can_neither_be_told_nor_marked)
{
    BlockDriverState bs = { 0 };
    size_t length;

    mapped_node(&bs);
    ceph_fail_object(MAP, CEPH_WRITE_OP, 0, 1, ENOSPC);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, EIO);
    CHECK_INT(write_object(&bs, 5), -EIO);
    CHECK(!ceph_bytes(ceph_data(IMAGE, 5), &length));
    CHECK_INT(ceph_flags(IMAGE), 0);
    CHECK_INT(write_object(&bs, 5), 0);
    rbd_close(&bs);
}

TEST(rbd_removal_fails_if_the_map_can_neither_be_told_nor_marked)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object(MAP, CEPH_WRITE_OP, 0, 1, ENOSPC);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, EIO);
    CHECK_INT(rbd_discard(&bs, 0, OBJECT), -EIO);
    check_image(&bs, 0, 512, 0);
    /* Afterwards: it is gone, and the map says that it may be there. The lock is taken again before. */
    ceph_pass_objects();
    CHECK_INT(write_object(&bs, 1), 0);
    ceph_fail_object(MAP, CEPH_WRITE_OP, 1, 1, ENOSPC);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, EIO);
    CHECK_INT(rbd_discard(&bs, 0, OBJECT), -EIO);
    check_map_state(0, CEPH_PENDING);
    rbd_close(&bs);
}

/* Who can't mark the map any more must not rely on it itself. */
TEST(rbd_map_that_could_not_be_marked_is_not_relied_on)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object(MAP, CEPH_WRITE_OP, 0, 1, ENOSPC);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, EIO);
    CHECK_INT(write_object(&bs, 5), -EIO);
    ceph_log_clear();
    check_hole(&bs, 6 * OBJECT, 512);
    CHECK_CONTAINS(ceph_log(), "read rbd_data");
    rbd_close(&bs);
}

/* --- The map's lock is another client's: that could take our lock, but not shut us out ------------------------------------- */

static void check_has_lost(BlockDriverState *bs)
{
    CHECK_CONTAINS(warning_take(), "lost its exclusive lock");
    CHECK_INT(ceph_lock_holder(IMAGE), ceph_last_client());
    CHECK_INT(ceph_map_holder(IMAGE), ceph_last_client());
    CHECK_INT(ceph_flags(IMAGE), 0);
    CHECK_INT(write_object(bs, 12), 0);
    rbd_close(bs);
}

TEST(rbd_write_that_finds_the_map_locked_by_another_client_takes_the_lock_again)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_map_lock_as(IMAGE, CEPH_STRANGER);
    CHECK_INT(write_object(&bs, 5), 0);
    check_map_state(5, CEPH_EXISTS);
    check_has_lost(&bs);
}

TEST(rbd_write_behind_the_end_that_finds_the_map_locked_by_another_client_takes_the_lock_again)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_map_lock_as(IMAGE, CEPH_STRANGER);
    CHECK_INT(write_object(&bs, 20), 0);
    CHECK_INT(ceph_map_count(IMAGE), 21);
    check_has_lost(&bs);
}

TEST(rbd_removals_that_find_the_map_locked_by_another_client_take_the_lock_again)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(write_object(&bs, 5), 0);
    ceph_map_lock_as(IMAGE, CEPH_STRANGER);
    CHECK_INT(rbd_discard(&bs, 0, OBJECT), 0);
    CHECK_CONTAINS(warning_take(), "lost its exclusive lock");
    ceph_map_lock_as(IMAGE, CEPH_STRANGER);
    CHECK_INT(rbd_zero(&bs, 5 * OBJECT, OBJECT, QBR_REQ_MAY_UNMAP), 0);
    check_map_state(0, CEPH_ABSENT);
    check_map_state(5, CEPH_ABSENT);
    check_has_lost(&bs);
}

TEST(rbd_write_that_finds_both_locks_taken_by_a_dead_client_shuts_it_out)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);

    mapped_node(&bs);
    ceph_lock_as(IMAGE, CEPH_STRANGER, "auto 77", "internal");
    ceph_map_lock_as(IMAGE, CEPH_STRANGER);
    /* What it has written meanwhile. */
    ceph_fill(ceph_data(IMAGE, 7), 0, 512, 99);
    CHECK_INT(rbd_write(&bs, 5 * OBJECT, qiov), 0);
    check_order("blocklist 127.0.0.1:0/9999", "write rbd_data");
    check_image(&bs, 7 * OBJECT, 512, 99);
    check_has_lost(&bs);
    qiov_free(qiov);
}

TEST(rbd_resize_that_finds_the_map_locked_by_another_client_takes_the_lock_again_first)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_map_lock_as(IMAGE, CEPH_STRANGER);
    CHECK_INT(rbd_truncate(&bs, 20 * OBJECT), 0);
    CHECK_CONTAINS(warning_take(), "lost its exclusive lock");
    check_order("break_lock", "set_size");
    CHECK_INT(ceph_map_holder(IMAGE), ceph_last_client());
    CHECK_INT(ceph_map_count(IMAGE), 20);
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd_close(&bs);
}

/* The size is set already when it begins again. */
TEST(rbd_shrink_that_finds_the_map_locked_by_another_client_cuts_the_map_as_well)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_map_lock_as(IMAGE, CEPH_STRANGER);
    CHECK_INT(rbd_truncate(&bs, 8 * OBJECT), 0);
    CHECK_CONTAINS(warning_take(), "lost its exclusive lock");
    check_order("set_size", "break_lock");
    CHECK_INT(ceph_image_size(IMAGE), 8 * OBJECT);
    CHECK_INT(ceph_map_count(IMAGE), 8);
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd_close(&bs);
}

TEST(rbd_shrink_whose_map_was_not_cut_can_be_tried_again)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object_late(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, ETIMEDOUT);
    CHECK_INT(rbd_truncate(&bs, 8 * OBJECT), -ETIMEDOUT);
    CHECK_INT(ceph_map_count(IMAGE), OBJECTS);
    CHECK_INT(rbd_truncate(&bs, 8 * OBJECT), 0);
    CHECK_INT(ceph_map_count(IMAGE), 8);
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd_close(&bs);
}

/* --- The client is shut out ------------------------------------------------------------------------------------------------ */

TEST(rbd_client_that_was_shut_out_neither_tells_nor_marks_the_map)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    struct rbd_request *write;

    mapped_node(&bs);
    ceph_mode(CEPH_WRITE_OP, CEPH_WHEN_RELEASED);
    write = rbd_start_write(&bs, 5 * OBJECT, qiov);
    ceph_wait_for_held(1);
    ceph_block(ceph_last_client());
    ceph_mode(CEPH_WRITE_OP, CEPH_ON_THREAD);
    ceph_release_all();
    CHECK_INT(rbd_finish(write), -ESHUTDOWN);
    CHECK_INT(write_object(&bs, 0), -ESHUTDOWN);
    CHECK_INT(ceph_flags(IMAGE), 0);
    CHECK_INT(ceph_log_count("set_flags"), 0);
    CHECK_INT(errors_reported(), 1);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_client_that_was_shut_out_before_it_has_read_the_map_says_so)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    ceph_fail_object(MAP, CEPH_READ_OP, 0, 1, ESHUTDOWN);
    CHECK_INT(write_object(&bs, 0), -ESHUTDOWN);
    CHECK_INT(ceph_flags(IMAGE), 0);
    CHECK_INT(errors_reported(), 1);
    rbd_close(&bs);
}
