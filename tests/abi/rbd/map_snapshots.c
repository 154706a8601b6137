/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Object maps and snapshots. */

#include "map.h"

/* --- Snapshots ------------------------------------------------------------------------------------------------------------- */

static int delete(BlockDriverState *bs, const char *name)
{
    Error *error = NULL;
    int ret = rbd.snapshot_delete(bs, NULL, name, &error);

    error_free(error);
    return ret;
}

TEST(rbd_snapshot_keeps_the_map_and_nothing_has_changed_since)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    check_order("write_full rbd_object_map.a.0000000000000001", "snapshot_add");
    check_order("snapshot_add", "object_map_snap_add");
    CHECK_INT(ceph_map_state_at(IMAGE, 1, 0), CEPH_EXISTS);
    CHECK_INT(ceph_map_state_at(IMAGE, 1, 1), CEPH_ABSENT);
    check_map_state(0, CEPH_CLEAN);
    check_map_state(1, CEPH_ABSENT);
    rbd_close(&bs);
}

TEST(rbd_first_write_after_a_snapshot_tells_the_map)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    ceph_log_clear();
    CHECK_INT(write_object(&bs, 0), 0);
    check_order("object_map_update", "write rbd_data");
    check_map_state(0, CEPH_EXISTS);
    ceph_log_clear();
    CHECK_INT(write_object(&bs, 0), 0);
    CHECK_INT(ceph_log_count("rbd_object_map"), 0);
    rbd_close(&bs);
}

TEST(rbd_first_cut_and_first_removal_after_a_snapshot_tell_the_map)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(write_object(&bs, 1), 0);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_zero(&bs, 0, 100, QBR_REQ_MAY_UNMAP), 0);
    check_map_state(0, CEPH_EXISTS);
    check_map_state(1, CEPH_CLEAN);
    CHECK_INT(rbd_discard(&bs, OBJECT, OBJECT), 0);
    check_map_state(1, CEPH_ABSENT);
    rbd_close(&bs);
}

TEST(rbd_map_without_fast_diff_does_not_say_what_has_changed)
{
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECTS * OBJECT, ORDER, MAPPED);
    mapped_open(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    check_map_state(0, CEPH_EXISTS);
    CHECK_INT(ceph_map_state_at(IMAGE, 1, 0), CEPH_EXISTS);
    CHECK_INT(ceph_log_count("object_map_snap_add"), 0);
    CHECK_INT(delete(&bs, "one"), 0);
    CHECK_INT(ceph_log_count("object_map_snap_remove"), 0);
    CHECK_INT(ceph_map_state_at(IMAGE, 1, 0), -1);
    rbd_close(&bs);
}

TEST(rbd_snapshot_whose_map_cannot_be_kept_is_made_and_marked)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object(ceph_map_at(IMAGE, 1), CEPH_WRITE_OP, 0, 1, EIO);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(ceph_flags_at(IMAGE, 1), CEPH_INVALID);
    CHECK_INT(ceph_flags(IMAGE), 0);
    check_map_state(0, CEPH_CLEAN);
    CHECK_INT(write_object(&bs, 1), 0);
    rbd_close(&bs);
}

/* Whoever compares snapshots gets them right then, also when there is space again. */
TEST(rbd_snapshot_is_not_made_if_there_is_no_space_for_its_map)
{
    static const int errors[] = { ENOSPC, EDQUOT };
    unsigned i;

    for (i = 0; i < 2; i++) {
        BlockDriverState bs = { 0 };
        size_t length;

        mapped_node(&bs);
        ceph_fail_object("rbd_object_map.a.", CEPH_WRITE_OP, 0, 1, errors[i]);
        CHECK_INT(rbd_snapshot(&bs, "one"), -errors[i]);
        CHECK_INT(ceph_image_snapshots(IMAGE), 0);
        CHECK_INT(ceph_log_count("snapshot_add"), 0);
        CHECK_INT(ceph_flags(IMAGE), 0);
        check_map_state(0, CEPH_EXISTS);
        ceph_pass_objects();
        CHECK_INT(rbd_snapshot(&bs, "one"), 0);
        check_map_state(0, CEPH_CLEAN);
        CHECK_INT(ceph_flags(IMAGE), 0);
        CHECK_INT(delete(&bs, "one"), 0);
        CHECK(!ceph_bytes(ceph_map_at(IMAGE, 1), &length));
        rbd_close(&bs);
    }
}

