// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! A vote on any contents has the winner that counting every version gives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qemu_block_rs::driver::quorum::vote;

fuzz_target!(|contents: Vec<Vec<u8>>| {
    let ballot = vote::on_content(contents.iter().map(Vec::as_slice).enumerate());
    let Some(winner) = ballot.winner() else {
        assert!(contents.is_empty());
        return;
    };
    let votes = |content: &Vec<u8>| contents.iter().filter(|other| *other == content).count();
    let most = contents.iter().map(votes).max().unwrap();
    assert_eq!(winner.voters.len(), most);
    let content = &contents[winner.voters[0]];
    assert!(winner.voters.iter().all(|voter| contents[*voter] == *content));
    // Of several such versions the last one to appear wins.
    let first_seen = |content: &Vec<u8>| contents.iter().position(|other| other == content).unwrap();
    assert!(contents.iter().filter(|other| votes(other) == most).all(|other| first_seen(other) <= winner.voters[0]));
    assert_eq!(ballot.losers(winner).count(), contents.len() - most);
});
