/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Internal snapshots, and that no write ever changes one. */

#include "rbd.h"

#include <pthread.h>

static int delete(BlockDriverState *bs, const char *id, const char *name, const char *message)
{
    Error *error = NULL;
    int ret = rbd.snapshot_delete(bs, id, name, &error);

    CHECK(!!error == (ret < 0));
    if (error) {
        CHECK_CONTAINS(error->message, message);
    }
    error_free(error);
    return ret;
}

TEST(rbd_snapshot_keeps_what_was_written_before)
{
    BlockDriverState bs = { 0 }, old = { 0 };
    QEMUIOVector *qiov = qiov_bytes(3 * OBJECT, 99);

    rbd_node(&bs);
    fill_image();
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_write(&bs, OBJECT / 2, qiov), 0);
    CHECK_INT(rbd_discard(&bs, 5 * OBJECT, OBJECT), 0);
    CHECK_INT(rbd_truncate(&bs, 6 * OBJECT), 0);
    check_image(&bs, OBJECT / 2, 3 * OBJECT, 99);
    check_hole(&bs, 5 * OBJECT, OBJECT);
    rbd_open_ok(&old, IMAGE_OPTIONS ",snapshot=one", 0);
    CHECK_INT(rbd.getlength(&old), OBJECTS * OBJECT);
    check_image(&old, 0, OBJECTS * OBJECT, 0);
    rbd.close(&old);
    rbd_close(&bs);
    qiov_free(qiov);
}

/* Reads a snapshot that another node removes; with @is_told the reader hears of that. */
static void check_reader_of_a_removed_snapshot(bool is_told, uint64_t features)
{
    BlockDriverState bs = { 0 }, old = { 0 };
    QEMUIOVector *qiov = qiov_flat(512), *odd = qiov_new((const size_t[]) { 1000, OBJECT, 24, 0 });
    int64_t pnum, map;
    BlockDriverState *file = NULL;

    ceph_image(IMAGE, OBJECTS * OBJECT, ORDER, features);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd_zero(&bs, 0, 8 * OBJECT, 0), 0);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    rbd_open_ok(&old, IMAGE_OPTIONS ",snapshot=one", 0);
    check_hole(&old, 0, 512);
    check_hole(&old, 12 * OBJECT, 512);
    if (!is_told) {
        ceph_fail(CEPH_NOTIFY, EIO);
    }
    CHECK_INT(delete(&bs, NULL, "one", ""), 0);
    CHECK_INT(rbd_discard(&bs, 0, 8 * OBJECT), 0);
    CHECK_INT(rbd_read(&old, 0, qiov), -ENOENT);
    CHECK_INT(rbd_read(&old, OBJECT - 512, odd), -ENOENT);
    if (is_told || !(features & CEPH_OBJECT_MAP)) {
        CHECK_INT(rbd_run((struct rbd_request) { .op = R_STATUS, .bs = &old, .mode = QBR_WANT_ZERO, .bytes = 8 * OBJECT,
                                                 .pnum = &pnum, .map = &map, .file = &file }), -ENOENT);
    }
    CHECK_CONTAINS(last_error_reported(), "'a': the snapshot that is read here was removed");
    ceph_fail(CEPH_NOTIFY, 0);
    rbd.close(&old);
    rbd_close(&bs);
    qiov_free(qiov);
    qiov_free(odd);
}

TEST(rbd_reader_of_a_snapshot_that_was_removed_gets_errors_and_no_zeroes)
{
    check_reader_of_a_removed_snapshot(true, 0);
    check_reader_of_a_removed_snapshot(true, CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK | CEPH_OBJECT_MAP);
}

TEST(rbd_reader_of_a_snapshot_that_did_not_hear_of_its_removal_gets_errors_and_no_zeroes)
{
    check_reader_of_a_removed_snapshot(false, 0);
    check_reader_of_a_removed_snapshot(false, CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK | CEPH_OBJECT_MAP);
}

