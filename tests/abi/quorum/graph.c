/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Children that come and go, and what a node says about them. */

#include "quorum.h"

#define LENGTH 4096

static const char *last_name(const struct voters *voters)
{
    return child_name(voters->bs.children[voters->bs.child_count - 1]);
}

/* Adds the disk; it must work. */
static void add(struct voters *voters, struct disk *disk)
{
    Error *error = NULL;

    quorum.add_child(&voters->bs, &disk->bs, &error);
    if (error) {
        test_fail(__FILE__, __LINE__, "%s", error->message);
    }
}

/* Removes the child with a number; it must work. */
static void del(struct voters *voters, unsigned index)
{
    Error *error = NULL;

    quorum.del_child(&voters->bs, voters->bs.children[index], &error);
    if (error) {
        test_fail(__FILE__, __LINE__, "%s", error->message);
    }
}

static void check_add_refused(struct voters *voters, struct disk *disk, const char *message)
{
    unsigned before = voters->bs.child_count;
    Error *error = NULL;

    quorum.add_child(&voters->bs, &disk->bs, &error);
    CHECK(error);
    CHECK_TEXT(error->message, message);
    error_free(error);
    CHECK_INT(voters->bs.child_count, before);
}

TEST(add_child_takes_part_in_reads_and_writes)
{
    QEMUIOVector *qiov = qiov_flat(512), *news = qiov_of_news(512);
    struct disk *disk = disk_new("new", LENGTH);
    struct voters voters;

    voters_open(&voters, 2, LENGTH, "vote-threshold=#2");
    /* Lanes for two children are there already. */
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    CHECK_INT(quorum_write(&voters.bs, 512, qiov), 0);
    add(&voters, disk);
    disk_corrupt(voters.disk[0], 0);
    CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
    CHECK(qiov_is_intact(qiov, 0));
    CHECK_TEXT(events_take(), "bad(read,disk0,-,0+1) ");
    CHECK_INT(quorum_write(&voters.bs, 0, news), 0);
    CHECK(disk_has_news(disk, 0, 512));
    voters_close(&voters);
    disk_free(disk);
    qiov_free(qiov);
    qiov_free(news);
}

TEST(add_child_names_go_on_where_they_were)
{
    struct disk *disks[] = { disk_new("a", LENGTH), disk_new("b", LENGTH), disk_new("c", LENGTH) };
    struct voters voters;
    unsigned i;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#1");
    add(&voters, disks[0]);
    CHECK_TEXT(last_name(&voters), "children.3");
    /* A number in the middle is not used again... */
    del(&voters, 1);
    add(&voters, disks[1]);
    CHECK_TEXT(last_name(&voters), "children.4");
    /* ...but the last one is. */
    del(&voters, 3);
    add(&voters, disks[2]);
    CHECK_TEXT(last_name(&voters), "children.4");
    del(&voters, 3);
    del(&voters, 2);
    add(&voters, disks[0]);
    CHECK_TEXT(last_name(&voters), "children.3");
    voters_close(&voters);
    for (i = 0; i < 3; i++) {
        disk_free(disks[i]);
    }
}

TEST(add_child_that_cannot_be_attached_gives_the_block_layers_error)
{
    struct disk *disk = disk_new("new", LENGTH);
    struct voters voters;

    voters_open(&voters, 2, LENGTH, "vote-threshold=#1");
    disk->refusal = "somebody else writes to this disk";
    check_add_refused(&voters, disk, disk->refusal);
    /* Its name is still free. */
    disk->refusal = NULL;
    add(&voters, disk);
    CHECK_TEXT(last_name(&voters), "children.2");
    voters_close(&voters);
    disk_free(disk);
}

TEST(add_child_to_blkverify_is_refused)
{
    struct disk *disk = disk_new("new", LENGTH);
    struct voters voters;

    voters_open(&voters, 2, LENGTH, "vote-threshold=#2,blkverify=?on");
    check_add_refused(&voters, disk, "Cannot add a child to a quorum in blkverify mode");
    voters_close(&voters);
    disk_free(disk);
}

