/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Connections: who shares them, who replaces them, and how they end. */

#include "../request.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../host/thread.h"

#define NODES 4

TEST(nodes_with_the_same_servers_volume_and_log_share_a_connection)
{
    BlockDriverState bs[NODES] = { 0 };
    unsigned i;

    fake_image(IMAGE, 512);
    fake_image("b.img", 512);
    node_open_ok(&bs[0], IMAGE_URI, 0);
    node_open_ok(&bs[1], IMAGE_URI, QBR_O_RDWR);
    node_open_ok(&bs[2], "filename=gluster://host/vol/b.img", 0);
    /* The same in other words. */
    node_open_ok(&bs[3],
                 "volume=vol,path=b.img,server.0.type=inet,server.0.host=host,server.0.port=24007,debug=4,logfile=-", 0);
    CHECK_INT(fake_count(FAKE_NEW), 1);
    for (i = 0; i < NODES; i++) {
        gluster.close(&bs[i]);
    }
}

TEST(nodes_that_differ_in_servers_volume_or_log_have_connections_of_their_own)
{
    static const char *const others[] = {
        "filename=gluster://host/other/" IMAGE,
        "filename=gluster://elsewhere/vol/" IMAGE,
        "filename=gluster://host:1/vol/" IMAGE,
        "filename=gluster+unix:///vol/" IMAGE "?socket=/s",
        IMAGE_URI ",debug=#5",
        IMAGE_URI ",logfile=/tmp/log",
        "volume=vol,path=" IMAGE ",server.0.type=inet,server.0.host=host,server.0.port=24007,"
        "server.1.type=unix,server.1.path=/s",
        "volume=vol,path=" IMAGE ",server.1.type=inet,server.1.host=host,server.1.port=24007,"
        "server.0.type=unix,server.0.path=/s",
    };
    enum { COUNT = sizeof(others) / sizeof(others[0]) };
    BlockDriverState first = { 0 }, bs[COUNT] = { 0 };
    unsigned i;

    node_with_image(&first, 512);
    for (i = 0; i < COUNT; i++) {
        node_open_ok(&bs[i], others[i], 0);
        CHECK_INT(fake_count(FAKE_NEW), i + 2);
    }
    gluster.close(&first);
    for (i = 0; i < COUNT; i++) {
        gluster.close(&bs[i]);
    }
    CHECK_INT(fake_volumes(), COUNT + 1);
}

TEST(an_idle_connection_is_used_again)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 512);
    gluster.close(&bs);
    node_open_ok(&bs, IMAGE_URI, 0);
    gluster.close(&bs);
    CHECK_INT(fake_count(FAKE_NEW), 1);
    CHECK_INT(fake_count(FAKE_FINI), 0);
}

TEST(an_idle_connection_ends_after_a_while)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(512);

    if (test_is_instrumented()) {
        test_skip("it takes 10 seconds, and its point is not memory");
    }
    node_with_image(&bs, 512);
    gluster.close(&bs);
    fake_wait_for_no_volume();
    node_open_ok(&bs, IMAGE_URI, 0);
    CHECK_INT(do_read(&bs, 0, qiov), 0);
    CHECK_INT(fake_count(FAKE_NEW), 2);
    gluster.close(&bs);
    qiov_free(qiov);
}

/* glfs_fini gives memory back that a thread of the library may still need, if that was kept from the processor. */
TEST(connections_end_behind_the_threads_of_the_library)
{
    BlockDriverState bs = { 0 };
    char options[64];
    unsigned i;

    fake_image(IMAGE, 512);
    for (i = 0; i < 40; i++) {
        snprintf(options, sizeof(options), "filename=gluster://host/vol%u/" IMAGE, i);
        node_open_ok(&bs, options, 0);
        gluster.close(&bs);
    }
    fake_wait_for(FAKE_FINI, 1);
    CHECK_INT(fake_fini_policy(), SCHED_IDLE);
}

/* How many threads that end connections there are, and how many of them have stepped back. */
static unsigned end_threads(unsigned *behind)
{
    DIR *folder = opendir("/proc/self/task");
    struct dirent *entry;
    unsigned found = 0;

    CHECK(folder);
    *behind = 0;
    while ((entry = readdir(folder))) {
        char path[300], name[64] = "";
        FILE *file;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        file = fopen(path, "r");
        if (file && fscanf(file, "%63s", name) == 1 && !strcmp(name, "qbr-gluster-end")) {
            found++;
            *behind += sched_getscheduler(atoi(entry->d_name)) == SCHED_IDLE;
        }
        if (file) {
            fclose(file);
        }
    }
    closedir(folder);
    return found;
}

