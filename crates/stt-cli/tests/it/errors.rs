//! `docs/errors.md` lists every code that the sources can give, and no other.
#![allow(clippy::unwrap_used, clippy::string_slice, reason = "a test may fail by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    error_page::{self, Row},
    hints::hint,
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

/// What looks like a code in the sources of `stt`, and is the name of a file.
const FILES: [&str; 4] = ["demo.bin", "node.seed", "stt.toml", "up.json"];

/// What comes before the tests at the end of a file.
fn without_tests(source: &str) -> &str {
    source.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

/// Codes in the bodies of functions that return one.
fn codes_in(source: &str) -> BTreeSet<String> {
    let source = without_tests(source);
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
    codes
}

/// All codes in the sources of a command: however they reach an error, they are written there.
/// Those that a running node answers with are in the sources of the crates that it consists of.
fn codes_of_commands(source: &str) -> BTreeSet<String> {
    let literals = literals(without_tests(source));
    literals.filter(|code| !FILES.contains(code)).map(str::to_owned).collect()
}

#[test]
fn codes_are_seen_however_they_reach_an_error() {
    let source = r#"
        let code = match kind { Kind::One => "up.one", Kind::Other => "up.other" };
        let failed = failed(
            "up.third", "a message. With a dot");
        let path = dir.join("up.json");
        Err(CliError { code: Cow::Borrowed("up.fourth"), ..base })
    "#;
    let seen: Vec<_> = codes_of_commands(source).into_iter().collect();
    assert_eq!(seen, ["up.fourth", "up.one", "up.other", "up.third"]);
}

/// The sources of the program, without its hints, which give no code.
fn commands() -> Vec<String> {
    let mut paths = Vec::new();
    sources(&root().join("crates/stt-cli/src"), &mut paths);
    paths.retain(|path| !path.ends_with("hints.rs"));
    paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

fn codes_of_all_commands() -> BTreeSet<String> {
    commands().iter().flat_map(|source| codes_of_commands(source)).collect()
}

/// The codes that the crates below the program can give.
fn codes_of_crates() -> BTreeSet<String> {
    let mut files = Vec::new();
    for name in
        ["stc", "stt-transport", "stt", "stt-store", "stt-streams", "stt-swarm", "stt-gateway"]
    {
        sources(&root().join("crates").join(name).join("src"), &mut files);
    }
    files.iter().flat_map(|path| codes_in(&fs::read_to_string(path).unwrap())).collect()
}

#[test]
fn the_page_of_errors_is_complete_and_true() {
    let mut given = codes_of_crates();
    given.extend(codes_of_all_commands());
    assert!(given.len() > 50, "the sources were not read: {given:?}");

    let rows = error_page::rows();
    let unique: BTreeSet<String> = rows.iter().map(|row| row.code.clone()).collect();
    assert_eq!(rows.len(), unique.len(), "a code is listed twice");

    let missing: Vec<_> = given.difference(&unique).collect();
    assert!(missing.is_empty(), "not in docs/errors.md: {missing:#?}");
    let stale: Vec<_> = unique.difference(&given).collect();
    assert!(stale.is_empty(), "no longer given by any source: {stale:#?}");
}

/// Of a retry the program's own errors say no, but for two.
#[test]
fn every_row_says_what_a_command_says_of_retries_and_of_what_to_do() {
    let crates = codes_of_crates();
    let own = codes_of_all_commands();
    let own: BTreeSet<_> = own.difference(&crates).map(String::as_str).collect();
    let mut wrong = Vec::new();
    for row in error_page::rows() {
        let Row { line, code, retry, .. } = &row;
        assert!(["yes", "no"].contains(&&**retry) || retry.starts_with(['a', 'i']), "{line}");
        if own.contains(&**code) {
            let helps = ["file.disk_full", "interrupted"].contains(&&**code);
            wrong.extend(row.differs(helps, hint(code)));
        }
    }
    assert!(wrong.is_empty(), "docs/errors.md says something else of\n{}", wrong.join("\n"));
}

#[test]
fn no_hint_is_for_a_code_that_no_command_gives() {
    let given = codes_of_all_commands();
    let hints = fs::read_to_string(root().join("crates/stt-cli/src/hints.rs")).unwrap();
    let stale: Vec<_> = literals(&hints).filter(|code| !given.contains(*code)).collect();
    assert!(stale.is_empty(), "{stale:?}");
}
