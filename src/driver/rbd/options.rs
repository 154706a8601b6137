// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Runtime options: from the flat options of a node to the image it wants and the settings of its connection.
//!
//! Names, types and precedence are those of `BlockdevOptionsRbd` and `block/rbd.c`. What is left over is refused by the block
//! layer, except for members of lists and structures, which are refused here.

use std::ffi::CString;

use super::filename::{shown, FileName, FileNameError};
use crate::errno::{Errno, ToErrno};
use crate::options::OptionMap;

/// The warning that goes with [`Options::is_legacy`], in the words that QEMU's tests look for.
pub const LEGACY_WARNING: &str = "RBD options encoded in the filename as keyvalue pairs is deprecated";
/// The option in which the settings of a file name travel from the parser to the node: a JSON list of keys and values.
pub const PAIRS: &str = "=keyvalue-pairs";

/// The same for settings that are secrets: not part of the names that QEMU generates and prints.
pub const SECRET_PAIRS: &str = "=secret-keyvalue-pairs";
/// The setting that is one.
const SECRET: &[u8] = b"key";

/// What a node wants, as plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Name of the pool.
    pub pool: CString,
    /// Namespace within the pool, empty for the default one.
    pub namespace: CString,
    /// Name of the image.
    pub image: CString,
    /// Name of the snapshot, of which a node can be read-only only.
    pub snapshot: Option<CString>,
    /// Ceph's configuration file; without it the default ones are tried.
    pub conf: Option<CString>,
    /// The user as whom to connect, without "client.".
    pub user: Option<CString>,
    /// Settings from the file name, in their order.
    pub pairs: Vec<(CString, CString)>,
    /// The monitors, as Ceph's `mon_host` has them: `HOST:PORT` with semicolons between.
    pub mon_host: Option<CString>,
    /// Ways to authenticate, as Ceph's `auth_client_required` has them.
    pub auth: Option<CString>,
    /// The id of the secret object with the key.
    pub key_secret: Option<CString>,
    /// How the image is encrypted: its own layer first, then those of its parents. Empty if it isn't.
    pub encryption: Vec<Encryption>,
    /// The options came as a file name within structured options, which is deprecated: see [`LEGACY_WARNING`].
    pub is_legacy: bool,
}

/// A format of encrypted images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// LUKS, version 1.
    Luks,
    /// LUKS, version 2.
    Luks2,
    /// Either; which one is found out.
    LuksAny,
}

/// One layer of encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encryption {
    /// The format.
    pub format: Format,
    /// The id of the secret object with the passphrase.
    pub key_secret: CString,
}

/// What is wrong with the options.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Not a file name of ours.
    #[error("invalid file name {name}: {source}")]
    FileName {
        /// As given, without settings.
        name: String,
        /// What is wrong with it.
        source: FileNameError,
    },
    /// A mandatory option is not there.
    #[error("parameter '{0}' is missing")]
    Missing(String),
    /// A member of a list or structure that doesn't exist.
    #[error("parameter '{0}' is unexpected")]
    Unexpected(String),
    /// Two spellings of one option.
    #[error("parameters '{0}' and '{1}' can't be used at the same time")]
    Conflict(String, String),
    /// A value that is not allowed.
    #[error("parameter '{key}' expects {expected}, not '{value}'")]
    Value {
        /// The option.
        key: String,
        /// What would be allowed.
        expected: &'static str,
        /// What was given.
        value: String,
    },
    /// A value that exists but can't be had here.
    #[error("'{value}' of parameter '{key}' is not supported here")]
    Unsupported {
        /// The option.
        key: String,
        /// What was given.
        value: String,
    },
    /// A size that no image can have.
    #[error("the size {0} is too large")]
    Size(u64),
    /// A new image is not a snapshot.
    #[error("a snapshot can't be created this way: parameter '{0}' must not be given")]
    Snapshot(String),
}

