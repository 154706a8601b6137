// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Tests of decoder and encoder.

use proptest::prelude::*;

use super::*;

#[test]
fn numbers_are_little_endian() {
    let bytes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    let mut decoder = Decoder::new("numbers", &bytes);
    assert_eq!(decoder.u8("a"), Ok(1));
    assert_eq!(decoder.u16("b"), Ok(0x0302));
    assert_eq!(decoder.u64("c"), Ok(0x0b0a_0908_0706_0504));
    assert_eq!((decoder.left(), decoder.at()), (0, 11));
}

#[test]
fn time_of_a_real_header() {
    let bytes = [0x46, 0xf6, 0xff, 0x6a, 0xff, 0xf3, 0x32, 0x0c];
    let expected = Time { seconds: 0x6aff_f646, nanoseconds: 0x0c32_f3ff };
    assert_eq!(Decoder::new("time", &bytes).time("t"), Ok(expected));
    assert_eq!(Encoder::new().time(expected).finish(), bytes);
}

#[test]
fn error_names_what_was_decoded_and_where() {
    let mut decoder = Decoder::new("get_size", &[22, 0, 0]);
    assert_eq!(decoder.u8("order"), Ok(22));
    let error = decoder.u64("size").unwrap_err();
    assert_eq!(error.to_string(), "get_size: size at byte 1: 8 bytes are wanted, 2 are left");
    assert_eq!(error.errno(), Errno::EIO);
}

#[test]
fn bytes_longer_than_the_input_are_refused_without_allocation() {
    let error = Decoder::new("x", &[255, 255, 255, 255, 1]).bytes("name").unwrap_err();
    assert_eq!(error.reason, Reason::Truncated { wanted: 0xffff_ffff, left: 1 });
}

#[test]
fn text_with_a_nul_is_refused() {
    let error = Decoder::new("x", &[2, 0, 0, 0, b'a', 0]).text("name").unwrap_err();
    assert_eq!(error.reason, Reason::Text("there is a NUL in the text"));
}

#[test]
fn list_whose_count_cannot_fit_is_refused_before_an_element_is_read() {
    let bytes = [255, 255, 255, 255, 0, 0, 0, 0];
    let error = Decoder::new("x", &bytes).list("ids", 8, |_| -> Result<u64, _> { panic!("read") });
    assert!(matches!(error.unwrap_err().reason, Reason::Truncated { left: 4, .. }));
}

#[test]
fn list_of_elements_that_are_larger_in_memory_is_read_to_its_end() {
    let bytes = [3, 0, 0, 0, 1, 2, 3];
    let list = Decoder::new("x", &bytes).list("ids", 1, |d| Ok([u64::from(d.u8("id")?); 8])).unwrap();
    assert_eq!(list.len(), 3);
}

#[test]
fn versioned_skips_members_of_a_newer_writer() {
    let bytes = Encoder::new().versioned(9, 1, |e| e.u32(7).u64(8)).u8(5).finish();
    let mut decoder = Decoder::new("outer", &bytes);
    let seen = decoder.versioned("inner", 1, |version, d| Ok((version, d.u32("first")?)));
    assert_eq!(seen, Ok((9, 7)));
    assert_eq!(decoder.u8("next"), Ok(5));
}

#[test]
fn versioned_for_newer_readers_only_is_refused() {
    let bytes = Encoder::new().versioned(3, 3, |e| e).finish();
    let error = Decoder::new("outer", &bytes).versioned("inner", 2, |_, _| Ok(())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "inner: version at byte 1: it needs a reader of version 3, this one knows 2"
    );
}

#[test]
fn versioned_members_end_with_their_structure() {
    // The byte behind the structure must not be taken for a member of it.
    let bytes = Encoder::new().versioned(1, 1, |e| e.u8(1)).u8(2).finish();
    let read = |_, d: &mut Decoder<'_>| Ok((d.u8("a")?, d.u8("b")?));
    let error = Decoder::new("outer", &bytes).versioned("inner", 1, read).unwrap_err();
    assert_eq!((error.what, error.field, error.at), ("inner", "b", 7));
}

#[test]
fn versioned_longer_than_the_input_is_refused() {
    let error = Decoder::new("o", &[1, 1, 9, 0, 0, 0]).versioned("i", 1, |_, _| Ok(())).unwrap_err();
    assert_eq!(error.field, "length");
}

#[test]
fn failed_read_leaves_the_decoder_where_it_was() {
    let mut decoder = Decoder::new("x", &[1, 2, 0, 0, 0, 9]);
    assert!(decoder.optional("o", |d| d.u64("v")).is_err());
    assert!(decoder.time("t").is_err());
    assert_eq!(decoder.at(), 0);
}

#[test]
fn optional_is_a_byte_and_the_value() {
    let bytes = Encoder::new().optional(Some(5), Encoder::u64).optional(None, Encoder::u64).finish();
    assert_eq!(bytes, [1, 5, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut decoder = Decoder::new("x", &bytes);
    assert_eq!(decoder.optional("a", |d| d.u64("a")), Ok(Some(5)));
    assert_eq!(decoder.optional("b", |d| d.u64("b")), Ok(None));
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded_again(
        a: u8, b: u16, c: u32, d: u64, e: i32, f: i64, g: bool, text: Vec<u8>, list: Vec<u64>, tail: Vec<u8>,
    ) {
        let mut encoder = Encoder::new().u8(a).u16(b).u32(c).u64(d).i32(e).i64(f).bool(g).bytes(&text);
        encoder = encoder.count(list.len());
        for &id in &list {
            encoder = encoder.u64(id);
        }
        let bytes = encoder.versioned(2, 1, |inner| inner.bytes(&text).raw(&tail)).finish();
        let mut decoder = Decoder::new("all", &bytes);
        prop_assert_eq!(decoder.u8("a"), Ok(a));
        prop_assert_eq!(decoder.u16("b"), Ok(b));
        prop_assert_eq!(decoder.u32("c"), Ok(c));
        prop_assert_eq!(decoder.u64("d"), Ok(d));
        prop_assert_eq!(decoder.i32("e"), Ok(e));
        prop_assert_eq!(decoder.i64("f"), Ok(f));
        prop_assert_eq!(decoder.bool("g"), Ok(g));
        prop_assert_eq!(decoder.bytes("text"), Ok(text.as_slice()));
        prop_assert_eq!(decoder.list("list", 8, |d| d.u64("id")), Ok(list));
        let inner = decoder.versioned("inner", 2, |_, d| d.bytes("text").map(<[u8]>::to_vec));
        prop_assert_eq!(inner, Ok(text));
        prop_assert_eq!(decoder.left(), 0);
    }
}
