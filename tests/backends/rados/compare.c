/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * Prints what librados answers. compare.sh builds this twice, over the fake and over the real library on a cluster, and both
 * have to print the same.
 *
 * Usage: compare POOL
 */

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <rados/librados.h>

#define NAMESPACE "qbr-compare"

static rados_t cluster;
static int64_t pool;
static rados_ioctx_t io;

/* --- Waiting -------------------------------------------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

struct waiter {
    rados_completion_t completion;
    bool done;
    uint64_t version;
};

static void completed(rados_completion_t completion, void *opaque)
{
    struct waiter *waiter = opaque;

    (void)completion;
    pthread_mutex_lock(&lock);
    waiter->done = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void begin(struct waiter *waiter)
{
    *waiter = (struct waiter) { .done = false };
    if (rados_aio_create_completion2(waiter, completed, &waiter->completion)) {
        abort();
    }
}

static int end(struct waiter *waiter, int submitted)
{
    int ret = submitted;

    if (!ret) {
        pthread_mutex_lock(&lock);
        while (!waiter->done) {
            pthread_cond_wait(&changed, &lock);
        }
        pthread_mutex_unlock(&lock);
        ret = rados_aio_get_return_value(waiter->completion);
        waiter->version = rados_aio_get_version(waiter->completion);
    }
    rados_aio_release(waiter->completion);
    return ret;
}

/* --- Printing ------------------------------------------------------------------------------------------------------------- */

static void bytes(const char *what, const void *data, size_t length)
{
    const unsigned char *at = data;
    size_t i;

    printf("%s (%zu)", what, length);
    for (i = 0; i < length && i < 200; i++) {
        printf("%s%02x", i % 4 ? "" : " ", at[i]);
    }
    printf("\n");
}

/* --- Operations ----------------------------------------------------------------------------------------------------------- */

static rados_ioctx_t handle(void)
{
    rados_ioctx_t new;

    if (rados_ioctx_create2(cluster, pool, &new)) {
        abort();
    }
    rados_ioctx_set_namespace(new, NAMESPACE);
    return new;
}

static void do_read(rados_ioctx_t from, const char *object, size_t length, uint64_t offset)
{
    char buffer[4096];
    struct waiter waiter;
    char what[100];
    int ret;

    memset(buffer, 0x5a, sizeof(buffer));
    begin(&waiter);
    ret = end(&waiter, rados_aio_read(from, object, waiter.completion, buffer, length, offset));
    snprintf(what, sizeof(what), "read %s %zu at %llu = %d", object, length, (unsigned long long)offset, ret);
    bytes(what, buffer, ret > 0 ? ret : 0);
}

static int do_write(rados_ioctx_t to, const char *object, const char *data, uint64_t offset)
{
    struct waiter waiter;
    int ret;

    begin(&waiter);
    ret = end(&waiter, rados_aio_write(to, object, waiter.completion, data, strlen(data), offset));
    printf("write %s %s = %d\n", object, data, ret);
    return ret;
}

static void do_remove(rados_ioctx_t from, const char *object, bool quiet)
{
    struct waiter waiter;
    int ret;

    begin(&waiter);
    ret = end(&waiter, rados_aio_remove(from, object, waiter.completion));
    if (!quiet) {
        printf("remove %s = %d\n", object, ret);
    }
}

static int do_stat(rados_ioctx_t from, const char *object)
{
    struct waiter waiter;
    int ret;

    begin(&waiter);
    ret = end(&waiter, rados_aio_stat(from, object, waiter.completion, NULL, NULL));
    printf("stat %s = %d\n", object, ret);
    return ret;
}

static int operate(rados_ioctx_t to, const char *what, const char *object, rados_write_op_t op)
{
    struct waiter waiter;
    int ret;

    begin(&waiter);
    ret = end(&waiter, rados_aio_write_op_operate(op, to, waiter.completion, object, NULL, 0));
    rados_release_write_op(op);
    printf("%s %s = %d\n", what, object, ret);
    return ret;
}

static uint64_t version_of(const char *object)
{
    rados_read_op_t op = rados_create_read_op();
    struct waiter waiter;
    char buffer[1];
    size_t length = 0;
    int result = 0;

    rados_read_op_read(op, 0, 1, buffer, &length, &result);
    begin(&waiter);
    end(&waiter, rados_aio_read_op_operate(op, io, waiter.completion, object, 0));
    rados_release_read_op(op);
    return waiter.version;
}

