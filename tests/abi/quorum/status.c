/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Length and block status, from what all children say. */

#include "quorum.h"

#define LENGTH 65536

static int64_t length(struct voters *voters)
{
    return quorum_run((struct quorum_request) { .op = Q_LENGTH, .bs = &voters->bs });
}

TEST(quorum_length_is_what_all_children_say)
{
    struct voters voters;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
    CHECK_INT(length(&voters), LENGTH);
    voters_mode(&voters, QBR_CHILD_LENGTH, DISK_ON_THREAD);
    CHECK_INT(length(&voters), LENGTH);
    /* Outside of coroutines too, as in QEMU 7.2. */
    CHECK_INT(quorum.getlength(&voters.bs), LENGTH);
    voters_close(&voters);
}

TEST(quorum_length_of_children_that_differ_is_eio)
{
    struct voters voters;
    unsigned i;

    for (i = 0; i < 3; i++) {
        voters_open(&voters, 3, LENGTH, "vote-threshold=#1");
        voters.disk[i]->length--;
        CHECK_INT(length(&voters), -EIO);
        voters_close(&voters);
    }
}

TEST(quorum_length_that_a_child_cannot_tell_is_its_error)
{
    struct voters voters;
    unsigned i;

    for (i = 0; i < 3; i++) {
        voters_open(&voters, 3, LENGTH, "vote-threshold=#1");
        disk_fail(voters.disk[i], QBR_CHILD_LENGTH, ENOMEDIUM);
        CHECK_INT(length(&voters), -ENOMEDIUM);
        voters_close(&voters);
    }
}

/* --- Block status --------------------------------------------------------------------------------------------------------- */

#define Z QBR_BLOCK_ZERO
#define D QBR_BLOCK_DATA

static int64_t status(struct voters *voters, int64_t *reach)
{
    return quorum_run((struct quorum_request) {
        .op = Q_STATUS, .bs = &voters->bs, .offset = 512, .bytes = 8192, .mode = QBR_WANT_ZERO, .pnum = reach });
}

TEST(block_status_is_zero_only_where_all_children_say_so)
{
    static const struct {
        int status[3];
        int64_t reach[3];
        int expected;
        int64_t expected_reach;
    } cases[] = {
        { { Z, Z, Z }, { 8192, 8192, 8192 }, Z, 8192 },
        { { Z, Z, Z }, { 8192, 512, 4096 }, Z, 512 },
        { { D, D, D }, { 8192, 8192, 8192 }, D, 8192 },
        { { D, D, D }, { 512, 4096, 1024 }, D, 4096 },
        { { Z, D, Z }, { 8192, 1024, 512 }, D, 1024 },
        { { D, Z, Z }, { 512, 8192, 8192 }, D, 512 },
        { { Z, Z, D }, { 512, 512, 2048 }, D, 2048 },
        { { Z | D, Z | QBR_BLOCK_OFFSET_VALID, Z }, { 512, 1024, 2048 }, Z, 512 },
        /* Neither data nor zero is data here. */
        { { 0, Z, Z }, { 1024, 8192, 8192 }, D, 1024 },
    };
    struct voters voters;
    unsigned i, j;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t reach = -1;

        for (j = 0; j < 3; j++) {
            voters.disk[j]->status = cases[i].status[j];
            voters.disk[j]->reach = cases[i].reach[j];
        }
        CHECK_INT(status(&voters, &reach), cases[i].expected);
        CHECK_INT(reach, cases[i].expected_reach);
    }
    for (j = 0; j < 3; j++) {
        CHECK_INT(voters.disk[j]->last[QBR_CHILD_BLOCK_STATUS].offset, 512);
        CHECK_INT(voters.disk[j]->last[QBR_CHILD_BLOCK_STATUS].bytes, 8192);
        CHECK_INT(voters.disk[j]->last[QBR_CHILD_BLOCK_STATUS].flags, QBR_WANT_ZERO);
    }
    voters_close(&voters);
}

TEST(block_status_with_a_child_that_fails_is_data_and_reported)
{
    struct voters voters;
    int64_t reach = -1;
    unsigned i;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
    for (i = 0; i < 3; i++) {
        voters.disk[i]->status = Z;
    }
    disk_fail(voters.disk[1], QBR_CHILD_BLOCK_STATUS, EIO);
    CHECK_INT(status(&voters, &reach), D);
    CHECK_INT(reach, 8192);
    CHECK_TEXT(events_take(), "bad(read,disk1,EIO,1+16) ");
    voters_close(&voters);
}

TEST(block_status_waits_for_slow_children_and_needs_no_place_for_its_reach)
{
    struct voters voters;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
    voters_mode(&voters, QBR_CHILD_BLOCK_STATUS, DISK_NEXT_TURN);
    CHECK_INT(status(&voters, NULL), D);
    voters_close(&voters);
}
