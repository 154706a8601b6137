/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Vectors of guest memory. */

#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "host.h"

/* What guest memory holds before a read: nothing may be mistaken for it. */
#define STALE 0xa5

QEMUIOVector *qiov_new(const size_t *sizes)
{
    QEMUIOVector *qiov = calloc(1, sizeof(*qiov));
    size_t i;

    while (sizes[qiov->niov]) {
        qiov->niov++;
    }
    qiov->iov = calloc(qiov->niov + 1, sizeof(*qiov->iov));
    for (i = 0; i < qiov->niov; i++) {
        qiov->iov[i] = (struct iovec) { .iov_base = malloc(sizes[i]), .iov_len = sizes[i] };
        memset(qiov->iov[i].iov_base, STALE, sizes[i]);
        qiov->size += sizes[i];
    }
    return qiov;
}

QEMUIOVector *qiov_flat(size_t bytes)
{
    return qiov_new((const size_t[]) { bytes, 0 });
}

void qiov_free(QEMUIOVector *qiov)
{
    size_t i;

    for (i = 0; i < qiov->niov; i++) {
        free(qiov->iov[i].iov_base);
    }
    free(qiov->iov);
    free(qiov);
}

static unsigned char *byte_at(const QEMUIOVector *qiov, size_t offset)
{
    size_t i;

    for (i = 0; i < qiov->niov; i++) {
        if (offset < qiov->iov[i].iov_len) {
            return (unsigned char *)qiov->iov[i].iov_base + offset;
        }
        offset -= qiov->iov[i].iov_len;
    }
    CHECK(!"an offset within the vector");
    return NULL;
}

unsigned char qiov_byte(const QEMUIOVector *qiov, size_t offset)
{
    return *byte_at(qiov, offset);
}

void qiov_set_byte(QEMUIOVector *qiov, size_t offset, unsigned char byte)
{
    *byte_at(qiov, offset) = byte;
}

void qiov_copy_out(const QEMUIOVector *qiov, void *buffer)
{
    char *next = buffer;
    size_t i;

    for (i = 0; i < qiov->niov; i++) {
        memcpy(next, qiov->iov[i].iov_base, qiov->iov[i].iov_len);
        next += qiov->iov[i].iov_len;
    }
}

void qiov_copy_in(QEMUIOVector *qiov, const void *buffer)
{
    const char *next = buffer;
    size_t i;

    for (i = 0; i < qiov->niov; i++) {
        memcpy(qiov->iov[i].iov_base, next, qiov->iov[i].iov_len);
        next += qiov->iov[i].iov_len;
    }
}

const struct iovec *qbr_host_qiov_elements(QEMUIOVector *qiov, size_t *count, size_t *bytes)
{
    *count = qiov->niov;
    *bytes = qiov->size;
    return qiov->iov;
}

void qbr_host_qiov_zero(QEMUIOVector *qiov, size_t offset, size_t bytes)
{
    CHECK(offset + bytes <= qiov->size);
    while (bytes--) {
        *byte_at(qiov, offset++) = 0;
    }
}
