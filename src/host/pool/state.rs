// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What a pool knows: which lanes are free, and how much memory is used and kept.

use std::collections::VecDeque;

use super::class::CLASSES;
use crate::host::{Lanes, Signal};

/// The books of a pool.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Lanes that nobody uses, by class.
    pub(super) free: [Vec<Lanes>; CLASSES],
    /// How many of them nobody has used since the last look.
    pub(super) idle: [usize; CLASSES],
    /// Bytes that requests use, and bytes that free lanes have.
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

impl State {
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

    /// Free lanes of a class.
    pub(super) fn pop(&mut self, class: usize) -> Option<Lanes> {
        let lanes = self.free.get_mut(class)?.pop()?;
        self.kept = self.kept.saturating_sub(lanes.footprint());
        self.note_idle(class);
        Some(lanes)
    }

    /// Free lanes of a class, for so many children. After a child was added the old ones are too few, and after one was removed they
    /// take more memory than they count for.
    pub(super) fn pop_for(&mut self, class: usize, count: usize) -> Option<Lanes> {
        self.pop(class).filter(|lanes| lanes.count() == count)
    }

    /// Keeps lanes for the next request.
    pub(super) fn push(&mut self, class: usize, lanes: Lanes) {
        if lanes.count() > 0 {
            self.kept = self.kept.saturating_add(lanes.footprint());
            if let Some(free) = self.free.get_mut(class) {
                free.push(lanes);
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

    /// Free lanes to drop, so that what is used and what is kept stay within the limit together; the largest first.
    pub(super) fn make_room(&mut self) -> Vec<Lanes> {
        let mut dropped = Vec::new();
        for class in (1..CLASSES).rev() {
            while self.in_use.saturating_add(self.kept) > self.limit {
                let Some(lanes) = self.pop(class) else { break };
                dropped.push(lanes);
            }
        }
        dropped
    }

    /// Lanes that were free since the last call.
    pub(super) fn take_idle(&mut self) -> Vec<Lanes> {
        let mut taken = Vec::new();
        for (free, idle) in self.free.iter_mut().zip(&mut self.idle) {
            // Those at the end were used last.
            taken.extend(free.drain(..free.len().min(*idle)));
            *idle = free.len();
        }
        let bytes = taken.iter().map(Lanes::footprint).fold(0, usize::saturating_add);
        self.kept = self.kept.saturating_sub(bytes);
        taken
    }
}
