//! Makes `agent/sample/node.tar.zst`: a node directory as a real node has it after two upgrades.
//!
//!     4.1.10                            two rounds of writes, compacted between      nb
//!     5.0.6, storage compatibility NONE one round                                    oa
//!     5.0.6, BTI and UUID ids           one round                                    da
//!
//! All three write into the same data directories, one after the other. Commit log, hints, caches and logs are left
//! behind; owner, mode and time of the files are set to fixed values, and the archive is sorted. Cassandra itself puts
//! clocks and random ids into the files, so two runs do not give equal archives.
//!
//!     cargo run -p helenus-tests --bin make_sample

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use helenus_tests::cassandra::{Address, Node, Options, Version};
use helenus_tests::cql::Cql;
use helenus_tests::schema;
use walkdir::WalkDir;

/// 2026-03-01 00:00:00 UTC, the modification time of every file in the archive.
const TIME: u64 = 1_772_323_200;
const LEVEL: i32 = 19;
const SIZE_MAX: usize = 4 << 20;

const YAML: &str = "# The sample node of helenus: its cassandra.yaml, cut down to what a backup reads.
# Directories are relative to the folder that holds conf/ and data/.
cluster_name: Greenhouse
num_tokens: 4
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
data_file_directories:
    - data/d1
    - data/d2
commitlog_directory: commitlog
saved_caches_directory: saved_caches
hints_directory: hints
listen_address: 127.0.0.1
rpc_address: 127.0.0.1
native_transport_port: 9042
storage_compatibility_mode: NONE
sstable:
  selected_format: bti
uuid_sstable_identifiers_enabled: true
";

fn main() -> anyhow::Result<()> {
    let work = tempfile::tempdir()?;
    let node_dir = work.path().join("node");
    write(&node_dir)?;
    let archive = pack(&node_dir)?;
    ensure!(archive.len() <= SIZE_MAX, "the archive has {} bytes, more than {SIZE_MAX}", archive.len());
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../agent/sample");
    fs::create_dir_all(&target)?;
    fs::write(target.join("node.tar.zst"), &archive)?;
    println!("agent/sample/node.tar.zst: {} bytes", archive.len());
    for (version, count) in count_versions(&node_dir) {
        println!("{version}: {count} SSTables");
    }
    Ok(())
}

/// Runs the three nodes on the same directory.
fn write(dir: &Path) -> anyhow::Result<()> {
    let address = Address::claim()?;
    let options = |extra_yaml: &str| Options {
        extra_yaml: extra_yaml.to_owned(),
        address: Some(address.clone()),
        cluster: "Greenhouse".to_owned(),
        ..Options::default()
    };
    let phase = |version, extra_yaml: &str, work: &dyn Fn(&Node, &Cql) -> anyhow::Result<()>| {
        println!("Cassandra {version} {}", extra_yaml.replace('\n', " "));
        let node = Node::start(version, dir, options(extra_yaml))?;
        // Else the next phase would merge what the one before has written.
        node.nodetool(&["disableautocompaction"])?;
        let cql = Cql::connect(&node)?;
        work(&node, &cql)?;
        node.nodetool(&["flush"])?;
        drop(cql);
        node.stop()
    };
    phase(Version::V4_1, "", &|node, cql| {
        schema::create(cql, Version::V4_1)?;
        schema::write_round(cql, Version::V4_1, 1)?;
        cql.execute("ALTER TABLE shop.customers DROP fax")?;
        node.nodetool(&["flush"])?;
        schema::write_round(cql, Version::V4_1, 2)?;
        node.nodetool(&["flush"])?;
        // Flushes use LZ4 where the table's compressor is slow: only compaction writes Deflate and Zstd here.
        node.nodetool(&["compact", "shop", "packed_deflate", "packed_zstd", "packed_not", "readings"])?;
        cql.execute("TRUNCATE shop.truncated")?;
        cql.execute("DROP TABLE shop.dropped")
    })?;
    phase(Version::V5_0, "storage_compatibility_mode: NONE\nflush_compression: table", &|_, cql| {
        schema::create_for_5_0(cql)?;
        schema::write_round(cql, Version::V5_0, 3)
    })?;
    let bti = "storage_compatibility_mode: NONE\nflush_compression: table\nsstable:\n  selected_format: bti\n\
               uuid_sstable_identifiers_enabled: true";
    phase(Version::V5_0, bti, &|_, cql| schema::write_round(cql, Version::V5_0, 4))
}

/// What belongs to the sample: data directories without snapshots, and the configuration.
fn pack(dir: &Path) -> anyhow::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?);
    let mut append = |path: &Path, kind: tar::EntryType, content: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(TIME);
        header.set_size(u64::try_from(content.len())?);
        builder.append_data(&mut header, path, content).with_context(|| path.display().to_string())
    };
    append(Path::new("conf"), tar::EntryType::Directory, b"")?;
    append(Path::new("conf/cassandra.yaml"), tar::EntryType::Regular, YAML.as_bytes())?;
    for path in files(dir)? {
        let inside = path.strip_prefix(dir)?;
        if path.is_dir() {
            append(inside, tar::EntryType::Directory, b"")?;
        } else {
            append(inside, tar::EntryType::Regular, &fs::read(&path)?)?;
        }
    }
    Ok(builder.into_inner()?.finish()?)
}

fn files(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let walk = WalkDir::new(dir.join("data")).sort_by_file_name().into_iter();
    for entry in walk.filter_entry(|entry| !matches!(entry.file_name().to_str(), Some("snapshots" | "backups" | "tmp")))
    {
        let entry = entry?;
        ensure!(!entry.file_name().to_string_lossy().contains("_txn_"), "{} is unfinished", entry.path().display());
        paths.push(entry.into_path());
    }
    Ok(paths)
}

fn count_versions(dir: &Path) -> Vec<(String, usize)> {
    let mut counts = std::collections::BTreeMap::new();
    for path in files(dir).unwrap_or_default() {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with("-Data.db") {
            *counts.entry(name.split('-').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    counts.into_iter().collect()
}
