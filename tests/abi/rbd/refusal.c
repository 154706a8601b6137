/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Images that are not opened, or not for writing, and headers that are none. */

#include "rbd.h"

#include <pthread.h>

static void check_feature(uint64_t features, int flags, int error, const char *message)
{
    ceph_set_features(IMAGE, features);
    rbd_open_fails(IMAGE_OPTIONS, flags, error, message);
}

static void check_opens(uint64_t features, int flags)
{
    BlockDriverState bs = { 0 };

    ceph_set_features(IMAGE, features);
    rbd_open_ok(&bs, IMAGE_OPTIONS, flags);
    rbd_close(&bs);
}

TEST(rbd_features_that_forbid_writing_are_named)
{
    ceph_image(IMAGE, OBJECT, ORDER, 0);
    check_feature(CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK | CEPH_JOURNALING, QBR_O_RDWR, ENOTSUP, "'journaling'");
    check_opens(CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK | CEPH_JOURNALING, 0);
    check_feature(CEPH_NON_PRIMARY, QBR_O_RDWR, EROFS, "'non-primary'");
    check_opens(CEPH_NON_PRIMARY, 0);
}

TEST(rbd_features_that_forbid_reading_are_named)
{
    int flags;

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    for (flags = 0; flags <= QBR_O_RDWR; flags += QBR_O_RDWR) {
        check_feature(CEPH_MIGRATING, flags, ENOTSUP, "'migrating'");
        check_feature(CEPH_DIRTY_CACHE, flags, ENOTSUP, "'dirty-cache'");
    }
}

TEST(rbd_unknown_features_are_refused)
{
    ceph_image(IMAGE, OBJECT, ORDER, 0);
    check_feature(0x1000, QBR_O_RDWR, ENOTSUP, "does not know");
    /* The cluster says that a reader has to know it, too. */
    check_feature((uint64_t)1 << 63, 0, ENOTSUP, "does not know");
}

TEST(rbd_clone_is_refused)
{
    ceph_image(IMAGE, OBJECT, ORDER, CEPH_LAYERING);
    ceph_set_parent(IMAGE, OBJECT);
    rbd_open_fails(IMAGE_OPTIONS, 0, ENOTSUP, "flatten");
    rbd_open_fails(IMAGE_OPTIONS, QBR_O_RDWR, ENOTSUP, "flatten");
}

TEST(rbd_clone_is_refused_by_a_cluster_from_before_nautilus)
{
    ceph_image(IMAGE, OBJECT, ORDER, CEPH_LAYERING);
    /* Behind the question for what never changes. */
    ceph_fail_object(ceph_header(IMAGE), CEPH_READ_OP, 1, 1, ENOTSUP);
    check_opens(CEPH_LAYERING, QBR_O_RDWR);
    ceph_set_parent(IMAGE, OBJECT);
    ceph_fail_object(ceph_header(IMAGE), CEPH_READ_OP, 1, 1, ENOTSUP);
    rbd_open_fails(IMAGE_OPTIONS, 0, ENOTSUP, "flatten");
}

static void *give_parent(void *opaque)
{
    (void)opaque;
    ceph_wait_for(CEPH_WATCH, 1);
    ceph_set_parent(IMAGE, OBJECT);
    ceph_open_gate(CEPH_WATCH);
    return NULL;
}

/* "rbd clone" makes the image first, and then a clone of it. */
TEST(rbd_clone_that_becomes_one_while_it_is_opened_is_refused)
{
    pthread_t thread;

    ceph_image(IMAGE, OBJECT, ORDER, CEPH_LAYERING);
    ceph_close_gate(CEPH_WATCH);
    CHECK_INT(pthread_create(&thread, NULL, give_parent, NULL), 0);
    rbd_open_fails(IMAGE_OPTIONS, QBR_O_RDWR, ENOTSUP, "flatten");
    pthread_join(thread, NULL);
}

TEST(rbd_clone_that_becomes_one_afterwards_is_not_written)
{
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECT, ORDER, CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    ceph_set_parent(IMAGE, OBJECT);
    CHECK_INT(rbd_zero(&bs, 0, 512, 0), -ENOTSUP);
    CHECK_CONTAINS(last_error_reported(), "flatten");
    CHECK_INT(ceph_count(CEPH_WRITE), 0);
    CHECK_INT(ceph_lock_holder(IMAGE), 0);
    ceph_set_parent(IMAGE, 0);
    CHECK_INT(rbd_zero(&bs, 0, 512, 0), 0);
    rbd_close(&bs);
}

TEST(rbd_clone_that_needs_its_parent_no_more_is_opened)
{
    ceph_image(IMAGE, OBJECT, ORDER, CEPH_LAYERING);
    ceph_set_parent(IMAGE, 0);
    check_opens(CEPH_LAYERING, QBR_O_RDWR);
}

