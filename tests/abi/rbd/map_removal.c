/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Removals of objects with an object map, and writes beside them. */

#include "map.h"

/* Sees the states of an object whose removal is started by that. */
static void check_removal(struct rbd_request request)
{
    BlockDriverState bs = { 0 };
    struct rbd_request *removal;
    size_t length;

    mapped_node(&bs);
    CHECK_INT(write_object(&bs, 5), 0);
    ceph_log_clear();
    request.bs = &bs;
    ceph_mode(CEPH_REMOVE, CEPH_WHEN_RELEASED);
    removal = rbd_start(loop_default(), request);
    ceph_wait_for_held(1);
    check_map_state(5, CEPH_PENDING);
    CHECK(ceph_release(0));
    CHECK_INT(rbd_finish(removal), 0);
    ceph_mode(CEPH_REMOVE, CEPH_ON_THREAD);
    check_map_state(5, CEPH_ABSENT);
    CHECK(!ceph_bytes(ceph_data(IMAGE, 5), &length));
    CHECK_INT(ceph_log_count("object_map_update"), 2);
    rbd_close(&bs);
}

TEST(rbd_map_knows_a_discard_of_an_object_before_and_after)
{
    check_removal((struct rbd_request) { .op = R_DISCARD, .offset = 5 * OBJECT, .bytes = OBJECT });
}

TEST(rbd_map_knows_zeroes_that_remove_an_object_before_and_after)
{
    check_removal((struct rbd_request) {
        .op = R_ZERO, .offset = 5 * OBJECT, .bytes = OBJECT, .flags = QBR_REQ_MAY_UNMAP });
}

TEST(rbd_map_knows_all_objects_of_a_discard_at_once)
{
    BlockDriverState bs = { 0 };
    unsigned i;

    mapped_image();
    fill_image();
    mapped_open(&bs);
    CHECK_INT(rbd_discard(&bs, 2 * OBJECT, 10 * OBJECT), 0);
    CHECK_INT(ceph_log_count("object_map_update"), 2);
    for (i = 0; i < OBJECTS; i++) {
        check_map_state(i, i < 2 || i >= 12 ? CEPH_EXISTS : CEPH_ABSENT);
    }
    rbd_close(&bs);
}

TEST(rbd_discard_of_absent_objects_asks_nobody)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_discard(&bs, 2 * OBJECT, 10 * OBJECT), 0);
    CHECK_INT(rbd_discard(&bs, 2 * OBJECT + 512, OBJECT - 512), 0);
    CHECK_INT(rbd_zero(&bs, 2 * OBJECT + 512, 7 * OBJECT, QBR_REQ_MAY_UNMAP), 0);
    CHECK_TEXT(ceph_log(), "");
    rbd_close(&bs);
}

TEST(rbd_map_is_not_told_of_a_cut_into_an_object_that_it_knows)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_zero(&bs, 100, 100, QBR_REQ_MAY_UNMAP), 0);
    CHECK_CONTAINS(ceph_log(), "zero rbd_data");
    CHECK_INT(ceph_log_count("rbd_object_map"), 0);
    rbd_close(&bs);
}

TEST(rbd_removal_that_fails_leaves_the_object_pending)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object(ceph_data(IMAGE, 0), CEPH_REMOVE, 0, 1, EPERM);
    CHECK_INT(rbd_discard(&bs, 0, OBJECT), -EPERM);
    check_map_state(0, CEPH_PENDING);
    check_image(&bs, 0, 512, 0);
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd_close(&bs);
}

TEST(rbd_removal_that_failed_succeeds_later)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object(ceph_data(IMAGE, 0), CEPH_REMOVE, 0, 1, EPERM);
    CHECK_INT(rbd_discard(&bs, 0, OBJECT), -EPERM);
    CHECK_INT(rbd_discard(&bs, 0, OBJECT), 0);
    check_map_state(0, CEPH_ABSENT);
    check_hole(&bs, 0, OBJECT);
    rbd_close(&bs);
}

TEST(rbd_map_knows_a_write_after_a_removal_that_failed)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object(ceph_data(IMAGE, 0), CEPH_REMOVE, 0, 1, EPERM);
    CHECK_INT(rbd_discard(&bs, 0, OBJECT), -EPERM);
    ceph_log_clear();
    CHECK_INT(write_object(&bs, 0), 0);
    check_order("object_map_update", "write rbd_data");
    check_map_state(0, CEPH_EXISTS);
    rbd_close(&bs);
}

