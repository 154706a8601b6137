/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Bounce buffers: how much there may be, that they stay, and that they go. */

#include "quorum.h"

#include "../host/thread.h"

#define MIB ((size_t)1 << 20)
#define LIMIT_PER_CHILD (64 * MIB)

/*
 * Reads that are in flight at the same time, as many of them as the limit allows. They share their guest memory, as all of them
 * read the same. The resident memory of the process at that time.
 */
static unsigned read_at_once(struct voters *voters, unsigned count, size_t bytes)
{
    struct quorum_request **reads = calloc(count, sizeof(*reads));
    unsigned allowed = LIMIT_PER_CHILD / bytes, i, rss;
    QEMUIOVector *qiov = qiov_flat(bytes);

    voters_mode(voters, QBR_CHILD_READ, DISK_NEXT_TURN);
    disk_mode(voters->disk[0], QBR_CHILD_READ, DISK_WHEN_RELEASED);
    for (i = 0; i < count; i++) {
        reads[i] = quorum_start(loop_default(), (struct quorum_request) {
            .op = Q_READ, .bs = &voters->bs, .bytes = bytes, .qiov = qiov });
    }
    disk_wait_held(voters->disk[0], QBR_CHILD_READ, count < allowed ? count : allowed);
    rss = process_rss_kib();
    disk_release(voters->disk[0], QBR_CHILD_READ);
    for (i = 0; i < count; i++) {
        CHECK_INT(quorum_finish(reads[i]), 0);
    }
    CHECK(qiov_is_intact(qiov, 0));
    CHECK_INT(voters_calls(voters, QBR_CHILD_READ), count * voters->count);
    qiov_free(qiov);
    free(reads);
    return rss;
}

TEST(memory_of_many_large_reads_stays_below_the_limit)
{
    struct voters voters;

    voters_open(&voters, 3, MIB, "vote-threshold=#2");
    read_at_once(&voters, test_is_instrumented() ? 70 : 200, MIB);
    /* The reads did use it all. */
    CHECK_INT(memory_peak(), 3 * LIMIT_PER_CHILD);
    voters_close(&voters);
}

TEST(memory_of_reads_of_many_sizes_stays_below_the_limit)
{
    enum { COUNT = 96 };
    static const size_t sizes[] = { 512, 4096, 65536, MIB, 2 * MIB };
    struct quorum_request *reads[COUNT];
    QEMUIOVector *qiov[5];
    struct voters voters;
    unsigned i, round;

    voters_open(&voters, 2, 2 * MIB, "vote-threshold=#2");
    voters_mode(&voters, QBR_CHILD_READ, DISK_NEXT_TURN);
    for (i = 0; i < 5; i++) {
        qiov[i] = qiov_flat(sizes[i]);
    }
    /* First many small ones, then many large ones, which need what those keep. */
    for (round = 0; round < 5; round++) {
        for (i = 0; i < COUNT; i++) {
            QEMUIOVector *memory = qiov[i % 3 ? round : i % 5];

            reads[i] = quorum_start(loop_default(), (struct quorum_request) {
                .op = Q_READ, .bs = &voters.bs, .bytes = memory->size, .qiov = memory });
        }
        for (i = 0; i < COUNT; i++) {
            CHECK_INT(quorum_finish(reads[i]), 0);
        }
    }
    CHECK(memory_peak() <= 2 * LIMIT_PER_CHILD);
    for (i = 0; i < 5; i++) {
        qiov_free(qiov[i]);
    }
    voters_close(&voters);
}

TEST(memory_of_a_burst_is_given_back_soon)
{
    struct voters voters;
    unsigned before, during;

    voters_open(&voters, 3, MIB, "vote-threshold=#2");
    before = process_rss_kib();
    during = read_at_once(&voters, 16, MIB);
    CHECK_INT(memory_peak(), 16 * 3 * MIB);
    /* The runner ends a test that waits too long. */
    memory_wait_mapped(0);
    if (!test_is_instrumented()) {
        CHECK(during >= before + 16 * 3 * 1000);
        CHECK(process_rss_kib() < before + 16 * 3 * 1000 / 4);
    }
    voters_close(&voters);
}

