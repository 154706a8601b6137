/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * The hands of the oracle: does to images what it is told on standard input, through QEMU's block layer and the driver
 * that QEMU_MODULE_DIR has, and answers on standard output.
 *
 *     worker [SABOTAGE:N]     spoil every N-th request of a kind, to show that the oracle sees it: read, write, zeroes,
 *                             discard, truncate, create, delete, goto; or blind: whole writes are lost
 *
 * One order is a Head and `length` bytes; one reply an Answer and `length` bytes: what was read, or the text of an error.
 * A batch holds several orders, which are started together and answered in their order. Linked like qemu-img, from the
 * objects of a QEMU that was built here (scripts/oracle.sh).
 */
#include "qemu/osdep.h"

#include "block/block_int.h"
#include "block/snapshot.h"
#include "crypto/init.h"
#include "qapi/error.h"
#include "qemu/coroutine.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/memalign.h"
#include "qemu/module.h"
#include "qobject/qdict.h"
#include "system/block-backend.h"

enum {
    OP_HELLO, OP_OPEN, OP_CLOSE, OP_LENGTH, OP_READ, OP_WRITE, OP_ZEROES, OP_DISCARD, OP_FLUSH, OP_TRUNCATE,
    OP_SNAP_CREATE, OP_SNAP_DELETE, OP_SNAP_GOTO, OP_SNAP_LIST, OP_STATUS, OP_INVALIDATE, OP_REOPEN, OP_INFO,
    OP_CREATE, OP_BATCH,
};

/* Flags of an order. */
enum { WRITABLE = 1, CACHE = 2, FUA = 1, MAY_UNMAP = 2, NO_FALLBACK = 4, ZERO_NEW = 1, PIECES_SHIFT = 16 };

enum { SLOTS = 4, LONGEST = 256 << 20 };

typedef struct Head {
    uint32_t op, slot, flags, length;
    uint64_t a, b;
} Head;

typedef struct Answer {
    int64_t ret;
    uint64_t value;
    uint32_t length, unused;
} Answer;

typedef struct Request {
    Head head;
    uint8_t *data;
    Answer answer;
    uint8_t *reply;
    int *running;
} Request;

static BlockBackend *nodes[SLOTS];
static const char *sabotage_kind;
static int64_t sabotage_every, sabotage_count;

/* --- the pipe --- */

static bool take(void *buffer, size_t count)
{
    uint8_t *at = buffer;

    while (count > 0) {
        ssize_t got = read(STDIN_FILENO, at, count);

        if (got <= 0) {
            if (got < 0 && errno == EINTR) {
                continue;
            }
            return false;
        }
        at += got;
        count -= got;
    }
    return true;
}

static void give(const void *buffer, size_t count)
{
    const uint8_t *at = buffer;

    while (count > 0) {
        ssize_t put = write(STDOUT_FILENO, at, count);

        if (put <= 0) {
            if (put < 0 && errno == EINTR) {
                continue;
            }
            exit(EXIT_FAILURE);
        }
        at += put;
        count -= put;
    }
}

static bool take_request(Request *request)
{
    memset(request, 0, sizeof(*request));
    if (!take(&request->head, sizeof(request->head)) || request->head.length > LONGEST) {
        return false;
    }
    /* Texts get an end. */
    request->data = qemu_memalign(4096, request->head.length + 1);
    request->data[request->head.length] = 0;
    return take(request->data, request->head.length);
}

static void give_answer(Request *request)
{
    give(&request->answer, sizeof(request->answer));
    give(request->reply, request->answer.length);
    qemu_vfree(request->data);
    qemu_vfree(request->reply);
}

static void answer_error(Request *request, int64_t ret, Error *error)
{
    const char *text = error ? error_get_pretty(error) : "";

    request->answer.ret = ret;
    request->answer.length = strlen(text);
    request->reply = qemu_memalign(16, request->answer.length + 1);
    memcpy(request->reply, text, request->answer.length);
    error_free(error);
}

