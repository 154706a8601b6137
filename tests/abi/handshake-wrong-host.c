/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* An adapter that was compiled with the services of another version. */

#include "handshake.h"

#include "qbr-host.h"
#include "qemu-block-rs.h"

#undef QBR_HOST_VERSION
#define QBR_HOST_VERSION 4711u
#define qbr_host_accepts_archive accepts_wrong_host_version
#define error_report handshake_report

#include "accepts.inc"
