/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Opening a node: its options, and its children one after the other. */

#include "quorum.h"

/* What a set of options gives. */
static void check_refused(const char *options, int expected, const char *message)
{
    BlockDriverState bs = { .name = "q" };
    Error *error = NULL;

    CHECK_INT(quorum_open(&bs, options, &error), expected);
    CHECK(error);
    CHECK_CONTAINS(error->message, message);
    error_free(error);
    CHECK(!bs.state);
    CHECK_INT(disks_attached(), 0);
    /* Without a place for the error too. */
    CHECK_INT(quorum_open(&bs, options, NULL), expected);
    CHECK(!bs.state);
}

TEST(quorum_open_refuses_bad_options_and_names_them)
{
    static const struct {
        const char *options;
        int error;
        const char *message;
    } bad[] = {
        { "vote-threshold=#1", -EINVAL, "at least one child" },
        { "children.1=disk0,vote-threshold=#1", -EINVAL, "children" },
        { "children.0=disk0,children.2=disk1,vote-threshold=#1", -EINVAL, "children" },
        { "children.0=disk0,children.x=disk1,vote-threshold=#1", -EINVAL, "children" },
        { "children.0=disk0,children.0.driver=null,vote-threshold=#1", -EINVAL, "children" },
        { "children.0=disk0,children.1=disk1", -ERANGE, "vote-threshold' expects a value >= 1" },
        { "children.0=disk0,vote-threshold=#0", -ERANGE, "vote-threshold' expects a value >= 1" },
        { "children.0=disk0,vote-threshold=#2", -ERANGE, "may not exceed" },
        { "children.0=disk0,children.1=disk1,vote-threshold=#3", -ERANGE, "may not exceed" },
        { "children.0=disk0,vote-threshold=#4294967297", -ERANGE, "4294967297" },
        { "children.0=disk0,vote-threshold=#-1", -ERANGE, "a value >= 1" },
        { "children.0=disk0,vote-threshold=one", -EINVAL, "vote-threshold" },
        { "children.0=disk0,vote-threshold=", -EINVAL, "vote-threshold" },
        { "children.0=disk0,vote-threshold=#1,read-pattern=lifo", -EINVAL, "read-pattern" },
        { "children.0=disk0,vote-threshold=#1,read-pattern=", -EINVAL, "read-pattern" },
        { "children.0=disk0,vote-threshold=#1,blkverify=maybe", -EINVAL, "blkverify" },
        { "children.0=disk0,vote-threshold=#1,rewrite-corrupted=1", -EINVAL, "rewrite-corrupted" },
        { "children.0=disk0,vote-threshold=#1,blkverify=?on", -EINVAL, "blkverify=on can only be set if there are exactly"
          " two files and vote-threshold is 2" },
        { "children.0=disk0,children.1=disk1,vote-threshold=#1,blkverify=?on", -EINVAL, "blkverify=on can only be set" },
        { "children.0=disk0,children.1=disk1,children.2=disk2,vote-threshold=#2,blkverify=?on", -EINVAL,
          "blkverify=on can only be set" },
        { "children.0=disk0,children.1=disk1,vote-threshold=#2,blkverify=?on,rewrite-corrupted=?on", -EINVAL,
          "rewrite-corrupted=on cannot be used with blkverify=on" },
    };
    struct disk *disks[] = { disk_new("disk0", 512), disk_new("disk1", 512), disk_new("disk2", 512) };
    unsigned i;

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        check_refused(bad[i].options, bad[i].error, bad[i].message);
    }
    for (i = 0; i < 3; i++) {
        disk_free(disks[i]);
    }
}

TEST(quorum_open_takes_every_spelling_of_its_options)
{
    static const char *const good[] = {
        "vote-threshold=#2", "vote-threshold=2", "vote-threshold=0x2", "vote-threshold=#2,read-pattern=quorum",
        "vote-threshold=#2,read-pattern=fifo", "vote-threshold=#2,blkverify=?on", "vote-threshold=#2,blkverify=off",
        "vote-threshold=#2,rewrite-corrupted=on", "vote-threshold=#2,rewrite-corrupted=?off",
        "vote-threshold=#1,read-pattern=fifo,blkverify=?on,rewrite-corrupted=?on",
    };
    struct voters voters;
    unsigned i;

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        voters_open(&voters, 2, 512, good[i]);
        voters_close(&voters);
    }
}