/* The map of a snapshot never changes: its holes are asked for once. */
TEST(rbd_reads_of_holes_of_a_snapshot_ask_the_header_once_if_there_is_a_map)
{
    BlockDriverState bs = { 0 }, old = { 0 };
    unsigned i;

    ceph_image(IMAGE, OBJECTS * OBJECT, ORDER, CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK | CEPH_OBJECT_MAP);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    rbd_open_ok(&old, IMAGE_OPTIONS ",snapshot=one", 0);
    ceph_log_clear();
    check_hole(&old, 0, 512);
    CHECK_CONTAINS(ceph_log(), "exec rbd_header");
    ceph_log_clear();
    for (i = 1; i < OBJECTS; i++) {
        check_hole(&old, i * OBJECT, 512);
    }
    /* The other node may still be telling that it has the lock. */
    CHECK(!strstr(ceph_log(), "exec rbd_header"));
    rbd.close(&old);
    rbd_close(&bs);
}

TEST(rbd_goto_brings_back_content_and_size)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(3 * OBJECT, 99);

    rbd_node(&bs);
    fill_image();
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_write(&bs, OBJECT / 2, qiov), 0);
    CHECK_INT(rbd_truncate(&bs, 20 * OBJECT), 0);
    CHECK_INT(rbd_write(&bs, 17 * OBJECT, qiov), 0);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), 0);
    CHECK_INT(rbd.getlength(&bs), OBJECTS * OBJECT);
    check_image(&bs, 0, OBJECTS * OBJECT, 0);
    /* What was cut off stays away. */
    CHECK_INT(rbd_truncate(&bs, 20 * OBJECT), 0);
    check_hole(&bs, 16 * OBJECT, 4 * OBJECT);
    rbd_close(&bs);
    qiov_free(qiov);
}

/* QEMU goes on with the length that it knows. */
TEST(rbd_write_behind_the_end_of_the_snapshot_that_was_gone_to_is_refused)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 7);

    rbd_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_truncate(&bs, 2 * OBJECTS * OBJECT), 0);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), 0);
    CHECK_INT(rbd_write(&bs, (OBJECTS + 1) * OBJECT, qiov), -EINVAL);
    CHECK_INT(ceph_image_size(IMAGE), OBJECTS * OBJECT);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_goto_of_an_object_that_was_not_there_removes_it)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(OBJECT, 99);

    rbd_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_write(&bs, OBJECT, qiov), 0);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), 0);
    check_hole(&bs, 0, 4 * OBJECT);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_goto_failures_are_passed_on)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    fill_image();
    CHECK_INT(rbd.snapshot_goto(&bs, "none"), -ENOENT);
    CHECK_INT(errors_reported(), 1);
    CHECK_CONTAINS(last_error_reported(), "none");
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    ceph_fail_some(CEPH_ROLLBACK, 5, 1, ENOSPC);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), -ENOSPC);
    CHECK_CONTAINS(last_error_reported(), "one");
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), 0);
    rbd_close(&bs);
}

struct rollback {
    BlockDriverState *bs;
    int ret;
};

static void *go_back(void *opaque)
{
    struct rollback *call = opaque;

    call->ret = rbd.snapshot_goto(call->bs, "one");
    return NULL;
}

/* A larger image than most tests have, and a snapshot of it. */
static void many_objects(BlockDriverState *bs)
{
    ceph_image(IMAGE, 4000 * OBJECT, ORDER, 0);
    rbd_open_ok(bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd_snapshot(bs, "one"), 0);
}

TEST(rbd_goto_has_ten_objects_under_way)
{
    BlockDriverState bs = { 0 };
    struct rollback call = { .bs = &bs };
    pthread_t thread;

    rbd_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    ceph_close_gate(CEPH_ROLLBACK);
    CHECK(!pthread_create(&thread, NULL, go_back, &call));
    ceph_wait_for(CEPH_ROLLBACK, 10);
    ceph_open_gate(CEPH_ROLLBACK);
    pthread_join(thread, NULL);
    CHECK_INT(call.ret, 0);
    CHECK_INT(ceph_count(CEPH_ROLLBACK), OBJECTS);
    rbd_close(&bs);
}

