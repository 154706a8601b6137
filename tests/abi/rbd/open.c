/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Opening: from options to a connection and an image, and what is said when that fails. */

#include "rbd.h"

/* What the driver itself sets first: that no submission waits, and how much a connection receives at once. */
#define LIMITS "set objecter_inflight_ops=0\nset objecter_inflight_op_bytes=0\n"
#define TUNED LIMITS "set ms_tcp_prefetch_max_size=16384\n"

TEST(rbd_open_makes_the_settings_in_their_order)
{
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    rbd_open_ok(&bs,
                IMAGE_OPTIONS ",conf=/x.conf,user=vm,server.0.host=h,server.0.port=6789,server.1.host=::1,server.1.port=3300,"
                              "auth-client-required.0=cephx,auth-client-required.1=none", 0);
    CHECK_TEXT(ceph_client_log(), "create vm\nconf /x.conf\n" TUNED "set mon_host=h:6789;[::1]:3300\nset auth_client_required=cephx;none\n");
    CHECK_INT(bs.flags_set, 1);
    CHECK_INT(bs.flags.zero, QBR_REQ_MAY_UNMAP | QBR_REQ_NO_FALLBACK);
    CHECK_INT(bs.flags.truncate, QBR_REQ_ZERO_WRITE);
    CHECK_INT(bs.flags.write, 0);
    rbd_close(&bs);
}

TEST(rbd_open_without_a_configuration_file_goes_on)
{
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    ceph_fail(CEPH_CONF_READ, ENOENT);
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    CHECK_TEXT(ceph_client_log(), "create (default)\nconf (default)\n" TUNED);
    rbd_close(&bs);
    rbd_open_fails(IMAGE_OPTIONS ",conf=/no.conf", 0, ENOENT, "/no.conf");
}

TEST(rbd_open_keeps_what_was_configured)
{
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    ceph_configure("ms_tcp_prefetch_max_size", "65536");
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    CHECK_TEXT(ceph_client_log(), "create (default)\nconf (default)\n" LIMITS);
    rbd_close(&bs);
    ceph_configure("objecter_inflight_ops", "100");
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    CHECK_TEXT(ceph_client_log(), "create (default)\nconf (default)\nset objecter_inflight_op_bytes=0\n");
    rbd_close(&bs);
}

/* What is usual may change with the library. */
TEST(rbd_open_changes_settings_that_nobody_configured_whatever_they_are)
{
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    ceph_setting("ms_tcp_prefetch_max_size", "8192");
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    CHECK_TEXT(ceph_client_log(), "create (default)\nconf (default)\n" TUNED);
    rbd_close(&bs);
}

TEST(rbd_open_by_a_file_name_warns)
{
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    rbd_open_ok(&bs, "filename=rbd:rbd/a:id=vm", 0);
    CHECK_CONTAINS(warning_take(), "RBD options encoded in the filename as keyvalue pairs is deprecated");
    CHECK_CONTAINS(ceph_client_log(), "create vm\n");
    rbd_close(&bs);
}

TEST(rbd_parse_filename_gives_options_that_open)
{
    BlockDriverState bs = { .name = "node" };
    struct options *options = options_new("");
    Error *error = NULL;

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    rbd.parse_filename("rbd:rbd/a:id=vm:conf=/x.conf:client_mount_timeout=5", as_qdict(options), &error);
    CHECK(!error);
    CHECK_TEXT(options_get(options, "pool"), "rbd");
    CHECK_TEXT(options_get(options, "image"), "a");
    CHECK_TEXT(options_get(options, "user"), "vm");
    CHECK_INT(rbd.open(&bs, as_qdict(options), 0, &error), 0);
    CHECK_INT(options_left(options), 0);
    CHECK_TEXT(ceph_client_log(), "create vm\nconf /x.conf\n" TUNED "set client_mount_timeout=5\n");
    rbd_close(&bs);
    options_free(options);
}

TEST(rbd_parse_filename_of_nonsense_changes_nothing)
{
    static const char *const names[] = { "", "rbd:", "rbd:pool", "nbd:rbd/a", "rbd:rbd/a:key", "/rbd/a" };
    struct options *options = options_new("");
    unsigned i;

    for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        Error *error = NULL;

        rbd.parse_filename(names[i], as_qdict(options), &error);
        CHECK(error);
        CHECK_INT(options_left(options), 0);
        error_free(error);
    }
    options_free(options);
}

