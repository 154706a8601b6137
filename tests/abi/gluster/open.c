/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Opening: options, what the library is told, and what failures leave behind. */

#include "../request.h"

#define SERVER "server.0.type=inet,server.0.host=h,server.0.port=24007"

/* Opens, and expects an error of that number and with that text. */
static void check_fails(const char *options, int flags, int ret, const char *message)
{
    BlockDriverState bs = { .name = "node" };
    Error *error = NULL;

    CHECK_INT(node_open(&bs, options, flags, &error), ret);
    CHECK(error);
    CHECK_CONTAINS(error->message, message);
    error_free(error);
    /* The same without a place for the error. */
    CHECK_INT(node_open(&bs, options, flags, NULL), ret);
    CHECK(!bs.state);
    CHECK_INT(fake_open_files(), 0);
}

TEST(each_option_error_is_einval_and_names_the_option)
{
    static const struct {
        const char *options;
        const char *named;
    } cases[] = {
        { "debug=#4", "server.0" },
        { "path=p," SERVER, "volume" },
        { "volume=v," SERVER, "path" },
        { "volume=,path=p," SERVER, "volume" },
        { "volume=v,path=," SERVER, "path" },
        { "volume=v,path=p", "server.0" },
        { "volume=v,path=p,server.0.host=h,server.0.port=1", "server.0.type" },
        { "volume=v,path=p,server.0.type=inet,server.0.port=1", "server.0.host" },
        { "volume=v,path=p,server.0.type=inet,server.0.host=h", "server.0.port" },
        { "volume=v,path=p,server.0.type=inet,server.0.host=h,server.0.port=#65536", "server.0.port" },
        { "volume=v,path=p,server.0.type=inet,server.0.host=h,server.0.port=#-1", "server.0.port" },
        { "volume=v,path=p,server.0.type=unix", "server.0.path" },
        { "volume=v,path=p,server.0.type=unix,server.0.path=/a,server.0.socket=/b", "server.0.socket" },
        { "volume=v,path=p,server.0.type=vsock,server.0.cid=3,server.0.port=1", "server.0.type" },
        { "volume=v,path=p,server.0.type=fd,server.0.str=fd", "server.0.type" },
        { "volume=v,path=p," SERVER ",server.0.to=#5", "server.0.to" },
        { "volume=v,path=p," SERVER ",server.0.ipv4=?on", "server.0.ipv4" },
        { "volume=v,path=p," SERVER ",server.0.ipv6=?off", "server.0.ipv6" },
        { "volume=v,path=p," SERVER ",server.2.type=unix,server.2.path=/s", "server.1" },
        { "volume=v,path=p," SERVER ",debug=loud", "debug" },
        { "filename=gluster://h/v/p,debug=4k", "debug" },
        { "filename=gluster://h/v", "gluster://h/v" },
        { "filename=gluster+rdma://h/v/p", "gluster+rdma://h/v/p" },
        { "filename=gluster://h:port/v/p", "gluster://h:port/v/p" },
        { "filename=gluster+unix:///v/p", "gluster+unix:///v/p" },
        { "filename=gluster+unix://h/v/p?socket=/s", "gluster+unix://h/v/p" },
    };
    unsigned i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        check_fails(cases[i].options, QBR_O_RDWR, -EINVAL, cases[i].named);
    }
    CHECK_INT(fake_count(FAKE_NEW), 0);
}

TEST(an_option_error_has_a_usage_hint)
{
    BlockDriverState bs = { .name = "node" };
    Error *error = NULL;

    CHECK_INT(node_open(&bs, "volume=v", 0, &error), -EINVAL);
    CHECK_CONTAINS(error->hint, "Usage:");
    error_free(error);
}

