//! The upload engine alone: slices in memory into an S3 server that keeps nothing (`tests/bench/sink.sh` starts one).
//!
//! usage: cargo bench -p helenus --bench upload -- ENDPOINT [GIGABYTES]
//!
//! Bytes per second, and per second of processor time of this process: with several cores the former is more. Without an
//! endpoint, as in `cargo bench` of everything, there is nothing to measure.

use std::time::Instant;

use anyhow::Context;
use helenus::store::s3::{Keys, Settings};
use helenus::store::{Bytes, ObjectKey, S3, Store};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// As the reader of a backup gives them.
const SLICE_BYTES: usize = 1 << 20;
/// Objects under way at a time, as in a backup.
const OBJECTS: u64 = 4;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let Some(endpoint) = arguments.next() else { return Ok(()) };
    let gigabytes: u64 = arguments.next().map_or(Ok(8), |text| text.parse())?;
    let settings = Settings {
        endpoint: Some(endpoint),
        region: Some("us-east-1".to_owned()),
        keys: Some(Keys { id: "id".to_owned(), secret: "secret".to_owned() }),
        ..Settings::parse("s3://bucket/bench").map_err(anyhow::Error::msg)?
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (seconds, cpu_seconds) = runtime.block_on(async {
        let store = S3::open(settings).await?;
        let slice = Bytes::from((0..SLICE_BYTES).map(|at| (at % 251) as u8).collect::<Vec<u8>>());
        // The probes of a run are not what is measured.
        send(&store, "warm", &slice, 9 << 20).await?;
        let (start, cpu_start) = (Instant::now(), cpu_seconds()?);
        let each = gigabytes * 1_000_000_000 / OBJECTS;
        let mut all = tokio::task::JoinSet::new();
        for number in 0..OBJECTS {
            let (store, slice) = (store.clone(), slice.clone());
            all.spawn(async move { send(&store, &number.to_string(), &slice, each).await });
        }
        while let Some(sent) = all.join_next().await {
            sent??;
        }
        anyhow::Ok((start.elapsed().as_secs_f64(), cpu_seconds()? - cpu_start))
    })?;
    let megabytes = gigabytes as f64 * 1000.0;
    println!("{megabytes} MB in {seconds:.2} s, {cpu_seconds:.2} s of processor time");
    println!("{:.0} MB/s, {:.0} MB/s per core", megabytes / seconds, megabytes / cpu_seconds);
    let status = std::fs::read_to_string("/proc/self/status")?;
    println!("{}", status.lines().find(|line| line.starts_with("VmHWM")).context("VmHWM")?);
    Ok(())
}

async fn send(store: &S3, name: &str, slice: &Bytes, bytes: u64) -> anyhow::Result<()> {
    let key: ObjectKey = name.parse()?;
    let mut upload = store.begin(&key, Some(bytes)).await?;
    let mut left = bytes;
    while left > 0 {
        let taken = left.min(SLICE_BYTES as u64);
        upload.write(slice.slice(..taken as usize)).await?;
        left -= taken;
    }
    upload.finish().await?;
    Ok(())
}

fn cpu_seconds() -> anyhow::Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(micros as f64 / 1e6)
}
