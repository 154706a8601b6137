/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* rewrite-corrupted: what has lost a vote is overwritten with what has won it, and nothing else is. */

#include "quorum.h"

#define BYTES 4096
#define LENGTH 65536

static const char OPTIONS[] = "vote-threshold=#2,rewrite-corrupted=?on";

static struct quorum_request *start(struct voters *voters, enum quorum_op op, int64_t offset, QEMUIOVector *qiov)
{
    return quorum_start(loop_default(), (struct quorum_request) {
        .op = op, .bs = &voters->bs, .offset = offset, .bytes = qiov->size, .qiov = qiov });
}

TEST(repair_writes_what_has_won_to_the_child_that_has_lost)
{
    QEMUIOVector *qiov = qiov_new((const size_t[]) { 1, 511, BYTES - 512, 0 });
    struct voters voters;
    unsigned bad, i;

    for (bad = 0; bad < 3; bad++) {
        voters_open(&voters, 3, LENGTH, OPTIONS);
        disk_corrupt(voters.disk[bad], 1000);
        CHECK_INT(quorum_read(&voters.bs, 512, qiov), 0);
        CHECK(qiov_is_intact(qiov, 512));
        CHECK(disk_is_intact(voters.disk[bad], 0, LENGTH));
        for (i = 0; i < 3; i++) {
            CHECK_INT(voters.disk[i]->calls[QBR_CHILD_WRITE], i == bad);
        }
        CHECK_INT(voters.disk[bad]->last[QBR_CHILD_WRITE].offset, 512);
        CHECK_INT(voters.disk[bad]->last[QBR_CHILD_WRITE].bytes, BYTES);
        CHECK_CONTAINS(events_take(), "bad(read,");
        /* Nothing is left to report. */
        CHECK_INT(quorum_read(&voters.bs, 512, qiov), 0);
        voters_close(&voters);
    }
    qiov_free(qiov);
}

TEST(repair_of_two_different_losers_writes_both)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;

    voters_open(&voters, 5, LENGTH, "vote-threshold=#3,rewrite-corrupted=?on");
    disk_corrupt(voters.disk[0], 1);
    disk_corrupt(voters.disk[4], 2);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    CHECK(voters_agree(&voters) && disk_is_intact(voters.disk[0], 0, LENGTH));
    CHECK_INT(voters_calls(&voters, QBR_CHILD_WRITE), 2);
    CHECK_TEXT(events_take(), "bad(read,disk0,-,0+8) bad(read,disk4,-,0+8) ");
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(repair_leaves_failed_children_alone)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;

    voters_open(&voters, 4, LENGTH, OPTIONS);
    disk_fail(voters.disk[0], QBR_CHILD_READ, EIO);
    disk_corrupt(voters.disk[2], 0);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    CHECK_INT(voters.disk[2]->repairs, 1);
    CHECK_INT(voters_calls(&voters, QBR_CHILD_WRITE), 1);
    CHECK_TEXT(events_take(), "bad(read,disk0,EIO,0+8) bad(read,disk2,-,0+8) ");
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(repair_that_fails_does_not_fail_the_read)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;

    voters_open(&voters, 3, LENGTH, OPTIONS);
    disk_corrupt(voters.disk[1], 0);
    disk_fail(voters.disk[1], QBR_CHILD_WRITE, EROFS);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    CHECK(qiov_is_intact(qiov, 0));
    CHECK_TEXT(events_take(), "bad(read,disk1,-,0+8) ");
    voters_close(&voters);
    qiov_free(qiov);
}

/* As while the node is inactive, and a little longer: it is active before it may write. */
TEST(read_without_permission_to_write_starts_no_repair)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;

    voters_open(&voters, 3, LENGTH, OPTIONS);
    disk_corrupt(voters.disk[1], 0);
    voters.disk[1]->may_not_be_written = true;
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    CHECK(qiov_is_intact(qiov, 0));
    CHECK_INT(voters_calls(&voters, QBR_CHILD_WRITE), 0);
    CHECK_TEXT(events_take(), "bad(read,disk1,-,0+8) ");
    /* The first read after that does. */
    voters.disk[1]->may_not_be_written = false;
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    CHECK(disk_is_intact(voters.disk[1], 0, LENGTH));
    CHECK_INT(voters.disk[1]->repairs, 1);
    CHECK_TEXT(events_take(), "bad(read,disk1,-,0+8) ");
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(repair_is_left_out_when_a_write_overtook_the_read)
{
    QEMUIOVector *old = qiov_flat(BYTES), *news = qiov_of_news(512);
    struct quorum_request *read;
    struct voters voters;

    voters_open(&voters, 3, LENGTH, OPTIONS);
    disk_corrupt(voters.disk[0], 600);
    disk_mode(voters.disk[0], QBR_CHILD_READ, DISK_WHEN_RELEASED);
    read = start(&voters, Q_READ, 0, old);
    disk_wait_held(voters.disk[0], QBR_CHILD_READ, 1);
    CHECK_INT(quorum_write(&voters.bs, 512, news), 0);
    disk_release(voters.disk[0], QBR_CHILD_READ);
    CHECK_INT(quorum_finish(read), 0);
    CHECK(qiov_is_intact(old, 0));
    CHECK_TEXT(events_take(), "bad(read,disk0,-,0+8) ");
    CHECK_INT(voters.disk[0]->repairs, 0);
    CHECK(disk_has_news(voters.disk[0], 512, 512) && voters_agree(&voters));
    voters_close(&voters);
    qiov_free(old);
    qiov_free(news);
}

