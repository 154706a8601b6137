// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Feature bits of an image, their names, and what goes with what. Source: RBD format document, section 4.
//!
//! Which of them an opener refuses, and with which words, is the job of `refusal.rs`.

use std::fmt;

use crate::errno::{Errno, ToErrno};
use crate::options::parse_number;

/// A set of feature bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Features(u64);

impl Features {
    /// None.
    pub const NONE: Self = Self(0);
    /// The image may be a clone or have clones.
    pub const LAYERING: Self = Self(0x001);
    /// Stripe unit and count differ from the plain layout.
    pub const STRIPING: Self = Self(0x002);
    /// One writer at a time.
    pub const EXCLUSIVE_LOCK: Self = Self(0x004);
    /// A map says which objects exist; needs the exclusive lock.
    pub const OBJECT_MAP: Self = Self(0x008);
    /// The map also says what changed since the last snapshot.
    pub const FAST_DIFF: Self = Self(0x010);
    /// A flatten reaches the snapshots too.
    pub const DEEP_FLATTEN: Self = Self(0x020);
    /// Every write goes to a journal first.
    pub const JOURNALING: Self = Self(0x040);
    /// Data objects are in a pool of their own.
    pub const DATA_POOL: Self = Self(0x080);
    /// There are bits in `op_features`.
    pub const OPERATIONS: Self = Self(0x100);
    /// The image is being moved to another one, or from it.
    pub const MIGRATING: Self = Self(0x200);
    /// The image is a mirror's copy.
    pub const NON_PRIMARY: Self = Self(0x400);
    /// A cache on some host holds newer data.
    pub const DIRTY_CACHE: Self = Self(0x800);

    /// All bits that have a name.
    pub const KNOWN: Self = Self(0xfff);
    /// The bits whose reader must understand them: a `get_features` for reading answers these of an image.
    pub const READ_INCOMPATIBLE: Self = Self(0x883);
    /// The bits that come along with something else, or that only the cluster sets.
    pub const IMPLICIT: Self = Self(0xf92);
    /// What `rbd create` makes when nothing is configured.
    pub const DEFAULT: Self = Self(0x03d);

    /// A set as the cluster writes it; unknown bits are kept.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The set as the cluster writes it.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Whether all of `other` are in the set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is in the set.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in this set only.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The names of the bits that have one, the lowest first.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().filter(move |(bit, _)| self.intersects(*bit)).map(|(_, name)| *name)
    }

    /// A set in the form of the option `rbd_default_features`: a number, or names with commas between them.
    ///
    /// # Errors
    /// A name or bit that doesn't exist.
    pub fn parse(text: &[u8]) -> Result<Self, ConfiguredFeatureError> {
        let text = text.trim_ascii();
        if let Some(bits) = parse_number(text) {
            let unknown = Self(bits).without(Self::KNOWN);
            return if unknown.is_empty() {
                Ok(Self(bits))
            } else {
                Err(ConfiguredFeatureError::Bits(unknown.0))
            };
        }
        let mut set = Self::NONE;
        for name in text.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|name| !name.is_empty()) {
            match NAMES.iter().find(|(_, known)| known.as_bytes() == name) {
                Some((bit, _)) => set = set.union(*bit),
                None => return Err(ConfiguredFeatureError::Name(String::from_utf8_lossy(name).into_owned())),
            }
        }
        Ok(set)
    }

    /// The features of a new image: what is configured, without the bits that can't be asked for, and with those that come along
    /// with the layout or with others. Source: section 4.1.
    ///
    /// # Errors
    /// A feature without the one that it needs, or one that we can't set up.
    pub fn for_create(self, stripes: bool, data_pool: bool) -> Result<Self, ConfiguredFeatureError> {
        let mut set = self.without(Self::IMPLICIT);
        let implied = [
            (set.contains(Self::OBJECT_MAP), Self::FAST_DIFF),
            (stripes, Self::STRIPING),
            (data_pool, Self::DATA_POOL),
        ];
        for (is_wanted, feature) in implied {
            if is_wanted {
                set = set.union(feature);
            }
        }
        if set.contains(Self::JOURNALING) {
            return Err(ConfiguredFeatureError::Journaling);
        }
        if set.contains(Self::OBJECT_MAP) && !set.contains(Self::EXCLUSIVE_LOCK) {
            return Err(ConfiguredFeatureError::ObjectMapWithoutLock);
        }
        Ok(set)
    }
}