TEST(add_child_of_another_length_is_refused)
{
    struct disk *shorter = disk_new("shorter", LENGTH - 512), *longer = disk_new("longer", LENGTH + 1);
    struct voters voters;

    voters_open(&voters, 2, LENGTH, "vote-threshold=#1");
    check_add_refused(&voters, shorter, "Cannot add node 'shorter' of 3584 bytes to a quorum of 4096 bytes");
    check_add_refused(&voters, longer, "Cannot add node 'longer' of 4608 bytes to a quorum of 4096 bytes");
    CHECK_INT(shorter->attached + longer->attached, 0);
    voters_close(&voters);
    disk_free(shorter);
    disk_free(longer);
}

TEST(add_child_of_the_same_odd_length_is_accepted)
{
    struct disk *disk = disk_new("new", LENGTH - 100);
    struct voters voters;

    voters_open(&voters, 2, LENGTH - 100, "vote-threshold=#1");
    add(&voters, disk);
    CHECK_INT(quorum_run((struct quorum_request) { .op = Q_LENGTH, .bs = &voters.bs }), LENGTH - 100);
    voters_close(&voters);
    disk_free(disk);
}

TEST(del_child_takes_no_part_any_more)
{
    QEMUIOVector *qiov = qiov_flat(512);
    struct voters voters;
    unsigned i;

    for (i = 0; i < 3; i++) {
        voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
        CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
        del(&voters, i);
        CHECK_INT(voters.disk[i]->attached, 0);
        CHECK_INT(quorum_read(&voters.bs, 0, qiov), 0);
        CHECK_INT(quorum_write(&voters.bs, 0, qiov), 0);
        CHECK_INT(quorum_flush(&voters.bs), 0);
        CHECK_INT(voters.disk[i]->calls[QBR_CHILD_READ], 1);
        CHECK_INT(voters.disk[i]->calls[QBR_CHILD_WRITE], 0);
        CHECK_INT(voters_calls(&voters, QBR_CHILD_READ), 5);
        voters_close(&voters);
    }
    qiov_free(qiov);
}

TEST(del_child_below_the_threshold_is_refused)
{
    struct voters voters;
    Error *error = NULL;

    voters_open(&voters, 2, LENGTH, "vote-threshold=#2");
    quorum.del_child(&voters.bs, voters.bs.children[0], &error);
    CHECK(error);
    CHECK_TEXT(error->message, "The number of children cannot be lower than the vote threshold 2");
    error_free(error);
    CHECK_INT(voters.bs.child_count, 2);
    quorum.del_child(&voters.bs, voters.bs.children[1], NULL);
    CHECK_INT(voters.bs.child_count, 2);
    voters_close(&voters);
}

TEST(del_child_of_another_node_is_refused)
{
    BlockDriverState other = { .name = "other" };
    struct disk *disk = disk_new("new", LENGTH);
    struct voters voters;
    Error *error = NULL;

    voters_open(&voters, 2, LENGTH, "vote-threshold=#1");
    CHECK_INT(quorum_open(&other, "children.0=new,vote-threshold=#1", NULL), 0);
    quorum.del_child(&voters.bs, other.children[0], &error);
    CHECK(error);
    error_free(error);
    CHECK_INT(disk->attached, 1);
    quorum.close(&other);
    voters_close(&voters);
    disk_free(disk);
}

TEST(permissions_on_children_never_share_writing)
{
    static const uint64_t passed = QBR_PERM_CONSISTENT_READ | QBR_PERM_WRITE | QBR_PERM_WRITE_UNCHANGED | QBR_PERM_RESIZE;
    static const struct {
        const char *options;
        uint64_t perm;
        uint64_t expected;
    } cases[] = {
        { "vote-threshold=#1", 0, 0 },
        { "vote-threshold=#1", QBR_PERM_CONSISTENT_READ, QBR_PERM_CONSISTENT_READ },
        { "vote-threshold=#1", ~0ull, passed },
        { "vote-threshold=#1,rewrite-corrupted=?on", 0, QBR_PERM_WRITE },
        { "vote-threshold=#1,rewrite-corrupted=?on", QBR_PERM_RESIZE, QBR_PERM_WRITE | QBR_PERM_RESIZE },
        { "vote-threshold=#1,rewrite-corrupted=?on,read-pattern=fifo", 0, 0 },
    };
    struct voters voters;
    unsigned i;

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t wanted, shared;

        voters_open(&voters, 1, LENGTH, cases[i].options);
        quorum.child_perm(&voters.bs, voters.bs.children[0], QBR_CHILD_DATA, NULL, cases[i].perm, ~0ull, &wanted, &shared);
        CHECK_INT(wanted, cases[i].expected);
        CHECK_INT(shared, QBR_PERM_CONSISTENT_READ | QBR_PERM_WRITE_UNCHANGED);
        quorum.child_perm(&voters.bs, voters.bs.children[0], QBR_CHILD_DATA, NULL, 0, QBR_PERM_WRITE, &wanted, &shared);
        CHECK_INT(shared, 0);
        voters_close(&voters);
    }
}

