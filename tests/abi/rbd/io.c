/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Reads and writes, wherever they begin and end. */

#include "rbd.h"

TEST(rbd_write_is_read_back)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 7);

    rbd_node(&bs);
    CHECK_INT(rbd_write(&bs, 8192, qiov), 0);
    check_image(&bs, 8192, 4096, 7);
    CHECK_INT(rbd_run((struct rbd_request) { .op = R_FLUSH, .bs = &bs }), 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_write_of_a_whole_object_replaces_it)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(OBJECT, 7);

    rbd_node(&bs);
    CHECK_INT(rbd_write(&bs, OBJECT, qiov), 0);
    CHECK_INT(ceph_log_count("write_full"), 1);
    check_image(&bs, OBJECT, OBJECT, 7);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_read_and_write_of_nothing_do_nothing)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_new((const size_t[]) { 0 });

    rbd_node(&bs);
    ceph_log_clear();
    CHECK_INT(rbd_read(&bs, 0, qiov), 0);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    CHECK_INT(rbd_zero(&bs, 0, 0, QBR_REQ_MAY_UNMAP), 0);
    CHECK_INT(rbd_zero(&bs, 0, 0, 0), 0);
    CHECK_INT(rbd_discard(&bs, 0, 0), 0);
    CHECK_TEXT(ceph_log(), "");
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_read_of_missing_objects_gives_zeroes)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    check_hole(&bs, 0, 4096);
    check_hole(&bs, 100, 3 * OBJECT);
    rbd_close(&bs);
}

TEST(rbd_read_of_short_objects_gives_zeroes_behind_them)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(3 * OBJECT);

    rbd_node(&bs);
    ceph_fill(ceph_data(IMAGE, 0), 0, 1000, 0);
    ceph_fill(ceph_data(IMAGE, 2), 0, 77, 5);
    CHECK_INT(rbd_read(&bs, 0, qiov), 0);
    check_bytes(qiov, 0, 1000, 0);
    check_zeroes(qiov, 1000, 2 * OBJECT - 1000);
    check_bytes(qiov, 2 * OBJECT, 77, 5);
    check_zeroes(qiov, 2 * OBJECT + 77, OBJECT - 77);
    qiov_free(qiov);
    /* The object ends before the request begins. */
    check_hole(&bs, 2000, 4096);
    rbd_close(&bs);
}

/* Sizes that cut objects and requests in odd places. */
static const size_t odd_sizes[] = { 1, 511, 3, 65000, 70000, 1, 40000, 4096, 0 };

TEST(rbd_vector_with_odd_elements_over_object_borders_is_written_and_read)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *out = qiov_bytes_in(odd_sizes, 3), *in = qiov_new(odd_sizes);

    rbd_node(&bs);
    CHECK_INT(rbd_write(&bs, 12345, out), 0);
    CHECK_INT(rbd_read(&bs, 12345, in), 0);
    check_bytes(in, 0, in->size, 3);
    /* Every object was written once. */
    CHECK_INT(ceph_log_count("write"), 3);
    check_image(&bs, 12345, in->size, 3);
    check_hole(&bs, 0, 12345);
    check_hole(&bs, 12345 + in->size, 1000);
    rbd_close(&bs);
    qiov_free(out);
    qiov_free(in);
}

