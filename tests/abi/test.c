/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Runs tests, a few at a time, and prints one line for each. */

#include "test.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/child.h"
#include "host/stack-switch.h"
#include "../backends/gfapi/fake.h"
#include "../backends/rados/fake.h"

#define MAX_TESTS 1024
#define MAX_TEXT 1024
#define SKIPPED 77
/*
 * A test that takes longer hangs. The longest takes two seconds of the processor under Valgrind, but the servers and
 * emulators of other tests may be many times as busy meanwhile.
 */
#define TIMEOUT_S 240

struct test {
    const char *name;
    test_fn *run;
    void *opaque;
    pid_t pid;
};

static struct test tests[MAX_TESTS];
static unsigned count;
/* Shared with the test's process: why it failed. */
static char (*texts)[MAX_TEXT];
static char *text;
static const char *program;

void test_add(const char *name, test_fn *run, void *opaque)
{
    if (count == MAX_TESTS) {
        abort();
    }
    tests[count++] = (struct test) { .name = name, .run = run, .opaque = opaque };
}

void test_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    int used;

    if (!text) {
        fprintf(stderr, "%s:%d: a check failed outside of tests: %s\n", file, line, format);
        _exit(1);
    }
    used = snprintf(text, MAX_TEXT, "%s:%d: ", file, line);
    va_start(args, format);
    vsnprintf(text + used, MAX_TEXT - used, format, args);
    va_end(args);
    _exit(1);
}

void test_skip(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(text, MAX_TEXT, format, args);
    va_end(args);
    _exit(SKIPPED);
}

void test_check_int(const char *file, int line, const char *what, intmax_t actual, intmax_t expected)
{
    if (actual != expected) {
        test_fail(file, line, "%s is %jd and not %jd", what, actual, expected);
    }
}

void test_check_text(const char *file, int line, const char *what, const char *actual, const char *expected)
{
    if (!actual || strcmp(actual, expected)) {
        test_fail(file, line, "%s is \"%s\" and not \"%s\"", what, actual ? actual : "(NULL)", expected);
    }
}

void test_check_contains(const char *file, int line, const char *what, const char *actual, const char *part)
{
    if (!actual || !strstr(actual, part)) {
        test_fail(file, line, "%s is \"%s\", without \"%s\"", what, actual ? actual : "(NULL)", part);
    }
}

bool test_is_instrumented(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return true;
#else
    return RUNNING_ON_VALGRIND;
#endif
}

unsigned test_rounds(unsigned rounds)
{
    unsigned fewer = rounds / 20;

    return !RUNNING_ON_VALGRIND ? rounds : fewer ? fewer : 1;
}

/* Starts this program once more, with its standard error there unless that is negative. */
static pid_t start_self(const char *argument, int errors)
{
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (!pid) {
        if (errors >= 0) {
            dup2(errors, STDERR_FILENO);
        }
        execl(program, program, "--child", argument, NULL);
        _exit(127);
    }
    return pid;
}

static int exit_status(pid_t pid)
{
    int status;

    CHECK(waitpid(pid, &status, 0) == pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

int test_run_self(const char *argument)
{
    return exit_status(start_self(argument, -1));
}

/* Removes what the checkers say: lines that begin with "==". */
static void remove_notes(char *text)
{
    char *line = text;

    while (*line) {
        char *next = line + strcspn(line, "\n");

        next += *next == '\n';
        if (!strncmp(line, "==", 2)) {
            memmove(line, next, strlen(next) + 1);
        } else {
            line = next;
        }
    }
}

int test_run_self_and_listen(const char *argument, char *errors, size_t size)
{
    size_t used = 0;
    ssize_t got;
    int ends[2];
    pid_t pid;

    CHECK(!pipe(ends));
    pid = start_self(argument, ends[1]);
    close(ends[1]);
    while (used < size - 1 && (got = read(ends[0], errors + used, size - 1 - used)) > 0) {
        used += got;
    }
    errors[used] = '\0';
    remove_notes(errors);
    close(ends[0]);
    return exit_status(pid);
}

/* What every test has to leave behind. */
static void check_clean(void)
{
    const char *violation = fake_violation();

    if (violation) {
        test_fail("libgfapi", 0, "%s", violation);
    }
    CHECK_INT(fake_open_files(), 0);
    violation = ceph_violation();
    if (violation) {
        test_fail("librados", 0, "%s", violation);
    }
    CHECK_INT(ceph_clients(), 0);
    CHECK_INT(ceph_alive(), 0);
    CHECK_INT(tables_alive(), 0);
    CHECK_INT(errors_alive(), 0);
    CHECK_INT(warnings_reported(), 0);
    CHECK_INT(disks_attached(), 0);
    CHECK_INT(disks_busy(), 0);
    CHECK_TEXT(events_take(), "");
}

static void start(struct test *test)
{
    text = texts[test - tests];
    test->pid = fork();
    if (test->pid) {
        return;
    }
    alarm(TIMEOUT_S);
    test->run(test->opaque);
    check_clean();
    /* Through the exit handlers: the leak checkers are among them. */
    exit(0);
}

/* Prints the outcome; false if it is a failure. */
static bool report(const struct test *test, int status)
{
    const char *why = texts[test - tests];

    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        printf("ok - %s\n", test->name);
        return true;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED) {
        printf("skip - %s # %s\n", test->name, why);
        return true;
    }
    printf("not ok - %s\n", test->name);
    if (*why) {
        printf("# %s\n", why);
    } else if (WIFSIGNALED(status)) {
        printf("# signal %d%s\n", WTERMSIG(status), WTERMSIG(status) == SIGALRM ? ": it hangs" : "");
    } else {
        printf("# exit status %d: see the log\n", WEXITSTATUS(status));
    }
    return false;
}

/* Waits for one test; false if it failed. */
static bool wait_for_one(void)
{
    int status;
    pid_t pid = wait(&status);
    unsigned i;

    for (i = 0; i < count; i++) {
        if (tests[i].pid == pid) {
            return report(&tests[i], status);
        }
    }
    return true;
}

static bool wanted(const char *name, char **patterns)
{
    for (; *patterns; patterns++) {
        if (strstr(name, *patterns)) {
            return true;
        }
    }
    return false;
}

/* Usage: abi-test [-j JOBS] [PART-OF-NAME...] */
int main(int argc, char **argv)
{
    unsigned i, jobs = 4, running = 0, failed = 0;

    program = argv[0];
    if (argc == 3 && !strcmp(argv[1], "--child")) {
        return test_child_main(argv[2]);
    }
    argv++;
    if (argc > 2 && !strcmp(argv[0], "-j")) {
        jobs = atoi(argv[1]);
        argv += 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    texts = mmap(NULL, MAX_TESTS * MAX_TEXT, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (i = 0; i < count; i++) {
        if (*argv && !wanted(tests[i].name, argv)) {
            continue;
        }
        if (running == jobs) {
            failed += !wait_for_one();
            running--;
        }
        start(&tests[i]);
        running++;
    }
    for (; running; running--) {
        failed += !wait_for_one();
    }
    return failed ? 1 : 0;
}
