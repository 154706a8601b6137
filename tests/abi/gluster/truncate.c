/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Growing and shrinking, with each preallocation. */

#include "../request.h"

static int64_t image_length(void)
{
    int64_t length = -1;

    CHECK(fake_image_bytes(IMAGE, &length));
    return length;
}

static int64_t truncate_to(BlockDriverState *bs, int64_t length, unsigned prealloc)
{
    return request_run((struct request) { .op = OP_TRUNCATE, .bs = bs, .offset = length, .prealloc = prealloc });
}

static void check_fails(BlockDriverState *bs, int64_t length, unsigned prealloc, int64_t ret)
{
    Error *error = NULL;
    struct request rq = { .op = OP_TRUNCATE, .bs = bs, .offset = length, .prealloc = prealloc, .errp = &error };

    CHECK_INT(request_run(rq), ret);
    CHECK(error);
    error_free(error);
}

static void check_grows(unsigned prealloc, int64_t allocated)
{
    BlockDriverState bs = { 0 };
    const unsigned char *image;
    int at;

    node_with_image(&bs, FAKE_PIECE);
    CHECK_INT(truncate_to(&bs, 8 * FAKE_PIECE, prealloc), 0);
    CHECK_INT(image_length(), 8 * FAKE_PIECE);
    wait_allocated(&bs, allocated);
    image = fake_image_bytes(IMAGE, NULL);
    for (at = 0; at < 8 * FAKE_PIECE; at++) {
        CHECK_INT(image[at], at < FAKE_PIECE ? fake_byte(at) : 0);
    }
    gluster.close(&bs);
    fake_wait_for_no_file();
}

TEST(truncate_grows_without_preallocation)
{
    check_grows(QBR_PREALLOC_OFF, FAKE_PIECE);
}

TEST(truncate_grows_with_falloc)
{
    check_grows(QBR_PREALLOC_FALLOC, 8 * FAKE_PIECE);
}

TEST(truncate_grows_with_full)
{
    check_grows(QBR_PREALLOC_FULL, 8 * FAKE_PIECE);
}

TEST(truncate_with_full_zeroes_in_pieces)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 512);
    CHECK_INT(truncate_to(&bs, 512 + (130 << 20), QBR_PREALLOC_FULL), 0);
    CHECK_INT(fake_count(FAKE_ZEROFILL), 3);
    CHECK_INT(image_length(), 512 + (130 << 20));
    gluster.close(&bs);
}

TEST(truncate_shrinks)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 65536);
    CHECK_INT(truncate_to(&bs, 1001, QBR_PREALLOC_OFF), 0);
    CHECK_INT(image_length(), 1001);
    gluster.close(&bs);
}

TEST(truncate_to_the_same_length_changes_nothing)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 65536);
    CHECK_INT(truncate_to(&bs, 65536, QBR_PREALLOC_FULL), 0);
    CHECK_INT(fake_count(FAKE_FTRUNCATE) + fake_count(FAKE_ZEROFILL), 0);
    gluster.close(&bs);
}

TEST(truncate_that_shrinks_with_preallocation_is_enotsup)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 65536);
    check_fails(&bs, 512, QBR_PREALLOC_FALLOC, -ENOTSUP);
    check_fails(&bs, 512, QBR_PREALLOC_FULL, -ENOTSUP);
    CHECK_INT(image_length(), 65536);
    gluster.close(&bs);
}

TEST(truncate_with_another_preallocation_is_einval)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 512);
    check_fails(&bs, 1024, QBR_PREALLOC_METADATA, -EINVAL);
    check_fails(&bs, 1024, 4, -EINVAL);
    check_fails(&bs, 1024, UINT32_MAX, -EINVAL);
    CHECK_INT(image_length(), 512);
    gluster.close(&bs);
}

TEST(truncate_to_a_length_that_the_server_refuses_passes_its_error_on)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 512);
    check_fails(&bs, INT64_MAX, QBR_PREALLOC_OFF, -EFBIG);
    CHECK_INT(image_length(), 512);
    gluster.close(&bs);
}