TEST(rbd_open_failures_say_what_failed)
{
    static const struct {
        enum ceph_call call;
        int error;
        const char *message;
    } failures[] = {
        { CEPH_CREATE, ENOMEM, "error connecting" },
        { CEPH_CONNECT, EACCES, "as 'client.admin'" },
        { CEPH_CONNECT, ETIMEDOUT, "error connecting" },
        { CEPH_POOL, EPERM, "'rbd'" },
        { CEPH_READ_OP, EIO, "'a'" },
        { CEPH_READ_OP, ETIMEDOUT, "'a'" },
    };
    unsigned i;

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    for (i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        ceph_fail(failures[i].call, failures[i].error);
        rbd_open_fails(IMAGE_OPTIONS, 0, failures[i].error, failures[i].message);
        ceph_fail(failures[i].call, 0);
    }
    rbd_open_fails("pool=none,image=a", 0, ENOENT, "'none'");
    rbd_open_fails("pool=rbd,image=none", 0, ENOENT, "'none'");
    rbd_open_fails("pool=rbd,image=a,namespace=none", 0, ENOENT, "'none'");
    rbd_open_fails("pool=rbd,image=a,snapshot=none", 0, ENOENT, "'none'");
    rbd_open_fails("pool=rbd", 0, EINVAL, "image");
    rbd_open_fails("image=a", 0, EINVAL, "pool");
    rbd_open_fails("pool=rbd,image=a,filename=rbd:rbd/a@b:c", 0, EINVAL, "c");
    rbd_open_fails("pool=rbd,image=a,server.0.host=h", 0, EINVAL, "server.0.port");
}

TEST(rbd_open_fails_at_each_step_without_leaving_anything)
{
    unsigned step, steps;
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECT, ORDER, CEPH_LAYERING | CEPH_STRIPING);
    ceph_snapshot(IMAGE, "one");
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    steps = ceph_count(CEPH_READ_OP);
    CHECK(steps > 4);
    rbd_close(&bs);
    for (step = 0; step < steps; step++) {
        Error *error = NULL;

        ceph_fail_some(CEPH_READ_OP, step, 1, EIO);
        bs = (BlockDriverState) { .name = "node" };
        CHECK_INT(rbd_open(&bs, IMAGE_OPTIONS, QBR_O_RDWR, &error), -EIO);
        CHECK(error && !bs.state);
        error_free(error);
        ceph_wait_for_no_client();
        CHECK_INT(ceph_watches(ceph_header(IMAGE)), 0);
    }
}

TEST(rbd_snapshot_that_vanishes_during_open_is_no_failure)
{
    BlockDriverState bs = { 0 };

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    ceph_snapshot(IMAGE, "one");
    /* Identity, state, snapshots. */
    ceph_fail_object(ceph_header(IMAGE), CEPH_READ_OP, 2, 1, ENOENT);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    rbd_close(&bs);
    ceph_fail_object(ceph_header(IMAGE), CEPH_READ_OP, 2, CEPH_FOR_EVER, ENOENT);
    rbd_open_fails(IMAGE_OPTIONS, QBR_O_RDWR, ENOENT, "'a'");
}

TEST(rbd_image_without_a_header_is_not_opened)
{
    ceph_image(IMAGE, OBJECT, ORDER, 0);
    ceph_remove(ceph_header(IMAGE));
    rbd_open_fails(IMAGE_OPTIONS, QBR_O_RDWR, ENOENT, "'a'");
}

#define KEY "AQDsecretsecretsecretsecretsecretsecretA=="

static void check_hidden(const char *options, int error)
{
    BlockDriverState bs = { .name = "node" };
    Error *err = NULL;

    CHECK_INT(rbd_open(&bs, options, QBR_O_RDWR, &err), -error);
    CHECK(!strstr(err->message, "secret"));
    CHECK(!err->hint || !strstr(err->hint, "secret"));
    CHECK(!strstr(last_error_reported(), "secretsecret"));
    error_free(err);
    ceph_wait_for_no_client();
}

TEST(rbd_key_is_used_and_never_shown)
{
    static const char options[] = IMAGE_OPTIONS ",key-secret=sec0";
    BlockDriverState bs = { 0 };

    secret_add("sec0", KEY);
    ceph_image(IMAGE, OBJECT, ORDER, 0);
    rbd_open_ok(&bs, options, 0);
    CHECK_CONTAINS(ceph_client_log(), "set key=" KEY "\n");
    rbd_close(&bs);
    rbd_open_ok(&bs, IMAGE_OPTIONS ",password-secret=sec0", 0);
    CHECK_CONTAINS(ceph_client_log(), "set key=" KEY "\n");
    rbd_close(&bs);
    ceph_fail(CEPH_CONF_SET, EINVAL);
    check_hidden(options, EINVAL);
    ceph_fail(CEPH_CONF_SET, 0);
    ceph_fail(CEPH_CONNECT, EACCES);
    check_hidden(options, EACCES);
    ceph_fail(CEPH_CONNECT, 0);
    ceph_fail(CEPH_POOL, EPERM);
    check_hidden(options, EPERM);
    ceph_fail(CEPH_POOL, 0);
    ceph_fail(CEPH_READ_OP, EPERM);
    check_hidden(options, EPERM);
}