TEST(rbd_goto_that_fails_stops_soon)
{
    BlockDriverState bs = { 0 };

    many_objects(&bs);
    ceph_fail_some(CEPH_ROLLBACK, 0, 1, ENOSPC);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), -ENOSPC);
    CHECK(ceph_count(CEPH_ROLLBACK) < 2000);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), 0);
    rbd_close(&bs);
}

TEST(rbd_write_after_a_snapshot_knows_it)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    rbd_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_snapshot(&bs, "two"), 0);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    CHECK_CONTAINS(ceph_log(), "0+4096 [2:2,1]");
    ceph_log_clear();
    CHECK_INT(delete(&bs, NULL, "one", ""), 0);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    CHECK_CONTAINS(ceph_log(), "0+4096 [2:2]");
    CHECK_INT(rbd_zero(&bs, 0, 4096, 0), 0);
    CHECK_CONTAINS(ceph_log(), "0+4096 [2:2]");
    CHECK_INT(rbd_zero(&bs, 0, 4096, QBR_REQ_MAY_UNMAP), 0);
    CHECK_CONTAINS(ceph_log(), "zero rbd_data.a.0000000000000000 0+4096 [2:2]");
    CHECK_INT(rbd_discard(&bs, 0, OBJECT), 0);
    CHECK_CONTAINS(ceph_log(), "remove rbd_data.a.0000000000000000 0+0 [2:2]");
    rbd_close(&bs);
    qiov_free(qiov);
}

struct snapshot_call {
    BlockDriverState *bs;
    const char *name;
    int ret;
};

static void *create(void *opaque)
{
    struct snapshot_call *call = opaque;

    call->ret = rbd_snapshot(call->bs, call->name);
    return NULL;
}

TEST(rbd_snapshot_waits_for_writes_in_flight)
{
    BlockDriverState bs = { 0 };
    struct snapshot_call call = { .bs = &bs, .name = "one" };
    QEMUIOVector *qiov = qiov_bytes(4 * OBJECT, 0);
    struct rbd_request *write, *later;
    pthread_t thread;

    rbd_node(&bs);
    ceph_mode(CEPH_WRITE, CEPH_WHEN_RELEASED);
    write = rbd_start_write(&bs, 0, qiov);
    ceph_wait_for_held(4);
    ceph_log_clear();
    CHECK(!pthread_create(&thread, NULL, create, &call));
    CHECK(ceph_release(2));
    CHECK(ceph_release(0));
    CHECK(ceph_release(1));
    /* One of its objects is not written yet. */
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_FLUSH, .bs = &bs }), 0);
    CHECK_INT(ceph_log_count("snapshot_add"), 0);
    CHECK(ceph_release(0));
    CHECK_INT(rbd_finish(write), 0);
    pthread_join(thread, NULL);
    CHECK_INT(call.ret, 0);
    CHECK_INT(ceph_log_count("write_full"), 4);
    CHECK(!strstr(strstr(ceph_log(), "snapshot_add"), "write_full"));
    ceph_mode(CEPH_WRITE, CEPH_ON_THREAD);
    later = rbd_start_write(&bs, 0, qiov);
    CHECK_INT(rbd_finish(later), 0);
    CHECK_INT(ceph_log_count("[1:1]"), 4);
    rbd_close(&bs);
    qiov_free(qiov);
}

