// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Host services: `adapter/qbr-host.h`.
#![expect(
    missing_docs,
    clippy::missing_safety_doc,
    reason = "generated; the header is the documentation"
)]

include!(concat!(env!("OUT_DIR"), "/host.rs"));
