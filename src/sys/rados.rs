// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! librados: `rados/librados.h`.
#![expect(
    missing_docs,
    non_camel_case_types,
    reason = "generated; the header is the documentation, and layout checks run at compile time"
)]

include!(concat!(env!("OUT_DIR"), "/rados.rs"));
