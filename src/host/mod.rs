// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What the drivers get from the program they run in: a way to sleep, threads for blocking calls, options, messages.
//!
//! [`block_on`] is the only function that lets a coroutine sleep.

mod blocking;
mod park;
mod request;
pub(crate) mod thread;
mod token;

pub mod options;
pub mod qemu;
pub mod unwind;

#[cfg(any(test, feature = "fuzzing"))]
mod fake;

pub use blocking::{spawn_blocking, spawn_detached};
pub use request::{block_on, Request};
pub use token::{Completion, Token};
