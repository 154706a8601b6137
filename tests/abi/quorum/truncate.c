/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Resizing: all children, or none that can be helped. */

#include "quorum.h"

#include <stdio.h>

#define LENGTH 8192

static int64_t truncate_to(struct voters *voters, int64_t length, Error **errp)
{
    return quorum_run((struct quorum_request) {
        .op = Q_TRUNCATE, .bs = &voters->bs, .offset = length, .exact = true, .prealloc = QBR_PREALLOC_FALLOC,
        .flags = QBR_REQ_ZERO_WRITE, .errp = errp });
}

static void check_lengths(const struct voters *voters, int64_t length)
{
    unsigned i;

    for (i = 0; i < voters->count; i++) {
        CHECK_INT(voters->disk[i]->length, length);
    }
}

TEST(truncate_resizes_all_children_as_it_was_asked)
{
    static const int64_t lengths[] = { LENGTH + 512, LENGTH * 2, LENGTH, 512, 0, LENGTH };
    struct voters voters;
    Error *error = NULL;
    unsigned i, j;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
    for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        CHECK_INT(truncate_to(&voters, lengths[i], &error), 0);
        CHECK(!error);
        check_lengths(&voters, lengths[i]);
        for (j = 0; j < 3; j++) {
            const QbrChildIo *last = &voters.disk[j]->last[QBR_CHILD_TRUNCATE];

            CHECK(last->exact);
            CHECK_INT(last->preallocation, QBR_PREALLOC_FALLOC);
            CHECK_INT(last->flags, QBR_REQ_ZERO_WRITE);
        }
        CHECK_INT(quorum_run((struct quorum_request) { .op = Q_LENGTH, .bs = &voters.bs }), lengths[i]);
    }
    voters_close(&voters);
}

TEST(truncate_that_one_child_cannot_do_puts_the_others_back)
{
    struct voters voters;
    unsigned bad;

    for (bad = 0; bad < 3; bad++) {
        char name[100];
        Error *error = NULL;

        snprintf(name, sizeof(name), "children.%u (node 'disk%u'): disk%u can't be resized", bad, bad, bad);
        voters_open(&voters, 3, LENGTH, "vote-threshold=#1");
        disk_fail(voters.disk[bad], QBR_CHILD_TRUNCATE, ENOSPC);
        CHECK_INT(truncate_to(&voters, LENGTH * 2, &error), -ENOSPC);
        CHECK(error);
        CHECK_CONTAINS(error->message, name);
        CHECK_CONTAINS(error->message, "all children have 8192 bytes as before");
        error_free(error);
        check_lengths(&voters, LENGTH);
        CHECK(disk_is_intact(voters.disk[0], 0, LENGTH) && voters_agree(&voters));
        /* Also without a place for the error. */
        CHECK_INT(truncate_to(&voters, LENGTH * 2, NULL), -ENOSPC);
        voters_close(&voters);
    }
}

TEST(truncate_that_fails_although_the_child_has_its_new_length_is_taken_back)
{
    struct voters voters;
    unsigned bad;

    for (bad = 0; bad < 3; bad++) {
        Error *error = NULL;

        voters_open(&voters, 3, LENGTH, "vote-threshold=#1");
        voters.disk[bad]->fails_late = true;
        disk_fail_some(voters.disk[bad], QBR_CHILD_TRUNCATE, 0, 1, EIO);
        CHECK_INT(truncate_to(&voters, LENGTH * 2, &error), -EIO);
        CHECK(error);
        CHECK_CONTAINS(error->message, "all children have 8192 bytes as before");
        error_free(error);
        check_lengths(&voters, LENGTH);
        CHECK(voters.disk[bad]->last[QBR_CHILD_TRUNCATE].exact);
        voters_close(&voters);
    }
}

TEST(truncate_that_fails_and_cannot_be_taken_back_says_so)
{
    struct voters voters;
    Error *error = NULL;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#1");
    voters.disk[1]->fails_late = true;
    disk_fail_some(voters.disk[1], QBR_CHILD_TRUNCATE, 0, 2, ENOSPC);
    CHECK_INT(truncate_to(&voters, LENGTH * 2, &error), -ENOSPC);
    CHECK(error);
    CHECK_CONTAINS(error->message, "different lengths");
    CHECK_CONTAINS(error->message, "8192 bytes: children.1 (node 'disk1')");
    error_free(error);
    CHECK_INT(voters.disk[0]->length, LENGTH);
    voters_close(&voters);
}

TEST(truncate_that_cannot_be_taken_back_says_so)
{
    struct voters voters;
    Error *error = NULL;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#1");
    disk_fail_some(voters.disk[0], QBR_CHILD_TRUNCATE, 1, 1, EIO);
    disk_fail(voters.disk[2], QBR_CHILD_TRUNCATE, ENOSPC);
    CHECK_INT(truncate_to(&voters, LENGTH * 2, &error), -ENOSPC);
    CHECK(error);
    CHECK_CONTAINS(error->message, "disk2");
    CHECK_CONTAINS(error->message, "different lengths");
    CHECK_CONTAINS(error->message, "disk0");
    error_free(error);
    CHECK_INT(voters.disk[0]->length, LENGTH * 2);
    CHECK_INT(voters.disk[1]->length, LENGTH);
    CHECK_INT(quorum_run((struct quorum_request) { .op = Q_LENGTH, .bs = &voters.bs }), -EIO);
    voters_close(&voters);
}

TEST(truncate_asks_all_children_before_it_cuts_anything_off)
{
    struct voters voters;
    unsigned bad;

    for (bad = 0; bad < 3; bad++) {
        Error *error = NULL;

        voters_open(&voters, 3, LENGTH, "vote-threshold=#1");
        disk_fail(voters.disk[bad], QBR_CHILD_TRUNCATE, ENOTSUP);
        CHECK_INT(truncate_to(&voters, 512, &error), -ENOTSUP);
        CHECK(error);
        CHECK_CONTAINS(error->message, "no child was changed");
        error_free(error);
        check_lengths(&voters, LENGTH);
        CHECK(voters_agree(&voters) && disk_is_intact(voters.disk[0], 0, LENGTH));
        voters_close(&voters);
    }
}

TEST(truncate_that_fails_after_a_child_was_cut_names_what_is_lost)
{
    struct voters voters;
    Error *error = NULL;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#1");
    /* The first call is the question, the second one the answer. */
    disk_fail_some(voters.disk[1], QBR_CHILD_TRUNCATE, 1, 1, EIO);
    CHECK_INT(truncate_to(&voters, 512, &error), -EIO);
    CHECK(error);
    CHECK_CONTAINS(error->message, "may be lost on: disk0, disk1");
    error_free(error);
    check_lengths(&voters, LENGTH);
    voters_close(&voters);
}

TEST(truncate_of_children_of_different_lengths_is_refused)
{
    struct voters voters;
    Error *error = NULL;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#1");
    voters.disk[1]->length = 4096;
    CHECK_INT(truncate_to(&voters, 512, &error), -EIO);
    CHECK(error);
    error_free(error);
    CHECK_INT(voters_calls(&voters, QBR_CHILD_TRUNCATE), 0);
    voters_close(&voters);
}

TEST(truncate_waits_for_slow_children)
{
    struct voters voters;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
    voters_mode(&voters, QBR_CHILD_TRUNCATE, DISK_ON_THREAD);
    voters_mode(&voters, QBR_CHILD_LENGTH, DISK_NEXT_TURN);
    CHECK_INT(truncate_to(&voters, 512, NULL), 0);
    check_lengths(&voters, 512);
    voters_close(&voters);
}
