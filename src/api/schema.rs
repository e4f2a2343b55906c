//! JSON Schema of what people write.

/// Of a session spec.
pub fn session() -> String {
    unimplemented!()
}

/// Of the config.
pub fn config() -> String {
    unimplemented!()
}
