// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Opening and reopening a node. Runs in the main loop, outside of coroutines, and blocks on the network.

use std::ffi::{CStr, CString};
use std::sync::atomic::Ordering;
use std::sync::Arc;

use super::connect::{pool, text};
use super::error::Error;
use super::filename::FileName;
use super::format::encryption::{Probe, PROBE_SIZE};
use super::format::features::{Features, OpFeatures};
use super::image::{writer, Head, Image, Parts};
use super::lookup::{Finder, Kind};
use super::options::{Options, OptionsError, LEGACY_WARNING};
use super::refusal;
use super::share::Connection;
use super::state::{Key, Rbd};
use super::watch;
use crate::backend::rados::{PoolHandle, ReadOp};
use crate::errno::{Errno, ToErrno};
use crate::host::{block_on, qemu, Request};
use crate::options::OptionMap;

/// How a node wants its image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// For writing too.
    pub writable: bool,
}

/// The options that a file name stands for.
///
/// # Errors
/// If it is none of ours.
pub fn parse_filename(name: &[u8]) -> Result<OptionMap, Error> {
    let found = FileName::parse(name).map_err(|source| OptionsError::file_name(name, source))?;
    Ok(found.into_options())
}

/// Opens a node. Options that it doesn't know stay in the dictionary for the block layer to refuse.
///
/// `secret` gives the content of a secret object in base64. `allow_read_only` is asked when the image can only be read; it fails
/// if the user insists on writing.
///
/// # Errors
/// Wrong options, no connection, no such image, no permission, an image that is not supported.
pub fn open(
    mut map: OptionMap,
    access: Access,
    secret: impl Fn(&CStr) -> Result<CString, Error>,
    allow_read_only: impl Fn(&str) -> Result<(), Errno>,
) -> Result<Rbd, Error> {
    let options = Options::parse(&mut map)?;
    if options.is_legacy {
        qemu::report_warning(LEGACY_WARNING);
    }
    if !options.encryption.is_empty() {
        return Err(Error::Encryption);
    }
    let mut access = access;
    if let Some(snapshot) = options.snapshot.as_ref().filter(|_| access.writable) {
        allow_read_only("rbd snapshots are read-only")
            .map_err(|_| Error::SnapshotIsReadOnly(text(snapshot)))?;
        access.writable = false;
    }
    let key = options.key_secret.as_deref().map(secret).transpose()?.map(Key);
    let connection = Connection::new(&options, key.as_ref())?;
    let pool = pool(connection.cluster(), &options)?;
    let opened = match open_image(&pool, &options, access, &connection) {
        // DIVERGES: an image that may only be read is opened read-only, where its user allows that.
        Err(error) if access.writable && is_read_only(error.errno()) => {
            // The first error is the one to report if the user wants no read-only node.
            let Ok(()) = allow_read_only("the image can only be read") else { return Err(error) };
            open_image(&pool, &options, Access { writable: false }, &connection)
        }
        opened => opened,
    };
    let opened = opened.inspect_err(|error| connection.note(error.errno()))?;
    Ok(Rbd::new(opened, options, connection, key))
}

/// Makes the node that takes `old`'s place, with other access to the same image. The connection stays, unless it is of no use any more:
/// then this is the way to go on.
///
/// # Errors
/// As for [`open`].
pub fn reopen(old: &Rbd, access: Access) -> Result<Rbd, Error> {
    if let Some(snapshot) = old.options.snapshot.as_ref().filter(|_| access.writable) {
        return Err(Error::SnapshotIsReadOnly(text(snapshot)));
    }
    let mut connection = old.connection.clone();
    if !access.writable && connection.is_of_use() {
        // DIVERGES: a reopen for reading gives the lock back before, or fails. Nobody would do so afterwards.
        let released = run(async |rq| Ok(old.image.release_for_good(rq).await?));
        // Whoever was shut out has no lock any more.
        if connection.is_of_use() {
            released.map_err(|error| Error::Open {
                image: text(&old.options.image),
                what: "giving its lock back",
                errno: error.errno(),
            })?;
        }
    }
    if !connection.is_of_use() {
        connection = Connection::new(&old.options, old.key.as_ref())?;
    }
    let pool = pool(connection.cluster(), &old.options)?;
    let opened = open_image(&pool, &old.options, access, &connection);
    let opened = opened.inspect_err(|error| connection.note(error.errno()))?;
    // QEMU need not ask for the length again.
    opened.0.told.fetch_max(old.image.told.load(Ordering::Acquire), Ordering::AcqRel);
    Ok(Rbd::new(opened, old.options.clone(), connection, old.key.clone()))
}

/// Opens the image that the options name, in their pool.
fn open_image(
    pool: &PoolHandle,
    options: &Options,
    access: Access,
    connection: &Connection,
) -> Result<(Arc<Image>, Option<Probe>), Error> {
    let parts = run(async |rq| find(rq, pool, options, access).await)?;
    let image = Arc::new(Image::new(parts, Arc::clone(connection.unanswered())));
    match watch::begin(&image) {
        Ok(()) => {
            // What has changed between the first look and the watch. Nobody else uses the image yet.
            let caught_up = run(async |rq| {
                let mut head = image.gate.exclusive(rq).await?;
                image.read_header(rq, &mut head).await
            });
            if let Err(error) = caught_up {
                image.lookout.close();
                return Err(error);
            }
        }
        // Who may only read may not be allowed to watch, and then doesn't learn of changes.
        Err(_) if !access.writable => {}
        Err(errno) => return Err(Error::Open { image: text(&options.image), what: "watching it", errno }),
    }
    let probe = run(async |rq| probe(rq, &image).await);
    if probe.is_err() {
        image.lookout.close();
    }
    Ok((image, probe?))
}

