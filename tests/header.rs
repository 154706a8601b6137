// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! The committed C header is what cbindgen makes of the sources, and a header that any C or C++ program can include.
#![expect(clippy::unwrap_used, reason = "a test stops where its set-up fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generate() -> String {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let mut header = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(root().join("src/abi.rs"))
        .with_src(root().join("src/ffi/version.rs"))
        .with_src(root().join("src/ffi/gluster.rs"))
        .with_src(root().join("src/ffi/quorum.rs"))
        .with_src(root().join("src/ffi/rbd.rs"))
        .with_src(root().join("src/ffi/replication.rs"))
        .generate()
        .unwrap()
        .write(&mut header);
    String::from_utf8(header).unwrap()
}

/// Compiles `source`; fails with what the compiler had to say.
fn compile(compiler: &str, flags: &[&str], name: &str, source: &str) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let file = folder.join(name);
    fs::write(&file, source).unwrap();
    let output = Command::new(compiler)
        .args(flags)
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", "-I"])
        .arg(root().join("include"))
        .arg(&file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// With `QBR_BLESS=1` the committed header is replaced instead.
#[test]
fn header_is_up_to_date() {
    let path = root().join("include/qemu-block-rs.h");
    let generated = generate();
    if std::env::var_os("QBR_BLESS").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    assert_eq!(committed, generated, "run: QBR_BLESS=1 cargo test --test header");
}

#[test]
fn header_compiles_alone_and_twice_as_c99() {
    let source = "#include \"qemu-block-rs.h\"\n#include \"qemu-block-rs.h\"\nint unused;\n";
    compile("cc", &["-std=c99"], "header.c", source);
}

#[test]
fn header_compiles_alone_and_twice_as_cxx() {
    let source = "#include \"qemu-block-rs.h\"\n#include \"qemu-block-rs.h\"\nint unused;\n";
    compile("c++", &["-std=c++11"], "header.cpp", source);
}

#[test]
fn header_has_the_version_of_the_package() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let meson = fs::read_to_string(root().join("meson.build")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(manifest.contains(&format!("version = \"{version}\"")));
    assert!(
        meson.contains(&format!("version: '{version}'")),
        "meson.build has another version than Cargo.toml"
    );
}
