//! Output: nothing missing, nothing twice.