TEST(options_of_others_stay_in_the_dictionary)
{
    BlockDriverState bs = { .name = "node" };
    struct options *dict = options_new(IMAGE_URI ",debug=#4,cache.direct=?on,volume=x,server.0.type=inet,foo=!{}");

    fake_image(IMAGE, 512);
    CHECK_INT(gluster.open(&bs, as_qdict(dict), 0, NULL), 0);
    CHECK_INT(options_left(dict), 4);
    CHECK(options_have(dict, "cache.direct") && options_have(dict, "foo"));
    /* Beside a URI the members are nobody's. */
    CHECK(options_have(dict, "volume") && options_have(dict, "server.0.type"));
    gluster.close(&bs);
    options_free(dict);
}

TEST(an_option_that_is_no_scalar_stays_and_is_missing)
{
    BlockDriverState bs = { .name = "node" };
    struct options *dict = options_new("volume=!{},path=p," SERVER);
    Error *error = NULL;

    CHECK_INT(gluster.open(&bs, as_qdict(dict), 0, &error), -EINVAL);
    CHECK_CONTAINS(error->message, "volume");
    CHECK(options_have(dict, "volume"));
    error_free(error);
    options_free(dict);
}

TEST(a_uri_connects_before_it_opens_with_resync_on)
{
    BlockDriverState bs = { 0 };

    fake_image(IMAGE, 512);
    node_open_ok(&bs, "filename=gluster://host:1234/vol/" IMAGE ",debug=#4,logfile=/tmp/log", QBR_O_RDWR);
    CHECK_TEXT(fake_volume_log(0), "new vol\n"
                                   "server tcp host 1234\n"
                                   "logging /tmp/log 4\n"
                                   "xlator *-write-behind resync-failed-syncs-after-fsync on\n"
                                   "xlator vol log-level ERROR\n"
                                   "xlator *-io-threads pass-through true\n"
                                   "init\n");
    gluster.close(&bs);
}

TEST(a_unix_uri_uses_the_socket)
{
    BlockDriverState bs = { 0 };

    fake_image(IMAGE, 512);
    node_open_ok(&bs, "filename=gluster+unix:///vol/" IMAGE "?socket=/run/my%20socket", 0);
    CHECK_CONTAINS(fake_volume_log(0), "\nserver unix /run/my socket 0\n");
    gluster.close(&bs);
}

TEST(all_servers_are_handed_over_in_their_order)
{
    BlockDriverState bs = { 0 };

    fake_image(IMAGE, 512);
    node_open_ok(&bs,
                 "server.2.host=three,server.2.port=3,server.2.type=tcp,"
                 "server.10.type=inet,server.10.host=eleven,server.10.port=11,"
                 "volume=vol,path=" IMAGE ",server.0.type=inet,server.0.host=one,server.0.port=#1,"
                 "server.1.type=unix,server.1.path=/two,server.3.type=unix,server.3.socket=/four,"
                 "server.4.type=inet,server.4.host=five,server.4.port=5,server.5.type=inet,server.5.host=six,"
                 "server.5.port=6,server.6.type=inet,server.6.host=seven,server.6.port=7,server.7.type=inet,"
                 "server.7.host=eight,server.7.port=8,server.8.type=inet,server.8.host=nine,server.8.port=9,"
                 "server.9.type=inet,server.9.host=ten,server.9.port=10",
                 0);
    CHECK_CONTAINS(fake_volume_log(0),
                   "new vol\nserver tcp one 1\nserver unix /two 0\nserver tcp three 3\nserver unix /four 0\n"
                   "server tcp five 5\nserver tcp six 6\nserver tcp seven 7\nserver tcp eight 8\nserver tcp nine 9\n"
                   "server tcp ten 10\nserver tcp eleven 11\nlogging - 4\n");
    gluster.close(&bs);
}

TEST(a_missing_image_is_enoent_and_leaves_nothing_open)
{
    check_fails(IMAGE_URI, QBR_O_RDWR, -ENOENT, IMAGE);
    /* Both tries used one connection. */
    CHECK_INT(fake_count(FAKE_NEW), 1);
}

