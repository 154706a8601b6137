// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Images on Gluster volumes, through libgfapi.
//!
//! The counterpart of `block/gluster.c`; what differs on purpose is marked `DIVERGES:` and listed in `docs/divergences.md`.

pub mod options;
pub mod uri;

mod create;
mod error;
mod io;
mod open;
mod resize;
mod state;
mod status;
mod unflushed;

pub use create::{create, parse_create_options, parse_create_opts, Create};
pub use error::Error;
pub use open::{open, reopen, Access};
pub use resize::{Preallocation, Truncate};
pub use state::Gluster;
pub use status::BlockStatus;
