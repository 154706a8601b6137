// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Gluster URIs: `gluster[+tcp|+unix]://[host[:port]]/volume/path[?socket=path]`.
//!
//! Pure text work. The same rules hold on every QEMU version, whichever URI library that version has
//! (`block/gluster.c: qemu_gluster_parse_uri`).

/// The port of glusterd.
pub const DEFAULT_PORT: u16 = 24007;
/// Who is asked when the URI names no host.
const DEFAULT_HOST: &[u8] = b"localhost";

/// Where to find a volume's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// Host name or address (IPv6 without brackets) and TCP port.
    Inet(Vec<u8>, u16),
    /// Path of a local glusterd's socket.
    Unix(Vec<u8>),
}

/// A URI, taken apart. All parts are decoded, not empty, and free of NULs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uri {
    /// The server to ask.
    pub server: Server,
    /// Name of the volume.
    pub volume: Vec<u8>,
    /// Path of the image within the volume.
    pub path: Vec<u8>,
}

/// Why a text is not a Gluster URI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UriError {
    /// The part before the first colon.
    #[error("the scheme must be gluster, gluster+tcp or gluster+unix")]
    Scheme,
    /// A percent sign without two hexadecimal digits, or an encoded NUL.
    #[error("a percent-encoded character is malformed")]
    Encoding,
    /// The part after the host.
    #[error("the port must be a number up to 65535")]
    Port,
    /// Brackets that don't match or have something behind them.
    #[error("the host is malformed")]
    Host,
    /// No volume.
    #[error("the volume is missing")]
    NoVolume,
    /// No path behind the volume.
    #[error("the path of the image within the volume is missing")]
    NoPath,
    /// A query where there must be none.
    #[error("parameters are allowed with gluster+unix only")]
    Query,
    /// gluster+unix needs `?socket=`, and nothing else, exactly once.
    #[error("gluster+unix takes exactly one parameter, socket=PATH")]
    Socket,
    /// gluster+unix with a host.
    #[error("gluster+unix takes no host")]
    UnixHost,
}

impl Uri {
    /// Takes a URI apart.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Self, UriError> {
        let (scheme, rest) = split_once(text, b':').ok_or(UriError::Scheme)?;
        let unix = match scheme {
            b"gluster" | b"gluster+tcp" => false,
            b"gluster+unix" => true,
            // DIVERGES: gluster+rdma, in QEMU 7.2 another name of gluster+tcp, is unknown in every version.
            _ => return Err(UriError::Scheme),
        };
        // The fragment, like user information, says nothing to us.
        let rest = split_once(rest, b'#').map_or(rest, |(before, _)| before);
        let (rest, query) = split_once(rest, b'?').map_or((rest, None), |(rest, query)| (rest, Some(query)));
        let (authority, path) = match rest.strip_prefix(b"//") {
            Some(rest) => {
                rest.iter().position(|&b| b == b'/').map_or((rest, &b""[..]), |at| rest.split_at(at))
            }
            None => (&b""[..], rest),
        };
        let (volume, path) = volume_and_path(&decode(path)?)?;
        let server = if unix {
            // DIVERGES: an empty host is no host, as documented; QEMU 10 refuses gluster+unix:///volume/path.
            if !authority.is_empty() {
                return Err(UriError::UnixHost);
            }
            Server::Unix(socket(query)?)
        } else {
            if query.is_some_and(|query| !query.is_empty()) {
                return Err(UriError::Query);
            }
            let (host, port) = host_and_port(authority)?;
            Server::Inet(host, port)
        };
        Ok(Self { server, volume, path })
    }
}

/// Splits at the first `separator`, which belongs to neither half.
fn split_once(text: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|&b| b == separator)?;
    let (before, rest) = text.split_at(at);
    Some((before, rest.get(1..).unwrap_or_default()))
}

/// Decodes percent-encoded characters.
fn decode(text: &[u8]) -> Result<Vec<u8>, UriError> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        let byte = if byte == b'%' {
            let mut digit = || {
                let digit = char::from(*bytes.next()?).to_digit(16)?;
                u8::try_from(digit).ok()
            };
            match (digit(), digit()) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err(UriError::Encoding),
            }
        } else {
            byte
        };
        if byte == 0 {
            return Err(UriError::Encoding);
        }
        decoded.push(byte);
    }
    Ok(decoded)
}

/// The first component, and what follows it without leading slashes.
fn volume_and_path(path: &[u8]) -> Result<(Vec<u8>, Vec<u8>), UriError> {
    let path = strip_slashes(path);
    if path.is_empty() {
        return Err(UriError::NoVolume);
    }
    let (volume, path) = split_once(path, b'/').ok_or(UriError::NoPath)?;
    let path = strip_slashes(path);
    if path.is_empty() {
        return Err(UriError::NoPath);
    }
    Ok((volume.to_vec(), path.to_vec()))
}

