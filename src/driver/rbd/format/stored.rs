// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What a format 2 header has stored under its keys, for looking at it from outside: clients use methods instead.
//!
//! Source: RBD format document, sections 1.4, 18.1 and 19.1.

use super::encoding::{DecodeError, Decoder, Time};
use super::features::Flags;
use super::records::{ParentSpec, SnapshotKind};
use super::replies::Protection;

/// The key of a snapshot.
#[must_use]
pub fn snapshot_key(id: u64) -> String {
    format!("snapshot_{id:016x}")
}

/// The value of that key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: Vec<u8>,
    /// The size of the image then, in bytes.
    pub size: u64,
    /// Whether it can be removed.
    pub protection: Protection,
    /// What is wrong with its object map.
    pub flags: Flags,
    /// What it is for.
    pub kind: SnapshotKind,
    /// When it was made.
    pub created: Time,
    /// How many clones of the second kind it has.
    pub child_count: u32,
    /// How many bytes of a parent it sees.
    pub parent_overlap: Option<u64>,
}

impl SnapshotRecord {
    /// Reads one, as clusters from Nautilus on write it.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn decode(value: &[u8]) -> Result<Self, DecodeError> {
        Decoder::new("snapshot", value).versioned("snapshot", 8, |_, d| {
            Ok(Self {
                id: d.u64("id")?,
                name: d.text("name")?.to_vec(),
                size: d.u64("image_size")?,
                protection: Protection::decode(d)?,
                flags: Flags(d.u64("flags")?),
                kind: SnapshotKind::decode(d)?,
                created: d.time("timestamp")?,
                child_count: d.u32("child_count")?,
                parent_overlap: d.optional("parent_overlap", |d| d.u64("parent_overlap"))?,
            })
        })
    }
}

/// The value of the key `parent`: the parent, and how many bytes of it the image still sees.
///
/// # Errors
/// If it is damaged.
pub fn decode_parent(value: &[u8]) -> Result<(ParentSpec, Option<u64>), DecodeError> {
    Decoder::new("parent", value).versioned("parent", 2, |_, d| {
        let pool = d.i64("pool")?;
        let namespace = d.text("namespace")?.to_vec();
        let image_id = d.text("image_id")?.to_vec();
        let snapshot = d.u64("snap_id")?;
        let overlap = d.optional("head_overlap", |d| d.u64("head_overlap"))?;
        Ok((ParentSpec { pool, namespace, image_id, snapshot }, overlap))
    })
}

#[cfg(test)]
mod tests {
    use super::super::hex::hex;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn snapshot_of_a_user() {
        let value = "0808 35000000 0a00000000000000 01000000 61 0000a00000000000 00 0000000000000000 0101 04000000 00000000
            47f6ff6a 85095913 00000000 00";
        let record = SnapshotRecord::decode(&hex(value)).unwrap();
        assert_eq!((record.id, record.name.as_slice(), record.size), (10, b"a".as_slice(), 10 << 20));
        assert_eq!((record.protection, record.flags), (Protection::Unprotected, Flags(0)));
        assert_eq!((record.kind, record.parent_overlap), (SnapshotKind::User, None));
        let mut value = hex(value);
        value[27] = 2;
        assert_eq!(SnapshotRecord::decode(&value).unwrap().protection, Protection::Protected);
    }

    #[test]
    fn snapshot_of_the_fresh_header() {
        let value = "0808360000000900000000000000020000007331000040010000000000000000000000000001010400000000000000affcff6a
            6fd7542e0000000000";
        let record = SnapshotRecord::decode(&hex(value)).unwrap();
        assert_eq!((record.id, record.size, record.child_count), (9, 20 << 20, 0));
        assert_eq!(snapshot_key(record.id), "snapshot_0000000000000009");
    }

    #[test]
    fn snapshot_of_a_clone() {
        let value = "0808 3f000000 2d00000000000000 03000000 696e76 0000400000000000 00 0300000000000000 0101 04000000
            00000000 69fcff6a4e5eb635 00000000 01 0000400000000000";
        let record = SnapshotRecord::decode(&hex(value)).unwrap();
        assert_eq!((record.flags, record.parent_overlap), (Flags(3), Some(4 << 20)));
    }

    #[test]
    fn parents_with_and_without_overlap() {
        let value =
            "0202 2d000000 0200000000000000 00000000 0c000000 313063386432376261333233 0a00000000000000 01
            0000a00000000000";
        let (spec, overlap) = decode_parent(&hex(value)).unwrap();
        assert_eq!(
            (spec.image_id.as_slice(), spec.snapshot, overlap),
            (b"10c8d27ba323".as_slice(), 10, Some(10 << 20))
        );
        let value = "0202 30000000 0200000000000000 03000000 6e7331 0c000000 313132636639666430343736 0400000000000000 01
            0000a00000000000";
        assert_eq!(decode_parent(&hex(value)).unwrap().0.namespace, b"ns1");
        let value =
            "0202300000000200000000000000030000006e73310c0000003130633864323762613332330a00000000000000010000
            a00000000000";
        assert_eq!(decode_parent(&hex(value)).unwrap().1, Some(10 << 20));
        let value = "0202 1c000000 0200000000000000 00000000 03000000 706172 0300000000000000 00";
        assert_eq!(decode_parent(&hex(value)).unwrap().1, None);
    }

    proptest! {
        #[test]
        fn any_value_is_a_record_or_an_error(value: Vec<u8>) {
            drop((SnapshotRecord::decode(&value), decode_parent(&value)));
        }
    }
}
