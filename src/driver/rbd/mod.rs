// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Images on Ceph, as a client of the RBD format: what can be said without asking the cluster.
//!
//! Names, encodings, headers, striping and options; no I/O. The counterpart of `block/rbd.c` in its options and messages only:
//! the format is written from its description.

pub mod calls;
pub mod clones;
pub mod create_options;
pub mod directory;
pub mod encoding;
pub mod encryption;
pub mod features;
pub mod filename;
pub mod format1;
pub mod header;
pub mod lock;
pub mod mirroring;
pub mod names;
pub mod notify;
pub mod object_map;
pub mod options;
pub mod records;
pub mod refusal;
pub mod replies;
pub mod stored;
pub mod striping;

mod error;

pub use error::Error;

#[cfg(test)]
mod hex;
