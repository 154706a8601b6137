/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Clients, their settings, and handles of pools. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static struct client *clients;
static struct handle *handles;
static uint64_t last_number = 4100;
static struct pool pools[] = { { .name = "rbd", .id = 2 }, { .name = "data", .id = 3 } };

/* Settings that every client has, with what they are unless somebody changes them. */
static struct {
    const char *key;
    char value[128];
} defaults[] = {
    { "mon_host", "" },
    { "auth_client_required", "cephx, none" },
    { "key", "" },
    { "client_mount_timeout", "300.000000" },
    { "objecter_inflight_ops", "1024" },
    { "objecter_inflight_op_bytes", "104857600" },
    { "ms_tcp_prefetch_max_size", "4096" },
    { "rbd_default_order", "22" },
    { "rbd_default_format", "2" },
    { "rbd_default_features", "layering,exclusive-lock,object-map,fast-diff,deep-flatten" },
    { "rbd_default_stripe_unit", "0" },
    { "rbd_default_stripe_count", "0" },
    { "rbd_default_data_pool", "" },
    { "rbd_validate_pool", "true" },
};

#define DEFAULTS (sizeof(defaults) / sizeof(defaults[0]))

/* What the configuration files say of them; may be nothing. */
static char configured[DEFAULTS][128];

static int default_of(const char *key)
{
    unsigned i;

    for (i = 0; i < DEFAULTS; i++) {
        if (!strcmp(defaults[i].key, key)) {
            return i;
        }
    }
    return -1;
}

void ceph_setting(const char *key, const char *value)
{
    ceph_acquire();
    snprintf(defaults[default_of(key)].value, sizeof(defaults[0].value), "%s", value);
    ceph_release_lock();
}

void ceph_configure(const char *key, const char *value)
{
    ceph_acquire();
    snprintf(configured[default_of(key)], sizeof(configured[0]), "%s", value);
    ceph_release_lock();
}

static void told(struct client *client, const char *what, const char *a, const char *b)
{
    size_t used = strlen(client->log);

    if (client->connected || client->ended) {
        ceph_violate("a client was configured after it had connected");
    }
    snprintf(client->log + used, sizeof(client->log) - used, "%s %s%s%s\n", what, a, *b ? "=" : "", b);
}

int rados_create(rados_t *cluster, const char *const id)
{
    int ret = ceph_begin(CEPH_CREATE);
    struct client *client;

    if (ret) {
        return ret;
    }
    client = calloc(1, sizeof(*client));
    ceph_acquire();
    client->number = ++last_number;
    client->next = clients;
    clients = client;
    told(client, "create", id ? id : "(default)", "");
    ceph_release_lock();
    *cluster = client;
    return 0;
}

int rados_conf_read_file(rados_t cluster, const char *path)
{
    int ret = ceph_begin(CEPH_CONF_READ);
    struct client *client = cluster;

    ceph_acquire();
    told(cluster, "conf", path ? path : "(default)", "");
    client->configured = !ret;
    ceph_release_lock();
    return ret;
}

int rados_conf_set(rados_t cluster, const char *option, const char *value)
{
    struct client *client = cluster;
    int ret = ceph_begin(CEPH_CONF_SET);

    ceph_acquire();
    told(client, "set", option, value);
    if (!ret && default_of(option) < 0) {
        ret = -ENOENT;
    }
    if (!ret && client->settings < 64) {
        snprintf(client->setting[client->settings].key, 64, "%s", option);
        snprintf(client->setting[client->settings].value, 512, "%s", value);
        client->settings++;
    }
    ceph_release_lock();
    return ret;
}

