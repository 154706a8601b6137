/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* The exclusive lock. The fake library knows who holds it, and takes every write by somebody else for a violation. */

#include "map.h"

#include <pthread.h>

#define HANDLE 77
#define COOKIE "auto 77"
#define TAG "internal"
#define HOLDER "client.9999"

/* Answers of the other client: 0, and EROFS. */
static const unsigned char yes[] = { 1, 1, 4, 0, 0, 0, 0, 0, 0, 0 };
static const unsigned char no[] = { 1, 1, 4, 0, 0, 0, 0xe2, 0xff, 0xff, 0xff };

enum message { ACQUIRED, RELEASED, REQUEST };

/* The other client says something about the lock; how many have heard it. */
static unsigned tell_as(uint64_t client, enum message kind)
{
    unsigned char message[] = { 7, 1, 21, 0, 0, 0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, HANDLE, 0, 0, 0, 0, 0, 0, 0, 0 };

    memcpy(message + 10, &client, sizeof(client));
    message[2] = kind == REQUEST ? 21 : 20;
    return ceph_tell_as(client, ceph_header(IMAGE), message, kind == REQUEST ? sizeof(message) : sizeof(message) - 1);
}

static unsigned tell(enum message kind)
{
    return tell_as(CEPH_STRANGER, kind);
}

static void locked_image(void)
{
    ceph_image(IMAGE, OBJECTS * OBJECT, ORDER, CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK);
}

static void locked_node(BlockDriverState *bs)
{
    locked_image();
    rbd_open_ok(bs, IMAGE_OPTIONS, QBR_O_RDWR);
}

/* A thread gives the lock back; a test that waits for ever fails. */
static void wait_until_free(void)
{
    while (ceph_lock_holder(IMAGE)) {
    }
}

static int64_t write_one(BlockDriverState *bs)
{
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    int64_t ret = rbd_write(bs, 0, qiov);

    qiov_free(qiov);
    return ret;
}

TEST(rbd_lock_is_taken_by_the_first_write_and_given_back_by_close)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    check_hole(&bs, 0, 512);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
    CHECK_INT(write_one(&bs), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), ceph_last_client());
    CHECK_INT(ceph_log_count(" lock ["), 1);
    CHECK_INT(write_one(&bs), 0);
    CHECK_INT(ceph_log_count(" lock ["), 1);
    rbd_close(&bs);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
}

TEST(rbd_lock_is_taken_by_all_that_changes_the_image)
{
    BlockDriverState bs = { 0 };
    unsigned i;

    locked_node(&bs);
    for (i = 0; i < 6; i++) {
        switch (i) {
        case 0:
            CHECK_INT(rbd_zero(&bs, 0, 512, 0), 0);
            break;
        case 1:
            CHECK_INT(rbd_discard(&bs, 0, OBJECT), 0);
            break;
        case 2:
            CHECK_INT(rbd_truncate(&bs, 8 * OBJECT), 0);
            break;
        case 3:
            CHECK_INT(rbd_snapshot(&bs, "one"), 0);
            break;
        case 4:
            CHECK_INT(rbd.snapshot_goto(&bs, "one"), 0);
            break;
        case 5:
            CHECK_INT(rbd.snapshot_delete(&bs, NULL, "one", NULL), 0);
            break;
        }
        CHECK_INT(ceph_lock_holder(IMAGE), ceph_last_client());
        /* Before it returns: the process may be killed then. */
        CHECK_INT(rbd.inactivate(&bs), 0);
        CHECK_INT(ceph_lock_holder(IMAGE), 0);
    }
    rbd_close(&bs);
}

TEST(rbd_first_writes_of_three_loops_take_the_lock_once)
{
    enum { COUNT = 30 };
    BlockDriverState bs = { 0 };
    struct loop *loops[3] = { loop_start(), loop_start(), loop_start() };
    struct rbd_request *writes[COUNT];
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    unsigned i;

    locked_node(&bs);
    for (i = 0; i < COUNT; i++) {
        writes[i] = rbd_start(loops[i % 3], (struct rbd_request) {
            .op = R_WRITE, .bs = &bs, .offset = i * 512, .bytes = 512, .qiov = qiov });
    }
    for (i = 0; i < COUNT; i++) {
        CHECK_INT(rbd_finish(writes[i]), 0);
    }
    CHECK_INT(ceph_log_count(" lock ["), 1);
    for (i = 0; i < 3; i++) {
        loop_stop(loops[i]);
    }
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_two_nodes_take_turns_with_the_lock)
{
    BlockDriverState one = { 0 }, two = { 0 };
    QEMUIOVector *a = qiov_bytes(512, 1), *b = qiov_bytes(512, 2);
    unsigned i;

    locked_node(&one);
    rbd_open_ok(&two, IMAGE_OPTIONS, QBR_O_RDWR);
    for (i = 0; i < test_rounds(60); i++) {
        CHECK_INT(rbd_write(&one, i * 512, a), 0);
        CHECK_INT(rbd_write(&two, i * 512, b), 0);
        check_image(&one, i * 512, 512, 2);
    }
    rbd.close(&one);
    CHECK_INT(write_one(&two), 0);
    rbd_close(&two);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
    CHECK_INT(ceph_count(CEPH_BLOCKLIST), 0);
    qiov_free(a);
    qiov_free(b);
}