/* --- sabotage --- */

static bool spoil(const char *kind)
{
    return sabotage_kind && g_str_equal(sabotage_kind, kind) && ++sabotage_count % sabotage_every == 0;
}

/* --- requests, in coroutines --- */

/* The buffer as so many pieces of different lengths. */
static void split(QEMUIOVector *qiov, uint8_t *buffer, size_t length, unsigned pieces)
{
    size_t step = pieces > 1 ? length / pieces : length, at = 0;
    unsigned i;

    qemu_iovec_init(qiov, pieces ? pieces : 1);
    for (i = 0; i + 1 < pieces && step > 1; i++) {
        size_t piece = i % 2 ? step / 2 : step;

        qemu_iovec_add(qiov, buffer + at, piece);
        at += piece;
    }
    qemu_iovec_add(qiov, buffer + at, length - at);
}

static int64_t coroutine_fn exact_length(BlockDriverState *bs)
{
    int ret;

    GRAPH_RDLOCK_GUARD();
    ret = bdrv_co_refresh_total_sectors(bs, bs->total_sectors);
    return ret < 0 ? ret : bs->drv->bdrv_co_getlength(bs);
}

static void coroutine_fn request_entry(void *opaque)
{
    Request *request = opaque;
    Head *head = &request->head;
    BlockBackend *blk = nodes[head->slot];
    unsigned pieces = head->flags >> PIECES_SHIFT;
    BdrvRequestFlags flags = 0;
    int64_t count = 0, map = 0;
    BlockDriverState *file = NULL;
    BlockDriverInfo info = { 0 };
    Error *error = NULL;
    QEMUIOVector qiov;
    int64_t ret;

    switch (head->op) {
    case OP_READ:
        request->reply = qemu_memalign(4096, head->b);
        memset(request->reply, 0xa5, head->b);
        split(&qiov, request->reply, head->b, pieces);
        ret = blk_co_preadv(blk, head->a, head->b, &qiov, 0);
        qemu_iovec_destroy(&qiov);
        if (ret >= 0) {
            request->answer.length = head->b;
            if (head->b && spoil("read")) {
                request->reply[head->b / 2] ^= 1;
            }
        }
        break;
    case OP_WRITE:
        if (head->length && spoil("write")) {
            request->data[head->length / 2] ^= 1;
        }
        if (spoil("blind")) {
            ret = 0;
            break;
        }
        split(&qiov, request->data, head->length, pieces);
        ret = blk_co_pwritev(blk, head->a, head->length, &qiov, head->flags & FUA ? BDRV_REQ_FUA : 0);
        qemu_iovec_destroy(&qiov);
        break;
    case OP_ZEROES:
        flags |= head->flags & FUA ? BDRV_REQ_FUA : 0;
        flags |= head->flags & MAY_UNMAP ? BDRV_REQ_MAY_UNMAP : 0;
        flags |= head->flags & NO_FALLBACK ? BDRV_REQ_NO_FALLBACK : 0;
        ret = spoil("zeroes") ? 0 : blk_co_pwrite_zeroes(blk, head->a, head->b, flags);
        break;
    case OP_DISCARD:
        ret = spoil("discard") ? 0 : blk_co_pdiscard(blk, head->a, head->b, 0);
        break;
    case OP_FLUSH:
        ret = blk_co_flush(blk);
        break;
    case OP_TRUNCATE:
        ret = blk_co_truncate(blk, head->a + (spoil("truncate") ? 512 : 0), true, PREALLOC_MODE_OFF,
                              head->flags & ZERO_NEW ? BDRV_REQ_ZERO_WRITE : 0, &error);
        break;
    case OP_LENGTH:
        ret = exact_length(blk_bs(blk));
        break;
    case OP_STATUS:
        ret = blk_co_block_status_above(blk, NULL, head->a, head->b, &count, &map, &file);
        request->answer.value = count;
        break;
    case OP_INFO: {
        GRAPH_RDLOCK_GUARD();
        ret = bdrv_co_get_info(blk_bs(blk), &info);
        request->answer.value = info.cluster_size;
        break;
    }
    default:
        ret = -ENOSYS;
    }
    request->answer.ret = ret;
    if (error) {
        answer_error(request, ret, error);
    }
    --*request->running;
    aio_wait_kick();
}

