// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What a pool knows: which buffers are free, and how much memory is used and kept.

use std::collections::VecDeque;

use super::class::CLASSES;
use super::Pooled;
use crate::host::token::Signal;

/// The books of a pool.
#[derive(Debug)]
pub(super) struct State<T> {
    /// Buffers that nobody uses, by class.
    pub(super) free: [Vec<T>; CLASSES],
    /// How many of them nobody has used since the last look.
    pub(super) idle: [usize; CLASSES],
    /// Bytes that requests use, and bytes that free buffers have.
    pub(super) in_use: usize,
    pub(super) kept: usize,
    /// Bytes that requests may use together.
    pub(super) limit: usize,
    /// Requests that wait for others to end, in their order.
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) has_thread: bool,
    pub(super) closed: bool,
}

/// A request that waits for memory.
#[derive(Debug)]
pub(super) struct Waiting {
    bytes: usize,
    /// Ends its wait when it is dropped.
    _admitted: Signal,
}

impl Waiting {
    /// A request that goes on when this is dropped.
    pub(super) fn new(bytes: usize, admitted: Signal) -> Self {
        Self { bytes, _admitted: admitted }
    }
}

impl<T> Default for State<T> {
    fn default() -> Self {
        Self {
            free: std::array::from_fn(|_| Vec::new()),
            idle: [0; CLASSES],
            in_use: 0,
            kept: 0,
            limit: 0,
            waiting: VecDeque::new(),
            has_thread: false,
            closed: false,
        }
    }
}

impl<T: Pooled> State<T> {
    /// Whether a request may use so many bytes now; then they count as used.
    pub(super) fn admit(&mut self, bytes: usize) -> bool {
        let fits = bytes == 0 || (self.waiting.is_empty() && self.has_room_for(bytes));
        if fits {
            self.in_use = self.in_use.saturating_add(bytes);
        }
        fits
    }

    /// Whether the limit allows so many bytes more; a request that is alone may have what it needs.
    fn has_room_for(&self, bytes: usize) -> bool {
        self.in_use == 0 || self.in_use.saturating_add(bytes) <= self.limit
    }

    /// Those whose turn it is; they go on when this is dropped.
    pub(super) fn admit_waiting(&mut self) -> Vec<Waiting> {
        let mut admitted = Vec::new();
        while self.waiting.front().is_some_and(|first| self.has_room_for(first.bytes)) {
            if let Some(first) = self.waiting.pop_front() {
                self.in_use = self.in_use.saturating_add(first.bytes);
                admitted.push(first);
            }
        }
        admitted
    }

    /// Free buffers of a class.
    pub(super) fn pop(&mut self, class: usize) -> Option<T> {
        let buffers = self.free.get_mut(class)?.pop()?;
        self.kept = self.kept.saturating_sub(buffers.footprint());
        self.note_idle(class);
        Some(buffers)
    }

    /// Free buffers of a class, for so many children. When a quorum's children change, the old ones are too few or
    /// take more memory than they count for.
    pub(super) fn pop_for(&mut self, class: usize, count: usize) -> Option<T> {
        self.pop(class).filter(|buffers| buffers.count() == count)
    }

    /// Keeps buffers for the next request.
    pub(super) fn push(&mut self, class: usize, buffers: T) {
        if buffers.count() > 0 {
            self.kept = self.kept.saturating_add(buffers.footprint());
            if let Some(free) = self.free.get_mut(class) {
                free.push(buffers);
            }
        }
    }

    /// Keeps count of what was free all the time.
    fn note_idle(&mut self, class: usize) {
        let free = self.free.get(class).map_or(0, Vec::len);
        if let Some(idle) = self.idle.get_mut(class) {
            *idle = free.min(*idle);
        }
    }

    /// Free buffers to drop, so that what is used and what is kept stay within the limit together; the largest first.
    pub(super) fn make_room(&mut self) -> Vec<T> {
        let mut dropped = Vec::new();
        for class in (1..CLASSES).rev() {
            while self.in_use.saturating_add(self.kept) > self.limit {
                let Some(buffers) = self.pop(class) else { break };
                dropped.push(buffers);
            }
        }
        dropped
    }

    /// Buffers that were free since the last call.
    pub(super) fn take_idle(&mut self) -> Vec<T> {
        let mut taken = Vec::new();
        for (free, idle) in self.free.iter_mut().zip(&mut self.idle) {
            // Those at the end were used last.
            taken.extend(free.drain(..free.len().min(*idle)));
            *idle = free.len();
        }
        let bytes = taken.iter().map(T::footprint).fold(0, usize::saturating_add);
        self.kept = self.kept.saturating_sub(bytes);
        taken
    }
}