/* The other way round nothing has to be waited for: the cluster does both in the order in which they were sent. */
TEST(rbd_write_waits_for_a_removal_of_its_object)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 7);
    struct rbd_request *removal, *write;
    unsigned writes;

    mapped_node(&bs);
    ceph_mode(CEPH_REMOVE, CEPH_WHEN_RELEASED);
    removal = rbd_start(loop_default(), (struct rbd_request) { .op = R_DISCARD, .bs = &bs, .bytes = OBJECT });
    ceph_wait_for_held(1);
    writes = ceph_count(CEPH_WRITE);
    write = rbd_start_write(&bs, 0, qiov);
    /* One to another object does not. */
    CHECK_INT(write_object(&bs, 5), 0);
    CHECK_INT(ceph_count(CEPH_WRITE), writes + 1);
    CHECK(ceph_release(0));
    CHECK_INT(rbd_finish(removal), 0);
    CHECK_INT(rbd_finish(write), 0);
    ceph_mode(CEPH_REMOVE, CEPH_ON_THREAD);
    check_map_state(0, CEPH_EXISTS);
    check_image(&bs, 0, 512, 7);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_removal_beside_a_write_in_flight_leaves_no_object)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 7);
    struct rbd_request *removal, *write;
    size_t length;

    mapped_node(&bs);
    ceph_mode(CEPH_WRITE, CEPH_WHEN_RELEASED);
    ceph_mode(CEPH_REMOVE, CEPH_WHEN_RELEASED);
    write = rbd_start_write(&bs, 0, qiov);
    ceph_wait_for_held(1);
    removal = rbd_start(loop_default(), (struct rbd_request) { .op = R_DISCARD, .bs = &bs, .bytes = OBJECT });
    ceph_wait_for_held(2);
    check_map_state(0, CEPH_PENDING);
    CHECK(ceph_release(0));
    CHECK_INT(rbd_finish(write), 0);
    CHECK(ceph_release(0));
    CHECK_INT(rbd_finish(removal), 0);
    ceph_mode(CEPH_ANY, CEPH_ON_THREAD);
    /* Nobody but the cluster knows which of the two was done first. */
    check_map_state(0, CEPH_EXISTS);
    CHECK(!ceph_bytes(ceph_data(IMAGE, 0), &length));
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_write_over_objects_waits_for_the_one_that_is_removed)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(3 * OBJECT, 7);
    struct rbd_request *removal, *write;

    mapped_image();
    fill_image();
    mapped_open(&bs);
    ceph_mode(CEPH_REMOVE, CEPH_WHEN_RELEASED);
    removal = rbd_start(loop_default(),
                        (struct rbd_request) { .op = R_DISCARD, .bs = &bs, .offset = OBJECT, .bytes = OBJECT });
    ceph_wait_for_held(1);
    write = rbd_start_write(&bs, 0, qiov);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_FLUSH, .bs = &bs }), 0);
    CHECK(ceph_release(0));
    CHECK_INT(rbd_finish(removal), 0);
    CHECK_INT(rbd_finish(write), 0);
    ceph_mode(CEPH_REMOVE, CEPH_ON_THREAD);
    check_map_state(1, CEPH_EXISTS);
    check_image(&bs, 0, 3 * OBJECT, 7);
    rbd_close(&bs);
    qiov_free(qiov);
}

/* Two removals of the same object at once: the second one finds it gone. */
TEST(rbd_removals_of_an_object_at_once_remove_it_once)
{
    BlockDriverState bs = { 0 };
    struct rbd_request *removals[2];
    unsigned i;

    mapped_node(&bs);
    ceph_mode(CEPH_REMOVE, CEPH_WHEN_RELEASED);
    for (i = 0; i < 2; i++) {
        removals[i] = rbd_start(loop_default(), (struct rbd_request) { .op = R_DISCARD, .bs = &bs, .bytes = OBJECT });
    }
    ceph_wait_for_held(1);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_FLUSH, .bs = &bs }), 0);
    CHECK_INT(ceph_held(), 1);
    ceph_release_all();
    CHECK_INT(rbd_finish(removals[0]), 0);
    CHECK_INT(rbd_finish(removals[1]), 0);
    ceph_mode(CEPH_REMOVE, CEPH_ON_THREAD);
    CHECK_INT(ceph_log_count("remove rbd_data"), 1);
    rbd_close(&bs);
}