TEST(rbd_goto_asks_another_client_for_the_lock)
{
    BlockDriverState one = { 0 }, two = { 0 };
    uint64_t holder;

    locked_node(&one);
    CHECK_INT(rbd_snapshot(&one, "old"), 0);
    CHECK_INT(write_one(&one), 0);
    holder = ceph_lock_holder(IMAGE);
    rbd_open_ok(&two, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd.snapshot_goto(&two, "old"), 0);
    CHECK(ceph_lock_holder(IMAGE) && ceph_lock_holder(IMAGE) != holder);
    check_hole(&two, 0, 512);
    rbd.close(&two);
    rbd_close(&one);
}

TEST(rbd_two_nodes_with_many_writes_at_once_take_turns_with_the_lock)
{
    enum { COUNT = 24 };
    BlockDriverState bs[2] = { 0 };
    struct loop *loops[2] = { loop_start(), loop_start() };
    struct rbd_request *writes[2 * COUNT];
    QEMUIOVector *qiov = qiov_bytes(2 * OBJECT, 0);
    unsigned i;

    locked_node(&bs[0]);
    rbd_open_ok(&bs[1], IMAGE_OPTIONS, QBR_O_RDWR);
    for (i = 0; i < 2 * COUNT; i++) {
        writes[i] = rbd_start(loops[i % 2], (struct rbd_request) {
            .op = R_WRITE, .bs = &bs[i % 2], .offset = i * 512, .bytes = qiov->size, .qiov = qiov });
    }
    for (i = 0; i < 2 * COUNT; i++) {
        CHECK_INT(rbd_finish(writes[i]), 0);
    }
    for (i = 0; i < 2; i++) {
        loop_stop(loops[i]);
    }
    rbd.close(&bs[0]);
    rbd_close(&bs[1]);
    qiov_free(qiov);
}

TEST(rbd_lock_is_not_given_away_with_writes_in_flight)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(2 * OBJECT, 0);
    struct rbd_request *write;
    uint64_t client;

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    client = ceph_lock_holder(IMAGE);
    ceph_mode(CEPH_WRITE, CEPH_WHEN_RELEASED);
    write = rbd_start_write(&bs, 0, qiov);
    ceph_wait_for_held(2);
    CHECK_INT(tell(REQUEST), 1);
    CHECK(ceph_release(1));
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_FLUSH, .bs = &bs }), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), client);
    CHECK(ceph_release(0));
    CHECK_INT(rbd_finish(write), 0);
    wait_until_free();
    ceph_mode(CEPH_WRITE, CEPH_ON_THREAD);
    /* And it is taken again. */
    CHECK_INT(write_one(&bs), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), client);
    rbd_close(&bs);
    qiov_free(qiov);
}

/* An announcement may come late: whoever has made it has given the lock back meanwhile, and it went on to this client. */
TEST(rbd_lock_is_given_back_when_another_client_says_that_it_has_it)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    CHECK_INT(tell(ACQUIRED), 1);
    /* Nobody would be answered for it. */
    wait_until_free();
    CHECK_INT(write_one(&bs), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), ceph_last_client());
    rbd_close(&bs);
}

TEST(rbd_own_announcement_from_before_the_watch_was_renewed_changes_nothing)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    CHECK_INT(tell_as(ceph_last_client(), ACQUIRED), 1);
    CHECK_INT(rbd_truncate(&bs, 8 * OBJECT), 0);
    CHECK_INT(write_one(&bs), 0);
    CHECK_INT(ceph_log_count(" lock ["), 1);
    CHECK_INT(ceph_log_count(" unlock ["), 0);
    rbd_close(&bs);
}

TEST(rbd_lock_that_another_client_claims_is_given_back_at_inactivation)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    CHECK_INT(tell(ACQUIRED), 1);
    CHECK_INT(rbd.inactivate(&bs), 0);
    wait_until_free();
    rbd_close(&bs);
}

/* A node that has written, and whose lock another client has asked for. */
static void lend_lock(BlockDriverState *bs)
{
    locked_node(bs);
    CHECK_INT(write_one(bs), 0);
    CHECK_INT(tell(REQUEST), 1);
    wait_until_free();
    ceph_lock_as(IMAGE, CEPH_STRANGER, COOKIE, TAG);
    CHECK_INT(tell(ACQUIRED), 1);
}

/* That client, which is not said to have taken the lock meanwhile, says that it has given it back, and the node is closed. */
static void check_is_not_taken_again(BlockDriverState *bs)
{
    unsigned before = ceph_log_count(" lock [");

    CHECK_INT(tell(RELEASED), 1);
    rbd_close(bs);
    CHECK_INT(ceph_log_count(" lock ["), before);
}

