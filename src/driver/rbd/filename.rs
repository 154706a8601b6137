// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! File names: `rbd:pool/[namespace/]image[@snapshot][:key=value[:key=value...]]`, where a backslash takes away the meaning of the
//! character behind it.
//!
//! Pure text work. Parts are found from left to right, as in the C driver: the pool ends at the first `/`, the image at the first
//! `@` if there is one anywhere, else at the first `:`.

use super::options::lossy;
use crate::errno::{Errno, ToErrno};

/// What every file name begins with.
const PREFIX: &[u8] = b"rbd:";

/// A file name, taken apart. No part contains a NUL.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileName {
    /// Name of the pool.
    pub pool: Vec<u8>,
    /// Namespace within the pool, empty for the default one.
    pub namespace: Vec<u8>,
    /// Name of the image.
    pub image: Vec<u8>,
    /// Name of the snapshot.
    pub snapshot: Option<Vec<u8>>,
    /// The user as whom to connect (`id=`).
    pub user: Option<Vec<u8>>,
    /// Ceph's configuration file (`conf=`).
    pub conf: Option<Vec<u8>>,
    /// All other keys and values, in their order: settings for Ceph.
    pub pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why a text is not a file name of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileNameError {
    /// It begins with something else.
    #[error("the file name must begin with 'rbd:'")]
    Prefix,
    /// No slash that would end the pool.
    #[error("the pool is missing: rbd:POOL/IMAGE is the least that is needed")]
    NoPool,
    /// A setting without a value.
    #[error("the setting '{0}' has no value")]
    NoValue(String),
    /// A character that C can't take.
    #[error("there is a NUL in the file name")]
    Nul,
}

impl ToErrno for FileNameError {
    fn errno(&self) -> Errno {
        match self {
            Self::Prefix | Self::NoPool | Self::NoValue(_) | Self::Nul => Errno::EINVAL,
        }
    }
}

impl FileName {
    /// Takes a file name apart.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, FileNameError> {
        if text.contains(&0) {
            return Err(FileNameError::Nul);
        }
        let rest = text.strip_prefix(PREFIX).ok_or(FileNameError::Prefix)?;
        let (pool, rest) = split(rest, b'/').ok_or(FileNameError::NoPool)?;
        let (image, snapshot, rest) = match split(rest, b'@') {
            Some((image, rest)) => {
                let (snapshot, rest) = split_or_all(rest, b':');
                (image, Some(unescape(snapshot)), rest)
            }
            None => {
                let (image, rest) = split_or_all(rest, b':');
                (image, None, rest)
            }
        };
        let (namespace, image) = split(image, b'/').unwrap_or((b"", image));
        let mut name = Self {
            pool: unescape(pool),
            namespace: unescape(namespace),
            image: unescape(image),
            snapshot,
            ..Self::default()
        };
        let mut rest = rest;
        while let Some(text) = rest {
            let (key, value) =
                split(text, b'=').ok_or_else(|| FileNameError::NoValue(lossy(&unescape(text))))?;
            let (value, next) = split_or_all(value, b':');
            name.set(unescape(key), unescape(value));
            rest = next;
        }
        Ok(name)
    }

    /// Adds a setting. Of a user or configuration file that is given twice the last one counts.
    fn set(&mut self, key: Vec<u8>, value: Vec<u8>) {
        match key.as_slice() {
            b"id" => self.user = Some(value),
            b"conf" => self.conf = Some(value),
            _ => self.pairs.push((key, value)),
        }
    }

    /// The file name that stands for this.
    #[must_use]
    pub fn to_text(&self) -> Vec<u8> {
        let mut text = PREFIX.to_vec();
        escape(&mut text, &self.pool);
        text.push(b'/');
        if !self.namespace.is_empty() {
            escape(&mut text, &self.namespace);
            text.push(b'/');
        }
        escape(&mut text, &self.image);
        if let Some(snapshot) = &self.snapshot {
            text.push(b'@');
            escape(&mut text, snapshot);
        }
        let own = [(b"id".as_slice(), &self.user), (b"conf", &self.conf)];
        let own = own.into_iter().filter_map(|(key, value)| Some((key, value.as_ref()?.as_slice())));
        let pairs = self.pairs.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        for (key, value) in own.chain(pairs) {
            text.push(b':');
            escape(&mut text, key);
            text.push(b'=');
            escape(&mut text, value);
        }
        text
    }
}

/// A file name as messages show it: without its settings, one of which may be a key.
pub(super) fn shown(text: &[u8]) -> String {
    let prefix = if text.starts_with(PREFIX) { PREFIX.len() } else { 0 };
    let (_, settings) = split_or_all(text.get(prefix..).unwrap_or_default(), b':');
    match settings.and_then(|settings| text.strip_suffix(settings)) {
        Some(name) => format!("{}...", lossy(name)),
        None => lossy(text),
    }
}

