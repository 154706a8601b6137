/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Requests in each stage, on both sides. */

#include "replication.h"

static const enum replication_op changes[] = { R_WRITE, R_ZERO, R_DISCARD };
static const QbrChildOp as_child[] = { QBR_CHILD_WRITE, QBR_CHILD_WRITE_ZEROES, QBR_CHILD_DISCARD };

TEST(replication_reads_of_a_primary_always_fail)
{
    static const enum stage stages[] = { NONE, RUNNING, STOPPED };
    struct side_node node;
    unsigned i;

    for (i = 0; i < 3; i++) {
        side_bring(&node, PRIMARY, stages[i]);
        CHECK_INT(side_request(&node, R_READ, 0, 512, 0), -EIO);
        CHECK_INT(node.active->calls[QBR_CHILD_READ], 0);
        side_close(&node);
    }
}

TEST(replication_changes_of_a_primary_reach_its_disk_only_while_it_runs)
{
    static const enum stage stages[] = { NONE, STOPPED };
    struct side_node node;
    unsigned i, k;

    for (k = 0; k < 3; k++) {
        for (i = 0; i < 2; i++) {
            side_bring(&node, PRIMARY, stages[i]);
            CHECK_INT(side_request(&node, changes[k], 512, 1024, 0), -EIO);
            CHECK_INT(node.active->calls[as_child[k]], 0);
            side_close(&node);
        }
        side_bring(&node, PRIMARY, RUNNING);
        CHECK_INT(side_request(&node, changes[k], 512, 1024, 0), 0);
        CHECK_INT(node.active->calls[as_child[k]], 1);
        CHECK_INT(node.active->last[as_child[k]].offset, 512);
        CHECK_INT(node.active->last[as_child[k]].bytes, 1024);
        side_close(&node);
    }
}

TEST(replication_failed_change_of_a_primary_is_latched_and_succeeds)
{
    struct side_node node;
    unsigned k;

    for (k = 0; k < 3; k++) {
        side_bring(&node, PRIMARY, RUNNING);
        disk_fail(node.active, as_child[k], ENOSPC);
        CHECK_INT(side_request(&node, changes[k], 0, 512, 0), 0);
        CHECK_CONTAINS(side_get_error(&node), "I/O error");
        /* A checkpoint is none of a primary's, and a stop forgets. */
        CHECK(!side_checkpoint(&node));
        CHECK(side_get_error(&node));
        CHECK(!side_stop(&node, false));
        CHECK(!side_get_error(&node));
        side_close(&node);
    }
}

TEST(replication_tells_the_first_of_several_failed_changes)
{
    struct side_node node;

    side_bring(&node, PRIMARY, RUNNING);
    disk_fail(node.active, QBR_CHILD_WRITE, ENOSPC);
    CHECK_INT(side_request(&node, R_WRITE, 0, 512, 0), 0);
    disk_fail(node.active, QBR_CHILD_WRITE, ENXIO);
    CHECK_INT(side_request(&node, R_WRITE, 0, 512, 0), 0);
    CHECK_CONTAINS(side_get_error(&node), "No space left");
    side_close(&node);
}

TEST(replication_change_that_can_be_done_otherwise_is_not_latched)
{
    struct side_node node;
    unsigned k;

    for (k = 1; k < 3; k++) {
        side_bring(&node, PRIMARY, RUNNING);
        disk_fail(node.active, as_child[k], ENOTSUP);
        CHECK_INT(side_request(&node, changes[k], 0, 512, QBR_REQ_NO_FALLBACK), -ENOTSUP);
        CHECK(!side_get_error(&node));
        side_close(&node);
    }
}

TEST(replication_write_that_a_disk_does_not_support_is_latched)
{
    struct side_node node;

    side_bring(&node, PRIMARY, RUNNING);
    disk_fail(node.active, QBR_CHILD_WRITE, ENOTSUP);
    CHECK_INT(side_request(&node, R_WRITE, 0, 512, 0), 0);
    CHECK_CONTAINS(side_get_error(&node), "not supported");
    side_close(&node);
}

