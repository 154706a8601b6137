// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! State that changes only while QEMU holds back a node's requests, such as its list of children.

use std::cell::UnsafeCell;

/// A value that the lock of QEMU's block graph protects, so that requests read it without a lock of their own.
///
/// QEMU runs every request and every query of a node with the graph locked for reading, on whatever thread (7.2: it drains the
/// node before a change), and a request keeps that until it ends.
#[derive(Debug, Default)]
pub struct GraphLocked<T>(UnsafeCell<T>);

// SAFETY: shared access only reads; `update`'s caller promises that there is none meanwhile.
unsafe impl<T: Send + Sync> Sync for GraphLocked<T> {}

impl<T> GraphLocked<T> {
    /// Wraps a value.
    pub fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// The value.
    pub fn get(&self) -> &T {
        // SAFETY: references from here live within a call from QEMU, and `update`'s caller promises that there is none.
        unsafe { &*self.0.get() }
    }

    /// Changes the value.
    ///
    /// # Safety
    /// No other call of the node is running or asleep: the caller is its open or close, or was called by QEMU with the graph locked
    /// for writing, or has drained the node. No reference from [`GraphLocked::get`] is used in `change` or after it.
    pub unsafe fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the caller promises that nobody else has a reference.
        change(unsafe { &mut *self.0.get() })
    }
}
