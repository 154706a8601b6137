// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Any bytes are a Gluster URI or an error, and what a URI gives can be handed to C and stands for the same place again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qemu_block_rs::driver::gluster::uri::{Server, Uri};

/// Writes every byte in its encoded form.
fn encode(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("%{byte:02X}")).collect()
}

fuzz_target!(|data: &[u8]| {
    let Ok(uri) = Uri::parse(data) else { return };
    for part in [&uri.volume, &uri.path] {
        assert!(!part.is_empty() && !part.contains(&0));
    }
    assert!(!uri.volume.contains(&b'/'));
    let place = format!("{}/{}", encode(&uri.volume), encode(&uri.path));
    let again = match &uri.server {
        Server::Inet(host, port) => {
            assert!(!host.is_empty() && !host.contains(&0));
            format!("gluster://{}:{port}/{place}", encode(host))
        }
        Server::Unix(socket) => {
            assert!(!socket.is_empty() && !socket.contains(&0));
            format!("gluster+unix:///{place}?socket={}", encode(socket))
        }
    };
    assert_eq!(Uri::parse(again.as_bytes()).as_ref(), Ok(&uri));
});