TEST(rbd_secret_that_is_not_there_is_qemus_own_error)
{
    ceph_image(IMAGE, OBJECT, ORDER, 0);
    rbd_open_fails(IMAGE_OPTIONS ",key-secret=none", 0, EIO, "No secret with id 'none'");
    CHECK_INT(ceph_count(CEPH_CREATE), 0);
}

TEST(rbd_encryption_is_refused_with_advice)
{
    ceph_image(IMAGE, OBJECT, ORDER, 0);
    rbd_open_fails(IMAGE_OPTIONS ",encrypt.format=luks,encrypt.key-secret=s", 0, ENOTSUP, "luks");
    CHECK_INT(ceph_count(CEPH_CREATE), 0);
}

TEST(rbd_snapshot_is_opened_read_only)
{
    BlockDriverState bs = { 0 }, refused = { .name = "node", .auto_read_only = -EACCES };
    Error *error = NULL;

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    ceph_fill(ceph_data(IMAGE, 0), 0, 4096, 0);
    ceph_snapshot(IMAGE, "one");
    rbd_open_ok(&bs, IMAGE_OPTIONS ",snapshot=one", QBR_O_RDWR);
    CHECK_INT(bs.auto_read_only_asked, 1);
    CHECK_INT(rbd_zero(&bs, 0, 4096, 0), -EROFS);
    check_image(&bs, 0, 4096, 0);
    rbd_close(&bs);
    CHECK_INT(rbd_open(&refused, IMAGE_OPTIONS ",snapshot=one", QBR_O_RDWR, &error), -EACCES);
    CHECK_CONTAINS(error->message, "read-only");
    error_free(error);
}

TEST(rbd_client_without_the_right_to_write_opens_read_only_if_it_may)
{
    BlockDriverState bs = { 0 }, refused = { .name = "node", .auto_read_only = -EACCES };
    Error *error = NULL;

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    ceph_fail(CEPH_WATCH, EPERM);
    rbd_open_ok(&bs, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(bs.auto_read_only_asked, 1);
    CHECK_INT(rbd_zero(&bs, 0, 4096, 0), -EROFS);
    rbd_close(&bs);
    CHECK_INT(rbd_open(&refused, IMAGE_OPTIONS, QBR_O_RDWR, &error), -EPERM);
    CHECK_CONTAINS(error->message, "watching it");
    error_free(error);
}

TEST(rbd_unknown_setting_is_a_wrong_argument)
{
    BlockDriverState bs = { .name = "node" };
    struct options *options = options_new("");
    Error *error = NULL;

    rbd.parse_filename("rbd:rbd/a:no_such_setting=5", as_qdict(options), NULL);
    CHECK_INT(rbd.open(&bs, as_qdict(options), 0, &error), -EINVAL);
    CHECK_CONTAINS(error->message, "'no_such_setting'");
    error_free(error);
    options_free(options);
}

TEST(rbd_many_nodes_have_many_connections_and_leave_none)
{
    enum { COUNT = 8 };
    BlockDriverState bs[COUNT] = { 0 };
    unsigned i;

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    for (i = 0; i < COUNT; i++) {
        rbd_open_ok(&bs[i], IMAGE_OPTIONS, QBR_O_RDWR);
    }
    CHECK_INT(ceph_watches(ceph_header(IMAGE)), COUNT);
    for (i = 0; i < COUNT; i++) {
        rbd.close(&bs[i]);
    }
    ceph_wait_for_no_client();
}

/* --- What there is to know of a node ---------------------------------------------------------------------------------------- */

TEST(rbd_info_tells_the_size_of_the_objects)
{
    BlockDriverState bs = { 0 };
    BlockDriverInfo info = { .cluster_size = 0 };

    rbd_node(&bs);
    CHECK_INT(rbd.get_info(&bs, &info), 0);
    CHECK_INT(info.cluster_size, OBJECT);
    CHECK_INT(rbd.get_info(&bs, NULL), -EINVAL);
    rbd_close(&bs);
}

static void check_encryption(const char *start, size_t length, uint32_t expected)
{
    BlockDriverState bs = { 0 };
    ImageInfoSpecific *info;
    Error *error = NULL;

    ceph_put(ceph_data(IMAGE, 0), start, length);
    rbd_open_ok(&bs, IMAGE_OPTIONS, 0);
    info = rbd.get_specific_info(&bs, &error);
    CHECK(info && !error);
    CHECK_INT(info->encryption, expected);
    info_free(info);
    rbd_close(&bs);
}

TEST(rbd_specific_info_tells_the_encryption)
{
    ceph_image(IMAGE, OBJECT, ORDER, 0);
    check_encryption("", 0, QBR_RBD_PLAIN);
    check_encryption("LUKS\xba\xbe\0\1", 8, QBR_RBD_LUKS);
    check_encryption("LUKS\xba\xbe\0\2 and more", 17, QBR_RBD_LUKS2);
    check_encryption("LUKS\xba\xbe\0", 7, QBR_RBD_PLAIN);
    check_encryption("something else", 14, QBR_RBD_PLAIN);
}
