/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* What the parts of the fake library share. One lock protects all of it. */
#ifndef QBR_FAKE_RADOS_INTERNAL_H
#define QBR_FAKE_RADOS_INTERNAL_H

#include <errno.h>
#include <pthread.h>

#include <rados/librados.h>

#include "fake.h"

#define MAX_SNAPS 160
#define MAX_NAME 300
#define MAX_NAMES 64
#define NO_SNAP LIBRADOS_SNAP_HEAD

/* --- What everybody needs (core.c) ---------------------------------------------------------------------------------------- */

extern pthread_mutex_t ceph_lock;
extern pthread_cond_t ceph_changed;

void ceph_acquire(void);
void ceph_release_lock(void);
/* Begins a call: counts it, waits at its gate, and decides whether it fails: -errno. Without the lock. */
int ceph_begin(enum ceph_call call);
/* With the lock. */
void ceph_violate(const char *what);
/* For calls that block; without the lock. */
void ceph_blocks(const char *what);
/* The calling thread is one of the library's. */
void ceph_is_library_thread(void);
/* Changes the number of things that are to be released. With the lock. */
void ceph_count_alive(int change);
/* There is none any more. With the lock. */
void ceph_none_alive(void);
__attribute__((format(printf, 1, 2))) void ceph_note(const char *format, ...);

/* --- Clients and pools (client.c) ------------------------------------------------------------------------------------------ */

/* For which snapshots a write keeps what was there. */
struct context {
    uint64_t seq;
    unsigned count;
    uint64_t ids[MAX_SNAPS];
};

struct pool {
    const char *name;
    int64_t id;
    uint64_t snap_seq;
};

/* Clients and handles are never freed: a use after the end is to be noticed. */
struct client {
    struct client *next;
    uint64_t number;
    bool connected;
    bool ended;
    /* It has read its configuration files. */
    bool configured;
    /* It was shut out. */
    bool blocked;
    unsigned handles;
    unsigned in_flight;
    unsigned settings;
    struct {
        char key[64];
        char value[512];
    } setting[64];
    char log[4096];
};

struct handle {
    struct handle *next;
    struct client *client;
    struct pool *pool;
    char namespace[64];
    struct context context;
    uint64_t snap;
    bool used;
    bool ended;
};

struct pool *ceph_pool(int64_t id);
/* Whether a handle may be used; with the lock. */
bool ceph_usable(struct handle *handle);

/* --- Objects (store.c); all with the lock ---------------------------------------------------------------------------------- */

/* What the class "rbd" keeps in a header. */
struct snapshot {
    uint64_t id;
    char name[MAX_NAME];
    char original[MAX_NAME];
    uint64_t size;
    uint64_t flags;
    uint64_t overlap;
    uint32_t kind;
    uint32_t children;
    uint8_t protection;
};

struct header {
    uint64_t size;
    uint64_t features;
    uint64_t snap_seq;
    uint64_t flags;
    uint64_t operations;
    uint64_t unit;
    uint64_t count;
    uint64_t overlap;
    int64_t data_pool;
    bool has_parent;
    uint8_t order;
    char prefix[MAX_NAME];
    unsigned snapshots;
    /* The oldest first. */
    struct snapshot snapshot[MAX_SNAPS];
};

struct names {
    unsigned count;
    struct {
        char key[MAX_NAME];
        char value[MAX_NAME];
    } at[MAX_NAMES];
};

/* The lock of an object; no holder, no lock. Of the last one the kind and the tag stay. */
struct lock {
    uint64_t holder;
    uint8_t kind;
    char cookie[64];
    char tag[64];
};

struct clone {
    struct clone *next;
    /* The newest snapshot that it was kept for, and those that are still there. */
    uint64_t id;
    unsigned count;
    uint64_t ids[MAX_SNAPS];
    unsigned char *data;
    size_t length;
    uint64_t version;
};

/* An object; one that doesn't exist but has clones stays. */
struct object {
    struct object *next;
    int64_t pool;
    char namespace[64];
    char name[MAX_NAME];
    bool exists;
    uint64_t version;
    unsigned char *data;
    size_t length;
    struct header *header;
    struct names *names;
    struct lock lock;
    uint64_t snap_seq;
    /* The newest first. */
    struct clone *clones;
};

/* What an object was at a snapshot. */
struct view {
    bool exists;
    const unsigned char *data;
    size_t length;
    uint64_t version;
};

struct object *store_find(int64_t pool, const char *namespace, const char *name);
/* The object, or one that doesn't exist yet. */
struct object *store_get(int64_t pool, const char *namespace, const char *name);
/* A copy to work on, which takes the object's place when its changes are kept. */
struct object *store_copy(const struct object *object);
void store_keep(struct object *object, struct object *copy, const struct context *context);
/* It has changed in place. */
void store_touch(struct object *object);
void store_discard(struct object *copy);
/* Removes objects that are neither there nor have clones. */
void store_sweep(void);
struct view store_view(const struct object *object, uint64_t snap);
void store_remove_snap(int64_t pool, uint64_t snap);
void store_write(struct object *object, uint64_t offset, const void *bytes, size_t length);
void store_set_length(struct object *object, size_t length);
void store_zero(struct object *object, uint64_t offset, uint64_t length);
/* The header of an image of ours. */
struct header *store_header(const char *image);
/* The object with the header of the image that a data object belongs to; NULL if it belongs to none. */
const struct object *store_header_of(int64_t pool, const char *namespace, const char *data);
void store_each(void (*look)(const struct object *object));

