// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Generates the raw declarations of the C libraries and of the host services; nothing else.
#![expect(clippy::expect_used, reason = "a build script that can't go on stops with a message")]

use std::env;
use std::path::PathBuf;

/// Oldest libgfapi with the five-argument completion callback and the 6.0 symbol versions.
const MIN_GFAPI: &str = "7.6";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    println!("cargo:rerun-if-changed=adapter/qbr-host.h");
    println!("cargo:rustc-check-cfg=cfg(loom)");

    builder()
        .header("adapter/qbr-host.h")
        // The services are linked from the adapter in the same module.
        .clang_arg("-DQBR_HOST_API=")
        .allowlist_file(".*/qbr-host\\.h")
        .derive_default(true)
        .prepend_enum_name(false)
        .blocklist_type("iovec")
        .raw_line("use libc::iovec;")
        .generate()
        .expect("adapter/qbr-host.h can be read by libclang")
        .write_to_file(out.join("host.rs"))
        .expect("OUT_DIR is writable");

    if env::var_os("CARGO_FEATURE_GLUSTER").is_some() {
        gluster(&out);
    }
    if env::var_os("CARGO_FEATURE_RBD").is_some() {
        rbd(&out);
    }
}

/// The part of librados that the rbd driver calls. It has no .pc file; its header and library are in the default places.
fn rbd(out: &std::path::Path) {
    let mut builder = builder().header_contents("rados.h", "#include <rados/librados.h>\n");
    for function in [
        "create",
        "shutdown",
        "connect",
        "conf_read_file",
        "conf_parse_env",
        "conf_set",
        "conf_get",
        "get_instance_id",
        "blocklist_add",
        "wait_for_latest_osdmap",
        "buffer_free",
        "ioctx_create2?",
        "ioctx_destroy",
        "ioctx_get_id",
        "ioctx_set_namespace",
        "ioctx_snap_set_read",
        "ioctx_selfmanaged_snap_set_write_ctx",
        "ioctx_selfmanaged_snap_rollback",
        "set_pool_full_try",
        "aio_create_completion2",
        "aio_get_return_value",
        "aio_get_version",
        "aio_release",
        "aio_read",
        "aio_write",
        "aio_write_full",
        "aio_remove",
        "aio_stat",
        "aio_notify",
        "aio_ioctx_selfmanaged_snap_(create|remove)",
        "aio_(read|write)_op_operate",
        "create_(read|write)_op",
        "release_(read|write)_op",
        "read_op_(assert_exists|exec|read)",
        "write_op_(assert_version|assert_exists|create|write|write_full|writesame|zero|truncate|remove|exec|set_alloc_hint2)",
        "watch3",
        "watch_flush",
        "unwatch2",
        "notify_ack",
    ] {
        builder = builder.allowlist_function(format!("rados_{function}"));
    }
    builder
        .allowlist_var("LIBRADOS_(CREATE_EXCLUSIVE|OPERATION_(FULL_TRY|ORDER_READS_WRITES))")
        .blocklist_type("timespec|timeval|__time_t|__suseconds_t|__syscall_slong_t|time_t")
        .raw_line("use libc::time_t;")
        .generate()
        .expect("librados' header (librados-dev) can be read by libclang")
        .write_to_file(out.join("rados.rs"))
        .expect("OUT_DIR is writable");
    println!("cargo:rustc-link-lib=dylib=rados");
}

/// The part of libgfapi that the gluster driver calls.
fn gluster(out: &std::path::Path) {
    let library = pkg_config::Config::new()
        .atleast_version(MIN_GFAPI)
        .cargo_metadata(false)
        .probe("glusterfs-api")
        .expect("libgfapi's development files (libglusterfs-dev) are installed");
    let mut builder = builder().header_contents("gfapi.h", "#include <glusterfs/api/glfs.h>\n");
    for (key, value) in &library.defines {
        builder = match value {
            Some(value) => builder.clang_arg(format!("-D{key}={value}")),
            None => builder.clang_arg(format!("-D{key}")),
        };
    }
    for path in &library.include_paths {
        builder = builder.clang_arg(format!("-I{}", path.display()));
    }
    for function in [
        "new",
        "set_volfile_server",
        "set_logging",
        "set_xlator_option",
        "init",
        "fini",
        "open",
        "creat",
        "dup",
        "close",
        "unlink",
        "lseek",
        "fstat",
        "pread",
        "ftruncate",
        "fallocate",
        "zerofill",
        "preadv_async",
        "pwritev_async",
        "fsync_async",
        "discard_async",
        "zerofill_async",
    ] {
        builder = builder.allowlist_function(format!("glfs_{function}"));
    }
    builder
        .blocklist_type("iovec|stat|timespec|off_t|__off_t|ssize_t|size_t|mode_t")
        .raw_line("use libc::{iovec, mode_t, off_t, stat};")
        .opaque_type("glfs_stat")
        .generate()
        .expect("libgfapi's header can be read by libclang")
        .write_to_file(out.join("gfapi.rs"))
        .expect("OUT_DIR is writable");
    // Only libgfapi itself: the other libraries that its .pc file names are its own affair.
    println!("cargo:rustc-link-lib=dylib=gfapi");
}

/// What all bindings have in common.
fn builder() -> bindgen::Builder {
    bindgen::Builder::default()
        .use_core()
        .layout_tests(true)
        .merge_extern_blocks(true)
        .wrap_unsafe_ops(true)
        .generate_comments(false)
        .formatter(bindgen::Formatter::None)
        .rust_target(bindgen::RustTarget::stable(82, 0).unwrap_or_default())
        .rust_edition(bindgen::RustEdition::Edition2021)
}
