//! Moves the files of a table from one directory to another of the same file system: aside, into place, back.
//!
//! Files only: `snapshots`, `backups` and directories of strangers stay where they are, and so does the table's own
//! directory, which may be a mount point. The directories of built-in indexes are gone through, and stay as well.
//! Killed in the middle, some files are here and some there, and the same call moves the rest.

use std::path::{Path, PathBuf};

use super::journal::{JournalTable, Shelf, Workspace};
use crate::fs::{self, Dir, Kind};
use crate::manifest::model::is_index_directory;

/// Moves every file of a table's directory, and of the index directories in it. `make` makes a directory of the target
/// that is missing. Nothing is durable until the file system is synced.
pub fn move_files(from: &Path, to: &Path, make: &dyn Fn(&Path) -> anyhow::Result<()>) -> anyhow::Result<()> {
    move_level(from, to, make, true)
}

fn move_level(
    from: &Path,
    to: &Path,
    make: &dyn Fn(&Path) -> anyhow::Result<()>,
    with_indexes: bool,
) -> anyhow::Result<()> {
    let source = match Dir::open(from) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        source => source?,
    };
    let mut target = None;
    let mut entries = source.list()?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        if entry.kind == Kind::Directory {
            if with_indexes && entry.name.to_str().is_some_and(is_index_directory) {
                move_level(&from.join(&entry.name), &to.join(&entry.name), make, false)?;
            }
            continue;
        }
        if target.is_none() {
            make(to)?;
            target = Some(Dir::open(to)?);
        }
        let Some(target) = &target else { continue };
        match source.rename_child_to(&entry.name, target, &entry.name) {
            // Where a rename is a link and an unlink, the power may go between the two.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                if target.stat_child(&entry.name)?.inode != entry.inode {
                    return Err(error.into());
                }
                source.unlink_child(&entry.name)?;
            }
            moved => moved?,
        }
    }
    Ok(())
}

/// Makes a directory below a data directory, and what is missing above it; each level has the owner and the permissions
/// of the one above.
pub fn make_like_parent(base: &Path, path: &Path) -> anyhow::Result<()> {
    let mut level = base.to_owned();
    for segment in path.strip_prefix(base)? {
        let parent = Dir::open(&level)?.stat()?;
        level.push(segment);
        match Dir::open(&level) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::create_dir_durable(&level, parent.mode & 0o777)?;
                Dir::open(&level)?.give_to(&parent)?;
            }
            found => drop(found?),
        }
    }
    Ok(())
}

/// The directories of a table that a restore would have to make in a data directory, the outer ones first.
pub fn missing(base: &Path, new: &Path, live: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut wanted: Vec<PathBuf> = live.ancestors().take_while(|level| *level != base).map(Path::to_owned).collect();
    wanted.reverse();
    let dir = match Dir::open(new) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        dir => dir?,
    };
    let entries = dir.list()?;
    let indexes = entries.iter().filter(|entry| entry.kind == Kind::Directory);
    wanted.extend(indexes.map(|entry| live.join(&entry.name)));
    wanted.retain(|path| path.symlink_metadata().is_err());
    Ok(wanted)
}

impl Workspace {
    /// Moves the files of all tables from a shelf to their directories.
    pub fn place_all(&self, shelf: Shelf) -> anyhow::Result<()> {
        self.for_each(|place, table| {
            let base = self.data_directory(place);
            let make = |path: &Path| make_like_parent(base, path);
            move_files(&self.shelf(shelf, place, table), &self.live(place, table), &make)
        })
    }

    /// Moves the files of all tables from their directories to a shelf.
    pub fn take_all(&self, shelf: Shelf) -> anyhow::Result<()> {
        self.for_each(|place, table| {
            let make = |path: &Path| Ok(fs::create_dirs(path)?);
            move_files(&self.live(place, table), &self.shelf(shelf, place, table), &make)
        })
    }

    fn for_each(&self, act: impl Fn(usize, &JournalTable) -> anyhow::Result<()>) -> anyhow::Result<()> {
        for table in &self.journal.tables {
            self.places().try_for_each(|place| act(place, table))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = walkdir::WalkDir::new(dir)
            .into_iter()
            .map(|entry| entry.expect("an entry").path().strip_prefix(dir).expect("below").display().to_string())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_go_and_directories_stay() {
        let root = tempfile::tempdir().expect("a directory");
        let (live, aside) = (root.path().join("ks/t-1"), root.path().join("old/ks/t-1"));
        for path in ["nb-1-big-Data.db", ".by_name/nb-1-big-Data.db", "snapshots/s/nb-1-big-Data.db", "x.log"] {
            let path = live.join(path);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, "x").expect("written");
        }
        let make = |path: &Path| Ok(fs::create_dirs(path)?);
        for _ in 0..2 {
            move_files(&live, &aside, &make).expect("moved");
            assert_eq!(names(&aside), ["", ".by_name", ".by_name/nb-1-big-Data.db", "nb-1-big-Data.db", "x.log"]);
            assert_eq!(names(&live), ["", ".by_name", "snapshots", "snapshots/s", "snapshots/s/nb-1-big-Data.db"]);
        }
        // A name that is taken by another file is nobody's to replace.
        std::fs::write(live.join("x.log"), "y").expect("written");
        move_files(&live, &aside, &make).expect_err("taken");
        // One that is taken by the same file is a rename that was cut in two.
        std::fs::remove_file(live.join("x.log")).expect("removed");
        std::fs::hard_link(aside.join("x.log"), live.join("x.log")).expect("linked");
        move_files(&live, &aside, &make).expect("moved");
        assert_eq!(names(&live), ["", ".by_name", "snapshots", "snapshots/s", "snapshots/s/nb-1-big-Data.db"]);
    }

    #[test]
    fn directories_that_are_to_be_made() {
        let root = tempfile::tempdir().expect("a directory");
        let base = root.path();
        std::fs::create_dir_all(base.join("new/ks/t-1/.idx")).expect("made");
        let live = base.join("ks/t-1");
        let missing = || missing(base, &base.join("new/ks/t-1"), &live).expect("listed");
        assert_eq!(missing(), [base.join("ks"), live.clone(), live.join(".idx")]);
        make_like_parent(base, &live).expect("made");
        assert_eq!(missing(), [live.join(".idx")]);
    }
}
