/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* The class "lock", with the one lock that the archive uses, and who may write because of it. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* What the methods take: a structure, whose members follow the version. */
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

static void take_text(struct input *input, char text[64])
{
    uint32_t length;

    take(input, &length, sizeof(length));
    memset(text, 0, 64);
    if (length >= 64) {
        input->short_of = true;
    } else {
        take(input, text, length);
    }
}

static size_t begin(struct bytes *out)
{
    bytes_u8(out, 1);
    bytes_u8(out, 1);
    bytes_u32(out, 0);
    return out->length;
}

static void end(struct bytes *out, size_t start)
{
    uint32_t length = out->length - start;

    memcpy(out->data + start - sizeof(length), &length, sizeof(length));
}

/* 127.0.0.1, and the client's number as nonce. */
static void put_address(struct bytes *out, uint64_t client)
{
    static const unsigned char address[16] = { 2, 0, 0, 0, 127, 0, 0, 1 };
    size_t start;

    bytes_u8(out, 1);
    start = begin(out);
    bytes_u32(out, 1);
    bytes_u32(out, client);
    bytes_u32(out, sizeof(address));
    bytes_put(out, address, sizeof(address));
    end(out, start);
}

static int get_info(const struct lock *lock, struct bytes *out)
{
    size_t start = begin(out), inner;

    bytes_u32(out, lock->holder != 0);
    if (lock->holder) {
        inner = begin(out);
        bytes_u8(out, 8);
        bytes_u64(out, lock->holder);
        bytes_text(out, lock->cookie);
        end(out, inner);
        inner = begin(out);
        bytes_u64(out, 0);
        put_address(out, lock->holder);
        bytes_text(out, "");
        end(out, inner);
    }
    bytes_u8(out, lock->kind);
    bytes_text(out, lock->tag);
    end(out, start);
    return 0;
}

static bool holds(const struct lock *lock, uint64_t client, const char *cookie)
{
    return lock->holder == client && !strcmp(lock->cookie, cookie);
}

static int take_lock(struct lock *lock, uint64_t client, struct input *in)
{
    char cookie[64], tag[64];
    uint8_t type;

    take(in, &type, 1);
    take_text(in, cookie);
    take_text(in, tag);
    if (in->short_of || type != 1) {
        return -EINVAL;
    }
    if (lock->holder) {
        return holds(lock, client, cookie) ? -EEXIST : -EBUSY;
    }
    lock->holder = client;
    lock->kind = type;
    strcpy(lock->cookie, cookie);
    strcpy(lock->tag, tag);
    return 0;
}

static int give_lock(struct lock *lock, uint64_t client, struct input *in)
{
    char cookie[64];

    take_text(in, cookie);
    if (!holds(lock, client, cookie)) {
        return -ENOENT;
    }
    lock->holder = 0;
    *lock->cookie = '\0';
    return 0;
}

static int break_lock(struct lock *lock, struct input *in)
{
    uint64_t owner;
    uint8_t kind;

    take(in, &kind, 1);
    take(in, &owner, sizeof(owner));
    return give_lock(lock, owner, in);
}

static int set_cookie(struct lock *lock, uint64_t client, struct input *in)
{
    char old[64], tag[64], new[64];
    uint8_t type;

    take(in, &type, 1);
    take_text(in, old);
    take_text(in, tag);
    take_text(in, new);
    if (in->short_of || !holds(lock, client, old) || strcmp(lock->tag, tag)) {
        return -EBUSY;
    }
    strcpy(lock->cookie, new);
    return 0;
}

static int assert_locked(const struct lock *lock, uint64_t client, struct input *in)
{
    char cookie[64];
    uint8_t type;

    take(in, &type, 1);
    take_text(in, cookie);
    return holds(lock, client, cookie) ? 0 : -EBUSY;
}

int lock_call(struct object *object, const char *method, uint64_t client, struct bytes input, struct bytes *reply,
              bool may_change)
{
    /* Behind the version and the length. */
    struct input in = { .at = input.data + 6, .left = input.length < 6 ? 0 : input.length - 6 };
    char name[64];

    take_text(&in, name);
    if (in.short_of) {
        return -EINVAL;
    }
    /* The lock makes the object. */
    if (!object->exists && !(may_change && !strcmp(method, "lock"))) {
        return -ENOENT;
    }
    if (!strcmp(method, "get_info")) {
        return get_info(&object->lock, reply);
    }
    if (!strcmp(method, "assert_locked")) {
        return assert_locked(&object->lock, client, &in);
    }
    if (!may_change) {
        return -EOPNOTSUPP;
    }
    if (!strcmp(method, "lock")) {
        object->exists = true;
        return take_lock(&object->lock, client, &in);
    }
    if (!strcmp(method, "unlock")) {
        return give_lock(&object->lock, client, &in);
    }
    if (!strcmp(method, "break_lock")) {
        return break_lock(&object->lock, &in);
    }
    if (!strcmp(method, "set_cookie")) {
        return set_cookie(&object->lock, client, &in);
    }
    return -EOPNOTSUPP;
}

void lock_check(const struct op *op)
{
    const struct object *header = store_header_of(op->pool->id, op->namespace, op->name);

    if (header && header->header && (header->header->features & CEPH_EXCLUSIVE_LOCK)
        && header->lock.holder != op->client->number) {
        ceph_violate("something was written without the lock");
    }
}

/* --- For tests ------------------------------------------------------------------------------------------------------------ */

void ceph_lock_as(const char *image, uint64_t client, const char *cookie, const char *tag)
{
    struct object *object;

    ceph_acquire();
    object = store_find(2, "", ceph_header(image));
    object->lock.holder = client;
    object->lock.kind = 1;
    snprintf(object->lock.cookie, sizeof(object->lock.cookie), "%s", cookie);
    snprintf(object->lock.tag, sizeof(object->lock.tag), "%s", tag);
    store_touch(object);
    ceph_release_lock();
}

uint64_t ceph_lock_holder(const char *image)
{
    uint64_t holder;

    ceph_acquire();
    holder = store_find(2, "", ceph_header(image))->lock.holder;
    ceph_release_lock();
    return holder;
}
