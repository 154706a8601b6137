/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Nodes and reopens. */

#include "../test.h"
#include "host.h"

void **qbr_host_bs_state(BlockDriverState *bs)
{
    return &bs->state;
}

void **qbr_host_reopen_state(BDRVReopenState *state)
{
    return &state->state;
}

BlockDriverState *qbr_host_reopen_bs(BDRVReopenState *state)
{
    return state->bs;
}

int qbr_host_reopen_flags(BDRVReopenState *state)
{
    return state->flags;
}

const char *qbr_host_bs_name(BlockDriverState *bs)
{
    return bs->name;
}

bool qbr_host_bs_is_inactive(BlockDriverState *bs)
{
    return bs->inactive;
}

void qbr_host_bs_set_limits(BlockDriverState *bs, const QbrLimits *limits)
{
    bs->limits = *limits;
    bs->limits_set = true;
}

void qbr_host_bs_set_flags(BlockDriverState *bs, const QbrFlags *flags)
{
    bs->flags = *flags;
    bs->flags_set++;
}

int qbr_host_apply_auto_read_only(BlockDriverState *bs, const char *reason, Error **errp)
{
    CHECK(reason && *reason);
    bs->auto_read_only_asked++;
    if (bs->auto_read_only < 0 && errp) {
        qbr_host_error_set(errp, reason, NULL);
    }
    return bs->auto_read_only;
}
