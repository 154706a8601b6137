/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Object maps: the methods that change them, and what has to be true of them at any time. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Where the count begins, and the data. */
#define COUNT_AT 10
#define DATA_AT 18
/* Bytes of data with a checksum of their own. */
#define BLOCK 4096
#define MOST 256000000

/* A map with a byte for each object; the rest of the last four stands behind, whatever it was. */
struct map {
    uint64_t count;
    unsigned char *state;
};

/* --- As it is stored ------------------------------------------------------------------------------------------------------- */

static uint32_t checksum(const unsigned char *bytes, size_t length)
{
    uint32_t sum = 0;
    unsigned bit;

    while (length--) {
        sum ^= *bytes++;
        for (bit = 0; bit < 8; bit++) {
            sum = sum & 1 ? sum >> 1 ^ 0x82f63b78 : sum >> 1;
        }
    }
    return sum;
}

static uint64_t u64_at(const unsigned char *bytes)
{
    uint64_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static uint32_t u32_at(const unsigned char *bytes)
{
    uint32_t value;

    memcpy(&value, bytes, sizeof(value));
    return value;
}

static struct bytes footer_of(const unsigned char *stored, size_t data)
{
    struct bytes footer = { .length = 0 };
    size_t at;

    bytes_u32(&footer, 8 + (data + BLOCK - 1) / BLOCK * 4);
    bytes_u32(&footer, checksum(stored + 4, DATA_AT - 4));
    bytes_u32(&footer, (data + BLOCK - 1) / BLOCK);
    for (at = 0; at < data; at += BLOCK) {
        bytes_u32(&footer, checksum(stored + DATA_AT + at, data - at < BLOCK ? data - at : BLOCK));
    }
    return footer;
}

static bool decode(const unsigned char *stored, size_t length, struct map *map)
{
    struct bytes footer;
    size_t data, left;
    uint64_t i;
    bool right;

    if (length < DATA_AT + 4 || u32_at(stored) != DATA_AT - 4 || stored[4] != 1) {
        return false;
    }
    map->count = u64_at(stored + COUNT_AT);
    left = length - DATA_AT - 4;
    if (map->count / 4 > left || (map->count + 3) / 4 > left) {
        return false;
    }
    data = (map->count + 3) / 4;
    footer = footer_of(stored, data);
    right = !u32_at(stored + DATA_AT + data)
        || (left - data + 4 >= footer.length && !memcmp(stored + DATA_AT + data, footer.data, footer.length));
    free(footer.data);
    if (!right) {
        return false;
    }
    map->state = malloc(data * 4 + 1);
    for (i = 0; i < data * 4; i++) {
        map->state[i] = stored[DATA_AT + i / 4] >> (3 - i % 4) * 2 & 3;
    }
    return true;
}

static struct bytes encode(const struct map *map, bool with_checksums)
{
    struct bytes out = { .length = 0 }, footer;
    size_t data = (map->count + 3) / 4;
    uint64_t i;

    bytes_u32(&out, DATA_AT - 4);
    bytes_u8(&out, 1);
    bytes_u8(&out, 1);
    bytes_u32(&out, 8);
    bytes_u64(&out, map->count);
    for (i = 0; i < data; i++) {
        bytes_u8(&out, 0);
    }
    for (i = 0; i < data * 4; i++) {
        out.data[DATA_AT + i / 4] |= map->state[i] << (3 - i % 4) * 2;
    }
    if (with_checksums) {
        footer = footer_of(out.data, data);
        bytes_put(&out, footer.data, footer.length);
        free(footer.data);
    } else {
        bytes_u32(&out, 0);
    }
    return out;
}

/* 0, or what methods answer for a map that isn't there or is damaged. */
static int load(const struct object *object, struct map *map)
{
    *map = (struct map) { .count = 0 };
    if (!object || !object->exists || !object->length) {
        return -ENOENT;
    }
    return decode(object->data, object->length, map) ? 0 : -EINVAL;
}

static void store(struct object *object, const struct map *map)
{
    struct bytes stored = encode(map, true);

    store_set_length(object, 0);
    store_write(object, 0, stored.data, stored.length);
    free(stored.data);
}

/* --- Methods --------------------------------------------------------------------------------------------------------------- */

static void set_count(struct map *map, uint64_t count, unsigned char state)
{
    uint64_t i;

    map->state = realloc(map->state, count + 4);
    for (i = (map->count + 3) / 4 * 4; i < count + 4; i++) {
        map->state[i] = 0;
    }
    for (i = map->count; i < count; i++) {
        map->state[i] = state;
    }
    map->count = count;
}

static int resize(struct map *map, uint64_t count, unsigned char state)
{
    uint64_t i;

    for (i = count; i < map->count; i++) {
        if (map->state[i] != state) {
            return -ESTALE;
        }
    }
    set_count(map, count, state);
    return 0;
}

static int call_resize(struct object *object, struct bytes in)
{
    struct map map;
    int ret;

    if (in.length < 9 || u64_at(in.data) > MOST) {
        return -EINVAL;
    }
    ret = load(object, &map);
    if (!ret || ret == -ENOENT) {
        ret = resize(&map, u64_at(in.data), in.data[8]);
    }
    if (!ret) {
        store(object, &map);
    }
    free(map.state);
    return ret;
}

static int call_save(struct object *object, struct bytes in)
{
    struct map map = { .count = 0 };

    if (!decode(in.data, in.length, &map)) {
        return -EINVAL;
    }
    store(object, &map);
    free(map.state);
    return 0;
}

static int update(struct map *map, struct bytes in)
{
    uint64_t start = u64_at(in.data), end = u64_at(in.data + 8), i;
    unsigned char new = in.data[16], current = in.data[17] ? in.data[18] : 0xff;

    if (start >= end || end > map->count) {
        return -ERANGE;
    }
    for (i = start; i < end; i++) {
        if (!in.data[17] || map->state[i] == current || (current == 1 && map->state[i] == 3)) {
            map->state[i] = new & 3;
        }
    }
    return 0;
}

static int snap_add(struct map *map, struct bytes in)
{
    uint64_t i;

    (void)in;
    for (i = 0; i < map->count; i++) {
        if (map->state[i] == 1) {
            map->state[i] = 3;
        }
    }
    return 0;
}

static int snap_remove(struct map *map, struct bytes in)
{
    struct map removed = { .count = 0 };
    uint64_t i;

    if (!decode(in.data, in.length, &removed)) {
        return -EINVAL;
    }
    for (i = 0; i < map->count; i++) {
        if (map->state[i] == 3 && (i >= removed.count || removed.state[i] == 1)) {
            map->state[i] = 1;
        }
    }
    free(removed.state);
    return 0;
}

/* Those that need a map. */
static int call_change(struct object *object, struct bytes in, int (*change)(struct map *map, struct bytes in))
{
    struct map map;
    int ret = load(object, &map);

    ret = ret ? ret : change(&map, in);
    if (!ret) {
        store(object, &map);
    }
    free(map.state);
    return ret;
}

static int call_load(const struct object *object, struct bytes *reply)
{
    struct map map;
    int ret = load(object, &map);

    if (!ret) {
        *reply = encode(&map, false);
    }
    free(map.state);
    return ret;
}

/* An update changes what is stored, and its checksums; so they have to be there, even if there is no map at all. */
static bool has_checksums(const struct object *object)
{
    size_t data;

    if (!object->exists) {
        return true;
    }
    if (object->length < DATA_AT + 4) {
        return false;
    }
    data = (u64_at(object->data + COUNT_AT) + 3) / 4;
    return data < object->length - DATA_AT - 3 && u32_at(object->data + DATA_AT + data);
}

int map_call(struct object *object, const char *method, struct bytes input, struct bytes *reply, bool may_change)
{
    if (!strcmp(method, "object_map_load")) {
        return call_load(object, reply);
    }
    if (!may_change) {
        return -EOPNOTSUPP;
    }
    if (!strcmp(method, "object_map_resize")) {
        return call_resize(object, input);
    }
    if (!strcmp(method, "object_map_save")) {
        return call_save(object, input);
    }
    if (!strcmp(method, "object_map_update")) {
        bool is_short = input.length < 18 || input.length < 18u + !!input.data[17];

        return is_short || !has_checksums(object) ? -EINVAL : call_change(object, input, update);
    }
    if (!strcmp(method, "object_map_snap_add")) {
        return call_change(object, input, snap_add);
    }
    if (!strcmp(method, "object_map_snap_remove")) {
        return call_change(object, input, snap_remove);
    }
    return -EOPNOTSUPP;
}

/* --- What has to be true --------------------------------------------------------------------------------------------------- */

/* The map of the image that a data object belongs to, if the header says that it is valid. */
static bool valid_map(const struct object *data, struct map *map)
{
    const struct object *header = store_header_of(data->pool, data->namespace, data->name);
    const char *end = strrchr(data->name, '.');
    char name[MAX_NAME];

    if (!header || !header->header || !(header->header->features & CEPH_OBJECT_MAP) || (header->header->flags & 1)) {
        return false;
    }
    snprintf(name, sizeof(name), "rbd_object_map.%.*s", (int)(end - data->name - 9), data->name + 9);
    return !load(store_find(data->pool, data->namespace, name), map);
}

/* The state of a data object in its image's map; -1 if that says nothing. */
static int state_of(const struct object *data)
{
    struct map map = { .count = 0 };
    uint64_t number;
    int state = -1;

    if (!strncmp(data->name, "rbd_data.", 9) && valid_map(data, &map)) {
        number = strtoull(strrchr(data->name, '.') + 1, NULL, 16);
        /* What the map has no place for it takes for absent. */
        state = number < map.count ? map.state[number] : 0;
    }
    free(map.state);
    return state;
}

/* Whether a map belongs to an image whose lock that client doesn't have. */
static bool is_strangers(const struct op *op)
{
    size_t length = strcspn(op->name + 15, ".");
    const struct object *header;
    char name[MAX_NAME];

    snprintf(name, sizeof(name), "rbd_header.%.*s", (int)length, op->name + 15);
    header = store_find(op->pool->id, op->namespace, name);
    return header && header->header && (header->header->features & CEPH_EXCLUSIVE_LOCK)
        && header->lock.holder != op->client->number;
}

/* Whether an operation leaves an object there that is there now, or not. */
static bool leaves_it(const struct op *op, bool exists)
{
    unsigned i;

    for (i = 0; i < op->count; i++) {
        switch (op->member[i].kind) {
        case CREATE:
        case WRITE:
        case WRITE_FULL:
        case WRITE_SAME:
            exists = true;
            break;
        case REMOVE:
            exists = false;
            break;
        default:
            break;
        }
    }
    return exists;
}

/* What is written may be about to go: the removal is sent later, and done later. */
static bool is_unknown(int state)
{
    return state == CEPH_ABSENT || state == CEPH_CLEAN;
}

void map_check_sent(const struct op *op)
{
    const struct object *object = store_find(op->pool->id, op->namespace, op->name);
    struct object name = { .pool = op->pool->id };
    bool changes = op->call == CEPH_WRITE || op->call == CEPH_WRITE_OP || op->call == CEPH_REMOVE;
    bool existed = object && object->exists;
    int state;

    if (!changes || strncmp(op->name, "rbd_data.", 9)) {
        return;
    }
    snprintf(name.namespace, sizeof(name.namespace), "%s", op->namespace);
    snprintf(name.name, sizeof(name.name), "%s", op->name);
    state = state_of(&name);
    if (is_unknown(state) && leaves_it(op, existed)) {
        ceph_violate("an object is written that the map doesn't know");
    }
    if (state >= 0 && state != CEPH_PENDING && existed && !leaves_it(op, existed)) {
        ceph_violate("an object is removed that the map doesn't say is about to go");
    }
}

void map_check_done(const struct op *op, bool existed)
{
    bool is_creation = !existed && op->count == 1 && !strcmp(op->member[0].method, "object_map_resize");
    bool is_unlock = op->count == 1 && !strcmp(op->member[0].method, "unlock");

    if (!strncmp(op->name, "rbd_object_map.", 15) && !is_creation && !is_unlock && is_strangers(op)) {
        ceph_violate("an object map was changed without the image's lock");
    }
}

void map_check_there(const struct object *object)
{
    if (object->exists && is_unknown(state_of(object))) {
        ceph_violate("an object was written that the map doesn't know");
    }
}

static const char *wrong;

static void look(const struct object *object)
{
    if (object->exists && state_of(object) == CEPH_ABSENT) {
        wrong = "a valid object map says that an object isn't there that is";
    }
}

const char *map_find_wrong(void)
{
    wrong = NULL;
    store_each(look);
    return wrong;
}

/* --- What other clients do ------------------------------------------------------------------------------------------------- */

/* Changes the map of an image; there has to be one. With the lock. */
static void change_map(const char *name, void (*change)(struct map *map, uint64_t value), uint64_t value)
{
    struct object *object = store_find(2, "", name);
    struct map map;

    if (load(object, &map)) {
        abort();
    }
    change(&map, value);
    store(object, &map);
    free(map.state);
}

void map_make(const char *image, uint64_t count)
{
    struct map map = { .count = count, .state = calloc(1, count + 4) };

    store(store_get(2, "", ceph_map(image)), &map);
    free(map.state);
}

static void mark(struct map *map, uint64_t number)
{
    if (number < map->count) {
        map->state[number] = 1;
    }
}

void map_note(const char *data)
{
    const struct object *header = store_header_of(2, "", data);
    const char *end = strrchr(data, '.');
    char name[MAX_NAME];

    if (header && header->header && (header->header->features & CEPH_OBJECT_MAP)) {
        snprintf(name, sizeof(name), "rbd_object_map.%.*s", (int)(end - data - 9), data + 9);
        change_map(name, mark, strtoull(end + 1, NULL, 16));
    }
}

static void make_clean(struct map *map, uint64_t value)
{
    (void)value;
    snap_add(map, (struct bytes) { .length = 0 });
}

void map_snapshot(const char *image, uint64_t id)
{
    struct object *object = store_find(2, "", ceph_map(image)), *copy = store_get(2, "", ceph_map_at(image, id));

    store_set_length(copy, 0);
    store_write(copy, 0, object->data, object->length);
    if (store_header(image)->features & CEPH_FAST_DIFF) {
        change_map(ceph_map(image), make_clean, 0);
    }
}

static void cut_or_grow(struct map *map, uint64_t count)
{
    set_count(map, count, CEPH_ABSENT);
}

void ceph_map_resize(const char *image, uint64_t count)
{
    ceph_acquire();
    change_map(ceph_map(image), cut_or_grow, count);
    ceph_release_lock();
}

void ceph_map_set(const char *image, uint64_t number, int state)
{
    struct object *object;
    struct map map;

    ceph_acquire();
    object = store_find(2, "", ceph_map(image));
    if (load(object, &map) || number >= map.count) {
        abort();
    }
    map.state[number] = state;
    store(object, &map);
    free(map.state);
    ceph_release_lock();
}

void ceph_map_damage(const char *image)
{
    struct object *object;

    ceph_acquire();
    object = store_find(2, "", ceph_map(image));
    object->data[DATA_AT] ^= 0x55;
    ceph_release_lock();
}

/* --- For tests ------------------------------------------------------------------------------------------------------------- */

static int state_in(const char *name, uint64_t number)
{
    struct map map;
    int state = -1;

    ceph_acquire();
    if (!load(store_find(2, "", name), &map) && number < map.count) {
        state = map.state[number];
    }
    free(map.state);
    ceph_release_lock();
    return state;
}

int ceph_map_state(const char *image, uint64_t number)
{
    return state_in(ceph_map(image), number);
}

int ceph_map_state_at(const char *image, uint64_t snapshot, uint64_t number)
{
    return state_in(ceph_map_at(image, snapshot), number);
}

int64_t ceph_map_count(const char *image)
{
    struct map map;
    int64_t count = -1;

    ceph_acquire();
    if (!load(store_find(2, "", ceph_map(image)), &map)) {
        count = map.count;
    }
    free(map.state);
    ceph_release_lock();
    return count;
}

uint64_t ceph_map_holder(const char *image)
{
    const struct object *object;
    uint64_t holder;

    ceph_acquire();
    object = store_find(2, "", ceph_map(image));
    holder = object ? object->lock.holder : 0;
    ceph_release_lock();
    return holder;
}

void ceph_map_lock_as(const char *image, uint64_t client)
{
    struct object *object;

    ceph_acquire();
    object = store_find(2, "", ceph_map(image));
    object->lock = (struct lock) { .holder = client, .kind = 1 };
    ceph_release_lock();
}