/* From the change of the header until it is read again nothing may be written with what was known before. */
TEST(rbd_no_write_with_the_old_snapshots_follows_a_new_one)
{
    enum { COUNT = 200 };
    BlockDriverState bs = { 0 };
    struct loop *loops[2] = { loop_start(), loop_start() };
    struct rbd_request *writes[COUNT];
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    struct snapshot_call calls[3] = { { .bs = &bs, .name = "a" }, { .bs = &bs, .name = "b" }, { .bs = &bs, .name = "c" } };
    const char *at;
    unsigned i, j, known;
    pthread_t thread;

    rbd_node(&bs);
    for (j = 0; j < 3; j++) {
        CHECK(!pthread_create(&thread, NULL, create, &calls[j]));
        for (i = 0; i < COUNT; i++) {
            writes[i] = rbd_start(loops[i % 2], (struct rbd_request) {
                .op = R_WRITE, .bs = &bs, .offset = i * 512, .bytes = 512, .qiov = qiov });
        }
        for (i = 0; i < COUNT; i++) {
            CHECK_INT(rbd_finish(writes[i]), 0);
        }
        pthread_join(thread, NULL);
        CHECK_INT(calls[j].ret, 0);
    }
    known = 0;
    for (at = ceph_log(); *at; at = strchr(at, '\n') + 1) {
        const char *end = strchr(at, '\n');
        const char *context = strchr(at, '[');

        if (memmem(at, end - at, "snapshot_add", 12)) {
            known++;
        } else if (!strncmp(at, "write rbd_data", 14)) {
            CHECK(context && context < end);
            CHECK_INT(atoi(context + 1), known);
        }
    }
    CHECK_INT(known, 3);
    for (i = 0; i < 2; i++) {
        loop_stop(loops[i]);
    }
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_snapshot_that_was_added_but_not_read_back_stops_writes_until_it_is)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    rbd_node(&bs);
    /* The first time it is read before. */
    ceph_fail_object(ceph_header(IMAGE), CEPH_READ_OP, 1, 1, EIO);
    CHECK_INT(rbd_snapshot(&bs, "one"), -EIO);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    CHECK_CONTAINS(ceph_log(), "0+4096 [1:1]");
    rbd_close(&bs);
    qiov_free(qiov);
}

/* The cluster did it, but the answer was an error. */
TEST(rbd_snapshot_whose_answer_was_lost_is_known_to_the_next_write)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    rbd_node(&bs);
    ceph_fail_object_late(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, ETIMEDOUT);
    CHECK_INT(rbd_snapshot(&bs, "one"), -ETIMEDOUT);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    CHECK_CONTAINS(ceph_log(), "0+4096 [1:1]");
    rbd_close(&bs);
    qiov_free(qiov);
}

/* The cluster does it when nobody waits for it any more. */
TEST(rbd_snapshot_that_is_made_late_is_known_to_the_next_write)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    rbd_node(&bs);
    ceph_delay_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, ETIMEDOUT);
    CHECK_INT(rbd_snapshot(&bs, "one"), -ETIMEDOUT);
    CHECK_INT(ceph_image_snapshots(IMAGE), 0);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    CHECK_CONTAINS(ceph_log(), "0+4096 [1:1]");
    rbd_close(&bs);
    qiov_free(qiov);
}

/* Nobody knows whether there is such a snapshot now; if there is, it needs its number. */
TEST(rbd_snapshot_whose_answer_was_lost_keeps_its_number)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_fail_object_late(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, ETIMEDOUT);
    CHECK_INT(rbd_snapshot(&bs, "one"), -ETIMEDOUT);
    CHECK_INT(ceph_image_snapshots(IMAGE), 1);
    CHECK_INT(ceph_count(CEPH_SNAP_REMOVE), 0);
    rbd_close(&bs);
}

TEST(rbd_snapshot_that_the_cluster_refuses_gives_its_number_back)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, EDQUOT);
    CHECK_INT(rbd_snapshot(&bs, "one"), -EDQUOT);
    CHECK_INT(ceph_count(CEPH_SNAP_REMOVE), 1);
    ceph_fail(CEPH_SNAP_CREATE, 0);
    rbd_close(&bs);
}

