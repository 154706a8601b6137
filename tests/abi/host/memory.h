/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* What the archive asks of the allocator and of the system: its calls are renamed (abi.mk) and counted here. */
#ifndef QBR_TEST_MEMORY_H
#define QBR_TEST_MEMORY_H

#include <stddef.h>

/* Allocations and mappings since the program began. */
unsigned memory_allocations(void);
unsigned memory_mappings(void);
/* Bytes that are mapped now, and the most there were. */
size_t memory_mapped(void);
size_t memory_peak(void);
/* Waits until no more than that is mapped. Not in a coroutine. */
void memory_wait_mapped(size_t bytes);
/* From now on no mapping succeeds (ENOMEM). */
void memory_runs_out(int on);

#endif
