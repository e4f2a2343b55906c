//! Linux: processes, pidfds, cgroups, terminals, safe opening and writing of files.
//!
//! The only room with `unsafe`, nix and procfs. It acts and observes, and holds no rule.

pub mod clock;
pub mod files;
pub mod lock;
pub mod process;
pub mod specfile;