/// The names of the bits, as `rbd info` shows them.
const NAMES: [(Features, &str); 12] = [
    (Features::LAYERING, "layering"),
    (Features::STRIPING, "striping"),
    (Features::EXCLUSIVE_LOCK, "exclusive-lock"),
    (Features::OBJECT_MAP, "object-map"),
    (Features::FAST_DIFF, "fast-diff"),
    (Features::DEEP_FLATTEN, "deep-flatten"),
    (Features::JOURNALING, "journaling"),
    (Features::DATA_POOL, "data-pool"),
    (Features::OPERATIONS, "operations"),
    (Features::MIGRATING, "migrating"),
    (Features::NON_PRIMARY, "non-primary"),
    (Features::DIRTY_CACHE, "dirty-cache"),
];

/// The names, and the number of what has none.
impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unknown = self.without(Self::KNOWN);
        let mut separator = "";
        for name in self.names() {
            write!(f, "{separator}{name}")?;
            separator = ", ";
        }
        if unknown.is_empty() {
            Ok(())
        } else {
            write!(f, "{separator}unknown ({:#x})", unknown.0)
        }
    }
}

impl fmt::Debug for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Features({:#x}: {self})", self.0)
    }
}

/// What is wrong with the features that a new image is to have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfiguredFeatureError {
    /// A name that no feature has.
    #[error("rbd_default_features: there is no feature '{0}'")]
    Name(String),
    /// Bits that no feature has.
    #[error("rbd_default_features: no feature has the bits {0:#x}")]
    Bits(u64),
    /// An object map can't be kept without the lock.
    #[error("rbd_default_features: object-map needs exclusive-lock")]
    ObjectMapWithoutLock,
    /// Journals can't be set up.
    #[error(
        "rbd_default_features: images with journaling can't be created here, take it out or use 'rbd create'"
    )]
    Journaling,
}

impl ToErrno for ConfiguredFeatureError {
    fn errno(&self) -> Errno {
        match self {
            Self::Name(_) | Self::Bits(_) | Self::ObjectMapWithoutLock => Errno::EINVAL,
            Self::Journaling => Errno::ENOTSUP,
        }
    }
}

/// What else was done with the image (`op_features`). Source: section 4.2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpFeatures(pub u64);

impl OpFeatures {
    /// Some snapshot has clones of the second kind.
    pub const CLONE_PARENT: u64 = 0x1;
    /// The image is such a clone.
    pub const CLONE_CHILD: u64 = 0x2;
    /// The image is member of a group.
    pub const GROUP: u64 = 0x4;
    /// Some snapshot is in the trash.
    pub const SNAP_TRASH: u64 = 0x8;

    /// The bits that we don't know: I/O is allowed with them, maintenance is not.
    #[must_use]
    pub fn unknown(self) -> u64 {
        self.0 & !(Self::CLONE_PARENT | Self::CLONE_CHILD | Self::GROUP | Self::SNAP_TRASH)
    }
}

/// What is known to be wrong with the object map, of the image or of a snapshot. Source: section 4.3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(pub u64);

impl Flags {
    /// The map can't be trusted.
    pub const OBJECT_MAP_INVALID: u64 = 0x1;
    /// What the map says of changes can't be trusted.
    pub const FAST_DIFF_INVALID: u64 = 0x2;

    /// Whether the object map says what exists.
    #[must_use]
    pub fn object_map_is_valid(self) -> bool {
        self.0 & Self::OBJECT_MAP_INVALID == 0
    }

