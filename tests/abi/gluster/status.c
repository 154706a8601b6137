/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Length, size on disk and block status. */

#include "../request.h"

#include <pthread.h>
#include <time.h>

#include "../host/thread.h"

#define DATA (QBR_BLOCK_DATA | QBR_BLOCK_OFFSET_VALID)
#define ZERO (QBR_BLOCK_ZERO | QBR_BLOCK_OFFSET_VALID)

static void check_status(BlockDriverState *bs, unsigned mode, int64_t offset, int64_t bytes, int kind, int64_t expected)
{
    int64_t pnum = -1, map = -1;
    BlockDriverState *file = NULL;
    struct request rq = {
        .op = OP_STATUS, .bs = bs, .mode = mode, .offset = offset, .bytes = bytes, .pnum = &pnum, .map = &map, .file = &file,
    };

    CHECK_INT(request_run(rq), kind);
    CHECK_INT(pnum, expected);
    CHECK_INT(map, offset);
    CHECK(file == bs);
}

/* 64 KiB, of which the pieces 4 to 7 are data. */
static void open_with_hole_for(BlockDriverState *bs, int flags)
{
    fake_image(IMAGE, 65536);
    fake_image_fill(IMAGE, 4 * FAKE_PIECE, 4 * FAKE_PIECE);
    node_open_ok(bs, IMAGE_URI, flags);
}

static void open_with_hole(BlockDriverState *bs)
{
    open_with_hole_for(bs, 0);
}

TEST(block_status_finds_holes_and_data)
{
    BlockDriverState bs = { 0 };

    open_with_hole(&bs);
    check_status(&bs, QBR_WANT_ZERO, 0, 65536, ZERO, 4 * FAKE_PIECE);
    check_status(&bs, QBR_WANT_ZERO, 4 * FAKE_PIECE, 49152, DATA, 4 * FAKE_PIECE);
    check_status(&bs, QBR_WANT_ZERO, 5 * FAKE_PIECE + 1, 100, DATA, 3 * FAKE_PIECE - 1);
    /* The last hole reaches to the end of what was asked for. */
    check_status(&bs, QBR_WANT_ZERO, 8 * FAKE_PIECE, 8 * FAKE_PIECE, ZERO, 8 * FAKE_PIECE);
    gluster.close(&bs);
}

/* A status query whose answer is on its way while a read or a write of the last piece ends. */
static void check_status_beside(enum op op, int64_t offset, int64_t bytes, int kind, int64_t expected)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(FAKE_PIECE);
    int64_t pnum = -1, map = -1;
    BlockDriverState *file = NULL;
    unsigned asked;
    struct request *rq;

    fake_image(IMAGE, 65536);
    fake_image_fill(IMAGE, 4 * FAKE_PIECE, 4 * FAKE_PIECE);
    node_open_ok(&bs, IMAGE_URI, QBR_O_RDWR);
    asked = fake_count(FAKE_LSEEK_ANSWER);
    fake_close_gate(FAKE_LSEEK_ANSWER);
    rq = request_start(loop_default(), (struct request) {
        .op = OP_STATUS, .bs = &bs, .mode = QBR_WANT_ZERO, .offset = offset, .bytes = bytes, .pnum = &pnum, .map = &map,
        .file = &file,
    });
    fake_wait_for(FAKE_LSEEK_ANSWER, asked + 1);
    CHECK_INT((op == OP_READ ? do_read : do_write)(&bs, 15 * FAKE_PIECE, qiov), 0);
    fake_open_gate(FAKE_LSEEK_ANSWER);
    CHECK_INT(request_finish(rq), kind);
    CHECK_INT(pnum, expected);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(block_status_of_a_hole_ends_where_data_begins_whatever_ends_meanwhile)
{
    check_status_beside(OP_READ, 0, 65536, ZERO, 4 * FAKE_PIECE);
    check_status_beside(OP_WRITE, 0, 65536, ZERO, 4 * FAKE_PIECE);
}

TEST(block_status_of_data_is_no_hole_whatever_ends_meanwhile)
{
    check_status_beside(OP_READ, 4 * FAKE_PIECE, 32768, DATA, 4 * FAKE_PIECE);
    check_status_beside(OP_WRITE, 4 * FAKE_PIECE, 32768, DATA, 4 * FAKE_PIECE);
}

/* 64 KiB of hole, and a client that holds writes back. */
static void open_write_behind(BlockDriverState *bs)
{
    fake_write_behind(true);
    fake_image(IMAGE, 65536);
    node_open_ok(bs, IMAGE_URI, QBR_O_RDWR);
}