TEST(rbd_snapshot_that_is_refused_leaves_no_map)
{
    BlockDriverState bs = { 0 };
    unsigned objects;

    mapped_node(&bs);
    objects = ceph_objects();
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, EDQUOT);
    CHECK_INT(rbd_snapshot(&bs, "one"), -EDQUOT);
    CHECK_INT(ceph_objects(), objects);
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd_close(&bs);
}

TEST(rbd_map_that_cannot_be_made_clean_is_marked)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object("rbd_object_map.a", CEPH_WRITE_OP, 1, 1, EIO);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(ceph_flags_at(IMAGE, 1), 0);
    CHECK_INT(ceph_map_state_at(IMAGE, 1, 0), CEPH_EXISTS);
    check_map_is_invalid(&bs);
    rbd_close(&bs);
}

/* The snapshot is there, whatever is said of it; writes know it. */
TEST(rbd_snapshot_whose_map_can_neither_be_kept_nor_marked_is_known)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object(ceph_map_at(IMAGE, 1), CEPH_WRITE_OP, 0, 1, EIO);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 1, 1, EIO);
    CHECK_INT(rbd_snapshot(&bs, "one"), -EIO);
    CHECK_INT(ceph_image_snapshots(IMAGE), 1);
    CHECK_INT(write_object(&bs, 1), 0);
    CHECK_CONTAINS(ceph_log(), "0+512 [1:1]");
    CHECK_INT(delete(&bs, "one"), 0);
    rbd_close(&bs);
}

TEST(rbd_delete_of_a_snapshot_gives_its_changes_to_the_image)
{
    BlockDriverState bs = { 0 };
    size_t length;

    mapped_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    check_map_state(0, CEPH_CLEAN);
    CHECK_INT(delete(&bs, "one"), 0);
    check_map_state(0, CEPH_EXISTS);
    CHECK(!ceph_bytes(ceph_map_at(IMAGE, 1), &length));
    CHECK_INT(ceph_flags(IMAGE), 0);
    /* It is known here, too. */
    ceph_log_clear();
    CHECK_INT(write_object(&bs, 0), 0);
    CHECK_INT(ceph_log_count("rbd_object_map"), 0);
    rbd_close(&bs);
}

TEST(rbd_delete_of_a_snapshot_gives_its_changes_to_the_next_one)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_snapshot(&bs, "two"), 0);
    CHECK_INT(ceph_map_state_at(IMAGE, 2, 0), CEPH_CLEAN);
    CHECK_INT(delete(&bs, "one"), 0);
    CHECK_INT(ceph_map_state_at(IMAGE, 2, 0), CEPH_EXISTS);
    check_map_state(0, CEPH_CLEAN);
    CHECK_INT(ceph_flags(IMAGE), 0);
    CHECK_INT(ceph_flags_at(IMAGE, 2), 0);
    rbd_close(&bs);
}

TEST(rbd_delete_of_a_snapshot_without_a_map_marks_the_image)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    ceph_remove(ceph_map_at(IMAGE, 1));
    CHECK_INT(delete(&bs, "one"), 0);
    CHECK_INT(ceph_flags(IMAGE) & 2, 2);
    CHECK_INT(write_object(&bs, 1), 0);
    rbd_close(&bs);
}

TEST(rbd_delete_of_a_snapshot_without_a_map_marks_the_next_one)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_snapshot(&bs, "two"), 0);
    ceph_remove(ceph_map_at(IMAGE, 1));
    CHECK_INT(delete(&bs, "one"), 0);
    CHECK_INT(ceph_flags_at(IMAGE, 2) & 2, 2);
    /* What has changed since the second one is known. */
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd_close(&bs);
}

/* The image has lost its own map meanwhile; those of its snapshots can be relied on all the same. */
static void check_delete_beside_a_lost_map(const char *name, uint64_t snapshot)
{
    BlockDriverState bs = { 0 };
    size_t length;

    mapped_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_snapshot(&bs, "two"), 0);
    CHECK_INT(ceph_map_state_at(IMAGE, 2, 0), CEPH_CLEAN);
    CHECK_INT(rbd.inactivate(&bs), 0);
    ceph_remove(MAP);
    CHECK_INT(delete(&bs, name), 0);
    CHECK(!ceph_bytes(ceph_map_at(IMAGE, snapshot), &length));
    CHECK_INT(ceph_map_state_at(IMAGE, 3 - snapshot, 0), CEPH_EXISTS);
    CHECK_INT(ceph_flags_at(IMAGE, 3 - snapshot), 0);
    CHECK_INT(ceph_flags(IMAGE), CEPH_INVALID);
    rbd_close(&bs);
}

