//! A repository is foreign ground: whoever can write there must not be able to make a restore write outside of its
//! target, or put a name of their choice into it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use helenus_tests::repository::{self, Document};
use serde_json::{Value, json};

use crate::node::{Small, assert_same, contents};

/// A backup whose documents can be rewritten.
struct Tampered {
    small: Small,
    manifest: Document,
    part: Document,
}

impl Tampered {
    fn new() -> Self {
        let small = Small::new().expect("a node");
        small.agent.expect(0, &small.backup()).expect("a backup");
        let manifest = small.repository.manifests().expect("manifests").remove(0);
        let parts = small.repository.parts_of(&manifest).expect("parts");
        let part = parts.into_iter().find(|part| part.path.to_string_lossy().contains("/visits-")).expect("a part");
        Self { small, manifest, part }
    }

    /// Stores the part under the hash of its new content, and the manifest with it.
    fn store(&mut self) {
        let hash = repository::write_json(&self.part.path, &self.part.json).expect("written");
        let path = self.part.path.with_file_name(format!("{hash}.json.zst"));
        fs::rename(&self.part.path, path).expect("renamed");
        for table in self.manifest.json["tables"].as_array_mut().expect("tables") {
            if table["table"] == "visits" && table["part"].is_string() {
                table["part"] = json!(hash);
            }
        }
        repository::write_json(&self.manifest.path, &self.manifest.json).expect("written");
    }

    /// A restore must fail, and leave nothing outside of its target.
    fn is_refused(&self, what: &str) {
        let sandbox = self.small.work.path().join("sandbox");
        let target = sandbox.join("a/b/c/target");
        fs::create_dir_all(&target).expect("created");
        let output = self.small.agent.run(&self.small.restore(&target)).expect("the run ends");
        assert!(matches!(output.code(), Some(1..=3)), "{what}: {output}");
        assert!(!output.stderr.contains("panicked"), "{what}: {output}");
        self.nothing_escaped(&sandbox, &target, what);
    }

    fn nothing_escaped(&self, sandbox: &Path, target: &Path, what: &str) {
        for path in repository::files_below(sandbox).expect("files") {
            assert!(path.starts_with(target), "{what}: {} was written outside of the target", path.display());
        }
        let placed = contents(target).expect("files");
        let expected = self.small.expected().expect("files");
        for path in placed.keys() {
            assert!(expected.contains_key(path), "{what}: {} is in the target", path.display());
        }
        assert!(!Path::new("/evil").exists() && !Path::new("/tmp/evil").exists(), "{what}");
    }
}

const BAD_NAMES: &[&str] = &[
    "",
    ".",
    "..",
    "../evil",
    "../../../../../evil",
    "/evil",
    "/tmp/evil",
    "a/b",
    "a/../../evil",
    "evil\0",
    "evil\n",
    "./evil",
    "..\\evil",
    "evil/",
];

#[test]
fn the_tampering_itself_works() {
    let mut tampered = Tampered::new();
    tampered.store();
    let target = tampered.small.work.path().join("target");
    let output = tampered.small.agent.expect(0, &tampered.small.restore(&target));
    output.expect("documents that were rewritten without a change are good");
    assert_same(&tampered.small.expected().expect("files"), &contents(&target).expect("files"), "unchanged");
}

fn part_with(field: &str, change: impl Fn(&mut Value, &str), more: &[&str]) {
    for name in BAD_NAMES.iter().chain(more) {
        let mut tampered = Tampered::new();
        change(&mut tampered.part.json, name);
        tampered.store();
        tampered.is_refused(&format!("{field} = {name:?}"));
    }
}

#[test]
fn names_in_a_part() {
    part_with("component", |part, name| part["sstables"][0]["files"][0]["component"] = json!(name), &["Data.db/../x"]);
    part_with("sstable", |part, name| part["sstables"][0]["sstable"] = json!(name), &["nb-1-big-..", "../nb-1-big"]);
    part_with("index", |part, name| part["sstables"][0]["index"] = json!(name), &[".a/b", "snapshots", ".."]);
    part_with(
        "object",
        |part, name| part["sstables"][0]["files"][0]["object"] = json!(name),
        &["/etc/passwd", "../../../../../../etc/passwd", "data/../../secret", "repository.json"],
    );
    part_with("keyspace", |part, name| part["keyspace"] = json!(name), &["system"]);
    part_with("directory", |part, name| part["directory"] = json!(name), &["../x-992852f0e5a411f1a7b67fa234452edc"]);
}

#[test]
fn names_in_a_manifest() {
    for field in ["keyspace", "directory", "table", "part"] {
        for name in BAD_NAMES.iter().chain(&["../x-992852f0e5a411f1a7b67fa234452edc", "x"]) {
            let mut tampered = Tampered::new();
            tampered.store();
            let tables = tampered.manifest.json["tables"].as_array_mut().expect("tables");
            let visits = tables.iter_mut().find(|table| table["table"] == "visits").expect("the table");
            visits[field] = json!(name);
            repository::write_json(&tampered.manifest.path, &tampered.manifest.json).expect("written");
            tampered.is_refused(&format!("{field} = {name:?}"));
        }
    }
}

/// Sizes and offsets that no object has: an error, and neither a panic nor all the memory of the machine.
#[test]
fn numbers_in_a_part() {
    for field in ["offset", "stored", "length"] {
        for number in [u64::MAX, 1 << 62, 1 << 40, 1_000_000] {
            let mut tampered = Tampered::new();
            tampered.part.json["sstables"][0]["files"][0][field] = json!(number);
            tampered.store();
            tampered.is_refused(&format!("{field} = {number}"));
        }
    }
}