TEST(block_status_of_a_write_that_is_held_back_is_data)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(FAKE_PIECE);

    open_write_behind(&bs);
    check_status(&bs, QBR_WANT_ZERO, 0, 65536, ZERO, 65536);
    CHECK_INT(do_write(&bs, 4 * FAKE_PIECE, qiov), 0);
    CHECK_INT(do_write(&bs, 8 * FAKE_PIECE, qiov), 0);
    check_status(&bs, QBR_WANT_ZERO, 0, 65536, ZERO, 4 * FAKE_PIECE);
    /* What lies between the two is taken for data, too. */
    check_status(&bs, QBR_WANT_ZERO, 4 * FAKE_PIECE, 12 * FAKE_PIECE, DATA, 5 * FAKE_PIECE);
    check_status(&bs, QBR_WANT_ZERO, 9 * FAKE_PIECE, 7 * FAKE_PIECE, ZERO, 7 * FAKE_PIECE);
    CHECK_INT(do_flush(&bs), 0);
    check_status(&bs, QBR_WANT_ZERO, 4 * FAKE_PIECE, 12 * FAKE_PIECE, DATA, FAKE_PIECE);
    check_status(&bs, QBR_WANT_ZERO, 5 * FAKE_PIECE, 11 * FAKE_PIECE, ZERO, 3 * FAKE_PIECE);
    gluster.close(&bs);
    qiov_free(qiov);
}

TEST(block_status_of_a_write_that_a_flush_has_overtaken_is_data)
{
    BlockDriverState bs = { 0 };
    QEMUIOVector *qiov = qiov_flat(FAKE_PIECE);
    struct request *write, *flush;

    open_write_behind(&bs);
    fake_mode(FAKE_WHEN_RELEASED);
    write = request_start(loop_default(), (struct request) { .op = OP_WRITE, .bs = &bs, .bytes = FAKE_PIECE, .qiov = qiov });
    fake_wait_for_held(1);
    flush = request_start(loop_default(), (struct request) { .op = OP_FLUSH, .bs = &bs });
    fake_wait_for_held(2);
    CHECK(fake_release(1));
    CHECK_INT(request_finish(flush), 0);
    CHECK(fake_release(0));
    CHECK_INT(request_finish(write), 0);
    check_status(&bs, QBR_WANT_ZERO, 0, 65536, DATA, FAKE_PIECE);
    fake_mode(FAKE_ON_THREAD);
    CHECK_INT(do_flush(&bs), 0);
    check_status(&bs, QBR_WANT_ZERO, 0, 65536, DATA, FAKE_PIECE);
    gluster.close(&bs);
    qiov_free(qiov);
}

/* More than there are threads for blocking calls. */
#define MANY 20

static struct request *start_status(BlockDriverState *bs, int64_t *pnum)
{
    return request_start(loop_default(), (struct request) {
        .op = OP_STATUS, .bs = bs, .mode = QBR_WANT_ZERO, .bytes = 65536, .pnum = pnum });
}

/* Asks for the status of all nodes of a volume that doesn't answer, and meanwhile for the length of another node. */
static void check_length_beside_status(BlockDriverState *bs, unsigned nodes)
{
    BlockDriverState other = { 0 };
    struct request *requests[MANY];
    int64_t pnums[MANY];
    unsigned asked, i;

    node_open_ok(&other, IMAGE_URI, 0);
    asked = fake_count(FAKE_LSEEK);
    fake_close_gate(FAKE_LSEEK);
    for (i = 0; i < MANY; i++) {
        requests[i] = start_status(&bs[i % nodes], &pnums[i]);
        co_wait_parked(requests[i]->co, 1);
    }
    fake_wait_for(FAKE_LSEEK, asked + nodes);
    CHECK_INT(gluster.getlength(&other), 65536);
    CHECK_INT(fake_count(FAKE_LSEEK), asked + nodes);
    fake_open_gate(FAKE_LSEEK);
    for (i = 0; i < MANY; i++) {
        CHECK_INT(request_finish(requests[i]), ZERO);
        CHECK_INT(pnums[i], 4 * FAKE_PIECE);
    }
    gluster.close(&other);
}

TEST(many_questions_for_the_status_of_a_silent_node_take_one_thread)
{
    BlockDriverState bs = { 0 };

    open_with_hole(&bs);
    check_length_beside_status(&bs, 1);
    gluster.close(&bs);
}

