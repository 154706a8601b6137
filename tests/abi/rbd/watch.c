/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* What other clients do to the header, and say about it. */

#include "rbd.h"

#include "../host/thread.h"

/* What a write of 4 KiB to the beginning of the image leaves in the log. */
static void check_context(BlockDriverState *bs, const char *context)
{
    char line[200];
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    ceph_log_clear();
    CHECK_INT(rbd_write(bs, 0, qiov), 0);
    snprintf(line, sizeof(line), "write %s 0+4096 %s\n", ceph_data(IMAGE, 0), context);
    CHECK_CONTAINS(ceph_log(), line);
    qiov_free(qiov);
}

TEST(rbd_nodes_watch_the_header_as_long_as_they_are_open)
{
    BlockDriverState bs = { 0 }, reader = { 0 };

    rbd_node(&bs);
    CHECK_INT(ceph_watches(ceph_header(IMAGE)), 1);
    rbd_open_ok(&reader, IMAGE_OPTIONS, 0);
    CHECK_INT(ceph_watches(ceph_header(IMAGE)), 2);
    rbd.close(&reader);
    CHECK_INT(ceph_watches(ceph_header(IMAGE)), 1);
    rbd_close(&bs);
    CHECK_INT(ceph_watches(ceph_header(IMAGE)), 0);
}

TEST(rbd_reader_follows_another_clients_resize)
{
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    ceph_resize(IMAGE, 3 * OBJECT);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    while (rbd.getlength(&bs) != 3 * OBJECT) {
    }
    rbd_close(&bs);
}

TEST(rbd_reader_that_may_not_watch_reads_all_the_same)
{
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    ceph_fail(CEPH_WATCH, EACCES);
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    check_hole(&bs, 0, 4096);
    rbd_close(&bs);
}

TEST(rbd_notifications_are_always_acknowledged)
{
    static const struct {
        const char *bytes;
        size_t length;
    } messages[] = {
        { "", 0 },
        { "\7", 1 },
        { "\7\1\4\0\0\0\3\0\0\0", 10 },
        { "\7\1\4\0\0\0\xff\0\0\0", 10 },
        { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12 },
        { "\7\1\xff\xff\xff\x7f\3\0\0\0", 10 },
        { "\7\1\4\0\0\0\0\0\0\0", 10 },
        { "\7\1\4\0\0\0\2\0\0\0", 10 },
        { "\7\1\4\0\0\0\7\0\0\0", 10 },
        { "\7\1\4\0\0\0\x12\0\0\0", 10 },
        { "garbage that is no message", 26 },
    };
    BlockDriverState bs = { 0 };
    char *large = malloc(1 << 20);
    unsigned i;

    rbd_node(&bs);
    for (i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
        CHECK_INT(ceph_tell(ceph_header(IMAGE), messages[i].bytes, messages[i].length), 1);
    }
    memset(large, 7, 1 << 20);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), large, 1 << 20), 1);
    check_context(&bs, "[0:]");
    rbd_close(&bs);
    free(large);
}

TEST(rbd_write_after_a_notification_uses_the_new_snapshots)
{
    BlockDriverState bs = { 0 };
    uint64_t first, second;
    char context[64];

    rbd_node(&bs);
    check_context(&bs, "[0:]");
    first = ceph_snapshot(IMAGE, "one");
    second = ceph_snapshot(IMAGE, "two");
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    snprintf(context, sizeof(context), "[%d:%d,%d]", (int)second, (int)second, (int)first);
    check_context(&bs, context);
    rbd_close(&bs);
}

TEST(rbd_write_after_an_empty_notification_uses_the_new_snapshots)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    CHECK_INT(ceph_snapshot(IMAGE, "one"), 1);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), NULL, 0), 1);
    check_context(&bs, "[1:1]");
    rbd_close(&bs);
}

