// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Walking through the objects that a request touches.

use super::Layout;
use crate::range::ByteRange;

/// A range of one object that a request touches, with the pieces of the request that belong there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObjectRange {
    /// Number of the object.
    pub object: u64,
    /// First byte, in the object.
    pub offset: u64,
    /// Number of bytes; never 0.
    pub length: u64,
    /// Where the first of these bytes stands in the request.
    pub first: u64,
    /// Length of the first piece, which may begin within a block.
    head: u64,
    /// Length of a whole piece.
    unit: u64,
    /// From the end of a piece to the begin of the next one, in the request.
    gap: u64,
}

impl ObjectRange {
    /// The pieces of the request that make up the range, in order. One, if the image isn't striped.
    #[must_use]
    pub fn pieces(&self) -> Pieces {
        Pieces { at: self.first, next: self.head, left: self.length, unit: self.unit, gap: self.gap }
    }

    /// A range of an object for an operation without memory.
    #[must_use]
    pub fn of(object: u64, offset: u64, length: u64) -> Self {
        Self { object, offset, length, first: 0, head: length, unit: length, gap: 0 }
    }

    /// Whether the range is one piece of the request.
    #[must_use]
    pub fn is_one_piece(&self) -> bool {
        self.head >= self.length
    }
}

/// A piece of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// First byte, counted from the start of the request.
    pub at: u64,
    /// Number of bytes; never 0.
    pub length: u64,
}

/// The pieces of one [`ObjectRange`].
#[derive(Debug, Clone)]
pub struct Pieces {
    at: u64,
    next: u64,
    left: u64,
    unit: u64,
    gap: u64,
}

impl Iterator for Pieces {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let piece = Piece { at: self.at, length: self.next.min(self.left) };
        self.left = self.left.saturating_sub(piece.length);
        self.at = self.at.saturating_add(piece.length).saturating_add(self.gap);
        self.next = self.unit;
        (piece.length > 0).then_some(piece)
    }
}

/// The objects that a range of the image touches. See [`Layout::objects`].
#[derive(Debug, Clone)]
pub struct Objects {
    layout: Layout,
    /// The request, as bytes of the image.
    start: u64,
    end: u64,
    /// The set of objects that is being walked through, and its first byte in the image.
    set: u64,
    set_start: u64,
    /// The part of the request in this set, counted from the set's start.
    low: u64,
    high: u64,
    /// The blocks of the set that it touches, from the first to the last one.
    first: u64,
    last: u64,
    /// How many objects of this set were given out.
    next: u64,
}

impl Objects {
    /// Begins with the object of the range's first byte.
    pub(super) fn new(layout: Layout, range: ByteRange) -> Self {
        let start = u64::try_from(range.offset()).unwrap_or_default();
        let end = u64::try_from(range.end()).unwrap_or_default();
        let mut objects =
            Self { layout, start, end, set: 0, next: 0, set_start: 0, low: 0, high: 0, first: 0, last: 0 };
        if start < end {
            objects.enter_set(start / layout.set_divisor());
        }
        objects
    }

    /// Goes to a set that the request touches.
    fn enter_set(&mut self, set: u64) {
        self.set = set;
        self.set_start = set.saturating_mul(self.layout.set_size());
        self.low = self.start.saturating_sub(self.set_start);
        self.high = self.end.saturating_sub(self.set_start).min(self.layout.set_size());
        self.first = self.low >> self.layout.unit_shift;
        self.last = self.high.saturating_sub(1) >> self.layout.unit_shift;
        self.next = 0;
    }

    /// The range of the object that has the block `first`, the first of its blocks that the request touches.
    fn object_range(&self, first: u64) -> ObjectRange {
        let layout = self.layout;
        // Its last block is the last one of the request that is a whole number of stripes away.
        let span = self.last.saturating_sub(first);
        let last = self.last.saturating_sub(span % layout.count);
        let head = if first == self.first { layout.in_block(self.low) } else { 0 };
        let tail = if last == self.last {
            layout.in_block(self.high.saturating_sub(1)).saturating_add(1)
        } else {
            layout.stripe_unit()
        };
        let offset = layout.in_object(first / layout.count, head);
        let end = layout.in_object(last / layout.count, tail);
        let image = self.set_start.saturating_add(first << layout.unit_shift).saturating_add(head);
        let others = layout.stripe_count().saturating_sub(1);
        ObjectRange {
            object: self.set.saturating_mul(layout.stripe_count()).saturating_add(first % layout.count),
            offset,
            length: end.saturating_sub(offset),
            first: image.saturating_sub(self.start),
            // With one object in a set, all its blocks are neighbours in the image.
            head: if others == 0 {
                end.saturating_sub(offset)
            } else {
                layout.stripe_unit().saturating_sub(head)
            },
            unit: layout.stripe_unit(),
            gap: others.saturating_mul(layout.stripe_unit()),
        }
    }
}

impl Iterator for Objects {
    type Item = ObjectRange;

    fn next(&mut self) -> Option<ObjectRange> {
        let blocks = self.last.saturating_sub(self.first).saturating_add(1);
        if self.high != 0 && self.next >= blocks.min(self.layout.stripe_count()) {
            let next_set = self.set_start.saturating_add(self.layout.set_size());
            if next_set >= self.end {
                self.high = 0;
            } else {
                self.enter_set(self.set.saturating_add(1));
            }
        }
        if self.high == 0 {
            return None;
        }
        let range = self.object_range(self.first.saturating_add(self.next));
        self.next = self.next.saturating_add(1);
        Some(range)
    }
}
