/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* The archive's own threads in somebody else's program. */

#include "../request.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

/* The value of a line of a thread's status; false if the thread is gone. */
static bool thread_line(const char *thread, const char *name, char *value)
{
    char path[300], line[256];
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/task/%s/status", thread);
    file = fopen(path, "r");
    if (!file) {
        return false;
    }
    while (fgets(line, sizeof(line), file)) {
        if (!strncmp(line, name, strlen(name))) {
            CHECK(sscanf(line + strlen(name), ": %63s", value) == 1);
        }
    }
    fclose(file);
    return true;
}

/* Checks all threads that have the archive's names by now; how many those are. */
static unsigned check_threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    struct dirent *entry;
    unsigned found = 0;

    CHECK(folder);
    while ((entry = readdir(folder))) {
        char name[64] = "", blocked[64] = "";

        if (thread_line(entry->d_name, "Name", name) && !strncmp(name, "qbr-", 4)) {
            CHECK(thread_line(entry->d_name, "SigBlk", blocked));
            /* All but SIGKILL, SIGSTOP and the two that are the C library's own. */
            CHECK_TEXT(blocked, "fffffffe7ffbfeff");
            found++;
        }
    }
    closedir(folder);
    return found;
}

TEST(threads_of_the_archive_take_no_signals)
{
    BlockDriverState bs = { 0 };

    if (test_is_instrumented()) {
        test_skip("the kernel's view of signals is not the program's own there");
    }
    node_with_image(&bs, 512);
    CHECK_INT(gluster.getlength(&bs), 512);
    gluster.close(&bs);
    /* One for blocking calls and one for the end of connections; threads name themselves when they first run. */
    while (check_threads() < 2) {
    }
}
