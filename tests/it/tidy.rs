//! House rules that no lint knows, checked over the text of every file that is not ignored.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use regex::Regex;

/// This file spells what it forbids.
const SELF: &str = "tests/it/tidy.rs";

/// The only file that spells keys.
const KEYS: &str = "shared/store/src/keys.rs";

/// Lines of a handler's file that are neither empty nor a comment.
const HANDLER: usize = 55;

/// Text that no Rust file may have, and why.
const NEVER: &[(&str, &str)] = &[
    ("todo!(", "what is not done is not committed"),
    ("unimplemented!(", "what is not done is not committed"),
    ("dbg!(", "log it or leave it"),
    ("#[ignore", "a test runs or is gone"),
    ("#[should_panic", "say which error is expected, and of what"),
];

/// Text that no test may have, in whatever language, and why.
const NEVER_IN_TESTS: &[(&str, &str)] = &[
    ("sleep(", "wait for the event"),
    ("waitForTimeout", "wait for the event"),
    ("test.skip", "a test runs or is gone"),
];

/// Names that say nothing about what is inside.
const NAMELESS: &[&str] = &["common", "helper", "helpers", "misc", "util", "utils"];

/// The files that may grant a [`store::Scope`]: authentication, and whoever acts on a
/// stored errand or for a stored connection.
const GRANTING: &[&str] = &[
    "shared/app/src/caller.rs",
    "shared/app/src/containers/reconcile.rs",
    "shared/app/src/errands.rs",
    "shared/app/src/realms.rs",
    "shared/app/src/shim.rs",
    "shared/app/src/stream/connection.rs",
];

struct File {
    path: String,
    text: String,
}

impl File {
    fn is_a(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }

    fn is_rust(&self) -> bool {
        self.is_a("rs")
    }

    fn is_test(&self) -> bool {
        self.path.starts_with("tests/") || self.path.contains("/tests/")
    }

    fn is_ours(&self) -> bool {
        !self.path.contains("/vendor/")
    }

    /// The lines that have `text` outside of a comment, as `path:line`.
    fn lines_with<'a>(&'a self, text: &'a str) -> impl Iterator<Item = String> + 'a {
        let lines = self.text.lines().enumerate();
        let found = lines.filter(move |(_, line)| {
            line.split("//").next().is_some_and(|code| code.contains(text))
        });
        found.map(|(at, _)| format!("{}:{}", self.path, at + 1))
    }

    /// The lines that are neither empty nor a comment.
    fn code(&self) -> usize {
        let lines = self.text.lines().map(str::trim_start);
        lines.filter(|line| !line.is_empty() && !line.starts_with("//")).count()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Every text file of the tree that is not ignored.
fn files() -> Vec<File> {
    let root = root();
    let mut walk = WalkBuilder::new(&root);
    walk.hidden(false).parents(false).require_git(false).git_global(false);
    walk.filter_entry(|entry| entry.file_name() != ".git");
    let files = walk
        .build()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()));
    let files = files.filter_map(|entry| {
        let path = entry.path().strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        fs::read_to_string(entry.path()).ok().map(|text| File { path, text })
    });
    let files: Vec<_> = files.collect();
    assert!(files.iter().any(|file| file.path == SELF), "this file is among them");
    files
}