TEST(rbd_lock_is_taken_again_from_who_has_asked_for_it)
{
    BlockDriverState bs = { 0 };

    lend_lock(&bs);
    ceph_lock_as(IMAGE, 0, "", "");
    CHECK_INT(tell(RELEASED), 1);
    while (ceph_lock_holder(IMAGE) != ceph_last_client()) {
    }
    /* It is as if a write had taken it. */
    CHECK_INT(write_one(&bs), 0);
    CHECK_INT(ceph_log_count(" lock ["), 2);
    CHECK_INT(tell(REQUEST), 1);
    wait_until_free();
    rbd_close(&bs);
}

TEST(rbd_lock_that_went_to_the_next_client_is_not_taken_from_it)
{
    BlockDriverState bs = { 0 };

    lend_lock(&bs);
    check_is_not_taken_again(&bs);
    CHECK_INT(ceph_lock_holder(IMAGE), CEPH_STRANGER);
}

TEST(rbd_lock_is_not_taken_again_by_an_inactive_node)
{
    BlockDriverState bs = { 0 };

    lend_lock(&bs);
    CHECK_INT(rbd.inactivate(&bs), 0);
    ceph_lock_as(IMAGE, 0, "", "");
    check_is_not_taken_again(&bs);
}

TEST(rbd_lock_is_not_taken_by_a_node_that_has_changed_nothing)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    check_is_not_taken_again(&bs);
}

/* QEMU drains a node only after it was made inactive. */
TEST(rbd_inactivation_does_not_wait_for_writes_in_flight)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    struct rbd_request *write;

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    ceph_mode(CEPH_WRITE, CEPH_WHEN_RELEASED);
    write = rbd_start_write(&bs, 0, qiov);
    ceph_wait_for_held(1);
    CHECK_INT(rbd.inactivate(&bs), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), ceph_last_client());
    CHECK(ceph_release(0));
    CHECK_INT(rbd_finish(write), 0);
    wait_until_free();
    ceph_mode(CEPH_WRITE, CEPH_ON_THREAD);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_lock_of_a_user_is_never_touched)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    ceph_lock_as(IMAGE, CEPH_STRANGER, "my cookie", "");
    CHECK_INT(write_one(&bs), -EBUSY);
    CHECK_INT(errors_reported(), 1);
    CHECK_CONTAINS(last_error_reported(), HOLDER);
    CHECK_INT(ceph_lock_holder(IMAGE), CEPH_STRANGER);
    CHECK_INT(ceph_count(CEPH_BLOCKLIST), 0);
    /* Nor one with the right cookie and another tag, or the other way round. */
    ceph_lock_as(IMAGE, CEPH_STRANGER, COOKIE, "other");
    CHECK_INT(write_one(&bs), -EBUSY);
    ceph_lock_as(IMAGE, CEPH_STRANGER, "auto x", TAG);
    CHECK_INT(write_one(&bs), -EBUSY);
    CHECK_INT(ceph_lock_holder(IMAGE), CEPH_STRANGER);
    CHECK_INT(ceph_count(CEPH_BLOCKLIST), 0);
    ceph_lock_as(IMAGE, 0, "", "");
    CHECK_INT(write_one(&bs), 0);
    rbd_close(&bs);
}

TEST(rbd_delete_of_a_snapshot_says_who_has_the_lock)
{
    BlockDriverState bs = { 0 };
    Error *error = NULL;

    locked_node(&bs);
    ceph_lock_as(IMAGE, CEPH_STRANGER, "my cookie", "");
    CHECK_INT(rbd.snapshot_delete(&bs, NULL, "one", &error), -EBUSY);
    CHECK_CONTAINS(error->message, HOLDER);
    error_free(error);
    rbd_close(&bs);
}

TEST(rbd_dead_owner_is_shut_out_before_its_lock_is_broken)
{
    BlockDriverState bs = { 0 };
    const char *blocklist, *broken, *write;

    locked_node(&bs);
    ceph_lock_as(IMAGE, CEPH_STRANGER, COOKIE, TAG);
    ceph_log_clear();
    CHECK_INT(write_one(&bs), 0);
    blocklist = strstr(ceph_log(), "blocklist 127.0.0.1:0/9999\n");
    broken = strstr(ceph_log(), "break_lock");
    write = strstr(ceph_log(), "write rbd_data");
    CHECK(blocklist && broken && write && blocklist < broken && broken < write);
    rbd_close(&bs);
}

TEST(rbd_dead_owner_that_cannot_be_shut_out_keeps_its_lock)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    ceph_lock_as(IMAGE, CEPH_STRANGER, COOKIE, TAG);
    ceph_fail(CEPH_BLOCKLIST, EACCES);
    CHECK_INT(write_one(&bs), -EACCES);
    CHECK_CONTAINS(last_error_reported(), "profile rbd");
    CHECK_INT(ceph_lock_holder(IMAGE), CEPH_STRANGER);
    CHECK_INT(ceph_log_count("break_lock"), 0);
    ceph_fail(CEPH_BLOCKLIST, 0);
    CHECK_INT(write_one(&bs), 0);
    rbd_close(&bs);
}

