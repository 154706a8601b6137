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

    /// Whether an option was given whose key begins with `prefix`.
    #[must_use]
    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.0.iter().any(|(key, _)| key.starts_with(prefix))
    }
}

impl<K: Into<String>, V: Into<Vec<u8>>> FromIterator<(K, V)> for OptionMap {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(iter: I) -> Self {
        Self(iter.into_iter().map(|(k, v)| (k.into(), v.into())).collect())
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
}
