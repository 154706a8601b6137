/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Methods of the class "rbd", as far as the archive calls them. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* --- Encoding ------------------------------------------------------------------------------------------------------------- */

void bytes_put(struct bytes *bytes, const void *data, size_t length)
{
    bytes->data = realloc(bytes->data, bytes->length + length + 1);
    memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
}

void bytes_u8(struct bytes *bytes, uint8_t value)
{
    bytes_put(bytes, &value, 1);
}

/* The machine is a little-endian one, as the format. */
void bytes_u32(struct bytes *bytes, uint32_t value)
{
    bytes_put(bytes, &value, sizeof(value));
}

void bytes_u64(struct bytes *bytes, uint64_t value)
{
    bytes_put(bytes, &value, sizeof(value));
}

void bytes_text(struct bytes *bytes, const char *text)
{
    bytes_u32(bytes, strlen(text));
    bytes_put(bytes, text, strlen(text));
}

/* Begins a versioned structure; where its length goes. */
static size_t begin(struct bytes *bytes, uint8_t version)
{
    bytes_u8(bytes, version);
    bytes_u8(bytes, 1);
    bytes_u32(bytes, 0);
    return bytes->length;
}

static void end(struct bytes *bytes, size_t start)
{
    uint32_t length = bytes->length - start;

    memcpy(bytes->data + start - sizeof(length), &length, sizeof(length));
}

/* Arguments of a method. */
struct input {
    const unsigned char *at;
    size_t left;
    bool short_of;
};

static void take(struct input *input, void *place, size_t length)
{
    memset(place, 0, length);
    if (input->left < length) {
        input->short_of = true;
        return;
    }
    memcpy(place, input->at, length);
    input->at += length;
    input->left -= length;
}

static uint8_t take_u8(struct input *input)
{
    uint8_t value;

    take(input, &value, sizeof(value));
    return value;
}

static uint32_t take_u32(struct input *input)
{
    uint32_t value;

    take(input, &value, sizeof(value));
    return value;
}

static uint64_t take_u64(struct input *input)
{
    uint64_t value;

    take(input, &value, sizeof(value));
    return value;
}

static void take_text(struct input *input, char text[MAX_NAME])
{
    uint32_t length = take_u32(input);

    memset(text, 0, MAX_NAME);
    if (length >= MAX_NAME) {
        input->short_of = true;
    } else {
        take(input, text, length);
    }
}

/* --- Headers -------------------------------------------------------------------------------------------------------------- */

struct header *class_new_header(uint64_t size, uint8_t order, uint64_t features, const char *prefix)
{
    struct header *header = calloc(1, sizeof(*header));

    header->size = size;
    header->order = order;
    header->features = features;
    header->data_pool = -1;
    header->unit = (uint64_t)1 << order;
    header->count = 1;
    snprintf(header->prefix, sizeof(header->prefix), "%s", prefix);
    return header;
}

static struct snapshot *snapshot_of(struct header *header, uint64_t id)
{
    unsigned i;

    for (i = 0; i < header->snapshots; i++) {
        if (header->snapshot[i].id == id) {
            return &header->snapshot[i];
        }
    }
    return NULL;
}

static int get_size(struct header *header, struct snapshot *snapshot, struct input *in, struct bytes *out)
{
    (void)in;
    bytes_u8(out, header->order);
    bytes_u64(out, snapshot ? snapshot->size : header->size);
    return 0;
}

static int get_features(struct header *header, struct snapshot *snapshot, struct input *in, struct bytes *out)
{
    bool read_only = in->left && take_u8(in);

    (void)snapshot;
    bytes_u64(out, header->features);
    /* Unknown ones must be understood by everybody. */
    bytes_u64(out, header->features & (read_only ? ~(uint64_t)0xfff | 0x883 : ~(uint64_t)0));
    return 0;
}