impl OptionsError {
    /// About a file name.
    pub(super) fn file_name(name: &[u8], source: FileNameError) -> Self {
        Self::FileName { name: shown(name), source }
    }
}

impl ToErrno for OptionsError {
    fn errno(&self) -> Errno {
        match self {
            Self::FileName { .. }
            | Self::Missing(_)
            | Self::Unexpected(_)
            | Self::Conflict(..)
            | Self::Value { .. }
            | Self::Snapshot(_) => Errno::EINVAL,
            Self::Unsupported { .. } => Errno::ENOTSUP,
            Self::Size(_) => Errno::EFBIG,
        }
    }
}

impl Options {
    /// Parses a node's options.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(source: &mut OptionMap) -> Result<Self, OptionsError> {
        // Beside settings of a parsed file name, "filename" is a stray option: it stays, and the block layer refuses it.
        let legacy = if source.contains(PAIRS) || source.contains(SECRET_PAIRS) {
            None
        } else {
            source.take("filename")
        };
        if let Some(text) = &legacy {
            // DIVERGES: a file name that can't be parsed is an error; the C driver goes on without options and crashes.
            let found = FileName::parse(text).map_err(|source| OptionsError::file_name(text, source))?;
            // What the file name says wins.
            let found = found.into_options();
            for key in ["pool", "namespace", "image", "snapshot", "user", "conf"] {
                if found.contains(key) {
                    source.take(key);
                }
            }
            source.extend(found);
        }
        let options = Self::from_members(source, "")?;
        Ok(Self { is_legacy: legacy.is_some(), ..options })
    }

    /// Options that stand under separate keys, all of them beginning with `prefix`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_members(source: &mut OptionMap, prefix: &str) -> Result<Self, OptionsError> {
        let key = |name: &str| format!("{prefix}{name}");
        let pool = mandatory(source, key("pool"))?;
        let image = mandatory(source, key("image"))?;
        let namespace = optional(source, &key("namespace"))?.unwrap_or_default();
        let snapshot = match source.take(&key("snapshot")) {
            Some(value) => Some(not_empty(&key("snapshot"), value)?),
            None => None,
        };
        Ok(Self {
            pool,
            namespace,
            image,
            snapshot,
            conf: optional(source, &key("conf"))?,
            user: optional(source, &key("user"))?,
            pairs: [parse_pairs(source, &key(PAIRS))?, parse_pairs(source, &key(SECRET_PAIRS))?].concat(),
            mon_host: parse_servers(source, &key("server."))?,
            auth: parse_auth(source, &key("auth-client-required."))?,
            key_secret: parse_key_secret(source, prefix)?,
            encryption: parse_encryption(source, &key("encrypt."))?,
            is_legacy: false,
        })
    }

    /// The settings of the connection that come after the configuration file, in the order in which to make them: later ones win.
    /// `key` is the content of the secret object, in base64.
    pub fn settings<'a>(
        &'a self,
        key: Option<&'a CString>,
    ) -> impl Iterator<Item = (&'a std::ffi::CStr, &'a std::ffi::CStr)> {
        let own = [
            (c"mon_host", self.mon_host.as_ref()),
            (c"auth_client_required", self.auth.as_ref()),
            (c"key", key),
        ];
        let own = own.into_iter().filter_map(|(name, value)| Some((name, value?.as_c_str())));
        self.pairs.iter().map(|(name, value)| (name.as_c_str(), value.as_c_str())).chain(own)
    }
}