TEST(rbd_owner_that_refuses_makes_writes_fail)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    ceph_lock_as(IMAGE, CEPH_STRANGER, COOKIE, TAG);
    ceph_stranger(ceph_header(IMAGE), HANDLE, no, sizeof(no));
    CHECK_INT(write_one(&bs), -EROFS);
    CHECK_CONTAINS(last_error_reported(), HOLDER);
    CHECK_INT(ceph_lock_holder(IMAGE), CEPH_STRANGER);
    CHECK_INT(ceph_count(CEPH_BLOCKLIST), 0);
    ceph_stranger(NULL, 0, NULL, 0);
    rbd_close(&bs);
}

/* As "rbd rm" does, which has the lock while it looks whether the image is in use. */
TEST(rbd_owner_that_refuses_for_a_moment_makes_no_write_fail)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    struct rbd_request *write;

    locked_node(&bs);
    ceph_lock_as(IMAGE, CEPH_STRANGER, COOKIE, TAG);
    ceph_stranger(ceph_header(IMAGE), HANDLE, no, sizeof(no));
    write = rbd_start_write(&bs, 0, qiov);
    ceph_wait_for(CEPH_NOTIFY, 1);
    ceph_stranger(NULL, 0, NULL, 0);
    ceph_lock_as(IMAGE, 0, "", "");
    CHECK_INT(rbd_finish(write), 0);
    CHECK_INT(ceph_count(CEPH_BLOCKLIST), 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

/* An owner that lives is waited for, whether it answers or not. */
static void check_waits(const void *answer, size_t length)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    struct rbd_request *write;

    locked_node(&bs);
    ceph_lock_as(IMAGE, CEPH_STRANGER, COOKIE, TAG);
    ceph_stranger(ceph_header(IMAGE), HANDLE, answer, length);
    write = rbd_start_write(&bs, 0, qiov);
    ceph_wait_for(CEPH_NOTIFY, 1);
    /* Others don't wait with it. */
    check_hole(&bs, 0, 512);
    CHECK_INT(ceph_count(CEPH_WRITE), 0);
    ceph_stranger(NULL, 0, NULL, 0);
    ceph_lock_as(IMAGE, 0, "", "");
    CHECK_INT(tell(RELEASED), 1);
    CHECK_INT(rbd_finish(write), 0);
    CHECK_INT(ceph_count(CEPH_BLOCKLIST), 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_owner_that_promises_to_give_the_lock_back_is_waited_for)
{
    check_waits(yes, sizeof(yes));
}

TEST(rbd_owner_that_answers_with_nothing_is_waited_for)
{
    check_waits("", 0);
}

TEST(rbd_owner_that_does_not_answer_but_watches_is_waited_for)
{
    check_waits(NULL, 0);
}

/* A notification that fails says nothing about who watches. */
TEST(rbd_owner_that_could_not_be_asked_is_not_shut_out)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    struct rbd_request *write;

    locked_node(&bs);
    ceph_lock_as(IMAGE, CEPH_STRANGER, COOKIE, TAG);
    ceph_stranger(ceph_header(IMAGE), HANDLE, "", 0);
    ceph_fail_object(ceph_header(IMAGE), CEPH_NOTIFY, 0, 1, ETIMEDOUT);
    write = rbd_start_write(&bs, 0, qiov);
    ceph_wait_for(CEPH_NOTIFY, 2);
    CHECK_INT(ceph_count(CEPH_BLOCKLIST), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), CEPH_STRANGER);
    ceph_stranger(NULL, 0, NULL, 0);
    ceph_lock_as(IMAGE, 0, "", "");
    CHECK_INT(tell(RELEASED), 1);
    CHECK_INT(rbd_finish(write), 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

/* A write waits for a client that has the lock to make the image smaller. */
static void check_write_behind_a_moved_end(uint64_t features, enum rbd_op op, unsigned flags)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    struct rbd_request *write;
    size_t length;

    ceph_image(IMAGE, OBJECTS * OBJECT, ORDER, features);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd.getlength(&bs), OBJECTS * OBJECT);
    ceph_lock_as(IMAGE, CEPH_STRANGER, COOKIE, TAG);
    ceph_stranger(ceph_header(IMAGE), HANDLE, "", 0);
    write = rbd_start(loop_default(), (struct rbd_request) {
        .op = op, .bs = &bs, .offset = 15 * OBJECT, .bytes = 512, .qiov = qiov, .flags = flags });
    ceph_wait_for(CEPH_NOTIFY, 1);
    ceph_resize(IMAGE, 4 * OBJECT + 100);
    if (features & CEPH_OBJECT_MAP) {
        ceph_map_resize(IMAGE, 5);
    }
    ceph_stranger(NULL, 0, NULL, 0);
    ceph_lock_as(IMAGE, 0, "", "");
    CHECK_INT(tell(RELEASED), 1);
    CHECK_INT(rbd_finish(write), -EINVAL);
    CHECK(!ceph_bytes(ceph_data(IMAGE, 15), &length));
    CHECK_INT(ceph_image_size(IMAGE), 4 * OBJECT + 100);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_write_behind_an_end_that_moved_while_it_waited_is_refused)
{
    check_write_behind_a_moved_end(CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK, R_WRITE, 0);
    check_write_behind_a_moved_end(CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK | CEPH_OBJECT_MAP, R_WRITE, 0);
}

