// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What the clients of an image say to each other through its header: notifications, and the answers to them.
//!
//! Source: RBD format document, section 11. A watcher must acknowledge every notification, also those that it can't read.

use super::encoding::{DecodeError, Decoder, Encoder};

/// The version of the messages that we send; of those that we receive any will do.
const VERSION: u8 = 7;

/// A client: its connection and its watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientId {
    /// The number of its connection.
    pub instance: u64,
    /// The handle of its watch.
    pub handle: u64,
}

/// A request that takes its time: who asked, and which of its requests it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId {
    /// Who asked.
    pub client: ClientId,
    /// Counted by that client.
    pub number: u64,
}

/// A notification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// That client has the lock now.
    AcquiredLock(ClientId),
    /// That client has the lock no more.
    ReleasedLock(ClientId),
    /// That client wants the lock; its owner answers, nobody else does.
    RequestLock(ClientId),
    /// The header has changed and is to be read again.
    HeaderUpdate,
    /// How far a request has come.
    AsyncProgress {
        /// Which one.
        request: RequestId,
        /// What is done.
        done: u64,
        /// What there is to do.
        total: u64,
    },
    /// A request has ended.
    AsyncComplete {
        /// Which one.
        request: RequestId,
        /// 0, or a negative errno.
        result: i32,
    },
    /// The owner of the lock is to resize the image.
    Resize {
        /// The new size in bytes.
        size: u64,
        /// The request.
        request: RequestId,
        /// Whether the image may become smaller.
        may_shrink: bool,
    },
    /// A snapshot is about to be made.
    Quiesce(RequestId),
    /// It has been made.
    Unquiesce(RequestId),
    /// Work for the owner of the lock that we can't do: its number, from 6 on.
    Maintenance(u32),
    /// Something newer than us, with its number.
    Other(u32),
}

/// Reads who asked for what.
fn decode_client(decoder: &mut Decoder<'_>) -> Result<ClientId, DecodeError> {
    Ok(ClientId { instance: decoder.u64("client id")?, handle: decoder.u64("client handle")? })
}

/// Reads which request it is.
fn decode_request(decoder: &mut Decoder<'_>) -> Result<RequestId, DecodeError> {
    Ok(RequestId { client: decode_client(decoder)?, number: decoder.u64("request id")? })
}

/// Writes a client.
fn encode_client(encoder: Encoder, client: ClientId) -> Encoder {
    encoder.u64(client.instance).u64(client.handle)
}

/// Writes a request.
fn encode_request(encoder: Encoder, request: RequestId) -> Encoder {
    encode_client(encoder, request.client).u64(request.number)
}

impl Message {
    /// Reads what a watcher was told; nothing at all is a [`Message::HeaderUpdate`].
    ///
    /// # Errors
    /// If it is damaged.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        if payload.is_empty() {
            return Ok(Self::HeaderUpdate);
        }
        // What older and newer senders say begins in the same way, whatever they ask of their readers.
        Decoder::new("notification", payload).versioned("notification", u8::MAX, |version, d| {
            Ok(match d.u32("operation")? {
                0 => Self::AcquiredLock(decode_client(d)?),
                1 => Self::ReleasedLock(decode_client(d)?),
                2 => Self::RequestLock(decode_client(d)?),
                3 => Self::HeaderUpdate,
                4 => Self::AsyncProgress {
                    request: decode_request(d)?,
                    done: d.u64("offset")?,
                    total: d.u64("total")?,
                },
                5 => Self::AsyncComplete { request: decode_request(d)?, result: d.i32("result")? },
                7 => Self::Resize {
                    size: d.u64("size")?,
                    request: decode_request(d)?,
                    // Older senders could not say no.
                    may_shrink: version < 4 || d.bool("allow_shrink")?,
                },
                18 => Self::Quiesce(decode_request(d)?),
                19 => Self::Unquiesce(decode_request(d)?),
                number @ (6 | 8..=17 | 20) => Self::Maintenance(number),
                number => Self::Other(number),
            })
        })
    }

    /// Writes what watchers are to be told. What can't be sent because it isn't known becomes its number alone.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let members = |e: Encoder| match *self {
            Self::AcquiredLock(client) => encode_client(e.u32(0), client),
            Self::ReleasedLock(client) => encode_client(e.u32(1), client),
            // Nobody is forced.
            Self::RequestLock(client) => encode_client(e.u32(2), client).bool(false),
            Self::HeaderUpdate => e.u32(3),
            Self::AsyncProgress { request, done, total } => {
                encode_request(e.u32(4), request).u64(done).u64(total)
            }
            Self::AsyncComplete { request, result } => encode_request(e.u32(5), request).i32(result),
            Self::Resize { size, request, may_shrink } => {
                encode_request(e.u32(7).u64(size), request).bool(may_shrink)
            }
            Self::Quiesce(request) => encode_request(e.u32(18), request),
            Self::Unquiesce(request) => encode_request(e.u32(19), request),
            Self::Maintenance(number) | Self::Other(number) => e.u32(number),
        };
        Encoder::new().versioned(VERSION, 1, members).finish()
    }
}

