//! `stt store` as a person runs it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

fn run(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_stt"))
        .args(args)
        .current_dir(dir)
        .env("HOME", dir)
        .env_remove("STT_NODE_SEED")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A directory with these files in it.
fn dir_with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (file, content) in files {
        fs::write(dir.path().join(file), content).unwrap();
    }
    dir
}

fn ok(dir: &Path, args: &[&str]) -> String {
    let output = run(dir, args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn json(dir: &Path, args: &[&str]) -> Vec<Value> {
    let mut all = vec!["--json"];
    all.extend(args);
    let output = run(dir, &all);
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_file_goes_in_and_comes_out_without_any_setting() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let data = vec![7; 300_000];
    fs::write(dir.join("film"), &data).unwrap();
    let id = ok(dir, &["store", "put", "film"]).trim().to_owned();
    assert_eq!(id, blake3(&data));
    assert!(dir.join(".seigr/node.seed").exists());
    ok(dir, &["store", "get", &id, "-o", "back"]);
    assert_eq!(fs::read(dir.join("back")).unwrap(), data);

    let refused = run(dir, &["store", "get", &id, "-o", "back"]);
    assert!(text(&refused.stderr).contains("file.exists"));
    ok(dir, &["store", "get", &id, "-o", "back", "--force"]);
    let piped = run(dir, &["store", "get", &id, "-o", "-"]);
    assert_eq!(piped.stdout, data);

    assert!(ok(dir, &["store", "ls"]).contains(&id));
    assert!(ok(dir, &["store", "stats"]).contains("index file"));
    ok(dir, &["store", "verify"]);
    ok(dir, &["store", "rm", &id]);
    assert_eq!(ok(dir, &["store", "ls"]), "");
    let gone = run(dir, &["store", "get", &id, "-o", "again"]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(text(&gone.stderr).contains("store.not_found"), "{}", text(&gone.stderr));
    assert!(!dir.join("again").exists());
}

/// The hash by the library, so that this test has no opinion of its own.
fn blake3(data: &[u8]) -> String {
    stt_store::ContentId::of(data).to_string()
}

#[test]
fn a_mistyped_name_makes_no_seed_and_no_store() {
    let dir = dir_with(&[("a", "one")]);
    let dir = dir.path();
    for args in
        [&["store", "put", "nofile"][..], &["store", "put", "a", "nofile"], &["store", "put", "."]]
    {
        assert_eq!(run(dir, args).status.code(), Some(1));
        assert!(!dir.join(".seigr").exists(), "{args:?}");
    }
}

#[test]
fn people_read_sentences() {
    let dir = dir_with(&[("a", "one"), ("b", "two")]);
    let dir = dir.path();
    let said = |args: &[&str]| text(&run(dir, args).stderr);
    ok(dir, &["store", "put", "a", "--cache"]);
    assert_eq!(
        said(&["store", "gc", "--dry-run"]),
        "Would remove 1 file that nothing keeps (372 B).\n"
    );
    assert_eq!(said(&["store", "gc"]), "Removed 1 file that nothing keeps (372 B).\n");
    assert_eq!(said(&["store", "gc"]), "There is nothing to remove.\n");
    assert!(said(&["store", "ls"]).ends_with(" is empty.\n"));
    ok(dir, &["store", "put", "a", "--name", "n"]);
    assert_eq!(said(&["store", "verify"]), "All is sound: 1 file (3 B), 1 name.\n");
    ok(dir, &["store", "put", "a", "b"]);
    assert!(ok(dir, &["store", "ls"]).contains("  pinned \"n\"\n"));
    let full = said(&["store", "put", "b", "--name", "m", "--quota", "9"]);
    assert!(full.contains(" are used, and 9 is the limit"), "{full}");
}

#[test]
fn names_pins_and_collection() {
    let dir = dir_with(&[("a", "one"), ("b", "two"), ("c", "three")]);
    let dir = dir.path();
    let put = json(dir, &["store", "put", "a", "--name", "latest", "--dir", "s"]);
    assert_eq!(put[0]["bytes"], 3);
    json(dir, &["store", "put", "b", "--name", "latest", "--dir", "s"]);
    json(dir, &["store", "put", "c", "--cache", "--dir", "s"]);
    ok(dir, &["store", "get", "latest", "-o", "got", "--dir", "s"]);
    assert_eq!(fs::read_to_string(dir.join("got")).unwrap(), "two");
    assert_eq!(json(dir, &["store", "ls", "--dir", "s"]).len(), 3);
    let planned = json(dir, &["store", "gc", "--dry-run", "--dir", "s"]);
    assert_eq!(planned[0]["files"], 2);
    assert_eq!(json(dir, &["store", "gc", "--dir", "s"])[0]["files"], 2);
    let listed = json(dir, &["store", "ls", "--dir", "s"]);
    assert_eq!((listed.len(), &listed[0]["names"][0]), (1, &Value::from("latest")));
    let kept = listed[0]["id"].as_str().unwrap();
    let refused = json(dir, &["store", "rm", kept, "--dir", "s"]);
    assert_eq!(refused[0]["error"]["code"], "store.still_named");
    ok(dir, &["store", "rm", "latest", "--dir", "s"]);
    assert_eq!(json(dir, &["store", "gc", "--dir", "s"])[0]["files"], 1);
    let full = json(dir, &["store", "put", "a", "--quota", "10", "--dir", "s"]);
    assert_eq!(full[0]["error"]["code"], "store.quota");
}

/// The stores below `home`, by the names of their directories.
fn chambers(home: &Path) -> Vec<String> {
    let Ok(found) = fs::read_dir(home.join(".seigr/chambers")) else { return Vec::new() };
    let mut names: Vec<_> =
        found.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn without_dir_the_store_is_where_the_seed_says() {
    let dir = dir_with(&[("film", "a film"), ("other.seed", "a phrase of somebody else")]);
    let dir = dir.path();
    let other = ["--node-seed-file", "other.seed"];
    let id = ok(dir, &["store", "put", "film", "--name", "n"]).trim().to_owned();

    let seed = stc::Seed::from(&fs::read_to_string(dir.join(".seigr/node.seed")).unwrap());
    let own = stt_store::ChamberKey::from_seed(&seed).unwrap().id();
    assert_eq!(chambers(dir), [own.as_str()]);
    let place = dir.join(".seigr/chambers").join(&own);
    assert!(place.join("format").is_file() && place.join("index.redb").is_file());
    let stats = json(dir, &["store", "stats"]);
    assert_eq!(stats[0]["place"], place.to_str().unwrap());

    // Found again: by a later run, by the same seed from elsewhere, and as the directory it is.
    assert!(ok(dir, &["store", "ls"]).contains(&id));
    fs::copy(dir.join(".seigr/node.seed"), dir.join("copy.seed")).unwrap();
    assert!(ok(dir, &["store", "ls", "--node-seed-file", "copy.seed"]).contains(&id));
    assert!(ok(dir, &["store", "ls", "--dir", place.to_str().unwrap()]).contains(&id));

    // Another seed looks elsewhere, finds nothing there, and makes a store of its own.
    let absent = json(dir, &[&["store", "get", "n", "-o", "out"][..], &other].concat());
    assert_eq!(absent[0]["error"]["code"], "store.not_found");
    assert_eq!(chambers(dir), [own.as_str()]);
    ok(dir, &[&["store", "put", "other.seed"][..], &other].concat());
    let both = chambers(dir);
    assert!(both.len() == 2 && both.contains(&own), "{both:?}");
    let absent = json(dir, &[&["store", "get", &id, "-o", "out"][..], &other].concat());
    assert_eq!(absent[0]["error"]["code"], "store.not_found");
    assert!(!dir.join("out").exists());
    assert_eq!(json(dir, &["store", "ls"]).len(), 1);
}

#[test]
fn where_a_new_node_seed_is_is_said_beside_json() {
    let dir = dir_with(&[("a", "one")]);
    let put = run(dir.path(), &["--json", "store", "put", "a"]);
    assert_eq!(text(&put.stdout).lines().count(), 1);
    assert!(text(&put.stderr).starts_with("A node seed is now in "), "{put:?}");
}

#[test]
fn programs_read_json() {
    let dir = dir_with(&[("a", &"1".repeat(50_000)), ("b", "two")]);
    let dir = dir.path();
    let run = |args: &[&str]| json(dir, &[args, &["--dir", "s"]].concat());
    let a = run(&["store", "put", "a"])[0]["id"].as_str().unwrap().to_owned();
    let b = run(&["store", "put", "b", "--name", "n"])[0]["id"].as_str().unwrap().to_owned();

    let got = json!({ "id": b, "bytes": 3, "file": "out" });
    assert_eq!(run(&["store", "get", "n", "-o", "out"]), [got]);
    assert_eq!(fs::read_to_string(dir.join("out")).unwrap(), "two");
    let refused = run(&["store", "get", "n", "-o", "-"]);
    assert_eq!(refused[0]["error"]["code"], "usage.json_pipe");

    let sound = json!({
        "files": 2, "damaged_files": 0, "bytes": 50_003, "names": 1, "problems": 0,
        "leftover_files": 0, "leftover_bytes": 0,
    });
    assert_eq!(run(&["store", "verify"]), [sound]);

    let stats = run(&["store", "stats"]);
    assert_eq!(stats.len(), 1);
    let (stats, figures) = (&stats[0], run(&["store", "ls"]));
    let listed: u64 = figures.iter().map(|file| file["stored_bytes"].as_u64().unwrap()).sum();
    assert_eq!((&stats["files"], &stats["names"]), (&json!(2), &json!(1)));
    assert_eq!(stats["file_bytes"], listed);
    assert_eq!((&stats["collectable_files"], &stats["leftover_files"]), (&json!(0), &json!(0)));
    let places = &stats["places"];
    let large = figures.iter().find(|file| file["id"] == a.as_str()).unwrap();
    assert_eq!(places["files of large blobs"], large["stored_bytes"]);
    let small = places["small blobs inside the index file"].as_u64().unwrap();
    let stored = stats["stored_bytes"].as_u64().unwrap();
    assert_eq!(large["stored_bytes"].as_u64().unwrap() + small, stored);
    let index = fs::metadata(dir.join("s/index.redb")).unwrap().len();
    assert_eq!(places["index file"], index);

    // A name frees itself, and what it pointed to waits for collection.
    let removed = run(&["store", "rm", "n", &a]);
    assert_eq!(removed.len(), 2);
    assert_eq!((&removed[0]["removed"], &removed[1]["removed"]), (&json!("n"), &json!(a)));
    assert_eq!(removed[1]["freed_bytes"], large["stored_bytes"]);
    let freed: u64 = removed.iter().map(|one| one["freed_bytes"].as_u64().unwrap()).sum();
    let stats = &run(&["store", "stats"])[0];
    assert_eq!(stats["stored_bytes"], stored - freed);
    assert_eq!((&stats["files"], &stats["collectable_files"]), (&json!(1), &json!(1)));
    for gone in ["n", &a] {
        assert_eq!(run(&["store", "rm", gone])[0]["error"]["code"], "store.not_found", "{gone}");
        let got = run(&["store", "get", gone, "-o", "none"]);
        assert_eq!(got[0]["error"]["code"], "store.not_found", "{gone}");
    }
}

#[test]
fn damage_and_wrong_seeds_have_exit_codes_and_names() {
    let phrase = "a phrase of somebody else";
    let dir = dir_with(&[("film", &"7".repeat(300_000)), ("other.seed", phrase)]);
    let dir = dir.path();
    let absent = json(dir, &["store", "ls", "--dir", "s", "--node-seed-file", "other.seed"]);
    assert_eq!(absent[0]["error"]["code"], "store.not_found");
    let id = ok(dir, &["store", "put", "film", "--dir", "s"]).trim().to_owned();
    ok(dir, &["store", "put", "other.seed", "--dir", "s"]);
    let wrong = json(dir, &["store", "ls", "--dir", "s", "--node-seed-file", "other.seed"]);
    assert_eq!(wrong[0]["error"]["code"], "store.wrong_seed");

    let shards = fs::read_dir(dir.join("s/files")).unwrap();
    let mut files = shards.flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap());
    let file = files.next().unwrap().unwrap().path();
    let mut bytes = fs::read(&file).unwrap();
    bytes[100_000] ^= 1;
    fs::write(&file, bytes).unwrap();
    let verified = run(dir, &["store", "verify", "--dir", "s"]);
    assert_eq!(verified.status.code(), Some(4));
    assert!(text(&verified.stdout).contains(&id), "{}", text(&verified.stdout));
    let verified = json(dir, &["store", "verify", "--dir", "s"]);
    let (found, counted, error) = (&verified[0], &verified[1], &verified[2]["error"]);
    assert_eq!((&found["id"], &found["code"]), (&json!(id), &json!("store.damaged")));
    assert!(found["damaged"].as_str().unwrap().contains(&id), "{found}");
    let expected = json!({
        "files": 2, "damaged_files": 1, "bytes": phrase.len(), "names": 0, "problems": 1,
        "leftover_files": 0, "leftover_bytes": 0,
    });
    assert_eq!(counted, &expected);
    assert_eq!(json(dir, &["store", "stats", "--dir", "s"])[0]["files"], counted["files"]);
    assert_eq!(error["code"], "store.damaged");
    let got = run(dir, &["store", "get", &id, "-o", "out", "--dir", "s"]);
    assert_eq!(got.status.code(), Some(4));
    let told = json(dir, &["store", "get", &id, "-o", "out", "--dir", "s"]);
    assert_eq!(told[0]["error"]["code"], "store.damaged");
    assert!(!dir.join("out").exists());
    assert_eq!(fs::read_dir(dir).unwrap().count(), 4, "no partial file stays behind");
}

/// Removes the files of all large values.
fn lose_large_values(store: &Path) {
    for shard in fs::read_dir(store.join("files")).unwrap() {
        for file in fs::read_dir(shard.unwrap().path()).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

#[test]
fn what_is_lost_is_told_by_its_id_and_its_names_and_can_be_mended_or_removed() {
    let dir = dir_with(&[("film", &"7".repeat(300_000)), ("cat", &"8".repeat(300_000))]);
    let dir = dir.path();
    let store = |args: &[&str]| json(dir, &[&["store"], args, &["--dir", "s"]].concat());
    let film = store(&["put", "film", "--name", "doc.pdf"])[0]["id"].clone();
    store(&["put", "cat"]);
    lose_large_values(&dir.join("s"));
    for listing in ["verify", "ls"] {
        let told = store(&[listing]);
        let named = told.iter().find(|line| line["id"] == film).unwrap();
        assert_eq!(named["names"], json!(["doc.pdf"]), "{listing}");
        assert!(named["damaged"].as_str().unwrap().contains("doc.pdf"), "{named}");
        assert_eq!(run(dir, &["store", listing, "--dir", "s"]).status.code(), Some(4));
    }
    let verified = store(&["verify"]);
    let unnamed = verified.iter().find(|line| line["id"].is_null() && !line["blob"].is_null());
    let blob = unnamed.unwrap()["blob"].as_str().unwrap();
    ok(dir, &["store", "put", "film", "--dir", "s"]);
    ok(dir, &["store", "rm", blob, "--dir", "s"]);
    ok(dir, &["store", "verify", "--dir", "s"]);
    ok(dir, &["store", "get", "doc.pdf", "-o", "back", "--dir", "s"]);
    assert_eq!(fs::read(dir.join("back")).unwrap(), fs::read(dir.join("film")).unwrap());

    let moved = store(&["put", "cat", "--name", "doc.pdf"]);
    assert_eq!(moved[0]["name_pointed_to"], film);
}

#[test]
fn a_damaged_index_has_the_exit_code_of_damage_and_a_hint_of_its_own() {
    let dir = dir_with(&[("film", "7")]);
    let dir = dir.path();
    ok(dir, &["store", "put", "film", "--dir", "s"]);
    let index = dir.join("s/index.redb");
    let len = fs::metadata(&index).unwrap().len();
    fs::write(&index, vec![0x5a; usize::try_from(len).unwrap()]).unwrap();
    let failed = run(dir, &["store", "verify", "--dir", "s"]);
    assert_eq!(failed.status.code(), Some(4), "{failed:?}");
    let told = text(&failed.stderr);
    assert!(told.contains("store.index_damaged") && !told.contains("stt store verify"), "{told}");
}

#[test]
fn a_store_without_an_index_is_rebuilt_and_says_what_is_lost() {
    let dir = dir_with(&[("film", &"7".repeat(300_000)), ("note", "8")]);
    let dir = dir.path();
    let put = json(dir, &["store", "put", "film", "--name", "n", "--dir", "s"]);
    let film = put[0]["id"].as_str().unwrap();
    ok(dir, &["store", "put", "note", "--name", "short", "--dir", "s"]);
    let sound = json(dir, &["store", "rebuild", "--dir", "s"]);
    assert_eq!(sound[0]["error"]["code"], "store.index_sound");
    fs::remove_file(dir.join("s/index.redb")).unwrap();
    for command in [&["store", "ls"][..], &["store", "put", "note"]] {
        let failed = run(dir, &[command, &["--dir", "s"]].concat());
        assert_eq!(failed.status.code(), Some(4), "{failed:?}");
        let told = text(&failed.stderr);
        assert!(told.contains("store.index_damaged"), "{told}");
        assert!(told.contains("stt store rebuild"), "{told}");
    }
    let rebuilt = run(dir, &["store", "rebuild", "--dir", "s"]);
    assert!(rebuilt.status.success(), "{rebuilt:?}");
    let told = text(&rebuilt.stderr);
    assert!(told.contains("1 file.") && told.contains("are lost"), "{told}");
    assert!(told.contains("Pinned") && told.contains("stt store verify"), "{told}");
    ok(dir, &["store", "verify", "--dir", "s"]);
    ok(dir, &["store", "gc", "--dir", "s"]);
    ok(dir, &["store", "get", film, "-o", "back", "--dir", "s"]);
    assert_eq!(fs::read(dir.join("back")).unwrap(), fs::read(dir.join("film")).unwrap());
    let lost = json(dir, &["store", "get", "short", "-o", "b", "--dir", "s"]);
    assert_eq!(lost[0]["error"]["code"], "store.not_found");
}

#[test]
fn readers_do_not_keep_each_other_out() {
    let dir = dir_with(&[("film", &"7".repeat(300_000))]);
    let dir = dir.path();
    ok(dir, &["store", "put", "film", "--name", "n", "--dir", "s"]);
    // It waits for somebody who reads what it writes, with the store open.
    let mut getting = Command::new(env!("CARGO_BIN_EXE_stt"))
        .args(["store", "get", "n", "-o", "-", "--dir", "s"])
        .current_dir(dir)
        .env("HOME", dir)
        .env_remove("STT_NODE_SEED")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = getting.stdout.take().unwrap();
    std::io::Read::read_exact(&mut out, &mut [0; 1]).unwrap();
    assert_eq!(json(dir, &["store", "ls", "--dir", "s"]).len(), 1);
    let refused = json(dir, &["store", "rm", "n", "--dir", "s"]);
    assert_eq!(refused[0]["error"]["code"], "store.in_use");
    drop(out);
    getting.wait().unwrap();
    ok(dir, &["store", "rm", "n", "--dir", "s"]);
}
