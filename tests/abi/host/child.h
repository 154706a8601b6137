/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * Nodes that can be children: disks in memory, which do what they are asked at once, late, wrongly or not at all. And the
 * events that were sent.
 */
#ifndef QBR_TEST_CHILD_H
#define QBR_TEST_CHILD_H

#include "host.h"

#define CHILD_OPS (QBR_CHILD_ALLOCATED_ABOVE + 1)

/* When an operation ends. */
enum disk_mode {
    /* Without any sleep. */
    DISK_AT_ONCE,
    /* After a turn of the event loop. */
    DISK_NEXT_TURN,
    /* Another thread says when, soon and in an order of its own. */
    DISK_ON_THREAD,
    /* The test says when. */
    DISK_WHEN_RELEASED,
};

struct disk {
    BlockDriverState bs;
    const char *name;
    unsigned char *content;
    int64_t length;
    /* The flags that the node takes. */
    QbrFlags flags;
    /* Whether its parent has no permission to write to it. */
    bool may_not_be_written;
    /* Whether it gives space back for zeroes. */
    bool unmaps;
    /*
     * It writes zeroes quickly in multiples of that many bytes: it does what comes before an end that is none, and refuses that
     * then. And whether it says so; else it says 1.
     */
    uint32_t zero_alignment;
    bool hides_alignment;
    /* Why it can't be opened or attached; NULL if it can. */
    const char *refusal;
    /* Parents besides the one under test, and whether it is attached there. */
    unsigned other_parents;
    unsigned attached;
    /* Drained sections: those that go on, and all there were. */
    unsigned drained, drains;
    /* The next resize that fails has been done all the same. */
    bool fails_late;
    /* The answer to block status, and how far it reaches. */
    int status;
    int64_t reach;
    /* Which of its first 64 sectors of 512 bytes it, or what backs it above the base that is asked about, has: one bit each. */
    uint64_t above;
    /* What the last operation of a kind was asked. */
    QbrChildIo last[CHILD_OPS];
    /* How many operations of a kind began and ended, and the time (of one clock for all disks) of the last of each. */
    unsigned calls[CHILD_OPS];
    unsigned ended[CHILD_OPS];
    unsigned began_at[CHILD_OPS];
    unsigned ended_at[CHILD_OPS];
    /* Writes from memory of the driver's own. */
    unsigned repairs;
    /* The rest belongs to child.c. */
    enum disk_mode mode[CHILD_OPS];
    struct {
        unsigned from, to;
        int error;
    } failing[CHILD_OPS];
    unsigned held[CHILD_OPS];
};

/* The byte that is at an offset of a new disk. */
unsigned char disk_byte(int64_t offset);
/* A disk; "children.N=NAME" finds it. It takes all flags. */
struct disk *disk_new(const char *name, int64_t length);
void disk_free(struct disk *disk);
/* Whether the disk has what a new one has, in a range. */
bool disk_is_intact(const struct disk *disk, int64_t offset, int64_t bytes);
/* Changes a byte of the content. */
void disk_corrupt(struct disk *disk, int64_t offset);
/* All operations of a kind fail (0: succeed) from now on; those from the next but @skip on, @count of them. */
void disk_fail(struct disk *disk, QbrChildOp op, int error);
void disk_fail_some(struct disk *disk, QbrChildOp op, unsigned skip, unsigned count, int error);
void disk_mode(struct disk *disk, QbrChildOp op, enum disk_mode mode);
/* Waits until that many operations of a kind wait to be released, or have ended. Not in a coroutine. */
void disk_wait_held(struct disk *disk, QbrChildOp op, unsigned count);
void disk_wait_ended(struct disk *disk, QbrChildOp op, unsigned count);
/* Lets all operations of a kind that wait go on, and those to come. Any thread. */
void disk_release(struct disk *disk, QbrChildOp op);
/* Children that are attached, and operations that have not ended, of all disks. */
unsigned disks_attached(void);
unsigned disks_busy(void);

/* The name of a child, to which it belongs. */
const char *child_name(const BdrvChild *child);
struct disk *child_disk(const BdrvChild *child);

/*
 * The events since the last call, as text that is valid until the next one: "bad(read,disk0,EIO,0+8) failure(node,0+8) ". A
 * child that lost a vote has no error: "bad(read,disk0,-,0+8) ".
 */
const char *events_take(void);

#endif
