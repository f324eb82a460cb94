//! Writes the corpus: each seed is a file of its name in `corpus/<target>`.

use std::{fs, io, path::Path};

use announcer_fuzz::seeds;

fn main() -> io::Result<()> {
    for target in seeds::TARGETS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir_all(&directory)?;
        for (name, octets) in seeds::of(target).into_iter().flatten() {
            fs::write(directory.join(name), octets)?;
        }
    }
    Ok(())
}
