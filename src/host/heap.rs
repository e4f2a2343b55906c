//! Memory that was freed, given back to the machine.

/// Gives back what the C library keeps of freed memory: there are as many keepers as sessions, and each would keep its
/// largest screen's worth. Where the library has no such call, it is left to it.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number by value, and touches nothing but what the allocator itself counts as free, under its lock.
    unsafe {
        nix::libc::malloc_trim(0);
    }
}