/* The main loop may wait for the lock that such a thread has. */
TEST(threads_that_wait_for_connections_to_end_are_not_behind_others)
{
    enum { OPENED = 40, LINGERING = 16, AT_ONCE = 8 };
    BlockDriverState bs = { 0 };
    char options[64];
    unsigned i, behind;

    fake_image(IMAGE, 512);
    fake_close_gate(FAKE_FINI);
    for (i = 0; i < OPENED; i++) {
        snprintf(options, sizeof(options), "filename=gluster://host/vol%u/" IMAGE, i);
        node_open_ok(&bs, options, 0);
        gluster.close(&bs);
    }
    fake_wait_for(FAKE_FINI, AT_ONCE);
    fake_open_gate(FAKE_FINI);
    fake_wait_for(FAKE_FINI, OPENED - LINGERING);
    /* The one that waits for those that linger. */
    while (end_threads(&behind) != 1) {
    }
    CHECK_INT(behind, 0);
}

TEST(of_many_idle_connections_the_oldest_ones_end_at_once)
{
    enum { OPENED = 40, LINGERING = 16 };
    BlockDriverState bs = { 0 };
    char options[64];
    unsigned i;

    fake_image(IMAGE, 512);
    for (i = 0; i < OPENED; i++) {
        snprintf(options, sizeof(options), "filename=gluster://host/vol%u/" IMAGE, i);
        node_open_ok(&bs, options, 0);
        gluster.close(&bs);
    }
    fake_wait_for(FAKE_FINI, OPENED - LINGERING);
}

TEST(a_stale_idle_connection_is_replaced_and_ended)
{
    BlockDriverState bs = { 0 };
    unsigned i, rounds = test_rounds(500);

    fake_image(IMAGE, 512);
    for (i = 0; i < rounds; i++) {
        node_open_ok(&bs, IMAGE_URI, 0);
        gluster.close(&bs);
        fake_break_volumes();
    }
    CHECK_INT(fake_count(FAKE_NEW), rounds);
    /* All but the last one, which is idle. */
    fake_wait_for(FAKE_FINI, rounds - 1);
}

TEST(a_stale_connection_that_is_replaced_can_lead_to_a_read_only_image)
{
    BlockDriverState bs = { 0 };

    fake_image(IMAGE, 512);
    node_open_ok(&bs, IMAGE_URI, 0);
    gluster.close(&bs);
    fake_break_volumes();
    fake_image_read_only(EACCES);
    node_open_ok(&bs, IMAGE_URI, QBR_O_RDWR);
    CHECK_INT(bs.auto_read_only_asked, 1);
    gluster.close(&bs);
}

TEST(create_replaces_a_stale_idle_connection)
{
    struct options *opts = options_new("size=#512");
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 512);
    gluster.close(&bs);
    fake_break_volumes();
    CHECK_INT(request_run((struct request) {
                  .op = OP_CREATE_OPTS, .filename = "gluster://host/vol/new.img", .options = opts }),
              0);
    CHECK(fake_image_exists("new.img"));
    CHECK_INT(fake_count(FAKE_NEW), 2);
    options_free(opts);
}

/* Nobody uses the connection: else a stale one would not be replaced. */
static void check_idle(void)
{
    BlockDriverState bs = { 0 };
    unsigned made = fake_count(FAKE_NEW);

    fake_break_volumes();
    node_open_ok(&bs, IMAGE_URI, 0);
    CHECK_INT(fake_count(FAKE_NEW), made + 1);
    gluster.close(&bs);
}

TEST(failed_opens_and_reopens_leave_their_connection_idle)
{
    BlockDriverState bs = { .name = "node" };
    BDRVReopenState state = { .bs = &bs };

    CHECK_INT(node_open(&bs, IMAGE_URI, 0, NULL), -ENOENT);
    fake_image(IMAGE, 512);
    check_idle();
    fake_fail_some(FAKE_FSTAT, 0, 1, EIO);
    CHECK_INT(node_open(&bs, IMAGE_URI, 0, NULL), -EIO);
    check_idle();
    node_open_ok(&bs, IMAGE_URI, 0);
    fake_fail_some(FAKE_FSTAT, 0, 1, EIO);
    CHECK_INT(gluster.reopen_prepare(&state, NULL, NULL), -EIO);
    CHECK_INT(gluster.reopen_prepare(&state, NULL, NULL), 0);
    gluster.reopen_abort(&state);
    gluster.close(&bs);
    check_idle();
}

TEST(failed_creates_leave_their_connection_idle)
{
    struct options *opts = options_new("size=#512");
    struct request rq = { .op = OP_CREATE_OPTS, .filename = "gluster://host/vol/new.img", .options = opts };

    fake_image(IMAGE, 512);
    fake_fail_some(FAKE_FTRUNCATE, 0, 1, ENOSPC);
    CHECK_INT(request_run(rq), -ENOSPC);
    check_idle();
    options_free(opts);
}

TEST(a_connection_in_use_is_not_replaced)
{
    BlockDriverState user = { 0 }, bs = { .name = "node" };

    node_with_image(&user, 512);
    fake_break_volumes();
    CHECK_INT(node_open(&bs, IMAGE_URI, 0, NULL), -ENOTCONN);
    CHECK_INT(fake_count(FAKE_NEW), 1);
    gluster.close(&user);
}

static void *open_one(void *opaque)
{
    node_open_ok(opaque, IMAGE_URI, 0);
    return NULL;
}

