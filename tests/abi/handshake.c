/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Copyright (c) 2026 The qemu-block-rs authors */
/* An adapter and an archive that don't fit each other don't register, and say why. */

#include "handshake.h"

#include <stdarg.h>
#include <stdio.h>

#include "driver.h"
#include "test.h"

static char report[512];
static unsigned reports;

void handshake_report(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(report, sizeof(report), format, args);
    va_end(args);
    reports++;
}

TEST(versions_of_the_archive_are_those_of_its_headers)
{
    CHECK_INT(qbr_abi_version(), QBR_ABI_VERSION);
    CHECK_INT(qbr_host_version(), QBR_HOST_VERSION);
}

TEST(handshake_accepts_the_right_versions_silently)
{
    CHECK(accepts_right_versions("gluster"));
    CHECK_INT(reports, 0);
}

TEST(handshake_refuses_another_abi_version_and_names_the_driver)
{
    CHECK(!accepts_wrong_abi_version("gluster"));
    CHECK_INT(reports, 1);
    CHECK_CONTAINS(report, "gluster");
    CHECK_CONTAINS(report, "4711");
}

TEST(handshake_refuses_another_version_of_the_services_and_names_the_driver)
{
    CHECK(!accepts_wrong_host_version("gluster"));
    CHECK_INT(reports, 1);
    CHECK_CONTAINS(report, "gluster");
    CHECK_CONTAINS(report, "4711");
}
