/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Operations on one object: how they are put together, and what they do. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* --- Putting together ------------------------------------------------------------------------------------------------------ */

static void *new_members(void)
{
    struct members *members = calloc(1, sizeof(*members));

    ceph_acquire();
    ceph_count_alive(1);
    ceph_release_lock();
    return members;
}

static void release_members(struct members *members)
{
    unsigned i;

    for (i = 0; i < members->count; i++) {
        free(members->member[i].input.data);
    }
    free(members);
    ceph_acquire();
    ceph_count_alive(-1);
    ceph_release_lock();
}

static struct member *add(struct members *members, struct member member, const void *input, size_t length)
{
    struct member *place = &members->member[members->count];

    ceph_acquire();
    if (members->submitted) {
        ceph_violate("something was added to an operation that is under way");
    }
    ceph_release_lock();
    if (members->count == sizeof(members->member) / sizeof(members->member[0])) {
        abort();
    }
    *place = member;
    if (length) {
        bytes_put(&place->input, input, length);
    }
    members->count++;
    return place;
}

static void add_exec(struct members *members, const char *class, const char *method, struct member member, const void *input,
                     size_t length)
{
    struct member *place = add(members, member, input, length);

    snprintf(place->class, sizeof(place->class), "%s", class);
    snprintf(place->method, sizeof(place->method), "%s", method);
}

rados_read_op_t rados_create_read_op(void)
{
    return new_members();
}

void rados_release_read_op(rados_read_op_t read_op)
{
    release_members(read_op);
}

void rados_read_op_exec(rados_read_op_t read_op, const char *cls, const char *method, const char *in_buf, size_t in_len,
                        char **out_buf, size_t *out_len, int *prval)
{
    struct member member = { .kind = EXEC, .reply = out_buf, .reply_length = out_len, .result = prval };

    add_exec(read_op, cls, method, member, in_buf, in_len);
}

void rados_read_op_read(rados_read_op_t read_op, uint64_t offset, size_t len, char *buffer, size_t *bytes_read, int *prval)
{
    struct member member = { .kind = READ, .offset = offset, .length = len, .place = buffer, .reply_length = bytes_read,
                             .result = prval };

    add(read_op, member, NULL, 0);
}

void rados_read_op_assert_exists(rados_read_op_t read_op)
{
    add(read_op, (struct member) { .kind = STAT }, NULL, 0);
}

rados_write_op_t rados_create_write_op(void)
{
    return new_members();
}

void rados_release_write_op(rados_write_op_t write_op)
{
    release_members(write_op);
}

void rados_write_op_assert_exists(rados_write_op_t write_op)
{
    add(write_op, (struct member) { .kind = ASSERT_EXISTS }, NULL, 0);
}

void rados_write_op_assert_version(rados_write_op_t write_op, uint64_t ver)
{
    add(write_op, (struct member) { .kind = ASSERT_VERSION, .offset = ver }, NULL, 0);
}

void rados_write_op_create(rados_write_op_t write_op, int exclusive, const char *category)
{
    (void)category;
    add(write_op, (struct member) { .kind = CREATE, .offset = exclusive }, NULL, 0);
}

void rados_write_op_exec(rados_write_op_t write_op, const char *cls, const char *method, const char *in_buf, size_t in_len,
                         int *prval)
{
    add_exec(write_op, cls, method, (struct member) { .kind = EXEC, .result = prval }, in_buf, in_len);
}

void rados_write_op_remove(rados_write_op_t write_op)
{
    add(write_op, (struct member) { .kind = REMOVE }, NULL, 0);
}

void rados_write_op_truncate(rados_write_op_t write_op, uint64_t offset)
{
    add(write_op, (struct member) { .kind = TRUNCATE, .offset = offset }, NULL, 0);
}

void rados_write_op_write(rados_write_op_t write_op, const char *buffer, size_t len, uint64_t offset)
{
    add(write_op, (struct member) { .kind = WRITE, .offset = offset, .length = len }, buffer, len);
}

void rados_write_op_write_full(rados_write_op_t write_op, const char *buffer, size_t len)
{
    add(write_op, (struct member) { .kind = WRITE_FULL, .length = len }, buffer, len);
}

void rados_write_op_writesame(rados_write_op_t write_op, const char *buffer, size_t data_len, size_t write_len, uint64_t offset)
{
    add(write_op, (struct member) { .kind = WRITE_SAME, .offset = offset, .length = write_len }, buffer, data_len);
}

