//! The conformance suite over the stores that need no server, and what only a directory can get wrong.

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use helenus::store::{self, Bytes, Depth, Error, Local, Memory, Span, Store};
use helenus_tests::store_suite::{conforms, eventually, everything, key, listing, noise};
use tempfile::TempDir;

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    conforms(async || Arc::new(Memory::new()) as Arc<dyn Store>).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_conforms() {
    let root = TempDir::new().unwrap();
    let number = std::sync::atomic::AtomicU32::new(0);
    conforms(async || {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = root.path().join(format!("not/there yet/{number}"));
        store::open(&store::Location::parse(path.to_str().unwrap()).unwrap()).await.unwrap()
    })
    .await;
    for store in std::fs::read_dir(root.path().join("not/there yet")).unwrap() {
        let temporaries = store.unwrap().path().join(".helenus-tmp");
        eventually("no temporary is left", || temporaries.read_dir().is_ok_and(|mut left| left.next().is_none())).await;
    }
}

/// tmpfs refuses neither `O_DIRECT` nor anything else on new kernels; on old ones this is the way through the cache.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_in_memory_conforms() {
    if let Ok(root) = TempDir::new_in("/dev/shm") {
        let number = std::sync::atomic::AtomicU32::new(0);
        conforms(async || {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Arc::new(Local::open(root.path().join(number.to_string())).unwrap()) as Arc<dyn Store>
        })
        .await;
    }
}

#[tokio::test]
async fn a_symbolic_link_leads_nowhere() {
    let (root, outside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), root.path().join("file")).unwrap();
    std::os::unix::fs::symlink(outside.path(), root.path().join("directory")).unwrap();
    let store = Local::open(root.path()).unwrap();
    for name in ["file", "directory/secret"] {
        let Err(error) = store.read(&key(name), Span::Whole).await else { panic!("{name} was read") };
        assert!(error.to_string().contains("symbolic link"), "{error}");
    }
    store.create(&key("directory/new"), Bytes::new()).await.unwrap_err();
    store.create(&key("file"), Bytes::new()).await.unwrap_err();
    let _ = store.delete(&[key("directory/secret")]).await;
    assert_eq!(everything(&store).await, [""; 0]);
    assert_eq!(outside.path().read_dir().unwrap().count(), 1);
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
}

#[tokio::test]
async fn errors_name_the_place() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Local::open(&file).unwrap_err().to_string();
    assert!(error.contains("file` cannot be opened as a repository: it is not a directory"), "{error}");
    let error = Local::open(file.join("below")).unwrap_err().to_string();
    assert!(error.contains("Not a directory"), "{error}");

    let store = Local::open(root.path()).unwrap();
    let error = store.create(&key("file/below/x"), Bytes::new()).await.unwrap_err();
    assert!(matches!(error, Error::Io { .. }) && error.to_string().contains("/file: "), "{error}");
    assert_eq!(everything(&store).await, ["file 0"]);
}

#[tokio::test]
async fn what_crashed_writers_left_goes_after_a_day() {
    let root = TempDir::new().unwrap();
    let temporaries = root.path().join(".helenus-tmp");
    std::fs::create_dir(&temporaries).unwrap();
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 60 * 60);
    let locked = ["new", "old", "old and locked"].map(|name| {
        let file = std::fs::File::create(temporaries.join(name)).unwrap();
        if name != "new" {
            file.set_modified(old).unwrap();
        }
        name.ends_with("locked").then(|| nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap())
    });
    let store = Local::open(root.path()).unwrap();
    let mut left: Vec<_> = temporaries.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["new", "old and locked"]);
    assert_eq!(listing(&store, "", None, Depth::Level).await, [""; 0]);
    drop(locked);
}

/// Empty directories are not objects; a repository must not drown in them either.
#[tokio::test]
async fn deleting_removes_empty_directories() {
    let root = TempDir::new().unwrap();
    let store = Local::open(root.path()).unwrap();
    for name in ["a/b/c/one", "a/b/d/two", "e/f"] {
        store.create(&key(name), Bytes::new()).await.unwrap();
    }
    store.delete(&[key("a/b/c/one"), key("e/f")]).await.unwrap();
    assert!(!root.path().join("a/b/c").exists() && !root.path().join("e").exists());
    assert!(root.path().join("a/b/d/two").exists());
    store.create(&key("a/b/c/three"), Bytes::new()).await.unwrap();
    store.create(&key("e/f"), Bytes::new()).await.unwrap();
    assert_eq!(everything(&store).await, ["a/b/c/three 0", "a/b/d/two 0", "e/f 0"]);
}

