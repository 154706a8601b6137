// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Changing the length of all children, or of none.

use super::error::Error;
use super::state::Quorum;
use crate::errno::Errno;
use crate::host::{Child, Length, Request};
use crate::range::ByteRange;

impl Quorum {
    /// Sets the length of all children. Where one can't, the others get their old length back.
    ///
    /// # Errors
    /// What the child answered that can't, with its name.
    // DIVERGES: a quorum can be resized; the C driver can't.
    pub async fn truncate(&self, rq: &Request, length: Length) -> Result<(), Error> {
        // A repair would bring back on one child what is cut off here.
        let rest = ByteRange::new(length.bytes, i64::MAX.saturating_sub(length.bytes))?;
        let _write = self.begin_write(rq, rest).await?;
        let old = self.length()?;
        let children = self.list();
        // What a shrink cuts off can't be brought back. So first see whether all children can be resized at all.
        if length.bytes < old {
            if let Err(failure) = try_each(children, unchanged(old)).1 {
                return Err(failure.of(length, "no child was changed".to_owned()));
            }
        }
        let (done, result) = try_each(children, length);
        result.map_err(|failure| {
            let outcome = put_back(done, failure.child, old, length.bytes < old);
            failure.of(length, outcome)
        })
    }
}

/// The length that all children have, or had.
fn unchanged(bytes: i64) -> Length {
    Length { bytes, exact: true, preallocation: 0, flags: 0 }
}

/// Resizes a child, or says which one can't be and why.
fn resize(child: Child, length: Length) -> Result<(), Failure> {
    child.truncate(length).map_err(|(errno, error)| Failure {
        child,
        errno,
        reason: format!("{} (node '{}'): {error}", child.name(), child.node_name()),
    })
}

/// A child that could not be resized.
struct Failure {
    child: Child,
    errno: Errno,
    reason: String,
}

impl Failure {
    /// The error of the whole resize; `outcome` says what became of the other children.
    fn of(self, length: Length, outcome: String) -> Error {
        Error::Resize { bytes: length.bytes, reason: self.reason, outcome, errno: self.errno }
    }
}

/// Resizes the children one after the other, up to the first that fails; those that were resized, and that failure.
fn try_each(children: &[Child], length: Length) -> (&[Child], Result<(), Failure>) {
    for (index, child) in children.iter().enumerate() {
        if let Err(failure) = resize(*child, length) {
            return (children.get(..index).unwrap_or_default(), Err(failure));
        }
    }
    (children, Ok(()))
}

/// Gives the children that were resized their old length back, and the one that failed, which may have got there all the same; what
/// to say about that.
fn put_back(done: &[Child], failed: Child, old: i64, was_shrunk: bool) -> String {
    let changed = || done.iter().copied().chain([failed]);
    let stuck: Vec<String> = changed()
        .filter_map(|child| resize(child, unchanged(old)).err())
        // One that takes no length at all has kept its own.
        .filter(|failure| failure.child.length() != Ok(old))
        .map(|failure| failure.reason)
        .collect();
    if !stuck.is_empty() {
        return format!(
            "the children have different lengths now, as these could not be put back to {old} bytes: {}",
            stuck.join("; ")
        );
    }
    if !was_shrunk {
        return format!("all children have {old} bytes as before");
    }
    let names: Vec<String> = changed().map(Child::node_name).collect();
    format!("all children have {old} bytes again, but what was cut off may be lost on: {}", names.join(", "))
}