TEST(memory_is_given_back_when_the_node_is_closed)
{
    struct voters voters;

    voters_open(&voters, 3, MIB, "vote-threshold=#2");
    read_at_once(&voters, 4, MIB);
    voters_close(&voters);
    memory_wait_mapped(0);
}

TEST(memory_stays_while_it_is_used)
{
    QEMUIOVector *qiov = qiov_flat(65536);
    struct voters voters;
    unsigned i, mappings;

    voters_open(&voters, 3, MIB, "vote-threshold=#2");
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    mappings = memory_mappings();
    for (i = 0; i < test_rounds(1000); i++) {
        CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    }
    CHECK_INT(memory_mappings(), mappings);
    CHECK_INT(memory_mapped(), 3 * 65536);
    voters_close(&voters);
    qiov_free(qiov);
}

/* Reads or writes 4 KiB again and again, and checks that nothing is allocated for that. */
static void check_allocates_nothing(const char *options, enum quorum_op op, enum disk_mode mode)
{
    QEMUIOVector *qiov = qiov_flat(4096);
    struct quorum_request rq = { .op = op, .bytes = 4096, .qiov = qiov };
    unsigned i, allocations = 0, mappings = 0;
    struct voters voters;

    voters_open(&voters, 3, 65536, options);
    rq.bs = &voters.bs;
    voters_mode(&voters, QBR_CHILD_READ, mode);
    voters_mode(&voters, QBR_CHILD_WRITE, mode);
    voters_mode(&voters, QBR_CHILD_WRITE_ZEROES, mode);
    voters_mode(&voters, QBR_CHILD_FLUSH, mode);
    for (i = 0; i < 10 + test_rounds(1000); i++) {
        if (i == 10) {
            allocations = memory_allocations();
            mappings = memory_mappings();
        }
        CHECK_INT(quorum_run(rq), 0);
    }
    CHECK_INT(memory_allocations(), allocations);
    CHECK_INT(memory_mappings(), mappings);
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(steady_reads_allocate_nothing)
{
    check_allocates_nothing("vote-threshold=#2", Q_READ, DISK_AT_ONCE);
    check_allocates_nothing("vote-threshold=#2", Q_READ, DISK_NEXT_TURN);
    check_allocates_nothing("vote-threshold=#2,rewrite-corrupted=?on", Q_READ, DISK_NEXT_TURN);
    check_allocates_nothing("vote-threshold=#1,read-pattern=fifo", Q_READ, DISK_NEXT_TURN);
}

TEST(steady_writes_allocate_nothing)
{
    check_allocates_nothing("vote-threshold=#2", Q_WRITE, DISK_AT_ONCE);
    check_allocates_nothing("vote-threshold=#2", Q_WRITE, DISK_NEXT_TURN);
    check_allocates_nothing("vote-threshold=#2,rewrite-corrupted=?on", Q_WRITE, DISK_NEXT_TURN);
    check_allocates_nothing("vote-threshold=#2", Q_ZERO, DISK_NEXT_TURN);
    check_allocates_nothing("vote-threshold=#2", Q_FLUSH, DISK_NEXT_TURN);
}

TEST(a_read_that_is_larger_than_the_limit_has_the_pool_to_itself)
{
    enum { COUNT = 3 };
    QEMUIOVector *large, *small;
    struct quorum_request *reads[COUNT];
    struct voters voters;
    unsigned i;

    if (test_is_instrumented()) {
        test_skip("that much memory takes too long to look at");
    }
    large = qiov_flat(LIMIT_PER_CHILD + 4096);
    small = qiov_flat(4096);
    voters_open(&voters, 1, large->size, "vote-threshold=#1");
    voters_mode(&voters, QBR_CHILD_READ, DISK_NEXT_TURN);
    for (i = 0; i < COUNT; i++) {
        QEMUIOVector *memory = i == 1 ? large : small;

        reads[i] = quorum_start(loop_default(), (struct quorum_request) {
            .op = Q_READ, .bs = &voters.bs, .bytes = memory->size, .qiov = memory });
    }
    for (i = 0; i < COUNT; i++) {
        CHECK_INT(quorum_finish(reads[i]), 0);
    }
    CHECK(qiov_is_intact(large, 0) && qiov_is_intact(small, 0));
    CHECK(memory_peak() <= 2 * LIMIT_PER_CHILD + 4096);
    voters_close(&voters);
    qiov_free(large);
    qiov_free(small);
}

TEST(memory_limit_follows_the_number_of_children)
{
    struct voters voters;

    if (test_is_instrumented()) {
        test_skip("that much memory takes too long to look at");
    }
    voters_open(&voters, 3, MIB, "vote-threshold=#1");
    read_at_once(&voters, 70, MIB);
    CHECK_INT(memory_peak(), 3 * LIMIT_PER_CHILD);
    quorum.del_child(&voters.bs, voters.bs.children[2], NULL);
    quorum.del_child(&voters.bs, voters.bs.children[1], NULL);
    /* What is kept for three children would be too much for one. */
    voters.count = 1;
    voters.disk[0]->calls[QBR_CHILD_READ] = 0;
    read_at_once(&voters, 70, MIB);
    CHECK(memory_mapped() <= LIMIT_PER_CHILD);
    voters.count = 3;
    voters_close(&voters);
}

TEST(reads_that_wait_for_memory_in_three_loops_all_end)
{
    enum { COUNT = 60, LOOPS = 3 };
    struct quorum_request *reads[COUNT];
    struct loop *loops[LOOPS];
    struct voters voters;
    QEMUIOVector *qiov;
    unsigned i;

    if (test_is_instrumented()) {
        test_skip("that much memory takes too long to look at");
    }
    qiov = qiov_flat(4 * MIB);
    voters_open(&voters, 2, 4 * MIB, "vote-threshold=#2");
    voters_mode(&voters, QBR_CHILD_READ, DISK_ON_THREAD);
    for (i = 0; i < LOOPS; i++) {
        loops[i] = loop_start();
    }
    for (i = 0; i < COUNT; i++) {
        reads[i] = quorum_start(loops[i % LOOPS], (struct quorum_request) {
            .op = Q_READ, .bs = &voters.bs, .bytes = qiov->size, .qiov = qiov });
    }
    for (i = 0; i < COUNT; i++) {
        CHECK_INT(quorum_finish(reads[i]), 0);
    }
    CHECK(memory_peak() <= 2 * LIMIT_PER_CHILD);
    for (i = 0; i < LOOPS; i++) {
        loop_stop(loops[i]);
    }
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(the_thread_that_gives_memory_back_goes_with_the_node)
{
    struct voters voters;
    unsigned i, before;
    QEMUIOVector *qiov;

    if (test_is_instrumented()) {
        test_skip("the kernel's view of threads is not the program's own there");
    }
    qiov = qiov_flat(4096);
    voters_open(&voters, 2, 4096, "vote-threshold=#1");
    CHECK_INT(quorum_flush(&voters.bs), 0);
    before = process_threads();
    for (i = 0; i < 20; i++) {
        CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    }
    CHECK_INT(process_threads(), before + 1);
    voters_close(&voters);
    while (process_threads() > before) {
    }
    qiov_free(qiov);
}

TEST(without_a_thread_to_give_memory_back_reads_work)
{
    QEMUIOVector *qiov = qiov_flat(4096);
    struct voters voters;

    voters_open(&voters, 2, 4096, "vote-threshold=#1");
    CHECK_INT(quorum_flush(&voters.bs), 0);
    threads_run_out(true);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    threads_run_out(false);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    memory_wait_mapped(0);
    voters_close(&voters);
    qiov_free(qiov);
}
