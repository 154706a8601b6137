// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The object map: two bits for each data object, with checksums. Source: RBD format document, section 13.

use super::calls::Call;
use super::encoding::{DecodeError, Decoder, Encoder, Reason};

/// The most objects that an image with a map can have.
pub const MAX_OBJECTS: u64 = 256_000_000;
/// Bytes of data that share a checksum.
const BLOCK: usize = 4096;
/// Objects in a byte.
const PER_BYTE: u64 = 4;

/// What is known of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does not exist.
    Absent,
    /// It may exist, and may have changed since the newest snapshot.
    Exists,
    /// It is about to be removed, and may exist until then.
    Pending,
    /// It may exist, and has not changed since the newest snapshot.
    Clean,
}

impl State {
    /// As the map has it.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::Absent => 0,
            Self::Exists => 1,
            Self::Pending => 2,
            Self::Clean => 3,
        }
    }

    /// The lowest two bits.
    fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Absent,
            1 => Self::Exists,
            2 => Self::Pending,
            _ => Self::Clean,
        }
    }
}

/// A map.
///
/// # Invariants
/// `data` has two bits for each of `count` objects, the first one in the highest bits; those that are left over are 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObjectMap {
    count: u64,
    data: Vec<u8>,
}

impl ObjectMap {
    /// Reads the data of a map's object, or the reply to [`load`]. Checksums are checked if they are there.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut decoder = Decoder::new("object map", bytes);
        let header = decoder.bytes("header")?;
        let count = Decoder::new("object map", header)
            .versioned("object map header", 1, |_, d| d.u64("object_count"))?;
        let size = usize::try_from(count.div_ceil(PER_BYTE)).unwrap_or(usize::MAX);
        let data = decoder.raw("data", size)?;
        let place = decoder.clone();
        let footer = decoder.bytes("footer")?;
        if !footer.is_empty() && footer != encode_footer(header, data) {
            return Err(place.error("footer", Reason::Text("a checksum is wrong")));
        }
        let mut map = Self { count, data: data.to_vec() };
        // INVARIANT: the data was taken by the count, and what is left over is cleared here.
        map.clear_rest();
        Ok(map)
    }

    /// Writes the data of a map's object, with checksums.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let header = self.encode_header();
        let footer = encode_footer(&header, &self.data);
        Encoder::new().bytes(&header).raw(&self.data).bytes(&footer).finish()
    }

    /// The same without checksums, as methods take it.
    #[must_use]
    pub fn encode_bare(&self) -> Vec<u8> {
        Encoder::new().bytes(&self.encode_header()).raw(&self.data).bytes(b"").finish()
    }

    /// The structure in front of the data.
    fn encode_header(&self) -> Vec<u8> {
        Encoder::new().versioned(1, 1, |e| e.u64(self.count)).finish()
    }

    /// How many objects there are in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.count
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The state of an object, if it is in the map.
    #[must_use]
    pub fn state(&self, object: u64) -> Option<State> {
        if object >= self.count {
            return None;
        }
        let (index, shift) = position(object);
        self.data.get(index).map(|byte| State::from_bits(byte >> shift))
    }

    /// The states of all objects.
    pub fn states(&self) -> impl Iterator<Item = State> + '_ {
        (0..self.count).map_while(|object| self.state(object))
    }

    /// Changes the state of an object; says whether it is in the map.
    pub fn set(&mut self, object: u64, state: State) -> bool {
        let (index, shift) = position(object);
        match self.data.get_mut(index) {
            Some(byte) if object < self.count => {
                *byte = *byte & !(3 << shift) | state.bits() << shift;
                true
            }
            _ => false,
        }
    }

    /// Gives the map another number of objects, the new ones in that state. False, and nothing has changed, if there can't be so
    /// many.
    #[must_use]
    pub fn resize(&mut self, count: u64, state: State) -> bool {
        let Ok(size) = usize::try_from(count.div_ceil(PER_BYTE)) else { return false };
        if count > MAX_OBJECTS {
            return false;
        }
        let first = self.count;
        self.data.resize(size, 0b0101_0101u8.wrapping_mul(state.bits()));
        self.count = count;
        // The last byte that there was has room for some of the new ones.
        for object in first..count.min(first.next_multiple_of(PER_BYTE)) {
            self.set(object, state);
        }
        // INVARIANT: the data was resized by the count, and what is left over is cleared here.
        self.clear_rest();
        true
    }

    /// Clears the bits behind the last object.
    fn clear_rest(&mut self) {
        let (_, shift) = position(self.count);
        if let Some(last) = self.data.last_mut().filter(|_| self.count % PER_BYTE != 0) {
            // The bits of the first object that is not there, and those below.
            *last &= !(0xff >> 6_u8.saturating_sub(shift));
        }
    }

    /// The same objects, of which those that may be there may have changed.
    #[must_use]
    pub fn all_exist(&self) -> Self {
        let mut map = self.clone();
        for byte in &mut map.data {
            // Where one of the two bits is set, the low one will be, and the high one not.
            *byte = (*byte | *byte >> 1) & 0b0101_0101;
        }
        // INVARIANT: as many objects, and bits that were 0 in pairs stay 0.
        map
    }

    /// After a snapshot: nothing has changed since.
    pub fn snap_add(&mut self) {
        for byte in &mut self.data {
            // Where the low bit is set and the high one is not, both will be.
            *byte |= (*byte & !(*byte >> 1) & 0b0101_0101) << 1;
        }
    }

    /// After the newest snapshot, whose map was `removed`, has gone: what had changed before it has changed since the one before.
    pub fn snap_remove(&mut self, removed: &Self) {
        for object in 0..self.count {
            let changed_before = matches!(removed.state(object), None | Some(State::Exists));
            if changed_before && self.state(object) == Some(State::Clean) {
                self.set(object, State::Exists);
            }
        }
    }
}

