/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* What requests ask the allocator for: nothing, once the node is warm. What the library allocates is not counted. */

#include "rbd.h"

/* Does the same again and again, and checks that nothing is allocated for that. */
static void check_allocates_nothing(struct rbd_request rq, enum ceph_mode mode)
{
    BlockDriverState bs = { 0 };
    unsigned i, allocations = 0, mappings = 0;

    rbd_node(&bs);
    fill_image();
    rq.bs = &bs;
    ceph_mode(CEPH_ANY, mode);
    for (i = 0; i < 10 + test_rounds(1000); i++) {
        if (i == 10) {
            allocations = memory_allocations();
            mappings = memory_mappings();
        }
        CHECK_INT(rbd_run(rq), 0);
    }
    CHECK_INT(memory_allocations(), allocations);
    CHECK_INT(memory_mappings(), mappings);
    rbd_close(&bs);
}

static void check_with(enum rbd_op op, int64_t offset, const size_t *sizes)
{
    QEMUIOVector *qiov = qiov_new(sizes);
    struct rbd_request rq = { .op = op, .offset = offset, .bytes = qiov->size, .qiov = qiov };

    check_allocates_nothing(rq, CEPH_ON_THREAD);
    qiov_free(qiov);
}

TEST(rbd_steady_reads_allocate_nothing)
{
    check_with(R_READ, 0, (const size_t[]) { 4096, 0 });
}

TEST(rbd_steady_reads_that_end_at_once_allocate_nothing)
{
    QEMUIOVector *qiov = qiov_flat(4096);

    check_allocates_nothing((struct rbd_request) { .op = R_READ, .bytes = 4096, .qiov = qiov }, CEPH_IN_SUBMIT);
    qiov_free(qiov);
}

TEST(rbd_steady_writes_allocate_nothing)
{
    check_with(R_WRITE, 0, (const size_t[]) { 4096, 0 });
}

TEST(rbd_steady_reads_over_objects_allocate_nothing)
{
    check_with(R_READ, 1000, (const size_t[]) { 3 * OBJECT, 0 });
}

TEST(rbd_steady_writes_over_objects_allocate_nothing)
{
    check_with(R_WRITE, 1000, (const size_t[]) { 3 * OBJECT, 0 });
}

TEST(rbd_steady_bounced_reads_allocate_nothing)
{
    check_with(R_READ, 1000, (const size_t[]) { 1000, OBJECT, 5, 4096, 0 });
}

TEST(rbd_steady_bounced_writes_allocate_nothing)
{
    check_with(R_WRITE, 1000, (const size_t[]) { 1000, OBJECT, 5, 4096, 0 });
}

TEST(rbd_steady_flushes_allocate_nothing)
{
    check_allocates_nothing((struct rbd_request) { .op = R_FLUSH }, CEPH_ON_THREAD);
}

TEST(rbd_steady_zeroes_allocate_nothing)
{
    check_allocates_nothing((struct rbd_request) { .op = R_ZERO, .bytes = 4096 }, CEPH_ON_THREAD);
}

TEST(rbd_steady_discards_allocate_nothing)
{
    check_allocates_nothing((struct rbd_request) { .op = R_DISCARD, .bytes = OBJECT }, CEPH_ON_THREAD);
}

TEST(rbd_bounce_buffers_go_with_the_node)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_new((const size_t[]) { 1000, 5 * OBJECT, 0 });

    rbd_node(&bs);
    CHECK_INT(rbd_read(&bs, 0, qiov), 0);
    CHECK(memory_mapped() > 0);
    rbd_close(&bs);
    memory_wait_mapped(0);
    qiov_free(qiov);
}

TEST(rbd_bounced_requests_without_memory_fail_and_work_later)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_new((const size_t[]) { 1000, 2 * OBJECT, 0 }), *flat = qiov_flat(2 * OBJECT);

    rbd_node(&bs);
    memory_runs_out(1);
    CHECK_INT(rbd_read(&bs, 0, qiov), -ENOMEM);
    CHECK_INT(rbd_write(&bs, 0, qiov), -ENOMEM);
    /* These need none. */
    CHECK_INT(rbd_read(&bs, 0, flat), 0);
    CHECK_INT(rbd_write(&bs, 0, flat), 0);
    memory_runs_out(0);
    CHECK_INT(rbd_read(&bs, 0, qiov), 0);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    rbd_close(&bs);
    qiov_free(qiov);
    qiov_free(flat);
}