/// A path without the slashes in front.
fn strip_slashes(path: &[u8]) -> &[u8] {
    let slashes = path.iter().take_while(|&&b| b == b'/').count();
    path.get(slashes..).unwrap_or_default()
}

/// Host and port, or their defaults.
fn host_and_port(authority: &[u8]) -> Result<(Vec<u8>, u16), UriError> {
    let host_port = match authority.iter().rposition(|&b| b == b'@') {
        Some(at) => authority.get(at.saturating_add(1)..).unwrap_or_default(),
        None => authority,
    };
    let (host, port) = match host_port.strip_prefix(b"[") {
        Some(rest) => {
            let (host, rest) = split_once(rest, b']').ok_or(UriError::Host)?;
            match rest.split_first() {
                None => (host, &b""[..]),
                Some((b':', port)) => (host, port),
                Some(_) => return Err(UriError::Host),
            }
        }
        None => split_once(host_port, b':').unwrap_or((host_port, b"")),
    };
    let port = match port {
        b"" => DEFAULT_PORT,
        // As ever, 0 means that no port is given.
        port => match parse_port(port).ok_or(UriError::Port)? {
            0 => DEFAULT_PORT,
            port => port,
        },
    };
    // DIVERGES: gluster:///volume/path asks the local host, as with QEMU 7.2; QEMU 10 looks for a host with no name.
    let host = if host.is_empty() { DEFAULT_HOST.to_vec() } else { decode(host)? };
    Ok((host, port))
}

