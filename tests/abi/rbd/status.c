/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Block status. */

#include "rbd.h"

struct status {
    int64_t ret;
    int64_t pnum;
    int64_t map;
    BlockDriverState *file;
};

static struct status status_of(BlockDriverState *bs, unsigned mode, int64_t offset, int64_t bytes)
{
    struct status status = { .pnum = -1, .map = -1 };

    status.ret = rbd_run((struct rbd_request) { .op = R_STATUS, .bs = bs, .mode = mode, .offset = offset, .bytes = bytes,
                                                .pnum = &status.pnum, .map = &status.map, .file = &status.file });
    return status;
}

static void check_status(BlockDriverState *bs, int64_t offset, int64_t bytes, int kind, int64_t pnum)
{
    struct status status = status_of(bs, QBR_WANT_ZERO, offset, bytes);

    CHECK_INT(status.ret, kind | QBR_BLOCK_OFFSET_VALID);
    CHECK_INT(status.pnum, pnum);
    CHECK_INT(status.map, offset);
    CHECK(status.file == bs);
}

TEST(rbd_status_tells_objects_from_holes)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    ceph_fill(ceph_data(IMAGE, 2), 0, 10, 0);
    ceph_fill(ceph_data(IMAGE, 3), 0, OBJECT, 0);
    check_status(&bs, 0, OBJECTS * OBJECT, QBR_BLOCK_ZERO, 2 * OBJECT);
    check_status(&bs, OBJECT + 512, OBJECTS * OBJECT - OBJECT - 512, QBR_BLOCK_ZERO, OBJECT - 512);
    check_status(&bs, 2 * OBJECT, 14 * OBJECT, QBR_BLOCK_DATA, 2 * OBJECT);
    check_status(&bs, 3 * OBJECT - 512, 1024, QBR_BLOCK_DATA, 1024);
    check_status(&bs, 4 * OBJECT, 12 * OBJECT, QBR_BLOCK_ZERO, 12 * OBJECT);
    check_status(&bs, 4 * OBJECT, 512, QBR_BLOCK_ZERO, 512);
    rbd_close(&bs);
}

TEST(rbd_status_without_want_zero_asks_nobody)
{
    BlockDriverState bs = { 0 };
    struct status status;

    rbd_node(&bs);
    ceph_log_clear();
    status = status_of(&bs, 0, 0, OBJECTS * OBJECT);
    CHECK_INT(status.ret, QBR_BLOCK_DATA | QBR_BLOCK_OFFSET_VALID);
    CHECK_INT(status.pnum, OBJECTS * OBJECT);
    CHECK_TEXT(ceph_log(), "");
    rbd_close(&bs);
}

TEST(rbd_status_beyond_the_end_is_zero)
{
    BlockDriverState bs = { 0 };

    rbd_node(&bs);
    check_status(&bs, OBJECTS * OBJECT, 4096, QBR_BLOCK_ZERO, 4096);
    check_status(&bs, 100 * OBJECTS * OBJECT, 4096, QBR_BLOCK_ZERO, 4096);
    rbd_close(&bs);
}

TEST(rbd_status_of_an_image_that_ends_within_a_sector_covers_the_sector)
{
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECT + 100, ORDER, 0);
    ceph_fill(ceph_data(IMAGE, 1), 0, 100, 0);
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    check_status(&bs, OBJECT, 512, QBR_BLOCK_DATA, 512);
    check_status(&bs, 0, OBJECT + 512, QBR_BLOCK_ZERO, OBJECT);
    rbd_close(&bs);
}

TEST(rbd_status_of_a_large_hole_ends_soon)
{
    enum { COUNT = 5000 };
    BlockDriverState bs = { 0 };
    struct status status;
    int64_t at = 0;
    unsigned calls;

    ceph_image(IMAGE, COUNT * 4096, 12, 0);
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    for (calls = 0; at < COUNT * 4096; calls++) {
        status = status_of(&bs, QBR_WANT_ZERO, at, COUNT * 4096 - at);
        CHECK_INT(status.ret, QBR_BLOCK_ZERO | QBR_BLOCK_OFFSET_VALID);
        CHECK(status.pnum > 0 && status.pnum % 4096 == 0);
        at += status.pnum;
        CHECK(calls < COUNT);
    }
    CHECK_INT(at, COUNT * 4096);
    rbd_close(&bs);
}

TEST(rbd_status_of_a_striped_image_goes_by_whole_sets)
{
    BlockDriverState bs = { 0 };

    ceph_striped_image(IMAGE, 12 * OBJECT, ORDER, 4096, 3);
    /* Of the second set. */
    ceph_fill(ceph_data(IMAGE, 4), 0, 10, 0);
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    check_status(&bs, 0, 12 * OBJECT, QBR_BLOCK_ZERO, 3 * OBJECT);
    check_status(&bs, 3 * OBJECT, 9 * OBJECT, QBR_BLOCK_DATA, 3 * OBJECT);
    check_status(&bs, 6 * OBJECT, 6 * OBJECT, QBR_BLOCK_ZERO, 6 * OBJECT);
    rbd_close(&bs);
}

/* Whatever the pattern: what is said to be zero reads as zero. */
TEST(rbd_status_never_takes_data_for_zeroes)
{
    static const uint64_t patterns[][2] = { { 65536, 1 }, { 4096, 1 }, { 4096, 2 }, { 16384, 5 }, { 4096, 16 }, { 65536, 7 },
                                            { 4096, 40 } };
    BlockDriverState bs;
    unsigned i, object;
    int64_t at;

    for (i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        char name[16], options[64];

        bs = (BlockDriverState) { .name = "node" };
        snprintf(name, sizeof(name), "i%u", i);
        snprintf(options, sizeof(options), "pool=rbd,image=%s", name);
        ceph_striped_image(name, 80 * OBJECT, ORDER, patterns[i][0], patterns[i][1]);
        for (object = 0; object < 80; object += 1 + object % 7) {
            ceph_fill(ceph_data(name, object), 0, OBJECT, 0);
        }
        rbd_open_ok(&bs, options, 0);
        for (at = 0; at < 80 * OBJECT;) {
            struct status status = status_of(&bs, QBR_WANT_ZERO, at, 80 * OBJECT - at);

            CHECK(status.ret >= 0 && status.pnum > 0 && at + status.pnum <= 80 * OBJECT);
            if (status.ret & QBR_BLOCK_ZERO) {
                check_hole(&bs, at, status.pnum);
            }
            at += status.pnum;
        }
        rbd_close(&bs);
    }
}

TEST(rbd_status_of_a_snapshot_is_that_of_its_time)
{
    BlockDriverState bs = { 0 }, old = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    rbd_node(&bs);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    CHECK_INT(rbd_snapshot(&bs, "one"), 0);
    CHECK_INT(rbd_write(&bs, OBJECT, qiov), 0);
    CHECK_INT(rbd_discard(&bs, 0, OBJECT), 0);
    rbd_open_ok(&old, IMAGE_OPTIONS ",snapshot=one", 0);
    check_status(&bs, 0, 2 * OBJECT, QBR_BLOCK_ZERO, OBJECT);
    check_status(&old, 0, 2 * OBJECT, QBR_BLOCK_DATA, OBJECT);
    rbd.close(&old);
    rbd_close(&bs);
    qiov_free(qiov);
}
