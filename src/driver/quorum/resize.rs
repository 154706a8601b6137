// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Changing the length of all children, or of none.

use super::error::Error;
use super::state::Quorum;
use crate::errno::Errno;
use crate::host::{Child, Length, Request};
use crate::range::ByteRange;

/// A new length, and how to reach it.
pub type Truncate = Length;

impl Quorum {
    /// Sets the length of all children. Where one can't, the others get their old length back.
    ///
    /// # Errors
    /// What the child answered that can't, with its name.
    // DIVERGES: a quorum can be resized; the C driver can't.
    pub async fn truncate(&self, rq: &Request, length: Truncate) -> Result<(), Error> {
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
        result.map_err(|failure| failure.of(length, put_back(done, old, length.bytes < old)))
    }
}

/// The length that a child has already.
fn unchanged(bytes: i64) -> Truncate {
    Truncate { bytes, exact: false, preallocation: 0, flags: 0 }
}

/// Resizes a child, or says which one can't be and why.
fn resize(child: Child, length: Truncate) -> Result<(), Failure> {
    child.truncate(length).map_err(|(errno, error)| Failure {
        errno,
        reason: format!("{} (node '{}'): {error}", child.name(), child.node_name()),
    })
}

/// A child that could not be resized.
struct Failure {
    errno: Errno,
    reason: String,
}

impl Failure {
    /// The error of the whole resize; `outcome` says what became of the other children.
    fn of(self, length: Truncate, outcome: String) -> Error {
        Error::Resize { bytes: length.bytes, reason: self.reason, outcome, errno: self.errno }
    }
}

/// Resizes the children one after the other, up to the first that fails; those that were resized, and that failure.
fn try_each(children: &[Child], length: Truncate) -> (&[Child], Result<(), Failure>) {
    for (index, child) in children.iter().enumerate() {
        if let Err(failure) = resize(*child, length) {
            return (children.get(..index).unwrap_or_default(), Err(failure));
        }
    }
    (children, Ok(()))
}

/// Gives children their old length back; what to say about that.
fn put_back(children: &[Child], old: i64, was_shrunk: bool) -> String {
    let stuck: Vec<String> = children
        .iter()
        .filter_map(|child| resize(*child, unchanged(old)).err())
        .map(|failure| failure.reason)
        .collect();
    if !stuck.is_empty() {
        return format!(
            "the children have different lengths now, as these could not be put back to {old} bytes: {}",
            stuck.join("; ")
        );
    }
    match (children.is_empty(), was_shrunk) {
        (true, _) => "no child was changed".to_owned(),
        (false, false) => format!("all children have {old} bytes again"),
        (false, true) => {
            let names: Vec<String> = children.iter().map(|child| child.node_name()).collect();
            format!(
                "all children have {old} bytes again, but what was cut off is lost on: {}",
                names.join(", ")
            )
        }
    }
}
