/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* A panic in each export of quorum: the process goes on, the node takes no more requests, and close lets go of the children. */

#include "quorum.h"

#include <stdio.h>

static const char *const exports[] = {
#include "exports.inc"
};

#define EXPORTS (sizeof(exports) / sizeof(exports[0]))
#define EXPORT_PREFIX "qbr_quorum_"

struct scene {
    struct voters voters;
    struct disk *other;
    QEMUIOVector *qiov;
    Error *error;
};

enum after {
    /* The node takes no more requests. */
    POISONED,
    /* There is no node. */
    UNTOUCHED,
};

struct export {
    const char *name;
    int64_t (*call)(struct scene *scene);
    int64_t expected;
    bool sets_error;
    enum after after;
};

static int64_t request(struct scene *scene, enum quorum_op op)
{
    return quorum_run((struct quorum_request) {
        .op = op, .bs = &scene->voters.bs, .bytes = 512, .qiov = scene->qiov, .errp = &scene->error });
}

static int64_t call_open(struct scene *scene)
{
    BlockDriverState bs = { .name = "another" };
    int ret = quorum_open(&bs, "children.0=other,vote-threshold=#1", &scene->error);

    CHECK(!bs.state);
    CHECK_INT(scene->other->attached, 0);
    return ret;
}

static int64_t call_close(struct scene *scene)
{
    quorum.close(&scene->voters.bs);
    return 0;
}

static int64_t call_gather_child_options(struct scene *scene)
{
    struct options *target = options_new("");

    quorum.gather_child_options(&scene->voters.bs, as_qdict(target), false);
    CHECK_INT(options_left(target), 0);
    options_free(target);
    return 0;
}

static int64_t call_dirname(struct scene *scene)
{
    CHECK(!quorum.dirname(&scene->voters.bs, &scene->error));
    return 0;
}

static int64_t call_add_child(struct scene *scene)
{
    quorum.add_child(&scene->voters.bs, &scene->other->bs, &scene->error);
    CHECK_INT(scene->other->attached, 0);
    return 0;
}

static int64_t call_del_child(struct scene *scene)
{
    quorum.del_child(&scene->voters.bs, scene->voters.bs.children[2], &scene->error);
    CHECK_INT(scene->voters.disk[2]->attached, 1);
    return 0;
}

static int64_t call_child_perm(struct scene *scene)
{
    uint64_t wanted = 0, shared = 0;

    quorum.child_perm(&scene->voters.bs, scene->voters.bs.children[0], QBR_CHILD_DATA, NULL, QBR_PERM_CONSISTENT_READ, ~0ull,
                      &wanted, &shared);
    /* Even then, there is an answer that is safe. */
    CHECK_INT(wanted, QBR_PERM_CONSISTENT_READ);
    CHECK_INT(shared, QBR_PERM_CONSISTENT_READ | QBR_PERM_WRITE_UNCHANGED);
    return 0;
}

static int64_t call_recurse_can_replace(struct scene *scene)
{
    return quorum.recurse_can_replace(&scene->voters.bs, &scene->voters.disk[0]->bs);
}

#define REQUEST(name, op)                                   \
    static int64_t call_##name(struct scene *scene)         \
    {                                                       \
        return request(scene, op);                          \
    }

REQUEST(co_truncate, Q_TRUNCATE)
REQUEST(getlength, Q_LENGTH)
REQUEST(co_preadv, Q_READ)
REQUEST(co_pwritev, Q_WRITE)
REQUEST(co_pwrite_zeroes, Q_ZERO)
REQUEST(co_pdiscard, Q_DISCARD)
REQUEST(co_flush, Q_FLUSH)
REQUEST(co_block_status, Q_STATUS)

