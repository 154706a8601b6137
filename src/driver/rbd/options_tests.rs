// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Tests of `options.rs`.

use proptest::prelude::*;

use super::*;

fn map(text: &str) -> OptionMap {
    text.split(',').filter_map(|pair| pair.split_once('=')).collect()
}

fn parse(text: &str) -> Result<Options, OptionsError> {
    Options::parse(&mut map(text))
}

fn c(text: &str) -> Option<CString> {
    Some(CString::new(text).unwrap())
}

fn settings(options: &Options, key: Option<&CString>) -> Vec<(String, String)> {
    let text = |part: &std::ffi::CStr| part.to_str().unwrap().to_owned();
    options.settings(key).map(|(name, value)| (text(name), text(value))).collect()
}

fn strings(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn parse_of_pool_and_image_alone() {
    let options = parse("pool=p,image=i").unwrap();
    assert_eq!((options.pool.as_c_str(), options.image.as_c_str()), (c"p", c"i"));
    assert_eq!((options.namespace.as_c_str(), &options.snapshot, options.is_legacy), (c"", &None, false));
    assert_eq!(settings(&options, None), []);
}

#[test]
fn parse_names_what_is_missing() {
    for (text, missing) in [
        ("image=i", "pool"),
        ("pool=p", "image"),
        ("pool=p,image=i,server.0.host=h", "server.0.port"),
        ("pool=p,image=i,server.0.port=1", "server.0.host"),
        ("pool=p,image=i,server.1.host=h,server.1.port=1", "server.0"),
        ("pool=p,image=i,auth-client-required.1=none", "auth-client-required.0"),
        ("pool=p,image=i,encrypt.key-secret=s", "encrypt.format"),
        ("pool=p,image=i,encrypt.format=luks", "encrypt.key-secret"),
        ("pool=p,image=i,encrypt.parent.format=luks", "encrypt.format"),
    ] {
        assert_eq!(parse(text), Err(OptionsError::Missing(missing.into())), "{text}");
    }
}

#[test]
fn parse_of_a_gap_in_the_servers_is_refused() {
    let text = "pool=p,image=i,server.0.host=h,server.0.port=1,server.2.host=h,server.2.port=1";
    assert_eq!(parse(text), Err(OptionsError::Missing("server.1".into())));
}

#[test]
fn parse_of_empty_names_is_refused() {
    for (text, name) in [
        ("pool=,image=i", "pool"),
        ("pool=p,image=", "image"),
        ("pool=p,image=i,snapshot=", "snapshot"),
        ("pool=p,image=i,server.0.host=,server.0.port=1", "server.0.host"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(matches!(error, OptionsError::Value { ref key, .. } if key == name), "{text}");
        assert_eq!(error.errno(), Errno::EINVAL);
    }
    assert!(parse("pool=p,image=i,namespace=").is_ok());
}

#[test]
fn parse_of_a_nul_is_refused() {
    let mut source: OptionMap = [("pool", "a\0b"), ("image", "i")].into_iter().collect();
    let error = Options::parse(&mut source).unwrap_err();
    assert!(error.to_string().starts_with("parameter 'pool' expects text without a NUL character"));
}

#[test]
fn parse_joins_the_servers_and_puts_ipv6_into_brackets() {
    let text = "pool=p,image=i,server.0.host=mon1,server.0.port=6321,server.1.host=::1,server.1.port=6322,\
                server.2.host=1.2.3.4,server.2.port=3300";
    assert_eq!(parse(text).unwrap().mon_host, c("mon1:6321;[::1]:6322;1.2.3.4:3300"));
}

#[test]
fn parse_of_more_than_ten_servers_sorts_by_number() {
    let mut text = String::from("pool=p,image=i");
    for n in (0..12).rev() {
        text += &format!(",server.{n}.host=h{n},server.{n}.port={n}");
    }
    let mon_host = parse(&text).unwrap().mon_host.unwrap().into_string().unwrap();
    assert!(mon_host.starts_with("h0:0;h1:1;") && mon_host.ends_with(";h10:10;h11:11"));
}

#[test]
fn parse_refuses_bad_monitor_ports_by_name() {
    for port in ["65536", "-1", "+1", "http", "1 ", "99999999999999999999"] {
        let error = parse(&format!("pool=p,image=i,server.0.host=h,server.0.port={port}")).unwrap_err();
        let expected = format!("parameter 'server.0.port' expects a number up to 65535, not '{port}'");
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn parse_refuses_members_that_do_not_exist() {
    for (text, name) in [
        ("server.0.host=h,server.0.port=1,server.0.type=inet", "server.0.type"),
        ("server.x=h", "server.x"),
        ("auth-client-required.0=none,auth-client-required.0.x=1", "auth-client-required.0.x"),
        ("encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher=x", "encrypt.cipher"),
        ("encrypt.format=luks,encrypt.key-secret=s,encrypt.parent.format=luks,encrypt.parent.key-secret=t,encrypt.x=y", "encrypt.x"),
    ] {
        let error = parse(&format!("pool=p,image=i,{text}")).unwrap_err();
        assert_eq!(error, OptionsError::Unexpected(name.into()), "{text}");
    }
}

#[test]
fn parse_leaves_what_it_does_not_know_for_the_block_layer_to_refuse() {
    let mut source = map("pool=p,image=i,aio=native");
    assert!(Options::parse(&mut source).is_ok());
    assert!(source.contains("aio"));
}

#[test]
fn parse_knows_two_ways_to_authenticate() {
    let text = "pool=p,image=i,auth-client-required.0=cephx,auth-client-required.1=none";
    assert_eq!(parse(text).unwrap().auth, c("cephx;none"));
    let error = parse("pool=p,image=i,auth-client-required.0=krb5").unwrap_err();
    assert!(matches!(error, OptionsError::Value { ref key, .. } if key == "auth-client-required.0"));
}

#[test]
fn parse_takes_both_spellings_of_the_secret_but_not_together() {
    assert_eq!(parse("pool=p,image=i,key-secret=s").unwrap().key_secret, c("s"));
    assert_eq!(parse("pool=p,image=i,password-secret=s").unwrap().key_secret, c("s"));
    let error = parse("pool=p,image=i,key-secret=s,password-secret=t").unwrap_err();
    assert_eq!(error, OptionsError::Conflict("key-secret".into(), "password-secret".into()));
}

#[test]
fn parse_of_layers_of_encryption() {
    let text = "pool=p,image=i,encrypt.format=luks-any,encrypt.key-secret=x,encrypt.parent.format=luks,\
                encrypt.parent.key-secret=y,encrypt.parent.parent.format=luks2,encrypt.parent.parent.key-secret=z";
    let layers = parse(text).unwrap().encryption;
    let formats: Vec<_> = layers.iter().map(|layer| layer.format).collect();
    assert_eq!(formats, [Format::LuksAny, Format::Luks, Format::Luks2]);
    assert_eq!(layers[2].key_secret.as_c_str(), c"z");
    let error = parse("pool=p,image=i,encrypt.format=qcow,encrypt.key-secret=x").unwrap_err();
    assert!(matches!(error, OptionsError::Value { ref key, .. } if key == "encrypt.format"));
}

#[test]
fn settings_come_in_the_order_in_which_later_ones_win() {
    let found = FileName::parse(br"rbd:p/i:mon_host=a:key=b:mon_host=c").unwrap();
    let mut source = found.into_options();
    source.extend(map("server.0.host=h,server.0.port=1,auth-client-required.0=cephx"));
    let options = Options::parse(&mut source).unwrap();
    let expected = strings(&[
        ("mon_host", "a"),
        ("mon_host", "c"),
        ("key", "b"),
        ("mon_host", "h:1"),
        ("auth_client_required", "cephx"),
        ("key", "c2VjcmV0"),
    ]);
    assert_eq!(settings(&options, c("c2VjcmV0").as_ref()), expected);
}

#[test]
fn pairs_are_a_list_of_strings_by_turns() {
    let mut source = map("pool=p,image=i");
    source.insert(PAIRS.into(), br#"["a", "1", "b\u00e4", "x\"y"]"#.to_vec());
    let options = Options::parse(&mut source).unwrap();
    assert_eq!(settings(&options, None), strings(&[("a", "1"), ("b\u{e4}", "x\"y")]));
}

#[test]
fn pairs_that_are_no_such_list_are_refused() {
    for text in
        ["", "x", "{}", "[1, 2]", r#"["a"]"#, r#"["a", "b", "c"]"#, r#"["a", ["b"]]"#, r#"["a", "\u0000"]"#]
    {
        let mut source = map("pool=p,image=i");
        source.insert(PAIRS.into(), text.into());
        let error = Options::parse(&mut source).unwrap_err();
        assert!(matches!(error, OptionsError::Value { ref key, .. } if key == PAIRS), "{text}");
    }
}

#[test]
fn legacy_file_name_works_and_says_that_it_is_one() {
    let options = parse("filename=rbd:rbd/bogus:conf=/x").unwrap();
    assert!(options.is_legacy);
    assert_eq!(
        (options.pool.as_c_str(), options.image.as_c_str(), options.conf),
        (c"rbd", c"bogus", c("/x"))
    );
}

#[test]
fn legacy_file_name_wins_over_separate_options() {
    let options = parse("filename=rbd:p/i@s,pool=x,namespace=y,snapshot=z,user=u").unwrap();
    assert_eq!(
        (options.pool.as_c_str(), options.namespace.as_c_str(), options.snapshot),
        (c"p", c"", c("s"))
    );
    assert_eq!(options.user, c("u"));
}

#[test]
fn legacy_file_name_that_is_none_is_an_error_that_names_it() {
    let error = parse("filename=rbd:p").unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid file name rbd:p: the pool is missing: rbd:POOL/IMAGE is the least that is needed"
    );
    assert_eq!(error.errno(), Errno::EINVAL);
}

#[test]
fn legacy_file_name_that_is_none_is_told_without_its_settings() {
    for (name, shown) in [
        ("rbd:p/i:key=SECRET:bogus", "rbd:p/i:..."),
        ("rbd:p/i@s:id=u:key=SECRET:", "rbd:p/i@s:..."),
        ("rbd:p:key=SECRET", "rbd:p:..."),
        (r"rbd:p/a\:b:bogus", r"rbd:p/a\:b:..."),
        ("p/i:key=SECRET", "p/i:..."),
    ] {
        let error = parse(&format!("filename={name}")).unwrap_err();
        assert!(error.to_string().starts_with(&format!("invalid file name {shown}: ")), "{error}");
    }
}

#[test]
fn legacy_file_name_with_an_unknown_option_leaves_that_for_the_block_layer() {
    let mut source = map("filename=rbd:p/i,bogus=1");
    assert!(Options::parse(&mut source).is_ok());
    assert!(source.contains("bogus"));
}

#[test]
fn legacy_file_name_beside_settings_is_left_for_the_block_layer_to_refuse() {
    let mut source = FileName::parse(b"rbd:p/i:a=b").unwrap().into_options();
    source.insert("filename".into(), b"rbd:x/y".to_vec());
    let options = Options::parse(&mut source).unwrap();
    assert_eq!((options.pool.as_c_str(), options.is_legacy), (c"p", false));
    assert!(source.contains("filename"));
}

#[test]
fn parse_takes_what_libvirt_generates() {
    let text = "pool=P,image=I,snapshot=S,namespace=N,conf=/path,server.0.host=mon1,server.0.port=6321,\
                server.1.host=::1,server.1.port=6322,user=U,auth-client-required.0=cephx,auth-client-required.1=none,\
                key-secret=libvirt-2-storage-auth-secret0,encrypt.format=luks,encrypt.key-secret=X,\
                encrypt.parent.format=luks2,encrypt.parent.key-secret=Y";
    let mut source = map(text);
    let options = Options::parse(&mut source).unwrap();
    assert_eq!(source, OptionMap::default());
    assert_eq!((options.user, options.conf, options.snapshot), (c("U"), c("/path"), c("S")));
    assert_eq!(options.mon_host, c("mon1:6321;[::1]:6322"));
}

#[test]
fn parse_takes_what_proxmox_generates() {
    let text = "pool=P,image=I,conf=/etc/pve/ceph.conf,namespace=,server.0.host=10.0.0.1,server.0.port=3300,\
                auth-client-required.0=none,user=admin";
    let options = parse(text).unwrap();
    let expected = strings(&[("mon_host", "10.0.0.1:3300"), ("auth_client_required", "none")]);
    assert_eq!(settings(&options, None), expected);
}

proptest! {
    #[test]
    fn file_names_reach_the_node_through_their_options(
        pool in "[a-z]{1,5}", image in "[a-z]{1,5}", pairs in proptest::collection::vec(("[^\0]{0,5}", "[^\0]{0,5}"), 0..4),
    ) {
        let pairs: Vec<_> = pairs.into_iter().map(|(key, value)| (key.into_bytes(), value.into_bytes())).collect();
        let name = FileName { pool: pool.clone().into(), image: image.into(), pairs: pairs.clone(), ..FileName::default() };
        let options = Options::parse(&mut name.into_options()).unwrap();
        prop_assert_eq!(options.pool.to_bytes(), pool.as_bytes());
        let found: Vec<_> = options.pairs.into_iter().map(|(key, value)| (key.into_bytes(), value.into_bytes())).collect();
        prop_assert_eq!(found, pairs);
    }
}

#[test]
fn secret_setting_of_a_file_name_is_kept_apart() {
    let map = FileName::parse(b"rbd:p/i:mon_host=a:key=SECRET").unwrap().into_options();
    let shown = map.into_iter().filter(|(key, _)| key != SECRET_PAIRS);
    for (key, value) in shown {
        assert!(!value.windows(6).any(|part| part == b"SECRET"), "{key}");
    }
}