fn none(found: impl IntoIterator<Item = String>) {
    let found: Vec<_> = found.into_iter().collect();
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[test]
fn nothing_is_half_done() {
    let rust = files().into_iter().filter(|file| file.is_rust() && file.path != SELF);
    none(rust.flat_map(|file| {
        let found = NEVER.iter().flat_map(|(text, why)| {
            file.lines_with(text).map(move |at| format!("{at}: {text} ({why})"))
        });
        found.collect::<Vec<_>>()
    }));
}

#[test]
fn tests_wait_for_the_event() {
    let tests = files().into_iter().filter(|file| file.is_test() && file.path != SELF);
    none(tests.flat_map(|file| {
        let found = NEVER_IN_TESTS.iter().flat_map(|(text, why)| {
            file.lines_with(text).map(move |at| format!("{at}: {text} ({why})"))
        });
        found.collect::<Vec<_>>()
    }));
}

#[test]
fn every_file_says_what_it_is() {
    let rust = files().into_iter().filter(File::is_rust);
    none(rust.filter(|file| !file.text.starts_with("//! ")).map(|file| file.path));
}

#[test]
fn every_name_says_what_is_inside() {
    none(files().into_iter().filter(File::is_ours).map(|file| file.path).filter(|path| {
        let mut parts = path.split('/').filter_map(|part| part.split('.').next());
        parts.any(|part| NAMELESS.contains(&part))
    }));
}

#[test]
fn every_crate_has_the_lints() {
    let crates = files().into_iter().filter(|file| file.path.ends_with("/Cargo.toml"));
    none(
        crates
            .filter(|file| !file.text.contains("\n[lints]\nworkspace = true\n"))
            .map(|file| file.path),
    );
}

#[test]
fn routes_are_short_and_named_after_their_file() {
    let id = Regex::new(r#"Route::\w+\(\s*"([^"]+)""#).unwrap();
    let mut wrong = Vec::new();
    for file in files() {
        let Some(rest) = file.path.strip_prefix("functions/") else { continue };
        let Some((area, stem)) = rest.split_once("/src/") else { continue };
        let Some(stem) = stem.strip_suffix(".rs") else { continue };
        if !file.text.contains("const ROUTE:") {
            continue;
        }
        let expected = format!("{area}.{stem}");
        let ids: Vec<_> = id.captures_iter(&file.text).map(|found| found[1].to_owned()).collect();
        if ids != [expected.as_str()] {
            wrong.push(format!("{}: {ids:?} should be {expected}", file.path));
        }
        if file.code() > HANDLER {
            wrong.push(format!("{}: {} lines of code", file.path, file.code()));
        }
    }
    none(wrong);
}

#[test]
fn keys_are_spelled_in_one_file() {
    let key = Regex::new(r#""[A-Z]{2,8}#"#).unwrap();
    let rust = files().into_iter().filter(|file| file.is_rust() && !file.is_test());
    none(rust.filter(|file| file.path != KEYS).filter_map(|file| {
        let code = file.text.split("#[cfg(test)]").next().unwrap();
        key.find(code).map(|found| format!("{}: {}", file.path, found.as_str()))
    }));
}

#[test]
fn a_scope_is_granted_where_the_right_to_it_was_checked() {
    let rust = files().into_iter().filter(|file| file.is_rust() && !file.is_test());
    let granting: BTreeSet<String> = rust
        .filter(|file| file.lines_with("Scope::grant(").next().is_some())
        .map(|file| file.path)
        .collect();
    assert_eq!(granting, GRANTING.iter().copied().map(str::to_owned).collect());
}

#[test]
fn no_path_of_anybodys_machine() {
    let path = Regex::new(r"(?:^|[^\w./-])/(?:work|root)/").unwrap();
    let ours = files().into_iter().filter(|file| file.is_ours() && file.path != SELF);
    none(ours.filter_map(|file| {
        path.find(&file.text).map(|found| format!("{}: {}", file.path, found.as_str()))
    }));
}

#[test]
fn documents_name_what_exists() {
    let link = Regex::new(r"\]\(([^)#\s]+)[^)]*\)").unwrap();
    let path =
        Regex::new(r"`((?:\.ci|\.config|events|functions|infra|shared|shim|tests)/[\w./-]+)`");
    let path = path.unwrap();
    let root = root();
    let mut gone = Vec::new();
    for file in files().iter().filter(|file| file.is_ours() && file.is_a("md")) {
        let here = root.join(&file.path);
        for found in link.captures_iter(&file.text) {
            if !found[1].contains(':') && !here.parent().unwrap().join(&found[1]).exists() {
                gone.push(format!("{}: {}", file.path, &found[1]));
            }
        }
        for found in path.captures_iter(&file.text) {
            if !root.join(&found[1]).exists() {
                gone.push(format!("{}: {}", file.path, &found[1]));
            }
        }
    }
    none(gone);
}
