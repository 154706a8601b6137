// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Sizes of buffers: powers of two, so that requests of all sizes can use the same ones.

use crate::errno::Errno;

/// The smallest buffer is 1 << 12 bytes, the largest 1 << 31; class 0 has none.
const SMALLEST: u32 = 12;
pub(super) const CLASSES: usize = 21;

/// The class of buffers of at least so many bytes.
pub(super) fn class_of(bytes: usize) -> Result<usize, Errno> {
    if bytes == 0 {
        return Ok(0);
    }
    let log = bytes.checked_next_power_of_two().map_or(u32::MAX, usize::trailing_zeros).max(SMALLEST);
    let class = usize::try_from(log.saturating_sub(SMALLEST)).map_err(|_| Errno::EINVAL)?.saturating_add(1);
    if class < CLASSES {
        Ok(class)
    } else {
        Err(Errno::EINVAL)
    }
}

/// Bytes of the buffers of a class.
pub(super) fn capacity_of(class: usize) -> usize {
    match class.checked_sub(1) {
        None => 0,
        Some(power) => 1 << SMALLEST.saturating_add(u32::try_from(power).unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_of_is_the_smallest_that_fits() {
        assert_eq!(class_of(0), Ok(0));
        for (bytes, capacity) in
            [(1, 4096), (4096, 4096), (4097, 8192), (1 << 20, 1 << 20), (1 << 31, 1 << 31)]
        {
            assert_eq!(capacity_of(class_of(bytes).unwrap()), capacity);
        }
        assert_eq!(class_of((1 << 31) + 1), Err(Errno::EINVAL));
        assert_eq!(class_of(usize::MAX), Err(Errno::EINVAL));
    }
}
