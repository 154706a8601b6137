// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! From options to a pool of a cluster. Blocks on the network.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use super::error::{ignore, Error};
use super::options::Options;
use crate::backend::rados::{Cluster, PoolHandle};
use crate::errno::Errno;

/// How long a header may be read, in bytes; far above what any has.
pub(super) const HEADER_SIZE: usize = 1 << 20;

/// Connects as the options say: the configuration file, then their settings in order. `key` is the secret key, in base64.
pub(super) fn connect(options: &Options, key: Option<&CString>) -> Result<Cluster, Error> {
    let user = options.user.as_deref();
    let failed = |errno| Error::Connect { user: user_name(user), errno };
    let cluster = Cluster::new(user).map_err(failed)?;
    let usual = TUNED.map(|(name, _)| cluster.get(name));
    let read = cluster.read_conf(options.conf.as_deref());
    // Without a name it is no error that there is no file: everything may stand in the options.
    if let (Some(file), Err(errno)) = (&options.conf, read) {
        return Err(Error::Conf { file: text(file), errno });
    }
    tune(&cluster, &usual);
    for (name, value) in options.settings(key) {
        cluster.set(name, value).map_err(|errno| {
            // As in the C driver a key/value pair that can't be set is a wrong argument, whatever the library says.
            let errno = if errno == Errno::ENOENT { Errno::EINVAL } else { errno };
            Error::Setting { key: text(name), errno }
        })?;
    }
    cluster.connect().map_err(failed)?;
    Ok(cluster)
}

/// Settings that suit a block driver better than those of the library.
const TUNED: [(&CStr, &CStr); 3] = [
    // A guest's own queue is the limit of what is in flight: at its own limit the library has whoever submits wait, which would be an
    // event loop.
    (c"objecter_inflight_ops", c"0"),
    (c"objecter_inflight_op_bytes", c"0"),
    // How many bytes a connection receives at once, of small messages: a reply with 4 KiB of data then takes one call of the kernel
    // instead of two or three, and often brings the next one along. The library has a buffer of twice that size per connection.
    (c"ms_tcp_prefetch_max_size", c"16384"),
];

/// Makes those settings that the configuration has left as is `usual`. What is set here would win over it; those of the node come
/// later, and win. Only a library that doesn't know one refuses it.
fn tune(cluster: &Cluster, usual: &[Option<CString>; TUNED.len()]) {
    for ((name, value), usual) in TUNED.iter().zip(usual) {
        if cluster.get(name) == *usual {
            ignore(cluster.set(name, value));
        }
    }
}

/// The pool of the options; in the default namespace.
pub(super) fn pool(cluster: &Arc<Cluster>, options: &Options) -> Result<PoolHandle, Error> {
    pool_named(cluster, &options.pool)
}

/// A pool by its name.
pub(super) fn pool_named(cluster: &Arc<Cluster>, name: &CStr) -> Result<PoolHandle, Error> {
    cluster.pool(name).map_err(|errno| Error::Pool { pool: text(name), errno })
}

/// As whom one connects.
fn user_name(user: Option<&CStr>) -> String {
    user.map_or_else(|| "client.admin".to_owned(), |user| format!("client.{}", user.to_string_lossy()))
}

/// For messages.
pub(super) fn text(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}
