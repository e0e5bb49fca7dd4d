//! A real Cassandra node for a test: the jars of one release, one process, one address, one folder.
//!
//!     <cache>/cassandra-5.0.6/lib/*.jar          fetched once with Maven, under a lock
//!     <dir>/conf/{cassandra.yaml,logback.xml}    written at each start
//!     <dir>/data/d1, <dir>/data/d2               data directories, unless the options name others
//!     <dir>/{commitlog,hints,saved_caches,log}   all else
//!
//! Each node listens on an address of its own, 127.0.0.N, claimed with a file lock, so that parallel test processes
//! never meet. A node is a cluster of one. What is not here: several nodes in a ring, TLS, passwords.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::process;

/// How long a node may take until it serves CQL. A first start needs 15 s on two idle cores.
const START_LIMIT: Duration = Duration::from_secs(180);
/// How long a node may take to drain and end after SIGTERM.
const STOP_LIMIT: Duration = Duration::from_secs(60);
/// How long one run of nodetool may take: it waits for flushes and compactions.
const NODETOOL_LIMIT: Duration = Duration::from_secs(180);
/// How long Maven may take to fetch the jars of one release.
const FETCH_LIMIT: Duration = Duration::from_secs(900);

const CQL_PORT: u16 = 9042;
const STORAGE_PORT: u16 = 7000;

/// Packages of the JDK that Cassandra reaches into, which Java closed after version 8.
const OPENED_PACKAGES: &[&str] = &[
    "java.base/java.io",
    "java.base/java.lang",
    "java.base/java.lang.reflect",
    "java.base/java.math",
    "java.base/java.net",
    "java.base/java.nio",
    "java.base/java.security",
    "java.base/java.time",
    "java.base/java.util",
    "java.base/java.util.concurrent",
    "java.base/java.util.concurrent.atomic",
    "java.base/jdk.internal.math",
    "java.base/jdk.internal.misc",
    "java.base/jdk.internal.module",
    "java.base/jdk.internal.ref",
    "java.base/jdk.internal.reflect",
    "java.base/jdk.internal.util.jar",
    "java.base/jdk.internal.vm",
    "java.base/sun.nio.ch",
    "java.management/sun.management",
    "java.management.rmi/javax.management.remote.rmi",
    "java.rmi/sun.rmi.registry",
    "java.rmi/sun.rmi.server",
    "java.rmi/sun.rmi.transport",
    "java.rmi/sun.rmi.transport.tcp",
    "java.sql/java.sql",
    "jdk.management/com.sun.management.internal",
    "jdk.management.jfr/jdk.management.jfr",
];

/// A release that the tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// 4.0.19
    V4_0,
    /// 4.1.10
    V4_1,
    /// 5.0.6
    V5_0,
}

impl Version {
    /// Every release that the tests run, oldest first.
    pub const ALL: [Self; 3] = [Self::V4_0, Self::V4_1, Self::V5_0];

    /// The full version, as Maven names it.
    pub fn number(self) -> &'static str {
        match self {
            Self::V4_0 => "4.0.19",
            Self::V4_1 => "4.1.10",
            Self::V5_0 => "5.0.6",
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.number())
    }
}

/// What a test says when it cannot run here.
///
/// With `HELENUS_REQUIRE_CASSANDRA=1` nothing is missing by definition: the test runs and fails with the reason.
pub fn available() -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER.get_or_init(|| find_all().map_err(|error| format!("{error:#}"))).clone()
}

/// True if a missing Java, Maven or jar file is a failure and no reason to skip.
pub fn required() -> bool {
    std::env::var_os("HELENUS_REQUIRE_CASSANDRA").is_some_and(|value| !value.is_empty() && value != "0")
}

fn find_all() -> anyhow::Result<()> {
    java()?;
    for version in Version::ALL {
        jars(version)?;
    }
    Ok(())
}

/// The `java` program of a Java 17: `$JAVA_HOME`, then `$PATH`, then where Debian puts it.
pub(crate) fn java() -> anyhow::Result<&'static Path> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let mut candidates = Vec::new();
        if let Some(home) = std::env::var_os("JAVA_HOME") {
            candidates.push(PathBuf::from(home).join("bin/java"));
        }
        candidates.push(PathBuf::from("java"));
        if let Ok(entries) = fs::read_dir("/usr/lib/jvm") {
            candidates.extend(entries.flatten().map(|entry| entry.path().join("bin/java")));
        }
        candidates.into_iter().find(|program| major_version(program) == Some(17))
    });
    found.as_deref().context("no Java 17: install openjdk-17-jre-headless, or set JAVA_HOME")
}

