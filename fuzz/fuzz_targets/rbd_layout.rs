// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Any layout and any range: every byte has its one place, and the objects come in the order of the request.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qemu_block_rs::driver::rbd::format::striping::Layout;
use qemu_block_rs::range::ByteRange;

fuzz_target!(|input: (u8, u8, u64, i64, u32)| {
    let (order, unit_shift, count, offset, bytes) = input;
    let Ok(layout) = Layout::striped(order % 27, 1 << (unit_shift % 27), count) else { return };
    let Ok(range) = ByteRange::new(offset, bytes.into()) else { return };
    let start = offset as u64;
    let mut last = None;
    let mut seen = 0;
    let mut is_all = true;
    for (index, object) in layout.objects(range).enumerate() {
        if index == 200 {
            is_all = false;
            break;
        }
        assert!(last.is_none_or(|last| last < object.first));
        last = Some(object.first);
        seen += object.length;
        let mut at = object.offset;
        for piece in object.pieces().take(50) {
            assert_eq!(layout.locate(start + piece.at), (object.object, at));
            assert_eq!(layout.offset(object.object, at), Some(start + piece.at));
            at += piece.length;
        }
        assert!(object.object < layout.object_count(range.end() as u64));
        let mut found = layout.image_ranges(object.object, object.offset, object.length);
        assert_eq!(found.next().map(|part| part.offset() as u64), Some(start + object.first));
    }
    assert!(!is_all || seen == u64::from(bytes));
});
