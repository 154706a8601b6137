/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * A panic in each export of the release archive. The list of exports comes from the archive itself, so that none can be
 * forgotten: an export without an entry here is a failed test.
 */

#include "../request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const exports[] = {
#include "exports.inc"
};

#define EXPORTS (sizeof(exports) / sizeof(exports[0]))
#define PREFIX "panic_in_"
/* Exports of the other drivers have files of their own (quorum/panic.c and so on). */
static const char *const not_here[] = { "qbr_quorum_", "qbr_rbd_", "qbr_replication_" };

/* What a test works on: an open node, and a reopen of it that is prepared. */
struct scene {
    BlockDriverState bs;
    BDRVReopenState reopen;
    QEMUIOVector *qiov;
    Error *error;
};

enum after {
    /* The node takes no more requests. */
    POISONED,
    /* There is no node, or it is not the node's fault. */
    UNTOUCHED,
};

struct export {
    const char *name;
    /* Calls the export; what it returns, and 0 if it returns nothing. */
    int64_t (*call)(struct scene *scene);
    int64_t expected;
    bool sets_error;
    enum after after;
};

static int64_t request(struct scene *scene, enum op op)
{
    return request_run((struct request) {
        .op = op, .bs = &scene->bs, .bytes = 512, .qiov = scene->qiov, .mode = QBR_WANT_ZERO, .errp = &scene->error });
}

static int64_t call_open(struct scene *scene)
{
    BlockDriverState bs = { .name = "other" };
    int ret = node_open(&bs, IMAGE_URI, 0, &scene->error);

    CHECK(!bs.state);
    return ret;
}

static int64_t call_close(struct scene *scene)
{
    gluster.close(&scene->bs);
    return 0;
}

static int64_t call_reopen_prepare(struct scene *scene)
{
    BDRVReopenState state = { .bs = &scene->bs };
    int ret = gluster.reopen_prepare(&state, NULL, &scene->error);

    CHECK(!state.state);
    return ret;
}

static int64_t call_reopen_commit(struct scene *scene)
{
    gluster.reopen_commit(&scene->reopen);
    return 0;
}

static int64_t call_reopen_abort(struct scene *scene)
{
    gluster.reopen_abort(&scene->reopen);
    return 0;
}

static int64_t call_co_create(struct scene *scene)
{
    struct options *options = options_new("size=#512");
    int64_t ret = request_run((struct request) { .op = OP_CREATE, .options = options, .errp = &scene->error });

    options_free(options);
    return ret;
}

static int64_t call_co_create_opts(struct scene *scene)
{
    struct options *options = options_new("size=#512");
    struct request rq = {
        .op = OP_CREATE_OPTS, .filename = "gluster://h/v/p", .options = options, .errp = &scene->error
    };
    int64_t ret = request_run(rq);

    options_free(options);
    return ret;
}

static int64_t call_refresh_limits(struct scene *scene)
{
    gluster.refresh_limits(&scene->bs, NULL);
    CHECK(!scene->bs.limits_set);
    return 0;
}

#define REQUEST(name, op)                                   \
    static int64_t call_##name(struct scene *scene)         \
    {                                                       \
        return request(scene, op);                          \
    }

REQUEST(co_truncate, OP_TRUNCATE)
REQUEST(getlength, OP_LENGTH)
REQUEST(get_allocated_file_size, OP_ALLOCATED)
REQUEST(co_preadv, OP_READ)
REQUEST(co_pwritev, OP_WRITE)
REQUEST(co_pwrite_zeroes, OP_ZERO)
REQUEST(co_pdiscard, OP_DISCARD)
REQUEST(co_flush_to_disk, OP_FLUSH)
REQUEST(co_block_status, OP_STATUS)

static const struct export known[] = {
    { "qbr_gluster_open", call_open, -EIO, true, UNTOUCHED },
    { "qbr_gluster_close", call_close, 0, false, POISONED },
    { "qbr_gluster_reopen_prepare", call_reopen_prepare, -EIO, true, POISONED },
    { "qbr_gluster_reopen_commit", call_reopen_commit, 0, false, POISONED },
    { "qbr_gluster_reopen_abort", call_reopen_abort, 0, false, POISONED },
    { "qbr_gluster_co_create", call_co_create, -EIO, true, UNTOUCHED },
    { "qbr_gluster_co_create_opts", call_co_create_opts, -EIO, true, UNTOUCHED },
    { "qbr_gluster_co_truncate", call_co_truncate, -EIO, true, POISONED },
    { "qbr_gluster_getlength", call_getlength, -EIO, false, POISONED },
    { "qbr_gluster_get_allocated_file_size", call_get_allocated_file_size, -EIO, false, POISONED },
    { "qbr_gluster_co_preadv", call_co_preadv, -EIO, false, POISONED },
    { "qbr_gluster_co_pwritev", call_co_pwritev, -EIO, false, POISONED },
    { "qbr_gluster_co_pwrite_zeroes", call_co_pwrite_zeroes, -EIO, false, POISONED },
    { "qbr_gluster_co_pdiscard", call_co_pdiscard, -EIO, false, POISONED },
    { "qbr_gluster_co_flush_to_disk", call_co_flush_to_disk, -EIO, false, POISONED },
    { "qbr_gluster_co_block_status", call_co_block_status, -EIO, false, POISONED },
    { "qbr_gluster_refresh_limits", call_refresh_limits, 0, false, POISONED },
};

/* Exports that do nothing that could panic: they return a constant or set a pointer. */
static const char *const constants[] = { "qbr_abi_version", "qbr_host_version", "qbr_test_panic_in" };

static const struct export *find(const char *name)
{
    unsigned i;

    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (!strcmp(known[i].name, name)) {
            return &known[i];
        }
    }
    return NULL;
}

