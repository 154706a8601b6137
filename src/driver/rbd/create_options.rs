// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What a new image is to be: the options of `qemu-img create` and of `blockdev-create`. Source: `block/rbd.c`, its `create_opts`,
//! and `BlockdevCreateOptionsRbd`.

use std::ffi::CString;

use super::filename::FileName;
use super::format::striping::{check_size, MAX_ORDER, MIN_NEW_ORDER};
use super::options::{lossy, mandatory, parse_format, refuse_rest, Format, Options, OptionsError};
use crate::options::OptionMap;

/// The size of an image made by `qemu-img create` is a multiple of this, in bytes.
const SECTOR: u64 = 512;

/// What is to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateOptions {
    /// Where.
    pub location: Options,
    /// The size in bytes; it fits in an `i64`.
    pub size: u64,
    /// The size of the objects as a power of two; `None` for what Ceph is configured to make.
    pub order: Option<u8>,
    /// How it is to be encrypted.
    pub encryption: Option<CreateEncryption>,
}

/// How a new image is to be encrypted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateEncryption {
    /// The format; a particular one.
    pub format: Format,
    /// Bits of the AES key: 128 or 256.
    pub key_bits: u16,
    /// The id of the secret object with the passphrase.
    pub key_secret: CString,
}

impl CreateOptions {
    /// Reads the options of `blockdev-create`, flattened.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_blockdev(source: &mut OptionMap) -> Result<Self, OptionsError> {
        let size = number(source, "size")?.ok_or_else(|| OptionsError::Missing("size".into()))?;
        let order = number(source, "cluster-size")?.map(|size| order("cluster-size", size)).transpose()?;
        let location = Options::from_members(source, "location.")?;
        refuse_rest(source, "location.")?;
        if location.snapshot.is_some() {
            return Err(OptionsError::Snapshot("location.snapshot".into()));
        }
        Self::new(location, size, order, source)
    }

    /// Reads the options of `qemu-img create`: the file name, `size` and `cluster_size` in bytes (0 for what Ceph is configured to
    /// make), the id of the secret with the connection's key, and `encrypt.*` in `source`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_create_opts(
        filename: &[u8],
        size: u64,
        cluster_size: u64,
        password_secret: Option<Vec<u8>>,
        source: &mut OptionMap,
    ) -> Result<Self, OptionsError> {
        let name = FileName::parse(filename).map_err(|source| OptionsError::file_name(filename, source))?;
        // DIVERGES: a snapshot in the file name is refused; the C driver creates the image and forgets the snapshot.
        if name.snapshot.is_some() {
            return Err(OptionsError::Snapshot("snapshot".into()));
        }
        let order = if cluster_size == 0 { None } else { Some(order("cluster_size", cluster_size)?) };
        let mut location = name.into_options();
        if let Some(secret) = password_secret {
            location.insert("password-secret".into(), secret);
        }
        let location = Options::from_members(&mut location, "")?;
        let size = size.checked_next_multiple_of(SECTOR).ok_or(OptionsError::Size(size))?;
        Self::new(location, size, order, source)
    }

    /// What both have in common.
    fn new(
        location: Options,
        size: u64,
        order: Option<u8>,
        source: &mut OptionMap,
    ) -> Result<Self, OptionsError> {
        check_size(size).map_err(|_| OptionsError::Size(size))?;
        Ok(Self { location, size, order, encryption: parse_encryption(source)? })
    }
}

/// The size of the objects as a power of two.
fn order(key: &str, size: u64) -> Result<u8, OptionsError> {
    let order = u8::try_from(size.trailing_zeros()).unwrap_or(u8::MAX);
    if size.is_power_of_two() && (MIN_NEW_ORDER..=MAX_ORDER).contains(&order) {
        return Ok(order);
    }
    Err(OptionsError::Value {
        key: key.to_owned(),
        expected: "a power of two from 4096 to 33554432",
        value: size.to_string(),
    })
}

/// A number as the flattened options of `blockdev-create` have it.
fn number(source: &mut OptionMap, key: &str) -> Result<Option<u64>, OptionsError> {
    let Some(value) = source.take(key) else { return Ok(None) };
    let text = lossy(&value);
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => Err(OptionsError::Value { key: key.to_owned(), expected: "a number", value: text }),
    }
}

