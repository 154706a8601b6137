/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* The adapters' check of versions, compiled as three adapters would: with the right numbers and with wrong ones. */
#ifndef QBR_TEST_HANDSHAKE_H
#define QBR_TEST_HANDSHAKE_H

#include <stdbool.h>

bool accepts_right_versions(const char *driver);
bool accepts_wrong_abi_version(const char *driver);
bool accepts_wrong_host_version(const char *driver);

/* error_report(), which the check calls. */
__attribute__((format(printf, 1, 2))) void handshake_report(const char *format, ...);

#endif
