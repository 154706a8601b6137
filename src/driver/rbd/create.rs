// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Creating an image. Runs in a coroutine; what blocks runs on other threads. Source: RBD format document, sections 3.3 and 9.1.
//!
//! Every step creates something that must not be there yet, so two clients never make the same image; a step that fails takes back
//! the ones before it, and itself if nobody knows whether it was done.

use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use super::connect::{connect, pool, pool_named, text, HEADER_SIZE};
use super::create_options::CreateOptions;
use super::defaults::Defaults;
use super::error::{ignore, is_refusal, Error};
use super::format::calls::{self, Call};
use super::format::directory::{self, Directory1};
use super::format::features::Features;
use super::format::format1;
use super::format::header::NewHeader;
use super::format::names::{self, ImageId};
use super::format::object_map;
use super::format::replies;
use super::format::striping::{Layout, DEFAULT_ORDER};
use super::lookup::Finder;
use super::open::enter_namespace;
use super::options::Options;
use crate::backend::rados::{Cluster, PoolHandle, ReadOp, WriteOp};
use crate::errno::{Errno, ToErrno};
use crate::host::{spawn_blocking, Request};

/// How often the directory of format 1 images is read again because another client has changed it.
const MAX_TRIES: u32 = 100;

/// Creates an image. It never takes the place of one that is there, and leaves nothing behind if it fails.
///
/// # Errors
/// `EEXIST`; wrong options or configuration; no connection; the cluster's.
pub async fn create(rq: &Request, options: CreateOptions, secret: Option<CString>) -> Result<(), Error> {
    if options.encryption.is_some() {
        return Err(Error::Encryption);
    }
    let (cluster, pool) = open_pool(rq, options.location.clone(), secret).await?;
    create_and_leave(rq, cluster, pool, &options).await
}

/// Creates an image, and ends the connection.
async fn create_and_leave(
    rq: &Request,
    cluster: Arc<Cluster>,
    pool: PoolHandle,
    options: &CreateOptions,
) -> Result<(), Error> {
    let made = create_in(rq, &cluster, &pool, options).await;
    // Ending the connection blocks, too.
    spawn_blocking(rq, move || drop((pool, cluster))).await?;
    made
}

/// Connects, and opens the pool; on a thread, as both block.
async fn open_pool(
    rq: &Request,
    location: Options,
    secret: Option<CString>,
) -> Result<(Arc<Cluster>, PoolHandle), Error> {
    let opened = spawn_blocking(rq, move || {
        let cluster = Arc::new(connect(&location, secret.as_ref())?);
        let pool = pool(&cluster, &location)?;
        Ok((cluster, pool))
    });
    opened.await?
}

/// Creates an image in a pool.
async fn create_in(
    rq: &Request,
    cluster: &Arc<Cluster>,
    pool: &PoolHandle,
    options: &CreateOptions,
) -> Result<(), Error> {
    let meta = enter_namespace(rq, pool, &options.location).await?;
    let name = &options.location.image;
    let maker = Maker { finder: Finder { rq, pool: &meta }, cluster, name };
    for object in [names::id_object(name.to_bytes())?, names::header1(name.to_bytes())?] {
        match meta.exists(rq, &object).await.and_then(Errno::check) {
            Ok(_) => return Err(maker.failed("looking for one of that name")(Errno::EEXIST)),
            Err(errno) if errno == Errno::ENOENT => {}
            Err(errno) => return Err(maker.failed("looking for one of that name")(errno)),
        }
    }
    let defaults =
        Defaults::read(rq, cluster, &options.location, pool).await.map_err(|error| match error {
            Error::Errno(errno) => maker.failed("asking what is configured for its pool")(errno),
            other => other,
        })?;
    let order = options.order.or_else(|| defaults.number(c"rbd_default_order")).unwrap_or(DEFAULT_ORDER);
    // DIVERGES: format 1 is made if it is configured; the C driver wants RBD_FORCE_ALLOW_V1 in the environment, too.
    if defaults.number(c"rbd_default_format") == Some(1) {
        // As with `rbd create`: format 1 knows neither.
        if !options.location.namespace.is_empty() {
            return Err(maker.failed("format 1 has no namespaces")(Errno::EINVAL));
        }
        return maker.create1(order, options.size).await;
    }
    let data = data_pool(rq, cluster, &defaults, &options.location.pool).await?;
    let data = data.as_ref();
    let unit = defaults.number(c"rbd_default_stripe_unit").unwrap_or(0);
    let count = defaults.number(c"rbd_default_stripe_count").unwrap_or(0);
    let features = match defaults.text(c"rbd_default_features") {
        Some(features) => Features::parse(features.to_bytes())?,
        None => Features::DEFAULT,
    };
    let new = NewHeader {
        id: ImageId::generate(cluster.instance_id(), random()),
        size: options.size,
        layout: Layout::for_create(order, unit, count)?,
        features,
        pools: data.map(|data| (meta.id(), data.id())),
    };
    if cluster.get(c"rbd_validate_pool").is_none_or(|value| value.as_c_str() == c"true") {
        maker
            .validate(data.unwrap_or(pool))
            .await
            .map_err(maker.failed("checking that the pool can hold it"))?;
    }
    maker.create2(&new, !options.location.namespace.is_empty()).await
}