/* The library's thread is the one that reads the header meanwhile: the write must wait for that all the same. */
TEST(rbd_write_after_a_notification_waits_for_the_header)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);
    struct rbd_request *write;

    rbd_node(&bs);
    ceph_mode(CEPH_READ_OP, CEPH_WHEN_RELEASED);
    CHECK_INT(ceph_snapshot(IMAGE, "one"), 1);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    ceph_log_clear();
    write = rbd_start_write(&bs, 0, qiov);
    ceph_wait_for_held(1);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_FLUSH, .bs = &bs }), 0);
    CHECK_INT(ceph_count(CEPH_WRITE), 0);
    ceph_mode(CEPH_READ_OP, CEPH_ON_THREAD);
    ceph_release_all();
    CHECK_INT(rbd_finish(write), 0);
    CHECK_CONTAINS(ceph_log(), "0+4096 [1:1]");
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_notification_between_two_changes_of_the_header_is_not_lost)
{
    BlockDriverState bs = { 0 };
    unsigned i;
    char context[2000];
    size_t used;

    rbd_node(&bs);
    for (i = 1; i <= test_rounds(40); i++) {
        unsigned j;

        ceph_snapshot(IMAGE, (char[]) { 'a' + i / 26, 'a' + i % 26, 0 });
        CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
        used = snprintf(context, sizeof(context), "[%u:", i);
        for (j = i; j; j--) {
            used += snprintf(context + used, sizeof(context) - used, "%u%s", j, j > 1 ? "," : "]");
        }
        check_context(&bs, context);
    }
    rbd_close(&bs);
}

TEST(rbd_many_notifications_during_writes_leave_the_last_header)
{
    enum { COUNT = 30 };
    BlockDriverState bs = { 0 };
    struct rbd_request *writes[COUNT];
    QEMUIOVector *qiov = qiov_bytes(4096, 0);
    unsigned i;

    rbd_node(&bs);
    for (i = 0; i < COUNT; i++) {
        writes[i] = rbd_start_write(&bs, i * 4096, qiov);
        ceph_resize(IMAGE, OBJECTS * OBJECT + i);
        CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    }
    for (i = 0; i < COUNT; i++) {
        CHECK_INT(rbd_finish(writes[i]), 0);
    }
    check_context(&bs, "[0:]");
    CHECK_INT(rbd.getlength(&bs), OBJECTS * OBJECT + COUNT - 1);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_length_follows_another_clients_resize)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_resize(IMAGE, 3 * OBJECT);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    /* A thread reads it; nothing else asks for it. The runner ends a test that waits too long. */
    while (rbd.getlength(&bs) != 3 * OBJECT) {
    }
    rbd_close(&bs);
}

TEST(rbd_header_that_cannot_be_read_after_a_notification_fails_writes_until_it_can)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    rbd_node(&bs);
    CHECK_INT(ceph_snapshot(IMAGE, "one"), 1);
    ceph_fail_object(ceph_header(IMAGE), CEPH_READ_OP, 0, CEPH_FOR_EVER, EIO);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(rbd_write(&bs, 0, qiov), -EIO);
    CHECK_INT(rbd_zero(&bs, 0, 4096, 0), -EIO);
    CHECK_INT(rbd_discard(&bs, 0, OBJECT), -EIO);
    CHECK_INT(rbd_truncate(&bs, 0), -EIO);
    CHECK_INT(ceph_count(CEPH_WRITE), 0);
    /* Reads don't need it. */
    CHECK_INT(rbd_read(&bs, 0, qiov), 0);
    ceph_pass_objects();
    check_context(&bs, "[1:1]");
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_features_that_another_client_adds_stop_writes)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    rbd_node(&bs);
    ceph_set_features(IMAGE, CEPH_EXCLUSIVE_LOCK | CEPH_JOURNALING);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(rbd_write(&bs, 0, qiov), -ENOTSUP);
    CHECK_INT(rbd_write(&bs, 0, qiov), -ENOTSUP);
    CHECK_INT(ceph_count(CEPH_WRITE), 0);
    /* Nobody knows why from a number. */
    CHECK_INT(errors_reported(), 1);
    CHECK_CONTAINS(last_error_reported(), "journaling");
    ceph_set_features(IMAGE, 0);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_broken_watch_is_made_again_and_the_header_is_read)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    CHECK_INT(ceph_snapshot(IMAGE, "one"), 1);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    ceph_wait_for_watches(ceph_header(IMAGE), 1);
    check_context(&bs, "[1:1]");
    CHECK_INT(ceph_snapshot(IMAGE, "two"), 2);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    check_context(&bs, "[2:2,1]");
    rbd_close(&bs);
}

