// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Finding an image by its name, and reading what its header says. Source: RBD format document, sections 3.3 and 8.1.

use std::ffi::{CStr, CString};

use super::connect::{text, HEADER_SIZE};
use super::error::Error;
use super::format::calls::{self, Call, SnapContext, Version};
use super::format::directory;
use super::format::encoding::Time;
use super::format::features::{Features, Flags, OpFeatures};
use super::format::format1;
use super::format::header::{Identity, IdentityReplies, Snapshot, State, StateReplies};
use super::format::names::{self, ImageId};
use super::format::records::{SnapshotInfo, SnapshotKind};
use super::format::replies::{self, Protection};
use crate::backend::rados::{PoolHandle, ReadOp, Replies, WriteOp};
use crate::errno::Errno;
use crate::host::Request;

/// How many snapshots are asked for in one operation.
const SNAPSHOTS_AT_A_TIME: usize = 64;

/// How often the header is read again because a snapshot has gone meanwhile.
const MAX_TRIES: u32 = 10;

/// Which of the two formats an image has, and what its objects are named after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Format 1, named after the image itself.
    Format1 {
        /// The name of the image.
        name: CString,
    },
    /// Format 2, named after an id.
    Format2(ImageId),
}

impl Kind {
    /// The object with the header.
    pub(super) fn header(&self) -> Result<CString, Error> {
        match self {
            Self::Format1 { name } => Ok(names::header1(name.to_bytes())?),
            Self::Format2(id) => Ok(id.header()),
        }
    }
}

/// A pool as somebody sees it who looks for images there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finder<'a> {
    /// The request that waits.
    pub(super) rq: &'a Request,
    /// Pool and namespace of the headers.
    pub(super) pool: &'a PoolHandle,
}

