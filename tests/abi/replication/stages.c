/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Start, checkpoint, get_error and stop in each stage, and what they leave behind when they fail. */

#include "replication.h"

static bool can_be(enum side side, enum stage stage)
{
    return side == SECONDARY || stage == NONE || stage == RUNNING || stage == STOPPED;
}

/* Checks an answer: NULL for success, else a part of the message. */
static void check(const char *what, enum side side, enum stage stage, const char *answer, const char *expected)
{
    if (!expected ? answer != NULL : !answer || !strstr(answer, expected)) {
        test_fail(__FILE__, __LINE__, "%s, side %d, stage %d: \"%s\" and not \"%s\"", what, side, stage,
                  answer ? answer : "(success)", expected ? expected : "(success)");
    }
}

#define ALREADY "running or done"
#define NOT_RUNNING "not running"
#define NO_BACKUP "Backup job was cancelled"

TEST(replication_start_in_each_stage)
{
    /* [side][as][stage] */
    static const char *const expected[2][2][STAGES] = {
        { { NULL, ALREADY, NULL, NULL, NULL, NULL }, { "needs 0, but got 1", ALREADY, NULL, NULL, NULL, NULL } },
        { { "needs 1, but got 0", ALREADY, NULL, ALREADY, NULL, NULL },
          { NULL, ALREADY, "failover is still running", ALREADY, NULL, "has failed over" } },
    };
    struct side_node node;
    enum side side, as;
    enum stage stage;

    for (side = PRIMARY; side <= SECONDARY; side++) {
        for (as = PRIMARY; as <= SECONDARY; as++) {
            for (stage = NONE; stage < STAGES; stage++) {
                if (can_be(side, stage)) {
                    side_bring(&node, side, stage);
                    check("start", side, stage, side_start(&node, as), expected[side][as][stage]);
                    side_close(&node);
                }
            }
        }
    }
}

TEST(replication_checkpoint_get_error_and_stop_in_each_stage)
{
    static const char *const checkpoint[2][STAGES] = {
        { NULL, NULL, NULL, NULL, NULL, NULL }, { NO_BACKUP, NULL, NULL, NO_BACKUP, NULL, NULL } };
    static const char *const get_error[2][STAGES] = {
        { NOT_RUNNING, NULL, NULL, NULL, NULL, NULL }, { NOT_RUNNING, NULL, NULL, "the failover failed", NULL, NULL } };
    /* [failover][stage] */
    static const char *const stop[2][STAGES] = {
        { NOT_RUNNING, NULL, NULL, NOT_RUNNING, NULL, NULL }, { NOT_RUNNING, NULL, NULL, NULL, NULL, NULL } };
    struct side_node node;
    enum side side;
    enum stage stage;

    for (side = PRIMARY; side <= SECONDARY; side++) {
        for (stage = NONE; stage < STAGES; stage++) {
            bool failover;

            if (!can_be(side, stage)) {
                continue;
            }
            side_bring(&node, side, stage);
            check("get_error", side, stage, side_get_error(&node), get_error[side][stage]);
            check("checkpoint", side, stage, side_checkpoint(&node), checkpoint[side][stage]);
            side_close(&node);
            for (failover = false;; failover = true) {
                side_bring(&node, side, stage);
                check(failover ? "failover" : "stop", side, stage, side_stop(&node, failover), stop[failover][stage]);
                side_close(&node);
                if (failover) {
                    break;
                }
            }
        }
    }
}

TEST(replication_close_in_each_stage_leaves_nothing_behind)
{
    struct side_node node;
    enum side side;
    enum stage stage;

    for (side = PRIMARY; side <= SECONDARY; side++) {
        for (stage = NONE; stage < STAGES; stage++) {
            if (can_be(side, stage)) {
                side_bring(&node, side, stage);
                side_close(&node);
            }
        }
    }
}

TEST(replication_close_keeps_what_the_disks_hold)
{
    struct side_node node;

    side_bring(&node, SECONDARY, RUNNING);
    CHECK_INT(replica.emptied_active, 1);
    side_close(&node);
    CHECK_INT(replica.emptied_active, 1);
    CHECK_INT(replica.emptied_hidden, 1);
    CHECK(replica.hidden_read_only);
}