fn major_version(java: &Path) -> Option<u32> {
    let mut command = Command::new(java);
    command.arg("-version");
    let output = process::run(&mut command, Duration::from_secs(20)).ok()?;
    // openjdk version "17.0.15" 2025-04-15
    let version = output.stderr.split('"').nth(1)?;
    version.split(['.', '-', '+']).next()?.parse().ok()
}

fn cache() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("HELENUS_CASSANDRA_CACHE") {
        return Ok(path.into());
    }
    let home = std::env::var_os("HOME").context("neither HELENUS_CASSANDRA_CACHE nor HOME is set")?;
    Ok(Path::new(&home).join(".cache/helenus-cassandra"))
}

/// The folder with the jars of a release. Fetches them if they are not there yet, which may take a minute.
pub fn jars(version: Version) -> anyhow::Result<PathBuf> {
    let cache = cache()?;
    let folder = cache.join(format!("cassandra-{version}"));
    let lib = folder.join("lib");
    let main_jar = lib.join(format!("cassandra-all-{version}.jar"));
    if main_jar.exists() {
        return Ok(lib);
    }
    fs::create_dir_all(&cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let lock = File::create(cache.join("lock")).context("cannot create the lock of the jar cache")?;
    lock.lock().context("cannot lock the jar cache")?;
    if main_jar.exists() {
        return Ok(lib); // fetched by another process while this one waited
    }
    let staging = cache.join(format!("cassandra-{version}.tmp"));
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    fs::create_dir_all(&staging)?;
    fs::write(
        staging.join("pom.xml"),
        format!(
            "<project><modelVersion>4.0.0</modelVersion>
<groupId>helenus.test</groupId><artifactId>cassandra-{version}</artifactId><version>1</version>
<dependencies><dependency><groupId>org.apache.cassandra</groupId><artifactId>cassandra-all</artifactId>\
<version>{version}</version></dependency></dependencies>
</project>
"
        ),
    )?;
    let mut maven = Command::new("mvn");
    maven
        .args(["-B", "-q", "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"])
        .args(["-DincludeScope=runtime", "-DoutputDirectory=lib"])
        .current_dir(&staging);
    let output = process::run(&mut maven, FETCH_LIMIT)
        .with_context(|| format!("Cassandra {version} is not in {} and Maven did not run", cache.display()))?;
    ensure!(output.success(), "Maven could not fetch Cassandra {version}: {output}");
    ensure!(
        staging.join("lib").join(format!("cassandra-all-{version}.jar")).exists(),
        "Maven fetched no Cassandra {version}"
    );
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::rename(&staging, &folder)?;
    Ok(lib)
}

/// An address 127.0.0.N that no other test uses while this value lives. Clones share it: a node that is stopped and
/// started again keeps its address.
#[derive(Debug, Clone)]
pub struct Address(Arc<(Ipv4Addr, File)>);

impl Address {
    /// Claims a free address.
    pub fn claim() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join("helenus-test-addresses");
        fs::create_dir_all(&folder)?;
        for last in 60..=220_u8 {
            let ip = Ipv4Addr::new(127, 0, 0, last);
            let lock = File::create(folder.join(ip.to_string()))?;
            if lock.try_lock().is_err() {
                continue;
            }
            let free = |port| TcpListener::bind((ip, port)).is_ok();
            if free(CQL_PORT) && free(STORAGE_PORT) && TcpListener::bind(("127.0.0.1", jmx_port(ip))).is_ok() {
                return Ok(Self(Arc::new((ip, lock))));
            }
        }
        bail!("no free address from 127.0.0.60 to 127.0.0.220")
    }

    /// 127.0.0.N
    pub fn ip(&self) -> Ipv4Addr {
        self.0.0
    }

    /// Where CQL is served.
    pub fn cql(&self) -> SocketAddr {
        SocketAddr::from((self.ip(), CQL_PORT))
    }
}

fn jmx_port(ip: Ipv4Addr) -> u16 {
    let [_, _, _, last] = ip.octets();
    27_000 + u16::from(last)
}

/// How a node is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// Lines appended to cassandra.yaml.
    pub extra_yaml: String,
    /// Data directories; empty: two below the node's folder.
    pub data_dirs: Vec<PathBuf>,
    /// The address; `None`: a free one.
    pub address: Option<Address>,
    /// `cluster_name`.
    pub cluster: String,
    /// Heap in MiB.
    pub heap_mib: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            extra_yaml: String::new(),
            data_dirs: Vec::new(),
            address: None,
            cluster: "Helenus Test".to_owned(),
            heap_mib: 448,
        }
    }
}

/// A running node. Dropping it kills the process.
#[derive(Debug)]
pub struct Node {
    version: Version,
    dir: PathBuf,
    data_dirs: Vec<PathBuf>,
    address: Address,
    child: Child,
    _one_at_a_time: File,
}

