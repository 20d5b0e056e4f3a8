//! An archive in two parts as one in one part, which is one stream.

use std::io::{self, Read, Write};

use pxar::{Body, Decoder, Encoder, Input, Node, Step};

use super::Error;

/// Writes the archive as one in one part: to the byte what change detection `legacy` would have
/// made of the same tree without patterns on the command line.
///
/// # Errors
/// If the archive is damaged, cannot be read, or cannot be written.
pub fn unify<I: Input>(mut archive: Decoder<I>, out: impl Write) -> Result<(), Error> {
    let Some(Step::Enter(Node::Inode(root))) = archive.step()? else {
        return Err(refused("it has no root"));
    };
    let mut unifier = Unifier {
        encoder: Encoder::unified(out, &root.metadata)?,
        names: Vec::new(),
    };
    while let Some(step) = archive.step()? {
        match step {
            Step::Enter(node) => unifier.enter(node, &mut archive)?,
            Step::Leave if archive.depth() > 0 => unifier.encoder.leave()?,
            Step::Leave => {}
        }
    }
    unifier.encoder.finish()?;
    Ok(())
}

struct Unifier<W> {
    encoder: Encoder<W>,
    /// Where the names of files were and are, in ascending order.
    names: Vec<(u64, u64)>,
}

impl<W: Write> Unifier<W> {
    fn enter<I: Input>(&mut self, node: Node, archive: &mut Decoder<I>) -> Result<(), Error> {
        let name = archive.name().to_vec();
        let inode = match node {
            Node::Hardlink(link) => {
                let found = self.names.binary_search_by_key(&link.target, |(at, _)| *at);
                let found = found.ok().and_then(|found| self.names.get(found));
                let Some((_, target)) = found else {
                    let why = format!("'{}' is no file to link to", link.path.escape_ascii());
                    return Err(refused(why));
                };
                return Ok(self.encoder.hard_link(&name, &link.path, *target)?);
            }
            Node::Inode(inode) => inode,
        };
        match &inode.body {
            Body::Directory => Ok(self.encoder.enter(&name, &inode.metadata)?),
            Body::File(payload) => {
                let at = archive.position();
                let mut content = Noting {
                    content: archive.contents()?,
                    error: None,
                };
                let size = payload.size;
                let written = self
                    .encoder
                    .file(&name, &inode.metadata, size, &mut content);
                if let Some(source) = content.error {
                    let action = "read";
                    return Err(pxar::Error::Io { action, source }.into());
                }
                self.names.push((at, written?.name_at));
                Ok(())
            }
            body => Ok(self.encoder.special(&name, &inode.metadata, body)?),
        }
    }
}

fn refused(why: impl Into<String>) -> Error {
    pxar::Error::Refused { why: why.into() }.into()
}

/// A content, and why it could not be read: an archive in one part would have zeros for the rest.
struct Noting<R> {
    content: Option<R>,
    error: Option<io::Error>,
}

impl<R: Read> Read for Noting<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(content) = &mut self.content else {
            return Ok(0);
        };
        content.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                self.error = Some(io::Error::new(error.kind(), error.to_string()));
            }
        })
    }
}