TEST(questions_for_the_status_of_many_silent_nodes_keep_no_thread_from_others)
{
    BlockDriverState bs[MANY] = { 0 };
    unsigned i;

    for (i = 0; i < MANY; i++) {
        open_with_hole(&bs[i]);
    }
    check_length_beside_status(bs, MANY);
    for (i = 0; i < MANY; i++) {
        gluster.close(&bs[i]);
    }
}

TEST(block_status_without_want_zero_is_data_and_asks_nobody)
{
    BlockDriverState bs = { 0 };
    unsigned asked;

    open_with_hole(&bs);
    asked = fake_count(FAKE_LSEEK);
    check_status(&bs, 0, 0, 65536, DATA, 65536);
    CHECK_INT(fake_count(FAKE_LSEEK), asked);
    gluster.close(&bs);
}

static void check_all_data(enum fake_seek behaviour)
{
    BlockDriverState bs = { 0 };

    fake_seek(behaviour);
    open_with_hole(&bs);
    check_status(&bs, QBR_WANT_ZERO, 4096, 8192, DATA, 8192);
    gluster.close(&bs);
}

TEST(block_status_of_a_server_without_seek_data_is_data)
{
    check_all_data(FAKE_SEEK_UNKNOWN);
}

TEST(block_status_of_a_server_that_finds_data_at_the_end_is_data)
{
    check_all_data(FAKE_SEEK_ALL_DATA);
}

TEST(block_status_of_an_old_server_that_answers_with_an_offset_before_the_start_is_data)
{
    check_all_data(FAKE_SEEK_BEFORE);
}

TEST(block_status_of_a_server_that_finds_data_and_hole_in_one_place_is_data)
{
    check_all_data(FAKE_SEEK_SAME);
}

TEST(block_status_of_a_server_that_fails_is_data)
{
    BlockDriverState bs = { 0 };

    open_with_hole(&bs);
    fake_fail(FAKE_LSEEK, ENOTCONN);
    check_status(&bs, QBR_WANT_ZERO, 0, 8192, DATA, 8192);
    fake_fail(FAKE_LSEEK, 0);
    check_status(&bs, QBR_WANT_ZERO, 0, 8192, DATA, 8192);
    gluster.close(&bs);
}

TEST(block_status_with_direct_access_is_in_whole_sectors)
{
    BlockDriverState bs = { 0 };

    fake_image(IMAGE, 10000);
    fake_image_fill(IMAGE, 8192, 1808);
    node_open_ok(&bs, IMAGE_URI, QBR_O_NOCACHE);
    check_status(&bs, QBR_WANT_ZERO, 0, 10240, ZERO, 8192);
    /* The data ends at 10000, in the middle of a sector. */
    check_status(&bs, QBR_WANT_ZERO, 8192, 2048, DATA, 2048);
    gluster.close(&bs);
}

TEST(getlength_works_in_a_coroutine_and_in_the_main_loop)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 1001);
    CHECK_INT(request_run((struct request) { .op = OP_LENGTH, .bs = &bs }), 1001);
    CHECK_INT(gluster.getlength(&bs), 1001);
    fake_fail(FAKE_FSTAT, ESTALE);
    CHECK_INT(gluster.getlength(&bs), -ESTALE);
    gluster.close(&bs);
}

TEST(getlength_without_a_thread_to_ask_on_is_an_error)
{
    BlockDriverState bs = { 0 };

    node_with_image(&bs, 1001);
    threads_run_out(true);
    CHECK_INT(gluster.getlength(&bs), -EAGAIN);
    threads_run_out(false);
    CHECK_INT(gluster.getlength(&bs), 1001);
    gluster.close(&bs);
}

TEST(allocated_size_counts_data)
{
    BlockDriverState bs = { 0 };

    open_with_hole(&bs);
    CHECK_INT(gluster.get_allocated_file_size(&bs), 4 * FAKE_PIECE);
    CHECK_INT(request_run((struct request) { .op = OP_ALLOCATED, .bs = &bs }), 4 * FAKE_PIECE);
    fake_image_fill(IMAGE, 0, FAKE_PIECE);
    wait_allocated(&bs, 5 * FAKE_PIECE);
    fake_fail(FAKE_FSTAT, EIO);
    wait_allocated(&bs, -EIO);
    fake_pass(FAKE_FSTAT);
    wait_allocated(&bs, 5 * FAKE_PIECE);
    gluster.close(&bs);
    fake_wait_for_no_file();
}

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

