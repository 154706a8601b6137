/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Callbacks that come at once, from other threads, out of order, twice or late. The host counts wake-ups and checks their loop. */

#include "../request.h"

#include <pthread.h>
#include <stdlib.h>

#define REQUESTS 64
#define LOOPS 3
#define BYTES 4096

static struct request *start_read(struct loop *loop, BlockDriverState *bs, int64_t offset)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);

    return request_start(
        loop, (struct request) { .op = OP_READ, .bs = bs, .offset = offset, .bytes = BYTES, .qiov = qiov });
}

static void finish_read(struct request *rq)
{
    QEMUIOVector *qiov = rq->qiov;
    int64_t offset = rq->offset;
    unsigned at;

    CHECK_INT(request_finish(rq), 0);
    for (at = 0; at < BYTES; at++) {
        CHECK_INT(qiov_byte(qiov, at), fake_byte(offset + at));
    }
    qiov_free(qiov);
}

TEST(completion_before_submit_returns_needs_no_sleep)
{
    BlockDriverState bs = { 0 };
    struct request *rq;
    QEMUIOVector *qiov;

    node_with_image(&bs, 2 * BYTES);
    fake_mode(FAKE_IN_SUBMIT);
    rq = start_read(loop_default(), &bs, 100);
    qiov = rq->qiov;
    CHECK_INT(co_join(rq->co), 0);
    CHECK_INT(rq->ret, 0);
    CHECK_INT(qiov_byte(qiov, 0), fake_byte(100));
    free(rq);
    qiov_free(qiov);
    gluster.close(&bs);
}

TEST(completion_on_a_library_thread_wakes_the_coroutine)
{
    BlockDriverState bs = { 0 };
    unsigned i;

    node_with_image(&bs, 2 * BYTES);
    for (i = 0; i < test_rounds(2000); i++) {
        finish_read(start_read(loop_default(), &bs, i % BYTES));
    }
    gluster.close(&bs);
}

TEST(completion_while_the_coroutine_sleeps_wakes_it_once)
{
    BlockDriverState bs = { 0 };
    struct request *rq;

    node_with_image(&bs, 2 * BYTES);
    fake_mode(FAKE_WHEN_RELEASED);
    rq = start_read(loop_default(), &bs, 0);
    co_wait_parked(rq->co, 1);
    CHECK(fake_release(0));
    finish_read(rq);
    gluster.close(&bs);
}

TEST(a_coroutine_that_somebody_else_enters_sleeps_on)
{
    BlockDriverState bs = { 0 };
    struct request *rq;

    node_with_image(&bs, 2 * BYTES);
    fake_mode(FAKE_WHEN_RELEASED);
    rq = start_read(loop_default(), &bs, 0);
    co_wait_parked(rq->co, 1);
    co_poke(rq->co);
    co_wait_parked(rq->co, 2);
    fake_release_all();
    finish_read(rq);
    gluster.close(&bs);
}

/* Ends operations in an order of its own until all are done. */
static void *release_some(void *opaque)
{
    unsigned *seed = opaque;
    unsigned i;

    for (i = 0; i < REQUESTS; i++) {
        if (!fake_release(rand_r(seed) % 16)) {
            fake_release(0);
        }
    }
    return NULL;
}

TEST(reordered_completions_of_three_loops_wake_each_in_its_own)
{
    BlockDriverState bs = { 0 };
    struct loop *loops[LOOPS];
    struct request *requests[REQUESTS];
    unsigned seeds[LOOPS] = { 1, 22, 333 };
    pthread_t threads[LOOPS];
    unsigned i, round;

    node_with_image(&bs, REQUESTS * BYTES);
    for (i = 0; i < LOOPS; i++) {
        loops[i] = loop_start();
    }
    for (round = 0; round < test_rounds(40); round++) {
        fake_mode(FAKE_WHEN_RELEASED);
        for (i = 0; i < REQUESTS; i++) {
            requests[i] = start_read(loops[i % LOOPS], &bs, i * BYTES);
        }
        CHECK_INT(fake_wait_for_held(REQUESTS), REQUESTS);
        for (i = 0; i < LOOPS; i++) {
            CHECK(!pthread_create(&threads[i], NULL, release_some, &seeds[i]));
        }
        for (i = 0; i < LOOPS; i++) {
            pthread_join(threads[i], NULL);
        }
        for (i = 0; i < REQUESTS; i++) {
            finish_read(requests[i]);
        }
    }
    for (i = 0; i < LOOPS; i++) {
        loop_stop(loops[i]);
    }
    gluster.close(&bs);
}

