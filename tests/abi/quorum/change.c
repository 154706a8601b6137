/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Writes, write-zeroes, discards and flushes: to all children, and a vote on the result. */

#include "quorum.h"

#include <stdio.h>

#define BYTES 4096
#define LENGTH 65536

/* The four kinds of change, as the guest and the children see them. */
static const struct kind {
    enum quorum_op op;
    QbrChildOp child_op;
    const char *pattern;
    /* How events call it, and the sectors they name. */
    const char *name;
    const char *sectors;
} kinds[] = {
    { Q_WRITE, QBR_CHILD_WRITE, "quorum", "write", "1+8" },
    { Q_ZERO, QBR_CHILD_WRITE_ZEROES, "quorum", "write", "1+8" },
    { Q_DISCARD, QBR_CHILD_WRITE_ZEROES, "quorum", "write", "1+8" },
    { Q_DISCARD, QBR_CHILD_DISCARD, "fifo", "write", "1+8" },
    { Q_FLUSH, QBR_CHILD_FLUSH, "quorum", "flush", "0+0" },
    { Q_FLUSH, QBR_CHILD_FLUSH, "fifo", "flush", "0+0" },
    { Q_WRITE, QBR_CHILD_WRITE, "fifo", "write", "1+8" },
};

#define KINDS (sizeof(kinds) / sizeof(kinds[0]))

static void open_node(struct voters *voters, unsigned count, unsigned threshold, const struct kind *kind)
{
    char options[100];

    snprintf(options, sizeof(options), "vote-threshold=#%u,read-pattern=%s", threshold, kind->pattern);
    voters_open(voters, count, LENGTH, options);
}

static int64_t run(struct voters *voters, const struct kind *kind)
{
    QEMUIOVector *qiov = qiov_of_news(BYTES);
    int64_t ret = quorum_run((struct quorum_request) {
        .op = kind->op, .bs = &voters->bs, .offset = 512, .bytes = BYTES, .qiov = qiov });

    qiov_free(qiov);
    return ret;
}

TEST(changes_reach_all_children)
{
    struct voters voters;
    unsigned i, j;

    for (i = 0; i < KINDS; i++) {
        open_node(&voters, 5, 3, &kinds[i]);
        CHECK_INT(run(&voters, &kinds[i]), 0);
        for (j = 0; j < 5; j++) {
            CHECK_INT(voters.disk[j]->calls[kinds[i].child_op], 1);
            CHECK(kinds[i].op != Q_WRITE || disk_has_news(voters.disk[j], 512, BYTES));
            CHECK(disk_is_intact(voters.disk[j], 0, 512));
            CHECK(disk_is_intact(voters.disk[j], 512 + BYTES, LENGTH - 512 - BYTES));
        }
        CHECK(voters_agree(&voters));
        voters_close(&voters);
    }
}

TEST(changes_are_started_on_all_children_before_the_first_one_ends)
{
    struct voters voters;
    unsigned i, j, k;

    for (i = 0; i < KINDS; i++) {
        QbrChildOp op = kinds[i].child_op;

        open_node(&voters, 3, 2, &kinds[i]);
        voters_mode(&voters, op, DISK_NEXT_TURN);
        CHECK_INT(run(&voters, &kinds[i]), 0);
        for (j = 0; j < 3; j++) {
            for (k = 0; k < 3; k++) {
                CHECK(voters.disk[j]->began_at[op] < voters.disk[k]->ended_at[op]);
            }
        }
        voters_close(&voters);
    }
}

TEST(changes_succeed_when_as_many_children_as_the_threshold_do)
{
    struct voters voters;
    unsigned i, bad;

    for (i = 0; i < KINDS; i++) {
        for (bad = 0; bad < 3; bad++) {
            char expected[100];

            open_node(&voters, 3, 2, &kinds[i]);
            disk_fail(voters.disk[bad], kinds[i].child_op, ENOSPC);
            CHECK_INT(run(&voters, &kinds[i]), 0);
            snprintf(expected, sizeof(expected), "bad(%s,disk%u,ENOSPC,%s) ", kinds[i].name, bad, kinds[i].sectors);
            CHECK_TEXT(events_take(), expected);
            voters_close(&voters);
        }
    }
}