/// What goes back with an acknowledgement that says something; `result` is 0 or a negative errno.
#[must_use]
pub fn encode_response(result: i32) -> Vec<u8> {
    Encoder::new().versioned(1, 1, |e| e.i32(result)).finish()
}

/// What came with an acknowledgement: 0 or a negative errno, or nothing, from those who have nothing to say.
///
/// # Errors
/// If it is damaged.
pub fn decode_response(payload: &[u8]) -> Result<Option<i32>, DecodeError> {
    if payload.is_empty() {
        return Ok(None);
    }
    Decoder::new("response", payload).versioned("response", 1, |_, d| d.i32("result").map(Some))
}

/// What the sender of a notification gets back, also if some did not answer in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<'a> {
    /// Those who acknowledged it, and with what.
    pub acks: Vec<(ClientId, &'a [u8])>,
    /// Those who did not.
    pub timeouts: Vec<ClientId>,
}

impl<'a> Reply<'a> {
    /// Reads it; nothing at all means that nobody was there.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn decode(reply: &'a [u8]) -> Result<Self, DecodeError> {
        if reply.is_empty() {
            return Ok(Self { acks: Vec::new(), timeouts: Vec::new() });
        }
        let mut decoder = Decoder::new("notify reply", reply);
        let acks = decoder.list("acks", 20, |d| Ok((decode_client(d)?, d.bytes("payload")?)))?;
        let timeouts = decoder.list("timeouts", 16, decode_client)?;
        Ok(Self { acks, timeouts })
    }

    /// Whether that client was watching, answer or not.
    #[must_use]
    pub fn was_watching(&self, client: ClientId) -> bool {
        self.acks.iter().any(|(who, _)| *who == client) || self.timeouts.contains(&client)
    }

    /// The answer of the lock's owner: the only one that isn't empty. None if nobody, or more than one, gave one.
    #[must_use]
    pub fn owner_answer(&self) -> Option<&'a [u8]> {
        let mut answers = self.acks.iter().map(|(_, payload)| *payload).filter(|payload| !payload.is_empty());
        answers.next().filter(|_| answers.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::super::hex::hex;
    use super::*;
    use proptest::prelude::*;

    fn client(instance: u64, handle: u64) -> ClientId {
        ClientId { instance, handle }
    }

    fn request(instance: u64, handle: u64) -> RequestId {
        RequestId { client: client(instance, handle), number: 1 }
    }

    #[test]
    fn messages_are_those_that_librbd_sends() {
        let resizer = request(0x1217, 0x7f61_ec00_16d0);
        for (bytes, message) in [
            ("0701 14000000 01000000 1512000000000000 20440080b17f0000", Message::ReleasedLock(client(0x1215, 0x7fb1_8000_4420))),
            ("0701 15000000 02000000 1312000000000000 e0ee1a2e00000000 00", Message::RequestLock(client(0x1213, 0x2e1a_eee0))),
            ("0701 04000000 03000000", Message::HeaderUpdate),
            (
                "0701 2c000000 04000000 1912000000000000 e02e0194147f0000 0100000000000000 0100000000000000 0a00000000000000",
                Message::AsyncProgress { request: request(0x1219, 0x7f14_9401_2ee0), done: 1, total: 10 },
            ),
            (
                "0701 20000000 05000000 1712000000000000 d01600ec617f0000 0100000000000000 00000000",
                Message::AsyncComplete { request: resizer, result: 0 },
            ),
            (
                "0701 20000000 05000000 1712000000000000 d01600ec617f0000 0100000000000000 e5ffffff",
                Message::AsyncComplete { request: resizer, result: -27 },
            ),
            (
                "0701 25000000 07000000 0000c00300000000 1712000000000000 d01600ec617f0000 0100000000000000 00",
                Message::Resize { size: 60 << 20, request: resizer, may_shrink: false },
            ),
            (
                "0701 25000000 07000000 0000800000000000 2112000000000000 d0160020247f0000 0100000000000000 01",
                Message::Resize { size: 8 << 20, request: request(0x1221, 0x7f24_2000_16d0), may_shrink: true },
            ),
            (
                "0701 1c000000 12000000 1512000000000000 20440080b17f0000 0100000000000000",
                Message::Quiesce(request(0x1215, 0x7fb1_8000_4420)),
            ),
            (
                "0701 1c000000 13000000 1512000000000000 20440080b17f0000 0100000000000000",
                Message::Unquiesce(request(0x1215, 0x7fb1_8000_4420)),
            ),
            (
                "0701 14000000 00000000 1512000000000000 20440080b17f0000",
                Message::AcquiredLock(client(0x1215, 0x7fb1_8000_4420)),
            ),
        ] {
            assert_eq!(Message::decode(&hex(bytes)), Ok(message.clone()), "{bytes}");
            assert_eq!(message.encode(), hex(bytes), "{message:?}");
        }
    }

    #[test]
    fn maintenance_that_librbd_asks_for_is_known_by_its_number() {
        for (bytes, number) in [
            ("0701 1c000000 06000000 2f12000000000000 b046013ca97f0000 0100000000000000", 6),
            (
                "0701 33000000 08000000 01000000 61 0101 04000000 00000000 1912000000000000 e02e0194147f0000
                 0100000000000000 0000000000000000",
                8,
            ),
            (
                "0701 2b000000 09000000 01000000 61 0101 04000000 00000000 1f12000000000000 e00f0054797f0000
                 0100000000000000",
                9,
            ),
            ("0701 1c000000 0a000000 2b12000000000000 b014004cb47f0000 0100000000000000", 10),
            ("0701 25000000 0f000000 1000000000000000 00 2712000000000000 90150090757f0000 0100000000000000", 15),
            ("0701 25000000 0f000000 1800000000000000 01 2912000000000000 901500a8717f0000 0100000000000000", 15),
            ("0701 24000000 11000000 2d12000000000000 901500b0527f0000 0100000000000000 0010000000000000", 17),
            (
                "0701 38000000 14000000 0e000000 636f6e665f7262645f6361636865 01 05000000 66616c7365
                 2512000000000000 e0150028237f0000 0100000000000000",
                20,
            ),
        ] {
            assert_eq!(Message::decode(&hex(bytes)), Ok(Message::Maintenance(number)), "{bytes}");
        }
    }

    #[test]
    fn messages_of_older_and_newer_peers_are_read() {
        assert_eq!(Message::decode(b""), Ok(Message::HeaderUpdate));
        let old = hex("0201 14000000 01000000 1512000000000000 20440080b17f0000");
        assert_eq!(Message::decode(&old), Ok(Message::ReleasedLock(client(0x1215, 0x7fb1_8000_4420))));
        let old =
            hex("0201 24000000 07000000 0000800000000000 2112000000000000 d0160020247f0000 0100000000000000");
        assert!(matches!(Message::decode(&old), Ok(Message::Resize { may_shrink: true, .. })));
        assert_eq!(Message::decode(&hex("0901 05000000 63000000 aa")), Ok(Message::Other(99)));
        assert!(Message::decode(&hex("0701 04000000 00000000")).is_err());
    }

    #[test]
    fn responses_are_ten_bytes_or_nothing() {
        for (result, bytes) in
            [(0, "01010400000000000000"), (-95, "010104000000a1ffffff"), (-30, "010104000000e2ffffff")]
        {
            assert_eq!(encode_response(result), hex(bytes));
            assert_eq!(decode_response(&hex(bytes)), Ok(Some(result)));
        }
        assert_eq!(decode_response(b""), Ok(None));
        assert!(decode_response(b"ok").is_err());
    }

    #[test]
    fn reply_of_a_real_cluster() {
        let bytes = hex("01000000 7f12000000000000 60ce9d1f00000000 02000000 6f6b 00000000");
        let reply = Reply::decode(&bytes).unwrap();
        let peer = client(4735, 0x1f9d_ce60);
        assert_eq!((reply.acks.as_slice(), reply.timeouts.len()), ([(peer, b"ok".as_slice())].as_slice(), 0));
        assert!(reply.was_watching(peer) && !reply.was_watching(client(1, 1)));
        assert_eq!(reply.owner_answer(), Some(b"ok".as_slice()));
    }

    #[test]
    fn reply_with_two_answers_has_no_owner() {
        let two =
            Reply { acks: vec![(client(1, 1), b"a"), (client(2, 2), b"b")], timeouts: vec![client(3, 3)] };
        assert_eq!(two.owner_answer(), None);
        assert!(two.was_watching(client(3, 3)));
        assert_eq!(Reply::decode(b"").unwrap().owner_answer(), None);
    }

    proptest! {
        #[test]
        fn any_payload_is_a_message_or_an_error(payload: Vec<u8>) {
            if let Ok(message) = Message::decode(&payload) {
                let known = !matches!(message, Message::Maintenance(_) | Message::Other(_));
                prop_assert!(!known || Message::decode(&message.encode()) == Ok(message));
            }
            drop((Reply::decode(&payload), decode_response(&payload)));
        }
    }
}
