/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Images for tests, and what other clients do to them. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* The format 1 images. */
static char images1[8][64];
static unsigned image1_count;

static bool is_format1(const char *image)
{
    unsigned i;

    for (i = 0; i < image1_count; i++) {
        if (!strcmp(images1[i], image)) {
            return true;
        }
    }
    return false;
}

/* Text that stays for the next few calls. */
static char *text_place(void)
{
    static char texts[32][MAX_NAME];
    static unsigned next;

    return texts[__atomic_fetch_add(&next, 1, __ATOMIC_RELAXED) % 32];
}

const char *ceph_header(const char *image)
{
    char *text = text_place();

    snprintf(text, MAX_NAME, is_format1(image) ? "%s.rbd" : "rbd_header.%s", image);
    return text;
}

const char *ceph_map(const char *image)
{
    char *text = text_place();

    snprintf(text, MAX_NAME, "rbd_object_map.%s", image);
    return text;
}

const char *ceph_map_at(const char *image, uint64_t snapshot)
{
    char *text = text_place();

    snprintf(text, MAX_NAME, "rbd_object_map.%s.%016llx", image, (unsigned long long)snapshot);
    return text;
}

const char *ceph_data(const char *image, uint64_t number)
{
    char *text = text_place();

    if (is_format1(image)) {
        snprintf(text, MAX_NAME, "rb.0.%s.%012llx", image, (unsigned long long)number);
    } else {
        snprintf(text, MAX_NAME, "rbd_data.%s.%016llx", image, (unsigned long long)number);
    }
    return text;
}

static void make(const char *image, struct header *header)
{
    struct bytes id = { .length = 0 };
    struct object *object;
    char *name = text_place();

    bytes_text(&id, image);
    snprintf(name, MAX_NAME, "rbd_id.%s", image);
    ceph_put(name, id.data, id.length);
    free(id.data);
    ceph_acquire();
    object = store_get(2, "", ceph_header(image));
    object->exists = true;
    free(object->header);
    object->header = header;
    if (header->features & CEPH_OBJECT_MAP) {
        map_make(image, (header->size + ((uint64_t)1 << header->order) - 1) >> header->order);
    }
    ceph_release_lock();
}

static struct header *header_of(const char *image, uint64_t size, unsigned order, uint64_t features)
{
    char prefix[MAX_NAME];

    snprintf(prefix, sizeof(prefix), "rbd_data.%s", image);
    return class_new_header(size, order, features, prefix);
}

void ceph_image(const char *image, uint64_t size, unsigned order, uint64_t features)
{
    make(image, header_of(image, size, order, features));
}

void ceph_striped_image(const char *image, uint64_t size, unsigned order, uint64_t unit, uint64_t count)
{
    struct header *header = header_of(image, size, order, CEPH_LAYERING | CEPH_STRIPING);

    header->unit = unit;
    header->count = count;
    make(image, header);
}

void ceph_image1(const char *image, uint64_t size, unsigned order)
{
    char prefix[MAX_NAME];

    snprintf(prefix, sizeof(prefix), "rb.0.%s", image);
    snprintf(images1[image1_count++], sizeof(images1[0]), "%s", image);
    ceph_acquire();
    class_put_header1(store_get(2, "", ceph_header(image)), order, size, prefix);
    ceph_release_lock();
}

uint64_t ceph_snapshot_of(const char *image, const char *name, uint32_t kind)
{
    struct object *object;
    uint64_t id;

    ceph_acquire();
    id = ++ceph_pool(2)->snap_seq;
    object = store_find(2, "", ceph_header(image));
    if (!object || class_add_snapshot(object, name, id, kind)) {
        abort();
    }
    if (object->header && (object->header->features & CEPH_OBJECT_MAP)) {
        map_snapshot(image, id);
    }
    ceph_release_lock();
    return id;
}

uint64_t ceph_snapshot(const char *image, const char *name)
{
    return ceph_snapshot_of(image, name, 0);
}

static struct snapshot *snapshot_of(const char *image, uint64_t id)
{
    struct header *header = store_header(image);
    unsigned i;

    for (i = 0; i < header->snapshots; i++) {
        if (header->snapshot[i].id == id) {
            return &header->snapshot[i];
        }
    }
    abort();
}

void ceph_protect(const char *image, uint64_t snapshot, uint8_t status)
{
    ceph_acquire();
    snapshot_of(image, snapshot)->protection = status;
    ceph_release_lock();
}

void ceph_children(const char *image, uint64_t snapshot, uint32_t count)
{
    ceph_acquire();
    snapshot_of(image, snapshot)->children = count;
    ceph_release_lock();
}

void ceph_resize(const char *image, uint64_t size)
{
    struct object *object;

    ceph_acquire();
    object = store_find(2, "", ceph_header(image));
    if (object->header) {
        object->header->size = size;
    } else {
        store_write(object, 0x50, &size, sizeof(size));
    }
    ceph_release_lock();
}

void ceph_set_features(const char *image, uint64_t features)
{
    ceph_acquire();
    store_header(image)->features = features;
    ceph_release_lock();
}

void ceph_set_flags(const char *image, uint64_t flags)
{
    ceph_acquire();
    store_header(image)->flags = flags;
    ceph_release_lock();
}

uint64_t ceph_flags(const char *image)
{
    uint64_t flags;

    ceph_acquire();
    flags = store_header(image)->flags;
    ceph_release_lock();
    return flags;
}

uint64_t ceph_flags_at(const char *image, uint64_t snapshot)
{
    uint64_t flags;

    ceph_acquire();
    flags = snapshot_of(image, snapshot)->flags;
    ceph_release_lock();
    return flags;
}

void ceph_set_operations(const char *image, uint64_t operations)
{
    ceph_acquire();
    store_header(image)->operations = operations;
    store_header(image)->features |= CEPH_OPERATIONS;
    ceph_release_lock();
}

void ceph_set_parent(const char *image, uint64_t overlap)
{
    ceph_acquire();
    store_header(image)->has_parent = true;
    store_header(image)->overlap = overlap;
    ceph_release_lock();
}

uint64_t ceph_image_size(const char *image)
{
    struct object *object;
    uint64_t size;

    ceph_acquire();
    object = store_find(2, "", ceph_header(image));
    if (object->header) {
        size = object->header->size;
    } else {
        memcpy(&size, object->data + 0x50, sizeof(size));
    }
    ceph_release_lock();
    return size;
}

unsigned ceph_image_snapshots(const char *image)
{
    struct object *object;
    uint32_t count;

    ceph_acquire();
    object = store_find(2, "", ceph_header(image));
    if (object->header) {
        count = object->header->snapshots;
    } else {
        memcpy(&count, object->data + 0x60, sizeof(count));
    }
    ceph_release_lock();
    return count;
}

bool ceph_image_exists(const char *image)
{
    char *name = text_place();
    bool exists;

    snprintf(name, MAX_NAME, "rbd_id.%s", image);
    ceph_acquire();
    exists = store_find(2, "", name) || store_find(2, "", ceph_header(image));
    ceph_release_lock();
    return exists;
}