TEST(rbd_delete_of_a_snapshot_of_an_image_without_a_map_gives_its_changes_to_the_next_one)
{
    check_delete_beside_a_lost_map("one", 1);
}

TEST(rbd_delete_of_the_newest_snapshot_of_an_image_without_a_map_leaves_no_map)
{
    check_delete_beside_a_lost_map("two", 2);
}

/* Its map says that nothing has changed in an object, but nobody may rely on that. */
TEST(rbd_delete_of_a_snapshot_whose_map_is_marked_marks_the_next_one)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    ceph_set_flags(IMAGE, CEPH_INVALID);
    CHECK_INT(ceph_snapshot(IMAGE, "one"), 1);
    ceph_set_flags(IMAGE, 0);
    CHECK_INT(ceph_snapshot(IMAGE, "two"), 2);
    mapped_open(&bs);
    CHECK_INT(delete(&bs, "one"), 0);
    CHECK_INT(ceph_flags_at(IMAGE, 2) & 2, 2);
    rbd_close(&bs);
}

TEST(rbd_delete_whose_changes_cannot_be_given_to_the_next_snapshot_marks_it)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_snapshot(&bs, "two"), 0);
    ceph_fail_object(ceph_map_at(IMAGE, 2), CEPH_WRITE_OP, 0, 1, EIO);
    CHECK_INT(delete(&bs, "one"), 0);
    CHECK_INT(ceph_flags_at(IMAGE, 2), CEPH_INVALID);
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd_close(&bs);
}

TEST(rbd_delete_whose_changes_cannot_be_given_to_the_image_marks_it)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    ceph_fail_object(MAP, CEPH_WRITE_OP, 0, 1, EIO);
    CHECK_INT(delete(&bs, "one"), 0);
    CHECK_INT(ceph_image_snapshots(IMAGE), 0);
    check_map_is_invalid(&bs);
    rbd_close(&bs);
}

TEST(rbd_snapshot_map_that_cannot_be_removed_does_not_matter)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    ceph_fail_object(ceph_map_at(IMAGE, 1), CEPH_REMOVE, 0, 1, EIO);
    CHECK_INT(delete(&bs, "one"), 0);
    CHECK_INT(ceph_image_snapshots(IMAGE), 0);
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd_close(&bs);
}

/* The first attempt has removed its map already. */
TEST(rbd_delete_that_failed_behind_the_map_can_be_tried_again)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    ceph_fail_object("", CEPH_SNAP_REMOVE, 0, 1, EIO);
    CHECK_INT(delete(&bs, "one"), -EIO);
    ceph_pass_objects();
    CHECK_INT(delete(&bs, "one"), 0);
    CHECK_INT(ceph_image_snapshots(IMAGE), 0);
    CHECK_INT(write_object(&bs, 3), 0);
    rbd_close(&bs);
}

/* --- Rolling back ---------------------------------------------------------------------------------------------------------- */

/* Object 0 was there then and isn't now, 1 was there and is, 2 was not there and is; and nothing else. */
static void node_to_roll_back(BlockDriverState *bs)
{
    mapped_node(bs);
    CHECK_INT(write_object(bs, 1), 0);
    CHECK_INT(rbd_snapshot(bs, "one"), 0);
    CHECK_INT(rbd_discard(bs, 0, OBJECT), 0);
    CHECK_INT(write_object(bs, 2), 0);
    ceph_log_clear();
}

static void check_rolled_back(BlockDriverState *bs)
{
    check_image(bs, 0, 512, 0);
    check_image(bs, OBJECT, 512, OBJECT);
    check_hole(bs, 2 * OBJECT, OBJECT);
    check_hole(bs, 3 * OBJECT, OBJECT);
}

TEST(rbd_goto_brings_back_the_map)
{
    BlockDriverState bs = { 0 };
    unsigned i;

    node_to_roll_back(&bs);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), 0);
    for (i = 0; i < OBJECTS; i++) {
        check_map_state(i, i < 2 ? CEPH_EXISTS : CEPH_ABSENT);
    }
    CHECK_INT(ceph_flags(IMAGE), 0);
    check_rolled_back(&bs);
    rbd_close(&bs);
}

