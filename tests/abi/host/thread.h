/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Lets tests run out of threads. */
#ifndef QBR_TEST_THREAD_H
#define QBR_TEST_THREAD_H

#include <stdbool.h>

/* From now on no thread can be started (EAGAIN). */
void threads_run_out(bool on);
/* Numbers of this process, from /proc. */
unsigned process_threads(void);
unsigned process_files(void);
unsigned process_rss_kib(void);

#endif
