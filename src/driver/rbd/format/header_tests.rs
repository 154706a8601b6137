// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Tests of `header.rs`.

use proptest::prelude::*;

use super::super::hex::hex;
use super::*;
use crate::errno::{Errno, ToErrno};

const PREFIX: &str = "0f0000007262645f646174612e676f6c643031";

fn identity(features: u64, stripes: Option<&str>, data_pool: Option<&str>) -> Result<Identity, FormatError> {
    let (stripes, data_pool) = (stripes.map(hex), data_pool.map(hex));
    Identity::format2(IdentityReplies {
        size: &hex("160000400100000000"),
        prefix: &hex(PREFIX),
        features: Features::from_bits(features),
        stripes: stripes.as_deref(),
        data_pool: data_pool.as_deref(),
    })
}

fn state(size: &str, snapcontext: &str) -> Result<State, FormatError> {
    State::format2(
        &identity(0x3d, None, None).unwrap(),
        StateReplies {
            size: &hex(size),
            features: &hex("3d000000000000003d00000000000000"),
            flags: &hex("0000000000000000"),
            snapcontext: &hex(snapcontext),
            parent_overlap: None,
        },
    )
}

#[test]
fn identity_of_a_fresh_header() {
    let identity = identity(0x3d, None, None).unwrap();
    assert_eq!(identity.layout, Layout::plain(22).unwrap());
    assert_eq!(identity.names.name(1).as_c_str(), c"rbd_data.gold01.0000000000000001");
    assert_eq!(identity.data_pool, None);
}

#[test]
fn identity_of_a_striped_image_with_a_data_pool() {
    let identity =
        identity(0x83, Some("00000100000000000400000000000000"), Some("0300000000000000")).unwrap();
    assert_eq!((identity.layout.stripe_unit(), identity.layout.stripe_count()), (65536, 4));
    assert_eq!(identity.data_pool, Some(3));
}

#[test]
fn identity_without_what_its_features_promise_is_refused() {
    for (features, pool) in [(0x2, None), (0x80, None), (0x80, Some("ffffffffffffffff"))] {
        let error = identity(features, None, pool).unwrap_err();
        assert!(matches!(error, FormatError::Inconsistent(_)), "{features:#x}");
        assert_eq!(error.errno(), Errno::EIO);
    }
}

#[test]
fn identity_with_an_impossible_layout_is_refused() {
    let error = identity(0x2, Some("00000000000000000400000000000000"), None).unwrap_err();
    assert!(matches!(error, FormatError::Layout(_)));
}

#[test]
fn state_of_a_fresh_header() {
    let state = state("160000400100000000", "000000000000000000000000").unwrap();
    assert_eq!((state.size, state.features, state.flags), (20 << 20, Features::DEFAULT, Flags(0)));
    assert_eq!(state.snap_context, SnapContext::default());
}

#[test]
fn state_of_another_image_is_refused() {
    let error = state("170000400100000000", "000000000000000000000000").unwrap_err();
    assert!(matches!(error, FormatError::Inconsistent(_)));
}

#[test]
fn state_with_a_size_that_has_no_offset_is_refused() {
    let error = state("160000000000000080", "000000000000000000000000").unwrap_err();
    assert_eq!(error.errno(), Errno::EFBIG);
}

#[test]
fn state_with_damaged_replies_names_the_reply() {
    let error = state("16", "000000000000000000000000").unwrap_err();
    assert_eq!(error.to_string(), "get_size: size at byte 1: 8 bytes are wanted, 0 are left");
    let error = state("160000400100000000", "0000000000000000ffffffff").unwrap_err();
    assert!(error.to_string().starts_with("get_snapcontext: snapshot ids at byte 8"));
}

#[test]
fn state_is_asked_for_in_one_operation() {
    let calls = State::calls(true, calls::parent_overlap_get(calls::Version::Head));
    let methods = [c"get_size", c"get_features", c"get_flags", c"get_snapcontext", c"parent_overlap_get"];
    assert_eq!(calls.each_ref().map(Call::method), methods);
    assert_eq!(calls[1].input(), hex("feffffffffffffff01"));
}

#[test]
fn format1_image_has_identity_and_state() {
    let snapshot = |id| format1::Snapshot { id, size: 1 << 20, name: b"s".to_vec() };
    let header = format1::Header {
        prefix: b"rb.0.105f.6b8b4567".to_vec(),
        order: 22,
        size: 12 << 20,
        snap_seq: 5,
        snapshots: vec![snapshot(5), snapshot(4)],
    };
    let identity = Identity::format1(&header).unwrap();
    assert_eq!(identity.names.name(1).as_c_str(), c"rb.0.105f.6b8b4567.000000000001");
    let state = State::format1(&identity, &header).unwrap();
    assert_eq!((state.size, state.snap_context.ids()), (12 << 20, [5, 4].as_slice()));
    let other = format1::Header { order: 21, ..header };
    assert!(matches!(State::format1(&identity, &other), Err(FormatError::Inconsistent(_))));
}

#[test]
fn snapshot_is_put_together_from_four_replies() {
    let info = hex("01012c0000000900000000000000010104000000000000000200000073310000400100000000affcff6a6fd7542e00000000");
    let (overlap, flags, protection) = (hex("010000a00000000000"), hex("0300000000000000"), [2]);
    let snapshot = Snapshot::decode(9, [&info, &overlap, &flags, &protection]).unwrap();
    assert!(snapshot.is_users());
    assert_eq!((snapshot.parent_overlap, snapshot.flags), (Some(10 << 20), Flags(3)));
    assert_eq!(snapshot.protection, Protection::Protected);
    let error = Snapshot::decode(8, [&info, &overlap, &flags, &protection]).unwrap_err();
    assert!(matches!(error, FormatError::Inconsistent(_)));
    assert!(Snapshot::calls(9).iter().all(|call| call.input() == hex("0900000000000000")));
}

#[test]
fn new_header_is_made_as_a_real_one_was() {
    let mut new = NewHeader {
        id: ImageId::parse(b"gold01").unwrap(),
        size: 20 << 20,
        layout: Layout::plain(22).unwrap(),
        features: Features::DEFAULT,
        pools: None,
    };
    let (create, pattern) = new.calls().unwrap();
    let expected = "0000400100000000163d000000000000000f0000007262645f646174612e676f6c643031ffffffffffffffff";
    assert_eq!((create.input(), pattern), (hex(expected).as_slice(), None));
    new.layout = Layout::striped(22, 65536, 4).unwrap();
    new.pools = Some((2, 3));
    let (create, pattern) = new.calls().unwrap();
    assert!(create.input().windows(17).any(|part| part == b"rbd_data.2.gold01"));
    assert!(create.input().ends_with(&hex("0300000000000000")));
    assert_eq!(create.input()[9], 0xbf);
    assert_eq!(pattern.unwrap().input(), hex("00000100000000000400000000000000"));
}

proptest! {
    #[test]
    fn any_replies_are_an_identity_or_an_error(size: [u8; 9], prefix: Vec<u8>, features: u64, stripes: [u8; 16], pool: [u8; 8]) {
        let replies = IdentityReplies {
            size: &size,
            prefix: &prefix,
            features: Features::from_bits(features),
            stripes: Some(&stripes),
            data_pool: Some(&pool),
        };
        if let Ok(identity) = Identity::format2(replies) {
            prop_assert_eq!(identity.layout.order(), size[0]);
        }
    }
}