/// Splits at the first `end` that has no backslash in front of it; `end` belongs to neither half.
fn split(text: &[u8], end: u8) -> Option<(&[u8], &[u8])> {
    let mut is_escaped = false;
    let at = text.iter().position(|&byte| {
        let is_end = byte == end && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })?;
    let (before, rest) = text.split_at(at);
    Some((before, rest.get(1..).unwrap_or_default()))
}

/// The same, where everything is the first half if there is no `end`.
fn split_or_all(text: &[u8], end: u8) -> (&[u8], Option<&[u8]>) {
    split(text, end).map_or((text, None), |(before, rest)| (before, Some(rest)))
}

/// Takes the backslashes away; one at the very end stays.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        let meant = if byte == b'\\' { bytes.next().copied() } else { None };
        plain.push(meant.unwrap_or(byte));
    }
    plain
}

/// Adds text with a backslash in front of everything that has a meaning somewhere.
fn escape(text: &mut Vec<u8>, plain: &[u8]) {
    for &byte in plain {
        if b"\\/@:=".contains(&byte) {
            text.push(b'\\');
        }
        text.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<FileName, FileNameError> {
        FileName::parse(text.as_bytes())
    }

    fn name(pool: &str, namespace: &str, image: &str) -> FileName {
        FileName {
            pool: pool.into(),
            namespace: namespace.into(),
            image: image.into(),
            ..FileName::default()
        }
    }

    fn pairs(list: &[(&str, &str)]) -> Vec<(Vec<u8>, Vec<u8>)> {
        list.iter().map(|(key, value)| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
    }

    #[test]
    fn parse_of_pool_and_image() {
        assert_eq!(parse("rbd:pool/img"), Ok(name("pool", "", "img")));
    }

    #[test]
    fn parse_of_everything() {
        let expected = FileName {
            snapshot: Some(b"snap".to_vec()),
            user: Some(b"u".to_vec()),
            conf: Some(b"/x".to_vec()),
            ..name("pool", "ns", "img")
        };
        assert_eq!(parse("rbd:pool/ns/img@snap:id=u:conf=/x"), Ok(expected));
    }

    #[test]
    fn parse_takes_the_meaning_from_escaped_characters() {
        assert_eq!(parse(r"rbd:po\/ol/i\@mg"), Ok(name("po/ol", "", "i@mg")));
        assert_eq!(parse(r"rbd:rbd/aa\/bb"), Ok(name("rbd", "", "aa/bb")));
        assert_eq!(parse(r"rbd:p/a\:b\\c\d"), Ok(name("p", "", r"a:b\cd")));
        assert_eq!(parse("rbd:p/i\\"), Ok(name("p", "", "i\\")));
    }

    #[test]
    fn parse_of_two_slashes_makes_the_first_part_the_namespace() {
        assert_eq!(parse("rbd:pool/a/b/c"), Ok(name("pool", "a", "b/c")));
        assert_eq!(parse("rbd:pool//b"), Ok(name("pool", "", "b")));
    }

    #[test]
    fn parse_leaves_empty_parts_for_others_to_refuse() {
        assert_eq!(parse("rbd:pool/"), Ok(name("pool", "", "")));
        assert_eq!(parse("rbd:/img"), Ok(name("", "", "img")));
        assert_eq!(parse("rbd:p/i@").unwrap().snapshot, Some(Vec::new()));
    }

    #[test]
    fn parse_without_pool_is_refused() {
        for text in ["rbd:", "rbd:pool", r"rbd:pool\/image"] {
            assert_eq!(parse(text), Err(FileNameError::NoPool), "{text}");
        }
        // The first slash wins, wherever it stands.
        let found = parse("rbd:img:conf=/x").unwrap();
        assert_eq!(
            (found.pool.as_slice(), found.image.as_slice()),
            (b"img:conf=".as_slice(), b"x".as_slice())
        );
    }

    #[test]
    fn parse_of_another_protocol_is_refused() {
        for text in ["", "rbd", "RBD:p/i", "nbd:p/i", " rbd:p/i"] {
            assert_eq!(parse(text), Err(FileNameError::Prefix), "{text}");
        }
    }

    #[test]
    fn parse_of_a_key_without_value_names_it() {
        for (text, key) in
            [("rbd:p/i:", ""), ("rbd:p/i:id", "id"), ("rbd:p/i:a=b:c", "c"), (r"rbd:p/i:c\=d", "c=d")]
        {
            assert_eq!(parse(text), Err(FileNameError::NoValue(key.into())), "{text}");
        }
        assert_eq!(FileNameError::NoValue("id".into()).to_string(), "the setting 'id' has no value");
    }

    #[test]
    fn parse_takes_empty_keys_and_values() {
        assert_eq!(parse("rbd:p/i:=:a=").unwrap().pairs, pairs(&[("", ""), ("a", "")]));
    }

    #[test]
    fn parse_with_a_nul_is_refused() {
        assert_eq!(FileName::parse(b"rbd:p/i\0"), Err(FileNameError::Nul));
    }

    #[test]
    fn parse_of_an_at_sign_in_a_setting_ends_the_image_there() {
        let found = parse("rbd:pool/img:keyring=/a@b:id=u").unwrap();
        assert_eq!(
            (found.namespace.as_slice(), found.image.as_slice()),
            (b"img:keyring=".as_slice(), b"a".as_slice())
        );
        assert_eq!(
            (found.snapshot.as_deref(), found.user.as_deref()),
            (Some(b"b".as_slice()), Some(b"u".as_slice()))
        );
    }

    #[test]
    fn parse_keeps_settings_in_order_and_takes_the_last_user() {
        let found = parse("rbd:p/i:b=1:a=2:id=x:b=3:id=y:conf=c").unwrap();
        assert_eq!(found.pairs, pairs(&[("b", "1"), ("a", "2"), ("b", "3")]));
        assert_eq!(
            (found.user.as_deref(), found.conf.as_deref()),
            (Some(b"y".as_slice()), Some(b"c".as_slice()))
        );
    }

    #[test]
    fn parse_of_what_old_libvirt_writes() {
        let text =
            r"rbd:volumes/vol-x:id=cinder:auth_supported=cephx\;none:mon_host=1.2.3.4\:6789\;1.2.3.5\:6789";
        let found = parse(text).unwrap();
        assert_eq!(
            (found.image.as_slice(), found.user.as_deref()),
            (b"vol-x".as_slice(), Some(b"cinder".as_slice()))
        );
        let expected = pairs(&[("auth_supported", "cephx;none"), ("mon_host", "1.2.3.4:6789;1.2.3.5:6789")]);
        assert_eq!(found.pairs, expected);
    }

    #[test]
    fn parse_of_what_proxmox_writes() {
        let text = r"rbd:pool/ns/vm-100-disk-0@snap:mon_host=1.1.1.1\:6789;2.2.2.2:auth_supported=cephx:id=admin:keyring=/etc/pve/priv/ceph/st.keyring:rbd_cache_policy=writeback";
        let found = parse(text).unwrap();
        assert_eq!(
            (found.namespace.as_slice(), found.image.as_slice()),
            (b"ns".as_slice(), b"vm-100-disk-0".as_slice())
        );
        assert_eq!(found.pairs.len(), 4);
        assert_eq!(found.pairs[0].1, b"1.1.1.1:6789;2.2.2.2");
        let text =
            "rbd:pool/vm-100-disk-0:conf=/etc/pve/ceph.conf:id=admin:keyring=/etc/pve/priv/ceph/st.keyring";
        assert_eq!(parse(text).unwrap().conf.as_deref(), Some(b"/etc/pve/ceph.conf".as_slice()));
    }

    #[test]
    fn parse_of_what_cloudstack_and_openstack_write() {
        let text = r"rbd:pool/img:mon_host=h1\:6789\;h2\:6789:auth_supported=cephx:id=U:key=SECRET==:rbd_default_format=2:client_mount_timeout=30";
        let found = parse(text).unwrap();
        assert_eq!(found.pairs[2], (b"key".to_vec(), b"SECRET==".to_vec()));
        assert_eq!(found.pairs.len(), 5);
        assert_eq!(parse("rbd:vms/uuid_disk:id=cinder:conf=/etc/ceph/ceph.conf").unwrap().pairs.len(), 0);
    }

    proptest! {
        #[test]
        fn parse_of_anything_gives_what_leads_to_the_same_parts(text: Vec<u8>) {
            let mut whole = b"rbd:".to_vec();
            whole.extend(text);
            if let Ok(found) = FileName::parse(&whole) {
                prop_assert!(found.namespace.is_empty() || !found.pool.contains(&0));
                let again = FileName::parse(&found.to_text());
                // An image whose name begins with a slash has its escape.
                prop_assert_eq!(again, Ok(found));
            }
        }

        #[test]
        fn parse_finds_what_was_written(
            parts in proptest::collection::vec("[a-z@:=/\\\\;. ]{0,8}", 3), snapshot in proptest::option::of("[a@:=/\\\\]{0,5}"),
            settings in proptest::collection::vec(("[a-z@:=/\\\\]{0,5}", "[a-z@:=/\\\\]{0,5}"), 0..5),
        ) {
            let parts: Vec<Vec<u8>> = parts.into_iter().map(String::into_bytes).collect();
            let mut wanted = FileName {
                pool: parts[0].clone(),
                namespace: parts[1].clone(),
                image: parts[2].clone(),
                snapshot: snapshot.map(String::into_bytes),
                ..FileName::default()
            };
            for (key, value) in settings {
                wanted.set(key.into_bytes(), value.into_bytes());
            }
            prop_assert_eq!(FileName::parse(&wanted.to_text()), Ok(wanted));
        }
    }
}
