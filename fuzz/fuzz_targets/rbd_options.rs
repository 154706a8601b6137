// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Any set of options gives options that keep the rules, or an error that says something.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use qemu_block_rs::driver::rbd::create_options::CreateOptions;
use qemu_block_rs::driver::rbd::options::Options;
use qemu_block_rs::options::OptionMap;

/// Names that the parser knows.
const KEYS: [&str; 24] = [
    "pool",
    "image",
    "namespace",
    "snapshot",
    "conf",
    "user",
    "key-secret",
    "password-secret",
    "filename",
    "=keyvalue-pairs",
    "server.0.host",
    "server.0.port",
    "server.1.host",
    "server.1.port",
    "server.0",
    "auth-client-required.0",
    "auth-client-required.1",
    "encrypt.format",
    "encrypt.key-secret",
    "encrypt.parent.format",
    "encrypt.parent.key-secret",
    "encrypt.cipher-alg",
    "size",
    "cluster-size",
];

#[derive(Arbitrary, Debug)]
enum Key {
    Known(u8),
    Location(u8),
    Other(String),
}

#[derive(Arbitrary, Debug)]
enum Value {
    Number(u64),
    Word(u8),
    Pairs(Vec<String>),
    Bytes(Vec<u8>),
}

impl Key {
    fn text(&self) -> String {
        let known = |index: &u8| KEYS[usize::from(*index) % KEYS.len()];
        match self {
            Self::Known(index) => known(index).into(),
            Self::Location(index) => format!("location.{}", known(index)),
            Self::Other(name) => name.clone(),
        }
    }
}

impl Value {
    fn bytes(&self) -> Vec<u8> {
        const WORDS: [&str; 8] =
            ["luks", "luks2", "luks-any", "cephx", "none", "::1", "rbd:p/n/i@s:a=b", "aes-128"];
        match self {
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Word(index) => WORDS[usize::from(*index) % WORDS.len()].into(),
            Self::Pairs(list) => format!("{list:?}").into_bytes(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

fuzz_target!(|pairs: Vec<(Key, Value)>| {
    let map: OptionMap = pairs.iter().map(|(key, value)| (key.text(), value.bytes())).collect();
    match Options::parse(&mut map.clone()) {
        Ok(options) => {
            assert!(!options.pool.is_empty() && !options.image.is_empty());
            assert!(options.snapshot.as_ref().is_none_or(|snapshot| !snapshot.is_empty()));
            let own = usize::from(options.mon_host.is_some()) + usize::from(options.auth.is_some());
            assert_eq!(options.settings(None).count(), options.pairs.len() + own);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match CreateOptions::from_blockdev(&mut map.clone()) {
        Ok(create) => {
            assert!(i64::try_from(create.size).is_ok() && create.location.snapshot.is_none());
            assert!(create.order.is_none_or(|order| (12..=25).contains(&order)));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Some((key, Value::Number(size))) = pairs.first() {
        let result = CreateOptions::from_create_opts(key.text().as_bytes(), *size, 0, None, &mut map.clone());
        assert!(result.is_err() || result.is_ok_and(|create| create.size >= *size && create.size % 512 == 0));
    }
});