TEST(rbd_zeroes_behind_an_end_that_moved_while_they_waited_are_refused)
{
    check_write_behind_a_moved_end(CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK, R_ZERO, 0);
    check_write_behind_a_moved_end(CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK, R_ZERO, QBR_REQ_MAY_UNMAP);
    check_write_behind_a_moved_end(CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK | CEPH_OBJECT_MAP, R_ZERO, 0);
}

TEST(rbd_request_for_the_lock_is_answered_by_its_holder_only)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    CHECK_INT(tell(REQUEST), 1);
    CHECK_INT(ceph_count(CEPH_NOTIFY), 0);
    CHECK_INT(write_one(&bs), 0);
    CHECK_INT(tell(REQUEST), 1);
    wait_until_free();
    rbd_close(&bs);
}

TEST(rbd_new_watch_renews_the_lock)
{
    BlockDriverState bs = { 0 };
    unsigned i;

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    for (i = 1; i <= 5; i++) {
        CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
        ceph_wait_for_watches(ceph_header(IMAGE), 1);
        while (ceph_log_count("set_cookie") < i) {
        }
        CHECK_INT(write_one(&bs), 0);
    }
    CHECK_INT(ceph_log_count(" lock ["), 1);
    rbd_close(&bs);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
}

TEST(rbd_lock_that_was_lost_with_the_watch_is_taken_again_before_the_next_write)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    ceph_close_gate(CEPH_WATCH);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    /* Another client has taken it for dead, but could not shut it out. */
    ceph_lock_as(IMAGE, 0, "", "");
    ceph_open_gate(CEPH_WATCH);
    ceph_wait_for_watches(ceph_header(IMAGE), 1);
    while (!ceph_log_count("set_cookie")) {
    }
    while (!warnings_reported()) {
    }
    CHECK_CONTAINS(warning_take(), "'a'");
    CHECK_INT(write_one(&bs), 0);
    CHECK_INT(ceph_log_count(" lock ["), 2);
    rbd_close(&bs);
}

/* The watch breaks after the lock was taken and before anybody relies on it, and an administrator breaks the lock. */
TEST(rbd_lock_that_was_lost_while_it_was_being_taken_is_taken_again)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    struct rbd_request *write;

    locked_node(&bs);
    ceph_mode(CEPH_READ_OP, CEPH_WHEN_RELEASED);
    write = rbd_start_write(&bs, 0, qiov);
    ceph_wait_for_held(1);
    CHECK(ceph_release(0));
    while (!ceph_log_count(" lock [")) {
    }
    ceph_wait_for_held(1);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    ceph_lock_as(IMAGE, 0, "", "");
    ceph_wait_for_watches(ceph_header(IMAGE), 1);
    ceph_mode(CEPH_READ_OP, CEPH_ON_THREAD);
    ceph_release_all();
    CHECK_INT(rbd_finish(write), 0);
    CHECK_INT(ceph_log_count(" lock ["), 2);
    CHECK_INT(ceph_lock_holder(IMAGE), ceph_last_client());
    rbd_close(&bs);
    qiov_free(qiov);
}

/* Nobody knows then whether the lock is still ours; who asks for it is to get it all the same. */
TEST(rbd_lock_whose_release_was_not_answered_is_given_back_to_who_asks_for_it)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    ceph_wait_for(CEPH_NOTIFY, 1);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, ETIMEDOUT);
    CHECK_INT(rbd.inactivate(&bs), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), ceph_last_client());
    CHECK_INT(tell(REQUEST), 1);
    wait_until_free();
    CHECK_INT(write_one(&bs), 0);
    rbd_close(&bs);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
}

TEST(rbd_lock_whose_taking_was_not_answered_is_given_back_to_who_asks_for_it)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    ceph_fail_object_late(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, ETIMEDOUT);
    CHECK_INT(write_one(&bs), -ETIMEDOUT);
    CHECK_INT(ceph_lock_holder(IMAGE), ceph_last_client());
    CHECK_INT(ceph_count(CEPH_WRITE), 0);
    CHECK_INT(tell(REQUEST), 1);
    wait_until_free();
    rbd_close(&bs);
}

/* No write relies on it before the map was read again, and the others must not wait for that. */
TEST(rbd_lock_of_a_map_that_is_not_known_is_given_back_to_who_asks_for_it)
{
    BlockDriverState bs = { 0 };

    mapped_node(&bs);
    ceph_fail_object(MAP, CEPH_WRITE_OP, 0, 1, EIO);
    ceph_fail_object(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, EIO);
    CHECK_INT(write_object(&bs, 5), -EIO);
    CHECK_INT(ceph_lock_holder(IMAGE), ceph_last_client());
    CHECK_INT(tell(REQUEST), 1);
    wait_until_free();
    CHECK_INT(ceph_map_holder(IMAGE), 0);
    CHECK_INT(write_object(&bs, 5), 0);
    rbd_close(&bs);
}

