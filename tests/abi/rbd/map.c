/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * The object map. The fake library takes it for a violation if an object is there that a valid map doesn't know, or if one is
 * written or removed that the map wasn't told of before.
 */

#include "map.h"

void mapped_image(void)
{
    ceph_image(IMAGE, OBJECTS * OBJECT, ORDER, MAPPED | CEPH_FAST_DIFF);
}

int64_t write_object(BlockDriverState *bs, unsigned object)
{
    QEMUIOVector *qiov = qiov_bytes(512, object * OBJECT);
    int64_t ret = rbd_write(bs, object * OBJECT, qiov);

    qiov_free(qiov);
    return ret;
}

void mapped_open(BlockDriverState *bs)
{
    rbd_open_ok(bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(write_object(bs, 0), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), ceph_last_client());
    /* The others are told of the lock by a thread. */
    while (!ceph_log_count("notify")) {
    }
    ceph_log_clear();
}

void mapped_node(BlockDriverState *bs)
{
    mapped_image();
    mapped_open(bs);
}

void check_map_state(unsigned object, int state)
{
    CHECK_INT(ceph_map_state(IMAGE, object), state);
}

void check_order(const char *first, const char *second)
{
    const char *at = strstr(ceph_log(), first);

    CHECK_CONTAINS(ceph_log(), first);
    CHECK_CONTAINS(at, second);
}

void check_map_is_invalid(BlockDriverState *bs)
{
    QEMUIOVector *qiov = qiov_flat(512);

    CHECK_INT(ceph_flags(IMAGE), CEPH_INVALID);
    ceph_log_clear();
    CHECK_INT(rbd_read(bs, 13 * OBJECT, qiov), 0);
    CHECK_CONTAINS(ceph_log(), "read rbd_data");
    qiov_free(qiov);
    CHECK_INT(write_object(bs, 14), 0);
    check_image(bs, 14 * OBJECT, 512, 14 * OBJECT);
    CHECK_INT(rbd_discard(bs, 14 * OBJECT, OBJECT), 0);
    check_hole(bs, 14 * OBJECT, OBJECT);
}

/* --- Writes ---------------------------------------------------------------------------------------------------------------- */

TEST(rbd_map_knows_an_object_before_it_is_written)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(write_object(&bs, 5), 0);
    check_order("object_map_update", "write rbd_data");
    CHECK_INT(ceph_log_count("object_map_update"), 1);
    check_map_state(5, CEPH_EXISTS);
    check_map_state(4, CEPH_ABSENT);
    check_map_state(6, CEPH_ABSENT);
    rbd_close(&bs);
}

TEST(rbd_map_is_told_by_the_holder_of_its_own_lock_only)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(write_object(&bs, 5), 0);
    check_order("assert_locked", "object_map_update");
    CHECK_INT(ceph_map_holder(IMAGE), ceph_last_client());
    rbd_close(&bs);
}

TEST(rbd_map_is_not_told_of_a_second_write)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(write_object(&bs, 0), 0);
    CHECK_INT(ceph_log_count("rbd_object_map"), 0);
    rbd_close(&bs);
}

TEST(rbd_map_is_told_of_all_objects_of_a_write_at_once)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4 * OBJECT, 0);

    mapped_node(&bs);
    CHECK_INT(rbd_write(&bs, 3 * OBJECT + 1000, qiov), 0);
    CHECK_INT(ceph_log_count("object_map_update"), 1);
    check_map_state(2, CEPH_ABSENT);
    check_map_state(3, CEPH_EXISTS);
    check_map_state(7, CEPH_EXISTS);
    check_map_state(8, CEPH_ABSENT);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_map_is_not_told_of_objects_between_that_it_knows)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4 * OBJECT, 0);

    mapped_node(&bs);
    CHECK_INT(write_object(&bs, 5), 0);
    ceph_log_clear();
    CHECK_INT(rbd_write(&bs, 4 * OBJECT, qiov), 0);
    CHECK_INT(ceph_log_count("object_map_update"), 2);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_map_knows_the_objects_of_a_bounced_write)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes_in((const size_t[]) { 1000, OBJECT, 5, 4096, 0 }, 0);

    mapped_node(&bs);
    CHECK_INT(rbd_write(&bs, 3 * OBJECT + 1000, qiov), 0);
    check_map_state(3, CEPH_EXISTS);
    check_map_state(4, CEPH_EXISTS);
    check_image(&bs, 3 * OBJECT + 1000, qiov->size, 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_map_knows_the_objects_of_zeroes_that_take_their_space)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(rbd_zero(&bs, 3 * OBJECT + 512, 2 * OBJECT, 0), 0);
    CHECK_INT(ceph_log_count("object_map_update"), 1);
    check_order("object_map_update", "writesame");
    check_map_state(3, CEPH_EXISTS);
    check_map_state(5, CEPH_EXISTS);
    rbd_close(&bs);
}

