/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Creating images, in both ways. */

#include "rbd.h"

static int64_t create(const char *text, Error **errp)
{
    struct options *options = options_new(text);
    int64_t ret = rbd_run((struct rbd_request) { .op = R_CREATE, .options = options, .errp = errp });

    options_free(options);
    ceph_wait_for_no_client();
    return ret;
}

static int64_t create_opts(const char *name, const char *text, Error **errp)
{
    struct options *options = options_new(text);
    int64_t ret = rbd_run((struct rbd_request) {
        .op = R_CREATE_OPTS, .filename = name, .options = options, .errp = errp });

    options_free(options);
    ceph_wait_for_no_client();
    return ret;
}

static void check_size(const char *options, int64_t size, uint32_t object_size)
{
    BlockDriverState bs = { 0 };
    BlockDriverInfo info;

    rbd_open_ok(&bs, options, 0);
    CHECK_INT(rbd.getlength(&bs), size);
    CHECK_INT(rbd.get_info(&bs, &info), 0);
    CHECK_INT(info.cluster_size, object_size);
    check_hole(&bs, 0, 512);
    rbd_close(&bs);
}

TEST(rbd_create_makes_an_image_of_exactly_the_size)
{
    CHECK_INT(create("size=#1001,location.pool=rbd,location.image=a", NULL), 0);
    check_size("pool=rbd,image=a", 1001, 4 << 20);
}

TEST(rbd_create_opts_makes_an_image_of_whole_sectors)
{
    CHECK_INT(create_opts("rbd:rbd/a", "size=#1001,cluster_size=#65536", NULL), 0);
    check_size("pool=rbd,image=a", 1024, 65536);
}

TEST(rbd_create_follows_the_configured_defaults)
{
    ceph_setting("rbd_default_order", "20");
    ceph_setting("rbd_default_features", "1");
    CHECK_INT(create("size=#10001,location.pool=rbd,location.image=a", NULL), 0);
    check_size("pool=rbd,image=a", 10001, 1 << 20);
    CHECK_CONTAINS(ceph_log(), "exec rbd_directory dir_add_image");
}

TEST(rbd_create_follows_what_is_configured_for_the_pool)
{
    ceph_setting("rbd_default_order", "20");
    ceph_pool_setting("rbd_default_features", "1");
    ceph_pool_setting("rbd_default_format", "1");
    ceph_pool_setting("rbd_default_order", "21");
    ceph_pool_setting("rbd_qos_iops_limit", "10");
    CHECK_INT(create("size=#10001,location.pool=rbd,location.image=a", NULL), 0);
    check_size("pool=rbd,image=a", 10001, 2 << 20);
    /* Not format 1, and the features of the pool. */
    CHECK_CONTAINS(ceph_log(), "exec rbd_directory dir_add_image");
    CHECK_INT(ceph_log_count("object_map_resize"), 0);
    /* What is said of the image counts first. */
    CHECK_INT(create("size=#10001,cluster-size=#65536,location.pool=rbd,location.image=b", NULL), 0);
    check_size("pool=rbd,image=b", 10001, 1 << 16);
    CHECK_INT(create_opts("rbd:rbd/c:rbd_default_order=19", "size=#512", NULL), 0);
    check_size("pool=rbd,image=c", 512, 1 << 19);
}

TEST(rbd_create_with_the_data_in_the_pool_that_is_configured_for_the_pool)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    Error *error = NULL;

    ceph_pool_setting("rbd_default_data_pool", "data");
    CHECK_INT(create("size=#512,location.pool=rbd,location.image=a", NULL), 0);
    rbd_open_ok(&bs, "pool=rbd,image=a", QBR_O_RDWR);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    /* Named after the pool that has the header. */
    CHECK_CONTAINS(ceph_log(), "write rbd_data.2.");
    rbd_close(&bs);
    qiov_free(qiov);
    CHECK_INT(create_opts("rbd:rbd/b:rbd_default_data_pool=nowhere", "size=#512", &error), -ENOENT);
    CHECK_CONTAINS(error->message, "'nowhere'");
    error_free(error);
}

TEST(rbd_create_by_a_client_that_may_not_ask_for_the_pools_settings)
{
    ceph_fail_object("rbd_info", CEPH_READ_OP, 0, 1, EPERM);
    CHECK_INT(create("size=#512,location.pool=rbd,location.image=a", NULL), 0);
    check_size("pool=rbd,image=a", 512, 4 << 20);
}

TEST(rbd_create_of_format1_as_configured)
{
    ceph_setting("rbd_default_format", "1");
    CHECK_INT(create("size=#10001,location.pool=rbd,location.image=a", NULL), 0);
    CHECK_INT(create("size=#10001,location.pool=rbd,location.image=b", NULL), 0);
    check_size("pool=rbd,image=a", 10001, 4 << 20);
    CHECK_INT(create("size=#10001,location.pool=rbd,location.image=a", NULL), -EEXIST);
}

