//! Vectors that an independent program computes from the pages (`interop/wire`).

use std::{collections::BTreeMap, path::Path};

pub type Vectors = BTreeMap<String, Vec<u8>>;

/// Lines of `name: hexadecimal digits`.
pub fn read(name: &str) -> Vectors {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/wire");
    let text = std::fs::read_to_string(folder.join(format!("{name}.vector"))).unwrap();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.lines()
        .map(|line| {
            let (name, digits) = line.split_once(':').unwrap();
            (name.to_owned(), digits.trim().as_bytes().chunks(2).map(byte).collect())
        })
        .collect()
}
