/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Children that answer in any order, at once, late, or from another thread. The host counts wake-ups and checks their loop. */

#include "quorum.h"

#define BYTES 4096
#define LENGTH (64 * BYTES)

static struct quorum_request *start_read(struct loop *loop, BlockDriverState *bs, int64_t offset)
{
    return quorum_start(loop, (struct quorum_request) {
        .op = Q_READ, .bs = bs, .offset = offset, .bytes = BYTES, .qiov = qiov_flat(BYTES) });
}

/* How often it slept. */
static unsigned finish_read(struct quorum_request *rq)
{
    unsigned parks = co_join(rq->co);

    CHECK_INT(rq->ret, 0);
    CHECK(qiov_is_intact(rq->qiov, rq->offset));
    qiov_free(rq->qiov);
    free(rq);
    return parks;
}

TEST(children_that_answer_at_once_need_no_sleep)
{
    struct voters voters;
    unsigned i;

    voters_open(&voters, 5, LENGTH, "vote-threshold=#3");
    for (i = 0; i < test_rounds(200); i++) {
        CHECK_INT(finish_read(start_read(loop_default(), &voters.bs, i)), 0);
    }
    voters_close(&voters);
}

TEST(children_that_answer_in_any_order_wake_the_reader_once)
{
    static const unsigned orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    unsigned i, j;

    for (i = 0; i < 6; i++) {
        struct quorum_request *rq;
        struct voters voters;

        voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
        disk_corrupt(voters.disk[i % 3], 1);
        voters_mode(&voters, QBR_CHILD_READ, DISK_WHEN_RELEASED);
        rq = start_read(loop_default(), &voters.bs, 0);
        for (j = 0; j < 3; j++) {
            disk_wait_held(voters.disk[j], QBR_CHILD_READ, 1);
        }
        for (j = 0; j < 3; j++) {
            disk_release(voters.disk[orders[i][j]], QBR_CHILD_READ);
            disk_wait_ended(voters.disk[orders[i][j]], QBR_CHILD_READ, 1);
        }
        /* Once in the last child's operation, which is done here, and once for the others if these are later. */
        CHECK_INT(finish_read(rq), orders[i][2] == 2 ? 1 : 2);
        CHECK_CONTAINS(events_take(), ",-,0+8) ");
        voters_close(&voters);
    }
}

TEST(some_children_at_once_and_others_late)
{
    static const enum disk_mode modes[] = { DISK_AT_ONCE, DISK_NEXT_TURN, DISK_ON_THREAD };
    struct voters voters;
    unsigned i;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#3");
    for (i = 0; i < 27; i++) {
        disk_mode(voters.disk[0], QBR_CHILD_READ, modes[i % 3]);
        disk_mode(voters.disk[1], QBR_CHILD_READ, modes[i / 3 % 3]);
        disk_mode(voters.disk[2], QBR_CHILD_READ, modes[i / 9]);
        finish_read(start_read(loop_default(), &voters.bs, i * 512));
    }
    voters_close(&voters);
}

TEST(a_reader_that_somebody_else_enters_sleeps_on)
{
    struct quorum_request *rq;
    struct voters voters;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
    disk_mode(voters.disk[0], QBR_CHILD_READ, DISK_WHEN_RELEASED);
    rq = start_read(loop_default(), &voters.bs, 0);
    co_wait_parked(rq->co, 1);
    co_poke(rq->co);
    co_wait_parked(rq->co, 2);
    disk_release(voters.disk[0], QBR_CHILD_READ);
    CHECK_INT(finish_read(rq), 2);
    voters_close(&voters);
}

TEST(requests_of_three_loops_each_go_on_in_their_own)
{
    enum { REQUESTS = 48, LOOPS = 3 };
    static const enum disk_mode modes[] = { DISK_ON_THREAD, DISK_NEXT_TURN, DISK_ON_THREAD };
    struct quorum_request *reads[REQUESTS], *flushes[REQUESTS];
    struct loop *loops[LOOPS];
    struct voters voters;
    unsigned i, round;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2,rewrite-corrupted=?on");
    for (i = 0; i < LOOPS; i++) {
        loops[i] = loop_start();
        disk_mode(voters.disk[i], QBR_CHILD_READ, modes[i]);
        disk_mode(voters.disk[i], QBR_CHILD_FLUSH, modes[LOOPS - 1 - i]);
    }
    for (round = 0; round < test_rounds(40); round++) {
        for (i = 0; i < REQUESTS; i++) {
            reads[i] = start_read(loops[i % LOOPS], &voters.bs, i * BYTES);
            flushes[i] = quorum_start(loops[i % LOOPS], (struct quorum_request) { .op = Q_FLUSH, .bs = &voters.bs });
        }
        for (i = 0; i < REQUESTS; i++) {
            finish_read(reads[i]);
            CHECK_INT(quorum_finish(flushes[i]), 0);
        }
    }
    for (i = 0; i < LOOPS; i++) {
        loop_stop(loops[i]);
    }
    voters_close(&voters);
}

TEST(a_write_and_a_read_of_the_same_loop_take_turns)
{
    enum { ROUNDS = 200 };
    QEMUIOVector *qiov = qiov_of_news(BYTES);
    struct voters voters;
    unsigned i;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
    voters_mode(&voters, QBR_CHILD_READ, DISK_NEXT_TURN);
    voters_mode(&voters, QBR_CHILD_WRITE, DISK_ON_THREAD);
    for (i = 0; i < test_rounds(ROUNDS); i++) {
        struct quorum_request *read = start_read(loop_default(), &voters.bs, 0);

        CHECK_INT(quorum_write(&voters.bs, 8 * BYTES, qiov), 0);
        finish_read(read);
    }
    CHECK(voters_agree(&voters) && disk_has_news(voters.disk[2], 8 * BYTES, BYTES));
    voters_close(&voters);
    qiov_free(qiov);
}