TEST(repair_is_left_out_when_a_write_was_in_flight_before_the_read)
{
    QEMUIOVector *old = qiov_flat(BYTES), *news = qiov_of_news(BYTES);
    struct quorum_request *write;
    struct voters voters;

    voters_open(&voters, 3, LENGTH, OPTIONS);
    disk_mode(voters.disk[2], QBR_CHILD_WRITE, DISK_WHEN_RELEASED);
    write = start(&voters, Q_WRITE, 0, news);
    disk_wait_held(voters.disk[2], QBR_CHILD_WRITE, 1);
    /* Two children have the new data already, one doesn't: it seems to be wrong. */
    CHECK_INT(quorum_read(&voters.bs, 0, old), 0);
    CHECK_CONTAINS(events_take(), "bad(read,disk2,-,0+8) ");
    CHECK_INT(voters.disk[2]->repairs, 0);
    disk_release(voters.disk[2], QBR_CHILD_WRITE);
    CHECK_INT(quorum_finish(write), 0);
    CHECK(disk_has_news(voters.disk[0], 0, BYTES) && voters_agree(&voters));
    voters_close(&voters);
    qiov_free(old);
    qiov_free(news);
}

TEST(repair_is_left_out_when_the_disk_became_shorter_meanwhile)
{
    QEMUIOVector *old = qiov_flat(BYTES);
    struct quorum_request *read;
    struct voters voters;

    voters_open(&voters, 3, LENGTH, OPTIONS);
    disk_corrupt(voters.disk[0], LENGTH - 1);
    disk_mode(voters.disk[0], QBR_CHILD_READ, DISK_WHEN_RELEASED);
    read = start(&voters, Q_READ, LENGTH - BYTES, old);
    disk_wait_held(voters.disk[0], QBR_CHILD_READ, 1);
    CHECK_INT(quorum_run((struct quorum_request) { .op = Q_TRUNCATE, .bs = &voters.bs, .offset = LENGTH - 512 }), 0);
    disk_release(voters.disk[0], QBR_CHILD_READ);
    CHECK_INT(quorum_finish(read), 0);
    CHECK_TEXT(events_take(), "bad(read,disk0,-,120+8) ");
    /* It would bring the end back, on one child. */
    CHECK_INT(voters.disk[0]->repairs, 0);
    voters_close(&voters);
    qiov_free(old);
}

TEST(truncate_waits_for_a_repair_of_what_it_cuts_off)
{
    QEMUIOVector *old = qiov_flat(BYTES);
    struct quorum_request *read, *truncate;
    struct voters voters;

    voters_open(&voters, 3, LENGTH, OPTIONS);
    disk_corrupt(voters.disk[0], LENGTH - 1);
    disk_mode(voters.disk[0], QBR_CHILD_WRITE, DISK_WHEN_RELEASED);
    read = start(&voters, Q_READ, LENGTH - BYTES, old);
    disk_wait_held(voters.disk[0], QBR_CHILD_WRITE, 1);
    truncate = quorum_start(loop_default(), (struct quorum_request) {
        .op = Q_TRUNCATE, .bs = &voters.bs, .offset = LENGTH - 512 });
    co_wait_parked(truncate->co, 1);
    CHECK_INT(voters_calls(&voters, QBR_CHILD_TRUNCATE), 0);
    disk_release(voters.disk[0], QBR_CHILD_WRITE);
    CHECK_INT(quorum_finish(read), 0);
    CHECK_INT(quorum_finish(truncate), 0);
    CHECK(voters_agree(&voters));
    CHECK_INT(voters.disk[0]->length, LENGTH - 512);
    CHECK_TEXT(events_take(), "bad(read,disk0,-,120+8) ");
    voters_close(&voters);
    qiov_free(old);
}

