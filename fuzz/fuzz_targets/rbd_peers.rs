// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Any bytes are what other clients say through locks and notifications, or errors.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qemu_block_rs::driver::rbd::format::lock::Info;
use qemu_block_rs::driver::rbd::format::notify::{decode_response, Message, Reply};

fuzz_target!(|data: &[u8]| {
    if let Ok(info) = Info::decode(data) {
        if let Some((owner, _)) = info.auto_owner() {
            assert!(!owner.address.to_string().is_empty() && owner.cookie.starts_with(b"auto "));
        }
    }
    match Message::decode(data) {
        Ok(message @ (Message::Maintenance(_) | Message::Other(_))) => drop(message.encode()),
        Ok(message) => assert_eq!(Message::decode(&message.encode()), Ok(message)),
        Err(error) => assert!(error.at <= data.len()),
    }
    if let Ok(reply) = Reply::decode(data) {
        assert!(reply.acks.len() * 20 + reply.timeouts.len() * 16 <= data.len());
        if let Some(answer) = reply.owner_answer() {
            let _ = decode_response(answer);
        }
    }
    let _ = decode_response(data);
});
