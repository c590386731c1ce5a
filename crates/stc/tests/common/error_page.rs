//! `docs/errors.md`, compared with what errors say of themselves.
//!
//! Tests of all crates include this file, so that all of them ask the same of their errors.
#![allow(dead_code, reason = "each program of tests uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

use std::{collections::BTreeSet, fs};

use stc::Coded;

/// One row of the page.
pub(crate) struct Row {
    pub(crate) line: String,
    pub(crate) code: String,
    pub(crate) retry: String,
    pub(crate) hint: String,
}

impl Row {
    /// What is wrong with it, if its error says this.
    pub(crate) fn differs(&self, retry_helps: bool, hint: Option<&str>) -> Vec<String> {
        let (code, retry) = (&self.code, if retry_helps { "yes" } else { "no" });
        let plain = |text: &str| text.replace('`', "");
        let hint = hint.unwrap_or_default();
        let mut wrong = Vec::new();
        if self.retry != retry {
            wrong.push(format!("{code}: a retry helps: {retry}, not {}", self.retry));
        }
        if plain(&self.hint) != plain(hint) {
            wrong.push(format!("{code}: {hint:?}, not {:?}", self.hint));
        }
        wrong
    }
}

/// All rows, in their order; each is part of a table with four columns.
pub(crate) fn rows() -> Vec<Row> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors.md");
    let page = fs::read_to_string(path).unwrap();
    let (mut rows, mut before) = (Vec::new(), "");
    for line in page.lines() {
        if line.starts_with("| `") {
            assert!(before.starts_with('|'), "in no table: {line}");
            let cells: Vec<_> = line.split('|').map(str::trim).collect();
            let ["", code, _, retry, hint, ""] = cells[..] else {
                panic!("not four columns: {line}");
            };
            assert!(!code.contains(','), "two codes: {line}");
            rows.push(Row {
                line: line.to_owned(),
                code: code.trim_matches('`').to_owned(),
                retry: retry.to_owned(),
                hint: hint.to_owned(),
            });
        }
        before = line;
    }
    rows
}

/// Each of `errors` has a code of its own, one line of text, and a row that says the same of
/// retries and of what to do.
pub(crate) fn compare(errors: impl IntoIterator<Item = Box<dyn Coded>>) {
    compare_with(errors, |_, hint| hint);
}

/// The same for crates whose errors leave some of the advice to the page.
pub(crate) fn compare_given(errors: impl IntoIterator<Item = Box<dyn Coded>>) {
    compare_with(errors, |row, hint| hint.or(Some(row)));
}

fn compare_with(
    errors: impl IntoIterator<Item = Box<dyn Coded>>,
    expected: impl for<'a> Fn(&'a str, Option<&'a str>) -> Option<&'a str>,
) {
    let rows = rows();
    let (mut codes, mut wrong) = (BTreeSet::new(), Vec::new());
    for error in errors {
        let (code, text) = (error.code(), error.to_string());
        assert!(codes.insert(code), "{code} stands for two errors");
        assert!(!text.is_empty() && !text.contains('\n'), "{code}: {text}");
        match rows.iter().find(|row| row.code == code) {
            Some(row) => {
                let hint = expected(&row.hint, error.hint());
                wrong.extend(row.differs(error.retry_helps(), hint));
            }
            None => wrong.push(format!("{code} has no row")),
        }
    }
    assert!(wrong.is_empty(), "docs/errors.md says something else of\n{}", wrong.join("\n"));
}
