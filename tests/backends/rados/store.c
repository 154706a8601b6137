/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Objects in memory, and what they keep for snapshots. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static struct object *objects;
static uint64_t last_version;

static void *copy_of(const void *from, size_t length)
{
    void *copy = NULL;

    if (from) {
        copy = malloc(length + 1);
        memcpy(copy, from, length);
    }
    return copy;
}

struct object *store_find(int64_t pool, const char *namespace, const char *name)
{
    struct object *object = objects;

    while (object
           && (object->pool != pool || strcmp(object->namespace, namespace) || strcmp(object->name, name))) {
        object = object->next;
    }
    return object;
}

struct object *store_get(int64_t pool, const char *namespace, const char *name)
{
    struct object *object = store_find(pool, namespace, name);

    if (!object) {
        object = calloc(1, sizeof(*object));
        object->pool = pool;
        snprintf(object->namespace, sizeof(object->namespace), "%s", namespace);
        snprintf(object->name, sizeof(object->name), "%s", name);
        object->next = objects;
        objects = object;
    }
    return object;
}

struct object *store_copy(const struct object *object)
{
    struct object *copy = copy_of(object, sizeof(*object));

    copy->data = copy_of(object->data, object->length);
    copy->header = copy_of(object->header, sizeof(*object->header));
    copy->names = copy_of(object->names, sizeof(*object->names));
    return copy;
}

void store_discard(struct object *copy)
{
    free(copy->data);
    free(copy->header);
    free(copy->names);
    free(copy);
}

/* Keeps what an object is now for the snapshots that are newer than all it knows. */
static void keep_clone(struct object *object, const struct context *context)
{
    struct clone *clone;
    unsigned i = 0, count;

    while (i < context->count && context->ids[i] > object->snap_seq) {
        i++;
    }
    count = i;
    if (!object->exists || !count) {
        return;
    }
    clone = calloc(1, sizeof(*clone));
    clone->id = context->ids[0];
    clone->count = count;
    memcpy(clone->ids, context->ids, count * sizeof(*clone->ids));
    clone->data = copy_of(object->data ? object->data : (void *)"", object->length);
    clone->length = object->length;
    clone->version = object->version;
    clone->next = object->clones;
    object->clones = clone;
}

void store_keep(struct object *object, struct object *copy, const struct context *context)
{
    keep_clone(object, context);
    if (context->seq > object->snap_seq) {
        object->snap_seq = context->seq;
    }
    free(object->data);
    free(object->header);
    free(object->names);
    object->exists = copy->exists;
    object->data = copy->data;
    object->length = copy->length;
    object->header = copy->header;
    object->names = copy->names;
    object->lock = copy->lock;
    object->version = ++last_version;
    free(copy);
}

void store_touch(struct object *object)
{
    object->version = ++last_version;
}

static void free_clone(struct clone *clone)
{
    free(clone->data);
    free(clone);
}

void store_sweep(void)
{
    struct object **place = &objects;

    while (*place) {
        struct object *object = *place;

        if (object->exists || object->clones) {
            place = &object->next;
        } else {
            *place = object->next;
            store_discard(object);
        }
    }
}

struct view store_view(const struct object *object, uint64_t snap)
{
    struct view nothing = { .exists = false };
    const struct clone *clone, *found = NULL;
    unsigned i;

    if (!object) {
        return nothing;
    }
    if (snap > object->snap_seq) {
        return (struct view) {
            .exists = object->exists, .data = object->data, .length = object->length, .version = object->version };
    }
    for (clone = object->clones; clone && clone->id >= snap; clone = clone->next) {
        found = clone;
    }
    for (i = 0; found && i < found->count; i++) {
        if (found->ids[i] == snap) {
            return (struct view) {
                .exists = true, .data = found->data, .length = found->length, .version = found->version };
        }
    }
    return nothing;
}

