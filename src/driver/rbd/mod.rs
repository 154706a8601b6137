// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Images on Ceph, as a client of the RBD format on librados.
//!
//! The counterpart of `block/rbd.c` in its options and messages only: the format is written from its description. What differs on
//! purpose is marked `DIVERGES:` and listed in `docs/divergences.md`.

pub mod create_options;
pub mod filename;
pub mod format;
pub mod options;
pub mod refusal;

mod change;
mod connect;
mod create;
mod defaults;
mod error;
mod image;
mod io;
mod lock;
mod lookup;
mod map;
mod map_snapshots;
mod open;
mod resize;
mod share;
mod snapshots;
mod state;
mod status;
mod unanswered;
mod watch;
mod window;
mod zero;

pub use create::create;
pub use error::Error;
pub use format::encryption::Probe;
pub use io::One;
pub use open::{open, parse_filename, reopen, Access};
pub use snapshots::Listed;
pub use state::Rbd;
pub use status::BlockStatus;
