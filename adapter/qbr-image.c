/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* The services of qbr-host.h for drivers whose nodes are images in a store: what it knows of them, and the keys to it. */

#include "qemu/osdep.h"

#include "block/block_int.h"
#include "block/snapshot.h"
#include "crypto/secret.h"
#include "qapi/error.h"
#include "qapi/qapi-types-block-core.h"
#include "qemu/cutils.h"

#include "qbr-compat.h"
#include "qbr-host.h"
#include "qemu-block-rs.h"

/* --- Images --------------------------------------------------------------------------------------------------------------- */

void qbr_host_info_set_cluster_size(BlockDriverInfo *info, uint32_t bytes)
{
    info->cluster_size = MIN(bytes, INT_MAX);
}

ImageInfoSpecific *qbr_host_rbd_info(uint32_t encryption)
{
    ImageInfoSpecific *info = g_new0(ImageInfoSpecific, 1);
    ImageInfoSpecificRbd *rbd = g_new0(ImageInfoSpecificRbd, 1);

    info->type = IMAGE_INFO_SPECIFIC_KIND_RBD;
    info->u.rbd.data = rbd;
    rbd->has_encryption_format = encryption != QBR_RBD_PLAIN;
    rbd->encryption_format = encryption == QBR_RBD_LUKS2 ? RBD_IMAGE_ENCRYPTION_FORMAT_LUKS2
                                                         : RBD_IMAGE_ENCRYPTION_FORMAT_LUKS;
    return info;
}

const char *qbr_host_snapshot_name(const QEMUSnapshotInfo *info)
{
    return info->name;
}

const char *qbr_host_snapshot_id(const QEMUSnapshotInfo *info)
{
    return info->id_str;
}

QEMUSnapshotInfo *qbr_host_snapshots_new(size_t count)
{
    return g_try_new0(QEMUSnapshotInfo, count);
}

void qbr_host_snapshots_set(QEMUSnapshotInfo *table, size_t index, const char *name, uint64_t size)
{
    QEMUSnapshotInfo *info = &table[index];

    pstrcpy(info->id_str, sizeof(info->id_str), name);
    pstrcpy(info->name, sizeof(info->name), name);
    info->vm_state_size = size;
}

/* --- Secrets -------------------------------------------------------------------------------------------------------------- */

char *qbr_host_secret_base64(const char *id, Error **errp)
{
    return qcrypto_secret_lookup_as_base64(id, errp);
}