TEST(rbd_data_is_not_sent_before_the_map_has_answered)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    struct rbd_request *write;
    unsigned writes;

    mapped_node(&bs);
    writes = ceph_count(CEPH_WRITE);
    ceph_mode(CEPH_WRITE_OP, CEPH_WHEN_RELEASED);
    write = rbd_start_write(&bs, 5 * OBJECT, qiov);
    ceph_wait_for_held(1);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_FLUSH, .bs = &bs }), 0);
    CHECK_INT(ceph_count(CEPH_WRITE), writes);
    /* Others go on meanwhile. */
    CHECK_INT(write_object(&bs, 0), 0);
    CHECK(ceph_release(0));
    CHECK_INT(rbd_finish(write), 0);
    ceph_mode(CEPH_WRITE_OP, CEPH_ON_THREAD);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_first_writes_of_an_object_at_once_tell_the_map_once)
{
    enum { COUNT = 20 };
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    struct rbd_request *writes[COUNT];
    unsigned i;

    mapped_node(&bs);
    ceph_mode(CEPH_WRITE_OP, CEPH_WHEN_RELEASED);
    for (i = 0; i < COUNT; i++) {
        writes[i] = rbd_start_write(&bs, 5 * OBJECT + i * 512, qiov);
    }
    ceph_wait_for_held(1);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_FLUSH, .bs = &bs }), 0);
    CHECK_INT(ceph_held(), 1);
    ceph_mode(CEPH_WRITE_OP, CEPH_ON_THREAD);
    ceph_release_all();
    for (i = 0; i < COUNT; i++) {
        CHECK_INT(rbd_finish(writes[i]), 0);
    }
    CHECK_INT(ceph_log_count("object_map_update"), 1);
    rbd_close(&bs);
    qiov_free(qiov);
}

/* --- The lock -------------------------------------------------------------------------------------------------------------- */

static void wait_until_free(void)
{
    while (ceph_lock_holder(IMAGE)) {
    }
}

TEST(rbd_map_is_locked_and_unlocked_with_the_image)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    CHECK_INT(ceph_map_holder(IMAGE), ceph_last_client());
    CHECK_INT(rbd.inactivate(&bs), 0);
    wait_until_free();
    CHECK_INT(ceph_map_holder(IMAGE), 0);
    check_order("exec rbd_object_map.a unlock", "exec rbd_header.a unlock");
    CHECK_INT(write_object(&bs, 0), 0);
    CHECK_INT(ceph_map_holder(IMAGE), ceph_last_client());
    rbd_close(&bs);
    CHECK_INT(ceph_map_holder(IMAGE), 0);
}

TEST(rbd_lock_of_a_map_whose_holder_died_is_broken)
{
    BlockDriverState bs = { 0 };

    mapped_image();
    ceph_map_lock_as(IMAGE, CEPH_STRANGER);
    mapped_open(&bs);
    CHECK_INT(ceph_map_holder(IMAGE), ceph_last_client());
    CHECK_INT(ceph_count(CEPH_BLOCKLIST), 0);
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd_close(&bs);
}

TEST(rbd_map_is_read_anew_with_each_lock)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    check_hole(&bs, 5 * OBJECT, 512);
    CHECK_INT(rbd.inactivate(&bs), 0);
    wait_until_free();
    ceph_fill(ceph_data(IMAGE, 5), 0, 512, 0);
    CHECK_INT(write_object(&bs, 0), 0);
    check_image(&bs, 5 * OBJECT, 512, 0);
    rbd_close(&bs);
}