TEST(changes_that_miss_the_threshold_give_the_error_that_most_have_and_a_failure_event)
{
    struct voters voters;
    unsigned i;

    for (i = 0; i < KINDS; i++) {
        const char *name = kinds[i].name, *sectors = kinds[i].sectors;
        char expected[300];

        open_node(&voters, 4, 2, &kinds[i]);
        disk_fail(voters.disk[0], kinds[i].child_op, ENOSPC);
        disk_fail(voters.disk[1], kinds[i].child_op, EIO);
        disk_fail(voters.disk[3], kinds[i].child_op, ENOSPC);
        CHECK_INT(run(&voters, &kinds[i]), -ENOSPC);
        snprintf(expected, sizeof(expected),
                 "bad(%s,disk0,ENOSPC,%s) bad(%s,disk1,EIO,%s) bad(%s,disk3,ENOSPC,%s) failure(q,%s) ", name, sectors, name,
                 sectors, name, sectors, sectors);
        CHECK_TEXT(events_take(), expected);
        /* Of several with as many votes, the last one. */
        disk_fail(voters.disk[3], kinds[i].child_op, 0);
        disk_fail(voters.disk[2], kinds[i].child_op, EIO);
        disk_fail(voters.disk[0], kinds[i].child_op, EIO);
        disk_fail(voters.disk[1], kinds[i].child_op, EACCES);
        disk_fail(voters.disk[2], kinds[i].child_op, EROFS);
        CHECK_INT(run(&voters, &kinds[i]), -EROFS);
        events_take();
        voters_close(&voters);
    }
}