/* A method that only reads. Bytes from @mask on are left out, 8 of them: a time. */
static void ask(const char *object, const char *method, const void *input, size_t length, size_t mask)
{
    rados_read_op_t op = rados_create_read_op();
    struct waiter waiter;
    char *reply = NULL;
    size_t reply_length = 0;
    int ret, result = 0;
    char what[200];

    rados_read_op_exec(op, "rbd", method, input, length, &reply, &reply_length, &result);
    begin(&waiter);
    ret = end(&waiter, rados_aio_read_op_operate(op, io, waiter.completion, object, 0));
    rados_release_read_op(op);
    if (mask && reply_length >= mask + 8) {
        memset(reply + mask, 0, 8);
    }
    snprintf(what, sizeof(what), "%s %s = %d", method, object, ret);
    bytes(what, reply, reply_length);
    rados_buffer_free(reply);
}

static void call_lock(const char *method, const void *input, size_t length)
{
    unsigned char wrapped[200] = { 1, 1, 0, 0, 0, 0, 8, 0, 0, 0, 'r', 'b', 'd', '_', 'l', 'o', 'c', 'k' };
    rados_write_op_t op = rados_create_write_op();
    uint64_t before = version_of("locked");

    wrapped[2] = 12 + length;
    memcpy(wrapped + 18, input, length);
    rados_write_op_exec(op, "lock", method, (const char *)wrapped, 18 + length, NULL);
    operate(io, method, "locked", op);
    printf("other version: %d\n", version_of("locked") != before);
}

/* Who has the lock; the client's number, and its nonce, are left out. */
static void ask_lock(void)
{
    static const unsigned char input[] = { 1, 1, 12, 0, 0, 0, 8, 0, 0, 0, 'r', 'b', 'd', '_', 'l', 'o', 'c', 'k' };
    rados_read_op_t op = rados_create_read_op();
    uint64_t number = rados_get_instance_id(cluster);
    struct waiter waiter;
    char *reply = NULL;
    size_t length = 0;
    int ret, result = 0;

    rados_read_op_exec(op, "lock", "get_info", (const char *)input, sizeof(input), &reply, &length, &result);
    begin(&waiter);
    ret = end(&waiter, rados_aio_read_op_operate(op, io, waiter.completion, "locked", 0));
    rados_release_read_op(op);
    printf("get_info = %d\n", ret);
    /* Behind three versions, the count, and the kind; the nonce behind the cookie, time, a version and a type. */
    if (length > 60) {
        printf("holder: %d\n", !memcmp(reply + 17, &number, 8));
        memset(reply + 17, 0, 8);
        memset(reply + 25 + 4 + 6 + 6 + 8 + 7 + 4, 0, 4);
    }
    bytes("info", reply, length);
    rados_buffer_free(reply);
}

static void call(const char *object, const char *method, const void *input, size_t length)
{
    rados_write_op_t op = rados_create_write_op();

    rados_write_op_exec(op, "rbd", method, input, length, NULL);
    operate(io, method, object, op);
}

/* --- What is compared ------------------------------------------------------------------------------------------------------- */

