// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Any bytes are replies of a header or errors, and what is made of them keeps its rules.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qemu_block_rs::driver::rbd::format::features::Features;
use qemu_block_rs::driver::rbd::format::header::{Identity, IdentityReplies, Snapshot, State, StateReplies};
use qemu_block_rs::driver::rbd::format::{directory, replies};

/// Takes a reply of up to 255 bytes away: its length, then the bytes.
fn next<'a>(data: &mut &'a [u8]) -> &'a [u8] {
    let Some((&length, rest)) = data.split_first() else { return b"" };
    let (reply, rest) = rest.split_at(rest.len().min(length.into()));
    *data = rest;
    reply
}

fuzz_target!(|data: &[u8]| {
    // Each decoder gets all of it.
    let _ = (replies::size(data), replies::features(data), replies::flags(data), replies::data_pool(data));
    let _ = (replies::stripe_unit_count(data), replies::op_features(data), replies::all_features(data));
    let _ = (replies::parent_overlap(data), replies::legacy_parent_overlap(data));
    let _ = (replies::protection_status(data), replies::metadata(data), directory::id_reply(data));
    let _ = (directory::namespaces_reply(data), replies::object_prefix(data), replies::snapshot(data));
    if let Ok(context) = replies::snapcontext(data) {
        assert!(context.ids().windows(2).all(|two| two[0] > two[1]));
        assert!(context.ids().first().is_none_or(|&first| first <= context.seq()));
    }
    if let Err(error) = replies::snapshot(data) {
        assert!(error.at <= data.len() && !error.to_string().is_empty());
    }

    // A whole open and refresh gets one piece after the other.
    let mut rest = data;
    let size = next(&mut rest);
    let Ok((features, _)) = replies::features(next(&mut rest)) else { return };
    let features = Features::from_bits(features.bits());
    let replies = IdentityReplies {
        size,
        prefix: next(&mut rest),
        features,
        stripes: Some(next(&mut rest)),
        data_pool: Some(next(&mut rest)),
    };
    let Ok(identity) = Identity::format2(replies) else { return };
    assert!(identity.names.name(7).as_c_str().to_bytes().ends_with(b"0007"));
    let replies = StateReplies {
        size: next(&mut rest),
        features: next(&mut rest),
        flags: next(&mut rest),
        snapcontext: next(&mut rest),
        parent_overlap: None,
    };
    let Ok(state) = State::format2(&identity, replies) else { return };
    assert!(state.size >= 0);
    for &id in state.snap_context.ids() {
        let four = [next(&mut rest), next(&mut rest), next(&mut rest), next(&mut rest)];
        if let Ok(snapshot) = Snapshot::decode(id, four) {
            assert_eq!(snapshot.info.id, id);
        }
    }
});
