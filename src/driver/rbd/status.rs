// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Which parts of an image hold data. Runs in coroutines.

use std::sync::atomic::Ordering;

use super::error::Error;
use super::format::striping::ObjectRange;
use super::io::{for_each, WINDOW};
use super::state::Rbd;
use crate::errno::Errno;
use crate::host::Request;
use crate::range::ByteRange;

/// What the beginning of a range holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockStatus {
    /// How far it reaches, in bytes.
    pub bytes: i64,
    /// Whether it reads as zeroes because nothing is there.
    pub zero: bool,
}

/// How many sets of objects one call looks at; the block layer asks again for the rest.
const MOST_SETS: u64 = 1024;

impl Rbd {
    /// What the range holds: data where an object is, zeroes where none is. Without `want_zero` nobody asks where the zeroes are,
    /// and everything is data.
    ///
    /// # Errors
    /// The cluster's.
    // DIVERGES: found out object by object; the C driver takes an image without fast-diff for data all over. A range beyond the
    // end reads as zeroes; the C driver aborts.
    pub async fn block_status(
        &self,
        rq: &Request,
        want_zero: bool,
        range: ByteRange,
    ) -> Result<BlockStatus, Error> {
        let inside = range.truncate(self.image.size().saturating_sub(range.offset()));
        if inside.is_empty() {
            return Ok(BlockStatus { bytes: range.bytes(), zero: true });
        }
        // The block layer counts in sectors, also where the image ends within one.
        let whole = |bytes: i64| if bytes == inside.bytes() { range.bytes() } else { bytes };
        if !want_zero {
            return Ok(BlockStatus { bytes: range.bytes(), zero: false });
        }
        let layout = self.image.identity.layout;
        let set_size = i64::try_from(layout.set_size()).unwrap_or(i64::MAX);
        let (mut at, mut found) = (inside, None);
        for _ in 0..MOST_SETS {
            // From here to the end of the window's last set.
            let sets =
                i64::try_from(WINDOW).unwrap_or(1).checked_div(self.stripe_count()).unwrap_or(1).max(1);
            let in_set = at.offset().checked_rem(set_size).unwrap_or(0);
            let now = at.truncate(set_size.saturating_mul(sets).saturating_sub(in_set));
            for (bytes, zero) in self.sets(rq, now).await? {
                if found.is_some_and(|found| found != zero) {
                    let bytes = at.offset().saturating_sub(range.offset());
                    return Ok(BlockStatus { bytes: whole(bytes), zero: !zero });
                }
                found = Some(zero);
                at = at.advance(bytes);
            }
            if at.is_empty() {
                break;
            }
        }
        let bytes = at.offset().saturating_sub(range.offset());
        Ok(BlockStatus { bytes: whole(bytes), zero: found.unwrap_or(false) })
    }

    /// Forgets what is known of the header and reads it again, as after a migration.
    ///
    /// # Errors
    /// The cluster's.
    pub async fn invalidate_cache(&self, rq: &Request) -> Result<(), Error> {
        self.image.stale.store(true, Ordering::Release);
        self.image.catch_up(rq).await
    }

    /// How many objects share a stripe.
    fn stripe_count(&self) -> i64 {
        i64::try_from(self.image.identity.layout.stripe_count()).unwrap_or(i64::MAX)
    }

    /// Of each set of objects in a range: how many bytes of the range it has, and whether none of its objects is there.
    async fn sets(&self, rq: &Request, range: ByteRange) -> Result<Vec<(i64, bool)>, Error> {
        let identity = &self.image.identity;
        let mut sets: Vec<(u64, i64, bool)> = Vec::new();
        let mut note = |object: &ObjectRange, absent: bool| {
            let number = object.object.checked_div(identity.layout.stripe_count()).unwrap_or(0);
            let bytes = i64::try_from(object.length).unwrap_or(0);
            match sets.last_mut() {
                Some((last, length, zero)) if *last == number => {
                    (*length, *zero) = (length.saturating_add(bytes), *zero && absent);
                }
                _ => sets.push((number, bytes, absent)),
            }
        };
        let start = |object: &ObjectRange| {
            let name = identity.names.name(object.object);
            Ok(self.image.reader.exists(rq, name.as_c_str()))
        };
        let landed = |object: &ObjectRange, ret| match Errno::check(ret) {
            Ok(_) => {
                note(object, false);
                Ok(())
            }
            Err(errno) if errno == Errno::ENOENT => {
                note(object, true);
                Ok(())
            }
            Err(errno) => Err(errno),
        };
        for_each(rq, identity.layout.objects(range), start, landed).await?;
        Ok(sets.into_iter().map(|(_, bytes, zero)| (bytes, zero)).collect())
    }
}
