// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Runtime options: from the flat options of a node to the connection and the file it wants.
//!
//! Spellings, defaults and precedence are those of `block/gluster.c`: with `filename` it is a URI; without, `volume`, `path` and a
//! list of `server`s. What is left over is refused by the block layer.

use std::ffi::CString;

use super::uri::{self, Uri, UriError};
use crate::backend::gfapi::Server;
use crate::errno::{Errno, ToErrno};
use crate::options::{parse_number, OptionMap};

/// How talkative the library is by default (errors only).
const DEFAULT_DEBUG: i32 = 4;
/// The most talkative level there is.
const MAX_DEBUG: i32 = 9;
/// Where the library logs by default: standard error.
const DEFAULT_LOGFILE: &[u8] = b"-";

/// Shown below every error in the options.
pub const USAGE: &str = "Usage: file=gluster[+tcp]://host[:port]/volume/path, \
    file=gluster+unix:///volume/path?socket=/path/to/glusterd.socket, or \
    driver=gluster,volume=VOLUME,path=PATH,server.0.type=inet,server.0.host=HOST,server.0.port=PORT\
    [,server.1.type=unix,server.1.path=SOCKET][,debug=N][,logfile=FILE]";

/// What a node wants, as plain data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Name of the volume.
    pub volume: CString,
    /// Path of the image within the volume.
    pub path: CString,
    /// Servers, in the order in which to ask them; at least one.
    pub servers: Vec<Server>,
    /// Where the library logs.
    pub logfile: CString,
    /// The library's log level, 0 to 9.
    pub debug: i32,
}

/// What is wrong with the options. All are `EINVAL`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Not a URI of ours.
    #[error("invalid URI {uri}: {source}")]
    Uri {
        /// As given.
        uri: String,
        /// What is wrong with it.
        source: UriError,
    },
    /// A mandatory option is not there.
    #[error("parameter '{0}' is missing")]
    Missing(String),
    /// An option that cannot be combined with what else is given.
    #[error("parameter '{0}' is not supported here")]
    Unsupported(String),
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
}

impl ToErrno for OptionsError {
    fn errno(&self) -> Errno {
        match self {
            Self::Uri { .. }
            | Self::Missing(_)
            | Self::Unsupported(_)
            | Self::Conflict(..)
            | Self::Value { .. } => Errno::EINVAL,
        }
    }
}

impl Options {
    /// Parses a node's options.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn parse(source: &mut OptionMap) -> Result<Self, OptionsError> {
        let debug = parse_debug(source.take("debug"))?;
        let logfile = source.take("logfile");
        match source.take("filename") {
            Some(uri) => Self::from_uri(&uri, debug, logfile),
            None => Self::from_members(source, "", debug, logfile),
        }
    }

    /// Options that a URI gives, with the log options beside it.
    ///
    /// # Errors
    /// What is wrong with the URI.
    pub fn from_uri(text: &[u8], debug: i32, logfile: Option<Vec<u8>>) -> Result<Self, OptionsError> {
        let invalid = |source| OptionsError::Uri { uri: lossy(text), source };
        let uri = Uri::parse(text).map_err(invalid)?;
        let c = |part: Vec<u8>| CString::new(part).map_err(|_| invalid(UriError::Encoding));
        let server = match uri.server {
            uri::Server::Inet(host, port) => Server::Inet { host: c(host)?, port },
            uri::Server::Unix(path) => Server::Unix { path: c(path)? },
        };
        Ok(Self {
            volume: c(uri.volume)?,
            path: c(uri.path)?,
            servers: vec![server],
            logfile: parse_logfile(logfile)?,
            debug,
        })
    }

    /// Options that stand under separate keys, all of them beginning with `prefix`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn from_members(
        source: &mut OptionMap,
        prefix: &str,
        debug: i32,
        logfile: Option<Vec<u8>>,
    ) -> Result<Self, OptionsError> {
        let servers = parse_servers(source, prefix)?;
        let volume = mandatory(source, format!("{prefix}volume"))?;
        let path = mandatory(source, format!("{prefix}path"))?;
        Ok(Self { volume, path, servers, logfile: parse_logfile(logfile)?, debug })
    }
}

/// The log level: any number, clamped to what the library knows.
///
/// # Errors
/// If it isn't a number.
pub fn parse_debug(value: Option<Vec<u8>>) -> Result<i32, OptionsError> {
    let Some(value) = value else { return Ok(DEFAULT_DEBUG) };
    let text = lossy(&value);
    let negative = text.starts_with('-');
    match parse_number(&value) {
        Some(_) if negative => Ok(0),
        Some(number) => Ok(i32::try_from(number).unwrap_or(MAX_DEBUG).min(MAX_DEBUG)),
        None => Err(OptionsError::Value { key: "debug".into(), expected: "a number", value: text }),
    }
}