TEST(replication_start_of_a_secondary_makes_writable_what_was_not_and_begins_with_a_checkpoint)
{
    struct side_node node;

    side_bring(&node, SECONDARY, RUNNING);
    CHECK(!replica.hidden_read_only && !replica.secondary_read_only);
    CHECK_INT(replica.reopened, 1);
    CHECK_INT(node.bs.child_count, 3);
    CHECK_TEXT(child_name(node.bs.children[1]), "hidden disk");
    CHECK_TEXT(child_name(node.bs.children[2]), "secondary disk");
    CHECK_INT(replica.blocked, 1);
    CHECK_INT(replica.checkpoints, 1);
    CHECK_INT(replica.emptied_active, 1);
    CHECK_INT(replica.emptied_hidden, 1);
    CHECK(!side_checkpoint(&node));
    CHECK_INT(replica.checkpoints, 2);
    CHECK_INT(replica.emptied_hidden, 2);
    side_close(&node);
}

static void check_failing_start(enum replica_step step, const char *words)
{
    struct side_node node;
    unsigned round;

    side_open(&node, SECONDARY);
    for (round = 0; round < 3; round++) {
        replica.failing = step;
        check("start", SECONDARY, NONE, side_start(&node, SECONDARY), words);
        side_check_let_go(&node);
        CHECK_CONTAINS(side_get_error(&node), NOT_RUNNING);
        CHECK_INT(side_request(&node, R_WRITE, 0, 512, 0), -EIO);
    }
    replica.failing = STEP_NONE;
    CHECK(!side_start(&node, SECONDARY));
    CHECK(!side_get_error(&node));
    CHECK_INT(side_request(&node, R_WRITE, 0, 512, 0), 0);
    side_close(&node);
}

TEST(replication_start_that_fails_at_any_step_leaves_nothing_behind_and_can_be_repeated)
{
    check_failing_start(STEP_REOPEN, "the host fails here");
    check_failing_start(STEP_ATTACH, "the host fails here");
    check_failing_start(STEP_TOP, "No top_bs or it is invalid");
    check_failing_start(STEP_BACKUP, "the host fails here");
    check_failing_start(STEP_CHECKPOINT, "the host fails here");
    check_failing_start(STEP_EMPTY_ACTIVE, "the host fails here");
    check_failing_start(STEP_EMPTY_HIDDEN, "the host fails here");
    check_failing_start(STEP_EJECTED_ACTIVE, "Active disk active is ejected");
}

TEST(replication_start_of_a_secondary_names_what_is_wrong_with_its_disks)
{
    struct side_node node;

    side_open(&node, SECONDARY);
    replica.hidden = NULL;
    CHECK_CONTAINS(side_start(&node, SECONDARY), "Active disk doesn't have backing file");
    replica.hidden = node.hidden;
    replica.secondary = NULL;
    CHECK_CONTAINS(side_start(&node, SECONDARY), "Hidden disk doesn't have backing file");
    replica.secondary = node.secondary;
    replica.secondary_has_user = false;
    CHECK_CONTAINS(side_start(&node, SECONDARY), "block backend");
    replica.secondary_has_user = true;
    node.hidden->length -= 512;
    CHECK_CONTAINS(side_start(&node, SECONDARY), "length");
    node.hidden->length += 512;
    replica.can_be_emptied = false;
    CHECK_CONTAINS(side_start(&node, SECONDARY), "make_empty");
    replica.can_be_emptied = true;
    side_check_let_go(&node);
    CHECK(!side_start(&node, SECONDARY));
    side_close(&node);
}

TEST(replication_start_of_a_read_only_secondary_is_refused)
{
    struct side_node node;

    side_open(&node, SECONDARY);
    replica.writable = false;
    CHECK_CONTAINS(side_start(&node, SECONDARY), "read-only");
    replica.writable = true;
    CHECK(!side_start(&node, SECONDARY));
    side_close(&node);
}

TEST(replication_secondary_that_is_inactive_refuses_what_changes_its_disks_and_goes_on)
{
    struct side_node node;
    bool failover;

    for (failover = false;; failover = true) {
        side_bring(&node, SECONDARY, RUNNING);
        replica.writable = false;
        CHECK_CONTAINS(side_checkpoint(&node), "inactive");
        CHECK_CONTAINS(side_stop(&node, failover), "inactive");
        CHECK_CONTAINS(side_start(&node, SECONDARY), ALREADY);
        /* QEMU's command drops the error of a failover. */
        CHECK(!!side_get_error(&node) == failover);
        CHECK(replica.backup_runs);
        CHECK_INT(replica.blocked, 1);
        CHECK_INT(replica.checkpoints, 1);
        CHECK_INT(replica.emptied_active, 1);
        CHECK_INT(node.bs.child_count, 3);
        replica.writable = true;
        CHECK(!side_checkpoint(&node));
        CHECK(!side_get_error(&node));
        CHECK(!side_stop(&node, failover));
        side_close(&node);
        if (failover) {
            break;
        }
    }
}

