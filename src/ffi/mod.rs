// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The C ABI: one file per driver, with exports that convert, guard, and call one function of the driver.
//!
//! All of them take raw pointers as QEMU's block layer passes them, and check them for NULL.

mod arg;
mod guard;
#[cfg(any(feature = "gluster", feature = "rbd"))]
mod reopen;

#[cfg(feature = "gluster")]
pub mod gluster;
#[cfg(feature = "quorum")]
pub mod quorum;
#[cfg(feature = "rbd")]
pub mod rbd;
#[cfg(feature = "replication")]
pub mod replication;
pub mod version;
