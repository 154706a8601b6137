// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The exclusive lock: taken at the first write, given away when another client asks. Source: RBD format document, section 12.
//!
//! Who holds the lock is the only one that may write. Nothing but that stands between two clients and a damaged image, so there
//! is no way to it but this: no other holder, or one that has given it back, or one that is provably gone and was shut out of the
//! cluster before its lock is broken. A lock that a user has set is never touched.

use std::ffi::CString;
use std::sync::atomic::{fence, Ordering};
use std::sync::{mpsc, Arc, PoisonError};
use std::time::{Duration, Instant};

use super::error::{ignore, Error};
use super::format::features::Features;
use super::format::lock::{self, Info, Locker};
use super::format::notify::{ClientId, Message, Reply};
use super::image::{Head, Image};
use super::map::Map;
use crate::errno::Errno;
use crate::host::{block_on, qemu, spawn_blocking, spawn_waiting, Exclusive, Request};

/// How long others have to answer a request for the lock, in milliseconds.
const REQUEST_TIMEOUT: u64 = 5000;
/// How long others have to acknowledge what they are told about the lock, in milliseconds.
const TELL_TIMEOUT: u64 = 1000;
/// How long to wait for an owner that has promised to give the lock back, before it is asked again.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before an owner that hasn't answered is asked again.
const RETRY: Duration = Duration::from_secs(1);
/// How long an owner that refuses to give the lock back is asked again: one that has it for a maintenance operation refuses, too,
/// and is done soon. A guest's write must not fail because of that.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the client that has asked for the lock has to take it.
pub(super) const COURTESY: Duration = Duration::from_millis(200);
/// How long the main loop waits for the lock. A request in a coroutine waits as long as the owner lives.
const MAIN_LOOP_TIMEOUT: Duration = Duration::from_secs(30);

/// The lock as we hold it.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// The handle of the watch in the cookie by which the cluster knows that we hold it.
    pub(super) handle: Option<u64>,
}

/// What to do about the lock next.
enum Next {
    /// It is ours.
    Ours,
    /// Look again at once.
    Again,
    /// Look again when somebody has said something about the lock, or after that time.
    Wait(Duration),
}

impl Image {
    /// Whether only the holder of the lock may write.
    pub(super) fn needs_lock(head: &Head) -> bool {
        head.state.features.contains(Features::EXCLUSIVE_LOCK)
    }

    /// Takes the lock, with no write in flight. The header is known as it is now when this returns.
    ///
    /// # Errors
    /// `EBUSY` for a lock that a user has set, `EROFS` if its owner refuses, `EACCES` without the right to shut a dead owner out;
    /// the cluster's.
    pub(super) async fn acquire(self: &Arc<Self>, rq: &Request, head: &mut Head) -> Result<(), Error> {
        // Only the main loop waits outside of a coroutine, for a snapshot or the like.
        let deadline = (!rq.is_coroutine()).then(|| Instant::now().checked_add(MAIN_LOOP_TIMEOUT)).flatten();
        // What was known of the objects belongs to an earlier time.
        head.map = None;
        let mut refused_at: Option<Instant> = None;
        loop {
            let handle = self.watching(rq, deadline).await?;
            let heard = self.lookout.heard();
            let mut lease = self.lease.exclusive(rq).await?;
            let next = match self.try_acquire(rq, handle, &mut lease).await {
                Err(Error::LockRefused { .. })
                    if refused_at.get_or_insert_with(Instant::now).elapsed() < REFUSAL_TIMEOUT =>
                {
                    Next::Wait(RETRY)
                }
                next => next?,
            };
            match next {
                Next::Ours => {
                    if self.own(rq, head, handle, lease).await? {
                        break;
                    }
                }
                Next::Again => {}
                Next::Wait(timeout) => {
                    drop(lease);
                    let lookout = Arc::clone(&self.lookout);
                    spawn_waiting(rq, move || lookout.wait_to_hear(heard, timeout)).await?;
                }
            }
            if is_over(deadline) {
                return Err(Errno::EBUSY.into());
            }
        }
        self.wanted.store(true, Ordering::SeqCst);
        *self.complaint.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }

