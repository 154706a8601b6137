// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The list of children and their names.

use super::error::Error;
use crate::abi::{
    QBR_REQ_FUA, QBR_REQ_MAY_UNMAP, QBR_REQ_NO_FALLBACK, QBR_REQ_WRITE_UNCHANGED, QBR_REQ_ZERO_WRITE,
};
use crate::host::{Child, Flags};

/// The children of a node, in the order in which they vote.
#[derive(Debug, Default)]
pub struct Children {
    list: Vec<Child>,
    /// The number in the name of the next child.
    next_index: u32,
}

impl Children {
    /// All of them.
    #[must_use]
    pub fn list(&self) -> &[Child] {
        &self.list
    }

    /// The name for another child.
    ///
    /// # Errors
    /// If all numbers are used up.
    pub fn next_name(&self) -> Result<String, Error> {
        if self.next_index == u32::MAX {
            return Err(Error::TooManyChildren);
        }
        Ok(format!("children.{}", self.next_index))
    }

    /// Adds the child that has got [`Children::next_name`].
    pub fn add(&mut self, child: Child) {
        self.list.push(child);
        self.next_index = self.next_index.saturating_add(1);
    }

    /// Removes a child, whose name is `name`. The last number may be used again then, and no other.
    pub fn remove(&mut self, child: Child, name: &str) {
        self.list.retain(|other| *other != child);
        if Some(name) == self.next_index.checked_sub(1).map(|last| format!("children.{last}")).as_deref() {
            self.next_index = self.next_index.saturating_sub(1);
        }
    }

    /// What ranges have to be multiples of so that no child has to cut off an end of zeroes that are written quickly. It is asked
    /// for anew each time, as a reopen of a child may change it.
    #[must_use]
    pub fn zero_alignment(&self) -> u32 {
        self.list.iter().map(|child| child.zero_alignment()).max().unwrap_or(1)
    }

    /// The request flags that the node can take, as all children take them.
    #[must_use]
    pub fn flags(&self) -> Flags {
        let all = Flags {
            write: 0,
            zero: QBR_REQ_FUA | QBR_REQ_MAY_UNMAP | QBR_REQ_NO_FALLBACK,
            truncate: QBR_REQ_ZERO_WRITE,
        };
        let common = self.list.iter().fold(all, |common, child| {
            let flags = child.flags();
            Flags { write: 0, zero: common.zero & flags.zero, truncate: common.truncate & flags.truncate }
        });
        Flags {
            write: QBR_REQ_WRITE_UNCHANGED,
            zero: common.zero | QBR_REQ_WRITE_UNCHANGED,
            truncate: common.truncate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_name_ends_with_the_numbers() {
        let full = Children { list: Vec::new(), next_index: u32::MAX };
        assert!(matches!(full.next_name(), Err(Error::TooManyChildren)));
        assert_eq!(Children::default().next_name().unwrap(), "children.0");
    }
}