TEST(rbd_striped_image_keeps_bytes_where_the_pattern_says)
{
    enum { UNIT = 4096, COUNT = 4 };
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(OBJECT, 0);
    const unsigned char *bytes;
    size_t length;
    unsigned i;

    ceph_striped_image(IMAGE, OBJECTS * OBJECT, ORDER, UNIT, COUNT);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    for (i = 0; i < OBJECT; i += 500) {
        unsigned block = i / UNIT;

        bytes = ceph_bytes(ceph_data(IMAGE, block % COUNT), &length);
        CHECK(bytes && length > block / COUNT * UNIT + i % UNIT);
        CHECK_INT(bytes[block / COUNT * UNIT + i % UNIT], ceph_byte(i));
    }
    CHECK_INT(ceph_objects(), 2 + COUNT);
    check_image(&bs, 0, OBJECT, 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_striped_image_with_odd_requests_reads_what_was_written)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *out = qiov_bytes_in(odd_sizes, 9), *in = qiov_new(odd_sizes);
    int64_t offset;

    ceph_striped_image(IMAGE, OBJECTS * OBJECT, ORDER, 4096, 3);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    for (offset = 1; offset < 4 * OBJECT; offset += 50021) {
        CHECK_INT(rbd_write(&bs, offset, out), 0);
        CHECK_INT(rbd_read(&bs, offset, in), 0);
        check_bytes(in, 0, in->size, 9);
        check_image(&bs, offset, in->size, 9);
    }
    rbd_close(&bs);
    qiov_free(out);
    qiov_free(in);
}

TEST(rbd_striped_image_with_short_objects_reads_zeroes_in_the_right_places)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(6 * 4096);

    ceph_striped_image(IMAGE, OBJECTS * OBJECT, ORDER, 4096, 3);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    /* Its second block is block 4 of the image; it ends in there. */
    ceph_fill(ceph_data(IMAGE, 1), 0, 4096 + 10, 0);
    CHECK_INT(rbd_read(&bs, 0, qiov), 0);
    check_zeroes(qiov, 0, 4096);
    check_bytes(qiov, 4096, 4096, 0);
    check_zeroes(qiov, 2 * 4096, 2 * 4096);
    check_bytes(qiov, 4 * 4096, 10, 4096);
    check_zeroes(qiov, 4 * 4096 + 10, 2 * 4096 - 10);
    rbd_close(&bs);
    qiov_free(qiov);
}

/* Bounce buffers have bytes of earlier requests; a hole must not show them. */
TEST(rbd_memory_of_an_earlier_request_never_shows_in_holes)
{
    static const size_t sizes[] = { 100, 5000, 90000, 35972, 0 };
    BlockDriverState bs = { 0 };
    QEMUIOVector *out = qiov_bytes_in(sizes, 0), *in = qiov_new(sizes);
    unsigned i;

    rbd_node(&bs);
    CHECK_INT(rbd_write(&bs, 0, out), 0);
    for (i = 0; i < 3; i++) {
        CHECK_INT(rbd_read(&bs, 4 * OBJECT + i * 7, in), 0);
        check_zeroes(in, 0, in->size);
        CHECK_INT(rbd_read(&bs, 0, in), 0);
        check_bytes(in, 0, in->size, 0);
    }
    ceph_fill(ceph_data(IMAGE, 8), 0, 500, 0);
    CHECK_INT(rbd_read(&bs, 8 * OBJECT, in), 0);
    check_bytes(in, 0, 500, 0);
    check_zeroes(in, 500, in->size - 500);
    rbd_close(&bs);
    qiov_free(out);
    qiov_free(in);
}

TEST(rbd_memory_of_an_earlier_request_never_shows_when_the_library_is_short)
{
    static const size_t sizes[] = { 100, 5000, 90000, 35972, 0 };
    BlockDriverState bs = { 0 };
    QEMUIOVector *in = qiov_new(sizes);

    rbd_node(&bs);
    fill_image();
    CHECK_INT(rbd_read(&bs, 0, in), 0);
    ceph_most(10);
    CHECK_INT(rbd_read(&bs, 0, in), 0);
    check_bytes(in, 0, 10, 0);
    check_zeroes(in, 10, OBJECT - 10);
    check_bytes(in, OBJECT, 10, OBJECT);
    check_zeroes(in, OBJECT + 10, in->size - OBJECT - 10);
    rbd_close(&bs);
    qiov_free(in);
}