TEST(replication_requests_of_a_secondary_in_each_stage_without_a_failure)
{
    static const enum stage stages[] = { RUNNING, FAILOVER, STOPPED, FAILED_OVER };
    struct side_node node;
    unsigned i, k;

    side_bring(&node, SECONDARY, NONE);
    CHECK_INT(side_request(&node, R_READ, 0, 512, 0), -EIO);
    for (k = 0; k < 3; k++) {
        CHECK_INT(side_request(&node, changes[k], 0, 512, 0), -EIO);
    }
    side_close(&node);
    for (i = 0; i < 4; i++) {
        side_bring(&node, SECONDARY, stages[i]);
        CHECK_INT(side_request(&node, R_READ, 4096, 512, 0), 0);
        CHECK_INT(node.active->calls[QBR_CHILD_READ], 1);
        for (k = 0; k < 3; k++) {
            CHECK_INT(side_request(&node, changes[k], 0, 512, QBR_REQ_MAY_UNMAP), 0);
            CHECK_INT(node.active->calls[as_child[k]], 1);
            CHECK_INT(node.secondary->calls[as_child[k]], 0);
            disk_fail(node.active, as_child[k], ENOSPC);
            CHECK_INT(side_request(&node, changes[k], 0, 512, 0), -ENOSPC);
        }
        CHECK_INT(node.active->last[QBR_CHILD_READ].offset, 4096);
        disk_fail(node.active, QBR_CHILD_READ, ENXIO);
        CHECK_INT(side_request(&node, R_READ, 0, 512, 0), -ENXIO);
        CHECK(!side_get_error(&node));
        side_close(&node);
    }
}

TEST(replication_changes_after_a_failed_failover_go_where_the_data_is)
{
    struct side_node node;
    unsigned k, at;

    for (k = 0; k < 3; k++) {
        side_bring(&node, SECONDARY, FAILOVER_FAILED);
        memset(node.active->content, 0x11, R_BYTES);
        memset(node.secondary->content, 0x22, R_BYTES);
        /* Sectors 4 to 7, 10 and 12 are above the secondary disk. */
        node.active->above = 0xf0 | 1 << 10 | 1 << 12;
        CHECK_INT(side_request(&node, changes[k], 2 * 512, 12 * 512, 0), 0);
        for (at = 0; at < 64; at++) {
            bool inside = at >= 2 && at < 14, above = node.active->above >> at & 1;

            CHECK((node.active->content[at * 512] != 0x11) == (inside && above));
            CHECK((node.secondary->content[at * 512 + 511] != 0x22) == (inside && !above));
        }
        CHECK_INT(node.active->calls[as_child[k]], 3);
        CHECK_INT(node.secondary->calls[as_child[k]], 4);
        side_close(&node);
    }
}

TEST(replication_split_write_takes_each_piece_from_its_place_in_memory)
{
    struct side_node node;

    side_bring(&node, SECONDARY, FAILOVER_FAILED);
    node.active->above = 1 << 1;
    CHECK_INT(side_request(&node, R_WRITE, 0, 3 * 512, 0), 0);
    CHECK_INT(node.active->last[QBR_CHILD_WRITE].qiov_offset, 512);
    CHECK_INT(node.active->last[QBR_CHILD_WRITE].bytes, 512);
    CHECK_INT(node.secondary->last[QBR_CHILD_WRITE].qiov_offset, 1024);
    CHECK_INT(node.secondary->last[QBR_CHILD_WRITE].offset, 1024);
    side_close(&node);
}

TEST(replication_transfer_uses_its_part_of_the_vector_only)
{
    unsigned char memory[4 * 512], expected[4 * 512];
    QEMUIOVector *qiov = qiov_flat(sizeof(memory));
    struct side_node node;

    side_bring(&node, SECONDARY, RUNNING);
    memset(node.active->content, 0x11, R_BYTES);
    memset(memory, 0x77, sizeof(memory));
    qiov_copy_in(qiov, memory);
    CHECK_INT(side_transfer(&node, R_READ, 512, 1024, qiov, 512), 0);
    qiov_copy_out(qiov, memory);
    memset(expected, 0x77, sizeof(expected));
    memset(expected + 512, 0x11, 1024);
    CHECK(!memcmp(memory, expected, sizeof(memory)));
    memory[1536] = 0x33;
    qiov_copy_in(qiov, memory);
    CHECK_INT(side_transfer(&node, R_WRITE, 4096, 512, qiov, 1536), 0);
    CHECK(!memcmp(node.active->content + 4096, memory + 1536, 512));
    CHECK_INT(node.active->content[4095], 0x11);
    CHECK_INT(node.active->content[4096 + 512], 0x11);
    side_close(&node);

    /* Also where a write is split. */
    side_bring(&node, SECONDARY, FAILOVER_FAILED);
    node.active->above = 1 << 1;
    CHECK_INT(side_transfer(&node, R_WRITE, 0, 1024, qiov, 1024), 0);
    CHECK_INT(node.secondary->last[QBR_CHILD_WRITE].qiov_offset, 1024);
    CHECK_INT(node.active->last[QBR_CHILD_WRITE].qiov_offset, 1536);
    side_close(&node);
    qiov_free(qiov);
}

