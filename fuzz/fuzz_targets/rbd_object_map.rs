// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Any bytes are an object map or an error, and a map survives being written, snapshots and resizes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qemu_block_rs::driver::rbd::format::encoding::Encoder;
use qemu_block_rs::driver::rbd::format::object_map::{ObjectMap, State};

/// Reads a map and uses it.
fn check(data: &[u8]) {
    let Ok(mut map) = ObjectMap::decode(data) else { return };
    assert!(map.len().div_ceil(4) <= data.len() as u64);
    assert_eq!(ObjectMap::decode(&map.encode()).as_ref(), Ok(&map));
    assert_eq!(ObjectMap::decode(&map.encode_bare()).as_ref(), Ok(&map));
    let before: Vec<_> = map.states().collect();
    assert_eq!(before.len() as u64, map.len());
    let copy = map.clone();
    map.snap_add();
    assert!(map.states().all(|state| state != State::Exists));
    map.snap_remove(&copy);
    let count = map.len() + 5;
    assert!(map.resize(count, State::Pending));
    assert_eq!((map.len(), map.state(count - 1), map.state(count)), (count, Some(State::Pending), None));
}

fuzz_target!(|data: &[u8]| {
    check(data);
    // The same as the states of a map, whose last byte may have room left over.
    let count = (data.len() as u64 * 4).saturating_sub(data.first().map_or(0, |&byte| u64::from(byte % 4)));
    let header = Encoder::new().versioned(1, 1, |members| members.u64(count)).finish();
    check(&Encoder::new().bytes(&header).raw(data).bytes(b"").finish());
});
