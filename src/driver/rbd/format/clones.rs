// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Methods about parents and clones, on headers, on `rbd_children`, and on data objects that are copied up.
//!
//! Source: RBD format document, sections 5.2 to 5.4 and 19.

use super::calls::Call;
use super::encoding::{DecodeError, Decoder, Encoder};
use super::records::{ChildSpec, ParentSpec};
use super::replies::Protection;

/// Protects a snapshot, or takes its protection away: `ENOEXEC` without the feature `layering`.
#[must_use]
pub fn set_protection_status(snapshot: u64, status: Protection) -> Call {
    Call::rbd(c"set_protection_status", Encoder::new().u64(snapshot).u8(status.bits()))
}

/// Makes the image a clone that sees `overlap` bytes of its parent: `EEXIST` if it is one.
#[must_use]
pub fn parent_attach(parent: &ParentSpec, overlap: u64) -> Call {
    let input = ParentSpec::encode(Encoder::new(), Some(parent)).u64(overlap);
    Call::rbd(c"parent_attach", input.bool(false))
}

/// Makes the image independent: `ENOENT` if it is.
#[must_use]
pub fn parent_detach() -> Call {
    Call::rbd(c"parent_detach", Encoder::new())
}

/// Notes a clone with its parent's snapshot: `EEXIST` if it is there, `ENOENT` if the snapshot isn't.
#[must_use]
pub fn child_attach(snapshot: u64, child: &ChildSpec) -> Call {
    Call::rbd(c"child_attach", child.encode(Encoder::new().u64(snapshot)))
}

/// Removes that note: `ENOENT` if there is none.
#[must_use]
pub fn child_detach(snapshot: u64, child: &ChildSpec) -> Call {
    Call::rbd(c"child_detach", child.encode(Encoder::new().u64(snapshot)))
}

/// The clones of the first kind that a pool has of a snapshot; `ENOENT` if there are none.
#[must_use]
pub fn get_children(pool: i64, image_id: &[u8], snapshot: u64) -> Call {
    Call::rbd(c"get_children", Encoder::new().i64(pool).bytes(image_id).u64(snapshot))
}

/// The reply to `get_children`: the ids of the images.
///
/// # Errors
/// If it is damaged.
pub fn get_children_reply(reply: &[u8]) -> Result<Vec<&[u8]>, DecodeError> {
    Decoder::new("get_children", reply).list("children", 4, |d| d.text("image_id"))
}

/// Makes a data object of what its parent has, unless the object exists: bytes, and the offset in the object of each.
#[must_use]
pub fn sparse_copyup(extents: &[(u64, &[u8])]) -> Call {
    let mut input = Encoder::new().count(extents.len());
    let mut total = Vec::new();
    for (offset, bytes) in extents {
        input = input.u64(*offset).u64(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        total.extend_from_slice(bytes);
    }
    Call::rbd(c"sparse_copyup", input.bytes(&total))
}

#[cfg(test)]
mod tests {
    use super::super::hex::hex;
    use super::*;

    #[test]
    fn protection_is_one_byte() {
        let protect = set_protection_status(9, Protection::Protected);
        assert_eq!(protect.input(), hex("090000000000000002"));
        let unprotect = set_protection_status(9, Protection::Unprotected);
        assert_eq!(unprotect.input(), hex("090000000000000000"));
    }

    #[test]
    fn parent_is_attached_with_its_overlap() {
        let parent = ParentSpec {
            pool: 2,
            namespace: b"ns1".to_vec(),
            image_id: b"10c8d27ba323".to_vec(),
            snapshot: 10,
        };
        let expected =
            "0101270000000200000000000000030000006e73310c0000003130633864323762613332330a000000000000000000a0
            000000000000";
        assert_eq!(parent_attach(&parent, 10 << 20).input(), hex(expected));
        assert_eq!(parent_detach().input(), b"");
    }

    #[test]
    fn child_is_attached_to_its_snapshot() {
        let child = ChildSpec { pool: 2, image_id: b"1122aabbccdd".to_vec(), namespace: b"ns1".to_vec() };
        let expected =
            hex("090000000000000002011f00000002000000000000000c000000313132326161626263636464030000006e7331");
        assert_eq!(child_attach(9, &child).input(), expected);
        assert_eq!(child_detach(9, &child).input(), expected);
    }

    #[test]
    fn children_of_the_first_kind() {
        let key = hex("0200000000000000 0c000000 313063386432376261333233 0a00000000000000");
        assert_eq!(get_children(2, b"10c8d27ba323", 10).input(), key);
        let reply = hex("01000000 0b000000 3130646166303536323865");
        assert_eq!(get_children_reply(&reply), Ok(vec![b"10daf05628e".as_slice()]));
    }

    #[test]
    fn copyup_of_two_extents() {
        let call = sparse_copyup(&[(0, b"AAAA"), (4096, b"BBBB")]);
        let expected = "020000000000000000000000040000000000000000100000000000000400000000000000080000004141414142424242";
        assert_eq!(call.input(), hex(expected));
        assert_eq!(sparse_copyup(&[]).input(), [0; 8]);
    }
}
