//! Archives in cpio's format `newc`, as the kernel takes them for its first root
//! (Documentation/driver-api/early-userspace/buffer-format.rst of Linux).
//!
//! Everything belongs to root, whoever writes the archive.

use std::{collections::BTreeSet, path::Path};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// Marks the end.
const TRAILER: &str = "TRAILER!!!";

/// An archive to be written.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    names: BTreeSet<String>,
}

impl Archive {
    /// Adds an empty folder, and those that it lies in.
    pub(crate) fn folder(&mut self, path: &str) {
        self.folders_above(path);
        self.entry(path, FOLDER, &[]);
    }

    /// Adds a file that may be executed, and the folders that it lies in.
    pub(crate) fn file(&mut self, path: &str, content: &[u8]) {
        self.folders_above(path);
        self.entry(path, FILE, content);
    }

    /// Adds a symbolic link, and the folders that it lies in.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.folders_above(path);
        self.entry(path, LINK, target.as_bytes());
    }

    /// The archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry(TRAILER, 0, &[]);
        self.bytes
    }

    fn folders_above(&mut self, path: &str) {
        let above: Vec<_> = Path::new(path).ancestors().skip(1).collect();
        for folder in above.into_iter().rev() {
            let name = folder.to_string_lossy();
            if !matches!(&*name, "" | "/") {
                self.entry(&name, FOLDER, &[]);
            }
        }
    }

    /// Adds what is not there yet.
    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) {
        let name = path.trim_start_matches('/');
        if !self.names.insert(name.to_owned()) {
            return;
        }
        self.entries += 1;
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
        // Inode, mode, user, group, links, time, length, device, device of the node, and so on.
        let (content_length, name_length) = (length(content.len()), length(name.len() + 1));
        let inode = self.entries;
        let fields = [
            inode,
            mode,
            0,
            0,
            1,
            0,
            content_length,
            0,
            0,
            0,
            0,
            name_length,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names, modes and contents, read as the kernel does.
    fn read(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut at = 0;
        loop {
            let header = str::from_utf8(&archive[at..at + 110]).unwrap();
            assert!(header.starts_with("070701"), "{header}");
            let field = |n: usize| u32::from_str_radix(&header[6 + 8 * n..14 + 8 * n], 16).unwrap();
            let (mode, length, name) = (field(1), field(6) as usize, field(11) as usize);
            let name = &archive[at + 110..at + 110 + name - 1];
            let content = (at + 110 + name.len() + 1).next_multiple_of(4);
            at = (content + length).next_multiple_of(4);
            let name = str::from_utf8(name).unwrap().to_owned();
            if name == TRAILER {
                assert_eq!(at, archive.len());
                return entries;
            }
            entries.push((name, mode, archive[content..content + length].to_vec()));
        }
    }

    #[test]
    fn folders_come_before_what_lies_in_them_and_once() {
        let mut archive = Archive::default();
        archive.file("/a/b/one", b"1");
        archive.link("/a/b/two", "one");
        archive.folder("/proc");
        let expected = [
            ("a", FOLDER, ""),
            ("a/b", FOLDER, ""),
            ("a/b/one", FILE, "1"),
            ("a/b/two", LINK, "one"),
            ("proc", FOLDER, ""),
        ];
        let expected = expected.map(|(name, mode, text)| (name.to_owned(), mode, text.into()));
        assert_eq!(read(&archive.finish()), expected);
    }
}
