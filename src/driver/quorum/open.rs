// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What a node asks of its children and allows others to do with them.

use super::state::Quorum;
use crate::abi::{QBR_PERM_CONSISTENT_READ, QBR_PERM_RESIZE, QBR_PERM_WRITE, QBR_PERM_WRITE_UNCHANGED};
use crate::host::qemu::Bs;
use crate::host::Permissions;

impl Quorum {
    /// The permissions on a child of this node, `bs`, from those that its own parents have.
    // DIVERGES: a node that is inactive does not ask to write for its repairs; with the C driver that does, its children can't
    // become inactive, and a migration fails.
    #[must_use]
    pub fn permissions(&self, bs: Bs, parents: Permissions) -> Permissions {
        permissions(self.options.rewrite_corrupted && !bs.is_inactive(), parents)
    }
}

/// A node that repairs must be able to write, even for parents that only read. Nobody else may write to or resize a child, as
/// the children would differ then.
#[must_use]
pub fn permissions(repairs: bool, parents: Permissions) -> Permissions {
    let passed = QBR_PERM_CONSISTENT_READ | QBR_PERM_WRITE | QBR_PERM_WRITE_UNCHANGED | QBR_PERM_RESIZE;
    let repair = if repairs { QBR_PERM_WRITE } else { 0 };
    Permissions {
        wanted: parents.wanted & passed | repair,
        shared: parents.shared & (QBR_PERM_CONSISTENT_READ | QBR_PERM_WRITE_UNCHANGED),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_never_share_writing_and_resizing() {
        let children = permissions(false, Permissions { wanted: 0, shared: u64::MAX });
        assert_eq!(children.shared, QBR_PERM_CONSISTENT_READ | QBR_PERM_WRITE_UNCHANGED);
    }

    #[test]
    fn permissions_of_a_reader_that_repairs_include_writing() {
        let reader = Permissions { wanted: QBR_PERM_CONSISTENT_READ, shared: 0 };
        assert_eq!(permissions(true, reader).wanted, QBR_PERM_CONSISTENT_READ | QBR_PERM_WRITE);
        assert_eq!(permissions(false, reader).wanted, QBR_PERM_CONSISTENT_READ);
    }
}
