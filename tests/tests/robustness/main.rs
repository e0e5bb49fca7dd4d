//! Damage, crashes, hostile repositories, full disks: what must hold when things go wrong. No Cassandra runs here: the
//! SSTables are those of the sample node.

mod bad_input;
mod by_hand;
mod cleared;
mod crash;
mod dump;
mod flips;
mod hostile;
mod in_place;
mod no_space;
mod node;
mod several;
