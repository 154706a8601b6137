/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Callbacks that come at once, from other threads, out of order, twice or late. The host counts wake-ups and checks their loop. */

#include <pthread.h>

#include "rbd.h"

#define BYTES 4096

static struct rbd_request *start_read(struct loop *loop, BlockDriverState *bs, int64_t offset)
{
    return rbd_start(loop, (struct rbd_request) {
        .op = R_READ, .bs = bs, .offset = offset, .bytes = BYTES, .qiov = qiov_flat(BYTES) });
}

static void finish_read(struct rbd_request *rq)
{
    QEMUIOVector *qiov = rq->qiov;
    int64_t offset = rq->offset;

    CHECK_INT(rbd_finish(rq), 0);
    check_bytes(qiov, 0, BYTES, offset);
    qiov_free(qiov);
}

static void filled_node(BlockDriverState *bs)
{
    rbd_node(bs);
    fill_image();
}

TEST(rbd_completion_before_submit_returns_needs_no_sleep)
{
    BlockDriverState bs = { 0 };
    struct rbd_request *rq;
    QEMUIOVector *qiov;

    filled_node(&bs);
    ceph_mode(CEPH_ANY, CEPH_IN_SUBMIT);
    rq = start_read(loop_default(), &bs, 100);
    qiov = rq->qiov;
    CHECK_INT(co_join(rq->co), 0);
    CHECK_INT(rq->ret, 0);
    check_bytes(qiov, 0, BYTES, 100);
    free(rq);
    rq = rbd_start_write(&bs, 5, qiov);
    CHECK_INT(co_join(rq->co), 0);
    CHECK_INT(rq->ret, 0);
    free(rq);
    check_image(&bs, 5, BYTES, 100);
    qiov_free(qiov);
    rbd_close(&bs);
}

TEST(rbd_everything_works_with_completions_before_submit_returns)
{
    static const size_t sizes[] = { 1000, 100000, 5, 0 };
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes_in(sizes, 0);

    ceph_mode(CEPH_ANY, CEPH_IN_SUBMIT);
    ceph_image(IMAGE, OBJECT, ORDER, CEPH_LAYERING);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd_write(&bs, 30000, qiov), 0);
    check_image(&bs, 30000, qiov->size, 0);
    CHECK_INT(rbd_snapshot(&bs, "s"), 0);
    CHECK_INT(rbd_zero(&bs, 30000, 50000, 0), 0);
    CHECK_INT(rbd_zero(&bs, 30000, 50000, QBR_REQ_MAY_UNMAP), 0);
    CHECK_INT(rbd_discard(&bs, 0, OBJECT), 0);
    CHECK_INT(rbd.snapshot_goto(&bs, "s"), 0);
    check_image(&bs, 30000, qiov->size, 0);
    CHECK_INT(rbd.snapshot_delete(&bs, "s", "s", NULL), 0);
    CHECK_INT(rbd_truncate(&bs, 1), 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_completion_on_a_library_thread_wakes_the_coroutine)
{
    BlockDriverState bs = { 0 };
    unsigned i;

    filled_node(&bs);
    for (i = 0; i < test_rounds(2000); i++) {
        finish_read(start_read(loop_default(), &bs, i % BYTES));
    }
    rbd_close(&bs);
}

TEST(rbd_completion_while_the_coroutine_sleeps_wakes_it_once)
{
    BlockDriverState bs = { 0 };
    struct rbd_request *rq;

    filled_node(&bs);
    ceph_mode(CEPH_READ, CEPH_WHEN_RELEASED);
    rq = start_read(loop_default(), &bs, 0);
    co_wait_parked(rq->co, 1);
    CHECK(ceph_release(0));
    finish_read(rq);
    rbd_close(&bs);
}