TEST(write_passes_its_flags_and_the_guests_own_memory_on)
{
    QEMUIOVector *qiov = qiov_of_news(BYTES);
    struct voters voters;
    unsigned i;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
    CHECK_INT(quorum_run((struct quorum_request) {
        .op = Q_WRITE, .bs = &voters.bs, .offset = 512, .bytes = BYTES, .qiov = qiov,
        .flags = QBR_REQ_WRITE_UNCHANGED }), 0);
    for (i = 0; i < 3; i++) {
        const QbrChildIo *last = &voters.disk[i]->last[QBR_CHILD_WRITE];

        CHECK_INT(last->flags, QBR_REQ_WRITE_UNCHANGED);
        CHECK(last->qiov == qiov);
        CHECK_INT(last->offset, 512);
        CHECK_INT(last->bytes, BYTES);
    }
    CHECK_INT(memory_mapped(), 0);
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(write_zeroes_passes_its_flags_on)
{
    static const uint32_t flags = QBR_REQ_MAY_UNMAP | QBR_REQ_NO_FALLBACK;
    struct voters voters;
    unsigned i;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
    CHECK_INT(quorum_run((struct quorum_request) {
        .op = Q_ZERO, .bs = &voters.bs, .offset = 1024, .bytes = 2048, .flags = flags }), 0);
    for (i = 0; i < 3; i++) {
        CHECK_INT(voters.disk[i]->last[QBR_CHILD_WRITE_ZEROES].flags, flags);
        CHECK_INT(voters.disk[i]->content[1024] | voters.disk[i]->content[3071], 0);
    }
    voters_close(&voters);
}

TEST(write_zeroes_that_one_child_cannot_do_quickly_is_done_slowly_there)
{
    static const char *const patterns[] = { "quorum", "fifo" };
    struct voters voters;
    unsigned i, j, slow;

    for (i = 0; i < 2; i++) {
        for (slow = 0; slow < 3; slow++) {
            char options[100];

            snprintf(options, sizeof(options), "vote-threshold=#1,read-pattern=%s", patterns[i]);
            voters_open(&voters, 3, LENGTH, options);
            disk_fail_some(voters.disk[slow], QBR_CHILD_WRITE_ZEROES, 0, 1, ENOTSUP);
            CHECK_INT(quorum_run((struct quorum_request) {
                .op = Q_ZERO, .bs = &voters.bs, .offset = 512, .bytes = BYTES,
                .flags = QBR_REQ_FUA | QBR_REQ_NO_FALLBACK }), 0);
            for (j = 0; j < 3; j++) {
                CHECK_INT(voters.disk[j]->calls[QBR_CHILD_WRITE_ZEROES], j == slow ? 2 : 1);
            }
            CHECK_INT(voters.disk[slow]->last[QBR_CHILD_WRITE_ZEROES].flags, QBR_REQ_FUA);
            CHECK(!disk_is_intact(voters.disk[slow], 512, BYTES) && voters_agree(&voters));
            CHECK_TEXT(events_take(), "");
            voters_close(&voters);
        }
    }
}

TEST(write_zeroes_that_no_child_can_do_quickly_is_left_to_the_caller)
{
    struct voters voters;
    unsigned i;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#1");
    for (i = 0; i < 3; i++) {
        disk_fail(voters.disk[i], QBR_CHILD_WRITE_ZEROES, ENOTSUP);
    }
    CHECK_INT(quorum_run((struct quorum_request) {
        .op = Q_ZERO, .bs = &voters.bs, .offset = 512, .bytes = BYTES, .flags = QBR_REQ_NO_FALLBACK }), -ENOTSUP);
    CHECK_INT(voters_calls(&voters, QBR_CHILD_WRITE_ZEROES), 3);
    CHECK_TEXT(events_take(), "");
    voters_close(&voters);
}

TEST(write_zeroes_that_have_to_be_quick_report_what_has_really_failed)
{
    struct voters voters;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
    disk_fail_some(voters.disk[0], QBR_CHILD_WRITE_ZEROES, 0, 1, ENOTSUP);
    disk_fail(voters.disk[1], QBR_CHILD_WRITE_ZEROES, ENOSPC);
    CHECK_INT(quorum_run((struct quorum_request) {
        .op = Q_ZERO, .bs = &voters.bs, .offset = 512, .bytes = BYTES, .flags = QBR_REQ_NO_FALLBACK }), 0);
    CHECK_TEXT(events_take(), "bad(write,disk1,ENOSPC,1+8) ");
    /* Now too few are left; what is slow fails too. */
    disk_fail_some(voters.disk[0], QBR_CHILD_WRITE_ZEROES, 0, 1, ENOTSUP);
    disk_fail(voters.disk[2], QBR_CHILD_WRITE_ZEROES, EIO);
    CHECK_INT(quorum_run((struct quorum_request) {
        .op = Q_ZERO, .bs = &voters.bs, .offset = 512, .bytes = BYTES, .flags = QBR_REQ_NO_FALLBACK }), -EIO);
    CHECK_TEXT(events_take(), "bad(write,disk1,ENOSPC,1+8) bad(write,disk2,EIO,1+8) failure(q,1+8) ");
    voters_close(&voters);
}

/* --- Discard -------------------------------------------------------------------------------------------------------------- */

static int64_t discard(struct voters *voters)
{
    return quorum_run((struct quorum_request) { .op = Q_DISCARD, .bs = &voters->bs, .offset = 512, .bytes = BYTES });
}

static void check_zero(const struct voters *voters)
{
    unsigned i, at;

    for (i = 0; i < voters->count; i++) {
        for (at = 512; at < 512 + BYTES; at++) {
            CHECK_INT(voters->disk[i]->content[at], 0);
        }
    }
}

TEST(discard_of_a_quorum_leaves_zeroes_that_are_written_quickly)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#3");
    CHECK_INT(discard(&voters), 0);
    check_zero(&voters);
    CHECK_INT(voters.disk[0]->last[QBR_CHILD_WRITE_ZEROES].flags, QBR_REQ_MAY_UNMAP | QBR_REQ_NO_FALLBACK);
    CHECK_INT(voters_calls(&voters, QBR_CHILD_DISCARD), 0);
    /* The children can still agree. */
    CHECK_INT(quorum_read(&voters.bs, 512, qiov), 0);
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(discard_that_one_child_cannot_do_quickly_is_done_slowly_there)
{
    struct voters voters;
    unsigned slow, i;

    for (slow = 0; slow < 3; slow++) {
        voters_open(&voters, 3, LENGTH, "vote-threshold=#3");
        disk_fail_some(voters.disk[slow], QBR_CHILD_WRITE_ZEROES, 0, 1, ENOTSUP);
        CHECK_INT(discard(&voters), 0);
        check_zero(&voters);
        for (i = 0; i < 3; i++) {
            CHECK_INT(voters.disk[i]->calls[QBR_CHILD_WRITE_ZEROES], i == slow ? 2 : 1);
        }
        CHECK_INT(voters.disk[slow]->last[QBR_CHILD_WRITE_ZEROES].flags, QBR_REQ_MAY_UNMAP);
        voters_close(&voters);
    }
}

/* Has the next quick zeroes of all children refused, as if they had done nothing. */
static void refuse_once(struct voters *voters)
{
    unsigned i;

    for (i = 0; i < voters->count; i++) {
        disk_fail_some(voters->disk[i], QBR_CHILD_WRITE_ZEROES, 0, 1, ENOTSUP);
    }
}

TEST(discard_that_no_child_can_do_quickly_is_done_slowly_by_all)
{
    struct voters voters;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
    refuse_once(&voters);
    CHECK_INT(discard(&voters), 0);
    CHECK_INT(voters_calls(&voters, QBR_CHILD_WRITE_ZEROES), 6);
    check_zero(&voters);
    CHECK_TEXT(events_take(), "");
    voters_close(&voters);
}

TEST(discards_that_no_child_ever_does_quickly_are_left_out_after_a_while)
{
    enum { MIB = 1 << 20 };
    struct disk *disk = disk_new("new", MIB);
    struct voters voters;
    unsigned i, calls;

    voters_open(&voters, 2, MIB, "vote-threshold=#2");
    for (i = 0; i < 64; i++) {
        refuse_once(&voters);
        CHECK_INT(quorum_run((struct quorum_request) { .op = Q_DISCARD, .bs = &voters.bs, .bytes = MIB }), 0);
    }
    calls = voters_calls(&voters, QBR_CHILD_WRITE_ZEROES);
    CHECK_INT(quorum_run((struct quorum_request) { .op = Q_DISCARD, .bs = &voters.bs, .bytes = MIB }), -ENOTSUP);
    CHECK_INT(voters_calls(&voters, QBR_CHILD_WRITE_ZEROES), calls);
    /* Another child may be able to. */
    quorum.add_child(&voters.bs, &disk->bs, NULL);
    CHECK_INT(quorum_run((struct quorum_request) { .op = Q_DISCARD, .bs = &voters.bs, .bytes = MIB }), 0);
    CHECK_INT(disk->calls[QBR_CHILD_WRITE_ZEROES], 1);
    voters_close(&voters);
    disk_free(disk);
}

/* Where the image ends in the middle of a cluster there is nothing that could be refused. */
TEST(discard_up_to_the_end_of_the_image_is_not_cut_there)
{
    struct voters voters;
    unsigned i;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#3");
    voters.disk[1]->zero_alignment = 3 * 4096;
    CHECK_INT(quorum_run((struct quorum_request) {
        .op = Q_DISCARD, .bs = &voters.bs, .offset = 3 * 4096, .bytes = LENGTH - 3 * 4096 }), 0);
    for (i = 0; i < 3; i++) {
        const QbrChildIo *last = &voters.disk[i]->last[QBR_CHILD_WRITE_ZEROES];

        CHECK_INT(last->offset, 3 * 4096);
        CHECK_INT(last->bytes, LENGTH - 3 * 4096);
    }
    voters_close(&voters);
}

TEST(discard_is_cut_to_what_all_children_can_do_quickly)
{
    static const struct {
        int64_t offset, bytes, from, length;
    } cases[] = {
        { 8192, 8192, 8192, 8192 },
        { 8192, 8192 + 512, 8192, 8192 },
        { 512, 32768, 8192, 24576 },
        { 8191, 8194, 8192, 8192 },
        { 0, LENGTH, 0, LENGTH },
        { 4096, 8192, 0, 0 },
        { 8192, 8191, 0, 0 },
        { 8193, 8191, 0, 0 },
    };
    struct voters voters;
    unsigned i, j;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t end = cases[i].from + cases[i].length;

        voters_open(&voters, 3, LENGTH, "vote-threshold=#3");
        voters.disk[0]->zero_alignment = 4096;
        voters.disk[1]->zero_alignment = 8192;
        CHECK_INT(quorum_run((struct quorum_request) {
            .op = Q_DISCARD, .bs = &voters.bs, .offset = cases[i].offset, .bytes = cases[i].bytes }),
            cases[i].length ? 0 : -ENOTSUP);
        CHECK(voters_agree(&voters));
        for (j = 0; j < 3; j++) {
            const QbrChildIo *last = &voters.disk[j]->last[QBR_CHILD_WRITE_ZEROES];

            CHECK_INT(voters.disk[j]->calls[QBR_CHILD_WRITE_ZEROES], cases[i].length != 0);
            CHECK_INT(last->offset, cases[i].from);
            CHECK_INT(last->bytes, cases[i].length);
            CHECK(disk_is_intact(voters.disk[j], 0, cases[i].from));
            CHECK(disk_is_intact(voters.disk[j], end, LENGTH - end));
        }
        CHECK_TEXT(events_take(), "");
        voters_close(&voters);
    }
}