TEST(truncate_whose_fallocate_fails_restores_the_length)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 512);
    fake_fail(FAKE_FALLOCATE, ENOTSUP);
    check_fails(&bs, 65536, QBR_PREALLOC_FALLOC, -ENOTSUP);
    CHECK_INT(image_length(), 512);
    gluster.close(&bs);
}

TEST(truncate_whose_zerofill_fails_half_way_restores_the_length)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 512);
    fake_fail_some(FAKE_ZEROFILL, 1, 1, ENOSPC);
    check_fails(&bs, 130 << 20, QBR_PREALLOC_FULL, -ENOSPC);
    CHECK_INT(image_length(), 512);
    gluster.close(&bs);
}

TEST(truncate_that_fails_passes_the_error_on_whatever_happens_then)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 4096);
    fake_fail(FAKE_FTRUNCATE, EDQUOT);
    check_fails(&bs, 65536, QBR_PREALLOC_OFF, -EDQUOT);
    check_fails(&bs, 512, QBR_PREALLOC_OFF, -EDQUOT);
    check_fails(&bs, 65536, QBR_PREALLOC_FULL, -EDQUOT);
    fake_fail(FAKE_FTRUNCATE, 0);
    check_fails(&bs, 512, QBR_PREALLOC_OFF, -EIO);
    CHECK_INT(image_length(), 4096);
    gluster.close(&bs);
}

/* Opens an image past the caches of bricks with sectors of 4096 bytes. */
static void open_direct(BlockDriverState *bs, int64_t length)
{
    fake_sector(4096);
    fake_image(IMAGE, length);
    node_open_ok(bs, IMAGE_URI, QBR_O_RDWR | QBR_O_NOCACHE);
}

TEST(truncate_to_an_end_within_a_large_sector_is_refused)
{
    BlockDriverState bs = { 0 };
    Error *error = NULL;

    open_direct(&bs, 8192);
    CHECK_INT(request_run((struct request) { .op = OP_TRUNCATE, .bs = &bs, .offset = 4608, .errp = &error }), -EINVAL);
    CHECK(error);
    CHECK_CONTAINS(error->message, "4608");
    CHECK_CONTAINS(error->message, "4096");
    error_free(error);
    check_fails(&bs, 8704, QBR_PREALLOC_FULL, -EINVAL);
    CHECK_INT(image_length(), 8192);
    CHECK_INT(truncate_to(&bs, 12288, QBR_PREALLOC_OFF), 0);
    CHECK_INT(image_length(), 12288);
    gluster.close(&bs);
}

TEST(truncate_that_need_not_be_exact_goes_to_the_end_of_a_large_sector)
{
    BlockDriverState bs = { 0 };
    struct request rq = { .op = OP_TRUNCATE, .bs = &bs, .offset = 4608, .inexact = true };

    open_direct(&bs, 12288);
    CHECK_INT(request_run(rq), 0);
    CHECK_INT(image_length(), 8192);
    gluster.close(&bs);
}

TEST(truncate_keeps_an_end_within_a_large_sector)
{
    BlockDriverState bs = { 0 };
    struct request rq = { .op = OP_TRUNCATE, .bs = &bs, .offset = 4608 };

    open_direct(&bs, 4608);
    CHECK_INT(request_run(rq), 0);
    rq.inexact = true;
    CHECK_INT(request_run(rq), 0);
    CHECK_INT(image_length(), 4608);
    gluster.close(&bs);
}

TEST(truncate_does_not_block_the_event_loop)
{
    BlockDriverState bs = { 0 };
    struct request *rq;
    QEMUIOVector *qiov = qiov_flat(512);

    node_with_image(&bs, 4096);
    fake_close_gate(FAKE_FTRUNCATE);
    rq = request_start(loop_default(), (struct request) { .op = OP_TRUNCATE, .bs = &bs, .offset = 8192 });
    co_wait_parked(rq->co, 1);
    /* In the same loop. */
    CHECK_INT(do_read(&bs, 0, qiov), 0);
    fake_open_gate(FAKE_FTRUNCATE);
    CHECK_INT(request_finish(rq), 0);
    gluster.close(&bs);
    qiov_free(qiov);
}
