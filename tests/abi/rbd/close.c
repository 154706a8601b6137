/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Closing, also when the cluster does not answer. */

#include "rbd.h"

#include <time.h>

#include "../host/thread.h"

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

TEST(rbd_close_of_a_cluster_that_does_not_answer_takes_three_seconds_and_warns)
{
    BlockDriverState bs = { 0 };
    double begin, took;

    rbd_node(&bs);
    ceph_close_gate(CEPH_UNWATCH);
    begin = now();
    rbd.close(&bs);
    took = now() - begin;
    CHECK(!bs.state);
    CHECK(took > 2.5 && (took < 5 || test_is_instrumented()));
    CHECK_CONTAINS(warning_take(), "'a'");
    CHECK_INT(ceph_clients(), 1);
    /* When the cluster comes back, the rest is done. */
    ceph_open_gate(CEPH_UNWATCH);
    ceph_wait_for_no_client();
}

TEST(rbd_close_while_a_watch_is_being_made_again_that_does_not_come_back_warns)
{
    BlockDriverState bs = { 0 };
    double begin;

    rbd_node(&bs);
    ceph_close_gate(CEPH_WATCH);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    ceph_wait_for(CEPH_WATCH, 2);
    begin = now();
    rbd.close(&bs);
    CHECK(now() - begin < 5 || test_is_instrumented());
    CHECK_CONTAINS(warning_take(), "'a'");
    ceph_open_gate(CEPH_WATCH);
    ceph_wait_for_no_client();
    CHECK_INT(ceph_watches(ceph_header(IMAGE)), 0);
}

/* A thread still waits for the header. */
TEST(rbd_close_while_the_header_does_not_come_waits_no_longer)
{
    BlockDriverState bs = { 0 };
    double begin;

    rbd_node(&bs);
    ceph_mode(CEPH_READ_OP, CEPH_WHEN_RELEASED);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    ceph_wait_for_held(1);
    begin = now();
    rbd.close(&bs);
    CHECK(now() - begin < 5 || test_is_instrumented());
    if (warnings_reported()) {
        CHECK_CONTAINS(warning_take(), "'a'");
    }
    ceph_mode(CEPH_READ_OP, CEPH_ON_THREAD);
    ceph_release_all();
    ceph_wait_for_no_client();
}

TEST(rbd_close_without_a_thread_leaves_the_connection)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    threads_run_out(true);
    rbd.close(&bs);
    threads_run_out(false);
    CHECK(!bs.state);
    CHECK_CONTAINS(warning_take(), "'a'");
    /* That may take as long as the cluster is away. */
    CHECK_INT(ceph_count(CEPH_UNWATCH), 0);
    CHECK_INT(ceph_count(CEPH_SHUTDOWN), 0);
    ceph_forget();
}

TEST(rbd_close_with_a_watch_that_is_lost_works)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_fail(CEPH_WATCH, ETIMEDOUT);
    CHECK_INT(ceph_break_watches(ceph_header(IMAGE), ENOTCONN), 1);
    ceph_fail(CEPH_UNWATCH, ENOTCONN);
    rbd_close(&bs);
}

TEST(rbd_open_and_close_again_and_again_leave_nothing)
{
    BlockDriverState bs;
    unsigned i, threads = 0, files = 0;

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    for (i = 0; i < test_rounds(100); i++) {
        memset(&bs, 0, sizeof(bs));
        rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
        check_hole(&bs, 0, 512);
        rbd_close(&bs);
        if (!i) {
            files = process_files();
            threads = process_threads();
        }
    }
    CHECK_INT(process_files(), files);
    if (!test_is_instrumented()) {
        while (process_threads() > threads) {
        }
    }
    CHECK_INT(ceph_alive(), 0);
}

TEST(rbd_node_that_another_process_reads_is_closed_alone)
{
    BlockDriverState bs = { 0 }, other = { 0 };

    rbd_node(&bs);
    rbd_open_ok(&other, IMAGE_OPTIONS, QBR_O_RDWR);
    rbd.close(&other);
    CHECK_INT(ceph_watches(ceph_header(IMAGE)), 1);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(rbd_zero(&bs, 0, 512, 0), 0);
    rbd_close(&bs);
}

/* --- Reopening ------------------------------------------------------------------------------------------------------------ */

TEST(rbd_reopen_commit_changes_the_access)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = QBR_O_RDWR };
    BDRVReopenState back = { .bs = &bs, .flags = 0 };

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    CHECK_INT(rbd_zero(&bs, 0, 512, 0), -EROFS);
    CHECK_INT(rbd.reopen_prepare(&state, NULL, NULL), 0);
    /* Until then the old one is the one. */
    CHECK_INT(rbd_zero(&bs, 0, 512, 0), -EROFS);
    rbd.reopen_commit(&state);
    CHECK(!state.state);
    CHECK_INT(ceph_watches(ceph_header(IMAGE)), 1);
    CHECK_INT(rbd_zero(&bs, 0, 512, 0), 0);
    CHECK_INT(rbd.reopen_prepare(&back, NULL, NULL), 0);
    rbd.reopen_commit(&back);
    CHECK_INT(ceph_watches(ceph_header(IMAGE)), 1);
    CHECK_INT(rbd_zero(&bs, 0, 512, 0), -EROFS);
    /* All over one connection. */
    CHECK_INT(ceph_count(CEPH_CONNECT), 1);
    rbd_close(&bs);
}

TEST(rbd_reopen_abort_keeps_the_access)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = 0 };

    rbd_node(&bs);
    CHECK_INT(rbd.reopen_prepare(&state, NULL, NULL), 0);
    rbd.reopen_abort(&state);
    CHECK(!state.state);
    CHECK_INT(ceph_watches(ceph_header(IMAGE)), 1);
    CHECK_INT(rbd_zero(&bs, 0, 512, 0), 0);
    rbd_close(&bs);
}

static void check_reopen_fails(int flags, int error)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = flags };
    Error *err = NULL;

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    if (flags) {
        ceph_fail(CEPH_WATCH, error);
    } else {
        ceph_fail(CEPH_READ_OP, error);
    }
    CHECK_INT(rbd.reopen_prepare(&state, NULL, &err), -error);
    CHECK(err && !state.state);
    error_free(err);
    /* The block layer doesn't call abort then, but may. */
    rbd.reopen_abort(&state);
    ceph_fail(CEPH_WATCH, 0);
    ceph_fail(CEPH_READ_OP, 0);
    check_hole(&bs, 0, 512);
    rbd_close(&bs);
}

TEST(rbd_reopen_that_fails_keeps_the_node)
{
    check_reopen_fails(0, EIO);
    check_reopen_fails(QBR_O_RDWR, ETIMEDOUT);
    check_reopen_fails(QBR_O_RDWR, EPERM);
}

TEST(rbd_snapshot_is_not_reopened_for_writing)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = QBR_O_RDWR };
    Error *error = NULL;

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    ceph_snapshot(IMAGE, "one");
    rbd_open_ok(&bs, IMAGE_OPTIONS ",snapshot=one", 0);
    CHECK_INT(rbd.reopen_prepare(&state, NULL, &error), -EACCES);
    CHECK_CONTAINS(error->message, "read-only");
    error_free(error);
    rbd_close(&bs);
}
