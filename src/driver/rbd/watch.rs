// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Hearing what other clients do to an image. Source: RBD format document, sections 11 and 12.8.
//!
//! Whatever is heard is acknowledged at once: who changes a header waits for that. A changed header is only noted; the next write
//! reads it, and so does a thread, for those who ask for the size. A watch that breaks is made anew by a thread of its own.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use super::error::ignore;
use super::format::notify::Message;
use super::image::Image;
use crate::backend::rados::{Watch, Watcher};
use crate::errno::Errno;
use crate::host::{block_on, spawn_detached, spawn_thread};

/// How long to wait before a watch is tried again that could not be made.
const RETRY: Duration = Duration::from_secs(1);

/// The watch of an image, and who mends it.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    post: Mutex<Post>,
    changed: Condvar,
}

/// What the threads have to agree on.
#[derive(Debug, Default)]
struct Post {
    watch: Option<Watch>,
    /// A thread makes a new watch.
    mending: bool,
    closed: bool,
}

/// Hears for an image, as long as that is open.
struct Ears(Weak<Image>);

impl Watcher for Ears {
    fn notified(&self, client: u64, message: &[u8]) -> Vec<u8> {
        let Some(image) = self.0.upgrade() else { return Vec::new() };
        // What can't be read may have been a change, too.
        let is_change = Message::decode(message).map_or(true, |message| message == Message::HeaderUpdate);
        if is_change && !image.is_own(client) {
            image.stale.store(true, Ordering::Release);
            // Without a thread the next write does it.
            ignore(spawn_detached(move || drop(block_on(async |rq| image.catch_up(rq).await))));
        }
        Vec::new()
    }

    fn broken(&self, _errno: Errno) {
        let Some(image) = self.0.upgrade() else { return };
        image.stale.store(true, Ordering::Release);
        let mut post = image.lookout.lock();
        if post.closed || post.mending {
            return;
        }
        post.mending = true;
        drop(post);
        let mended = Arc::clone(&image);
        if spawn_thread("qbr-rbd-watch", move || mend(&mended)).is_err() {
            image.lookout.lock().mending = false;
        }
    }
}

impl Lookout {
    fn lock(&self) -> MutexGuard<'_, Post> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops watching. Blocks on the network.
    pub(super) fn close(&self) {
        let mut post = self.lock();
        post.closed = true;
        self.changed.notify_all();
        while post.mending {
            post = self.changed.wait(post).unwrap_or_else(PoisonError::into_inner);
        }
        let watch = post.watch.take();
        drop(post);
        drop(watch);
    }
}

/// Begins to watch. Blocks on the network.
pub(super) fn begin(image: &Arc<Image>) -> Result<(), Errno> {
    let ears: Arc<dyn Watcher> = Arc::new(Ears(Arc::downgrade(image)));
    let watch = Watch::new(&image.meta, &image.header, ears)?;
    image.lookout.lock().watch = Some(watch);
    Ok(())
}

/// The life of a thread that makes a new watch.
fn mend(image: &Arc<Image>) {
    let lookout = &image.lookout;
    let broken = lookout.lock().watch.take();
    drop(broken);
    let mut post = lookout.lock();
    while !post.closed {
        drop(post);
        let ears: Arc<dyn Watcher> = Arc::new(Ears(Arc::downgrade(image)));
        let watch = Watch::new(&image.meta, &image.header, ears);
        // Something may have been missed meanwhile.
        image.stale.store(true, Ordering::Release);
        post = lookout.lock();
        match watch {
            Ok(watch) => {
                post.watch = Some(watch);
                break;
            }
            // The image was removed, or this client was shut out: no watch will ever succeed.
            Err(errno) if errno == Errno::ENOENT || errno.code() == libc::ESHUTDOWN => break,
            Err(_) => {
                let (guard, _) =
                    lookout.changed.wait_timeout(post, RETRY).unwrap_or_else(PoisonError::into_inner);
                post = guard;
            }
        }
    }
    post.mending = false;
    drop(post);
    lookout.changed.notify_all();
}