static const struct export known[] = {
    { "qbr_quorum_open", call_open, -EIO, true, UNTOUCHED },
    { "qbr_quorum_close", call_close, 0, false, POISONED },
    { "qbr_quorum_gather_child_options", call_gather_child_options, 0, false, POISONED },
    { "qbr_quorum_dirname", call_dirname, 0, true, POISONED },
    { "qbr_quorum_co_truncate", call_co_truncate, -EIO, true, POISONED },
    { "qbr_quorum_getlength", call_getlength, -EIO, false, POISONED },
    { "qbr_quorum_co_preadv", call_co_preadv, -EIO, false, POISONED },
    { "qbr_quorum_co_pwritev", call_co_pwritev, -EIO, false, POISONED },
    { "qbr_quorum_co_pwrite_zeroes", call_co_pwrite_zeroes, -EIO, false, POISONED },
    { "qbr_quorum_co_pdiscard", call_co_pdiscard, -EIO, false, POISONED },
    { "qbr_quorum_co_flush", call_co_flush, -EIO, false, POISONED },
    { "qbr_quorum_co_block_status", call_co_block_status, -EIO, false, POISONED },
    { "qbr_quorum_add_child", call_add_child, 0, true, POISONED },
    { "qbr_quorum_del_child", call_del_child, 0, true, POISONED },
    { "qbr_quorum_child_perm", call_child_perm, 0, false, POISONED },
    { "qbr_quorum_recurse_can_replace", call_recurse_can_replace, 0, false, POISONED },
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

static unsigned calls(const struct scene *scene)
{
    unsigned op, sum = 0;

    for (op = 0; op < CHILD_OPS; op++) {
        sum += voters_calls(&scene->voters, op);
    }
    return sum;
}

static void check_poisoned(struct scene *scene)
{
    unsigned before = calls(scene);
    Error *error = NULL;

    CHECK_INT(request(scene, Q_READ), -EIO);
    CHECK_INT(request(scene, Q_WRITE), -EIO);
    CHECK_INT(request(scene, Q_FLUSH), -EIO);
    CHECK_INT(request(scene, Q_LENGTH), -EIO);
    CHECK_INT(request(scene, Q_STATUS), -EIO);
    quorum.add_child(&scene->voters.bs, &scene->other->bs, &error);
    CHECK(error);
    error_free(error);
    CHECK_INT(calls(scene), before);
}

static void check_panic(void *opaque)
{
    const char *name = opaque;
    const struct export *export = find(name);
    struct scene scene = { .qiov = qiov_flat(512) };
    struct voters fresh;

    if (!export) {
        test_fail(__FILE__, __LINE__, "%s is exported, but panic.c doesn't know how to call it", name);
    }
    voters_open(&scene.voters, 3, 4096, "vote-threshold=#2,rewrite-corrupted=?off");
    scene.other = disk_new("other", 4096);
    qbr_test_panic_in(name);
    CHECK_INT(export->call(&scene), export->expected);
    CHECK_INT(errors_reported(), 1);
    CHECK_CONTAINS(last_error_reported(), name);
    CHECK(!!scene.error == export->sets_error);
    error_free(scene.error);
    if (export->after == POISONED) {
        check_poisoned(&scene);
    } else {
        CHECK_INT(request(&scene, Q_READ), 0);
    }
    /* Said once, however many requests came after. */
    CHECK_INT(errors_reported(), 1);
    voters_close(&scene.voters);
    disk_free(scene.other);
    qiov_free(scene.qiov);
    voters_open(&fresh, 3, 4096, "vote-threshold=#2");
    CHECK_INT(quorum_flush(&fresh.bs), 0);
    voters_close(&fresh);
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

TEST(each_export_of_quorum_that_panics_is_still_exported)
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

TEST(a_panic_with_quorum_reads_in_flight_lets_them_end)
{
    enum { COUNT = 8 };
    struct voters voters;
    struct quorum_request *reads[COUNT];
    QEMUIOVector *memory[COUNT];
    unsigned i;

    voters_open(&voters, 3, 65536, "vote-threshold=#2");
    voters_mode(&voters, QBR_CHILD_READ, DISK_WHEN_RELEASED);
    for (i = 0; i < COUNT; i++) {
        memory[i] = qiov_flat(4096);
        reads[i] = quorum_start(loop_default(), (struct quorum_request) {
            .op = Q_READ, .bs = &voters.bs, .offset = i * 4096, .bytes = 4096, .qiov = memory[i] });
    }
    disk_wait_held(voters.disk[2], QBR_CHILD_READ, COUNT);
    qbr_test_panic_in("qbr_quorum_co_flush");
    CHECK_INT(quorum_flush(&voters.bs), -EIO);
    for (i = 0; i < 3; i++) {
        disk_release(voters.disk[i], QBR_CHILD_READ);
    }
    for (i = 0; i < COUNT; i++) {
        CHECK_INT(quorum_finish(reads[i]), 0);
        CHECK(qiov_is_intact(memory[i], i * 4096));
        qiov_free(memory[i]);
    }
    voters_close(&voters);
}
