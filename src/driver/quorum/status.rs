// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Length and block status, from what all children say.

use super::error::Error;
use super::io::event_of;
use super::state::Quorum;
use crate::abi::QBR_BLOCK_ZERO;
use crate::errno::Errno;
use crate::host::qemu::QuorumOp;
use crate::range::ByteRange;

/// What a range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockStatus {
    /// How many bytes from the start of the range on are alike.
    pub bytes: i64,
    /// Whether they read as zeroes; else they are data.
    pub zero: bool,
}

impl Quorum {
    /// The length of all children in bytes.
    ///
    /// # Errors
    /// The first child's that can't tell; `EIO` if they differ.
    pub fn length(&self) -> Result<i64, Error> {
        let mut lengths = self.list().iter().map(|child| child.length());
        let first = lengths.next().unwrap_or(Err(Errno::EIO))?;
        for length in lengths {
            if length? != first {
                return Err(Errno::EIO.into());
            }
        }
        Ok(first)
    }

    /// Whether a range is data or zeroes: zeroes only if all children say so.
    pub fn block_status(&self, mode: u32, range: ByteRange) -> BlockStatus {
        let mut zeroes = range.bytes();
        let mut data = 0;
        for child in self.list() {
            match child.block_status(mode, range) {
                Ok((status, bytes)) if status & QBR_BLOCK_ZERO != 0 => zeroes = zeroes.min(bytes),
                Ok((_, bytes)) => data = bytes.max(data),
                Err(errno) => {
                    event_of(QuorumOp::Read, range).bad(*child, Some(errno));
                    data = range.bytes();
                    break;
                }
            }
        }
        // Children that agree on what it is may differ on how far that reaches.
        if data > 0 {
            BlockStatus { bytes: data, zero: false }
        } else {
            BlockStatus { bytes: zeroes, zero: true }
        }
    }
}
