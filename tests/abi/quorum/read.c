/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Reads that are put to the vote. */

#include "quorum.h"

#define BYTES 4096

/* A node over @count disks of which those in @bad (a set of bits) have wrong data, or fail. */
static void open_with_bad(struct voters *voters, unsigned count, unsigned bad, int error, const char *options)
{
    unsigned i;

    voters_open(voters, count, 65536, options);
    for (i = 0; i < count; i++) {
        if (bad >> i & 1 && error) {
            disk_fail(voters->disk[i], QBR_CHILD_READ, error);
        } else if (bad >> i & 1) {
            disk_corrupt(voters->disk[i], 100);
        }
    }
}

static void check_read(BlockDriverState *bs, int64_t offset, const size_t *sizes)
{
    QEMUIOVector *qiov = qiov_new(sizes);

    CHECK_INT(quorum_read(bs, offset, qiov), 0);
    CHECK(qiov_is_intact(qiov, offset));
    qiov_free(qiov);
}

TEST(quorum_read_of_children_that_agree_delivers_their_data)
{
    struct voters voters;
    unsigned count;

    for (count = 1; count <= MAX_VOTERS; count++) {
        voters_open(&voters, count, 65536, "vote-threshold=#1");
        check_read(&voters.bs, 777, (const size_t[]) { BYTES, 0 });
        CHECK_INT(voters_calls(&voters, QBR_CHILD_READ), count);
        CHECK_INT(voters.disk[0]->last[QBR_CHILD_READ].offset, 777);
        CHECK_INT(voters.disk[0]->last[QBR_CHILD_READ].bytes, BYTES);
        voters_close(&voters);
    }
}

TEST(quorum_read_fills_vectors_of_any_shape)
{
    static const size_t shapes[][8] = {
        { 1, 0 }, { 511, 0 }, { 2047, 0 }, { 2049, 0 }, { 2047, 2, 2047, 0 }, { 1, 511, 3, 4096 + 7, 0 }, { 4095, 1, 0 },
        { 4096, 1, 0 }, { 4097, 0 }, { 4095, 4097, 1, 0 }, { 8191, 0 }, { 8192, 0 }, { 8193, 0 }, { 1, 4096, 4096, 4096, 0 },
        { 12288, 0 }, { 3, 3, 3, 16384, 5, 0 }, { 65536, 0 },
    };
    struct voters voters;
    unsigned i, wrong;

    for (wrong = 0; wrong < 2; wrong++) {
        open_with_bad(&voters, 3, 0, 0, "vote-threshold=#2");
        if (wrong) {
            /* Something differs in most pieces, so that what is delivered first is only a part. */
            for (i = 0; i < 65536; i++) {
                voters.disk[0]->content[i] ^= i % 512 == 0;
            }
        }
        for (i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
            check_read(&voters.bs, 0, shapes[i]);
        }
        CHECK(!!*events_take() == wrong);
        voters_close(&voters);
    }
}