TEST(rbd_snapshot_number_that_another_client_has_overtaken_is_tried_again)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 3, ESTALE);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(ceph_count(CEPH_SNAP_CREATE), 4);
    CHECK_INT(ceph_count(CEPH_SNAP_REMOVE), 3);
    CHECK_INT(ceph_image_snapshots(IMAGE), 1);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, CEPH_FOR_EVER, ESTALE);
    CHECK_INT(rbd_snapshot(&bs, "two"), -ESTALE);
    CHECK(ceph_count(CEPH_SNAP_CREATE) < 40);
    rbd_close(&bs);
}

TEST(rbd_snapshot_name_rules)
{
    BlockDriverState bs = { 0 };
    QEMUSnapshotInfo info = { .name = "one", .id_str = "other" };
    char name[129];
    unsigned calls;

    rbd_node(&bs);
    calls = ceph_count(CEPH_SNAP_CREATE);
    CHECK_INT(rbd_snapshot(&bs, ""), -EINVAL);
    CHECK_INT(rbd.snapshot_create(&bs, &info), -EINVAL);
    memset(name, 'x', 128);
    name[128] = '\0';
    CHECK_INT(rbd_snapshot(&bs, name), -ERANGE);
    CHECK_INT(ceph_count(CEPH_SNAP_CREATE), calls);
    CHECK_INT(errors_reported(), 3);
    name[127] = '\0';
    CHECK_INT(rbd_snapshot(&bs, name), 0);
    strcpy(info.id_str, "one");
    CHECK_INT(rbd.snapshot_create(&bs, &info), 0);
    CHECK_INT(rbd_snapshot(&bs, "one"), -EEXIST);
    CHECK_INT(ceph_image_snapshots(IMAGE), 2);
    rbd_close(&bs);
}

TEST(rbd_snapshot_that_another_client_has_made_exists)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_snapshot(IMAGE, "one");
    /* Nobody has said so: the cluster refuses it. */
    CHECK_INT(rbd_snapshot(&bs, "one"), -EEXIST);
    CHECK_INT(ceph_image_snapshots(IMAGE), 1);
    rbd_close(&bs);
}

TEST(rbd_snapshot_delete_rules)
{
    BlockDriverState bs = { 0 };
    uint64_t id;

    rbd_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_snapshot(&bs, "two"), 0);
    CHECK_INT(delete(&bs, NULL, "none", "none"), -ENOENT);
    CHECK_INT(delete(&bs, NULL, NULL, "Invalid argument"), -EINVAL);
    CHECK_INT(delete(&bs, "two", "one", "one"), -EINVAL);
    CHECK_INT(ceph_image_snapshots(IMAGE), 2);
    CHECK_INT(delete(&bs, "one", "one", ""), 0);
    CHECK_INT(ceph_image_snapshots(IMAGE), 1);
    id = ceph_snapshot(IMAGE, "three");
    ceph_protect(IMAGE, id, 2);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(delete(&bs, NULL, "three", "three"), -EBUSY);
    ceph_protect(IMAGE, id, 0);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(delete(&bs, NULL, "three", "three"), 0);
    /* Protected by somebody who has told nobody. */
    id = ceph_snapshot(IMAGE, "four");
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(rbd_truncate(&bs, OBJECT), 0);
    ceph_protect(IMAGE, id, 2);
    CHECK_INT(delete(&bs, NULL, "four", "four"), -EBUSY);
    CHECK_INT(ceph_image_snapshots(IMAGE), 2);
    rbd_close(&bs);
}