static int get_flags(struct header *header, struct snapshot *snapshot, struct input *in, struct bytes *out)
{
    (void)in;
    bytes_u64(out, snapshot ? snapshot->flags : header->flags);
    return 0;
}

static int parent_overlap_get(struct header *header, struct snapshot *snapshot, struct input *in, struct bytes *out)
{
    uint64_t overlap = snapshot ? snapshot->overlap : header->overlap;

    (void)in;
    bytes_u8(out, overlap != 0);
    if (overlap) {
        bytes_u64(out, overlap);
    }
    return 0;
}

/* As before Nautilus. */
static int get_parent(struct header *header, struct snapshot *snapshot, struct input *in, struct bytes *out)
{
    uint64_t overlap = snapshot ? snapshot->overlap : header->overlap;

    (void)in;
    bytes_u64(out, overlap ? 2 : (uint64_t)-1);
    bytes_text(out, overlap ? "parent" : "");
    bytes_u64(out, overlap ? 4 : NO_SNAP);
    bytes_u64(out, overlap);
    return 0;
}

static int get_protection_status(struct header *header, struct snapshot *snapshot, struct input *in, struct bytes *out)
{
    (void)header;
    (void)in;
    if (!snapshot) {
        return -EINVAL;
    }
    bytes_u8(out, snapshot->protection);
    return 0;
}

static void put_kind(struct bytes *out, const struct snapshot *snapshot)
{
    size_t start = begin(out, 1);

    bytes_u32(out, snapshot->kind);
    if (snapshot->kind == 1) {
        bytes_u64(out, 2);
        bytes_text(out, "group");
        bytes_text(out, "group-snapshot");
    } else if (snapshot->kind == 2) {
        bytes_text(out, snapshot->original);
        bytes_u32(out, 0);
    }
    end(out, start);
}

static int snapshot_get(struct header *header, struct snapshot *snapshot, struct input *in, struct bytes *out)
{
    size_t start;

    (void)header;
    (void)in;
    if (!snapshot) {
        return -EINVAL;
    }
    start = begin(out, 1);
    bytes_u64(out, snapshot->id);
    put_kind(out, snapshot);
    bytes_text(out, snapshot->name);
    bytes_u64(out, snapshot->size);
    bytes_u64(out, 0);
    bytes_u32(out, snapshot->children);
    end(out, start);
    return 0;
}

/* Getters that take the number of a snapshot, or none for the image itself. */
static const struct {
    const char *name;
    int (*call)(struct header *header, struct snapshot *snapshot, struct input *in, struct bytes *out);
} getters[] = {
    { "get_size", get_size },
    { "get_features", get_features },
    { "get_flags", get_flags },
    { "parent_overlap_get", parent_overlap_get },
    { "get_parent", get_parent },
    { "get_protection_status", get_protection_status },
    { "snapshot_get", snapshot_get },
};

static int get_object_prefix(struct header *header, struct bytes *out)
{
    bytes_text(out, header->prefix);
    return 0;
}

static int get_stripe_unit_count(struct header *header, struct bytes *out)
{
    if (!(header->features & CEPH_STRIPING)) {
        return -ENOEXEC;
    }
    bytes_u64(out, header->unit);
    bytes_u64(out, header->count);
    return 0;
}

static int get_data_pool(struct header *header, struct bytes *out)
{
    bytes_u64(out, header->data_pool);
    return 0;
}

static int get_snapcontext(struct header *header, struct bytes *out)
{
    unsigned i;

    bytes_u64(out, header->snap_seq);
    bytes_u32(out, header->snapshots);
    for (i = header->snapshots; i; i--) {
        bytes_u64(out, header->snapshot[i - 1].id);
    }
    return 0;
}

static int op_features_get(struct header *header, struct bytes *out)
{
    bytes_u64(out, header->operations);
    return 0;
}