/* Nothing was heard meanwhile, and nobody writes. */
TEST(rbd_length_that_changed_without_a_watch_is_known_once_there_is_one)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_close_gate(CEPH_WATCH);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    ceph_resize(IMAGE, 3 * OBJECT);
    ceph_open_gate(CEPH_WATCH);
    while (rbd.getlength(&bs) != 3 * OBJECT) {
    }
    rbd_close(&bs);
}

TEST(rbd_watch_that_breaks_again_and_again_is_made_each_time)
{
    BlockDriverState bs = { 0 };
    unsigned i;

    rbd_node(&bs);
    for (i = 0; i < test_rounds(40); i++) {
        CHECK_INT(ceph_break_watches(ceph_header(IMAGE), i % 2 ? ENOTCONN : ETIMEDOUT), 1);
        ceph_wait_for_watches(ceph_header(IMAGE), 1);
    }
    rbd_close(&bs);
}

TEST(rbd_watch_that_breaks_while_it_is_being_made_again_is_made_once_more)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_break_next_watches(3);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    ceph_wait_for_watches(ceph_header(IMAGE), 1);
    CHECK_INT(ceph_count(CEPH_WATCH), 5);
    CHECK_INT(ceph_snapshot(IMAGE, "one"), 1);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    check_context(&bs, "[1:1]");
    rbd_close(&bs);
}

TEST(rbd_watch_that_breaks_during_open_is_made_again)
{
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECTS * OBJECT, ORDER, 0);
    ceph_break_next_watches(1);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    ceph_wait_for_watches(ceph_header(IMAGE), 1);
    CHECK_INT(ceph_snapshot(IMAGE, "one"), 1);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    check_context(&bs, "[1:1]");
    rbd_close(&bs);
}

TEST(rbd_watch_that_cannot_be_made_at_first_is_tried_again)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_fail_some(CEPH_WATCH, 0, 1, ETIMEDOUT);
    CHECK_INT(ceph_snapshot(IMAGE, "one"), 1);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    ceph_wait_for_watches(ceph_header(IMAGE), 1);
    CHECK_INT(ceph_count(CEPH_WATCH), 3);
    check_context(&bs, "[1:1]");
    rbd_close(&bs);
}

/* Without a watch nobody says when the header changes. */
TEST(rbd_write_without_a_watch_reads_the_header_first)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_fail(CEPH_WATCH, ETIMEDOUT);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    ceph_wait_for(CEPH_WATCH, 2);
    check_context(&bs, "[0:]");
    CHECK_INT(ceph_snapshot(IMAGE, "one"), 1);
    check_context(&bs, "[1:1]");
    ceph_fail(CEPH_WATCH, 0);
    rbd_close(&bs);
}

/* It can never be watched again. */
TEST(rbd_image_that_another_client_has_removed_is_not_written)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    rbd_node(&bs);
    ceph_remove(ceph_header(IMAGE));
    ceph_wait_for(CEPH_WATCH, 2);
    CHECK_INT(rbd_write(&bs, 0, qiov), -ENOENT);
    CHECK_INT(rbd_write(&bs, 0, qiov), -ENOENT);
    CHECK_INT(ceph_count(CEPH_WRITE), 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_node_is_closed_while_its_watch_is_being_made_again)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_fail(CEPH_WATCH, ETIMEDOUT);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    ceph_wait_for(CEPH_WATCH, 2);
    rbd_close(&bs);
}

TEST(rbd_node_is_closed_while_its_header_is_being_read)
{
    BlockDriverState bs = { 0 };
    unsigned i;

    for (i = 0; i < test_rounds(40); i++) {
        memset(&bs, 0, sizeof(bs));
        rbd_node(&bs);
        CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
        rbd_close(&bs);
    }
}

TEST(rbd_flood_of_notifications_needs_few_threads)
{
    BlockDriverState bs = { 0 };
    unsigned i, before;

    if (test_is_instrumented()) {
        test_skip("the kernel's view of threads is not the program's own there");
    }
    rbd_node(&bs);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), NULL, 0), 1);
    CHECK_INT(rbd_zero(&bs, 0, 512, 0), 0);
    ceph_mode(CEPH_READ_OP, CEPH_WHEN_RELEASED);
    before = process_threads();
    for (i = 0; i < 300; i++) {
        CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    }
    CHECK(process_threads() <= before + 4);
    ceph_mode(CEPH_READ_OP, CEPH_ON_THREAD);
    ceph_release_all();
    check_context(&bs, "[0:]");
    rbd_close(&bs);
}