/* An image that was flattened without deep-flatten. */
TEST(rbd_snapshot_that_still_sees_a_parent_is_neither_gone_to_nor_deleted)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    Error *error = NULL;

    ceph_image(IMAGE, OBJECT, ORDER, CEPH_LAYERING);
    ceph_set_parent(IMAGE, OBJECT);
    ceph_snapshot(IMAGE, "old");
    ceph_set_parent(IMAGE, 0);
    ceph_snapshot(IMAGE, "new");
    rbd_open_fails(IMAGE_OPTIONS ",snapshot=old", 0, ENOTSUP, "clone");
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    CHECK_INT(rbd.snapshot_goto(&bs, "old"), -ENOTSUP);
    CHECK_INT(errors_reported(), 1);
    CHECK_CONTAINS(last_error_reported(), "snapshot 'old' still needs the parent");
    check_image(&bs, 0, 512, 0);
    CHECK_INT(rbd.snapshot_delete(&bs, NULL, "old", &error), -ENOTSUP);
    CHECK_CONTAINS(error->message, "snapshot 'old' still needs the parent");
    error_free(error);
    CHECK_INT(ceph_image_snapshots(IMAGE), 2);
    CHECK_INT(ceph_log_count("snapshot_trash_add"), 0);
    /* The others are not concerned. */
    CHECK_INT(rbd.snapshot_goto(&bs, "new"), 0);
    check_hole(&bs, 0, 512);
    CHECK_INT(rbd.snapshot_delete(&bs, NULL, "new", NULL), 0);
    CHECK_INT(ceph_image_snapshots(IMAGE), 1);
    rbd_close(&bs);
    qiov_free(qiov);
}

/* Replies of a cluster that is not what it seems: an error, and never anything else. */
TEST(rbd_damaged_replies_are_errors)
{
    static const char *const methods[] = { "get_id", "get_size", "get_features", "get_object_prefix", "get_snapcontext",
                                           "get_flags", "snapshot_get", "parent_overlap_get", "get_protection_status",
                                           "get_stripe_unit_count" };
    static const struct {
        const char *bytes;
        size_t length;
    } answers[] = {
        { "", 0 },
        { "\xff", 1 },
        { "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 26 },
        { "\1\1\xff\xff\xff\x7f", 6 },
        { "\x7f\x7f\4\0\0\0\0\0\0\0", 10 },
    };
    unsigned i, j;

    ceph_image(IMAGE, OBJECT, ORDER, CEPH_LAYERING | CEPH_STRIPING);
    ceph_snapshot(IMAGE, "one");
    for (i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        for (j = 0; j < sizeof(answers) / sizeof(answers[0]); j++) {
            BlockDriverState bs = { .name = "node" };
            Error *error = NULL;
            int ret;

            ceph_reply(methods[i], answers[j].bytes, answers[j].length);
            ret = rbd_open(&bs, IMAGE_OPTIONS, QBR_O_RDWR, &error);
            /* The others may make sense to some of them. */
            CHECK(j > 1 || ret < 0);
            CHECK(!!error == (ret < 0));
            CHECK(!error || *error->message);
            error_free(error);
            if (!ret) {
                rbd.close(&bs);
            }
            ceph_wait_for_no_client();
        }
        ceph_reply(methods[i], NULL, 0);
    }
}

TEST(rbd_damaged_replies_after_a_notification_stop_writes)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(4096, 0);

    rbd_node(&bs);
    ceph_reply("get_snapcontext", "\1\0\0\0\0\0\0\0\2\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0", 28);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK(rbd_write(&bs, 0, qiov) < 0);
    CHECK_INT(ceph_count(CEPH_WRITE), 0);
    ceph_reply("get_snapcontext", NULL, 0);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    /* The image can't become another one. */
    ceph_reply("get_size", "\x14\0\0\0\0\1\0\0\0", 9);
    CHECK_INT(ceph_tell(ceph_header(IMAGE), header_update, HEADER_UPDATE_SIZE), 1);
    CHECK(rbd_write(&bs, 0, qiov) < 0);
    ceph_reply("get_size", NULL, 0);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    rbd_close(&bs);
    qiov_free(qiov);
}

TEST(rbd_sizes_and_orders_that_no_image_can_have_are_refused)
{
    ceph_image(IMAGE, OBJECT, ORDER, 0);
    ceph_resize(IMAGE, UINT64_MAX);
    rbd_open_fails(IMAGE_OPTIONS, 0, EFBIG, "");
    ceph_resize(IMAGE, OBJECT);
    ceph_reply("get_size", "\x40\0\0\1\0\0\0\0\0", 9);
    rbd_open_fails(IMAGE_OPTIONS, 0, EINVAL, "");
}

TEST(rbd_format1_headers_that_are_none_are_refused)
{
    static const char text[] = "<<< Rados Block Device Image >>>\n";
    char header[0x70] = { 0 };

    ceph_image1(IMAGE, OBJECT, ORDER);
    ceph_put("a.rbd", "x", 1);
    rbd_open_fails(IMAGE_OPTIONS, 0, EIO, "");
    ceph_put("a.rbd", header, sizeof(header));
    rbd_open_fails(IMAGE_OPTIONS, 0, EIO, "");
    memcpy(header, text, sizeof(text));
    memcpy(header + 0x40, "RBD\0" "002.000\0", 12);
    ceph_put("a.rbd", header, sizeof(header));
    rbd_open_fails(IMAGE_OPTIONS, 0, ENOTSUP, "002.000");
    memcpy(header + 0x40, "RBD\0" "001.005\0", 12);
    header[0x4c] = 16;
    header[0x60] = 5;
    ceph_put("a.rbd", header, sizeof(header));
    rbd_open_fails(IMAGE_OPTIONS, 0, EIO, "");
    memcpy(header, "<<< Migrating RBD Image      >>>\n", 34);
    ceph_put("a.rbd", header, sizeof(header));
    rbd_open_fails(IMAGE_OPTIONS, 0, ENOTSUP, "migrat");
}
