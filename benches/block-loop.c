/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * What one request of a node costs, without an event loop around it: coroutines that read or write in a loop.
 *
 *     block-loop read|write SIZE DEPTH COUNT IMAGE-OPTIONS [DISK-OPTIONS]
 *
 * says how long COUNT requests took, as `qemu-img bench` does, and how much processor time. If the node is a replication it
 * is started: with DISK-OPTIONS, which describe the secondary disk and name it, as the secondary, else as the primary.
 *
 * Children that never sleep leave all requests to the first of the DEPTH coroutines. Linked like qemu-img, from the objects
 * of a QEMU that was built here (scripts/bench-loop.sh).
 */
#include "qemu/osdep.h"

#include "block/block_int.h"
#include "block/replication.h"
#include "qapi/error.h"
#include "qemu/config-file.h"
#include "qemu/coroutine.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/module.h"
#include "qemu/option.h"
#include "system/block-backend.h"

typedef struct Loop {
    BlockBackend *blk;
    bool is_write;
    int64_t size;
    int64_t length;
    int64_t left;
    int64_t next;
    int running;
} Loop;

static QemuOptsList image_options = {
    .name = "source",
    .implied_opt_name = "file",
    .head = QTAILQ_HEAD_INITIALIZER(image_options.head),
    .desc = { { /* any */ } },
};

static void coroutine_fn loop_entry(void *opaque)
{
    Loop *loop = opaque;
    void *buffer = blk_blockalign(loop->blk, loop->size);

    memset(buffer, 0x5a, loop->size);
    while (loop->left > 0) {
        int64_t offset = loop->next;
        int ret;

        loop->left--;
        loop->next = offset + 2 * loop->size <= loop->length ? offset + loop->size : 0;
        ret = loop->is_write ? blk_co_pwrite(loop->blk, offset, loop->size, buffer, 0)
                             : blk_co_pread(loop->blk, offset, loop->size, buffer, 0);
        if (ret < 0) {
            fprintf(stderr, "request failed: %s\n", strerror(-ret));
            exit(EXIT_FAILURE);
        }
    }
    qemu_vfree(buffer);
    loop->running--;
    aio_wait_kick();
}

/* Seconds, of all threads. */
static double processor_time(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return used.tv_sec + used.tv_nsec / 1e9;
}

static BlockBackend *open_image(const char *text, int flags)
{
    QemuOpts *options = qemu_opts_parse_noisily(&image_options, text, true);
    QDict *dict;

    if (!options) {
        exit(EXIT_FAILURE);
    }
    dict = qemu_opts_to_qdict(options, NULL);
    qemu_opts_del(options);
    return blk_new_open(NULL, NULL, dict, flags, &error_fatal);
}

int main(int argc, char **argv)
{
    BlockBackend *disk = NULL;
    Loop loop = { 0 };
    int64_t begin;
    double used;
    int depth, i;

    if (argc != 6 && argc != 7) {
        fprintf(stderr, "usage: %s read|write SIZE DEPTH COUNT IMAGE-OPTIONS [DISK-OPTIONS]\n", argv[0]);
        return EXIT_FAILURE;
    }
    qemu_init_exec_dir(argv[0]);
    qemu_init_main_loop(&error_fatal);
    bdrv_init();
    qemu_add_opts(&image_options);

    loop.is_write = g_str_equal(argv[1], "write");
    loop.size = atoll(argv[2]);
    depth = atoi(argv[3]);
    loop.left = atoll(argv[4]);
    if (loop.size <= 0) {
        return EXIT_FAILURE;
    }
    if (argc == 7) {
        disk = open_image(argv[6], BDRV_O_RDWR);
    }
    loop.blk = open_image(argv[5], loop.is_write || disk ? BDRV_O_RDWR : 0);
    /* Nothing happens if there is no replication. */
    replication_start_all(disk ? REPLICATION_MODE_SECONDARY : REPLICATION_MODE_PRIMARY, &error_fatal);
    blk_set_enable_write_cache(loop.blk, true);
    loop.length = blk_getlength(loop.blk);

    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("Sending %" PRId64 " requests\n", loop.left);
    used = processor_time();
    begin = g_get_monotonic_time();
    for (i = 0; i < depth; i++) {
        loop.running++;
        qemu_coroutine_enter(qemu_coroutine_create(loop_entry, &loop));
    }
    while (loop.running > 0) {
        main_loop_wait(false);
    }
    used = processor_time() - used;
    printf("Run completed in %.6f seconds, %.9f of them on processors.\n", (g_get_monotonic_time() - begin) / 1e6, used);
    if (disk) {
        replication_stop_all(true, &error_fatal);
    }
    blk_unref(loop.blk);
    blk_unref(disk);
    return EXIT_SUCCESS;
}
