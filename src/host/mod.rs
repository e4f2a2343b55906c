//! Linux: processes, pidfds, cgroups, terminals, safe opening and writing of files.
//!
//! The only room with `unsafe`, nix and procfs. It acts and observes, and holds no rule.

pub mod ancestors;
pub mod assume;
pub mod cgroup;
pub mod children;
pub mod client;
pub mod clock;
pub mod delegation;
#[allow(unsafe_code)] // close_range has no safe wrapper
pub mod descriptors;
#[allow(unsafe_code)] // registering a descriptor of ours
pub mod dirwatch;
pub mod errors;
#[allow(unsafe_code)] // registering a descriptor of ours
pub mod exit;
pub mod failpoint;
pub mod files;
pub mod git;
#[allow(unsafe_code)] // malloc_trim, mallopt
pub mod heap;
pub mod kept;
pub mod line;
pub mod lineage;
pub mod lock;
pub mod log_file;
pub mod log_index;
pub mod look;
pub mod machine;
pub mod own;
#[allow(unsafe_code)] // a shared mapping
pub mod page;
pub mod poll;
pub mod process;
pub mod program;
#[allow(unsafe_code)] // ioctls of terminals
pub mod pty;
pub mod put;
pub mod reaper;
pub mod scan;
#[allow(unsafe_code)] // dispositions of signals
pub mod signals;
pub mod socket;
#[allow(unsafe_code)] // clone3, fork and keyctl
pub mod spawn;
pub mod specfile;
pub mod tree;
pub mod tty;
pub mod uploads;
pub mod users;