static void forget_snap(struct object *object, uint64_t snap)
{
    struct clone **place = &object->clones;

    while (*place) {
        struct clone *clone = *place;
        unsigned i, left = 0;

        for (i = 0; i < clone->count; i++) {
            if (clone->ids[i] != snap) {
                clone->ids[left++] = clone->ids[i];
            }
        }
        clone->count = left;
        if (left) {
            place = &clone->next;
        } else {
            *place = clone->next;
            free_clone(clone);
        }
    }
}

void store_remove_snap(int64_t pool, uint64_t snap)
{
    struct object *object;

    for (object = objects; object; object = object->next) {
        if (object->pool == pool) {
            forget_snap(object, snap);
        }
    }
    store_sweep();
}

void store_set_length(struct object *object, size_t length)
{
    object->data = realloc(object->data, length + 1);
    if (length > object->length) {
        memset(object->data + object->length, 0, length - object->length);
    }
    object->length = length;
}

void store_write(struct object *object, uint64_t offset, const void *bytes, size_t length)
{
    object->exists = true;
    if (offset + length > object->length) {
        store_set_length(object, offset + length);
    }
    if (length) {
        memcpy(object->data + offset, bytes, length);
    }
}

void store_zero(struct object *object, uint64_t offset, uint64_t length)
{
    if (offset >= object->length) {
        return;
    }
    if (offset + length >= object->length) {
        store_set_length(object, offset);
    } else {
        memset(object->data + offset, 0, length);
    }
}

struct header *store_header(const char *image)
{
    struct object *object = store_find(2, "", ceph_header(image));

    if (!object || !object->header) {
        abort();
    }
    return object->header;
}

const struct object *store_header_of(int64_t pool, const char *namespace, const char *data)
{
    const char *end = strrchr(data, '.');
    char name[MAX_NAME];

    if (strncmp(data, "rbd_data.", 9) || end - data < 9) {
        return NULL;
    }
    snprintf(name, sizeof(name), "rbd_header.%.*s", (int)(end - data - 9), data + 9);
    return store_find(pool, namespace, name);
}

void store_each(void (*look)(const struct object *object))
{
    const struct object *object;

    for (object = objects; object; object = object->next) {
        look(object);
    }
}

/* --- For tests ------------------------------------------------------------------------------------------------------------ */

unsigned char ceph_byte(uint64_t position)
{
    uint64_t mixed = (position + 1) * 0x9e3779b97f4a7c15u;

    /* Never 0: a hole is to be noticed. */
    return (mixed >> 56) | 1;
}

void ceph_fill(const char *object, uint64_t offset, uint64_t bytes, uint64_t seed)
{
    unsigned char *data = malloc(bytes + 1);
    uint64_t i;

    for (i = 0; i < bytes; i++) {
        data[i] = ceph_byte(seed + offset + i);
    }
    ceph_acquire();
    store_write(store_get(2, "", object), offset, data, bytes);
    map_note(object);
    ceph_release_lock();
    free(data);
}

void ceph_put(const char *object, const void *bytes, size_t length)
{
    struct object *found;

    ceph_acquire();
    found = store_get(2, "", object);
    store_set_length(found, 0);
    store_write(found, 0, bytes, length);
    ceph_release_lock();
}

void ceph_remove(const char *object)
{
    struct object *found;

    ceph_acquire();
    found = store_find(2, "", object);
    if (found) {
        found->exists = false;
        watch_lose(2, "", object, ENOTCONN);
        store_sweep();
    }
    ceph_release_lock();
}

const unsigned char *ceph_bytes_at(const char *object, uint64_t snapshot, size_t *length)
{
    struct view view;

    ceph_acquire();
    view = store_view(store_find(2, "", object), snapshot);
    ceph_release_lock();
    *length = view.length;
    if (!view.exists) {
        return NULL;
    }
    return view.data ? view.data : (const unsigned char *)"";
}

const unsigned char *ceph_bytes(const char *object, size_t *length)
{
    return ceph_bytes_at(object, NO_SNAP, length);
}

unsigned ceph_objects(void)
{
    const struct object *object;
    unsigned count = 0;

    ceph_acquire();
    for (object = objects; object; object = object->next) {
        count += object->exists;
    }
    ceph_release_lock();
    return count;
}
