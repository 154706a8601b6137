// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Changing the length of all children, or of none.

use super::error::Error;
use super::state::Quorum;
use super::vote;
use crate::errno::Errno;
use crate::host::{Child, Length, Request};
use crate::range::ByteRange;

/// A new length, and how to reach it.
pub type Truncate = Length;

impl Quorum {
    /// Sets the length of all children. Where one can't, the others get their old length back.
    ///
    /// # Errors
    /// What most of the failed children answered, with their names.
    // DIVERGES: a quorum can be resized; the C driver can't.
    pub async fn truncate(&self, rq: &Request, length: Truncate) -> Result<(), Error> {
        // A repair would bring back on one child what is cut off here.
        let rest = ByteRange::new(length.bytes, i64::MAX.saturating_sub(length.bytes))?;
        let _write = self.begin_write(rq, rest).await?;
        let old = self.length()?;
        let children = self.list();
        let mut failures = Vec::new();
        // What a shrink cuts off can't be brought back. So first see whether all children can be resized at all.
        if length.bytes < old {
            let same = Truncate { bytes: old, exact: false, preallocation: 0, flags: 0 };
            try_each(children, same, &mut failures);
            if !failures.is_empty() {
                return Err(failed(length, &failures, "no child was changed".to_owned()));
            }
        }
        let done = try_each(children, length, &mut failures);
        if failures.is_empty() {
            return Ok(());
        }
        let outcome = put_back(&done, old, length.bytes < old);
        Err(failed(length, &failures, outcome))
    }
}

/// A child that could not be resized.
struct Failure {
    lane: usize,
    errno: Errno,
    reason: String,
}

/// Resizes the children one after the other, up to the first that fails; those that were resized.
fn try_each(children: &[Child], length: Truncate, failures: &mut Vec<Failure>) -> Vec<Child> {
    let mut done = Vec::new();
    for (lane, child) in children.iter().enumerate() {
        match child.truncate(length) {
            Ok(()) => done.push(*child),
            Err((errno, error)) => {
                let reason = format!("{} (node '{}'): {error}", child.name(), child.node_name());
                failures.push(Failure { lane, errno, reason });
                break;
            }
        }
    }
    done
}

/// Gives children their old length back; what to say about that.
fn put_back(children: &[Child], old: i64, was_shrunk: bool) -> String {
    let back = Truncate { bytes: old, exact: false, preallocation: 0, flags: 0 };
    let stuck: Vec<String> = children
        .iter()
        .filter_map(|child| {
            let (_, error) = child.truncate(back).err()?;
            Some(format!("{} (node '{}'): {error}", child.name(), child.node_name()))
        })
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

/// The error of a resize.
fn failed(length: Truncate, failures: &[Failure], outcome: String) -> Error {
    let reasons: Vec<&str> = failures.iter().map(|failure| failure.reason.as_str()).collect();
    let errno = vote::on_errors(failures.iter().map(|failure| (failure.lane, failure.errno)));
    Error::Resize {
        bytes: length.bytes,
        reasons: reasons.join("; "),
        outcome,
        errno: errno.unwrap_or(Errno::EIO),
    }
}
