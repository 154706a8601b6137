/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * The bare librados loop that block drivers are measured against: one thread keeps DEPTH requests in flight, the library's
 * threads only count completions. It walks through the image as `qemu-img bench -S STEP` does, and prints the same lines.
 *
 * The image is of format 2, without a data pool, striping or snapshots; no request may cross the border of an object.
 *
 *   bare-rados CONF USER POOL IMAGE read|write LENGTH OBJECT_SIZE SIZE STEP DEPTH COUNT
 */

#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rados/librados.h>

/* More than any name of an object has. */
#define NAME_SIZE 128

struct request {
    char *buffer;
    struct request *next;
};

static sem_t landed;
/* Requests that came back: pushed by the library's threads, taken all at once by the loop. */
static struct request *back;
static size_t request_size;
static bool is_write;

static void die(const char *what, int error)
{
    fprintf(stderr, "bare-rados: %s: %s\n", what, strerror(-error));
    _exit(1);
}

static void completed(rados_completion_t completion, void *data)
{
    struct request *request = data;
    int ret = rados_aio_get_return_value(completion);

    rados_aio_release(completion);
    if (ret < 0) {
        die("request", ret);
    }
    if (!is_write && (size_t)ret != request_size) {
        die("short request", -EIO);
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
        fprintf(stderr, "bare-rados: not a positive number: %s\n", text);
        exit(2);
    }
    return value;
}

static rados_ioctx_t open_pool(char **argv)
{
    rados_t cluster;
    rados_ioctx_t io;
    int ret = rados_create(&cluster, argv[2]);

    if (ret < 0 || (ret = rados_conf_read_file(cluster, argv[1])) < 0 || (ret = rados_connect(cluster)) < 0) {
        die("connecting", ret);
    }
    ret = rados_ioctx_create(cluster, argv[3], &io);
    if (ret < 0) {
        die(argv[3], ret);
    }
    return io;
}

/* Finds out what the image's objects are called, up to their numbers. Its id has its length, four bytes, in front. */
static void find_prefix(rados_ioctx_t io, const char *image, char *prefix)
{
    char name[2 * NAME_SIZE], id[NAME_SIZE / 2];
    int ret;

    snprintf(name, sizeof(name), "rbd_id.%s", image);
    ret = rados_read(io, name, id, sizeof(id), 0);
    if (ret < 5) {
        die(image, ret < 0 ? ret : -EINVAL);
    }
    snprintf(prefix, NAME_SIZE, "rbd_data.%.*s", ret - 4, id + 4);
}

static void submit(rados_ioctx_t io, const char *prefix, long long offset, long long object_size, struct request *request)
{
    char name[NAME_SIZE + 20];
    rados_completion_t completion;
    uint64_t at = (uint64_t)(offset % object_size);
    int ret;

    snprintf(name, sizeof(name), "%s.%016" PRIx64, prefix, (uint64_t)(offset / object_size));
    ret = rados_aio_create_completion2(request, completed, &completion);
    if (ret < 0) {
        die("completion", ret);
    }
    ret = is_write ? rados_aio_write(io, name, completion, request->buffer, request_size, at)
                   : rados_aio_read(io, name, completion, request->buffer, request_size, at);
    if (ret < 0) {
        die("submit", ret);
    }
}

int main(int argc, char **argv)
{
    long long length, object_size, step, depth, count, offset = 0, submitted = 0, done = 0;
    struct request *requests, *free_list = NULL;
    char prefix[NAME_SIZE];
    rados_ioctx_t io;
    double start;

    if (argc != 12) {
        fprintf(stderr, "bare-rados CONF USER POOL IMAGE read|write LENGTH OBJECT_SIZE SIZE STEP DEPTH COUNT\n");
        return 2;
    }
    is_write = !strcmp(argv[5], "write");
    length = number(argv[6]);
    object_size = number(argv[7]);
    request_size = (size_t)number(argv[8]);
    step = number(argv[9]);
    depth = number(argv[10]);
    count = number(argv[11]);
    if (object_size % (long long)request_size || length % object_size || step % (long long)request_size) {
        fprintf(stderr, "bare-rados: requests cross the borders of objects\n");
        return 2;
    }

    io = open_pool(argv);
    find_prefix(io, argv[4], prefix);
    requests = calloc((size_t)depth, sizeof(*requests));
    sem_init(&landed, 0, 0);
    for (long long i = 0; requests && i < depth; i++) {
        if (posix_memalign((void **)&requests[i].buffer, 4096, request_size)) {
            die("memory", -ENOMEM);
        }
        memset(requests[i].buffer, 0, request_size);
        requests[i].next = free_list;
        free_list = &requests[i];
    }

    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("Sending %lld requests\n", count);
    start = now();
    while (done < count) {
        while (free_list && submitted < count) {
            struct request *request = free_list;

            free_list = request->next;
            submit(io, prefix, offset, object_size, request);
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
    /* Everything is on the server; shutting the library down takes longer. */
    _exit(0);
}
