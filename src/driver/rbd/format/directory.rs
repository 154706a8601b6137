// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Which images a pool or namespace has: the objects `rbd_directory` and `rbd_id.NAME`, and `rbd_namespace`.
//!
//! Source: RBD format document, sections 1.3, 3.4 and 5.3.

use std::collections::BTreeMap;

use super::calls::Call;
use super::encoding::{DecodeError, Decoder, Encoder};

/// Adds an image: `EEXIST` if the name is taken, `EBADF` if the id is.
#[must_use]
pub fn dir_add_image(name: &[u8], id: &[u8]) -> Call {
    Call::rbd(c"dir_add_image", Encoder::new().bytes(name).bytes(id))
}

/// Removes an image: `ENOENT` if it isn't there, `ESTALE` if name and id are of different images.
#[must_use]
pub fn dir_remove_image(name: &[u8], id: &[u8]) -> Call {
    Call::rbd(c"dir_remove_image", Encoder::new().bytes(name).bytes(id))
}

/// Fails with `ENOENT` if images can't be added to the namespace.
#[must_use]
pub fn dir_assert_ready() -> Call {
    Call::rbd(c"dir_state_assert", Encoder::new().u8(0))
}

/// Sets the id of a new image, in an object that exists and is empty: `EEXIST` if it isn't.
#[must_use]
pub fn set_id(id: &[u8]) -> Call {
    Call::rbd(c"set_id", Encoder::new().bytes(id))
}

/// The id of an image, from its own object; `ENOENT` if there is none.
#[must_use]
pub fn get_id() -> Call {
    Call::rbd(c"get_id", Encoder::new())
}

/// At most `most` namespaces behind the name `after`.
#[must_use]
pub fn namespace_list(after: &[u8], most: u64) -> Call {
    Call::rbd(c"namespace_list", Encoder::new().bytes(after).u64(most))
}

/// The reply to `get_id`, which is also what is in an `rbd_id` object.
///
/// # Errors
/// If it is damaged.
pub fn id_reply(reply: &[u8]) -> Result<&[u8], DecodeError> {
    Decoder::new("get_id", reply).text("id")
}

/// The reply to `namespace_list`.
///
/// # Errors
/// If it is damaged.
pub fn namespaces_reply(reply: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    Decoder::new("namespace_list", reply).list("namespaces", 4, |d| d.text("name"))
}

/// The format 1 images of a pool, as the data of `rbd_directory` has them. To change it, read, write the whole object under the
/// condition that its version is the same, and begin again if it isn't.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory1 {
    header: Vec<u8>,
    images: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Directory1 {
    /// Reads the data of the object; no data is an empty directory.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut decoder = Decoder::new("rbd_directory", bytes);
        let header = decoder.bytes("header")?.to_vec();
        let images =
            decoder.list("images", 8, |d| Ok((d.bytes("name")?.to_vec(), d.bytes("value")?.to_vec())))?;
        Ok(Self { header, images: images.into_iter().collect() })
    }

    /// Writes the data of the object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new().bytes(&self.header).count(self.images.len());
        for (name, value) in &self.images {
            encoder = encoder.bytes(name).bytes(value);
        }
        encoder.finish()
    }

    /// Whether there is an image of that name.
    #[must_use]
    pub fn contains(&self, name: &[u8]) -> bool {
        self.images.contains_key(name)
    }

    /// Adds an image; says whether it is a new one.
    pub fn insert(&mut self, name: &[u8]) -> bool {
        let is_new = !self.contains(name);
        if is_new {
            self.images.insert(name.to_vec(), Vec::new());
        }
        is_new
    }

    /// Removes an image; says whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        self.images.remove(name).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::super::hex::hex;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn calls_take_what_a_real_cluster_accepted() {
        assert_eq!(dir_add_image(b"vm1", b"gold01").input(), hex("03000000766d3106000000676f6c643031"));
        assert_eq!(dir_remove_image(b"vm2", b"gold01").input(), hex("03000000766d3206000000676f6c643031"));
        assert_eq!(dir_assert_ready().input(), [0]);
        assert_eq!((set_id(b"a").input(), get_id().input()), (hex("0100000061").as_slice(), b"".as_slice()));
    }

    #[test]
    fn replies_of_a_real_cluster() {
        assert_eq!(id_reply(&hex("06000000676f6c643031")), Ok(b"gold01".as_slice()));
        assert_eq!(id_reply(&hex("0c000000 313034643136356133623635")), Ok(b"104d165a3b65".as_slice()));
        assert_eq!(namespaces_reply(&hex("01000000 03000000 6e7331")), Ok(vec![b"ns1".as_slice()]));
    }

    #[test]
    fn directory_of_a_real_pool() {
        let bytes = hex("00000000 01000000 05000000 7631696d67 00000000");
        let mut directory = Directory1::decode(&bytes).unwrap();
        assert!(directory.contains(b"v1img"));
        assert_eq!(directory.encode(), bytes);
        assert!(directory.remove(b"v1img") && !directory.remove(b"v1img"));
        assert_eq!(directory, Directory1::default());
    }

    #[test]
    fn directory_without_data_is_empty() {
        assert_eq!(Directory1::decode(b""), Ok(Directory1::default()));
        assert!(Directory1::decode(&[0]).is_err());
    }

    #[test]
    fn directory_keeps_its_names_in_order() {
        let mut directory = Directory1::default();
        assert!(directory.insert(b"b") && directory.insert(b"a") && !directory.insert(b"b"));
        assert_eq!(directory.encode(), hex("00000000 02000000 0100000061 00000000 0100000062 00000000"));
    }

    proptest! {
        #[test]
        fn directory_is_read_as_it_was_written(names in proptest::collection::btree_set("[a-z]{0,9}", 0..9)) {
            let mut directory = Directory1::default();
            for name in &names {
                prop_assert!(directory.insert(name.as_bytes()));
            }
            prop_assert_eq!(Directory1::decode(&directory.encode()), Ok(directory));
        }
    }
}
