/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * A librados without a network: a cluster in memory, and tests decide what goes wrong and when.
 *
 * It implements exactly what the archive imports. Unless told otherwise everything succeeds at once, asynchronous calls call back
 * on one thread of the library and watches on another one. What no client may do to the library (use a handle that is gone, block
 * in a callback, leave a notification without an answer, ...) is a violation, and not forgiven at the end of a test. compare.c
 * checks that it answers as a real cluster does.
 */
#ifndef QBR_FAKE_RADOS_H
#define QBR_FAKE_RADOS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Everything that can fail or wait. */
enum ceph_call {
    CEPH_CREATE,
    CEPH_CONF_READ,
    CEPH_CONF_SET,
    CEPH_CONNECT,
    CEPH_SHUTDOWN,
    CEPH_POOL,
    CEPH_ROLLBACK,
    CEPH_WATCH,
    CEPH_UNWATCH,
    CEPH_BLOCKLIST,
    CEPH_COMPLETION,
    /* From here on asynchronous. */
    CEPH_READ,
    CEPH_WRITE,
    CEPH_REMOVE,
    CEPH_STAT,
    CEPH_READ_OP,
    CEPH_WRITE_OP,
    CEPH_NOTIFY,
    CEPH_SNAP_CREATE,
    CEPH_SNAP_REMOVE,
    CEPH_CALLS,
    CEPH_ANY = CEPH_CALLS
};

#define CEPH_FOR_EVER (-1)

/* --- Failing calls: for asynchronous ones, failing to submit ------------------------------------------------------------- */

/* The call fails from now on; 0 lets it succeed again. */
void ceph_fail(enum ceph_call call, int error);
/* The call succeeds @skip times, then fails @times times. */
void ceph_fail_some(enum ceph_call call, int skip, int times, int error);

/* --- Waiting -------------------------------------------------------------------------------------------------------------- */

/* Calls of this kind wait at their beginning until the gate is open. */
void ceph_close_gate(enum ceph_call call);
void ceph_open_gate(enum ceph_call call);
/* How often the call was made. */
unsigned ceph_count(enum ceph_call call);
void ceph_wait_for(enum ceph_call call, unsigned count);
/* Waits until no client is left. */
void ceph_wait_for_no_client(void);

/* --- Outcome of asynchronous calls ---------------------------------------------------------------------------------------- */

enum ceph_mode {
    /* On the thread of the library. */
    CEPH_ON_THREAD,
    /* Before the submit call returns. */
    CEPH_IN_SUBMIT,
    /* When the test says so. */
    CEPH_WHEN_RELEASED
};
void ceph_mode(enum ceph_call call, enum ceph_mode mode);
/* Operations of a kind on objects whose name contains @part end with @error: after @skip of them, @times times. */
void ceph_fail_object(const char *part, enum ceph_call call, int skip, int times, int error);
/* The same, but what they do is done before. */
void ceph_fail_object_late(const char *part, enum ceph_call call, int skip, int times, int error);
/*
 * The same, but what they do is done later: before the next change of the object, and before a read of it that waits for changes;
 * or when the test says so.
 */
void ceph_delay_object(const char *part, enum ceph_call call, int skip, int times, int error);
void ceph_do_delayed(void);
void ceph_pass_objects(void);
/* The next operation of a kind returns that, whatever it did. */
void ceph_next_return(enum ceph_call call, int ret);
/* No read brings more than that many bytes. */
void ceph_most(size_t bytes);
/* What a method of a class answers from now on; NULL bytes take that back. */
void ceph_reply(const char *method, const void *bytes, size_t length);
/* Every operation calls back twice. */
void ceph_call_back_twice(bool on);
/* Calls back once more with the operation that ended last. */
void ceph_call_back_again(void);

