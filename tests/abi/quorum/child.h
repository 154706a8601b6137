/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
#ifndef QBR_TEST_QUORUM_CHILD_H
#define QBR_TEST_QUORUM_CHILD_H

/* A program that the driver ends, or not, in the way that @argument names. */
int quorum_child(const char *argument);

#endif
