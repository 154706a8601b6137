// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What the methods of a format 2 header answer; `calls.rs` has what they are asked. Bytes behind a reply's last known member
//! are left alone: a newer cluster may have more to say.
//!
//! Source: RBD format document, section 5.1. Every function fails if the reply is damaged.

use super::calls::{SnapContext, NO_SNAPSHOT};
use super::encoding::{DecodeError, Decoder, Reason};
use super::features::{Features, Flags, OpFeatures};
use super::records::SnapshotInfo;

/// The result of reading a reply.
type Reply<T> = Result<T, DecodeError>;

/// `get_size`: the order, and the size in bytes.
///
/// # Errors
/// If the reply is damaged.
pub fn size(reply: &[u8]) -> Reply<(u8, u64)> {
    let mut decoder = Decoder::new("get_size", reply);
    Ok((decoder.u8("order")?, decoder.u64("size")?))
}

/// `get_features`: the features, and those that an opener of the kind that was asked for must understand.
///
/// # Errors
/// If the reply is damaged.
pub fn features(reply: &[u8]) -> Reply<(Features, Features)> {
    let mut decoder = Decoder::new("get_features", reply);
    let features = decoder.u64("features")?;
    Ok((Features::from_bits(features), Features::from_bits(decoder.u64("incompatible")?)))
}

/// `get_object_prefix`.
///
/// # Errors
/// If the reply is damaged.
pub fn object_prefix(reply: &[u8]) -> Reply<&[u8]> {
    Decoder::new("get_object_prefix", reply).text("object_prefix")
}

/// `get_flags`.
///
/// # Errors
/// If the reply is damaged.
pub fn flags(reply: &[u8]) -> Reply<Flags> {
    Decoder::new("get_flags", reply).u64("flags").map(Flags)
}

/// `get_snapcontext`.
///
/// # Errors
/// If the reply is damaged, or its numbers are not in order.
pub fn snapcontext(reply: &[u8]) -> Reply<SnapContext> {
    let mut decoder = Decoder::new("get_snapcontext", reply);
    let seq = decoder.u64("seq")?;
    let ids_at = decoder.clone();
    let ids = decoder.list("snapshot ids", 8, |d| d.u64("snapshot id"))?;
    SnapContext::new(&ids_at, seq, ids)
}

/// `get_data_pool`: the number of the data's pool, if it isn't that of the header.
///
/// # Errors
/// If the reply is damaged.
pub fn data_pool(reply: &[u8]) -> Reply<Option<i64>> {
    let pool = Decoder::new("get_data_pool", reply).i64("pool")?;
    Ok((pool >= 0).then_some(pool))
}

/// `get_stripe_unit_count`: the stripe unit in bytes, and the stripe count.
///
/// # Errors
/// If the reply is damaged.
pub fn stripe_unit_count(reply: &[u8]) -> Reply<(u64, u64)> {
    let mut decoder = Decoder::new("get_stripe_unit_count", reply);
    Ok((decoder.u64("stripe_unit")?, decoder.u64("stripe_count")?))
}

/// `op_features_get`.
///
/// # Errors
/// If the reply is damaged.
pub fn op_features(reply: &[u8]) -> Reply<OpFeatures> {
    Decoder::new("op_features_get", reply).u64("op_features").map(OpFeatures)
}

/// `get_all_features`.
///
/// # Errors
/// If the reply is damaged.
pub fn all_features(reply: &[u8]) -> Reply<Features> {
    Decoder::new("get_all_features", reply).u64("features").map(Features::from_bits)
}

/// `parent_overlap_get`: how many bytes of the parent are still seen; `None` if the image or snapshot has no parent.
///
/// # Errors
/// If the reply is damaged.
pub fn parent_overlap(reply: &[u8]) -> Reply<Option<u64>> {
    Decoder::new("parent_overlap_get", reply).optional("overlap", |d| d.u64("overlap"))
}

/// `get_parent`: the same as before Nautilus.
///
/// # Errors
/// If the reply is damaged.
pub fn legacy_parent_overlap(reply: &[u8]) -> Reply<Option<u64>> {
    let mut decoder = Decoder::new("get_parent", reply);
    let pool = decoder.i64("pool")?;
    decoder.text("image_id")?;
    let snapshot = decoder.u64("snap_id")?;
    let overlap = decoder.u64("overlap")?;
    let exists = pool >= 0 && snapshot != NO_SNAPSHOT;
    Ok(exists.then_some(overlap))
}

/// Whether a snapshot can be removed, and cloned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// It can be removed.
    Unprotected,
    /// It is being made so.
    Unprotecting,
    /// It can be cloned.
    Protected,
}

/// `get_protection_status`.
///
/// # Errors
/// If the reply is damaged, or a value that doesn't exist.
pub fn protection_status(reply: &[u8]) -> Reply<Protection> {
    Protection::decode(&mut Decoder::new("get_protection_status", reply))
}

impl Protection {
    /// Reads one.
    ///
    /// # Errors
    /// If it is damaged, or a value that doesn't exist.
    pub fn decode(decoder: &mut Decoder<'_>) -> Reply<Self> {
        let place = decoder.clone();
        match decoder.u8("status")? {
            0 => Ok(Self::Unprotected),
            1 => Ok(Self::Unprotecting),
            2 => Ok(Self::Protected),
            other => Err(place.error("status", Reason::Value(other.into()))),
        }
    }

    /// As the cluster has it.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::Unprotected => 0,
            Self::Unprotecting => 1,
            Self::Protected => 2,
        }
    }
}