TEST(quorum_read_skips_elements_without_bytes)
{
    QEMUIOVector *qiov = qiov_new((const size_t[]) { 1000, 1, 2000, 1, 0 });
    struct voters voters;
    unsigned i;

    for (i = 1; i < 4; i += 2) {
        qiov->iov[i].iov_len = 0;
        qiov->size--;
    }
    voters_open(&voters, 3, 65536, "vote-threshold=#2");
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    CHECK(qiov_is_intact(qiov, 0));
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(quorum_read_compares_every_byte)
{
    static const int64_t places[] = { 0, 1, 2047, 2048, 4095, 4096, 4097, 8191, 8192, 12286 };
    QEMUIOVector *qiov = qiov_flat(12287);
    struct voters voters;
    unsigned i;

    voters_open(&voters, 3, 65536, "vote-threshold=#3");
    for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        disk_corrupt(voters.disk[1], places[i]);
        CHECK_INT(quorum_read(&voters.bs, 0, qiov), -EIO);
        CHECK_TEXT(events_take(), "failure(q,0+24) ");
        disk_corrupt(voters.disk[1], places[i]);
        CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    }
    /* What is beyond the range doesn't count. */
    disk_corrupt(voters.disk[1], 12287);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(quorum_read_with_one_wrong_child_delivers_what_the_others_say_and_reports_it)
{
    static const char *const expected[] = {
        "bad(read,disk0,-,0+8) ", "bad(read,disk1,-,0+8) ", "bad(read,disk2,-,0+8) ",
    };
    struct voters voters;
    unsigned bad;

    for (bad = 0; bad < 3; bad++) {
        open_with_bad(&voters, 3, 1 << bad, 0, "vote-threshold=#2");
        check_read(&voters.bs, 0, (const size_t[]) { 1, BYTES - 1, 0 });
        CHECK_TEXT(events_take(), expected[bad]);
        /* Nothing is repaired unless that is asked for. */
        CHECK_INT(voters_calls(&voters, QBR_CHILD_WRITE), 0);
        voters_close(&voters);
    }
}

TEST(quorum_read_with_two_wrong_children_of_five_reports_both)
{
    struct voters voters;

    open_with_bad(&voters, 5, 1 << 0 | 1 << 3, 0, "vote-threshold=#3");
    disk_corrupt(voters.disk[3], 101);
    check_read(&voters.bs, 0, (const size_t[]) { BYTES, 0 });
    CHECK_TEXT(events_take(), "bad(read,disk0,-,0+8) bad(read,disk3,-,0+8) ");
    voters_close(&voters);
}

TEST(quorum_read_that_ties_takes_the_version_seen_last)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;

    open_with_bad(&voters, 4, 1 << 0 | 1 << 1, 0, "vote-threshold=#2");
    check_read(&voters.bs, 0, (const size_t[]) { BYTES, 0 });
    CHECK_TEXT(events_take(), "bad(read,disk0,-,0+8) bad(read,disk1,-,0+8) ");
    voters_close(&voters);
    open_with_bad(&voters, 2, 1 << 1, 0, "vote-threshold=#1");
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    CHECK_INT(qiov_byte(qiov, 100), disk_byte(100) ^ 0x40);
    CHECK_TEXT(events_take(), "bad(read,disk0,-,0+8) ");
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(quorum_read_that_misses_the_threshold_is_eio_with_a_failure_event)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;

    open_with_bad(&voters, 3, 1 << 1, 0, "vote-threshold=#3");
    CHECK_INT(quorum_read(&voters.bs, 512, qiov), 0);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), -EIO);
    CHECK_TEXT(events_take(), "failure(q,0+8) ");
    CHECK_INT(voters_calls(&voters, QBR_CHILD_WRITE), 0);
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(quorum_read_with_one_failed_child_delivers_what_the_others_say_and_reports_it)
{
    static const char *const expected[] = {
        "bad(read,disk0,ENOSPC,1+8) ", "bad(read,disk1,ENOSPC,1+8) ", "bad(read,disk2,ENOSPC,1+8) ",
    };
    struct voters voters;
    unsigned bad;

    for (bad = 0; bad < 3; bad++) {
        open_with_bad(&voters, 3, 1 << bad, ENOSPC, "vote-threshold=#2");
        check_read(&voters.bs, 1023, (const size_t[]) { BYTES - 512, 0 });
        CHECK_TEXT(events_take(), expected[bad]);
        voters_close(&voters);
    }
}

TEST(quorum_read_with_a_failed_and_a_wrong_child_needs_two_that_agree)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;

    open_with_bad(&voters, 4, 1 << 0, 0, "vote-threshold=#2");
    disk_fail(voters.disk[2], QBR_CHILD_READ, EACCES);
    check_read(&voters.bs, 0, (const size_t[]) { BYTES, 0 });
    CHECK_TEXT(events_take(), "bad(read,disk2,EACCES,0+8) bad(read,disk0,-,0+8) ");
    disk_fail(voters.disk[1], QBR_CHILD_READ, EACCES);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), -EIO);
    CHECK_TEXT(events_take(), "bad(read,disk1,EACCES,0+8) bad(read,disk2,EACCES,0+8) failure(q,0+8) ");
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(quorum_read_of_failed_children_gives_the_error_that_most_have)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;

    open_with_bad(&voters, 3, 7, ENOSPC, "vote-threshold=#1");
    disk_fail(voters.disk[2], QBR_CHILD_READ, EIO);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), -ENOSPC);
    CHECK_TEXT(events_take(),
               "bad(read,disk0,ENOSPC,0+8) bad(read,disk1,ENOSPC,0+8) bad(read,disk2,EIO,0+8) failure(q,0+8) ");
    /* Of several with as many votes, the last one. */
    disk_fail(voters.disk[1], QBR_CHILD_READ, EROFS);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), -EIO);
    events_take();
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(quorum_read_needs_no_failed_child_above_the_threshold)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;
    unsigned threshold;

    for (threshold = 1; threshold <= 3; threshold++) {
        char options[] = "vote-threshold=#0";

        options[16] += threshold;
        open_with_bad(&voters, 3, 1 << 0 | 1 << 2, EIO, options);
        CHECK_INT(quorum_read(&voters.bs, 0, qiov), threshold > 1 ? -EIO : 0);
        CHECK_TEXT(events_take(), threshold > 1 ? "bad(read,disk0,EIO,0+8) bad(read,disk2,EIO,0+8) failure(q,0+8) "
                                                : "bad(read,disk0,EIO,0+8) bad(read,disk2,EIO,0+8) ");
        voters_close(&voters);
    }
    qiov_free(qiov);
}

