// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What a header says of an image, whichever its format: once at open, and again after every change.
//!
//! Source: RBD format document, sections 3, 5.6 and 8.1.

use super::calls::{self, Call, SnapContext};
use super::error::FormatError;
use super::features::{Features, Flags};
use super::format1;
use super::names::{DataNames, ImageId};
use super::records::{SnapshotInfo, SnapshotKind};
use super::replies::{self, Protection};
use super::striping::{check_size, Layout};

/// What never changes in the life of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Where its bytes are.
    pub layout: Layout,
    /// How its data objects are named.
    pub names: DataNames,
    /// The pool of the data, if it isn't that of the header.
    pub data_pool: Option<i64>,
}

/// The replies that [`Identity::format2`] needs, to `get_size`, `get_object_prefix`, `get_features`, and to those of
/// `get_stripe_unit_count` and `get_data_pool` that the features ask for.
#[derive(Debug, Clone, Copy)]
pub struct IdentityReplies<'a> {
    /// Reply to `get_size`.
    pub size: &'a [u8],
    /// Reply to `get_object_prefix`.
    pub prefix: &'a [u8],
    /// The features.
    pub features: Features,
    /// Reply to `get_stripe_unit_count`, with the feature `striping`.
    pub stripes: Option<&'a [u8]>,
    /// Reply to `get_data_pool`, with the feature `data-pool`.
    pub data_pool: Option<&'a [u8]>,
}

impl Identity {
    /// From the header of a format 2 image.
    ///
    /// # Errors
    /// If a reply is damaged, missing, or says what no image can be.
    pub fn format2(from: IdentityReplies<'_>) -> Result<Self, FormatError> {
        let (order, _) = replies::size(from.size)?;
        let names = DataNames::format2(replies::object_prefix(from.prefix)?)?;
        let layout = if from.features.contains(Features::STRIPING) {
            let reply = from
                .stripes
                .ok_or(FormatError::Inconsistent("a striped image without a striping pattern"))?;
            let (unit, count) = replies::stripe_unit_count(reply)?;
            Layout::striped(order, unit, count)?
        } else {
            Layout::plain(order)?
        };
        let data_pool =
            if from.features.contains(Features::DATA_POOL) {
                let pool = from.data_pool.map(replies::data_pool).transpose()?.flatten();
                Some(pool.ok_or(FormatError::Inconsistent(
                    "an image with data in another pool that has no number",
                ))?)
            } else {
                None
            };
        Ok(Self { layout, names, data_pool })
    }

    /// From the header of a format 1 image.
    ///
    /// # Errors
    /// If it says what no image can be.
    pub fn format1(header: &format1::Header) -> Result<Self, FormatError> {
        let names = DataNames::format1(&header.prefix)?;
        Ok(Self { layout: Layout::plain(header.order)?, names, data_pool: None })
    }
}

/// What changes by resizes, snapshots and new features, and is read again when it did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// The size in bytes.
    pub size: i64,
    /// The features.
    pub features: Features,
    /// Those that must be understood for the kind of access that was asked about.
    pub incompatible: Features,
    /// What is wrong with the object map.
    pub flags: Flags,
    /// What goes with every write.
    pub snap_context: SnapContext,
    /// How many bytes of a parent it still sees.
    pub parent_overlap: Option<u64>,
}

/// The replies to [`State::calls`], in their order.
#[derive(Debug, Clone, Copy)]
pub struct StateReplies<'a> {
    /// Reply to `get_size`.
    pub size: &'a [u8],
    /// Reply to `get_features`.
    pub features: &'a [u8],
    /// Reply to `get_flags`.
    pub flags: &'a [u8],
    /// Reply to `get_snapcontext`.
    pub snapcontext: &'a [u8],
    /// From the reply about the parent.
    pub parent_overlap: Option<u64>,
}

impl State {
    /// What to ask of a format 2 header, in one operation, so that the answers belong together. How to ask for the parent depends on
    /// the cluster.
    #[must_use]
    pub fn calls(read_only: bool, parent: Call) -> [Call; 5] {
        let head = calls::Version::Head;
        [
            calls::get_size(head),
            calls::get_features(read_only),
            calls::get_flags(head),
            calls::get_snapcontext(),
            parent,
        ]
    }

