/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* An adapter of the same version as the archive. The check is the adapters' own source (run.sh takes it out). */

#include "handshake.h"

#include "qbr-host.h"
#include "qemu-block-rs.h"

#define qbr_host_accepts_archive accepts_right_versions
#define error_report handshake_report

#include "accepts.inc"