/// The pool that is configured for the data, if it is another one.
async fn data_pool(
    rq: &Request,
    cluster: &Arc<Cluster>,
    defaults: &Defaults<'_>,
    pool: &CStr,
) -> Result<Option<PoolHandle>, Error> {
    let name = defaults.text(c"rbd_default_data_pool");
    let Some(name) = name.filter(|name| !name.is_empty() && name.as_c_str() != pool) else { return Ok(None) };
    let cluster = Arc::clone(cluster);
    spawn_blocking(rq, move || pool_named(&cluster, &name).map(Some)).await?
}

/// Who makes an image.
struct Maker<'a> {
    finder: Finder<'a>,
    cluster: &'a Cluster,
    name: &'a CStr,
}

impl Maker<'_> {
    /// What a failed step becomes.
    fn failed(&self, what: &'static str) -> impl FnOnce(Errno) -> Error + '_ {
        move |errno| Error::Create { image: text(self.name), what, errno }
    }

    /// Creates a format 2 image.
    async fn create2(&self, new: &NewHeader, in_namespace: bool) -> Result<(), Error> {
        let (create, stripes) = new.calls()?;
        let features = new.features.for_create(!new.layout.is_plain(), new.pools.is_some())?;
        let objects = new.layout.object_count(new.size);
        let has_map = features.contains(Features::OBJECT_MAP);
        if has_map && objects > object_map::MAX_OBJECTS {
            return Err(self.failed("it has too many objects for an object map")(Errno::EFBIG));
        }
        let (name, id) = (self.name.to_bytes(), new.id.as_str().as_bytes());
        let mut add = WriteOp::new()?;
        if in_namespace {
            add = exec(add, &directory::dir_assert_ready());
        }
        add = exec(add, &directory::dir_add_image(name, id));
        let done = match self.change(names::DIRECTORY, add).await {
            Ok(()) => self.create2_objects(new, &create, stripes.as_ref(), features, has_map, objects).await,
            Err(errno) => {
                let failed = self.failed("adding it to the directory");
                Err((failed(errno), reached(errno, Made::Nothing, Made::Entry)))
            }
        };
        if let Err((error, made)) = done {
            self.take_back2(&new.id, made).await;
            return Err(error);
        }
        Ok(())
    }

    /// Removes what there may be of a format 2 image, in the order in which images are removed; what can't be removed now can't be
    /// helped.
    async fn take_back2(&self, id: &ImageId, made: Made) {
        let (name, id_bytes) = (self.name.to_bytes(), id.as_str().as_bytes());
        if made >= Made::Header {
            ignore(self.remove(&id.header()).await);
        }
        if made >= Made::Map {
            ignore(self.remove(&id.object_map(None)).await);
        }
        if let Some(object) = names::id_object(name).ok().filter(|_| made >= Made::Id) {
            // The object holds what the call has.
            ignore(self.remove_own(&object, directory::set_id(id_bytes).input()).await);
        }
        if made >= Made::Entry {
            // Of that id only.
            ignore(self.finder.call(names::DIRECTORY, &directory::dir_remove_image(name, id_bytes)).await);
        }
    }

    /// Creates the objects of a format 2 image; says what there may be if a step fails.
    async fn create2_objects(
        &self,
        new: &NewHeader,
        create: &Call,
        stripes: Option<&Call>,
        features: Features,
        has_map: bool,
        objects: u64,
    ) -> Result<(), (Error, Made)> {
        let at = |made| move |error| (error, made);
        let no_memory = |errno: Errno| Error::from(errno);
        let failed =
            |what, before, this| move |errno| (self.failed(what)(errno), reached(errno, before, this));
        let id_object = names::id_object(self.name.to_bytes());
        let id_object = id_object.map_err(Error::from).map_err(at(Made::Entry))?;
        let op = WriteOp::new().map_err(no_memory).map_err(at(Made::Entry))?.create_exclusive();
        let set_id = self.change(&id_object, exec(op, &directory::set_id(new.id.as_str().as_bytes()))).await;
        set_id.map_err(failed("creating its id", Made::Entry, Made::Id))?;

        let all = self.finder.ask(names::DIRECTORY, &[calls::get_all_features()]).await;
        let all = all.map_err(self.failed("asking which features the cluster has")).map_err(at(Made::Id))?;
        let all = replies::all_features(all.bytes(0)).map_err(Error::from).map_err(at(Made::Id))?;
        if !features.without(all).is_empty() {
            let failed = self.failed("the cluster does not know all features of 'rbd_default_features'");
            return Err((failed(Errno::ENOTSUP), Made::Id));
        }

        let header = new.id.header();
        let op = WriteOp::new().map_err(no_memory).map_err(at(Made::Id))?.create_exclusive();
        let created = self.change(&header, exec(op, create)).await;
        created.map_err(failed("creating its header", Made::Id, Made::Header))?;
        if let Some(call) = stripes {
            let set = self.finder.call(&header, call).await;
            set.map_err(self.failed("setting its striping pattern")).map_err(at(Made::Header))?;
        }
        if has_map {
            let call = object_map::resize(objects, object_map::State::Absent);
            let made = self.finder.call(&new.id.object_map(None), &call).await;
            made.map_err(self.failed("creating its object map")).map_err(at(Made::Map))?;
        }
        Ok(())
    }

    /// Creates a format 1 image.
    async fn create1(&self, order: u8, size: u64) -> Result<(), Error> {
        let layout = Layout::for_create(order, 0, 0)?;
        let header = format1::Header {
            prefix: names::new_block_name(self.cluster.instance_id(), random()).into_bytes(),
            order: layout.order(),
            size,
            snap_seq: 0,
            snapshots: Vec::new(),
        };
        let (object, header) = (names::header1(self.name.to_bytes())?, header.encode());
        let insert = |names: &mut Directory1, name: &[u8]| {
            if names.insert(name) {
                Ok(())
            } else {
                Err(Errno::EEXIST)
            }
        };
        let remove = |names: &mut Directory1, name: &[u8]| {
            names.remove(name);
            Ok(())
        };
        if let Err(errno) = self.change_directory1(insert).await {
            // An entry doesn't say whose it is; that of an image that is there stays.
            if !is_refusal(errno) && self.is_missing(&object).await {
                ignore(self.change_directory1(remove).await);
            }
            return Err(self.failed("adding it to the directory")(errno));
        }
        let op = WriteOp::new()?.create_exclusive().write(&header, 0);
        if let Err(errno) = self.change(&object, op).await {
            if !is_refusal(errno) {
                ignore(self.remove_own(&object, &header).await);
            }
            ignore(self.change_directory1(remove).await);
            return Err(self.failed("creating its header")(errno));
        }
        Ok(())
    }

    /// Changes the directory of format 1 images, which other clients may be changing, too.
    async fn change_directory1(
        &self,
        change: impl Fn(&mut Directory1, &[u8]) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let mut tries: u32 = 0;
        loop {
            let op = ReadOp::new()?.in_order().read(HEADER_SIZE);
            let (mut names, op) = match self.finder.pool.ask(self.finder.rq, names::DIRECTORY, op).await {
                Ok(replies) => {
                    let bytes = replies.bytes(0);
                    let names =
                        if bytes.is_empty() { Ok(Directory1::default()) } else { Directory1::decode(bytes) };
                    let op = WriteOp::new()?.assert_version(replies.version());
                    (names.map_err(|error| error.errno())?, op)
                }
                Err(errno) if errno == Errno::ENOENT => {
                    (Directory1::default(), WriteOp::new()?.create_exclusive())
                }
                Err(errno) => return Err(errno),
            };
            change(&mut names, self.name.to_bytes())?;
            match self.change(names::DIRECTORY, op.write_full(&names.encode())).await {
                Err(errno) if is_race(errno) && tries < MAX_TRIES => tries = tries.saturating_add(1),
                done => return done,
            }
        }
    }

    /// Makes sure, once for each pool, that objects in it can be overwritten, and that it has snapshots of the kind that images
    /// need. `data` is in the default namespace.
    async fn validate(&self, data: &PoolHandle) -> Result<(), Errno> {
        let rq = self.finder.rq;
        let op = ReadOp::new()?.read(names::VALIDATED.len().saturating_add(1));
        match data.ask(rq, names::INFO, op).await {
            Ok(replies) if replies.bytes(0) == names::VALIDATED => return Ok(()),
            Ok(_) => {}
            Err(errno) if errno == Errno::ENOENT => {}
            Err(errno) => return Err(errno),
        }
        let id = data.create_snapshot_id(rq).await?;
        let op = WriteOp::new()?.create_exclusive().write(b"validate", 0);
        let first = data.change(rq, names::INFO, op).await.and_then(Errno::check);
        let removed = data.remove_snapshot_id(rq, id).await;
        match first {
            // It may be there without being finished.
            Err(errno) if errno != Errno::EEXIST => return Err(errno),
            _ => removed?,
        }
        let op = WriteOp::new()?.write(names::VALIDATED, 0);
        data.change(rq, names::INFO, op).await.and_then(Errno::check).map(drop)
    }

    /// Changes an object.
    async fn change(&self, object: &CStr, op: WriteOp) -> Result<(), Errno> {
        self.finder.pool.change(self.finder.rq, object, op).await.and_then(Errno::check).map(drop)
    }

    /// Whether an object is surely not there.
    async fn is_missing(&self, object: &CStr) -> bool {
        let Ok(asked) = self.finder.pool.exists_in_order(self.finder.rq, object) else { return false };
        asked.await.and_then(Errno::check).is_err_and(|errno| errno == Errno::ENOENT)
    }

    /// Removes an object of that content: one of the same name may be another client's.
    async fn remove_own(&self, object: &CStr, content: &[u8]) -> Result<(), Errno> {
        let op = ReadOp::new()?.in_order().read(HEADER_SIZE);
        let there = self.finder.pool.ask(self.finder.rq, object, op).await?;
        if there.bytes(0) != content {
            return Ok(());
        }
        self.change(object, WriteOp::new()?.assert_version(there.version()).remove()).await
    }

    /// Removes an object.
    async fn remove(&self, object: &CStr) -> Result<(), Errno> {
        self.finder.pool.remove(self.finder.rq, object).await.and_then(Errno::check).map(drop)
    }
}

/// How far the creation of an image has come, or may have come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Made {
    /// There is nothing of it.
    Nothing,
    /// It is in the directory.
    Entry,
    /// Its id has an object.
    Id,
    /// It has a header.
    Header,
    /// It may have an object map.
    Map,
}

/// How far a step has come that fails: one whose answer was lost may have been done.
fn reached(errno: Errno, before: Made, this: Made) -> Made {
    if is_refusal(errno) {
        before
    } else {
        this
    }
}

/// Adds a call to a change.
fn exec(op: WriteOp, call: &Call) -> WriteOp {
    op.exec(call.class(), call.method(), call.input())
}

/// Whether another client was faster.
fn is_race(errno: Errno) -> bool {
    [libc::ERANGE, libc::EOVERFLOW, libc::EEXIST].contains(&errno.code())
}

/// A random number; the standard library seeds its hash maps with those.
fn random() -> u32 {
    let number = std::collections::hash_map::RandomState::new().build_hasher().finish();
    u32::try_from(number & u64::from(u32::MAX)).unwrap_or(0)
}
