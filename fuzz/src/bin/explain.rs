//! Tells what becomes of each frame of an input: `explain FILE`.

use std::{
    env,
    error::Error,
    fs,
    io::{Write as _, stdout},
};

fn main() -> Result<(), Box<dyn Error>> {
    let file = env::args_os().nth(1).ok_or("usage: explain FILE")?;
    let story = xlb_fuzz::explain(&fs::read(file)?);
    Ok(stdout().write_all(story.as_bytes())?)
}
