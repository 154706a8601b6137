// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What can be wrong with what the cluster says, and the number that each failure becomes.

use super::encoding::DecodeError;
use super::features::ConfiguredFeatureError;
use super::format1::HeaderError;
use super::names::NameError;
use super::striping::LayoutError;
use crate::errno::{Errno, ToErrno};

/// A failure, with what its user needs to know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A name that nothing can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// What the cluster sent can't be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// What the cluster sent can be read, but contradicts itself.
    #[error("the header describes {0}")]
    Inconsistent(&'static str),
    /// A format 1 header that can't be used.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A layout or size that no image can have.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// Features that a new image can't have.
    #[error(transparent)]
    ConfiguredFeature(#[from] ConfiguredFeatureError),
}

impl ToErrno for FormatError {
    fn errno(&self) -> Errno {
        match self {
            Self::Name(error) => error.errno(),
            Self::Decode(error) => error.errno(),
            Self::Inconsistent(_) => Errno::EIO,
            Self::Header(error) => error.errno(),
            Self::Layout(error) => error.errno(),
            Self::ConfiguredFeature(error) => error.errno(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_format_error_keeps_the_words_and_the_number_of_its_cause() {
        let size = LayoutError::Size(1 << 63);
        let error = FormatError::from(size);
        assert_eq!((error.to_string(), error.errno()), (size.to_string(), Errno::EFBIG));
        assert_eq!(FormatError::from(NameError::Empty("x")).errno(), Errno::EINVAL);
        assert_eq!(FormatError::from(HeaderError::Migrating).errno(), Errno::ENOTSUP);
        assert_eq!(FormatError::from(ConfiguredFeatureError::Journaling).errno(), Errno::ENOTSUP);
    }
}
