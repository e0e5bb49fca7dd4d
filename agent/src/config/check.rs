//! From the file as written to a configuration in which every limit has a value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use super::raw;
use crate::cql;
use crate::error::usage;
use crate::selection::SelectionText;
use crate::store::Location;

/// Where the configuration lies when no flag names it.
pub const DEFAULT_PATH: &str = "/etc/helenus/helenus.toml";

/// SSTables under way at a time. Small ones wait for the disk or the network to confirm them, and waiting costs nothing;
/// memory is bounded by bytes, not by this number.
const DEFAULT_PARALLEL: usize = 8;

/// Who waits a week for another run has forgotten it.
const LOCK_WAIT_SECONDS_MAX: u64 = 7 * 24 * 60 * 60;

/// The checked configuration.
#[derive(Debug)]
pub struct Config {
    /// The file it came from, if any.
    pub path: Option<PathBuf>,
    /// What is remembered between runs.
    pub state_dir: PathBuf,
    /// Where the node's files are and who it is.
    pub node: raw::Node,
    /// Which Data.db are compressed on their way to the store.
    pub compress: Compress,
    /// SSTables read at a time.
    pub parallel: usize,
    /// Free space to leave on Cassandra's disks.
    pub min_free: MinFree,
    /// How long a backup waits for another run on the node to end.
    pub lock_wait: Duration,
    /// Default selection of backups.
    pub selection: SelectionText,
    /// How Cassandra itself is asked, if it may be.
    pub cql: Option<cql::Settings>,
    /// Named repositories.
    pub repositories: BTreeMap<String, Location>,
}

/// What is compressed on its way to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compress {
    /// Everything but the Data.db of a table that Cassandra compresses.
    Auto,
    /// Everything.
    All,
    /// Nothing.
    None,
}

impl std::str::FromStr for Compress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "all" => Ok(Self::All),
            "none" => Ok(Self::None),
            _ => Err(format!("`{text}` is not a compression (auto, all or none)")),
        }
    }
}

/// Free space that a backup leaves on each of Cassandra's file systems.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MinFree {
    /// So many bytes.
    Bytes(u64),
    /// A percentage of the file system.
    Percent(f64),
}

impl MinFree {
    /// The limit in bytes for a file system of `size` bytes.
    pub fn bytes(self, size: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a percentage of a file system, checked to be within 0 and 100"
            )]
            Self::Percent(percent) => (size as f64 * percent / 100.0) as u64,
        }
    }
}

impl std::fmt::Display for MinFree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bytes(bytes) => write!(f, "{bytes} bytes"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl std::str::FromStr for MinFree {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a size (for example `2%`, `10 GiB` or `500000000`)");
        if let Some(percent) = text.strip_suffix('%') {
            let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
            return if (0.0..=100.0).contains(&percent) { Ok(Self::Percent(percent)) } else { Err(wrong()) };
        }
        bytes(text).map(Self::Bytes).ok_or_else(wrong)
    }
}

/// As `backup.lock_wait` is written: `30 s`, `10 min`, `2 h`.
struct LockWait(Duration);

impl std::str::FromStr for LockWait {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let unit = match text[digits..].trim() {
            "s" => Some(1),
            "min" => Some(60),
            "h" => Some(60 * 60),
            _ => None,
        };
        let seconds = text[..digits].parse::<u64>().ok().zip(unit).and_then(|(number, unit)| number.checked_mul(unit));
        let seconds = seconds.filter(|seconds| *seconds <= LOCK_WAIT_SECONDS_MAX);
        seconds.map(Duration::from_secs).map(Self).ok_or_else(|| {
            format!("`{text}` is no time to wait (for example `30 s`, `10 min` or `2 h`, and no more than a week)")
        })
    }
}

/// `10 GiB` in bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit: u64 = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

