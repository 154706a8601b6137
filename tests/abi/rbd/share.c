/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Connections that several nodes have in common. */

#include "rbd.h"

#define OPTIONS(image) "pool=rbd,image=" image

static void share(const char *value)
{
    CHECK(!setenv("QBR_RBD_SHARE_CONNECTIONS", value, 1));
}

static void reopen_ok(BlockDriverState *bs)
{
    BDRVReopenState state = { .bs = bs, .flags = QBR_O_RDWR };

    CHECK_INT(rbd.reopen_prepare(&state, NULL, NULL), 0);
    rbd.reopen_commit(&state);
}

/* Two images, and a node of each. */
static void open_two(BlockDriverState *a, BlockDriverState *b)
{
    ceph_image("a", OBJECT, ORDER, 0);
    ceph_image("b", OBJECT, ORDER, 0);
    rbd_open_ok(a, OPTIONS("a"), QBR_O_RDWR);
    rbd_open_ok(b, OPTIONS("b"), QBR_O_RDWR);
}

static void close_two(BlockDriverState *a, BlockDriverState *b)
{
    rbd.close(a);
    rbd_close(b);
}

static int64_t write_one(BlockDriverState *bs)
{
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    int64_t ret = rbd_write(bs, 0, qiov);

    qiov_free(qiov);
    return ret;
}

static void check_works(BlockDriverState *bs)
{
    CHECK_INT(write_one(bs), 0);
    check_image(bs, 0, 512, 0);
}

TEST(rbd_share_nodes_of_different_images_have_one_connection)
{
    BlockDriverState a = { 0 }, b = { 0 };

    share("1");
    open_two(&a, &b);
    CHECK_INT(ceph_clients(), 1);
    check_works(&a);
    rbd.close(&a);
    /* Who is left has it still. */
    CHECK_INT(ceph_clients(), 1);
    check_works(&b);
    rbd_close(&b);
}

TEST(rbd_share_is_only_done_if_it_is_asked_for)
{
    BlockDriverState a = { 0 }, b = { 0 };

    share("0");
    open_two(&a, &b);
    CHECK_INT(ceph_clients(), 2);
    close_two(&a, &b);
}

/* The cluster has to tell them apart. */
TEST(rbd_share_nodes_of_one_image_have_connections_of_their_own)
{
    BlockDriverState a = { 0 }, old = { 0 }, b = { 0 };

    share("1");
    ceph_image("a", OBJECT, ORDER, 0);
    ceph_image("b", OBJECT, ORDER, 0);
    ceph_snapshot("a", "one");
    rbd_open_ok(&a, OPTIONS("a"), QBR_O_RDWR);
    rbd_open_ok(&old, OPTIONS("a") ",snapshot=one", 0);
    CHECK_INT(ceph_clients(), 2);
    rbd_open_ok(&b, OPTIONS("b"), QBR_O_RDWR);
    CHECK_INT(ceph_clients(), 2);
    rbd.close(&old);
    /* There is room for another one again. */
    rbd_open_ok(&old, OPTIONS("a"), 0);
    CHECK_INT(ceph_clients(), 2);
    rbd.close(&old);
    close_two(&a, &b);
}

TEST(rbd_share_needs_the_same_way_to_connect)
{
    BlockDriverState a = { 0 }, b = { 0 };

    share("1");
    ceph_image("a", OBJECT, ORDER, 0);
    ceph_image("b", OBJECT, ORDER, 0);
    rbd_open_ok(&a, OPTIONS("a"), 0);
    rbd_open_ok(&b, OPTIONS("b") ",user=other", 0);
    CHECK_INT(ceph_clients(), 2);
    close_two(&a, &b);
}

/* --- The client is shut out ------------------------------------------------------------------------------------------------ */

TEST(rbd_share_nodes_that_were_shut_out_go_on_with_one_new_connection)
{
    BlockDriverState a = { 0 }, b = { 0 };

    share("1");
    open_two(&a, &b);
    ceph_block(ceph_last_client());
    CHECK_INT(write_one(&a), -ESHUTDOWN);
    CHECK_INT(write_one(&b), -ESHUTDOWN);
    rbd.close(&a);
    rbd_open_ok(&a, OPTIONS("a"), QBR_O_RDWR);
    check_works(&a);
    CHECK_INT(write_one(&b), -ESHUTDOWN);
    rbd.close(&b);
    rbd_open_ok(&b, OPTIONS("b"), QBR_O_RDWR);
    check_works(&b);
    CHECK_INT(ceph_clients(), 1);
    CHECK_INT(errors_reported(), 2);
    close_two(&a, &b);
}

/* One of them has not noticed yet. */
TEST(rbd_share_nodes_that_were_shut_out_are_reopened_on_a_new_connection)
{
    BlockDriverState a = { 0 }, b = { 0 };

    share("1");
    open_two(&a, &b);
    ceph_block(ceph_last_client());
    CHECK_INT(write_one(&a), -ESHUTDOWN);
    reopen_ok(&a);
    check_works(&a);
    reopen_ok(&b);
    check_works(&b);
    close_two(&a, &b);
}

/* Nobody has noticed before. */
TEST(rbd_share_connection_that_was_shut_out_makes_one_open_fail)
{
    BlockDriverState a = { 0 }, b = { .name = "node" };
    Error *error = NULL;

    share("1");
    ceph_image("a", OBJECT, ORDER, 0);
    ceph_image("b", OBJECT, ORDER, 0);
    rbd_open_ok(&a, OPTIONS("a"), QBR_O_RDWR);
    ceph_block(ceph_last_client());
    CHECK_INT(rbd_open(&b, OPTIONS("b"), QBR_O_RDWR, &error), -ESHUTDOWN);
    error_free(error);
    rbd_open_ok(&b, OPTIONS("b"), QBR_O_RDWR);
    check_works(&b);
    close_two(&a, &b);
}
