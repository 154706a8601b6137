/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* blkverify: programs that end when two children differ. */

#include "child.h"

#include "quorum.h"

/* Reads everything from two disks, one of which is wrong at an offset unless that is negative; 0 if that works. */
static int verify(int64_t offset, int64_t bytes, int64_t wrong_at)
{
    struct voters voters;
    QEMUIOVector *qiov = qiov_flat(bytes);
    int64_t ret;

    voters_open(&voters, 2, 16384, "vote-threshold=#2,blkverify=?on");
    if (wrong_at >= 0) {
        disk_corrupt(voters.disk[1], wrong_at);
    }
    ret = quorum_read(&voters.bs, offset, qiov);
    voters_close(&voters);
    qiov_free(qiov);
    return ret ? 3 : 0;
}

int quorum_child(const char *argument)
{
    if (!strcmp(argument, "quorum-equal")) {
        return verify(512, 8192, -1);
    }
    if (!strcmp(argument, "quorum-different")) {
        return verify(512, 8192, 5000);
    }
    if (!strcmp(argument, "quorum-different-at-the-end")) {
        return verify(512, 8192, 8703);
    }
    return 2;
}

TEST(blkverify_of_equal_children_reads)
{
    char errors[500];

    CHECK_INT(test_run_self_and_listen("quorum-equal", errors, sizeof(errors)), 0);
    CHECK_TEXT(errors, "");
}

TEST(blkverify_of_different_children_ends_the_process_and_says_where)
{
    char errors[500];

    CHECK_INT(test_run_self_and_listen("quorum-different", errors, sizeof(errors)), 1);
    CHECK_TEXT(errors, "quorum: offset=512 bytes=8192 contents mismatch at offset 5000\n");
    CHECK_INT(test_run_self_and_listen("quorum-different-at-the-end", errors, sizeof(errors)), 1);
    CHECK_TEXT(errors, "quorum: offset=512 bytes=8192 contents mismatch at offset 8703\n");
}

TEST(blkverify_with_a_failed_child_is_an_error_and_not_a_mismatch)
{
    struct voters voters;
    QEMUIOVector *qiov = qiov_flat(4096);

    voters_open(&voters, 2, 16384, "vote-threshold=#2,blkverify=?on");
    disk_fail(voters.disk[1], QBR_CHILD_READ, ENXIO);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), -ENXIO);
    CHECK_TEXT(events_take(), "bad(read,disk1,ENXIO,0+8) failure(q,0+8) ");
    voters_close(&voters);
    qiov_free(qiov);
}