/* Waits until @count operations wait for their release; their number. */
unsigned ceph_wait_for_held(unsigned count);
/* Operations that wait for their release now. */
unsigned ceph_held(void);
/* Ends the operation that was submitted as the @index-th of those that wait, on the calling thread. False if there is none. */
bool ceph_release(unsigned index);
void ceph_release_all(void);

/* --- Watches -------------------------------------------------------------------------------------------------------------- */

/* Another client says something about an object. Waits for the watches to hear it; how many of them have acknowledged it. */
unsigned ceph_tell(const char *object, const void *message, size_t length);
/* The same as another client with this client's own number. */
unsigned ceph_tell_as(uint64_t client, const char *object, const void *message, size_t length);
/* Whether one of the acknowledgements of the last of these had an answer in it. */
bool ceph_was_answered(void);
/* The watches of an object are lost, as when the connection was. Waits for them to hear it; how many there were. */
unsigned ceph_break_watches(const char *object, int error);
/* The next watches are lost before they are there: the error comes before the call returns. */
void ceph_break_next_watches(unsigned count);
/* Watches of an object. */
unsigned ceph_watches(const char *object);
void ceph_wait_for_watches(const char *object, unsigned count);
/*
 * Another client watches an object, with that handle, and answers each notification with those bytes; NULL: it doesn't answer. No
 * object: it is gone.
 */
void ceph_stranger(const char *object, uint64_t handle, const void *answer, size_t length);
/* Notifications of the archive's have one more listener, who never acknowledges. */
void ceph_deaf_watcher(bool on);

/* --- Images --------------------------------------------------------------------------------------------------------------- */

#define CEPH_LAYERING 0x1
#define CEPH_STRIPING 0x2
#define CEPH_EXCLUSIVE_LOCK 0x4
#define CEPH_OBJECT_MAP 0x8
#define CEPH_FAST_DIFF 0x10
#define CEPH_JOURNALING 0x40
#define CEPH_DATA_POOL 0x80
#define CEPH_OPERATIONS 0x100
#define CEPH_MIGRATING 0x200
#define CEPH_NON_PRIMARY 0x400
#define CEPH_DIRTY_CACHE 0x800

/* Makes an image of format 2, without any data, in the pool "rbd"; its id is its name. */
void ceph_image(const char *image, uint64_t size, unsigned order, uint64_t features);
/* The same with a striping pattern. */
void ceph_striped_image(const char *image, uint64_t size, unsigned order, uint64_t unit, uint64_t count);
/* The same in format 1. */
void ceph_image1(const char *image, uint64_t size, unsigned order);
/* What other clients may do to it; they notify nobody. */
uint64_t ceph_snapshot(const char *image, const char *name);
/* A snapshot of another kind than the users': 1 of a group, 2 in the trash, 3 of mirroring. */
uint64_t ceph_snapshot_of(const char *image, const char *name, uint32_t kind);
void ceph_protect(const char *image, uint64_t snapshot, uint8_t status);
void ceph_children(const char *image, uint64_t snapshot, uint32_t count);
void ceph_resize(const char *image, uint64_t size);
void ceph_set_features(const char *image, uint64_t features);
void ceph_set_operations(const char *image, uint64_t operations);
/* What @image is a clone of; it still sees that many bytes. */
void ceph_set_parent(const char *image, uint64_t overlap);
uint64_t ceph_image_size(const char *image);
unsigned ceph_image_snapshots(const char *image);
bool ceph_image_exists(const char *image);
/* The name of the header, and of a data object; valid for the next few calls. */
const char *ceph_header(const char *image);
const char *ceph_data(const char *image, uint64_t number);

/* --- Object maps: an image with CEPH_OBJECT_MAP has one ------------------------------------------------------------------- */

/*
 * A valid map that says of an object that it isn't there while it is, a write to an object that it doesn't know, a removal that
 * it wasn't told of, and a change of it by a client without the image's lock are violations.
 */
enum ceph_state { CEPH_ABSENT, CEPH_EXISTS, CEPH_PENDING, CEPH_CLEAN };
/* What is wrong with a map: both of these. */
#define CEPH_INVALID 3

