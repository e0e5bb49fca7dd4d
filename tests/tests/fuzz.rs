//! Each decoder, fed with real components that were changed at random. It has neither to panic nor to hang.
//!
//! `tests/fuzz` has the same targets for a fuzzer that watches the branches. Here they run for a few seconds with each
//! `cargo test`: `HELENUS_FUZZ_SECONDS` for longer, `HELENUS_FUZZ_SEED` for the same inputs again.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use helenus_tests::sample::Sample;
use helenus_tests::schema::scramble;
use libtest_mimic::{Arguments, Failed, Trial};

use targets::{TARGETS, Target};

#[path = "../fuzz/src/lib.rs"]
mod targets;

/// All targets together.
const SECONDS: u64 = 26;
/// The slowest decoder needs milliseconds for inputs of this length.
const SLOW: Duration = Duration::from_secs(5);
const LENGTH_MAX: usize = 64 << 10;

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::from_args();
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("HELENUS_FUZZ_SECONDS").unwrap_or(SECONDS);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let seed = number("HELENUS_FUZZ_SEED").unwrap_or(clock);
    eprintln!("HELENUS_FUZZ_SEED={seed}");
    let work = tempfile::tempdir()?;
    let sample = Sample::unpack(work.path())?;
    let share = Duration::from_millis(seconds * 1000 / TARGETS.len() as u64);
    let trials = TARGETS.iter().map(|target| {
        let inputs = inputs(target, &sample);
        Trial::test(target.name, move || {
            inputs
                .and_then(|inputs| feed(target, &inputs, seed, share))
                .map_err(|error| Failed::from(format!("{error:#}")))
        })
    });
    let trials = trials.collect();
    libtest_mimic::run(&arguments, trials).exit();
}

/// Inputs that a target understands.
fn inputs(target: &Target, sample: &Sample) -> anyhow::Result<Vec<Vec<u8>>> {
    let mut inputs = vec![
        b"nb-3fw2_0tj4_46w3k2cpidnirvjy7k-big-Data.db".to_vec(),
        b"ADD:[/d/ks/t-5a1c395e0b0e11ee8c990242ac120002/nb-7-big-,0,8][1]\nCOMMIT:[,0,0][2613697770]\n".to_vec(),
    ];
    for (class, value) in [
        ("MapType(UTF8Type,FrozenType(ListType(Int32Type)))", &b"\0\0\0\x01\0\0\0\x01a\0\0\0\0"[..]),
        (
            "UserType(ks,61,62:DecimalType,63:TupleType(DurationType,VectorType(FloatType , 3)))",
            b"\0\0\0\x05\0\0\0\x01\x7f",
        ),
        ("CompositeType(TimeUUIDType,ReversedType(InetAddressType))", b"\0\x04abcd\0"),
    ] {
        inputs.push([&u16::try_from(class.len())?.to_be_bytes()[..], class.as_bytes(), value].concat());
    }
    let Some(ending) = target.seeds else { return Ok(inputs) };
    for entry in walkdir::WalkDir::new(&sample.dir).sort_by_file_name() {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy();
        if !name.ends_with(ending) || entry.metadata()?.len() > LENGTH_MAX as u64 {
            continue;
        }
        let bytes = fs::read(entry.path())?;
        let version = match name.get(..2) {
            Some("oa") => 1,
            Some("da") => 2,
            _ => 0,
        };
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
        let data = entry.path().with_file_name(name.replace(ending, "-Data.db"));
        inputs.push([&[version], bytes.as_slice()].concat());
        inputs.push([&length[..], &bytes].concat());
        // Compressed rows are no rows, but near enough.
        let data = fs::read(data)?;
        inputs.push(
            [&[version][..], &length, &bytes, data.get(..data.len().min(LENGTH_MAX)).unwrap_or_default()].concat(),
        );
        inputs.push(bytes);
    }
    ensure!(inputs.len() > 5, "the sample has no {ending}");
    Ok(inputs)
}

fn feed(target: &Target, inputs: &[Vec<u8>], seed: u64, share: Duration) -> anyhow::Result<()> {
    let start = Instant::now();
    let mut runs = 0_u64;
    while start.elapsed() < share || runs < 100 {
        let mut random = Random(scramble(seed.wrapping_add(runs)));
        let input = changed(inputs, &mut random)?;
        let began = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
        let took = began.elapsed();
        if outcome.is_err() || took > SLOW {
            let path = std::env::temp_dir().join(format!("helenus-fuzz-{}-{seed}-{runs}", target.name));
            fs::write(&path, &input)?;
            let what = if outcome.is_err() { "panics at".to_owned() } else { format!("takes {took:?} for") };
            anyhow::bail!("{} {what} {}", target.name, path.display());
        }
        runs += 1;
    }
    eprintln!("{}: {runs} inputs", target.name);
    Ok(())
}

/// One of the inputs after a few changes, as they are worth most: numbers at their ends, parts moved, cut and doubled.
fn changed(inputs: &[Vec<u8>], random: &mut Random) -> anyhow::Result<Vec<u8>> {
    const NUMBERS: [u64; 10] = [0, 1, 0x7f, 0x80, 0xff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, u64::MAX >> 1, u64::MAX];
    let mut bytes = inputs.get(random.below(inputs.len())).context("no inputs")?.clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(7) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.byte()),
            2 => {
                let end = (at + random.below(64)).min(bytes.len());
                bytes.drain(at..end);
            }
            3 => {
                let end = (at + random.below(64)).min(bytes.len());
                let part = bytes.get(at..end).unwrap_or_default().to_vec();
                let to = random.below(bytes.len() + 1);
                bytes.splice(to..to, part);
            }
            4 => {
                let number = NUMBERS.get(random.below(NUMBERS.len())).copied().unwrap_or_default().to_be_bytes();
                let width = 1 << random.below(4);
                let number = number.get(8 - width..).unwrap_or_default();
                if let Some(place) = bytes.get_mut(at..at + width) {
                    place.copy_from_slice(number);
                }
            }
            5 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.byte();
                }
            }
        }
    }
    Ok(bytes)
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = scramble(self.0);
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(end.max(1)).unwrap_or(1)).unwrap_or(0)
    }

    fn byte(&mut self) -> u8 {
        self.next().to_be_bytes()[3]
    }
}
