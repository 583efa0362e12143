//! What a target costs: steps and memory, both proportional to its input at most.
//!
//! A step is an edge of the program's control flow. LLVM calls a function at each, if the
//! target is built with `-Cllvm-args=-sanitizer-coverage-trace-pc`, as `tests/fuzz.sh` does
//! (<https://clang.llvm.org/docs/SanitizerCoverage.html>). Unlike times, steps are the same in
//! each run. Those of the precompiled standard library are not counted.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

static STEPS: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// LLVM does not instrument functions whose names begin so, and calls this one.
#[unsafe(no_mangle)]
pub extern "C" fn __sanitizer_cov_trace_pc() {
    STEPS.fetch_add(1, Relaxed);
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: System does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(held, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(memory, layout) }
    }
}

/// What a target may cost, at most: a fixed part, and one for each byte of the input.
pub struct Limits {
    pub steps: usize,
    pub steps_per_byte: usize,
    pub memory: usize,
    pub memory_per_byte: usize,
}

impl Limits {
    /// Runs the target.
    pub fn hold(&self, input: &[u8], target: impl Fn(&[u8])) {
        let held = HELD.load(Relaxed);
        PEAK.store(held, Relaxed);
        STEPS.store(0, Relaxed);
        target(input);
        let (steps, peak) = (STEPS.load(Relaxed), PEAK.load(Relaxed) - held);
        assert!(steps > 0, "built without steps: use tests/fuzz.sh");
        let limit = self.steps + self.steps_per_byte * input.len();
        assert!(steps <= limit, "{steps} steps for {} bytes", input.len());
        let limit = self.memory + self.memory_per_byte * input.len();
        assert!(peak <= limit, "{peak} bytes held for {}", input.len());
    }
}