/// A port number: decimal digits and nothing else.
#[must_use]
pub fn parse_port(text: &[u8]) -> Option<u16> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The value of the only parameter that there may be.
fn socket(query: Option<&[u8]>) -> Result<Vec<u8>, UriError> {
    let mut socket = None;
    for parameter in query.unwrap_or_default().split(|&b| b == b'&').filter(|p| !p.is_empty()) {
        let (key, value) = split_once(parameter, b'=').ok_or(UriError::Socket)?;
        let value = decode(value)?;
        // DIVERGES: a second socket is refused, as with QEMU 7.2; QEMU 10 silently takes the last one.
        if decode(key)? != b"socket" || value.is_empty() || socket.is_some() {
            return Err(UriError::Socket);
        }
        socket = Some(value);
    }
    socket.ok_or(UriError::Socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn inet(host: &str, port: u16, volume: &str, path: &str) -> Result<Uri, UriError> {
        Ok(Uri { server: Server::Inet(host.into(), port), volume: volume.into(), path: path.into() })
    }

    fn unix(socket: &str, volume: &str, path: &str) -> Result<Uri, UriError> {
        Ok(Uri { server: Server::Unix(socket.into()), volume: volume.into(), path: path.into() })
    }

    fn parse(text: &str) -> Result<Uri, UriError> {
        Uri::parse(text.as_bytes())
    }

    #[test]
    fn parse_host_without_port_uses_the_default_port() {
        assert_eq!(parse("gluster://h/vol/a.img"), inet("h", 24007, "vol", "a.img"));
    }

    #[test]
    fn parse_tcp_with_port_and_folder() {
        assert_eq!(parse("gluster+tcp://h:1234/vol/dir/a.img"), inet("h", 1234, "vol", "dir/a.img"));
    }

    #[test]
    fn parse_port_zero_means_not_given() {
        assert_eq!(parse("gluster://h:0/vol/a"), inet("h", 24007, "vol", "a"));
        assert_eq!(parse("gluster://h:/vol/a"), inet("h", 24007, "vol", "a"));
    }

    #[test]
    fn parse_without_host_asks_the_local_host() {
        for text in ["gluster:/vol/a", "gluster:vol/a", "gluster:///vol/a"] {
            assert_eq!(parse(text), inet("localhost", 24007, "vol", "a"), "{text}");
        }
    }

    #[test]
    fn parse_ipv6_host_loses_its_brackets() {
        assert_eq!(parse("gluster://[::1]:1/vol/a"), inet("::1", 1, "vol", "a"));
        assert_eq!(parse("gluster://[::1]/vol/a"), inet("::1", 24007, "vol", "a"));
    }

    #[test]
    fn parse_of_bad_brackets_is_refused() {
        assert_eq!(parse("gluster://[::1/vol/a"), Err(UriError::Host));
        assert_eq!(parse("gluster://[::1]x/vol/a"), Err(UriError::Host));
    }

    #[test]
    fn parse_skips_slashes_around_the_volume() {
        assert_eq!(parse("gluster://h//vol///a"), inet("h", 24007, "vol", "a"));
    }

    #[test]
    fn parse_keeps_a_trailing_slash() {
        assert_eq!(parse("gluster://h/vol/x/"), inet("h", 24007, "vol", "x/"));
    }

    #[test]
    fn parse_accepts_a_raw_space() {
        assert_eq!(parse("gluster://h/vol/a b"), inet("h", 24007, "vol", "a b"));
    }

    #[test]
    fn parse_decodes_the_path() {
        assert_eq!(parse("gluster://h/vol/a%2fb%20c"), inet("h", 24007, "vol", "a/b c"));
    }

    #[test]
    fn parse_of_a_malformed_escape_is_refused() {
        for text in
            ["gluster://h/vol/a%zz", "gluster://h/vol/a%4", "gluster://h/vol/a%", "gluster://h/vol/%00"]
        {
            assert_eq!(parse(text), Err(UriError::Encoding), "{text}");
        }
    }

    #[test]
    fn parse_with_an_empty_query_is_fine() {
        assert_eq!(parse("gluster://h/vol/a?"), inet("h", 24007, "vol", "a"));
    }

    #[test]
    fn parse_of_inet_with_parameters_is_refused() {
        assert_eq!(parse("gluster://h/vol/a?x=y"), Err(UriError::Query));
    }

    #[test]
    fn parse_ignores_user_and_fragment() {
        assert_eq!(parse("gluster://user@h/vol/a#frag"), inet("h", 24007, "vol", "a"));
    }

    #[test]
    fn parse_without_image_is_refused() {
        for text in ["gluster://h/vol", "gluster://h/vol/", "gluster://h/vol//"] {
            assert_eq!(parse(text), Err(UriError::NoPath), "{text}");
        }
        for text in ["gluster://h", "gluster://h/", "gluster:"] {
            assert_eq!(parse(text), Err(UriError::NoVolume), "{text}");
        }
    }

    #[test]
    fn parse_of_a_bad_port_is_refused() {
        for text in [
            "gluster://h:99999/vol/a",
            "gluster://h:abc/vol/a",
            "gluster://h:-1/vol/a",
            "gluster://h:+1/vol/a",
        ] {
            assert_eq!(parse(text), Err(UriError::Port), "{text}");
        }
    }

    #[test]
    fn parse_of_other_schemes_is_refused() {
        for text in ["GLUSTER://h/vol/a", "gluster+rdma://h/vol/a", "file:/vol/a", "", "gluster"] {
            assert_eq!(parse(text), Err(UriError::Scheme), "{text}");
        }
    }

    #[test]
    fn parse_unix_in_the_documented_form() {
        assert_eq!(parse("gluster+unix:///vol/a?socket=/run/x.sock"), unix("/run/x.sock", "vol", "a"));
    }

    #[test]
    fn parse_unix_without_slashes() {
        assert_eq!(parse("gluster+unix:/vol/a?socket=/run/x.sock"), unix("/run/x.sock", "vol", "a"));
    }

    #[test]
    fn parse_unix_decodes_the_socket() {
        assert_eq!(parse("gluster+unix:///vol/a?socket=/run/a%20b"), unix("/run/a b", "vol", "a"));
    }

    #[test]
    fn parse_unix_with_anything_but_one_socket_is_refused() {
        for query in ["", "?", "?socket=", "?socket", "?foo=/x", "?socket=/x&a=b", "?socket=/x&socket=/y"] {
            let text = format!("gluster+unix:///vol/a{query}");
            assert_eq!(parse(&text), Err(UriError::Socket), "{text}");
        }
    }

    #[test]
    fn parse_unix_with_a_host_is_refused() {
        assert_eq!(parse("gluster+unix://h/vol/a?socket=/x"), Err(UriError::UnixHost));
    }

    proptest! {
        #[test]
        fn parse_of_anything_gives_parts_that_c_can_take(text: Vec<u8>) {
            let mut uri = b"gluster://h/".to_vec();
            uri.extend(text);
            if let Ok(uri) = Uri::parse(&uri) {
                prop_assert!(!uri.volume.is_empty() && !uri.path.is_empty());
                prop_assert!(!uri.volume.contains(&0) && !uri.path.contains(&0) && !uri.volume.contains(&b'/'));
            }
        }

        #[test]
        fn parse_finds_an_encoded_path_again(path in proptest::collection::vec(1u8..=255, 1..40)) {
            prop_assume!(path[0] != b'/');
            let encoded: String = path.iter().map(|b| format!("%{b:02x}")).collect();
            let uri = parse(&format!("gluster://h:7/v/{encoded}")).unwrap();
            prop_assert_eq!(uri.path, path);
        }
    }
}
