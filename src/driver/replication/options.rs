// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Runtime options. Spellings and rules are those of `block/replication.c`.

use super::machine::Mode;
use crate::errno::{Errno, ToErrno};
use crate::options::OptionMap;

/// What a node was told to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Options {
    /// It passes on what the primary's guest writes.
    Primary,
    /// It keeps what the secondary's guest writes apart.
    Secondary {
        /// The device or root node that is blocked meanwhile.
        top_id: String,
    },
}

/// What is wrong with the options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// An option that has to be there.
    #[error("Missing the option {0}")]
    Missing(&'static str),
    /// Neither side.
    #[error("The option mode's value should be primary or secondary, not '{0}'")]
    Mode(String),
    /// Only a secondary has a top.
    #[error("The primary side does not support option top-id")]
    TopOfPrimary,
}

impl ToErrno for OptionsError {
    fn errno(&self) -> Errno {
        match self {
            Self::Missing(_) | Self::Mode(_) | Self::TopOfPrimary => Errno::EINVAL,
        }
    }
}

impl Options {
    /// Reads the options out of `map`.
    ///
    /// # Errors
    /// The first thing that is wrong with them.
    pub fn parse(map: &mut OptionMap) -> Result<Self, OptionsError> {
        let mut text = |key| map.take(key).map(|value| String::from_utf8_lossy(&value).into_owned());
        let (mode, top_id) = (text("mode"), text("top-id"));
        match (mode.as_deref(), top_id) {
            (None, _) => Err(OptionsError::Missing("mode")),
            (Some("primary"), None) => Ok(Self::Primary),
            (Some("primary"), Some(_)) => Err(OptionsError::TopOfPrimary),
            (Some("secondary"), Some(top_id)) => Ok(Self::Secondary { top_id }),
            (Some("secondary"), None) => Err(OptionsError::Missing("top-id")),
            (Some(other), _) => Err(OptionsError::Mode(other.to_owned())),
        }
    }

    /// The side.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self {
            Self::Primary => Mode::Primary,
            Self::Secondary { .. } => Mode::Secondary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)]) -> Result<Options, OptionsError> {
        let mut map: OptionMap = options.iter().copied().collect();
        Options::parse(&mut map)
    }

    #[test]
    fn parse_of_a_primary_takes_no_top() {
        assert_eq!(parse(&[("mode", "primary")]), Ok(Options::Primary));
        assert_eq!(parse(&[("mode", "primary"), ("top-id", "x")]), Err(OptionsError::TopOfPrimary));
    }

    #[test]
    fn parse_of_a_secondary_needs_a_top() {
        let top_id = String::from("colo-disk0");
        let options = parse(&[("mode", "secondary"), ("top-id", "colo-disk0")]);
        assert_eq!(options, Ok(Options::Secondary { top_id }));
        assert_eq!(parse(&[("mode", "secondary")]), Err(OptionsError::Missing("top-id")));
    }

    #[test]
    fn parse_of_anything_else_names_the_mode() {
        assert_eq!(parse(&[("top-id", "x")]), Err(OptionsError::Missing("mode")));
        for bad in ["", "Primary", "tertiary"] {
            let error = parse(&[("mode", bad)]).unwrap_err();
            assert_eq!(error, OptionsError::Mode(bad.to_owned()));
            assert_eq!(error.errno(), Errno::EINVAL);
            assert!(error.to_string().contains("mode"));
        }
    }
}
