// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Byte ranges: offsets and lengths from C are checked once, here, and need no further arithmetic checks.

use crate::errno::Errno;

/// A range of bytes whose end fits in an `i64`.
///
/// # Invariants
/// `offset + bytes <= i64::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    offset: i64,
    bytes: i64,
}

impl ByteRange {
    /// Nothing.
    pub const EMPTY: Self = Self { offset: 0, bytes: 0 };

    /// Checks what C passed.
    ///
    /// # Errors
    /// `EINVAL` if a number is negative or the end is not representable.
    pub fn new(offset: i64, bytes: i64) -> Result<Self, Errno> {
        // One look at three signs: a sum of two that are not negative is negative if it has overflowed.
        if (offset | bytes | offset.wrapping_add(bytes)) < 0 {
            return Err(Errno::EINVAL);
        }
        // INVARIANT: both are non-negative, and so is the sum.
        Ok(Self { offset, bytes })
    }

    /// First byte.
    #[must_use]
    pub fn offset(self) -> i64 {
        self.offset
    }

    /// Number of bytes.
    #[must_use]
    pub fn bytes(self) -> i64 {
        self.bytes
    }

    /// Number of bytes, as a memory size.
    #[must_use]
    pub fn len(self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    /// Refuses a request whose memory has another size. The block layer passes a vector of exactly the size of the range; anything
    /// else would touch memory that it does not own.
    ///
    /// # Errors
    /// `EINVAL`.
    pub fn check_memory(self, bytes: usize) -> Result<(), Errno> {
        if bytes == self.len() {
            Ok(())
        } else {
            Err(Errno::EINVAL)
        }
    }

    /// Whether there is nothing in the range.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.bytes == 0
    }

    /// First byte after the range.
    #[must_use]
    pub fn end(self) -> i64 {
        self.offset.saturating_add(self.bytes)
    }

    /// The range without its first `done` bytes.
    #[must_use]
    pub fn advance(self, done: i64) -> Self {
        let done = done.clamp(0, self.bytes);
        // INVARIANT: the end does not move.
        Self { offset: self.offset.saturating_add(done), bytes: self.bytes.saturating_sub(done) }
    }

    /// The first `most` bytes of the range.
    #[must_use]
    pub fn truncate(self, most: i64) -> Self {
        // INVARIANT: the end can only come closer.
        Self { offset: self.offset, bytes: self.bytes.min(most.max(0)) }
    }

    /// What is left of the range when both ends move inward to multiples of `alignment`.
    #[must_use]
    pub fn shrink_to(self, alignment: i64) -> Self {
        let alignment = alignment.max(1);
        let head = match self.offset.rem_euclid(alignment) {
            0 => 0,
            over => alignment.saturating_sub(over),
        };
        let rest = self.advance(head);
        rest.truncate(rest.bytes.saturating_sub(rest.bytes.rem_euclid(alignment)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn new_refuses_negative_numbers() {
        assert_eq!(ByteRange::new(-1, 0), Err(Errno::EINVAL));
        assert_eq!(ByteRange::new(0, -1), Err(Errno::EINVAL));
    }

    #[test]
    fn new_refuses_an_end_past_the_largest_offset() {
        assert_eq!(ByteRange::new(i64::MAX, 1), Err(Errno::EINVAL));
    }

    proptest! {
        #[test]
        fn advance_keeps_the_end(offset in 0..i64::MAX / 2, bytes in 0..i64::MAX / 2, done: i64) {
            let range = ByteRange::new(offset, bytes).unwrap();
            prop_assert_eq!(range.advance(done).end(), range.end());
        }

        #[test]
        fn shrink_to_leaves_the_largest_aligned_part(offset in 0..1_000_i64, bytes in 0..1_000_i64, alignment in 1..100_i64) {
            let range = ByteRange::new(offset, bytes).unwrap();
            let inner = range.shrink_to(alignment);
            let aligned = |at: &i64| at.rem_euclid(alignment) == 0;
            let ends = (offset..=range.end()).find(aligned).zip((offset..=range.end()).rev().find(aligned));
            prop_assert_eq!(inner.bytes(), ends.map_or(0, |(first, last)| last.saturating_sub(first)));
            if !inner.is_empty() {
                prop_assert_eq!(Some(inner.offset()), ends.map(|(first, _)| first));
            }
            prop_assert!(inner.end() <= range.end());
        }

        #[test]
        fn truncate_and_advance_split_a_range(offset in 0..i64::MAX / 2, bytes in 0..i64::MAX / 2, at in 0..i64::MAX) {
            let range = ByteRange::new(offset, bytes).unwrap();
            let (head, tail) = (range.truncate(at), range.advance(at));
            prop_assert_eq!(head.end(), tail.offset());
            prop_assert_eq!(head.bytes().checked_add(tail.bytes()), Some(range.bytes()));
        }
    }
}
