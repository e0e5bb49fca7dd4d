//! Rules about the source: who depends on whom, and who may know what. `ARCHITECTURE.md` has the reasons.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A rule: words that only some places may use, and what to use elsewhere.
struct Rule {
    words: &'static [&'static str],
    within: &'static str,
    allowed: &'static [&'static str],
    instead: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        words: &["std::fs", "std::net", "std::time", "std::env", "tokio", "tracing", "SystemTime", "Instant::now"],
        within: "sstable/src",
        allowed: &[],
        instead: "the parser is pure: bytes in, values and findings out",
    },
    Rule {
        words: &["println!", "eprintln!", "print!(", "eprint!("],
        within: "agent/src",
        allowed: &["cli/"],
        instead: "return the value; only `cli` prints",
    },
    Rule {
        words: &["Timestamp::now", "SystemTime::now", "Instant::now"],
        within: "agent/src",
        allowed: &["time.rs"],
        instead: "time::now or time::Stopwatch",
    },
    Rule {
        words: &[
            "fs::rename(",
            "remove_file(",
            "hard_link(",
            "sync_all(",
            "sync_data(",
            "fdatasync(",
            "fsync(",
            "syncfs(",
            "renameat",
            "linkat(",
        ],
        within: "agent/src",
        allowed: &["fs/"],
        instead: "a function of `fs`, which has the fail point",
    },
    Rule {
        words: &["ObjectKey::new("],
        within: "agent/src",
        allowed: &["store/"],
        instead: "a function of `store::key`",
    },
    Rule {
        words: &["aws_sdk", "aws_config", "aws_smithy"],
        within: "agent/src",
        allowed: &["store/s3/"],
        instead: "the `Store` trait",
    },
    Rule { words: &["scylla::"], within: "agent/src", allowed: &["cql/"], instead: "cql::Session" },
    Rule {
        words: &["object_store::"],
        within: "agent/src",
        allowed: &["store/objects/"],
        instead: "the `Store` trait",
    },
    Rule { words: &["column family", "file table"], within: "agent/src", allowed: &[], instead: "table" },
    Rule { words: &["column family", "file table"], within: "sstable/src", allowed: &[], instead: "table" },
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn sources(below: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(below) {
        let path = entry?.into_path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// The code of a file without its tests, which stand at the end.
fn without_tests(text: &str) -> &str {
    text.find("#[cfg(test)]\n").map_or(text, |at| &text[..at])
}

#[test]
fn who_may_know_what() -> Result<()> {
    let mut broken = Vec::new();
    for rule in RULES {
        let within = root().join(rule.within);
        let files = sources(&within)?;
        assert!(!files.is_empty(), "no sources below {}", rule.within);
        for path in files {
            let name = path.strip_prefix(&within)?.to_string_lossy().into_owned();
            if rule.allowed.iter().any(|allowed| name.starts_with(allowed)) {
                continue;
            }
            let text = std::fs::read_to_string(&path)?;
            for (number, line) in without_tests(&text).lines().enumerate() {
                let code = line.trim_start();
                if code.starts_with("//") {
                    continue;
                }
                for word in rule.words.iter().filter(|word| code.contains(**word)) {
                    broken.push(format!("{}/{name}:{}: `{word}`: use {}", rule.within, number + 1, rule.instead));
                }
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
    Ok(())
}

#[test]
fn dependencies_run_one_way() -> Result<()> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()?;
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().context("packages")?;
    let ours: Vec<&str> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
    for (package, allowed) in [
        ("helenus-sstable", &[][..]),
        ("helenus", &["helenus-sstable"]),
        ("helenus-tests", &["helenus", "helenus-sstable"]),
    ] {
        let found = packages.iter().find(|found| found["name"] == package).with_context(|| package.to_owned())?;
        let dependencies = found["dependencies"].as_array().context("dependencies")?;
        for dependency in dependencies.iter().filter_map(|dependency| dependency["name"].as_str()) {
            if ours.contains(&dependency) {
                assert!(allowed.contains(&dependency), "{package} must not depend on {dependency}");
            }
        }
    }
    assert_eq!(ours.len(), 3, "a new member needs its line here: {ours:?}");
    Ok(())
}