    /// Begins to rely on the lock that was just taken. If it is given back instead, false: the watch by which the others know its
    /// owner has broken meanwhile, and they may have taken this client for dead.
    async fn own(
        self: &Arc<Self>,
        rq: &Request,
        head: &mut Head,
        handle: u64,
        lease: Exclusive<'_, Lease>,
    ) -> Result<bool, Error> {
        // Others have written since: size, snapshots and features may be others now.
        let ready = self.after_acquire(rq, head).await;
        if ready.is_ok() && self.heard_handle() == Some(handle) {
            // With the lease still in hand: who mends the watch from here on finds that the lock is ours.
            self.owns.store(true, Ordering::Release);
            self.undecided.store(false, Ordering::Release);
            drop(lease);
            // The others are told by a thread: nobody has to wait for them.
            self.chore(|chores| chores.announce_lock = true);
            return Ok(true);
        }
        drop(lease);
        self.give_back(rq, head).await;
        ready.map(|()| false)
    }

    /// The handle of a watch by which we hear the others.
    pub(super) fn heard_handle(&self) -> Option<u64> {
        self.lookout.handle().filter(|_| !self.deaf.load(Ordering::Acquire))
    }

    /// The handle of our watch, without which others would take us for dead; waits for one that is being mended.
    async fn watching(self: &Arc<Self>, rq: &Request, deadline: Option<Instant>) -> Result<u64, Error> {
        loop {
            if let Some(handle) = self.heard_handle() {
                return Ok(handle);
            }
            self.check_fenced()?;
            self.need_watch();
            if !self.lookout.is_mending() || is_over(deadline) {
                return Err(Errno::from_code(libc::ENOTCONN).into());
            }
            let lookout = Arc::clone(&self.lookout);
            spawn_waiting(rq, move || lookout.wait_for_watch(RELEASE_TIMEOUT)).await?;
        }
    }

    /// One step towards the lock.
    async fn try_acquire(&self, rq: &Request, handle: u64, lease: &mut Lease) -> Result<Next, Error> {
        let info = self.lock_info(rq).await?;
        if info.lockers.is_empty() {
            return self.take_free(rq, handle, lease).await;
        }
        let Some((owner, owners_handle)) = info.auto_owner() else {
            // DIVERGES: a lock that a user has set is an error; the C driver waits until it is gone.
            return Err(self.held(&info));
        };
        let instance = u64::try_from(owner.entity.number).unwrap_or(0);
        let ours = instance == self.meta.cluster().instance_id();
        if ours && owners_handle == handle {
            return Ok(Self::taken(lease, handle));
        }
        let asked = Message::RequestLock(self.client(handle)).encode();
        let (_, reply) = self.meta.notify(rq, &self.header, &asked, REQUEST_TIMEOUT).await;
        let reply = Reply::decode(reply.bytes())?;
        if !reply.was_watching(self.client(handle)) {
            // Everybody who watches is in it, and that is this client, too: so nobody was asked at all.
            return Ok(Next::Wait(RETRY));
        }
        if let Some(answer) = reply.owner_answer() {
            return match super::format::notify::decode_response(answer)? {
                Some(0) | None => Ok(Next::Wait(RELEASE_TIMEOUT)),
                Some(code) => {
                    let errno = Errno::from_code(code.saturating_neg());
                    Err(Error::LockRefused { image: self.text(), holder: holder(owner), errno })
                }
            };
        }
        if reply.was_watching(ClientId { instance, handle: owners_handle }) {
            // It lives, or died so lately that nobody can know.
            return Ok(Next::Wait(RETRY));
        }
        self.bury(rq, owner, &info, ours).await
    }

    /// Takes the lock, which nobody has.
    async fn take_free(&self, rq: &Request, handle: u64, lease: &mut Lease) -> Result<Next, Error> {
        let taken = self.call_header(rq, &lock::lock(&lock::auto_cookie(handle), lock::AUTO_TAG)).await;
        match taken {
            Ok(()) => Ok(Self::taken(lease, handle)),
            // Held by exactly this client and watch.
            Err(errno) if errno == Errno::EEXIST => Ok(Self::taken(lease, handle)),
            Err(errno) if errno == Errno::EBUSY => Ok(Next::Again),
            Err(errno) => {
                // An answer that was lost may have been a yes.
                lease.handle = Some(handle);
                self.undecided.store(true, Ordering::Release);
                Err(errno.into())
            }
        }
    }

