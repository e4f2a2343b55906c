//! stub
use std::path::*; use crate::api::{name::*, spec::*, diagnose::*};
#[derive(Debug)] pub struct Handle;
impl Handle { pub fn resync(&self){} pub fn accept_removals(&self){} pub fn set_live(&self,_n:SessionName,_l:bool){} }
#[derive(Debug)] pub enum Change<T> { Good{name:SessionName,spec:T,text:String,file:PathBuf,owner:u32}, Bad{name:SessionName,file:PathBuf,error:Diagnostics,conflict:bool}, Cleared{name:SessionName}, Removed{name:SessionName}, Unavailable{why:String}, Available{identity:(u64,u64)}, Warning{topic:&'static str,message:String}, FirstListing }
pub struct Known { pub name: SessionName, pub file: Option<PathBuf>, pub digest: Option<Digest>, pub text: Option<String>, pub owner: u32 }
pub struct Options { pub directory: PathBuf, pub system: bool, pub known: Vec<Known>, pub recorded: Option<(u64,u64)>, pub keepers_live: bool }
pub fn start<T>(_o: Options, _p: fn(&str,&Path)->Result<T,Diagnostics>, _s: impl Fn(Change<T>)+Send+'static) -> std::io::Result<Handle> { Ok(Handle) }
