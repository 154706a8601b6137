/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Creating images, in both ways. */

#include "../request.h"

#include <stdio.h>

#define LOCATION                                                                                                  \
    "driver=gluster,location.volume=vol,location.path=" IMAGE ",location.server.0.type=inet,"                     \
    "location.server.0.host=host,location.server.0.port=24007"
#define URI "gluster://host/vol/" IMAGE

static int64_t create(const char *text, Error **errp)
{
    struct options *options = options_new(text);
    int64_t ret = request_run((struct request) { .op = OP_CREATE, .options = options, .errp = errp });

    options_free(options);
    return ret;
}

static int64_t create_opts(const char *uri, const char *text, Error **errp)
{
    struct options *options = options_new(text);
    struct request rq = { .op = OP_CREATE_OPTS, .filename = uri, .options = options, .errp = errp };
    int64_t ret = request_run(rq);

    options_free(options);
    return ret;
}

static void check_image(int64_t length)
{
    int64_t actual = -1;

    CHECK(fake_image_bytes(IMAGE, &actual));
    CHECK_INT(actual, length);
}

TEST(create_makes_an_image_of_exactly_the_size)
{
    CHECK_INT(create(LOCATION ",size=#1001", NULL), 0);
    check_image(1001);
}

TEST(create_opts_makes_an_image_of_whole_sectors)
{
    CHECK_INT(create_opts(URI, "size=#1001", NULL), 0);
    check_image(1024);
}

TEST(create_opts_takes_its_options_and_leaves_others)
{
    struct options *options = options_new("size=#512,preallocation=off,debug=#7,logfile=/tmp/log,other=x");
    struct request rq = { .op = OP_CREATE_OPTS, .filename = URI, .options = options };

    CHECK_INT(request_run(rq), 0);
    CHECK_INT(options_left(options), 1);
    CHECK(options_have(options, "other"));
    CHECK_CONTAINS(fake_volume_log(0), "logging /tmp/log 7\n");
    options_free(options);
}

TEST(create_opts_without_a_size_makes_an_empty_image)
{
    CHECK_INT(create_opts(URI, "debug=#4", NULL), 0);
    check_image(0);
}

TEST(create_with_each_preallocation_makes_the_image)
{
    static const char *const modes[] = { "off", "falloc", "full" };
    unsigned i;

    for (i = 0; i < 3; i++) {
        char text[512];

        snprintf(text, sizeof(text), LOCATION ",size=#65536,preallocation=%s", modes[i]);
        CHECK_INT(create(text, NULL), 0);
        check_image(65536);
        snprintf(text, sizeof(text), "size=#65536,preallocation=%s", modes[i]);
        CHECK_INT(create_opts(URI, text, NULL), 0);
        check_image(65536);
    }
    CHECK_INT(fake_count(FAKE_FALLOCATE), 2);
    CHECK_INT(fake_count(FAKE_ZEROFILL), 2);
}

static void check_refused(const char *text, int64_t ret, const char *named)
{
    Error *error = NULL;

    CHECK_INT(create(text, &error), ret);
    CHECK(error);
    CHECK_CONTAINS(error->message, named);
    error_free(error);
    CHECK_INT(create(text, NULL), ret);
    CHECK_INT(fake_count(FAKE_NEW), 0);
}

TEST(create_refuses_vsock_and_fd_servers_with_an_error)
{
    check_refused("size=#1,location.volume=v,location.path=p,location.server.0.type=vsock,location.server.0.cid=2,"
                  "location.server.0.port=1", -EINVAL, "vsock");
    check_refused("size=#1,location.volume=v,location.path=p,location.server.0.type=fd,location.server.0.str=f", -EINVAL,
                  "fd");
}

TEST(create_refuses_wrong_options_with_an_error)
{
    check_refused(LOCATION, -EINVAL, "");
    check_refused(LOCATION ",size=#-1", -EINVAL, "");
    check_refused(LOCATION ",size=#18446744073709551615", -EFBIG, "size");
    check_refused(LOCATION ",size=#512,preallocation=metadata", -EINVAL, "metadata");
    check_refused(LOCATION ",size=#512,location.debug=loud", -EINVAL, "debug");
    check_refused("size=#512,location.volume=vol", -EINVAL, "server.0");
}