void rados_write_op_zero(rados_write_op_t write_op, uint64_t offset, uint64_t len)
{
    add(write_op, (struct member) { .kind = ZERO, .offset = offset, .length = len }, NULL, 0);
}

void operation_free(struct op *op)
{
    unsigned i;

    for (i = 0; i < op->count; i++) {
        free(op->member[i].input.data);
    }
    free(op->member);
    free(op->message.data);
    free(op);
}

/* --- What goes wrong on demand ---------------------------------------------------------------------------------------------- */

struct fault {
    char part[MAX_NAME];
    enum ceph_call call;
    int skip;
    int times;
    int error;
    bool late;
    bool delayed;
};

static struct fault faults[16];
static unsigned fault_count;
static size_t most_bytes = SIZE_MAX;

static void fail_object(const char *part, struct fault fault)
{
    ceph_acquire();
    if (fault_count == 16) {
        abort();
    }
    snprintf(fault.part, sizeof(fault.part), "%s", part);
    faults[fault_count++] = fault;
    ceph_release_lock();
}

void ceph_fail_object(const char *part, enum ceph_call call, int skip, int times, int error)
{
    fail_object(part, (struct fault) { .call = call, .skip = skip, .times = times, .error = error });
}

void ceph_fail_object_late(const char *part, enum ceph_call call, int skip, int times, int error)
{
    fail_object(part, (struct fault) { .call = call, .skip = skip, .times = times, .error = error, .late = true });
}

void ceph_delay_object(const char *part, enum ceph_call call, int skip, int times, int error)
{
    fail_object(part, (struct fault) { .call = call, .skip = skip, .times = times, .error = error, .delayed = true });
}

void ceph_pass_objects(void)
{
    ceph_acquire();
    fault_count = 0;
    ceph_release_lock();
}

void ceph_most(size_t bytes)
{
    ceph_acquire();
    most_bytes = bytes;
    ceph_release_lock();
}

static const struct fault *fault_of(const struct op *op)
{
    unsigned i;

    for (i = 0; i < fault_count; i++) {
        struct fault *fault = &faults[i];

        if ((fault->call != CEPH_ANY && fault->call != op->call) || !strstr(op->name, fault->part) || !fault->times) {
            continue;
        }
        if (fault->skip > 0) {
            fault->skip--;
            continue;
        }
        if (fault->times > 0) {
            fault->times--;
        }
        return fault;
    }
    return NULL;
}

/* --- Doing ---------------------------------------------------------------------------------------------------------------- */

static const char *const kinds[] = {
    [READ] = "read", [STAT] = "stat", [EXEC] = "exec", [CREATE] = "create", [ASSERT_EXISTS] = "assert",
    [ASSERT_VERSION] = "assert", [WRITE] = "write", [WRITE_FULL] = "write_full", [WRITE_SAME] = "writesame", [ZERO] = "zero",
    [TRUNCATE] = "truncate", [REMOVE] = "remove",
};

/* Writes an operation down. */
static void note(const struct op *op, int ret)
{
    bool changes = op->call == CEPH_WRITE || op->call == CEPH_REMOVE || op->call == CEPH_WRITE_OP;
    unsigned i, j;

    for (i = 0; i < op->count; i++) {
        const struct member *member = &op->member[i];

        if (member->kind == EXEC) {
            ceph_note("exec %s %s", op->name, member->method);
        } else {
            ceph_note("%s %s %llu+%llu", kinds[member->kind], op->name, (unsigned long long)member->offset,
                      (unsigned long long)member->length);
        }
        if (changes) {
            ceph_note(" [%llu:", (unsigned long long)op->context.seq);
            for (j = 0; j < op->context.count; j++) {
                ceph_note("%s%llu", j ? "," : "", (unsigned long long)op->context.ids[j]);
            }
            ceph_note("]");
        } else if (op->snap != NO_SNAP) {
            ceph_note(" @%llu", (unsigned long long)op->snap);
        }
        if (ret < 0) {
            ceph_note(" = %d", ret);
        }
        ceph_note("\n");
    }
}

/* How many bytes there were. */
static int do_read(const struct member *member, const struct view *view)
{
    size_t length = 0;

    if (!view->exists) {
        return -ENOENT;
    }
    if (!member->length) {
        ceph_violate("a read of nothing, which is the whole object");
    }
    if (member->offset < view->length) {
        length = view->length - member->offset;
    }
    length = length < member->length ? length : member->length;
    length = length < most_bytes ? length : most_bytes;
    if (length) {
        memcpy(member->place, view->data + member->offset, length);
    }
    return length;
}

