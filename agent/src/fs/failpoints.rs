//! Points at which tests kill the process or refuse a call. In the binary that is installed there are none.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{LazyLock, Mutex, PoisonError};

use rustix::io::Errno;

/// Where to fail: a name, and at which passing (0: at each).
struct Where {
    name: String,
    passing: u64,
}

impl Where {
    fn parse(text: &str) -> Option<Self> {
        let (name, passing) = match text.split_once(':') {
            None => (text, 1),
            Some((name, "*")) => (name, 0),
            Some((name, passing)) => (name, passing.parse().ok()?),
        };
        Some(Self { name: name.to_owned(), passing })
    }

    fn is(&self, name: &str, passing: u64) -> bool {
        self.name == name && (self.passing == 0 || self.passing == passing)
    }
}

struct Plan {
    die: Option<Where>,
    error: Option<(Where, Errno)>,
    list: Option<std::fs::File>,
}

static PLAN: LazyLock<Plan> = LazyLock::new(|| {
    let variable = |name| std::env::var(name).ok();
    Plan {
        die: variable("HELENUS_FAIL_AT")
            .map(|text| Where::parse(&text).unwrap_or_else(|| panic!("HELENUS_FAIL_AT={text} is not name[:n]"))),
        error: variable("HELENUS_FAIL_ERROR").map(|text| {
            text.split_once('=').and_then(|(place, error)| Some((Where::parse(place)?, errno(error)?))).unwrap_or_else(
                || panic!("HELENUS_FAIL_ERROR={text} is not name[:n]=ERRNO with an error that fs/failpoints.rs knows"),
            )
        }),
        list: variable("HELENUS_FAIL_LIST").map(|path| {
            std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(&path)
                .unwrap_or_else(|error| panic!("HELENUS_FAIL_LIST={path}: {error}"))
        }),
    }
});

static PASSED: Mutex<Option<HashMap<&'static str, u64>>> = Mutex::new(None);

/// Does what the environment asks for at the point `name`, for tests that die at every step:
///
/// - `HELENUS_FAIL_AT=name[:n]` kills this process, as if the power had gone, at the n-th passing (default: first).
/// - `HELENUS_FAIL_ERROR=name[:n]=ENOSPC` returns that error instead of making the call; `name:*` does so each time.
///   Known: `ENOSPC`, `EDQUOT`, `EIO`, `EPERM`, `EACCES`, `EROFS`, `EXDEV`, `EMLINK`, `EINVAL`, `ENOENT`.
/// - `HELENUS_FAIL_LIST=path` appends the name of each point passed, one per line.
pub fn failpoint(name: &'static str) -> io::Result<()> {
    let plan = &*PLAN;
    if plan.die.is_none() && plan.error.is_none() && plan.list.is_none() {
        return Ok(());
    }
    let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    let passing = passed.get_or_insert_default().entry(name).or_default();
    *passing += 1;
    if let Some(mut list) = plan.list.as_ref() {
        writeln!(list, "{name}")?;
    }
    if plan.die.as_ref().is_some_and(|place| place.is(name, *passing)) {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
        // The lock is held: nothing else happens while the kernel takes us down.
        loop {
            std::thread::park();
        }
    }
    match &plan.error {
        Some((place, errno)) if place.is(name, *passing) => Err((*errno).into()),
        _ => Ok(()),
    }
}

fn errno(name: &str) -> Option<Errno> {
    Some(match name {
        "ENOSPC" => Errno::NOSPC,
        "EDQUOT" => Errno::DQUOT,
        "EIO" => Errno::IO,
        "EPERM" => Errno::PERM,
        "EACCES" => Errno::ACCESS,
        "EROFS" => Errno::ROFS,
        "EXDEV" => Errno::XDEV,
        "EMLINK" => Errno::MLINK,
        "EINVAL" => Errno::INVAL,
        "ENOENT" => Errno::NOENT,
        _ => return None,
    })
}
