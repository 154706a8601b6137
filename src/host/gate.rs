// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! A gate in front of a value: many requests are inside at a time, or one that changes the value, alone.
//!
//! It stays closed or passed across an await, as a request is inside until its operations have landed. Passing it costs two
//! atomic operations; only who has to wait takes a lock. Whoever waits to be alone goes before those who come later.

use std::cell::UnsafeCell;
use std::collections::VecDeque;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::request::Request;
use super::token::Signal;
use super::turnstile::Turnstile;
use crate::errno::Errno;

/// Those who wait; each goes on when its signal is dropped.
#[derive(Debug, Default)]
struct Waiting {
    /// The one who has closed the gate and waits for it to be empty.
    closer: Option<Signal>,
    /// Those who want to be alone later.
    exclusive: VecDeque<Signal>,
    /// Those who came to a closed gate.
    shared: Vec<Signal>,
}

/// The gate and its value.
pub struct Gate<T> {
    turnstile: Turnstile,
    waiting: Mutex<Waiting>,
    value: UnsafeCell<T>,
}

// SAFETY: the value moves with the gate.
unsafe impl<T: Send> Send for Gate<T> {}
// SAFETY: references to the value are given out as by a reader-writer lock, see `Shared` and `Exclusive`.
unsafe impl<T: Send + Sync> Sync for Gate<T> {}

impl<T> fmt::Debug for Gate<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("turnstile", &self.turnstile).finish_non_exhaustive()
    }
}

impl<T> Gate<T> {
    /// An open gate.
    pub fn new(value: T) -> Self {
        Self {
            turnstile: Turnstile::new(),
            waiting: Mutex::new(Waiting::default()),
            value: UnsafeCell::new(value),
        }
    }

    /// Passes, if need be when the gate is open again.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub async fn shared(&self, rq: &Request) -> Result<Shared<'_, T>, Errno> {
        loop {
            if let Some(shared) = self.try_shared() {
                return Ok(shared);
            }
            let opened = rq.submit(|token| {
                let mut waiting = self.lock();
                let signal = token.signal();
                if self.turnstile.is_closed() {
                    waiting.shared.push(signal);
                } else {
                    drop(waiting);
                    drop(signal);
                }
                Ok(())
            });
            opened.await?;
        }
    }

    /// Passes, if the gate is open.
    pub fn try_shared(&self) -> Option<Shared<'_, T>> {
        if self.turnstile.enter() {
            return Some(Shared(self));
        }
        self.leave();
        None
    }

    /// Waits until nobody else is inside, and keeps everybody out.
    ///
    /// Outside of coroutines the thread waits: a caller in the main loop has to know that no request of its loop is inside.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub async fn exclusive(&self, rq: &Request) -> Result<Exclusive<'_, T>, Errno> {
        let alone = rq.submit(|token| {
            let mut waiting = self.lock();
            let signal = token.signal();
            if self.turnstile.is_closed() {
                waiting.exclusive.push_back(signal);
            } else if self.turnstile.close() {
                drop(waiting);
                drop(signal);
            } else {
                waiting.closer = Some(signal);
            }
            Ok(())
        });
        alone.await?;
        Ok(Exclusive(self))
    }

    /// Keeps everybody out, if nobody is inside and nobody wants to be alone.
    pub fn try_exclusive(&self) -> Option<Exclusive<'_, T>> {
        // Under the lock, so that nobody else closes it at the same time.
        let waiting = self.lock();
        let alone = self.turnstile.try_close().then(|| Exclusive(self));
        drop(waiting);
        alone
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves, and tells the one who waits for an empty gate.
    fn leave(&self) {
        if self.turnstile.leave() {
            let mut waiting = self.lock();
            // It was empty; but it may have been opened since, and closed again by somebody else, with others inside.
            let closer = if self.turnstile.is_closed_and_empty() { waiting.closer.take() } else { None };
            drop(waiting);
            drop(closer);
        }
    }

    /// Ends being alone: the next one who wants to be has it at once, else the gate is open.
    fn open(&self) {
        let mut waiting = self.lock();
        if let Some(next) = waiting.exclusive.pop_front() {
            // Somebody who was turned away may still count as inside, but no request is.
            drop(waiting);
            drop(next);
            return;
        }
        self.turnstile.open();
        let shared = std::mem::take(&mut waiting.shared);
        drop(waiting);
        drop(shared);
    }
}

/// Being inside together with others.
#[derive(Debug)]
pub struct Shared<'a, T>(&'a Gate<T>);

impl<T> Deref for Shared<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this one was let in, and counts as inside until it is dropped; nobody is alone meanwhile.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> Drop for Shared<'_, T> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

/// Being inside alone.
#[derive(Debug)]
pub struct Exclusive<'a, T>(&'a Gate<T>);

impl<T> Deref for Exclusive<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the gate is closed and was empty; it opens when this is dropped.
        unsafe { &*self.0.value.get() }
    }
}

impl<T> DerefMut for Exclusive<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.0.value.get() }
    }
}

impl<T> Drop for Exclusive<'_, T> {
    fn drop(&mut self) {
        self.0.open();
    }
}