impl Node {
    /// Starts a node with all its files in `dir` and waits until it serves CQL.
    ///
    /// Only one node of these tests runs at a time on a machine: two would need more memory and time than they save.
    pub fn start(version: Version, dir: &Path, options: Options) -> anyhow::Result<Self> {
        let lib = jars(version)?;
        let java = java()?;
        let address = match options.address {
            Some(address) => address,
            None => Address::claim()?,
        };
        fs::create_dir_all(dir)?;
        let dir = dir.canonicalize()?;
        let data_dirs = if options.data_dirs.is_empty() {
            vec![dir.join("data/d1"), dir.join("data/d2")]
        } else {
            options.data_dirs
        };
        for folder in [dir.join("conf"), dir.join("log"), dir.join("tmp")].iter().chain(&data_dirs) {
            fs::create_dir_all(folder)?;
        }
        let yaml = yaml(version, &dir, &data_dirs, address.ip(), &options.cluster, &options.extra_yaml);
        fs::write(dir.join("conf/cassandra.yaml"), yaml)?;
        fs::write(dir.join("conf/logback.xml"), logback(&dir.join("log/system.log")))?;

        let one_at_a_time = one_at_a_time()?;
        let heap = options.heap_mib;
        let mut command = Command::new(java);
        command
            .args([format!("-Xms{heap}m"), format!("-Xmx{heap}m")])
            .args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k", "-XX:-UsePerfData"])
            .arg(format!("-javaagent:{}", jamm(&lib)?.display()))
            .args(module_flags())
            .args(["-Djdk.attach.allowAttachSelf=true", "-Djava.security.manager=allow"])
            .arg("-Dio.netty.tryReflectionSetAccessible=true")
            .arg(format!("-Djava.io.tmpdir={}", dir.join("tmp").display()))
            .arg(format!("-Djna.tmpdir={}", dir.join("tmp").display()))
            .arg(format!("-Dcassandra.config=file://{}", dir.join("conf/cassandra.yaml").display()))
            .arg(format!("-Dlogback.configurationFile=file://{}", dir.join("conf/logback.xml").display()))
            .arg(format!("-Dcassandra.storagedir={}", dir.display()))
            .arg("-Dcassandra-foreground=yes")
            .arg(format!("-Dcassandra.jmx.local.port={}", jmx_port(address.ip())))
            // A cluster of one has nobody to wait for.
            .args(["-Dcassandra.ring_delay_ms=1000", "-Dcassandra.skip_wait_for_gossip_to_settle=0"])
            .arg("-Dcassandra.superuser_setup_delay_ms=0")
            .arg("-cp")
            .arg(format!("{}:{}/*", dir.join("conf").display(), lib.display()))
            .arg("org.apache.cassandra.service.CassandraDaemon")
            .current_dir(&dir)
            .stdin(Stdio::null());
        let output = File::options().create(true).append(true).open(dir.join("log/output.log"))?;
        command.stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("cannot start {}", java.display()))?;
        let mut node = Self { version, dir, data_dirs, address, child, _one_at_a_time: one_at_a_time };
        node.wait_until_up()?;
        Ok(node)
    }

    fn wait_until_up(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            // The process is asked too: an open port alone could be another process's node.
            if let Some(status) = self.child.try_wait()? {
                bail!("Cassandra {} ended with {status}\n{}", self.version, self.log_tail());
            }
            if TcpStream::connect_timeout(&self.address.cql(), Duration::from_secs(1)).is_ok() {
                return Ok(());
            }
            ensure!(
                start.elapsed() < START_LIMIT,
                "Cassandra {} serves no CQL after {START_LIMIT:?}\n{}",
                self.version,
                self.log_tail()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn log_tail(&self) -> String {
        let mut text = String::new();
        for name in ["log/output.log", "log/system.log"] {
            let content = fs::read_to_string(self.dir.join(name)).unwrap_or_default();
            let lines: Vec<&str> = content.lines().collect();
            let tail = lines.get(lines.len().saturating_sub(30)..).unwrap_or_default();
            text.push_str(&format!("--- {name}\n{}\n", tail.join("\n")));
        }
        text
    }

    /// The release.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The folder of the node.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its `cassandra.yaml`.
    pub fn yaml(&self) -> PathBuf {
        self.dir.join("conf/cassandra.yaml")
    }

    /// Its data directories.
    pub fn data_dirs(&self) -> &[PathBuf] {
        &self.data_dirs
    }

    /// Its address, to start another node there later.
    pub fn address(&self) -> Address {
        self.address.clone()
    }

    /// Runs nodetool and returns what it printed; a failure is an error with all of it.
    pub fn nodetool<S: AsRef<OsStr>>(&self, arguments: &[S]) -> anyhow::Result<String> {
        let port = jmx_port(self.address.ip()).to_string();
        let all = ["-p", &port].map(OsStr::new).into_iter().chain(arguments.iter().map(AsRef::as_ref));
        tool(self.version, &self.dir, "NodeTool", all)
    }

    /// SIGTERM: Cassandra drains (a flush of everything) and ends. SIGKILL if it does not.
    pub fn stop(mut self) -> anyhow::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, Signal::SIGTERM)?;
        let start = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(start.elapsed() < STOP_LIMIT, "Cassandra {} did not end\n{}", self.version, self.log_tail());
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// SIGKILL: what was not flushed is in the commit log only.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // An error here means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The turn to run a node on this machine: held by the lock file's descriptor.
fn one_at_a_time() -> anyhow::Result<File> {
    let path = std::env::temp_dir().join("helenus-test-cassandra.lock");
    let lock = File::options().create(true).truncate(false).write(true).open(path)?;
    lock.lock().context("cannot lock the turn to run Cassandra")?;
    Ok(lock)
}

/// Runs one of `org.apache.cassandra.tools` on the node in `dir`, and returns what it printed; a failure is an error with
/// all of it.
pub fn tool<'a>(
    version: Version,
    dir: &Path,
    class: &str,
    arguments: impl IntoIterator<Item = &'a OsStr>,
) -> anyhow::Result<String> {
    let lib = jars(version)?;
    let quiet = dir.join("conf/logback-tools.xml");
    fs::write(&quiet, "<configuration><root level=\"OFF\"/></configuration>\n")?;
    let mut command = Command::new(java()?);
    command
        .args(module_flags())
        .args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"])
        .arg("-Djava.security.manager=allow")
        .arg(format!("-Dcassandra.config=file://{}", dir.join("conf/cassandra.yaml").display()))
        .arg(format!("-Dcassandra.storagedir={}", dir.display()))
        .arg(format!("-Dlogback.configurationFile=file://{}", quiet.display()))
        .arg("-cp")
        .arg(format!("{}/*", lib.display()))
        .arg(format!("org.apache.cassandra.tools.{class}"))
        .args(arguments);
    let output = process::run(&mut command, NODETOOL_LIMIT)?;
    ensure!(output.success(), "{output}");
    Ok(output.stdout)
}