/// How the image is to be encrypted, if at all.
fn parse_encryption(source: &mut OptionMap) -> Result<Option<CreateEncryption>, OptionsError> {
    if !source.has_prefix("encrypt.") {
        return Ok(None);
    }
    let unsupported =
        |key: &str, value: &[u8]| OptionsError::Unsupported { key: key.to_owned(), value: lossy(value) };
    let format = parse_format(source, "encrypt.format".into())?;
    if format == Format::LuksAny {
        return Err(unsupported("encrypt.format", b"luks-any"));
    }
    let cipher = source.take("encrypt.cipher-alg");
    let key_bits = match cipher.as_deref() {
        None | Some(b"aes-256") => 256,
        Some(b"aes-128") => 128,
        Some(other) => return Err(unsupported("encrypt.cipher-alg", other)),
    };
    let key_secret = mandatory(source, "encrypt.key-secret".into())?;
    refuse_rest(source, "encrypt.")?;
    Ok(Some(CreateEncryption { format, key_bits, key_secret }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errno::{Errno, ToErrno};
    use proptest::prelude::*;

    fn map(text: &str) -> OptionMap {
        text.split(',').filter_map(|pair| pair.split_once('=')).collect()
    }

    fn blockdev(text: &str) -> Result<CreateOptions, OptionsError> {
        CreateOptions::from_blockdev(&mut map(text))
    }

    fn img(filename: &str, size: u64, cluster_size: u64, more: &str) -> Result<CreateOptions, OptionsError> {
        CreateOptions::from_create_opts(filename.as_bytes(), size, cluster_size, None, &mut map(more))
    }

    const LOCATION: &str = "location.pool=p,location.image=i,size=1000";

    #[test]
    fn blockdev_create_takes_the_size_as_it_is() {
        let create = blockdev(&format!(
            "{LOCATION},location.namespace=n,location.server.0.host=h,location.server.0.port=1"
        ));
        let create = create.unwrap();
        assert_eq!((create.size, create.order, &create.encryption), (1000, None, &None));
        assert_eq!(create.location.namespace.as_c_str(), c"n");
        assert_eq!(create.location.mon_host.as_deref(), Some(c"h:1"));
    }

    #[test]
    fn blockdev_create_names_what_is_missing_or_wrong() {
        assert_eq!(blockdev("location.pool=p,location.image=i"), Err(OptionsError::Missing("size".into())));
        assert_eq!(blockdev("location.pool=p,size=1"), Err(OptionsError::Missing("location.image".into())));
        let unknown = blockdev(&format!("{LOCATION},location.x=y"));
        assert_eq!(unknown, Err(OptionsError::Unexpected("location.x".into())));
        assert!(
            matches!(blockdev("location.pool=p,size=1k"), Err(OptionsError::Value { key, .. }) if key == "size")
        );
    }

    #[test]
    fn create_with_a_snapshot_is_refused() {
        let error = blockdev(&format!("{LOCATION},location.snapshot=s")).unwrap_err();
        assert_eq!(error, OptionsError::Snapshot("location.snapshot".into()));
        let error = img("rbd:p/i@s", 1, 0, "").unwrap_err();
        assert_eq!((error.errno(), &error), (Errno::EINVAL, &OptionsError::Snapshot("snapshot".into())));
    }

    #[test]
    fn img_create_rounds_the_size_up() {
        assert_eq!(img("rbd:p/i", 1000, 0, "").unwrap().size, 1024);
        assert_eq!(img("rbd:p/i", 0, 0, "").unwrap().size, 0);
    }

    #[test]
    fn create_of_a_size_without_an_offset_is_refused() {
        for size in [u64::MAX, 1 << 63] {
            let error = img("rbd:p/i", size, 0, "").unwrap_err();
            assert_eq!((error.errno(), &error), (Errno::EFBIG, &OptionsError::Size(size)));
        }
        assert!(blockdev("location.pool=p,location.image=i,size=9223372036854775808").is_err());
    }

    #[test]
    fn img_create_takes_settings_and_the_secret_of_the_connection() {
        let secret = Some(b"s".to_vec());
        let create =
            CreateOptions::from_create_opts(b"rbd:p/i:conf=/x:a=b", 512, 0, secret, &mut map("")).unwrap();
        assert_eq!(create.location.key_secret.as_deref(), Some(c"s"));
        assert_eq!((create.location.conf.as_deref(), create.location.pairs.len()), (Some(c"/x"), 1));
    }

    #[test]
    fn create_refuses_cluster_sizes_that_no_object_has() {
        assert_eq!(img("rbd:p/i", 1, 4096, "").unwrap().order, Some(12));
        assert_eq!(img("rbd:p/i", 1, 32 << 20, "").unwrap().order, Some(25));
        for size in [1, 2048, 4097, 64 << 20, u64::MAX] {
            let error = img("rbd:p/i", 1, size, "").unwrap_err();
            assert!(matches!(error, OptionsError::Value { ref key, .. } if key == "cluster_size"), "{size}");
        }
        assert!(blockdev(&format!("{LOCATION},cluster-size=0")).is_err());
        assert_eq!(blockdev(&format!("{LOCATION},cluster-size=65536")).unwrap().order, Some(16));
    }

    #[test]
    fn create_of_an_encrypted_image() {
        let more = "encrypt.format=luks2,encrypt.key-secret=k,encrypt.cipher-alg=aes-128";
        let encryption = img("rbd:p/i", 1, 0, more).unwrap().encryption.unwrap();
        assert_eq!((encryption.format, encryption.key_bits), (Format::Luks2, 128));
        assert_eq!(encryption.key_secret.as_c_str(), c"k");
        let more = "encrypt.format=luks,encrypt.key-secret=k";
        assert_eq!(img("rbd:p/i", 1, 0, more).unwrap().encryption.unwrap().key_bits, 256);
    }

    #[test]
    fn create_refuses_encryption_that_nobody_can_make() {
        for more in [
            "encrypt.format=luks-any,encrypt.key-secret=k",
            "encrypt.format=luks,encrypt.key-secret=k,encrypt.cipher-alg=twofish-256",
        ] {
            let error = img("rbd:p/i", 1, 0, more).unwrap_err();
            assert_eq!(error.errno(), Errno::ENOTSUP, "{more}");
        }
        let more = "encrypt.format=luks,encrypt.key-secret=k,encrypt.parent.format=luks";
        assert_eq!(img("rbd:p/i", 1, 0, more), Err(OptionsError::Unexpected("encrypt.parent.format".into())));
    }

    #[test]
    fn create_with_a_file_name_that_is_none_names_it() {
        let error = img("rbd:p", 1, 0, "").unwrap_err();
        assert!(error.to_string().starts_with("invalid file name rbd:p: "));
    }

    proptest! {
        #[test]
        fn sizes_that_are_accepted_fit(size: u64, cluster_size: u64) {
            if let Ok(create) = img("rbd:p/i", size, cluster_size, "") {
                prop_assert!(create.size >= size && i64::try_from(create.size).is_ok() && create.size % 512 == 0);
                prop_assert_eq!(create.order.map_or(0, |order| 1 << order), cluster_size);
            }
        }
    }
}
