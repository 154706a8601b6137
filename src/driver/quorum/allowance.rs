// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! How many zeroes discards may write in vain.

use std::sync::atomic::{AtomicI64, Ordering};

use crate::range::ByteRange;

/// What may be written for discards that no child does quickly.
///
/// That all of them refuse does not mean that none has done a part: a request may be cut up on its way, by a server for example
/// whose image has larger clusters than the client can know of. So all have to write the range then. Where there was such a part
/// that is a little at an end, and what comes next is done; where a child can't do it at all this ends after some discards.
#[derive(Debug)]
pub(super) struct Allowance(AtomicI64);

impl Allowance {
    /// Bytes on each child.
    const FULL: i64 = 64 << 20;

    /// Nothing was spent yet.
    pub(super) const fn new() -> Self {
        Self(AtomicI64::new(Self::FULL))
    }

    /// Whether a discard may be tried at all.
    pub(super) fn is_left(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }

    /// All children have refused a range. Those that do so at the same time may spend somewhat more than there is.
    pub(super) fn spend(&self, range: ByteRange) {
        let rest = |left: i64| Some(left.saturating_sub(range.bytes()));
        let _before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest);
    }

    /// A child has done it quickly, or is new.
    pub(super) fn renew(&self) {
        self.0.store(Self::FULL, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowance_ends_when_it_is_spent_and_comes_back_with_a_success() {
        let allowance = Allowance::new();
        let half = ByteRange::new(0, Allowance::FULL / 2).unwrap();
        allowance.spend(half);
        assert!(allowance.is_left());
        allowance.spend(half);
        assert!(!allowance.is_left());
        allowance.spend(ByteRange::new(0, i64::MAX).unwrap());
        allowance.spend(ByteRange::new(0, i64::MAX).unwrap());
        assert!(!allowance.is_left());
        allowance.renew();
        assert!(allowance.is_left());
    }
}
