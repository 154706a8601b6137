/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * What no quorum driver can read without: one thread that reads every child into a private buffer of its own, compares the
 * first of them with each of the others, and copies it to the guest, in pieces that stay in the nearest cache meanwhile.
 * Nothing is allocated on the way, and there is no block layer. It walks through the image as `qemu-img bench` does, with
 * DEPTH guest buffers in turn, and prints the same lines.
 *
 *   bare-quorum SIZE DEPTH COUNT CHILD...
 *
 * CHILD is a file, or `zeroes`, which is read by filling the buffer.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PIECE 4096

struct child {
    int fd; /* -1: zeroes */
    char *buffer;
};

static size_t request_size;

static void die(const char *what)
{
    fprintf(stderr, "bare-quorum: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static long long number(const char *text)
{
    char *end;
    long long value = strtoll(text, &end, 10);

    if (*end || value <= 0) {
        fprintf(stderr, "bare-quorum: not a positive number: %s\n", text);
        exit(2);
    }
    return value;
}

static char *page_aligned(size_t size)
{
    void *memory;

    if (posix_memalign(&memory, 4096, size)) {
        die("memory");
    }
    /* Its pages are there before the clock starts. */
    memset(memory, 0, size);
    return memory;
}

static void open_child(struct child *child, const char *name, long long *length)
{
    struct stat st;

    child->fd = -1;
    if (!strcmp(name, "zeroes")) {
        return;
    }
    child->fd = open(name, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (child->fd < 0 && errno == EINVAL) {
        child->fd = open(name, O_RDONLY | O_CLOEXEC);
    }
    if (child->fd < 0 || fstat(child->fd, &st)) {
        die(name);
    }
    *length = st.st_size;
}

static void check(ssize_t done)
{
    if (done < 0) {
        die("request");
    }
    if ((size_t)done != request_size) {
        errno = EIO;
        die("short request");
    }
}

/* The compiler must believe that the memory is looked at, or it leaves the work out. */
static void used(void *memory)
{
    __asm__ volatile("" : : "g"(memory) : "memory");
}

static void read_all(const struct child *children, int n, long long offset, char *guest)
{
    for (int i = 0; i < n; i++) {
        if (children[i].fd < 0) {
            memset(children[i].buffer, 0, request_size);
        } else {
            check(pread(children[i].fd, children[i].buffer, request_size, offset));
        }
        used(children[i].buffer);
    }
    for (size_t at = 0, piece; at < request_size; at += piece) {
        piece = request_size - at < PIECE ? request_size - at : PIECE;
        for (int i = 1; i < n; i++) {
            if (memcmp(children[0].buffer + at, children[i].buffer + at, piece)) {
                errno = EIO;
                die("the children differ");
            }
        }
        memcpy(guest + at, children[0].buffer + at, piece);
    }
    used(guest);
}

int main(int argc, char **argv)
{
    int n = argc - 4;
    long long depth, count, length = 1 << 30, offset = 0;
    struct child *children;
    char *guest, *buffers;
    double start;

    if (n < 1) {
        fprintf(stderr, "bare-quorum SIZE DEPTH COUNT CHILD...\n");
        return 2;
    }
    request_size = (size_t)number(argv[1]);
    depth = number(argv[2]);
    count = number(argv[3]);

    children = calloc((size_t)n, sizeof(*children));
    if (!children) {
        die("memory");
    }
    buffers = page_aligned((size_t)n * request_size);
    for (int i = 0; i < n; i++) {
        children[i].buffer = buffers + (size_t)i * request_size;
        open_child(&children[i], argv[i + 4], &length);
    }
    guest = page_aligned((size_t)depth * request_size);

    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("Sending %lld requests\n", count);
    start = now();
    for (long long i = 0; i < count; i++) {
        read_all(children, n, offset, guest + (size_t)(i % depth) * request_size);
        offset += (long long)request_size;
        if (offset + (long long)request_size > length) {
            offset = 0;
        }
    }
    printf("Run completed in %.6f seconds.\n", now() - start);
    return 0;
}
