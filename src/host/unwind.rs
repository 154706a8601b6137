// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The one place where a panic is caught.

use std::panic::AssertUnwindSafe;

const _: () = assert!(cfg!(panic = "unwind"), "panics must unwind: an abort would take the guest down");

/// Says that a panic was caught; whoever gets it must not trust the state that the panicking code worked on.
#[derive(Debug, PartialEq, Eq)]
pub struct Panicked;

/// Runs `f` and turns a panic into an error.
///
/// # Errors
/// [`Panicked`] if `f` panicked.
pub fn catch<T>(f: impl FnOnce() -> T) -> Result<T, Panicked> {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that catches")]
    match std::panic::catch_unwind(AssertUnwindSafe(f)) {
        Ok(value) => Ok(value),
        Err(payload) => {
            // A payload whose own destructor panics must not bring the panic back; it leaks instead.
            let _leaked = std::mem::ManuallyDrop::new(payload);
            Err(Panicked)
        }
    }
}