TEST(discard_that_all_children_refuse_after_different_parts_leaves_them_equal)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;
    unsigned i;

    voters_open(&voters, 2, LENGTH, "vote-threshold=#2");
    for (i = 0; i < 2; i++) {
        voters.disk[i]->zero_alignment = 4096 << i;
        voters.disk[i]->hides_alignment = true;
    }
    CHECK_INT(quorum_run((struct quorum_request) {
        .op = Q_DISCARD, .bs = &voters.bs, .offset = 8192, .bytes = 4096 + 512 }), 0);
    CHECK(voters_agree(&voters));
    CHECK(disk_is_intact(voters.disk[0], 0, 8192) && disk_is_intact(voters.disk[0], 12800, LENGTH - 12800));
    CHECK_INT(quorum_read(&voters.bs, 8192, qiov), 0);
    CHECK_TEXT(events_take(), "");
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(discard_of_a_large_range_is_cut_where_clusters_are)
{
    enum { MIB = 1 << 20 };
    struct voters voters;
    unsigned i;

    voters_open(&voters, 2, 40 * MIB, "vote-threshold=#2");
    for (i = 0; i < 2; i++) {
        voters.disk[i]->zero_alignment = MIB;
        voters.disk[i]->hides_alignment = true;
    }
    CHECK_INT(quorum_run((struct quorum_request) {
        .op = Q_DISCARD, .bs = &voters.bs, .offset = 512, .bytes = 40 * MIB - 1024 }), 0);
    CHECK(voters_agree(&voters));
    CHECK(disk_is_intact(voters.disk[0], 0, 512) && disk_is_intact(voters.disk[0], 40 * MIB - 512, 512));
    /* Three pieces, of which the second is done at once. */
    CHECK_INT(voters.disk[0]->calls[QBR_CHILD_WRITE_ZEROES], 2 + 1 + 2);
    voters_close(&voters);
}