/// Where an object's bits are: the byte, and how far they have to be shifted.
fn position(object: u64) -> (usize, u8) {
    let index = usize::try_from(object / PER_BYTE).unwrap_or(usize::MAX);
    let last = u8::try_from(object % PER_BYTE).unwrap_or_default();
    (index, 3_u8.saturating_sub(last).saturating_mul(2))
}

/// The checksums of the header and of each block of data.
fn encode_footer(header: &[u8], data: &[u8]) -> Vec<u8> {
    let mut footer = Encoder::new().u32(crc32c(header)).count(data.len().div_ceil(BLOCK));
    for block in data.chunks(BLOCK) {
        footer = footer.u32(crc32c(block));
    }
    footer.finish()
}

/// CRC-32C as Ceph has it: it begins with 0, and nothing is inverted at the end.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |crc, &byte| {
        let [low, ..] = (crc ^ u32::from(byte)).to_le_bytes();
        TABLE.get(usize::from(low)).copied().unwrap_or_default() ^ crc >> 8
    })
}

/// What each byte makes of the checksum.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
static TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte: u32 = 0;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            // The polynomial, with its bits in the order of the data's.
            crc = if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

/// The map, without checksums: `ENOENT` if there is none, `EINVAL` if a checksum is wrong.
#[must_use]
pub fn load() -> Call {
    Call::rbd(c"object_map_load", Encoder::new())
}

/// Replaces the map.
#[must_use]
pub fn save(map: &ObjectMap) -> Call {
    Call::rbd(c"object_map_save", Encoder::new().raw(&map.encode_bare()))
}

/// Changes the number of objects, which makes the map if there is none: `ESTALE` if one that goes is not in that state.
#[must_use]
pub fn resize(count: u64, state: State) -> Call {
    Call::rbd(c"object_map_resize", Encoder::new().u64(count).u8(state.bits()))
}

/// Changes the objects from `start` up to `end`; of these, if `current` is given, only those in that state.
#[must_use]
pub fn update(start: u64, end: u64, new: State, current: Option<State>) -> Call {
    let input = Encoder::new().u64(start).u64(end).u8(new.bits());
    Call::rbd(c"object_map_update", input.optional(current, |e, state| e.u8(state.bits())))
}

/// [`ObjectMap::snap_add`] in the cluster.
#[must_use]
pub fn snap_add() -> Call {
    Call::rbd(c"object_map_snap_add", Encoder::new())
}

/// [`ObjectMap::snap_remove`] in the cluster.
#[must_use]
pub fn snap_remove(removed: &ObjectMap) -> Call {
    Call::rbd(c"object_map_snap_remove", Encoder::new().raw(&removed.encode_bare()))
}

#[cfg(test)]
#[path = "object_map_tests.rs"]
mod tests;
