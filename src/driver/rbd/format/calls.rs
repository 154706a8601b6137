// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Methods of the object class `rbd` on the header of a format 2 image: what goes in. `replies.rs` has what comes out.
//!
//! Source: RBD format document, sections 5.1 and 5.2. Errors named here are those that have a meaning of their own.

use std::ffi::CStr;

use super::encoding::{DecodeError, Decoder, Encoder, Reason};
use super::features::{Features, Flags};

/// A call of a method of an object class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    class: &'static CStr,
    method: &'static CStr,
    input: Vec<u8>,
}

impl Call {
    /// A method of the class `rbd`.
    #[must_use]
    pub fn rbd(method: &'static CStr, input: Encoder) -> Self {
        Self { class: c"rbd", method, input: input.finish() }
    }

    /// A method of the class `lock`.
    #[must_use]
    pub fn lock(method: &'static CStr, input: Encoder) -> Self {
        Self { class: c"lock", method, input: input.finish() }
    }

    /// The object class.
    #[must_use]
    pub fn class(&self) -> &'static CStr {
        self.class
    }

    /// The method.
    #[must_use]
    pub fn method(&self) -> &'static CStr {
        self.method
    }

    /// The arguments.
    #[must_use]
    pub fn input(&self) -> &[u8] {
        &self.input
    }
}

/// The image as it is now, or a snapshot of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// Now.
    Head,
    /// The snapshot with that number.
    Snapshot(u64),
}

/// What stands for "now" where a snapshot's number is expected.
pub const NO_SNAPSHOT: u64 = 0xffff_ffff_ffff_fffe;

impl Version {
    /// The number that stands for it.
    #[must_use]
    pub fn id(self) -> u64 {
        match self {
            Self::Head => NO_SNAPSHOT,
            Self::Snapshot(id) => id,
        }
    }
}

/// What goes with every write to a data object, so that the snapshots keep what they had.
///
/// # Invariants
/// The numbers descend, and none is above `seq`; librados refuses anything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapContext {
    seq: u64,
    ids: Vec<u64>,
}

impl SnapContext {
    /// Checks what the cluster said; `decoder` gives the error its place.
    ///
    /// # Errors
    /// If librados would refuse it.
    pub fn new(decoder: &Decoder<'_>, seq: u64, ids: Vec<u64>) -> Result<Self, DecodeError> {
        let mut above = seq.saturating_add(1);
        for &id in &ids {
            if id >= above {
                return Err(decoder.error("snapshot ids", Reason::Value(id)));
            }
            above = id;
        }
        // INVARIANT: each is below the one before it, and the first is at most `seq`.
        Ok(Self { seq, ids })
    }

    /// The number of the newest snapshot that there ever was.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The snapshots that there are, the newest first.
    #[must_use]
    pub fn ids(&self) -> &[u64] {
        &self.ids
    }
}

/// A call with a version as its only argument.
fn of_version(method: &'static CStr, version: Version) -> Call {
    Call::rbd(method, Encoder::new().u64(version.id()))
}

/// Order and size; `ENOENT` if there is no such snapshot.
#[must_use]
pub fn get_size(version: Version) -> Call {
    of_version(c"get_size", version)
}

/// Features, and those that an opener for reading, or for writing, must understand.
#[must_use]
pub fn get_features(read_only: bool) -> Call {
    Call::rbd(c"get_features", Encoder::new().u64(NO_SNAPSHOT).bool(read_only))
}

/// What the names of the data objects begin with.
#[must_use]
pub fn get_object_prefix() -> Call {
    Call::rbd(c"get_object_prefix", Encoder::new())
}

/// Flags of the object map.
#[must_use]
pub fn get_flags(version: Version) -> Call {
    of_version(c"get_flags", version)
}

/// The snapshot context.
#[must_use]
pub fn get_snapcontext() -> Call {
    Call::rbd(c"get_snapcontext", Encoder::new())
}

/// The pool of the data.
#[must_use]
pub fn get_data_pool() -> Call {
    Call::rbd(c"get_data_pool", Encoder::new())
}

/// Stripe unit and count; `ENOEXEC` if the image isn't striped.
#[must_use]
pub fn get_stripe_unit_count() -> Call {
    Call::rbd(c"get_stripe_unit_count", Encoder::new())
}

/// What else was done with the image.
#[must_use]
pub fn op_features_get() -> Call {
    Call::rbd(c"op_features_get", Encoder::new())
}

/// How much of the parent is still seen; `EOPNOTSUPP` from clusters older than Nautilus.
#[must_use]
pub fn parent_overlap_get(version: Version) -> Call {
    of_version(c"parent_overlap_get", version)
}

/// The parent, asked as before Nautilus; `EXDEV` if it is in a namespace.
#[must_use]
pub fn get_parent(version: Version) -> Call {
    of_version(c"get_parent", version)
}

/// Whether a snapshot is protected.
#[must_use]
pub fn get_protection_status(snapshot: u64) -> Call {
    of_version(c"get_protection_status", Version::Snapshot(snapshot))
}

/// What there is to know of a snapshot.
#[must_use]
pub fn snapshot_get(snapshot: u64) -> Call {
    of_version(c"snapshot_get", Version::Snapshot(snapshot))
}

/// At most `most` keys and values behind the key `after`.
#[must_use]
pub fn metadata_list(after: &[u8], most: u64) -> Call {
    Call::rbd(c"metadata_list", Encoder::new().bytes(after).u64(most))
}

/// All features that the cluster knows; `ENOENT` if the object isn't there.
#[must_use]
pub fn get_all_features() -> Call {
    Call::rbd(c"get_all_features", Encoder::new())
}

