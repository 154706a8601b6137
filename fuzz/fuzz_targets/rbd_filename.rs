// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Any bytes are an RBD file name or an error; what a file name gives stands for the same image again, and reaches the node.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qemu_block_rs::driver::rbd::filename::FileName;
use qemu_block_rs::driver::rbd::options::Options;

fuzz_target!(|data: &[u8]| {
    let data = [b"rbd:", data].concat();
    let Ok(name) = FileName::parse(&data) else { return };
    assert_eq!(FileName::parse(&name.to_text()).as_ref(), Ok(&name));
    let is_text = name
        .pairs
        .iter()
        .all(|(key, value)| [key, value].iter().all(|part| std::str::from_utf8(part).is_ok()));
    let names_are_there = !name.pool.is_empty()
        && !name.image.is_empty()
        && name.snapshot.as_ref().is_none_or(|s| !s.is_empty());
    let options = Options::parse(&mut name.clone().into_options());
    assert_eq!(options.is_ok(), names_are_there);
    if let Ok(options) = options {
        assert_eq!(options.pool.to_bytes(), name.pool);
        assert_eq!(options.namespace.to_bytes(), name.namespace);
        assert_eq!(options.image.to_bytes(), name.image);
        assert_eq!(options.pairs.len(), name.pairs.len());
        // A secret one travels apart from the others, and comes after them.
        let (secret, open): (Vec<_>, Vec<_>) = name.pairs.iter().partition(|(key, _)| key == b"key");
        for (given, taken) in [open, secret].concat().iter().zip(&options.pairs).filter(|_| is_text) {
            assert_eq!((given.0.as_slice(), given.1.as_slice()), (taken.0.to_bytes(), taken.1.to_bytes()));
        }
    }
});