#[test]
fn a_format_of_the_future() {
    for (document, field) in [("manifest", "format"), ("part", "format"), ("repository.json", "format")] {
        let mut tampered = Tampered::new();
        let later = json!(99);
        match document {
            "manifest" => tampered.manifest.json[field] = later,
            "part" => tampered.part.json[field] = later,
            _ => {
                let path = tampered.small.repository.root.join("repository.json");
                let mut json: Value = serde_json::from_slice(&fs::read(&path).expect("read")).expect("JSON");
                json[field] = later;
                fs::write(&path, serde_json::to_vec(&json).expect("JSON")).expect("written");
                let before = tampered.small.repository.objects().expect("objects");
                let refused = tampered.small.agent.expect(1, &tampered.small.backup()).expect("a refusal");
                assert!(refused.stderr.contains("99"), "{refused}");
                assert_eq!(before, tampered.small.repository.objects().expect("objects"), "something was written");
            }
        }
        tampered.store();
        tampered.is_refused(&format!("{document}: format 99"));
    }
}

/// A member of a tar with a path for a name: a restore does not unpack tars, and a person's `tar x` gets a warning
/// from tar itself. What matters is that nothing is written outside.
#[test]
fn names_in_a_tar() {
    for name in ["../../../../evil", "/tmp/evil", "../evil"] {
        let tampered = Tampered::new();
        let mut changed = 0;
        for path in repository::files_below(&tampered.small.repository.root).expect("objects") {
            if path.extension().is_some_and(|extension| extension == "tar") {
                let bytes = rename_first_member(&fs::read(&path).expect("read"), name);
                fs::write(&path, bytes).expect("written");
                changed += 1;
            }
        }
        assert!(changed > 0, "no tar in the repository");
        let verified = tampered.small.agent.run(&helenus_tests::args![
            "verify",
            "latest",
            "--repository",
            tampered.small.repository.root
        ]);
        let verified = verified.expect("the run ends");
        assert!(!verified.stderr.contains("panicked"), "{verified}");
        let sandbox = tampered.small.work.path().join("sandbox");
        let target = sandbox.join("a/b/c/target");
        fs::create_dir_all(&target).expect("created");
        tampered.small.agent.run(&tampered.small.restore(&target)).expect("the run ends");
        tampered.nothing_escaped(&sandbox, &target, name);
    }
}

/// The tar with another name in the header of its first member, checksum included.
fn rename_first_member(tar: &[u8], name: &str) -> Vec<u8> {
    let mut bytes = tar.to_vec();
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes().copy_from_slice(&bytes[..512]);
    header.as_mut_bytes()[..100].fill(0);
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    bytes[..512].copy_from_slice(header.as_bytes());
    bytes
}

/// Somebody has put links into the target, where the restore is about to write.
#[test]
fn links_in_the_target() {
    let small = Small::new().expect("a node");
    small.agent.expect(0, &small.backup()).expect("a backup");
    let table = small.table_dir("visits").file_name().expect("a name").to_owned();
    let mut failed = Vec::new();
    let places: [PathBuf; 3] = ["shop".into(), Path::new("shop").join(&table), ".helenus-restore".into()];
    for place in places {
        let outside = small.work.path().join("outside");
        let target = small.work.path().join("target");
        fs::create_dir_all(&outside).expect("created");
        fs::create_dir_all(target.join(&place).parent().expect("a parent")).expect("created");
        symlink(&outside, target.join(&place)).expect("linked");
        let output = small.agent.run(&small.restore(&target)).expect("the run ends");
        let written = repository::files_below(&outside).expect("files").len();
        if output.code() != Some(1) || written > 0 {
            failed.push(format!("{}: {written} files were written through the link: {output}", place.display()));
        }
        fs::remove_dir_all(&target).expect("removed");
        fs::remove_dir_all(&outside).expect("removed");
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Objects that were damaged in the store: named, never given their final name.
#[test]
fn a_flipped_byte_in_each_object() {
    let small = Small::new().expect("a node");
    small.agent.expect(0, &small.backup()).expect("a backup");
    let expected = small.expected().expect("files");
    for path in repository::files_below(&small.repository.root.join("data")).expect("objects") {
        let good = fs::read(&path).expect("read");
        let mut bad = good.clone();
        // In a tar, what lies behind the content of a member is padding that nobody reads.
        let at = if path.extension().is_some_and(|extension| extension == "tar") { 512 } else { bad.len() / 2 };
        bad[at] ^= 0x20;
        fs::write(&path, bad).expect("written");
        let verified =
            small.agent.run(&helenus_tests::args!["verify", "latest", "--repository", small.repository.root, "--json"]);
        let verified = verified.expect("the run ends");
        assert_eq!(verified.code(), Some(3), "{}: {verified}", path.display());
        let key = path.strip_prefix(&small.repository.root).expect("a key").to_string_lossy().into_owned();
        assert!(verified.stdout.contains(&key), "{key} is not named: {verified}");
        let target = small.work.path().join("target");
        let output = small.agent.run(&small.restore(&target)).expect("the run ends");
        assert!(matches!(output.code(), Some(1 | 3)), "{key}: {output}");
        for (path, bytes) in contents(&target).expect("files") {
            assert!(expected.get(&path) == Some(&bytes), "{key}: {} was placed with wrong bytes", path.display());
        }
        fs::write(&path, good).expect("written");
        if target.exists() {
            fs::remove_dir_all(&target).expect("removed");
        }
    }
}