/// Makes a header: `EEXIST` if there is one, `ENOSYS` for an unknown feature.
#[must_use]
pub fn create(size: u64, order: u8, features: Features, prefix: &str, data_pool: Option<i64>) -> Call {
    let input = Encoder::new().u64(size).u8(order).u64(features.bits()).bytes(prefix.as_bytes());
    Call::rbd(c"create", input.i64(data_pool.unwrap_or(-1)))
}

/// Sets the size.
#[must_use]
pub fn set_size(size: u64) -> Call {
    Call::rbd(c"set_size", Encoder::new().u64(size))
}

/// Sets those flags that are in `mask`.
#[must_use]
pub fn set_flags(flags: Flags, mask: Flags) -> Call {
    Call::rbd(c"set_flags", Encoder::new().u64(flags.0).u64(mask.0))
}

/// Sets those flags of a snapshot that are in `mask`.
#[must_use]
pub fn set_snapshot_flags(snapshot: u64, flags: Flags, mask: Flags) -> Call {
    Call::rbd(c"set_flags", Encoder::new().u64(flags.0).u64(mask.0).u64(snapshot))
}

/// Sets the striping pattern.
#[must_use]
pub fn set_stripe_unit_count(unit: u64, count: u64) -> Call {
    Call::rbd(c"set_stripe_unit_count", Encoder::new().u64(unit).u64(count))
}

/// Adds a user's snapshot: `ESTALE` if there is a newer one, `EEXIST` if there is one of that name, `EDQUOT` above the limit.
#[must_use]
pub fn snapshot_add(name: &[u8], id: u64) -> Call {
    let user = |members: Encoder| members.u32(0);
    Call::rbd(c"snapshot_add", Encoder::new().bytes(name).u64(id).versioned(1, 1, user))
}

/// Removes a snapshot: `EBUSY` if it is protected or has clones.
#[must_use]
pub fn snapshot_remove(id: u64) -> Call {
    Call::rbd(c"snapshot_remove", Encoder::new().u64(id))
}

/// Moves a snapshot to the trash: `EBUSY` if it is protected, `EEXIST` if it is there.
#[must_use]
pub fn snapshot_trash_add(id: u64) -> Call {
    Call::rbd(c"snapshot_trash_add", Encoder::new().u64(id))
}

#[cfg(test)]
mod tests {
    use super::super::hex::hex;
    use super::*;
    use proptest::prelude::*;

    const HEAD: &str = "feffffffffffffff";

    #[test]
    fn getters_of_a_version_take_its_number() {
        for call in [get_size, get_flags, parent_overlap_get, get_parent] {
            assert_eq!(call(Version::Head).input(), hex(HEAD));
        }
        assert_eq!(snapshot_get(9).input(), hex("0900000000000000"));
        assert_eq!(get_protection_status(9).input(), hex("0900000000000000"));
    }

    #[test]
    fn getters_without_arguments_take_nothing() {
        let calls = [
            get_object_prefix(),
            get_snapcontext(),
            get_data_pool(),
            get_stripe_unit_count(),
            op_features_get(),
        ];
        for call in calls.into_iter().chain([get_all_features()]) {
            assert_eq!((call.class(), call.input()), (c"rbd", b"".as_slice()), "{call:?}");
        }
    }

    #[test]
    fn get_features_says_what_the_opener_wants() {
        assert_eq!(get_features(false).input(), hex("feffffffffffffff00"));
        assert_eq!(get_features(true).input(), hex("feffffffffffffff01"));
    }

    #[test]
    fn create_of_a_real_header() {
        let call = create(20 << 20, 22, Features::DEFAULT, "rbd_data.gold01", None);
        let expected =
            "0000400100000000163d000000000000000f0000007262645f646174612e676f6c643031ffffffffffffffff";
        assert_eq!((call.method(), call.input()), (c"create", hex(expected).as_slice()));
    }

    #[test]
    fn mutators_take_what_a_real_cluster_accepted() {
        assert_eq!(set_size(8 << 20).input(), hex("0000800000000000"));
        assert_eq!(set_flags(Flags(3), Flags(3)).input(), hex("03000000000000000300000000000000"));
        assert_eq!(snapshot_add(b"s1", 9).input(), hex("020000007331090000000000000001010400000000000000"));
        assert_eq!(snapshot_remove(9).input(), hex("0900000000000000"));
        assert_eq!(metadata_list(b"conf_", 64).input(), hex("05000000636f6e665f4000000000000000"));
    }

    #[test]
    fn snap_context_that_librados_would_refuse_is_refused() {
        let place = Decoder::new("get_snapcontext", &[]);
        assert!(SnapContext::new(&place, 0, vec![]).is_ok());
        assert!(SnapContext::new(&place, 5, vec![]).is_ok());
        assert!(SnapContext::new(&place, u64::MAX, vec![u64::MAX - 1, 0]).is_ok());
        for (seq, ids) in [(5, vec![6]), (5, vec![5, 5]), (5, vec![3, 4]), (0, vec![1])] {
            assert!(SnapContext::new(&place, seq, ids).is_err());
        }
    }

    proptest! {
        #[test]
        fn snap_context_is_in_order_or_an_error(seq: u64, ids: Vec<u64>) {
            let descend = ids.windows(2).all(|two| two[0] > two[1]);
            // The largest number stands for something else and is no snapshot.
            let fits = ids.first().is_none_or(|&first| first <= seq && first != u64::MAX);
            prop_assert_eq!(SnapContext::new(&Decoder::new("x", &[]), seq, ids).is_ok(), descend && fits);
        }
    }
}
