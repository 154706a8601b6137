// SPDX-License-Identifier: GPL-2.0-or-later
// Copyright (c) 2026 The qemu-block-rs authors

//! What the documents say is so, and the sources keep to the layers that `ARCHITECTURE.md` draws.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::{Path, PathBuf};

    fn root() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
    }

    fn read(path: impl AsRef<Path>) -> String {
        let path = root().join(path);
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// All text files below a folder as (path from the top, content), sorted; nothing if there is no such folder.
    fn files(folder: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut folders = vec![root().join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.is_dir() {
                    if !["target", "corpus", "artifacts", "__pycache__"].contains(&name.as_str()) {
                        folders.push(path);
                    }
                } else if let Ok(text) = fs::read_to_string(&path) {
                    found.push((path.strip_prefix(root()).unwrap().display().to_string(), text));
                }
            }
        }
        found.sort();
        found
    }

    /// Whether a file of that name is source code.
    fn is_source(path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or_default();
        match name.rsplit_once('.') {
            Some((_, extension)) => ["rs", "c", "h", "sh", "py"].contains(&extension),
            None => path.starts_with("scripts/"),
        }
    }

    /// What is between pairs of backticks.
    fn ticked(text: &str) -> Vec<&str> {
        text.split('`').skip(1).step_by(2).collect()
    }

    /// The rows of all tables of a document, as cells, without heads and rules.
    fn rows(document: &str) -> Vec<Vec<&str>> {
        let following = document.lines().skip(1).chain([""]);
        let mut rows = Vec::new();
        for (line, next) in document.lines().zip(following) {
            let is_head = next.starts_with("| ---");
            if line.starts_with("| ") && !line.starts_with("| ---") && !is_head {
                rows.push(line.trim_matches('|').split(" | ").map(str::trim).collect());
            }
        }
        rows
    }

    /// All `DIVERGES:` marks as (file, the words behind it).
    fn marks() -> Vec<(String, String)> {
        let mut marks = Vec::new();
        for (path, text) in files("src").into_iter().chain(files("adapter")) {
            for line in text.lines() {
                let line = line.trim_start().trim_start_matches(['/', '*', ' ']);
                if let Some(words) = line.strip_prefix("DIVERGES:") {
                    marks.push((path.clone(), words.trim().to_owned()));
                }
            }
        }
        marks
    }

    #[test]
    fn every_divergence_has_its_row() {
        let document = read("docs/divergences.md");
        let mut rows: Vec<(&str, &str)> = Vec::new();
        for row in rows_of(&document, 4) {
            let (path, words) = row[0].split_once(": ").unwrap_or_else(|| panic!("no words in {:?}", row[0]));
            rows.push((path.trim_matches('`'), words));
        }
        for (path, words) in marks() {
            let index = rows.iter().position(|(at, key)| *at == path && words.starts_with(key));
            let Some(index) = index else { panic!("docs/divergences.md has no row for {path}: {words}") };
            rows.remove(index);
        }
        assert!(
            rows.is_empty(),
            "rows of docs/divergences.md without a DIVERGES: mark that begins so: {rows:#?}"
        );
    }

    /// The rows of a document whose tables all have that many columns.
    fn rows_of(document: &str, columns: usize) -> Vec<Vec<&str>> {
        let rows = rows(document);
        for row in &rows {
            assert_eq!(row.len(), columns, "{row:?}");
        }
        rows
    }

    #[test]
    fn every_test_that_a_document_names_exists() {
        let mut sources: Vec<(String, String)> = files("src");
        sources.extend(files("tests").into_iter().filter(|(path, _)| path != "tests/docs.rs"));
        for name in ["docs/divergences.md", "docs/error-map.md"] {
            let document = read(name);
            let rows = rows(&document);
            for row in rows.iter().filter(|row| row.len() >= 4) {
                for test in ticked(row.last().unwrap()) {
                    assert!(
                        sources.iter().any(|(_, text)| text.contains(test)),
                        "{name} names the test {test:?}, which is nowhere"
                    );
                }
            }
        }
    }

    /// The enums of a file whose names end in `Error`, with their variants: `OptionsError::Missing`.
    fn error_variants(text: &str) -> Vec<String> {
        let mut variants = Vec::new();
        let mut current: Option<&str> = None;
        for line in text.lines() {
            if let Some(rest) = line.split_once("enum ").map(|(_, rest)| rest) {
                let name = rest.trim_end_matches([' ', '{']);
                if !line.starts_with([' ', '/']) && name.ends_with("Error") {
                    current = Some(name);
                }
            } else if line == "}" {
                current = None;
            } else if let (Some(name), Some(variant)) = (current, line.strip_prefix("    ")) {
                if variant.starts_with(|first: char| first.is_ascii_uppercase()) {
                    let end = variant.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(variant.len());
                    variants.push(format!("{name}::{}", &variant[..end]));
                }
            }
        }
        variants
    }

    /// A section of `docs/error-map.md`.
    struct Section<'a> {
        /// What its heading names: files, or folders that stand for all that is in them.
        paths: Vec<&'a str>,
        /// The variants that have a row in it.
        listed: BTreeSet<&'a str>,
        /// The variants of those files.
        there: BTreeSet<String>,
    }

    impl<'a> Section<'a> {
        fn new(text: &'a str) -> Self {
            let (heading, rest) = text.split_once('\n').unwrap_or((text, ""));
            let names = rows(rest).into_iter().flat_map(|row| ticked(row[0]));
            let listed = names.filter(|name| name.contains("::")).collect();
            Self { paths: ticked(heading), listed, there: BTreeSet::new() }
        }

        fn is_about(&self, path: &str) -> bool {
            let is_it = |named: &&str| {
                path.strip_prefix(named).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            self.paths.iter().any(is_it)
        }
    }

    #[test]
    fn every_error_variant_has_its_row() {
        let document = read("docs/error-map.md");
        let mut sections: Vec<Section<'_>> = document.split("\n## ").skip(1).map(Section::new).collect();
        for (path, text) in files("src/driver").into_iter().chain(files("src/backend")) {
            for variant in error_variants(&text) {
                let section = sections.iter_mut().find(|section| section.is_about(&path));
                let section =
                    section.unwrap_or_else(|| panic!("docs/error-map.md has no section for {path}"));
                assert!(
                    section.listed.contains(variant.as_str()),
                    "docs/error-map.md has no row for {variant} in the section of {path}"
                );
                section.there.insert(variant);
            }
        }
        let count: usize = sections.iter().map(|section| section.there.len()).sum();
        assert!(count > 100, "the enums were not found: {count}");
        for Section { paths, listed, there } in sections {
            for name in listed {
                assert!(
                    there.contains(name),
                    "docs/error-map.md has a row for {name}, which is not in {paths:?}"
                );
            }
        }
    }

    /// A source without its comments.
    fn code(text: &str) -> String {
        let lines = text.lines().map(|line| if line.trim_start().starts_with("//") { "" } else { line });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// The modules of the crate that a source names: what follows `crate::`.
    fn named_modules(text: &str) -> BTreeSet<String> {
        let code = code(text);
        let mut modules = BTreeSet::new();
        for rest in code.split("crate::").skip(1) {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            modules.insert(rest[..end].to_owned());
        }
        modules
    }

    #[test]
    fn layers_name_only_what_lies_below_them() {
        let layers: [(&str, &[&str]); 10] = [
            ("src/driver/", &["abi", "backend", "driver", "errno", "host", "iov", "options", "range"]),
            ("src/backend/", &["backend", "errno", "host", "iov", "range", "sys"]),
            ("src/ffi/", &["abi", "driver", "errno", "ffi", "host", "iov", "options", "range", "sys"]),
            ("src/host/", &["errno", "host", "iov", "options", "range", "sys"]),
            ("src/sys/", &["sys"]),
            ("src/abi.rs", &["sys"]),
            ("src/iov.rs", &["sys"]),
            ("src/range.rs", &["errno"]),
            ("src/errno.rs", &[]),
            ("src/options.rs", &[]),
        ];
        for (path, text) in files("src") {
            if path == "src/lib.rs" {
                continue;
            }
            let layer = layers.iter().find(|(prefix, _)| path.starts_with(prefix));
            let (_, allowed) = layer.unwrap_or_else(|| panic!("{path} belongs to no layer"));
            for module in named_modules(&text) {
                assert!(allowed.contains(&module.as_str()), "{path} may not use crate::{module}");
            }
        }
    }

    #[test]
    fn drivers_have_no_unsafe_code_and_no_c_types() {
        for (path, text) in files("src/driver") {
            let code = code(&text).replace("#![forbid(unsafe_code)]", "");
            for word in ["unsafe", "extern \"C\"", "*mut ", "*const ", "c_int", "c_void", "c_char", "NonNull"]
            {
                assert!(!code.contains(word), "{path} contains {word}");
            }
        }
        assert!(read("src/driver/mod.rs").contains("#![forbid(unsafe_code)]"));
    }

    #[test]
    fn panics_are_caught_in_one_place() {
        for (path, text) in files("src") {
            assert!(
                !code(&text).contains("catch_unwind") || path == "src/host/unwind.rs",
                "{path} catches panics"
            );
        }
    }

    #[test]
    fn every_source_has_its_licence() {
        let folders = ["src", "tests", "adapter", "include", "scripts", "fuzz", "benches"];
        let mut sources: Vec<(String, String)> = folders.iter().flat_map(|folder| files(folder)).collect();
        sources.retain(|(path, text)| is_source(path) && !text.is_empty());
        for name in ["build.rs", "Makefile", "meson.build", "meson_options.txt", "cbindgen.toml"] {
            sources.push((name.to_owned(), read(name)));
        }
        assert!(sources.len() > 50, "the sources were not found");
        for (path, text) in sources {
            assert!(
                text.lines().take(3).any(|line| line.contains("SPDX-License-Identifier: GPL-2.0-or-later")),
                "{path} has no SPDX line in its first three lines"
            );
        }
    }

    /// The documents at the top and in docs/.
    fn documents() -> Vec<(String, String)> {
        let mut documents = files("docs");
        for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"] {
            documents.push((name.to_owned(), read(name)));
        }
        documents
    }

    #[test]
    fn every_make_command_exists_and_is_in_the_help() {
        let makefile = read("Makefile");
        let commands = makefile.lines().find_map(|line| line.strip_prefix("commands :=")).unwrap();
        let commands: BTreeSet<&str> = commands.split_whitespace().chain(["help"]).collect();
        for command in &commands {
            assert!(makefile.contains(&format!("make {command} ")), "make help says nothing of {command}");
            let script = format!("scripts/{command}.sh");
            let exists = root().join(&script).exists() || ["help", "deb"].contains(command);
            assert!(exists, "make {command}: {script} is missing");
        }
        for (path, text) in documents() {
            // In code only: in sentences "make" is a word like any other.
            let blocks = text.split("```").skip(1).step_by(2).flat_map(str::lines);
            let plain: String = text.split("```").step_by(2).collect();
            for line in blocks.chain(ticked(&plain)) {
                for rest in line.split("make ").skip(1) {
                    let command = rest.split([' ', '`', ';', ')', '"']).next().unwrap_or_default();
                    let is_ours = line.starts_with("make ") && !command.is_empty();
                    assert!(!is_ours || commands.contains(command), "{path}: there is no make {command}");
                }
            }
        }
    }

    #[test]
    fn every_link_and_path_in_a_document_leads_somewhere() {
        for (path, text) in documents() {
            let folder = Path::new(&path).parent().unwrap();
            for rest in text.split("](").skip(1) {
                let target = rest.split([')', '#']).next().unwrap_or_default();
                if !target.is_empty() && !target.contains("://") {
                    assert!(root().join(folder).join(target).exists(), "{path}: {target} is missing");
                }
            }
            for name in ticked(&text) {
                let is_ours =
                    ["src/", "adapter/", "scripts/", "tests/", "docs/", "include/", "fuzz/", "benches/"]
                        .iter()
                        .any(|folder| name.starts_with(folder));
                let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
                let in_qemu = name.starts_with("include/block") || name.starts_with("scripts/modules");
                // NAME and DRIVER stand for any driver.
                if is_ours && is_plain && !in_qemu && !name.contains("NAME") && !name.contains("DRIVER") {
                    assert!(root().join(name).exists(), "{path}: {name} is missing");
                }
            }
        }
    }

    #[test]
    fn every_driver_is_in_the_readme() {
        let readme = read("README.md");
        for (name, _) in files("adapter") {
            let driver = name.trim_start_matches("adapter/").trim_end_matches(".c");
            if name.ends_with(".c") && !driver.starts_with("qbr-") {
                let row = rows(&readme).into_iter().find(|row| row[0] == driver);
                let row = row.unwrap_or_else(|| panic!("{driver} is not in README.md's table"));
                assert_ne!(row[1], "not yet", "{driver} has an adapter");
            }
        }
    }

    /// Figures and tests that are still to be filled in.
    #[test]
    fn documents_have_no_placeholders() {
        for (path, text) in documents() {
            for line in text.lines() {
                assert!(!line.contains("TODO-"), "{path}: still to be filled in: {line}");
            }
        }
    }
}
