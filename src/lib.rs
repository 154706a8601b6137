// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! QEMU block drivers in Rust behind the C ABI of QEMU's `BlockDriver` callbacks.
//!
//! The way of a request: `ffi` converts what C hands over, [`host`] runs the driver's future and lets the coroutine sleep,
//! `driver` holds the logic in safe code, `backend` submits to the C library, `sys` declares it. Nothing points back;
//! `ARCHITECTURE.md` draws the whole picture.

// Loom replaces the atomics of the three modules that are model-checked; nothing else is built then.
#[cfg(loom)]
#[path = "host/join.rs"]
mod join;
#[cfg(loom)]
#[path = "host/park.rs"]
mod park;
#[cfg(loom)]
#[path = "host/turnstile.rs"]
mod turnstile;

#[cfg(not(loom))]
pub mod abi;
#[cfg(not(loom))]
pub mod errno;
#[cfg(not(loom))]
pub mod iov;
#[cfg(not(loom))]
pub mod options;
#[cfg(not(loom))]
pub mod range;

#[cfg(not(loom))]
pub mod backend;
#[cfg(not(loom))]
pub mod driver;
#[cfg(not(loom))]
pub mod ffi;
#[cfg(not(loom))]
pub mod host;
#[cfg(not(loom))]
pub mod sys;
