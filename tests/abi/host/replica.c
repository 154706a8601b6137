/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* The services for replication. */

#include "replica.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../test.h"

struct replica replica;

struct ReplicationState {
    BlockDriverState *bs;
};

struct QbrBlocker {
    bool on;
};

struct BlockJob {
    BlockDriverState *bs;
    bool *runs;
};

static struct ReplicationState registration;
static struct QbrBlocker blocker;
static struct BlockJob backup, commit;

/* Whether a step fails; sets the error. */
static bool fails(enum replica_step step, Error **errp)
{
    CHECK(!qbr_host_in_coroutine());
    if (replica.failing != step) {
        return false;
    }
    if (errp) {
        qbr_host_error_set(errp, "the host fails here", NULL);
    }
    return true;
}

/* A step that lets the event loop run, in which a backup may end. */
static void polls(enum replica_step step)
{
    if (replica.backup_ends == step && replica.backup_runs) {
        replica_end_backup(-EIO);
    }
}

bool qbr_host_bs_is_writable(BlockDriverState *bs)
{
    (void)bs;
    return replica.writable;
}

ReplicationState *qbr_host_replication_new(BlockDriverState *bs)
{
    CHECK_INT(replica.registered++, 0);
    registration.bs = bs;
    return &registration;
}

void qbr_host_replication_remove(ReplicationState *state)
{
    CHECK(state == &registration);
    CHECK_INT(replica.registered--, 1);
}

void qbr_host_disks_examine(BlockDriverState *bs, QbrDisks *disks)
{
    (void)bs;
    CHECK(!qbr_host_in_coroutine());
    *disks = (QbrDisks) { .has_hidden = replica.hidden != NULL, .has_secondary = replica.hidden && replica.secondary };
    if (disks->has_secondary) {
        disks->secondary_has_user = replica.secondary_has_user;
        disks->can_be_emptied = replica.can_be_emptied;
        disks->hidden_read_only = replica.hidden_read_only;
        disks->secondary_read_only = replica.secondary_read_only;
        disks->active_length = replica.active->length;
        disks->hidden_length = replica.hidden->length;
        disks->secondary_length = replica.secondary->length;
    }
}

int qbr_host_disks_reopen(BlockDriverState *bs, bool hidden, bool secondary, bool writable, Error **errp)
{
    (void)bs;
    CHECK(replica.hidden && replica.secondary && !replica.has_another_behind);
    if (fails(STEP_REOPEN, errp)) {
        return -EACCES;
    }
    if (hidden) {
        CHECK(replica.hidden_read_only == writable);
        /* A disk that somebody writes to can't become read-only. */
        CHECK(writable || !replica.hidden->attached);
        replica.hidden_read_only = !writable;
    }
    if (secondary) {
        CHECK(replica.secondary_read_only == writable);
        CHECK(writable || !replica.secondary->attached);
        replica.secondary_read_only = !writable;
    }
    replica.reopened++;
    return 0;
}

int qbr_host_disks_attach(BlockDriverState *bs, BdrvChild **hidden, BdrvChild **secondary, Error **errp)
{
    if (fails(STEP_ATTACH, errp)) {
        return -1;
    }
    CHECK(!replica.hidden_read_only && !replica.secondary_read_only);
    *hidden = qbr_host_child_attach(bs, &replica.hidden->bs, "hidden disk", QBR_CHILD_DATA, errp);
    *secondary = qbr_host_child_attach(bs, &replica.secondary->bs, "secondary disk", QBR_CHILD_DATA, errp);
    return 0;
}

bool qbr_host_disk_is_behind(BlockDriverState *bs, BdrvChild *hidden)
{
    (void)bs;
    CHECK(child_disk(hidden) == replica.hidden);
    return !replica.has_another_behind;
}

QbrBlocker *qbr_host_top_block(BlockDriverState *bs, const char *top_id)
{
    (void)bs;
    if (fails(STEP_TOP, NULL) || strcmp(top_id, replica.top)) {
        return NULL;
    }
    CHECK_INT(replica.blocked++, 0);
    return &blocker;
}

void qbr_host_top_unblock(QbrBlocker *which)
{
    CHECK(which == &blocker);
    CHECK_INT(replica.blocked--, 1);
}

BlockJob *qbr_host_backup_start(BlockDriverState *bs, BdrvChild *secondary, BdrvChild *hidden, Error **errp)
{
    if (fails(STEP_BACKUP, errp)) {
        return NULL;
    }
    CHECK(child_disk(secondary) == replica.secondary && child_disk(hidden) == replica.hidden);
    CHECK(!replica.backup_runs && !replica.commit_runs);
    CHECK_INT(replica.blocked, 1);
    backup = (BlockJob) { .bs = bs, .runs = &replica.backup_runs };
    replica.backup_runs = true;
    replica.backups++;
    return &backup;
}

int qbr_host_backup_checkpoint(BlockJob *job, Error **errp)
{
    CHECK(job == &backup && replica.backup_runs);
    /* What is written now is to be copied, and not to be emptied. */
    CHECK_INT(replica.hidden->drained, 1);
    if (fails(STEP_CHECKPOINT, errp)) {
        return -1;
    }
    replica.checkpoints++;
    polls(STEP_CHECKPOINT);
    return 0;
}

BlockJob *qbr_host_commit_start(BlockDriverState *bs, BdrvChild *active, BdrvChild *secondary, Error **errp)
{
    if (fails(STEP_COMMIT, errp)) {
        return NULL;
    }
    CHECK(child_disk(active) == replica.active && child_disk(secondary) == replica.secondary);
    CHECK(!replica.backup_runs && !replica.commit_runs);
    CHECK_INT(replica.blocked, 0);
    commit = (BlockJob) { .bs = bs, .runs = &replica.commit_runs };
    replica.commit_runs = true;
    replica.commits++;
    return &commit;
}

void replica_end_backup(int ret)
{
    CHECK(replica.backup_runs);
    replica.backup_runs = false;
    qbr_replication_backup_ended(backup.bs, ret);
}

void replica_end_commit(int ret)
{
    CHECK(replica.commit_runs);
    replica.commit_runs = false;
    qbr_replication_commit_ended(commit.bs, ret);
}

void qbr_host_job_cancel(BlockDriverState *bs, BlockJob *job, bool force)
{
    CHECK(!qbr_host_in_coroutine());
    CHECK(*job->runs && job->bs == bs);
    if (job == &backup) {
        CHECK(force);
        replica_end_backup(-ECANCELED);
    } else {
        CHECK(!force);
        replica_end_commit(replica.cancelled_commit);
    }
}

int qbr_host_child_make_empty(BdrvChild *child, Error **errp)
{
    struct disk *disk = child_disk(child);

    CHECK(!qbr_host_in_coroutine());
    CHECK(disk == replica.active || disk == replica.hidden);
    CHECK(replica.writable && !replica.hidden_read_only);
    CHECK(replica.hidden->drained >= replica.backup_runs);
    if (disk == replica.active) {
        if (fails(STEP_EJECTED_ACTIVE, NULL)) {
            return -ENOMEDIUM;
        }
        if (fails(STEP_EMPTY_ACTIVE, errp)) {
            return -ENOSPC;
        }
        replica.emptied_active++;
        polls(STEP_EMPTY_ACTIVE);
    } else {
        if (fails(STEP_EMPTY_HIDDEN, errp)) {
            return -ENOSPC;
        }
        replica.emptied_hidden++;
        polls(STEP_EMPTY_HIDDEN);
    }
    return 0;
}
