//! Microsoft's own emulator of Azure Blob Storage: Azurite, from the npm registry, installed once.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use helenus::store::objects::{Secret, Settings};
use tempfile::TempDir;

use crate::process;

/// The last release that wants no newer Node.js than distributions have.
const RELEASE: &str = "3.35.0";
const INSTALL_LIMIT: Duration = Duration::from_secs(600);

/// The only account of every emulator, as its documents name it.
pub const ACCOUNT: &str = "devstoreaccount1";
/// Its key, which is public.
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
/// The only container.
pub const CONTAINER: &str = "backups";
/// A token of that account until 2099, signed with its key: tests that make containers need no signature of their own.
const TOKEN: &str = "sv=2021-06-08&ss=b&srt=co&sp=rwdlac&se=2099-01-01T00%3A00%3A00Z&spr=https,http\
                     &sig=Svvq8x1cqmNvNFw6QSWul7bJdYLFaOCcu3w%2Fgyk8S1Q%3D";

/// True if a missing emulator is a failure.
pub fn required() -> bool {
    std::env::var_os("HELENUS_REQUIRE_AZURITE").is_some_and(|value| value == "1")
}

/// The emulator's script, installed if need be.
pub fn script() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")));
    let directory = cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("helenus-azurite");
    let installed = directory.join(RELEASE);
    let script = installed.join("node_modules/azurite/dist/src/blob/main.js");
    if script.exists() {
        return Ok(script);
    }
    for program in ["node", "npm"] {
        let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        ensure!(
            there.is_ok_and(|status| status.success()),
            "{program} is not installed, and {} is not there",
            script.display()
        );
    }
    // Installed beside, so that whoever is killed leaves nothing that looks complete.
    fs::create_dir_all(&directory)?;
    let build = TempDir::new_in(&directory)?;
    let mut command = Command::new("npm");
    command.args(["install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]).arg(build.path());
    command.arg(format!("azurite@{RELEASE}"));
    let output = process::run(&mut command, INSTALL_LIMIT)?;
    ensure!(output.success(), "{output}");
    fs::rename(build.path(), &installed)?;
    // Moved away, so there is nothing left to remove.
    let _ = build.keep();
    Ok(script)
}

/// A running emulator. It ends when dropped.
#[derive(Debug)]
pub struct Azurite {
    /// `http://127.0.0.1:port/account`.
    pub endpoint: String,
    child: Child,
    // Its working directory, until it has ended.
    _work: TempDir,
}

impl Azurite {
    /// Starts an emulator with an empty container, in memory.
    pub fn start(script: &Path) -> anyhow::Result<Self> {
        let work = TempDir::new()?;
        // Somebody may take the port between asking for it and using it.
        for _ in 0..5 {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            let log = fs::File::create(work.path().join("log"))?;
            let mut child = Command::new("node")
                .arg(script)
                .args(["--inMemoryPersistence", "--disableTelemetry", "--silent"])
                .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
                .current_dir(work.path())
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()?;
            let start = Instant::now();
            while start.elapsed() < Duration::from_secs(60) {
                if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                    let azurite = Self { endpoint: format!("http://127.0.0.1:{port}/{ACCOUNT}"), child, _work: work };
                    make_container(port)?;
                    return Ok(azurite);
                }
                if child.try_wait()?.is_some() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = child.kill();
            child.wait()?;
        }
        bail!("Azurite does not start: {}", fs::read_to_string(work.path().join("log"))?)
    }

    /// Settings for a client with this prefix.
    pub fn settings(&self, prefix: &str) -> Settings {
        Settings {
            account: Some(ACCOUNT.to_owned()),
            endpoint: Some(self.endpoint.clone()),
            secret: Some(Secret(KEY.to_owned())),
            ..Settings::parse(&format!("az://{CONTAINER}/{prefix}")).expect("a URL")
        }
    }
}

fn make_container(port: u16) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    write!(
        stream,
        "PUT /{ACCOUNT}/{CONTAINER}?restype=container&{TOKEN} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\
         x-ms-version: 2021-06-08\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
    Ok(())
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
