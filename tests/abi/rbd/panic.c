/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* A panic in each export of rbd: the process goes on, the node takes no more requests, and close ends its connection. */

#include "rbd.h"

static const char *const exports[] = {
#include "exports.inc"
};

#define EXPORTS (sizeof(exports) / sizeof(exports[0]))
#define EXPORT_PREFIX "qbr_rbd_"
#define SNAPSHOT "one"

/* What a test works on: an open node with a snapshot, and a reopen of it that is prepared. */
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

static int64_t request(struct scene *scene, enum rbd_op op)
{
    return rbd_run((struct rbd_request) {
        .op = op, .bs = &scene->bs, .bytes = 512, .qiov = scene->qiov, .mode = QBR_WANT_ZERO, .errp = &scene->error });
}

static int64_t call_parse_filename(struct scene *scene)
{
    struct options *options = options_new("");

    rbd.parse_filename("rbd:rbd/a", as_qdict(options), &scene->error);
    CHECK_INT(options_left(options), 0);
    options_free(options);
    return 0;
}

static int64_t call_open(struct scene *scene)
{
    BlockDriverState bs = { .name = "other" };
    int ret = rbd_open(&bs, IMAGE_OPTIONS, 0, &scene->error);

    CHECK(!bs.state);
    return ret;
}

static int64_t call_close(struct scene *scene)
{
    rbd.close(&scene->bs);
    return 0;
}

static int64_t call_reopen_prepare(struct scene *scene)
{
    BDRVReopenState state = { .bs = &scene->bs };
    int ret = rbd.reopen_prepare(&state, NULL, &scene->error);

    CHECK(!state.state);
    return ret;
}

static int64_t call_reopen_commit(struct scene *scene)
{
    rbd.reopen_commit(&scene->reopen);
    return 0;
}

static int64_t call_reopen_abort(struct scene *scene)
{
    rbd.reopen_abort(&scene->reopen);
    return 0;
}

static int64_t call_co_create(struct scene *scene)
{
    struct options *options = options_new("size=#512,location.pool=rbd,location.image=b");
    int64_t ret = rbd_run((struct rbd_request) { .op = R_CREATE, .options = options, .errp = &scene->error });

    options_free(options);
    CHECK(!ceph_image_exists("b"));
    return ret;
}

static int64_t call_co_create_opts(struct scene *scene)
{
    struct options *options = options_new("size=#512");
    int64_t ret = rbd_run((struct rbd_request) {
        .op = R_CREATE_OPTS, .filename = "rbd:rbd/b", .options = options, .errp = &scene->error });

    options_free(options);
    CHECK(!ceph_image_exists("b"));
    return ret;
}

static int64_t call_get_info(struct scene *scene)
{
    BlockDriverInfo info = { .cluster_size = 77 };
    int ret = rbd.get_info(&scene->bs, &info);

    CHECK_INT(info.cluster_size, 77);
    return ret;
}

static int64_t call_get_specific_info(struct scene *scene)
{
    CHECK(!rbd.get_specific_info(&scene->bs, &scene->error));
    return 0;
}

static int64_t call_snapshot_create(struct scene *scene)
{
    return rbd_snapshot(&scene->bs, "two");
}

static int64_t call_snapshot_goto(struct scene *scene)
{
    return rbd.snapshot_goto(&scene->bs, SNAPSHOT);
}

static int64_t call_snapshot_delete(struct scene *scene)
{
    return rbd.snapshot_delete(&scene->bs, NULL, SNAPSHOT, &scene->error);
}

static int64_t call_snapshot_list(struct scene *scene)
{
    QEMUSnapshotInfo *table = (QEMUSnapshotInfo *)scene;
    int ret = rbd.snapshot_list(&scene->bs, &table);

    CHECK(!table);
    return ret;
}

static int64_t call_inactivate(struct scene *scene)
{
    return rbd.inactivate(&scene->bs);
}

#define REQUEST(name, op)                                   \
    static int64_t call_##name(struct scene *scene)         \
    {                                                       \
        return request(scene, op);                          \
    }

REQUEST(co_truncate, R_TRUNCATE)
REQUEST(getlength, R_LENGTH)
REQUEST(co_preadv, R_READ)
REQUEST(co_pwritev, R_WRITE)
REQUEST(co_pwrite_zeroes, R_ZERO)
REQUEST(co_pdiscard, R_DISCARD)
REQUEST(co_flush_to_disk, R_FLUSH)
REQUEST(co_block_status, R_STATUS)
REQUEST(co_invalidate_cache, R_INVALIDATE)