/* What a change of the guest's does while a repair of the same range is in flight. */
static void check_waits_for_repair(enum quorum_op op, QbrChildOp child_op)
{
    QEMUIOVector *old = qiov_flat(BYTES), *news = qiov_of_news(BYTES);
    struct quorum_request *read, *change;
    struct voters voters;

    voters_open(&voters, 3, LENGTH, OPTIONS);
    disk_corrupt(voters.disk[1], 600);
    disk_mode(voters.disk[1], QBR_CHILD_WRITE, DISK_WHEN_RELEASED);
    read = start(&voters, Q_READ, 0, old);
    disk_wait_held(voters.disk[1], QBR_CHILD_WRITE, 1);
    change = start(&voters, op, 512, news);
    co_wait_parked(change->co, 1);
    CHECK_INT(voters.disk[0]->calls[child_op], 0);
    CHECK_INT(voters.disk[1]->calls[child_op], child_op == QBR_CHILD_WRITE);
    disk_release(voters.disk[1], QBR_CHILD_WRITE);
    CHECK_INT(quorum_finish(read), 0);
    CHECK_INT(quorum_finish(change), 0);
    CHECK_INT(voters.disk[0]->calls[child_op], 1);
    CHECK(voters_agree(&voters) && !disk_is_intact(voters.disk[1], 512, BYTES));
    CHECK(disk_is_intact(voters.disk[1], 0, 512));
    CHECK_TEXT(events_take(), "bad(read,disk1,-,0+8) ");
    voters_close(&voters);
    qiov_free(old);
    qiov_free(news);
}

TEST(write_waits_for_a_repair_that_it_overlaps)
{
    check_waits_for_repair(Q_WRITE, QBR_CHILD_WRITE);
}

TEST(write_zeroes_waits_for_a_repair_that_it_overlaps)
{
    check_waits_for_repair(Q_ZERO, QBR_CHILD_WRITE_ZEROES);
}

TEST(discard_waits_for_a_repair_that_it_overlaps)
{
    check_waits_for_repair(Q_DISCARD, QBR_CHILD_WRITE_ZEROES);
}

TEST(write_elsewhere_does_not_wait_for_a_repair)
{
    QEMUIOVector *old = qiov_flat(BYTES), *news = qiov_of_news(BYTES);
    struct quorum_request *read;
    struct voters voters;

    voters_open(&voters, 3, LENGTH, OPTIONS);
    disk_corrupt(voters.disk[1], 600);
    disk_mode(voters.disk[1], QBR_CHILD_WRITE, DISK_WHEN_RELEASED);
    read = start(&voters, Q_READ, 0, old);
    disk_wait_held(voters.disk[1], QBR_CHILD_WRITE, 1);
    disk_mode(voters.disk[1], QBR_CHILD_WRITE, DISK_AT_ONCE);
    CHECK_INT(quorum_write(&voters.bs, BYTES, news), 0);
    CHECK_INT(voters.disk[1]->ended[QBR_CHILD_WRITE], 1);
    disk_release(voters.disk[1], QBR_CHILD_WRITE);
    CHECK_INT(quorum_finish(read), 0);
    CHECK(voters_agree(&voters) && disk_is_intact(voters.disk[1], 0, BYTES));
    CHECK_TEXT(events_take(), "bad(read,disk1,-,0+8) ");
    voters_close(&voters);
    qiov_free(old);
    qiov_free(news);
}

TEST(writes_of_three_loops_that_wait_for_a_repair_all_go_on)
{
    enum { WRITES = 24, LOOPS = 3 };
    QEMUIOVector *old = qiov_flat(BYTES), *news = qiov_of_news(512);
    struct quorum_request *read, *writes[WRITES];
    struct loop *loops[LOOPS];
    struct voters voters;
    unsigned i;

    for (i = 0; i < LOOPS; i++) {
        loops[i] = loop_start();
    }
    voters_open(&voters, 3, LENGTH, OPTIONS);
    disk_corrupt(voters.disk[2], 0);
    disk_mode(voters.disk[2], QBR_CHILD_WRITE, DISK_WHEN_RELEASED);
    read = start(&voters, Q_READ, 0, old);
    disk_wait_held(voters.disk[2], QBR_CHILD_WRITE, 1);
    for (i = 0; i < WRITES; i++) {
        writes[i] = quorum_start(loops[i % LOOPS], (struct quorum_request) {
            .op = Q_WRITE, .bs = &voters.bs, .offset = i * 128, .bytes = 512, .qiov = news });
    }
    for (i = 0; i < WRITES; i++) {
        co_wait_parked(writes[i]->co, 1);
    }
    CHECK_INT(voters.disk[0]->calls[QBR_CHILD_WRITE], 0);
    disk_release(voters.disk[2], QBR_CHILD_WRITE);
    CHECK_INT(quorum_finish(read), 0);
    for (i = 0; i < WRITES; i++) {
        CHECK_INT(quorum_finish(writes[i]), 0);
    }
    CHECK_INT(voters.disk[0]->calls[QBR_CHILD_WRITE], WRITES);
    CHECK_TEXT(events_take(), "bad(read,disk2,-,0+8) ");
    for (i = 0; i < LOOPS; i++) {
        loop_stop(loops[i]);
    }
    voters_close(&voters);
    qiov_free(old);
    qiov_free(news);
}
