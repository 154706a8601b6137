// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Names: of images, their ids, and the objects in which everything is kept. Source: RBD format document, section 1.

use std::ffi::{CStr, CString};

use crate::errno::{Errno, ToErrno};

/// Names and ids of the images of a pool or namespace.
pub const DIRECTORY: &CStr = c"rbd_directory";
/// Whether the pool was found fit for images (data), and its configuration (omap); in the default namespace.
pub const INFO: &CStr = c"rbd_info";
/// The namespaces of the pool; in the default namespace.
pub const NAMESPACES: &CStr = c"rbd_namespace";
/// The lock that makes a client the only writer; on the header, and on the object map.
pub const LOCK: &str = "rbd_lock";
/// What `rbd_info` holds when the pool was found fit.
pub const VALIDATED: &[u8] = b"overwrite validated";

/// The most characters of an id that we make.
pub const MAX_NEW_ID: usize = 14;
/// The most bytes of an id that we read; older clients made longer ones.
pub const MAX_ID: usize = 64;
/// The most bytes of a data object's prefix that is read: the name with its number and NUL fits in [`ObjectName`].
pub const MAX_PREFIX: usize = 200;
/// The most bytes of a format 1 prefix: its field in the header, with a NUL.
pub const MAX_BLOCK_NAME: usize = 23;

/// What is wrong with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// A character that is not allowed.
    #[error("the {0} contains a character that is not allowed")]
    Character(&'static str),
    /// Too many bytes.
    #[error("the {what} has {length} bytes, more than {most}")]
    TooLong {
        /// Which name.
        what: &'static str,
        /// How many bytes it has.
        length: usize,
        /// How many it may have.
        most: usize,
    },
}

impl ToErrno for NameError {
    fn errno(&self) -> Errno {
        match self {
            Self::Empty(_) | Self::Character(_) | Self::TooLong { .. } => Errno::EINVAL,
        }
    }
}

/// The id of an image: what its objects are named after.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageId(String);

impl ImageId {
    /// The id of a new image, from the number of this client's connection and a random number.
    #[must_use]
    pub fn generate(instance_id: u64, random: u32) -> Self {
        let id = format!("{instance_id:x}{random:x}");
        let start = id.len().saturating_sub(MAX_NEW_ID);
        Self(id.get(start..).unwrap_or(&id).to_owned())
    }

    /// An id that the cluster knows.
    ///
    /// # Errors
    /// If no image can have it: not letters and digits only, or longer than [`MAX_ID`].
    pub fn parse(id: &[u8]) -> Result<Self, NameError> {
        let what = "image id";
        check_length(what, id, MAX_ID)?;
        match std::str::from_utf8(id) {
            Ok(text) if id.iter().all(u8::is_ascii_alphanumeric) => Ok(Self(text.to_owned())),
            _ => Err(NameError::Character(what)),
        }
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The object with everything about the image.
    #[must_use]
    pub fn header(&self) -> CString {
        known_good(format!("rbd_header.{}", self.0))
    }

    /// The object map of the image, or of the snapshot with that id.
    #[must_use]
    pub fn object_map(&self, snapshot: Option<u64>) -> CString {
        match snapshot {
            None => known_good(format!("rbd_object_map.{}", self.0)),
            Some(snapshot) => known_good(format!("rbd_object_map.{}.{snapshot:016x}", self.0)),
        }
    }

    /// The prefix of the data objects of a new image; `pool` is the number of the pool that has the header, if the data is in
    /// another one. Of an image that exists it stands in the header.
    #[must_use]
    pub fn new_prefix(&self, pool: Option<i64>) -> String {
        match pool {
            None => format!("rbd_data.{}", self.0),
            Some(pool) => format!("rbd_data.{pool}.{}", self.0),
        }
    }
}

/// The prefix of the data objects of a new format 1 image.
#[must_use]
pub fn new_block_name(instance_id: u64, random: u32) -> String {
    let (high, low) = (instance_id >> 32, instance_id & 0xffff_ffff);
    format!("rb.{high:x}.{low:x}.{random:x}")
}

/// The object with the id of a format 2 image of that name.
///
/// # Errors
/// If no image can have the name.
pub fn id_object(image: &[u8]) -> Result<CString, NameError> {
    image_object(b"rbd_id.", image, b"")
}

/// The header of a format 1 image of that name.
///
/// # Errors
/// If no image can have the name.
pub fn header1(image: &[u8]) -> Result<CString, NameError> {
    image_object(b"", image, b".rbd")
}

/// An object that is named after an image.
fn image_object(before: &[u8], image: &[u8], after: &[u8]) -> Result<CString, NameError> {
    check_image(image)?;
    CString::new([before, image, after].concat()).map_err(|_| NameError::Character("image name"))
}

/// Whether an image can have that name. How long it may be is for the cluster to say.
///
/// # Errors
/// If it is empty or contains a NUL.
pub fn check_image(name: &[u8]) -> Result<(), NameError> {
    check_length("image name", name, usize::MAX)?;
    if name.contains(&0) {
        return Err(NameError::Character("image name"));
    }
    Ok(())
}

/// Whether there is something, and not too much of it.
fn check_length(what: &'static str, name: &[u8], most: usize) -> Result<(), NameError> {
    match name.len() {
        0 => Err(NameError::Empty(what)),
        length if length > most => Err(NameError::TooLong { what, length, most }),
        _ => Ok(()),
    }
}

/// A name made of letters, digits, dots and underscores, none of which is a NUL.
fn known_good(name: String) -> CString {
    CString::new(name).unwrap_or_default()
}

/// The name of a data object, without memory of its own to allocate.
///
/// # Invariants
/// The last byte is a NUL.
#[derive(Clone)]
pub struct ObjectName([u8; ObjectName::SIZE]);

impl ObjectName {
    /// Room for the longest prefix, a dot, the longest number and a NUL.
    const SIZE: usize = MAX_PREFIX + 24;