static bool is_constant(const char *name)
{
    unsigned i;

    for (i = 0; i < sizeof(constants) / sizeof(constants[0]); i++) {
        if (!strcmp(constants[i], name)) {
            return true;
        }
    }
    return false;
}

static void set_up(struct scene *scene)
{
    *scene = (struct scene) { .qiov = qiov_flat(512) };
    node_with_image(&scene->bs, 4096);
    scene->reopen = (BDRVReopenState) { .bs = &scene->bs };
    CHECK_INT(gluster.reopen_prepare(&scene->reopen, NULL, NULL), 0);
}

/* What was not taken back because of the panic. */
static void tear_down(struct scene *scene)
{
    gluster.reopen_abort(&scene->reopen);
    gluster.close(&scene->bs);
    CHECK(!scene->bs.state);
    qiov_free(scene->qiov);
}

static void check_poisoned(struct scene *scene)
{
    unsigned reads = fake_count(FAKE_PREADV);

    CHECK_INT(request(scene, OP_READ), -EIO);
    CHECK_INT(request(scene, OP_WRITE), -EIO);
    CHECK_INT(request(scene, OP_FLUSH), -EIO);
    CHECK_INT(request(scene, OP_LENGTH), -EIO);
    CHECK_INT(gluster.reopen_prepare(&(BDRVReopenState) { .bs = &scene->bs }, NULL, NULL), -EIO);
    CHECK_INT(fake_count(FAKE_PREADV), reads);
}

static void check_panic(void *opaque)
{
    const char *name = opaque;
    const struct export *export = find(name);
    BlockDriverState fresh = { 0 };
    struct scene scene;

    if (!export) {
        test_fail(__FILE__, __LINE__, "%s is exported, but panic.c doesn't know how to call it", name);
    }
    set_up(&scene);
    qbr_test_panic_in(name);
    CHECK_INT(export->call(&scene), export->expected);
    CHECK_INT(errors_reported(), 1);
    CHECK_CONTAINS(last_error_reported(), name);
    CHECK(!!scene.error == export->sets_error);
    error_free(scene.error);
    if (export->after == POISONED) {
        check_poisoned(&scene);
    } else {
        CHECK_INT(request(&scene, OP_READ), 0);
    }
    /* Said once, however many requests came after. */
    CHECK_INT(errors_reported(), 1);
    tear_down(&scene);
    /* The process goes on, and so does the connection. */
    node_open_ok(&fresh, IMAGE_URI, QBR_O_RDWR);
    CHECK_INT(do_flush(&fresh), 0);
    gluster.close(&fresh);
}

static bool is_elsewhere(const char *name)
{
    unsigned i;

    for (i = 0; i < sizeof(not_here) / sizeof(not_here[0]); i++) {
        if (!strncmp(name, not_here[i], strlen(not_here[i]))) {
            return true;
        }
    }
    return false;
}

__attribute__((constructor)) static void add_tests(void)
{
    static char names[EXPORTS][128];
    unsigned i;

    for (i = 0; i < EXPORTS; i++) {
        if (!is_constant(exports[i]) && !is_elsewhere(exports[i])) {
            snprintf(names[i], sizeof(names[i]), PREFIX "%s", exports[i]);
            test_add(names[i], check_panic, (void *)exports[i]);
        }
    }
}

TEST(each_export_that_panics_is_still_exported)
{
    unsigned i, j;

    for (i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        bool found = false;

        for (j = 0; j < EXPORTS; j++) {
            found |= !strcmp(known[i].name, exports[j]);
        }
        if (!found) {
            test_fail(__FILE__, __LINE__, "%s is not exported any more", known[i].name);
        }
    }
}

TEST(a_panic_order_can_be_taken_back)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 512);
    qbr_test_panic_in("qbr_gluster_co_flush_to_disk");
    qbr_test_panic_in(NULL);
    CHECK_INT(do_flush(&bs), 0);
    gluster.close(&bs);
}

TEST(a_panic_with_requests_in_flight_lets_them_end)
{
    enum { COUNT = 16 };
    BlockDriverState bs = { 0 };
    struct request *reads[COUNT];
    struct loop *other = loop_start();
    QEMUIOVector *qiov = qiov_flat(512);
    unsigned i;

    node_with_image(&bs, 65536);
    fake_mode(FAKE_WHEN_RELEASED);
    for (i = 0; i < COUNT; i++) {
        reads[i] = request_start(i % 2 ? other : loop_default(), (struct request) {
            .op = OP_READ, .bs = &bs, .offset = i * 4096, .bytes = 4096, .qiov = qiov_flat(4096) });
    }
    fake_wait_for_held(COUNT);
    qbr_test_panic_in("qbr_gluster_co_pwritev");
    CHECK_INT(do_write(&bs, 0, qiov), -EIO);
    CHECK_INT(do_read(&bs, 0, qiov), -EIO);
    fake_release_all();
    for (i = 0; i < COUNT; i++) {
        QEMUIOVector *memory = reads[i]->qiov;

        CHECK_INT(request_finish(reads[i]), 0);
        CHECK_INT(qiov_byte(memory, 100), fake_byte(i * 4096 + 100));
        qiov_free(memory);
    }
    gluster.close(&bs);
    loop_stop(other);
    qiov_free(qiov);
}

TEST(many_panics_leave_the_process_in_order)
{
    unsigned i;

    for (i = 0; i < test_rounds(100); i++) {
        BlockDriverState bs = { 0 };

        node_with_image(&bs, 512);
        qbr_test_panic_in("qbr_gluster_co_flush_to_disk");
        CHECK_INT(do_flush(&bs), -EIO);
        gluster.close(&bs);
    }
    CHECK_INT(fake_count(FAKE_NEW), 1);
}
