// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The object class `lock`: who holds the lock of a header or an object map. Source: RBD format document, sections 2, 6, 12.1.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::calls::Call;
use super::encoding::{DecodeError, Decoder, Encoder, Reason, Time};
use super::names::LOCK;

/// The type of a lock that one client holds alone.
const EXCLUSIVE: u8 = 1;
/// The tag of locks that clients take by themselves.
pub const AUTO_TAG: &[u8] = b"internal";
/// What the cookie of such a lock begins with; the handle of the owner's watch follows.
const AUTO_COOKIE: &str = "auto ";
/// The type of an entity that is a client.
const CLIENT: u8 = 8;
/// Address families, as Linux numbers them.
const FAMILIES: [(u16, usize); 2] = [(2, 16), (10, 28)];

/// The cookie of a lock whose owner watches the header with that handle.
#[must_use]
pub fn auto_cookie(handle: u64) -> Vec<u8> {
    format!("{AUTO_COOKIE}{handle}").into_bytes()
}

/// A client, or another part of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entity {
    /// What it is: 1 monitor, 2 metadata server, 4 OSD, 8 client, 16 manager.
    pub kind: u8,
    /// Its number; a client's is the instance id of its connection.
    pub number: i64,
}

/// Where a client is, exactly enough to keep it out of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// IPv4 or IPv6 address; `None` if there is none, or of a kind that we don't know.
    pub host: Option<std::net::IpAddr>,
    /// Port.
    pub port: u16,
    /// What tells clients of one host from each other.
    pub nonce: u32,
}

/// The form that a blocklist takes.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host {
            Some(std::net::IpAddr::V4(host)) => write!(f, "{host}:{}/{}", self.port, self.nonce),
            Some(std::net::IpAddr::V6(host)) => write!(f, "[{host}]:{}/{}", self.port, self.nonce),
            None => write!(f, "-"),
        }
    }
}

/// One that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locker {
    /// Who.
    pub entity: Entity,
    /// Which of its locks.
    pub cookie: Vec<u8>,
    /// When it ends; 0 for never.
    pub expires: Time,
    /// Where it is.
    pub address: Address,
    /// Anything.
    pub description: Vec<u8>,
}

/// What `get_info` answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Those that hold the lock.
    pub lockers: Vec<Locker>,
    /// 1 exclusive, 2 shared, 3 exclusive and ephemeral, 0 if nobody holds it.
    pub kind: u8,
    /// What it was taken for.
    pub tag: Vec<u8>,
}

impl Info {
    /// Reads the reply to [`get_info`].
    ///
    /// # Errors
    /// If it is damaged.
    pub fn decode(reply: &[u8]) -> Result<Self, DecodeError> {
        Decoder::new("get_info", reply).versioned("get_info", 1, |_, d| {
            // A locker is at least two structures with their versions, a name, an address and two strings.
            let lockers = d.list("lockers", 40, decode_locker)?;
            Ok(Self { lockers, kind: d.u8("type")?, tag: d.bytes("tag")?.to_vec() })
        })
    }

    /// The owner and the handle of its watch, if a client has taken the lock by itself. Any other lock is a user's, and only a
    /// user may break it.
    #[must_use]
    pub fn auto_owner(&self) -> Option<(&Locker, u64)> {
        let [owner] = self.lockers.as_slice() else { return None };
        let handle = std::str::from_utf8(&owner.cookie).ok()?.strip_prefix(AUTO_COOKIE)?;
        let is_auto = self.kind == EXCLUSIVE
            && self.tag == AUTO_TAG
            && owner.entity.kind == CLIENT
            && owner.address.host.is_some()
            && handle.bytes().all(|byte| byte.is_ascii_digit());
        is_auto.then(|| handle.parse().ok().map(|handle| (owner, handle))).flatten()
    }
}

