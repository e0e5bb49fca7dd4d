//! Cassandra clears our links in the middle of a backup (`nodetool clearsnapshot --all`): the backup looks again, and is
//! complete.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use helenus_tests::agent::transient_links;

use crate::node::Small;

#[test]
fn links_that_somebody_clears() {
    let small = Small::new().expect("a node");
    let mut cleared = 0;
    for round in 0..12 {
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // Clears the first links that it sees, wherever the backup is by then.
            let clearer = scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    if let Some(link) = transient_links(&small.data()).first() {
                        return fs::remove_dir_all(link).is_ok();
                    }
                }
                false
            });
            let mut arguments = small.backup();
            arguments.push("--new".into());
            let backed_up = small.agent.expect(0, &arguments);
            done.store(true, Ordering::Relaxed);
            cleared += u32::from(clearer.join().expect("the clearer"));
            backed_up.unwrap_or_else(|error| panic!("round {round}: {error:#}"));
        });
        assert_eq!(transient_links(&small.data()), Vec::<std::path::PathBuf>::new(), "round {round}");
        assert_eq!(small.repository.check_complete().expect("complete"), round + 1);
    }
    assert!(cleared > 0, "no link was ever seen");
}
