// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Tests of layouts and of walking through objects, against the formulas of the format document written out byte by byte.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Section 10's formula from an image offset to an object, as it stands there.
fn formula(su: u64, sc: u64, os: u64, off: u64) -> (u64, u64) {
    let spo = os / su;
    let block = off / su;
    let (stripe, col) = (block / sc, block % sc);
    (stripe / spo * sc + col, stripe % spo * su + off % su)
}

/// Its number of objects.
fn formula_count(su: u64, sc: u64, os: u64, size: u64) -> u64 {
    let period = os * sc;
    let rem = size % period;
    let count = size.div_ceil(period) * sc;
    if 0 < rem && rem < sc * su {
        count - (sc - rem.div_ceil(su))
    } else {
        count
    }
}

/// Its length of an object.
fn formula_length(su: u64, sc: u64, os: u64, object: u64, size: u64) -> u64 {
    let (spo, period, set) = (os / su, size / os / sc, object / sc);
    if set != period {
        return if set > period { 0 } else { os };
    }
    let block = size / su;
    let (stripe, col) = (block / sc, block % sc);
    let target = period * sc + col;
    match object.cmp(&target) {
        std::cmp::Ordering::Less => (stripe % spo + 1) * su,
        std::cmp::Ordering::Greater => stripe % spo * su,
        std::cmp::Ordering::Equal => stripe % spo * su + size % su,
    }
}

fn range(offset: u64, bytes: u64) -> ByteRange {
    ByteRange::new(offset.try_into().unwrap(), bytes.try_into().unwrap()).unwrap()
}

/// Layouts small enough to look at every byte.
fn small() -> impl Strategy<Value = Layout> {
    (0..7u8)
        .prop_flat_map(|order| (Just(order), 0..=order, 1..6u64))
        .prop_map(|(order, unit, count)| Layout::striped(order, 1 << unit, count).unwrap())
}

/// All layouts that there are.
fn any_layout() -> impl Strategy<Value = Layout> {
    (0..=MAX_ORDER)
        .prop_flat_map(|order| (Just(order), 0..=order, 0..=((u64::MAX >> 1) >> order).ilog2()))
        .prop_flat_map(|(order, unit, bits)| (Just(order), Just(unit), 1..=(1u64 << bits)))
        .prop_map(|(order, unit, count)| Layout::striped(order, 1 << unit, count).unwrap())
}

/// Every byte of a request: where it is, by the pieces of the objects.
fn bytes_by_objects(layout: Layout, request: ByteRange) -> Vec<(u64, (u64, u64))> {
    let mut bytes = Vec::new();
    for object in layout.objects(request) {
        let mut offset = object.offset;
        for piece in object.pieces() {
            for at in piece.at..piece.at + piece.length {
                bytes.push((at, (object.object, offset)));
                offset += 1;
            }
        }
        assert_eq!(offset, object.offset + object.length);
    }
    bytes
}

#[test]
fn plain_layout_cuts_at_objects() {
    let layout = Layout::plain(22).unwrap();
    let found: Vec<_> = layout.objects(range((4 << 20) - 100, 300)).collect();
    assert_eq!(found.len(), 2);
    assert_eq!(
        (found[0].object, found[0].offset, found[0].length, found[0].first),
        (0, (4 << 20) - 100, 100, 0)
    );
    assert_eq!((found[1].object, found[1].offset, found[1].length, found[1].first), (1, 0, 200, 100));
    assert!(found.iter().all(ObjectRange::is_one_piece));
}

#[test]
fn striped_layout_as_measured_on_a_cluster() {
    // Units of 64 KiB over 4 objects of 4 MiB: byte 4 MiB is object 0, offset 1 MiB.
    let layout = Layout::striped(22, 64 << 10, 4).unwrap();
    assert_eq!(layout.locate(4 << 20), (0, 1 << 20));
    // Object 0 of an image of 10 MiB has 2.5 MiB.
    assert_eq!(layout.object_length(0, 10 << 20), (5 << 20) / 2);
    assert_eq!(layout.object_count(10 << 20), 4);
}

