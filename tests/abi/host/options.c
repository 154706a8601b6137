/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Typed options, standing in for QEMU's dictionaries. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "host.h"

struct option {
    char *key;
    char *value;
    enum option_type type;
    bool taken;
};

struct options {
    struct option *list;
    size_t count;
};

void options_add(struct options *options, const char *key, const char *value)
{
    static const char types[] = "#?!";
    const char *type = *value ? strchr(types, *value) : NULL;
    struct option option = { .key = strdup(key), .type = OPTION_TEXT };

    if (type) {
        option.type = OPTION_NUMBER + (type - types);
        value++;
    }
    option.value = strdup(value);
    options->list = realloc(options->list, (options->count + 1) * sizeof(option));
    options->list[options->count++] = option;
}

struct options *options_new(const char *text)
{
    struct options *options = calloc(1, sizeof(*options));
    char *copy = strdup(text);
    char *save = NULL;
    char *pair;

    for (pair = strtok_r(copy, ",", &save); pair; pair = strtok_r(NULL, ",", &save)) {
        char *equals = strchr(pair, '=');

        CHECK(equals);
        *equals = '\0';
        options_add(options, pair, equals + 1);
    }
    free(copy);
    return options;
}

void options_free(struct options *options)
{
    size_t i;

    for (i = 0; i < options->count; i++) {
        free(options->list[i].key);
        free(options->list[i].value);
    }
    free(options->list);
    free(options);
}

size_t options_left(const struct options *options)
{
    size_t i, left = 0;

    for (i = 0; i < options->count; i++) {
        left += !options->list[i].taken;
    }
    return left;
}

static struct option *find(const struct options *options, const char *key)
{
    size_t i;

    for (i = 0; i < options->count; i++) {
        if (!options->list[i].taken && !strcmp(options->list[i].key, key)) {
            return &options->list[i];
        }
    }
    return NULL;
}

bool options_have(const struct options *options, const char *key)
{
    return find(options, key);
}

const char *options_get(const struct options *options, const char *key)
{
    const struct option *option = find(options, key);

    return option ? option->value : NULL;
}

/* Reports an option as QEMU spells it: in memory that is gone after the call. */
static void report(const struct option *option, QbrOptionFn fn, void *opaque)
{
    char *key = strdup(option->key);
    char *value = strdup(option->value);

    fn(opaque, key, value);
    memset(key, '~', strlen(key));
    memset(value, '~', strlen(value));
    free(key);
    free(value);
}

void qbr_host_qdict_take(QDict *options, const char *key, QbrOptionFn fn, void *opaque)
{
    struct options *dict = (struct options *)options;
    size_t i, length = strlen(key);
    bool is_prefix = length && key[length - 1] == '.';

    for (i = 0; i < dict->count; i++) {
        struct option *option = &dict->list[i];
        bool wanted = is_prefix ? !strncmp(option->key, key, length) : !strcmp(option->key, key);

        if (wanted && !option->taken && option->type != OPTION_OTHER) {
            report(option, fn, opaque);
            option->taken = true;
        }
    }
}

void qbr_host_qdict_put(QDict *options, const char *key, const char *value)
{
    struct options *dict = (struct options *)options;
    struct option *option = find(dict, key);

    CHECK(value);
    if (option) {
        free(option->value);
        option->value = strdup(value);
        option->type = OPTION_TEXT;
    } else {
        struct option added = { .key = strdup(key), .value = strdup(value), .type = OPTION_TEXT };

        dict->list = realloc(dict->list, (dict->count + 1) * sizeof(added));
        dict->list[dict->count++] = added;
    }
}

void qbr_host_create_options_visit(BlockdevCreateOptions *options, QbrOptionFn fn, void *opaque)
{
    struct options *list = (struct options *)options;
    size_t i;

    for (i = 0; i < list->count; i++) {
        report(&list->list[i], fn, opaque);
    }
}

char *options_take(struct options *options, const char *key)
{
    return qbr_host_opts_take(as_opts(options), key);
}

size_t options_take_all(struct options *options, const char *prefix)
{
    size_t i, count = 0;

    for (i = 0; i < options->count; i++) {
        if (!options->list[i].taken && !strncmp(options->list[i].key, prefix, strlen(prefix))) {
            options->list[i].taken = true;
            count++;
        }
    }
    return count;
}

/* How many options have a key that begins with a prefix. */
static size_t count_prefix(const struct options *options, const char *prefix)
{
    size_t i, count = 0;

    for (i = 0; i < options->count; i++) {
        count += !options->list[i].taken && !strncmp(options->list[i].key, prefix, strlen(prefix));
    }
    return count;
}

int64_t qbr_host_qdict_array_entries(QDict *options, const char *prefix)
{
    const struct options *dict = (const struct options *)options;
    size_t seen = 0;
    int64_t entries;

    for (entries = 0;; entries++) {
        char key[64];
        size_t parts;
        bool whole;

        snprintf(key, sizeof(key), "%s%jd", prefix, (intmax_t)entries);
        whole = find(dict, key);
        snprintf(key, sizeof(key), "%s%jd.", prefix, (intmax_t)entries);
        parts = count_prefix(dict, key);
        if (whole && parts) {
            return -1;
        }
        if (!whole && !parts) {
            break;
        }
        seen += whole ? 1 : parts;
    }
    return seen == count_prefix(dict, prefix) ? entries : -1;
}

char *qbr_host_opts_take(QemuOpts *opts, const char *key)
{
    struct option *option = find((struct options *)opts, key);

    if (!option) {
        return NULL;
    }
    option->taken = true;
    return strdup(option->value);
}

uint64_t qbr_host_opts_take_size(QemuOpts *opts, const char *key, uint64_t fallback)
{
    struct option *option = find((struct options *)opts, key);

    if (!option) {
        return fallback;
    }
    option->taken = true;
    return strtoull(option->value, NULL, 10);
}

void qbr_host_free(void *ptr)
{
    free(ptr);
}
