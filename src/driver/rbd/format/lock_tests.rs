// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Tests of `lock.rs`.

use proptest::prelude::*;

use super::super::hex::hex;
use super::*;

const HELD: &str =
    "01016d0000000100000001012100000008bc16000000000000140000006175746f20313430303030303030303030
    3030310101 2f000000 00000000 00000000 01 0101 1c000000 01000000 8eb88aaa 10000000 0200 0000 7f000001
    0000000000000000 00000000 01 08000000 696e7465726e616c";

fn cookie(last: char) -> Vec<u8> {
    format!("auto 14000000000000{last}").into_bytes()
}

#[test]
fn calls_take_what_a_real_cluster_accepted() {
    let (one, two, three) = (cookie('1'), cookie('2'), cookie('3'));
    let lock_1 = "01013e000000080000007262645f6c6f636b01140000006175746f203134303030303030303030303030310800
        0000696e7465726e616c00000000000000000000000000";
    assert_eq!(lock(&one, AUTO_TAG).input(), hex(lock_1));
    assert_eq!(get_info().input(), hex("01010c000000080000007262645f6c6f636b"));
    let assert_1 =
        "010131000000080000007262645f6c6f636b01140000006175746f203134303030303030303030303030310800
        0000696e7465726e616c";
    assert_eq!(assert_locked(&one, AUTO_TAG).input(), hex(assert_1));
    let set =
        "010149000000080000007262645f6c6f636b01140000006175746f2031343030303030303030303030303108000000696e
        7465726e616c140000006175746f20313430303030303030303030303032";
    assert_eq!(set_cookie(&one, AUTO_TAG, &two).input(), hex(set));
    let unlock_2 = "010124000000080000007262645f6c6f636b140000006175746f20313430303030303030303030303032";
    assert_eq!(unlock(&two).input(), hex(unlock_2));
    let broken =
        "01012d000000080000007262645f6c6f636b08bc16000000000000140000006175746f20313430303030303030303030
        303033";
    assert_eq!(break_lock(Entity { kind: 8, number: 5820 }, &three).input(), hex(broken));
    assert_eq!((get_info().class(), get_info().method()), (c"lock", c"get_info"));
}

#[test]
fn calls_on_an_object_map_have_no_cookie_and_no_tag() {
    let expected = "010122000000080000007262645f6c6f636b01000000000000000000000000000000000000000000";
    assert_eq!(lock(b"", b"").input(), hex(expected));
    assert_eq!(
        assert_locked(b"", b"").input(),
        hex("010115000000080000007262645f6c6f636b010000000000000000")
    );
}

#[test]
fn info_of_a_held_lock_says_who_where_and_with_which_watch() {
    let info = Info::decode(&hex(HELD)).unwrap();
    let (owner, handle) = info.auto_owner().unwrap();
    assert_eq!((owner.entity, handle), (Entity { kind: 8, number: 5820 }, 140_000_000_000_001));
    assert_eq!(owner.address.to_string(), "127.0.0.1:0/2861217934");
    assert_eq!((owner.expires, owner.description.as_slice()), (Time::default(), b"".as_slice()));
}

#[test]
fn info_of_a_free_lock_has_no_lockers() {
    let info = Info::decode(&hex("010109000000 00000000 00 00000000")).unwrap();
    assert_eq!((info.lockers.len(), info.auto_owner()), (0, None));
}

#[test]
fn lock_that_a_user_has_taken_has_no_automatic_owner() {
    let advisory = "0101 59000000 01000000 0101 15000000 08 3312000000000000 08000000 6d79636f6f6b6965
        0101 2f000000 0000000000000000 01 0101 1c000000 01000000 71e6e384 10000000 0200 0000 7f000001
        0000000000000000 00000000 01 00000000";
    let info = Info::decode(&hex(advisory)).unwrap();
    assert_eq!((info.lockers[0].cookie.as_slice(), info.auto_owner()), (b"mycookie".as_slice(), None));
    let held = Info::decode(&hex(HELD)).unwrap();
    let changes: [fn(&mut Info); 6] = [
        |info| info.tag.clear(),
        |info| info.kind = 2,
        |info| info.lockers[0].cookie = b"auto +1".to_vec(),
        |info| info.lockers[0].cookie = b"auto ".to_vec(),
        |info| info.lockers[0].address.host = None,
        |info| info.lockers.push(info.lockers[0].clone()),
    ];
    for change in changes {
        let mut info = held.clone();
        change(&mut info);
        assert_eq!(info.auto_owner(), None);
    }
}

#[test]
fn addresses_of_ipv6_and_of_old_peers() {
    let new = Encoder::new().u8(1).versioned(1, 1, |e| {
        let sockaddr = hex("0a00 1a0b 00000000 20010db8000000000000000000000001 00000000");
        e.u32(2).u32(7).bytes(&sockaddr)
    });
    let address = decode_address(&mut Decoder::new("x", &new.finish())).unwrap();
    assert_eq!(address.to_string(), "[2001:db8::1]:6667/7");
    let mut old = hex("00 000000 09000000 0002 1a0b 0a000001");
    old.resize(136, 0);
    let address = decode_address(&mut Decoder::new("x", &old)).unwrap();
    assert_eq!(address.to_string(), "10.0.0.1:6667/9");
}

#[test]
fn address_that_nobody_knows_has_no_host() {
    for sockaddr in ["", "02", "0200 0000 7f0000", "6300 0000 00000000 0000000000000000"] {
        let bytes = Encoder::new().u8(1).versioned(1, 1, |e| e.u32(0).u32(1).bytes(&hex(sockaddr))).finish();
        let address = decode_address(&mut Decoder::new("x", &bytes)).unwrap();
        assert_eq!((address.host, address.to_string()), (None, "-".to_owned()), "{sockaddr}");
    }
    assert!(decode_address(&mut Decoder::new("x", &[2])).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_an_info_or_an_error(bytes: Vec<u8>, at in 0..115usize, byte: u8) {
        drop(Info::decode(&bytes));
        let mut held = hex(HELD);
        held[at] = byte;
        if let Ok(info) = Info::decode(&held) {
            drop(info.auto_owner().map(|(owner, _)| owner.address.to_string()));
        }
    }

    #[test]
    fn cookies_lead_back_to_their_watch(handle: u64) {
        let mut info = Info::decode(&hex(HELD)).unwrap();
        info.lockers[0].cookie = auto_cookie(handle);
        prop_assert_eq!(info.auto_owner().map(|(_, handle)| handle), Some(handle));
    }
}