/// The log file, or its default.
fn parse_logfile(value: Option<Vec<u8>>) -> Result<CString, OptionsError> {
    c_value("logfile", value.unwrap_or_else(|| DEFAULT_LOGFILE.to_vec()))
}

/// The servers, in the order of their numbers, which must have no gap.
fn parse_servers(source: &mut OptionMap, prefix: &str) -> Result<Vec<Server>, OptionsError> {
    let list = format!("{prefix}server.");
    let mut servers = Vec::new();
    loop {
        let server = format!("{list}{}.", servers.len());
        if !source.has_prefix(&server) {
            break;
        }
        servers.push(parse_server(source, &server)?);
        // What else stands there, keep-alive settings for example, is not for us.
        source.remove_prefix(&server);
    }
    if servers.is_empty() || source.has_prefix(&list) {
        return Err(OptionsError::Missing(format!("{list}{}", servers.len())));
    }
    Ok(servers)
}

/// One server; `prefix` ends in its number and a dot.
fn parse_server(source: &mut OptionMap, prefix: &str) -> Result<Server, OptionsError> {
    let key = |name: &str| format!("{prefix}{name}");
    let kind = source.take(&key("type")).ok_or_else(|| OptionsError::Missing(key("type")))?;
    match kind.as_slice() {
        // "tcp" is how it was spelled before QEMU 2.9.
        b"inet" | b"tcp" => {
            for name in ["to", "ipv4", "ipv6"] {
                if source.take(&key(name)).is_some() {
                    return Err(OptionsError::Unsupported(key(name)));
                }
            }
            let host = mandatory(source, key("host"))?;
            let port = mandatory(source, key("port"))?;
            let port = uri::parse_port(port.to_bytes()).ok_or_else(|| OptionsError::Value {
                key: key("port"),
                expected: "a number up to 65535",
                value: lossy(port.to_bytes()),
            })?;
            Ok(Server::Inet { host, port })
        }
        b"unix" => {
            let path = match (source.take(&key("path")), source.take(&key("socket"))) {
                (Some(_), Some(_)) => return Err(OptionsError::Conflict(key("path"), key("socket"))),
                (Some(path), None) | (None, Some(path)) => path,
                (None, None) => return Err(OptionsError::Missing(key("path"))),
            };
            Ok(Server::Unix { path: not_empty(&key("path"), path)? })
        }
        other => {
            Err(OptionsError::Value { key: key("type"), expected: "'inet' or 'unix'", value: lossy(other) })
        }
    }
}

/// A value that must be there and must not be empty.
fn mandatory(source: &mut OptionMap, key: String) -> Result<CString, OptionsError> {
    match source.take(&key) {
        Some(value) => not_empty(&key, value),
        None => Err(OptionsError::Missing(key)),
    }
}