impl Config {
    /// Reads the named file, or the default one if it is there, or takes the defaults.
    pub fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        let default = Path::new(DEFAULT_PATH);
        let path = path.or_else(|| default.exists().then_some(default));
        let Some(path) = path else { return Self::check(raw::File::default(), None) };
        let text = std::fs::read_to_string(path).map_err(|error| usage(format!("{}: {error}", path.display())))?;
        Self::parse(&text, Some(path))
    }

    /// Parses the text of a configuration file.
    pub fn parse(text: &str, path: Option<&Path>) -> anyhow::Result<Self> {
        let name = path.map_or_else(|| "configuration".to_owned(), |path| path.display().to_string());
        let raw = toml::from_str(text).map_err(|error| usage(format!("{name}: {error}")))?;
        Self::check(raw, path).with_context(|| name)
    }

    fn check(raw: raw::File, path: Option<&Path>) -> anyhow::Result<Self> {
        let raw::File { state_dir, node, backup, cql, repository } = raw;
        let parallel = backup.parallel.unwrap_or(DEFAULT_PARALLEL);
        if !(1..=64).contains(&parallel) {
            return Err(usage(format!("backup.parallel: expected 1 to 64, got {parallel}")));
        }
        let selection = SelectionText { keyspaces: backup.keyspaces, tables: backup.tables, exclude: backup.exclude };
        crate::selection::Selection::parse(selection.clone())?;
        let mut repositories = BTreeMap::new();
        for (name, repository) in repository {
            let location = super::repository::check(&name, repository)?;
            repositories.insert(name, location);
        }
        Ok(Self {
            path: path.map(Path::to_owned),
            state_dir: state_dir.unwrap_or_else(default_state_dir),
            node,
            compress: parse("backup.compress", backup.compress.as_deref().unwrap_or("auto"))?,
            parallel,
            min_free: parse("backup.min_free", backup.min_free.as_deref().unwrap_or("2%"))?,
            lock_wait: parse::<LockWait>("backup.lock_wait", backup.lock_wait.as_deref().unwrap_or("0 s"))?.0,
            selection,
            cql: cql.map(check_cql).transpose()?,
            repositories,
        })
    }

    /// What a `--repository` means: the named one, or the text itself if it is a URL or a path.
    pub fn repository(&self, name_or_url: &str) -> anyhow::Result<Location> {
        if let Some(location) = self.repositories.get(name_or_url) {
            return Ok(location.clone());
        }
        if name_or_url.contains(['/', ':']) || name_or_url.starts_with('.') {
            return Location::parse(name_or_url).map_err(|error| usage(error.to_string()));
        }
        let known: Vec<_> = self.repositories.keys().map(String::as_str).collect();
        let known = if known.is_empty() { "none is configured".to_owned() } else { known.join(", ") };
        Err(usage(format!("no repository is called `{name_or_url}` ({known}); a path needs a slash: ./{name_or_url}")))
    }
}

fn check_cql(raw: raw::Cql) -> anyhow::Result<cql::Settings> {
    let raw::Cql { address, port, user, password_file, ca_file, certificate_file, key_file, server_name } = raw;
    let needs = |key: &str, other: &str| usage(format!("cql.{key}: it needs cql.{other}"));
    let login = match (user, password_file) {
        (Some(user), password_file) => Some(cql::Login { user, password_file }),
        (None, Some(_)) => return Err(needs("password_file", "user")),
        (None, None) => None,
    };
    let identity = match (certificate_file, key_file) {
        (Some(certificate_file), Some(key_file)) => Some((certificate_file, key_file)),
        (Some(_), None) => return Err(needs("certificate_file", "key_file")),
        (None, Some(_)) => return Err(needs("key_file", "certificate_file")),
        (None, None) => None,
    };
    let tls = match (ca_file, &identity, &server_name) {
        (Some(ca_file), ..) => Some(cql::Tls { ca_file, identity, server_name }),
        (None, Some(_), _) => return Err(needs("certificate_file", "ca_file")),
        (None, None, Some(_)) => return Err(needs("server_name", "ca_file")),
        (None, None, None) => None,
    };
    Ok(cql::Settings { address: cql::Address { host: address, port }, login, tls })
}

fn parse<T: std::str::FromStr<Err = String>>(key: &str, text: &str) -> anyhow::Result<T> {
    text.parse().map_err(|error| usage(format!("{key}: {error}")))
}