    /// Whether the object map also says what changed.
    #[must_use]
    pub fn fast_diff_is_valid(self) -> bool {
        self.object_map_is_valid() && self.0 & Self::FAST_DIFF_INVALID == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_the_default_are_what_rbd_info_shows() {
        let text = "layering, exclusive-lock, object-map, fast-diff, deep-flatten";
        assert_eq!(Features::DEFAULT.to_string(), text);
    }

    #[test]
    fn names_show_unknown_bits_as_a_number() {
        assert_eq!(Features::from_bits(0x1001).to_string(), "layering, unknown (0x1000)");
        assert_eq!(Features::from_bits(1 << 63).to_string(), "unknown (0x8000000000000000)");
        assert_eq!(Features::NONE.to_string(), "");
    }

    #[test]
    fn every_known_bit_has_its_name() {
        assert_eq!(NAMES.iter().fold(Features::NONE, |set, (bit, _)| set.union(*bit)), Features::KNOWN);
    }

    #[test]
    fn parse_takes_numbers_and_names() {
        for text in ["61", "0x3d", " 61\n", "layering,exclusive-lock,object-map,fast-diff,deep-flatten"] {
            assert_eq!(Features::parse(text.as_bytes()), Ok(Features::DEFAULT), "{text}");
        }
        assert_eq!(Features::parse(b"layering, striping"), Ok(Features::from_bits(3)));
        assert_eq!(Features::parse(b""), Ok(Features::NONE));
    }

    #[test]
    fn parse_refuses_features_that_do_not_exist() {
        assert_eq!(Features::parse(b"layering,warp"), Err(ConfiguredFeatureError::Name("warp".into())));
        assert_eq!(Features::parse(b"4097"), Err(ConfiguredFeatureError::Bits(0x1000)));
    }

    #[test]
    fn for_create_of_the_default_is_the_default() {
        assert_eq!(Features::DEFAULT.for_create(false, false), Ok(Features::DEFAULT));
    }

    #[test]
    fn for_create_adds_what_the_layout_and_the_map_bring_along() {
        assert_eq!(Features::LAYERING.for_create(true, true), Ok(Features::from_bits(0x83)));
        assert_eq!(Features::from_bits(0xd).for_create(false, false), Ok(Features::from_bits(0x1d)));
    }

    #[test]
    fn for_create_leaves_out_what_can_not_be_asked_for() {
        let all = Features::KNOWN.without(Features::JOURNALING);
        assert_eq!(all.for_create(false, false), Ok(Features::DEFAULT));
    }

    #[test]
    fn for_create_refuses_a_map_without_its_lock_and_journals() {
        let map = Features::OBJECT_MAP.for_create(false, false);
        assert_eq!(map, Err(ConfiguredFeatureError::ObjectMapWithoutLock));
        let journal = Features::from_bits(0x44).for_create(false, false);
        assert_eq!(journal, Err(ConfiguredFeatureError::Journaling));
        assert_eq!(journal.unwrap_err().errno(), Errno::ENOTSUP);
    }

    #[test]
    fn op_features_that_are_unknown_are_found() {
        assert_eq!(OpFeatures(0xf).unknown(), 0);
        assert_eq!(OpFeatures(0x1f).unknown(), 0x10);
    }

    #[test]
    fn flags_of_an_invalid_map_make_its_diff_invalid_too() {
        assert!(Flags(0).object_map_is_valid() && Flags(0).fast_diff_is_valid());
        assert!(Flags(2).object_map_is_valid() && !Flags(2).fast_diff_is_valid());
        assert!(!Flags(1).object_map_is_valid() && !Flags(1).fast_diff_is_valid());
    }

    proptest! {
        #[test]
        fn parse_finds_the_names_again(bits in 0..0x1000u64) {
            let set = Features::from_bits(bits);
            prop_assert_eq!(Features::parse(set.to_string().as_bytes()), Ok(set));
        }

        #[test]
        fn for_create_never_gives_bits_that_the_cluster_sets(bits: u64, stripes: bool, data_pool: bool) {
            if let Ok(set) = Features::from_bits(bits & 0xfff).for_create(stripes, data_pool) {
                prop_assert_eq!(set.contains(Features::STRIPING), stripes);
                prop_assert_eq!(set.contains(Features::DATA_POOL), data_pool);
                prop_assert!(!set.intersects(Features::from_bits(0xf00)));
            }
        }
    }
}