static const struct export known[] = {
    { "qbr_rbd_parse_filename", call_parse_filename, 0, true, UNTOUCHED },
    { "qbr_rbd_open", call_open, -EIO, true, UNTOUCHED },
    { "qbr_rbd_reopen_prepare", call_reopen_prepare, -EIO, true, POISONED },
    { "qbr_rbd_reopen_commit", call_reopen_commit, 0, false, POISONED },
    { "qbr_rbd_reopen_abort", call_reopen_abort, 0, false, POISONED },
    { "qbr_rbd_close", call_close, 0, false, POISONED },
    { "qbr_rbd_co_create", call_co_create, -EIO, true, UNTOUCHED },
    { "qbr_rbd_co_create_opts", call_co_create_opts, -EIO, true, UNTOUCHED },
    { "qbr_rbd_co_truncate", call_co_truncate, -EIO, true, POISONED },
    { "qbr_rbd_getlength", call_getlength, -EIO, false, POISONED },
    { "qbr_rbd_get_info", call_get_info, -EIO, false, POISONED },
    { "qbr_rbd_get_specific_info", call_get_specific_info, 0, true, POISONED },
    { "qbr_rbd_co_preadv", call_co_preadv, -EIO, false, POISONED },
    { "qbr_rbd_co_pwritev", call_co_pwritev, -EIO, false, POISONED },
    { "qbr_rbd_co_pwrite_zeroes", call_co_pwrite_zeroes, -EIO, false, POISONED },
    { "qbr_rbd_co_pdiscard", call_co_pdiscard, -EIO, false, POISONED },
    { "qbr_rbd_co_flush_to_disk", call_co_flush_to_disk, -EIO, false, POISONED },
    { "qbr_rbd_co_block_status", call_co_block_status, -EIO, false, POISONED },
    { "qbr_rbd_snapshot_create", call_snapshot_create, -EIO, false, POISONED },
    { "qbr_rbd_snapshot_goto", call_snapshot_goto, -EIO, false, POISONED },
    { "qbr_rbd_snapshot_delete", call_snapshot_delete, -EIO, true, POISONED },
    { "qbr_rbd_snapshot_list", call_snapshot_list, -EIO, false, POISONED },
    { "qbr_rbd_inactivate", call_inactivate, -EIO, false, POISONED },
    { "qbr_rbd_co_invalidate_cache", call_co_invalidate_cache, 0, true, POISONED },
};

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

static void set_up(struct scene *scene)
{
    *scene = (struct scene) { .qiov = qiov_flat(512) };
    ceph_image(IMAGE, OBJECT, ORDER, 0);
    ceph_snapshot(IMAGE, SNAPSHOT);
    rbd_open_ok(&scene->bs, IMAGE_OPTIONS, QBR_O_RDWR);
    scene->reopen = (BDRVReopenState) { .bs = &scene->bs };
    CHECK_INT(rbd.reopen_prepare(&scene->reopen, NULL, NULL), 0);
}

/* What was not taken back because of the panic. */
static void tear_down(struct scene *scene)
{
    rbd.reopen_abort(&scene->reopen);
    rbd_close(&scene->bs);
    qiov_free(scene->qiov);
}

static void check_poisoned(struct scene *scene)
{
    QEMUSnapshotInfo *table;

    ceph_log_clear();
    scene->error = NULL;
    CHECK_INT(request(scene, R_READ), -EIO);
    CHECK_INT(request(scene, R_WRITE), -EIO);
    CHECK_INT(request(scene, R_FLUSH), -EIO);
    CHECK_INT(request(scene, R_LENGTH), -EIO);
    CHECK_INT(request(scene, R_STATUS), -EIO);
    CHECK_INT(rbd_snapshot(&scene->bs, "three"), -EIO);
    CHECK_INT(rbd.snapshot_list(&scene->bs, &table), -EIO);
    CHECK_INT(rbd.reopen_prepare(&(BDRVReopenState) { .bs = &scene->bs }, NULL, NULL), -EIO);
    CHECK_TEXT(ceph_log(), "");
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
        CHECK_INT(request(&scene, R_READ), 0);
    }
    /* Said once, however many requests came after. */
    CHECK_INT(errors_reported(), 1);
    tear_down(&scene);
    CHECK_INT(ceph_image_snapshots(IMAGE), 1);
    /* The process goes on. */
    rbd_open_ok(&fresh, IMAGE_OPTIONS, QBR_O_RDWR);
    CHECK_INT(rbd_zero(&fresh, 0, 512, 0), 0);
    rbd_close(&fresh);
}

__attribute__((constructor)) static void add_tests(void)
{
    static char names[EXPORTS][128];
    unsigned i;

    for (i = 0; i < EXPORTS; i++) {
        if (!strncmp(exports[i], EXPORT_PREFIX, strlen(EXPORT_PREFIX))) {
            snprintf(names[i], sizeof(names[i]), "panic_in_%s", exports[i]);
            test_add(names[i], check_panic, (void *)exports[i]);
        }
    }
}

TEST(each_export_of_rbd_that_panics_is_still_exported)
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

TEST(a_panic_with_rbd_requests_in_flight_lets_them_end)
{
    enum { COUNT = 16 };
    BlockDriverState bs = { 0 };
    struct rbd_request *reads[COUNT];
    struct loop *other = loop_start();
    QEMUIOVector *qiov = qiov_flat(512);
    unsigned i;

    rbd_node(&bs);
    fill_image();
    ceph_mode(CEPH_READ, CEPH_WHEN_RELEASED);
    for (i = 0; i < COUNT; i++) {
        reads[i] = rbd_start(i % 2 ? other : loop_default(), (struct rbd_request) {
            .op = R_READ, .bs = &bs, .offset = i * 4096, .bytes = 4096, .qiov = qiov_flat(4096) });
    }
    ceph_wait_for_held(COUNT);
    qbr_test_panic_in("qbr_rbd_co_pwritev");
    CHECK_INT(rbd_write(&bs, 0, qiov), -EIO);
    CHECK_INT(rbd_read(&bs, 0, qiov), -EIO);
    ceph_release_all();
    for (i = 0; i < COUNT; i++) {
        QEMUIOVector *memory = reads[i]->qiov;

        CHECK_INT(rbd_finish(reads[i]), 0);
        check_bytes(memory, 0, 4096, i * 4096);
        qiov_free(memory);
    }
    rbd_close(&bs);
    loop_stop(other);
    qiov_free(qiov);
}