static int parent_get(struct header *header, struct bytes *out)
{
    size_t start = begin(out, 1);

    bytes_u64(out, header->has_parent ? 2 : (uint64_t)-1);
    bytes_text(out, "");
    bytes_text(out, header->has_parent ? "parent" : "");
    bytes_u64(out, header->has_parent ? 4 : NO_SNAP);
    end(out, start);
    return 0;
}

static int get_all_features(struct header *header, struct bytes *out)
{
    (void)header;
    bytes_u64(out, 0xfff);
    return 0;
}

/* Getters without arguments. */
static const struct {
    const char *name;
    int (*call)(struct header *header, struct bytes *out);
} plain_getters[] = {
    { "get_object_prefix", get_object_prefix },
    { "get_stripe_unit_count", get_stripe_unit_count },
    { "get_data_pool", get_data_pool },
    { "get_snapcontext", get_snapcontext },
    { "op_features_get", op_features_get },
    { "parent_get", parent_get },
};

/* --- Changes of headers ------------------------------------------------------------------------------------------------------ */

static int set_size(struct header *header, struct input *in)
{
    uint64_t size = take_u64(in);

    if (in->short_of) {
        return -EINVAL;
    }
    header->size = size;
    if (header->overlap > size) {
        header->overlap = size;
    }
    return 0;
}

static int set_flags(struct header *header, struct input *in)
{
    uint64_t flags = take_u64(in), mask = take_u64(in);
    uint64_t id = in->left ? take_u64(in) : NO_SNAP;
    struct snapshot *snapshot = id == NO_SNAP ? NULL : snapshot_of(header, id);
    uint64_t *place = snapshot ? &snapshot->flags : &header->flags;

    if (in->short_of) {
        return -EINVAL;
    }
    if (id != NO_SNAP && !snapshot) {
        return -ENOENT;
    }
    *place = (*place & ~mask) | (flags & mask);
    return 0;
}

static int set_stripe_unit_count(struct header *header, struct input *in)
{
    if (!(header->features & CEPH_STRIPING)) {
        return -ENOEXEC;
    }
    header->unit = take_u64(in);
    header->count = take_u64(in);
    return in->short_of ? -EINVAL : 0;
}

static int add_snapshot(struct header *header, const char *name, uint64_t id, uint32_t kind)
{
    unsigned i;

    if (id < header->snap_seq) {
        return -ESTALE;
    }
    for (i = 0; i < header->snapshots; i++) {
        if (header->snapshot[i].id == id
            || (!strcmp(header->snapshot[i].name, name) && header->snapshot[i].kind == kind)) {
            return -EEXIST;
        }
    }
    if (header->snapshots == MAX_SNAPS) {
        return -EDQUOT;
    }
    header->snapshot[header->snapshots] = (struct snapshot) {
        .id = id, .size = header->size, .flags = header->flags, .overlap = header->overlap, .kind = kind };
    snprintf(header->snapshot[header->snapshots].name, MAX_NAME, "%s", name);
    snprintf(header->snapshot[header->snapshots].original, MAX_NAME, "%s", name);
    header->snapshots++;
    header->snap_seq = id;
    return 0;
}

static int snapshot_add(struct header *header, struct input *in)
{
    char name[MAX_NAME];
    uint64_t id;

    take_text(in, name);
    id = take_u64(in);
    return in->short_of ? -EINVAL : add_snapshot(header, name, id, 0);
}

static int snapshot_remove(struct header *header, struct input *in)
{
    struct snapshot *snapshot = snapshot_of(header, take_u64(in));
    unsigned at;

    if (!snapshot) {
        return -ENOENT;
    }
    if (snapshot->protection || snapshot->children) {
        return -EBUSY;
    }
    at = snapshot - header->snapshot;
    header->snapshots--;
    memmove(snapshot, snapshot + 1, (header->snapshots - at) * sizeof(*snapshot));
    return 0;
}

