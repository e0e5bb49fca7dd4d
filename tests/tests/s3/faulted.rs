//! Backups in small, through faults of every kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use helenus::store::{Depth, Error, Store, TryStreamExt, read_small};
use helenus_tests::s3_server::{Ask, Fault, S3Server};
use helenus_tests::store_suite::{key, noise};

use crate::{MIB, ODD, open, upload};

/// Random numbers of one seed.
pub struct Random(pub u64);

impl Random {
    /// One below this.
    pub fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % below.max(1) as u64).unwrap()
    }
}

/// What may go wrong with such a request. HTTP itself has no sum that would find a bit flipped in a listing.
pub fn any_fault(random: &mut Random, ask: Ask) -> Fault {
    match random.next(9) {
        0 | 1 => Fault::LostAnswer,
        2 | 3 => Fault::ErrorAfter,
        4 => Fault::LostRequest,
        5 if matches!(ask, Ask::Put | Ask::Complete) => Fault::Conflict,
        6 if matches!(ask, Ask::Put | Ask::Part) => Fault::Garbled,
        7 if matches!(ask, Ask::Get | Ask::List) => Fault::Cut(1 + random.next(100_000)),
        8 if ask == Ask::Get => Fault::Flipped(random.next(100_000)),
        even if even % 2 == 0 => Fault::Busy(None),
        _ => Fault::Busy(Some(0)),
    }
}

/// Backups in small: objects, then a document that names them, then everything is read back; each with faults.
///
/// A seed makes one server and one backup. What must hold, whatever goes wrong: "stored" means stored, with these bytes,
/// for ever; a document is there only when everything that it names is; a key that nobody else wrote is never "taken";
/// of two writers of one key at most one is told that it is the first, and the object is his; what is read is what was
/// written, or an error.
#[tokio::test(flavor = "multi_thread")]
async fn faulted_backups_lie_never() {
    let count = std::env::var("HELENUS_S3_FAULTED").ok().and_then(|count| count.parse().ok()).unwrap_or(200);
    let first = std::env::var("HELENUS_S3_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    let (stored, read) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for seed in first..first + count {
        let (stored, read) = (stored.clone(), read.clone());
        let one = tokio::spawn(async move { faulted_backup(seed, &stored, &read).await });
        assert!(one.await.is_ok(), "seed {seed} failed: HELENUS_S3_SEED={seed} HELENUS_S3_FAULTED=1 runs it alone");
    }
    let (stored, read) = (stored.load(Ordering::Relaxed), read.load(Ordering::Relaxed));
    println!("of {count} backups {stored} ended well, and of these {read} were read back through faults");
    // Not everything may fail, or nothing was shown.
    assert!(count < 50 || (stored > count as usize / 2 && read > count as usize / 4), "{stored} {read}");
}

/// What was asked for so often that it was given up, or can only be mended by somebody.
fn may_fail_so(error: &Error) -> bool {
    let text = error.to_string();
    error.is_transient() || text.contains("ExpiredToken") || text.contains("RequestTimeTooSkewed")
}

