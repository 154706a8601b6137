// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What an open quorum node keeps.

use super::allowance::Allowance;
use super::children::Children;
use super::error::Error;
use super::options::Options;
use super::repair::{Repairs, Ticket};
use crate::errno::Errno;
use crate::host::qemu::Bs;
use crate::host::{Child, GraphLocked, Lanes, Pool, Request};
use crate::range::ByteRange;

/// An open node. Shared by all requests, on whatever thread.
#[derive(Debug)]
pub struct Quorum {
    pub(super) options: Options,
    pub(super) children: GraphLocked<Children>,
    pub(super) pool: Pool<Lanes>,
    /// Only where what has lost a vote is repaired.
    pub(super) repairs: Option<Repairs>,
    /// For discards.
    pub(super) allowance: Allowance,
}

impl Quorum {
    /// A node that has no children yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            children: GraphLocked::default(),
            pool: Pool::new(),
            repairs: options.rewrite_corrupted.then(Repairs::default),
            allowance: Allowance::new(),
        }
    }

    /// The children, for those who change them.
    #[must_use]
    pub fn children(&self) -> &GraphLocked<Children> {
        &self.children
    }

    /// The children.
    pub(super) fn list(&self) -> &[Child] {
        self.children.get().list()
    }

    /// A write begins: repairs must know of it until the ticket is dropped. It waits for those that it overlaps.
    #[inline]
    pub(super) async fn begin_write(
        &self,
        rq: &Request,
        range: ByteRange,
    ) -> Result<Option<Ticket<'_>>, Errno> {
        match &self.repairs {
            Some(repairs) => repairs.begin_write(rq, range).await.map(Some),
            None => Ok(None),
        }
    }

    /// Another child was added, which may do what the others have refused.
    pub fn renew_allowance(&self) {
        self.allowance.renew();
    }

    /// The name for another child of this node, `bs`.
    ///
    /// # Errors
    /// If there can't be one, or `node` can't be it.
    // DIVERGES: a child of another length is not added; the C driver adds it, and QEMU aborts when a request goes beyond its end.
    pub fn name_for_another_child(&self, bs: Bs, node: Bs) -> Result<String, Error> {
        if self.options.blkverify {
            return Err(Error::AddToBlkverify);
        }
        // Whoever adds a child holds the lock of the block graph, with which a child can't be asked. But these lengths are those
        // that the block layer checks requests with.
        let (bytes, wanted) = (node.known_length(), bs.known_length());
        if bytes != wanted {
            return Err(Error::OtherLength { node: node.name(), bytes, wanted });
        }
        self.children.get().next_name()
    }

    /// Whether votes can still be won without a child.
    ///
    /// # Errors
    /// If they can't, or it is no child of this node.
    pub fn check_removal(&self, child: Child) -> Result<(), Error> {
        if !self.list().contains(&child) {
            return Err(Error::NoSuchChild);
        }
        if self.list().len() <= self.options.threshold {
            return Err(Error::TooFewChildren(self.options.threshold));
        }
        Ok(())
    }
}