TEST(replication_split_change_gives_the_error_of_either_disk)
{
    struct side_node node;

    side_bring(&node, SECONDARY, FAILOVER_FAILED);
    node.active->above = 2;
    disk_fail(node.secondary, QBR_CHILD_WRITE, ENOSPC);
    CHECK_INT(side_request(&node, R_WRITE, 0, 1024, 0), -ENOSPC);
    CHECK_INT(node.active->calls[QBR_CHILD_WRITE], 0);
    disk_fail(node.secondary, QBR_CHILD_WRITE, 0);
    disk_fail(node.active, QBR_CHILD_WRITE, EACCES);
    CHECK_INT(side_request(&node, R_WRITE, 0, 1024, 0), -EACCES);
    disk_fail(node.active, QBR_CHILD_ALLOCATED_ABOVE, ENXIO);
    CHECK_INT(side_request(&node, R_WRITE, 0, 1024, 0), -ENXIO);
    /* Reads go to the active disk as ever. */
    CHECK_INT(side_request(&node, R_READ, 0, 1024, 0), 0);
    side_close(&node);
}

TEST(replication_changes_after_a_failed_failover_go_one_after_the_other)
{
    struct side_request *first, *second;
    struct side_node node;

    side_bring(&node, SECONDARY, FAILOVER_FAILED);
    /* The first one's write may copy what is around it to the active disk, and would hide the second one's. */
    node.active->above = 1;
    disk_mode(node.active, QBR_CHILD_WRITE, DISK_WHEN_RELEASED);
    first = side_start_request(&node, R_WRITE, 0, 512);
    disk_wait_held(node.active, QBR_CHILD_WRITE, 1);
    second = side_start_request(&node, R_WRITE, 512, 512);
    CHECK_INT(side_request(&node, R_READ, 0, 1024, 0), 0);
    CHECK_INT(node.active->calls[QBR_CHILD_ALLOCATED_ABOVE], 1);
    CHECK_INT(node.secondary->calls[QBR_CHILD_WRITE], 0);
    node.active->above = 3;
    disk_release(node.active, QBR_CHILD_WRITE);
    CHECK_INT(side_finish(first), 0);
    CHECK_INT(side_finish(second), 0);
    CHECK_INT(node.active->calls[QBR_CHILD_WRITE], 2);
    CHECK_INT(node.secondary->calls[QBR_CHILD_WRITE], 0);
    side_close(&node);
}

TEST(replication_flush_of_a_primary_that_fails_is_told_and_remembered)
{
    struct side_node node;

    side_bring(&node, PRIMARY, RUNNING);
    CHECK_INT(side_request(&node, R_FLUSH, 0, 0, 0), 0);
    CHECK(!side_get_error(&node));
    disk_fail(node.active, QBR_CHILD_FLUSH, EIO);
    CHECK_INT(side_request(&node, R_FLUSH, 0, 0, 0), -EIO);
    CHECK_CONTAINS(side_get_error(&node), "I/O error");
    disk_fail(node.active, QBR_CHILD_FLUSH, 0);
    CHECK(!side_stop(&node, false));
    CHECK_CONTAINS(side_start(&node, PRIMARY), "missed writes");
    side_close(&node);
}