TEST(replication_secondary_that_is_inactive_closes)
{
    struct side_node node;

    side_bring(&node, SECONDARY, RUNNING);
    replica.writable = false;
    side_close(&node);
}

TEST(replication_stop_of_a_secondary_empties_its_disks_and_clears_the_latch)
{
    struct side_node node;

    side_bring(&node, SECONDARY, RUNNING);
    CHECK(!side_stop(&node, false));
    CHECK_INT(replica.emptied_active, 2);
    CHECK_INT(replica.emptied_hidden, 2);
    side_check_let_go(&node);
    CHECK(!side_get_error(&node));
    CHECK_INT(side_request(&node, R_READ, 0, 512, 0), 0);
    side_close(&node);
}

TEST(replication_stop_that_cannot_empty_a_disk_says_so_and_stops)
{
    struct side_node node;

    side_bring(&node, SECONDARY, RUNNING);
    replica.failing = STEP_EMPTY_HIDDEN;
    CHECK_CONTAINS(side_stop(&node, false), "the host fails here");
    replica.failing = STEP_NONE;
    side_check_let_go(&node);
    CHECK_CONTAINS(side_get_error(&node), "I/O error occurred: No space left");
    CHECK(!side_start(&node, SECONDARY));
    CHECK(!side_get_error(&node));
    side_close(&node);
}

TEST(replication_starts_again_after_a_stop_on_both_sides)
{
    struct side_node node;
    enum side side;
    unsigned round;

    for (side = PRIMARY; side <= SECONDARY; side++) {
        side_bring(&node, side, RUNNING);
        for (round = 0; round < 3; round++) {
            CHECK(!side_stop(&node, false));
            CHECK(!side_start(&node, side));
            CHECK(!side_get_error(&node));
            CHECK_INT(side_request(&node, R_WRITE, 0, 512, 0), 0);
        }
        side_close(&node);
    }
}

static const enum replication_op changes[] = { R_WRITE, R_ZERO, R_DISCARD };

/* A primary whose secondary has missed something can't be started, however often that is tried. */
static void check_missed(struct side_node *node)
{
    unsigned round;

    for (round = 0; round < 2; round++) {
        CHECK_CONTAINS(side_start(node, PRIMARY), "has missed writes");
        CHECK(!side_get_error(node));
        CHECK_INT(side_request(node, R_WRITE, 0, 512, 0), -EIO);
        CHECK(!side_stop(node, false));
    }
    CHECK(!side_start(node, SECONDARY));
    side_close(node);
}

TEST(replication_primary_that_was_changed_while_it_was_stopped_does_not_start)
{
    struct side_node node;
    unsigned k;

    for (k = 0; k < 3; k++) {
        side_bring(&node, PRIMARY, STOPPED);
        CHECK_INT(side_request(&node, changes[k], 0, 512, 0), -EIO);
        check_missed(&node);
    }
}

TEST(replication_primary_that_has_lost_a_change_does_not_start_again)
{
    static const QbrChildOp as_child[] = { QBR_CHILD_WRITE, QBR_CHILD_WRITE_ZEROES, QBR_CHILD_DISCARD };
    struct side_node node;
    bool failover;
    unsigned k;

    for (k = 0; k < 3; k++) {
        for (failover = false;; failover = true) {
            side_bring(&node, PRIMARY, RUNNING);
            disk_fail(node.active, as_child[k], ENOSPC);
            CHECK_INT(side_request(&node, changes[k], 0, 512, 0), 0);
            disk_fail(node.active, as_child[k], 0);
            CHECK(!side_stop(&node, failover));
            check_missed(&node);
            if (failover) {
                break;
            }
        }
    }
}

TEST(replication_primary_starts_whatever_was_refused_before_its_first_start_and_whatever_was_read)
{
    struct side_node node;

    side_bring(&node, PRIMARY, NONE);
    CHECK_INT(side_request(&node, R_WRITE, 0, 512, 0), -EIO);
    CHECK(!side_start(&node, PRIMARY));
    CHECK(!side_stop(&node, true));
    CHECK_INT(side_request(&node, R_READ, 0, 512, 0), -EIO);
    CHECK(!side_start(&node, PRIMARY));
    CHECK(!side_get_error(&node));
    CHECK_INT(side_request(&node, R_WRITE, 0, 512, 0), 0);
    side_close(&node);
}

