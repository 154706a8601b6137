// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Votes: which version most voters are for. Pure logic.
//!
//! On a tie the version that was seen last wins, as in `block/quorum.c`: there, with a threshold of 1, the last child is right.

use sha2::{Digest, Sha256};

use crate::errno::Errno;

/// A version and who is for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version<T> {
    /// What they are for.
    pub value: T,
    /// Their numbers, in ascending order.
    pub voters: Vec<usize>,
}

/// The versions of a vote, in the order in which they were first seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ballot<T> {
    versions: Vec<Version<T>>,
}

impl<T: PartialEq> Ballot<T> {
    /// Nobody has voted yet.
    #[must_use]
    pub fn new() -> Self {
        Self { versions: Vec::new() }
    }

    /// Counts a vote.
    pub fn cast(&mut self, voter: usize, value: T) {
        match self.versions.iter_mut().find(|version| version.value == value) {
            Some(version) => version.voters.push(voter),
            None => self.versions.push(Version { value, voters: vec![voter] }),
        }
    }

    /// The version with the most votes, of several the last one; `None` if nobody has voted.
    #[must_use]
    pub fn winner(&self) -> Option<&Version<T>> {
        // Of several largest elements this gives the last one.
        self.versions.iter().max_by_key(|version| version.voters.len())
    }

    /// Those who voted for something else than `winner`, in the order of their versions.
    pub fn losers<'a>(&'a self, winner: &'a Version<T>) -> impl Iterator<Item = usize> + 'a {
        self.versions
            .iter()
            .filter(|version| version.value != winner.value)
            .flat_map(|v| v.voters.iter().copied())
    }
}

impl<T: PartialEq> Default for Ballot<T> {
    fn default() -> Self {
        Self::new()
    }
}

/// What makes two buffers the same version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// The same bytes as the first voter's.
    First,
    /// Other bytes, with this SHA-256.
    Hash([u8; 32]),
}

/// A vote on the content of buffers. The first voter's content is compared with each other one, and only what differs from
/// it is hashed.
pub fn on_content<'a>(mut buffers: impl Iterator<Item = (usize, &'a [u8])>) -> Ballot<Content> {
    let mut ballot = Ballot::new();
    let Some((voter, first)) = buffers.next() else { return ballot };
    ballot.cast(voter, Content::First);
    for (voter, buffer) in buffers {
        let content =
            if buffer == first { Content::First } else { Content::Hash(Sha256::digest(buffer).into()) };
        ballot.cast(voter, content);
    }
    ballot
}

/// The error that most failed with; `None` if nobody did.
pub fn on_errors(errors: impl Iterator<Item = (usize, Errno)>) -> Option<Errno> {
    let mut ballot = Ballot::new();
    for (voter, errno) in errors {
        ballot.cast(voter, errno);
    }
    ballot.winner().map(|version| version.value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn winner_of(buffers: &[&[u8]]) -> Vec<usize> {
        on_content(buffers.iter().copied().enumerate()).winner().unwrap().voters.clone()
    }

    #[test]
    fn winner_has_the_majority() {
        assert_eq!(winner_of(&[b"bad", b"good", b"good"]), [1, 2]);
        assert_eq!(winner_of(&[b"good", b"bad", b"good"]), [0, 2]);
        assert_eq!(winner_of(&[b"good", b"good", b"bad"]), [0, 1]);
    }

    #[test]
    fn winner_of_a_tie_is_the_version_seen_last() {
        assert_eq!(winner_of(&[b"one", b"two"]), [1]);
        assert_eq!(winner_of(&[b"one", b"two", b"three"]), [2]);
        assert_eq!(winner_of(&[b"one", b"two", b"one", b"two"]), [1, 3]);
        assert_eq!(winner_of(&[b"one", b"two", b"two", b"one"]), [1, 2]);
    }

    #[test]
    fn losers_are_all_others() {
        let ballot = on_content([(0, b"x".as_slice()), (2, b"y"), (3, b"x"), (5, b"z")].into_iter());
        let losers: Vec<_> = ballot.losers(ballot.winner().unwrap()).collect();
        assert_eq!(losers, [2, 5]);
    }

    #[test]
    fn winner_of_nobody_is_none() {
        assert_eq!(on_content(std::iter::empty()).winner(), None);
        assert_eq!(on_errors(std::iter::empty()), None);
    }

    #[test]
    fn on_errors_gives_the_most_frequent_one_or_of_several_the_last() {
        let vote = |codes: &[i32]| {
            on_errors(codes.iter().map(|code| Errno::from_code(*code)).enumerate()).unwrap().code()
        };
        assert_eq!(vote(&[libc::EIO, libc::ENOSPC, libc::EIO]), libc::EIO);
        assert_eq!(vote(&[libc::EIO, libc::ENOSPC]), libc::ENOSPC);
        assert_eq!(vote(&[libc::ENOSPC, libc::EIO]), libc::EIO);
    }

    proptest! {
        /// The plain definition, without the short cuts.
        #[test]
        fn on_content_agrees_with_counting_every_version(contents in proptest::collection::vec(0..4_u8, 1..8)) {
            let buffers: Vec<Vec<u8>> = contents.iter().map(|content| vec![*content; 5]).collect();
            let mut versions: Vec<u8> = Vec::new();
            for content in &contents {
                if !versions.contains(content) {
                    versions.push(*content);
                }
            }
            let votes = |version: &u8| contents.iter().filter(|content| *content == version).count();
            let most = versions.iter().map(votes).max().unwrap();
            let expected = *versions.iter().rev().find(|version| votes(version) == most).unwrap();
            let ballot = on_content(buffers.iter().map(Vec::as_slice).enumerate());
            let winner = ballot.winner().unwrap();
            prop_assert_eq!(contents[winner.voters[0]], expected);
            prop_assert_eq!(winner.voters.len(), most);
            prop_assert_eq!(ballot.losers(winner).count(), contents.len().saturating_sub(most));
        }
    }
}
