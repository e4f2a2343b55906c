//! What is read of files of every kind, and what a listing says of them.

use std::{
    fs,
    os::unix::fs::{MetadataExt, symlink},
};

use super::*;

fn read(dir: &Path, name: &str) -> Sight {
    Directory::open(dir).unwrap().read(OsStr::new(name), 16)
}

fn obstacle(dir: &Path, name: &str) -> Obstacle {
    match read(dir, name) {
        Sight::Present { bytes: Err(obstacle), .. } => obstacle,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn what_is_no_regular_file_is_named_and_never_opened() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::create_dir(at("dir")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    symlink("/dev/zero", at("zero")).unwrap();
    symlink("nothing", at("dangling")).unwrap();
    symlink("loop", at("loop")).unwrap();
    symlink("fifo", at("to-fifo")).unwrap();
    fs::write(at("long"), [b'x'; 17]).unwrap();
    File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();

    assert_eq!(obstacle(dir.path(), "fifo"), Obstacle::NotRegular("a FIFO"));
    assert_eq!(obstacle(dir.path(), "to-fifo"), Obstacle::NotRegular("a FIFO"));
    assert_eq!(obstacle(dir.path(), "dir"), Obstacle::NotRegular("a directory"));
    assert_eq!(obstacle(dir.path(), "socket"), Obstacle::NotRegular("a socket"));
    assert_eq!(obstacle(dir.path(), "zero"), Obstacle::NotRegular("a character device"));
    assert_eq!(obstacle(dir.path(), "dangling"), Obstacle::Dangling);
    assert_eq!(obstacle(dir.path(), "loop"), Obstacle::Loop);
    assert_eq!(obstacle(dir.path(), "long"), Obstacle::TooLong(16));
    assert_eq!(obstacle(dir.path(), "sparse"), Obstacle::TooLong(16));
    assert_eq!(read(dir.path(), "absent"), Sight::Missing);
}

#[test]
fn a_file_and_a_link_to_it_are_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), "exactly 16 bytes").unwrap();
    symlink("a", dir.path().join("b")).unwrap();
    let (stamps, texts): (Vec<_>, Vec<_>) = ["a", "b"]
        .map(|name| match read(dir.path(), name) {
            Sight::Present { stamp: Some(stamp), bytes: Ok(bytes), torn: false } => (stamp, bytes),
            other => panic!("{name}: {other:?}"),
        })
        .into_iter()
        .unzip();
    assert_eq!(texts, [b"exactly 16 bytes".to_vec(), b"exactly 16 bytes".to_vec()]);
    assert_eq!(stamps[0].file(), stamps[1].file());
    assert!(stamps[1].own.is_link() && !stamps[0].own.is_link());
    assert!(quiet_for(stamps[0].file()).is_some());
}

#[test]
fn a_listing_stamps_what_is_wanted_and_knows_its_directory() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    symlink("nothing", dir.path().join("d")).unwrap();
    let open = Directory::open_for_listing(dir.path()).unwrap();
    let mut names: Vec<_> = open
        .list(|name| name != "b")
        .unwrap()
        .into_iter()
        .map(|(name, stamp)| (name, stamp.is_some()))
        .collect();
    names.sort();
    assert_eq!(names, [("a".into(), true), ("c".into(), true), ("d".into(), true)]);
    let seen = fs::metadata(dir.path()).unwrap();
    assert_eq!((open.id().dev, open.id().ino), (seen.dev(), seen.ino()));
}

#[test]
fn the_open_directory_is_looked_at_whatever_its_path_leads_to() {
    let root = tempfile::tempdir().unwrap();
    let (path, moved) = (root.path().join("d"), root.path().join("moved"));
    fs::create_dir(&path).unwrap();
    let open = Directory::open(&path).unwrap();
    fs::rename(&path, &moved).unwrap();
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a"), "other").unwrap();
    assert_eq!(open.read(OsStr::new("a"), 16), Sight::Missing);
    assert_ne!(open.id(), Directory::open(&path).unwrap().id());
}

#[test]
fn a_directory_made_anew_is_another_one_whatever_its_number() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("d");
    fs::create_dir(&path).unwrap();
    let first = Directory::open(&path).unwrap().id();
    if first.born.is_none() {
        eprintln!("skipped: this file system tells no time of birth");
        return;
    }
    // Some file systems give the number out again, at once.
    for _ in 0..20 {
        fs::remove_dir(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert_ne!(Directory::open(&path).unwrap().id(), first);
    }
}
