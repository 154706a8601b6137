// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! librados (`rados/librados.h`): clusters, pools, operations on objects, watches.
//!
//! Everything that waits for a server is submit + token, but for connecting, looking up a pool, watching and rolling back, which
//! the library only has as calls that block; each says so.

mod cluster;
mod io;
mod op;
mod pool;
mod watch;

pub use cluster::Cluster;
pub use io::Operation;
pub use op::{Answers, ReadOp, Replies, WriteOp};
pub use pool::PoolHandle;
pub use watch::{Watch, Watcher};
