//! Encrypting and decrypting a file: time and peak memory, against raw AES-256-GCM on all cores,
//! `openssl enc -aes-256-ctr` and `age`, where they are installed.
//!
//! `cargo bench -p stc --bench files -- [MEGABYTES] [FOLDER]...`; 500 in /dev/shm unless told. The
//! stretch is left out everywhere: all candidates get keys. Nothing waits for the disk (`durable`
//! is off), because the peers do not.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "prints figures")]
#![allow(clippy::indexing_slicing, reason = "a program that stops when something fails")]

mod support;

use std::{
    env, fs,
    fs::File,
    io::{Read, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use stc::{
    Context, FileOptions, Key, OpenOptions, SealOptions,
    aead::{AeadKey, Suite},
};
use support::{Sample, short};

const KEY: [u8; 32] = [9; 32];
const CHUNK: usize = 1 << 20;

fn context() -> Context {
    Context::from_key(Key::from_bytes(KEY)).unwrap()
}

/// The work of one candidate, in a process of its own so that its memory can be seen.
fn child(mode: &str, input: &Path, output: &Path) {
    let files = FileOptions::new().durable(false).overwrite(true);
    match mode {
        "encrypt" => {
            context().encrypt_file(input, output, &SealOptions::new(), &files).unwrap();
        }
        "encrypt-decoys" => {
            let options = SealOptions::new().use_decoys(true);
            context().encrypt_file(input, output, &options, &files).unwrap();
        }
        "decrypt" => {
            context().decrypt_file(input, output, &OpenOptions::new(), &files).unwrap();
        }
        "raw" => raw(input, output),
        _ => assert_eq!(mode, "nothing", "no such mode"),
    }
}

/// Every core reads, seals and writes its own share of 1 MiB chunks: no order, no end mark.
fn raw(input: &Path, output: &Path) {
    let (from, to) = (File::open(input).unwrap(), File::create(output).unwrap());
    let len = from.metadata().unwrap().len();
    let cores = thread::available_parallelism().unwrap().get();
    let key = AeadKey::new(Suite::Aes256Gcm, &Key::from_bytes(KEY)).unwrap();
    thread::scope(|scope| {
        for core in 0..cores {
            let (from, to, key) = (&from, &to, &key);
            scope.spawn(move || {
                let mut buffer = vec![0; CHUNK + 16];
                let mut chunk = core as u64;
                while chunk * (CHUNK as u64) < len {
                    let at = chunk * CHUNK as u64;
                    let size = usize::try_from(len - at).unwrap().min(CHUNK);
                    from.read_exact_at(&mut buffer[..size], at).unwrap();
                    let mut nonce = [0; 12];
                    nonce[4..].copy_from_slice(&chunk.to_be_bytes());
                    let tag = key.seal(nonce, &[], &mut buffer[..size]).unwrap();
                    buffer[size..size + 16].copy_from_slice(&tag);
                    to.write_all_at(&buffer[..size + 16], chunk * (CHUNK as u64 + 16)).unwrap();
                    chunk += cores as u64;
                }
            });
        }
    });
}

/// Runs a command; seconds, and the highest resident memory seen.
fn run(mut command: Command) -> Option<(f64, u64)> {
    let started = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        let seconds = started.elapsed();
        if let Ok(text) = fs::read_to_string(&status) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            peak = peak.max(kib.unwrap_or(0));
        }
        thread::sleep(Duration::from_millis(if seconds.as_millis() < 20 { 1 } else { 3 }));
    };
    assert!(ended.success(), "{command:?} failed");
    Some((started.elapsed().as_secs_f64(), peak))
}

fn own(mode: &str, input: &Path, output: &Path) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.env("STC_BENCH_MODE", mode).arg(input).arg(output);
    command
}

fn openssl(direction: &str, input: &Path, output: &Path) -> Command {
    let mut command = Command::new("openssl");
    command.args(["enc", direction, "-aes-256-ctr", "-K", &"09".repeat(32)]);
    command.args(["-iv", &"00".repeat(16), "-in"]).arg(input).arg("-out").arg(output);
    command
}