TEST(rbd_watch_that_breaks_when_there_is_no_thread_costs_no_snapshot)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    /* The library's and the loop's threads are there already. */
    check_context(&bs, "[0:]");
    CHECK_INT(ceph_tell(ceph_header(IMAGE), NULL, 0), 1);
    check_context(&bs, "[0:]");
    threads_run_out(true);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    check_context(&bs, "[0:]");
    threads_run_out(false);
    CHECK_INT(ceph_snapshot(IMAGE, "one"), 1);
    check_context(&bs, "[1:1]");
    CHECK_INT(ceph_snapshot(IMAGE, "two"), 2);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), ceph_watches(ceph_header(IMAGE)));
    check_context(&bs, "[2:2,1]");
    rbd_close(&bs);
}

TEST(rbd_notification_without_a_thread_is_seen_by_the_next_write)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    check_context(&bs, "[0:]");
    CHECK_INT(ceph_tell(ceph_header(IMAGE), NULL, 0), 1);
    check_context(&bs, "[0:]");
    threads_run_out(true);
    CHECK_INT(ceph_snapshot(IMAGE, "one"), 1);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    check_context(&bs, "[1:1]");
    threads_run_out(false);
    rbd_close(&bs);
}

TEST(rbd_own_announcement_is_acknowledged_and_changes_nothing)
{
    BlockDriverState bs = { 0 };
    unsigned reads;

    rbd_node(&bs);
    CHECK_INT(rbd_truncate(&bs, OBJECT), 0);
    CHECK_INT(ceph_count(CEPH_NOTIFY), 1);
    reads = ceph_count(CEPH_READ_OP);
    check_context(&bs, "[0:]");
    CHECK_INT(ceph_count(CEPH_READ_OP), reads);
    rbd_close(&bs);
}

/* Two nodes of one process have a connection each. */
TEST(rbd_two_nodes_hear_of_each_others_changes)
{
    BlockDriverState bs = { 0 }, other = { 0 };

    rbd_node(&bs);
    rbd_open_ok(&other, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd_snapshot(&other, "one"), 0);
    check_context(&bs, "[1:1]");
    CHECK_INT(rbd_snapshot(&bs, "two"), 0);
    check_context(&other, "[2:2,1]");
    rbd.close(&other);
    rbd_close(&bs);
}

TEST(rbd_announcement_that_nobody_acknowledges_is_no_failure)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_deaf_watcher(true);
    CHECK_INT(rbd_truncate(&bs, OBJECT), 0);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    ceph_fail(CEPH_NOTIFY, EIO);
    CHECK_INT(rbd_truncate(&bs, 2 * OBJECT), 0);
    CHECK_INT(ceph_image_size(IMAGE), 2 * OBJECT);
    ceph_fail(CEPH_NOTIFY, 0);
    rbd_close(&bs);
}

TEST(rbd_writes_go_on_while_an_announcement_waits)
{
    BlockDriverState bs = { 0 };
    struct rbd_request *resize;

    rbd_node(&bs);
    ceph_mode(CEPH_NOTIFY, CEPH_WHEN_RELEASED);
    resize = rbd_start(loop_default(),
                       (struct rbd_request) { .op = R_TRUNCATE, .bs = &bs, .offset = 8 * OBJECT });
    ceph_wait_for_held(1);
    check_context(&bs, "[0:]");
    ceph_release_all();
    CHECK_INT(rbd_finish(resize), 0);
    rbd_close(&bs);
}

TEST(rbd_open_for_writing_fails_without_a_watch)
{
    ceph_image(IMAGE, OBJECT, ORDER, 0);
    ceph_fail(CEPH_WATCH, ETIMEDOUT);
    rbd_open_fails(IMAGE_OPTIONS, QBR_O_RDWR, ETIMEDOUT, "watching it");
}