TEST(rbd_delete_of_a_snapshot_gives_its_objects_back)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 5);
    size_t length;

    rbd_node(&bs);
    fill_image();
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    CHECK(ceph_bytes_at(ceph_data(IMAGE, 0), 1, &length));
    CHECK_INT(delete(&bs, NULL, "one", ""), 0);
    CHECK(!ceph_bytes_at(ceph_data(IMAGE, 0), 1, &length));
    check_image(&bs, 0, 4096, 5);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_delete_of_a_snapshot_with_clones_moves_it_to_the_trash)
{
    BlockDriverState bs = { 0 };
    char names[100];
    uint64_t id;

    rbd_node(&bs);
    id = ceph_snapshot(IMAGE, "one");
    ceph_children(IMAGE, id, 1);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(delete(&bs, NULL, "one", ""), 0);
    CHECK_INT(ceph_image_snapshots(IMAGE), 1);
    CHECK_INT(ceph_count(CEPH_SNAP_REMOVE), 0);
    rbd_list(&bs, names, sizeof(names));
    CHECK_TEXT(names, "");
    rbd_close(&bs);
}

/* A delete has three steps. */
TEST(rbd_delete_that_failed_in_between_can_be_tried_again)
{
    BlockDriverState bs = { 0 };
    char names[100];
    unsigned step;

    rbd_node(&bs);
    for (step = 0; step < 3; step++) {
        CHECK_INT(rbd_snapshot(&bs, "one"), 0);
        if (step == 1) {
            ceph_fail_some(CEPH_SNAP_REMOVE, 0, 0, 0);
            ceph_fail_object("", CEPH_SNAP_REMOVE, 0, 1, EIO);
        } else {
            ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, step / 2, 1, EIO);
        }
        CHECK_INT(delete(&bs, NULL, "one", "one"), -EIO);
        ceph_pass_objects();
        rbd_list(&bs, names, sizeof(names));
        if (*names) {
            CHECK_INT(delete(&bs, NULL, "one", "one"), 0);
        }
        rbd_list(&bs, names, sizeof(names));
        CHECK_TEXT(names, "");
        /* The name is free again. */
        CHECK_INT(rbd_snapshot(&bs, "one"), 0);
        CHECK_INT(delete(&bs, NULL, "one", "one"), 0);
    }
    rbd_close(&bs);
}

/* The cluster did it, but the answer was an error. */
TEST(rbd_delete_whose_answer_was_lost_can_be_tried_again)
{
    BlockDriverState bs = { 0 };
    char names[100];
    unsigned step;

    rbd_node(&bs);
    for (step = 0; step < 2; step++) {
        CHECK_INT(rbd_snapshot(&bs, "one"), 0);
        ceph_fail_object_late(ceph_header(IMAGE), CEPH_WRITE_OP, step, 1, ETIMEDOUT);
        CHECK_INT(delete(&bs, NULL, "one", "one"), -ETIMEDOUT);
        ceph_pass_objects();
        rbd_list(&bs, names, sizeof(names));
        if (*names) {
            int ret = delete(&bs, NULL, "one", "one");

            CHECK(!ret || ret == -ENOENT);
        }
        rbd_list(&bs, names, sizeof(names));
        CHECK_TEXT(names, "");
        CHECK_INT(rbd_snapshot(&bs, "one"), 0);
        CHECK_INT(delete(&bs, NULL, "one", "one"), 0);
    }
    rbd_close(&bs);
}

TEST(rbd_list_asks_nobody)
{
    BlockDriverState bs = { 0 };
    char names[100];
    unsigned i, before = 0, after = 0;

    rbd_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_snapshot(&bs, "two"), 0);
    for (i = 0; i < CEPH_CALLS; i++) {
        before += ceph_count(i);
    }
    rbd_list(&bs, names, sizeof(names));
    CHECK_TEXT(names, "one two");
    for (i = 0; i < CEPH_CALLS; i++) {
        after += ceph_count(i);
    }
    CHECK_INT(after, before);
    rbd_close(&bs);
}

TEST(rbd_list_shows_the_users_snapshots_only)
{
    BlockDriverState bs = { 0 };
    char names[100];

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    ceph_snapshot(IMAGE, "one");
    ceph_snapshot_of(IMAGE, ".group.1", 1);
    ceph_snapshot_of(IMAGE, "gone", 2);
    ceph_snapshot_of(IMAGE, ".mirror.1", 3);
    ceph_snapshot_of(IMAGE, "unheard of", 77);
    ceph_snapshot(IMAGE, "two");
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    rbd_list(&bs, names, sizeof(names));
    CHECK_TEXT(names, "one two");
    rbd_close(&bs);
}

