//! The folder `vectors` is the list: every file ends as its head says, through every API.
//!
//! `interop/stc/check.py` reads the same files with code that shares nothing with ours.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

use std::{collections::BTreeMap, fs, io::Cursor, path::Path};

use stc::{
    ChunkHeader, Coded, Content, ContentId, Context, ContextData, ContextValue, FileOptions,
    Header, Key, OpenOptions, Seed, State, StreamingConfig, StreamingContext,
    streaming::{StreamMetadata, StreamRole},
};

/// Files in the folder: change it on purpose when vectors are added.
const VECTORS: usize = 138;

struct Vector {
    name: String,
    fields: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Vector {
    fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let split = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let head = std::str::from_utf8(&bytes[..split]).unwrap();
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_owned(), value.to_owned())
        };
        Self {
            name: path.file_stem().unwrap().to_string_lossy().into_owned(),
            fields: head.lines().map(field).collect(),
            body: bytes[split + 2..].to_vec(),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    fn context(&self) -> Context {
        let seed = self.get("seed").unwrap_or_default();
        let builder = match self.get("seed-kind").unwrap_or("key") {
            "key" => Context::builder(Key::from_bytes(unhex(seed).try_into().unwrap())),
            "phrase" => Context::builder(seed),
            "integer" => Context::builder(Seed::integer(seed).unwrap()),
            "none" => Context::seedless(),
            other => panic!("no such seed: {other}"),
        };
        builder.lattice(16, 1).realm(self.get("realm").unwrap_or_default()).build().unwrap()
    }

    fn data(&self) -> Option<ContextData> {
        let json = serde_json::from_str(self.get("context")?).unwrap();
        Some(ContextData::from_value(value(json)).unwrap())
    }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn value(json: serde_json::Value) -> ContextValue {
    match json {
        serde_json::Value::Null => ContextValue::Null,
        serde_json::Value::Bool(flag) => flag.into(),
        serde_json::Value::Number(number) => number.as_i64().unwrap().into(),
        serde_json::Value::String(text) => text.into(),
        serde_json::Value::Array(items) => {
            ContextValue::List(items.into_iter().map(value).collect())
        }
        serde_json::Value::Object(map) => {
            ContextValue::Map(map.into_iter().map(|(name, item)| (name, value(item))).collect())
        }
    }
}

/// What opened, as the fields of the head, or the code of the error.
type Outcome = Result<BTreeMap<String, String>, &'static str>;

fn fields<const N: usize>(fields: [(&str, String); N]) -> BTreeMap<String, String> {
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn envelope(vector: &Vector) -> Vec<(&'static str, Outcome)> {
    let (context, data) = (vector.context(), vector.data());
    let mut options = OpenOptions::new();
    if let Some(password) = vector.get("password") {
        options = options.password(password);
    }
    if let Some(data) = &data {
        options = options.context_data(data);
    }
    let described = |content: &[u8]| ("content", hex(ContentId::of(content).as_bytes()));
    let memory = context.open(&vector.body, &options).map_err(|error| error.code());
    let memory = memory.map(|content| {
        let kind = if matches!(content, Content::Text(_)) { "text" } else { "bytes" };
        fields([described(content.as_bytes()), ("content-kind", kind.to_owned())])
    });
    let mut outcomes = vec![("memory", memory)];
    if vector.get("api") == Some("memory") {
        return outcomes;
    }
    for (api, workers) in [("stream", 1), ("threads", 3)] {
        let mut out = Vec::new();
        let files = FileOptions::new().workers(workers);
        let read = context
            .decrypt_stream(vector.body.as_slice(), None, &mut out, &options, &files)
            .map_err(|error| error.code());
        outcomes.push((api, read.map(|_| fields([described(&out)]))));
    }
    if vector.get("expect") == Some("ok") {
        // A range of everything is the content.
        let len = u64::try_from({
            let mut out = Vec::new();
            let files = FileOptions::new();
            context
                .decrypt_stream(vector.body.as_slice(), None, &mut out, &options, &files)
                .unwrap();
            out.len()
        })
        .unwrap();
        let mut out = Vec::new();
        let read = context
            .decrypt_range(Cursor::new(&vector.body), 0..len, &mut out, &options)
            .map_err(|error| error.code());
        outcomes.push(("range", read.map(|_| fields([described(&out)]))));
        let header = Header::parse(&vector.body).unwrap();
        assert_eq!(header.to_bytes(), vector.body[..header.encoded_len()], "{}", vector.name);
    }
    outcomes
}

fn chunk(vector: &Vector) -> Outcome {
    // The role in the head is the sender's.
    let config = match vector.get("role") {
        Some("initiator") => StreamingConfig::new().role(StreamRole::Responder),
        Some("responder") => StreamingConfig::new().role(StreamRole::Initiator),
        _ => StreamingConfig::new(),
    };
    let key = Key::from_bytes(unhex(vector.get("seed").unwrap()).try_into().unwrap());
    let mut stream = StreamingContext::with_config(key, config).unwrap();
    let (head, sealed) = vector.body.split_at(vector.body.len().min(16));
    let opened =
        ChunkHeader::from_bytes(head).and_then(|header| stream.decrypt_chunk(&header, sealed));
    opened
        .map(|content| fields([("content", hex(ContentId::of(&content).as_bytes()))]))
        .map_err(|error| error.code())
}

fn metadata(vector: &Vector) -> Outcome {
    let read = StreamMetadata::from_bytes(&vector.body).map_err(|error| error.code())?;
    assert_eq!(read.to_bytes().as_slice(), vector.body);
    Ok(fields([("stream-depth", read.depth.to_string()), ("nonce", read.nonce.to_string())]))
}

fn state(vector: &Vector) -> Outcome {
    let context = vector.context();
    let state = State::from_bytes(&vector.body).map_err(|error| error.code())?;
    context.load_state(&state).map_err(|error| error.code())?;
    assert_eq!(state.to_bytes(), vector.body);
    let health = context.entropy_health();
    let next = context.hash(b"", None);
    Ok(fields([
        ("epoch", next.epoch.to_string()),
        ("position", next.position.to_string()),
        ("envelopes", health.envelopes.to_string()),
        ("bytes", health.bytes.to_string()),
    ]))
}

fn key(vector: &Vector) -> Outcome {
    let text = std::str::from_utf8(&vector.body).unwrap();
    let key = Key::parse(text).map_err(|error| error.code())?;
    assert_eq!(key.to_printable().as_str(), text);
    Ok(fields([("key", hex(key.as_bytes()))]))
}

#[test]
fn every_vector_ends_as_its_head_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let mut vectors: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| Vector::read(&entry.unwrap().path())).collect();
    vectors.sort_by(|a, b| a.name.cmp(&b.name));
    let mut hostile = 0;
    for vector in &vectors {
        let outcomes = match vector.get("kind").unwrap() {
            "envelope" => envelope(vector),
            "chunk" => vec![("chunk", chunk(vector))],
            "metadata" => vec![("metadata", metadata(vector))],
            "state" => vec![("state", state(vector))],
            "key" => vec![("key", key(vector))],
            other => panic!("{}: no such kind: {other}", vector.name),
        };
        let expect = vector.get("expect").unwrap();
        hostile += usize::from(expect != "ok");
        for (api, outcome) in outcomes {
            let name = format!("{} through {api}", vector.name);
            match outcome {
                Err(code) => assert_eq!(code, expect, "{name}"),
                Ok(got) => {
                    assert_eq!(expect, "ok", "{name} opened");
                    for (field, value) in got {
                        assert_eq!(vector.get(&field), Some(value.as_str()), "{name}: {field}");
                    }
                }
            }
        }
    }
    assert!(hostile * 2 > vectors.len(), "most vectors are hostile");
    assert_eq!(vectors.len(), VECTORS, "vectors added or lost: change the count on purpose");
}
