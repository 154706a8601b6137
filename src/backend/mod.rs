// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Safe wrappers of the C libraries: they own what a library may touch, and know nothing of QEMU or of a driver.

#[cfg(feature = "gluster")]
pub mod gfapi;
#[cfg(feature = "rbd")]
pub mod rados;