static int snapshot_trash_add(struct header *header, struct input *in)
{
    struct snapshot *snapshot = snapshot_of(header, take_u64(in));

    if (!snapshot) {
        return -ENOENT;
    }
    if (snapshot->protection) {
        return -EBUSY;
    }
    if (snapshot->kind == 2) {
        return -EEXIST;
    }
    snapshot->kind = 2;
    snprintf(snapshot->name, MAX_NAME, "trash-%llu", (unsigned long long)snapshot->id);
    return 0;
}

static const struct {
    const char *name;
    int (*call)(struct header *header, struct input *in);
} changes[] = {
    { "set_size", set_size },
    { "set_flags", set_flags },
    { "set_stripe_unit_count", set_stripe_unit_count },
    { "snapshot_add", snapshot_add },
    { "snapshot_remove", snapshot_remove },
    { "snapshot_trash_add", snapshot_trash_add },
};

static int create(struct object *object, struct input *in)
{
    uint64_t size = take_u64(in);
    uint8_t order = take_u8(in);
    uint64_t features = take_u64(in);
    char prefix[MAX_NAME];

    take_text(in, prefix);
    if (in->short_of) {
        return -EINVAL;
    }
    if (features & ~(uint64_t)0xfff) {
        return -ENOSYS;
    }
    if (object->header) {
        return -EEXIST;
    }
    object->header = class_new_header(size, order, features, prefix);
    object->header->data_pool = in->left ? (int64_t)take_u64(in) : -1;
    object->exists = true;
    return 0;
}

/* --- Headers of format 1, which are data ----------------------------------------------------------------------------------- */

#define HEADER1_SIZE 0x70

void class_put_header1(struct object *object, uint8_t order, uint64_t size, const char *prefix)
{
    unsigned char fixed[HEADER1_SIZE] = "<<< Rados Block Device Image >>>\n";

    memcpy(fixed + 0x28, prefix, strlen(prefix));
    memcpy(fixed + 0x40, "RBD\0" "001.005\0", 12);
    fixed[0x4c] = order;
    memcpy(fixed + 0x50, &size, sizeof(size));
    store_write(object, 0, fixed, sizeof(fixed));
}

struct numbers1 {
    uint64_t id;
    uint64_t size;
};

static int snap_add(struct object *object, struct input *in)
{
    struct bytes header = { .length = 0 };
    struct numbers1 numbers;
    char name[MAX_NAME];
    uint64_t seq, names;
    uint32_t count, i;
    const char *next;

    take_text(in, name);
    numbers.id = take_u64(in);
    if (in->short_of || object->length < HEADER1_SIZE) {
        return -EINVAL;
    }
    memcpy(&numbers.size, object->data + 0x50, sizeof(numbers.size));
    memcpy(&seq, object->data + 0x58, sizeof(seq));
    memcpy(&count, object->data + 0x60, sizeof(count));
    memcpy(&names, object->data + 0x68, sizeof(names));
    if (numbers.id < seq) {
        return -ESTALE;
    }
    next = (const char *)object->data + HEADER1_SIZE + count * sizeof(numbers);
    for (i = 0; i < count; i++, next += strlen(next) + 1) {
        if (!strcmp(next, name)) {
            return -EEXIST;
        }
    }
    bytes_put(&header, object->data, HEADER1_SIZE);
    bytes_put(&header, &numbers, sizeof(numbers));
    bytes_put(&header, object->data + HEADER1_SIZE, count * sizeof(numbers));
    bytes_put(&header, name, strlen(name) + 1);
    bytes_put(&header, object->data + HEADER1_SIZE + count * sizeof(numbers), names);
    count++;
    names += strlen(name) + 1;
    memcpy(header.data + 0x58, &numbers.id, sizeof(numbers.id));
    memcpy(header.data + 0x60, &count, sizeof(count));
    memcpy(header.data + 0x68, &names, sizeof(names));
    store_write(object, 0, header.data, header.length);
    free(header.data);
    return 0;
}

