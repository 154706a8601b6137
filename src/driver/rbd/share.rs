// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Connections that several nodes of a process have in common, where their user wants that.
//!
//! A connection has threads and sockets of its own, which add up with many disks. Nodes share one if they connect in exactly the
//! same way and are about different images: the cluster knows a client by its connection, and two nodes of one image have to be
//! two clients. One that the cluster has shut out gets no new nodes.
//!
//! What a connection has sent for an image, and was not answered, stays with it when the image's node goes: the next one is the same
//! client, and nobody shuts that out before it goes on.

use std::env;
use std::ffi::CString;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::connect::connect;
use super::error::Error;
use super::options::Options;
use super::state::Key;
use super::unanswered::Unanswered;
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
    images: Vec<(Name, Arc<Unanswered>)>,
}

static SHARED: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// A node's connection.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    cluster: Arc<Cluster>,
    /// What was sent for the image. While a node has this nobody else gets the connection for the same image.
    unanswered: Arc<Unanswered>,
}

impl Connection {
    /// Connects, or takes a share in a connection that is there. Blocks on the network.
    ///
    /// # Errors
    /// As [`connect`].
    pub(super) fn new(options: &Options, key: Option<&Key>) -> Result<Self, Error> {
        let new = || {
            let cluster = Arc::new(connect(options, key.map(|key| &key.0))?);
            Ok(Self { cluster, unanswered: Arc::default() })
        };
        if env::var_os(VARIABLE).is_none_or(|value| value != "1") {
            return new();
        }
        let image = (options.pool.clone(), options.namespace.clone(), options.image.clone());
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
            let Some(cluster) = entry.cluster.upgrade() else { continue };
            // Without a node there is one share left, ours.
            let has_node = |unanswered: &Arc<Unanswered>| Arc::strong_count(unanswered) > 1;
            entry.images.retain(|(_, unanswered)| has_node(unanswered) || !unanswered.is_empty());
            let known =
                entry.images.iter().find(|(other, _)| *other == image).map(|(_, unanswered)| unanswered);
            if known.is_some_and(has_node) {
                continue;
            }
            let connection = Self { cluster, unanswered: known.map(Arc::clone).unwrap_or_default() };
            if connection.is_of_use() {
                if known.is_none() {
                    entry.images.push((image, Arc::clone(&connection.unanswered)));
                }
                return Ok(connection);
            }
        }
        let connection = new()?;
        let images = vec![(image, Arc::clone(&connection.unanswered))];
        shared.push(Entry { way, cluster: Arc::downgrade(&connection.cluster), images });
        Ok(connection)
    }

    /// Whether a node can go on with it: the cluster has not shut it out, and need not do that before anybody else writes.
    pub(super) fn is_of_use(&self) -> bool {
        !self.cluster.is_shut_out() && !self.unanswered.is_full()
    }

    /// What was sent for the image and may still be done.
    pub(super) fn unanswered(&self) -> &Arc<Unanswered> {
        &self.unanswered
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