TEST(permissions_of_an_inactive_node_are_without_writing_for_repairs)
{
    struct voters voters;
    uint64_t wanted, shared;

    voters_open(&voters, 1, LENGTH, "vote-threshold=#1,rewrite-corrupted=?on");
    voters.bs.inactive = true;
    quorum.child_perm(&voters.bs, voters.bs.children[0], QBR_CHILD_DATA, NULL, 0, ~0ull, &wanted, &shared);
    CHECK_INT(wanted, 0);
    quorum.child_perm(&voters.bs, voters.bs.children[0], QBR_CHILD_DATA, NULL, QBR_PERM_CONSISTENT_READ, ~0ull, &wanted, &shared);
    CHECK_INT(wanted, QBR_PERM_CONSISTENT_READ);
    /* What a parent insists on is its own affair. */
    quorum.child_perm(&voters.bs, voters.bs.children[0], QBR_CHILD_DATA, NULL, QBR_PERM_WRITE, ~0ull, &wanted, &shared);
    CHECK_INT(wanted, QBR_PERM_WRITE);
    voters.bs.inactive = false;
    quorum.child_perm(&voters.bs, voters.bs.children[0], QBR_CHILD_DATA, NULL, 0, ~0ull, &wanted, &shared);
    CHECK_INT(wanted, QBR_PERM_WRITE);
    voters_close(&voters);
}

TEST(replacing_is_allowed_for_a_child_that_nobody_else_uses)
{
    struct disk *stranger = disk_new("stranger", LENGTH);
    struct voters voters;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#2");
    CHECK(quorum.recurse_can_replace(&voters.bs, &voters.disk[0]->bs));
    CHECK(quorum.recurse_can_replace(&voters.bs, &voters.disk[2]->bs));
    voters.disk[1]->other_parents = 1;
    CHECK(!quorum.recurse_can_replace(&voters.bs, &voters.disk[1]->bs));
    CHECK(!quorum.recurse_can_replace(&voters.bs, &stranger->bs));
    CHECK(!quorum.recurse_can_replace(&voters.bs, &voters.bs));
    voters_close(&voters);
    disk_free(stranger);
}

TEST(child_options_are_gathered_in_the_order_of_the_children)
{
    static const char *const expected[] = { "disk0", "disk2", "new" };
    struct disk *disk = disk_new("new", LENGTH);
    struct options *target = options_new("");
    struct voters voters;
    unsigned i;

    voters_open(&voters, 3, LENGTH, "vote-threshold=#1");
    del(&voters, 1);
    add(&voters, disk);
    quorum.gather_child_options(&voters.bs, as_qdict(target), false);
    CHECK_INT(options_left(target), 3);
    for (i = 0; i < 3; i++) {
        char key[] = "children.0", *name;

        key[9] += i;
        name = options_take(target, key);
        CHECK_TEXT(name, expected[i]);
        free(name);
    }
    options_free(target);
    voters_close(&voters);
    disk_free(disk);
}

TEST(dirname_is_refused_with_the_reason)
{
    struct voters voters;
    Error *error = NULL;

    voters_open(&voters, 1, LENGTH, "vote-threshold=#1");
    CHECK(!quorum.dirname(&voters.bs, &error));
    CHECK(error);
    CHECK_TEXT(error->message, "Cannot generate a base directory for quorum nodes");
    error_free(error);
    voters_close(&voters);
}