#[test]
fn striped_request_touches_an_object_once_with_several_pieces() {
    let layout = Layout::striped(22, 64 << 10, 4).unwrap();
    let found: Vec<_> = layout.objects(range(1000, 512 << 10)).collect();
    assert_eq!(found.iter().map(|range| range.object).collect::<Vec<_>>(), [0, 1, 2, 3]);
    let first = found[0];
    assert_eq!((first.offset, first.length), (1000, (128 << 10)));
    let pieces: Vec<_> = first.pieces().map(|piece| (piece.at, piece.length)).collect();
    assert_eq!(pieces, [(0, 65536 - 1000), (262_144 - 1000, 65536), (524_288 - 1000, 1000)]);
    assert!(!first.is_one_piece());
}

#[test]
fn empty_request_touches_nothing() {
    let layout = Layout::striped(12, 512, 3).unwrap();
    assert_eq!(layout.objects(range(12345, 0)).count(), 0);
    assert_eq!(layout.objects(ByteRange::EMPTY).count(), 0);
}

#[test]
fn last_byte_that_there_is_has_its_place() {
    for layout in
        [Layout::plain(0).unwrap(), Layout::plain(25).unwrap(), Layout::striped(25, 1, 1 << 37).unwrap()]
    {
        let request = ByteRange::new(i64::MAX - 2, 2).unwrap();
        let total: u64 = layout.objects(request).map(|range| range.length).sum();
        assert_eq!(total, 2);
    }
}

#[test]
fn one_column_with_small_units_is_one_piece_per_object() {
    let layout = Layout::striped(22, 4096, 1).unwrap();
    assert!(!layout.is_plain());
    let found: Vec<_> = layout.objects(range(100, 8 << 20)).collect();
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|range| range.is_one_piece() && range.pieces().count() == 1));
    assert_eq!(layout.image_ranges(1, 0, 8 << 20).collect::<Vec<_>>(), [range(4 << 20, 4 << 20)]);
}

#[test]
fn layouts_that_make_no_sense_are_refused() {
    assert_eq!(Layout::plain(26), Err(LayoutError::Order(26)));
    assert_eq!(Layout::striped(255, 1, 1), Err(LayoutError::Order(255)));
    for (unit, count) in [(0, 1), (3, 1), (8192, 1), (4096, 0), (512, u64::MAX), (512, 1 << 51)] {
        let error = LayoutError::Stripes { unit, count, order: 12 };
        assert_eq!(Layout::striped(12, unit, count), Err(error), "{unit} {count}");
        assert_eq!(error.errno(), Errno::EINVAL);
    }
}

#[test]
fn new_layouts_have_the_limits_of_a_new_image() {
    assert_eq!(Layout::for_create(22, 0, 0), Layout::plain(22));
    assert!(Layout::for_create(22, 4 << 20, 1).unwrap().is_plain());
    assert_eq!(Layout::for_create(11, 0, 0), Err(LayoutError::TooSmall));
    assert_eq!(Layout::for_create(12, 256, 2), Err(LayoutError::TooSmall));
    assert_eq!(Layout::for_create(26, 0, 0), Err(LayoutError::Order(26)));
    assert!(Layout::for_create(22, 0, 4).is_err() && Layout::for_create(22, 65536, 0).is_err());
}

#[test]
fn size_without_an_offset_is_refused() {
    assert_eq!(check_size(1 << 62), Ok(1 << 62));
    assert_eq!(check_size(1 << 63).unwrap_err().errno(), Errno::EFBIG);
}