/// A second process under `HELENUS_FAIL_…`: the variables count for a whole process.
fn run_child(root: &Path, variables: &[(&str, &str)]) -> (ExitStatus, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("STORE_TEST_ROOT", root)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    (output.status, String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Writes one small and one large object, and prints what the store says to each.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the child process of the tests below"]
async fn child() {
    let Some(root) = std::env::var_os("STORE_TEST_ROOT") else { return };
    let store = Local::open(root).unwrap();
    match store.create(&key("c/d/small"), Bytes::from_static(b"small")).await {
        Ok(stored) => println!("STORED {}", stored.key()),
        Err(error) => println!("ERROR {error}"),
    }
    let mut upload = store.begin(&key("c/e/large"), None).await.unwrap();
    for piece in noise(9, 5_000_000).chunks(1 << 20) {
        if let Err(error) = upload.write(Bytes::copy_from_slice(piece)).await {
            println!("ERROR {error}");
            return;
        }
    }
    match upload.finish().await {
        Ok(stored) => println!("STORED {}", stored.key()),
        Err(error) => println!("ERROR {error}"),
    }
}

async fn check_objects(root: &Path, context: &str) -> Vec<String> {
    let store = Local::open(root).unwrap();
    let objects = everything(&store).await;
    let whole = ["c/d/small 5", "c/e/large 5000000"];
    assert!(objects.iter().all(|object| whole.contains(&object.as_str())), "{context}: {objects:?}");
    for object in &objects {
        let (name, length) = object.split_once(' ').unwrap();
        let body = store::read_small(&store, &key(name), 1 << 30).await.unwrap();
        let expected = if length == "5" { b"small".to_vec() } else { noise(9, 5_000_000) };
        assert!(body == expected, "{context}: {name} holds other bytes");
    }
    objects
}

/// What if we die here? At every step: an object is whole or absent, what was called stored is there, and the next
/// run completes.
#[tokio::test]
async fn a_crash_leaves_whole_objects_or_none() {
    let list = TempDir::new().unwrap();
    let list = list.path().join("points");
    let root = TempDir::new().unwrap();
    let (status, _) = run_child(root.path(), &[("HELENUS_FAIL_LIST", list.to_str().unwrap())]);
    assert!(status.success());
    let points = std::fs::read_to_string(list).unwrap();
    let mut passed = std::collections::BTreeMap::<&str, u32>::new();
    for point in points.lines() {
        *passed.entry(point).or_default() += 1;
    }
    for expected in ["create", "write", "sync_file", "rename", "mkdir", "sync_dir"] {
        assert!(passed.contains_key(expected), "{expected} was never passed: {passed:?}");
    }
    for (point, count) in passed {
        for n in 1..=count {
            let root = TempDir::new().unwrap();
            let place = format!("{point}:{n}");
            let (status, output) = run_child(root.path(), &[("HELENUS_FAIL_AT", &place)]);
            use std::os::unix::process::ExitStatusExt;
            assert_eq!(status.signal(), Some(9), "{place}: {output}");
            let objects = check_objects(root.path(), &place).await;
            for stored in output.lines().filter_map(|line| line.split_once("STORED ")).map(|(_, key)| key) {
                assert!(objects.iter().any(|object| object.starts_with(stored)), "{place}: {stored} is gone");
            }
            let (status, output) = run_child(root.path(), &[]);
            assert!(status.success(), "{place}: {output}");
            assert_eq!(check_objects(root.path(), &place).await.len(), 2, "{place}: {output}");
        }
    }
}

/// A full disk, a read-only one, a broken one: said clearly, and nothing half-written stays.
#[tokio::test]
async fn a_refused_write_leaves_nothing() {
    for (errno, text) in [
        ("ENOSPC", "No space left on device (os error 28); free space or raise the quota there"),
        ("EDQUOT", "free space or raise the quota there"),
        ("EROFS", "mounted read-only: mount it for writing"),
        ("EIO", "Input/output error"),
    ] {
        for place in ["create:*", "write:*", "sync_file:*", "rename:*"] {
            let root = TempDir::new().unwrap();
            let (_, output) = run_child(root.path(), &[("HELENUS_FAIL_ERROR", &format!("{place}={errno}"))]);
            if place == "create:*" {
                assert!(output.contains("ERROR") && output.contains(text), "{place} {errno}: {output}");
            } else {
                let errors: Vec<&str> = output.lines().filter(|line| line.contains("ERROR ")).collect();
                assert_eq!(errors.len(), 2, "{place} {errno}: {output}");
                for error in errors {
                    assert!(error.contains(text) && error.contains(root.path().to_str().unwrap()), "{place}: {error}");
                }
            }
            assert_eq!(check_objects(root.path(), place).await, [""; 0], "{place} {errno}");
            let left = root.path().join(".helenus-tmp").read_dir().unwrap().count();
            assert_eq!(left, 0, "{place} {errno}: a temporary is left");
        }
    }
}

/// The same with a disk that is really full, where root may mount one.
#[tokio::test]
async fn a_full_disk_is_named() {
    let root = TempDir::new().unwrap();
    let mount = |arguments: &[&str]| Command::new("mount").args(arguments).arg(root.path()).output();
    if !mount(&["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: only root may mount a small tmpfs");
        return;
    }
    let store = Local::open(root.path().join("repository")).unwrap();
    store.create(&key("fits"), Bytes::from_static(b"fits")).await.unwrap();
    let small = store.create(&key("too/large"), Bytes::from(noise(1, 4 << 20))).await;
    let mut upload = store.begin(&key("too/large"), Some(8 << 20)).await.unwrap();
    let mut large = Ok(());
    for piece in noise(2, 8 << 20).chunks(1 << 20) {
        large = upload.write(Bytes::copy_from_slice(piece)).await;
        if large.is_err() {
            break;
        }
    }
    upload.abort().await;
    let left = everything(&store).await;
    let temporaries = root.path().join("repository/.helenus-tmp").read_dir().unwrap().count();
    drop(store);
    let unmounted = Command::new("umount").arg("-l").arg(root.path()).output().unwrap();
    assert!(unmounted.status.success());
    for error in [small.map(|_| ()).unwrap_err(), large.unwrap_err()] {
        assert!(matches!(error, Error::Full { .. }) && !error.is_transient(), "{error:?}");
    }
    assert_eq!((left, temporaries), (vec!["fits 4".to_owned()], 0));
}
