//! Makes the odd SSTables that the tests of the readers use, to look at them: `make_odd DIRECTORY FLAVOUR`.
//!
//! They stay in `DIRECTORY/data`. Flavours: 4.0_nb, 4.1_nb, 5.0_nb, 5.0_oa, 5.0_da.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use helenus_tests::cassandra::Node;
use helenus_tests::cql::Cql;
use helenus_tests::odd::{self, Flavour};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(dir), Some(name)) = (arguments.next().map(PathBuf::from), arguments.next()) else {
        anyhow::bail!("usage: make_odd DIRECTORY FLAVOUR");
    };
    ensure!(!dir.exists(), "{} exists", dir.display());
    let flavour = Flavour::ALL.iter().find(|flavour| flavour.name == name).context("no such flavour")?;
    let node = Node::start(flavour.version, &dir, flavour.options())?;
    let cql = Cql::connect(&node)?;
    odd::fill(flavour, &node, &cql)?;
    drop(cql);
    node.stop()
}
