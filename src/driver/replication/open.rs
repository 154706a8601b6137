// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What a node asks of its children and allows others to do with them.

use crate::abi::{QBR_PERM_CONSISTENT_READ, QBR_PERM_WRITE, QBR_PERM_WRITE_UNCHANGED};
use crate::host::Permissions;

/// The permissions on a child, whatever the node's own parents do. `is_filtered`: it is the active disk, and not one of the two
/// behind it; `is_writable`: the node is open for writing, and active. Nobody may resize a disk, as all have the same length.
#[must_use]
pub fn permissions(is_filtered: bool, is_writable: bool) -> Permissions {
    let read = if is_filtered { QBR_PERM_CONSISTENT_READ } else { 0 };
    let write = if is_writable { QBR_PERM_WRITE } else { 0 };
    Permissions {
        wanted: read | write,
        shared: QBR_PERM_CONSISTENT_READ | QBR_PERM_WRITE | QBR_PERM_WRITE_UNCHANGED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::QBR_PERM_RESIZE;

    #[test]
    fn permissions_follow_the_child_and_the_node() {
        assert_eq!(permissions(true, true).wanted, QBR_PERM_CONSISTENT_READ | QBR_PERM_WRITE);
        assert_eq!(permissions(true, false).wanted, QBR_PERM_CONSISTENT_READ);
        assert_eq!(permissions(false, true).wanted, QBR_PERM_WRITE);
        assert_eq!(permissions(false, false).wanted, 0);
        for (filtered, writable) in [(true, true), (true, false), (false, true), (false, false)] {
            assert_eq!(permissions(filtered, writable).shared & QBR_PERM_RESIZE, 0);
        }
    }
}
