//! One YAML document, read with every error located.
