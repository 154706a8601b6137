// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Any set of options gives options that are complete, or an error that names something.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use qemu_block_rs::driver::gluster::options::Options;
use qemu_block_rs::options::OptionMap;

/// A key that the parser knows, or any other.
#[derive(Arbitrary, Debug)]
enum Key {
    Filename,
    Debug,
    Logfile,
    Volume,
    Path,
    Server(u8, Member),
    Other(String),
}

#[derive(Arbitrary, Debug)]
enum Member {
    Type,
    Host,
    Port,
    Path,
    Socket,
    To,
    Ipv4,
    Other(String),
}

#[derive(Arbitrary, Debug)]
enum Value {
    Inet,
    Unix,
    Tcp,
    Number(i64),
    Uri(Vec<u8>),
    Bytes(Vec<u8>),
}

impl Key {
    fn text(&self) -> String {
        match self {
            Self::Filename => "filename".into(),
            Self::Debug => "debug".into(),
            Self::Logfile => "logfile".into(),
            Self::Volume => "volume".into(),
            Self::Path => "path".into(),
            Self::Server(number, member) => {
                let member = match member {
                    Member::Type => "type",
                    Member::Host => "host",
                    Member::Port => "port",
                    Member::Path => "path",
                    Member::Socket => "socket",
                    Member::To => "to",
                    Member::Ipv4 => "ipv4",
                    Member::Other(name) => name,
                };
                format!("server.{}.{member}", number % 4)
            }
            Self::Other(name) => name.clone(),
        }
    }
}

impl Value {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Inet => b"inet".to_vec(),
            Self::Unix => b"unix".to_vec(),
            Self::Tcp => b"tcp".to_vec(),
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Uri(rest) => [b"gluster://", rest.as_slice()].concat(),
            Self::Bytes(bytes) => bytes.clone(),
        }
    }
}

fuzz_target!(|pairs: Vec<(Key, Value)>| {
    let mut map: OptionMap = pairs.iter().map(|(key, value)| (key.text(), value.bytes())).collect();
    match Options::parse(&mut map) {
        Ok(options) => {
            assert!(!options.servers.is_empty());
            assert!(!options.volume.is_empty() && !options.path.is_empty());
            assert!((0..=9).contains(&options.debug));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
