/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Programs that exit while the library is still at work, as qemu-img does. */

#include "child.h"

#include <stdlib.h>
#include <string.h>

#include "../request.h"

/* Writes, flushes, closes; 0 if all of it worked. */
static int use_an_image(void)
{
    BlockDriverState bs = { .name = "node" };
    QEMUIOVector *qiov = qiov_flat(4096);
    int64_t ret;

    fake_image(IMAGE, 4096);
    if (node_open(&bs, IMAGE_URI, QBR_O_RDWR, NULL) < 0) {
        return 1;
    }
    ret = do_write(&bs, 0, qiov);
    ret = ret ? ret : do_flush(&bs);
    gluster.close(&bs);
    qiov_free(qiov);
    return ret ? 1 : 0;
}

/* Makes a connection end at once, because it never came to life. */
static void fail_to_connect(void)
{
    BlockDriverState bs = { .name = "node" };

    fake_fail_some(FAKE_INIT, 0, 1, ENOTCONN);
    if (node_open(&bs, "filename=gluster://elsewhere/vol/x", 0, NULL) >= 0) {
        abort();
    }
}

int gluster_child(const char *argument)
{
    if (!strcmp(argument, "exit-idle")) {
        /* The connection is idle, and a thread waits to end it. */
        return use_an_image();
    }
    if (!strcmp(argument, "exit-in-fini")) {
        /* A thread is in glfs_fini and won't come out of it. */
        fake_close_gate(FAKE_FINI);
        fail_to_connect();
        fake_wait_for(FAKE_FINI, 1);
        return use_an_image();
    }
    if (!strcmp(argument, "exit-racing-fini")) {
        /* A thread is somewhere in glfs_fini, or through. */
        fail_to_connect();
        return use_an_image();
    }
    return 2;
}
