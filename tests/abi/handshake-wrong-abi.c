/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* An adapter that was compiled with the exports of another version. */

#include "handshake.h"

#include "qbr-host.h"
#include "qemu-block-rs.h"

#undef QBR_ABI_VERSION
#define QBR_ABI_VERSION 4711
#define qbr_host_accepts_archive accepts_wrong_abi_version
#define error_report handshake_report

#include "accepts.inc"
