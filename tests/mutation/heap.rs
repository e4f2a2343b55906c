//! How much memory a reader takes, counted by the allocator of this program.

#![expect(unsafe_code, reason = "an allocator is unsafe by its nature; this one only counts")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

/// The system's allocator, which counts for each thread what it holds.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    static TAKEN: Cell<usize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that ends frees what it has after its counters are gone.
    let _ = HELD.try_with(|held| {
        let now = held.get().wrapping_add(change);
        held.set(now);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now)));
    });
    if let Ok(more) = usize::try_from(change) {
        let _ = TAKEN.try_with(|taken| taken.set(taken.get().wrapping_add(more)));
    }
}

// SAFETY: each call is handed on to the system's allocator as it is; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as our caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both are there while what was in the one is moved to the other.
        count(size.cast_signed());
        count(-layout.size().cast_signed());
        // SAFETY: as our caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// Memory that something took.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Most bytes that were held at once, beyond those that were held before.
    pub peak: usize,
    /// All bytes that were ever asked for, as a count of what was copied.
    pub taken: usize,
}

/// What `act` takes on this thread.
pub fn cost<T>(act: impl FnOnce() -> T) -> (T, Cost) {
    let before = HELD.get();
    PEAK.set(before);
    TAKEN.set(0);
    let done = act();
    let peak = usize::try_from(PEAK.get() - before).unwrap_or(0);
    (done, Cost { peak, taken: TAKEN.get() })
}

#[test]
fn what_is_held_and_what_is_taken_are_counted() {
    let (kept, cost) = cost(|| {
        for _ in 0..10 {
            drop(std::hint::black_box(vec![1_u8; 1000]));
        }
        vec![2_u8; 500]
    });
    assert_eq!((cost.peak, cost.taken, kept.len()), (1000, 10_500, 500));
}
