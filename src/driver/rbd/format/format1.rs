// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The header of a format 1 image: the data of the object `NAME.rbd`, and its methods.
//!
//! Source: RBD format document, sections 3.1 to 3.3.

use super::calls::{Call, SnapContext};
use super::encoding::{DecodeError, Decoder, Encoder, Reason};
use super::names::MAX_BLOCK_NAME;
use crate::errno::{Errno, ToErrno};

/// What a header begins with.
const TEXT: &[u8] = b"<<< Rados Block Device Image >>>\n";
/// What the header of an image begins with that is being moved.
const MIGRATING_TEXT: &[u8] = b"<<< Migrating RBD Image      >>>\n";
/// How long that text is, with zeros behind it.
const TEXT_SIZE: usize = 40;
/// How long the prefix is, with zeros behind it.
const BLOCK_NAME_SIZE: usize = MAX_BLOCK_NAME + 1;
/// What stands in front of the version.
const SIGNATURE: &[u8; 4] = b"RBD\0";
/// The version that is written.
const VERSION: &[u8; 8] = b"001.005\0";
/// What every version begins with that can be read.
const MAJOR: &[u8] = b"001.";
/// Where the image's size stands, 8 bytes.
pub const SIZE_OFFSET: u64 = 0x50;

/// Why an object is not the header of a format 1 image that we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It doesn't begin as headers do.
    #[error("the header does not belong to an RBD image")]
    NotAnImage,
    /// A format that came after us.
    #[error("the header has the unknown version '{0}'")]
    Version(String),
    /// The image is being moved.
    #[error("the image is being migrated: end that with 'rbd migration commit' or 'rbd migration abort'")]
    Migrating,
    /// Encrypted or compressed in a way that was never made.
    #[error("the image has the unknown encryption {encryption} or compression {compression}")]
    Coded {
        /// The kind of encryption.
        encryption: u8,
        /// The kind of compression.
        compression: u8,
    },
    /// The bytes are not what they should be.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl ToErrno for HeaderError {
    fn errno(&self) -> Errno {
        match self {
            Self::NotAnImage => Errno::EIO,
            Self::Version(_) | Self::Migrating | Self::Coded { .. } => Errno::ENOTSUP,
            Self::Decode(error) => error.errno(),
        }
    }
}

/// A snapshot of a format 1 image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number in the pool.
    pub id: u64,
    /// The size of the image then, in bytes.
    pub size: u64,
    /// Its name, without a NUL.
    pub name: Vec<u8>,
}

/// A header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// What the names of the data objects begin with.
    pub prefix: Vec<u8>,
    /// The size of the objects as a power of two.
    pub order: u8,
    /// The size of the image in bytes.
    pub size: u64,
    /// The number of the newest snapshot that there ever was.
    pub snap_seq: u64,
    /// The newest first.
    pub snapshots: Vec<Snapshot>,
}

impl Header {
    /// Reads the data of the object.
    ///
    /// # Errors
    /// If it is no header, or one that we can't use.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut decoder = Decoder::new("format 1 header", bytes);
        let text = decoder.raw("text", TEXT_SIZE)?;
        if text.starts_with(MIGRATING_TEXT) {
            return Err(HeaderError::Migrating);
        }
        let prefix = until_nul(decoder.raw("block_name", BLOCK_NAME_SIZE)?).to_vec();
        let signature: [u8; 4] = decoder.array("signature")?;
        if !text.starts_with(TEXT) || signature != *SIGNATURE {
            return Err(HeaderError::NotAnImage);
        }
        let version: [u8; 8] = decoder.array("version")?;
        if !version.starts_with(MAJOR) {
            return Err(HeaderError::Version(String::from_utf8_lossy(until_nul(&version)).into_owned()));
        }
        let order = decoder.u8("order")?;
        let (encryption, compression) = (decoder.u8("crypt_type")?, decoder.u8("comp_type")?);
        if (encryption, compression) != (0, 0) {
            return Err(HeaderError::Coded { encryption, compression });
        }
        decoder.u8("unused")?;
        let size = decoder.u64("image_size")?;
        let snap_seq = decoder.u64("snap_seq")?;
        let snapshots = decode_snapshots(&mut decoder)?;
        Ok(Self { prefix, order, size, snap_seq, snapshots })
    }

    /// Writes the data of the object; a prefix of more than [`MAX_BLOCK_NAME`] bytes is cut.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let names_size: usize =
            self.snapshots.iter().map(|snapshot| snapshot.name.len().saturating_add(1)).sum();
        let mut encoder = Encoder::new()
            .raw(&padded::<TEXT_SIZE>(TEXT))
            .raw(&padded::<BLOCK_NAME_SIZE>(&self.prefix))
            .raw(SIGNATURE)
            .raw(VERSION)
            .u8(self.order)
            .raw(&[0; 3])
            .u64(self.size)
            .u64(self.snap_seq)
            .count(self.snapshots.len())
            .u32(0)
            .u64(u64::try_from(names_size).unwrap_or(u64::MAX));
        for snapshot in &self.snapshots {
            encoder = encoder.u64(snapshot.id).u64(snapshot.size);
        }
        for snapshot in &self.snapshots {
            encoder = encoder.raw(&snapshot.name).u8(0);
        }
        encoder.finish()
    }

    /// What goes with every write to a data object.
    ///
    /// # Errors
    /// If the numbers of the snapshots are not in order.
    pub fn snap_context(&self) -> Result<SnapContext, DecodeError> {
        let ids = self.snapshots.iter().map(|snapshot| snapshot.id).collect();
        SnapContext::new(&Decoder::new("format 1 header", &[]), self.snap_seq, ids)
    }
}