static int snap_remove(struct object *object, struct input *in)
{
    struct bytes header = { .length = 0 }, texts = { .length = 0 };
    char name[MAX_NAME];
    const char *next;
    uint32_t count, i, left = 0;
    uint64_t names;

    take_text(in, name);
    memcpy(&count, object->data + 0x60, sizeof(count));
    bytes_put(&header, object->data, HEADER1_SIZE);
    next = (const char *)object->data + HEADER1_SIZE + count * sizeof(struct numbers1);
    for (i = 0; i < count; i++, next += strlen(next) + 1) {
        if (strcmp(next, name)) {
            bytes_put(&header, object->data + HEADER1_SIZE + i * sizeof(struct numbers1), sizeof(struct numbers1));
            bytes_put(&texts, next, strlen(next) + 1);
            left++;
        }
    }
    if (left < count) {
        names = texts.length;
        bytes_put(&header, texts.data ? texts.data : (void *)"", names);
        memcpy(header.data + 0x60, &left, sizeof(left));
        memcpy(header.data + 0x68, &names, sizeof(names));
        store_set_length(object, 0);
        store_write(object, 0, header.data, header.length);
    }
    free(header.data);
    free(texts.data);
    return left < count ? 0 : -ENOENT;
}

int class_add_snapshot(struct object *object, const char *name, uint64_t id, uint32_t kind)
{
    struct bytes input = { .length = 0 };
    int ret;

    if (object->header) {
        return add_snapshot(object->header, name, id, kind);
    }
    bytes_text(&input, name);
    bytes_u64(&input, id);
    ret = snap_add(object, &(struct input) { .at = input.data, .left = input.length });
    free(input.data);
    return ret;
}

/* --- Names ---------------------------------------------------------------------------------------------------------------- */

static int name_at(const struct object *object, const char *key)
{
    unsigned i;

    for (i = 0; object->names && i < object->names->count; i++) {
        if (!strcmp(object->names->at[i].key, key)) {
            return i;
        }
    }
    return -1;
}

static void put_name(struct object *object, const char *kind, const char *key, const char *value)
{
    char text[2 * MAX_NAME];

    if (!object->names) {
        object->names = calloc(1, sizeof(*object->names));
    }
    if (object->names->count == MAX_NAMES) {
        abort();
    }
    snprintf(text, sizeof(text), "%s%s", kind, key);
    snprintf(object->names->at[object->names->count].key, MAX_NAME, "%.*s", MAX_NAME - 1, text);
    snprintf(object->names->at[object->names->count].value, MAX_NAME, "%s", value);
    object->names->count++;
    object->exists = true;
}

static void drop_name(struct object *object, int at)
{
    object->names->count--;
    object->names->at[at] = object->names->at[object->names->count];
}

static int dir_image(struct object *object, struct input *in, bool add)
{
    char name[MAX_NAME], id[MAX_NAME], by_name[2 * MAX_NAME], by_id[2 * MAX_NAME];

    take_text(in, name);
    take_text(in, id);
    snprintf(by_name, sizeof(by_name), "name_%s", name);
    snprintf(by_id, sizeof(by_id), "id_%s", id);
    if (in->short_of) {
        return -EINVAL;
    }
    if (add) {
        if (name_at(object, by_name) >= 0) {
            return -EEXIST;
        }
        if (name_at(object, by_id) >= 0) {
            return -EBADF;
        }
        put_name(object, "name_", name, id);
        put_name(object, "id_", id, name);
        return 0;
    }
    if (name_at(object, by_name) < 0) {
        return -ENOENT;
    }
    if (name_at(object, by_id) < 0) {
        return -ESTALE;
    }
    drop_name(object, name_at(object, by_name));
    drop_name(object, name_at(object, by_id));
    return 0;
}

static int set_id(struct object *object, struct input *in)
{
    struct bytes data = { .length = 0 };
    char id[MAX_NAME];

    take_text(in, id);
    if (in->short_of) {
        return -EINVAL;
    }
    if (object->length) {
        return -EEXIST;
    }
    bytes_text(&data, id);
    store_write(object, 0, data.data, data.length);
    free(data.data);
    return 0;
}

