// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! One side of a block replication: what a guest writes on the primary reaches the secondary's disk, and a secondary that takes
//! over goes on from the last checkpoint, or from what its own guest has written since.
//!
//! The counterpart of `block/replication.c`; what differs on purpose is marked `DIVERGES:` and listed in `docs/divergences.md`.
//! [`machine`] decides what is allowed when, `stages` does it.

pub mod machine;
pub mod options;

mod error;
mod io;
mod open;
mod stages;
mod state;
mod status;

pub use error::Error;
pub use machine::Mode;
pub use open::permissions;
pub use options::Options;
pub use state::Replication;