/// An age identity and its recipient.
fn age_identity(folder: &Path) -> Option<(PathBuf, String)> {
    let path = folder.join("age-identity");
    let _ = fs::remove_file(&path);
    let made = Command::new("age-keygen").arg("-o").arg(&path).output().ok()?;
    let text = String::from_utf8(made.stderr).ok()?;
    let recipient = text.split_whitespace().find(|word| word.starts_with("age1"))?.to_owned();
    Some((path, recipient))
}

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if let Ok(mode) = env::var("STC_BENCH_MODE") {
        child(&mode, Path::new(&arguments[0]), Path::new(&arguments[1]));
        return;
    }
    let megabytes: usize = arguments.first().map_or(500, |arg| arg.parse().unwrap());
    let folders: Vec<String> = match arguments.get(1..) {
        Some(folders) if !folders.is_empty() => folders.to_vec(),
        _ => vec!["/dev/shm".to_owned()],
    };
    for folder in folders {
        let folder = tempfile::tempdir_in(folder).unwrap();
        compare(folder.path(), megabytes);
    }
}

fn compare(folder: &Path, megabytes: usize) {
    let path = |name: &str| folder.join(name);
    let plain = path("plain");
    let mut file = File::create(&plain).unwrap();
    let mut block = vec![0; 1_000_000];
    let mut random = blake3::Hasher::new().finalize_xof();
    for _ in 0..megabytes {
        random.fill(&mut block);
        file.write_all(&block).unwrap();
    }
    drop(file);
    let (sealed, opened) = (path("sealed"), path("opened"));
    let (ctr, gcm, aged) = (path("ctr"), path("gcm"), path("aged"));
    let age = age_identity(folder);

    // Both directions once, to be sure that what is timed is right.
    child("encrypt", &plain, &sealed);
    child("decrypt", &sealed, &opened);
    assert!(same(&plain, &opened), "what came back differs");

    let [plain, sealed, opened, ctr, gcm, aged] =
        [&plain, &sealed, &opened, &ctr, &gcm, &aged].map(PathBuf::as_path);
    type Make<'a> = Box<dyn Fn() -> Command + 'a>;
    let mut candidates: Vec<(&str, &Path, Make<'_>)> = vec![
        ("stc encrypt", sealed, Box::new(move || own("encrypt", plain, sealed))),
        ("stc decrypt", opened, Box::new(move || own("decrypt", sealed, opened))),
        ("raw AES-256-GCM on all cores", gcm, Box::new(move || own("raw", plain, gcm))),
        ("openssl enc -aes-256-ctr", ctr, Box::new(move || openssl("-e", plain, ctr))),
        ("openssl enc -d -aes-256-ctr", opened, Box::new(move || openssl("-d", ctr, opened))),
    ];
    if let Some((identity, recipient)) = &age {
        candidates.push((
            "age",
            aged,
            Box::new(move || {
                let mut command = Command::new("age");
                command.args(["-r", recipient, "-o"]).arg(aged).arg(plain);
                command
            }),
        ));
        candidates.push((
            "age -d",
            opened,
            Box::new(move || {
                let mut command = Command::new("age");
                command.arg("-d").arg("-i").arg(identity).arg("-o").arg(opened).arg(aged);
                command
            }),
        ));
    }
    let nothing = "a process that does nothing";
    candidates.push((nothing, gcm, Box::new(move || own("nothing", plain, gcm))));

    let mut results = vec![(Vec::new(), 0); candidates.len()];
    for _ in 0..7 {
        for ((_, output, make), (seconds, peak)) in candidates.iter().zip(&mut results) {
            // Everybody writes a file that was not there: giving back an old one's memory takes
            // as long as the work, and only some would do it while the clock runs.
            let _ = fs::remove_file(output);
            // Nor does anybody wait for what the one before left to be written.
            let _ = Command::new("sync").status();
            if let Some((took, memory)) = run(make()) {
                seconds.push(took);
                *peak = memory.max(*peak);
            }
        }
    }
    println!("\n{megabytes} MB in {}", folder.parent().unwrap().display());
    for ((name, ..), (seconds, peak)) in candidates.iter().zip(results) {
        let sample = Sample::of(seconds);
        println!(
            "  {name:<30} {:>9} ({} to {})  {:>6.1} MiB at most",
            short(sample.median),
            short(sample.least),
            short(sample.most),
            peak as f64 / 1024.0
        );
    }
}

fn same(one: &Path, two: &Path) -> bool {
    let (mut one, mut two) = (File::open(one).unwrap(), File::open(two).unwrap());
    let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let read = one.read(&mut a).unwrap();
        if read == 0 {
            return two.read(&mut b).unwrap() == 0;
        }
        two.read_exact(&mut b[..read]).unwrap();
        if a[..read] != b[..read] {
            return false;
        }
    }
}
