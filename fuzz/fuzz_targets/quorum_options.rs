// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Any set of options gives options that keep the rules, or an error that names something.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use qemu_block_rs::driver::quorum::{Options, ReadPattern};
use qemu_block_rs::options::OptionMap;

/// A key that the parser knows, or any other.
#[derive(Arbitrary, Debug)]
enum Key {
    Threshold,
    Pattern,
    Blkverify,
    Rewrite,
    Other(String),
}

#[derive(Arbitrary, Debug)]
enum Value {
    Small(u8),
    Number(i128),
    Quorum,
    Fifo,
    On,
    Off,
    Bytes(Vec<u8>),
}

impl Key {
    fn text(&self) -> String {
        match self {
            Self::Threshold => "vote-threshold".into(),
            Self::Pattern => "read-pattern".into(),
            Self::Blkverify => "blkverify".into(),
            Self::Rewrite => "rewrite-corrupted".into(),
            Self::Other(name) => name.clone(),
        }
    }
}

impl Value {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Small(number) => (number % 6).to_string().into_bytes(),
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Quorum => b"quorum".to_vec(),
            Self::Fifo => b"fifo".to_vec(),
            Self::On => b"on".to_vec(),
            Self::Off => b"off".to_vec(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

fuzz_target!(|input: (Vec<(Key, Value)>, Option<u8>)| {
    let (pairs, children) = input;
    let mut map: OptionMap = pairs.iter().map(|(key, value)| (key.text(), value.bytes())).collect();
    let children = children.map(usize::from);
    match Options::parse(&mut map, children) {
        Ok(options) => {
            assert!((1..=children.unwrap()).contains(&options.threshold));
            assert!(!options.blkverify || (children == Some(2) && options.threshold == 2));
            assert!(!(options.blkverify && options.rewrite_corrupted));
            let votes = options.pattern == ReadPattern::Quorum;
            assert!(votes || !(options.blkverify || options.rewrite_corrupted));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
