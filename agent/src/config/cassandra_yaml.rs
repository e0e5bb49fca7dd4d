//! `cassandra.yaml`, as far as it tells where the data is, what the cluster is called, and where CQL is spoken.
//!
//! Read as Cassandra's own parser reads it: duplicate keys are allowed and the last one wins; a list of directories may
//! be written as one string. Keys of no interest here are left alone, whatever the release spells them.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::usage;

/// The keys that matter here.
#[derive(Debug, Default, Deserialize)]
struct Raw {
    cluster_name: Option<String>,
    #[serde(default)]
    data_file_directories: OneOrMany,
    local_system_data_file_directory: Option<String>,
    rpc_address: Option<String>,
    broadcast_rpc_address: Option<String>,
    native_transport_port: Option<u16>,
}

/// A list that may be written as a single string.
#[derive(Debug, Default, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    #[default]
    Nothing,
    One(String),
    Many(Vec<String>),
}

/// Where a node keeps its SSTables, and the name of its cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CassandraYaml {
    /// Name of the cluster; Cassandra's default is `Test Cluster`.
    pub cluster_name: String,
    /// Data directories in the order of the file, the one for local system tables last.
    pub data_directories: Vec<PathBuf>,
    /// The one of them that is for local system tables and nothing else, if there is one.
    pub local_system_directory: Option<PathBuf>,
    /// Where it speaks CQL.
    pub native_transport: NativeTransport,
}

/// Where a node speaks CQL, as far as it is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NativeTransport {
    /// Address that it listens on.
    pub rpc_address: Option<String>,
    /// Address under which others know it.
    pub broadcast_rpc_address: Option<String>,
    /// Port of both.
    pub port: Option<u16>,
}

/// Where packages put the file.
const USUAL_PLACES: [&str; 2] = ["/etc/cassandra/cassandra.yaml", "/etc/cassandra/conf/cassandra.yaml"];

/// The file that a node of this machine most likely uses: `$CASSANDRA_CONF`, then where packages put it.
pub fn usual_place() -> Option<PathBuf> {
    let configured = std::env::var_os("CASSANDRA_CONF").map(|dir| PathBuf::from(dir).join("cassandra.yaml"));
    configured.into_iter().chain(USUAL_PLACES.map(PathBuf::from)).find(|path| path.is_file())
}

impl CassandraYaml {
    /// Reads the file at `path`.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| usage(format!("{}: {error}", path.display())))?;
        Self::parse(&text, path)
    }

    fn parse(text: &str, path: &Path) -> anyhow::Result<Self> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let options = serde_saphyr::options! { duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins };
        let raw: Raw = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| usage(format!("{}: {error}", path.display())))?;
        let mut data_directories: Vec<PathBuf> = match raw.data_file_directories {
            OneOrMany::Nothing => Vec::new(),
            OneOrMany::One(one) => vec![one.into()],
            OneOrMany::Many(many) => many.into_iter().map(PathBuf::from).collect(),
        };
        if data_directories.is_empty() {
            data_directories.push(storage_directory(path).join("data"));
        }
        let local_system_directory = raw.local_system_data_file_directory.map(PathBuf::from);
        let local_system_directory = local_system_directory.filter(|system| !data_directories.contains(system));
        data_directories.extend(local_system_directory.clone());
        let native_transport = NativeTransport {
            rpc_address: raw.rpc_address,
            broadcast_rpc_address: raw.broadcast_rpc_address,
            port: raw.native_transport_port,
        };
        let cluster_name = raw.cluster_name.unwrap_or_else(|| "Test Cluster".to_owned());
        Ok(Self { cluster_name, data_directories, local_system_directory, native_transport })
    }
}

/// What the start scripts pass as `cassandra.storagedir`: `/var/lib/cassandra` for a package, `data` beside `conf` for
/// an unpacked archive.
fn storage_directory(yaml: &Path) -> PathBuf {
    if yaml.starts_with("/etc") {
        return PathBuf::from("/var/lib/cassandra");
    }
    let conf = yaml.parent().unwrap_or(Path::new("."));
    conf.parent().unwrap_or(Path::new(".")).join("data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, path: &str, cluster: &str, directories: &[&str]) {
        let yaml = CassandraYaml::parse(text, Path::new(path)).expect("parses");
        assert_eq!(yaml.cluster_name, cluster);
        assert_eq!(yaml.data_directories, directories.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn spellings() {
        check(
            "cluster_name: 'A B'\ndata_file_directories:\n    - /d1\n    - /d2\n",
            "/e/c.yaml",
            "A B",
            &["/d1", "/d2"],
        );
        check("data_file_directories: [/d1, /d2]", "/e/c.yaml", "Test Cluster", &["/d1", "/d2"]);
        check("data_file_directories: /d1", "/e/c.yaml", "Test Cluster", &["/d1"]);
        check("cluster_name: x", "/etc/cassandra/cassandra.yaml", "x", &["/var/lib/cassandra/data"]);
        check("cluster_name: x", "/opt/c/conf/cassandra.yaml", "x", &["/opt/c/data/data"]);
        check("data_file_directories:\n", "/opt/c/conf/cassandra.yaml", "Test Cluster", &["/opt/c/data/data"]);
        check("cluster_name: a\ncluster_name: b\ndata_file_directories: [/d]", "/e/c.yaml", "b", &["/d"]);
        check(
            "\u{feff}data_file_directories: [/d]\nlocal_system_data_file_directory: /s\nauto_snapshot: yes\n",
            "/e/c.yaml",
            "Test Cluster",
            &["/d", "/s"],
        );
        check("cluster_name: 12\ndata_file_directories: [/d]", "/e/c.yaml", "12", &["/d"]);
    }

    #[test]
    fn what_is_no_yaml_is_refused_by_name() {
        let error = CassandraYaml::parse("a: [", Path::new("/e/c.yaml")).expect_err("broken");
        assert!(format!("{error}").starts_with("/e/c.yaml: "), "{error}");
    }
}
