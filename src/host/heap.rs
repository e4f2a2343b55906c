//! Memory that was freed, given back to the machine.

/// Threads that allocate at the same moment without waiting for each other: the loop, and one of the others.
#[cfg(target_env = "gnu")]
const ARENAS: nix::libc::c_int = 2;

/// From here on a piece of memory is the machine's again as soon as it is freed, in bytes. It is where the C library
/// begins, too, but it raises that to the largest piece that ever was.
#[cfg(target_env = "gnu")]
const LARGE: nix::libc::c_int = 128 << 10;

/// Has a process that is to live for months keep little of what it frees. Before there is a second thread.
///
/// The C library gives each thread an arena, eight for each processor, and none gives back what is free below something
/// that is not: a daemon of which much is asked would grow for hours. Where the library has no such call, it is left to it.
pub fn stay_small() {
    #[cfg(target_env = "gnu")]
    {
        use nix::libc::{M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, mallopt};
        for (what, value) in [(M_ARENA_MAX, ARENAS), (M_MMAP_THRESHOLD, LARGE), (M_TRIM_THRESHOLD, LARGE)] {
            // SAFETY: takes two numbers by value. One that is refused changes nothing.
            unsafe { mallopt(what, value) };
        }
    }
}

/// Gives back what the C library keeps of freed memory, also between pieces that are in use: there are as many keepers as
/// sessions, and each would keep its largest screen's worth. Where the library has no such call, it is left to it.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number by value, and touches nothing but what the allocator itself counts as free, under its lock.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
