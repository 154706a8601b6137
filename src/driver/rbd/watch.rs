// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Hearing what other clients do to an image, and answering them. Source: RBD format document, sections 11 and 12.8.
//!
//! Whatever is heard is acknowledged at once: who changes a header waits for that. A changed header is only noted; the next write
//! reads it, and so does a thread, for those who ask for the size. A watch that breaks is made anew by a thread of its own.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::error::ignore;
use super::format::notify::{encode_response, ClientId, Message};
use super::image::Image;
use super::lock::COURTESY;
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
}

/// What the threads have to agree on.
#[derive(Debug, Default)]
struct Post {
    watch: Option<Watch>,
    /// Counts what was heard that may be about the lock.
    heard: u64,
    chores: Chores,
    /// A thread is at them.
    doing_chores: bool,
    /// It reads the header.
    refreshing: bool,
    /// The first watch is being made.
    beginning: bool,
    /// The watch is not to be relied on.
    broken: bool,
    /// A thread makes a new one.
    mending: bool,
    /// How many threads have a share of the image.
    threads: usize,
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
                if !image.is_announcing(client) {
                    image.header_changed();
                }
                Vec::new()
            }
            Message::RequestLock(from) if image.is_me(from) => Vec::new(),
            Message::RequestLock(_) if image.undecided.load(Ordering::Acquire) => {
                image.chore(|chores| chores.settle = true);
                encode_response(0)
            }
            Message::RequestLock(_) => {
                let answer = answer(0);
                if !answer.is_empty() {
                    image.chore(|chores| chores.release = true);
                }
                answer
            }
            // Also if it was said before the watch was made anew: nobody else has the image open by this connection.
            Message::AcquiredLock(from) if image.is_own(from.instance) => Vec::new(),
            Message::ReleasedLock(from) if image.is_me(from) => Vec::new(),
            Message::AcquiredLock(_) => {
                image.forget_map();
                // If we believed to have it, either of us is wrong: such news may be old.
                image.resign();
                Vec::new()
            }
            Message::ReleasedLock(_) => {
                image.forget_map();
                if image.misses_lock() {
                    image.chore(|chores| chores.take_again = true);
                }
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
        // Both at once: who mends the watch takes one that isn't broken for one that hears.
        let mut post = image.lookout.lock();
        post.broken = true;
        image.deaf.store(true, Ordering::Release);
        drop(post);
        image.stale.store(true, Ordering::Release);
        image.forget_map();
        image.noted(errno);
        image.need_watch();
    }
}

impl Image {
    /// Notes that the header has changed, and has a thread read it.
    pub(super) fn header_changed(self: &Arc<Self>) {
        self.stale.store(true, Ordering::Release);
        self.forget_map();
        self.chore(|chores| chores.refresh = true);
    }

    /// Has a thread make a new watch if the one that there is, or was, does not work. A thread that can't be had is tried again
    /// by the next write.
    pub(super) fn need_watch(self: &Arc<Self>) {
        let mut post = self.lookout.lock();
        // While the first watch is being made its maker looks after it.
        if post.closed || post.mending || !post.broken || post.beginning {
            return;
        }
        post.mending = true;
        drop(post);
        if !self.start("qbr-rbd-watch", mend) {
            self.lookout.lock().mending = false;
        }
    }

    /// Whether that is how the others know this image.
    fn is_me(&self, client: ClientId) -> bool {
        self.is_own(client.instance) && Some(client.handle) == self.lookout.handle()
    }

    /// Has a thread of the image's own do something that waits for requests in flight. What it can't do the next write does, or
    /// another client asks for it again.
    pub(super) fn chore(self: &Arc<Self>, note: impl FnOnce(&mut Chores)) {
        let mut post = self.lookout.lock();
        // A watch that was made while the image was closed hears until it is closed, too.
        if post.closed {
            return;
        }
        note(&mut post.chores);
        let start = !std::mem::replace(&mut post.doing_chores, true);
        drop(post);
        if start && !self.start("qbr-rbd-chores", Self::do_chores) {
            self.lookout.lock().doing_chores = false;
        }
    }

    /// Starts a thread that has a share of the image. Whoever closes the image waits for it, and is the last one who has the
    /// image then: ending the connection is not for a thread that nobody waits for. False if there is no thread to be had.
    pub(super) fn start(
        self: &Arc<Self>,
        name: &'static str,
        body: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> bool {
        let image = Arc::clone(self);
        self.lookout.start(name, move || body(&image))
    }

    /// The life of the thread that does the chores.
    fn do_chores(self: &Arc<Self>) {
        loop {
            let mut post = self.lookout.lock();
            let todo = std::mem::take(&mut post.chores);
            post.refreshing = todo.refresh;
            post.doing_chores =
                todo.announce_lock || todo.release || todo.settle || todo.refresh || todo.take_again;
            let is_done = !post.doing_chores;
            drop(post);
            self.lookout.changed.notify_all();
            if is_done {
                return;
            }
            let done = block_on(async |rq| {
                if todo.announce_lock {
                    self.tell(rq, Message::AcquiredLock).await;
                }
                // One that fails, for want of memory, must not take the others with it.
                if todo.release {
                    ignore(self.release(rq, COURTESY).await);
                }
                if todo.settle {
                    ignore(self.settle(rq).await);
                }
                if todo.refresh {
                    drop(self.catch_up(rq).await);
                }
                if todo.take_again {
                    drop(self.take_again(rq).await);
                }
            });
            // A panic has been printed; what else went wrong shows at the next write.
            drop(done);
        }
    }
}

/// What the thread of an image has to do.
#[derive(Debug, Default)]
pub(super) struct Chores {
    /// Tell the others that we have the lock.
    pub(super) announce_lock: bool,
    /// Give the lock back.
    release: bool,
    /// Give the lock back if no write has looked at it since.
    pub(super) settle: bool,
    /// Read the header.
    refresh: bool,
    /// Take the lock again that another client has given back.
    take_again: bool,
}

impl Lookout {
    fn lock(&self) -> MutexGuard<'_, Post> {
        self.post.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread that [`Lookout::close`] waits for, until `body` and all that it has are gone. False if there is none to be had.
    fn start(self: &Arc<Self>, name: &'static str, body: impl FnOnce() + Send + 'static) -> bool {
        let mut post = self.lock();
        post.threads = post.threads.saturating_add(1);
        drop(post);
        let counted = Counted(Arc::clone(self));
        let run = move || {
            let _counted = counted;
            body();
        };
        spawn_thread(name, run).is_ok()
    }