    /// As C takes it.
    #[must_use]
    pub fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

impl std::fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.as_c_str().fmt(f)
    }
}

/// Names the data objects of one image.
///
/// # Invariants
/// The prefix has 1 to [`MAX_PREFIX`] bytes and no NUL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataNames {
    prefix: Vec<u8>,
    /// The least number of hexadecimal digits behind the prefix.
    digits: u32,
}

impl DataNames {
    /// For the prefix in a format 2 header.
    ///
    /// # Errors
    /// If it is empty, too long, or contains a NUL.
    pub fn format2(prefix: &[u8]) -> Result<Self, NameError> {
        Self::new(prefix, 16)
    }

    /// For the prefix in a format 1 header.
    ///
    /// # Errors
    /// If it is empty, too long, or contains a NUL.
    pub fn format1(prefix: &[u8]) -> Result<Self, NameError> {
        Self::new(prefix, 12)
    }

    /// Checks the prefix.
    fn new(prefix: &[u8], digits: u32) -> Result<Self, NameError> {
        let what = "prefix of the data objects";
        check_length(what, prefix, MAX_PREFIX)?;
        if prefix.contains(&0) {
            return Err(NameError::Character(what));
        }
        // INVARIANT: both were just checked.
        Ok(Self { prefix: prefix.to_vec(), digits })
    }

    /// The name of the object with that number. Allocates nothing.
    #[must_use]
    pub fn name(&self, object_no: u64) -> ObjectName {
        // INVARIANT: all bytes are NULs; prefix, dot and at most 16 digits stop before the last one.
        let mut name = [0; ObjectName::SIZE];
        let used = object_no.checked_ilog2().map_or(1, |top| (top >> 2).saturating_add(1));
        let digits = self.digits.max(used);
        if let Some((prefix, rest)) = name.split_at_mut_checked(self.prefix.len()) {
            prefix.copy_from_slice(&self.prefix);
            if let Some((dot, rest)) = rest.split_first_mut() {
                *dot = b'.';
                for (to, digit) in rest.iter_mut().zip((0..digits).rev()) {
                    *to = hex_digit(object_no.checked_shr(digit.saturating_mul(4)).unwrap_or(0));
                }
            }
        }
        ObjectName(name)
    }
}

