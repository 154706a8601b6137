/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* What is said about images, and secrets. Secrets are looked up in the main loop only, so they need no lock. */

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../test.h"
#include "host.h"

static atomic_uint alive;
static atomic_bool no_memory;

static struct {
    const char *id;
    const char *base64;
} secrets[8];
static size_t secret_count;
static atomic_uint asked;

/* --- Images --------------------------------------------------------------------------------------------------------------- */

void qbr_host_info_set_cluster_size(BlockDriverInfo *info, uint32_t bytes)
{
    CHECK(info);
    info->cluster_size = bytes;
}

ImageInfoSpecific *qbr_host_rbd_info(uint32_t encryption)
{
    ImageInfoSpecific *info = calloc(1, sizeof(*info));

    CHECK(encryption <= QBR_RBD_LUKS2);
    info->encryption = encryption;
    alive++;
    return info;
}

void info_free(ImageInfoSpecific *info)
{
    if (info) {
        alive--;
        free(info);
    }
}

const char *qbr_host_snapshot_name(const QEMUSnapshotInfo *info)
{
    CHECK(info);
    return info->name;
}

const char *qbr_host_snapshot_id(const QEMUSnapshotInfo *info)
{
    CHECK(info);
    return info->id_str;
}

QEMUSnapshotInfo *qbr_host_snapshots_new(size_t count)
{
    if (!count || no_memory) {
        return NULL;
    }
    alive++;
    return calloc(count, sizeof(QEMUSnapshotInfo));
}

void qbr_host_snapshots_set(QEMUSnapshotInfo *table, size_t index, const char *name, uint64_t size)
{
    QEMUSnapshotInfo *info = &table[index];

    /* Each is described once. */
    CHECK(!*info->name);
    snprintf(info->id_str, sizeof(info->id_str), "%s", name);
    snprintf(info->name, sizeof(info->name), "%s", name);
    info->vm_state_size = size;
}

unsigned tables_alive(void)
{
    return alive;
}

void table_free(QEMUSnapshotInfo *table)
{
    if (table) {
        alive--;
        free(table);
    }
}

void tables_run_out(bool on)
{
    no_memory = on;
}

/* --- Secrets -------------------------------------------------------------------------------------------------------------- */

void secret_add(const char *id, const char *base64)
{
    CHECK(secret_count < sizeof(secrets) / sizeof(*secrets));
    secrets[secret_count].id = id;
    secrets[secret_count].base64 = base64;
    secret_count++;
}

void secrets_forget(void)
{
    secret_count = 0;
    asked = 0;
}

unsigned secrets_asked(void)
{
    return asked;
}

char *qbr_host_secret_base64(const char *id, Error **errp)
{
    char message[256];
    size_t i;

    asked++;
    for (i = 0; i < secret_count; i++) {
        if (!strcmp(secrets[i].id, id)) {
            return strdup(secrets[i].base64);
        }
    }
    snprintf(message, sizeof(message), "No secret with id '%s'", id);
    qbr_host_error_set(errp, message, NULL);
    return NULL;
}
