// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The drivers: all the logic, in safe code that never sees a C type.
#![forbid(unsafe_code)]

#[cfg(feature = "gluster")]
pub mod gluster;
#[cfg(feature = "quorum")]
pub mod quorum;
#[cfg(feature = "rbd")]
pub mod rbd;
#[cfg(feature = "replication")]
pub mod replication;