static void run(Request *requests, int count)
{
    int running = count, i;

    for (i = 0; i < count; i++) {
        requests[i].running = &running;
        qemu_coroutine_enter(qemu_coroutine_create(request_entry, &requests[i]));
    }
    AIO_WAIT_WHILE_UNLOCKED(NULL, running > 0);
}

/* --- what is done from the main loop --- */

static void open_node(Request *request)
{
    uint32_t flags = request->head.flags;
    const char *name = (char *)request->data;
    QDict *options = qdict_new();
    Error *error = NULL;
    int open_flags = BDRV_O_UNMAP;

    if (!g_str_has_prefix(name, "json:")) {
        qdict_put_str(options, "driver", "rbd");
    }
    open_flags |= flags & WRITABLE ? BDRV_O_RDWR | BDRV_O_RESIZE : 0;
    open_flags |= flags & CACHE ? 0 : BDRV_O_NOCACHE;
    blk_unref(nodes[request->head.slot]);
    nodes[request->head.slot] = blk_new_open(name, NULL, options, open_flags, &error);
    if (nodes[request->head.slot]) {
        blk_set_enable_write_cache(nodes[request->head.slot], true);
        blk_set_allow_write_beyond_eof(nodes[request->head.slot], true);
    } else {
        answer_error(request, -1, error);
    }
}

static void reopen_node(Request *request, BlockBackend *blk)
{
    uint64_t perm = BLK_PERM_CONSISTENT_READ, write = BLK_PERM_WRITE | BLK_PERM_RESIZE;
    bool writable = request->head.flags & WRITABLE;
    Error *error = NULL;
    int ret = 0;

    if (!writable) {
        ret = blk_set_perm(blk, perm, BLK_PERM_ALL, &error);
    }
    if (ret >= 0) {
        ret = bdrv_reopen_set_read_only(blk_bs(blk), !writable, &error);
    }
    if (ret >= 0 && writable) {
        ret = blk_set_perm(blk, perm | write, BLK_PERM_ALL, &error);
    }
    if (error) {
        answer_error(request, ret, error);
    }
}

static void create_snapshot(Request *request, BlockBackend *blk)
{
    QEMUSnapshotInfo info = { 0 };

    pstrcpy(info.name, sizeof(info.name), (char *)request->data);
    request->answer.ret = spoil("create") ? 0 : bdrv_snapshot_create(blk_bs(blk), &info);
}

static void list_snapshots(Request *request, BlockBackend *blk)
{
    QEMUSnapshotInfo *table = NULL;
    GByteArray *text = g_byte_array_new();
    int count = bdrv_snapshot_list(blk_bs(blk), &table), i;

    for (i = 0; i < count; i++) {
        uint64_t size = table[i].vm_state_size;
        uint32_t length = strlen(table[i].name);

        g_byte_array_append(text, (uint8_t *)&size, sizeof(size));
        g_byte_array_append(text, (uint8_t *)&length, sizeof(length));
        g_byte_array_append(text, (uint8_t *)table[i].name, length);
        if (!g_str_equal(table[i].name, table[i].id_str)) {
            count = -EPROTO;
        }
    }
    g_free(table);
    request->answer.ret = count;
    request->answer.length = text->len;
    request->reply = qemu_memalign(16, text->len + 1);
    memcpy(request->reply, text->data, text->len);
    g_byte_array_free(text, true);
}