/// One locker: its id and what is known of it.
fn decode_locker(decoder: &mut Decoder<'_>) -> Result<Locker, DecodeError> {
    let (entity, cookie) = decoder.versioned("locker_id", 1, |_, d| {
        let entity = Entity { kind: d.u8("entity type")?, number: d.i64("entity number")? };
        Ok((entity, d.bytes("cookie")?.to_vec()))
    })?;
    decoder.versioned("locker_info", 1, |_, d| {
        let expires = d.time("expiration")?;
        let address = decode_address(d)?;
        let description = d.bytes("description")?.to_vec();
        Ok(Locker { entity, cookie, expires, address, description })
    })
}

/// An address, in the form of today or of very old peers.
fn decode_address(decoder: &mut Decoder<'_>) -> Result<Address, DecodeError> {
    let place = decoder.clone();
    match decoder.u8("address form")? {
        0 => {
            decoder.raw("address", 3)?;
            let nonce = decoder.u32("nonce")?;
            let address = decoder.raw("sockaddr", 128)?;
            Ok(decode_sockaddr(nonce, u16::from_be_bytes, address))
        }
        1 => decoder.versioned("entity_addr", 1, |_, d| {
            d.u32("type")?;
            let nonce = d.u32("nonce")?;
            Ok(decode_sockaddr(nonce, u16::from_le_bytes, d.bytes("sockaddr")?))
        }),
        other => Err(place.error("address form", Reason::Value(other.into()))),
    }
}

/// Family, port and address; a family that we don't know, or too few bytes, give no address.
fn decode_sockaddr(nonce: u32, family: fn([u8; 2]) -> u16, sockaddr: &[u8]) -> Address {
    let read = || {
        let mut d = Decoder::new("sockaddr", sockaddr);
        let family = family(d.array("family").ok()?);
        let (_, least) = FAMILIES.into_iter().find(|(known, _)| *known == family)?;
        if sockaddr.len() < least {
            return None;
        }
        let port = u16::from_be_bytes(d.array("port").ok()?);
        let host = if least == 16 {
            Ipv4Addr::from(d.array::<4>("address").ok()?).into()
        } else {
            d.u32("flow").ok()?;
            Ipv6Addr::from(d.array::<16>("address").ok()?).into()
        };
        Some((host, port))
    };
    match read() {
        Some((host, port)) => Address { host: Some(host), port, nonce },
        None => Address { host: None, port: 0, nonce },
    }
}

/// Arguments of the class are a structure that begins with the lock's name.
fn call(method: &'static std::ffi::CStr, members: impl FnOnce(Encoder) -> Encoder) -> Call {
    Call::lock(method, Encoder::new().versioned(1, 1, |e| members(e.bytes(LOCK.as_bytes()))))
}

/// Takes the lock: `EBUSY` if somebody else has it, `EEXIST` if this client has, with this cookie.
#[must_use]
pub fn lock(cookie: &[u8], tag: &[u8]) -> Call {
    call(c"lock", |e| e.u8(EXCLUSIVE).bytes(cookie).bytes(tag).bytes(b"").time(Time::default()).u8(0))
}

/// Gives the lock back: `ENOENT` if this client doesn't have it.
#[must_use]
pub fn unlock(cookie: &[u8]) -> Call {
    call(c"unlock", |e| e.bytes(cookie))
}

/// Takes the lock away from its owner: `ENOENT` if that doesn't have it.
#[must_use]
pub fn break_lock(owner: Entity, cookie: &[u8]) -> Call {
    call(c"break_lock", |e| e.u8(owner.kind).i64(owner.number).bytes(cookie))
}

/// Asks who has the lock.
#[must_use]
pub fn get_info() -> Call {
    call(c"get_info", |e| e)
}

/// Fails with `EBUSY` if this client doesn't have the lock; goes in front of what needs it.
#[must_use]
pub fn assert_locked(cookie: &[u8], tag: &[u8]) -> Call {
    call(c"assert_locked", |e| e.u8(EXCLUSIVE).bytes(cookie).bytes(tag))
}

/// Changes the cookie of the lock that this client has: `EBUSY` if it hasn't.
#[must_use]
pub fn set_cookie(old: &[u8], tag: &[u8], new: &[u8]) -> Call {
    call(c"set_cookie", |e| e.u8(EXCLUSIVE).bytes(old).bytes(tag).bytes(new))
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
