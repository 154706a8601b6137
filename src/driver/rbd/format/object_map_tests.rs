// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Tests of `object_map.rs`.

use proptest::prelude::*;

use super::super::hex::hex;
use super::*;

fn map(states: &[u8]) -> ObjectMap {
    let mut map = ObjectMap::default();
    assert!(map.resize(states.len() as u64, State::Absent));
    for (object, &bits) in states.iter().enumerate() {
        assert!(map.set(object as u64, State::from_bits(bits)));
    }
    map
}

fn states(map: &ObjectMap) -> Vec<u8> {
    map.states().map(State::bits).collect()
}

#[test]
fn crc_of_the_usual_text_and_of_real_headers() {
    assert_eq!(crc32c(b"123456789"), 0x58e3_fa20);
    assert_eq!(crc32c(&hex("0101080000000500000000000000")), 0x8296_4518);
    assert_eq!(crc32c(&hex("0101080000000300000000000000")), 0x31f3_3d3b);
    assert_eq!(crc32c(&[0; 100]), 0);
}

#[test]
fn map_of_three_objects_as_a_cluster_writes_it() {
    let bytes = hex("0e000000 0101080000000300000000000000 00 0c000000 3b3df331 01000000 00000000");
    assert_eq!(map(&[0, 0, 0]).encode(), bytes);
    let reply = hex("0e000000 0101080000000300000000000000 00 00000000");
    assert_eq!(map(&[0, 0, 0]).encode_bare(), reply);
    assert_eq!(ObjectMap::decode(&bytes), ObjectMap::decode(&reply));
    for (bits, data, crc) in [
        ([1, 0, 0], 0x40, "bc1d7b41"),
        ([3, 0, 0], 0xc0, "c4268dc3"),
        ([1, 1, 0], 0x50, "d3da2551"),
        ([1, 1, 1], 0x54, "cc4dbf96"),
        ([3, 3, 0], 0xf0, "756f6ef3"),
    ] {
        let bytes = map(&bits).encode();
        assert_eq!((bytes[18], &bytes[bytes.len() - 4..]), (data, hex(crc).as_slice()), "{bits:?}");
        assert_eq!(ObjectMap::decode(&bytes), Ok(map(&bits)));
    }
    assert_eq!(map(&[0]).encode()[23..27], hex("75c78ba3"));
}

#[test]
fn map_of_five_objects_as_a_cluster_writes_it() {
    let bytes = hex("0e00000001010800000005000000000000006c400c000000184596820100 0000de9a7912");
    let mut five = ObjectMap::decode(&bytes).unwrap();
    assert_eq!(states(&five), [1, 2, 3, 0, 1]);
    assert_eq!(five.encode(), bytes);
    assert_eq!(five.encode_bare(), hex("0e0000000101080000000500000000000000 6c40 00000000"));
    assert!(five.set(2, State::Pending));
    assert_eq!(five.data, hex("6840"));
    let mut four = map(&[1, 2, 2, 0, 1]);
    assert!(four.resize(4, State::Exists));
    let expected = "0e0000000101080000000400000000000000 68 0c000000 3f38aacb 01000000 adcb1feb";
    assert_eq!(four.encode(), hex(expected));
    for (data, crc) in [("4400", "d8a79db1"), ("cc00", "999e4ad7")] {
        let bytes = format!("0e0000000101080000000500000000000000{data}0c0000001845968201000000{crc}");
        assert!(ObjectMap::decode(&hex(&bytes)).is_ok());
    }
}

#[test]
fn map_that_grows_gets_objects_in_the_given_state() {
    let mut six = map(&[1, 2, 2]);
    assert!(six.resize(6, State::Exists));
    assert_eq!(six.data, hex("6950"));
    assert!(six.encode().ends_with(&hex("71c2d259 01000000 1aa40f5f")));
    six.snap_add();
    assert_eq!(six.data, hex("ebf0"));
    assert!(six.encode().ends_with(&hex("abdbc221")));
}

#[test]
fn map_of_forty_thousand_objects_has_three_blocks() {
    let mut map = ObjectMap::default();
    assert!(map.resize(40_000, State::Absent));
    for object in 16380..16390 {
        map.set(object, State::Exists);
    }
    map.set(39_999, State::Clean);
    let bytes = map.encode();
    assert_eq!(bytes.len(), 10_042);
    assert_eq!((map.data[4095..4098].to_vec(), map.data[9999]), (hex("555550"), 3));
    assert!(bytes.ends_with(&hex("14000000 b0bd4f72 03000000 cfced464 00d5d03c f4f35013")));
    assert_eq!(ObjectMap::decode(&bytes), Ok(map));
}

