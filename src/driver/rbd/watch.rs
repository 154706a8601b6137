// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Hearing what other clients do to an image, and answering them. Source: RBD format document, sections 11 and 12.8.
//!
//! Whatever is heard is acknowledged at once: who changes a header waits for that. A changed header is only noted; the next write
//! reads it, and so does a thread, for those who ask for the size. A watch that breaks is made anew by a thread of its own.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::error::Error;
use super::format::notify::{encode_response, ClientId, Message};
use super::image::Image;
use crate::backend::rados::{Watch, Watcher};
use crate::errno::Errno;
use crate::host::{block_on, spawn_thread};

/// How long to wait before a watch is tried again that could not be made.
const RETRY: Duration = Duration::from_secs(1);

/// The watch of an image, what is heard through it, and who mends it.
#[derive(Debug, Default)]
pub(super) struct Lookout {
    post: Mutex<Post>,
    changed: Condvar,
    chores: Mutex<Chores>,
}

/// What the threads have to agree on.
#[derive(Debug, Default)]
struct Post {
    watch: Option<Watch>,
    /// Counts what was heard that may be about the lock.
    heard: u64,
    /// A thread makes a new watch.
    mending: bool,
    closed: bool,
}

/// Hears for an image, as long as that is open.
struct Ears(Weak<Image>);

impl Watcher for Ears {
    fn notified(&self, client: u64, message: &[u8]) -> Vec<u8> {
        let Some(image) = self.0.upgrade() else { return Vec::new() };
        // Only the holder of the lock may answer with something.
        let answer = |code: i32| {
            if image.owns.load(Ordering::Acquire) {
                encode_response(code)
            } else {
                Vec::new()
            }
        };
        // What can't be read may have been a change.
        match Message::decode(message).unwrap_or(Message::HeaderUpdate) {
            Message::HeaderUpdate => {
                if !image.is_own(client) {
                    image.header_changed();
                }
                Vec::new()
            }
            Message::RequestLock(from) if image.is_me(from) => Vec::new(),
            Message::RequestLock(_) => {
                let answer = answer(0);
                if !answer.is_empty() {
                    image.chore(|chores| chores.release = true);
                }
                answer
            }
            Message::AcquiredLock(from) | Message::ReleasedLock(from) if image.is_me(from) => Vec::new(),
            Message::AcquiredLock(_) => {
                // If we believed to have it, that has to be looked at before the next write.
                image.owns.store(false, Ordering::Release);
                image.forget_map();
                Vec::new()
            }
            Message::ReleasedLock(_) => {
                image.forget_map();
                Vec::new()
            }
            // Whoever asks does it himself then, with the lock, which he asks for next.
            Message::Resize { .. } | Message::Maintenance(_) | Message::Other(_) => {
                answer(Errno::ENOTSUP.to_ret())
            }
            Message::AsyncProgress { .. }
            | Message::AsyncComplete { .. }
            | Message::Quiesce(_)
            | Message::Unquiesce(_) => Vec::new(),
        }
    }