async fn faulted_backup(seed: u64, stored: &AtomicUsize, read: &AtomicUsize) {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    random.next(2);
    let server = S3Server::start().await;
    let (_, oddities) = ODD[random.next(ODD.len())];
    server.bucket.set_oddities(oddities);
    let store = open(server.settings("r")).await;
    let percent = [3, 15, 40][random.next(3)];
    let mut dice = Random(random.0);
    // In some runs the session ends in the middle, or the clocks drift apart.
    let ends_at = if random.next(10) == 0 { random.next(40) } else { usize::MAX };
    let end = match random.next(2) {
        0 => Fault::Refused(400, "ExpiredToken", "The provided token has expired."),
        _ => Fault::Refused(403, "RequestTimeTooSkewed", "The difference is too large."),
    };
    server.script(move |seen| {
        if seen.number >= ends_at {
            return Some(end.clone());
        }
        let fault = (dice.next(100) < percent).then(|| any_fault(&mut dice, seen.ask))?;
        // Where nothing has a sum, whoever reads a flipped bit believes it: nothing can be shown there.
        (!oddities.knows_no_sums || !matches!(fault, Fault::Flipped(_))).then_some(fault)
    });

    let mut objects = Vec::new();
    let mut failed = false;
    for number in 0..3 + random.next(5) {
        let name = format!("data/{number}");
        let length = if random.next(25) == 0 { 9 * MIB + random.next(MIB) } else { random.next(60_000) };
        let body = noise(seed + number as u64, length);
        let done = if random.next(2) == 0 {
            store.create(&key(&name), body.clone().into()).await.map(|stored| stored.length())
        } else {
            upload(&*store, &name, Some(length as u64), &body).await
        };
        match done {
            Ok(stored) => {
                assert_eq!(stored, length as u64, "seed {seed}: {name}");
                objects.push((name, body));
            }
            Err(Error::AlreadyExists { .. }) => panic!("seed {seed}: {name} was taken by nobody"),
            Err(error) => {
                assert!(may_fail_so(&error), "seed {seed}: {error}");
                failed = true;
            }
        }
    }
    // Two at a time for one key, as two nodes for repository.json.
    let (ours, theirs) = (noise(seed ^ 1, 2000), noise(seed ^ 2, 2000));
    // Where the server does not decide, one process decides; two would need the server.
    let other = match oddities.ignores_conditions {
        true => store.clone(),
        false => open(server.settings("r")).await,
    };
    let race = key("race");
    let (one, two) = tokio::join!(store.create(&race, ours.clone().into()), other.create(&race, theirs.clone().into()));
    assert!(!(one.is_ok() && two.is_ok()), "seed {seed}: two were the first");
    let winner = match (&one, &two) {
        (Ok(_), _) => Some(&ours),
        (_, Ok(_)) => Some(&theirs),
        _ => None,
    };
    if matches!((&one, &two), (Err(Error::AlreadyExists { .. }), _) | (_, Err(Error::AlreadyExists { .. }))) {
        assert!(server.bucket.objects().contains_key("r/race"), "seed {seed}: taken, and by nobody");
    }

    let document = objects.iter().map(|(name, body)| format!("{name} {}\n", body.len())).collect::<String>();
    let mut backup = Err(());
    if !failed {
        match store.create(&key("manifest"), document.clone().into()).await {
            Ok(_) => backup = Ok(()),
            Err(error) => assert!(may_fail_so(&error), "seed {seed}: {error}"),
        }
    }
    assert_eq!(server.bucket.overwritten(), [""; 0], "seed {seed}");
    let kept = server.bucket.objects();
    if let Some(winner) = winner {
        assert!(kept["r/race"].body == winner[..], "seed {seed}: the first was not the first");
    }
    if backup.is_ok() || kept.contains_key("r/manifest") {
        assert!(kept["r/manifest"].body == document.as_bytes(), "seed {seed}");
        for (name, body) in &objects {
            assert!(kept[&format!("r/{name}")].body == body[..], "seed {seed}: {name} is not what was stored");
        }
    } else {
        assert!(failed || !kept.contains_key("r/manifest"), "seed {seed}");
    }
    if backup.is_err() {
        return;
    }
    stored.fetch_add(1, Ordering::Relaxed);

    let listed: Result<Vec<_>, Error> =
        store.list(&"data/".to_owned().try_into().unwrap(), None, Depth::All).try_collect().await;
    if let Ok(listed) = listed {
        assert_eq!(listed.len(), objects.len(), "seed {seed}: a listing lost something");
    }
    let mut all = true;
    for (name, body) in &objects {
        match read_small(&*store, &key(name), 1 << 30).await {
            // A store without sums cannot tell; the hashes of a manifest do.
            Ok(_) if oddities.knows_no_sums || (oddities.knows_no_full_sum && body.len() > 8 * MIB) => {}
            Ok(got) => assert!(got == *body, "seed {seed}: {name} was read wrong"),
            Err(Error::NotFound { .. }) => panic!("seed {seed}: {name} was lost"),
            Err(_) => all = false,
        }
    }
    read.fetch_add(usize::from(all), Ordering::Relaxed);
    server.heal();
    for (name, body) in &objects {
        assert!(read_small(&*store, &key(name), 1 << 30).await.unwrap() == *body, "seed {seed}: {name}");
    }
}