TEST(a_failed_connect_gives_its_error_and_names_the_servers)
{
    BlockDriverState bs = { .name = "node" };
    Error *error = NULL;

    fake_fail(FAKE_INIT, ETIMEDOUT);
    CHECK_INT(node_open(&bs, IMAGE_URI, 0, &error), -ETIMEDOUT);
    CHECK_CONTAINS(error->message, "vol");
    CHECK_CONTAINS(error->hint, "host port 24007");
    error_free(error);
    fake_wait_for_no_volume();
}

TEST(a_failed_connect_without_a_reason_is_einval)
{
    fake_fail(FAKE_INIT, 0);
    check_fails(IMAGE_URI, 0, -EINVAL, "vol");
    fake_wait_for_no_volume();
}

TEST(each_step_of_connecting_that_fails_ends_the_client)
{
    static const enum fake_call steps[] = { FAKE_NEW, FAKE_SET_SERVER, FAKE_SET_LOGGING, FAKE_SET_XLATOR, FAKE_INIT };
    BlockDriverState bs = { 0 };
    unsigned i;

    for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        fake_fail_some(steps[i], 0, 1, ENOMEM);
        CHECK_INT(node_open(&bs, IMAGE_URI, 0, NULL), -ENOMEM);
        fake_pass(steps[i]);
        fake_wait_for_no_volume();
    }
    /* And the next one connects anew. */
    fake_image(IMAGE, 512);
    node_open_ok(&bs, IMAGE_URI, 0);
    gluster.close(&bs);
}

TEST(a_file_that_cannot_be_examined_is_closed_again)
{
    fake_image(IMAGE, 512);
    fake_fail(FAKE_FSTAT, ESTALE);
    check_fails(IMAGE_URI, QBR_O_RDWR, -ESTALE, "");
    CHECK_INT(fake_count(FAKE_CLOSE), fake_count(FAKE_OPEN) + fake_count(FAKE_DUP));
}

TEST(a_file_without_a_descriptor_to_search_with_is_closed_again)
{
    fake_image(IMAGE, 512);
    fake_fail(FAKE_DUP, ENOMEM);
    check_fails(IMAGE_URI, QBR_O_RDWR, -ENOMEM, "");
    CHECK_INT(fake_count(FAKE_CLOSE), fake_count(FAKE_OPEN));
}

static void check_auto_read_only(int reason)
{
    BlockDriverState bs = { .name = "node" };
    QEMUIOVector *qiov = qiov_flat(512);

    fake_image(IMAGE, 4096);
    fake_image_read_only(reason);
    node_open_ok(&bs, IMAGE_URI, QBR_O_RDWR);
    CHECK_INT(bs.auto_read_only_asked, 1);
    CHECK_INT(do_read(&bs, 0, qiov), 0);
    CHECK_INT(do_write(&bs, 0, qiov), -EBADF);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(auto_read_only_opens_an_image_without_permission_to_write)
{
    check_auto_read_only(EACCES);
}

TEST(auto_read_only_opens_an_image_on_a_read_only_volume)
{
    check_auto_read_only(EROFS);
}

TEST(without_auto_read_only_the_reason_is_the_error)
{
    BlockDriverState bs = { .name = "node", .auto_read_only = -EINVAL };
    Error *error = NULL;

    fake_image(IMAGE, 4096);
    fake_image_read_only(EACCES);
    CHECK_INT(node_open(&bs, IMAGE_URI, QBR_O_RDWR, &error), -EACCES);
    CHECK(error);
    error_free(error);
    CHECK_INT(bs.auto_read_only_asked, 1);
}

TEST(other_errors_do_not_ask_for_auto_read_only)
{
    BlockDriverState bs = { .name = "node" };

    fake_image(IMAGE, 4096);
    fake_image_read_only(ENOSPC);
    CHECK_INT(node_open(&bs, IMAGE_URI, QBR_O_RDWR, NULL), -ENOSPC);
    CHECK_INT(bs.auto_read_only_asked, 0);
}

TEST(a_successful_open_prints_nothing)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 512);
    gluster.close(&bs);
    CHECK_INT(errors_reported(), 0);
}
