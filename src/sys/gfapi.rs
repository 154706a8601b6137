// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! libgfapi: `glusterfs/api/glfs.h`.
#![expect(
    missing_docs,
    non_camel_case_types,
    clippy::missing_safety_doc,
    reason = "generated; the header is the documentation"
)]

include!(concat!(env!("OUT_DIR"), "/gfapi.rs"));
