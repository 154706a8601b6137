// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Connections that several nodes of a process have in common, where their user wants that.
//!
//! A connection has threads and sockets of its own, which add up with many disks. Nodes share one if they connect in exactly the
//! same way and are about different images: the cluster knows a client by its connection, and two nodes of one image have to be
//! two clients. One that the cluster has shut out gets no new nodes.

use std::env;
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::connect::connect;
use super::error::Error;
use super::options::Options;
use super::state::Key;
use crate::backend::rados::Cluster;
use crate::errno::Errno;

/// The environment variable that has nodes share connections, if it is "1".
const VARIABLE: &str = "QBR_RBD_SHARE_CONNECTIONS";

/// What two nodes must have in common to share a connection: all that says where and as whom to connect.
#[derive(Debug, PartialEq, Eq)]
struct Way {
    conf: Option<CString>,
    user: Option<CString>,
    pairs: Vec<(CString, CString)>,
    mon_host: Option<CString>,
    auth: Option<CString>,
    key: Option<Key>,
}

/// An image, and a snapshot of it is no other one.
type Name = (CString, CString, CString);

/// A connection, and the images that nodes use through it.
#[derive(Debug)]
struct Entry {
    way: Way,
    cluster: Weak<Cluster>,
    images: Vec<Weak<Name>>,
}

static SHARED: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// A node's connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    cluster: Arc<Cluster>,
    /// While this is there nobody else gets the connection for the same image.
    _image: Arc<Name>,
}

impl Connection {
    /// Connects, or takes a share in a connection that is there. Blocks on the network.
    ///
    /// # Errors
    /// As [`connect`].
    pub(super) fn new(options: &Options, key: Option<&Key>) -> Result<Self, Error> {
        let image = Arc::new((options.pool.clone(), options.namespace.clone(), options.image.clone()));
        let new = || connect(options, key.map(|key| &key.0)).map(Arc::new);
        if env::var_os(VARIABLE).is_none_or(|value| value != "1") {
            return Ok(Self { cluster: new()?, _image: image });
        }
        let way = Way {
            conf: options.conf.clone(),
            user: options.user.clone(),
            pairs: options.pairs.clone(),
            mon_host: options.mon_host.clone(),
            auth: options.auth.clone(),
            key: key.cloned(),
        };
        // Nodes are opened one after the other, in the main loop, so nobody waits for this lock.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.retain(|entry| entry.cluster.strong_count() > 0);
        for entry in shared.iter_mut().filter(|entry| entry.way == way) {
            entry.images.retain(|other| other.strong_count() > 0);
            let is_free = !entry.images.iter().filter_map(Weak::upgrade).any(|other| other == image);
            let cluster = entry.cluster.upgrade().filter(|cluster| is_free && !cluster.is_shut_out());
            if let Some(cluster) = cluster {
                entry.images.push(Arc::downgrade(&image));
                return Ok(Self { cluster, _image: image });
            }
        }
        let cluster = new()?;
        let images = vec![Arc::downgrade(&image)];
        shared.push(Entry { way, cluster: Arc::downgrade(&cluster), images });
        Ok(Self { cluster, _image: image })
    }

    /// Looks at why an image could not be opened: that this client was shut out nobody else may have noticed yet. The next
    /// attempt gets another connection.
    pub(super) fn note(&self, errno: Errno) {
        if errno.code() == libc::ESHUTDOWN {
            self.cluster.note_shut_out();
        }
    }

    /// The connection itself.
    pub(super) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }
}