/* --- Methods of classes (class.c); with the lock ---------------------------------------------------------------------------- */

struct bytes {
    unsigned char *data;
    size_t length;
};

/* Adds to a buffer. */
void bytes_put(struct bytes *bytes, const void *data, size_t length);
void bytes_u8(struct bytes *bytes, uint8_t value);
void bytes_u32(struct bytes *bytes, uint32_t value);
void bytes_u64(struct bytes *bytes, uint64_t value);
void bytes_text(struct bytes *bytes, const char *text);

/* Calls a method of an object; 0 with a reply, or -errno. @may_change: in a write. */
int class_call(struct object *object, const char *class, const char *method, uint64_t client, struct bytes input,
               struct bytes *reply, bool may_change);
/* The same for the class "lock" (lock.c). */
int lock_call(struct object *object, const char *method, uint64_t client, struct bytes input, struct bytes *reply,
              bool may_change);
/* The same for the methods of object maps (object_map.c). */
int map_call(struct object *object, const char *method, struct bytes input, struct bytes *reply, bool may_change);
/* A header that says so. */
struct header *class_new_header(uint64_t size, uint8_t order, uint64_t features, const char *prefix);
void class_put_header1(struct object *object, uint8_t order, uint64_t size, const char *prefix);
int class_add_snapshot(struct object *object, const char *name, uint64_t id, uint32_t kind);

/* --- Operations (operation.c, async.c) --------------------------------------------------------------------------------------- */

enum kind {
    READ,
    STAT,
    EXEC,
    CREATE,
    ASSERT_EXISTS,
    ASSERT_VERSION,
    WRITE,
    WRITE_FULL,
    WRITE_SAME,
    ZERO,
    TRUNCATE,
    REMOVE,
};

/* One of the things that an operation does. */
struct member {
    enum kind kind;
    uint64_t offset;
    uint64_t length;
    /* What goes in, copied. */
    struct bytes input;
    char class[16];
    char method[64];
    /* Where to put what comes out. */
    char *place;
    char **reply;
    size_t *reply_length;
    int *result;
};

/* What rados_create_{read,write}_op make. */
struct members {
    unsigned count;
    struct member member[MAX_SNAPS * 4];
    bool submitted;
};

struct completion {
    struct completion *next;
    rados_callback_t callback;
    void *arg;
    int ret;
    uint64_t version;
    bool submitted;
    bool done;
    bool released;
    /* Calls back more often than it may; then it may be released more often, too. */
    bool echo;
};

struct notification;

/* An operation that was submitted. */
struct op {
    struct op *next;
    enum ceph_call call;
    struct client *client;
    struct pool *pool;
    char namespace[64];
    char name[MAX_NAME];
    struct context context;
    uint64_t snap;
    struct completion *completion;
    /* A read that waits for the changes before it. */
    bool in_order;
    unsigned count;
    struct member *member;
    /* Snapshot numbers. */
    uint64_t *id;
    uint64_t old_id;
    /* A notification. */
    struct bytes message;
    char **reply;
    size_t *reply_length;
};

/* Does the work; with the lock. What the operation returns. */
int operation_perform(struct op *op);
/* Changes of an object that were delayed are done. With the lock. */
void operation_catch_up(int64_t pool, const char *namespace, const char *name);
void operation_free(struct op *op);
/* Ends an operation, and calls back. Without the lock. */
void async_finish(struct op *op, int ret);
/* Lets the thread of the library do it. With the lock. */
void async_finish_later(struct op *op, int ret);

/* An image with an exclusive lock is written by its holder only. With the lock. */
void lock_check(const struct op *op);
/* What is sent to a data object a valid object map has to know before. With the lock. */
void map_check_sent(const struct op *op);
/* After a change of an object: only the holder of the image's lock changes its map. With the lock. */
void map_check_done(const struct op *op, bool existed);
/* After a change of a data object: a valid map knows whether it is there. With the lock. */
void map_check_there(const struct object *object);
/* What is wrong with a map now; NULL if nothing is. With the lock. */
const char *map_find_wrong(void);
/* A new map, in which nothing is there. With the lock. */
void map_make(const char *image, uint64_t count);
/* A data object has got something from another client. With the lock. */
void map_note(const char *data);
/* Another client has made a snapshot. With the lock. */
void map_snapshot(const char *image, uint64_t id);

/* --- Watches (watch.c); with the lock ---------------------------------------------------------------------------------------- */

/* Tells who watches; the operation ends when all have answered. */
void watch_notify(struct op *op);
/* An object is gone, and those who watch it with it. */
void watch_lose(int64_t pool, const char *namespace, const char *name, int error);
unsigned watch_count(const struct client *client);

#endif
