// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Which images are not opened, or not written, because of what they are; each with its name and what to do about it.
//!
//! Nothing is guessed: a feature that isn't named in a table here is refused. Source: RBD format document, sections 4 and 22.

use super::format::features::{Features, OpFeatures};
use super::format::header::Snapshot;
use crate::errno::{Errno, ToErrno};

/// What an image is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading, of the image or of a snapshot.
    Read,
    /// Reading and writing.
    Write,
}

/// Why an image is not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeatureError {
    /// Bits that this driver has never heard of, and whose reader or writer must understand them.
    #[error("the image has features that this driver does not know: {0}")]
    Unknown(Features),
    /// A feature that can't be read past.
    #[error("images with the feature '{feature}' are not supported: {advice}")]
    Unsupported {
        /// Its name.
        feature: &'static str,
        /// What the user can do.
        advice: &'static str,
    },
    /// A feature that can't be written past.
    #[error("images with the feature '{feature}' are only supported read-only: {advice}")]
    WriteUnsupported {
        /// Its name.
        feature: &'static str,
        /// What the user can do.
        advice: &'static str,
    },
    /// An image that nobody may write, whoever asks.
    #[error("the image is a mirror's copy ('non-primary') and is read-only: promote it with 'rbd mirror image promote'")]
    NonPrimary,
    /// A clone that still depends on its parent.
    #[error("the image is a clone, which is not supported: make it independent with 'rbd flatten'")]
    Clone,
    /// A snapshot from when the image was a clone, which has become independent without its snapshots.
    #[error("snapshot '{0}' still needs the parent of which the image was a clone, which is not supported: copy it with 'rbd cp', or remove it with 'rbd snap rm'")]
    SnapshotOfClone(String),
    /// The image can be used but not maintained.
    #[error("the image has operations that this driver does not know ({0:#x}): resize and snapshots need a newer one")]
    UnknownOperation(u64),
}

impl ToErrno for FeatureError {
    fn errno(&self) -> Errno {
        match self {
            Self::Unknown(_)
            | Self::Unsupported { .. }
            | Self::WriteUnsupported { .. }
            | Self::Clone
            | Self::SnapshotOfClone(_) => Errno::ENOTSUP,
            Self::NonPrimary | Self::UnknownOperation(_) => Errno::EROFS,
        }
    }
}

/// What can't even be read.
const UNREADABLE: [(Features, &str, &str); 2] = [
    (
        Features::DIRTY_CACHE,
        "dirty-cache",
        "a cache on another host holds newer data, write it back with 'rbd persistent-cache flush'",
    ),
    (
        Features::MIGRATING,
        "migrating",
        "end the migration with 'rbd migration commit' or 'rbd migration abort'",
    ),
];

/// What can be read but not written. The order is the order in which users should deal with them.
const UNWRITABLE: [(Features, &str, &str); 1] = [(
    Features::JOURNALING,
    "journaling",
    "open it read-only, or take the feature away with 'rbd feature disable IMAGE journaling'",
)];

/// Whether an image with these features can be opened. `incompatible` is the second word that `get_features` answered for this
/// kind of access: the features that must be understood.
///
/// # Errors
/// The first feature that stands against it.
pub fn check_open(access: Access, features: Features, incompatible: Features) -> Result<(), FeatureError> {
    for (bit, feature, advice) in UNREADABLE {
        if features.contains(bit) {
            return Err(FeatureError::Unsupported { feature, advice });
        }
    }
    if access == Access::Write {
        if features.contains(Features::NON_PRIMARY) {
            return Err(FeatureError::NonPrimary);
        }
        for (bit, feature, advice) in UNWRITABLE {
            if features.contains(bit) {
                return Err(FeatureError::WriteUnsupported { feature, advice });
            }
        }
    }
    // A bit that must be understood and has no name, even if only one of the two words has it.
    let must_know = match access {
        Access::Read => incompatible,
        Access::Write => incompatible.union(features),
    };
    let unknown = must_know.without(Features::KNOWN);
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(FeatureError::Unknown(unknown))
    }
}

/// Whether an image can be used as it is now.
///
/// # Errors
/// If it still sees a parent.
pub fn check_parent(overlap: Option<u64>) -> Result<(), FeatureError> {
    match overlap {
        Some(_) => Err(FeatureError::Clone),
        None => Ok(()),
    }
}

/// Whether one can open a snapshot, go to it, or delete it: that would need the data of a parent, or be for its list of children.
///
/// # Errors
/// If it still sees a parent.
pub fn check_snapshot(snapshot: &Snapshot) -> Result<(), FeatureError> {
    match snapshot.parent_overlap {
        Some(_) => {
            Err(FeatureError::SnapshotOfClone(String::from_utf8_lossy(&snapshot.info.name).into_owned()))
        }
        None => Ok(()),
    }
}

