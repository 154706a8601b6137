/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/*
 * The runner: each test runs in a process of its own, so that it finds a fresh archive, and may crash or hang.
 *
 *     TEST(read_past_the_end_gives_zeroes) { ... CHECK_INT(ret, 0); ... }
 */
#ifndef QBR_TEST_H
#define QBR_TEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef void test_fn(void *opaque);

void test_add(const char *name, test_fn *run, void *opaque);

#define TEST(name)                                                              \
    static void test_##name(void);                                              \
    static void test_run_##name(void *opaque)                                   \
    {                                                                           \
        (void)opaque;                                                           \
        test_##name();                                                          \
    }                                                                           \
    __attribute__((constructor)) static void test_add_##name(void)              \
    {                                                                           \
        test_add(#name, test_run_##name, NULL);                                 \
    }                                                                           \
    static void test_##name(void)

/* End the test. Any thread. */
__attribute__((noreturn, format(printf, 3, 4))) void test_fail(const char *file, int line, const char *format, ...);
__attribute__((noreturn, format(printf, 1, 2))) void test_skip(const char *format, ...);

#define CHECK(condition)                                                        \
    do {                                                                        \
        if (!(condition)) {                                                     \
            test_fail(__FILE__, __LINE__, "%s", #condition);                    \
        }                                                                       \
    } while (0)

#define CHECK_INT(actual, expected)                                             \
    test_check_int(__FILE__, __LINE__, #actual, (intmax_t)(actual), (intmax_t)(expected))
#define CHECK_TEXT(actual, expected) test_check_text(__FILE__, __LINE__, #actual, actual, expected)
/* The text contains a part. */
#define CHECK_CONTAINS(actual, part) test_check_contains(__FILE__, __LINE__, #actual, actual, part)

void test_check_int(const char *file, int line, const char *what, intmax_t actual, intmax_t expected);
void test_check_text(const char *file, int line, const char *what, const char *actual, const char *expected);
void test_check_contains(const char *file, int line, const char *what, const char *actual, const char *part);

/* Whether the memory and the speed of the process are not its own: under Valgrind or a sanitizer. */
bool test_is_instrumented(void);
/* How many times to repeat something: fewer under Valgrind. */
unsigned test_rounds(unsigned rounds);
/* Runs this program once more with one argument; its exit status. */
int test_run_self(const char *argument);
/* The same, with what it prints as errors, without what the checkers add to that. */
int test_run_self_and_listen(const char *argument, char *errors, size_t size);
/* What such a run does, by its argument; the exit status. */
int test_child_main(const char *argument);

#endif