TEST(rbd_coroutine_that_somebody_else_enters_sleeps_on)
{
    BlockDriverState bs = { 0 };
    struct rbd_request *rq;

    filled_node(&bs);
    ceph_mode(CEPH_READ, CEPH_WHEN_RELEASED);
    rq = start_read(loop_default(), &bs, 0);
    co_wait_parked(rq->co, 1);
    co_poke(rq->co);
    co_wait_parked(rq->co, 2);
    ceph_release_all();
    finish_read(rq);
    rbd_close(&bs);
}

#define REQUESTS 64
#define LOOPS 3

/* Ends operations in an order of its own until all are done. */
static void *release_some(void *opaque)
{
    unsigned *seed = opaque;
    unsigned i;

    for (i = 0; i < REQUESTS; i++) {
        if (!ceph_release(rand_r(seed) % 16)) {
            ceph_release(0);
        }
    }
    return NULL;
}

TEST(rbd_reordered_completions_of_three_loops_wake_each_in_its_own)
{
    BlockDriverState bs = { 0 };
    struct loop *loops[LOOPS];
    struct rbd_request *requests[REQUESTS];
    unsigned seeds[LOOPS] = { 1, 22, 333 };
    pthread_t threads[LOOPS];
    unsigned i, round;

    filled_node(&bs);
    for (i = 0; i < LOOPS; i++) {
        loops[i] = loop_start();
    }
    ceph_mode(CEPH_READ, CEPH_WHEN_RELEASED);
    for (round = 0; round < test_rounds(40); round++) {
        for (i = 0; i < REQUESTS; i++) {
            requests[i] = start_read(loops[i % LOOPS], &bs, i * 8192);
        }
        ceph_wait_for_held(REQUESTS);
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
    rbd_close(&bs);
}

TEST(rbd_completions_that_come_twice_count_once)
{
    static const size_t sizes[] = { 1000, 100000, 5, 0 };
    BlockDriverState bs = { 0 };
    QEMUIOVector *out = qiov_bytes_in(sizes, 0), *in = qiov_new(sizes);
    unsigned i;

    rbd_node(&bs);
    ceph_call_back_twice(true);
    for (i = 0; i < test_rounds(200); i++) {
        CHECK_INT(rbd_write(&bs, i * 100, out), 0);
        CHECK_INT(rbd_read(&bs, i * 100, in), 0);
        check_bytes(in, 0, in->size, 0);
    }
    CHECK_INT(rbd_snapshot(&bs, "s"), 0);
    CHECK_INT(rbd_truncate(&bs, OBJECT), 0);
    rbd_close(&bs);
    qiov_free(out);
    qiov_free(in);
}

TEST(rbd_completion_that_comes_late_does_not_end_another_request)
{
    BlockDriverState bs = { 0 };
    struct rbd_request *rq;

    filled_node(&bs);
    finish_read(start_read(loop_default(), &bs, 0));
    ceph_mode(CEPH_READ, CEPH_WHEN_RELEASED);
    rq = start_read(loop_default(), &bs, 100);
    ceph_wait_for_held(1);
    ceph_call_back_again();
    ceph_call_back_again();
    CHECK_INT(ceph_held(), 1);
    CHECK(ceph_release(0));
    finish_read(rq);
    ceph_call_back_again();
    rbd_close(&bs);
    ceph_call_back_again();
}

TEST(rbd_completions_in_one_request_may_come_in_any_order)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(8 * OBJECT);
    struct rbd_request *rq;
    unsigned left;

    filled_node(&bs);
    ceph_mode(CEPH_READ, CEPH_WHEN_RELEASED);
    rq = rbd_start(loop_default(),
                   (struct rbd_request) { .op = R_READ, .bs = &bs, .bytes = qiov->size, .qiov = qiov });
    ceph_wait_for_held(8);
    for (left = 8; left; left--) {
        CHECK(ceph_release(left * 5 % left ? left * 5 % left : left - 1));
    }
    CHECK_INT(rbd_finish(rq), 0);
    check_bytes(qiov, 0, qiov->size, 0);
    rbd_close(&bs);
    qiov_free(qiov);
}
