//! stub
use std::path::*; use crate::api::{config::*, diagnose::*};
#[derive(Debug)] pub struct Handle;
impl Handle { pub fn resync(&self){} }
#[derive(Debug)] pub enum Change { Good{config:Config,file:PathBuf}, Bad{error:Diagnostics}, Absent, Removed{file:PathBuf} }
pub fn start(_p: PathBuf, _f: impl Fn(&str,&Path)->Result<Config,Diagnostics>+Send+'static, _s: impl Fn(Change)+Send+'static) -> std::io::Result<Handle> { Ok(Handle) }
