// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Runtime options. Spellings, defaults and rules are those of `block/quorum.c`.

use crate::errno::{Errno, ToErrno};
use crate::options::{parse_bool, parse_number, OptionMap};

/// How reads are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadPattern {
    /// All children are read, and the majority is right.
    Quorum,
    /// The children are asked one after the other until one can answer.
    Fifo,
}

/// What a node was told to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// How many children have to agree, or succeed; at least 1.
    pub threshold: usize,
    /// How reads are answered.
    pub pattern: ReadPattern,
    /// Two children that must never differ: the process ends if they do.
    pub blkverify: bool,
    /// What lost a vote is overwritten with what won it.
    pub rewrite_corrupted: bool,
}

/// What is wrong with the options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The numbers of the children have gaps.
    #[error(
        "the option 'children' is not a valid array: its elements must be numbered from 0 on, without gaps"
    )]
    ChildrenArray,
    /// There are no children.
    #[error("a quorum node needs at least one child: give 'children.0' and so on")]
    NoChildren,
    /// A value that is not allowed.
    #[error("parameter '{key}' expects {expected}, not '{value}'")]
    Value {
        /// The option.
        key: &'static str,
        /// What would be allowed.
        expected: &'static str,
        /// What was given.
        value: String,
    },
    /// No threshold, or none that could ever be missed.
    #[error("parameter 'vote-threshold' expects a value >= 1")]
    ThresholdTooLow,
    /// A threshold that can't be reached.
    #[error("vote-threshold {threshold} may not exceed the children count {children}")]
    ThresholdTooHigh {
        /// As given.
        threshold: u64,
        /// How many children there are.
        children: usize,
    },
    /// blkverify compares two children.
    #[error("blkverify=on can only be set if there are exactly two files and vote-threshold is 2")]
    Blkverify,
    /// blkverify is to find what is wrong, not to hide it.
    #[error("rewrite-corrupted=on cannot be used with blkverify=on")]
    RewriteWithBlkverify,
}

impl ToErrno for OptionsError {
    fn errno(&self) -> Errno {
        match self {
            Self::ChildrenArray
            | Self::NoChildren
            | Self::Value { .. }
            | Self::Blkverify
            | Self::RewriteWithBlkverify => Errno::EINVAL,
            Self::ThresholdTooLow | Self::ThresholdTooHigh { .. } => Errno::ERANGE,
        }
    }
}

impl Options {
    /// Parses a node's options; `children` is how many there are, `None` if their numbers have gaps.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(source: &mut OptionMap, children: Option<usize>) -> Result<Self, OptionsError> {
        let children = match children {
            None => return Err(OptionsError::ChildrenArray),
            Some(0) => return Err(OptionsError::NoChildren),
            Some(count) => count,
        };
        let threshold = value(source, "vote-threshold", "a number", parse_threshold)?.unwrap_or(0);
        let blkverify = value(source, "blkverify", "'on' or 'off'", parse_bool)?.unwrap_or(false);
        let rewrite_corrupted =
            value(source, "rewrite-corrupted", "'on' or 'off'", parse_bool)?.unwrap_or(false);
        let pattern = source.take("read-pattern");
        if threshold < 1 {
            return Err(OptionsError::ThresholdTooLow);
        }
        // DIVERGES: a threshold that does not fit is refused; the C driver cuts it to 32 bits and so takes 4294967297 for 1.
        let threshold = usize::try_from(threshold)
            .ok()
            .filter(|threshold| *threshold <= children)
            .ok_or(OptionsError::ThresholdTooHigh { threshold, children })?;
        let pattern = match pattern.as_deref() {
            None | Some(b"quorum") => ReadPattern::Quorum,
            Some(b"fifo") => ReadPattern::Fifo,
            Some(other) => {
                return Err(OptionsError::Value {
                    key: "read-pattern",
                    expected: "'quorum' or 'fifo'",
                    value: String::from_utf8_lossy(other).into_owned(),
                })
            }
        };
        // Nothing is compared in fifo mode, where these two are allowed and without effect.
        let votes = pattern == ReadPattern::Quorum;
        let (blkverify, rewrite_corrupted) = (blkverify && votes, rewrite_corrupted && votes);
        if blkverify && (children != 2 || threshold != 2) {
            return Err(OptionsError::Blkverify);
        }
        if blkverify && rewrite_corrupted {
            return Err(OptionsError::RewriteWithBlkverify);
        }
        Ok(Self { threshold, pattern, blkverify, rewrite_corrupted })
    }
}