proptest! {
    #[test]
    fn locate_is_the_formula_and_offset_leads_back(layout in small(), offset in 0..20_000u64) {
        let (object, at) = layout.locate(offset);
        let expected = formula(layout.stripe_unit(), layout.stripe_count(), layout.object_size(), offset);
        prop_assert_eq!((object, at), expected);
        prop_assert_eq!(layout.offset(object, at), Some(offset));
    }

    #[test]
    fn objects_cover_every_byte_once_and_in_the_right_place(layout in small(), offset in 0..2000u64, bytes in 0..2000u64) {
        let mut found = bytes_by_objects(layout, range(offset, bytes));
        found.sort_unstable();
        let expected: Vec<_> = (0..bytes).map(|at| (at, layout.locate(offset + at))).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn objects_come_once_each_and_in_the_order_of_the_request(layout in small(), offset in 0..2000u64, bytes in 1..2000u64) {
        let found: Vec<_> = layout.objects(range(offset, bytes)).collect();
        let mut numbers: Vec<_> = found.iter().map(|range| range.object).collect();
        prop_assert_eq!(found[0].first, 0);
        prop_assert!(found.windows(2).all(|two| two[0].first < two[1].first));
        numbers.sort_unstable();
        prop_assert!(numbers.windows(2).all(|two| two[0] < two[1]));
        prop_assert!(found.iter().all(|range| range.offset + range.length <= layout.object_size()));
    }

    #[test]
    fn image_ranges_are_where_the_bytes_of_the_object_are(layout in small(), object in 0..20u64, offset in 0..80u64, length in 0..80u64) {
        let mut found = Vec::new();
        for part in layout.image_ranges(object, offset, length) {
            found.extend(part.offset()..part.end());
        }
        let end = (offset + length).min(layout.object_size());
        let expected: Vec<_> = (offset..end).map(|at| i64::try_from(layout.offset(object, at).unwrap()).unwrap()).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn object_count_and_lengths_are_the_formulas_and_add_up(layout in small(), size in 1..3000u64) {
        let (su, sc, os) = (layout.stripe_unit(), layout.stripe_count(), layout.object_size());
        let count = layout.object_count(size);
        prop_assert_eq!(count, formula_count(su, sc, os, size));
        let mut held: BTreeMap<u64, u64> = BTreeMap::new();
        for offset in 0..size {
            *held.entry(layout.locate(offset).0).or_default() += 1;
        }
        for object in 0..count + 2 * sc {
            let length = layout.object_length(object, size);
            prop_assert_eq!(length, formula_length(su, sc, os, object, size));
            prop_assert_eq!(length, held.get(&object).copied().unwrap_or_default());
            // Objects of the last set may be empty; those behind the count are.
            prop_assert!(object < count || length == 0);
        }
    }

    #[test]
    fn no_layout_panics_or_loses_a_byte(layout in any_layout(), offset in 0..=i64::MAX, bytes in 0..1_000_000i64) {
        let bytes = bytes.min(i64::MAX - offset);
        let request = ByteRange::new(offset, bytes).unwrap();
        // Tiny blocks make many objects; some are enough.
        let mut seen = 0;
        let mut all = true;
        for (count, object) in layout.objects(request).enumerate() {
            if count == 1000 {
                all = false;
                break;
            }
            seen += object.length;
            let image = u64::try_from(offset).unwrap() + object.first;
            prop_assert_eq!(layout.locate(image), (object.object, object.offset));
            prop_assert_eq!(layout.offset(object.object, object.offset), Some(image));
        }
        prop_assert!(!all || seen == u64::try_from(bytes).unwrap());
        let size = u64::try_from(offset).unwrap();
        let objects = layout.object_count(size);
        prop_assert_eq!(layout.object_length(objects, size), 0);
    }

    #[test]
    fn any_object_and_any_numbers_do_not_panic(layout in any_layout(), object: u64, offset: u64, length: u64) {
        let mut last = -1;
        for part in layout.image_ranges(object, offset, length).take(100) {
            prop_assert!(part.offset() > last);
            last = part.end() - 1;
        }
        prop_assert!(layout.offset(object, offset).is_none_or(|at| layout.locate(at) == (object, offset)));
        prop_assert!(layout.object_length(object, offset) <= layout.object_size());
        prop_assert_eq!(layout.object_count(length) == 0, length == 0);
    }

    #[test]
    fn any_pattern_is_a_layout_or_an_error(order: u8, unit: u64, count: u64) {
        if let Ok(layout) = Layout::striped(order, unit, count) {
            prop_assert!(layout.set_size() <= (u64::MAX >> 1));
            prop_assert_eq!((layout.stripe_unit(), layout.stripe_count()), (unit, count));
        }
    }
}
