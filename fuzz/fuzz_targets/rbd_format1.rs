// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Any bytes are a format 1 header or directory, or errors; what was read is read again as it is written.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qemu_block_rs::driver::rbd::format::directory::Directory1;
use qemu_block_rs::driver::rbd::format::format1::Header;
use qemu_block_rs::driver::rbd::format::header::{Identity, State};

/// What every header begins with, up to its order; it would take long to be found.
const START: &[u8; 0x4c] =
    b"<<< Rados Block Device Image >>>\n\0\0\0\0\0\0\0rb.0.105f.6b8b4567\0\0\0\0\0\0RBD\x00001.005\0";

/// Reads a header, and what it says of the image.
fn header(data: &[u8]) {
    if let Ok(header) = Header::decode(data) {
        // A prefix without a NUL is cut by one byte when it is written.
        if header.prefix.len() < 24 {
            assert_eq!(Header::decode(&header.encode()).as_ref(), Ok(&header));
        }
        if let Ok(identity) = Identity::format1(&header) {
            if let Ok(state) = State::format1(&identity, &header) {
                assert_eq!(state.snap_context.ids().len(), header.snapshots.len());
            }
        }
    }
}

fuzz_target!(|data: &[u8]| {
    header(data);
    header(&[START, data].concat());
    if let Ok(directory) = Directory1::decode(data) {
        assert_eq!(Directory1::decode(&directory.encode()), Ok(directory));
    }
});
