/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Reads, writes, write-zeroes and discards: which bytes go where. */

#include "../request.h"

#include <string.h>

/* Elements that end in the middle of sectors and of each other's neighbours. */
static const size_t UNEVEN[] = { 1, 511, 4096, 3, 1000, 509, 0 };

static void check_data(const QEMUIOVector *qiov, size_t from, size_t to, int64_t offset)
{
    size_t at;

    for (at = from; at < to; at++) {
        CHECK_INT(qiov_byte(qiov, at), fake_byte(offset + at));
    }
}

static void check_zero(const QEMUIOVector *qiov, size_t from, size_t to)
{
    size_t at;

    for (at = from; at < to; at++) {
        CHECK_INT(qiov_byte(qiov, at), 0);
    }
}

static void fill(QEMUIOVector *qiov, int64_t offset)
{
    size_t at;

    for (at = 0; at < qiov->size; at++) {
        qiov_set_byte(qiov, at, fake_byte(offset + at));
    }
}

TEST(read_fills_all_elements_of_a_vector)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_new(UNEVEN);

    node_with_image(&bs, 65536);
    CHECK_INT(do_read(&bs, 1234, qiov), 0);
    check_data(qiov, 0, qiov->size, 1234);
    CHECK_INT(fake_count(FAKE_PREADV), 1);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(write_takes_all_elements_of_a_vector)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_new(UNEVEN);
    const unsigned char *image;
    size_t at;

    fake_image(IMAGE, 65536);
    node_open_ok(&bs, IMAGE_URI, QBR_O_RDWR);
    fill(qiov, 1234);
    CHECK_INT(do_write(&bs, 1234, qiov), 0);
    image = fake_image_bytes(IMAGE, NULL);
    for (at = 0; at < qiov->size; at++) {
        CHECK_INT(image[1234 + at], fake_byte(1234 + at));
    }
    CHECK_INT(image[1233], 0);
    CHECK_INT(image[1234 + qiov->size], 0);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(short_reads_go_on_where_they_stopped)
{
    static const size_t steps[] = { 1, 2, 511, 512, 1000, 4097 };
    BlockDriverState bs = { 0 };
    unsigned i;

    node_with_image(&bs, 65536);
    for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        QEMUIOVector *qiov = qiov_new(steps[i] < 3 ? (const size_t[]) { 5, 1, 90, 0 } : UNEVEN);

        fake_most(steps[i]);
        CHECK_INT(do_read(&bs, 100, qiov), 0);
        check_data(qiov, 0, qiov->size, 100);
        qiov_free(qiov);
    }
    gluster.close(&bs);
}

TEST(short_writes_go_on_where_they_stopped)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_new(UNEVEN);
    const unsigned char *image;
    size_t at;

    fake_image(IMAGE, 65536);
    node_open_ok(&bs, IMAGE_URI, QBR_O_RDWR);
    fill(qiov, 7);
    fake_most(700);
    CHECK_INT(do_write(&bs, 7, qiov), 0);
    image = fake_image_bytes(IMAGE, NULL);
    for (at = 0; at < qiov->size; at++) {
        CHECK_INT(image[7 + at], fake_byte(7 + at));
    }
    CHECK_INT(fake_count(FAKE_PWRITEV), 9);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(read_across_the_end_is_zero_padded_at_every_boundary)
{
    static const size_t sizes[] = { 512, 100, 412, 1024, 0 };
    /* Ends before, at and behind each element's boundary. */
    static const int64_t lengths[] = { 1, 511, 512, 513, 611, 612, 613, 1023, 1024, 1025, 2047, 2048 };
    unsigned i;

    for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        QEMUIOVector *qiov = qiov_new(sizes);
        BlockDriverState bs = { 0 };
        int64_t length = lengths[i];

        node_with_image(&bs, length);
        CHECK_INT(do_read(&bs, 0, qiov), 0);
        check_data(qiov, 0, length, 0);
        check_zero(qiov, length, qiov->size);
        gluster.close(&bs);
        qiov_free(qiov);
    }
}