    /// From the header of a format 2 image with that identity.
    ///
    /// # Errors
    /// If a reply is damaged, or belongs to another image.
    pub fn format2(identity: &Identity, from: StateReplies<'_>) -> Result<Self, FormatError> {
        let (order, size) = replies::size(from.size)?;
        if order != identity.layout.order() {
            return Err(FormatError::Inconsistent("an image whose object size has changed"));
        }
        let (features, incompatible) = replies::features(from.features)?;
        Ok(Self {
            size: check_size(size)?,
            features,
            incompatible,
            flags: replies::flags(from.flags)?,
            snap_context: replies::snapcontext(from.snapcontext)?,
            parent_overlap: from.parent_overlap,
        })
    }

    /// From the header of a format 1 image with that identity.
    ///
    /// # Errors
    /// If it belongs to another image.
    pub fn format1(identity: &Identity, header: &format1::Header) -> Result<Self, FormatError> {
        if Identity::format1(header)? != *identity {
            return Err(FormatError::Inconsistent("an image whose object size or prefix has changed"));
        }
        Ok(Self {
            size: check_size(header.size)?,
            features: Features::NONE,
            incompatible: Features::NONE,
            flags: Flags::default(),
            snap_context: header.snap_context()?,
            parent_overlap: None,
        })
    }
}

/// A snapshot of a format 2 image, with what is asked of it separately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Number, name, size, kind.
    pub info: SnapshotInfo,
    /// How many bytes of a parent it still sees.
    pub parent_overlap: Option<u64>,
    /// What is wrong with its object map.
    pub flags: Flags,
    /// Whether it can be removed.
    pub protection: Protection,
}

impl Snapshot {
    /// What to ask of the header about a snapshot. Those of all snapshots go into one operation; an `ENOENT` means that one has
    /// vanished since the snapshot context was read.
    #[must_use]
    pub fn calls(id: u64) -> [Call; 4] {
        let version = calls::Version::Snapshot(id);
        [
            calls::snapshot_get(id),
            calls::parent_overlap_get(version),
            calls::get_flags(version),
            calls::get_protection_status(id),
        ]
    }

    /// From the replies to [`Snapshot::calls`].
    ///
    /// # Errors
    /// If one is damaged, or there is another snapshot in it.
    pub fn decode(id: u64, replies: [&[u8]; 4]) -> Result<Self, FormatError> {
        let [info, overlap, flags, protection] = replies;
        let info = replies::snapshot(info)?;
        if info.id != id {
            return Err(FormatError::Inconsistent("a snapshot that has another number than was asked for"));
        }
        check_size(info.size)?;
        Ok(Self {
            info,
            parent_overlap: replies::parent_overlap(overlap)?,
            flags: replies::flags(flags)?,
            protection: replies::protection_status(protection)?,
        })
    }

    /// Whether users get to see it.
    #[must_use]
    pub fn is_users(&self) -> bool {
        self.info.kind == SnapshotKind::User
    }
}

/// A format 2 header to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHeader {
    /// The id, which names all objects.
    pub id: ImageId,
    /// Size in bytes.
    pub size: u64,
    /// The layout, from [`Layout::for_create`].
    pub layout: Layout,
    /// The features that are configured.
    pub features: Features,
    /// The number of the header's pool and of the data's, if they differ.
    pub pools: Option<(i64, i64)>,
}

impl NewHeader {
    /// The calls that make the header, in order; the first one goes with the exclusive creation of the object.
    ///
    /// # Errors
    /// If the features contradict each other.
    pub fn calls(&self) -> Result<(Call, Option<Call>), FormatError> {
        let stripes = !self.layout.is_plain();
        let features = self.features.for_create(stripes, self.pools.is_some())?;
        let prefix = self.id.new_prefix(self.pools.map(|(header, _)| header));
        let data_pool = self.pools.map(|(_, data)| data);
        let create = calls::create(self.size, self.layout.order(), features, &prefix, data_pool);
        let pattern = stripes
            .then(|| calls::set_stripe_unit_count(self.layout.stripe_unit(), self.layout.stripe_count()));
        Ok((create, pattern))
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
