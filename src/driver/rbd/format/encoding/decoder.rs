// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Reading.

use super::{DecodeError, Reason, Time};

/// Reads members one after the other; a failed read leaves it where it was.
#[derive(Debug, Clone)]
pub struct Decoder<'a> {
    what: &'static str,
    rest: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Begins at the first byte; `what` is named in errors.
    #[must_use]
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, rest: bytes, at: 0 }
    }

    /// How many bytes are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// Where the next byte stands in the whole input.
    #[must_use]
    pub fn at(&self) -> usize {
        self.at
    }

    /// An error about the member that comes next.
    #[must_use]
    pub fn error(&self, field: &'static str, reason: Reason) -> DecodeError {
        DecodeError { what: self.what, field, at: self.at, reason }
    }

    /// An error because the input is too short for the member that comes next.
    fn truncated(&self, field: &'static str, wanted: u64) -> DecodeError {
        self.error(field, Reason::Truncated { wanted, left: self.left() })
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn raw(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], DecodeError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.truncated(field, u64::try_from(count).unwrap_or(u64::MAX)));
        };
        self.rest = rest;
        self.at = self.at.saturating_add(count);
        Ok(taken)
    }

    /// The next `N` bytes.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let Some((taken, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.truncated(field, u64::try_from(N).unwrap_or(u64::MAX)));
        };
        self.rest = rest;
        self.at = self.at.saturating_add(N);
        Ok(*taken)
    }

    /// A byte.
    ///
    /// # Errors
    /// If there is none.
    pub fn u8(&mut self, field: &'static str) -> Result<u8, DecodeError> {
        self.array(field).map(u8::from_le_bytes)
    }

    /// A number of 16 bits.
    ///
    /// # Errors
    /// If the input is too short.
    pub fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_le_bytes)
    }

    /// A number of 32 bits.
    ///
    /// # Errors
    /// If the input is too short.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        self.array(field).map(u32::from_le_bytes)
    }

    /// A signed number of 32 bits.
    ///
    /// # Errors
    /// If the input is too short.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array(field).map(i32::from_le_bytes)
    }

    /// A number of 64 bits.
    ///
    /// # Errors
    /// If the input is too short.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    /// A signed number of 64 bits.
    ///
    /// # Errors
    /// If the input is too short.
    pub fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.array(field).map(i64::from_le_bytes)
    }

    /// A truth value; any byte but 0 is true.
    ///
    /// # Errors
    /// If the input is too short.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        self.u8(field).map(|byte| byte != 0)
    }

    /// A point in time.
    ///
    /// # Errors
    /// If the input is too short.
    pub fn time(&mut self, field: &'static str) -> Result<Time, DecodeError> {
        let mut rest = self.clone();
        let time = Time { seconds: rest.u32(field)?, nanoseconds: rest.u32(field)? };
        *self = rest;
        Ok(time)
    }

    /// A string or a buffer: a 32-bit length, then so many bytes, which are borrowed from the input.
    ///
    /// # Errors
    /// If the input is too short.
    pub fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let mut rest = self.clone();
        let length = rest.u32(field)?;
        let bytes = rest.raw(field, usize::try_from(length).unwrap_or(usize::MAX));
        let bytes = bytes.map_err(|error| self.error(field, error.reason))?;
        *self = rest;
        Ok(bytes)
    }

    /// A string that will be handed to C, so that it must not contain a NUL.
    ///
    /// # Errors
    /// If the input is too short, or there is a NUL in it.
    pub fn text(&mut self, field: &'static str) -> Result<&'a [u8], DecodeError> {
        let mut rest = self.clone();
        let text = rest.bytes(field)?;
        if text.contains(&0) {
            return Err(self.error(field, Reason::Text("there is a NUL in the text")));
        }
        *self = rest;
        Ok(text)
    }

    /// A value that may be absent: a byte 0, or 1 and the value.
    ///
    /// # Errors
    /// If the input is too short, or `read` fails.
    pub fn optional<T>(
        &mut self,
        field: &'static str,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        let mut rest = self.clone();
        let value = if rest.bool(field)? { Some(read(&mut rest)?) } else { None };
        *self = rest;
        Ok(value)
    }

    /// A list, set or map: a 32-bit count, then so many elements. `least` is the smallest size of an encoded element, at
    /// least 1: a count that can't fit in what is left is refused before anything is allocated.
    ///
    /// # Errors
    /// If the input is too short, or `read` fails.
    pub fn list<T>(
        &mut self,
        field: &'static str,
        least: usize,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let mut rest = self.clone();
        let count = usize::try_from(rest.u32(field)?).unwrap_or(usize::MAX);
        let wanted = count.saturating_mul(least.max(1));
        if wanted > rest.left() {
            let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
            return Err(self.error(field, Reason::Truncated { wanted, left: rest.left() }));
        }
        // No larger than the input, whatever an element takes in memory.
        let fits = rest.left().checked_div(size_of::<T>()).unwrap_or(count);
        let mut list = Vec::with_capacity(count.min(fits));
        for _ in 0..count {
            list.push(read(&mut rest)?);
        }
        *self = rest;
        Ok(list)
    }

    /// A structure with a version: `read` gets the structure's own version and the members; what it leaves is skipped, since a
    /// newer writer may have added members. `known` is the newest version that `read` understands.
    ///
    /// # Errors
    /// If the input is too short, the structure needs a newer reader, or `read` fails.
    pub fn versioned<T>(
        &mut self,
        what: &'static str,
        known: u8,
        read: impl FnOnce(u8, &mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        let mut rest = Self { what, ..self.clone() };
        let version = rest.u8("version")?;
        let compat_at = rest.clone();
        let compat = rest.u8("version")?;
        if compat > known {
            return Err(compat_at.error("version", Reason::Version { compat, known }));
        }
        let mut length_at = rest.clone();
        let members = length_at.bytes("length")?;
        let mut inner = Self { what, rest: members, at: rest.at.saturating_add(size_of::<u32>()) };
        let value = read(version, &mut inner)?;
        *self = Self { what: self.what, ..length_at };
        Ok(value)
    }
}