TEST(read_beyond_the_end_gives_zeroes_and_not_stale_data)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_new(UNEVEN);

    node_with_image(&bs, 1000);
    CHECK_INT(do_read(&bs, 4096, qiov), 0);
    check_zero(qiov, 0, qiov->size);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(read_of_nothing_in_the_middle_gives_zeroes_and_not_stale_data)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(4096);

    node_with_image(&bs, 8192);
    fake_next_most(FAKE_PREADV, 0);
    CHECK_INT(do_read(&bs, 0, qiov), 0);
    check_zero(qiov, 0, qiov->size);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(write_of_nothing_is_eio)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(4096);

    node_with_image(&bs, 8192);
    fake_next_most(FAKE_PWRITEV, 0);
    CHECK_INT(do_write(&bs, 0, qiov), -EIO);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(direct_read_of_a_tail_is_zero_padded_without_another_request)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(4096);

    fake_image(IMAGE, 1000);
    fake_image_fill(IMAGE, 0, 1000);
    node_open_ok(&bs, IMAGE_URI, QBR_O_NOCACHE);
    CHECK_INT(do_read(&bs, 0, qiov), 0);
    check_data(qiov, 0, 1000, 0);
    check_zero(qiov, 1000, 4096);
    /* Going on at 1000 would have been EINVAL. */
    CHECK_INT(fake_count(FAKE_PREADV), 1);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(direct_short_read_at_a_sector_boundary_goes_on)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_new((const size_t[]) { 512, 3584, 0 });

    fake_image(IMAGE, 4096);
    fake_image_fill(IMAGE, 0, 4096);
    node_open_ok(&bs, IMAGE_URI, QBR_O_NOCACHE);
    fake_next_most(FAKE_PREADV, 1024);
    CHECK_INT(do_read(&bs, 0, qiov), 0);
    check_data(qiov, 0, 4096, 0);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(limits_without_direct_access_allow_single_bytes)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 512);
    gluster.refresh_limits(&bs, NULL);
    CHECK(bs.limits_set);
    CHECK_INT(bs.limits.request_alignment, 1);
    CHECK_INT(bs.limits.max_transfer, 512 << 20);
    CHECK_INT(bs.limits.max_pdiscard, INT64_MAX);
    gluster.close(&bs);
}

TEST(limits_of_direct_access_follow_the_sectors_of_the_bricks)
{
    unsigned sector;

    for (sector = 512; sector <= 4096; sector *= 8) {
        BlockDriverState bs = { 0 };

        fake_sector(sector);
        fake_image(IMAGE, 8192);
        node_open_ok(&bs, IMAGE_URI, QBR_O_RDWR | QBR_O_NOCACHE);
        gluster.refresh_limits(&bs, NULL);
        CHECK_INT(bs.limits.request_alignment, sector);
        gluster.close(&bs);
    }
}

TEST(write_zeroes_and_discard_leave_zeroes)
{
    BlockDriverState bs = { 0 };
    const unsigned char *image;
    int at;

    node_with_image(&bs, 16384);
    CHECK_INT(request_run((struct request) { .op = OP_ZERO, .bs = &bs, .offset = 100, .bytes = 5000 }), 0);
    CHECK_INT(request_run((struct request) { .op = OP_DISCARD, .bs = &bs, .offset = 8192, .bytes = 4096 }), 0);
    image = fake_image_bytes(IMAGE, NULL);
    for (at = 0; at < 16384; at++) {
        bool zero = (at >= 100 && at < 5100) || (at >= 8192 && at < 12288);

        CHECK_INT(image[at], zero ? 0 : fake_byte(at));
    }
    gluster.close(&bs);
}

TEST(each_request_passes_its_error_on)
{
    static const struct {
        enum op op;
        enum fake_call call;
    } kinds[] = {
        { OP_READ, FAKE_PREADV },       { OP_WRITE, FAKE_PWRITEV }, { OP_ZERO, FAKE_ZEROFILL_ASYNC },
        { OP_DISCARD, FAKE_DISCARD },
    };
    static const int errors[] = { ENOSPC, ENOTSUP, EDQUOT, EIO, ENOTCONN, ETIMEDOUT };
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(512);
    unsigned i, j;

    node_with_image(&bs, 8192);
    for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct request rq = { .op = kinds[i].op, .bs = &bs, .bytes = 512, .qiov = qiov };

        for (j = 0; j < sizeof(errors) / sizeof(errors[0]); j++) {
            fake_next_error(kinds[i].call, errors[j]);
            CHECK_INT(request_run(rq), -errors[j]);
            fake_fail_some(kinds[i].call, 0, 1, errors[j]);
            CHECK_INT(request_run(rq), -errors[j]);
        }
        /* A failure without a reason, in either way. */
        fake_next_error(kinds[i].call, 0);
        CHECK_INT(request_run(rq), -EIO);
        fake_fail_some(kinds[i].call, 0, 1, 0);
        CHECK_INT(request_run(rq), -EIO);
        /* And the node goes on. */
        CHECK_INT(request_run(rq), 0);
    }
    CHECK_INT(errors_reported(), 0);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(an_error_after_a_short_transfer_is_the_result)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(4096);

    node_with_image(&bs, 8192);
    fake_next_most(FAKE_PWRITEV, 512);
    fake_fail_some(FAKE_PWRITEV, 1, 1, ENOSPC);
    CHECK_INT(do_write(&bs, 0, qiov), -ENOSPC);
    fake_next_most(FAKE_PREADV, 512);
    fake_fail_some(FAKE_PREADV, 1, 1, ENOTCONN);
    CHECK_INT(do_read(&bs, 0, qiov), -ENOTCONN);
    gluster.close(&bs);
    qiov_free(qiov);
}