    /// Takes the lock again that another client has asked for, if nobody has it. As long as nobody does, the image looks as if it were
    /// not in use, and 'rbd snap rollback' goes on.
    pub(super) async fn take_again(self: &Arc<Self>, rq: &Request) -> Result<(), Error> {
        // Another one may wait for it.
        self.lookout.wait_to_hear(self.lookout.heard(), COURTESY);
        if !self.misses_lock() {
            return Ok(());
        }
        let mut head = self.gate.exclusive(rq).await?;
        let Some(handle) = self.heard_handle() else { return Ok(()) };
        // Who gives the lock back for good says so first, and then waits for the gate.
        if !self.misses_lock() || !Self::needs_lock(&head) {
            return Ok(());
        }
        let mut lease = self.lease.exclusive(rq).await?;
        if !self.lock_info(rq).await?.lockers.is_empty() {
            return Ok(());
        }
        // What was known of the objects belongs to an earlier time.
        head.map = None;
        if matches!(self.take_free(rq, handle, &mut lease).await?, Next::Ours) {
            self.own(rq, &mut head, handle, lease).await?;
        }
        // Who is being made inactive doesn't wait for the gate.
        fence(Ordering::SeqCst);
        if !self.wanted.load(Ordering::SeqCst) {
            self.resign();
        }
        Ok(())
    }

    /// Whether the lock is to be ours, and is not.
    pub(super) fn misses_lock(&self) -> bool {
        self.wanted.load(Ordering::SeqCst) && !self.owns.load(Ordering::Acquire)
    }

