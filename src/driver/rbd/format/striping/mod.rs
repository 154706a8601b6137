// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Where the bytes of an image are: from a range of the image to ranges of objects and back.
//!
//! An image is cut into blocks of the stripe unit. A stripe is one block in each of `stripe_count` objects; when these objects
//! are full, the next set of objects follows. Without striping a block is an object, and a set is one object. Nothing here
//! allocates or panics. Source: RBD format document, sections 4.4 and 10.

mod objects;

use std::num::NonZeroU64;

pub use objects::{ObjectRange, Objects, Piece, Pieces};

use crate::errno::{Errno, ToErrno};
use crate::range::ByteRange;

/// The largest order that exists: objects of 32 MiB.
pub const MAX_ORDER: u8 = 25;
/// The smallest order that a new image can have: objects of 4 KiB.
pub const MIN_NEW_ORDER: u8 = 12;
/// The smallest stripe unit that a new image can have, in bytes.
pub const MIN_NEW_STRIPE_UNIT: u64 = 512;
/// The order of a new image when nothing is said: objects of 4 MiB.
pub const DEFAULT_ORDER: u8 = 22;

/// What is wrong with a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Objects larger than any client can read.
    #[error("the image has objects of 2^{0} bytes, more than 2^{MAX_ORDER}")]
    Order(u8),
    /// A stripe unit that doesn't fill an object evenly, or no stripe at all, or more than can be counted.
    #[error("the image has an impossible striping pattern: unit {unit}, count {count}, objects of 2^{order} bytes")]
    Stripes {
        /// The stripe unit in bytes.
        unit: u64,
        /// The objects in a set.
        count: u64,
        /// The size of the objects.
        order: u8,
    },
    /// Objects or a stripe unit that a new image can't have.
    #[error("a new image needs objects of at least 2^{MIN_NEW_ORDER} bytes and a stripe unit of at least {MIN_NEW_STRIPE_UNIT}")]
    TooSmall,
    /// A size that no image can have.
    #[error("the image size {0} is too large")]
    Size(u64),
}

impl ToErrno for LayoutError {
    fn errno(&self) -> Errno {
        match self {
            Self::Order(_) | Self::Stripes { .. } | Self::TooSmall => Errno::EINVAL,
            Self::Size(_) => Errno::EFBIG,
        }
    }
}

/// A size that an image can have, in bytes.
///
/// # Errors
/// If its end has no offset.
pub fn check_size(size: u64) -> Result<i64, LayoutError> {
    i64::try_from(size).map_err(|_| LayoutError::Size(size))
}

/// How an image is laid out over objects.
///
/// # Invariants
/// `order <= MAX_ORDER`, `unit_shift <= order`, and the bytes of a set of objects fit in an `i64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    order: u8,
    unit_shift: u8,
    count: NonZeroU64,
}

impl Layout {
    /// One block per object; an object has `1 << order` bytes.
    ///
    /// # Errors
    /// If the objects are too large.
    pub fn plain(order: u8) -> Result<Self, LayoutError> {
        if order > MAX_ORDER {
            return Err(LayoutError::Order(order));
        }
        // INVARIANT: the order was just checked, and a set is one object.
        Ok(Self { order, unit_shift: order, count: NonZeroU64::MIN })
    }

    /// Blocks of `unit` bytes over sets of `count` objects.
    ///
    /// # Errors
    /// If the objects are too large, or the pattern makes no sense.
    pub fn striped(order: u8, unit: u64, count: u64) -> Result<Self, LayoutError> {
        let plain = Self::plain(order)?;
        let invalid = LayoutError::Stripes { unit, count, order };
        // The object size is a power of two, so what divides it is one, too.
        let divides = unit.is_power_of_two() && unit <= plain.object_size();
        let set = plain.object_size().checked_mul(count).and_then(|bytes| i64::try_from(bytes).ok());
        let unit_shift = u8::try_from(unit.trailing_zeros()).ok();
        match (unit_shift, NonZeroU64::new(count)) {
            // INVARIANT: the unit is at most an object, and the bytes of a set were just counted.
            (Some(unit_shift), Some(count)) if divides && set.is_some() => {
                Ok(Self { order, unit_shift, count })
            }
            _ => Err(invalid),
        }
    }

    /// The layout of a new image. A `unit` and `count` of 0 stand for no striping, and so does one object-sized block per stripe.
    ///
    /// # Errors
    /// If no new image can have it.
    pub fn for_create(order: u8, unit: u64, count: u64) -> Result<Self, LayoutError> {
        let layout =
            if unit == 0 && count == 0 { Self::plain(order)? } else { Self::striped(order, unit, count)? };
        if layout.order < MIN_NEW_ORDER || layout.stripe_unit() < MIN_NEW_STRIPE_UNIT {
            return Err(LayoutError::TooSmall);
        }
        Ok(layout)
    }