TEST(replication_failover_tells_no_error_while_it_runs)
{
    struct side_node node;

    side_bring(&node, SECONDARY, FAILOVER);
    CHECK(!side_get_error(&node));
    CHECK_INT(replica.commits, 1);
    CHECK_INT(replica.blocked, 0);
    CHECK_INT(node.bs.child_count, 3);
    replica_end_commit(0);
    CHECK(!side_get_error(&node));
    CHECK_INT(node.bs.child_count, 1);
    side_close(&node);
}

TEST(replication_failover_that_cannot_begin_has_failed_and_close_works)
{
    struct side_node node;

    side_bring(&node, SECONDARY, RUNNING);
    replica.failing = STEP_COMMIT;
    /* QEMU's core would leave out the other nodes if this were an error. */
    CHECK(!side_stop(&node, true));
    CHECK_INT(errors_reported(), 1);
    CHECK_CONTAINS(last_error_reported(), "'r': its failover can't begin: the host fails here");
    CHECK_CONTAINS(side_get_error(&node), "the failover failed");
    CHECK(!side_stop(&node, true));
    CHECK_CONTAINS(side_stop(&node, false), NOT_RUNNING);
    CHECK_INT(side_request(&node, R_READ, 0, 512, 0), 0);
    side_close(&node);
}

TEST(replication_failover_fails_with_no_request_in_flight)
{
    struct side_node node;

    side_bring(&node, SECONDARY, FAILOVER);
    replica_end_commit(-ENOSPC);
    CHECK_INT(node.active->drains, 1);
    side_close(&node);

    side_bring(&node, SECONDARY, RUNNING);
    replica.failing = STEP_COMMIT;
    CHECK(!side_stop(&node, true));
    CHECK_INT(errors_reported(), 1);
    CHECK_INT(node.active->drains, 1);
    side_close(&node);
}

TEST(replication_with_another_disk_behind_the_active_one_empties_none)
{
    struct side_node node;

    side_bring(&node, SECONDARY, RUNNING);
    replica.has_another_behind = true;
    CHECK_CONTAINS(side_checkpoint(&node), "another backing file");
    CHECK_CONTAINS(side_get_error(&node), "I/O error");
    CHECK_CONTAINS(side_stop(&node, false), "another backing file");
    CHECK_INT(replica.emptied_active, 1);
    CHECK_INT(replica.emptied_hidden, 1);
    replica.has_another_behind = false;
    CHECK(!side_checkpoint(&node));
    CHECK(!side_get_error(&node));
    replica.has_another_behind = true;
    side_close(&node);
}

TEST(replication_that_cannot_make_its_disks_read_only_again_says_so)
{
    struct side_node node;

    side_bring(&node, SECONDARY, RUNNING);
    replica.failing = STEP_REOPEN;
    CHECK(!side_stop(&node, false));
    CHECK_CONTAINS(warning_take(), "'r': can't make its disks read-only again: the host fails here");
    side_close(&node);
}

TEST(replication_close_after_a_failed_failover_lets_go_of_the_disks)
{
    static const enum stage stages[] = { FAILOVER, FAILOVER_FAILED };
    struct side_node node;
    unsigned i;

    for (i = 0; i < 2; i++) {
        side_bring(&node, SECONDARY, stages[i]);
        CHECK(!replica.hidden_read_only);
        qbr_replication_close(&node.bs);
        side_check_let_go(&node);
        CHECK(!replica.commit_runs);
        side_close(&node);
    }
}

TEST(replication_close_completes_a_failover_that_can_be_completed)
{
    struct side_node node;

    side_bring(&node, SECONDARY, FAILOVER);
    replica.cancelled_commit = 0;
    side_close(&node);
    CHECK_INT(replica.commits, 1);
}

TEST(replication_tells_that_its_backup_has_ended)
{
    struct side_node node;

    side_bring(&node, SECONDARY, RUNNING);
    replica_end_backup(-ENOSPC);
    CHECK_INT(replica.blocked, 0);
    CHECK_CONTAINS(side_get_error(&node), "I/O error");
    CHECK_CONTAINS(side_checkpoint(&node), NO_BACKUP);
    /* It can still take over, or be stopped and started again. */
    CHECK(!side_stop(&node, false));
    CHECK(!side_get_error(&node));
    CHECK(!side_start(&node, SECONDARY));
    replica_end_backup(-EIO);
    CHECK(!side_stop(&node, true));
    CHECK_CONTAINS(side_get_error(&node), "I/O error");
    replica_end_commit(0);
    CHECK(!side_get_error(&node));
    side_close(&node);
}

