/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
#ifndef QBR_TEST_GLUSTER_CHILD_H
#define QBR_TEST_GLUSTER_CHILD_H

/* A program that uses the driver and exits in the way that @argument names. */
int gluster_child(const char *argument);

#endif