static int read_member(const struct op *op, const struct member *member, struct object *object, const struct view *view)
{
    struct bytes reply = { .length = 0 };
    struct object nothing = { .exists = false };
    int ret;

    switch (member->kind) {
    case READ:
        ret = do_read(member, view);
        if (ret >= 0 && member->reply_length) {
            *member->reply_length = ret;
        }
        return ret;
    case STAT:
        return view->exists ? 0 : -ENOENT;
    default:
        ret = class_call(object ? object : &nothing, member->class, member->method, op->client->number, member->input, &reply,
                         false);
        if (ret >= 0 && reply.length) {
            *member->reply = (char *)reply.data;
            *member->reply_length = reply.length;
            ceph_count_alive(1);
        } else {
            free(reply.data);
        }
        return ret;
    }
}

static int perform_reads(struct op *op)
{
    struct object *object = store_find(op->pool->id, op->namespace, op->name);
    struct view view = store_view(object, op->snap);
    unsigned i;
    int ret = 0;

    op->completion->version = view.version;
    for (i = 0; i < op->count && ret >= 0; i++) {
        ret = read_member(op, &op->member[i], object, &view);
        if (op->member[i].result) {
            *op->member[i].result = ret < 0 ? ret : 0;
        }
    }
    return ret < 0 || op->call == CEPH_READ ? ret : 0;
}

static int write_same(struct object *object, const struct member *member)
{
    uint64_t at;

    if (!member->input.length || !member->length || member->length % member->input.length) {
        return -EINVAL;
    }
    for (at = 0; at < member->length; at += member->input.length) {
        store_write(object, member->offset + at, member->input.data, member->input.length);
    }
    return 0;
}

/* 0 or -errno; @changed if the object is to be kept. */
static int write_member(const struct op *op, const struct member *member, struct object *object, bool *changed)
{
    struct bytes reply = { .length = 0 };
    int ret;

    switch (member->kind) {
    case CREATE:
        *changed = true;
        if (object->exists && member->offset == LIBRADOS_CREATE_EXCLUSIVE) {
            return -EEXIST;
        }
        object->exists = true;
        return 0;
    case ASSERT_EXISTS:
        return object->exists ? 0 : -ENOENT;
    case ASSERT_VERSION:
        if (!object->exists || object->version < member->offset) {
            return -EOVERFLOW;
        }
        return object->version > member->offset ? -ERANGE : 0;
    case WRITE:
        *changed = true;
        store_write(object, member->offset, member->input.data, member->length);
        return 0;
    case WRITE_FULL:
        *changed = true;
        store_set_length(object, 0);
        store_write(object, 0, member->input.data, member->length);
        return 0;
    case WRITE_SAME:
        *changed = true;
        return write_same(object, member);
    case ZERO:
        *changed |= object->exists;
        if (object->exists) {
            store_zero(object, member->offset, member->length);
        }
        return 0;
    case TRUNCATE:
        *changed |= object->exists;
        if (object->exists) {
            store_set_length(object, member->offset);
        }
        return 0;
    case REMOVE:
        if (!object->exists) {
            return -ENOENT;
        }
        *changed = true;
        object->exists = false;
        store_set_length(object, 0);
        free(object->header);
        free(object->names);
        object->header = NULL;
        object->names = NULL;
        memset(&object->lock, 0, sizeof(object->lock));
        return 0;
    default:
        ret = class_call(object, member->class, member->method, op->client->number, member->input, &reply, true);
        free(reply.data);
        *changed |= ret >= 0;
        return ret;
    }
}

static int perform_writes(struct op *op)
{
    struct object *object, *copy;
    bool changed = false, existed;
    unsigned i;
    int ret = 0;

    if (op->snap != NO_SNAP) {
        return -EROFS;
    }
    lock_check(op);
    object = store_get(op->pool->id, op->namespace, op->name);
    copy = store_copy(object);
    existed = object->exists;
    for (i = 0; i < op->count && !ret; i++) {
        ret = write_member(op, &op->member[i], copy, &changed);
        if (op->member[i].result) {
            *op->member[i].result = ret;
        }
    }
    if (ret || !changed) {
        store_discard(copy);
    } else {
        store_keep(object, copy, &op->context);
        op->completion->version = object->version;
        map_check_done(op, existed);
        map_check_there(object);
        if (!object->exists) {
            watch_lose(op->pool->id, op->namespace, op->name, ENOTCONN);
        }
    }
    store_sweep();
    return ret;
}

