//! A small node cut out of the sample: few tables, few SSTables, every version.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use helenus_tests::agent::Agent;
use helenus_tests::repository::{Repository, files_below};
use helenus_tests::sample::Sample;
use tempfile::TempDir;

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_helenus_faulty");

/// The sample, unpacked once for all tests of this process, into the folder that cargo has for such things.
pub fn sample() -> &'static Sample {
    static SAMPLE: OnceLock<Sample> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("robustness-sample");
        if dir.exists() {
            fs::remove_dir_all(&dir).expect("the sample of the last run can go");
        }
        Sample::unpack(&dir).expect("the sample unpacks")
    })
}

/// A node, a repository that is not there yet, and the program.
pub struct Small {
    pub work: TempDir,
    pub data_dirs: [PathBuf; 2],
    pub repository: Repository,
    pub agent: Agent,
}

impl Small {
    /// Three tables: counters in each version, one with a secondary index and storage-attached indexes, an empty one.
    pub fn new() -> anyhow::Result<Self> {
        let work = tempfile::Builder::new().prefix("helenus-small-").tempdir()?;
        let data_dirs = ["d1", "d2"].map(|name| work.path().join("data").join(name));
        for (from, to) in sample().data_dirs().iter().zip(&data_dirs) {
            fs::create_dir_all(to)?;
            for table in ["visits", "orders", "empty"] {
                for path in sample().table_dirs("shop", table) {
                    let Ok(inside) = path.strip_prefix(from) else { continue };
                    copy_tree(&path, &to.join(inside), &|name| table != "orders" || name.starts_with("da-"))?;
                }
            }
        }
        let repository = Repository::at(work.path().join("repository"));
        let agent = Agent::new(PROGRAM, work.path())?;
        Ok(Self { work, data_dirs, repository, agent })
    }

    /// `backup` and all that names node and repository; more arguments may follow.
    pub fn backup(&self) -> Vec<OsString> {
        let [first, second] = &self.data_dirs;
        helenus_tests::args![
            "backup",
            "--data-dir",
            first,
            "--data-dir",
            second,
            "--cluster",
            "Greenhouse",
            "--repository",
            self.repository.root
        ]
        .to_vec()
    }

    /// `restore latest` into a directory.
    pub fn restore(&self, to: &Path) -> Vec<OsString> {
        // Another test's Cassandra may just be starting, and nobody can tell on which directories.
        let stopped = "--cassandra-is-stopped";
        helenus_tests::args!["restore", "latest", "--repository", self.repository.root, "--to-dir", to, stopped]
            .to_vec()
    }

    /// The folder with both data directories.
    pub fn data(&self) -> PathBuf {
        self.work.path().join("data")
    }

    /// A table's directory in the first data directory.
    pub fn table_dir(&self, table: &str) -> PathBuf {
        let shop = self.data_dirs[0].join("shop");
        let mut entries = fs::read_dir(&shop).expect("a keyspace").flatten();
        let found = entries.find(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{table}-")));
        found.expect("the table").path()
    }

    /// What a restore has to bring: each live file by keyspace, table and name, whichever data directory has it.
    pub fn expected(&self) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
        let mut files = BTreeMap::new();
        for data_dir in &self.data_dirs {
            files.extend(contents(data_dir)?);
        }
        files.retain(|path, _| !path.components().any(|part| part.as_os_str() == "snapshots"));
        Ok(files)
    }
}

/// Every file below a directory with its bytes, without hidden directories at its top, which are nobody's tables.
pub fn contents(dir: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for path in files_below(dir)? {
        let inside = path.strip_prefix(dir)?.to_owned();
        if !inside.to_string_lossy().starts_with('.') {
            files.insert(inside, fs::read(&path)?);
        }
    }
    Ok(files)
}

/// Copies a directory with the files that are wanted.
pub fn copy_tree(from: &Path, to: &Path, wanted: &dyn Fn(&str) -> bool) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for path in files_below(from)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if wanted(&name) {
            let target = to.join(path.strip_prefix(from)?);
            fs::create_dir_all(target.parent().unwrap_or(to))?;
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}

/// Fails with the first difference, by name and not by content.
pub fn assert_same(expected: &BTreeMap<PathBuf, Vec<u8>>, got: &BTreeMap<PathBuf, Vec<u8>>, when: &str) {
    for path in expected.keys() {
        assert!(got.contains_key(path), "{when}: {} is missing", path.display());
    }
    for (path, bytes) in got {
        let Some(wanted) = expected.get(path) else { panic!("{when}: {} is one too many", path.display()) };
        assert!(wanted == bytes, "{when}: {} has other bytes", path.display());
    }
}
