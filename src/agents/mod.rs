//! What atm knows of the agents it runs. Pure: from values to values.

pub mod ancestry;
