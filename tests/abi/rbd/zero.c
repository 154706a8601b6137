/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Write-zeroes and discards. The image has objects of 256 KiB, which are more than a discard's block. */

#include "rbd.h"

#define LARGE_ORDER 18
#define LARGE ((int64_t)1 << LARGE_ORDER)
#define BLOCK 65536

/* A node over four objects; the first three are full. */
static void large_node(BlockDriverState *bs)
{
    unsigned i;

    ceph_image(IMAGE, 4 * LARGE, LARGE_ORDER, 0);
    for (i = 0; i < 3; i++) {
        ceph_fill(ceph_data(IMAGE, i), 0, LARGE, i * LARGE);
    }
    rbd_open_ok(bs, IMAGE_OPTIONS, QBR_O_RDWR);
    ceph_log_clear();
}

static void check_zeroed(BlockDriverState *bs, int64_t offset, int64_t bytes)
{
    if (offset) {
        check_image(bs, 0, offset, 0);
    }
    check_hole(bs, offset, bytes);
    check_image(bs, offset + bytes, 3 * LARGE - offset - bytes, offset + bytes);
}

TEST(rbd_discard_of_a_whole_object_removes_it)
{
    BlockDriverState bs = { 0 };
    size_t length;

    large_node(&bs);
    CHECK_INT(rbd_discard(&bs, LARGE, LARGE), 0);
    CHECK(!ceph_bytes(ceph_data(IMAGE, 1), &length));
    check_zeroed(&bs, LARGE, LARGE);
    /* One that isn't there. */
    CHECK_INT(rbd_discard(&bs, 0, 4 * LARGE), 0);
    CHECK_INT(ceph_objects(), 2);
    rbd_close(&bs);
}

TEST(rbd_discard_gives_back_whole_blocks_only)
{
    BlockDriverState bs = { 0 };

    large_node(&bs);
    CHECK_INT(rbd_discard(&bs, 0, BLOCK - 1), 0);
    CHECK_INT(rbd_discard(&bs, 1, BLOCK), 0);
    CHECK_INT(rbd_discard(&bs, 4096, 4096), 0);
    CHECK_TEXT(ceph_log(), "");
    CHECK_INT(rbd_discard(&bs, BLOCK - 1, BLOCK + 2), 0);
    CHECK_CONTAINS(ceph_log(), "zero rbd_data.a.0000000000000000 65536+65536 ");
    check_zeroed(&bs, BLOCK, BLOCK);
    rbd_close(&bs);
}

TEST(rbd_discard_of_an_objects_tail_shortens_it)
{
    BlockDriverState bs = { 0 };
    size_t length;

    large_node(&bs);
    CHECK_INT(rbd_discard(&bs, 2 * BLOCK, LARGE - 2 * BLOCK), 0);
    CHECK(ceph_bytes(ceph_data(IMAGE, 0), &length));
    CHECK_INT(length, 2 * BLOCK);
    check_zeroed(&bs, 2 * BLOCK, LARGE - 2 * BLOCK);
    rbd_close(&bs);
}

TEST(rbd_discard_over_objects_cuts_each)
{
    BlockDriverState bs = { 0 };
    size_t length;

    large_node(&bs);
    CHECK_INT(rbd_discard(&bs, LARGE - 1 - BLOCK, LARGE + 2 * BLOCK), 0);
    check_zeroed(&bs, LARGE - BLOCK, LARGE + BLOCK);
    CHECK(!ceph_bytes(ceph_data(IMAGE, 1), &length));
    rbd_close(&bs);
}

TEST(rbd_discard_of_small_objects_is_exact_at_their_ends)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    fill_image();
    ceph_log_clear();
    CHECK_INT(rbd_discard(&bs, 0, OBJECT - 1), 0);
    CHECK_TEXT(ceph_log(), "");
    CHECK_INT(rbd_discard(&bs, 1, OBJECT - 1), 0);
    check_image(&bs, 0, 1, 0);
    check_hole(&bs, 1, OBJECT - 1);
    rbd_close(&bs);
}

TEST(rbd_discard_does_not_grow_the_image)
{
    BlockDriverState bs = { 0 };

    large_node(&bs);
    CHECK_INT(rbd_discard(&bs, 3 * LARGE, 10 * LARGE), 0);
    CHECK_INT(rbd_discard(&bs, 30 * LARGE, 10 * LARGE), 0);
    CHECK_INT(rbd.getlength(&bs), 4 * LARGE);
    CHECK_INT(ceph_log_count("set_size"), 0);
    rbd_close(&bs);
}

TEST(rbd_write_zeroes_with_unmap_is_exact)
{
    BlockDriverState bs = { 0 };

    large_node(&bs);
    CHECK_INT(rbd_zero(&bs, 100, 1, QBR_REQ_MAY_UNMAP), 0);
    check_zeroed(&bs, 100, 1);
    CHECK_INT(rbd_zero(&bs, 100, LARGE + 33, QBR_REQ_MAY_UNMAP), 0);
    check_zeroed(&bs, 100, LARGE + 33);
    CHECK_INT(rbd_zero(&bs, 100, 2 * LARGE + 33, QBR_REQ_MAY_UNMAP), 0);
    check_zeroed(&bs, 100, 2 * LARGE + 33);
    CHECK_INT(ceph_log_count("writesame"), 0);
    rbd_close(&bs);
}