TEST(rbd_reader_that_lost_its_image_with_the_watch_reads_no_zeroes)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(512);

    rbd_node(&bs);
    ceph_close_gate(CEPH_WATCH);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    ceph_remove(ceph_header(IMAGE));
    ceph_open_gate(CEPH_WATCH);
    while (!errors_reported()) {
    }
    CHECK_CONTAINS(last_error_reported(), "'a': the image was removed");
    CHECK_INT(rbd_read(&bs, 0, qiov), -ENOENT);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_change_between_open_and_watch_is_seen)
{
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECTS * OBJECT, ORDER, 0);
    /* The header is read once before the watch, and once after it. */
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK(strstr(strstr(ceph_log(), "watch "), "get_snapcontext"));
    rbd_close(&bs);
}

TEST(rbd_invalidate_cache_waits_for_what_was_announced)
{
    BlockDriverState bs = { 0 };
    Error *error = NULL;

    rbd_node(&bs);
    CHECK_INT(ceph_snapshot(IMAGE, "one"), 1);
    ceph_resize(IMAGE, OBJECT);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_INVALIDATE, .bs = &bs, .errp = &error }), 0);
    CHECK(!error);
    CHECK_INT(rbd.getlength(&bs), OBJECT);
    check_context(&bs, "[1:1]");
    rbd_close(&bs);
}

static void check_activation(BlockDriverState *bs, const char *error_part)
{
    Error *error = NULL;

    rbd_run((struct rbd_request) { .op = R_INVALIDATE, .bs = bs, .errp = &error });
    if (error_part) {
        CHECK(error);
        CHECK_CONTAINS(error->message, error_part);
    } else {
        CHECK(!error);
    }
    error_free(error);
}

/* QEMU asks for the length right afterwards, and reads zeroes behind it. */
TEST(rbd_invalidate_cache_with_a_header_that_does_not_come_fails_and_can_be_repeated)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_mode(CEPH_READ_OP, CEPH_WHEN_RELEASED);
    ceph_resize(IMAGE, 2 * OBJECTS * OBJECT);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    ceph_wait_for_held(1);
    check_activation(&bs, "reading its header again");
    check_activation(&bs, "reading its header again");
    ceph_mode(CEPH_READ_OP, CEPH_ON_THREAD);
    ceph_release_all();
    check_activation(&bs, NULL);
    CHECK_INT(rbd.getlength(&bs), 2 * OBJECTS * OBJECT);
    rbd_close(&bs);
}

TEST(rbd_invalidate_cache_with_a_header_that_cannot_be_read_fails)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_resize(IMAGE, 2 * OBJECTS * OBJECT);
    ceph_fail_object(ceph_header(IMAGE), CEPH_READ_OP, 0, CEPH_FOR_EVER, EIO);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    check_activation(&bs, "reading its header again");
    ceph_pass_objects();
    check_activation(&bs, NULL);
    CHECK_INT(rbd.getlength(&bs), 2 * OBJECTS * OBJECT);
    rbd_close(&bs);
}

TEST(rbd_invalidate_cache_without_a_watch_knows_what_was_not_heard)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_fail(CEPH_WATCH, ETIMEDOUT);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    ceph_wait_for(CEPH_WATCH, 2);
    ceph_resize(IMAGE, 2 * OBJECTS * OBJECT);
    check_activation(&bs, NULL);
    CHECK_INT(rbd.getlength(&bs), 2 * OBJECTS * OBJECT);
    ceph_fail(CEPH_WATCH, 0);
    rbd_close(&bs);
}

TEST(rbd_invalidate_cache_of_a_node_for_reading_reads_the_header_again)
{
    BlockDriverState bs = { 0 };
    Error *error = NULL;

    ceph_image(IMAGE, OBJECTS * OBJECT, ORDER, 0);
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    ceph_resize(IMAGE, OBJECT);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_INVALIDATE, .bs = &bs, .errp = &error }), 0);
    CHECK(!error);
    CHECK_INT(rbd.getlength(&bs), OBJECT);
    ceph_fail_object(ceph_header(IMAGE), CEPH_READ_OP, 0, 1, EIO);
    rbd_run((struct rbd_request) { .op = R_INVALIDATE, .bs = &bs, .errp = &error });
    CHECK(error);
    error_free(error);
    rbd_close(&bs);
}