TEST(rbd_create_in_a_namespace)
{
    Error *error = NULL;

    ceph_namespace("ns");
    CHECK_INT(create("size=#512,location.pool=rbd,location.namespace=ns,location.image=a", NULL), 0);
    check_size("pool=rbd,namespace=ns,image=a", 512, 4 << 20);
    rbd_open_fails("pool=rbd,image=a", 0, ENOENT, "'a'");
    CHECK_INT(create("size=#512,location.pool=rbd,location.namespace=none,location.image=a", &error), -ENOENT);
    CHECK_CONTAINS(error->message, "'none'");
    error_free(error);
}

TEST(rbd_create_of_an_image_that_exists_leaves_it)
{
    Error *error = NULL;

    ceph_image(IMAGE, OBJECT, ORDER, 0);
    CHECK_INT(create("size=#512,location.pool=rbd,location.image=a", &error), -EEXIST);
    CHECK_CONTAINS(error->message, "'a'");
    error_free(error);
    check_size("pool=rbd,image=a", OBJECT, OBJECT);
}

TEST(rbd_create_with_the_data_elsewhere)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_bytes(512, 0);
    unsigned objects;

    ceph_setting("rbd_default_data_pool", "data");
    ceph_setting("rbd_default_features", "1");
    CHECK_INT(create("size=#512,location.pool=rbd,location.image=a", NULL), 0);
    objects = ceph_objects();
    rbd_open_ok(&bs, "pool=rbd,image=a", QBR_O_RDWR);
    CHECK_INT(rbd_write(&bs, 0, qiov), 0);
    check_image(&bs, 0, 512, 0);
    CHECK_INT(ceph_objects(), objects + 1);
    rbd_close(&bs);
    qiov_free(qiov);
}

static void fail(enum ceph_call call, unsigned skip, int error)
{
    ceph_fail_object("", call, skip, 1, error);
}

/* It is done, but the answer is lost. */
static void fail_late(enum ceph_call call, unsigned skip, int error)
{
    ceph_fail_object_late("", call, skip, 1, error);
}

/* It is done when nobody waits for it any more. */
static void delay(enum ceph_call call, unsigned skip, int error)
{
    ceph_delay_object("", call, skip, 1, error);
}

/* Whatever fails: the next try succeeds, so nothing was left behind. */
static void check_takes_back(enum ceph_call call, const char *format,
                             void (*fail)(enum ceph_call call, unsigned skip, int error), int with)
{
    unsigned step, before, made;
    Error *error;

    ceph_setting("rbd_default_format", format);
    CHECK_INT(create("size=#512,location.pool=rbd,location.image=first", NULL), 0);
    before = ceph_count(call);
    CHECK_INT(create("size=#512,location.pool=rbd,location.image=second", NULL), 0);
    made = ceph_count(call) - before;
    CHECK(made);
    before = ceph_objects();
    for (step = 0; step < made; step++) {
        error = NULL;
        fail(call, step, with);
        CHECK_INT(create("size=#512,location.pool=rbd,location.image=a", &error), -with);
        CHECK(error);
        error_free(error);
        ceph_pass_objects();
        ceph_do_delayed();
        CHECK(!ceph_image_exists("a"));
        CHECK_INT(ceph_objects(), before);
    }
    CHECK_INT(create("size=#512,location.pool=rbd,location.image=a", NULL), 0);
}

TEST(rbd_create_that_fails_takes_back_what_it_made)
{
    check_takes_back(CEPH_WRITE_OP, "2", fail, EPERM);
}

TEST(rbd_create_that_cannot_ask_takes_back_what_it_made)
{
    check_takes_back(CEPH_READ_OP, "2", fail, EIO);
}

TEST(rbd_create_of_format1_that_fails_takes_back_what_it_made)
{
    check_takes_back(CEPH_WRITE_OP, "1", fail, EPERM);
}

TEST(rbd_create_without_an_answer_takes_back_what_it_may_have_made)
{
    check_takes_back(CEPH_WRITE_OP, "2", fail, ETIMEDOUT);
}

TEST(rbd_create_whose_answer_is_lost_takes_back_what_it_has_made)
{
    check_takes_back(CEPH_WRITE_OP, "2", fail_late, ETIMEDOUT);
}

TEST(rbd_create_of_format1_whose_answer_is_lost_takes_back_what_it_has_made)
{
    check_takes_back(CEPH_WRITE_OP, "1", fail_late, ETIMEDOUT);
}

TEST(rbd_create_whose_changes_are_made_late_takes_them_back)
{
    check_takes_back(CEPH_WRITE_OP, "2", delay, ETIMEDOUT);
}

