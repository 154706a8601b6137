/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * The bare libgfapi loop that block drivers are measured against: one thread keeps DEPTH requests in flight, the library's
 * threads only count completions. It walks through the image as `qemu-img bench -S STEP` does, and prints the same lines.
 *
 *   bare-gluster HOST PORT VOLUME PATH read|write buffered|direct SIZE STEP DEPTH COUNT
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <glusterfs/api/glfs.h>

struct request {
    struct iovec iov;
    struct request *next;
};

static sem_t landed;
/* Requests that came back: pushed by the library's threads, taken all at once by the loop. */
static struct request *back;
static size_t request_size;

static void die(const char *what)
{
    fprintf(stderr, "bare-gluster: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static void completed(glfs_fd_t *fd, ssize_t ret, struct glfs_stat *before, struct glfs_stat *after, void *data)
{
    struct request *request = data;

    (void)fd, (void)before, (void)after;
    if (ret < 0) {
        die("request");
    }
    if ((size_t)ret != request_size) {
        errno = EIO;
        die("short request");
    }
    request->next = __atomic_load_n(&back, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&back, &request->next, request, true, __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
    }
    sem_post(&landed);
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
        fprintf(stderr, "bare-gluster: not a positive number: %s\n", text);
        exit(2);
    }
    return value;
}

static glfs_fd_t *open_image(char **argv, bool direct)
{
    glfs_t *fs = glfs_new(argv[3]);
    glfs_fd_t *fd;

    if (!fs || glfs_set_volfile_server(fs, "tcp", argv[1], (int)number(argv[2])) || glfs_set_logging(fs, "-", 4) ||
        glfs_init(fs)) {
        die("connecting");
    }
    fd = glfs_open(fs, argv[4], O_RDWR | (direct ? O_DIRECT : 0));
    if (!fd) {
        die(argv[4]);
    }
    return fd;
}

int main(int argc, char **argv)
{
    bool write, direct;
    long long step, depth, count, length, offset = 0, submitted = 0, done = 0;
    struct request *requests, *free_list = NULL;
    glfs_fd_t *fd;
    double start;

    if (argc != 11) {
        fprintf(stderr, "bare-gluster HOST PORT VOLUME PATH read|write buffered|direct SIZE STEP DEPTH COUNT\n");
        return 2;
    }
    write = !strcmp(argv[5], "write");
    direct = !strcmp(argv[6], "direct");
    request_size = (size_t)number(argv[7]);
    step = number(argv[8]);
    depth = number(argv[9]);
    count = number(argv[10]);

    fd = open_image(argv, direct);
    length = glfs_lseek(fd, 0, SEEK_END);
    if (length < (long long)request_size) {
        die("length");
    }
    requests = calloc((size_t)depth, sizeof(*requests));
    sem_init(&landed, 0, 0);
    for (long long i = 0; requests && i < depth; i++) {
        requests[i].iov.iov_len = request_size;
        if (posix_memalign(&requests[i].iov.iov_base, 4096, request_size)) {
            die("memory");
        }
        memset(requests[i].iov.iov_base, 0, request_size);
        requests[i].next = free_list;
        free_list = &requests[i];
    }

    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("Sending %lld requests\n", count);
    start = now();
    while (done < count) {
        while (free_list && submitted < count) {
            struct request *request = free_list;
            int ret;

            free_list = request->next;
            ret = write ? glfs_pwritev_async(fd, &request->iov, 1, offset, 0, completed, request)
                        : glfs_preadv_async(fd, &request->iov, 1, offset, 0, completed, request);
            if (ret < 0) {
                die("submit");
            }
            submitted++;
            offset = (offset + step) % length;
        }
        while (sem_wait(&landed)) {
        }
        for (struct request *request = __atomic_exchange_n(&back, NULL, __ATOMIC_ACQUIRE), *next; request; request = next) {
            next = request->next;
            request->next = free_list;
            free_list = request;
            done++;
        }
    }
    printf("Run completed in %.6f seconds.\n", now() - start);
    if (write && glfs_fsync(fd, NULL, NULL)) {
        die("fsync");
    }
    /* glfs_fini() takes seconds, and everything is on the brick. */
    _exit(glfs_close(fd) ? 1 : 0);
}