    /// The handle of the watch, also if that has broken.
    pub(super) fn handle(&self) -> Option<u64> {
        let post = self.lock();
        post.watch.as_ref().map(Watch::handle)
    }

    /// Whether a thread makes a new watch.
    pub(super) fn is_mending(&self) -> bool {
        let post = self.lock();
        post.mending && !post.closed
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
        self.wait(timeout, |post| post.watch.is_some() && !post.broken || !post.mending);
    }

    /// Waits until nobody reads the header, or is to read it; false if that takes longer. Blocks.
    pub(super) fn wait_for_header(&self, timeout: Duration) -> bool {
        self.wait(timeout, |post| !post.chores.refresh && !post.refreshing)
    }

    /// Waits for something; false if it takes longer.
    fn wait(&self, timeout: Duration, until: impl Fn(&Post) -> bool) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        let mut post = self.lock();
        while !post.closed && !until(&post) {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let Some(left) = left.filter(|left| !left.is_zero()) else { return false };
            let (guard, _) = self.changed.wait_timeout(post, left).unwrap_or_else(PoisonError::into_inner);
            post = guard;
        }
        true
    }

    /// Stops watching. Blocks on the network.
    pub(super) fn close(&self) {
        let mut post = self.lock();
        post.closed = true;
        self.changed.notify_all();
        let watch = post.watch.take();
        drop(post);
        // From here on nothing is heard that would start another thread.
        drop(watch);
        let mut post = self.lock();
        while post.threads > 0 {
            post = self.changed.wait(post).unwrap_or_else(PoisonError::into_inner);
        }
        let watch = post.watch.take();
        drop(post);
        drop(watch);
    }
}

/// A thread that counts as long as it runs, also if it panics.
struct Counted(Arc<Lookout>);

impl Drop for Counted {
    fn drop(&mut self) {
        let mut post = self.0.lock();
        post.threads = post.threads.saturating_sub(1);
        drop(post);
        self.0.changed.notify_all();
    }
}

/// Begins to watch. Blocks on the network.
pub(super) fn begin(image: &Arc<Image>) -> Result<(), Errno> {
    image.lookout.lock().beginning = true;
    let watch = watch(image);
    let mut post = image.lookout.lock();
    post.beginning = false;
    post.watch = Some(watch?);
    drop(post);
    // It may have broken before it was there.
    image.need_watch();
    Ok(())
}

/// A new watch.
fn watch(image: &Arc<Image>) -> Result<Watch, Errno> {
    Watch::new(&image.meta, &image.header, Arc::new(Ears(Arc::downgrade(image))))
}

/// The life of a thread that makes a new watch, and another one if that breaks meanwhile.
fn mend(image: &Arc<Image>) {
    let lookout = &image.lookout;
    let mut post = lookout.lock();
    while post.broken && !post.closed {
        post.broken = false;
        let old = post.watch.take();
        drop(post);
        drop(old);
        let watch = watch(image);
        post = lookout.lock();
        match watch {
            Ok(watch) => {
                // Something may have been missed meanwhile.
                image.stale.store(true, Ordering::Release);
                let handle = watch.handle();
                post.watch = Some(watch);
                if !post.broken {
                    image.deaf.store(false, Ordering::Release);
                }
                drop(post);
                // For those who ask for the size; and for those who wait for a watch.
                image.chore(|chores| chores.refresh = true);
                lookout.changed.notify_all();
                if block_on(async |rq| image.keep_lock(rq, handle).await).is_err() {
                    image.lose_lock();
                }
                post = lookout.lock();
            }
            // No watch will ever succeed then.
            Err(errno) if errno == Errno::ENOENT => {
                image.vanish();
                image.owns.store(false, Ordering::Release);
            }
            Err(errno) if errno.code() == libc::ESHUTDOWN => image.fence(),
            Err(_) => {
                post.broken = true;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_does_not_wait_for_a_thread_that_has_panicked() {
        let lookout = Arc::new(Lookout::default());
        assert!(lookout.start("qbr-rbd-test", || panic!("on purpose")));
        lookout.close();
        assert_eq!(lookout.lock().threads, 0);
    }
}