/// The counted snapshots behind the fixed part: all numbers and sizes, then all names.
fn decode_snapshots(decoder: &mut Decoder<'_>) -> Result<Vec<Snapshot>, HeaderError> {
    // The count is followed by the sizes only 12 bytes later; `list` wants it in front of them.
    let count = decoder.u32("snap_count")?;
    decoder.u32("reserved")?;
    let names_size = usize::try_from(decoder.u64("snap_names_len")?).unwrap_or(usize::MAX);
    let size = usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(SNAPSHOT_SIZE);
    let numbers = decoder.raw("snapshots", size)?;
    let mut names_at = decoder.clone();
    let mut names = decoder.raw("snapshot names", names_size)?.split_inclusive(|&byte| byte == 0);
    let mut snapshots = Vec::new();
    for number in numbers.chunks_exact(SNAPSHOT_SIZE) {
        let mut number = Decoder::new("format 1 snapshot", number);
        let (id, size) = (number.u64("id")?, number.u64("image_size")?);
        let Some((0, name)) = names.next().and_then(<[u8]>::split_last).map(|(&last, name)| (last, name))
        else {
            return Err(names_at
                .error("snapshot names", Reason::Text("a name is missing or has no end"))
                .into());
        };
        names_at.raw("snapshot names", name.len().saturating_add(1))?;
        snapshots.push(Snapshot { id, size, name: name.to_vec() });
    }
    if names.next().is_some() {
        let reason = Reason::Text("there are more names than snapshots");
        return Err(names_at.error("snapshot names", reason).into());
    }
    Ok(snapshots)
}

/// Size of a snapshot's number and size, in bytes.
const SNAPSHOT_SIZE: usize = 16;

/// What stands in front of the first NUL.
fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// Text with zeros behind it, the last of which is always there.
fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    for (to, from) in field.iter_mut().take(N.saturating_sub(1)).zip(text) {
        *to = *from;
    }
    field
}

/// Adds a snapshot: `EEXIST` if there is one of that name, `ESTALE` if there is a newer one.
#[must_use]
pub fn snap_add(name: &[u8], id: u64) -> Call {
    Call::rbd(c"snap_add", Encoder::new().bytes(name).u64(id))
}

/// Removes a snapshot: `ENOENT` if there is none of that name.
#[must_use]
pub fn snap_remove(name: &[u8]) -> Call {
    Call::rbd(c"snap_remove", Encoder::new().bytes(name))
}

#[cfg(test)]
mod tests {
    use super::super::hex::hex;
    use super::*;
    use proptest::prelude::*;

    const GOLDEN: &str = "3c3c3c205261646f7320426c6f636b20 4465766963652049 6d616765203e3e3e 0a000000 00000000 72622e30 2e313035
        662e3662 38623435 36370000 00000000 52424400 3030312e 30303500 16000000 0000c000 00000000 05000000 00000000
        02000000 00000000 0c000000 00000000 05000000 00000000 0000c000 00000000 04000000 00000000 0000a000 00000000
        736e6170 2d74776f 00733100";

    fn golden() -> Header {
        Header {
            prefix: b"rb.0.105f.6b8b4567".to_vec(),
            order: 22,
            size: 12 << 20,
            snap_seq: 5,
            snapshots: vec![
                Snapshot { id: 5, size: 12 << 20, name: b"snap-two".to_vec() },
                Snapshot { id: 4, size: 10 << 20, name: b"s1".to_vec() },
            ],
        }
    }

    #[test]
    fn header_of_a_real_image_is_read_and_written_again() {
        let bytes = hex(GOLDEN);
        assert_eq!(bytes.len(), 156);
        assert_eq!(Header::decode(&bytes), Ok(golden()));
        assert_eq!(golden().encode(), bytes);
        assert_eq!(golden().snap_context().unwrap().ids(), [5, 4]);
    }