TEST(replication_flush_of_a_secondary_reaches_all_disks_and_fails_with_each)
{
    struct side_node node;
    unsigned i;

    for (i = 0; i < 3; i++) {
        struct disk *disk;

        side_bring(&node, SECONDARY, RUNNING);
        disk = i == 0 ? node.active : i == 1 ? node.hidden : node.secondary;
        CHECK_INT(side_request(&node, R_FLUSH, 0, 0, 0), 0);
        CHECK_INT(disk->calls[QBR_CHILD_FLUSH], 1);
        disk_fail(disk, QBR_CHILD_FLUSH, ENOSPC);
        CHECK_INT(side_request(&node, R_FLUSH, 0, 0, 0), -ENOSPC);
        CHECK(!side_get_error(&node));
        side_close(&node);
    }
}

TEST(replication_resize_is_refused_in_each_stage_and_reaches_no_disk)
{
    struct side_node node;
    enum stage stage;

    for (stage = NONE; stage < STAGES; stage++) {
        side_bring(&node, SECONDARY, stage);
        CHECK_INT(side_request(&node, R_TRUNCATE, 0, 65536, 0), -ENOTSUP);
        CHECK_CONTAINS(side_truncate_message(), "can't be resized");
        CHECK_INT(node.active->calls[QBR_CHILD_TRUNCATE], 0);
        side_close(&node);
    }
}

TEST(replication_length_is_the_filtered_disks)
{
    struct side_node node;

    side_bring(&node, SECONDARY, NONE);
    CHECK_INT(side_request(&node, R_LENGTH, 0, 0, 0), R_BYTES);
    disk_fail(node.active, QBR_CHILD_LENGTH, ENXIO);
    CHECK_INT(side_request(&node, R_LENGTH, 0, 0, 0), -ENXIO);
    side_close(&node);
}

TEST(replication_bad_arguments_are_einval_and_reach_no_disk)
{
    struct side_node node;
    Error *error = NULL;
    unsigned k;

    side_bring(&node, SECONDARY, RUNNING);
    for (k = 0; k < 3; k++) {
        CHECK_INT(side_request(&node, changes[k], -512, 512, 0), -EINVAL);
        CHECK_INT(side_request(&node, changes[k], INT64_MAX - 100, 512, 0), -EINVAL);
        CHECK_INT(node.active->calls[as_child[k]], 0);
    }
    CHECK_INT(qbr_replication_co_preadv_part(qbr_host_bs_state(&node.bs), 0, 512, NULL, 0, 0), -EINVAL);
    CHECK_INT(qbr_replication_co_pwritev_part(qbr_host_bs_state(&node.bs), 0, 512, NULL, 0, 0), -EINVAL);
    CHECK_INT(qbr_replication_co_preadv_part(NULL, 0, 512, NULL, 0, 0), -ENOMEDIUM);
    CHECK_INT(qbr_replication_co_pwritev_part(NULL, 0, 512, NULL, 0, 0), -ENOMEDIUM);
    CHECK_INT(qbr_replication_co_pdiscard(NULL, 0, 512), -EINVAL);
    CHECK_INT(qbr_replication_getlength(NULL), -EINVAL);
    qbr_replication_close(NULL);
    qbr_replication_backup_ended(NULL, 0);
    qbr_replication_commit_ended(NULL, 0);
    qbr_replication_child_perm(NULL, NULL, 0, NULL, 0, 0, NULL, NULL);
    qbr_replication_start(NULL, 0, &error);
    CHECK(error);
    error_free(error);
    error = NULL;
    qbr_replication_start(&node.bs, 7, &error);
    CHECK(error);
    error_free(error);
    /* Nobody has to listen. */
    qbr_replication_stop(NULL, false, NULL);
    side_close(&node);
}

TEST(replication_permissions_follow_the_child_and_the_node)
{
    BlockDriverState bs = { .name = "r" };
    uint64_t wanted, shared;
    unsigned writable, primary;

    for (writable = 0; writable < 2; writable++) {
        for (primary = 0; primary < 2; primary++) {
            replica.writable = writable;
            qbr_replication_child_perm(&bs, NULL, primary ? QBR_CHILD_PRIMARY : QBR_CHILD_DATA, NULL, ~0ull, 0, &wanted, &shared);
            CHECK_INT(wanted, (primary ? QBR_PERM_CONSISTENT_READ : 0) | (writable ? QBR_PERM_WRITE : 0));
            CHECK_INT(shared, QBR_PERM_CONSISTENT_READ | QBR_PERM_WRITE | QBR_PERM_WRITE_UNCHANGED);
        }
    }
}
