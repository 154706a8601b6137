/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * The services for replication: one node, the disks of its side, a node on top of it, and jobs that end when the test says so.
 *
 * It is stricter than QEMU: a job, a blocker or a registration that is used after its end, or twice, ends the test.
 */
#ifndef QBR_TEST_REPLICA_H
#define QBR_TEST_REPLICA_H

#include "child.h"

/* The steps at which the host can fail. */
enum replica_step {
    STEP_NONE,
    STEP_REOPEN,
    STEP_ATTACH,
    STEP_TOP,
    STEP_BACKUP,
    STEP_CHECKPOINT,
    STEP_EMPTY_ACTIVE,
    STEP_EMPTY_HIDDEN,
    STEP_EJECTED_ACTIVE,
    STEP_COMMIT,
    STEPS,
};

struct replica {
    /* What the node is. */
    bool writable;
    /* The disks behind the active one; NULL if there is none. */
    struct disk *active, *hidden, *secondary;
    /* Something is between the active disk and the hidden one. */
    bool has_another_behind;
    bool secondary_has_user, can_be_emptied, hidden_read_only, secondary_read_only;
    /* The name of the node on top. */
    const char *top;
    /* Which step fails, and during which one the backup ends by itself. */
    enum replica_step failing, backup_ends;
    /* What is there. */
    unsigned registered, blocked;
    bool backup_runs, commit_runs;
    /* How often what was done. */
    unsigned checkpoints, emptied_active, emptied_hidden, commits, backups, reopened;
    /* How a commit that is cancelled ends. */
    int cancelled_commit;
};

/* The one of the process. */
extern struct replica replica;

/* A job ends by itself. */
void replica_end_backup(int ret);
void replica_end_commit(int ret);

#endif