/* A node over two disks, the second of which is what @change made of it. */
static void check_not_supported(void (*change)(struct disk *disk))
{
    struct disk *disks[] = { disk_new("disk0", LENGTH), disk_new("disk1", LENGTH) };
    BlockDriverState bs = { .name = "q" };

    change(disks[1]);
    CHECK_INT(quorum_open(&bs, "children.0=disk0,children.1=disk1,vote-threshold=#1", NULL), 0);
    CHECK_INT(quorum_run((struct quorum_request) { .op = Q_DISCARD, .bs = &bs, .bytes = BYTES }), -ENOTSUP);
    CHECK_INT(disks[0]->calls[QBR_CHILD_WRITE_ZEROES] + disks[1]->calls[QBR_CHILD_WRITE_ZEROES], 0);
    quorum.close(&bs);
    disk_free(disks[0]);
    disk_free(disks[1]);
}

static void be_slow(struct disk *disk)
{
    disk->flags.zero = QBR_REQ_MAY_UNMAP;
}

static void be_thick(struct disk *disk)
{
    disk->unmaps = false;
}

TEST(discard_of_a_quorum_with_a_child_that_cannot_write_zeroes_quickly_is_not_supported)
{
    check_not_supported(be_slow);
}

TEST(discard_of_a_quorum_with_a_child_that_gives_no_space_back_is_not_supported)
{
    check_not_supported(be_thick);
}

TEST(discard_of_a_fifo_discards_and_counts_unsupported_as_an_error)
{
    struct voters voters;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2,read-pattern=fifo");
    disk_fail(voters.disk[1], QBR_CHILD_DISCARD, ENOTSUP);
    CHECK_INT(discard(&voters), 0);
    CHECK_INT(voters_calls(&voters, QBR_CHILD_DISCARD), 3);
    CHECK_INT(voters_calls(&voters, QBR_CHILD_WRITE_ZEROES), 0);
    CHECK_TEXT(events_take(), "bad(write,disk1,EOPNOTSUPP,1+8) ");
    voters_close(&voters);
}
