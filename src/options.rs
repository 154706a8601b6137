// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! Options as plain text: what drivers parse, with no C type in sight.

/// Flat options: keys as QEMU spells them (`server.0.host`), values as the bytes the user gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OptionMap(Vec<(String, Vec<u8>)>);

impl OptionMap {
    /// Adds an option.
    pub fn insert(&mut self, key: String, value: Vec<u8>) {
        self.0.push((key, value));
    }

    /// Adds all options of another map.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Removes an option and returns its value.
    pub fn take(&mut self, key: &str) -> Option<Vec<u8>> {
        let index = self.0.iter().position(|(k, _)| k == key)?;
        Some(self.0.swap_remove(index).1)
    }

    /// Removes all options whose keys begin with `prefix`.
    pub fn remove_prefix(&mut self, prefix: &str) {
        self.0.retain(|(key, _)| !key.starts_with(prefix));
    }

    /// Whether the option was given.
    #[must_use]
    pub fn contains(&self, key: &str) -> bool {
        self.0.iter().any(|(k, _)| k == key)
    }

    /// The first key that begins with `prefix`.
    #[must_use]
    pub fn first_key(&self, prefix: &str) -> Option<&str> {
        self.0.iter().map(|(key, _)| key.as_str()).find(|key| key.starts_with(prefix))
    }

    /// Whether an option was given whose key begins with `prefix`.
    #[must_use]
    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.0.iter().any(|(key, _)| key.starts_with(prefix))
    }
}

impl IntoIterator for OptionMap {
    type Item = (String, Vec<u8>);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<K: Into<String>, V: Into<Vec<u8>>> FromIterator<(K, V)> for OptionMap {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        Self(iter.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
    }
}

/// A number as QEMU's options have them: decimal, 0x for hexadecimal, 0 for octal; it wraps below zero as QEMU's do.
#[must_use]
pub fn parse_number(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let number = if let Some(hex) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        u64::from_str_radix(hex, 16)
    } else if digits.len() > 1 && digits.starts_with('0') {
        u64::from_str_radix(digits, 8)
    } else {
        digits.parse()
    };
    let number = number.ok().filter(|_| !digits.contains('+'))?;
    Some(if negative { number.wrapping_neg() } else { number })
}

/// A boolean as QEMU's options have them.
#[must_use]
pub fn parse_bool(text: &[u8]) -> Option<bool> {
    match text {
        b"on" | b"yes" | b"true" | b"y" => Some(true),
        b"off" | b"no" | b"false" | b"n" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_removes_the_option() {
        let mut map: OptionMap = [("a", "1"), ("b", "2")].into_iter().collect();
        assert_eq!(map.take("a"), Some(b"1".to_vec()));
        assert_eq!(map.take("a"), None);
        assert!(map.contains("b"));
    }

    #[test]
    fn remove_prefix_leaves_the_others() {
        let mut map: OptionMap = [("server.0.host", "h"), ("volume", "v")].into_iter().collect();
        map.remove_prefix("server.");
        assert!(!map.has_prefix("server."));
        assert!(map.contains("volume"));
    }

    #[test]
    fn first_key_finds_what_is_left() {
        let map: OptionMap = [("volume", "v"), ("server.0.host", "h")].into_iter().collect();
        assert_eq!(map.first_key("server."), Some("server.0.host"));
        assert_eq!(map.first_key("x"), None);
    }

    #[test]
    fn parse_number_knows_three_bases() {
        assert_eq!(parse_number(b"10"), Some(10));
        assert_eq!(parse_number(b"0x10"), Some(16));
        assert_eq!(parse_number(b"010"), Some(8));
        assert_eq!(parse_number(b"0"), Some(0));
    }

    #[test]
    fn parse_number_wraps_below_zero() {
        assert_eq!(parse_number(b"-1"), Some(u64::MAX));
    }

    #[test]
    fn parse_number_refuses_what_is_none() {
        for text in
            [b"".as_slice(), b"-", b"x", b"1x", b"0x", b"+1", b"0x+1", b"18446744073709551616", b"\xff"]
        {
            assert_eq!(parse_number(text), None);
        }
    }

    #[test]
    fn parse_bool_knows_the_spellings_of_qemu() {
        assert_eq!(parse_bool(b"on"), Some(true));
        assert_eq!(parse_bool(b"n"), Some(false));
        assert_eq!(parse_bool(b"1"), None);
    }
}