static int namespace_list(struct object *object, struct input *in, struct bytes *out)
{
    char after[MAX_NAME];
    uint64_t most;
    uint32_t count = 0;
    unsigned i;

    take_text(in, after);
    most = take_u64(in);
    bytes_u32(out, 0);
    /* They were added in their order. */
    for (i = 0; object->names && i < object->names->count && count < most; i++) {
        if (strcmp(object->names->at[i].key, after) > 0) {
            bytes_text(out, object->names->at[i].key);
            count++;
        }
    }
    memcpy(out->data, &count, sizeof(count));
    return 0;
}

static int metadata_list(struct object *object, struct input *in, struct bytes *out)
{
    char after[MAX_NAME], start[2 * MAX_NAME];
    uint64_t most;
    uint32_t count = 0;
    unsigned i;

    take_text(in, after);
    most = take_u64(in);
    if (in->short_of) {
        return -EINVAL;
    }
    snprintf(start, sizeof(start), "metadata_%s", after);
    bytes_u32(out, 0);
    /* They were added in their order. */
    for (i = 0; object->names && i < object->names->count && count < most; i++) {
        const char *key = object->names->at[i].key;

        if (!strncmp(key, "metadata_", 9) && strcmp(key, start) > 0) {
            bytes_text(out, key + 9);
            bytes_text(out, object->names->at[i].value);
            count++;
        }
    }
    memcpy(out->data, &count, sizeof(count));
    return 0;
}

static int metadata_set(struct object *object, struct input *in)
{
    char key[MAX_NAME], value[MAX_NAME];

    /* One of them: more nobody needs here. */
    if (take_u32(in) != 1) {
        return -EINVAL;
    }
    take_text(in, key);
    take_text(in, value);
    if (in->short_of) {
        return -EINVAL;
    }
    put_name(object, "metadata_", key, value);
    return 0;
}

void ceph_pool_setting(const char *key, const char *value)
{
    char name[MAX_NAME];

    snprintf(name, sizeof(name), "metadata_conf_%s", key);
    ceph_acquire();
    put_name(store_get(2, "", "rbd_info"), "", name, value);
    ceph_release_lock();
}

void ceph_namespace(const char *name)
{
    ceph_acquire();
    put_name(store_get(2, "", "rbd_namespace"), "", name, "");
    put_name(store_get(2, name, "rbd_directory"), "", "state", "0");
    ceph_release_lock();
}

/* --- The call ------------------------------------------------------------------------------------------------------------- */

/* Methods that only read. */
static bool is_reader(const char *method)
{
    static const char *const others[] = { "get_all_features", "get_id", "metadata_list", "namespace_list", "dir_state_assert" };
    unsigned i;

    for (i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (!strcmp(others[i], method)) {
            return true;
        }
    }
    for (i = 0; i < sizeof(plain_getters) / sizeof(plain_getters[0]); i++) {
        if (!strcmp(plain_getters[i].name, method)) {
            return true;
        }
    }
    for (i = 0; i < sizeof(getters) / sizeof(getters[0]); i++) {
        if (!strcmp(getters[i].name, method)) {
            return true;
        }
    }
    return false;
}

