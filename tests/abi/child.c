/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* What the program does when it is run once more: by a test, or by run.sh to see whether a checker is awake. */

#include <stdlib.h>
#include <string.h>

#include "test.h"
#include "gluster/child.h"
#include "quorum/child.h"

static int overflow(void)
{
    volatile char *memory = malloc(8);
    volatile int past = 8;

    memory[past] = 1;
    free((void *)memory);
    return 0;
}

static int leak(void)
{
    static char *volatile memory;

    memory = malloc(100);
    memory[0] = 1;
    memory = NULL;
    return 0;
}

int test_child_main(const char *argument)
{
    if (!strcmp(argument, "overflow")) {
        return overflow();
    }
    if (!strcmp(argument, "leak")) {
        return leak();
    }
    if (!strncmp(argument, "quorum-", 7)) {
        return quorum_child(argument);
    }
    return gluster_child(argument);
}
