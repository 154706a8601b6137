// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Writing.

use super::Time;

/// Writes members one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    /// Bytes as they are.
    #[must_use]
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A byte.
    #[must_use]
    pub fn u8(self, value: u8) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// A number of 16 bits.
    #[must_use]
    pub fn u16(self, value: u16) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// A number of 32 bits.
    #[must_use]
    pub fn u32(self, value: u32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// A signed number of 32 bits.
    #[must_use]
    pub fn i32(self, value: i32) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// A number of 64 bits.
    #[must_use]
    pub fn u64(self, value: u64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// A signed number of 64 bits.
    #[must_use]
    pub fn i64(self, value: i64) -> Self {
        self.raw(&value.to_le_bytes())
    }

    /// A truth value.
    #[must_use]
    pub fn bool(self, value: bool) -> Self {
        self.u8(value.into())
    }

    /// A point in time.
    #[must_use]
    pub fn time(self, value: Time) -> Self {
        self.u32(value.seconds).u32(value.nanoseconds)
    }

    /// A string or a buffer. One of 4 GiB or more gets a length that does not match, which every reader refuses.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        self.count(bytes.len()).raw(bytes)
    }

    /// The number of elements of a list, set or map, which follow.
    #[must_use]
    pub fn count(self, count: usize) -> Self {
        self.u32(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// A value that may be absent.
    #[must_use]
    pub fn optional<T>(self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            Some(value) => write(self.u8(1), value),
            None => self.u8(0),
        }
    }

    /// A structure with a version, whose members `write` adds.
    #[must_use]
    pub fn versioned(self, version: u8, compat: u8, write: impl FnOnce(Self) -> Self) -> Self {
        self.u8(version).u8(compat).bytes(&write(Self::new()).finish())
    }
}