/// Runs a future on this thread; a panic in it is an error of the request.
fn run<T>(start: impl AsyncFnOnce(&Request) -> Result<T, Error>) -> Result<T, Error> {
    block_on(start).unwrap_or(Err(Error::Errno(Errno::EIO)))
}

/// Finds the image and reads its header.
async fn find(rq: &Request, pool: &PoolHandle, options: &Options, access: Access) -> Result<Parts, Error> {
    let name = &options.image;
    let meta = enter_namespace(rq, pool, options).await?;
    let finder = Finder { rq, pool: &meta };
    let failed = |what| {
        move |error| match error {
            Error::Errno(errno) => Error::Open { image: text(name), what, errno },
            other => other,
        }
    };
    let kind = finder.find(name).await?;
    let header = kind.header()?;
    let identity = finder.identity(&kind, &header).await.map_err(failed("reading its header"))?;
    let read_only = !access.writable;
    let state = finder.state(&kind, &header, &identity, read_only).await;
    let (state, snapshots) = state.map_err(failed("reading its header"))?;
    let wanted = if access.writable { refusal::Access::Write } else { refusal::Access::Read };
    refusal::check_open(wanted, state.features, state.incompatible)?;
    let mut operations = OpFeatures::default();
    if matches!(kind, Kind::Format2(_)) && state.features.contains(Features::OPERATIONS) {
        operations = finder.operations(&header).await.map_err(failed("reading its header"))?;
    }
    let mut data = match identity.data_pool {
        Some(id) => {
            let opened = meta.cluster().pool_by_id(id).and_then(|pool| pool.in_namespace(&options.namespace));
            opened.map_err(|errno| Error::Pool { pool: format!("number {id}, with the data"), errno })?
        }
        None => meta.in_namespace(&options.namespace)?,
    };
    let (mut snapshot, mut size) = (None, state.size);
    if let Some(wanted) = &options.snapshot {
        let found = snapshots.iter().find(|snap| snap.is_users() && snap.info.name == wanted.to_bytes());
        let found = found.ok_or_else(|| Error::NoSnapshot { image: text(name), snapshot: text(wanted) })?;
        // Flattening may leave it one.
        refusal::check_snapshot(found)?;
        snapshot = Some(found.info.id);
        size = super::format::striping::check_size(found.info.size)?;
        data = data.at_snapshot(found.info.id)?;
    } else {
        refusal::check_parent(state.parent_overlap)?;
    }
    let remover = writer(&data, snapshot, &state)?.also_when_full();
    let writer = writer(&data, snapshot, &state)?;
    Ok(Parts {
        name: name.clone(),
        kind,
        header,
        meta: Arc::new(meta),
        identity,
        reader: data,
        snapshot,
        writable: access.writable,
        size,
        head: Head { writer, remover, state, snapshots, operations, map: None },
    })
}

/// The pool as seen in the namespace of the options.
pub(super) async fn enter_namespace(
    rq: &Request,
    pool: &PoolHandle,
    options: &Options,
) -> Result<PoolHandle, Error> {
    let name = &options.namespace;
    let failed = |errno| Error::Namespace { pool: text(&options.pool), namespace: text(name), errno };
    if !name.is_empty() {
        match (Finder { rq, pool }).has_namespace(name).await {
            Ok(true) => {}
            Ok(false) => return Err(failed(Errno::ENOENT)),
            // Who may use a namespace only may not ask which ones there are.
            Err(error) if is_read_only(error.errno()) => {}
            Err(error) => return Err(failed(error.errno())),
        }
    }
    // The header of an image in a full pool must be there to make room.
    Ok(pool.in_namespace(name)?.also_when_full())
}

/// Looks at the first bytes of the image.
async fn probe(rq: &Request, image: &Image) -> Result<Option<Probe>, Error> {
    let first = image.identity.names.name(0);
    let op = ReadOp::new()?.read(PROBE_SIZE);
    match image.reader.ask(rq, first.as_c_str(), op).await {
        Ok(replies) => Ok(replies.bytes(0).try_into().ok().and_then(Probe::new)),
        Err(errno) if errno == Errno::ENOENT => Ok(None),
        Err(errno) => Err(Error::Open { image: text(&image.name), what: "reading its first bytes", errno }),
    }
}

/// Whether the image can't be written but might be read.
fn is_read_only(errno: Errno) -> bool {
    [libc::EACCES, libc::EPERM, libc::EROFS].contains(&errno.code())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens with options that are refused before anybody is asked.
    fn open_of(options: &[(&str, &str)]) -> Error {
        let mut map = OptionMap::default();
        for (key, value) in options {
            map.insert((*key).to_owned(), value.as_bytes().to_vec());
        }
        let secret = |_: &CStr| Err(Error::Errno(Errno::EIO));
        open(map, Access { writable: true }, secret, |_| Err(Errno::EACCES)).unwrap_err()
    }

    #[test]
    fn open_with_encryption_is_refused() {
        let image = [("pool", "p"), ("image", "i"), ("encrypt.format", "luks"), ("encrypt.key-secret", "s")];
        let error = open_of(&image);
        assert!(matches!(error, Error::Encryption));
        assert_eq!(error.errno(), Errno::ENOTSUP);
        assert!(error.to_string().contains("driver 'luks'"));
    }

    #[test]
    fn open_of_a_snapshot_for_writing_is_refused_by_its_name() {
        let error = open_of(&[("pool", "p"), ("image", "i"), ("snapshot", "old")]);
        assert_eq!(error.errno(), Errno::EACCES);
        assert!(error.to_string().contains("'old'"), "{error}");
    }
}