static void data(void)
{
    static const char pattern[512];
    rados_write_op_t op;
    struct waiter waiter;

    do_read(io, "missing", 16, 0);
    do_stat(io, "missing");
    do_remove(io, "missing", false);
    op = rados_create_write_op();
    rados_write_op_truncate(op, 10);
    operate(io, "truncate", "missing", op);
    op = rados_create_write_op();
    rados_write_op_zero(op, 10, 10);
    operate(io, "zero", "missing", op);
    do_stat(io, "missing");
    op = rados_create_write_op();
    rados_write_op_assert_exists(op);
    rados_write_op_write(op, "x", 1, 0);
    operate(io, "assert_exists", "missing", op);
    op = rados_create_write_op();
    rados_write_op_remove(op);
    operate(io, "remove op", "missing", op);

    do_write(io, "one", "0123456789", 5);
    do_read(io, "one", 100, 0);
    do_read(io, "one", 4, 3);
    do_read(io, "one", 4, 15);
    do_read(io, "one", 4, 1000);
    op = rados_create_write_op();
    rados_write_op_zero(op, 6, 2);
    operate(io, "zero", "one", op);
    do_read(io, "one", 100, 0);
    op = rados_create_write_op();
    rados_write_op_zero(op, 12, 100);
    operate(io, "zero to the end", "one", op);
    do_read(io, "one", 100, 0);
    op = rados_create_write_op();
    rados_write_op_zero(op, 500, 100);
    operate(io, "zero behind the end", "one", op);
    do_read(io, "one", 100, 0);
    op = rados_create_write_op();
    rados_write_op_truncate(op, 20);
    operate(io, "truncate", "one", op);
    do_read(io, "one", 100, 0);
    op = rados_create_write_op();
    rados_write_op_truncate(op, 3);
    operate(io, "truncate", "one", op);
    do_read(io, "one", 100, 0);
    op = rados_create_write_op();
    rados_write_op_writesame(op, "ab", 2, 6, 1);
    operate(io, "writesame", "one", op);
    do_read(io, "one", 100, 0);
    op = rados_create_write_op();
    rados_write_op_writesame(op, pattern, 512, 1000, 0);
    operate(io, "writesame of a part", "one", op);
    begin(&waiter);
    printf("write_full = %d\n", end(&waiter, rados_aio_write_full(io, "one", waiter.completion, "full", 4)));
    do_read(io, "one", 100, 0);

    op = rados_create_write_op();
    rados_write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    operate(io, "create", "one", op);
    op = rados_create_write_op();
    rados_write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    rados_write_op_write(op, "new", 3, 0);
    operate(io, "create", "two", op);
    do_read(io, "two", 100, 0);
    /* All or nothing. */
    op = rados_create_write_op();
    rados_write_op_write(op, "lost", 4, 0);
    rados_write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    operate(io, "write and create", "two", op);
    do_read(io, "two", 100, 0);

    op = rados_create_write_op();
    rados_write_op_assert_version(op, version_of("two"));
    rados_write_op_write_full(op, "newer", 5);
    operate(io, "right version", "two", op);
    op = rados_create_write_op();
    rados_write_op_assert_version(op, version_of("two") - 1);
    rados_write_op_write_full(op, "lost", 4);
    operate(io, "old version", "two", op);
    op = rados_create_write_op();
    rados_write_op_assert_version(op, version_of("two") + 1000);
    operate(io, "future version", "two", op);
    op = rados_create_write_op();
    rados_write_op_assert_version(op, 1);
    rados_write_op_write_full(op, "lost", 4);
    operate(io, "version", "missing", op);
    do_read(io, "two", 100, 0);
    do_remove(io, "two", false);
    do_stat(io, "two");
}

static uint64_t new_snap(void)
{
    struct waiter waiter;
    uint64_t id = 0;

    begin(&waiter);
    rados_aio_ioctx_selfmanaged_snap_create(io, &id, waiter.completion);
    printf("snapshot id = %d\n", end(&waiter, 0));
    return id;
}

static void old_snap(uint64_t id)
{
    struct waiter waiter;

    begin(&waiter);
    rados_aio_ioctx_selfmanaged_snap_remove(io, id, waiter.completion);
    printf("remove snapshot id = %d\n", end(&waiter, 0));
}

static rados_ioctx_t with(uint64_t seq, const uint64_t *ids, int count)
{
    rados_ioctx_t new = handle();

    printf("context of %d = %d\n", count, rados_ioctx_selfmanaged_snap_set_write_ctx(new, seq, (uint64_t *)ids, count));
    return new;
}

static rados_ioctx_t at(uint64_t id)
{
    rados_ioctx_t new = handle();

    rados_ioctx_snap_set_read(new, id);
    return new;
}

static void snapshots(void)
{
    uint64_t first = new_snap(), second, both[2];
    rados_ioctx_t one, two, bad, at_first, at_second;
    const char *const objects[] = { "s-before", "s-between", "s-after", "s-gone", "s-never" };
    unsigned i;

    /* Before any snapshot. */
    do_write(io, "s-before", "first", 0);
    do_write(io, "s-gone", "gone", 0);
    one = with(first, &first, 1);
    do_write(one, "s-before", "second", 0);
    do_write(one, "s-before", "SE", 0);
    do_write(one, "s-between", "between", 0);
    do_remove(one, "s-gone", false);
    do_remove(one, "s-gone", false);
    second = new_snap();
    both[0] = second;
    both[1] = first;
    two = with(second, both, 2);
    do_write(two, "s-before", "third", 0);
    do_write(two, "s-between", "later", 0);
    do_write(two, "s-after", "after", 0);
    /* An old context makes no copy. */
    do_write(one, "s-before", "old", 0);
    at_first = at(first);
    at_second = at(second);
    for (i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
        do_read(at_first, objects[i], 100, 0);
        do_read(at_second, objects[i], 100, 0);
        do_read(io, objects[i], 100, 0);
        do_stat(at_first, objects[i]);
    }
    do_write(at_first, "s-before", "no", 0);
    do_write(two, "s-gone", "again", 0);
    do_read(at_first, "s-gone", 100, 0);
    do_read(at_second, "s-gone", 100, 0);
    bad = with(first, both, 2);
    rados_ioctx_destroy(bad);
    both[0] = first;
    both[1] = second;
    bad = with(second, both, 2);
    rados_ioctx_destroy(bad);
    for (i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
        printf("rollback %s = %d\n", objects[i], rados_ioctx_selfmanaged_snap_rollback(two, objects[i], first));
        do_read(io, objects[i], 100, 0);
        do_read(at_second, objects[i], 100, 0);
    }
    for (i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
        do_remove(two, objects[i], true);
    }
    old_snap(first);
    old_snap(second);
    rados_ioctx_destroy(one);
    rados_ioctx_destroy(two);
    rados_ioctx_destroy(at_first);
    rados_ioctx_destroy(at_second);
}

