// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Host services: `adapter/qbr-host.h`.
#![expect(
    missing_docs,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "generated; the header is the documentation, and layout checks run at compile time"
)]

include!(concat!(env!("OUT_DIR"), "/host.rs"));
