// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What the drivers get from the program they run in: a way to sleep, threads for blocking calls, options, messages.
//!
//! [`block_on`] lets a coroutine sleep; besides it only an operation on a child that runs in the request's own coroutine does.

mod blocking;
mod buffer;
mod child;
mod error;
mod gate;
mod graph;
mod join;
mod lanes;
mod memory;
mod park;
mod pool;
mod request;
mod thread;
mod token;
mod turnstile;

pub mod image;
pub mod options;
pub mod qemu;
pub mod replication;
pub mod unwind;

#[cfg(any(test, feature = "fuzzing"))]
mod fake;

pub use blocking::{spawn_blocking, spawn_waiting};
pub use buffer::{Buffer, Lent};
pub use child::{Child, Flags, Length, Permissions};
pub use error::{set_error, HostError};
pub use gate::{Exclusive, Gate, Shared};
pub use graph::GraphLocked;
pub use lanes::{Lanes, Op};
pub use pool::{Loan, Pool, Pooled};
pub use request::{block_on, Request};
pub use thread::{run_behind, spawn as spawn_thread};
pub use token::{Completion, Signal, Token};