/// A value that must not be empty: an empty one can only lead to an obscure failure later.
// DIVERGES: the C driver hands empty names to the library.
fn not_empty(key: &str, value: Vec<u8>) -> Result<CString, OptionsError> {
    if value.is_empty() {
        return Err(OptionsError::Value {
            key: key.to_owned(),
            expected: "something that is not empty",
            value: String::new(),
        });
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
fn lossy(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(text: &str) -> OptionMap {
        text.split(',').filter_map(|pair| pair.split_once('=')).collect()
    }

    fn parse(text: &str) -> Result<Options, OptionsError> {
        Options::parse(&mut map(text))
    }

    const ONE: &str = "volume=v,path=p,server.0.type=inet,server.0.host=h,server.0.port=24007";

    fn inet(host: &str, port: u16) -> Server {
        Server::Inet { host: CString::new(host).unwrap(), port }
    }

    #[test]
    fn parse_one_server() {
        let options = parse(ONE).unwrap();
        assert_eq!(options.volume.as_c_str(), c"v");
        assert_eq!(options.path.as_c_str(), c"p");
        assert_eq!(options.servers, [inet("h", 24007)]);
        assert_eq!((options.debug, options.logfile.as_c_str()), (4, c"-"));
    }

    #[test]
    fn parse_keeps_the_order_of_the_servers() {
        let text = format!(
            "{ONE},server.1.type=tcp,server.1.host=i,server.1.port=1,server.2.type=unix,server.2.path=/s"
        );
        let expected = [inet("h", 24007), inet("i", 1), Server::Unix { path: c"/s".into() }];
        assert_eq!(parse(&text).unwrap().servers, expected);
    }

    #[test]
    fn parse_of_more_than_ten_servers_sorts_by_number() {
        let mut text = String::from("volume=v,path=p");
        for n in 0..12 {
            text += &format!(",server.{n}.type=inet,server.{n}.host=h{n},server.{n}.port={n}");
        }
        let servers = parse(&text).unwrap().servers;
        assert_eq!(servers[11], inet("h11", 11));
        assert_eq!(servers.len(), 12);
    }

    #[test]
    fn parse_unix_takes_the_legacy_spelling() {
        let options = parse("volume=v,path=p,server.0.type=unix,server.0.socket=/s").unwrap();
        assert_eq!(options.servers, [Server::Unix { path: c"/s".into() }]);
    }

    #[test]
    fn parse_unix_with_both_spellings_is_refused() {
        let error =
            parse("volume=v,path=p,server.0.type=unix,server.0.socket=/s,server.0.path=/s").unwrap_err();
        assert_eq!(error, OptionsError::Conflict("server.0.path".into(), "server.0.socket".into()));
    }

    #[test]
    fn parse_names_what_is_missing() {
        for (text, missing) in [
            ("volume=v,path=p", "server.0"),
            ("path=p,server.0.type=unix,server.0.path=/s", "volume"),
            ("volume=v,server.0.type=unix,server.0.path=/s", "path"),
            ("volume=v,path=p,server.0.host=h", "server.0.type"),
            ("volume=v,path=p,server.0.type=inet,server.0.port=1", "server.0.host"),
            ("volume=v,path=p,server.0.type=inet,server.0.host=h", "server.0.port"),
            ("volume=v,path=p,server.0.type=unix", "server.0.path"),
            ("volume=v,path=p,server.1.type=unix,server.1.path=/s", "server.0"),
        ] {
            assert_eq!(parse(text), Err(OptionsError::Missing(missing.into())), "{text}");
        }
    }

    #[test]
    fn parse_of_a_gap_in_the_servers_is_refused() {
        let text = format!("{ONE},server.2.type=unix,server.2.path=/s");
        assert_eq!(parse(&text), Err(OptionsError::Missing("server.1".into())));
    }

    #[test]
    fn parse_refuses_inet_members_that_gfapi_has_no_use_for() {
        for name in ["to", "ipv4", "ipv6"] {
            let text = format!("{ONE},server.0.{name}=off");
            assert_eq!(parse(&text), Err(OptionsError::Unsupported(format!("server.0.{name}"))));
        }
    }

    #[test]
    fn parse_ignores_other_members_of_a_server() {
        assert!(parse(&format!("{ONE},server.0.keep-alive=on")).is_ok());
    }

    #[test]
    fn parse_refuses_other_types_of_servers() {
        for kind in ["vsock", "fd", "INET", ""] {
            let error = parse(&format!("volume=v,path=p,server.0.type={kind}")).unwrap_err();
            assert!(matches!(error, OptionsError::Value { ref key, .. } if key == "server.0.type"), "{kind}");
        }
    }

    #[test]
    fn parse_refuses_bad_ports() {
        for port in ["", "65536", "-1", "http", "1 "] {
            let text = format!("volume=v,path=p,server.0.type=inet,server.0.host=h,server.0.port={port}");
            let error = parse(&text).unwrap_err();
            assert!(matches!(error, OptionsError::Value { ref key, .. } if key == "server.0.port"), "{port}");
        }
    }

    #[test]
    fn parse_of_empty_names_is_refused() {
        for (text, name) in [
            ("volume=,path=p,server.0.type=unix,server.0.path=/s", "volume"),
            ("volume=v,path=,server.0.type=unix,server.0.path=/s", "path"),
            ("volume=v,path=p,server.0.type=inet,server.0.host=,server.0.port=1", "server.0.host"),
            ("volume=v,path=p,server.0.type=unix,server.0.path=", "server.0.path"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(matches!(error, OptionsError::Value { ref key, .. } if key == name), "{text}");
        }
    }

    #[test]
    fn parse_debug_clamps() {
        for (text, level) in [("0", 0), ("9", 9), ("10", 9), ("-3", 0), ("0x7", 7), ("99999999999", 9)] {
            assert_eq!(parse_debug(Some(text.into())), Ok(level), "{text}");
        }
    }

    #[test]
    fn parse_debug_refuses_what_is_no_number() {
        for text in ["", "four", "4k", "--1"] {
            assert!(parse_debug(Some(text.into())).is_err(), "{text}");
        }
    }

    #[test]
    fn parse_of_a_filename_leaves_the_members_for_the_block_layer_to_refuse() {
        let mut source = map("filename=gluster://h/v/p,volume=x");
        let options = Options::parse(&mut source).unwrap();
        assert_eq!(options.volume.as_c_str(), c"v");
        assert!(source.contains("volume"));
    }

    #[test]
    fn parse_of_a_bad_filename_names_it() {
        let error = parse("filename=gluster://h/v").unwrap_err();
        assert_eq!(
            error.to_string(),
            "invalid URI gluster://h/v: the path of the image within the volume is missing"
        );
    }

    #[test]
    fn parse_takes_what_libvirt_generates() {
        let text = "volume=Volume1,path=dir/Image,server.0.type=inet,server.0.host=h1,server.0.port=6000,\
                    server.1.type=unix,server.1.path=/path/to/sock,debug=4";
        assert_eq!(parse(text).unwrap().servers.len(), 2);
    }
}