/// `snapshot_get`.
///
/// # Errors
/// If the reply is damaged.
pub fn snapshot(reply: &[u8]) -> Reply<SnapshotInfo> {
    SnapshotInfo::decode(&mut Decoder::new("snapshot_get", reply))
}

/// Keys with their values.
pub type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// `metadata_list`.
///
/// # Errors
/// If the reply is damaged.
pub fn metadata(reply: &[u8]) -> Reply<Pairs> {
    let pair = |d: &mut Decoder<'_>| Ok((d.bytes("key")?.to_vec(), d.bytes("value")?.to_vec()));
    Decoder::new("metadata_list", reply).list("pairs", 8, pair)
}

#[cfg(test)]
mod tests {
    use super::super::hex::hex;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn replies_of_a_fresh_header() {
        assert_eq!(size(&hex("160000400100000000")), Ok((22, 20 << 20)));
        let lock = Features::DEFAULT;
        assert_eq!(features(&hex("3d000000000000003d00000000000000")), Ok((lock, lock)));
        assert_eq!(features(&hex("3d000000000000000100000000000000")), Ok((lock, Features::LAYERING)));
        assert_eq!(flags(&hex("0000000000000000")), Ok(Flags(0)));
        let prefix = hex("0f0000007262645f646174612e676f6c643031");
        assert_eq!(object_prefix(&prefix), Ok(b"rbd_data.gold01".as_slice()));
        assert_eq!(snapcontext(&hex("000000000000000000000000")), Ok(SnapContext::default()));
        assert_eq!(parent_overlap(&hex("00")), Ok(None));
        assert_eq!(data_pool(&hex("ffffffffffffffff")), Ok(None));
        assert_eq!(op_features(&hex("0000000000000000")), Ok(OpFeatures(0)));
    }

    #[test]
    fn replies_after_changes() {
        let (all, incompatible) = features(&hex("3d010000000000003d01000000000000")).unwrap();
        assert!(all.contains(Features::OPERATIONS) && incompatible == all);
        assert_eq!(op_features(&hex("0200000000000000")), Ok(OpFeatures(OpFeatures::CLONE_CHILD)));
        assert_eq!(parent_overlap(&hex("010000a00000000000")), Ok(Some(10 << 20)));
        assert_eq!(parent_overlap(&hex("010000800000000000")), Ok(Some(8 << 20)));
        assert_eq!(size(&hex("16 0000a00000000000")), Ok((22, 10 << 20)));
        assert_eq!(data_pool(&hex("0300000000000000")), Ok(Some(3)));
        assert_eq!(stripe_unit_count(&hex("00000100000000000400000000000000")), Ok((65536, 4)));
        assert_eq!(all_features(&hex("ff0f000000000000")), Ok(Features::KNOWN));
    }

    #[test]
    fn snapcontexts_with_snapshots() {
        let one = snapcontext(&hex("0900000000000000010000000900000000000000")).unwrap();
        assert_eq!((one.seq(), one.ids()), (9, [9].as_slice()));
        let two = hex("0b00000000000000 02000000 0b00000000000000 0a00000000000000");
        assert_eq!(snapcontext(&two).unwrap().ids(), [11, 10]);
    }

    #[test]
    fn snapcontext_out_of_order_is_refused() {
        let reply = hex("0b00000000000000 02000000 0a00000000000000 0b00000000000000");
        let error = snapcontext(&reply).unwrap_err();
        assert_eq!(error.to_string(), "get_snapcontext: snapshot ids at byte 8: the value 11 is not allowed");
    }

    #[test]
    fn legacy_parents() {
        let none = hex("ffffffffffffffff 00000000 feffffffffffffff 0000000000000000");
        assert_eq!(legacy_parent_overlap(&none), Ok(None));
        let some =
            hex("0200000000000000 0c000000 313063386432376261333233 0a00000000000000 0000a00000000000");
        assert_eq!(legacy_parent_overlap(&some), Ok(Some(10 << 20)));
    }

    #[test]
    fn protection_has_three_values() {
        assert_eq!(protection_status(&[0]), Ok(Protection::Unprotected));
        assert_eq!(protection_status(&[1]), Ok(Protection::Unprotecting));
        assert_eq!(protection_status(&[2]), Ok(Protection::Protected));
        assert_eq!(protection_status(&[3]).unwrap_err().reason, Reason::Value(3));
    }

    #[test]
    fn metadata_of_an_image() {
        let reply =
            "02000000 0e000000 636f6e665f7262645f6361636865 05000000 66616c7365 02000000 6b31 02000000 7631";
        let expected =
            vec![(b"conf_rbd_cache".to_vec(), b"false".to_vec()), (b"k1".to_vec(), b"v1".to_vec())];
        assert_eq!(metadata(&hex(reply)), Ok(expected));
        let one = "010000000e000000636f6e665f7262645f63616368650500000066616c7365";
        assert_eq!(metadata(&hex(one)).unwrap().len(), 1);
    }

    proptest! {
        #[test]
        fn any_reply_is_a_value_or_an_error(reply: Vec<u8>) {
            prop_assert!(size(&reply).is_ok() == (reply.len() >= 9));
            if let Ok(context) = snapcontext(&reply) {
                prop_assert!(context.ids().len() <= reply.len() / 8);
            }
            drop((features(&reply), snapshot(&reply), metadata(&reply), object_prefix(&reply)));
            let parents = parent_overlap(&reply).is_ok() || legacy_parent_overlap(&reply).is_ok();
            prop_assert!(!parents || !reply.is_empty());
            prop_assert!(protection_status(&reply).is_ok() == reply.first().is_some_and(|status| *status < 3));
        }
    }
}
