/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Tells the sanitizers and Valgrind about stacks: they can't see where a coroutine's stack begins and when it is switched to. */
#ifndef QBR_TEST_STACK_SWITCH_H
#define QBR_TEST_STACK_SWITCH_H

#include <stddef.h>

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef VALGRIND_STACK_REGISTER
#define VALGRIND_STACK_REGISTER(start, end) 0
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#define RUNNING_ON_VALGRIND 0
#endif

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#define switch_begin(save, bottom, size) __sanitizer_start_switch_fiber(save, bottom, size)
#define switch_end(save, bottom, size) __sanitizer_finish_switch_fiber(save, bottom, size)
#else
#define switch_begin(save, bottom, size) ((void)(save), (void)(bottom), (void)(size))
#define switch_end(save, bottom, size) ((void)(save), (void)(bottom), (void)(size))
#endif

#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#define fiber_self() __tsan_get_current_fiber()
#define fiber_new() __tsan_create_fiber(0)
#define fiber_free(fiber) __tsan_destroy_fiber(fiber)
#define fiber_switch(fiber) __tsan_switch_to_fiber(fiber, 0)
#else
#define fiber_self() NULL
#define fiber_new() NULL
#define fiber_free(fiber) ((void)(fiber))
#define fiber_switch(fiber) ((void)(fiber))
#endif

#endif