/// A threshold; one below zero is as good as none.
fn parse_threshold(text: &[u8]) -> Option<u64> {
    parse_number(text).map(|number| if text.starts_with(b"-") { 0 } else { number })
}

/// Takes an option and parses it; `None` if it was not given.
fn value<T>(
    source: &mut OptionMap,
    key: &'static str,
    expected: &'static str,
    parse: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<Option<T>, OptionsError> {
    let Some(text) = source.take(key) else { return Ok(None) };
    match parse(&text) {
        Some(value) => Ok(Some(value)),
        None => {
            Err(OptionsError::Value { key, expected, value: String::from_utf8_lossy(&text).into_owned() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[(&str, &str)], children: usize) -> Result<Options, OptionsError> {
        let mut source: OptionMap = options.iter().map(|(key, value)| (*key, *value)).collect();
        Options::parse(&mut source, Some(children))
    }

    #[test]
    fn parse_of_the_threshold_alone_gives_the_defaults() {
        let expected = Options {
            threshold: 2,
            pattern: ReadPattern::Quorum,
            blkverify: false,
            rewrite_corrupted: false,
        };
        assert_eq!(parse(&[("vote-threshold", "2")], 3), Ok(expected));
    }

    #[test]
    fn parse_without_children_is_refused() {
        assert_eq!(parse(&[("vote-threshold", "1")], 0), Err(OptionsError::NoChildren));
    }

    #[test]
    fn parse_of_children_with_gaps_is_refused() {
        assert_eq!(Options::parse(&mut OptionMap::default(), None), Err(OptionsError::ChildrenArray));
    }

    #[test]
    fn parse_without_threshold_is_out_of_range() {
        let error = parse(&[], 3).unwrap_err();
        assert_eq!((error.errno(), error), (Errno::ERANGE, OptionsError::ThresholdTooLow));
    }

    #[test]
    fn parse_of_a_threshold_below_zero_is_too_low() {
        assert_eq!(parse(&[("vote-threshold", "-1")], 3), Err(OptionsError::ThresholdTooLow));
    }

    #[test]
    fn parse_of_a_threshold_above_the_children_is_out_of_range() {
        let error = parse(&[("vote-threshold", "4")], 3).unwrap_err();
        assert_eq!(error.errno(), Errno::ERANGE);
        assert_eq!(error, OptionsError::ThresholdTooHigh { threshold: 4, children: 3 });
    }

    #[test]
    fn parse_of_a_threshold_that_fits_no_int_is_refused_and_not_cut() {
        assert!(matches!(
            parse(&[("vote-threshold", "4294967297")], 3),
            Err(OptionsError::ThresholdTooHigh { .. })
        ));
    }

    #[test]
    fn parse_of_a_bad_value_names_the_option() {
        for (key, bad) in [
            ("vote-threshold", "x"),
            ("blkverify", "maybe"),
            ("rewrite-corrupted", "2"),
            ("read-pattern", "lifo"),
        ] {
            let error = parse(
                &[("vote-threshold", "1"), (key, bad)].map(|pair| pair)
                    [usize::from(key == "vote-threshold")..],
                2,
            )
            .unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
            assert_eq!(error.errno(), Errno::EINVAL);
        }
    }

    #[test]
    fn parse_of_blkverify_wants_two_children_and_threshold_two() {
        for (threshold, children) in [("2", 3), ("1", 2), ("1", 1)] {
            let error = parse(&[("vote-threshold", threshold), ("blkverify", "on")], children);
            assert_eq!(error, Err(OptionsError::Blkverify));
        }
        assert!(parse(&[("vote-threshold", "2"), ("blkverify", "on")], 2).unwrap().blkverify);
    }

    #[test]
    fn parse_of_blkverify_with_rewrite_is_refused() {
        let options = [("vote-threshold", "2"), ("blkverify", "on"), ("rewrite-corrupted", "on")];
        assert_eq!(parse(&options, 2), Err(OptionsError::RewriteWithBlkverify));
    }

    #[test]
    fn parse_of_fifo_ignores_what_is_about_votes() {
        let options = [
            ("vote-threshold", "1"),
            ("read-pattern", "fifo"),
            ("blkverify", "on"),
            ("rewrite-corrupted", "on"),
        ];
        let expected =
            Options { threshold: 1, pattern: ReadPattern::Fifo, blkverify: false, rewrite_corrupted: false };
        assert_eq!(parse(&options, 3), Ok(expected));
    }
}
