//! A repository in a local directory as a stranger sees it: files, zstd, JSON. Nothing here uses the program's own
//! reader, so that a mistake in it cannot hide itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use walkdir::WalkDir;

/// A repository.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Its directory.
    pub root: PathBuf,
}

/// A JSON document of a repository.
#[derive(Debug, Clone)]
pub struct Document {
    /// Where it lies.
    pub path: PathBuf,
    /// What it says.
    pub json: Value,
}

impl Repository {
    /// A repository that is there, or will be.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// All manifests, oldest first.
    pub fn manifests(&self) -> anyhow::Result<Vec<Document>> {
        self.documents("manifest")
    }

    /// All parts.
    pub fn parts(&self) -> anyhow::Result<Vec<Document>> {
        self.documents("part")
    }

    fn documents(&self, under: &str) -> anyhow::Result<Vec<Document>> {
        let mut documents = Vec::new();
        for path in files_below(&self.root.join(under))? {
            if path.to_string_lossy().ends_with(".json.zst") {
                documents.push(Document { json: read_json(&path)?, path });
            }
        }
        Ok(documents)
    }

    /// The parts of a manifest.
    pub fn parts_of(&self, manifest: &Document) -> anyhow::Result<Vec<Document>> {
        // manifest/<cluster>/<host id>/<id>.<facts>.json.zst
        let node = manifest.path.strip_prefix(self.root.join("manifest"))?.parent().context("a node's folder")?;
        let mut parts = Vec::new();
        for table in array(&manifest.json, "tables")? {
            if table.get("part").is_none_or(Value::is_null) {
                continue;
            }
            let path = self
                .root
                .join("part")
                .join(node)
                .join(text(table, "keyspace")?)
                .join(text(table, "directory")?)
                .join(format!("{}.json.zst", text(table, "part")?));
            ensure!(path.exists(), "{} names a part that is missing: {}", manifest.path.display(), path.display());
            parts.push(Document { json: read_json(&path)?, path });
        }
        Ok(parts)
    }

    /// Proves that everything that a manifest names is there and large enough. Returns the number of manifests.
    pub fn check_complete(&self) -> anyhow::Result<usize> {
        let manifests = self.manifests()?;
        for manifest in &manifests {
            for part in self.parts_of(manifest)? {
                for file in files_of(&part.json)? {
                    let object = self.root.join(text(file, "object")?);
                    let length = fs::metadata(&object)
                        .with_context(|| format!("{} names a missing object", part.path.display()))?
                        .len();
                    let end = number(file, "offset")? + number(file, "stored")?;
                    ensure!(end <= length, "{} ends at {length}, not {end}", object.display());
                }
            }
        }
        Ok(manifests.len())
    }

    /// Bytes of all objects by key, to see that nothing was changed or added.
    pub fn objects(&self) -> anyhow::Result<BTreeMap<PathBuf, blake3::Hash>> {
        hashes(&self.root)
    }
}

/// The files of a part, over all its SSTables.
pub fn files_of(part: &Value) -> anyhow::Result<Vec<&Value>> {
    let mut files = Vec::new();
    for sstable in array(part, "sstables")? {
        files.extend(array(sstable, "files")?);
    }
    Ok(files)
}

/// A field that is a list.
pub fn array<'a>(value: &'a Value, field: &str) -> anyhow::Result<&'a Vec<Value>> {
    value.get(field).and_then(Value::as_array).with_context(|| format!("no list `{field}` in {value}"))
}

/// A field that is a text.
pub fn text<'a>(value: &'a Value, field: &str) -> anyhow::Result<&'a str> {
    value.get(field).and_then(Value::as_str).with_context(|| format!("no text `{field}` in {value}"))
}

/// A field that is a number.
pub fn number(value: &Value, field: &str) -> anyhow::Result<u64> {
    value.get(field).and_then(Value::as_u64).with_context(|| format!("no number `{field}` in {value}"))
}

/// Reads JSON under zstd.
pub fn read_json(path: &Path) -> anyhow::Result<Value> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let plain = zstd::decode_all(bytes.as_slice()).with_context(|| path.display().to_string())?;
    serde_json::from_slice(&plain).with_context(|| path.display().to_string())
}

/// Writes JSON under zstd; returns the hash that names a part: the first 32 hex digits of the BLAKE3 of the JSON.
pub fn write_json(path: &Path, json: &Value) -> anyhow::Result<String> {
    let plain = serde_json::to_vec(json)?;
    fs::write(path, zstd::encode_all(plain.as_slice(), 3)?)?;
    Ok(blake3::hash(&plain).to_hex().chars().take(32).collect())
}

/// Every regular file below a directory, sorted; none if the directory does not exist.
pub fn files_below(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if !dir.exists() {
        return Ok(files);
    }
    for entry in WalkDir::new(dir).sort_by_file_name() {
        let entry = entry?;
        if entry.file_type().is_file() {
            files.push(entry.into_path());
        } else if !entry.file_type().is_dir() {
            bail!("{} is neither a file nor a directory", entry.path().display());
        }
    }
    Ok(files)
}

/// Hash of each file below a directory, by its path in there.
pub fn hashes(dir: &Path) -> anyhow::Result<BTreeMap<PathBuf, blake3::Hash>> {
    let mut hashes = BTreeMap::new();
    for path in files_below(dir)? {
        hashes.insert(path.strip_prefix(dir)?.to_owned(), blake3::hash(&fs::read(&path)?));
    }
    Ok(hashes)
}
