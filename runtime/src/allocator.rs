//! The allocator, beyond what the language knows of it: giving memory that was freed back to the system.

/// Has the calling thread's heap give freed memory back to the system. The allocator does so by itself only while the thread
/// allocates, and a core that has nothing to do does not: what a burst has taken would stay resident.
#[expect(unsafe_code, reason = "a call of the allocator's library")]
pub fn give_back() {
    // SAFETY: mi_collect may be called at any time on any thread; it touches the calling thread's own heap and pages that
    // are free. In a process with another allocator it finds an empty heap.
    unsafe { libmimalloc_sys::mi_collect(false) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_can_be_called_whatever_the_allocator_is() {
        let held = vec![7_u8; 1 << 20];
        super::give_back();
        assert!(held.iter().all(|byte| *byte == 7));
    }
}
