/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* Images with an object map, and what their tests have in common. */
#ifndef QBR_TEST_RBD_MAP_H
#define QBR_TEST_RBD_MAP_H

#include "rbd.h"

#define MAPPED (CEPH_LAYERING | CEPH_EXCLUSIVE_LOCK | CEPH_OBJECT_MAP)
#define MAP ceph_map(IMAGE)

/* Makes the image, with a map that also says what has changed since the newest snapshot. */
void mapped_image(void);
/* Opens a node over the image as it is and writes to object 0, so that the lock is its own, and the map known. */
void mapped_open(BlockDriverState *bs);
/* Both. */
void mapped_node(BlockDriverState *bs);
/* Writes 512 bytes to the beginning of an object. */
int64_t write_object(BlockDriverState *bs, unsigned object);
void check_map_state(unsigned object, int state);
/* Both were done, in this order. */
void check_order(const char *first, const char *second);
/* Nobody relies on the map any more, and all of it works. */
void check_map_is_invalid(BlockDriverState *bs);

#endif