TEST(quorum_read_never_lends_guest_memory_to_children)
{
    struct voters voters;
    unsigned i;

    voters_open(&voters, 3, 65536, "vote-threshold=#2");
    check_read(&voters.bs, 0, (const size_t[]) { BYTES, 0 });
    for (i = 0; i < 3; i++) {
        CHECK(!voters.disk[i]->last[QBR_CHILD_READ].qiov);
    }
    voters_close(&voters);
}

TEST(quorum_read_without_memory_fails_and_the_next_one_works)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;

    voters_open(&voters, 3, 65536, "vote-threshold=#2");
    memory_runs_out(true);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), -ENOMEM);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), -ENOMEM);
    CHECK_INT(quorum_write(&voters.bs, 8192, qiov), 0);
    memory_runs_out(false);
    check_read(&voters.bs, 0, (const size_t[]) { BYTES, 0 });
    voters_close(&voters);
    qiov_free(qiov);
}

/* --- The first child that can answer -------------------------------------------------------------------------------------- */

TEST(fifo_read_asks_the_first_child_only)
{
    struct voters voters;

    open_with_bad(&voters, 3, 1 << 1, 0, "vote-threshold=#3,read-pattern=fifo");
    check_read(&voters.bs, 5, (const size_t[]) { 1, 511, 3, BYTES + 7, 0 });
    CHECK_INT(voters.disk[0]->calls[QBR_CHILD_READ], 1);
    CHECK_INT(voters_calls(&voters, QBR_CHILD_READ), 1);
    CHECK_INT(memory_mapped(), 0);
    voters_close(&voters);
}

TEST(fifo_read_asks_the_next_child_when_one_fails)
{
    struct voters voters;

    open_with_bad(&voters, 3, 1 << 0 | 1 << 1, EIO, "vote-threshold=#1,read-pattern=fifo");
    check_read(&voters.bs, 0, (const size_t[]) { BYTES, 0 });
    CHECK_TEXT(events_take(), "bad(read,disk0,EIO,0+8) bad(read,disk1,EIO,0+8) ");
    CHECK(voters.disk[0]->ended_at[QBR_CHILD_READ] < voters.disk[1]->began_at[QBR_CHILD_READ]);
    CHECK(voters.disk[1]->ended_at[QBR_CHILD_READ] < voters.disk[2]->began_at[QBR_CHILD_READ]);
    voters_close(&voters);
}

TEST(fifo_read_that_no_child_answers_gives_the_last_error_and_a_failure_event)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;

    open_with_bad(&voters, 2, 3, ENOSPC, "vote-threshold=#1,read-pattern=fifo");
    disk_fail(voters.disk[1], QBR_CHILD_READ, EBADF);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), -EBADF);
    CHECK_TEXT(events_take(), "bad(read,disk0,ENOSPC,0+8) bad(read,disk1,EBADF,0+8) failure(q,0+8) ");
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(fifo_read_repairs_nothing)
{
    struct voters voters;

    open_with_bad(&voters, 3, 1 << 1, 0, "vote-threshold=#1,read-pattern=fifo,rewrite-corrupted=?on");
    check_read(&voters.bs, 0, (const size_t[]) { BYTES, 0 });
    CHECK_INT(voters_calls(&voters, QBR_CHILD_WRITE), 0);
    voters_close(&voters);
}