/* Who asks for it would wait for a client that has nothing to give. */
TEST(rbd_lock_that_is_not_ours_any_more_is_promised_to_nobody)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    ceph_wait_for(CEPH_NOTIFY, 1);
    ceph_fail_object_late(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, ETIMEDOUT);
    CHECK_INT(rbd.inactivate(&bs), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
    ceph_lock_as(IMAGE, CEPH_STRANGER, COOKIE, TAG);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    ceph_wait_for_watches(ceph_header(IMAGE), 1);
    do {
        CHECK_INT(tell(REQUEST), 1);
    } while (ceph_was_answered());
    CHECK_INT(ceph_lock_holder(IMAGE), CEPH_STRANGER);
    rbd_close(&bs);
}

/* The same, with a write whose object answers nothing. */
TEST(rbd_lock_that_was_lost_with_a_write_without_answer_is_promised_to_nobody)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    ceph_wait_for(CEPH_NOTIFY, 1);
    ceph_fail_object(ceph_data(IMAGE, 3), CEPH_WRITE, 0, 1, ETIMEDOUT);
    CHECK_INT(rbd_write(&bs, 3 * OBJECT, qiov), -ETIMEDOUT);
    ceph_fail_object(ceph_data(IMAGE, 3), CEPH_READ_OP, 0, CEPH_FOR_EVER, ETIMEDOUT);
    ceph_lock_as(IMAGE, CEPH_STRANGER, COOKIE, TAG);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    while (!warnings_reported()) {
    }
    CHECK_CONTAINS(warning_take(), "'a'");
    CHECK_INT(rbd.inactivate(&bs), 0);
    CHECK_INT(tell(REQUEST), 1);
    CHECK(!ceph_was_answered());
    rbd_close(&bs);
    qiov_free(qiov);
}

/* It is under the new watch, so the others take its owner for alive. */
TEST(rbd_lock_whose_renewal_was_not_answered_is_given_back_to_who_asks_for_it)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    ceph_wait_for(CEPH_NOTIFY, 1);
    ceph_fail_object_late(ceph_header(IMAGE), CEPH_WRITE_OP, 0, 1, ETIMEDOUT);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    while (!warnings_reported()) {
    }
    CHECK_CONTAINS(warning_take(), "'a'");
    while (ceph_lock_holder(IMAGE)) {
        CHECK_INT(tell(REQUEST), 1);
    }
    CHECK_INT(write_one(&bs), 0);
    rbd_close(&bs);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
}

/* The library gives a write up, but what it has sent may still be done. */
TEST(rbd_lock_is_not_given_away_before_the_object_of_a_write_without_answer_was_asked_for)
{
    BlockDriverState bs = { 0 };
    uint64_t client;
    unsigned i;

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    client = ceph_lock_holder(IMAGE);
    ceph_wait_for(CEPH_NOTIFY, 1);
    ceph_fail_object(ceph_data(IMAGE, 0), CEPH_WRITE, 0, 1, ETIMEDOUT);
    CHECK_INT(write_one(&bs), -ETIMEDOUT);
    /* Nor is it if there is no answer. */
    ceph_fail_object(ceph_data(IMAGE, 0), CEPH_READ_OP, 0, CEPH_FOR_EVER, ETIMEDOUT);
    for (i = 1; i <= 3; i++) {
        /* Who asks too early, while the last answer is being looked at, asks again. */
        while (ceph_log_count("stat ") < i) {
            CHECK_INT(tell(REQUEST), 1);
        }
        CHECK_INT(ceph_lock_holder(IMAGE), client);
    }
    CHECK_INT(rbd_snapshot(&bs, "one"), -ETIMEDOUT);
    CHECK_INT(ceph_image_snapshots(IMAGE), 0);
    ceph_pass_objects();
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    ceph_log_clear();
    CHECK_INT(rbd.inactivate(&bs), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
    /* It is asked for once. */
    CHECK_INT(ceph_log_count("stat "), 0);
    rbd_close(&bs);
}

/* An object that is degraded, or being scrubbed, is read while writes to it wait. */
TEST(rbd_lock_is_not_given_away_while_a_write_without_answer_waits)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    ceph_delay_object(ceph_data(IMAGE, 0), CEPH_WRITE, 0, 1, ETIMEDOUT);
    CHECK_INT(write_one(&bs), -ETIMEDOUT);
    CHECK_INT(rbd.inactivate(&bs), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
    /* Nothing, or it is done without the lock. */
    ceph_do_delayed();
    rbd_close(&bs);
}

static int64_t write_third(BlockDriverState *bs)
{
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    int64_t ret = rbd_write(bs, 3 * OBJECT, qiov);

    qiov_free(qiov);
    return ret;
}

/* A write that nobody waits for any more, while its object answers nothing. */
static void lose_a_write(BlockDriverState *bs)
{
    CHECK_INT(write_one(bs), 0);
    ceph_delay_object(ceph_data(IMAGE, 3), CEPH_WRITE, 0, 1, ETIMEDOUT);
    CHECK_INT(write_third(bs), -ETIMEDOUT);
    ceph_fail_object(ceph_data(IMAGE, 3), CEPH_READ_OP, 0, CEPH_FOR_EVER, ETIMEDOUT);
}

/* The lock is kept, and the image as it is, until that object answers. */
static void check_knows_the_write(BlockDriverState *bs)
{
    CHECK_INT(write_one(bs), 0);
    CHECK_INT(rbd.inactivate(bs), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), ceph_last_client());
    CHECK_INT(rbd_snapshot(bs, "one"), -ETIMEDOUT);
    CHECK_INT(ceph_image_snapshots(IMAGE), 0);
    ceph_pass_objects();
    CHECK_INT(rbd.inactivate(bs), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
    ceph_do_delayed();
    CHECK_INT(ceph_count(CEPH_BLOCKLIST), 0);
}

TEST(rbd_reopened_node_knows_of_a_write_that_may_still_be_done)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = QBR_O_RDWR };

    locked_node(&bs);
    lose_a_write(&bs);
    CHECK_INT(rbd.reopen_prepare(&state, NULL, NULL), 0);
    rbd.reopen_commit(&state);
    check_knows_the_write(&bs);
    rbd_close(&bs);
}

