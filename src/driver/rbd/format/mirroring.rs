// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What migration and mirroring say of an image, to tell users why it is refused.
//!
//! Source: RBD format document, sections 5.5 and 22.

use super::calls::Call;
use super::encoding::{DecodeError, Decoder, Encoder};

/// The other side of a migration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// Whether this image is where the data comes from.
    pub is_source: bool,
    /// The pool of the other image.
    pub pool: i64,
    /// Its namespace.
    pub namespace: Vec<u8>,
    /// Its name.
    pub name: Vec<u8>,
    /// Its id.
    pub id: Vec<u8>,
}

/// Asks for the migration: `EINVAL` if there is none.
#[must_use]
pub fn migration_get() -> Call {
    Call::rbd(c"migration_get", Encoder::new())
}

/// The reply to [`migration_get`].
///
/// # Errors
/// If it is damaged.
pub fn migration_reply(reply: &[u8]) -> Result<Migration, DecodeError> {
    Decoder::new("migration_get", reply).versioned("MigrationSpec", 3, |_, d| {
        Ok(Migration {
            is_source: d.u8("header_type")? == 1,
            pool: d.i64("pool")?,
            namespace: d.text("namespace")?.to_vec(),
            name: d.text("image_name")?.to_vec(),
            id: d.text("image_id")?.to_vec(),
        })
    })
}

/// A mirrored image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Its id in all clusters.
    pub global_id: Vec<u8>,
    /// 0 is being disabled, 1 enabled, 2 disabled, 3 being created.
    pub state: u8,
    /// Whether it is mirrored by snapshots, and not by a journal.
    pub by_snapshots: bool,
}

/// The reply to `mirror_image_get`.
///
/// # Errors
/// If it is damaged.
pub fn mirror_reply(reply: &[u8]) -> Result<Mirror, DecodeError> {
    Decoder::new("mirror_image_get", reply).versioned("MirrorImage", 2, |version, d| {
        Ok(Mirror {
            global_id: d.text("global_id")?.to_vec(),
            state: d.u8("state")?,
            by_snapshots: version >= 2 && d.u8("mode")? == 1,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::hex::hex;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn migrations_from_both_sides() {
        let source =
            "0301 3d000000 01 0200000000000000 00000000 04000000 6d696732 0c000000 313166343634623364383238
            00000000 0000000000000000 00 00 02 00000000 00 00000000";
        let target =
            "0301 3c000000 02 0200000000000000 00000000 03000000 6d6967 0c000000 313166323936306265336663
            00000000 0000a00000000000 00 00 02 00000000 00 00000000";
        let source = migration_reply(&hex(source)).unwrap();
        assert_eq!((source.is_source, source.name.as_slice(), source.pool), (true, b"mig2".as_slice(), 2));
        let target = migration_reply(&hex(target)).unwrap();
        assert_eq!((target.is_source, target.id.as_slice()), (false, b"11f2960be3fc".as_slice()));
        assert_eq!(migration_get().input(), b"");
    }

    #[test]
    fn mirrored_image() {
        let reply = "0201 2a000000 24000000 31373136613530392d303939342d346362642d623836302d656635383237623461656662 01 01";
        let mirror = mirror_reply(&hex(reply)).unwrap();
        assert_eq!(mirror.global_id, b"1716a509-0994-4cbd-b860-ef5827b4aefb");
        assert_eq!((mirror.state, mirror.by_snapshots), (1, true));
    }

    proptest! {
        #[test]
        fn any_reply_is_a_value_or_an_error(reply: Vec<u8>) {
            drop((migration_reply(&reply), mirror_reply(&reply)));
        }
    }
}
