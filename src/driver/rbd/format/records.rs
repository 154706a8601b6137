// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Structures that replies and arguments are made of. Source: RBD format document, sections 5.5, 18.1 and 19.1.

use super::encoding::{DecodeError, Decoder, Time};

/// What a snapshot is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotKind {
    /// A user made it; only these are shown.
    User,
    /// Part of a snapshot of several images.
    Group {
        /// The pool of the group.
        pool: i64,
        /// The group's id.
        group_id: Vec<u8>,
        /// The id of the group's snapshot.
        snapshot_id: Vec<u8>,
    },
    /// A removed one that still has clones.
    Trash {
        /// The name that it had.
        original_name: Vec<u8>,
        /// What it was for; 0 is a user's.
        original_type: u32,
    },
    /// Made by mirroring.
    Mirror,
    /// Something newer than us, with its number.
    Other(u32),
}

impl SnapshotKind {
    /// Reads one.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.versioned("SnapshotNamespace", 1, |_, d| {
            Ok(match d.u32("type")? {
                0 => Self::User,
                1 => Self::Group {
                    pool: d.i64("pool")?,
                    group_id: d.text("group_id")?.to_vec(),
                    snapshot_id: d.text("group_snapshot_id")?.to_vec(),
                },
                2 => Self::Trash {
                    original_name: d.text("original_name")?.to_vec(),
                    original_type: d.u32("original_type")?,
                },
                3 => Self::Mirror,
                other => Self::Other(other),
            })
        })
    }
}

/// What there is to know of a snapshot of a format 2 image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its number in the data's pool.
    pub id: u64,
    /// What it is for.
    pub kind: SnapshotKind,
    /// Its name, without a NUL.
    pub name: Vec<u8>,
    /// The size of the image then, in bytes.
    pub size: u64,
    /// When it was made.
    pub created: Time,
    /// How many clones of the second kind it has.
    pub child_count: u32,
}

impl SnapshotInfo {
    /// Reads one.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn decode(decoder: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        decoder.versioned("SnapshotInfo", 1, |_, d| {
            Ok(Self {
                id: d.u64("id")?,
                kind: SnapshotKind::decode(d)?,
                name: d.text("name")?.to_vec(),
                size: d.u64("image_size")?,
                created: d.time("timestamp")?,
                child_count: d.u32("child_count")?,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::hex::hex;
    use super::*;

    fn all<T>(bytes: &[u8], read: impl FnOnce(&mut Decoder<'_>) -> Result<T, DecodeError>) -> T {
        let mut decoder = Decoder::new("test", bytes);
        let value = read(&mut decoder).unwrap();
        assert_eq!(decoder.left(), 0);
        value
    }

    #[test]
    fn snapshot_of_a_user() {
        let reply = "0101 2b000000 0a00000000000000 0101 04000000 00000000 01000000 61 0000a00000000000 47f6ff6a 85095913
            00000000";
        let expected = SnapshotInfo {
            id: 10,
            kind: SnapshotKind::User,
            name: b"a".to_vec(),
            size: 10 << 20,
            created: Time { seconds: 0x6aff_f647, nanoseconds: 0x1359_0985 },
            child_count: 0,
        };
        assert_eq!(all(&hex(reply), SnapshotInfo::decode), expected);
    }

    #[test]
    fn snapshot_of_the_fresh_header() {
        let reply = "01012c0000000900000000000000010104000000000000000200000073310000400100000000affcff6a6fd7542e00000000";
        let snapshot = all(&hex(reply), SnapshotInfo::decode);
        assert_eq!((snapshot.id, snapshot.name.as_slice(), snapshot.size), (9, b"s1".as_slice(), 20 << 20));
    }

    #[test]
    fn snapshot_in_the_trash_keeps_its_old_name() {
        let uuid = "31323334353637382d313233342d313233342d313233342d313233343536373839306162";
        let reply = format!(
            "0101 58000000 0500000000000000 0101 0e000000 02000000 02000000 6132 00000000 24000000 {uuid}
             0000a00000000000 47f6ff6a85095913 00000000"
        );
        let snapshot = all(&hex(&reply), SnapshotInfo::decode);
        let expected = SnapshotKind::Trash { original_name: b"a2".to_vec(), original_type: 0 };
        assert_eq!((snapshot.id, snapshot.kind), (5, expected));
    }

    #[test]
    fn snapshots_of_groups_mirrors_and_newer_kinds() {
        let group = "0101 2b000000 01000000 0200000000000000 0c000000 313233623233303339633137 0b000000 3132343964643839336139";
        let expected = SnapshotKind::Group {
            pool: 2,
            group_id: b"123b23039c17".to_vec(),
            snapshot_id: b"1249dd893a9".to_vec(),
        };
        assert_eq!(all(&hex(group), SnapshotKind::decode), expected);
        for state in ["00", "01"] {
            let mirror = format!(
                "0101 22000000 03000000 {state} 01 00000000 00000000 feffffffffffffff 0000000000000000 00000000"
            );
            assert_eq!(all(&hex(&mirror), SnapshotKind::decode), SnapshotKind::Mirror);
        }
        assert_eq!(all(&hex("0101 06000000 09000000 aabb"), SnapshotKind::decode), SnapshotKind::Other(9));
        assert_eq!(all(&hex("01010400000000000000"), SnapshotKind::decode), SnapshotKind::User);
    }
}
