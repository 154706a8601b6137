// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What is configured for new images: in the options of the image, for its pool (`rbd config pool set`), or for clients of the
//! cluster. Source: RBD format document, sections 1.3 and 8.1.

use std::ffi::{CStr, CString};

use super::error::Error;
use super::format::calls;
use super::format::names;
use super::format::replies::{self, Pairs};
use super::lookup::Finder;
use super::options::Options;
use crate::backend::rados::{Cluster, PoolHandle};
use crate::errno::Errno;
use crate::host::Request;

/// The settings that a pool may have of its own begin so, behind [`PREFIX`]. Which format is made is none of them.
const DEFAULTS: &[u8] = b"rbd_default_";
/// What the metadata of a pool has in front of settings.
const PREFIX: &[u8] = b"conf_";
/// More of these than there are.
const MOST: u64 = 64;
/// A setting that no pool has of its own.
const FORMAT: &CStr = c"rbd_default_format";

/// The settings for one new image.
#[derive(Debug)]
pub(super) struct Defaults<'a> {
    cluster: &'a Cluster,
    options: &'a Options,
    pool: Pairs,
}

impl<'a> Defaults<'a> {
    /// Asks for what is configured for the pool, given in its default namespace.
    ///
    /// # Errors
    /// The cluster's.
    pub(super) async fn read(
        rq: &Request,
        cluster: &'a Cluster,
        options: &'a Options,
        pool: &PoolHandle,
    ) -> Result<Self, Error> {
        let call = calls::metadata_list(&[PREFIX, DEFAULTS].concat(), MOST);
        let pool = match (Finder { rq, pool }).ask(names::INFO, &[call]).await {
            Ok(replies) => replies::metadata(replies.bytes(0))?,
            Err(errno) if is_nothing(errno) => Pairs::new(),
            Err(errno) => return Err(errno.into()),
        };
        Ok(Self { cluster, options, pool })
    }

    /// What is configured for the pool, if nothing is said in the options.
    fn of_pool(&self, key: &CStr) -> Option<CString> {
        // DIVERGES: options of the image win over what is configured for its pool; in the C driver it is the other way round.
        if key == FORMAT || self.options.pairs.iter().any(|(own, _)| own.as_c_str() == key) {
            return None;
        }
        let name = [PREFIX, key.to_bytes()].concat();
        let (_, value) = self.pool.iter().find(|(of_pool, _)| *of_pool == name)?;
        CString::new(value.as_slice()).ok()
    }

    /// A setting that is text.
    pub(super) fn text(&self, key: &CStr) -> Option<CString> {
        self.of_pool(key).or_else(|| self.cluster.get(key))
    }

    /// A setting that is a number.
    pub(super) fn number<T: TryFrom<u64>>(&self, key: &CStr) -> Option<T> {
        // One of the pool's that is none has no effect.
        let of_pool = self.of_pool(key).and_then(|text| number(&text));
        T::try_from(of_pool.or_else(|| number(&self.cluster.get(key)?))?).ok()
    }
}

/// A number as Ceph writes it, or as its user has: sizes may have a unit.
fn number(text: &CStr) -> Option<u64> {
    let text = text.to_str().ok()?.trim();
    let digits = text.trim_end_matches(|unit: char| unit.is_ascii_alphabetic());
    let shift = match text.get(digits.len()..)? {
        "" | "B" => 0,
        "K" | "Ki" => 10,
        "M" | "Mi" => 20,
        "G" | "Gi" => 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Whether nothing was configured, or this client may not ask, as one that may only use a namespace.
fn is_nothing(errno: Errno) -> bool {
    [libc::ENOENT, libc::EPERM, libc::EACCES, libc::EOPNOTSUPP].contains(&errno.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_have_the_units_of_sizes() {
        let rows =
            [(c"22", Some(22)), (c" 65536 ", Some(65536)), (c"64K", Some(65536)), (c"64Ki", Some(65536))];
        for (text, expected) in rows.into_iter().chain([(c"4M", Some(4 << 20)), (c"512B", Some(512))]) {
            assert_eq!(number(text), expected, "{text:?}");
        }
        for text in [c"", c"K", c"4 K", c"-1", c"64k", c"4Mx", c"18446744073709551615K"] {
            assert_eq!(number(text), None, "{text:?}");
        }
    }
}