    #[test]
    fn header_after_a_resize_and_a_removed_snapshot() {
        let mut bytes = hex(GOLDEN);
        bytes[0x50..0x58].copy_from_slice(&hex("0000000100000000"));
        bytes[0x58..0x60].copy_from_slice(&hex("2400000000000000"));
        assert_eq!(Header::decode(&bytes), Ok(Header { size: 16 << 20, snap_seq: 0x24, ..golden() }));
    }

    #[test]
    fn header_of_a_new_image_is_the_fixed_part() {
        let header = Header { snapshots: Vec::new(), ..golden() };
        assert_eq!(header.encode().len(), 0x70);
        assert_eq!(Header::decode(&header.encode()), Ok(header));
    }

    #[test]
    fn header_that_is_cut_short_is_refused_everywhere() {
        let bytes = hex(GOLDEN);
        for length in 0..bytes.len() {
            let error = Header::decode(&bytes[..length]).unwrap_err();
            assert!(matches!(error, HeaderError::Decode(_)), "{length}");
            assert_eq!(error.errno(), Errno::EIO);
        }
    }

    #[test]
    fn header_of_something_else_is_refused() {
        let mut bytes = hex(GOLDEN);
        bytes[0] = b'>';
        assert_eq!(Header::decode(&bytes), Err(HeaderError::NotAnImage));
        let mut bytes = hex(GOLDEN);
        bytes[0x40] = b'X';
        assert_eq!(Header::decode(&bytes).unwrap_err().errno(), Errno::EIO);
    }

    #[test]
    fn header_of_a_migrating_image_is_refused() {
        let mut bytes = hex(GOLDEN);
        bytes[..MIGRATING_TEXT.len()].copy_from_slice(MIGRATING_TEXT);
        let error = Header::decode(&bytes).unwrap_err();
        assert_eq!((error.errno(), &error), (Errno::ENOTSUP, &HeaderError::Migrating));
    }

    #[test]
    fn header_of_another_version_is_refused() {
        let mut bytes = hex(GOLDEN);
        bytes[0x46] = b'2';
        let error = Header::decode(&bytes).unwrap_err();
        assert_eq!((error.errno(), &error), (Errno::ENOTSUP, &HeaderError::Version("002.005".into())));
    }

    #[test]
    fn header_with_a_code_is_refused() {
        let mut bytes = hex(GOLDEN);
        bytes[0x4d] = 1;
        let error = Header::decode(&bytes).unwrap_err();
        assert_eq!(
            (error.errno(), &error),
            (Errno::ENOTSUP, &HeaderError::Coded { encryption: 1, compression: 0 })
        );
    }

    #[test]
    fn header_with_too_few_names_is_refused() {
        let mut bytes = hex(GOLDEN);
        // The last name loses its end.
        bytes[155] = b'x';
        let error = Header::decode(&bytes).unwrap_err();
        assert_eq!(
            error.to_string(),
            "format 1 header: snapshot names at byte 153: a name is missing or has no end"
        );
    }

    #[test]
    fn header_that_counts_more_snapshots_than_it_has_allocates_nothing() {
        let mut bytes = hex(GOLDEN);
        bytes[0x60..0x64].copy_from_slice(&[255; 4]);
        assert!(
            matches!(Header::decode(&bytes), Err(HeaderError::Decode(error)) if error.field == "snapshots")
        );
    }

    #[test]
    fn snapshot_methods_take_name_and_number() {
        assert_eq!(snap_add(b"s1", 4).input(), hex("02000000 7331 0400000000000000"));
        assert_eq!(snap_remove(b"s1").input(), hex("02000000 7331"));
    }

    #[test]
    fn header_with_more_names_than_snapshots_is_refused() {
        for count in [0, 1] {
            let mut bytes = hex(GOLDEN);
            bytes[0x60] = count;
            let error = Header::decode(&bytes).unwrap_err();
            assert!(error.to_string().contains("name"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn header_is_read_as_it_was_written(
            prefix in proptest::collection::vec(1..=255u8, 0..=MAX_BLOCK_NAME), order: u8, size: u64, snap_seq: u64,
            snapshots in proptest::collection::vec((any::<u64>(), any::<u64>(), proptest::collection::vec(1..=255u8, 0..9)), 0..9),
        ) {
            let snapshots = snapshots.into_iter().map(|(id, size, name)| Snapshot { id, size, name }).collect();
            let header = Header { prefix, order, size, snap_seq, snapshots };
            prop_assert_eq!(Header::decode(&header.encode()), Ok(header));
        }

        #[test]
        fn any_damage_is_an_error_or_a_header(at in 0..156usize, byte: u8) {
            let mut bytes = hex(GOLDEN);
            bytes[at] = byte;
            if let Ok(header) = Header::decode(&bytes) {
                prop_assert_eq!(header.snapshots.len(), 2);
            }
        }
    }
}