pub(crate) fn module_flags() -> impl Iterator<Item = String> {
    OPENED_PACKAGES.iter().flat_map(|package| {
        [format!("--add-opens={package}=ALL-UNNAMED"), format!("--add-exports={package}=ALL-UNNAMED")]
    })
}

pub(crate) fn jamm(lib: &Path) -> anyhow::Result<PathBuf> {
    for entry in fs::read_dir(lib)? {
        let path = entry?.path();
        if path.file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with("jamm-")) {
            return Ok(path);
        }
    }
    Err(io::Error::new(ErrorKind::NotFound, "no jamm-*.jar").into())
}

pub(crate) fn yaml(
    version: Version,
    dir: &Path,
    data_dirs: &[PathBuf],
    ip: Ipv4Addr,
    cluster: &str,
    extra: &str,
) -> String {
    let data_dirs: String = data_dirs.iter().map(|path| format!("    - {}\n", path.display())).collect();
    let commitlog = match version {
        Version::V4_0 => "commitlog_sync_period_in_ms: 1000\ncommitlog_segment_size_in_mb: 2",
        Version::V4_1 | Version::V5_0 => "commitlog_sync_period: 1000ms\ncommitlog_segment_size: 2MiB",
    };
    let dir = dir.display();
    format!(
        "cluster_name: '{cluster}'
num_tokens: 4
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters: [{{seeds: \"{ip}\"}}]
endpoint_snitch: SimpleSnitch
listen_address: {ip}
rpc_address: {ip}
storage_port: {STORAGE_PORT}
native_transport_port: {CQL_PORT}
start_native_transport: true
data_file_directories:
{data_dirs}commitlog_directory: {dir}/commitlog
saved_caches_directory: {dir}/saved_caches
hints_directory: {dir}/hints
cdc_raw_directory: {dir}/cdc_raw
commitlog_sync: periodic
{commitlog}
auto_snapshot: false
{extra}
"
    )
}

fn logback(file: &Path) -> String {
    format!(
        "<configuration><appender name=\"F\" class=\"ch.qos.logback.core.FileAppender\"><file>{}</file>\
<encoder><pattern>%-5level [%thread] %date{{ISO8601}} %F:%L - %msg%n</pattern></encoder></appender>\
<root level=\"INFO\"><appender-ref ref=\"F\"/></root></configuration>\n",
        file.display()
    )
}