TEST(rbd_more_than_a_hundred_snapshots_are_listed)
{
    enum { COUNT = 150 };
    BlockDriverState bs = { 0 };
    QEMUSnapshotInfo *table;
    char name[16];
    unsigned i;

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    for (i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "snap%u", i);
        ceph_snapshot(IMAGE, name);
        ceph_resize(IMAGE, OBJECT + i);
    }
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd.snapshot_list(&bs, &table), COUNT);
    for (i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "snap%u", i);
        CHECK_TEXT(table[i].name, name);
        CHECK_TEXT(table[i].id_str, name);
        CHECK_INT(table[i].vm_state_size, i ? OBJECT + i - 1 : OBJECT);
    }
    table_free(table);
    CHECK_INT(rbd_snapshot(&bs, "another"), 0);
    CHECK_INT(rbd.snapshot_list(&bs, &table), COUNT + 1);
    table_free(table);
    rbd_close(&bs);
}

TEST(rbd_list_without_memory_for_the_table_fails)
{
    BlockDriverState bs = { 0 };
    QEMUSnapshotInfo *table = (QEMUSnapshotInfo *)&bs;

    rbd_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    tables_run_out(true);
    CHECK_INT(rbd.snapshot_list(&bs, &table), -ENOMEM);
    CHECK(!table);
    rbd_close(&bs);
}

TEST(rbd_snapshots_of_a_read_only_node_cannot_be_changed)
{
    BlockDriverState bs = { 0 };
    char names[100];

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    ceph_snapshot(IMAGE, "one");
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    CHECK_INT(rbd_snapshot(&bs, "two"), -EROFS);
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), -EROFS);
    CHECK_INT(delete(&bs, NULL, "one", ""), -EROFS);
    rbd_list(&bs, names, sizeof(names));
    CHECK_TEXT(names, "one");
    rbd_close(&bs);
}

TEST(rbd_unknown_operations_on_an_image_forbid_snapshots_and_resizes_but_no_writes)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    ceph_image(IMAGE, 4 * OBJECT, ORDER, 0);
    ceph_set_operations(IMAGE, 0x100);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    CHECK_INT(rbd_snapshot(&bs, "one"), -EROFS);
    CHECK_INT(rbd_truncate(&bs, OBJECT), -EROFS);
    CHECK_INT(ceph_image_size(IMAGE), 4 * OBJECT);
    /* They are over. */
    ceph_set_features(IMAGE, 0);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(rbd_truncate(&bs, OBJECT), 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_format1_snapshots)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);
    char names[100];

    ceph_image1(IMAGE, 4 * OBJECT, ORDER);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_snapshot(&bs, "two"), 0);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    CHECK_CONTAINS(ceph_log(), "0+4096 [2:2,1]");
    CHECK_INT(rbd.snapshot_goto(&bs, "one"), 0);
    check_hole(&bs, 0, 4096);
    CHECK_INT(delete(&bs, NULL, "one", ""), 0);
    rbd_list(&bs, names, sizeof(names));
    CHECK_TEXT(names, "two");
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    CHECK_CONTAINS(ceph_log(), "0+4096 [2:2]");
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_snapshot_numbers_come_from_the_pool_with_the_data)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    ceph_image("b", OBJECT, ORDER, 0);
    ceph_snapshot("b", "x");
    ceph_snapshot("b", "y");
    ceph_image(IMAGE, OBJECT, ORDER, CEPH_DATA_POOL);
    ceph_reply("get_data_pool", "\3\0\0\0\0\0\0\0", 8);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    CHECK_CONTAINS(ceph_log(), "0+4096 [1:1]");
    rbd_close(&bs);
    qiov_free(qiov);
}