static const enum replica_step polling[] = { STEP_CHECKPOINT, STEP_EMPTY_ACTIVE, STEP_EMPTY_HIDDEN };

TEST(replication_start_during_which_the_backup_ends_fails_and_leaves_nothing_behind)
{
    struct side_node node;
    unsigned i;

    for (i = 0; i < 3; i++) {
        side_open(&node, SECONDARY);
        replica.backup_ends = polling[i];
        CHECK_CONTAINS(side_start(&node, SECONDARY), NO_BACKUP);
        side_check_let_go(&node);
        CHECK_CONTAINS(side_get_error(&node), NOT_RUNNING);
        replica.backup_ends = STEP_NONE;
        CHECK(!side_start(&node, SECONDARY));
        CHECK(!side_get_error(&node));
        side_close(&node);
    }
}

TEST(replication_checkpoint_during_which_the_backup_ends_fails_and_is_remembered)
{
    struct side_node node;
    unsigned i;

    for (i = 0; i < 3; i++) {
        side_bring(&node, SECONDARY, RUNNING);
        replica.backup_ends = polling[i];
        CHECK_CONTAINS(side_checkpoint(&node), NO_BACKUP);
        CHECK_CONTAINS(side_get_error(&node), "I/O error");
        CHECK_CONTAINS(side_checkpoint(&node), NO_BACKUP);
        CHECK_CONTAINS(side_get_error(&node), "I/O error");
        CHECK(!side_stop(&node, false));
        side_close(&node);
    }
}

TEST(replication_checkpoint_that_fails_half_way_is_remembered_until_one_succeeds)
{
    static const enum replica_step steps[] = { STEP_EMPTY_ACTIVE, STEP_EMPTY_HIDDEN };
    struct side_node node;
    unsigned i;

    for (i = 0; i < 2; i++) {
        side_bring(&node, SECONDARY, RUNNING);
        replica.failing = steps[i];
        CHECK_CONTAINS(side_checkpoint(&node), "the host fails here");
        CHECK_CONTAINS(side_get_error(&node), "I/O error occurred: No space left");
        replica.failing = STEP_EJECTED_ACTIVE;
        CHECK_CONTAINS(side_checkpoint(&node), "is ejected");
        CHECK_CONTAINS(side_get_error(&node), "I/O error occurred: No space left");
        replica.failing = STEP_NONE;
        CHECK(!side_checkpoint(&node));
        CHECK(!side_get_error(&node));
        /* Without a backup no checkpoint can succeed any more. */
        replica.failing = steps[i];
        CHECK(side_checkpoint(&node));
        replica.failing = STEP_NONE;
        replica_end_backup(-EIO);
        CHECK_CONTAINS(side_checkpoint(&node), NO_BACKUP);
        CHECK(side_get_error(&node));
        side_close(&node);
    }
}

TEST(replication_checkpoint_that_changes_nothing_is_not_remembered)
{
    struct side_node node;

    side_bring(&node, SECONDARY, RUNNING);
    replica.failing = STEP_CHECKPOINT;
    CHECK_CONTAINS(side_checkpoint(&node), "the host fails here");
    CHECK_INT(replica.emptied_active, 1);
    CHECK(!side_get_error(&node));
    side_close(&node);
}

TEST(replication_open_refuses_bad_options_and_names_them)
{
    static const char *const bad[][2] = {
        { "file=active", "mode" },
        { "file=active,mode=tertiary", "mode" },
        { "file=active,mode=primary,top-id=top", "top-id" },
        { "file=active,mode=secondary", "top-id" },
        { "mode=primary", "no such node" },
    };
    struct disk *disk = disk_new("active", 4096);
    unsigned i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        BlockDriverState bs = { .name = "r" };
        Error *error = NULL;

        CHECK_INT(side_open_with(&bs, bad[i][0], &error), -EINVAL);
        CHECK_CONTAINS(error->message, bad[i][1]);
        CHECK(!bs.state);
        CHECK_INT(bs.child_count, 0);
        CHECK_INT(replica.registered, 0);
        error_free(error);
    }
    disk_free(disk);
}