/* The name of the map, and of a snapshot's. */
const char *ceph_map(const char *image);
const char *ceph_map_at(const char *image, uint64_t snapshot);
/* The state of an object; -1 if there is no map, or one that is damaged or too short. */
int ceph_map_state(const char *image, uint64_t number);
int ceph_map_state_at(const char *image, uint64_t snapshot, uint64_t number);
/* How many objects it has; -1 if there is none, or a damaged one. */
int64_t ceph_map_count(const char *image);
/* What other clients do to it. */
void ceph_map_set(const char *image, uint64_t number, int state);
void ceph_map_resize(const char *image, uint64_t count);
void ceph_map_damage(const char *image);
/* The flags of the image, and of a snapshot. */
uint64_t ceph_flags(const char *image);
uint64_t ceph_flags_at(const char *image, uint64_t snapshot);
void ceph_set_flags(const char *image, uint64_t flags);
/* The lock of the map; 0 is nobody. */
uint64_t ceph_map_holder(const char *image);
void ceph_map_lock_as(const char *image, uint64_t client);

/* --- Locks ---------------------------------------------------------------------------------------------------------------- */

/* The other client. */
#define CEPH_STRANGER 9999
/* Gives the image's lock to a client, or to nobody (0). */
void ceph_lock_as(const char *image, uint64_t client, const char *cookie, const char *tag);
uint64_t ceph_lock_holder(const char *image);
/* Shuts a client out. */
void ceph_block(uint64_t client);

/* --- Objects, in the pool "rbd" and its default namespace ------------------------------------------------------------------ */

/* Fills a range with bytes that depend on @seed and on the position (ceph_byte); makes the object. */
void ceph_fill(const char *object, uint64_t offset, uint64_t bytes, uint64_t seed);
unsigned char ceph_byte(uint64_t position);
/* Puts bytes into an object. */
void ceph_put(const char *object, const void *bytes, size_t length);
/* Removes an object, whatever it has. */
void ceph_remove(const char *object);
/* Its bytes, now or at a snapshot; NULL if it isn't there. Valid until it changes. */
const unsigned char *ceph_bytes(const char *object, size_t *length);
const unsigned char *ceph_bytes_at(const char *object, uint64_t snapshot, size_t *length);
/* How many objects there are. */
unsigned ceph_objects(void);
/* A namespace of the pool. */
void ceph_namespace(const char *name);

/*
 * What was done so far, a line for each operation on an object, in the order in which it was done:
 *
 *     KIND OBJECT OFFSET+LENGTH [SEQ:ID,ID] = ERROR
 *
 * KIND is read, write, write_full, writesame, zero, truncate, remove, create, stat, assert, exec (then there is the method in
 * place of the range), notify. The snapshots follow changes, "@ID" reads of a snapshot, "= ERROR" failures.
 */
const char *ceph_log(void);
void ceph_log_clear(void);
/* How often that stands in the log. */
unsigned ceph_log_count(const char *part);

/* --- Clients -------------------------------------------------------------------------------------------------------------- */

/* Live clients; pool handles, completions, operations, replies that nobody has released, and watches. */
unsigned ceph_clients(void);
unsigned ceph_alive(void);
/* What there is now stays, and is meant to. */
void ceph_forget(void);
/* The number of the client that was made last. */
uint64_t ceph_last_client(void);
/* What the client that was made last was told before it connected, a line per call. */
const char *ceph_client_log(void);
/* A setting of all clients that are made from now on. */
void ceph_setting(const char *key, const char *value);
/* A setting of the configuration files. */
void ceph_configure(const char *key, const char *value);
/* A setting of the pool "rbd" for new images; to be made in the order of the keys. */
void ceph_pool_setting(const char *key, const char *value);
/* What nobody may do; NULL if nobody did. */
const char *ceph_violation(void);

#endif