TEST(rbd_two_nodes_that_take_turns_know_what_the_other_has_written)
{
    BlockDriverState one = { 0 }, two = { 0 };
    unsigned i;

    mapped_image();
    rbd_open_ok(&one, IMAGE_OPTIONS, QBR_O_RDWR);
    rbd_open_ok(&two, IMAGE_OPTIONS, QBR_O_RDWR);
    for (i = 0; i < OBJECTS; i++) {
        CHECK_INT(write_object(i % 2 ? &one : &two, i), 0);
        check_image(&one, i * OBJECT, 512, i * OBJECT);
        check_image(&two, i * OBJECT, 512, i * OBJECT);
        if (i % 3 == 1) {
            CHECK_INT(rbd_discard(i % 2 ? &two : &one, i * OBJECT, OBJECT), 0);
            check_hole(&one, i * OBJECT, 512);
            check_hole(&two, i * OBJECT, 512);
        }
    }
    for (i = 0; i < OBJECTS; i++) {
        check_map_state(i, i % 3 == 1 ? CEPH_ABSENT : CEPH_EXISTS);
    }
    CHECK_INT(ceph_flags(IMAGE), 0);
    rbd.close(&one);
    rbd_close(&two);
    CHECK_INT(ceph_map_holder(IMAGE), 0);
}

/* --- A new image ----------------------------------------------------------------------------------------------------------- */

TEST(rbd_new_image_has_a_map_in_which_nothing_is_there)
{
    struct options *options = options_new("size=#200000,location.pool=rbd,location.image=a");
    BlockDriverState bs = { 0 };
    const unsigned char *stored;
    char id[100] = "";
    size_t length;

    ceph_setting("rbd_default_order", "16");
    ceph_setting("rbd_default_features", "61");
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_CREATE, .options = options }), 0);
    options_free(options);
    ceph_wait_for_no_client();
    stored = ceph_bytes("rbd_id.a", &length);
    CHECK(length > 4 && length < sizeof(id));
    memcpy(id, stored + 4, length - 4);
    CHECK_INT(ceph_map_count(id), 4);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(write_object(&bs, 1), 0);
    CHECK_INT(ceph_map_state(id, 1), CEPH_EXISTS);
    CHECK_INT(ceph_map_state(id, 2), CEPH_ABSENT);
    CHECK_INT(ceph_log_count("set_flags"), 0);
    rbd_close(&bs);
}

/* --- Memory ---------------------------------------------------------------------------------------------------------------- */

/* Does the same again and again with the lock and a map; the others are told of the lock by a thread. */
static void check_allocates_nothing(struct rbd_request rq)
{
    BlockDriverState bs = { 0 };
    unsigned i, allocations = 0;

    mapped_image();
    fill_image();
    mapped_open(&bs);
    rq.bs = &bs;
    for (i = 0; i < 10 + test_rounds(500); i++) {
        if (i == 10) {
            ceph_wait_for(CEPH_NOTIFY, 1);
            CHECK_INT(rbd_run(rq), 0);
            allocations = memory_allocations();
        }
        CHECK_INT(rbd_run(rq), 0);
    }
    CHECK(memory_allocations() <= allocations + 2);
    rbd_close(&bs);
}

TEST(rbd_steady_writes_with_a_map_allocate_nothing)
{
    QEMUIOVector *qiov = qiov_flat(4096);

    check_allocates_nothing((struct rbd_request) { .op = R_WRITE, .bytes = 4096, .qiov = qiov });
    qiov_free(qiov);
}

TEST(rbd_steady_writes_over_objects_with_a_map_allocate_nothing)
{
    QEMUIOVector *qiov = qiov_flat(3 * OBJECT);

    check_allocates_nothing((struct rbd_request) { .op = R_WRITE, .offset = 1000, .bytes = 3 * OBJECT, .qiov = qiov });
    qiov_free(qiov);
}

TEST(rbd_steady_reads_with_a_map_allocate_nothing)
{
    QEMUIOVector *qiov = qiov_flat(3 * OBJECT);

    check_allocates_nothing((struct rbd_request) { .op = R_READ, .bytes = 3 * OBJECT, .qiov = qiov });
    qiov_free(qiov);
}