/* Who asks for the lock of a node that only reads gets no answer, and shuts it out. */
TEST(rbd_node_is_not_reopened_for_reading_before_it_has_given_its_lock_back)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = 0 };
    Error *error = NULL;

    locked_node(&bs);
    lose_a_write(&bs);
    CHECK_INT(rbd.reopen_prepare(&state, NULL, &error), -ETIMEDOUT);
    CHECK_CONTAINS(error->message, "giving its lock back");
    error_free(error);
    CHECK_INT(ceph_lock_holder(IMAGE), ceph_last_client());
    /* It goes on as it was. */
    CHECK_INT(write_one(&bs), 0);
    ceph_pass_objects();
    CHECK_INT(rbd.reopen_prepare(&state, NULL, NULL), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
    rbd.reopen_commit(&state);
    rbd_close(&bs);
}

TEST(rbd_node_that_was_shut_out_is_reopened_for_reading)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = 0 };

    locked_node(&bs);
    lose_a_write(&bs);
    ceph_pass_objects();
    ceph_block(ceph_last_client());
    ceph_lock_as(IMAGE, CEPH_STRANGER, COOKIE, TAG);
    CHECK_INT(rbd.reopen_prepare(&state, NULL, NULL), 0);
    rbd.reopen_commit(&state);
    check_image(&bs, 0, 512, 0);
    rbd_close(&bs);
    CHECK_INT(ceph_lock_holder(IMAGE), CEPH_STRANGER);
}

/* The connection is another node's, too, so it is the same client that comes back. */
TEST(rbd_node_with_a_connection_that_was_shared_knows_of_a_write_that_may_still_be_done)
{
    BlockDriverState bs = { 0 }, other = { 0 };

    CHECK(!setenv("QBR_RBD_SHARE_CONNECTIONS", "1", 1));
    ceph_image("b", OBJECT, ORDER, 0);
    rbd_open_ok(&other, "pool=rbd,image=b", QBR_O_RDWR);
    locked_node(&bs);
    lose_a_write(&bs);
    rbd.close(&bs);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(ceph_clients(), 1);
    check_knows_the_write(&bs);
    rbd.close(&bs);
    rbd_close(&other);
}

/* What a snapshot answers says nothing about changes. */
TEST(rbd_node_of_a_snapshot_does_not_ask_for_a_write_that_may_still_be_done)
{
    BlockDriverState bs = { 0 }, other = { 0 }, old = { 0 };

    CHECK(!setenv("QBR_RBD_SHARE_CONNECTIONS", "1", 1));
    ceph_image("b", OBJECT, ORDER, 0);
    rbd_open_ok(&other, "pool=rbd,image=b", QBR_O_RDWR);
    locked_node(&bs);
    CHECK_INT(rbd_snapshot(&bs, "old"), 0);
    lose_a_write(&bs);
    rbd.close(&bs);
    rbd_open_ok(&old, IMAGE_OPTIONS ",snapshot=old", 0);
    CHECK_INT(ceph_clients(), 1);
    ceph_pass_objects();
    rbd.close(&old);
    ceph_lock_as(IMAGE, 0, "", "");
    rbd_close(&other);
}

/* Without a lock the next owner doesn't know that it has to wait. */
TEST(rbd_node_without_a_lock_stays_active_while_a_write_may_still_be_done)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    lose_a_write(&bs);
    CHECK_INT(rbd.inactivate(&bs), -ETIMEDOUT);
    CHECK_CONTAINS(last_error_reported(), "stays active");
    CHECK_INT(write_one(&bs), 0);
    ceph_pass_objects();
    CHECK_INT(rbd.inactivate(&bs), 0);
    /* Nothing, or it is done beside the next owner's writes. */
    ceph_log_clear();
    ceph_do_delayed();
    CHECK_TEXT(ceph_log(), "");
    rbd_close(&bs);
}

