use std::io::{Read, Write};

use super::*;

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// An output whose file has a name, as where the system has no others.
fn named(target: &Path, overwrite: bool) -> OutputFile {
    let place = Place::named(folder(target)).unwrap();
    OutputFile { target: target.to_owned(), overwrite, place }
}

type Make = fn(&Path, bool) -> OutputFile;
const BOTH: [Make; 2] = [|target, overwrite| OutputFile::create(target, overwrite).unwrap(), named];

#[test]
fn the_name_comes_with_the_end() {
    for make in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a");
        let output = make(&target, false);
        output.file().write_all(b"all").unwrap();
        assert!(!target.exists());
        output.finish(true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"all");

        let output = make(&target, true);
        output.file().write_all(b"new").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"all");
        output.finish(false).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(names(dir.path()), ["a"]);
    }
}

#[test]
fn a_name_that_was_taken_meanwhile_stays_what_it_is() {
    for make in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a");
        let output = make(&target, false);
        fs::write(&target, "theirs").unwrap();
        let error = output.finish(false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"theirs");

        let output = make(&target, true);
        fs::remove_file(&target).unwrap();
        fs::create_dir(&target).unwrap();
        assert!(output.finish(false).is_err());
        assert_eq!(names(dir.path()), ["a"]);
    }
}

#[test]
fn what_is_given_up_leaves_nothing() {
    for make in BOTH {
        let dir = tempfile::tempdir().unwrap();
        drop(make(&dir.path().join("a"), false));
        assert!(names(dir.path()).is_empty());
    }
    let dir = tempfile::tempdir().unwrap();
    let output = named(&dir.path().join("a"), false);
    assert!(names(dir.path())[0].starts_with(".stc-"));
    // Not `remove_unfinished`: other tests of this process have outputs too.
    assert!(noted().iter().any(|path| path.parent() == Some(dir.path())));
    drop(output);
    assert!(!noted().iter().any(|path| path.parent() == Some(dir.path())));
}

#[cfg(target_os = "linux")]
#[test]
fn an_unfinished_file_has_no_name() {
    let dir = tempfile::tempdir().unwrap();
    let output = OutputFile::create(&dir.path().join("a"), false).unwrap();
    output.file().write_all(b"secret").unwrap();
    assert!(names(dir.path()).is_empty());
}

#[cfg(unix)]
#[test]
fn others_read_only_what_they_could_read_before() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    for make in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a");
        make(&target, false).finish(false).unwrap();
        assert_eq!(mode(&target), 0o600);
        fs::set_permissions(&target, fs::Permissions::from_mode(0o4644)).unwrap();
        let output = make(&target, true);
        assert_eq!(output.file().metadata().unwrap().permissions().mode() & 0o777, 0o600);
        output.finish(false).unwrap();
        assert_eq!(mode(&target), 0o644);
    }
}

#[cfg(unix)]
#[test]
fn a_link_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link) = (dir.path().join("file"), dir.path().join("link"));
    fs::write(&file, "old").unwrap();
    std::os::unix::fs::symlink("file", &link).unwrap();
    let exists = OutputFile::check(&link, false).unwrap_err();
    assert_eq!(exists.kind(), ErrorKind::AlreadyExists);
    let output = OutputFile::create(&link, true).unwrap();
    output.file().write_all(b"new").unwrap();
    output.finish(false).unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"new");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());

    fs::remove_file(&file).unwrap();
    for overwrite in [false, true] {
        assert!(OutputFile::create(&link, overwrite).is_err(), "it leads nowhere");
    }
    assert_eq!(names(dir.path()), ["link"]);
}

#[cfg(target_os = "linux")]
#[test]
fn a_pipe_and_a_device_are_written_into() {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    let dir = tempfile::tempdir().unwrap();
    let make = |name: &str, kind, device| {
        let path = dir.path().join(name);
        mknodat(CWD, &path, kind, Mode::RUSR | Mode::WUSR, device).map(|()| path)
    };
    let pipe = make("pipe", FileType::Fifo, 0).unwrap();
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || {
            let mut got = Vec::new();
            File::open(pipe).unwrap().read_to_end(&mut got).unwrap();
            got
        }
    });
    OutputFile::check(&pipe, false).unwrap();
    let output = OutputFile::create(&pipe, false).unwrap();
    output.file().write_all(b"through").unwrap();
    output.finish(true).unwrap();
    assert_eq!(reader.join().unwrap(), b"through");
    assert!(is_direct(fs::symlink_metadata(&pipe).unwrap().file_type()));

    // A node of our own, of the device that swallows everything; only some may make one.
    if let Ok(node) = make("null", FileType::CharacterDevice, makedev(1, 3)) {
        if let Ok(output) = OutputFile::create(&node, true) {
            output.file().write_all(b"gone").unwrap();
            output.finish(true).unwrap();
        }
        assert!(is_direct(fs::symlink_metadata(&node).unwrap().file_type()));
    }
}

#[cfg(unix)]
#[test]
fn anything_else_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("socket");
    let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for target in [dir.path(), &socket] {
        for overwrite in [false, true] {
            assert!(OutputFile::check(target, overwrite).is_err());
            assert!(OutputFile::create(target, overwrite).is_err());
        }
    }
    assert_eq!(names(dir.path()), ["socket"]);
}