static int perform(struct op *op)
{
    switch (op->call) {
    case CEPH_READ:
    case CEPH_STAT:
    case CEPH_READ_OP:
        return perform_reads(op);
    case CEPH_SNAP_CREATE:
        *op->id = ++op->pool->snap_seq;
        return 0;
    case CEPH_SNAP_REMOVE:
        store_remove_snap(op->pool->id, op->old_id);
        return 0;
    case CEPH_NOTIFY:
        return 0;
    default:
        return perform_writes(op);
    }
}

/* --- What is done only when nobody waits for it any more -------------------------------------------------------------------- */

/* In the order in which it was sent. */
static struct op *delayed;

static void delay(const struct op *op)
{
    struct op **place = &delayed;
    struct op *copy = malloc(sizeof(*copy));
    unsigned i;

    *copy = *op;
    copy->next = NULL;
    copy->completion = calloc(1, sizeof(*copy->completion));
    copy->message = (struct bytes) { .length = 0 };
    copy->member = calloc(op->count + 1, sizeof(*op->member));
    for (i = 0; i < op->count; i++) {
        copy->member[i] = op->member[i];
        /* Its client looks at nothing any more. */
        copy->member[i].result = NULL;
        copy->member[i].input = (struct bytes) { .length = 0 };
        if (op->member[i].input.length) {
            bytes_put(&copy->member[i].input, op->member[i].input.data, op->member[i].input.length);
        }
    }
    while (*place) {
        place = &(*place)->next;
    }
    *place = copy;
}

static void do_delayed(struct op **place)
{
    struct op *op = *place;
    int ret;

    *place = op->next;
    if (!op->client->blocked) {
        ret = perform(op);
        note(op, ret);
    }
    free(op->completion);
    operation_free(op);
}

void operation_catch_up(int64_t pool, const char *namespace, const char *name)
{
    struct op **place = &delayed;

    while (*place) {
        if ((*place)->pool->id == pool && !strcmp((*place)->namespace, namespace) && !strcmp((*place)->name, name)) {
            do_delayed(place);
        } else {
            place = &(*place)->next;
        }
    }
}

void ceph_do_delayed(void)
{
    ceph_acquire();
    while (delayed) {
        do_delayed(&delayed);
    }
    ceph_release_lock();
}

int operation_perform(struct op *op)
{
    const struct fault *fault = fault_of(op);
    int ret = 0;

    if (op->client->blocked) {
        ret = -ESHUTDOWN;
    } else if (fault && fault->delayed) {
        delay(op);
    } else if (!fault || fault->late) {
        if (op->in_order || op->call == CEPH_WRITE || op->call == CEPH_REMOVE || op->call == CEPH_WRITE_OP) {
            operation_catch_up(op->pool->id, op->namespace, op->name);
        }
        ret = perform(op);
    }
    if (fault) {
        ret = -fault->error;
    }
    note(op, ret);
    return ret;
}

/* --- Rolling back ----------------------------------------------------------------------------------------------------------- */

int rados_ioctx_selfmanaged_snap_rollback(rados_ioctx_t io, const char *oid, rados_snap_t snapid)
{
    struct handle *handle = io;
    struct object *object, *copy;
    struct view view;
    int ret;

    ceph_blocks("a callback rolls back");
    ret = ceph_begin(CEPH_ROLLBACK);
    if (ret) {
        return ret;
    }
    ceph_acquire();
    handle->used = true;
    if (ceph_usable(handle)) {
        operation_catch_up(handle->pool->id, handle->namespace, oid);
        object = store_get(handle->pool->id, handle->namespace, oid);
        view = store_view(object, snapid);
        ceph_note("rollback %s @%llu\n", oid, (unsigned long long)snapid);
        copy = store_copy(object);
        store_set_length(copy, 0);
        copy->exists = view.exists;
        if (view.exists && view.length) {
            store_write(copy, 0, view.data, view.length);
        }
        if (object->exists || view.exists) {
            store_keep(object, copy, &handle->context);
            map_check_there(object);
        } else {
            store_discard(copy);
        }
        store_sweep();
    }
    ceph_release_lock();
    return ret;
}