TEST(rbd_read_beyond_the_end_gives_zeroes)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(8192);

    ceph_image(IMAGE, 4 * OBJECT + 100, ORDER, 0);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    ceph_fill(ceph_data(IMAGE, 4), 0, 100, 0);
    CHECK_INT(rbd_read(&bs, 4 * OBJECT, qiov), 0);
    check_bytes(qiov, 0, 100, 0);
    check_zeroes(qiov, 100, 8092);
    check_hole(&bs, 100 * OBJECT, 8192);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_write_behind_the_end_grows_the_image_first)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(8192, 0);
    const char *resize, *write;

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    ceph_log_clear();
    CHECK_INT(rbd_write(&bs, OBJECT - 4096, qiov), 0);
    CHECK_INT(ceph_image_size(IMAGE), OBJECT + 4096);
    CHECK_INT(rbd.getlength(&bs), OBJECT + 4096);
    resize = strstr(ceph_log(), "set_size");
    write = strstr(ceph_log(), "write rbd_data");
    CHECK(resize && write && resize < write);
    /* Others hear of it. */
    CHECK_INT(ceph_count(CEPH_NOTIFY), 1);
    check_image(&bs, OBJECT - 4096, 8192, 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_write_that_grows_never_shrinks_what_another_client_has_grown)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    ceph_resize(IMAGE, 8 * OBJECT);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK_INT(rbd_write(&bs, OBJECT, qiov), 0);
    CHECK_INT(ceph_image_size(IMAGE), 8 * OBJECT);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_writes_that_grow_at_the_same_time_leave_the_largest_size)
{
    enum { COUNT = 8 };
    BlockDriverState bs = { 0 };
    struct rbd_request *writes[COUNT];
    QEMUIOVector *qiov = qiov_bytes(4096, 0);
    unsigned i;

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    for (i = 0; i < COUNT; i++) {
        writes[i] = rbd_start_write(&bs, OBJECT + (i * 5 % COUNT) * 4096, qiov);
    }
    for (i = 0; i < COUNT; i++) {
        CHECK_INT(rbd_finish(writes[i]), 0);
    }
    CHECK_INT(ceph_image_size(IMAGE), OBJECT + COUNT * 4096);
    for (i = 0; i < COUNT; i++) {
        check_image(&bs, OBJECT + i * 4096, 4096, 0);
    }
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_write_to_a_read_only_node_is_refused)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    ceph_log_clear();
    CHECK_INT(rbd_write(&bs, 0, qiov), -EROFS);
    CHECK_INT(rbd_zero(&bs, 0, 4096, 0), -EROFS);
    CHECK_INT(rbd_discard(&bs, 0, OBJECT), -EROFS);
    CHECK_INT(rbd_truncate(&bs, 0), -EROFS);
    CHECK_INT(rbd_write(&bs, OBJECT, qiov), -EROFS);
    CHECK_TEXT(ceph_log(), "");
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_format1_image_is_read_and_written)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(2 * OBJECT, 4);
    size_t length;

    ceph_image1(IMAGE, 4 * OBJECT, ORDER);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd.getlength(&bs), 4 * OBJECT);
    CHECK_INT(rbd_write(&bs, 1000, qiov), 0);
    check_image(&bs, 1000, 2 * OBJECT, 4);
    CHECK(ceph_bytes("rb.0.a.000000000002", &length));
    CHECK_INT(rbd_truncate(&bs, OBJECT + 5), 0);
    CHECK_INT(ceph_image_size(IMAGE), OBJECT + 5);
    CHECK(!ceph_bytes("rb.0.a.000000000002", &length));
    CHECK(ceph_bytes("rb.0.a.000000000001", &length));
    CHECK_INT(length, 5);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_image_with_data_in_another_pool_is_written_there)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);
    size_t length;

    ceph_image(IMAGE, OBJECT, ORDER, CEPH_DATA_POOL);
    ceph_reply("get_data_pool", "\3\0\0\0\0\0\0\0", 8);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    CHECK(!ceph_bytes(ceph_data(IMAGE, 0), &length));
    check_image(&bs, 0, 4096, 0);
    rbd_close(&bs);
    qiov_free(qiov);
}
