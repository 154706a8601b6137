// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The RBD format, as far as it can be said without asking the cluster: names, encodings, headers, striping, and what clients say
//! to each other. Safe code without I/O.

pub mod calls;
pub mod directory;
pub mod encoding;
pub mod encryption;
pub mod features;
pub mod format1;
pub mod header;
pub mod lock;
pub mod names;
pub mod notify;
pub mod object_map;
pub mod records;
pub mod replies;
pub mod striping;

mod error;

pub use error::FormatError;

#[cfg(test)]
mod hex;