TEST(rbd_create_of_format1_whose_changes_are_made_late_takes_them_back)
{
    check_takes_back(CEPH_WRITE_OP, "1", delay, ETIMEDOUT);
}

/* Another client makes one of that name meanwhile: nobody knows whose object there is, but by what it holds. */
static void check_leaves_another(const char *format, const char *object, const void *content, size_t size)
{
    struct options *options = options_new("size=#512,location.pool=rbd,location.image=a");
    const unsigned char *there;
    struct rbd_request *rq;
    size_t length;

    ceph_setting("rbd_default_format", format);
    CHECK_INT(create("size=#512,location.pool=rbd,location.image=first", NULL), 0);
    ceph_mode(CEPH_WRITE_OP, CEPH_WHEN_RELEASED);
    rq = rbd_start(loop_default(), (struct rbd_request) { .op = R_CREATE, .options = options });
    ceph_wait_for_held(1);
    ceph_put(object, content, size);
    ceph_fail_object(object, CEPH_WRITE_OP, 0, 1, ETIMEDOUT);
    ceph_mode(CEPH_WRITE_OP, CEPH_ON_THREAD);
    ceph_release_all();
    CHECK_INT(rbd_finish(rq), -ETIMEDOUT);
    ceph_wait_for_no_client();
    there = ceph_bytes(object, &length);
    CHECK(there && length == size && !memcmp(there, content, size));
    options_free(options);
}

TEST(rbd_create_without_an_answer_leaves_the_id_of_another)
{
    check_leaves_another("2", "rbd_id.a", "\5\0\0\0other", 9);
}

TEST(rbd_create_of_format1_without_an_answer_leaves_the_header_of_another)
{
    check_leaves_another("1", "a.rbd", "<<< Rados Block Device Image >>>\n", 33);
}

TEST(rbd_create_refuses_what_it_cannot_make)
{
    static const struct {
        const char *options;
        int error;
        const char *message;
    } refused[] = {
        { "location.pool=rbd,location.image=a", EINVAL, "size" },
        { "size=#512,location.pool=rbd", EINVAL, "location.image" },
        { "size=#512,location.image=a", EINVAL, "location.pool" },
        { "size=#512,location.pool=rbd,location.image=a,location.snapshot=s", EINVAL, "location.snapshot" },
        { "size=#512,location.pool=rbd,location.image=a,cluster-size=#5000", EINVAL, "cluster-size" },
        { "size=#512,location.pool=rbd,location.image=a,cluster-size=#67108864", EINVAL, "cluster-size" },
        { "size=#512,location.pool=none,location.image=a", ENOENT, "'none'" },
        { "size=#9223372036854775808,location.pool=rbd,location.image=a", EFBIG, "9223372036854775808" },
        { "size=#512,location.pool=rbd,location.image=a,encrypt.format=luks,encrypt.key-secret=s", ENOTSUP, "luks" },
    };
    unsigned i;

    for (i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        Error *error = NULL;

        CHECK_INT(create(refused[i].options, &error), -refused[i].error);
        CHECK(error);
        CHECK_CONTAINS(error->message, refused[i].message);
        error_free(error);
    }
    CHECK_INT(ceph_objects(), 0);
}

TEST(rbd_create_does_not_block_its_loop)
{
    struct options *options = options_new("size=#512,location.pool=rbd,location.image=a");
    BlockDriverState bs = { 0 };
    struct rbd_request *rq;

    ceph_image("b", OBJECT, ORDER, 0);
    rbd_open_ok(&bs, "pool=rbd,image=b", 0);
    ceph_close_gate(CEPH_CONNECT);
    rq = rbd_start(loop_default(), (struct rbd_request) { .op = R_CREATE, .options = options });
    ceph_wait_for(CEPH_CONNECT, 2);
    check_hole(&bs, 0, 512);
    ceph_open_gate(CEPH_CONNECT);
    CHECK_INT(rbd_finish(rq), 0);
    options_free(options);
    rbd_close(&bs);
}

TEST(rbd_create_of_one_name_by_two_makes_one_image)
{
    struct options *options[2] = { options_new("size=#512,location.pool=rbd,location.image=a"),
                                   options_new("size=#1024,location.pool=rbd,location.image=a") };
    struct rbd_request *rq[2];
    int64_t ret[2];
    unsigned i;

    for (i = 0; i < 2; i++) {
        rq[i] = rbd_start(loop_default(), (struct rbd_request) { .op = R_CREATE, .options = options[i] });
    }
    for (i = 0; i < 2; i++) {
        ret[i] = rbd_finish(rq[i]);
        options_free(options[i]);
    }
    ceph_wait_for_no_client();
    CHECK(ret[0] != ret[1]);
    CHECK_INT(ret[0] + ret[1], -EEXIST);
    check_size("pool=rbd,image=a", ret[0] ? 1024 : 512, 4 << 20);
}
