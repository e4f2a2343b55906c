//! What a session inherits, and what it does not.