static int read_method(struct object *object, const char *method, struct input *in, struct bytes *out)
{
    struct snapshot *snapshot = NULL;
    unsigned i;
    uint64_t id;

    if (!object->exists) {
        return -ENOENT;
    }
    if (!strcmp(method, "get_all_features")) {
        return get_all_features(NULL, out);
    }
    if (!strcmp(method, "get_id")) {
        bytes_put(out, object->data ? object->data : (void *)"", object->length);
        return object->length ? 0 : -EINVAL;
    }
    if (!strcmp(method, "metadata_list")) {
        return metadata_list(object, in, out);
    }
    if (!strcmp(method, "namespace_list")) {
        return namespace_list(object, in, out);
    }
    if (!strcmp(method, "dir_state_assert")) {
        return name_at(object, "state") >= 0 && !take_u8(in) ? 0 : -ENOENT;
    }
    for (i = 0; i < sizeof(plain_getters) / sizeof(plain_getters[0]); i++) {
        if (!strcmp(plain_getters[i].name, method)) {
            return object->header ? plain_getters[i].call(object->header, out) : -ENOENT;
        }
    }
    for (i = 0; i < sizeof(getters) / sizeof(getters[0]); i++) {
        if (!strcmp(getters[i].name, method)) {
            id = take_u64(in);
            if (in->short_of) {
                return -EINVAL;
            }
            if (!object->header) {
                return -ENOENT;
            }
            snapshot = id == NO_SNAP ? NULL : snapshot_of(object->header, id);
            /* Features are the same in all of them. */
            if (id != NO_SNAP && !snapshot && getters[i].call != get_features) {
                return -ENOENT;
            }
            return getters[i].call(object->header, snapshot, in, out);
        }
    }
    return -EOPNOTSUPP;
}

static int write_method(struct object *object, const char *method, struct input *in)
{
    unsigned i;

    if (!strcmp(method, "create")) {
        return create(object, in);
    }
    if (!strcmp(method, "metadata_set")) {
        return metadata_set(object, in);
    }
    if (!strcmp(method, "dir_add_image") || !strcmp(method, "dir_remove_image")) {
        return dir_image(object, in, !strcmp(method, "dir_add_image"));
    }
    if (!strcmp(method, "set_flags") && !object->exists) {
        /* It makes the object, which is no header by that. */
        object->exists = true;
        return 0;
    }
    if (!object->exists) {
        return -ENOENT;
    }
    if (!strcmp(method, "set_id")) {
        return set_id(object, in);
    }
    if (!strcmp(method, "snap_add")) {
        return snap_add(object, in);
    }
    if (!strcmp(method, "snap_remove")) {
        return snap_remove(object, in);
    }
    for (i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        if (!strcmp(changes[i].name, method)) {
            return object->header ? changes[i].call(object->header, in) : -ENOENT;
        }
    }
    return -EOPNOTSUPP;
}

/* What methods are told to answer. */
static struct {
    char method[64];
    struct bytes answer;
} replies[16];

void ceph_reply(const char *method, const void *bytes, size_t length)
{
    unsigned i = 0;

    ceph_acquire();
    while (i < 15 && *replies[i].method && strcmp(replies[i].method, method)) {
        i++;
    }
    snprintf(replies[i].method, sizeof(replies[i].method), "%s", method);
    free(replies[i].answer.data);
    replies[i].answer = (struct bytes) { .length = 0 };
    if (bytes) {
        bytes_put(&replies[i].answer, bytes, length);
    }
    ceph_release_lock();
}

static const struct bytes *told_to_answer(const char *method)
{
    unsigned i;

    for (i = 0; i < 16; i++) {
        if (!strcmp(replies[i].method, method) && replies[i].answer.data) {
            return &replies[i].answer;
        }
    }
    return NULL;
}

int class_call(struct object *object, const char *class, const char *method, uint64_t client, struct bytes input,
               struct bytes *reply, bool may_change)
{
    struct input in = { .at = input.data, .left = input.length };
    const struct bytes *answer = told_to_answer(method);

    if (answer) {
        bytes_put(reply, answer->data, answer->length);
        return 0;
    }
    if (!strcmp(class, "lock")) {
        return lock_call(object, method, client, input, reply, may_change);
    }
    if (strcmp(class, "rbd")) {
        return -EOPNOTSUPP;
    }
    if (!strncmp(method, "object_map_", 11)) {
        return map_call(object, method, input, reply, may_change);
    }
    if (is_reader(method)) {
        return read_method(object, method, &in, reply);
    }
    return may_change ? write_method(object, method, &in) : -EOPNOTSUPP;
}
