/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Reopening with other flags. */

#include "../request.h"

TEST(reopen_commit_changes_the_access_and_closes_the_old_file)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = QBR_O_RDWR };
    QEMUIOVector *qiov = qiov_flat(512);

    fake_image(IMAGE, 4096);
    node_open_ok(&bs, IMAGE_URI, 0);
    CHECK_INT(do_write(&bs, 0, qiov), -EBADF);
    CHECK_INT(gluster.reopen_prepare(&state, NULL, NULL), 0);
    CHECK_INT(fake_open_files(), 2);
    /* Until then the old file is the one. */
    CHECK_INT(do_write(&bs, 0, qiov), -EBADF);
    gluster.reopen_commit(&state);
    CHECK(!state.state);
    CHECK_INT(fake_open_files(), 1);
    CHECK_INT(do_write(&bs, 0, qiov), 0);
    gluster.close(&bs);
    CHECK_INT(fake_count(FAKE_NEW), 1);
    qiov_free(qiov);
}

TEST(reopen_abort_keeps_the_access_and_closes_the_new_file)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = 0 };
    QEMUIOVector *qiov = qiov_flat(512);

    node_with_image(&bs, 4096);
    CHECK_INT(gluster.reopen_prepare(&state, NULL, NULL), 0);
    gluster.reopen_abort(&state);
    CHECK(!state.state);
    CHECK_INT(fake_open_files(), 1);
    CHECK_INT(do_write(&bs, 0, qiov), 0);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(reopen_for_direct_access_changes_the_limits)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = QBR_O_RDWR | QBR_O_NOCACHE };

    fake_sector(4096);
    node_with_image(&bs, 8192);
    CHECK_INT(gluster.reopen_prepare(&state, NULL, NULL), 0);
    gluster.reopen_commit(&state);
    gluster.refresh_limits(&bs, NULL);
    CHECK_INT(bs.limits.request_alignment, 4096);
    gluster.close(&bs);
}

TEST(reopen_for_direct_access_to_larger_sectors_needs_a_length_that_fits)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = QBR_O_RDWR | QBR_O_NOCACHE };
    QEMUIOVector *qiov = qiov_flat(512);
    Error *err = NULL;

    fake_sector(4096);
    node_with_image(&bs, 4096 + 512);
    CHECK_INT(gluster.reopen_prepare(&state, NULL, &err), -EINVAL);
    CHECK(err);
    CHECK_CONTAINS(err->message, "4608");
    CHECK_CONTAINS(err->message, "4096");
    error_free(err);
    CHECK(!state.state);
    CHECK_INT(fake_open_files(), 1);
    /* The node goes on as it is. */
    CHECK_INT(do_write(&bs, 4096, qiov), 0);
    /* To read alone is fine: nothing is written behind the end. */
    state.flags = QBR_O_NOCACHE;
    CHECK_INT(gluster.reopen_prepare(&state, NULL, NULL), 0);
    gluster.reopen_commit(&state);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(reopen_for_direct_access_to_small_sectors_takes_any_length)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = QBR_O_RDWR | QBR_O_NOCACHE };

    node_with_image(&bs, 1001);
    CHECK_INT(gluster.reopen_prepare(&state, NULL, NULL), 0);
    gluster.reopen_commit(&state);
    gluster.close(&bs);
}

static void check_fails(enum fake_call call, int error)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = 0 };
    QEMUIOVector *qiov = qiov_flat(512);
    Error *err = NULL;

    node_with_image(&bs, 4096);
    fake_fail_some(call, 0, 1, error);
    CHECK_INT(gluster.reopen_prepare(&state, NULL, &err), -error);
    CHECK(err);
    error_free(err);
    CHECK(!state.state);
    CHECK_INT(fake_open_files(), 1);
    CHECK_INT(fake_volumes(), 1);
    /* The block layer doesn't call abort then, but may. */
    gluster.reopen_abort(&state);
    CHECK_INT(do_write(&bs, 0, qiov), 0);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(reopen_that_cannot_open_leaks_nothing_and_keeps_the_node)
{
    check_fails(FAKE_OPEN, ENOENT);
    check_fails(FAKE_DUP, ENOMEM);
}

TEST(reopen_that_cannot_examine_the_file_leaks_nothing_and_keeps_the_node)
{
    check_fails(FAKE_FSTAT, EIO);
}

TEST(reopen_without_permission_to_write_fails_with_the_reason)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = QBR_O_RDWR };

    fake_image(IMAGE, 4096);
    node_open_ok(&bs, IMAGE_URI, 0);
    fake_image_read_only(EACCES);
    CHECK_INT(gluster.reopen_prepare(&state, NULL, NULL), -EACCES);
    CHECK_INT(fake_open_files(), 1);
    gluster.close(&bs);
}

TEST(reopen_many_times_keeps_one_file_open)
{
    BlockDriverState bs = { 0 };
    unsigned i;

    node_with_image(&bs, 4096);
    for (i = 0; i < test_rounds(200); i++) {
        BDRVReopenState state = { .bs = &bs, .flags = i % 2 ? QBR_O_RDWR : 0 };

        CHECK_INT(gluster.reopen_prepare(&state, NULL, NULL), 0);
        (i % 3 ? gluster.reopen_commit : gluster.reopen_abort)(&state);
        CHECK_INT(fake_open_files(), 1);
    }
    gluster.close(&bs);
}