    /// From now on there is no use for the lock, before the next change.
    pub(super) fn renounce(&self) {
        self.wanted.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// Takes the lock away from an owner that is gone.
    async fn bury(&self, rq: &Request, owner: &Locker, seen: &Info, ours: bool) -> Result<Next, Error> {
        // Somebody else may have done it while we asked.
        if self.lock_info(rq).await? != *seen {
            return Ok(Next::Again);
        }
        if !ours {
            // Writes of its that are still on their way must never arrive. An earlier watch of our own is no such danger.
            let address = CString::new(owner.address.to_string()).map_err(|_| Errno::EIO)?;
            let cluster = Arc::clone(self.meta.cluster());
            let shut_out = spawn_blocking(rq, move || cluster.blocklist(&address)).await?;
            shut_out.map_err(|errno| Error::Blocklist {
                image: self.text(),
                holder: holder(owner),
                errno,
            })?;
        }
        match self.call_header(rq, &lock::break_lock(owner.entity, &owner.cookie)).await {
            Err(errno) if errno != Errno::ENOENT => Err(errno.into()),
            _ => Ok(Next::Again),
        }
    }

    /// Reads everything anew that another holder may have changed, and the object map.
    async fn after_acquire(&self, rq: &Request, head: &mut Head) -> Result<(), Error> {
        self.stale.store(false, Ordering::Release);
        let read = self.read_header(rq, head).await;
        if read.is_err() {
            self.stale.store(true, Ordering::Release);
            return read;
        }
        if head.state.features.contains(Features::OBJECT_MAP) {
            head.map = Map::load(self, rq, head).await?;
        }
        Ok(())
    }

    /// Notes that the lock is ours.
    fn taken(lease: &mut Lease, handle: u64) -> Next {
        lease.handle = Some(handle);
        Next::Ours
    }

    /// Gives the lock back, if it is ours, when the writes in flight have ended; and tells those who wait for it. Writes that come
    /// later are kept away until `courtesy` is over or another client has the lock: who asked for it is to get it, and not this
    /// one again.
    pub(super) async fn release(&self, rq: &Request, courtesy: Duration) -> Result<(), Errno> {
        let mut head = self.gate.exclusive(rq).await?;
        self.owns.store(false, Ordering::Release);
        let heard = self.lookout.heard();
        if self.give_back(rq, &mut head).await {
            self.tell(rq, Message::ReleasedLock).await;
            self.lookout.wait_to_hear(heard, courtesy);
        }
        Ok(())
    }

    /// Gives the lock back for a node that has no use for it, and would not give it to anybody who asks. That one would take it for a
    /// dead client's, and shut out this one, which lives.
    ///
    /// # Errors
    /// `ETIMEDOUT` if it may still be ours.
    pub(super) async fn release_for_good(&self, rq: &Request) -> Result<(), Errno> {
        self.renounce();
        self.release(rq, Duration::ZERO).await?;
        if self.undecided.load(Ordering::Acquire) {
            return Err(Errno::from_code(libc::ETIMEDOUT));
        }
        Ok(())
    }

    /// Gives the lock back, and tells the others, if nothing is in flight. `done` learns whether it is given back, before the others
    /// do. Blocks on the network.
    pub(super) fn release_at_once(&self, done: &mpsc::Sender<bool>) {
        let released = block_on(async |rq| {
            let mut head = self.gate.try_exclusive()?;
            self.owns.store(false, Ordering::Release);
            let was_ours = self.give_back(rq, &mut head).await;
            drop(head);
            // Who isn't there any more has stopped to wait.
            ignore(done.send(true).map_err(|_| Errno::EIO));
            if was_ours {
                self.tell(rq, Message::ReleasedLock).await;
            }
            Some(())
        });
        if released != Ok(Some(())) {
            ignore(done.send(false).map_err(|_| Errno::EIO));
        }
    }

    /// Writes have to look again whether the lock is ours, and a thread gives it back if none does. Nobody who asks for the lock is
    /// answered in between.
    pub(super) fn resign(self: &Arc<Self>) {
        if self.owns.swap(false, Ordering::AcqRel) || self.undecided.load(Ordering::Acquire) {
            self.chore(|chores| chores.settle = true);
        }
    }

    /// Gives the lock back, unless a write has found meanwhile that it is ours.
    pub(super) async fn settle(&self, rq: &Request) -> Result<(), Errno> {
        let mut head = self.gate.exclusive(rq).await?;
        if !self.owns.load(Ordering::Acquire) && self.give_back(rq, &mut head).await {
            self.tell(rq, Message::ReleasedLock).await;
        }
        Ok(())
    }

    /// Gives the lock back, with nothing in flight. Blocks on the network.
    pub(super) fn hand_over(&self) {
        self.renounce();
        // A panic has been printed; what else goes wrong the next owner finds out.
        drop(block_on(async |rq| self.release(rq, Duration::ZERO).await));
    }

    /// Unlocks what is locked; false if nothing was, or if the lock may still be ours: then it is given back to whoever asks for it.
    async fn give_back(&self, rq: &Request, head: &mut Head) -> bool {
        if self.await_unanswered(rq).await.is_err() {
            // What was sent could be done beside the next owner's writes. Closing leaves the lock, too: who takes it then shuts this
            // client out before.
            let lease = self.lease.exclusive(rq).await;
            self.undecided.store(lease.map_or(true, |lease| lease.handle.is_some()), Ordering::Release);
            return false;
        }
        let map = head.map.take();
        if let Some(map) = &map {
            ignore(self.finder(rq).call(map.object(), &lock::unlock(b"")).await);
        }
        let Ok(mut lease) = self.lease.exclusive(rq).await else { return map.is_some() };
        let Some(handle) = lease.handle else {
            // There is none that could be ours, so nobody is to be promised one.
            self.undecided.store(false, Ordering::Release);
            return map.is_some();
        };
        let unlocked = self.call_header(rq, &lock::unlock(&lock::auto_cookie(handle))).await;
        // It is nobody's, or that of a client that was shut out, which the next one breaks.
        let is_over = |errno| errno == Errno::ENOENT || self.noted(errno).code() == libc::ESHUTDOWN;
        let is_done = unlocked.map_or_else(is_over, |()| true);
        if is_done {
            lease.handle = None;
        }
        self.undecided.store(!is_done, Ordering::Release);
        is_done
    }

    /// Puts the handle of a new watch in the place of the old one, or finds that the lock was lost meanwhile.
    pub(super) async fn keep_lock(&self, rq: &Request, new: u64) {
        let Ok(mut lease) = self.lease.exclusive(rq).await else { return self.lose_lock() };
        let Some(old) = lease.handle.filter(|old| *old != new) else { return };
        let (old_cookie, new_cookie) = (lock::auto_cookie(old), lock::auto_cookie(new));
        match self.call_header(rq, &lock::set_cookie(&old_cookie, lock::AUTO_TAG, &new_cookie)).await {
            Ok(()) => lease.handle = Some(new),
            Err(errno) => {
                // Without an answer it may be ours under the new watch, so the others would wait for this client.
                let undecided = errno.code() == libc::ETIMEDOUT;
                lease.handle = undecided.then_some(new);
                self.undecided.store(undecided, Ordering::Release);
                self.noted(errno);
                // With the lease still in hand: it may be taken anew right afterwards.
                self.lose_lock();
            }
        }
    }

    /// The lock is another's, or nobody knows: no write goes out any more before it was taken again.
    pub(super) fn lose_lock(&self) {
        if self.owns.swap(false, Ordering::AcqRel) {
            self.stale.store(true, Ordering::Release);
            qemu::report_warning(&format!(
                "rbd image '{}' has lost its exclusive lock to another client, and takes it again before the next write",
                self.text()
            ));
        }
    }

    /// The lock is ours, but not what was known by it: the next write takes it as a new holder, and so reads header and map behind
    /// what may still be done. Until then it is given back to whoever asks for it.
    pub(super) fn doubt(&self) {
        if self.owns.swap(false, Ordering::AcqRel) {
            self.undecided.store(true, Ordering::Release);
        }
    }

    /// This client was shut out of the cluster: nothing that it sends arrives any more, and that is final.
    pub(super) fn fence(&self) {
        self.owns.store(false, Ordering::Release);
        self.meta.cluster().note_shut_out();
        if !self.fenced.swap(true, Ordering::AcqRel) {
            qemu::report_error(&Error::Fenced(self.text()).to_string());
        }
    }

    /// Refuses to go on with a connection that was shut out.
    pub(super) fn check_fenced(&self) -> Result<(), Error> {
        if self.fenced.load(Ordering::Acquire) {
            return Err(Error::Fenced(self.text()));
        }
        Ok(())
    }

    /// Looks at an error that the cluster has answered; the one that matters is that we were shut out.
    pub(super) fn noted(&self, errno: Errno) -> Errno {
        if errno.code() == libc::ESHUTDOWN {
            self.fence();
        }
        errno
    }

    /// Who holds the lock.
    pub(super) async fn lock_info(&self, rq: &Request) -> Result<Info, Error> {
        let replies = self.finder(rq).ask(&self.header, &[lock::get_info()]).await;
        Ok(Info::decode(replies.map_err(|errno| self.noted(errno))?.bytes(0))?)
    }

    /// This image, as the others know it.
    pub(super) fn client(&self, handle: u64) -> ClientId {
        ClientId { instance: self.meta.cluster().instance_id(), handle }
    }

    /// Tells the others about the lock. Those who don't hear it find out by asking.
    pub(super) async fn tell(&self, rq: &Request, message: impl FnOnce(ClientId) -> Message) {
        if let Some(handle) = self.lookout.handle() {
            let message = message(self.client(handle)).encode();
            drop(self.meta.notify(rq, &self.header, &message, TELL_TIMEOUT).await);
        }
    }

    /// The error for a lock that no client has taken by itself.
    fn held(&self, info: &Info) -> Error {
        let holder = info.lockers.first().map_or_else(|| "nobody".to_owned(), holder);
        Error::LockHeld { image: self.text(), holder }
    }

    /// For messages.
    pub(super) fn text(&self) -> String {
        self.name.to_string_lossy().into_owned()
    }
}

/// Whether there is a deadline, and it is over.
fn is_over(deadline: Option<Instant>) -> bool {
    deadline.is_some_and(|deadline| Instant::now() > deadline)
}

/// Who holds a lock, for messages.
fn holder(locker: &Locker) -> String {
    format!("client.{} at {}", locker.entity.number, locker.address)
}