impl FileName {
    /// The options that stand for a file name; the settings in one of them, as a list.
    #[must_use]
    pub fn into_options(self) -> OptionMap {
        let mut map = OptionMap::default();
        let given = [("snapshot", self.snapshot), ("user", self.user), ("conf", self.conf)];
        let parts = [("pool", self.pool), ("namespace", self.namespace), ("image", self.image)];
        let given = given.into_iter().filter_map(|(key, value)| Some((key, value?)));
        for (key, value) in parts.into_iter().chain(given) {
            map.insert(key.to_owned(), value);
        }
        // DIVERGES: settings stay in generated names, but for a secret one; the C driver drops all of them there.
        let (secret, open): (Vec<_>, Vec<_>) = self.pairs.iter().partition(|(key, _)| key == SECRET);
        for (option, pairs) in [(PAIRS, open), (SECRET_PAIRS, secret)] {
            let list: Vec<String> =
                pairs.iter().flat_map(|(key, value)| [lossy(key), lossy(value)]).collect();
            if !list.is_empty() {
                map.insert(option.to_owned(), serde_json::json!(list).to_string().into_bytes());
            }
        }
        map
    }
}

/// The settings of a file name, from their list.
fn parse_pairs(source: &mut OptionMap, key: &str) -> Result<Vec<(CString, CString)>, OptionsError> {
    let Some(value) = source.take(key) else { return Ok(Vec::new()) };
    let invalid = || OptionsError::Value {
        key: key.to_owned(),
        expected: "a JSON list of strings, keys and values by turns",
        value: lossy(&value),
    };
    let list: Vec<String> = serde_json::from_slice(&value).map_err(|_| invalid())?;
    let pairs = list.chunks(2).map(|pair| match pair {
        [name, value] => Ok((CString::new(name.as_str()).ok(), CString::new(value.as_str()).ok())),
        _ => Err(invalid()),
    });
    pairs
        .map(|pair| match pair? {
            (Some(name), Some(value)) => Ok((name, value)),
            _ => Err(invalid()),
        })
        .collect()
}

/// The monitors, in the order of their numbers, which must have no gap.
fn parse_servers(source: &mut OptionMap, list: &str) -> Result<Option<CString>, OptionsError> {
    let servers = parse_list(source, list, |source, server| {
        let host = mandatory(source, format!("{server}.host"))?;
        let port_key = format!("{server}.port");
        let port = mandatory(source, port_key.clone())?;
        // DIVERGES: a port that is no number is refused by name; the C driver leaves it to the library, which says nothing of it.
        let text = lossy(port.to_bytes());
        if !port.to_bytes().iter().all(u8::is_ascii_digit) || text.parse::<u16>().is_err() {
            let expected = "a number up to 65535";
            return Err(OptionsError::Value { key: port_key, expected, value: text });
        }
        let is_ipv6 = host.to_bytes().contains(&b':');
        let (open, close) =
            if is_ipv6 { (b"[".as_slice(), b"]:".as_slice()) } else { (b"".as_slice(), b":".as_slice()) };
        Ok([open, host.to_bytes(), close, port.to_bytes()].concat())
    })?;
    joined(list, &servers)
}

/// The ways to authenticate.
fn parse_auth(source: &mut OptionMap, list: &str) -> Result<Option<CString>, OptionsError> {
    let ways = parse_list(source, list, |source, key| match source.take(key) {
        Some(way) if way == b"cephx" || way == b"none" => Ok(way),
        Some(way) => Err(OptionsError::Value {
            key: key.to_owned(),
            expected: "'cephx' or 'none'",
            value: lossy(&way),
        }),
        None => Err(OptionsError::Missing(key.to_owned())),
    })?;
    joined(list, &ways)
}

/// The elements of a list whose keys begin with `list`, in the order of their numbers, which must have no gap.
fn parse_list(
    source: &mut OptionMap,
    list: &str,
    mut parse: impl FnMut(&mut OptionMap, &str) -> Result<Vec<u8>, OptionsError>,
) -> Result<Vec<Vec<u8>>, OptionsError> {
    let mut elements = Vec::new();
    loop {
        let element = format!("{list}{}", elements.len());
        let members = format!("{element}.");
        if !source.contains(&element) && !source.has_prefix(&members) {
            break;
        }
        elements.push(parse(source, &element)?);
        refuse_rest(source, &members)?;
    }
    match source.first_key(list) {
        // What follows a gap.
        Some(key)
            if key.get(list.len()..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())) =>
        {
            Err(OptionsError::Missing(format!("{list}{}", elements.len())))
        }
        Some(key) => Err(OptionsError::Unexpected(key.to_owned())),
        None => Ok(elements),
    }
}