    fn broken(&self, errno: Errno) {
        let Some(image) = self.0.upgrade() else { return };
        image.stale.store(true, Ordering::Release);
        image.forget_map();
        image.noted(errno);
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

impl Image {
    /// Notes that the header has changed, and has a thread read it.
    fn header_changed(self: &Arc<Self>) {
        self.stale.store(true, Ordering::Release);
        self.forget_map();
        self.chore(|chores| chores.refresh = true);
    }

    /// Whether that is how the others know this image.
    fn is_me(&self, client: ClientId) -> bool {
        client.instance == self.meta.cluster().instance_id() && Some(client.handle) == self.lookout.handle()
    }

    /// Has a thread of the image's own do something that waits for requests in flight. What it can't do the next write does, or
    /// another client asks for it again.
    fn chore(self: &Arc<Self>, note: impl FnOnce(&mut Chores)) {
        let mut chores = self.lookout.chores();
        note(&mut chores);
        let start = !std::mem::replace(&mut chores.running, true);
        drop(chores);
        let image = Arc::clone(self);
        if start && spawn_thread("qbr-rbd-chores", move || image.do_chores()).is_err() {
            self.lookout.chores().running = false;
        }
    }

    /// The life of the thread that does the chores.
    fn do_chores(&self) {
        loop {
            let mut chores = self.lookout.chores();
            let todo = std::mem::take(&mut *chores);
            if !todo.release && !todo.refresh {
                return;
            }
            chores.running = true;
            drop(chores);
            let done = block_on(async |rq| {
                if todo.release {
                    let mut head = self.gate.exclusive(rq).await?;
                    self.release(rq, &mut head).await;
                }
                if todo.refresh {
                    self.catch_up(rq).await?;
                }
                Ok::<_, Error>(())
            });
            // A panic has been printed; what else went wrong shows at the next write.
            drop(done);
        }
    }
}

/// What the thread of an image has to do.
#[derive(Debug, Default)]
struct Chores {
    /// Give the lock back.
    release: bool,
    /// Read the header.
    refresh: bool,
    running: bool,
}

impl Lookout {
    fn lock(&self) -> MutexGuard<'_, Post> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chores(&self) -> MutexGuard<'_, Chores> {
        self.chores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The handle of the watch, if there is one that works.
    pub(super) fn handle(&self) -> Option<u64> {
        let post = self.lock();
        post.watch.as_ref().map(Watch::handle)
    }

    /// How often something was heard that may be about the lock.
    pub(super) fn heard(&self) -> u64 {
        self.lock().heard
    }

    /// Something was heard that may be about the lock.
    pub(super) fn hear(&self) {
        let mut post = self.lock();
        post.heard = post.heard.wrapping_add(1);
        drop(post);
        self.changed.notify_all();
    }

    /// Waits until something of that kind was heard since it was `heard` so often. Blocks.
    pub(super) fn wait_to_hear(&self, heard: u64, timeout: Duration) {
        self.wait(timeout, |post| post.heard != heard);
    }

    /// Waits until there is a watch that works, or none will be. Blocks.
    pub(super) fn wait_for_watch(&self, timeout: Duration) {
        self.wait(timeout, |post| post.watch.is_some() || !post.mending);
    }

    /// Waits for something.
    fn wait(&self, timeout: Duration, until: impl Fn(&Post) -> bool) {
        let deadline = Instant::now().checked_add(timeout);
        let mut post = self.lock();
        while !post.closed && !until(&post) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let Some(left) = left.filter(|left| !left.is_zero()) else { return };
            let (guard, _) = self.changed.wait_timeout(post, left).unwrap_or_else(PoisonError::into_inner);
            post = guard;
        }
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
    let watch = watch(image)?;
    image.lookout.lock().watch = Some(watch);
    Ok(())
}

/// A new watch.
fn watch(image: &Arc<Image>) -> Result<Watch, Errno> {
    Watch::new(&image.meta, &image.header, Arc::new(Ears(Arc::downgrade(image))))
}

/// The life of a thread that makes a new watch.
fn mend(image: &Arc<Image>) {
    let lookout = &image.lookout;
    let broken = lookout.lock().watch.take();
    drop(broken);
    let mut post = lookout.lock();
    while !post.closed {
        drop(post);
        let watch = watch(image);
        // Something may have been missed meanwhile.
        image.stale.store(true, Ordering::Release);
        post = lookout.lock();
        match watch {
            Ok(watch) => {
                let handle = watch.handle();
                post.watch = Some(watch);
                drop(post);
                let kept = block_on(async |rq| image.keep_lock(rq, handle).await);
                if kept != Ok(true) {
                    image.lose_lock();
                }
                post = lookout.lock();
                break;
            }
            // The image was removed, or this client was shut out: no watch will ever succeed.
            Err(errno) if errno == Errno::ENOENT || errno.code() == libc::ESHUTDOWN => {
                image.noted(errno);
                image.owns.store(false, Ordering::Release);
                break;
            }
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