int rados_conf_get(rados_t cluster, const char *option, char *buf, size_t len)
{
    struct client *client = cluster;
    int index = default_of(option);
    const char *value;
    unsigned i;
    int ret = 0;

    if (index < 0) {
        return -ENOENT;
    }
    ceph_acquire();
    value = client->configured && *configured[index] ? configured[index] : defaults[index].value;
    for (i = 0; i < client->settings; i++) {
        if (!strcmp(client->setting[i].key, option)) {
            value = client->setting[i].value;
        }
    }
    if (strlen(value) >= len) {
        ret = -ENAMETOOLONG;
    } else {
        strcpy(buf, value);
    }
    ceph_release_lock();
    return ret;
}

int rados_connect(rados_t cluster)
{
    struct client *client = cluster;
    int ret;

    ceph_blocks("a callback connects");
    ret = ceph_begin(CEPH_CONNECT);
    ceph_acquire();
    if (client->connected || client->ended) {
        ceph_violate("a client was connected twice, or after its end");
    }
    client->connected = !ret;
    ceph_release_lock();
    return ret;
}

void rados_shutdown(rados_t cluster)
{
    struct client *client = cluster;

    ceph_blocks("a callback ends its client");
    ceph_begin(CEPH_SHUTDOWN);
    ceph_acquire();
    if (client->ended) {
        ceph_violate("a client was ended twice");
    }
    if (client->handles) {
        ceph_violate("a client was ended whose pools are in use");
    }
    if (client->in_flight) {
        ceph_violate("a client was ended with operations in flight");
    }
    if (watch_count(client)) {
        ceph_violate("a client was ended with watches");
    }
    client->ended = true;
    ceph_release_lock();
}

uint64_t rados_get_instance_id(rados_t cluster)
{
    struct client *client = cluster;

    ceph_acquire();
    if (!client->connected || client->ended) {
        ceph_violate("a client was asked for its number that is not connected");
    }
    ceph_release_lock();
    return client->number;
}

int rados_blocklist_add(rados_t cluster, char *client_address, uint32_t expire_seconds)
{
    const char *number = strchr(client_address, '/');
    struct client *client;
    int ret;

    (void)cluster;
    (void)expire_seconds;
    ceph_blocks("a callback shuts a client out");
    ret = ceph_begin(CEPH_BLOCKLIST);
    if (ret) {
        return ret;
    }
    if (!number) {
        return -EINVAL;
    }
    ceph_acquire();
    ceph_note("blocklist %s\n", client_address);
    for (client = clients; client; client = client->next) {
        client->blocked |= client->number == strtoull(number + 1, NULL, 10);
    }
    ceph_release_lock();
    return 0;
}

int rados_wait_for_latest_osdmap(rados_t cluster)
{
    (void)cluster;
    ceph_blocks("a callback waits for a map");
    return 0;
}

/* --- Handles -------------------------------------------------------------------------------------------------------------- */

struct pool *ceph_pool(int64_t id)
{
    unsigned i;

    for (i = 0; i < sizeof(pools) / sizeof(pools[0]); i++) {
        if (pools[i].id == id) {
            return &pools[i];
        }
    }
    return NULL;
}

static int open_pool(struct client *client, struct pool *pool, rados_ioctx_t *ioctx)
{
    int ret = ceph_begin(CEPH_POOL);
    struct handle *handle;

    if (!ret && !pool) {
        ret = -ENOENT;
    }
    if (ret) {
        return ret;
    }
    handle = calloc(1, sizeof(*handle));
    ceph_acquire();
    if (!client->connected || client->ended) {
        ceph_violate("a pool was opened by a client that is not connected");
    }
    *handle = (struct handle) { .next = handles, .client = client, .pool = pool, .snap = NO_SNAP };
    handles = handle;
    client->handles++;
    ceph_count_alive(1);
    ceph_release_lock();
    *ioctx = handle;
    return 0;
}

int rados_ioctx_create(rados_t cluster, const char *pool_name, rados_ioctx_t *ioctx)
{
    struct pool *found = NULL;
    unsigned i;

    for (i = 0; i < sizeof(pools) / sizeof(pools[0]); i++) {
        if (!strcmp(pools[i].name, pool_name)) {
            found = &pools[i];
        }
    }
    return open_pool(cluster, found, ioctx);
}