TEST(completions_that_race_with_falling_asleep_are_not_lost)
{
    BlockDriverState bs = { 0 };
    struct loop *loops[LOOPS];
    struct request *requests[REQUESTS];
    unsigned i, round;

    node_with_image(&bs, REQUESTS * BYTES);
    for (i = 0; i < LOOPS; i++) {
        loops[i] = loop_start();
    }
    for (round = 0; round < test_rounds(60); round++) {
        for (i = 0; i < REQUESTS; i++) {
            requests[i] = start_read(loops[i % LOOPS], &bs, i * BYTES);
        }
        for (i = 0; i < REQUESTS; i++) {
            finish_read(requests[i]);
        }
    }
    for (i = 0; i < LOOPS; i++) {
        loop_stop(loops[i]);
    }
    gluster.close(&bs);
}

TEST(second_callbacks_are_ignored)
{
    BlockDriverState bs = { 0 };
    unsigned i;

    node_with_image(&bs, 2 * BYTES);
    fake_call_back_twice(true);
    for (i = 0; i < test_rounds(400); i++) {
        fake_mode(i % 2 ? FAKE_ON_THREAD : FAKE_IN_SUBMIT);
        finish_read(start_read(loop_default(), &bs, i));
        CHECK_INT(do_flush(&bs), 0);
    }
    gluster.close(&bs);
}

TEST(late_callbacks_are_ignored_even_after_close)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 2 * BYTES);
    fake_mode(FAKE_IN_SUBMIT);
    finish_read(start_read(loop_default(), &bs, 0));
    fake_call_back_again();
    finish_read(start_read(loop_default(), &bs, 1));
    gluster.close(&bs);
    fake_call_back_again();
    node_open_ok(&bs, IMAGE_URI, 0);
    finish_read(start_read(loop_default(), &bs, 2));
    gluster.close(&bs);
}

TEST(late_callbacks_do_not_end_another_operation)
{
    BlockDriverState bs = { 0 };
    struct request *rq;

    node_with_image(&bs, 2 * BYTES);
    fake_mode(FAKE_IN_SUBMIT);
    finish_read(start_read(loop_default(), &bs, 0));
    fake_mode(FAKE_WHEN_RELEASED);
    rq = start_read(loop_default(), &bs, 100);
    co_wait_parked(rq->co, 1);
    fake_call_back_again();
    fake_release_all();
    finish_read(rq);
    gluster.close(&bs);
}

TEST(a_failed_submission_that_calls_back_all_the_same_is_failed)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(BYTES);

    node_with_image(&bs, 2 * BYTES);
    fake_call_back_after_failed_submission(true);
    fake_fail_some(FAKE_PREADV, 0, 1, ENOMEM);
    CHECK_INT(do_read(&bs, 0, qiov), -ENOMEM);
    CHECK_INT(do_read(&bs, 0, qiov), 0);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(a_thousand_requests_in_flight_end_in_reverse_order)
{
    unsigned count = test_rounds(1000), i;
    struct request **requests = calloc(count, sizeof(*requests));
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 2 * BYTES);
    fake_mode(FAKE_WHEN_RELEASED);
    for (i = 0; i < count; i++) {
        requests[i] = start_read(loop_default(), &bs, i % BYTES);
    }
    fake_wait_for_held(count);
    for (i = count; i > 0; i--) {
        CHECK(fake_release(i - 1));
    }
    for (i = 0; i < count; i++) {
        finish_read(requests[i]);
    }
    gluster.close(&bs);
    free(requests);
}