/// Whether an image can be resized, and its snapshots be changed.
///
/// # Errors
/// If something was done with the image that we don't know.
pub fn check_maintenance(operations: OpFeatures) -> Result<(), FeatureError> {
    match operations.unknown() {
        0 => Ok(()),
        unknown => Err(FeatureError::UnknownOperation(unknown)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Opens as a cluster of today would answer.
    fn open(access: Access, features: u64) -> Result<(), FeatureError> {
        let features = Features::from_bits(features);
        let mask = match access {
            Access::Read => Features::READ_INCOMPATIBLE,
            Access::Write => Features::KNOWN,
        };
        check_open(access, features, Features::from_bits(features.bits() & mask.bits()))
    }

    #[test]
    fn plain_striped_and_data_pool_images_can_be_written() {
        for features in [0, 0x1, 0x3, 0x81, 0x83, 0x21, 0x101] {
            assert_eq!(open(Access::Write, features), Ok(()), "{features:#x}");
        }
    }

    #[test]
    fn default_image_can_be_read_and_written() {
        assert_eq!(open(Access::Read, 0x3d), Ok(()));
        assert_eq!(open(Access::Write, 0x3d), Ok(()));
    }

    #[test]
    fn journal_is_refused_with_what_to_do() {
        let error = open(Access::Write, 0x7d).unwrap_err();
        assert_eq!(
            error.to_string(),
            "images with the feature 'journaling' are only supported read-only: open it read-only, or take the feature away with \
             'rbd feature disable IMAGE journaling'"
        );
        assert_eq!(error.errno(), Errno::ENOTSUP);
    }

    #[test]
    fn every_writing_refusal_names_its_feature_and_reading_is_allowed() {
        for (features, name) in [(0x45, "journaling"), (0x7d, "journaling")] {
            let error = open(Access::Write, features).unwrap_err();
            assert!(
                matches!(error, FeatureError::WriteUnsupported { feature, .. } if feature == name),
                "{name}"
            );
            assert_eq!(open(Access::Read, features), Ok(()), "{name}");
        }
    }

    #[test]
    fn dirty_cache_and_migration_are_refused_for_reading_too() {
        for (features, name) in [(0x801, "dirty-cache"), (0x201, "migrating")] {
            for access in [Access::Read, Access::Write] {
                let error = open(access, features).unwrap_err();
                assert!(
                    matches!(error, FeatureError::Unsupported { feature, .. } if feature == name),
                    "{name}"
                );
                assert_eq!(error.errno(), Errno::ENOTSUP);
            }
        }
    }

    #[test]
    fn non_primary_image_is_read_only() {
        assert_eq!(open(Access::Read, 0x401), Ok(()));
        let error = open(Access::Write, 0x43d).unwrap_err();
        assert_eq!((error.errno(), &error), (Errno::EROFS, &FeatureError::NonPrimary));
    }

    #[test]
    fn unknown_feature_is_refused_for_writing_and_where_the_cluster_says_so() {
        assert_eq!(open(Access::Write, 0x1001), Err(FeatureError::Unknown(Features::from_bits(0x1000))));
        assert_eq!(open(Access::Read, 0x1001), Ok(()));
        let bits = Features::from_bits(0x1000);
        assert_eq!(check_open(Access::Read, bits, bits), Err(FeatureError::Unknown(bits)));
    }

    #[test]
    fn clone_is_refused() {
        assert_eq!(check_parent(None), Ok(()));
        assert_eq!(check_parent(Some(1)).unwrap_err().errno(), Errno::ENOTSUP);
    }

    #[test]
    fn unknown_operations_forbid_maintenance_only() {
        assert_eq!(check_maintenance(OpFeatures(0xf)), Ok(()));
        let error = check_maintenance(OpFeatures(0x30)).unwrap_err();
        assert_eq!((error.errno(), &error), (Errno::EROFS, &FeatureError::UnknownOperation(0x30)));
    }

    proptest! {
        #[test]
        fn what_may_be_written_may_be_read(features: u64) {
            if open(Access::Write, features).is_ok() {
                prop_assert_eq!(open(Access::Read, features), Ok(()));
            }
        }

        #[test]
        fn nothing_unknown_or_unsupported_is_ever_written(features: u64) {
            if open(Access::Write, features).is_ok() {
                prop_assert_eq!(features & !0x1bf, 0);
            }
        }
    }
}