/* Which libraries the driver brought along. */
static void hello(Request *request)
{
    g_autofree char *maps = NULL;
    Error *error = NULL;
    int ret = block_module_load("rbd", &error);

    if (ret <= 0) {
        answer_error(request, -1, error);
    } else if (g_file_get_contents("/proc/self/maps", &maps, NULL, NULL)) {
        request->answer.value = strstr(maps, "/librbd.so") != NULL;
    }
}

static void do_order(Request *request)
{
    const char *text = (char *)request->data;
    BlockBackend *blk = nodes[request->head.slot];
    Error *error = NULL;
    int ret = 0;

    switch (request->head.op) {
    case OP_HELLO:
        hello(request);
        return;
    case OP_OPEN:
        open_node(request);
        return;
    case OP_CREATE:
        /* "FILENAME\nOPTIONS" */
        if (strchr(text, '\n')) {
            char *options = strchr(text, '\n') + 1;

            options[-1] = 0;
            bdrv_img_create(text, "rbd", NULL, NULL, options, request->head.a, 0, true, &error);
            ret = error ? -1 : 0;
        }
        break;
    case OP_BATCH: {
        uint64_t count = request->head.a, i;
        Request *batch = g_new(Request, count);

        for (i = 0; i < count; i++) {
            if (!take_request(&batch[i]) || batch[i].head.slot >= SLOTS || !nodes[batch[i].head.slot]) {
                exit(EXIT_FAILURE);
            }
        }
        run(batch, count);
        for (i = 0; i < count; i++) {
            give_answer(&batch[i]);
        }
        g_free(batch);
        return;
    }
    default:
        if (!blk) {
            ret = -ENOMEDIUM;
            break;
        }
        switch (request->head.op) {
        case OP_CLOSE:
            blk_unref(blk);
            nodes[request->head.slot] = NULL;
            return;
        case OP_SNAP_CREATE:
            create_snapshot(request, blk);
            return;
        case OP_SNAP_LIST:
            list_snapshots(request, blk);
            return;
        case OP_SNAP_DELETE:
            ret = spoil("delete") ? 0 : bdrv_snapshot_delete(blk_bs(blk), NULL, text, &error);
            break;
        case OP_SNAP_GOTO:
            ret = spoil("goto") ? 0 : bdrv_snapshot_goto(blk_bs(blk), text, &error);
            break;
        case OP_INVALIDATE:
            ret = bdrv_invalidate_cache(blk_bs(blk), &error);
            break;
        case OP_REOPEN:
            reopen_node(request, blk);
            return;
        default:
            run(request, 1);
            return;
        }
    }
    if (error) {
        answer_error(request, ret, error);
    } else {
        request->answer.ret = ret;
    }
}

static bool readable;

static void on_readable(void *opaque)
{
    readable = true;
}

int main(int argc, char **argv)
{
    Request request;
    int slot;

    if (argc > 1 && strchr(argv[1], ':')) {
        char *colon = strchr(argv[1], ':');

        *colon = 0;
        sabotage_kind = argv[1];
        sabotage_every = MAX(atoll(colon + 1), 1);
    }
    error_init(argv[0]);
    qemu_init_exec_dir(argv[0]);
    qemu_init_main_loop(&error_fatal);
    qcrypto_init(&error_fatal);
    module_call_init(MODULE_INIT_QOM);
    bdrv_init();

    /* The main loop goes on between two orders, as notifications of other clients arrive at any time. */
    qemu_set_fd_handler(STDIN_FILENO, on_readable, NULL, NULL);
    for (;;) {
        while (!readable) {
            main_loop_wait(false);
        }
        readable = false;
        if (!take_request(&request)) {
            break;
        }
        if (request.head.slot >= SLOTS) {
            return EXIT_FAILURE;
        }
        do_order(&request);
        if (request.head.op == OP_BATCH) {
            qemu_vfree(request.data);
        } else {
            give_answer(&request);
        }
    }
    for (slot = 0; slot < SLOTS; slot++) {
        blk_unref(nodes[slot]);
    }
    return EXIT_SUCCESS;
}