#[test]
fn removal_of_a_snapshot_brings_its_changes_back() {
    let mut head = map(&[3, 3, 3, 3, 1, 1]);
    head.snap_remove(&map(&[1, 3, 1, 0, 0, 0]));
    assert_eq!(head.data, hex("7750"));
    let mut head = map(&[3, 3, 3, 3, 3, 3]);
    head.snap_remove(&map(&[3, 3, 3, 3]));
    assert_eq!(head.data, hex("ff50"));
}

#[test]
fn damaged_maps_are_refused() {
    let good = map(&[1, 2, 3, 0, 1]).encode();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        assert_ne!(ObjectMap::decode(&bad), ObjectMap::decode(&good), "{at}");
        assert!(ObjectMap::decode(&good[..at]).is_err(), "{at}");
    }
    let mut bad = good.clone();
    bad[18] ^= 1;
    let error = ObjectMap::decode(&bad).unwrap_err();
    assert_eq!(error.to_string(), "object map: footer at byte 20: a checksum is wrong");
}

#[test]
fn map_with_more_objects_than_bytes_allocates_nothing() {
    let bytes = hex("0e000000 010108000000ffffffffffffffff 00 00000000");
    let error = ObjectMap::decode(&bytes).unwrap_err();
    assert_eq!((error.field, error.at), ("data", 18));
}

#[test]
fn objects_behind_the_end_have_no_state() {
    let mut map = map(&[1; 5]);
    assert_eq!((map.state(4), map.state(5), map.state(u64::MAX)), (Some(State::Exists), None, None));
    assert!(!map.set(5, State::Exists) && !map.set(u64::MAX, State::Exists));
}

#[test]
fn map_that_can_not_have_so_many_objects_stays_as_it_is() {
    let mut five = map(&[1; 5]);
    assert!(!five.resize(MAX_OBJECTS + 1, State::Absent) && !five.resize(u64::MAX, State::Absent));
    assert_eq!(five, map(&[1; 5]));
}

#[test]
fn calls_take_what_a_real_cluster_accepted() {
    assert_eq!(resize(5, State::Absent).input(), hex("050000000000000000"));
    assert_eq!(update(0, 3, State::Exists, None).input(), hex("000000000000000003000000000000000100"));
    let pending = update(1, 2, State::Pending, Some(State::Exists));
    assert_eq!(pending.input(), hex("01000000000000000200000000000000020101"));
    let absent = update(1, 2, State::Absent, Some(State::Pending));
    assert_eq!(absent.input(), hex("01000000000000000200000000000000000102"));
    assert_eq!((load().input(), snap_add().input()), (b"".as_slice(), b"".as_slice()));
    let one = map(&[1]);
    assert_eq!((save(&one).input(), snap_remove(&one).input()), (&*one.encode_bare(), &*one.encode_bare()));
}

proptest! {
    #[test]
    fn maps_are_read_as_they_were_written(bits in proptest::collection::vec(0..4u8, 0..100)) {
        let map = map(&bits);
        prop_assert_eq!(states(&map), bits);
        prop_assert_eq!(ObjectMap::decode(&map.encode()), Ok(map.clone()));
        prop_assert_eq!(ObjectMap::decode(&map.encode_bare()), Ok(map));
    }

    #[test]
    fn resize_keeps_what_stays(bits in proptest::collection::vec(0..4u8, 0..20), count in 0..40usize, new in 0..4u8) {
        let mut resized = map(&bits);
        prop_assert!(resized.resize(count as u64, State::from_bits(new)));
        let mut expected = bits;
        expected.resize(count, new);
        prop_assert_eq!(&resized, &map(&expected));
    }

    #[test]
    fn snapshots_change_what_the_description_says(
        head in proptest::collection::vec(0..4u8, 0..20), removed in proptest::collection::vec(0..4u8, 0..20),
    ) {
        let mut added = map(&head);
        added.snap_add();
        let expected: Vec<u8> = head.iter().map(|&bits| if bits == 1 { 3 } else { bits }).collect();
        prop_assert_eq!(states(&added), expected);
        let mut less = map(&head);
        less.snap_remove(&map(&removed));
        let is_one = |object: usize| removed.get(object).is_none_or(|&bits| bits == 1);
        let expected: Vec<u8> =
            head.iter().enumerate().map(|(object, &bits)| if bits == 3 && is_one(object) { 1 } else { bits }).collect();
        prop_assert_eq!(states(&less), expected);
    }

    #[test]
    fn any_bytes_are_a_map_or_an_error(bytes: Vec<u8>) {
        if let Ok(map) = ObjectMap::decode(&bytes) {
            prop_assert!(map.len().div_ceil(4) <= bytes.len() as u64);
        }
    }
}