TEST(allocated_size_of_a_silent_server_is_the_last_known_one_and_soon)
{
    BlockDriverState bs = { 0 };
    int64_t start;
    unsigned i;

    open_with_hole(&bs);
    fake_close_gate(FAKE_FSTAT);
    start = now_ms();
    for (i = 0; i < 100; i++) {
        CHECK_INT(gluster.get_allocated_file_size(&bs), 4 * FAKE_PIECE);
    }
    /* Only the first one waits at all. Generous: the machine may be busy. */
    CHECK(now_ms() - start < 5000);
    CHECK_INT(fake_count(FAKE_FSTAT), 2);
    fake_open_gate(FAKE_FSTAT);
    gluster.close(&bs);
    fake_wait_for_no_file();
}

/* Lets the server answer, after a while. */
static void *answer_late(void *opaque)
{
    (void)opaque;
    nanosleep(&(struct timespec) { .tv_nsec = 100000000 }, NULL);
    fake_open_gate(FAKE_FSTAT);
    return NULL;
}

/* Asks a server that is silent. */
static void ask_silent_server(BlockDriverState *bs)
{
    fake_close_gate(FAKE_FSTAT);
    CHECK_INT(gluster.get_allocated_file_size(bs), 4 * FAKE_PIECE);
}

/* Asks a server that is silent for a while. */
static pthread_t ask_for_late_answer(BlockDriverState *bs)
{
    pthread_t thread;

    ask_silent_server(bs);
    CHECK_INT(pthread_create(&thread, NULL, answer_late, NULL), 0);
    return thread;
}

/* Writes to a piece that is data already. */
static void write_a_piece(BlockDriverState *bs)
{
    QEMUIOVector *qiov = qiov_flat(FAKE_PIECE);

    CHECK_INT(do_write(bs, 4 * FAKE_PIECE, qiov), 0);
    qiov_free(qiov);
}

TEST(close_after_a_write_waits_for_the_size_on_disk_so_that_the_file_is_closed)
{
    BlockDriverState bs = { 0 };
    pthread_t thread;

    open_with_hole_for(&bs, QBR_O_RDWR);
    write_a_piece(&bs);
    thread = ask_for_late_answer(&bs);
    gluster.close(&bs);
    CHECK_INT(fake_open_files(), 0);
    pthread_join(thread, NULL);
}

TEST(reopen_after_a_write_waits_for_the_size_on_disk_so_that_the_old_file_is_closed)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = QBR_O_RDWR };
    pthread_t thread;

    open_with_hole_for(&bs, QBR_O_RDWR);
    write_a_piece(&bs);
    CHECK_INT(gluster.reopen_prepare(&state, NULL, NULL), 0);
    thread = ask_for_late_answer(&bs);
    gluster.reopen_commit(&state);
    CHECK_INT(fake_open_files(), 1);
    pthread_join(thread, NULL);
    CHECK_INT(gluster.get_allocated_file_size(&bs), 4 * FAKE_PIECE);
    gluster.close(&bs);
    CHECK_INT(fake_open_files(), 0);
}

TEST(close_of_a_flushed_file_does_not_wait_for_the_size_on_disk)
{
    BlockDriverState bs = { 0 };
    BDRVReopenState state = { .bs = &bs, .flags = QBR_O_RDWR };

    open_with_hole_for(&bs, QBR_O_RDWR);
    write_a_piece(&bs);
    CHECK_INT(do_flush(&bs), 0);
    CHECK_INT(gluster.reopen_prepare(&state, NULL, NULL), 0);
    ask_silent_server(&bs);
    gluster.reopen_commit(&state);
    CHECK_INT(fake_open_files(), 2);
    ask_silent_server(&bs);
    gluster.close(&bs);
    CHECK_INT(fake_open_files(), 2);
    fake_open_gate(FAKE_FSTAT);
    fake_wait_for_no_file();
}

TEST(allocated_size_is_asked_anew_after_a_time_without_threads)
{
    BlockDriverState bs = { 0 };

    open_with_hole(&bs);
    threads_run_out(true);
    CHECK_INT(gluster.get_allocated_file_size(&bs), -EAGAIN);
    threads_run_out(false);
    fake_image_fill(IMAGE, 0, FAKE_PIECE);
    wait_allocated(&bs, 5 * FAKE_PIECE);
    gluster.close(&bs);
    fake_wait_for_no_file();
}