impl Finder<'_> {
    /// Asks one object several things at once, in order with changes of our own: one that was given up may still be done, and what was
    /// read before would not be what the header says.
    pub(super) async fn ask(&self, object: &CStr, calls: &[Call]) -> Result<Replies, Errno> {
        let mut op = ReadOp::new()?.in_order();
        for call in calls {
            op = op.exec(call.class(), call.method(), call.input());
        }
        self.pool.ask(self.rq, object, op).await
    }

    /// Has one object do something.
    pub(super) async fn call(&self, object: &CStr, call: &Call) -> Result<(), Errno> {
        let op = WriteOp::new()?.exec(call.class(), call.method(), call.input());
        Errno::check(self.pool.change(self.rq, object, op).await?).map(drop)
    }

    /// Whether the pool, given in its default namespace, has a namespace of that name.
    pub(super) async fn has_namespace(&self, name: &CStr) -> Result<bool, Error> {
        const AT_A_TIME: u64 = 64;
        let mut after = Vec::new();
        loop {
            let call = [directory::namespace_list(&after, AT_A_TIME)];
            let replies = match self.ask(names::NAMESPACES, &call).await {
                Err(errno) if errno == Errno::ENOENT => return Ok(false),
                replies => replies?,
            };
            let found = directory::namespaces_reply(replies.bytes(0))?;
            if found.contains(&name.to_bytes()) {
                return Ok(true);
            }
            match found.last() {
                Some(last) if u64::try_from(found.len()).unwrap_or(0) >= AT_A_TIME => after = last.to_vec(),
                _ => return Ok(false),
            }
        }
    }

    /// The image of that name; `ENOENT` if there is none.
    pub(super) async fn find(&self, name: &CStr) -> Result<Kind, Error> {
        let failed = |errno| Error::Open { image: text(name), what: "looking for it", errno };
        match self.ask(&names::id_object(name.to_bytes())?, &[directory::get_id()]).await {
            Ok(replies) => Ok(Kind::Format2(ImageId::parse(directory::id_reply(replies.bytes(0))?)?)),
            Err(errno) if errno == Errno::ENOENT => {
                let op = ReadOp::new()?.read(1);
                self.pool.ask(self.rq, &names::header1(name.to_bytes())?, op).await.map_err(failed)?;
                Ok(Kind::Format1 { name: name.to_owned() })
            }
            Err(errno) => Err(failed(errno)),
        }
    }

    /// What never changes.
    pub(super) async fn identity(&self, kind: &Kind, header: &CStr) -> Result<Identity, Error> {
        let Kind::Format2(_) = kind else {
            return Ok(Identity::format1(&self.header1(header).await?)?);
        };
        let first = [calls::get_size(Version::Head), calls::get_object_prefix(), calls::get_features(true)];
        let first = self.ask(header, &first).await?;
        let (features, _) = replies::features(first.bytes(2))?;
        let mut stripes = None;
        if features.contains(Features::STRIPING) {
            stripes = Some(self.ask(header, &[calls::get_stripe_unit_count()]).await?);
        }
        let mut data_pool = None;
        if features.contains(Features::DATA_POOL) {
            data_pool = Some(self.ask(header, &[calls::get_data_pool()]).await?);
        }
        Ok(Identity::format2(IdentityReplies {
            size: first.bytes(0),
            prefix: first.bytes(1),
            features,
            stripes: stripes.as_ref().map(|replies| replies.bytes(0)),
            data_pool: data_pool.as_ref().map(|replies| replies.bytes(0)),
        })?)
    }

    /// What may change: size, features, snapshots.
    pub(super) async fn state(
        &self,
        kind: &Kind,
        header: &CStr,
        identity: &Identity,
        read_only: bool,
    ) -> Result<(State, Vec<Snapshot>), Error> {
        let Kind::Format2(_) = kind else {
            let header = self.header1(header).await?;
            let snapshots = header.snapshots.iter().rev().map(snapshot_of_format1).collect();
            return Ok((State::format1(identity, &header)?, snapshots));
        };
        let mut tries: u32 = 0;
        loop {
            let (replies, parent_overlap) = self.ask_state(header, read_only).await?;
            let replies = StateReplies {
                size: replies.bytes(0),
                features: replies.bytes(1),
                flags: replies.bytes(2),
                snapcontext: replies.bytes(3),
                parent_overlap,
            };
            let state = State::format2(identity, replies)?;
            match self.snapshots(header, &state.snap_context).await {
                // One has gone since; then the header has changed, and is read again.
                Err(Error::Errno(errno)) if errno == Errno::ENOENT && tries < MAX_TRIES => {
                    tries = tries.saturating_add(1);
                }
                snapshots => return Ok((state, snapshots?)),
            }
        }
    }

    /// Asks what may change of a format 2 image, and how much it sees of a parent.
    async fn ask_state(&self, header: &CStr, read_only: bool) -> Result<(Replies, Option<u64>), Error> {
        let parent = calls::parent_overlap_get(Version::Head);
        match self.ask(header, &State::calls(read_only, parent)).await {
            Ok(replies) => {
                let overlap = replies::parent_overlap(replies.bytes(4))?;
                Ok((replies, overlap))
            }
            Err(errno) if errno == Errno::ENOTSUP => {
                // From before Nautilus; a parent in a namespace can't be told then.
                let parent = calls::get_parent(Version::Head);
                let replies = self.ask(header, &State::calls(read_only, parent)).await?;
                let overlap = replies::legacy_parent_overlap(replies.bytes(4))?;
                Ok((replies, overlap))
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// All snapshots of a format 2 image, the oldest first.
    async fn snapshots(&self, header: &CStr, context: &SnapContext) -> Result<Vec<Snapshot>, Error> {
        let mut snapshots = Vec::new();
        for ids in context.ids().chunks(SNAPSHOTS_AT_A_TIME) {
            let calls: Vec<Call> = ids.iter().flat_map(|id| Snapshot::calls(*id)).collect();
            let replies = self.ask(header, &calls).await?;
            for (index, id) in ids.iter().enumerate() {
                let first = index.saturating_mul(4);
                let member = |number| replies.bytes(first.saturating_add(number));
                snapshots.push(Snapshot::decode(*id, [member(0), member(1), member(2), member(3)])?);
            }
        }
        snapshots.reverse();
        Ok(snapshots)
    }

    /// What else was done with a format 2 image.
    pub(super) async fn operations(&self, header: &CStr) -> Result<OpFeatures, Error> {
        let replies = self.ask(header, &[calls::op_features_get()]).await?;
        Ok(replies::op_features(replies.bytes(0))?)
    }

    /// The header of a format 1 image.
    async fn header1(&self, header: &CStr) -> Result<format1::Header, Error> {
        let op = ReadOp::new()?.in_order().read(HEADER_SIZE);
        let replies = self.pool.ask(self.rq, header, op).await?;
        Ok(format1::Header::decode(replies.bytes(0))?)
    }
}

/// A snapshot of a format 1 image in the words of format 2.
fn snapshot_of_format1(snapshot: &format1::Snapshot) -> Snapshot {
    Snapshot {
        info: SnapshotInfo {
            id: snapshot.id,
            kind: SnapshotKind::User,
            name: snapshot.name.clone(),
            size: snapshot.size,
            created: Time::default(),
            child_count: 0,
        },
        parent_overlap: None,
        flags: Flags::default(),
        protection: Protection::Unprotected,
    }
}
