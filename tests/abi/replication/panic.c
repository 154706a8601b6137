/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* A panic in each export of replication: the process goes on, the node takes no more requests, and close lets go of all. */

#include "replication.h"

#include <stdio.h>

static const char *const exports[] = {
#include "exports.inc"
};

#define EXPORTS (sizeof(exports) / sizeof(exports[0]))
#define EXPORT_PREFIX "qbr_replication_"

struct scene {
    struct side_node node;
    const char *message;
};

struct export {
    const char *name;
    int64_t (*call)(struct scene *scene);
    int64_t expected;
    bool sets_error;
    bool poisons;
};

static int64_t call_open(struct scene *scene)
{
    BlockDriverState bs = { .name = "another" };
    Error *error = NULL;
    int ret = side_open_with(&bs, "file=active,mode=primary", &error);

    CHECK(!bs.state && error);
    error_free(error);
    scene->message = "set";
    return ret;
}

static int64_t call_close(struct scene *scene)
{
    qbr_replication_close(&scene->node.bs);
    return 0;
}

static int64_t call_child_perm(struct scene *scene)
{
    uint64_t wanted, shared;

    qbr_replication_child_perm(&scene->node.bs, NULL, QBR_CHILD_PRIMARY, NULL, 0, 0, &wanted, &shared);
    /* Even then, there is an answer that is safe. */
    CHECK_INT(wanted, QBR_PERM_CONSISTENT_READ | QBR_PERM_WRITE);
    return 0;
}

static int64_t call_start(struct scene *scene)
{
    scene->message = side_start(&scene->node, SECONDARY);
    return 0;
}

static int64_t call_checkpoint(struct scene *scene)
{
    scene->message = side_checkpoint(&scene->node);
    return 0;
}

static int64_t call_get_error(struct scene *scene)
{
    scene->message = side_get_error(&scene->node);
    return 0;
}

static int64_t call_stop(struct scene *scene)
{
    scene->message = side_stop(&scene->node, true);
    return 0;
}

static int64_t call_backup_ended(struct scene *scene)
{
    qbr_replication_backup_ended(&scene->node.bs, 0);
    return 0;
}

static int64_t call_commit_ended(struct scene *scene)
{
    qbr_replication_commit_ended(&scene->node.bs, 0);
    return 0;
}

static int64_t call_co_truncate(struct scene *scene)
{
    int64_t ret = side_request(&scene->node, R_TRUNCATE, 0, 512, 0);

    scene->message = *side_truncate_message() ? "set" : NULL;
    return ret;
}

#define REQUEST(name, op)                                                \
    static int64_t call_##name(struct scene *scene)                      \
    {                                                                    \
        return side_request(&scene->node, op, 0, 512, 0);                \
    }

REQUEST(getlength, R_LENGTH)
REQUEST(co_flush, R_FLUSH)
REQUEST(co_preadv, R_READ)
REQUEST(co_pwritev, R_WRITE)
REQUEST(co_pwrite_zeroes, R_ZERO)
REQUEST(co_pdiscard, R_DISCARD)

static const struct export known[] = {
    { "qbr_replication_open", call_open, -EIO, true, false },
    { "qbr_replication_close", call_close, 0, false, true },
    { "qbr_replication_co_flush", call_co_flush, -EIO, false, true },
    { "qbr_replication_co_truncate", call_co_truncate, -EIO, true, true },
    { "qbr_replication_getlength", call_getlength, -EIO, false, true },
    { "qbr_replication_co_preadv_part", call_co_preadv, -EIO, false, true },
    { "qbr_replication_co_pwritev_part", call_co_pwritev, -EIO, false, true },
    { "qbr_replication_co_pwrite_zeroes", call_co_pwrite_zeroes, -EIO, false, true },
    { "qbr_replication_co_pdiscard", call_co_pdiscard, -EIO, false, true },
    { "qbr_replication_child_perm", call_child_perm, 0, false, true },
    { "qbr_replication_start", call_start, 0, true, true },
    { "qbr_replication_checkpoint", call_checkpoint, 0, true, true },
    { "qbr_replication_get_error", call_get_error, 0, true, true },
    { "qbr_replication_stop", call_stop, 0, true, true },
    { "qbr_replication_backup_ended", call_backup_ended, 0, false, true },
    { "qbr_replication_commit_ended", call_commit_ended, 0, false, true },
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

static void check_panic(void *opaque)
{
    const char *name = opaque;
    const struct export *export = find(name);
    struct scene scene = {};

    if (!export) {
        test_fail(__FILE__, __LINE__, "%s is exported, but panic.c doesn't know how to call it", name);
    }
    side_bring(&scene.node, SECONDARY, RUNNING);
    qbr_test_panic_in(name);
    CHECK_INT(export->call(&scene), export->expected);
    CHECK_INT(errors_reported(), 1);
    CHECK_CONTAINS(last_error_reported(), name);
    CHECK(!!scene.message == export->sets_error);
    if (export->call == call_close) {
        /* The block layer frees the node now. */
        side_check_let_go(&scene.node);
        side_close(&scene.node);
        return;
    }
    CHECK_INT(side_request(&scene.node, R_READ, 0, 512, 0), export->poisons ? -EIO : 0);
    CHECK_INT(side_request(&scene.node, R_WRITE, 0, 512, 0), export->poisons ? -EIO : 0);
    CHECK(!!side_checkpoint(&scene.node) == export->poisons);
    /* Said once, however many requests came after. */
    CHECK_INT(errors_reported(), 1);
    side_close(&scene.node);
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

/* What ends in the middle of something panics there, and the node is closed. */
static void check_panic_within(struct side_node *node, const char *name)
{
    CHECK_INT(errors_reported(), 1);
    CHECK_CONTAINS(last_error_reported(), name);
    CHECK_INT(side_request(node, R_READ, 0, 512, 0), -EIO);
    qbr_replication_close(&node->bs);
    side_check_let_go(node);
    side_close(node);
}

TEST(replication_panic_at_the_end_of_the_backup_within_a_stop_leaves_nothing_behind)
{
    struct side_node node;

    side_bring(&node, SECONDARY, RUNNING);
    qbr_test_panic_in("qbr_replication_backup_ended");
    CHECK(!side_stop(&node, false));
    check_panic_within(&node, "qbr_replication_backup_ended");
}

TEST(replication_panic_at_the_end_of_the_backup_within_a_start_that_fails_leaves_nothing_behind)
{
    struct side_node node;

    side_open(&node, SECONDARY);
    replica.failing = STEP_EMPTY_HIDDEN;
    qbr_test_panic_in("qbr_replication_backup_ended");
    CHECK(side_start(&node, SECONDARY));
    check_panic_within(&node, "qbr_replication_backup_ended");
}

TEST(replication_panic_at_the_end_of_the_failover_within_close_leaves_nothing_behind)
{
    struct side_node node;

    side_bring(&node, SECONDARY, FAILOVER);
    qbr_test_panic_in("qbr_replication_commit_ended");
    qbr_replication_close(&node.bs);
    CHECK_INT(errors_reported(), 1);
    side_check_let_go(&node);
    side_close(&node);
}

TEST(each_export_of_replication_that_panics_is_still_exported)
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
