/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Errors, counted, and what is printed for the user. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../test.h"
#include "host.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned alive;
static unsigned errors;
static unsigned warnings;
static char last[1024];
static char last_warning[1024];

void qbr_host_error_set(Error **errp, const char *message, const char *hint)
{
    CHECK(message && *message);
    if (!errp) {
        return;
    }
    /* QEMU aborts when an error is set twice. */
    CHECK(!*errp);
    *errp = malloc(sizeof(**errp));
    **errp = (Error) { .message = strdup(message), .hint = hint ? strdup(hint) : NULL };
    pthread_mutex_lock(&lock);
    alive++;
    pthread_mutex_unlock(&lock);
}

void error_free(Error *error)
{
    if (!error) {
        return;
    }
    free(error->message);
    free(error->hint);
    free(error);
    pthread_mutex_lock(&lock);
    alive--;
    pthread_mutex_unlock(&lock);
}

void qbr_host_error_propagate(Error **errp, Error *error)
{
    CHECK(error);
    if (!errp) {
        error_free(error);
        return;
    }
    CHECK(!*errp);
    *errp = error;
}

const char *qbr_host_error_message(Error *error)
{
    CHECK(error);
    return error->message;
}

void qbr_host_error_free(Error *error)
{
    CHECK(error);
    error_free(error);
}

static unsigned read_count(const unsigned *count)
{
    unsigned value;

    pthread_mutex_lock(&lock);
    value = *count;
    pthread_mutex_unlock(&lock);
    return value;
}

unsigned errors_alive(void)
{
    return read_count(&alive);
}

unsigned errors_reported(void)
{
    return read_count(&errors);
}

unsigned warnings_reported(void)
{
    return read_count(&warnings);
}

const char *warning_take(void)
{
    CHECK_INT(warnings_reported(), 1);
    warnings = 0;
    return last_warning;
}

const char *last_error_reported(void)
{
    return last;
}

void qbr_host_error_report(const char *message)
{
    pthread_mutex_lock(&lock);
    errors++;
    snprintf(last, sizeof(last), "%s", message);
    pthread_mutex_unlock(&lock);
}

void qbr_host_warn_report(const char *message)
{
    CHECK(message && *message);
    pthread_mutex_lock(&lock);
    warnings++;
    snprintf(last_warning, sizeof(last_warning), "%s", message);
    pthread_mutex_unlock(&lock);
}

void qbr_host_exit_with(const char *line)
{
    fprintf(stderr, "%s\n", line);
    fflush(stderr);
    /* Not through the exit handlers: what requests in flight have allocated would count as leaked. */
    _exit(EXIT_FAILURE);
}
