//! `docs/errors.md` lists every code that the sources can give, and no other.
#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test may fail by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// Whether it looks like `area.what_happened`.
fn is_code(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    text == "interrupted"
        || text.split_once('.').is_some_and(|(area, what)| word(area) && word(what))
}

/// All string literals of `source` that are codes.
fn literals(source: &str) -> impl Iterator<Item = &str> {
    source.split('"').skip(1).step_by(2).filter(|text| is_code(text))
}

/// Codes in the bodies of functions that return one, and those given to constructors of errors.
fn codes_in(source: &str) -> BTreeSet<String> {
    let source = source.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut codes = BTreeSet::new();
    for (at, _) in source.match_indices("&'static str") {
        let line = source[..at].rfind("fn ").map_or("", |start| &source[start..at]);
        if !line.contains("code") || line.contains('{') {
            continue;
        }
        let body = &source[at..];
        let end = body
            .find("\n    }\n")
            .unwrap_or(body.len())
            .min(body.find("\n}\n").unwrap_or(body.len()));
        codes.extend(literals(&body[..end]).map(str::to_owned));
    }
    for (at, call) in source.match_indices("CliError::new(") {
        let argument = source[at + call.len()..].trim_start();
        if let Some(code) = argument.strip_prefix('"').and_then(|rest| rest.split('"').next()) {
            codes.insert(code.to_owned());
        }
    }
    // `CliError::file` sorts what the operating system says.
    codes.extend(literals(source).filter(|code| code.starts_with("file.")).map(str::to_owned));
    codes
}

#[test]
fn the_page_of_errors_is_complete_and_true() {
    let mut files = Vec::new();
    for name in ["stc", "stt", "stt-store", "stt-streams", "stt-gateway", "stt-cli"] {
        sources(&root().join("crates").join(name).join("src"), &mut files);
    }
    let given: BTreeSet<String> =
        files.iter().flat_map(|path| codes_in(&fs::read_to_string(path).unwrap())).collect();
    assert!(given.len() > 50, "the sources were not read: {given:?}");

    let page = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let listed: Vec<&str> = rows.map(|(code, _)| code).collect();
    let unique: BTreeSet<String> = listed.iter().map(|code| (*code).to_owned()).collect();
    assert_eq!(listed.len(), unique.len(), "a code is listed twice");

    let missing: Vec<_> = given.difference(&unique).collect();
    assert!(missing.is_empty(), "not in docs/errors.md: {missing:#?}");
    let stale: Vec<_> = unique.difference(&given).collect();
    assert!(stale.is_empty(), "no longer given by any source: {stale:#?}");
}
