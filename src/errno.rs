// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Error numbers: what every failure becomes when it goes back to C.

use std::ffi::c_int;

/// A positive `errno` value.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(c_int);

impl Errno {
    /// Invalid argument.
    pub const EINVAL: Self = Self(libc::EINVAL);
    /// Input/output error.
    pub const EIO: Self = Self(libc::EIO);
    /// No medium: the node can't be used any more.
    pub const ENOMEDIUM: Self = Self(libc::ENOMEDIUM);
    /// Out of memory.
    pub const ENOMEM: Self = Self(libc::ENOMEM);
    /// Operation not supported.
    pub const ENOTSUP: Self = Self(libc::ENOTSUP);
    /// File exists.
    pub const EEXIST: Self = Self(libc::EEXIST);
    /// No such file or object.
    pub const ENOENT: Self = Self(libc::ENOENT);
    /// Busy.
    pub const EBUSY: Self = Self(libc::EBUSY);
    /// Not now.
    pub const EAGAIN: Self = Self(libc::EAGAIN);
    /// Permission denied.
    pub const EACCES: Self = Self(libc::EACCES);
    /// Read-only file system.
    pub const EROFS: Self = Self(libc::EROFS);
    /// No such address: `SEEK_DATA` beyond the last data.
    pub const ENXIO: Self = Self(libc::ENXIO);
    /// Out of range.
    pub const ERANGE: Self = Self(libc::ERANGE);
    /// File too large.
    pub const EFBIG: Self = Self(libc::EFBIG);
    /// No lock.
    pub const ENOLCK: Self = Self(libc::ENOLCK);

    /// The error of a library call; a library that fails without a code gives `EIO`.
    #[must_use]
    pub fn from_code(code: c_int) -> Self {
        if (1..4096).contains(&code) {
            Self(code)
        } else {
            Self::EIO
        }
    }

    /// The calling thread's `errno`. Must be the first statement after the call that failed.
    #[must_use]
    pub fn last() -> Self {
        Self::last_or(Self::EIO)
    }

    /// As [`Errno::last`], for calls that are known to fail without setting `errno`.
    #[must_use]
    pub fn last_or(fallback: Self) -> Self {
        match std::io::Error::last_os_error().raw_os_error() {
            Some(0) | None => fallback,
            Some(code) => Self::from_code(code),
        }
    }

    /// What a call of C's has returned: at least 0, or `-errno`.
    ///
    /// # Errors
    /// The error that it returned.
    pub fn check(ret: i64) -> Result<i64, Self> {
        if ret >= 0 {
            return Ok(ret);
        }
        Err(Self::from_code(c_int::try_from(ret.saturating_neg()).unwrap_or(0)))
    }

    /// The positive number.
    #[must_use]
    pub fn code(self) -> c_int {
        self.0
    }

    /// The value that a callback returns: `-errno`.
    #[must_use]
    pub fn to_ret(self) -> c_int {
        self.0.saturating_neg()
    }
}

impl std::fmt::Display for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The standard library appends "(os error N)"; QEMU's messages carry the text alone.
        let text = std::io::Error::from_raw_os_error(self.0).to_string();
        f.write_str(text.split(" (os error").next().unwrap_or(&text))
    }
}

impl std::fmt::Debug for Errno {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Errno({}: {self})", self.0)
    }
}

/// Every error type says which number it becomes, variant by variant (`docs/error-map.md`).
pub trait ToErrno {
    /// The number that goes to QEMU.
    fn errno(&self) -> Errno;
}

impl ToErrno for Errno {
    fn errno(&self) -> Errno {
        *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_code_of_zero_is_eio() {
        assert_eq!(Errno::from_code(0), Errno::EIO);
    }

    #[test]
    fn from_code_of_negative_or_absurd_numbers_is_eio() {
        assert_eq!(Errno::from_code(-5), Errno::EIO);
        assert_eq!(Errno::from_code(i32::MAX), Errno::EIO);
    }

    #[test]
    fn check_tells_results_from_errors() {
        assert_eq!(Errno::check(7), Ok(7));
        assert_eq!(Errno::check(-22), Err(Errno::EINVAL));
        assert_eq!(Errno::check(i64::MIN), Err(Errno::EIO));
    }

    #[test]
    fn to_ret_is_negative() {
        assert_eq!(Errno::EINVAL.to_ret(), -libc::EINVAL);
    }

    #[test]
    fn display_has_the_text_alone() {
        assert_eq!(Errno::from_code(libc::ENOENT).to_string(), "No such file or directory");
    }
}