/// Elements with semicolons between, if there are any.
fn joined(list: &str, elements: &[Vec<u8>]) -> Result<Option<CString>, OptionsError> {
    if elements.is_empty() {
        return Ok(None);
    }
    c_value(list.trim_end_matches('.'), elements.join(&b';')).map(Some)
}

/// The secret with the key, in today's or in yesterday's spelling.
fn parse_key_secret(source: &mut OptionMap, prefix: &str) -> Result<Option<CString>, OptionsError> {
    let (key, legacy) = (format!("{prefix}key-secret"), format!("{prefix}password-secret"));
    match (source.take(&key), source.take(&legacy)) {
        (Some(_), Some(_)) => Err(OptionsError::Conflict(key, legacy)),
        (Some(secret), None) => c_value(&key, secret).map(Some),
        (None, Some(secret)) => c_value(&legacy, secret).map(Some),
        (None, None) => Ok(None),
    }
}

/// The layers of encryption: the image's, its parent's, and so on.
fn parse_encryption(source: &mut OptionMap, prefix: &str) -> Result<Vec<Encryption>, OptionsError> {
    let mut layers = Vec::new();
    let mut layer = prefix.to_owned();
    while source.has_prefix(&layer) {
        let format = parse_format(source, format!("{layer}format"))?;
        layers.push(Encryption { format, key_secret: mandatory(source, format!("{layer}key-secret"))? });
        layer.push_str("parent.");
    }
    refuse_rest(source, prefix)?;
    Ok(layers)
}

/// A format of encryption.
pub(super) fn parse_format(source: &mut OptionMap, key: String) -> Result<Format, OptionsError> {
    match source.take(&key).as_deref() {
        Some(b"luks") => Ok(Format::Luks),
        Some(b"luks2") => Ok(Format::Luks2),
        Some(b"luks-any") => Ok(Format::LuksAny),
        Some(other) => {
            let expected = "'luks', 'luks2' or 'luks-any'";
            Err(OptionsError::Value { key, expected, value: lossy(other) })
        }
        None => Err(OptionsError::Missing(key)),
    }
}

/// Members that nobody took do not exist.
pub(super) fn refuse_rest(source: &OptionMap, prefix: &str) -> Result<(), OptionsError> {
    match source.first_key(prefix) {
        Some(key) => Err(OptionsError::Unexpected(key.to_owned())),
        None => Ok(()),
    }
}

/// A value that must be there and must not be empty.
pub(super) fn mandatory(source: &mut OptionMap, key: String) -> Result<CString, OptionsError> {
    match source.take(&key) {
        Some(value) => not_empty(&key, value),
        None => Err(OptionsError::Missing(key)),
    }
}

/// A value that may be absent.
fn optional(source: &mut OptionMap, key: &str) -> Result<Option<CString>, OptionsError> {
    source.take(key).map(|value| c_value(key, value)).transpose()
}

/// A value that must not be empty: an empty one can only lead to an obscure failure later.
// DIVERGES: the C driver hands empty names to the library.
fn not_empty(key: &str, value: Vec<u8>) -> Result<CString, OptionsError> {
    if value.is_empty() {
        let expected = "something that is not empty";
        return Err(OptionsError::Value { key: key.to_owned(), expected, value: String::new() });
    }
    c_value(key, value)
}

/// A value in the form that C takes.
fn c_value(key: &str, value: Vec<u8>) -> Result<CString, OptionsError> {
    CString::new(value).map_err(|error| OptionsError::Value {
        key: key.to_owned(),
        expected: "text without a NUL character",
        value: lossy(&error.into_vec()),
    })
}

/// For messages.
pub(super) fn lossy(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
