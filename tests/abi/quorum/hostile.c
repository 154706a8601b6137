/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * A guest that rewrites its buffers all the time, while the driver reads into them: it may spoil what it gets, and nothing
 * else. No report, no repair of a child that is right, no child with other bytes than before.
 */

#include "quorum.h"

#include <pthread.h>
#include <stdatomic.h>

#define BYTES (64 << 10)
#define LENGTH (128 << 10)

struct guest {
    pthread_t thread;
    unsigned char *memory;
    atomic_bool stop;
    atomic_uint rounds;
};

static void *be_hostile(void *opaque)
{
    struct guest *guest = opaque;
    uint32_t seed = 1;

    while (!guest->stop) {
        /* The guest's own race, which the sanitizers are not to follow. */
        volatile unsigned char *memory = guest->memory;
        unsigned i;

        for (i = 0; i < 1000; i++) {
            seed = seed * 1664525 + 1013904223;
            memory[(seed >> 8) % BYTES] = seed >> 24;
        }
        guest->rounds++;
    }
    return NULL;
}

static void guest_start(struct guest *guest, QEMUIOVector *qiov)
{
    *guest = (struct guest) { .memory = qiov->iov[0].iov_base };
    CHECK(!pthread_create(&guest->thread, NULL, be_hostile, guest));
    /* It is at work before anything is read. */
    while (!guest->rounds) {
    }
}

static void guest_stop(struct guest *guest)
{
    guest->stop = true;
    pthread_join(guest->thread, NULL);
}

/* Reads again and again. */
static void read_much(struct voters *voters, QEMUIOVector *qiov, enum disk_mode mode, unsigned rounds)
{
    unsigned i;

    voters_mode(voters, QBR_CHILD_READ, mode);
    for (i = 0; i < test_rounds(rounds); i++) {
        CHECK_INT(quorum_read(&voters->bs, i % 3 * 512, qiov), 0);
    }
}

TEST(hostile_guest_causes_no_report_and_no_repair)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;
    struct guest guest;
    unsigned i;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2,rewrite-corrupted=?on");
    guest_start(&guest, qiov);
    read_much(&voters, qiov, DISK_AT_ONCE, 1000);
    read_much(&voters, qiov, DISK_NEXT_TURN, 1000);
    read_much(&voters, qiov, DISK_ON_THREAD, 1000);
    guest_stop(&guest);
    CHECK_TEXT(events_take(), "");
    CHECK_INT(voters_calls(&voters, QBR_CHILD_WRITE), 0);
    for (i = 0; i < 3; i++) {
        CHECK(disk_is_intact(voters.disk[i], 0, LENGTH));
    }
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(hostile_guest_changes_no_repair)
{
    static const char *const expected[] = {
        "bad(read,disk0,-,0+128) ", "bad(read,disk1,-,0+128) ", "bad(read,disk2,-,0+128) ",
    };
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;
    struct guest guest;
    unsigned i, j;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2,rewrite-corrupted=?on");
    voters_mode(&voters, QBR_CHILD_READ, DISK_NEXT_TURN);
    voters_mode(&voters, QBR_CHILD_WRITE, DISK_NEXT_TURN);
    guest_start(&guest, qiov);
    for (i = 0; i < test_rounds(300); i++) {
        disk_corrupt(voters.disk[i % 3], i * 131 % BYTES);
        CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
        for (j = 0; j < 3; j++) {
            CHECK_INT(voters.disk[j]->repairs, i / 3 + (j <= i % 3));
            CHECK(disk_is_intact(voters.disk[j], 0, LENGTH));
        }
        CHECK_TEXT(events_take(), expected[i % 3]);
    }
    guest_stop(&guest);
    voters_close(&voters);
    qiov_free(qiov);
}

TEST(hostile_guest_causes_no_mismatch_of_blkverify)
{
    QEMUIOVector *qiov = qiov_flat(BYTES);
    struct voters voters;
    struct guest guest;

    voters_open(&voters, 2, LENGTH, "vote-threshold=#2,blkverify=?on");
    guest_start(&guest, qiov);
    read_much(&voters, qiov, DISK_AT_ONCE, 1000);
    read_much(&voters, qiov, DISK_NEXT_TURN, 500);
    guest_stop(&guest);
    voters_close(&voters);
    qiov_free(qiov);
}