TEST(nodes_that_connect_at_the_same_time_share_a_connection)
{
    BlockDriverState bs[NODES] = { 0 };
    pthread_t threads[NODES];
    unsigned i;

    fake_image(IMAGE, 512);
    fake_close_gate(FAKE_INIT);
    for (i = 0; i < NODES; i++) {
        CHECK(!pthread_create(&threads[i], NULL, open_one, &bs[i]));
    }
    fake_wait_for(FAKE_INIT, 1);
    fake_open_gate(FAKE_INIT);
    for (i = 0; i < NODES; i++) {
        pthread_join(threads[i], NULL);
        gluster.close(&bs[i]);
    }
    CHECK_INT(fake_count(FAKE_NEW), 1);
}

TEST(close_does_not_wait_for_the_end_of_the_connection)
{
    BlockDriverState bs = { .name = "node" };

    fake_close_gate(FAKE_FINI);
    fake_fail_some(FAKE_INIT, 0, 1, ENOTCONN);
    CHECK_INT(node_open(&bs, "filename=gluster://elsewhere/vol/x", 0, NULL), -ENOTCONN);
    fake_wait_for(FAKE_FINI, 1);
    /* The library is stuck in the end of that client; others come and go. */
    node_with_image(&bs, 512);
    gluster.close(&bs);
    CHECK_INT(fake_volumes(), 2);
    fake_open_gate(FAKE_FINI);
}

/* Main, event loop, library, one that ends connections, and the most that there are for blocking calls. */
#define MAX_THREADS (4 + 16)

/* Opens and closes an image many times; the resources of the process must not grow. */
static void check_flat(unsigned rounds)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(4096);
    unsigned i, files = 0, rss = 0;

    fake_image(IMAGE, 4096);
    for (i = 0; i < rounds; i++) {
        if (i == rounds / 10) {
            files = process_files();
            rss = process_rss_kib();
        }
        node_open_ok(&bs, IMAGE_URI, QBR_O_RDWR);
        CHECK_INT(do_write(&bs, 0, qiov), 0);
        CHECK_INT(do_flush(&bs), 0);
        CHECK(request_run((struct request) { .op = OP_ALLOCATED, .bs = &bs }) >= 0);
        gluster.close(&bs);
    }
    fake_wait_for_no_file();
    CHECK_INT(process_files(), files);
    CHECK(process_threads() <= MAX_THREADS);
    if (!test_is_instrumented()) {
        CHECK(process_rss_kib() <= rss + 512);
    }
    qiov_free(qiov);
}

TEST(a_thousand_opens_and_closes_keep_threads_files_and_memory_flat)
{
    check_flat(test_rounds(1000));
    CHECK_INT(fake_count(FAKE_NEW), 1);
}

TEST(a_thousand_opens_and_closes_while_fini_hangs_keep_all_flat)
{
    fake_close_gate(FAKE_FINI);
    check_flat(test_rounds(1000));
    fake_open_gate(FAKE_FINI);
}

TEST(failing_connects_while_fini_hangs_do_not_pile_up_clients)
{
    BlockDriverState bs = { .name = "node" };
    unsigned i, threads, refused = 0;

    fake_close_gate(FAKE_FINI);
    fake_fail(FAKE_INIT, ENOTCONN);
    for (i = 0; i < 200; i++) {
        int ret = node_open(&bs, IMAGE_URI, 0, NULL);

        CHECK(ret == -ENOTCONN || ret == -EAGAIN);
        refused += ret == -EAGAIN;
    }
    threads = process_threads();
    CHECK(refused > 0);
    CHECK(fake_volumes() <= 64);
    CHECK(threads <= 20);
    /* When the library comes back, so do connections. */
    fake_open_gate(FAKE_FINI);
    fake_wait_for_no_volume();
    fake_pass(FAKE_INIT);
    node_with_image(&bs, 512);
    gluster.close(&bs);
}

TEST(a_connection_without_a_thread_to_end_it_stays_usable)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 512);
    threads_run_out(true);
    gluster.close(&bs);
    node_open_ok(&bs, IMAGE_URI, 0);
    gluster.close(&bs);
    threads_run_out(false);
    CHECK_INT(fake_count(FAKE_NEW), 1);
}

static void check_exits(const char *how, unsigned rounds)
{
    unsigned i;

    /* Starting a program with a checker in it takes long. */
    rounds = test_is_instrumented() ? rounds / 10 : rounds;
    for (i = 0; i < rounds; i++) {
        CHECK_INT(test_run_self(how), 0);
    }
}

TEST(exit_with_an_idle_connection_is_clean_each_of_many_times)
{
    check_exits("exit-idle", 150);
}

TEST(exit_while_fini_hangs_is_clean_each_of_many_times)
{
    /* Each one waits a second for the end to begin. */
    check_exits("exit-in-fini", 20);
}

TEST(exit_that_races_with_fini_is_clean_each_of_many_times)
{
    check_exits("exit-racing-fini", 150);
}