/// The lowest hexadecimal digit of a number.
fn hex_digit(number: u64) -> u8 {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let index = usize::try_from(number & 0xf).unwrap_or_default();
    DIGITS.get(index).copied().unwrap_or(b'0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn id_object_and_headers_have_the_names_of_the_format() {
        assert_eq!(id_object(b"vm 1%").unwrap().as_c_str(), c"rbd_id.vm 1%");
        assert_eq!(header1(b"v1img").unwrap().as_c_str(), c"v1img.rbd");
        let id = ImageId::parse(b"104d165a3b65").unwrap();
        assert_eq!(id.header().as_c_str(), c"rbd_header.104d165a3b65");
        assert_eq!(id.object_map(None).as_c_str(), c"rbd_object_map.104d165a3b65");
        assert_eq!(id.object_map(Some(0x2a)).as_c_str(), c"rbd_object_map.104d165a3b65.000000000000002a");
    }

    #[test]
    fn image_names_may_be_long_and_strange_but_not_empty() {
        assert!(id_object(&[b'x'; 300]).is_ok());
        assert!(id_object(b"a/b@c\xff").is_ok());
        assert_eq!(id_object(b""), Err(NameError::Empty("image name")));
        assert_eq!(header1(b"a\0b"), Err(NameError::Character("image name")));
    }

    #[test]
    fn generate_keeps_the_last_fourteen_characters() {
        assert_eq!(ImageId::generate(0x104d, 0x165a_3b65).as_str(), "104d165a3b65");
        assert_eq!(
            ImageId::generate(0x1234_5678_9abc, 0xdef0_1234).as_str(),
            "56789abcdef01234"[2..].to_owned()
        );
        assert_eq!(ImageId::generate(0, 0).as_str(), "00");
    }

    #[test]
    fn parse_of_an_id_takes_what_older_clients_made() {
        assert!(ImageId::parse(&[b'a'; 64]).is_ok());
        let error = ImageId::parse(&[b'a'; 65]).unwrap_err();
        assert_eq!(error, NameError::TooLong { what: "image id", length: 65, most: 64 });
        assert_eq!(error.errno(), Errno::EINVAL);
    }

    #[test]
    fn parse_of_an_id_refuses_what_set_id_refuses() {
        for id in [b"a.b".as_slice(), b"a b", b"a\0", b"\xc3\xa4", b"a/b"] {
            assert_eq!(ImageId::parse(id), Err(NameError::Character("image id")));
        }
        assert_eq!(ImageId::parse(b""), Err(NameError::Empty("image id")));
    }

    #[test]
    fn new_prefixes_follow_the_pool() {
        let id = ImageId::parse(b"112cf9fd0476").unwrap();
        assert_eq!(id.new_prefix(None), "rbd_data.112cf9fd0476");
        assert_eq!(id.new_prefix(Some(2)), "rbd_data.2.112cf9fd0476");
        assert_eq!(new_block_name(0x105f, 0x6b8b_4567), "rb.0.105f.6b8b4567");
        assert_eq!(new_block_name(0x1_0000_00ff, 1), "rb.1.ff.1");
    }

    #[test]
    fn data_objects_have_sixteen_digits_in_format_2_and_twelve_in_format_1() {
        let names = DataNames::format2(b"rbd_data.2.112cf9fd0476").unwrap();
        assert_eq!(names.name(0x1f).as_c_str(), c"rbd_data.2.112cf9fd0476.000000000000001f");
        let names = DataNames::format1(b"rb.0.105f.6b8b4567").unwrap();
        assert_eq!(names.name(0).as_c_str(), c"rb.0.105f.6b8b4567.000000000000");
        assert_eq!(names.name(u64::MAX).as_c_str(), c"rb.0.105f.6b8b4567.ffffffffffffffff");
    }

    #[test]
    fn data_object_of_the_longest_prefix_is_complete() {
        let names = DataNames::format2(&[b'p'; MAX_PREFIX]).unwrap();
        let name = names.name(u64::MAX);
        assert_eq!(name.as_c_str().count_bytes(), MAX_PREFIX + 17);
        assert!(name.as_c_str().to_bytes().ends_with(b".ffffffffffffffff"));
        assert!(DataNames::format2(&[b'p'; MAX_PREFIX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn names_are_those_of_printf(number: u64, prefix in "[a-z_.0-9]{1,60}") {
            for (names, expected) in [
                (DataNames::format2(prefix.as_bytes()).unwrap(), format!("{prefix}.{number:016x}")),
                (DataNames::format1(prefix.as_bytes()).unwrap(), format!("{prefix}.{number:012x}")),
            ] {
                let name = names.name(number);
                prop_assert_eq!(name.as_c_str().to_bytes(), expected.as_bytes());
            }
        }

        #[test]
        fn generated_ids_are_accepted_and_short(instance: u64, random: u32) {
            let id = ImageId::generate(instance, random);
            prop_assert_eq!(ImageId::parse(id.as_str().as_bytes()), Ok(id.clone()));
            prop_assert!(id.as_str().len() <= MAX_NEW_ID);
            // librbd's own limit.
            prop_assert!(id.new_prefix(Some(i64::MAX)).len() <= 43);
        }
    }
}
