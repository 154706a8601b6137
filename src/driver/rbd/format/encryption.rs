// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Which format of encryption an image has, seen by its first bytes. Source: RBD format document, section 22.6.

/// How many bytes it takes.
pub const PROBE_SIZE: usize = 8;

/// What the first bytes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The version of LUKS: 1 or 2.
    pub version: u16,
    /// Whether the image is a clone with a passphrase of its own over an encrypted parent.
    pub is_layer: bool,
}

impl Probe {
    /// Looks at the first bytes of an image; `None` if it isn't encrypted in a way that we know.
    #[must_use]
    pub fn new(start: &[u8; PROBE_SIZE]) -> Option<Self> {
        let [magic @ .., high, low] = start;
        let is_layer = match magic {
            b"LUKS\xba\xbe" => false,
            b"RBDL\xba\xbe" => true,
            _ => return None,
        };
        let version = u16::from_be_bytes([*high, *low]);
        (1..=2).contains(&version).then_some(Self { version, is_layer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_beginnings_are_known() {
        for (start, version, is_layer) in [
            (b"LUKS\xba\xbe\0\x01", 1, false),
            (b"LUKS\xba\xbe\0\x02", 2, false),
            (b"RBDL\xba\xbe\0\x01", 1, true),
            (b"RBDL\xba\xbe\0\x02", 2, true),
        ] {
            assert_eq!(Probe::new(start), Some(Probe { version, is_layer }));
        }
    }

    #[test]
    fn other_beginnings_are_not_encrypted() {
        for start in [
            b"LUKS\xba\xbe\0\x03",
            b"LUKS\xba\xbe\x01\0",
            b"LUKS\xba\xbf\0\x01",
            b"QFI\xfb\0\0\0\x03",
            &[0; 8],
        ] {
            assert_eq!(Probe::new(start), None, "{start:?}");
        }
    }
}