TEST(rbd_write_zeroes_with_unmap_makes_no_objects)
{
    BlockDriverState bs = { 0 };
    size_t length;

    large_node(&bs);
    CHECK_INT(rbd_zero(&bs, 3 * LARGE + 5, 1000, QBR_REQ_MAY_UNMAP), 0);
    CHECK_INT(rbd_zero(&bs, 3 * LARGE, LARGE, QBR_REQ_MAY_UNMAP), 0);
    CHECK_INT(rbd_zero(&bs, 3 * LARGE + 5, LARGE - 5, QBR_REQ_MAY_UNMAP), 0);
    CHECK(!ceph_bytes(ceph_data(IMAGE, 3), &length));
    rbd_close(&bs);
}

TEST(rbd_write_zeroes_without_unmap_takes_the_space)
{
    static const struct {
        int64_t offset;
        int64_t bytes;
    } ranges[] = { { 0, 4096 }, { 512, 512 }, { 1, 1 }, { 511, 1025 }, { 4095, 4098 }, { 0, LARGE }, { LARGE - 3, 600 } };
    BlockDriverState bs = { 0 };
    size_t length;
    unsigned i;

    large_node(&bs);
    for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        ceph_fill(ceph_data(IMAGE, 0), 0, LARGE, 0);
        ceph_fill(ceph_data(IMAGE, 1), 0, LARGE, LARGE);
        CHECK_INT(rbd_zero(&bs, ranges[i].offset, ranges[i].bytes, 0), 0);
        check_zeroed(&bs, ranges[i].offset, ranges[i].bytes);
        CHECK(ceph_bytes(ceph_data(IMAGE, 0), &length));
        CHECK_INT(length, LARGE);
    }
    CHECK_INT(rbd_zero(&bs, 3 * LARGE + 100, 1000, QBR_REQ_NO_FALLBACK), 0);
    CHECK(ceph_bytes(ceph_data(IMAGE, 3), &length));
    CHECK_INT(length, 1100);
    rbd_close(&bs);
}

TEST(rbd_write_zeroes_behind_the_end_grows_the_image)
{
    BlockDriverState bs = { 0 };

    large_node(&bs);
    CHECK_INT(rbd_zero(&bs, 4 * LARGE - 10, 20, QBR_REQ_MAY_UNMAP), 0);
    CHECK_INT(rbd.getlength(&bs), 4 * LARGE + 10);
    CHECK_INT(rbd_zero(&bs, 5 * LARGE, 512, 0), 0);
    CHECK_INT(ceph_image_size(IMAGE), 5 * LARGE + 512);
    rbd_close(&bs);
}

TEST(rbd_zeroes_and_discards_of_a_striped_image_hit_the_right_bytes)
{
    enum { SIZE = 6 * LARGE };
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(SIZE, 0), *back = qiov_flat(SIZE);
    int64_t offset;

    ceph_striped_image(IMAGE, SIZE, LARGE_ORDER, 16384, 3);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    for (offset = 0; offset < 2 * LARGE; offset += 123457) {
        int64_t bytes = 1 + offset * 3 / 2;

        CHECK_INT(rbd_write(&bs, 0, qiov), 0);
        CHECK_INT(rbd_zero(&bs, offset, bytes, offset % 2 ? QBR_REQ_MAY_UNMAP : 0), 0);
        CHECK_INT(rbd_read(&bs, 0, back), 0);
        check_bytes(back, 0, offset, 0);
        check_zeroes(back, offset, bytes);
        check_bytes(back, offset + bytes, SIZE - offset - bytes, offset + bytes);
    }
    rbd_close(&bs);
    qiov_free(qiov);
    qiov_free(back);
}

/* A discard may leave some of it, but never touches anything else. */
TEST(rbd_discard_of_a_striped_image_keeps_what_is_outside)
{
    enum { SIZE = 6 * LARGE };
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(SIZE, 0), *back = qiov_flat(SIZE);
    int64_t offset;

    ceph_striped_image(IMAGE, SIZE, LARGE_ORDER, 16384, 3);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    for (offset = 0; offset < 3 * LARGE; offset += 123457) {
        CHECK_INT(rbd_write(&bs, 0, qiov), 0);
        CHECK_INT(rbd_discard(&bs, offset, 3 * LARGE), 0);
        CHECK_INT(rbd_read(&bs, 0, back), 0);
        check_bytes(back, 0, offset, 0);
        check_bytes(back, offset + 3 * LARGE, SIZE - offset - 3 * LARGE, offset + 3 * LARGE);
    }
    rbd_close(&bs);
    qiov_free(qiov);
    qiov_free(back);
}

/* One that makes an object longer is refused in a full pool, where a removal would be done. */
static void check_cut_in_a_full_pool(int error)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_fill(ceph_data(IMAGE, 2), 0, 100, 0);
    ceph_fail_object(ceph_data(IMAGE, 2), CEPH_WRITE_OP, 0, 1, error);
    ceph_log_clear();
    CHECK_INT(rbd_zero(&bs, 2 * OBJECT + 1000, OBJECT - 1000, QBR_REQ_MAY_UNMAP), 0);
    CHECK_INT(ceph_log_count("truncate "), 2);
    check_hole(&bs, 2 * OBJECT + 100, OBJECT - 100);
    rbd_close(&bs);
}

TEST(rbd_cut_that_a_full_pool_refuses_is_sent_again_to_wait_for_space)
{
    check_cut_in_a_full_pool(EDQUOT);
    check_cut_in_a_full_pool(ENOSPC);
}