/// `/var/lib/helenus` for a service, the user's state directory for everybody else.
fn default_state_dir() -> PathBuf {
    let service = PathBuf::from("/var/lib/helenus");
    if nix::unistd::geteuid().is_root() || service.is_dir() {
        return service;
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    state.map_or(service, |state| state.join("helenus"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_parses_and_shows_the_defaults() {
        let text = include_str!("../../../deploy/helenus.toml");
        let example = Config::parse(text, None).expect("the shipped example parses");
        assert_eq!(example.compress, Compress::Auto);
        assert_eq!(example.min_free, MinFree::Percent(2.0));
        assert!(example.repositories.contains_key("local"));
        // Every key that is commented out is a key that exists.
        let uncommented: String = text
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .fold(String::new(), |all, line| all + line + "\n");
        Config::parse(&uncommented, None).expect("the example with every commented key in force parses");
    }

    #[test]
    fn unknown_keys_are_refused_with_their_place() {
        let error = Config::parse("[backup]\ncompres = \"all\"\n", Some(Path::new("h.toml"))).expect_err("unknown key");
        let text = format!("{error:#}");
        assert!(text.contains("line 2, column 1") && text.contains("compres"), "{text}");
    }

    #[test]
    fn who_asks_cassandra() {
        let parse = |keys: &str| Config::parse(&format!("[cql]\n{keys}\n"), None).map(|config| config.cql);
        let settings =
            parse("port = 9142\nuser = 'backup'\npassword_file = '/p'\nca_file = '/ca.pem'\nserver_name = 'n'");
        let settings = settings.expect("parses").expect("there");
        assert_eq!((settings.address.port, settings.address.host), (Some(9142), None));
        assert_eq!(settings.tls.and_then(|tls| tls.server_name).as_deref(), Some("n"));
        assert!(Config::parse("", None).expect("parses").cql.is_none());
        for (keys, expected) in [
            ("password_file = '/p'", "cql.password_file: it needs cql.user"),
            ("server_name = 'n'", "cql.server_name: it needs cql.ca_file"),
            ("ca_file = '/c'\nkey_file = '/k'", "cql.key_file: it needs cql.certificate_file"),
            ("pasword = 'x'", "unknown field `pasword`"),
        ] {
            let error = format!("{:#}", parse(keys).expect_err(keys));
            assert!(error.contains(expected), "{keys}: {error}");
        }
    }

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("2%", Some(MinFree::Percent(2.0))),
            ("10 GiB", Some(MinFree::Bytes(10 << 30))),
            ("1MiB", Some(MinFree::Bytes(1 << 20))),
            ("500", Some(MinFree::Bytes(500))),
            ("101%", None),
            ("-1%", None),
            ("10 GB", None),
            ("", None),
            ("99999999999 TiB", None),
        ] {
            assert_eq!(text.parse::<MinFree>().ok(), expected, "{text}");
        }
    }

    #[test]
    fn times_to_wait() {
        for (text, expected) in [
            ("0 s", Some(0)),
            ("30s", Some(30)),
            ("10 min", Some(600)),
            ("2 h", Some(7200)),
            ("168 h", Some(604_800)),
            ("169 h", None),
            ("10", None),
            ("-1 s", None),
            ("5 m", None),
            ("", None),
            ("99999999999999999 h", None),
        ] {
            assert_eq!(text.parse::<LockWait>().ok().map(|wait| wait.0.as_secs()), expected, "{text}");
        }
    }

    #[test]
    fn names_paths_and_urls() {
        let config = Config::parse("[repository.main]\nurl = \"file:///b\"\n", None).expect("parses");
        let check = |text: &str, directory: &str| {
            let location = config.repository(text).expect(text);
            assert_eq!(location, Location::Directory(directory.into()));
        };
        check("main", "/b");
        check("./x", "./x");
        check("file:///y", "/y");
        assert!(matches!(config.repository("s3://bucket/x"), Ok(Location::S3(_))));
        assert!(config.repository("mian").is_err());
    }
}