TEST(create_opts_refuses_wrong_options_with_an_error)
{
    static const struct {
        const char *uri;
        const char *options;
        int64_t ret;
    } cases[] = {
        { "gluster://h/v", "size=#512", -EINVAL },
        { "file:///v/p", "size=#512", -EINVAL },
        { "", "size=#512", -EINVAL },
        { URI, "size=#512,preallocation=metadata", -EINVAL },
        { URI, "size=#512,debug=loud", -EINVAL },
        { URI, "size=#18446744073709551615", -EFBIG },
        { URI, "size=#9223372036854775808", -EFBIG },
    };
    unsigned i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        Error *error = NULL;

        CHECK_INT(create_opts(cases[i].uri, cases[i].options, &error), cases[i].ret);
        CHECK(error);
        error_free(error);
    }
    CHECK_INT(fake_count(FAKE_NEW), 0);
}

TEST(create_over_an_existing_image_empties_it)
{
    fake_image(IMAGE, 65536);
    fake_image_fill(IMAGE, 0, 4096);
    CHECK_INT(create(LOCATION ",size=#512", NULL), 0);
    check_image(512);
    CHECK_INT(fake_image_bytes(IMAGE, NULL)[0], 0);
}

static void check_leaves_nothing(enum fake_call call, const char *options, int error)
{
    Error *err = NULL;

    fake_fail_some(call, 0, 1, error);
    CHECK_INT(create(options, &err), -error);
    CHECK(err);
    error_free(err);
    CHECK(!fake_image_exists(IMAGE));
    CHECK_INT(fake_open_files(), 0);
}

TEST(a_failed_create_leaves_no_new_file_behind)
{
    check_leaves_nothing(FAKE_FTRUNCATE, LOCATION ",size=#65536", EDQUOT);
    check_leaves_nothing(FAKE_FALLOCATE, LOCATION ",size=#65536,preallocation=falloc", ENOTSUP);
    check_leaves_nothing(FAKE_ZEROFILL, LOCATION ",size=#65536,preallocation=full", ENOSPC);
    check_leaves_nothing(FAKE_FSTAT, LOCATION ",size=#65536", EIO);
    check_leaves_nothing(FAKE_CREAT, LOCATION ",size=#65536", EACCES);
    check_leaves_nothing(FAKE_CLOSE, LOCATION ",size=#65536", ENOSPC);
}

TEST(a_failed_create_keeps_a_file_that_was_there)
{
    fake_image(IMAGE, 65536);
    fake_fail_some(FAKE_ZEROFILL, 0, 1, ENOSPC);
    CHECK_INT(create(LOCATION ",size=#131072,preallocation=full", NULL), -ENOSPC);
    CHECK(fake_image_exists(IMAGE));
    CHECK_INT(fake_count(FAKE_UNLINK), 0);
}

TEST(a_failed_create_that_cannot_unlink_gives_the_first_error)
{
    fake_fail(FAKE_UNLINK, EROFS);
    fake_fail(FAKE_FTRUNCATE, ENOSPC);
    CHECK_INT(create(LOCATION ",size=#65536", NULL), -ENOSPC);
}

TEST(create_without_a_connection_names_the_servers)
{
    Error *error = NULL;

    fake_fail(FAKE_INIT, ENOTCONN);
    CHECK_INT(create(LOCATION ",size=#512", &error), -ENOTCONN);
    CHECK_CONTAINS(error->hint, "host port 24007");
    error_free(error);
    fake_wait_for_no_volume();
}

TEST(create_does_not_block_the_event_loop)
{
    struct options *options = options_new(LOCATION ",size=#512");
    struct request *rq;
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(512);

    fake_image("b.img", 512);
    node_open_ok(&bs, "filename=gluster://host/vol/b.img", 0);
    fake_close_gate(FAKE_CREAT);
    rq = request_start(loop_default(), (struct request) { .op = OP_CREATE, .options = options });
    co_wait_parked(rq->co, 1);
    CHECK_INT(do_read(&bs, 0, qiov), 0);
    fake_open_gate(FAKE_CREAT);
    CHECK_INT(request_finish(rq), 0);
    gluster.close(&bs);
    options_free(options);
    qiov_free(qiov);
}

TEST(created_images_can_be_opened)
{
    BlockDriverState bs = { 0 };

    CHECK_INT(create_opts(URI, "size=#4096", NULL), 0);
    node_open_ok(&bs, IMAGE_URI, QBR_O_RDWR);
    CHECK_INT(gluster.getlength(&bs), 4096);
    CHECK_INT(fake_count(FAKE_NEW), 1);
    gluster.close(&bs);
}