TEST(rbd_close_leaves_the_lock_if_a_write_may_still_be_done)
{
    BlockDriverState bs = { 0 };
    uint64_t client;

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    client = ceph_lock_holder(IMAGE);
    ceph_fail_object(ceph_data(IMAGE, 3), CEPH_REMOVE, 0, 1, ETIMEDOUT);
    CHECK_INT(rbd_discard(&bs, 3 * OBJECT, OBJECT), -ETIMEDOUT);
    ceph_fail_object(ceph_data(IMAGE, 3), CEPH_READ_OP, 0, CEPH_FOR_EVER, ETIMEDOUT);
    rbd_close(&bs);
    /* Whoever takes it shuts this client out before. */
    CHECK_INT(ceph_lock_holder(IMAGE), client);
    CHECK_INT(ceph_watches(ceph_header(IMAGE)), 0);
    ceph_lock_as(IMAGE, 0, "", "");
}

TEST(rbd_client_that_was_shut_out_never_writes_again)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    ceph_block(ceph_last_client());
    ceph_lock_as(IMAGE, CEPH_STRANGER, COOKIE, TAG);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    CHECK_INT(write_one(&bs), -ESHUTDOWN);
    CHECK_INT(write_one(&bs), -ESHUTDOWN);
    CHECK_INT(rbd_truncate(&bs, 0), -ESHUTDOWN);
    CHECK_INT(rbd_snapshot(&bs, "one"), -ESHUTDOWN);
    CHECK_INT(ceph_lock_holder(IMAGE), CEPH_STRANGER);
    CHECK_INT(ceph_count(CEPH_BLOCKLIST), 0);
    rbd_close(&bs);
    CHECK_INT(ceph_lock_holder(IMAGE), CEPH_STRANGER);
}

TEST(rbd_lock_is_given_back_when_the_header_cannot_be_read)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    /* The lock's own question comes first. */
    ceph_fail_object(ceph_header(IMAGE), CEPH_READ_OP, 1, 1, EIO);
    CHECK_INT(write_one(&bs), -EIO);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
    CHECK_INT(ceph_count(CEPH_WRITE), 0);
    CHECK_INT(write_one(&bs), 0);
    rbd_close(&bs);
}

/* What another owner has done meanwhile is known when the lock is ours. */
TEST(rbd_write_that_takes_the_lock_knows_the_newest_snapshot)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    CHECK_INT(rbd.inactivate(&bs), 0);
    CHECK_INT(ceph_snapshot(IMAGE, "one"), 1);
    ceph_resize(IMAGE, 8 * OBJECT);
    CHECK_INT(write_one(&bs), 0);
    CHECK_CONTAINS(ceph_log(), "0+512 [1:1]");
    CHECK_INT(rbd.getlength(&bs), 8 * OBJECT);
    rbd_close(&bs);
}

TEST(rbd_feature_that_comes_and_goes_leaves_no_write_without_the_lock)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    CHECK_INT(write_one(&bs), 0);
    ceph_set_features(IMAGE, CEPH_LAYERING);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(write_one(&bs), 0);
    ceph_set_features(IMAGE, CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(write_one(&bs), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), ceph_last_client());
    rbd_close(&bs);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
}

TEST(rbd_damaged_answers_about_the_lock_are_errors)
{
    BlockDriverState bs = { 0 };

    locked_node(&bs);
    ceph_reply("get_info", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10);
    CHECK(write_one(&bs) < 0);
    ceph_reply("get_info", "", 0);
    CHECK(write_one(&bs) < 0);
    ceph_reply("get_info", NULL, 0);
    CHECK_INT(ceph_count(CEPH_WRITE), 0);
    ceph_lock_as(IMAGE, CEPH_STRANGER, COOKIE, TAG);
    ceph_stranger(ceph_header(IMAGE), HANDLE, "\xff\xff\xff\xff\xff\xff\xff", 7);
    CHECK(write_one(&bs) < 0);
    CHECK_INT(ceph_lock_holder(IMAGE), CEPH_STRANGER);
    CHECK_INT(ceph_count(CEPH_BLOCKLIST), 0);
    ceph_stranger(NULL, 0, NULL, 0);
    rbd_close(&bs);
}

TEST(rbd_steady_writes_with_the_lock_allocate_nothing)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);
    unsigned i, allocations = 0;

    locked_node(&bs);
    for (i = 0; i < 10 + test_rounds(500); i++) {
        if (i == 10) {
            /* The others are told of the lock by a thread. */
            while (!ceph_log_count("notify")) {
            }
            ceph_wait_for(CEPH_NOTIFY, 1);
            CHECK_INT(rbd_write(&bs, 0, qiov), 0);
            allocations = memory_allocations();
        }
        CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    }
    CHECK(memory_allocations() <= allocations + 2);
    rbd_close(&bs);
    qiov_free(qiov);
}