int rados_ioctx_create2(rados_t cluster, int64_t pool_id, rados_ioctx_t *ioctx)
{
    return open_pool(cluster, ceph_pool(pool_id), ioctx);
}

bool ceph_usable(struct handle *handle)
{
    if (handle->ended || handle->client->ended) {
        ceph_violate("a pool was used after its end");
        return false;
    }
    return true;
}

/* Begins to change a handle; what is submitted with it at the same time might see half of it. */
static bool change(struct handle *handle)
{
    if (handle->used) {
        ceph_violate("a pool handle was changed that was used before");
    }
    return ceph_usable(handle);
}

void rados_ioctx_destroy(rados_ioctx_t io)
{
    struct handle *handle = io;

    ceph_acquire();
    if (ceph_usable(handle)) {
        handle->ended = true;
        handle->client->handles--;
        ceph_count_alive(-1);
    }
    ceph_release_lock();
}

int64_t rados_ioctx_get_id(rados_ioctx_t io)
{
    struct handle *handle = io;

    ceph_acquire();
    ceph_usable(handle);
    ceph_release_lock();
    return handle->pool->id;
}

void rados_ioctx_set_namespace(rados_ioctx_t io, const char *nspace)
{
    struct handle *handle = io;

    ceph_acquire();
    if (change(handle)) {
        snprintf(handle->namespace, sizeof(handle->namespace), "%s", nspace);
    }
    ceph_release_lock();
}

void rados_ioctx_snap_set_read(rados_ioctx_t io, rados_snap_t snap)
{
    struct handle *handle = io;

    ceph_acquire();
    if (change(handle)) {
        handle->snap = snap;
    }
    ceph_release_lock();
}

int rados_ioctx_selfmanaged_snap_set_write_ctx(rados_ioctx_t io, rados_snap_t seq, rados_snap_t *snaps, int num_snaps)
{
    struct handle *handle = io;
    uint64_t above = seq + 1;
    int i;

    if (num_snaps > MAX_SNAPS) {
        abort();
    }
    for (i = 0; i < num_snaps; i++) {
        if (snaps[i] >= above) {
            return -EINVAL;
        }
        above = snaps[i];
    }
    ceph_acquire();
    if (change(handle)) {
        handle->context = (struct context) { .seq = seq, .count = num_snaps };
        if (num_snaps) {
            memcpy(handle->context.ids, snaps, num_snaps * sizeof(*snaps));
        }
    }
    ceph_release_lock();
    return 0;
}

void rados_set_pool_full_try(rados_ioctx_t io)
{
    ceph_acquire();
    change(io);
    ceph_release_lock();
}

/* --- For tests ------------------------------------------------------------------------------------------------------------ */

static unsigned live_clients(void)
{
    const struct client *client;
    unsigned count = 0;

    for (client = clients; client; client = client->next) {
        count += !client->ended;
    }
    return count;
}

unsigned ceph_clients(void)
{
    unsigned count;

    ceph_acquire();
    count = live_clients();
    ceph_release_lock();
    return count;
}

void ceph_forget(void)
{
    struct client *client;

    ceph_acquire();
    for (client = clients; client; client = client->next) {
        client->ended = true;
    }
    ceph_none_alive();
    ceph_release_lock();
}

void ceph_wait_for_no_client(void)
{
    ceph_acquire();
    while (live_clients()) {
        pthread_cond_wait(&ceph_changed, &ceph_lock);
    }
    ceph_release_lock();
}

uint64_t ceph_last_client(void)
{
    return clients ? clients->number : 0;
}

const char *ceph_client_log(void)
{
    return clients ? clients->log : "";
}

void ceph_block(uint64_t number)
{
    struct client *client;

    ceph_acquire();
    for (client = clients; client; client = client->next) {
        client->blocked |= client->number == number;
    }
    ceph_release_lock();
}
