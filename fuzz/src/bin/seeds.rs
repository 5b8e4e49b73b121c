//! Writes the seeds, and words to make inputs of, into a folder: `seeds CORPUS DICTIONARY`.

use std::{env, error::Error, fs, path::PathBuf};

use xlb_fuzz::{scene, seeds};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = env::args_os().skip(1).map(PathBuf::from);
    let (Some(corpus), Some(dictionary)) = (words.next(), words.next()) else {
        return Err("usage: seeds CORPUS DICTIONARY".into());
    };
    fs::create_dir_all(&corpus)?;
    for (name, bytes) in seeds::all() {
        fs::write(corpus.join(name), bytes)?;
    }
    fs::write(dictionary, scene::dictionary())?;
    Ok(())
}