TEST(quorum_open_leaves_unknown_options_for_the_block_layer)
{
    BlockDriverState bs = { .name = "q" };
    struct disk *disk = disk_new("disk0", 512);
    struct options *options = options_new("children.0=disk0,vote-threshold=#1,surprise=1");

    CHECK_INT(quorum.open(&bs, as_qdict(options), 0, NULL), 0);
    CHECK_INT(options_left(options), 1);
    CHECK(options_have(options, "surprise"));
    quorum.close(&bs);
    options_free(options);
    disk_free(disk);
}

TEST(quorum_open_attaches_inline_children_and_names_in_their_order)
{
    BlockDriverState bs = { .name = "q" };
    struct disk *disks[] = { disk_new("disk0", 512), disk_new("disk1", 512), disk_new("disk2", 512) };
    unsigned i;

    CHECK_INT(quorum_open(&bs, "children.2=disk2,children.0=disk0,children.1.driver=null,children.1.node-name=disk1,"
                               "vote-threshold=#2", NULL), 0);
    CHECK_INT(bs.child_count, 3);
    for (i = 0; i < 3; i++) {
        char name[20] = "children.0";

        name[9] += i;
        CHECK_TEXT(child_name(bs.children[i]), name);
        CHECK(child_disk(bs.children[i]) == disks[i]);
    }
    quorum.close(&bs);
    for (i = 0; i < 3; i++) {
        disk_free(disks[i]);
    }
}

TEST(quorum_open_that_fails_at_a_child_gives_its_error_and_detaches_the_others)
{
    static const char options[] = "children.0=disk0,children.1=disk1,children.2=disk2,vote-threshold=#2";
    struct disk *disks[] = { disk_new("disk0", 512), disk_new("disk1", 512), disk_new("disk2", 512) };
    unsigned i;

    for (i = 0; i < 3; i++) {
        disks[i]->refusal = "this disk is gone";
        check_refused(options, -EINVAL, "this disk is gone");
        disks[i]->refusal = NULL;
    }
    check_refused("children.0=disk0,children.1=nowhere,vote-threshold=#1", -EINVAL, "there is no such node");
    for (i = 0; i < 3; i++) {
        disk_free(disks[i]);
    }
}

TEST(quorum_open_answers_questions_about_permissions_while_children_come)
{
    struct voters voters;

    voters_open(&voters, 3, 512, "vote-threshold=#2,rewrite-corrupted=?on");
    CHECK_INT(voters.bs.child_perm_asked, 1 + 2 + 3);
    voters_close(&voters);
}

TEST(quorum_takes_the_flags_that_all_children_take)
{
    static const uint32_t quick = QBR_REQ_MAY_UNMAP | QBR_REQ_NO_FALLBACK;
    BlockDriverState bs = { .name = "q" };
    struct disk *disks[] = { disk_new("disk0", 512), disk_new("disk1", 512) };

    disks[0]->flags = (QbrFlags) { .write = QBR_REQ_FUA, .zero = quick | QBR_REQ_FUA, .truncate = QBR_REQ_ZERO_WRITE };
    disks[1]->flags = (QbrFlags) { .write = QBR_REQ_FUA, .zero = quick };
    CHECK_INT(quorum_open(&bs, "children.0=disk0,children.1=disk1,vote-threshold=#1", NULL), 0);
    CHECK_INT(bs.flags.write, QBR_REQ_WRITE_UNCHANGED);
    CHECK_INT(bs.flags.zero, quick | QBR_REQ_WRITE_UNCHANGED);
    CHECK_INT(bs.flags.truncate, 0);
    /* And they follow the children. */
    quorum.del_child(&bs, bs.children[1], NULL);
    CHECK_INT(bs.flags.zero, quick | QBR_REQ_FUA | QBR_REQ_WRITE_UNCHANGED);
    CHECK_INT(bs.flags.truncate, QBR_REQ_ZERO_WRITE);
    quorum.close(&bs);
    disk_free(disks[0]);
    disk_free(disks[1]);
}
