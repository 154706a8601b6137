// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! libgfapi (`glusterfs/api/glfs.h`): volumes, connections shared between nodes, files.

mod connection;
mod error;
mod file;
mod volume;

pub use connection::Connection;
pub use error::Error;
pub use file::{File, Size, Target};
pub use volume::{Server, VolumeSpec};
