//! A real S3 server: versitygw on a directory, from the Go module proxy, built once.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use helenus::store::s3::{Keys, Settings};
use tempfile::TempDir;

use crate::process;

const MODULE: &str = "github.com/versity/versitygw/cmd/versitygw";
const RELEASE: &str = "v1.8.0";
/// The build fetches a hundred modules and compiles for some minutes.
const BUILD_LIMIT: Duration = Duration::from_secs(1200);

/// The access key of every server.
pub const KEY_ID: &str = "test";
/// Its secret.
pub const SECRET: &str = "testtest";
/// Its only bucket.
pub const BUCKET: &str = "backups";

/// True if a missing server is a failure.
pub fn required() -> bool {
    std::env::var_os("HELENUS_REQUIRE_S3").is_some_and(|value| value == "1")
}

/// The program, built if need be.
pub fn program() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let directory = cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("helenus-versitygw").join(RELEASE);
    let program = directory.join("versitygw");
    if program.exists() {
        return Ok(program);
    }
    let go = Command::new("go").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    ensure!(go.is_ok_and(|status| status.success()), "Go is not installed, and {} is not there", program.display());
    // Built beside, so that whoever is killed leaves nothing that looks complete.
    fs::create_dir_all(&directory)?;
    let build = TempDir::new_in(&directory)?;
    let module = format!("{MODULE}@{RELEASE}");
    let mut command = Command::new("go");
    command.args(["install", &module]).env("GOBIN", build.path());
    let output = process::run(&mut command, BUILD_LIMIT)?;
    ensure!(output.success(), "{output}");
    fs::rename(build.path().join("versitygw"), &program)?;
    Ok(program)
}

/// A running server. It ends when dropped.
#[derive(Debug)]
pub struct Versitygw {
    /// `http://127.0.0.1:port`.
    pub endpoint: String,
    child: Child,
    root: TempDir,
}

impl Versitygw {
    /// Starts a server with an empty bucket.
    pub fn start(program: &Path) -> anyhow::Result<Self> {
        let root = TempDir::new()?;
        for directory in ["data", "home"] {
            fs::create_dir(root.path().join(directory))?;
        }
        fs::create_dir(root.path().join("data").join(BUCKET))?;
        // Somebody may take the port between asking for it and using it.
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            let log = fs::File::create(root.path().join("log"))?;
            let mut child = Command::new(program)
                .args(["--access", KEY_ID, "--secret", SECRET, "--port", &format!("127.0.0.1:{port}"), "posix"])
                .arg(root.path().join("data"))
                .env("HOME", root.path().join("home"))
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?;
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(30) {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                    return Ok(Self { endpoint: format!("http://127.0.0.1:{port}"), child, root });
                }
                if child.try_wait()?.is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            let _ = child.kill();
            child.wait()?;
        }
        bail!("versitygw does not start: {}", fs::read_to_string(root.path().join("log"))?)
    }

    /// Settings for a client with this prefix.
    pub fn settings(&self, prefix: &str) -> Settings {
        Settings {
            endpoint: Some(self.endpoint.clone()),
            region: Some("us-east-1".to_owned()),
            keys: Some(Keys { id: KEY_ID.to_owned(), secret: SECRET.to_owned() }),
            ..Settings::parse(&format!("s3://{BUCKET}/{prefix}")).expect("a URL")
        }
    }

    /// Where the bucket lies.
    pub fn bucket(&self) -> PathBuf {
        self.root.path().join("data").join(BUCKET)
    }
}

impl Drop for Versitygw {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