TEST(rbd_map_is_right_after_writes_and_removals_in_three_loops)
{
    enum { COUNT = 60, LOOPS = 3 };
    BlockDriverState bs = { 0 };
    struct loop *loops[LOOPS] = { loop_start(), loop_start(), loop_start() };
    struct rbd_request *requests[COUNT];
    QEMUIOVector *one = qiov_bytes(512, 0), *many = qiov_bytes(2 * OBJECT, 0);
    unsigned round, i, number = 1;
    size_t length;

    mapped_node(&bs);
    for (round = 0; round < test_rounds(60); round++) {
        for (i = 0; i < COUNT; i++) {
            struct rbd_request request = { .bs = &bs };

            number = number * 1103515245 + 12345;
            request.offset = (number >> 16 & 3) * OBJECT;
            switch (number >> 20 & 3) {
            case 0:
            case 1:
                request.op = R_WRITE;
                request.qiov = number >> 20 & 1 ? one : many;
                request.bytes = request.qiov->size;
                break;
            case 2:
                request.op = R_DISCARD;
                request.bytes = (number >> 22 & 1) * OBJECT + OBJECT;
                break;
            case 3:
                request.op = R_ZERO;
                request.flags = QBR_REQ_MAY_UNMAP;
                request.offset += 512 * (number >> 22 & 1);
                request.bytes = OBJECT + OBJECT / 2;
                break;
            }
            requests[i] = rbd_start(loops[i % LOOPS], request);
        }
        for (i = 0; i < COUNT; i++) {
            CHECK_INT(rbd_finish(requests[i]), 0);
        }
        /* One that isn't there may exist: a cut that comes after a removal says so. */
        for (i = 0; i < OBJECTS; i++) {
            if (ceph_bytes(ceph_data(IMAGE, i), &length) || ceph_map_state(IMAGE, i)) {
                check_map_state(i, CEPH_EXISTS);
            }
        }
    }
    CHECK_INT(ceph_flags(IMAGE), 0);
    for (i = 0; i < LOOPS; i++) {
        loop_stop(loops[i]);
    }
    rbd_close(&bs);
    qiov_free(one);
    qiov_free(many);
}

/* In a full pool the removal is done at once, and the write when there is space again. */
TEST(rbd_map_keeps_an_object_whose_removal_overtakes_a_write)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 77);
    struct rbd_request *write;

    mapped_node(&bs);
    CHECK_INT(write_object(&bs, 5), 0);
    ceph_mode(CEPH_WRITE, CEPH_WHEN_RELEASED);
    write = rbd_start_write(&bs, 5 * OBJECT, qiov);
    ceph_wait_for_held(1);
    CHECK_INT(rbd_discard(&bs, 5 * OBJECT, OBJECT), 0);
    check_map_state(5, CEPH_EXISTS);
    CHECK(ceph_release(0));
    CHECK_INT(rbd_finish(write), 0);
    ceph_mode(CEPH_WRITE, CEPH_ON_THREAD);
    check_image(&bs, 5 * OBJECT, 512, 77);
    /* With nothing in flight it goes. */
    CHECK_INT(rbd_discard(&bs, 5 * OBJECT, OBJECT), 0);
    check_map_state(5, CEPH_ABSENT);
    rbd_close(&bs);
    qiov_free(qiov);
}

/* Zeroes over the end of an object that is there and the beginning of one that is first written meanwhile. */
TEST(rbd_map_counts_nothing_in_flight_after_zeroes_beside_a_first_write)
{
    BlockDriverState bs = { 0 };
    struct rbd_request *zeroes;

    mapped_node(&bs);
    CHECK_INT(write_object(&bs, 5), 0);
    ceph_mode(CEPH_WRITE_OP, CEPH_WHEN_RELEASED);
    zeroes = rbd_start(loop_default(), (struct rbd_request) {
        .op = R_ZERO, .bs = &bs, .offset = 5 * OBJECT + OBJECT / 2, .bytes = OBJECT, .flags = QBR_REQ_MAY_UNMAP });
    ceph_wait_for_held(1);
    ceph_mode(CEPH_WRITE_OP, CEPH_ON_THREAD);
    CHECK_INT(write_object(&bs, 6), 0);
    CHECK(ceph_release(0));
    CHECK_INT(rbd_finish(zeroes), 0);
    check_map_state(6, CEPH_EXISTS);
    /* While something is in flight, a removal can't say that nothing is left. */
    CHECK_INT(rbd_discard(&bs, 6 * OBJECT, OBJECT), 0);
    check_map_state(6, CEPH_ABSENT);
    rbd_close(&bs);
}