static const unsigned char now[] = { 0xfe, 255, 255, 255, 255, 255, 255, 255, 0, 0 };

static void header(void)
{
    static const unsigned char create[] = { 0, 0, 1, 0, 0, 0, 0, 0, 16, 1, 0, 0, 0, 0, 0, 0, 0,
                                            10, 0, 0, 0, 'r', 'b', 'd', '_', 'd', 'a', 't', 'a', '.', 'x',
                                            255, 255, 255, 255, 255, 255, 255, 255 };
    static const unsigned char unknown[] = { 0, 0, 1, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0, 0, 'x' };
    static const unsigned char size[] = { 0, 0, 2, 0, 0, 0, 0, 0 };
    static const unsigned char add[] = { 3, 0, 0, 0, 'o', 'n', 'e', 5, 0, 0, 0, 0, 0, 0, 0, 1, 1, 4, 0, 0, 0, 0, 0, 0, 0 };
    static const unsigned char add_low[] = { 3, 0, 0, 0, 'l', 'o', 'w', 4, 0, 0, 0, 0, 0, 0, 0, 1, 1, 4, 0, 0, 0, 0, 0, 0, 0 };
    static const unsigned char add_same[] = { 3, 0, 0, 0, 'o', 'n', 'e', 6, 0, 0, 0, 0, 0, 0, 0, 1, 1, 4, 0, 0, 0, 0, 0, 0, 0 };
    static const unsigned char add_two[] = { 3, 0, 0, 0, 't', 'w', 'o', 9, 0, 0, 0, 0, 0, 0, 0, 1, 1, 4, 0, 0, 0, 0, 0, 0, 0 };
    static const unsigned char five[] = { 5, 0, 0, 0, 0, 0, 0, 0 }, nine[] = { 9, 0, 0, 0, 0, 0, 0, 0 };
    static const unsigned char six[] = { 6, 0, 0, 0, 0, 0, 0, 0 };
    /* The first one, of both; and of which snapshot. */
    unsigned char flags[24] = { 1, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 6 };
    static const char *const getters[] = { "get_size", "get_features", "get_flags", "parent_overlap_get",
                                           "get_protection_status",
                                           "snapshot_get", "get_object_prefix", "get_stripe_unit_count", "get_data_pool",
                                           "get_snapcontext", "op_features_get", "parent_get", "get_parent" };
    unsigned i;

    for (i = 0; i < 13; i++) {
        ask("missing", getters[i], now, 9, 0);
    }
    ask("missing", "get_all_features", NULL, 0, 0);
    call("missing", "set_size", size, sizeof(size));
    call("header", "create", unknown, sizeof(unknown));
    call("header", "create", create, sizeof(create));
    call("header", "create", create, sizeof(create));
    for (i = 0; i < 13; i++) {
        ask("header", getters[i], now, 8, 0);
    }
    ask("header", "get_features", now, 9, 0);
    ask("header", "get_size", now, 3, 0);
    ask("header", "get_size", six, 8, 0);
    ask("header", "no_such_method", NULL, 0, 0);
    call("header", "no_such_method", NULL, 0);
    call("flagged", "set_flags", flags, 16);
    do_stat(io, "flagged");
    call("header", "set_flags", flags, 16);
    call("header", "set_flags", flags, 15);
    ask("header", "get_flags", now, 8, 0);
    call("header", "set_size", size, 3);
    call("header", "set_size", size, sizeof(size));
    call("header", "snapshot_add", add, sizeof(add));
    call("header", "snapshot_add", add, sizeof(add));
    call("header", "snapshot_add", add_low, sizeof(add_low));
    call("header", "snapshot_add", add_same, sizeof(add_same));
    call("header", "snapshot_add", add_two, sizeof(add_two));
    ask("header", "get_snapcontext", NULL, 0, 0);
    /* Behind version, number, kind, name and size there is the time. */
    ask("header", "snapshot_get", five, 8, 6 + 8 + 10 + 7 + 8);
    for (i = 0; i < 5; i++) {
        ask("header", getters[i], nine, 8, 0);
        ask("header", getters[i], six, 8, 0);
    }
    ask("header", "snapshot_get", six, 8, 0);
    call("header", "set_flags", flags, 24);
    memcpy(flags + 16, five, 8);
    ask("header", "get_flags", five, 8, 0);
    call("header", "set_flags", flags, 24);
    ask("header", "get_flags", five, 8, 0);
    ask("header", "get_flags", now, 8, 0);
    call("header", "snapshot_trash_add", six, 8);
    call("header", "snapshot_trash_add", five, 8);
    call("header", "snapshot_trash_add", five, 8);
    ask("header", "get_snapcontext", NULL, 0, 0);
    call("header", "snapshot_remove", six, 8);
    call("header", "snapshot_remove", five, 8);
    ask("header", "get_snapcontext", NULL, 0, 0);
    call("header", "snapshot_remove", nine, 8);
    ask("header", "get_snapcontext", NULL, 0, 0);
    do_read(io, "header", 10, 0);
}