TEST(rbd_map_knows_what_may_be_there_before_objects_are_rolled_back)
{
    BlockDriverState bs = { 0 };

    node_to_roll_back(&bs);
    ceph_fail(CEPH_ROLLBACK, EIO);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), -EIO);
    CHECK_INT(ceph_log_count("object_map_save"), 1);
    check_map_state(0, CEPH_EXISTS);
    check_map_state(1, CEPH_EXISTS);
    check_map_state(2, CEPH_EXISTS);
    check_map_state(3, CEPH_ABSENT);
    check_hole(&bs, 0, OBJECT);
    check_image(&bs, 2 * OBJECT, 512, 2 * OBJECT);
    ceph_fail(CEPH_ROLLBACK, 0);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), 0);
    check_rolled_back(&bs);
    rbd_close(&bs);
}

TEST(rbd_goto_of_a_snapshot_without_a_map_takes_everything_for_there)
{
    BlockDriverState bs = { 0 };
    unsigned i;

    node_to_roll_back(&bs);
    ceph_remove(ceph_map_at(IMAGE, 1));
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), 0);
    for (i = 0; i < OBJECTS; i++) {
        check_map_state(i, CEPH_EXISTS);
    }
    check_rolled_back(&bs);
    rbd_close(&bs);
}

TEST(rbd_goto_of_a_snapshot_whose_map_is_marked_does_not_rely_on_it)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    ceph_set_flags(IMAGE, CEPH_INVALID);
    ceph_fill(ceph_data(IMAGE, 5), 0, 512, 0);
    ceph_map_set(IMAGE, 5, CEPH_ABSENT);
    CHECK_INT(ceph_snapshot(IMAGE, "one"), 1);
    ceph_map_set(IMAGE, 5, CEPH_EXISTS);
    ceph_set_flags(IMAGE, 0);
    mapped_open(&bs);
    CHECK_INT(rbd_discard(&bs, 5 * OBJECT, OBJECT), 0);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), 0);
    check_image(&bs, 5 * OBJECT, 512, 0);
    rbd_close(&bs);
}

/* It is changed before the objects are, and afterwards. */
static void check_goto_marks(int changes_before)
{
    BlockDriverState bs = { 0 };

    node_to_roll_back(&bs);
    ceph_fail_object(MAP, CEPH_WRITE_OP, changes_before, 1, EIO);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), 0);
    check_rolled_back(&bs);
    check_map_is_invalid(&bs);
    rbd_close(&bs);
}

TEST(rbd_goto_with_a_map_that_cannot_be_told_before_marks_it)
{
    check_goto_marks(0);
}

TEST(rbd_goto_with_a_map_that_cannot_be_told_afterwards_marks_it)
{
    check_goto_marks(1);
}

/* What the map was told is done later, and nobody can say that it is wrong. */
static void lose_a_change(int map_changes_before, int header_changes_before)
{
    ceph_delay_object(MAP, CEPH_WRITE_OP, map_changes_before, 1, ETIMEDOUT);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, header_changes_before, 1, EIO);
}

TEST(rbd_map_that_may_be_rolled_back_later_is_not_known)
{
    BlockDriverState bs = { 0 };

    node_to_roll_back(&bs);
    lose_a_change(1, 0);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), -EIO);
    /* The map says that it was there before, and will say that it isn't there now. */
    CHECK_INT(write_object(&bs, 2), 0);
    ceph_do_delayed();
    check_map_state(2, CEPH_EXISTS);
    check_map_state(3, CEPH_ABSENT);
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd_close(&bs);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
}

TEST(rbd_map_that_may_be_made_clean_later_is_not_known)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    lose_a_change(1, 1);
    CHECK_INT(rbd_snapshot(&bs, "one"), -EIO);
    CHECK_INT(ceph_image_snapshots(IMAGE), 1);
    CHECK_INT(write_object(&bs, 0), 0);
    ceph_do_delayed();
    check_map_state(0, CEPH_EXISTS);
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd_close(&bs);
}

TEST(rbd_goto_to_another_size_changes_the_map)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_truncate(&bs, 20 * OBJECT), 0);
    CHECK_INT(write_object(&bs, 19), 0);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), 0);
    CHECK_INT(ceph_map_count(IMAGE), OBJECTS);
    CHECK_INT(rbd_snapshot(&bs, "two"), 0);
    CHECK_INT(rbd_truncate(&bs, OBJECT / 2), 0);
    CHECK_INT(ceph_map_count(IMAGE), 1);
    CHECK_INT(rbd.snapshot_goto(&bs, "two"), 0);
    CHECK_INT(ceph_map_count(IMAGE), OBJECTS);
    check_map_state(0, CEPH_EXISTS);
    check_image(&bs, 0, 512, 0);
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd_close(&bs);
}