    /// The size of an object as a power of two.
    #[must_use]
    pub fn order(self) -> u8 {
        self.order
    }

    /// The size of an object in bytes.
    #[must_use]
    pub fn object_size(self) -> u64 {
        1 << self.order.min(MAX_ORDER)
    }

    /// The size of a block in bytes.
    #[must_use]
    pub fn stripe_unit(self) -> u64 {
        1 << self.unit_shift.min(MAX_ORDER)
    }

    /// How many objects are in a set.
    #[must_use]
    pub fn stripe_count(self) -> u64 {
        self.count.get()
    }

    /// Whether this is the layout that every image has without the striping feature.
    #[must_use]
    pub fn is_plain(self) -> bool {
        self.unit_shift == self.order && self.count == NonZeroU64::MIN
    }

    /// The bytes of a set of objects; at most `i64::MAX`.
    #[must_use]
    pub fn set_size(self) -> u64 {
        self.object_size().saturating_mul(self.stripe_count())
    }

    /// The same as a divisor.
    fn set_divisor(self) -> NonZeroU64 {
        NonZeroU64::new(self.set_size()).unwrap_or(NonZeroU64::MIN)
    }

    /// Where a byte of the image is: the number of the object, and the offset in it.
    #[must_use]
    pub fn locate(self, offset: u64) -> (u64, u64) {
        let set = offset / self.set_divisor();
        let in_set = offset % self.set_divisor();
        let block = in_set >> self.unit_shift;
        let object = set.saturating_mul(self.stripe_count()).saturating_add(block % self.count);
        (object, self.in_object(block / self.count, self.in_block(in_set)))
    }

    /// Which byte of the image a byte of an object is; `None` if no image is that large or no object.
    #[must_use]
    pub fn offset(self, object: u64, in_object: u64) -> Option<u64> {
        if in_object >= self.object_size() {
            return None;
        }
        let set_start = (object / self.count).checked_mul(self.set_size())?;
        let stripe = in_object >> self.unit_shift;
        let block = stripe.checked_mul(self.stripe_count())?.checked_add(object % self.count)?;
        let offset =
            set_start.checked_add(block << self.unit_shift)?.checked_add(self.in_block(in_object))?;
        i64::try_from(offset).is_ok().then_some(offset)
    }

    /// What is left of an offset within its block.
    fn in_block(self, offset: u64) -> u64 {
        offset & self.stripe_unit().saturating_sub(1)
    }

    /// The offset in an object of a byte in the object's block number `stripe`.
    fn in_object(self, stripe: u64, in_block: u64) -> u64 {
        (stripe << self.unit_shift).saturating_add(in_block)
    }

    /// How many objects an image of that size can have.
    #[must_use]
    pub fn object_count(self, size: u64) -> u64 {
        let full = size / self.set_divisor();
        let rest = size % self.set_divisor();
        // The objects of the last set that have something: one for each block, until all have.
        let blocks = (rest >> self.unit_shift).saturating_add(u64::from(self.in_block(rest) != 0));
        full.saturating_mul(self.stripe_count()).saturating_add(blocks.min(self.stripe_count()))
    }

    /// How many bytes of an object belong to an image of that size.
    #[must_use]
    pub fn object_length(self, object: u64, size: u64) -> u64 {
        let set = object / self.count;
        let full = size / self.set_divisor();
        if set != full {
            return if set < full { self.object_size() } else { 0 };
        }
        let rest = size % self.set_divisor();
        let block = rest >> self.unit_shift;
        let (stripe, column) = (block / self.count, block % self.count);
        let own = object % self.count;
        let stripes = if own < column { stripe.saturating_add(1) } else { stripe };
        self.in_object(stripes, if own == column { self.in_block(rest) } else { 0 })
    }

    /// The objects that a range of the image touches, each with its one range, in the order of their first bytes in the image.
    #[must_use]
    pub fn objects(self, range: ByteRange) -> Objects {
        Objects::new(self, range)
    }

    /// The ranges of the image that a range of an object holds, in ascending order. What lies behind the object's end, or where no
    /// image can reach, is left out. Neighbours are joined.
    pub fn image_ranges(self, object: u64, offset: u64, length: u64) -> impl Iterator<Item = ByteRange> {
        let mut at = offset;
        let end = offset.saturating_add(length).min(self.object_size());
        let whole = self.stripe_count() == 1;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let to_block_end = self.stripe_unit().saturating_sub(self.in_block(at));
            let left = end.saturating_sub(at);
            let run = if whole { left } else { left.min(to_block_end) };
            let start = i64::try_from(self.offset(object, at)?).ok()?;
            at = at.saturating_add(run);
            // The last block that an image can reach may reach beyond it.
            let run = i64::try_from(run).ok()?.min(i64::MAX.saturating_sub(start));
            ByteRange::new(start, run).ok().filter(|range| !range.is_empty())
        })
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "an overflow fails the test")]
mod tests;