static void names(void)
{
    static const unsigned char id[] = { 3, 0, 0, 0, 'a', 'b', 'c' };
    static const unsigned char a[] = { 1, 0, 0, 0, 'a', 2, 0, 0, 0, '1', '2' };
    static const unsigned char a_other[] = { 1, 0, 0, 0, 'a', 2, 0, 0, 0, '1', '3' };
    static const unsigned char b_same[] = { 1, 0, 0, 0, 'b', 2, 0, 0, 0, '1', '2' };
    static const unsigned char list[] = { 0, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0 };
    rados_write_op_t op;

    ask("id", "get_id", NULL, 0, 0);
    call("id", "set_id", id, sizeof(id));
    op = rados_create_write_op();
    rados_write_op_create(op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
    rados_write_op_exec(op, "rbd", "set_id", (const char *)id, sizeof(id), NULL);
    operate(io, "create and set_id", "id", op);
    ask("id", "get_id", NULL, 0, 0);
    do_read(io, "id", 100, 0);
    call("id", "set_id", id, sizeof(id));
    call("dir", "dir_remove_image", a, sizeof(a));
    call("dir", "dir_add_image", a, sizeof(a));
    call("dir", "dir_add_image", a_other, sizeof(a_other));
    call("dir", "dir_add_image", b_same, sizeof(b_same));
    call("dir", "dir_remove_image", b_same, sizeof(b_same));
    call("dir", "dir_remove_image", a, sizeof(a));
    do_stat(io, "dir");
    ask("info", "metadata_list", list, sizeof(list), 0);
    call("info", "metadata_set", "\1\0\0\0\6\0\0\0conf_a\1\0\0\0001", 19);
    call("info", "metadata_set", "\1\0\0\0\6\0\0\0conf_b\2\0\0\00064", 20);
    ask("info", "metadata_list", list, sizeof(list), 0);
    ask("info", "metadata_list", "\5\0\0\0conf_\1\0\0\0\0\0\0\0", 17, 0);
    ask("info", "metadata_list", "\6\0\0\0conf_a\100\0\0\0\0\0\0\0", 18, 0);
    ask("spaces", "namespace_list", list, sizeof(list), 0);
    ask("dir", "namespace_list", list, sizeof(list), 0);
    ask("dir", "dir_state_assert", "\0", 1, 0);
}

static void format1(void)
{
    static const char text[] = "<<< Rados Block Device Image >>>\n";
    static const unsigned char one[] = { 3, 0, 0, 0, 'o', 'n', 'e', 5, 0, 0, 0, 0, 0, 0, 0 };
    static const unsigned char two[] = { 4, 0, 0, 0, 't', 'w', 'o', '2', 7, 0, 0, 0, 0, 0, 0, 0 };
    static const unsigned char low[] = { 3, 0, 0, 0, 'l', 'o', 'w', 4, 0, 0, 0, 0, 0, 0, 0 };
    static const unsigned char same[] = { 3, 0, 0, 0, 'o', 'n', 'e', 9, 0, 0, 0, 0, 0, 0, 0 };
    char fixed[0x70] = { 0 };
    rados_write_op_t op = rados_create_write_op();

    memcpy(fixed, text, sizeof(text));
    strcpy(fixed + 0x28, "rb.0.1");
    memcpy(fixed + 0x40, "RBD\0" "001.005\0", 12);
    fixed[0x4c] = 16;
    fixed[0x52] = 1;
    rados_write_op_write_full(op, fixed, sizeof(fixed));
    operate(io, "header", "a.rbd", op);
    ask("a.rbd", "get_size", now, 8, 0);
    call("a.rbd", "snap_add", one, sizeof(one));
    call("a.rbd", "snap_add", low, sizeof(low));
    call("a.rbd", "snap_add", same, sizeof(same));
    call("a.rbd", "snap_add", two, sizeof(two));
    do_read(io, "a.rbd", 200, 0);
    call("a.rbd", "snap_remove", low, 7);
    call("a.rbd", "snap_remove", one, 7);
    do_read(io, "a.rbd", 200, 0);
    call("a.rbd", "snap_remove", two, 8);
    do_read(io, "a.rbd", 200, 0);
}

static void locks(void)
{
    static const unsigned char lock[] = { 1, 6, 0, 0, 0, 'a', 'u', 't', 'o', ' ', '1', 8, 0, 0, 0, 'i', 'n', 't', 'e', 'r', 'n', 'a',
                                          'l', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
    static const unsigned char other[] = { 1, 6, 0, 0, 0, 'a', 'u', 't', 'o', ' ', '2', 8, 0, 0, 0, 'i', 'n', 't', 'e', 'r', 'n',
                                           'a', 'l', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
    static const unsigned char cookie[] = { 6, 0, 0, 0, 'a', 'u', 't', 'o', ' ', '1' };
    static const unsigned char new[] = { 6, 0, 0, 0, 'a', 'u', 't', 'o', ' ', '2' };
    static const unsigned char change[] = { 1, 6, 0, 0, 0, 'a', 'u', 't', 'o', ' ', '1', 8, 0, 0, 0, 'i', 'n', 't', 'e', 'r', 'n',
                                            'a', 'l', 6, 0, 0, 0, 'a', 'u', 't', 'o', ' ', '2' };
    static const unsigned char stranger[] = { 8, 1, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 'a', 'u', 't', 'o', ' ', '2' };
    unsigned char owner[19] = { 8 };
    uint64_t number = rados_get_instance_id(cluster);

    ask_lock();
    do_write(io, "locked", "x", 0);
    ask_lock();
    call_lock("unlock", cookie, sizeof(cookie));
    call_lock("lock", lock, sizeof(lock));
    ask_lock();
    call_lock("lock", lock, sizeof(lock));
    call_lock("lock", other, sizeof(other));
    call_lock("unlock", new, sizeof(new));
    call_lock("set_cookie", change, sizeof(change));
    call_lock("set_cookie", change, sizeof(change));
    ask_lock();
    call_lock("break_lock", stranger, sizeof(stranger));
    memcpy(owner + 1, &number, 8);
    memcpy(owner + 9, new, sizeof(new));
    call_lock("break_lock", owner, sizeof(owner));
    ask_lock();
    call_lock("lock", lock, sizeof(lock));
    call_lock("unlock", cookie, sizeof(cookie));
    ask_lock();
}

/* --- Object maps ------------------------------------------------------------------------------------------------------------ */

#define MAP "map"

static void update(const char *object, uint64_t start, uint64_t end, int new, int current)
{
    unsigned char input[19] = { 0 };

    memcpy(input, &start, 8);
    memcpy(input + 8, &end, 8);
    input[16] = new;
    input[17] = current >= 0;
    input[18] = current;
    printf("%llu to %llu: %d, from %d: ", (unsigned long long)start, (unsigned long long)end, new, current);
    call(object, "object_map_update", input, current >= 0 ? 19 : 18);
}

static void resize(const char *object, uint64_t count, int state)
{
    unsigned char input[9];

    memcpy(input, &count, 8);
    input[8] = state;
    printf("%llu, as %d: ", (unsigned long long)count, state);
    call(object, "object_map_resize", input, sizeof(input));
}

static void load(const char *object)
{
    ask(object, "object_map_load", NULL, 0, 0);
}

/* Seven objects: absent, there, pending, clean, there, clean, clean. */
static const unsigned char seven[] = { 14, 0, 0, 0, 1, 1, 8, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0x1b, 0x7c, 0, 0, 0, 0 };
/* Five: there, there, absent, there, absent. */
static const unsigned char five_of[] = { 14, 0, 0, 0, 1, 1, 8, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0x51, 0, 0, 0, 0, 0 };

/* What there is before there is a map, and with one that is empty. */
static void no_map(void)
{
    load(MAP);
    update(MAP, 0, 1, 1, -1);
    call(MAP, "object_map_snap_add", NULL, 0);
    call(MAP, "object_map_snap_remove", seven, sizeof(seven));
    do_write(io, MAP, "", 0);
    load(MAP);
    update(MAP, 0, 1, 1, -1);
    resize(MAP, 0, 0);
    load(MAP);
    do_read(io, MAP, 100, 0);
    do_remove(io, MAP, false);
}

static void map_sizes(void)
{
    static const unsigned char count[] = { 1, 0, 0, 0, 0, 0, 0, 0 };

    resize(MAP, 256000001, 0);
    call(MAP, "object_map_resize", count, sizeof(count));
    resize(MAP, 5, 0);
    load(MAP);
    do_read(io, MAP, 100, 0);
    resize(MAP, 5, 1);
    resize(MAP, 7, 1);
    load(MAP);
    resize(MAP, 4, 0);
    resize(MAP, 4, 1);
    resize(MAP, 5, 1);
    load(MAP);
    resize(MAP, 40000, 3);
    do_read(io, MAP, 40, 0);
    do_read(io, MAP, 100, 10010);
    resize(MAP, 5, 3);
    do_read(io, MAP, 100, 0);
}

static void map_states(void)
{
    call(MAP, "object_map_save", seven, sizeof(seven));
    load(MAP);
    do_read(io, MAP, 100, 0);
    update(MAP, 3, 3, 1, -1);
    update(MAP, 4, 3, 1, -1);
    update(MAP, 6, 8, 1, -1);
    update(MAP, 0, 7, 2, 1);
    load(MAP);
    update(MAP, 0, 7, 0, 2);
    load(MAP);
    update(MAP, 1, 5, 1, -1);
    update(MAP, 0, 7, 1, 3);
    load(MAP);
    do_read(io, MAP, 100, 0);
    update(MAP, 0, 2, 2, -1);
    call(MAP, "object_map_update", seven, 16);
    call(MAP, "object_map_update", seven, 17);
    call(MAP, "object_map_snap_add", NULL, 0);
    load(MAP);
    call(MAP, "object_map_snap_remove", five_of, sizeof(five_of));
    load(MAP);
    call(MAP, "object_map_snap_remove", five_of, 20);
    do_read(io, MAP, 100, 0);
}

static void damaged_map(void)
{
    rados_write_op_t op;

    call(MAP, "object_map_save", seven, 20);
    call(MAP, "object_map_save", NULL, 0);
    do_write(io, MAP, "\x55", 18);
    load(MAP);
    update(MAP, 0, 1, 1, -1);
    resize(MAP, 9, 1);
    call(MAP, "object_map_snap_add", NULL, 0);
    call(MAP, "object_map_snap_remove", seven, sizeof(seven));
    do_write(io, MAP, "\x0e", 0);
    do_write(io, MAP, "short", 4);
    load(MAP);
    op = rados_create_write_op();
    rados_write_op_truncate(op, 0);
    rados_write_op_exec(op, "rbd", "object_map_resize", "\3\0\0\0\0\0\0\0\1", 9, NULL);
    operate(io, "truncate and resize", MAP, op);
    load(MAP);
    /* As it is with no checksums. */
    op = rados_create_write_op();
    rados_write_op_write_full(op, (const char *)seven, sizeof(seven));
    operate(io, "write_full", MAP, op);
    load(MAP);
    update(MAP, 0, 1, 1, -1);
    do_read(io, MAP, 100, 0);
    do_remove(io, MAP, false);
}

/* A map that is locked before it is there. */
static void locked_map(void)
{
    static const char lock[40] = "\1\1\42\0\0\0\10\0\0\0rbd_lock\1";
    static const char held[27] = "\1\1\25\0\0\0\10\0\0\0rbd_lock\1";
    static const char unlock[22] = "\1\1\20\0\0\0\10\0\0\0rbd_lock";
    static const char three[] = "\3\0\0\0\0\0\0\0\1";
    rados_write_op_t op;
    unsigned i;

    for (i = 0; i < 3; i++) {
        op = rados_create_write_op();
        rados_write_op_exec(op, "lock", "assert_locked", held, sizeof(held), NULL);
        rados_write_op_exec(op, "rbd", "object_map_resize", three, 9, NULL);
        operate(io, "assert_locked and resize", MAP, op);
        load(MAP);
        op = rados_create_write_op();
        if (i == 0) {
            rados_write_op_exec(op, "lock", "lock", lock, sizeof(lock), NULL);
        } else {
            rados_write_op_exec(op, "lock", "unlock", unlock, sizeof(unlock), NULL);
        }
        operate(io, i == 0 ? "lock" : "unlock", MAP, op);
        do_stat(io, MAP);
        load(MAP);
    }
}

static void maps(void)
{
    no_map();
    map_sizes();
    map_states();
    damaged_map();
    locked_map();
}

/* --- Watches -------------------------------------------------------------------------------------------------------------- */

static int heard;
static int broken;
static const char *answer = "";

static void on_notify(void *opaque, uint64_t id, uint64_t cookie, uint64_t sender, void *message, size_t length)
{
    pthread_mutex_lock(&lock);
    printf("heard, of ourselves: %d\n", sender == rados_get_instance_id(cluster));
    bytes("message", message, length);
    heard++;
    pthread_mutex_unlock(&lock);
    rados_notify_ack(io, opaque, id, cookie, *answer ? answer : NULL, strlen(answer));
}

static void on_error(void *opaque, uint64_t cookie, int error)
{
    (void)opaque;
    (void)cookie;
    pthread_mutex_lock(&lock);
    broken = error;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void notify(const char *object, const char *message, uint64_t cookie)
{
    struct waiter waiter;
    char *reply = NULL;
    size_t length = 0;
    uint64_t number = rados_get_instance_id(cluster);
    int ret;

    begin(&waiter);
    ret = end(&waiter, rados_aio_notify(io, object, waiter.completion, message, strlen(message), 5000, &reply, &length));
    printf("notify %s = %d\n", object, ret);
    if (length >= 24) {
        printf("who: %d %d\n", !memcmp(reply + 4, &number, 8), !memcmp(reply + 12, &cookie, 8));
        memset(reply + 4, 0, 16);
    }
    bytes("answers", reply, length);
    rados_buffer_free(reply);
}

static void watches(void)
{
    uint64_t cookie = 0;

    printf("watch = %d\n", rados_watch3(io, "missing", &cookie, on_notify, on_error, 0, "missing"));
    notify("missing", "hello", 0);
    do_write(io, "watched", "x", 0);
    notify("watched", "nobody", 0);
    printf("watch = %d\n", rados_watch3(io, "watched", &cookie, on_notify, on_error, 0, "watched"));
    notify("watched", "hello", cookie);
    notify("watched", "", cookie);
    answer = "answer";
    notify("watched", "hello", cookie);
    printf("unwatch = %d\n", rados_unwatch2(io, cookie));
    rados_watch_flush(cluster);
    notify("watched", "nobody", 0);
    printf("heard %d\n", heard);
    printf("watch = %d\n", rados_watch3(io, "watched", &cookie, on_notify, on_error, 0, "watched"));
    do_remove(io, "watched", false);
    pthread_mutex_lock(&lock);
    while (!broken) {
        pthread_cond_wait(&changed, &lock);
    }
    printf("broken %d\n", broken);
    pthread_mutex_unlock(&lock);
    printf("unwatch = %d\n", rados_unwatch2(io, cookie));
    rados_watch_flush(cluster);
}

static void settings(void)
{
    static const char *const keys[] = { "rbd_default_order", "rbd_default_format", "rbd_default_stripe_unit",
                                        "rbd_default_stripe_count", "rbd_default_data_pool", "rbd_validate_pool",
                                        "no_such_setting" };
    char value[512], small[2];
    unsigned i;

    for (i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        int ret = rados_conf_get(cluster, keys[i], value, sizeof(value));

        printf("%s = %d %s\n", keys[i], ret, ret ? "" : value);
    }
    printf("small = %d\n", rados_conf_get(cluster, "rbd_validate_pool", small, sizeof(small)));
    printf("set = %d\n", rados_conf_set(cluster, "rbd_default_order", "20"));
    printf("set unknown = %d\n", rados_conf_set(cluster, "no_such_setting", "20"));
    printf("get = %d %s\n", rados_conf_get(cluster, "rbd_default_order", value, sizeof(value)), value);
}

int main(int argc, char **argv)
{
    static const char *const left[] = { "one", "two", "header", "flagged", "id", "dir", "info", "a.rbd", "watched", "locked", MAP,
                                        "s-before", "s-between", "s-after", "s-gone" };
    rados_ioctx_t missing;
    unsigned i;
    int ret;

    if (argc != 2) {
        fprintf(stderr, "usage: compare POOL\n");
        return 2;
    }
    if (rados_create(&cluster, NULL)) {
        return 1;
    }
    rados_conf_read_file(cluster, NULL);
    settings();
    ret = rados_connect(cluster);
    if (ret) {
        fprintf(stderr, "cannot connect: %d\n", ret);
        return 1;
    }
    printf("no such pool = %d\n", rados_ioctx_create(cluster, "no-such-pool", &missing));
    ret = rados_ioctx_create(cluster, argv[1], &io);
    if (ret) {
        fprintf(stderr, "cannot open pool %s: %d\n", argv[1], ret);
        return 1;
    }
    pool = rados_ioctx_get_id(io);
    rados_ioctx_destroy(io);
    printf("no such pool = %d\n", rados_ioctx_create2(cluster, pool + 100000, &missing));
    io = handle();
    for (i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        do_remove(io, left[i], true);
    }
    data();
    snapshots();
    header();
    names();
    format1();
    locks();
    maps();
    watches();
    for (i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        do_remove(io, left[i], true);
    }
    rados_ioctx_destroy(io);
    rados_shutdown(cluster);
    return 0;
}
