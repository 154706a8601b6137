// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Several children that hold the same data: reads are put to the vote, writes go to all.
//!
//! The counterpart of `block/quorum.c`; what differs on purpose is marked `DIVERGES:` and listed in `docs/divergences.md`.

pub mod options;
pub mod vote;

mod allowance;
mod children;
mod error;
mod io;
mod open;
mod read;
mod repair;
mod resize;
mod state;
mod status;

pub use children::Children;
pub use error::Error;
pub use open::permissions;
pub use options::{Options, ReadPattern};
pub use state::Quorum;
pub use status::BlockStatus;
